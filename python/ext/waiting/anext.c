/* SPDX-License-Identifier: MIT
 *
 * _core.AnextAwaitable: what a consumer's __anext__ returns.
 *
 * Where there is something to read, awaiting it gives that at once, without suspending. Where there is
 * nothing, it suspends on a WaitFuture, and reads again when the hub has resumed the task. trio's tasks
 * cannot wait for a WaitFuture: there, a coroutine of burble._trio does (its `delegate`).
 */
#include "waiting/consumer.h"

#include "waiting/future.h"

/* A consumer that always finds something gives way to its loop after this time; it looks at the clock
 * only every so many values. */
#define SLICE_NS 1000000u
#define CLOCK_EVERY 16u

enum stage {
    FRESH,     /* not awaited yet */
    YIELDED,   /* gave way to the loop */
    SUSPENDED, /* waits on `future` */
    SPENT      /* has given its result */
};

typedef struct {
    PyObject_HEAD
    struct consumer *consumer; /* a reference to its owner; NULL once SPENT */
    PyObject *future;          /* while SUSPENDED */
    PyObject *delegate;        /* a coroutine that does what is to be done now; or NULL */
    enum stage stage;
    bool running; /* in the middle of a step, which may run Python code: others are refused */
} AnextObject;

/* ---- one step -------------------------------------------------------------------------------- */

/* Whether a consumer that has always found something should let the loop have a turn. */
static bool should_give_way(struct consumer *self)
{
    if (++self->streak % CLOCK_EVERY != 0)
        return false;
    const uint64_t now = burble_now();
    if (self->streak == CLOCK_EVERY) {
        self->streak_began = now;
        return false;
    }
    return now - self->streak_began >= SLICE_NS;
}

static void drop_future(AnextObject *self)
{
    if (self->future != NULL)
        future_abandon(self->future);
    Py_CLEAR(self->future);
    Py_CLEAR(self->delegate);
}

/* The outcome of a step: a result, something to yield, or an exception. */
enum step { STEP_RETURN, STEP_YIELD, STEP_ERROR };

/* Sends `sent` into the delegate. STEP_RETURN without a value: it is done. */
static enum step send_on(AnextObject *self, PyObject *sent, PyObject **value)
{
    *value = PyObject_CallMethod(self->delegate, "send", "O", sent);
    if (*value != NULL)
        return STEP_YIELD;
    Py_CLEAR(self->delegate);
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return STEP_ERROR;
    PyErr_Clear();
    return STEP_RETURN;
}

static enum step delegate(AnextObject *self, PyObject *coroutine, PyObject **value)
{
    if (coroutine == NULL)
        return STEP_ERROR;
    self->delegate = coroutine;
    return send_on(self, Py_None, value);
}

/* Lets the loop have a turn. */
static enum step give_way(AnextObject *self, PyObject **value)
{
    struct core *core = self->consumer->core;
    bool trio;
    PyObject *loop = hub_running_loop(core, &trio);
    if (loop == NULL)
        return STEP_ERROR;
    Py_DECREF(loop);
    self->stage = YIELDED;
    if (!trio) {
        *value = Py_NewRef(Py_None);
        return STEP_YIELD;
    }
    if (core_import(&core->trio_checkpoint, "burble._trio", "checkpoint") < 0)
        return STEP_ERROR;
    return delegate(self, PyObject_CallObject(core->trio_checkpoint, NULL), value);
}

/* Suspends on self->future, which is new. */
static enum step suspend(AnextObject *self, PyObject **value)
{
    struct core *core = self->consumer->core;
    self->stage = SUSPENDED;
    if (!self->consumer->hub->trio) {
        future_block(self->future);
        *value = Py_NewRef(self->future);
        return STEP_YIELD;
    }
    if (core_import(&core->trio_wait, "burble._trio", "wait") < 0)
        return STEP_ERROR;
    return delegate(self, PyObject_CallFunctionObjArgs(core->trio_wait, self->future, NULL), value);
}

/* After a suspension. STEP_RETURN: look again. */
static enum step resume(AnextObject *self, PyObject **value)
{
    if (future_is_pending(self->future)) { /* resumed by something else: still nothing */
        future_block(self->future);
        *value = Py_NewRef(self->future);
        return STEP_YIELD;
    }
    const int rc = future_check(self->future);
    drop_future(self);
    return rc < 0 ? STEP_ERROR : STEP_RETURN;
}

