/* SPDX-License-Identifier: MIT
 *
 * A subscription: the frames of one answer, as they come from Redis, on their way into a stream here. It decides what
 * is shown, and knows nothing of connections.
 *
 *     live messages  ─► take ──┐
 *     replies to attach ─► take, attached ─► the stream, or what is to be done next
 *     looks, once a second ─► looked
 *
 * A frame is appended if and only if it is the next one, and the hash of all frames up to it is the one that stands with it.
 * A lower one was shown before. One beyond the next one shows that messages were lost: the frames between are fetched. Another
 * hash means that Redis has lost what was shown, and that another text follows: the stream fails.
 *
 * A stream that has no room, since its reader is behind, drops what comes, which is fetched once there is room.
 */
#ifndef BURBLE_RELAY_SUBSCRIPTION_H
#define BURBLE_RELAY_SUBSCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"
#include "serve/position.h"

/* In the place of a frame's number: the answer has ended. */
#define BURBLE__FRAMES_ENDED UINT32_MAX

struct burble__subscription {
    struct burble__stream_id id;
    burble_stream *stream;
    uint64_t shown;                /* frames that the reader of the stream has, or had before */
    uint32_t hash;                 /* of these */
    uint64_t known;                /* frames that Redis has, as far as is known */
    uint64_t asked;                /* `shown` when the last look was sent */
    uint64_t absent_since;         /* ns: Redis has not what was shown; 0: it has */
    bool full;                     /* the stream had no room */
    bool over;                     /* the stream has ended */
    bool cut;                      /* by its reader: it was cancelled, or has failed, here */
    bool diverged;                 /* the stream has failed since another text follows */
    _Atomic(uint64_t) *n_diverged; /* counts such streams; NULL: nobody does */
    /* It bounds the stream's text that is in memory; NULL: its readers do. */
    struct burble__held *held;
};

/* How much of a stream's text is in memory. Its references: one of the subscription, and one of each record. */
struct burble__held {
    _Atomic(uint64_t) bytes;
    _Atomic(uint64_t) references;
};

/* The most bytes of text that a stream holds for readers that have no limit. */
#define BURBLE__HELD_MAX ((uint64_t)1 << 20)

/* A stream whose memory is counted by *held, which the subscription drops by burble__held_drop. BURBLE_OK or BURBLE_ENOMEM. */
int burble__held_stream_create(burble_stream **stream, struct burble__held **held);
void burble__held_drop(struct burble__held *held);

/* What is to be done next. */
enum burble__next {
    BURBLE__NEXT_NOTHING,
    BURBLE__NEXT_FETCH, /* attach: frames are missing, or the state is not known */
    BURBLE__NEXT_RETRY, /* attach after a while: what is missing may come back, or there is no room */
    BURBLE__NEXT_OVER, /* the stream has ended; nothing more is taken */
};

/* Why Redis gives no frames. */
enum burble__refusal {
    BURBLE__REFUSED_NONE,     /* there is no such answer */
    BURBLE__REFUSED_BEYOND,   /* it has fewer frames than were shown */
    BURBLE__REFUSED_DIVERGED, /* its frames are others */
};

/* How an answer has ended. */
struct burble__ending {
    const char *state; /* "ended", "failed", "cancelled" */
    const char *code;
    const char *message;
};

/* The stream is the caller's, which keeps it until the subscription is over. `shown` frames, with this hash, were shown
 * before. */
void burble__subscription_init(struct burble__subscription *subscription,
                               const struct burble__stream_id *id, burble_stream *stream,
                               uint64_t shown, uint32_t hash);

/* Frame `k`, with its hash in front, from a message or a reply; or, if `k` is BURBLE__FRAMES_ENDED, the end:
 * "state code frames message". */
enum burble__next burble__subscription_take(struct burble__subscription *subscription, uint32_t k,
                                            const char *value, size_t len);

/* Redis has attached this front, and the frames of the reply were taken. The answer has `n` frames in all; `ending` is NULL
 * while it goes on. `progress`: the reply had frames. */
enum burble__next burble__subscription_attached(struct burble__subscription *subscription,
                                                uint64_t n, const struct burble__ending *ending,
                                                bool progress);

/* Redis has refused to attach it. What is not there may come back, since a worker that holds the answer writes it
 * again: it is waited for at most `patience` nanoseconds. */
enum burble__next burble__subscription_refused(struct burble__subscription *subscription,
                                               enum burble__refusal refusal, uint64_t now,
                                               uint64_t patience);

/* The reply to a look: the answer has `n` frames, or is not there (-1); `hash`, 4 bytes, is that of the last one. `goes_on`: it
 * has not ended. */
enum burble__next burble__subscription_looked(struct burble__subscription *subscription, int64_t n,
                                              const char *hash, bool goes_on);

/* Whether the stream has room (again), or its reader has cut it. */
bool burble__subscription_has_room(struct burble__subscription *subscription);

/* Ends the stream with an error. */
void burble__subscription_fail(struct burble__subscription *subscription, int code,
                               const char *message);

#endif
