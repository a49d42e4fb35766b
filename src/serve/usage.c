/* SPDX-License-Identifier: MIT */
#include "serve/usage.h"

static void put_field(struct burble__output *out, const char *name, uint64_t number)
{
    burble__put_raw(out, name);
    burble__put_integer(out, number);
}

static void put_decimal(struct burble__output *out, const char *name, double number)
{
    burble__put_raw(out, name);
    burble__put_decimal(out, number, 3);
}

void burble__usage_write(const struct burble__usage *usage, struct burble__output *out)
{
    put_field(out, "{\"prompt_tokens\":", usage->prompt);
    put_field(out, ",\"completion_tokens\":", usage->completion);
    put_field(out, ",\"total_tokens\":", usage->prompt + usage->completion);
    put_field(out, ",\"prompt_tokens_details\":{\"cached_tokens\":", usage->reused);
    burble__put_raw(out, "}}");
}

/* Numbers of tokens and their time: {prefix}_n, _ms, _per_token_ms and _per_second. */
static void put_timing(struct burble__output *out, const char *const *names, uint64_t n,
                       uint64_t ns)
{
    const double ms = (double)ns / 1e6;
    put_field(out, names[0], n);
    put_decimal(out, names[1], ms);
    put_decimal(out, names[2], n > 0 ? ms / (double)n : 0);
    put_decimal(out, names[3], ns > 0 ? (double)n * 1000 / ms : 0);
}

void burble__timings_write(const struct burble__usage *usage, struct burble__output *out)
{
    static const char *const prompt[] = {",\"prompt_n\":", ",\"prompt_ms\":",
                                         ",\"prompt_per_token_ms\":", ",\"prompt_per_second\":"};
    static const char *const answer[] = {
        ",\"predicted_n\":", ",\"predicted_ms\":", ",\"predicted_per_token_ms\":",
        ",\"predicted_per_second\":"};
    const uint64_t computed = usage->prompt > usage->reused ? usage->prompt - usage->reused : 0;
    put_field(out, "{\"cache_n\":", usage->reused);
    put_decimal(out, ",\"queue_ms\":", (double)usage->queue_ns / 1e6);
    put_timing(out, prompt, computed, usage->prompt_ns);
    put_timing(out, answer, usage->completion, usage->answer_ns);
    burble__put_raw(out, "}");
}
