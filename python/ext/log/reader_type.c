/* SPDX-License-Identifier: MIT
 *
 * _core.Reader: the type.
 */
#include "log/reader.h"

#include <structmember.h>

/* ---- methods --------------------------------------------------------------------------------- */

bool reader_is_own(ReaderObject *self)
{
    if (self->read_by == &self->consumer)
        return true;
    PyErr_SetString(
        PyExc_RuntimeError,
        "this reader is read by a gather or a batch: nothing else may read it meanwhile");
    return false;
}

static PyObject *reader_next(ReaderObject *self)
{
    return reader_is_own(self) ? consumer_next(&self->consumer) : NULL;
}

static PyObject *reader_anext(ReaderObject *self)
{
    return reader_is_own(self) ? consumer_anext(&self->consumer) : NULL;
}

static PyObject *reader_on_timer(ReaderObject *self, PyObject *unused)
{
    (void)unused;
    return consumer_on_timer(&self->consumer);
}

/* (position, value), of the value that was just read; where there is no memory, it comes next. */
static PyObject *numbered(ReaderObject *self, PyObject *value)
{
    PyObject *position = PyLong_FromUnsignedLongLong(self->last - 1);
    PyObject *both = position == NULL ? NULL : PyTuple_Pack(2, position, value);
    Py_XDECREF(position);
    if (both == NULL && self->reader != NULL)
        self->kept = value;
    else
        Py_DECREF(value);
    return both;
}

static PyObject *reader_take(ReaderObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *value = NULL, *taken = NULL;
    if (!consumer_is_free(&self->consumer) || !reader_is_own(self)
        || !consumer_begin_reading(&self->consumer))
        return NULL;
    const enum reading reading = reader_read(self, &value);
    if (reading == READ_VALUE)
        taken = numbered(self, value);
    else if (reading == READ_NOTHING)
        taken = Py_NewRef(Py_None);
    consumer_end_reading(&self->consumer);
    if (reading == READ_END)
        PyErr_SetNone(PyExc_StopIteration);
    return taken;
}

static int parse_limit(long long max_lag, const char *name, burble_on_lag *on_lag)
{
    if (max_lag < 0) {
        PyErr_Format(PyExc_ValueError, "max_lag: expected 0 (no limit) or more, found %lld",
                     max_lag);
        return -1;
    }
    if (strcmp(name, "block") == 0) {
        *on_lag = BURBLE_LAG_BLOCK;
    } else if (strcmp(name, "drop_reader") == 0) {
        *on_lag = BURBLE_LAG_DROP;
    } else {
        PyErr_Format(PyExc_ValueError, "on_lag: expected 'block' or 'drop_reader', found '%.100s'",
                     name);
        return -1;
    }
    return 0;
}

/* 0, or -1 with an exception. */
static int set_limit(ReaderObject *self, long long max_lag, burble_on_lag on_lag)
{
    const int rc = burble_reader_limit(self->reader, (uint64_t)max_lag, on_lag);
    if (rc == BURBLE_OK || rc == BURBLE_ELAGGED) /* which reading says */
        return 0;
    core_raise(self->log->core, rc);
    return -1;
}

static PyObject *reader_limit(ReaderObject *self, PyObject *args)
{
    long long max_lag;
    const char *name;
    burble_on_lag on_lag;
    if (!PyArg_ParseTuple(args, "Ls", &max_lag, &name) || parse_limit(max_lag, name, &on_lag) < 0)
        return NULL;
    consumer_here(self->read_by);
    if (self->read_by->blocked) {
        consumer_is_free(self->read_by); /* which says so */
        return NULL;
    }
    if (!self->closed && set_limit(self, max_lag, on_lag) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *reader_give_up(ReaderObject *self, PyObject *seconds)
{
    uint64_t length;
    if (core_nanoseconds(seconds, "timeout", &length) < 0)
        return NULL;
    self->timeout = length;
    self->until = length == 0 ? 0 : burble_now() + length;
    Py_RETURN_NONE;
}

static PyObject *reader_close(ReaderObject *self, PyObject *unused)
{
    (void)unused;
    consumer_here(self->read_by);
    if (consumer_forget_closed_loop(self->read_by) < 0)
        return NULL;
    if (self->closed)
        Py_RETURN_NONE;
    self->closed = true;
    const bool is_merged = self->read_by != &self->consumer;
    if (!is_merged && !self->read_by->reading && !self->read_by->parking
        && self->read_by->future == NULL) {
        reader_let_go(self);
        Py_RETURN_NONE;
    }
    /* The thread or loop that reads or waits there destroys it. A loop may take long until then: meanwhile, the
     * reader must not delay the writer. (A thread comes at once, and the reader that it waits at is its own.) */
    if (!self->read_by->blocked)
        burble_reader_limit(self->reader, 1, BURBLE_LAG_DROP);
    burble_reader_interrupt(self->reader);
    Py_RETURN_NONE;
}

static PyObject *get_id(ReaderObject *self, void *unused)
{
    (void)unused;
    return log_id(self->log);
}

static PyObject *get_error(ReaderObject *self, void *unused)
{
    (void)unused;
    return log_get_error(self->log);
}

static PyObject *get_position(ReaderObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->reader == NULL ? self->position
                                                            : burble_reader_position(self->reader));
}

static PyObject *get_last(ReaderObject *self, void *unused)
{
    (void)unused;
    if (self->last == 0)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(self->last - 1);
}

static PyObject *get_coalesce(ReaderObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->coalesce);
}

