/* SPDX-License-Identifier: MIT */
#include "waiting/loop_clock.h"

/* 0, or -1 with an exception. */
static int read_lead(PyObject *loop, int64_t *lead)
{
    PyObject *time = PyObject_CallMethod(loop, "time", NULL);
    const double seconds = time == NULL ? -1 : PyFloat_AsDouble(time);
    Py_XDECREF(time);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    if (!(seconds > -9e9 && seconds < 9e9)) { /* some 290 years are what fits */
        PyErr_SetString(PyExc_OverflowError, "the time of the loop's clock is out of range");
        return -1;
    }
    *lead = (int64_t)(seconds * 1e9) - (int64_t)burble_now();
    return 0;
}

int clock_set_mark(struct clock_mark *mark, PyObject *loop)
{
    mark->loop = loop == Py_None ? NULL : loop;
    return mark->loop == NULL ? 0 : read_lead(loop, &mark->lead);
}

int clock_read(struct loop_clock *clock, PyObject *loop, bool own)
{
    clock->loop = loop;
    clock->own = own;
    return own ? read_lead(loop, &clock->lead) : 0;
}

int64_t clock_ahead(const struct loop_clock *clock, const struct clock_mark *mark)
{
    const bool known = mark != NULL && mark->loop == clock->loop;
    return clock->own ? clock->lead - (known ? mark->lead : clock->lead_at_park) : 0;
}

uint64_t clock_earlier_by(uint64_t deadline, int64_t ahead)
{
    if (deadline == 0 || ahead == 0)
        return deadline;
    if (ahead < 0)
        return deadline + (uint64_t)-ahead;
    return deadline > (uint64_t)ahead ? deadline - (uint64_t)ahead : 1;
}

int clock_call_later(struct core *core, PyObject *loop, bool own, uint64_t nanoseconds,
                     PyObject *method)
{
    PyObject *seconds = PyFloat_FromDouble((double)nanoseconds / 1e9);
    PyObject *handle = NULL;
    if (seconds != NULL && !own)
        handle = PyObject_CallMethodObjArgs(loop, core->str_call_later, seconds, method, NULL);
    else if (seconds != NULL && core_import(&core->call_later, "burble._loops", "call_later") == 0)
        handle = PyObject_CallFunctionObjArgs(core->call_later, loop, seconds, method, NULL);
    Py_XDECREF(seconds);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}
