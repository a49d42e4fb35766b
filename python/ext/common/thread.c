/* SPDX-License-Identifier: MIT */
#include "common/thread.h"

static uint64_t given; /* under the GIL */

uint64_t thread_my_number(void)
{
    static _Thread_local uint64_t mine;
    if (mine == 0)
        mine = ++given;
    return mine;
}

bool thread_is_me(const struct thread *thread)
{
    return thread->number == thread_my_number();
}

int thread_set(struct core *core, struct thread *thread)
{
    if (core_import(&core->current_thread, "threading", "current_thread") < 0)
        return -1;
    PyObject *me = PyObject_CallObject(core->current_thread, NULL);
    if (me == NULL)
        return -1;
    thread->number = thread_my_number();
    thread->ident = PyThread_get_thread_ident();
    Py_XSETREF(thread->object, me); /* last: letting go of the old one may run Python */
    return 0;
}

bool thread_has_exited(const struct thread *thread)
{
    if (thread->object == NULL || thread_is_me(thread))
        return false;
    /* One that Python did not start always says that it lives, or that it cannot tell. */
    PyObject *object = Py_NewRef(thread->object); /* is_alive runs Python, which may change it */
    PyObject *alive = PyObject_CallMethod(object, "is_alive", NULL);
    const bool exited = alive == Py_False;
    Py_XDECREF(alive);
    Py_DECREF(object);
    PyErr_Clear();
    return exited;
}

void thread_clear(struct thread *thread)
{
    thread->number = 0;
    Py_CLEAR(thread->object);
}
