/* SPDX-License-Identifier: MIT */
#include "serve/event.h"

#include <assert.h>
#include <string.h>

#include "serve/json.h"
#include "serve/logprobs.h"

#define LITERAL(text) text, sizeof(text) - 1

/* The most bytes of an event beside the envelope's head, text and log-probabilities. */
#define FRAMING 256

static char *put(char *at, const char *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}

/* Writes "id: POSITION\n" if the client is told positions. */
static char *put_id(char *at, const struct burble__envelope *envelope,
                    const struct burble__tally *tally, uint64_t seq)
{
    if (tally == NULL || !tally->hashes || !envelope->has_stream)
        return at;
    struct burble__position position = {.seq = seq, .hash = tally->hash};
    memcpy(position.stream.hex, burble__envelope_stream(envelope), BURBLE__STREAM_ID_LEN);
    at = put(at, LITERAL("id: "));
    burble__position_write(&position, at);
    at += BURBLE__POSITION_LEN;
    *at++ = '\n';
    return at;
}

static char *put_index(char *at, uint32_t choice)
{
    if (choice > 9)
        return burble__json_write_integer(at, choice);
    *at++ = (char)('0' + choice);
    return at;
}

/* Room for an event whose text has `text` bytes, and the beginning of it up to its choices. Returns the end of what was
 * written; NULL: out of memory. */
static char *open_chunk(const struct burble__envelope *envelope, const struct burble__tally *tally,
                        size_t text, struct burble__buffer *out)
{
    const size_t room = FRAMING + envelope->len + BURBLE__JSON_GROWTH * (text < 512 ? text : 512);
    if (burble__buffer_reserve(out, room) != BURBLE_OK)
        return NULL;
    char *at = put_id(out->bytes + out->len, envelope, tally, tally->frames - 1);
    return put(at, envelope->bytes, envelope->len);
}

/* The text of an event that is open at `at`; a long one makes its own room. Returns the new end, with room for the rest of
 * the event; NULL: out of memory. */
static char *put_text(char *at, burble_text text, struct burble__buffer *out)
{
    if (text.len <= 512)
        return burble__json_write_text(at, text.bytes, text.len);
    out->len = (size_t)(at - out->bytes);
    if (burble__json_put_text(out, text.bytes, text.len) != BURBLE_OK
        || burble__buffer_reserve(out, FRAMING) != BURBLE_OK) {
        return NULL;
    }
    return out->bytes + out->len;
}

/* `"logprobs":` and what follows from it, for an event that is open at `at`. */
static char *put_logprobs(char *at, const struct burble__envelope *envelope,
                          const burble_frame *frame, const struct burble__tally *tally,
                          struct burble__buffer *out)
{
    at = put(at, LITERAL(",\"logprobs\":"));
    if (!envelope->logprobs || frame->u.text.logprobs.len == 0)
        return put(at, LITERAL("null"));
    struct burble__output output = {out, BURBLE_OK};
    out->len = (size_t)(at - out->bytes);
    burble__logprobs_write(envelope->route, frame->u.text.logprobs, tally->offset, &output);
    if (output.result != BURBLE_OK || burble__buffer_reserve(out, FRAMING) != BURBLE_OK)
        return NULL;
    return out->bytes + out->len;
}

static char *close_chunk(char *at, const struct burble__envelope *envelope)
{
    return envelope->include_usage ? put(at, LITERAL("],\"usage\":null}\n\n"))
                                   : put(at, LITERAL("]}\n\n"));
}

/* The role of each choice: the first delta of a chat. */
static char *write_begin(const struct burble__envelope *envelope, const struct burble__tally *tally,
                         struct burble__buffer *out)
{
    static const char delta[] = ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":"
                                "null,\"finish_reason\":null}";
    if (burble__buffer_reserve(out,
                               FRAMING + envelope->len + envelope->choices * (sizeof delta + 16))
        != BURBLE_OK) {
        return NULL;
    }
    char *at = put_id(out->bytes + out->len, envelope, tally, tally->frames - 1);
    at = put(at, envelope->bytes, envelope->len);
    for (uint32_t i = 0; i < envelope->choices; i++) {
        at = i == 0 ? put(at, LITERAL("{\"index\":")) : put(at, LITERAL(",{\"index\":"));
        at = put_index(at, i);
        at = put(at, delta, sizeof delta - 1);
    }
    return close_chunk(at, envelope);
}

