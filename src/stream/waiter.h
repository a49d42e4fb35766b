/* SPDX-License-Identifier: MIT
 *
 * Waiters: how a reader that found nothing is woken by the thread that publishes next.
 *
 * The protocol
 *
 *   A waiter is IDLE, ARMED (on its stream's stack of parked waiters) or FIRED (on its hub's stack of
 *   ready ones, or its thread is being signalled). It is on at most one stack at a time, so that one
 *   `next` is enough.
 *
 *   parking                             publishing
 *     IDLE -> ARMED, push                 publish (a record, a block, a terminal state)
 *     full fence (F1)                     full fence (F2)
 *     look again                          load the top of the stack
 *     nothing: sleep                      not empty: take all of it, fire each
 *
 *   F1 and F2 pair: of the two threads at least one sees what the other one wrote before its fence.
 *   Either the reader sees the record when it looks again, or the writer sees the waiter on the
 *   stack. Without F1 or F2, or without the second look, both could miss each other, and the reader
 *   would sleep for ever although there is a record.
 *
 *   A waiter that a reader leaves ARMED (the second look found something, or the wait timed out) is
 *   fired by the next publication: a spurious wake-up, which every reader must bear anyway.
 *
 * Who owns what
 *
 *   The reader has one reference to its waiter. The stack that the waiter is on has another one, which
 *   moves along when the waiter moves to its hub. So a waiter outlives a reader that is destroyed while
 *   another thread is about to fire the waiter. Such a reader *retires* its waiter: the waiter is not
 *   called any more, and is freed when it is taken off its stack.
 */
#ifndef BURBLE_STREAM_WAITER_H
#define BURBLE_STREAM_WAITER_H

#include <stdbool.h>
#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"
#include "stream/parker.h"

enum burble__waiter_state {
    BURBLE__IDLE,
    BURBLE__ARMED,
    BURBLE__FIRED,
};

struct burble__waiter {
    struct burble__waiter *next; /* belongs to whoever has the stack that it is on */
    _Atomic(uint32_t) state;
    _Atomic(uint32_t) refs;
    _Atomic(bool) retired; /* set by the reader's thread, for good */
    burble_hub *hub;       /* a reference; NULL: a thread blocks on the parker. Never changes. */
    struct burble__waiter *lender; /* a reference: the one whose parker it uses; NULL: its own */
    union {
        struct {
            burble_reader *reader;
            burble_ready_fn *ready;
            void *arg;
        } call;                        /* with a hub */
        struct burble__parker *parker; /* without */
    } to;
};

typedef _Atomic(struct burble__waiter *) burble__waiter_stack;

/* An idle waiter with one reference, that calls ready(reader, arg) through `hub`. NULL where memory
 * is short. */
struct burble__waiter *burble__waiter_create(burble_hub *hub, burble_reader *reader,
                                             burble_ready_fn *ready, void *arg);

/* The same for a thread that blocks. */
struct burble__waiter *burble__waiter_create_blocking(void);

/* A second waiter for the thread that blocks on `lender`: firing either of them wakes it. NULL: out of memory. */
struct burble__waiter *burble__waiter_create_beside(struct burble__waiter *lender);

void burble__waiter_unref(struct burble__waiter *waiter);

/* Puts an idle waiter on the stack (ARMED), then fences: look again after it. One that is ARMED or
 * FIRED already will be woken as it is. Only the reader's thread. */
void burble__waiter_arm(struct burble__waiter *waiter, burble__waiter_stack *parked);

/* Called after something was published: fences, and wakes all waiters on the stack. Any thread. */
void burble__waiter_wake(burble__waiter_stack *parked);

/* The reader's reference goes, and the waiter is not called any more. Only the reader's thread. */
void burble__waiter_retire(struct burble__waiter *waiter, burble__waiter_stack *parked);

/* Turns a stack around: last in first out becomes the order in which it was filled. */
struct burble__waiter *burble__waiter_reverse(struct burble__waiter *top);

#endif
