/* SPDX-License-Identifier: MIT
 *
 * _core.Merged: several readers read as one, by one thread or task.
 *
 * Which readers have something to say is known without asking all of them: a reader that has said
 * that it has nothing is parked, and comes back into the queue when its hub calls. A thread that
 * blocks has a hub of the Merged's own, and waits for its descriptor.
 */
#include "log/reader.h"

#include <errno.h>
#include <poll.h>
#include <structmember.h>

enum row_state {
    QUEUED,  /* to be read next, in its turn */
    READING, /* taken from the queue */
    IDLE,    /* had nothing, and is not parked yet */
    PARKED,
    OVER
};

struct row {
    ReaderObject *reader;        /* a reference */
    struct MergedObject *merged; /* what it is a part of: not a reference */
    PyObject *number;            /* of the row: a reference */
    enum row_state state;
    bool listed; /* in `idle` */
    bool at_own; /* attached to the Merged's own hub */
};

typedef struct MergedObject {
    PyObject_HEAD
    struct row *rows;
    Py_ssize_t *queue; /* the numbers of those QUEUED, in a ring with room for all */
    Py_ssize_t *idle;  /* the numbers of those that are `listed`: all IDLE ones, and maybe others */
    Py_ssize_t n_idle;
    Py_ssize_t n;          /* rows */
    Py_ssize_t first;      /* in the ring */
    Py_ssize_t queued;     /* how many are in it */
    Py_ssize_t open;       /* rows that are not OVER */
    burble_hub *own;       /* of a thread that blocks; NULL: none has yet */
    const void *parked_at; /* the hub where PARKED rows are: compared, never used */
    /* No deadline of a row that is not IDLE is earlier, unless `due_unknown`; 0: none has one. */
    uint64_t due;
    bool due_unknown;
    bool says_ends;     /* the last value of a row is its end or error */
    PyObject *keep;     /* what is to live as long as it; or NULL */
    PyObject *error[3]; /* the first that a row has ended with, raised after all values; or NULLs */
    PyObject *weak;
    struct resumed_last last;
    struct consumer consumer;
} MergedObject;

static MergedObject *as_merged(PyObject *object)
{
    return (MergedObject *)object;
}

static void rest(MergedObject *self, struct row *row)
{
    row->state = IDLE;
    if (!row->listed)
        self->idle[self->n_idle++] = row - self->rows;
    row->listed = true;
}

static void enqueue(MergedObject *self, struct row *row)
{
    if (row->state == QUEUED || row->state == OVER)
        return;
    row->state = QUEUED;
    Py_ssize_t at = self->first + self->queued++;
    at -= at >= self->n ? self->n : 0;
    self->queue[at] = row - self->rows;
}

static struct row *dequeue(MergedObject *self)
{
    struct row *row = &self->rows[self->queue[self->first]];
    self->first = self->first + 1 == self->n ? 0 : self->first + 1;
    self->queued--;
    row->state = READING;
    return row;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void end_row(MergedObject *self, struct row *row)
{
    row->state = OVER;
    self->open--;
}

/* Keeps the present exception, if it is the first. */
static void keep_error(MergedObject *self)
{
    if (self->error[0] == NULL)
        PyErr_Fetch(&self->error[0], &self->error[1], &self->error[2]);
    else
        PyErr_Clear();
}

static enum reading read_end(MergedObject *self)
{
    if (self->error[0] == NULL)
        return READ_END;
    PyErr_Restore(Py_NewRef(self->error[0]), Py_XNewRef(self->error[1]),
                  Py_XNewRef(self->error[2]));
    return READ_ERROR;
}

/* The end of a row as its last value: None, or the exception that ended it. After a MemoryError, or an exception that ends
 * the program, the next read returns the end again. */
static PyObject *last_value(MergedObject *self, struct row *row)
{
    PyObject *type, *error, *traceback;
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) {
        enqueue(self, row);
        return NULL;
    }
    PyErr_Fetch(&type, &error, &traceback);
    if (type != NULL) {
        PyErr_NormalizeException(&type, &error, &traceback);
        if (traceback != NULL)
            PyException_SetTraceback(error, traceback);
    }
    PyObject *both = PyTuple_Pack(2, row->number, error == NULL ? Py_None : error);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    if (both == NULL)
        enqueue(self, row);
    else
        end_row(self, row);
    return both;
}

