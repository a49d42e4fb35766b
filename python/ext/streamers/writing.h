/* SPDX-License-Identifier: MIT
 *
 * The writing side of a streamer: the methods that generate, and those who run it, call.
 */
#ifndef BURBLE_PYTHON_WRITING_H
#define BURBLE_PYTHON_WRITING_H

#include "streamers/streamer.h"

PyObject *writing_put(StreamerObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names);
PyObject *writing_end(StreamerObject *self, PyObject *unused);
PyObject *writing_cancel(StreamerObject *self, PyObject *unused);

/* _begin(): run() is about to generate, so that what was written before is another generation. */
PyObject *writing_begin(StreamerObject *self, PyObject *unused);

/* _fail(exception): generate raised it (run() calls this in its thread). What was written so far
 * comes first; what was ended already is left alone. */
PyObject *writing_fail(StreamerObject *self, PyObject *exception);

/* The producer of `generation` is dead. What its pipeline still holds is text that the model has generated,
 * and belongs to that generation: the pipeline goes there, as generation->abandoned, another one takes its place, and
 * the writing side is done with the generation.
 *
 * A consumer and a new generation may come to this at once, and either may come to it again from within:
 * making a pipeline may run Python code. The first one that has made one decides; nobody waits. 0, or
 * -1 with an exception. */
int writing_abandon(StreamerObject *self, struct generation *generation);

#endif
