/* SPDX-License-Identifier: MIT
 *
 * The producer's death: when a thread exits, the streams that it was writing fail.
 *
 * Each thread has a list of the streams that it has taken to writing, and a destructor that goes
 * through it when the thread exits. The list is the thread's alone, so it needs no lock. Its entries
 * refer to streams weakly: a stream that nobody reads or writes any more goes, whatever list it is
 * on, and only its bare memory waits for the list to be tidied.
 *
 * Each adoption has a ticket of its own. An entry is valid while its stream still has its ticket, so
 * that a stream which moved on to another thread is not failed by the first one's end.
 */
#ifndef BURBLE_STREAM_PRODUCER_H
#define BURBLE_STREAM_PRODUCER_H

#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"

/* In each stream. */
struct burble__producer {
    _Atomic(uint64_t) thread; /* the number of the thread that writes; 0: none yet */
    _Atomic(uint64_t) ticket; /* of its adoption */
};

/* The calling thread's number; 0 where it has never adopted a stream. */
uint64_t burble__producer_self(void);

/* Makes the calling thread the producer of the stream. BURBLE_OK or BURBLE_ENOMEM. */
int burble__producer_adopt(burble_stream *stream);

/* Fails a stream that was being written by a thread which a fork has left behind: this process does not
 * have it, and so not its exit either. For who is about to wait. */
void burble__producer_look(burble_stream *stream);

/* The stream is over: where the calling thread is its producer, its entry goes, sooner or later. */
void burble__producer_release(burble_stream *stream);

#endif