/* (index, value) of what was just read; where there is no memory, it comes next of its row. */
static PyObject *numbered(struct row *row, PyObject *value)
{
    PyObject *both = PyTuple_New(2);
    if (both != NULL) {
        PyTuple_SET_ITEM(both, 0, Py_NewRef(row->number));
        PyTuple_SET_ITEM(both, 1, value);
    } else if (row->reader->reader != NULL) {
        row->reader->kept = value;
    } else {
        Py_DECREF(value);
    }
    return both;
}

/* Fetches what the reading of the next row will use into the cache. */
static void fetch_next(const MergedObject *self)
{
    if (self->queued == 0)
        return;
    const ReaderObject *next = self->rows[self->queue[self->first]].reader;
    __builtin_prefetch(next->reader);
    __builtin_prefetch(&next->log->objects);
}

static enum reading merged_read(PyObject *object, PyObject **value)
{
    MergedObject *self = as_merged(object);
    while (self->queued > 0) {
        struct row *row = dequeue(self);
        PyObject *text = NULL;
        fetch_next(self);
        const enum reading reading = reader_read(row->reader, &text);
        if (reading == READ_ERROR && reader_holds_value(row->reader)) {
            enqueue(self, row); /* no memory for its text, which comes next */
            return READ_ERROR;
        }
        if (self->says_ends && (reading == READ_END || reading == READ_ERROR)) {
            *value = last_value(self, row);
            return *value == NULL ? READ_ERROR : READ_VALUE;
        }
        switch (reading) {
        case READ_VALUE:
            enqueue(self, row); /* behind the others */
            *value = numbered(row, text);
            return *value == NULL ? READ_ERROR : READ_VALUE;
        case READ_NOTHING:
            rest(self, row);
            break;
        case READ_ERROR:
            keep_error(self);
            end_row(self, row);
            break;
        case READ_END:
            end_row(self, row);
            break;
        }
    }
    return self->open == 0 ? read_end(self) : READ_NOTHING;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void row_ready(burble_reader *reader, void *arg)
{
    (void)reader;
    struct row *row = arg;
    MergedObject *self = row->merged;
    /* The reader is out of the cache, where many move at once: it is fetched for its reading, and not looked at before. */
    __builtin_prefetch(row->reader);
    __builtin_prefetch(&row->reader->closed);
    if (row->state == PARKED) {
        enqueue(self, row);
        if (row->at_own || (self->last.noted_at != NULL && self->last.noted_at == self->parked_at))
            return;
    }
    if (row->reader->attached != NULL) /* the hub of a loop, not our own */
        hub_resume_last(row->reader->attached, &self->last);
}

/* Parks a row at a loop's hub, or, where that is NULL, at our own. One of burble's results. */
static int park_row(MergedObject *self, struct row *row, HubObject *hub)
{
    ReaderObject *reader = row->reader;
    if (reader->closed)
        return BURBLE_OK; /* which reading says */
    if (!log_may_be_waited_for(reader->log))
        return BURBLE_EINVAL;
    if (hub != NULL) {
        row->at_own = false;
        return reader_park(reader, hub, row_ready, row);
    }
    if (!row->at_own) {
        reader_detach(reader);
        const int rc = burble_reader_attach(reader->reader, self->own, row_ready, row);
        if (rc != BURBLE_OK)
            return rc;
        row->at_own = true;
    }
    return burble_reader_park(reader->reader);
}

/* Rows that are parked at another hub than the one to be used are IDLE again. */
static void unpark_rows(MergedObject *self)
{
    for (Py_ssize_t i = 0; i < self->n; i++)
        if (self->rows[i].state == PARKED)
            rest(self, &self->rows[i]);
}

/* Parks all that have nothing: BURBLE_AGAIN; BURBLE_OK where something has come; or an error. */
static int park_rows(MergedObject *self, HubObject *hub)
{
    const void *where = hub != NULL ? (const void *)hub : (const void *)self->own;
    if (self->parked_at != where)
        unpark_rows(self);
    self->parked_at = where;
    for (; self->n_idle > 0; self->n_idle--) {
        struct row *row = &self->rows[self->idle[self->n_idle - 1]];
        row->listed = row->state == IDLE; /* until it is parked */
        if (!row->listed)
            continue;
        const int rc = park_row(self, row, hub);
        row->listed = rc != BURBLE_AGAIN && rc != BURBLE_OK;
        if (rc == BURBLE_AGAIN)
            row->state = PARKED;
        else if (rc == BURBLE_OK)
            enqueue(self, row);
        else
            return rc;
    }
    return self->queued > 0 ? BURBLE_OK : BURBLE_AGAIN;
}

static int merged_park(PyObject *object, HubObject *hub)
{
    return park_rows(as_merged(object), hub);
}

/* Until when poll is to wait, in milliseconds, rounded up. */
static int poll_time(uint64_t until)
{
    if (until == 0)
        return -1;
    const uint64_t now = burble_now();
    const uint64_t left = until > now ? (until - now + 999999) / 1000000 : 0;
    return left < INT_MAX ? (int)left : INT_MAX;
}

static int merged_wait(PyObject *object, uint64_t until)
{
    MergedObject *self = as_merged(object);
    int rc = self->own == NULL ? burble_hub_create(NULL, &self->own) : BURBLE_OK;
    if (rc == BURBLE_OK)
        rc = park_rows(self, NULL);
    if (rc != BURBLE_AGAIN)
        return rc;
    struct pollfd wanted = {.fd = burble_hub_fd(self->own), .events = POLLIN};
    Py_BEGIN_ALLOW_THREADS
        rc = poll(&wanted, 1, poll_time(until));
    Py_END_ALLOW_THREADS
    if (rc < 0 && errno != EINTR)
        return BURBLE_ESYSTEM;
    burble_hub_dispatch(self->own, 0);
    return self->queued > 0 ? BURBLE_OK : BURBLE_ETIMEDOUT; /* after a signal, too early */
}

/* Notes the deadline of a row. */
static void note_deadline(MergedObject *self, const struct row *row)
{
    const uint64_t due = reader_deadline(row->reader, &self->consumer);
    if (due != 0 && (self->due == 0 || due < self->due))
        self->due = due;
}

/* Looks only at the rows that are about to be parked: while a row is parked, its deadline moves to a later time at most. So
 * the result may be too early, and then all are looked at once that time has come. (In a loop with a clock of its own,
 * deadlines move with that clock.) */
static uint64_t merged_deadline(PyObject *object, uint64_t began)
{
    MergedObject *self = as_merged(object);
    const bool moves = self->consumer.clock.own;
    (void)began;
    if (moves || self->due_unknown || (self->due != 0 && burble_now() >= self->due)) {
        self->due = 0;
        for (Py_ssize_t i = 0; i < self->n; i++)
            if (self->rows[i].state != OVER)
                note_deadline(self, &self->rows[i]);
    } else {
        for (Py_ssize_t i = 0; i < self->n_idle; i++)
            if (self->rows[self->idle[i]].state == IDLE)
                note_deadline(self, &self->rows[self->idle[i]]);
    }
    self->due_unknown = moves;
    return self->due;
}

static enum reading merged_timed_out(PyObject *object, bool in_thread)
{
    MergedObject *self = as_merged(object);
    (void)in_thread;
    for (Py_ssize_t i = 0; i < self->n; i++) {
        if (self->rows[i].state == OVER)
            continue;
        if (log_expire(self->rows[i].reader->log, &self->consumer) < 0)
            return READ_ERROR;
        enqueue(self, &self->rows[i]);
    }
    return READ_NOTHING;
}

/* No row is parked at any hub of this process. */
static void merged_renew(PyObject *object)
{
    MergedObject *self = as_merged(object);
    for (Py_ssize_t i = 0; i < self->n; i++)
        self->rows[i].at_own = false;
    unpark_rows(self);
    burble_hub_destroy(&self->own);
    self->parked_at = NULL;
}

static const struct consumer_kind merged_consumer = {
    .renew = merged_renew,
    .read = merged_read,
    .park = merged_park,
    .wait = merged_wait,
    .deadline = merged_deadline,
    .timed_out = merged_timed_out,
};

/* ---- the type -------------------------------------------------------------------------------- */

/* Takes a reader over. 0, or -1 with an exception. */
static int add_row(MergedObject *self, PyObject *object)
{
    if (!Py_IS_TYPE(object, self->consumer.core->reader_type)) {
        PyErr_Format(PyExc_TypeError, "Merged: expected readers, found %.100s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    ReaderObject *reader = (ReaderObject *)object;
    /* In this order: the first may run Python code, which may give the reader to another Merged. */
    if (!consumer_is_free(&reader->consumer) || !reader_is_own(reader))
        return -1;
    PyObject *number = PyLong_FromSsize_t(self->n);
    if (number == NULL)
        return -1;
    struct row *row = &self->rows[self->n++];
    row->reader = (ReaderObject *)Py_NewRef(object);
    row->number = number;
    row->merged = self;
    row->state = IDLE;
    reader_detach(reader); /* from the hub that would wake it alone, where it was parked before */
    reader->read_by = &self->consumer;
    self->open++;
    return 0;
}

/* Of a tuple. */
static int fill(MergedObject *self, PyObject *readers)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(readers);
    self->rows = PyMem_Calloc((size_t)n, sizeof *self->rows);
    self->queue = PyMem_Calloc((size_t)n, sizeof *self->queue);
    self->idle = PyMem_Calloc((size_t)n, sizeof *self->idle);
    if (self->rows == NULL || self->queue == NULL || self->idle == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (add_row(self, PyTuple_GET_ITEM(readers, i)) < 0)
            return -1;
    for (Py_ssize_t i = 0; i < n; i++)
        enqueue(self, &self->rows[i]);
    return 0;
}

static PyObject *merged_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"readers", "says_ends", "keep", NULL};
    PyObject *readers, *keep = NULL;
    int says_ends = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pO", names, &readers, &says_ends, &keep))
        return NULL;
    readers = PySequence_Tuple(readers);
    MergedObject *self = readers == NULL ? NULL : (MergedObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        consumer_init(&self->consumer, (PyObject *)self, &merged_consumer, NULL, core_of(type));
        self->says_ends = says_ends != 0;
        self->keep = Py_XNewRef(keep);
        self->last.consumer = &self->consumer;
        self->consumer.reading = true; /* nobody reads it before it is whole */
        if (fill(self, readers) < 0)
            Py_CLEAR(self);
        else
            consumer_end_reading(&self->consumer);
    }
    Py_XDECREF(readers);
    return (PyObject *)self;
}

static PyObject *merged_next(MergedObject *self)
{
    return consumer_next(&self->consumer);
}

static PyObject *merged_anext(MergedObject *self)
{
    return consumer_anext(&self->consumer);
}

static PyObject *merged_on_timer(MergedObject *self, PyObject *unused)
{
    (void)unused;
    return consumer_on_timer(&self->consumer);
}

static int merged_traverse(MergedObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (Py_ssize_t i = 0; i < self->n; i++)
        Py_VISIT(self->rows[i].reader);
    for (int i = 0; i < 3; i++)
        Py_VISIT(self->error[i]);
    Py_VISIT(self->keep);
    return consumer_traverse(&self->consumer, visit, arg);
}

/* Gives the readers back, which are no longer read by this. Runs no Python code; how many there were,
 * whose references are left in the rows. */
static Py_ssize_t give_back(MergedObject *self)
{
    const Py_ssize_t n = self->n;
    self->n = self->n_idle = self->queued = self->open = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        ReaderObject *reader = self->rows[i].reader;
        reader_detach(reader);
        reader->read_by = &reader->consumer;
    }
    return n;
}

