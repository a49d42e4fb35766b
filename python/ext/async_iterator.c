/* SPDX-License-Identifier: MIT
 *
 * _core.AsyncIteratorStreamer: a streamer that a task reads with `async for`; and _core.Next, the
 * awaitable that its __anext__ returns.
 *
 * Where text is there, awaiting a Next gives it at once, without suspending. Where there is none, it
 * suspends on a Parked, and looks again when the hub has resumed the task.
 */
#include "parked.h"

/* A consumer that always finds text gives way to its loop after this time; it looks at the clock
 * only every so many chunks. */
#define SLICE_NS 1000000u
#define CLOCK_EVERY 16u

enum stage {
    FRESH,     /* not awaited yet */
    YIELDED,   /* gave way to the loop, with None */
    SUSPENDED, /* waits on `parked` */
    SPENT      /* has given its result */
};

typedef struct {
    PyObject_HEAD
    StreamerObject *streamer;
    PyObject *parked; /* while SUSPENDED */
    enum stage stage;
} NextObject;

/* ---- waiting --------------------------------------------------------------------------------- */

/* The hub calls this when a parked reader has something to say. */
static void on_ready(burble_reader *reader, void *streamer)
{
    (void)reader;
    parked_wake(streamer);
}

/* Makes `hub` the one through which the present round wakes. */
static int attach(StreamerObject *self, HubObject *hub)
{
    struct round *round = self->reading;
    if (round->hub == hub)
        return 0;
    const int rc = burble_reader_attach(round->reader, hub->hub, on_ready, self);
    if (rc != BURBLE_OK) {
        Py_CLEAR(round->hub);
        core_raise(self->core, rc);
        return -1;
    }
    Py_XSETREF(round->hub, (HubObject *)Py_NewRef((PyObject *)hub));
    return 0;
}

/* Asks the loop to call _on_timer after `delay` nanoseconds. */
static int start_timer(StreamerObject *self, PyObject *loop, uint64_t delay)
{
    PyObject *handle = NULL;
    if (core_import(&self->core->on_timer, "burble._loops", "on_timer") < 0)
        return -1;
    /* By a weak reference: a long timeout must not keep a streamer that nobody else wants. */
    PyObject *reference = PyWeakref_NewRef((PyObject *)self, NULL);
    PyObject *seconds = PyFloat_FromDouble((double)delay / 1e9);
    if (reference != NULL && seconds != NULL)
        handle = PyObject_CallMethodObjArgs(loop, self->core->str_call_later, seconds,
                                            self->core->on_timer, reference, NULL);
    Py_XDECREF(reference);
    Py_XDECREF(seconds);
    if (handle == NULL)
        return -1;
    Py_XSETREF(self->timer, handle);
    self->timer_loop = loop;
    self->timer_at = burble__now() + delay;
    return 0;
}

/* The timer is not needed any more. One of another loop than the one that runs here is left to
 * itself, since its handle is not this thread's: it will find that it is no longer the one. */
static void stop_timer(StreamerObject *self)
{
    PyObject *timer = self->timer;
    if (timer == NULL)
        return;
    self->timer = NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *loop = PyObject_CallObject(self->core->get_running_loop, NULL);
    PyObject *none = NULL;
    if (loop != NULL && loop == self->timer_loop)
        none = PyObject_CallMethod(timer, "cancel", NULL);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(timer);
    Py_XDECREF(none);
    Py_XDECREF(loop);
    Py_DECREF(timer);
    PyErr_Restore(type, value, traceback);
}

/* One timer serves all waits of a streamer: it is not moved with every token, but looks, when it
 * fires, how long the present wait still has. So a wait costs no timer where one is running. */
