/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/subscription.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <burble/frame.h>

#include "base/alloc.h"
#include "base/little_endian.h"

/* The bytes of a hash in front of a frame. */
#define HASH_LEN 4

/* So much room, in bytes, is worth fetching frames. */
#define ROOM 65536u

/* ---- memory -------------------------------------------------------------------------------------------- */

void burble__held_drop(struct burble__held *held)
{
    if (held != NULL && burble__sub_acq_rel(&held->references, 1) == 1)
        burble__free(held);
}

static void on_release(const burble_record *record, void *arg)
{
    struct burble__held *held = arg;
    burble__add_relaxed(&held->bytes, UINT64_MAX - record->len + 1);
    burble__held_drop(held);
}

int burble__held_stream_create(burble_stream **stream, struct burble__held **held)
{
    burble_stream_options options;
    *stream = NULL;
    *held = burble__malloc(sizeof **held);
    if (*held == NULL)
        return BURBLE_ENOMEM;
    burble__init(&(*held)->bytes, 0);
    burble__init(&(*held)->references, 1);
    burble_stream_options_init(&options);
    options.producer_may_exit = true;
    options.release = on_release;
    options.release_arg = *held;
    const int result = burble_stream_create(&options, stream);
    if (result != BURBLE_OK) {
        burble__held_drop(*held);
        *held = NULL;
    }
    return result;
}

/* ---- the subscription ---------------------------------------------------------------------------------- */

void burble__subscription_init(struct burble__subscription *subscription,
                               const struct burble__stream_id *id, burble_stream *stream,
                               uint64_t shown, uint32_t hash)
{
    *subscription = (struct burble__subscription){
        .id = *id, .stream = stream, .shown = shown, .hash = hash, .known = shown};
}

