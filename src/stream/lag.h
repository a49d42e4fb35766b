/* SPDX-License-Identifier: MIT
 *
 * Lag: how far readers may fall behind, and what the writer does about it.
 *
 * Weights are counted from the beginning of the stream: `written` is what all records weigh, and a
 * limited reader has `consumed` what the records before its position weigh. Its lag is the
 * difference. A reader without a limit counts nothing and is on no list.
 *
 * The writer's look
 *
 *   `admit_to` is how far the writer may go, as of its last look: the least `consumed` + `max` of all
 *   readers. Readers only go forward, so `admit_to` can be too small, but not too large, and only a writer
 *   that reaches it looks again. A thread that changes a limit sets it to 0, which makes the writer
 *   look.
 *
 * Waiting for room
 *
 *   reading (next)                      waiting (the writer, with `lock` held)
 *     store `consumed`                    set `writer_waits`, and `wake_at` of each reader at its limit
 *     full fence (L2)                     full fence (L1)
 *     load `wake_at`                      look again: the stream's state, each `consumed`
 *     consumed so much: signal            no room: let go of `lock`, sleep at the parker
 *
 *   L1 and L2 pair as F1 and F2 of waiter.h do: either the writer sees what was consumed, or the
 *   reader sees that it must signal. Without them both could miss each other, and the writer would
 *   sleep for ever although there is room. A thread that ends the stream stores its state, fences (L3) and
 *   loads `writer_waits`: L1 and L3 pair in the same way. A thread that changes or removes a limit does so
 *   with `lock` held, either before the writer looks or after it has set `writer_waits`.
 *
 *   `wake_at` leaves a quarter of the limit free, so that the writer is not woken for each record. A late
 *   signal only makes the next wait look once more.
 *
 * Dropping
 *
 *   A reader that may be dropped holds its mutex `place` while it looks at or moves its position,
 *   and so does the writer while it takes the position away. Both hold it for a few instructions.
 *   The order is `lock`, then `place`.
 */
#ifndef BURBLE_STREAM_LAG_H
#define BURBLE_STREAM_LAG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"
#include "base/utf8.h"
#include "stream/parker.h"

/* In each stream that has, or had, limited readers. */
struct burble__lag {
    pthread_mutex_t lock;        /* of the list and of the limits in it; never while waiting */
    struct burble__limit *first; /* the limited readers, but those that were dropped */
    struct burble__parker room;  /* where the writer waits */
};

/* In each limited reader. `max` and `on_lag` are written by the reader's thread alone, with the lag's
 * lock held, so that it may read them without. */
struct burble__limit {
    struct burble__limit *prev, *next;
    burble_reader *reader;
    uint64_t max;
    burble_on_lag on_lag;
    uint64_t goal;              /* the waiting writer: what this one must consume; 0: nothing */
    _Atomic(uint64_t) consumed; /* the reader's thread */
    _Atomic(uint64_t) wake_at;  /* who consumes so much signals; UINT64_MAX: nobody */

    pthread_mutex_t place; /* where `on_lag` is DROP: of reader->block, reader->offset and */
    bool dropped;
};

/* The weight of a record. */
static inline uint64_t burble__weigh(burble_lag_unit unit, const char *text, size_t len,
                                     uint32_t tokens)
{
    if (unit == BURBLE_LAG_BYTES)
        return len;
    if (unit == BURBLE_LAG_TOKENS)
        return tokens;
    return burble__utf8_count(text, len);
}

/* ---- the writer's side ----------------------------------------------------------------------- */

/* Makes room for a record of `weight`: waits for readers that block, drops others. What
 * burble_stream_append_until says. */
int burble__lag_admit(burble_stream *stream, uint64_t weight, uint64_t deadline);

/* Only the waiting. */
int burble__lag_wait(burble_stream *stream, uint64_t weight, uint64_t deadline);

/* Wakes a waiting writer, because the stream is over. Any thread. */
void burble__lag_closed(burble_stream *stream);

/* NULL is fine. */
void burble__lag_free(struct burble__lag *lag);

/* ---- the reader's side: its thread only ------------------------------------------------------ */

/* The reader was handed a record of `weight`. */
void burble__limit_consumed(burble_reader *reader, uint64_t weight);

/* Keeps the writer from dropping a reader with this limit (NULL: no limit) until the matching release.
 * Returns false, and holds nothing, if the writer has already dropped it. */
static inline bool burble__limit_hold_place(struct burble__limit *limit)
{
    if (limit == NULL || limit->on_lag != BURBLE_LAG_DROP)
        return true;
    pthread_mutex_lock(&limit->place);
    if (!limit->dropped)
        return true;
    pthread_mutex_unlock(&limit->place);
    return false;
}

static inline void burble__limit_let_go(struct burble__limit *limit)
{
    if (limit != NULL && limit->on_lag == BURBLE_LAG_DROP)
        pthread_mutex_unlock(&limit->place);
}

/* Removes the reader's limit, if it has one. Whether it was dropped. */
bool burble__limit_remove(burble_reader *reader);

#endif
