/* SPDX-License-Identifier: MIT
 *
 * The writing side of a streamer: the methods that `generate` and run() call.
 */
#ifndef BURBLE_PYTHON_WRITING_H
#define BURBLE_PYTHON_WRITING_H

#include "streamers/streamer.h"

PyObject *writing_put(StreamerObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names);
PyObject *writing_end(StreamerObject *self, PyObject *unused);
PyObject *writing_cancel(StreamerObject *self, PyObject *unused);

/* _begin(): run() is about to generate, so that what was written before is another generation. */
PyObject *writing_begin(StreamerObject *self, PyObject *unused);

/* _fail(exception): generate raised it (run() calls this in its thread). The text written so far
 * comes first; a generation that has already ended is unchanged. */
PyObject *writing_fail(StreamerObject *self, PyObject *exception);

/* Called when the producer of `generation` is dead. Its pipeline may still hold text that the model has
 * generated, which belongs to that generation. So the pipeline moves there, as generation->abandoned; the streamer
 * gets a new one, and the writing side leaves the generation.
 *
 * A consumer and a new generation may both call this at the same time, and each call may be nested, because
 * creating a pipeline may run Python code. The first call that has created a pipeline wins; no call waits. 0, or
 * -1 with an exception. */
int writing_abandon(StreamerObject *self, struct generation *generation);

#endif