static char *write_text(const struct burble__envelope *envelope, const burble_frame *frame,
                        const struct burble__tally *tally, struct burble__buffer *out)
{
    const burble_text text = frame->u.text.text;
    const bool chat = envelope->route == BURBLE_SERVE_CHAT;
    char *at = open_chunk(envelope, tally, text.len, out);
    if (at == NULL)
        return NULL;
    at = put(at, LITERAL("{\"index\":"));
    at = put_index(at, frame->choice);
    if (!chat)
        at = put(at, LITERAL(",\"text\":\""));
    else if (frame->kind == BURBLE_FRAME_REASONING)
        at = put(at, LITERAL(",\"delta\":{\"reasoning_content\":\""));
    else
        at = put(at, LITERAL(",\"delta\":{\"content\":\""));
    at = put_text(at, text, out);
    if (at == NULL)
        return NULL;
    at = chat ? put(at, LITERAL("\"}")) : put(at, LITERAL("\""));
    at = put_logprobs(at, envelope, frame, tally, out);
    if (at == NULL)
        return NULL;
    at = put(at, LITERAL(",\"finish_reason\":null}"));
    return close_chunk(at, envelope);
}

static char *write_finish(const struct burble__envelope *envelope, const burble_frame *frame,
                          const struct burble__tally *tally, struct burble__buffer *out)
{
    const char *reason = burble__reason_name(frame->u.text.reason);
    char *at = open_chunk(envelope, tally, 0, out);
    if (at == NULL)
        return NULL;
    at = put(at, LITERAL("{\"index\":"));
    at = put_index(at, frame->choice);
    if (envelope->route == BURBLE_SERVE_CHAT)
        at = put(at, LITERAL(",\"delta\":{}"));
    else
        at = put(at, LITERAL(",\"text\":\"\""));
    at = put(at, LITERAL(",\"logprobs\":null,\"finish_reason\":\""));
    at = put(at, reason, strlen(reason));
    at = put(at, LITERAL("\"}"));
    return close_chunk(at, envelope);
}

static char *write_usage(const struct burble__envelope *envelope, const struct burble__tally *tally,
                         struct burble__buffer *out)
{
    char *at = open_chunk(envelope, tally, 0, out);
    if (at == NULL)
        return NULL;
    struct burble__output output = {out, BURBLE_OK};
    out->len = (size_t)(at - out->bytes);
    burble__put_raw(&output, "],\"usage\":");
    burble__usage_write(tally->usage, &output);
    burble__put_raw(&output, ",\"timings\":");
    burble__timings_write(tally->usage, &output);
    burble__put_raw(&output, "}\n\n");
    return output.result == BURBLE_OK ? out->bytes + out->len : NULL;
}

/* An event of burble's own form up to its data. */
static char *open_own(const struct burble__envelope *envelope, const struct burble__tally *tally,
                      uint64_t seq, const char *event, size_t text, struct burble__buffer *out)
{
    if (burble__buffer_reserve(out, FRAMING + BURBLE__JSON_GROWTH * (text < 512 ? text : 512))
        != BURBLE_OK) {
        return NULL;
    }
    char *at = put_id(out->bytes + out->len, envelope, tally, seq);
    if (event != NULL) {
        at = put(at, LITERAL("event: "));
        at = put(at, event, strlen(event));
        *at++ = '\n';
    }
    return put(at, LITERAL("data: "));
}

static char *write_own_begin(const struct burble__envelope *envelope,
                             const struct burble__tally *tally, struct burble__buffer *out)
{
    struct burble__output output = {out, BURBLE_OK};
    char *at = open_own(envelope, tally, tally->frames - 1, "begin", 0, out);
    if (at == NULL)
        return NULL;
    out->len = (size_t)(at - out->bytes);
    burble__envelope_put_begin(envelope, &output);
    burble__put_raw(&output, "\n\n");
    return output.result == BURBLE_OK ? out->bytes + out->len : NULL;
}

static char *write_own(const struct burble__envelope *envelope, const burble_frame *frame,
                       const struct burble__tally *tally, struct burble__buffer *out)
{
    const burble_text text = frame->u.text.text;
    const char *event = frame->kind == BURBLE_FRAME_REASONING ? "reasoning" : NULL;
    char *at = open_own(envelope, tally, tally->frames - 1, event, text.len, out);
    if (at == NULL)
        return NULL;
    at = put(at, LITERAL("{\"index\":"));
    at = put_index(at, frame->choice);
    at = put(at, LITERAL(",\"text\":\""));
    at = put_text(at, text, out);
    return at == NULL ? NULL : put(at, LITERAL("\"}\n\n"));
}

