/* SPDX-License-Identifier: MIT
 *
 * The inside of a stream.
 */
#ifndef BURBLE_STREAM_STREAM_H
#define BURBLE_STREAM_STREAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"
#include "base/fork.h"
#include "stream/block.h"
#include "stream/lag.h"
#include "stream/producer.h"
#include "stream/waiter.h"

/* A stream's state while the thread that ends it writes the reason. Readers treat it as OPEN: the
 * terminal state follows, and wakes them. */
#define BURBLE__CLOSING 4

/* What the writer writes at each append, and what it shares with readers, are more than a cache line (64 bytes) apart, whatever
 * the address of the struct is: neither slows the other down. What seldom changes stands between. */
struct burble_stream {
    /* The writer's own. */
    struct burble__block *tail; /* the end of the chain that `head` keeps */
    uint64_t retained;          /* bytes of text from `head` on */
    uint64_t written;           /* what all records weigh, in `lag_unit` */
    _Atomic(uint64_t) next_seq; /* of the next record; anybody may look */
    _Atomic(uint64_t) admit_to; /* `written` may come to this before readers are looked at: lag.h */
    struct burble__producer producer;
    uint32_t used; /* bytes of tail->data, all committed */

    /* Under head_lock: before that, a stream that keeps nothing keeps everything. (In 4 bytes of its own, which are what the
     * model checks as one.) */
    bool had_reader;
    burble_lag_unit lag_unit;       /* never changes */
    bool cancel_when_unread;        /* never changes */
    bool producer_may_exit;         /* never changes */
    uint64_t keep;                  /* never changes */
    struct burble__release release; /* never changes */
    _Atomic(uint64_t) forks;        /* of the process that made or renewed it: base/fork.h */

    /* The oldest block that is retained. Taken by readers that are made, and *tried* by the writer,
     * which never waits for it. */
    pthread_mutex_t head_lock;
    struct burble__block *head;

    /* Shared. `parked` is written by readers that run out of text, and read at each append. `resting` (pace.h) is read at the
     * end, at an interruption, and by a writer that waits. */
    burble__waiter_stack parked;
    burble__waiter_stack resting;
    _Atomic(struct burble__lag *) lag; /* NULL until a reader is limited; then it stays */
    _Atomic(uint32_t) state;           /* burble_state or BURBLE__CLOSING */
    _Atomic(uint32_t) readers;
    _Atomic(bool) writer_waits; /* for room: lag.h */

    /* `refs` keeps the stream; `weak` keeps only this memory, for threads that have it on their list
     * of streams to fail (see producer.h). All the strong references count as one weak one. */
    _Atomic(uint32_t) refs;
    _Atomic(uint32_t) weak;

    /* Written in BURBLE__CLOSING, published by the terminal state. */
    burble_reason reason;
    int code;
    char *message; /* NULL: none */
};

_Static_assert(offsetof(struct burble_stream, parked)
                       - (offsetof(struct burble_stream, used) + sizeof(uint32_t))
                   >= 64,
               "parked is on a line of the writer's");

/* A strong reference, if the stream has not gone. Needs a weak one. */
bool burble__stream_try_ref(burble_stream *stream);

void burble__stream_unref_weak(burble_stream *stream);

/* BURBLE_OK while records may be appended, else what a writer is told: BURBLE_ECANCELED or
 * BURBLE_ECLOSED. */
int burble__stream_writable(const burble_stream *stream);

/* Whether it has ended, failed or been cancelled. */
bool burble__stream_closed(const burble_stream *stream);

/* The slow half of burble__stream_here. */
void burble__stream_renew(burble_stream *stream);

/* Before anything else in each public function: renews a stream that was made before the last fork
 * (base/fork.h). It may have failed then. */
static inline void burble__stream_here(burble_stream *stream)
{
    if (!burble__is_here(&stream->forks))
        burble__stream_renew(stream);
}

#endif
