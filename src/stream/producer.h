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

#include <stdbool.h>
#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"

/* In each stream. */
struct burble__producer {
    _Atomic(uint64_t) thread; /* the number of the thread that writes; 0: none yet */
    _Atomic(uint64_t) ticket; /* of its adoption */
};

/* The number of a thread to which the writing was handed over, and that has not appended yet. */
#define BURBLE__ANOTHER_THREAD UINT64_MAX

/* Makes the calling thread the producer of the stream. BURBLE_OK or BURBLE_ENOMEM. */
int burble__producer_adopt(burble_stream *stream);

/* Says that a thread which has not appended yet is the producer. */
void burble__producer_hand_over(burble_stream *stream);

/* Of a stream that was made before this process was forked: whether its producer is in this process. True
 * where it has none yet. */
bool burble__producer_is_here(const burble_stream *stream);

/* The stream is over: where the calling thread is its producer, its entry goes, sooner or later. */
void burble__producer_release(burble_stream *stream);

#endif
