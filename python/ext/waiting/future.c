/* SPDX-License-Identifier: MIT */
#include "waiting/future.h"

enum future_state { PENDING, DONE, CANCELLED };

typedef struct {
    PyObject_HEAD
    struct core *core;
    struct waiting waiting; /* while pending; else all NULL */
    PyObject *loop;
    PyObject *callback; /* the first one with its context, which is nearly always the only one */
    PyObject *context;
    PyObject *more;    /* a list of pairs of further ones; or NULL */
    PyObject *message; /* of a cancellation; or NULL */
    enum future_state state;
    char blocking;
    /* Inside future_wake, which has one reference, and calls nobody after this callback. */
    bool waking;
} FutureObject;

static FutureObject *as_future(const PyObject *object)
{
    return (FutureObject *)object;
}

/* `spare`, at its beginning again; NULL if others remember it, and so need it as it is. */
static FutureObject *reuse(PyObject *spare)
{
    FutureObject *self = as_future(spare);
    if (self == NULL)
        return NULL;
    /* The wake-up that has brought the task here remembers it, too, but is done with it: so a task that
     * reads on and waits again needs no new one. */
    if (Py_REFCNT(self) != 1 + self->waking) {
        Py_DECREF(self);
        return NULL;
    }
    /* (These may run Python code, which does not come to `self`.) */
    Py_CLEAR(self->message);
    Py_CLEAR(self->loop);
    return self;
}

PyObject *future_create(struct core *core, PyObject *spare, PyObject *loop,
                        const struct waiting *waiting)
{
    PyTypeObject *type = core->future_type;
    FutureObject *self = reuse(spare);
    if (self == NULL && (self = (FutureObject *)type->tp_alloc(type, 0)) == NULL)
        return NULL;
    self->core = core;
    self->state = PENDING;
    self->blocking = 0;
    self->loop = Py_NewRef(loop);
    self->waiting = *waiting;
    Py_INCREF(waiting->owner);
    return (PyObject *)self;
}

bool future_is_pending(const PyObject *future)
{
    return as_future(future)->state == PENDING;
}

void future_block(PyObject *future)
{
    as_future(future)->blocking = 1;
}

int future_check(const PyObject *future)
{
    FutureObject *self = as_future(future);
    if (self->state != CANCELLED)
        return 0;
    PyObject *message = Py_XNewRef(self->message);
    if (core_import(&self->core->cancelled_error, "asyncio", "CancelledError") == 0) {
        if (message != NULL)
            PyErr_SetObject(self->core->cancelled_error, message);
        else
            PyErr_SetNone(self->core->cancelled_error);
    }
    Py_XDECREF(message);
    return -1;
}

/* Takes the consumer, and the reference to its owner, off a future. */
static struct waiting take_waiting(FutureObject *self)
{
    const struct waiting waiting = self->waiting;
    self->waiting = (struct waiting){NULL, NULL, NULL};
    return waiting;
}

/* No longer what its consumer waits for. The caller has a reference to `self`: what goes here may run
 * Python code, which finds all in place. */
static void leave(FutureObject *self, enum future_state state)
{
    self->state = state;
    const struct waiting waiting = take_waiting(self);
    if (waiting.owner == NULL)
        return;
    waiting.left(waiting.consumer, (PyObject *)self);
    Py_DECREF(waiting.owner);
}

/* Lets go of all that is to be called. */
static void drop_callbacks(FutureObject *self)
{
    PyObject *callback = self->callback, *context = self->context, *more = self->more;
    PyObject *loop = self->loop;
    self->callback = self->context = self->more = self->loop = NULL;
    Py_XDECREF(callback);
    Py_XDECREF(context);
    Py_XDECREF(more);
    Py_XDECREF(loop);
}

void future_abandon(PyObject *future)
{
    FutureObject *self = as_future(future);
    if (self->state != PENDING)
        return;
    Py_INCREF(self);
    leave(self, CANCELLED);
    drop_callbacks(self);
    Py_DECREF(self);
}