static int set_coalesce(ReaderObject *self, PyObject *value, void *unused)
{
    (void)unused;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "coalesce cannot be deleted");
        return -1;
    }
    const int truth = PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    if (truth && self->log->objects) {
        PyErr_SetString(PyExc_ValueError, "coalesce: expected a log of text, found one of objects");
        return -1;
    }
    self->coalesce = truth != 0;
    return 0;
}

static PyObject *reader_set_interval(ReaderObject *self, PyObject *seconds)
{
    uint64_t interval;
    if (core_nanoseconds(seconds, "interval", &interval) < 0 || !consumer_is_free(self->read_by))
        return NULL;
    const int rc = self->closed ? BURBLE_OK : burble_reader_interval(self->reader, interval);
    if (rc != BURBLE_OK)
        return core_raise(self->log->core, rc), NULL;
    self->coalesce = self->coalesce || (interval != 0 && !self->log->objects);
    Py_RETURN_NONE;
}

/* ---- the type -------------------------------------------------------------------------------- */

/* Raises the error of burble_reader_create. */
static void raise_position(struct core *core, int rc, long long start, uint64_t bound)
{
    if (rc == BURBLE_EINVAL) {
        PyErr_Format(PyExc_ValueError,
                     "start: expected at most %llu, the present end of the stream, found %lld",
                     (unsigned long long)bound, start);
        return;
    }
    if (rc != BURBLE_EGONE) {
        core_raise(core, rc);
        return;
    }
    PyObject *message = PyUnicode_FromFormat("position %lld is no longer retained; the oldest "
                                             "retained position is %llu (keep= retains more)",
                                             start, (unsigned long long)bound);
    PyObject *oldest = PyLong_FromUnsignedLongLong(bound);
    PyObject *error =
        message == NULL ? NULL : PyObject_CallFunctionObjArgs(core->gone, message, NULL);
    if (error != NULL && oldest != NULL && PyObject_SetAttrString(error, "oldest", oldest) == 0)
        PyErr_SetObject(core->gone, error);
    Py_XDECREF(message);
    Py_XDECREF(oldest);
    Py_XDECREF(error);
}

/* A reader at `from`, which is not retained: with the help of one that still has that before it.
 * BURBLE_EGONE: there is none. */
static int create_beside_others(LogObject *log, uint64_t from, burble_reader **out)
{
    for (ReaderObject *other = log->readers; other != NULL; other = other->after) {
        /* One at which a thread waits, without the GIL, is that thread's. */
        consumer_here(other->read_by);
        if (other->reader == NULL || other->read_by->blocked)
            continue;
        const int rc = burble_reader_create_from(other->reader, from, out);
        if (rc != BURBLE_EGONE)
            return rc;
    }
    return BURBLE_EGONE;
}