static PyObject *on_timer(StreamerObject *self, PyObject *loop)
{
    if (self->timer == NULL || self->timer_loop != loop)
        Py_RETURN_NONE; /* a timer that was left behind in another loop */
    Py_CLEAR(self->timer);
    if (self->parked == NULL || self->timeout == 0 || self->reading == NULL)
        Py_RETURN_NONE;
    const uint64_t now = burble__now(), deadline = streamer_deadline(self, self->wait_began);
    if (now >= deadline) {
        self->timed_out = true;
        parked_wake(self);
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    if (start_timer(self, loop, deadline - now) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A task that waited in a loop which has been closed will never be resumed: it no longer counts as
 * the consumer. 0, or -1 with an exception. */
static int forget_closed_loop(StreamerObject *self)
{
    if (self->parked == NULL)
        return 0;
    PyObject *loop = PyObject_CallMethod(self->parked, "get_loop", NULL);
    PyObject *closed = loop == NULL ? NULL : PyObject_CallMethod(loop, "is_closed", NULL);
    const int truth = closed == NULL ? -1 : PyObject_IsTrue(closed);
    Py_XDECREF(loop);
    Py_XDECREF(closed);
    if (truth > 0 && self->parked != NULL)
        parked_abandon(self->parked);
    return truth < 0 ? -1 : 0;
}

/* Nothing is there: parks. 1 where something has come meanwhile; 0 parked, with a new reference in
 * *parked; -1 with an exception. */
static int park(StreamerObject *self, PyObject **parked)
{
    PyObject *loop;
    if (forget_closed_loop(self) < 0)
        return -1;
    if (self->parked != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "another task is already waiting for the next text of this %.100s: one "
                     "consumer each",
                     Py_TYPE(self)->tp_name);
        return -1;
    }
    HubObject *hub = hub_of_running_loop(self->core, self->hub, &loop);
    if (hub == NULL)
        return -1;
    Py_XSETREF(self->hub, hub);
    int rc = attach(self, hub);
    if (rc == 0) {
        const int result = burble_reader_park(self->reading->reader);
        if (result == BURBLE_OK) {
            rc = 1;
        } else if (result != BURBLE_AGAIN) {
            core_raise(self->core, result);
            rc = -1;
        }
    }
    if (rc == 0)
        self->wait_began = burble__now();
    if (rc == 0 && self->timeout != 0) {
        self->timed_out = false;
        /* A timer that fires too early looks again; one that would fire too late is replaced. */
        if (self->timer == NULL || self->timer_loop != loop
            || self->timer_at > self->wait_began + self->timeout) {
            stop_timer(self);
            rc = start_timer(self, loop, self->timeout);
        }
    }
    if (rc == 0) {
        *parked = parked_create(self, loop);
        rc = *parked == NULL ? -1 : hub_enlist(self, loop);
        if (rc < 0 && *parked != NULL) {
            parked_abandon(*parked);
            Py_CLEAR(*parked);
        }
    }
    Py_DECREF(loop);
    return rc;
}

/* ---- one step -------------------------------------------------------------------------------- */

/* Whether a consumer that has always found text should let the loop have a turn. */
static bool should_give_way(StreamerObject *self)
{
    if (self->streak++ % CLOCK_EVERY != 0)
        return false;
    const uint64_t now = burble__now();
    if (self->streak == 1) {
        self->streak_began = now;
        return false;
    }
    return now - self->streak_began >= SLICE_NS;
}

static void drop_parked(NextObject *self)
{
    if (self->parked != NULL)
        parked_abandon(self->parked);
    Py_CLEAR(self->parked);
}

/* What a step comes to: a result, something to yield, or an exception. */
enum step { STEP_RETURN, STEP_YIELD, STEP_ERROR };

static enum step step(NextObject *self, PyObject **value)
{
    StreamerObject *streamer = self->streamer;
    if (streamer == NULL || streamer->reading == NULL) { /* SPENT, or torn down */
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse an already awaited __anext__()");
        return STEP_ERROR;
    }
    if (self->stage == SUSPENDED) {
        if (parked_is_pending(self->parked)) { /* resumed by something else: still nothing */
            parked_block(self->parked);
            *value = Py_NewRef(self->parked);
            return STEP_YIELD;
        }
        const int rc = parked_check(self->parked);
        drop_parked(self);
        if (rc < 0)
            return STEP_ERROR;
        streamer->streak = 0;
    }
    if (self->stage == FRESH && should_give_way(streamer)) {
        streamer->streak = 0;
        self->stage = YIELDED;
        *value = Py_NewRef(Py_None);
        return STEP_YIELD;
    }
    for (;;) {
        enum reading reading = streamer_read(streamer, value);
        if (reading == READ_NOTHING && self->stage == SUSPENDED && streamer->timed_out) {
            streamer->timed_out = false;
            reading = streamer_timed_out(streamer, PyExc_TimeoutError);
        }
        switch (reading) {
        case READ_TEXT:
            return STEP_RETURN;
        case READ_END:
            stop_timer(streamer);
            PyErr_SetNone(PyExc_StopAsyncIteration);
            return STEP_ERROR;
        case READ_ERROR:
            return STEP_ERROR;
        case READ_NOTHING:
            break;
        }
        PyObject *parked = NULL;
        const int rc = park(streamer, &parked);
        if (rc < 0)
            return STEP_ERROR;
        if (rc == 0) {
            self->parked = parked;
            self->stage = SUSPENDED;
            parked_block(parked);
            *value = Py_NewRef(parked);
            return STEP_YIELD;
        }
    }
}

/* Not to be awaited again; its streamer keeps it for the next __anext__. */
static void spend(NextObject *self)
{
    StreamerObject *streamer = self->streamer;
    drop_parked(self);
    self->stage = SPENT;
    self->streamer = NULL;
    if (streamer == NULL)
        return;
    if (streamer->spare_next == NULL)
        streamer->spare_next = Py_NewRef((PyObject *)self);
    Py_DECREF(streamer);
}

static enum step step_once(NextObject *self, PyObject **value)
{
    const enum step result = step(self, value);
    if (result != STEP_YIELD)
        spend(self);
    return result;
}

/* ---- the awaitable --------------------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030A0000
static PySendResult next_am_send(PyObject *self, PyObject *unused, PyObject **result)
{
    (void)unused;
    *result = NULL;
    switch (step_once((NextObject *)self, result)) {
    case STEP_RETURN:
        return PYGEN_RETURN;
    case STEP_YIELD:
        return PYGEN_NEXT;
    default:
        return PYGEN_ERROR;
    }
}
#endif

static PyObject *next_iternext(NextObject *self)
{
    PyObject *value = NULL;
    switch (step_once(self, &value)) {
    case STEP_YIELD:
        return value;
    case STEP_RETURN:
        PyErr_SetObject(PyExc_StopIteration, value); /* a str, so it needs no wrapping */
        Py_DECREF(value);
        return NULL;
    default:
        return NULL;
    }
}

