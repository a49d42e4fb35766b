/* SPDX-License-Identifier: MIT */
#include "log/reader.h"

#include <structmember.h>

#include "base/buffer.h"
#include "common/str.h"
#include "log/objects.h"

/* How much text coalesce hands out at once, in bytes: a reader that is far behind must not copy all of
 * it in one step. The record with which it gets there is handed out whole. */
#define COALESCE_MAX ((size_t)1 << 20)

/* ---- reading --------------------------------------------------------------------------------- */

static void drop_gathered(ReaderObject *self)
{
    if (self->gathered != NULL)
        burble__buffer_finish(self->gathered);
    PyMem_Free(self->gathered);
    self->gathered = NULL;
}

/* Nobody waits at it any more, and nobody will. The last one that goes cancels the log. */
static void let_go(ReaderObject *self)
{
    if (self->reader == NULL)
        return;
    burble_reader *reader = self->reader;
    HubObject *attached = self->attached;
    PyObject *kept = self->kept;
    self->position = burble_reader_position(reader);
    self->reader = NULL;
    self->attached = NULL;
    self->unread.text = NULL;
    self->kept = NULL;
    drop_gathered(self);
    if (self->before != NULL)
        self->before->after = self->after;
    else
        self->log->readers = self->after;
    if (self->after != NULL)
        self->after->before = self->before;
    self->before = self->after = NULL;
    burble_reader_destroy(&reader);
    /* Last: letting go of them may run Python code. */
    Py_XDECREF((PyObject *)attached);
    Py_XDECREF(kept);
    objects_drop_released();
}

/* The next record: that which could not be handed out, or a new one. */
static int next_record(ReaderObject *self, burble_record *record)
{
    if (self->unread.text == NULL)
        return burble_reader_next(self->reader, record);
    *record = self->unread;
    self->unread.text = NULL;
    return BURBLE_OK;
}

static PyObject *hand_out_gathered(ReaderObject *self)
{
    const struct burble__buffer *text = self->gathered;
    PyObject *value = str_from_utf8(text->bytes, text->len);
    if (value != NULL)
        drop_gathered(self);
    return value;
}

/* A record and all that is there after it, as one str. */
static PyObject *gather(ReaderObject *self, burble_record *record)
{
    struct burble__buffer *text = PyMem_Malloc(sizeof *text);
    if (text == NULL) {
        self->unread = *record;
        return PyErr_NoMemory();
    }
    burble__buffer_init(text, COALESCE_MAX + BURBLE_RECORD_MAX);
    self->gathered = text;
    do {
        if (burble__buffer_append(text, record->text, record->len) != BURBLE_OK) {
            self->unread = *record;
            break;
        }
        self->last = record->seq + 1;
    } while (text->len < COALESCE_MAX && burble_reader_next(self->reader, record) == BURBLE_OK);
    if (text->len > 0)
        return hand_out_gathered(self);
    drop_gathered(self);
    return PyErr_NoMemory();
}

static PyObject *value_of(ReaderObject *self, burble_record *record)
{
    if (self->coalesce)
        return gather(self, record);
    PyObject *value =
        self->log->objects ? object_of_record(record) : str_from_utf8(record->text, record->len);
    if (value == NULL)
        self->unread = *record;
    else
        self->last = record->seq + 1;
    return value;
}

/* Why there is nothing to read: one of burble's results. */
static enum reading no_value(ReaderObject *self, int rc)
{
    switch (rc) {
    case BURBLE_AGAIN:
        return READ_NOTHING;
    case BURBLE_END:
        return READ_END;
    case BURBLE_ECANCELED:
        core_raise(self->log->core, rc);
        return READ_ERROR;
    case BURBLE_ELAGGED:
        PyErr_Format(self->log->core->lagged,
                     "the reader fell behind its limit and was dropped at position %llu",
                     (unsigned long long)burble_reader_position(self->reader));
        return READ_ERROR;
    default:
        log_raise(self->log);
        return READ_ERROR;
    }
}

/* Reads a reader that is not closed. */
static enum reading read_open(ReaderObject *self, PyObject **value)
{
    burble_record record;
    if (self->kept != NULL) {
        *value = self->kept;
        self->kept = NULL;
        return READ_VALUE;
    }
    if (self->gathered != NULL) {
        *value = hand_out_gathered(self);
        return *value == NULL ? READ_ERROR : READ_VALUE;
    }
    const int rc = next_record(self, &record);
    if (rc != BURBLE_OK)
        return no_value(self, rc);
    *value = value_of(self, &record);
    return *value == NULL ? READ_ERROR : READ_VALUE;
}

enum reading reader_read(ReaderObject *self, PyObject **value)
{
    enum reading reading = READ_END;
    if (!self->closed) {
        reading = read_open(self, value);
        objects_drop_released(); /* what is finalized may close this reader */
    }
    if (self->closed) {
        let_go(self);
        if (reading == READ_NOTHING)
            reading = READ_END;
    }
    return reading;
}

/* ---- waiting --------------------------------------------------------------------------------- */