/* Reads; where there is nothing, suspends, or reads once more where something has come meanwhile. */
static enum step read_or_suspend(AnextObject *self, struct consumer *consumer, PyObject **value)
{
    for (;;) {
        enum reading reading = consumer->kind->read(consumer->owner, value);
        if (reading == READ_NOTHING && self->stage == SUSPENDED && consumer->timed_out) {
            consumer->timed_out = false;
            reading = consumer->kind->timed_out(consumer->owner, false);
            if (reading == READ_NOTHING)
                continue;
        }
        switch (reading) {
        case READ_VALUE:
            if (self->stage == FRESH && consumer->hub != NULL)
                consumer->hub->more++;
            return STEP_RETURN;
        case READ_END:
            consumer_stop_timer(consumer);
            PyErr_SetNone(PyExc_StopAsyncIteration);
            return STEP_ERROR;
        case READ_ERROR:
            return STEP_ERROR;
        case READ_NOTHING:
            break;
        }
        const int rc = consumer_park(consumer, &self->future);
        if (rc < 0)
            return STEP_ERROR;
        if (rc == 0) {
            const enum step result = suspend(self, value);
            if (result != STEP_RETURN)
                return result;
            drop_future(self);
        }
    }
}

static enum step step(AnextObject *self, PyObject *sent, PyObject **value)
{
    struct consumer *consumer = self->consumer;
    if (consumer == NULL) { /* SPENT, or torn down */
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse an already awaited __anext__()");
        return STEP_ERROR;
    }
    consumer_here(consumer);
    if (self->delegate != NULL) {
        const enum step rc = send_on(self, sent, value);
        if (rc != STEP_RETURN)
            return rc;
    }
    if (self->stage == SUSPENDED) {
        const enum step rc = resume(self, value);
        if (rc != STEP_RETURN)
            return rc;
        consumer->streak = 0;
    }
    if (self->stage == FRESH && should_give_way(consumer)) {
        consumer->streak = 0;
        const enum step rc = give_way(self, value);
        if (rc != STEP_RETURN)
            return rc;
    }
    if (!consumer_begin_reading(consumer))
        return STEP_ERROR;
    const enum step result = read_or_suspend(self, consumer, value);
    consumer_end_reading(consumer);
    return result;
}

/* Not to be awaited again; its consumer keeps it for the next __anext__. */
static void spend(AnextObject *self)
{
    struct consumer *consumer = self->consumer;
    drop_future(self);
    self->stage = SPENT;
    self->consumer = NULL;
    if (consumer == NULL)
        return;
    if (consumer->spare_anext == NULL)
        consumer->spare_anext = Py_NewRef((PyObject *)self);
    Py_DECREF(consumer->owner);
}

/* Whether it is the caller's to use, until end_call. (As a coroutine that is already executing; it is not
 * spent by that.) */
static bool begin_call(AnextObject *self)
{
    if (!self->running)
        return self->running = true;
    PyErr_SetString(PyExc_RuntimeError, "this __anext__() is already being awaited");
    return false;
}

static void end_call(AnextObject *self)
{
    self->running = false;
}

static enum step step_once(AnextObject *self, PyObject *sent, PyObject **value)
{
    const enum step result = step(self, sent, value);
    if (result != STEP_YIELD)
        spend(self);
    return result;
}

/* ---- the awaitable --------------------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030A0000
static PySendResult anext_am_send(PyObject *self, PyObject *sent, PyObject **result)
{
    AnextObject *next = (AnextObject *)self;
    *result = NULL;
    if (!begin_call(next))
        return PYGEN_ERROR;
    const enum step rc = step_once(next, sent, result);
    end_call(next);
    return rc == STEP_RETURN ? PYGEN_RETURN : rc == STEP_YIELD ? PYGEN_NEXT : PYGEN_ERROR;
}
#endif

/* Returns a value as a generator does: one that StopIteration would take apart is wrapped. */
static void return_value(PyObject *value)
{
    PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, value, NULL);
    if (stop != NULL)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
}

/* One step, as generators have it. */
static PyObject *send_once(AnextObject *self, PyObject *sent)
{
    PyObject *value = NULL;
    switch (step_once(self, sent, &value)) {
    case STEP_YIELD:
        return value;
    case STEP_RETURN:
        return_value(value);
        Py_DECREF(value);
        return NULL;
    default:
        return NULL;
    }
}