/* Drops the references of rows that were given back. */
static void release(MergedObject *self, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_CLEAR(self->rows[i].reader);
        Py_CLEAR(self->rows[i].number);
    }
}

static int merged_clear(MergedObject *self)
{
    const Py_ssize_t n = give_back(self);
    consumer_clear(&self->consumer);
    release(self, n);
    for (int i = 0; i < 3; i++)
        Py_CLEAR(self->error[i]);
    Py_CLEAR(self->keep);
    return 0;
}

static void merged_dealloc(MergedObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    const Py_ssize_t n = give_back(self); /* before anything that may run Python code */
    if (self->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    release(self, n);
    merged_clear(self);
    burble_hub_destroy(&self->own);
    PyMem_Free(self->rows);
    PyMem_Free(self->queue);
    PyMem_Free(self->idle);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef merged_methods[] = {
    {"_on_timer", (PyCFunction)merged_on_timer, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef merged_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(MergedObject, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    merged_doc,
    "Merged(readers, says_ends=False, keep=None)\n--\n\n"
    "Several readers as one: (index, value) of each in its turn, by a thread with `for` or a\n"
    "task with `async for`. It ends when all of them have; the first error that one of them\n"
    "ended with is raised then, after all values. says_ends: instead, each reader's last value is\n"
    "None, or the exception that it ended with. keep: any object, which lives as long.");

static PyType_Slot merged_slots[] = {
    {Py_tp_doc, (void *)merged_doc},   {Py_tp_new, merged_new},
    {Py_tp_iter, PyObject_SelfIter},   {Py_tp_iternext, merged_next},
    {Py_am_aiter, PyObject_SelfIter},  {Py_am_anext, merged_anext},
    {Py_tp_traverse, merged_traverse}, {Py_tp_clear, merged_clear},
    {Py_tp_dealloc, merged_dealloc},   {Py_tp_methods, merged_methods},
    {Py_tp_members, merged_members},   {0, NULL},
};

PyType_Spec merged_spec = {
    .name = "burble._core.Merged",
    .basicsize = sizeof(MergedObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = merged_slots,
};