int reader_park(ReaderObject *self, HubObject *hub, burble_ready_fn *ready, void *arg)
{
    if (self->attached != hub) {
        const int rc = burble_reader_attach(self->reader, hub->hub, ready, arg);
        HubObject *attached = rc == BURBLE_OK ? (HubObject *)Py_NewRef((PyObject *)hub) : NULL;
        Py_XSETREF(self->attached, attached);
        if (rc != BURBLE_OK)
            return rc;
    }
    return burble_reader_park(self->reader);
}

void reader_detach(ReaderObject *self)
{
    if (self->reader != NULL)
        burble_reader_attach(self->reader, NULL, NULL, NULL);
    Py_CLEAR(self->attached);
}

static enum reading read_own(PyObject *object, PyObject **value)
{
    return reader_read((ReaderObject *)object, value);
}

static int park(PyObject *object, HubObject *hub)
{
    ReaderObject *self = (ReaderObject *)object;
    if (self->closed)
        return BURBLE_OK; /* by another thread, just now: reading says so */
    if (!log_may_be_waited_for(self->log))
        return BURBLE_EINVAL;
    return reader_park(self, hub, consumer_ready, &self->consumer);
}

static int wait_here(PyObject *object, uint64_t until)
{
    ReaderObject *self = (ReaderObject *)object;
    int rc;
    if (!log_may_be_waited_for(self->log))
        return BURBLE_EINVAL;
    Py_CLEAR(self->attached); /* waiting detaches it */
    Py_BEGIN_ALLOW_THREADS
        rc = burble_reader_wait(self->reader, until);
    Py_END_ALLOW_THREADS
    objects_drop_released();
    return rc;
}

static uint64_t deadline(PyObject *object, uint64_t began)
{
    (void)began;
    const ReaderObject *self = (ReaderObject *)object;
    const uint64_t due = log_due(self->log, &self->consumer);
    const uint64_t until = clock_earlier_by(self->until, clock_ahead(&self->consumer.clock, NULL));
    return due == 0 || (until != 0 && until < due) ? until : due;
}

static enum reading timed_out(PyObject *object, bool in_thread)
{
    (void)in_thread;
    const ReaderObject *self = (ReaderObject *)object;
    if (log_expire(self->log, &self->consumer) < 0)
        return READ_ERROR;
    if (self->until == 0 || !log_is_open(self->log)
        || burble_now() < clock_earlier_by(self->until, clock_ahead(&self->consumer.clock, NULL)))
        return READ_NOTHING;
    PyObject *seconds = PyFloat_FromDouble((double)self->timeout / 1e9);
    if (seconds != NULL)
        PyErr_Format(self->log->core->timeout, "timed out after %S s waiting for text", seconds);
    Py_XDECREF(seconds);
    return READ_ERROR;
}

/* Whoever closes it while it is read leaves it to that. */
static void after_reading(PyObject *object)
{
    ReaderObject *self = (ReaderObject *)object;
    if (self->closed && self->consumer.future == NULL)
        let_go(self);
}

static const struct consumer_kind reader_consumer = {
    .read = read_own,
    .park = park,
    .wait = wait_here,
    .deadline = deadline,
    .timed_out = timed_out,
    .after = after_reading,
};

/* ---- methods --------------------------------------------------------------------------------- */

bool reader_is_own(ReaderObject *self)
{
    if (self->read_by == &self->consumer)
        return true;
    PyErr_SetString(PyExc_RuntimeError, "this reader belongs to a Merged: only that may read it");
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
        let_go(self);
        Py_RETURN_NONE;
    }
    /* Whoever reads or waits there lets it go. A loop may be long in coming to that: until then, it holds up
     * nothing. (A thread comes at once; and a reader that a thread waits at is that thread's.) */
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

/* ---- the type -------------------------------------------------------------------------------- */

/* What burble_reader_create could not do. */
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

const char reader_create_doc[] =
    "reader($self, start=0, /, max_lag=0, on_lag='block')\n--\n\n"
    "A reader at a position; -1: at the oldest record that is left; -2: at the tail, for what is\n"
    "appended from now on. Raises Gone where that position is no longer retained, and ValueError\n"
    "where it is beyond the end.\n\n"
    "max_lag: how far it may fall behind, in the log's unit; 0: no limit. on_lag: 'block', then "
    "the\n"
    "writer waits for it, or 'drop_reader', then it loses its place, and reading raises Lagged.";

PyObject *reader_create(LogObject *log, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "max_lag", "on_lag", NULL};
    long long start = 0, max_lag = 0;
    const char *name = "block";
    burble_on_lag on_lag;
    uint64_t bound;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|LLs", names, &start, &max_lag, &name)
        || parse_limit(max_lag, name, &on_lag) < 0)
        return NULL;
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
    consumer_init(&self->consumer, (PyObject *)self, &reader_consumer, log->core);
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
    if (max_lag > 0 && set_limit(self, max_lag, on_lag) < 0)
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

/* The log stays: it refers to nothing that its own clearing does not let go of. */
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
    let_go(self);
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
    {"give_up", (PyCFunction)reader_give_up, METH_O,
     "give_up($self, seconds, /)\n--\n\n"
     "Waiting raises Timeout from then on; None: never. To be called by who reads, before it "
     "waits."},
    {"close", (PyCFunction)reader_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Read no more. Whoever waits here comes to the end of the iteration. Idempotent; any thread."},
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