ReaderObject *reader_create(LogObject *log, long long start)
{
    uint64_t bound;
    if (start < -2) {
        PyErr_Format(PyExc_ValueError,
                     "start: expected a position, -1 (oldest) or -2 (tail), found %lld", start);
        return NULL;
    }
    const uint64_t from = start == -1   ? BURBLE_FROM_OLDEST
                          : start == -2 ? BURBLE_FROM_TAIL
                                        : (uint64_t)start;
    PyTypeObject *type = log->core->reader_type;
    ReaderObject *self = (ReaderObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    consumer_init(&self->consumer, (PyObject *)self, &reader_consumer, NULL, log->core);
    self->read_by = &self->consumer;
    self->log = (LogObject *)Py_NewRef((PyObject *)log);
    self->closed = true; /* until it is one */
    int rc = burble_reader_create(log->stream, from, &self->reader, &bound);
    if (rc == BURBLE_EGONE)
        rc = create_beside_others(log, from, &self->reader);
    if (rc != BURBLE_OK) {
        raise_position(log->core, rc, start, bound);
        Py_DECREF(self);
        return NULL;
    }
    self->after = log->readers;
    if (self->after != NULL)
        self->after->before = self;
    log->readers = self;
    self->closed = false;
    return self;
}

const char reader_create_doc[] =
    "reader($self, start=0, /, max_lag=0, on_lag='block')\n--\n\n"
    "A reader at a position; -1: at the oldest record that is left; -2: at the tail, for what is\n"
    "appended from now on. Raises Gone where that position is no longer retained, and ValueError\n"
    "where it is beyond the end.\n\n"
    "max_lag: how far it may fall behind, in the log's unit; 0: no limit. on_lag: 'block', then "
    "the\n"
    "writer waits for it, or 'drop_reader', then it loses its place, and reading raises Lagged.";

PyObject *reader_create_method(LogObject *log, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "max_lag", "on_lag", NULL};
    long long start = 0, max_lag = 0;
    const char *name = "block";
    burble_on_lag on_lag;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|LLs", names, &start, &max_lag, &name)
        || parse_limit(max_lag, name, &on_lag) < 0)
        return NULL;
    ReaderObject *self = reader_create(log, start);
    if (self != NULL && max_lag > 0 && set_limit(self, max_lag, on_lag) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int reader_traverse(ReaderObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->log);
    Py_VISIT(self->kept);
    return consumer_traverse(&self->consumer, visit, arg);
}

/* The log is kept: whatever it refers to, its own clearing releases. */
static int reader_clear(ReaderObject *self)
{
    consumer_clear(&self->consumer);
    return 0;
}

static void reader_dealloc(ReaderObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    reader_clear(self);
    reader_let_go(self);
    Py_XDECREF(self->log);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"take", (PyCFunction)reader_take, METH_NOARGS,
     "take($self, /)\n--\n\n"
     "What is there, without waiting, as (its sequence number, value): of text put together, the\n"
     "last record's number. None: nothing yet. At the end StopIteration; errors as in iteration."},
    {"limit", (PyCFunction)reader_limit, METH_VARARGS,
     "limit($self, max_lag, on_lag, /)\n--\n\nSet the limit anew, as Log.reader has it."},
    {"set_interval", (PyCFunction)reader_set_interval, METH_O,
     "set_interval($self, seconds, /)\n--\n\n"
     "Hand values over at most once in so many seconds, text in one piece; None: at once. Not "
     "while "
     "it is read."},
    {"give_up", (PyCFunction)reader_give_up, METH_O,
     "give_up($self, seconds, /)\n--\n\n"
     "Waiting raises Timeout from then on; None: never. Only the thread or task that reads may "
     "call it, before it waits."},
    {"close", (PyCFunction)reader_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Read no more. A consumer that waits here comes to the end of the iteration. Idempotent; any "
     "thread."},
    {"_on_timer", (PyCFunction)reader_on_timer, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef reader_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ReaderObject, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef reader_getset[] = {
    {"coalesce", (getter)get_coalesce, (setter)set_coalesce,
     "Whether all text that is there is handed out at once (up to 1 MiB).", NULL},
    {"id", (getter)get_id, NULL, "That of the log.", NULL},
    {"error", (getter)get_error, NULL, "That of the log.", NULL},
    {"position", (getter)get_position, NULL,
     "The sequence number of the record that comes next; after Lagged, where it stood.", NULL},
    {"last", (getter)get_last, NULL,
     "The sequence number of the record that was handed out last; None: none yet.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc,
     "A position in a log, read by one thread with `for` or one task with `async for`, or by\n"
     "one after the other. Made by Log.reader."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, reader_next},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, reader_anext},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_members, reader_members},
    {Py_tp_getset, reader_getset},
    {0, NULL},
};

PyType_Spec reader_spec = {
    .name = "burble._core.Reader",
    .basicsize = sizeof(ReaderObject),
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
#else
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
#endif
    .slots = reader_slots,
};
