/* SPDX-License-Identifier: MIT */
#include "text/rewrite.h"

#include <assert.h>
#include <string.h>

#include <burble/error.h>

/* Above this many bytes, burble__rewrite_bound gives up. */
#define BOUND_MAX ((uint64_t)1 << 20)

/* One call: a stream of `held` bytes and then the new ones, of which `at` are dealt with. */
struct flow {
    struct burble__writer *out;
    const struct burble__origin *held; /* the origins of the stream's two parts, or NULL */
    const struct burble__origin *fresh;
    size_t n_held;
    size_t at;
};

static const struct burble__origin *origin_at(const struct flow *flow, size_t i)
{
    return i < flow->n_held ? &flow->held[i] : &flow->fresh[i - flow->n_held];
}

static int put_origin(struct burble__buffer *origins, const struct burble__origin *origin)
{
    return burble__buffer_append(origins, (const char *)origin, sizeof *origin);
}

/* Writes the next `n` bytes of the stream, which are these, as they are. */
static int release(struct flow *flow, const char *bytes, size_t n)
{
    int result = burble__buffer_append(&flow->out->bytes, bytes, n);
    if (flow->fresh != NULL)
        for (size_t i = 0; i < n && result == BURBLE_OK; i++)
            result = put_origin(&flow->out->origins, origin_at(flow, flow->at + i));
    flow->at += n;
    return result;
}

/* Writes something else in place of the next `n` bytes of the stream. */
static int substitute(struct flow *flow, size_t n, const char *with, size_t with_len)
{
    struct burble__origin origin = {0};
    if (flow->fresh != NULL) {
        origin.first = origin_at(flow, flow->at)->first;
        origin.last = origin_at(flow, flow->at + n - 1)->last;
    }
    flow->at += n;
    return burble__writer_put(flow->out, with, with_len, flow->fresh == NULL ? NULL : &origin);
}

static int run_replace(const struct burble__rewrite *rewrite, struct burble__rewrite_state *state,
                       bool end, const struct burble__traced *text, struct flow *flow)
{
    const char *pattern = rewrite->text;
    const size_t n = text->len;
    size_t matched = state->held;
    size_t i = 0;
    int result = BURBLE_OK;
    while (i < n && result == BURBLE_OK) {
        if (text->bytes[i] == pattern[matched]) {
            i++;
            if (++matched == rewrite->text_len) {
                result = substitute(flow, matched, rewrite->with, rewrite->with_len);
                matched = 0;
            }
        } else if (matched > 0) {
            const size_t still = rewrite->fallback[matched - 1];
            result = release(flow, pattern, matched - still);
            matched = still;
        } else {
            const char *next = memchr(text->bytes + i, pattern[0], n - i);
            const size_t run = next == NULL ? n - i : (size_t)(next - text->bytes) - i;
            result = release(flow, text->bytes + i, run);
            i += run;
        }
    }
    if (end && result == BURBLE_OK) {
        result = release(flow, pattern, matched);
        matched = 0;
    }
    state->held = (uint32_t)matched;
    return result;
}

/* How many of the character there are at the right end of the text, `most` at most. */
static size_t count_right(const struct burble__rewrite *rewrite, const struct burble__traced *text,
                          size_t most)
{
    const size_t len = rewrite->text_len;
    size_t count = 0;
    while (count < most && (count + 1) * len <= text->len
           && memcmp(text->bytes + text->len - (count + 1) * len, rewrite->text, len) == 0) {
        count++;
    }
    return count;
}

static void advance(struct burble__traced *text, size_t n)
{
    text->bytes += n;
    text->len -= n;
    text->origins = text->origins == NULL ? NULL : text->origins + n;
}

static void strip_left(const struct burble__rewrite *rewrite, struct burble__rewrite_state *state,
                       struct burble__traced *text)
{
    const size_t len = rewrite->text_len;
    while (state->left > 0 && text->len > 0) {
        if (text->len < len || memcmp(text->bytes, rewrite->text, len) != 0) {
            state->left = 0;
            return;
        }
        state->left--;
        advance(text, len);
    }
}

/* Text is joined only if held bytes have become final; otherwise the final text is a part of the new text. */
static int strip_right(const struct burble__rewrite *rewrite, struct burble__rewrite_state *state,
                       struct burble__traced *text, struct flow *flow, bool *written)
{
    const size_t len = rewrite->text_len;
    const size_t stop = rewrite->stop;
    size_t count = count_right(rewrite, text, SIZE_MAX);
    size_t before = 0; /* how many of those that were held are so no longer */
    if (count * len < text->len) {
        before = state->held;
        count = count < stop ? count : stop;
        state->held = (uint32_t)count;
        text->len -= count * len;
    } else if (state->held + count <= stop) {
        state->held += (uint32_t)count;
        text->len = 0;
    } else {
        /* All of it is the character: which of them go out makes no difference to the text, and the
         * oldest go first. */
        const size_t out = state->held + count - stop;
        before = out < state->held ? out : state->held;
        text->len = (out - before) * len;
        state->held = (uint32_t)stop;
    }
    *written = before > 0;
    int result = BURBLE_OK;
    for (size_t i = 0; i < before && result == BURBLE_OK; i++)
        result = release(flow, rewrite->text, len);
    if (before > 0 && result == BURBLE_OK)
        result = release(flow, text->bytes, text->len);
    return result;
}