static PyObject *next_send(NextObject *self, PyObject *unused)
{
    (void)unused;
    return next_iternext(self);
}

static PyObject *next_close(NextObject *self, PyObject *unused)
{
    (void)unused;
    spend(self);
    Py_RETURN_NONE;
}

/* throw(type[, value[, traceback]]), as generators have it. */
static PyObject *next_throw(NextObject *self, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_ParseTuple(args, "O|OO", &type, &value, &traceback))
        return NULL;
    spend(self);
    if (traceback == Py_None)
        traceback = NULL;
    if (PyExceptionInstance_Check(type)) {
        value = type;
        type = (PyObject *)Py_TYPE(value);
        if (traceback == NULL)
            traceback = PyException_GetTraceback(value);
        else
            Py_INCREF(traceback);
    } else if (PyExceptionClass_Check(type)) {
        Py_XINCREF(traceback);
    } else {
        PyErr_Format(PyExc_TypeError, "throw() takes an exception, found %.100s",
                     Py_TYPE(type)->tp_name);
        return NULL;
    }
    Py_INCREF(type);
    Py_XINCREF(value);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static int next_traverse(NextObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->streamer);
    Py_VISIT(self->parked);
    return 0;
}

static int next_clear(NextObject *self)
{
    Py_CLEAR(self->parked);
    Py_CLEAR(self->streamer);
    return 0;
}

static void next_dealloc(NextObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    drop_parked(self);
    next_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef next_methods[] = {
    {"send", (PyCFunction)next_send, METH_O, NULL},
    {"throw", (PyCFunction)next_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)next_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot next_slots[] = {
    {Py_tp_doc, "What __anext__ of a streamer returns, to be awaited once."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, next_iternext},
    {Py_am_await, PyObject_SelfIter},
#if PY_VERSION_HEX >= 0x030A0000
    {Py_am_send, next_am_send},
#endif
    {Py_tp_traverse, next_traverse},
    {Py_tp_clear, next_clear},
    {Py_tp_dealloc, next_dealloc},
    {Py_tp_methods, next_methods},
    {0, NULL},
};

PyType_Spec next_spec = {
    .name = "burble._core.Next",
    .basicsize = sizeof(NextObject),
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
#else
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
#endif
    .slots = next_slots,
};

/* ---- the iterator ---------------------------------------------------------------------------- */

static PyObject *async_iterator_anext(StreamerObject *self)
{
    if (self->reading == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
        return NULL;
    }
    /* One awaitable serves all steps, unless somebody holds on to it. */
    NextObject *next = (NextObject *)self->spare_next;
    if (next != NULL && Py_REFCNT(next) == 1 && next->streamer == NULL) {
        Py_INCREF(next);
    } else {
        PyTypeObject *type = self->core->next_type;
        next = (NextObject *)type->tp_alloc(type, 0);
        if (next == NULL)
            return NULL;
    }
    next->stage = FRESH;
    next->streamer = (StreamerObject *)Py_NewRef((PyObject *)self);
    return (PyObject *)next;
}

static PyMethodDef async_iterator_methods[] = {
    STREAMER_ON_FINALIZED_TEXT,
    {"_on_timer", (PyCFunction)on_timer, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot async_iterator_slots[] = {
    {Py_tp_doc, "A streamer that a task reads with `async for`."},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, async_iterator_anext},
    {Py_tp_methods, async_iterator_methods},
    {0, NULL},
};

PyType_Spec async_iterator_spec = {
    .name = "burble._core.AsyncIteratorStreamer",
    .basicsize = sizeof(StreamerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = async_iterator_slots,
};
