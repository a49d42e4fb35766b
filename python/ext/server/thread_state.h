/* SPDX-License-Identifier: MIT
 *
 * Python in a thread that the interpreter has not made.
 *
 * Such a thread creates a thread state without the GIL, and takes a lock of the interpreter's for that. A thread that forks
 * has the GIL, and CPython before 3.12 relies on it that nobody else has that lock then: the child would wait for it for
 * ever. So thread states are created under a lock that a fork takes, too.
 */
#ifndef BURBLE_PYTHON_THREAD_STATE_H
#define BURBLE_PYTHON_THREAD_STATE_H

#include "common/core.h"

/* Creates a thread state for this thread, which has none, and takes the GIL. NULL: no memory. */
PyThreadState *thread_state_enter(PyInterpreterState *interpreter);

/* Frees it, and releases the GIL. */
void thread_state_leave(PyThreadState *thread);

/* Functions of the module, for os.register_at_fork: before a fork, and after it in parent and child. */
PyObject *thread_state_before_fork(PyObject *module, PyObject *unused);
PyObject *thread_state_after_fork(PyObject *module, PyObject *unused);

#endif