/* Keeps the origins of the last `n` bytes of the stream. */
static int keep(const struct flow *flow, size_t all, size_t n, struct burble__buffer *holds)
{
    int result = BURBLE_OK;
    for (size_t i = all - n; i < all && result == BURBLE_OK; i++)
        result = put_origin(holds, origin_at(flow, i));
    return result;
}

void burble__writer_init(struct burble__writer *writer, size_t max)
{
    burble__buffer_init(&writer->bytes, max);
    burble__buffer_init(&writer->origins, max > SIZE_MAX / sizeof(struct burble__origin)
                                              ? SIZE_MAX
                                              : max * sizeof(struct burble__origin));
}

void burble__writer_finish(struct burble__writer *writer)
{
    burble__buffer_finish(&writer->bytes);
    burble__buffer_finish(&writer->origins);
}

struct burble__traced burble__writer_text(const struct burble__writer *writer, bool traced)
{
    static const struct burble__origin none = {0};
    const struct burble__origin *origins =
        writer->origins.len == 0 ? &none : (const void *)writer->origins.bytes;
    return (struct burble__traced){
        .bytes = writer->bytes.len == 0 ? "" : writer->bytes.bytes,
        .len = writer->bytes.len,
        .origins = traced ? origins : NULL,
    };
}

int burble__writer_put(struct burble__writer *writer, const char *bytes, size_t n,
                       const struct burble__origin *origin)
{
    int result = burble__buffer_append(&writer->bytes, bytes, n);
    for (size_t i = 0; i < n && origin != NULL && result == BURBLE_OK; i++)
        result = put_origin(&writer->origins, origin);
    return result;
}

void burble__rewrite_prepare(const char *text, uint32_t text_len, uint32_t *fallback)
{
    uint32_t matched = 0;
    fallback[0] = 0;
    for (uint32_t i = 1; i < text_len; i++) {
        while (matched > 0 && text[i] != text[matched])
            matched = fallback[matched - 1];
        matched += text[i] == text[matched];
        fallback[i] = matched;
    }
}

void burble__rewrite_reset(const struct burble__rewrite *rewrite,
                           struct burble__rewrite_state *state)
{
    *state = (struct burble__rewrite_state){
        .left = rewrite->kind == BURBLE__REWRITE_STRIP ? rewrite->start : 0};
}

size_t burble__rewrite_held(const struct burble__rewrite *rewrite,
                            const struct burble__rewrite_state *state)
{
    const size_t each = rewrite->kind == BURBLE__REWRITE_STRIP ? rewrite->text_len : 1;
    return state->held * each;
}

size_t burble__rewrite_bound(const struct burble__rewrite *rewrite, size_t n)
{
    uint64_t bound = n;
    if (rewrite->kind == BURBLE__REWRITE_STRIP) {
        bound += (uint64_t)rewrite->stop * rewrite->text_len;
    } else {
        bound += rewrite->text_len - 1u;
        if (rewrite->with_len > rewrite->text_len)
            bound += bound / rewrite->text_len * (rewrite->with_len - rewrite->text_len);
    }
    return n > BOUND_MAX || bound > BOUND_MAX ? SIZE_MAX : (size_t)bound;
}

int burble__rewrite_run(const struct burble__rewrite *rewrite, struct burble__rewrite_state *state,
                        bool end, struct burble__traced *text, struct burble__writer *out,
                        const struct burble__origin **held, struct burble__buffer *holds)
{
    struct flow flow = {.out = out, .n_held = burble__rewrite_held(rewrite, state)};
    bool written = true;
    int result;
    out->bytes.len = 0;
    out->origins.len = 0;
    if (rewrite->kind == BURBLE__REWRITE_STRIP)
        strip_left(rewrite, state, text);
    else if (state->held == 0 && memchr(text->bytes, rewrite->text[0], text->len) == NULL)
        return BURBLE_OK;
    const size_t all = flow.n_held + text->len;
    if (text->origins != NULL) {
        flow.fresh = text->origins;
        flow.held = *held;
        *held += flow.n_held;
    }
    if (rewrite->kind == BURBLE__REWRITE_REPLACE) {
        result = run_replace(rewrite, state, end, text, &flow);
    } else if (rewrite->stop == 0) {
        return BURBLE_OK;
    } else {
        result = strip_right(rewrite, state, text, &flow, &written);
        state->held = end ? 0 : state->held;
    }
    if (result == BURBLE_OK && flow.fresh != NULL)
        result = keep(&flow, all, burble__rewrite_held(rewrite, state), holds);
    if (written)
        *text = burble__writer_text(out, flow.fresh != NULL);
    return result;
}
