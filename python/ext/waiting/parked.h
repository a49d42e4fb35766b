/* SPDX-License-Identifier: MIT
 *
 * What a waiting task waits for.
 *
 * asyncio's tasks accept any object that speaks the future protocol: a coroutine yields it with
 * `_asyncio_future_blocking` set, the task adds its wake-up by add_done_callback(), and, once called,
 * asks for result(). A Parked speaks that protocol for a consumer that waits, and when something
 * is there, the hub calls the task's wake-up at once, in the task's own context, instead of
 * asking the loop to do so in its next round. That is safe where the hub's drain runs: in a callback
 * of the loop's, outside every task. Where loops are nested (nest_asyncio does that for notebooks), a
 * resumed task may run the loop, and so the hub, once more: then tasks are resumed by the loop.
 */
#ifndef BURBLE_PYTHON_PARKED_H
#define BURBLE_PYTHON_PARKED_H

#include "waiting/consumer.h"

/* A pending one for a consumer, whose loop is `loop`: a new reference, which is also noted as
 * consumer->parked. */
PyObject *parked_create(struct consumer *consumer, PyObject *loop);

/* Whether it still waits. */
bool parked_is_pending(const PyObject *parked);

/* Raises CancelledError if it was cancelled. 0 or -1. */
int parked_check(const PyObject *parked);

/* Sets _asyncio_future_blocking, before it is yielded. */
void parked_block(PyObject *parked);

/* The consumer no longer waits; its callbacks are forgotten. */
void parked_abandon(PyObject *parked);

/* In a forked child: nobody resumes it any more, and it is never freed. */
void parked_let_be(PyObject *parked);

/* Resumes whoever waits there, if anybody does. What a callback raises goes to the loop's
 * exception handler; only KeyboardInterrupt and SystemExit are left set. */
void parked_wake(struct consumer *consumer);

#endif
