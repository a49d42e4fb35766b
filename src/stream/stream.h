/* SPDX-License-Identifier: MIT
 *
 * The inside of a stream.
 */
#ifndef BURBLE_STREAM_STREAM_H
#define BURBLE_STREAM_STREAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"
#include "base/fork.h"
#include "stream/block.h"
#include "stream/lag.h"
#include "stream/producer.h"
#include "stream/waiter.h"

/* Keeps what the writer writes for itself off the lines that readers write. */
#define BURBLE__CACHE_LINE 64

/* A stream's state while the thread that ends it writes the reason. Readers treat it as OPEN: the
 * terminal state follows, and wakes them. */
#define BURBLE__CLOSING 4

struct burble_stream {
    /* The writer's own. */
    struct burble__block *tail; /* the end of the chain that `head` keeps */
    uint32_t used;              /* bytes of tail->data, all committed */
    bool cancel_when_unread;    /* never changes */
    bool producer_may_exit;     /* never changes */
    burble_lag_unit lag_unit;   /* never changes */
    _Atomic(uint64_t) forks;    /* of the process that made or renewed it: base/fork.h */
    uint64_t retained;          /* bytes of text from `head` on */
    uint64_t keep;              /* never changes */
    uint64_t written;           /* what all records weigh, in `lag_unit` */
    _Atomic(uint64_t) next_seq; /* of the next record; anybody may look */
    _Atomic(uint64_t) admit_to; /* `written` may come to this before readers are looked at: lag.h */
    struct burble__producer producer;
    struct burble__release release; /* never changes */

    /* Shared. `parked` is written by readers that run out of text, and read at each append. */
    _Alignas(BURBLE__CACHE_LINE) burble__waiter_stack parked;
    _Atomic(uint32_t) state; /* burble_state or BURBLE__CLOSING */
    _Atomic(uint32_t) readers;
    _Atomic(bool) writer_waits;        /* for room: lag.h */
    _Atomic(struct burble__lag *) lag; /* NULL until a reader is limited; then it stays */

    /* `refs` keeps the stream; `weak` keeps only this memory, for threads that have it on their list
     * of streams to fail (see producer.h). All the strong references count as one weak one. */
    _Atomic(uint32_t) refs;
    _Atomic(uint32_t) weak;

    /* The oldest block that is retained. Taken by readers that are made, and *tried* by the writer,
     * which never waits for it. */
    pthread_mutex_t head_lock;
    struct burble__block *head;
    bool
        had_reader; /* under head_lock: before that, a stream that keeps nothing keeps everything */

    /* Written in BURBLE__CLOSING, published by the terminal state. */
    burble_reason reason;
    int code;
    char *message; /* NULL: none */
};

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