/* Ends an event at `at`, or takes back what was written of it if that is NULL. */
static int finish(struct burble__buffer *out, size_t before, const char *at)
{
    out->len = at == NULL ? before : (size_t)(at - out->bytes);
    return at == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

int burble__event_write(const struct burble__envelope *envelope, enum burble__form form,
                        const burble_frame *frame, const struct burble__tally *tally,
                        struct burble__buffer *out)
{
    const size_t before = out->len;
    const bool own = form == BURBLE__FORM_OWN;
    switch (frame->kind) {
    case BURBLE_FRAME_BEGIN:
        if (own)
            return finish(out, before, write_own_begin(envelope, tally, out));
        if (envelope->route != BURBLE_SERVE_CHAT)
            return BURBLE_OK;
        return finish(out, before, write_begin(envelope, tally, out));
    case BURBLE_FRAME_REASONING:
        if (!own && envelope->route != BURBLE_SERVE_CHAT)
            return BURBLE_OK;
        /* fall through */
    case BURBLE_FRAME_TEXT:
        if (frame->u.text.text.len == 0
            && (own || !envelope->logprobs || frame->u.text.logprobs.len == 0)) {
            return BURBLE_OK;
        }
        return finish(out, before,
                      own ? write_own(envelope, frame, tally, out)
                          : write_text(envelope, frame, tally, out));
    case BURBLE_FRAME_FINISH:
        return own ? BURBLE_OK : finish(out, before, write_finish(envelope, frame, tally, out));
    case BURBLE_FRAME_USAGE:
        return own || !envelope->include_usage
                   ? BURBLE_OK
                   : finish(out, before, write_usage(envelope, tally, out));
    default:
        return BURBLE_OK;
    }
}

/* {"reasons":["stop"],"usage":{…}} */
static int put_end(const struct burble__envelope *envelope, const struct burble__tally *tally,
                   struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    for (uint32_t i = 0; i < envelope->choices; i++) {
        burble__put_raw(&out, i == 0 ? "{\"reasons\":[" : ",");
        burble__put_name(&out, burble__reason_name(burble__tally_reason(tally, i)));
    }
    burble__put_raw(&out, "],\"usage\":");
    if (tally->usage != NULL) {
        burble__usage_write(tally->usage, &out);
        burble__put_raw(&out, ",\"timings\":");
        burble__timings_write(tally->usage, &out);
    } else {
        burble__put_raw(&out, "null");
    }
    burble__put_raw(&out, "}\n\n");
    return out.result;
}

int burble__event_end(const struct burble__envelope *envelope, enum burble__form form,
                      const struct burble__tally *tally, const burble_status *status,
                      struct burble__buffer *out, bool *clean)
{
    assert(status->state != BURBLE_OPEN);
    const bool complete = burble__tally_is_complete(tally, envelope);
    if (clean != NULL)
        *clean = status->state == BURBLE_ENDED && complete;
    if (status->state == BURBLE_ENDED && complete) {
        if (form == BURBLE__FORM_OPENAI)
            return burble__buffer_append(out, LITERAL("data: [DONE]\n\n"));
        const size_t before = out->len;
        char *at = open_own(envelope, tally, tally->frames, "end", 0, out);
        if (at == NULL)
            return finish(out, before, NULL);
        out->len = (size_t)(at - out->bytes);
        if (put_end(envelope, tally, out) != BURBLE_OK)
            return finish(out, before, NULL);
        return BURBLE_OK;
    }
    struct burble__problem problem;
    if (status->state == BURBLE_ENDED)
        burble__problem_set(&problem, 500, NULL, NULL,
                            "the answer ended with %u of %u choices finished", tally->finished,
                            envelope->choices);
    else
        burble__problem_of_status(&problem, status);
    return burble__event_error(envelope, form, tally, &problem, out);
}

int burble__event_error(const struct burble__envelope *envelope, enum burble__form form,
                        const struct burble__tally *tally, const struct burble__problem *problem,
                        struct burble__buffer *out)
{
    const size_t before = out->len;
    const bool own = form == BURBLE__FORM_OWN;
    char *at = open_own(envelope, own ? tally : NULL, tally == NULL ? 0 : tally->frames,
                        own ? "failed" : NULL, 0, out);
    if (at == NULL)
        return finish(out, before, NULL);
    out->len = (size_t)(at - out->bytes);
    if (burble__problem_write(problem, out) != BURBLE_OK
        || burble__json_put_raw(out, "\n\n") != BURBLE_OK) {
        return finish(out, before, NULL);
    }
    return BURBLE_OK;
}
