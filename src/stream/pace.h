/* SPDX-License-Identifier: MIT
 *
 * Pace: a reader with an interval gets text at most once per interval.
 *
 * A *delivery* begins with a record and ends when the reader finds nothing more. The next delivery is due an interval
 * after the beginning of the last one. The first delivery is due at once, and so is one for which there was no text
 * when it was due. Until then, the reader *rests*: burble_reader_next returns nothing, and text does not wake it.
 *
 * Three rare events end a rest early: the end of the stream, an interruption, and a writer that waits for room. So a
 * resting reader has a second waiter on another stack (`resting`), which only these events look at, and it stays there
 * from one rest to the next. An append costs nothing for it. The protocol is that of waiter.h; only what is published
 * differs:
 *
 *   resting                                ending, interrupting, waiting for room
 *     push the second waiter (or there)      publish (terminal state, `interrupted`, `writer_waits`)
 *     full fence (F1)                        full fence (F2)
 *     look again                             load the top of `resting`
 *     nothing: sleep until it is due         not empty: take all of it, fire each
 *
 * Nobody wakes a resting reader when its time comes: burble_reader_wait sleeps no longer than that, and an event
 * loop has a timer (burble_reader_due). Then the reader looks once more, and, if there is nothing, parks as any
 * other. (One waiter could not do both: it cannot be taken off the middle of a stack.)
 */
#ifndef BURBLE_STREAM_PACE_H
#define BURBLE_STREAM_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "stream/reader.h"
#include "stream/waiter.h"

/* Each reader has one; only the reader's thread uses it. */
struct burble__pace {
    uint64_t interval;             /* nanoseconds, not 0 */
    uint64_t due;                  /* when the next delivery may begin; 0: at once */
    struct burble__waiter *waiter; /* a reference: the second one; NULL: has not rested yet */
    bool delivering;
};

/* Whether the next delivery is not due yet, by the clock alone: then a reader that parks, rests. (If it parked for
 * text because a writer waits for room, and that writer went on meanwhile, the next one would not find it.) */
bool burble__pace_is_early(const burble_reader *reader);

/* Whether burble_reader_next must not return a record: the delivery is not due, and no event ends the rest. */
bool burble__pace_rests(const burble_reader *reader);

/* Notes the result of burble_reader_next, if the reader did not rest. */
void burble__pace_note(struct burble__pace *pace, int rc);

/* Arms the second waiter, which is made like reader->waiter. BURBLE_OK or BURBLE_ENOMEM. */
int burble__pace_arm(burble_reader *reader);

/* Detaches the second waiter, as the first one is: it is not called any more. */
void burble__pace_detach(burble_reader *reader);

#endif
