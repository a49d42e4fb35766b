/* SPDX-License-Identifier: MIT */
#include "server/thread_state.h"

#include <pthread.h>

/* After a fork, it is held by the thread that has forked, which is the child's only one. Nobody who has it waits for the
 * GIL. */
static pthread_mutex_t creating = PTHREAD_MUTEX_INITIALIZER;

PyThreadState *thread_state_enter(PyInterpreterState *interpreter)
{
    pthread_mutex_lock(&creating);
    PyThreadState *thread = PyThreadState_New(interpreter);
    pthread_mutex_unlock(&creating);
    if (thread != NULL)
        PyEval_RestoreThread(thread);
    return thread;
}

void thread_state_leave(PyThreadState *thread)
{
    PyThreadState_Clear(thread);
    PyThreadState_DeleteCurrent();
}

/* Without the GIL: another thread may be between its two calls. */
PyObject *thread_state_before_fork(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
        pthread_mutex_lock(&creating);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyObject *thread_state_after_fork(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    pthread_mutex_unlock(&creating);
    Py_RETURN_NONE;
}