static PyObject *anext_send(AnextObject *self, PyObject *sent)
{
    if (!begin_call(self))
        return NULL;
    PyObject *value = send_once(self, sent);
    end_call(self);
    return value;
}

static PyObject *anext_iternext(AnextObject *self)
{
    return anext_send(self, Py_None);
}

static PyObject *anext_close(AnextObject *self, PyObject *unused)
{
    (void)unused;
    if (!begin_call(self))
        return NULL;
    PyObject *coroutine = self->delegate;
    self->delegate = NULL;
    PyObject *none =
        coroutine == NULL ? Py_NewRef(Py_None) : PyObject_CallMethod(coroutine, "close", NULL);
    Py_XDECREF(coroutine);
    spend(self);
    end_call(self);
    return none;
}

/* An exception for the delegate, which may take it for a reason to go on. */
static PyObject *throw_on(AnextObject *self, PyObject *args)
{
    PyObject *method = PyObject_GetAttrString(self->delegate, "throw");
    PyObject *value = method == NULL ? NULL : PyObject_CallObject(method, args);
    Py_XDECREF(method);
    if (value != NULL)
        return value;
    Py_CLEAR(self->delegate);
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Clear();
        return send_once(self, Py_None);
    }
    spend(self);
    return NULL;
}

/* Raises what throw() was given. */
static void raise_given(PyObject *type, PyObject *value, PyObject *traceback)
{
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
        return;
    }
    Py_INCREF(type);
    Py_XINCREF(value);
    PyErr_Restore(type, value, traceback);
}

/* throw(type[, value[, traceback]]), as generators have it. */
static PyObject *anext_throw(AnextObject *self, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL, *result = NULL;
    if (!PyArg_ParseTuple(args, "O|OO", &type, &value, &traceback) || !begin_call(self))
        return NULL;
    if (self->delegate != NULL) {
        result = throw_on(self, args);
    } else {
        spend(self);
        raise_given(type, value, traceback);
    }
    end_call(self);
    return result;
}

static int anext_traverse(AnextObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    if (self->consumer != NULL)
        Py_VISIT(self->consumer->owner);
    Py_VISIT(self->future);
    Py_VISIT(self->delegate);
    return 0;
}

static int anext_clear(AnextObject *self)
{
    struct consumer *consumer = self->consumer;
    self->consumer = NULL;
    Py_CLEAR(self->future);
    Py_CLEAR(self->delegate);
    if (consumer != NULL)
        Py_DECREF(consumer->owner);
    return 0;
}

static void anext_dealloc(AnextObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    drop_future(self);
    anext_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef anext_methods[] = {
    {"send", (PyCFunction)anext_send, METH_O, NULL},
    {"throw", (PyCFunction)anext_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)anext_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot anext_slots[] = {
    {Py_tp_doc, "What __anext__ returns, to be awaited once."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, anext_iternext},
    {Py_am_await, PyObject_SelfIter},
#if PY_VERSION_HEX >= 0x030A0000
    {Py_am_send, anext_am_send},
#endif
    {Py_tp_traverse, anext_traverse},
    {Py_tp_clear, anext_clear},
    {Py_tp_dealloc, anext_dealloc},
    {Py_tp_methods, anext_methods},
    {0, NULL},
};

PyType_Spec anext_spec = {
    .name = "burble._core.AnextAwaitable",
    .basicsize = sizeof(AnextObject),
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
#else
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
#endif
    .slots = anext_slots,
};

/* ---- __anext__ ------------------------------------------------------------------------------- */

PyObject *consumer_anext(struct consumer *self)
{
    /* One awaitable serves all steps, unless another reference to it is kept. */
    AnextObject *next = (AnextObject *)self->spare_anext;
    if (next != NULL && Py_REFCNT(next) == 1 && next->consumer == NULL) {
        /* Its reference goes with it: kept, one that nobody awaits would keep its owner. */
        self->spare_anext = NULL;
    } else {
        PyTypeObject *type = self->core->anext_type;
        next = (AnextObject *)type->tp_alloc(type, 0);
        if (next == NULL)
            return NULL;
    }
    next->stage = FRESH;
    next->consumer = self;
    Py_INCREF(self->owner);
    return (PyObject *)next;
}
