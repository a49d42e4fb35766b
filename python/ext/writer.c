/* SPDX-License-Identifier: MIT */
#include "writer.h"

uint64_t writer_my_number(void)
{
    static _Thread_local uint64_t mine;
    static uint64_t given; /* under the GIL */
    if (mine == 0)
        mine = ++given;
    return mine;
}

bool writer_is_me(const struct writer *writer)
{
    return writer->number == writer_my_number();
}

int writer_set(struct core *core, struct writer *writer)
{
    if (core_import(&core->current_thread, "threading", "current_thread") < 0)
        return -1;
    PyObject *thread = PyObject_CallObject(core->current_thread, NULL);
    if (thread == NULL)
        return -1;
    Py_XSETREF(writer->thread, thread);
    writer->number = writer_my_number();
    writer->ident = PyThread_get_thread_ident();
    return 0;
}

bool writer_has_exited(const struct writer *writer)
{
    if (writer->thread == NULL || writer_is_me(writer))
        return false;
    /* One that Python did not start always says that it lives, or that it cannot tell. */
    PyObject *alive = PyObject_CallMethod(writer->thread, "is_alive", NULL);
    const bool exited = alive == Py_False;
    Py_XDECREF(alive);
    PyErr_Clear();
    return exited;
}

void writer_clear(struct writer *writer)
{
    writer->number = 0;
    Py_CLEAR(writer->thread);
}