/* A task that waits there stays suspended, as the parent's loop does. */
void future_leak(PyObject *future)
{
    FutureObject *self = as_future(future);
    self->state = CANCELLED;
    take_waiting(self);
}

/* ---- waking ---------------------------------------------------------------------------------- */

/* Reports an error of a callback to the loop, as the loop reports those of its own callbacks. */
static void report(PyObject *loop)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    PyObject *context = Py_BuildValue("{s:s,s:O}", "message",
                                      "Exception while resuming what waits for a burble stream",
                                      "exception", value);
    PyObject *none =
        context == NULL ? NULL : PyObject_CallMethod(loop, "call_exception_handler", "O", context);
    if (none == NULL)
        PyErr_WriteUnraisable(loop);
    Py_XDECREF(none);
    Py_XDECREF(context);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* The finished future that a callback gets: `self`. But a task, which asks it for its result, gets one whose
 * result it can read without a look-up by name; the callback of a task that is written in C is a method of
 * its type. Borrowed. */
static PyObject *what_is_done(FutureObject *self, PyObject *callback)
{
    struct core *core = self->core;
    PyObject *task = PyCFunction_Check(callback) ? PyCFunction_GET_SELF(callback) : NULL;
    if (task == NULL || (PyObject *)Py_TYPE(task) != core->task_type || core->finished == NULL)
        return (PyObject *)self;
    return core->finished;
}

static void call_now(FutureObject *self, PyObject *loop, PyObject *callback, PyObject *context)
{
    if (PyContext_Enter(context) == 0) {
        PyObject *args[] = {NULL, what_is_done(self, callback)};
        PyObject *none =
            PyObject_Vectorcall(callback, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        const int left = PyContext_Exit(context);
        if (none != NULL) {
            Py_DECREF(none);
        } else {
            if (left < 0)
                PyErr_Clear();
            PyErr_Restore(type, value, traceback);
        }
    }
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)
        && !PyErr_ExceptionMatches(PyExc_SystemExit))
        report(loop);
}

/* Through the loop, in its next iteration: for what is not called from the hub. Where `loop` is NULL,
 * through the one that runs here. */
static int call_soon(FutureObject *self, PyObject *loop, PyObject *callback, PyObject *context)
{
    if (core_import(&self->core->get_running_loop, "asyncio", "_get_running_loop") < 0)
        return -1;
    loop = loop != NULL ? Py_NewRef(loop) : PyObject_CallObject(self->core->get_running_loop, NULL);
    PyObject *method = loop == NULL ? NULL : PyObject_GetAttr(loop, self->core->str_call_soon);
    Py_XDECREF(loop);
    if (method == NULL)
        return -1;
    PyObject *args[] = {callback, (PyObject *)self, context};
    PyObject *names = PyTuple_Pack(1, self->core->str_context);
    PyObject *handle = names == NULL ? NULL : PyObject_Vectorcall(method, args, 2, names);
    Py_XDECREF(names);
    Py_DECREF(method);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* Takes all callbacks off, and the loop, which what is kept for use again must not keep, and hands
 * each to `how`. */
static int for_each_callback(FutureObject *self,
                             int (*how)(FutureObject *, PyObject *, PyObject *, PyObject *))
{
    PyObject *callback = self->callback, *context = self->context, *more = self->more;
    PyObject *loop = self->loop;
    int rc = 0;
    self->callback = self->context = self->more = self->loop = NULL;
    if (callback != NULL)
        rc = how(self, loop, callback, context);
    for (Py_ssize_t i = 0; rc == 0 && more != NULL && i < PyList_GET_SIZE(more); i++) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(more, i));
        rc = how(self, loop, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        Py_DECREF(pair);
    }
    Py_XDECREF(callback);
    Py_XDECREF(context);
    Py_XDECREF(more);
    Py_XDECREF(loop);
    return rc;
}

static int call_now_and_go_on(FutureObject *self, PyObject *loop, PyObject *callback,
                              PyObject *context)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* of the callback before, if it ends the program */
    call_now(self, loop, callback, context);
    if (type != NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
    return 0;
}

