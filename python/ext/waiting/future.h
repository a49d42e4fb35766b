/* SPDX-License-Identifier: MIT
 *
 * _core.WaitFuture: what a task awaits that waits for text.
 *
 * asyncio's tasks accept any object that speaks the future protocol: a coroutine yields it with
 * `_asyncio_future_blocking` set, the task adds its wake-up by add_done_callback(), and, once called,
 * asks for result(). A WaitFuture speaks that protocol for a consumer that waits, and when there is
 * something to read, the hub calls the task's wake-up at once, in the task's own context, instead of
 * asking the loop to do so in its next iteration. That is safe where the hub's drain runs: in a callback
 * of the loop's, outside every task. Where loops are nested (nest_asyncio does that for notebooks), a
 * resumed task may run the loop, and so the hub, once more: then tasks are resumed by the loop.
 */
#ifndef BURBLE_PYTHON_FUTURE_H
#define BURBLE_PYTHON_FUTURE_H

#include "common/core.h"

struct consumer;

/* Whose task waits. */
struct waiting {
    struct consumer *consumer;
    /* The object that the consumer is a part of; the future has a reference while pending. */
    PyObject *owner;
    /* Called when the future is no longer pending. `future`: it may be used again; NULL: it goes. Runs no
     * Python code that could see the future half done: the caller has a reference to it and to the owner. */
    void (*left)(struct consumer *consumer, PyObject *future);
};

/* A pending future for a task of `loop`: a new reference, or NULL with an exception. `spare`, one that was
 * used before, or NULL, is used again if nobody else has it; the reference is taken in any case. */
PyObject *future_create(struct core *core, PyObject *spare, PyObject *loop,
                        const struct waiting *waiting);

bool future_is_pending(const PyObject *future);

/* Raises CancelledError if it was cancelled. 0 or -1. */
int future_check(const PyObject *future);

/* Sets _asyncio_future_blocking, before it is yielded. */
void future_block(PyObject *future);

/* The consumer no longer waits; the callbacks are forgotten. */
void future_abandon(PyObject *future);

/* For a forked child: it is never resumed again, and never freed. */
void future_leak(PyObject *future);

/* Resumes the task, if it waits. What a callback raises goes to the loop's exception handler; only
 * KeyboardInterrupt and SystemExit are left set. */
void future_wake(PyObject *future);

#endif
