/* SPDX-License-Identifier: MIT
 *
 * Shared by the tests of the protocol: buffers that are compared with text, and answers made of frames.
 */
#ifndef BURBLE_TESTS_PROTOCOL_H
#define BURBLE_TESTS_PROTOCOL_H

#include "support.h"

#include <string.h>

#include <burble/frame.h>
#include <burble/serve.h>

#include "base/buffer.h"
#include "serve/event.h"
#include "serve/problem.h"

#define TEXT(literal) ((burble_text){(literal), sizeof(literal) - 1})

/* ---- buffers ------------------------------------------------------------------------------------------ */

#define NEW_BUFFER(name)                                                                           \
    struct burble__buffer name;                                                                    \
    burble__buffer_init(&(name), (size_t)1 << 24)

/* Whether the buffer has this text; empties it. */
static inline void expect_at(struct place at, struct burble__buffer *buffer, const char *text)
{
    if (buffer->len != strlen(text)
        || (buffer->len > 0 && memcmp(buffer->bytes, text, buffer->len) != 0)) {
        fail_at(at, "expected %s\nfound    %.*s", text, (int)buffer->len,
                buffer->bytes == NULL ? "" : buffer->bytes);
    }
    burble__buffer_finish(buffer);
}
#define EXPECT(buffer, text) expect_at(HERE, buffer, text)

/* ---- frames ------------------------------------------------------------------------------------------- */

#define HEX "0123456789abcdef0123456789abcdef"

static inline burble_frame begin_frame(burble_serve_route route, uint32_t choices, uint64_t flags)
{
    burble_frame frame = {.kind = BURBLE_FRAME_BEGIN};
    frame.u.begin.id = route == BURBLE_SERVE_CHAT ? TEXT("chatcmpl-" HEX) : TEXT("cmpl-" HEX);
    frame.u.begin.model = TEXT("m\"1");
    frame.u.begin.created = 1790000000;
    frame.u.begin.version = BURBLE_FRAME_VERSION;
    frame.u.begin.route = route;
    frame.u.begin.flags = flags | (uint64_t)choices << BURBLE__ANSWER_CHOICES_SHIFT;
    return frame;
}

static inline burble_frame text_frame(uint32_t choice, burble_text text)
{
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT, .choice = choice};
    frame.u.text.text = text;
    return frame;
}

static inline burble_frame finish_frame(uint32_t choice, burble_frame_reason reason)
{
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH, .choice = choice};
    frame.u.text.reason = reason;
    return frame;
}

static inline burble_frame usage_frame(void)
{
    burble_frame frame = {.kind = BURBLE_FRAME_USAGE};
    frame.u.usage.prompt = 12;
    frame.u.usage.reused = 4;
    frame.u.usage.completion = 5;
    frame.u.usage.queue_ns = 1500000;
    frame.u.usage.prompt_ns = 16000000;
    frame.u.usage.answer_ns = 10000000;
    return frame;
}

#define USAGE                                                                                      \
    "{\"prompt_tokens\":12,\"completion_tokens\":5,\"total_tokens\":17,"                           \
    "\"prompt_tokens_details\":{\"cached_tokens\":4}}"
#define TIMINGS                                                                                    \
    "{\"cache_n\":4,\"queue_ms\":1.5,\"prompt_n\":8,\"prompt_ms\":16,\"prompt_per_token_ms\":2,"   \
    "\"prompt_per_second\":500,\"predicted_n\":5,\"predicted_ms\":10,"                             \
    "\"predicted_per_token_ms\":2,\"predicted_per_second\":500}"

/* Log-probabilities of " a" (with two alternatives) and of the first byte of a character. */
static inline burble_text some_logprobs(char *bytes, size_t capacity)
{
    const burble_logprob entries[] = {
        {.id = 7, .logprob = -0.25f, .text = TEXT(" a"), .n_top = 2},
        {.id = 7, .logprob = -0.25f, .text = TEXT(" a")},
        {.id = 8, .logprob = -1.5f, .text = TEXT("b")},
        {.id = 9, .logprob = -2.0f, .text = TEXT("\xc3"), .n_top = 0},
    };
    size_t len = 0;
    for (size_t i = 0; i < 4; i++)
        len += burble_logprob_write(&entries[i], i == 1 || i == 2, bytes + len, capacity - len);
    return (burble_text){bytes, len};
}

#endif