static int call_soon_and_go_on(FutureObject *self, PyObject *loop, PyObject *callback,
                               PyObject *context)
{
    if (call_soon(self, loop, callback, context) < 0)
        PyErr_WriteUnraisable(callback);
    return 0;
}

void future_wake(PyObject *future)
{
    FutureObject *self = as_future(future);
    Py_INCREF(self);
    leave(self, DONE);
    self->waking = self->more == NULL;
    for_each_callback(self, self->core->indirect ? call_soon_and_go_on : call_now_and_go_on);
    self->waking = false;
    Py_DECREF(self);
}

/* ---- the future protocol --------------------------------------------------------------------- */

/* 0, or -1 with an exception. It calls itself at most once: `callback` is never NULL again. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int add_callback(FutureObject *self, PyObject *callback, PyObject *context)
{
    PyObject *pair = NULL;
    int rc = 0;
    /* Made first, since that may run Python code, which may change what this looks at. */
    if (self->callback != NULL && (pair = PyTuple_Pack(2, callback, context)) == NULL)
        return -1;
    PyObject *list = pair == NULL || self->more != NULL ? NULL : PyList_New(0);
    if (pair != NULL && self->more == NULL && list == NULL)
        rc = -1;
    else if (self->state != PENDING)
        rc = call_soon(self, NULL, callback, context);
    else if (self->callback == NULL) {
        self->callback = Py_NewRef(callback);
        self->context = Py_NewRef(context);
    } else if (pair == NULL) {
        rc = add_callback(self, callback, context); /* another one was added first */
    } else {
        if (self->more == NULL)
            self->more = Py_NewRef(list);
        rc = PyList_Append(self->more, pair);
    }
    Py_XDECREF(list);
    Py_XDECREF(pair);
    return rc;
}

/* add_done_callback(callback, /, *, context=None): once for each wait of a task. */
static PyObject *future_add_done_callback(FutureObject *self, PyObject *const *args, Py_ssize_t n,
                                          PyObject *names)
{
    const Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (n != 1 || named > 1
        || (named == 1
            && PyUnicode_Compare(PyTuple_GET_ITEM(names, 0), self->core->str_context) != 0)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback(callback, *, context=None)");
        return NULL;
    }
    PyObject *callback = args[0], *context = named == 0 ? NULL : args[1];
    context = context == NULL || context == Py_None ? PyContext_CopyCurrent() : Py_NewRef(context);
    if (context == NULL)
        return NULL;
    const int rc = add_callback(self, callback, context);
    Py_DECREF(context);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Takes the further callbacks off that are equal to this one. How many, or -1 with an exception. */
static Py_ssize_t remove_more(FutureObject *self, PyObject *callback)
{
    PyObject *more = Py_XNewRef(self->more);
    Py_ssize_t removed = 0;
    /* Comparing runs Python code, which may change the list, or call all that is in it. */
    for (Py_ssize_t i = more == NULL ? 0 : PyList_GET_SIZE(more); removed >= 0 && i-- > 0;) {
        if (self->more != more || i >= PyList_GET_SIZE(more))
            continue;
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(more, i));
        const int same = PyObject_RichCompareBool(PyTuple_GET_ITEM(pair, 0), callback, Py_EQ);
        if (same < 0)
            removed = -1;
        else if (same && self->more == more && i < PyList_GET_SIZE(more)
                 && PyList_GET_ITEM(more, i) == pair)
            removed = PySequence_DelItem(more, i) < 0 ? -1 : removed + 1;
        Py_DECREF(pair);
    }
    Py_XDECREF(more);
    return removed;
}

/* The same for the first one. */
static int remove_first(FutureObject *self, PyObject *callback)
{
    PyObject *first = Py_XNewRef(self->callback);
    int same = first == NULL ? 0 : PyObject_RichCompareBool(first, callback, Py_EQ);
    if (same > 0 && self->callback == first) {
        PyObject *context = self->context;
        self->callback = self->context = NULL;
        Py_DECREF(first);
        Py_XDECREF(context);
    } else if (same > 0) {
        same = 0; /* it was called or removed meanwhile */
    }
    Py_XDECREF(first);
    return same;
}