/* The tokens that a frame stands for, as its writer has counted them. */
static uint32_t tokens_of(const char *bytes, size_t len)
{
    burble_frame frame;
    if (burble_frame_read(bytes, len, &frame) != BURBLE_OK)
        return 0;
    switch (frame.kind) {
    case BURBLE_FRAME_TEXT:
    case BURBLE_FRAME_FINISH:
    case BURBLE_FRAME_REASONING:
    case BURBLE_FRAME_TOOL:
        return frame.u.text.n_ids;
    default:
        return 0;
    }
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static enum burble__next over(struct burble__subscription *subscription)
{
    subscription->over = true;
    return BURBLE__NEXT_OVER;
}

void burble__subscription_fail(struct burble__subscription *subscription, int code,
                               const char *message)
{
    if (!subscription->over)
        burble_stream_fail(subscription->stream, code, message);
    subscription->over = true;
}

static enum burble__next diverged(struct burble__subscription *subscription, const char *message)
{
    subscription->diverged = true;
    /* First, so that whoever sees that it has failed finds it counted. */
    if (subscription->n_diverged != NULL && !subscription->over)
        burble__add_relaxed(subscription->n_diverged, 1);
    burble__subscription_fail(subscription, BURBLE_EFORMAT, message);
    return BURBLE__NEXT_OVER;
}

static enum burble__next finish(struct burble__subscription *subscription,
                                const struct burble__ending *ending)
{
    if (strcmp(ending->state, "ended") == 0) {
        const long reason = strtol(ending->code, NULL, 10);
        burble_stream_end(subscription->stream,
                          reason >= BURBLE_REASON_NONE && reason <= BURBLE_REASON_OTHER
                              ? (burble_reason)reason
                              : BURBLE_REASON_OTHER);
    } else if (strcmp(ending->state, "cancelled") == 0) {
        burble_stream_cancel(subscription->stream);
    } else if (strcmp(ending->code, "EXHAUSTED") == 0) {
        burble_stream_fail(subscription->stream, BURBLE_EDIED,
                           "the workers that computed this answer have died");
    } else if (strcmp(ending->code, "WORKER") == 0) {
        burble_stream_fail(subscription->stream, BURBLE_EDIED,
                           "the worker that computed this answer has died, and no other one can "
                           "go on with its text");
    } else if (strcmp(ending->code, "DIGEST") == 0) {
        burble_stream_fail(subscription->stream, BURBLE_EDIED,
                           "the worker that computed this answer has gone, and no other one has "
                           "its model");
    } else {
        const long code = strtol(ending->code, NULL, 10);
        burble_stream_fail(subscription->stream,
                           code < 0 && code >= INT32_MIN ? (int)code : BURBLE_EFAILED,
                           ending->message);
    }
    return over(subscription);
}

/* The message of the end: "state code frames message". */
static enum burble__next take_end(struct burble__subscription *subscription, const char *value,
                                  size_t len)
{
    char text[BURBLE_MESSAGE_MAX + 64];
    if (len >= sizeof text)
        len = sizeof text - 1;
    memcpy(text, value, len);
    text[len] = '\0';
    char *message = text;
    const char *state = strsep(&message, " "), *code = strsep(&message, " ");
    const char *frames = strsep(&message, " ");
    char *end = text;
    if (frames == NULL || strtoull(frames, &end, 10) != subscription->shown || *end != '\0') {
        /* Frames are missing: the reply that has them says how it has ended, too. */
        return BURBLE__NEXT_FETCH;
    }
    const struct burble__ending ending = {state, code, message == NULL ? "" : message};
    return finish(subscription, &ending);
}

/* ---- frames -------------------------------------------------------------------------------------------- */

static enum burble__next append(struct burble__subscription *subscription, const char *frame,
                                size_t len, uint32_t hash)
{
    struct burble__held *held = subscription->held;
    if (held != NULL && burble__load_relaxed(&held->bytes) > BURBLE__HELD_MAX) {
        subscription->full = true;
        return BURBLE__NEXT_RETRY;
    }
    if (held != NULL) { /* before a reader can free the record */
        burble__add_relaxed(&held->bytes, len);
        burble__add_relaxed(&held->references, 1);
    }
    const int result = burble_stream_append_until(subscription->stream, frame, len,
                                                  tokens_of(frame, len), BURBLE_NO_WAIT);
    if (result != BURBLE_OK && held != NULL) {
        burble__add_relaxed(&held->bytes, UINT64_MAX - len + 1);
        burble__held_drop(held);
    }
    switch (result) {
    case BURBLE_OK:
        subscription->shown++;
        subscription->hash = hash;
        return BURBLE__NEXT_NOTHING;
    case BURBLE_EFULL:
    case BURBLE_ENOMEM:
        subscription->full = true;
        return BURBLE__NEXT_RETRY;
    default:
        subscription->cut = true;
        return over(subscription);
    }
}

enum burble__next burble__subscription_take(struct burble__subscription *subscription, uint32_t k,
                                            const char *value, size_t len)
{
    if (subscription->over)
        return BURBLE__NEXT_OVER;
    if (k == BURBLE__FRAMES_ENDED)
        return take_end(subscription, value, len);
    if (k < subscription->shown)
        return BURBLE__NEXT_NOTHING;
    if (subscription->known <= k)
        subscription->known = (uint64_t)k + 1;
    if (subscription->full)
        return BURBLE__NEXT_RETRY;
    if (k > subscription->shown)
        return BURBLE__NEXT_FETCH;
    if (len <= HASH_LEN)
        return diverged(subscription, "a frame of this answer is damaged");
    const uint32_t hash = burble__get_le32(value);
    if (burble_frame_hash(subscription->hash, value + HASH_LEN, len - HASH_LEN) != hash)
        return diverged(subscription, "the answer goes on with another text than was shown");
    return append(subscription, value + HASH_LEN, len - HASH_LEN, hash);
}

/* ---- replies ------------------------------------------------------------------------------------------- */

enum burble__next burble__subscription_attached(struct burble__subscription *subscription,
                                                uint64_t n, const struct burble__ending *ending,
                                                bool progress)
{
    if (subscription->over)
        return BURBLE__NEXT_OVER;
    subscription->absent_since = 0;
    if (ending != NULL && n == subscription->shown)
        return finish(subscription, ending);
    if (subscription->full)
        return BURBLE__NEXT_RETRY;
    if (subscription->shown >= n && ending == NULL) {
        /* Messages that have come meanwhile may have left a gap. */
        const bool gap = subscription->known > subscription->shown;
        subscription->known = subscription->shown;
        return gap ? BURBLE__NEXT_FETCH : BURBLE__NEXT_NOTHING;
    }
    return progress ? BURBLE__NEXT_FETCH : BURBLE__NEXT_RETRY;
}

enum burble__next burble__subscription_refused(struct burble__subscription *subscription,
                                               enum burble__refusal refusal, uint64_t now,
                                               uint64_t patience)
{
    if (subscription->over)
        return BURBLE__NEXT_OVER;
    if (refusal == BURBLE__REFUSED_DIVERGED)
        return diverged(subscription, "the answer has another text than was shown");
    if (subscription->absent_since == 0)
        subscription->absent_since = now;
    if (now - subscription->absent_since < patience)
        return BURBLE__NEXT_RETRY;
    if (refusal == BURBLE__REFUSED_BEYOND)
        return diverged(subscription, "a part of the answer that was shown is lost");
    burble__subscription_fail(subscription, BURBLE_ECLOSED, "the answer is lost");
    return BURBLE__NEXT_OVER;
}

enum burble__next burble__subscription_looked(struct burble__subscription *subscription, int64_t n,
                                              const char *hash, bool goes_on)
{
    if (subscription->over)
        return BURBLE__NEXT_OVER;
    if (subscription->full)
        return BURBLE__NEXT_RETRY;
    if (n < 0 || (uint64_t)n < subscription->asked || !goes_on)
        return BURBLE__NEXT_FETCH;
    if ((uint64_t)n > subscription->shown)
        return BURBLE__NEXT_FETCH;
    if ((uint64_t)n == subscription->shown && n > 0 && burble__get_le32(hash) != subscription->hash)
        return BURBLE__NEXT_FETCH;
    return BURBLE__NEXT_NOTHING;
}

bool burble__subscription_has_room(struct burble__subscription *subscription)
{
    if (burble_stream_wait_for_room(subscription->stream, ROOM, BURBLE_NO_WAIT) == BURBLE_EFULL
        || (subscription->held != NULL
            && burble__load_relaxed(&subscription->held->bytes) > BURBLE__HELD_MAX / 2))
        return false;
    subscription->full = false;
    return true;
}
