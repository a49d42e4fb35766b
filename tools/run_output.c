/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "run_output.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <burble/frame.h>

#include "command.h"
#include "utf8.h"

void output_init(struct output *output, bool json, bool numbered)
{
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    *output = (struct output){
        .json = json,
        .numbered = numbered,
        .terminal = terminal,
        .colour = terminal && may_colour(),
        .last = '\n',
    };
}

/* ---- figures ------------------------------------------------------------------------------------- */

double pace_rate(const struct pace *pace)
{
    return pace->tokens < 2 || pace->last <= pace->first
               ? -1
               : (double)(pace->tokens - 1) * 1e9 / (double)(pace->last - pace->first);
}

double figures_first(const struct figures *figures)
{
    return figures->first == 0 ? -1 : (double)(figures->first - figures->begun) / 1e9;
}

/* ---- text ------------------------------------------------------------------------------------------ */

static void put(struct output *output, const char *text, size_t len)
{
    bytes_put(&output->bytes, text, len);
    if (len > 0)
        output->last = text[len - 1];
}

static void end_line(struct output *output)
{
    if (output->last != '\n')
        put(output, "\n", 1);
}

void output_heading(struct output *output, size_t number, const char *prompt, size_t len)
{
    if (output->json || !output->numbered)
        return;
    bytes_print(&output->bytes, "%s%s==> %zu: ", number > 1 ? "\n" : "",
                output->colour ? "\033[1m" : "", number);
    put(output, prompt, len);
    bytes_print(&output->bytes, " <==%s\n", output->colour ? "\033[0m" : "");
    output->last = '\n';
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static void begin_object(struct output *output, size_t number)
{
    if (output->numbered)
        bytes_print(&output->bytes, "{\"prompt\":%zu,", number);
    else
        bytes_print(&output->bytes, "{");
}

/* A number that may be missing, which is below 0 then. */
static void put_number(struct output *output, const char *name, double number)
{
    if (number < 0)
        bytes_print(&output->bytes, ",\"%s\":null", name);
    else
        bytes_print(&output->bytes, ",\"%s\":%.6f", name, number);
}

static void end_json(struct output *output, size_t number, const struct figures *figures)
{
    begin_object(output, number);
    bytes_print(&output->bytes, "\"reason\":\"%s\"", figures->reason);
    if (figures->error != NULL) {
        bytes_print(&output->bytes, ",\"error\":");
        bytes_put_json(&output->bytes, figures->error, strlen(figures->error));
    }
    bytes_print(&output->bytes, ",\"prompt_tokens\":%" PRIu64 ",\"tokens\":%" PRIu64,
                figures->prompt_tokens, figures->tokens);
    put_number(output, "first_text_s", figures_first(figures));
    put_number(output, "seconds", (double)(figures->over - figures->begun) / 1e9);
    put_number(output, "tokens_per_s", pace_rate(&figures->pace));
    bytes_print(&output->bytes, "}\n");
}

/* The text of a token; each byte that is no UTF-8 is shown as U+FFFD. */
static void put_token(struct output *output, burble_text text)
{
    struct bytes shown = {0};
    while (text.len > 0) {
        const size_t good = utf8_prefix(text.bytes, text.len);
        bytes_put(&shown, text.bytes, good);
        if (good < text.len)
            bytes_put(&shown, "\xef\xbf\xbd", 3);
        const size_t done = good + (good < text.len);
        text.bytes += done;
        text.len -= done;
    }
    bytes_put_json(&output->bytes, shown.len > 0 ? shown.data : "", shown.len);
    output->bytes.failed = output->bytes.failed || shown.failed;
    bytes_free(&shown);
}

/* One entry, without its end. */
static void put_entry(struct output *output, const burble_logprob *entry)
{
    bytes_print(&output->bytes, "{\"id\":%" PRId32 ",\"token\":", entry->id);
    put_token(output, entry->text);
    bytes_print(&output->bytes, ",\"bytes\":[");
    for (size_t i = 0; i < entry->text.len; i++)
        bytes_print(&output->bytes, "%s%u", i > 0 ? "," : "",
                    (unsigned)(unsigned char)entry->text.bytes[i]);
    /* JSON has no infinity, which the probability 0 has. */
    bytes_print(&output->bytes, "],\"logprob\":%.6g",
                entry->logprob < -9999 ? -9999.0 : (double)entry->logprob);
}

void output_logprobs(struct output *output, size_t number, burble_text text, uint32_t tokens,
                     burble_text logprobs)
{
    burble_logprob entry;
    const char *comma = "";
    begin_object(output, number);
    bytes_print(&output->bytes, "\"text\":");
    bytes_put_json(&output->bytes, text.len > 0 ? text.bytes : "", text.len);
    bytes_print(&output->bytes, ",\"tokens\":%" PRIu32 ",\"logprobs\":[", tokens);
    while (burble_logprob_read(&logprobs, false, &entry)) {
        const uint32_t n_top = entry.n_top;
        bytes_print(&output->bytes, "%s", comma);
        put_entry(output, &entry);
        bytes_print(&output->bytes, ",\"top_logprobs\":[");
        for (uint32_t i = 0; i < n_top && burble_logprob_read(&logprobs, true, &entry); i++) {
            bytes_print(&output->bytes, "%s", i > 0 ? "," : "");
            put_entry(output, &entry);
            bytes_print(&output->bytes, "}");
        }
        bytes_print(&output->bytes, "]}");
        comma = ",";
    }
    bytes_print(&output->bytes, "]}\n");
}

/* ---- both ------------------------------------------------------------------------------------------ */

void output_text(struct output *output, size_t number, const char *text, size_t len,
                 uint32_t tokens)
{
    if (!output->json) {
        put(output, text, len);
        return;
    }
    begin_object(output, number);
    bytes_print(&output->bytes, "\"text\":");
    bytes_put_json(&output->bytes, text, len);
    bytes_print(&output->bytes, ",\"tokens\":%" PRIu32 "}\n", tokens);
}

bool output_leave(struct output *output)
{
    const bool ends = output->terminal && output->last != '\n';
    if (ends)
        end_line(output);
    return ends;
}

void output_end(struct output *output, size_t number, const struct figures *figures)
{
    if (output->json)
        end_json(output, number, figures);
    else if (output->numbered || output->terminal)
        end_line(output); /* a text that stands alone in a pipe or a file is left as it is */
}

/* ---- sending --------------------------------------------------------------------------------------- */

bool output_pending(const struct output *output)
{
    return output->sent < output->bytes.len;
}

/* A pipe that takes something takes this much; more might have to wait, where nothing else is heard. */
bool output_send(struct output *output)
{
    const size_t rest = output->bytes.len - output->sent;
    const ssize_t n =
        write(STDOUT_FILENO, output->bytes.data + output->sent, rest < PIPE_BUF ? rest : PIPE_BUF);
    if (n < 0) {
        if (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)
            return true;
        complain_of_output();
        return false;
    }
    output->sent += (size_t)n;
    if (output->sent == output->bytes.len) {
        output->sent = 0;
        output->bytes.len = 0;
    }
    return true;
}

void output_flush(struct output *output)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    while (output_pending(output) && poll(&out, 1, 0) == 1 && output_send(output)) {
    }
}

void output_free(struct output *output)
{
    bytes_free(&output->bytes);
}