static PyObject *future_remove_done_callback(FutureObject *self, PyObject *callback)
{
    const Py_ssize_t more = remove_more(self, callback);
    const int first = more < 0 ? -1 : remove_first(self, callback);
    return first < 0 ? NULL : PyLong_FromSsize_t(more + first);
}

static PyObject *future_cancel(FutureObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"msg", NULL};
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &message))
        return NULL;
    if (self->state != PENDING)
        Py_RETURN_FALSE;
    Py_INCREF(self);
    leave(self, CANCELLED);
    if (message != Py_None)
        Py_XSETREF(self->message, Py_NewRef(message));
    const int rc = for_each_callback(self, call_soon);
    Py_DECREF(self);
    if (rc < 0)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *future_done(FutureObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(self->state != PENDING);
}

static PyObject *future_cancelled(FutureObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(self->state == CANCELLED);
}

/* None: that there is something to read is all that it has to say. */
static PyObject *future_result(FutureObject *self, PyObject *unused)
{
    (void)unused;
    if (self->state == PENDING) {
        PyErr_SetString(PyExc_RuntimeError, "the wait has not ended yet");
        return NULL;
    }
    if (future_check((PyObject *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *future_get_loop(FutureObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(self->loop == NULL ? Py_None : self->loop);
}

static PyObject *future_get_blocking(FutureObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->blocking);
}

static int future_set_blocking(FutureObject *self, PyObject *value, void *unused)
{
    (void)unused;
    const int truth = value == NULL ? -1 : PyObject_IsTrue(value);
    if (value == NULL)
        PyErr_SetString(PyExc_AttributeError, "_asyncio_future_blocking cannot be deleted");
    if (truth < 0)
        return -1;
    self->blocking = (char)truth;
    return 0;
}

static PyObject *future_repr(FutureObject *self)
{
    static const char *states[] = {"pending", "done", "cancelled"};
    return PyUnicode_FromFormat("<burble: waiting for text, %s>", states[self->state]);
}

static int future_traverse(FutureObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->waiting.owner);
    Py_VISIT(self->loop);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    Py_VISIT(self->more);
    Py_VISIT(self->message);
    return 0;
}

static int future_clear(FutureObject *self)
{
    const struct waiting waiting = take_waiting(self);
    if (waiting.owner != NULL) {
        waiting.left(waiting.consumer, NULL);
        Py_DECREF(waiting.owner);
    }
    self->state = CANCELLED;
    drop_callbacks(self);
    Py_CLEAR(self->message);
    return 0;
}

static void future_dealloc(FutureObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    future_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef future_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))future_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, NULL},
    {"remove_done_callback", (PyCFunction)future_remove_done_callback, METH_O, NULL},
    {"cancel", (PyCFunction)(void (*)(void))future_cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {"done", (PyCFunction)future_done, METH_NOARGS, NULL},
    {"cancelled", (PyCFunction)future_cancelled, METH_NOARGS, NULL},
    {"result", (PyCFunction)future_result, METH_NOARGS, NULL},
    {"exception", (PyCFunction)future_result, METH_NOARGS, NULL},
    {"get_loop", (PyCFunction)future_get_loop, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef future_getset[] = {
    {"_asyncio_future_blocking", (getter)future_get_blocking, (setter)future_set_blocking, NULL,
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot future_slots[] = {
    {Py_tp_doc, "What a task awaits while it waits for a stream's next text."},
    {Py_tp_repr, future_repr},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, future_getset},
    {0, NULL},
};

PyType_Spec future_spec = {
    .name = "burble._core.WaitFuture",
    .basicsize = sizeof(FutureObject),
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
#else
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
#endif
    .slots = future_slots,
};
