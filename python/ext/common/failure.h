/* SPDX-License-Identifier: MIT
 *
 * What the readers of a generation get of an exception that it raised.
 *
 * StopIteration, StopAsyncIteration, GeneratorExit and the cancellations of asyncio, trio and
 * concurrent.futures mean something to the loop, generator or task that waits for text, and a future of
 * asyncio cannot hold a StopIteration. On its way from one thread, loop or coroutine to another such an
 * exception becomes the cause of a RuntimeError, as Python makes it of a StopIteration that leaves a
 * generator. All other exceptions, also KeyboardInterrupt and SystemExit, stay what they are.
 */
#ifndef BURBLE_PYTHON_FAILURE_H
#define BURBLE_PYTHON_FAILURE_H

#include "common/core.h"

/* `exception`, or the RuntimeError that stands for it (a MemoryError where there is none to be had). A new
 * reference, never NULL. An exception that is set stays. */
PyObject *failure_of(PyObject *exception);

/* The same with the exception that is set: one that a tokenizer has raised where its text is read. */
void failure_of_raised(void);

#endif
