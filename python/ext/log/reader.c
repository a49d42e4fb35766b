/* SPDX-License-Identifier: MIT */
#include "log/reader.h"

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

/* Takes the reader out, and so out of the log's list. */
static burble_reader *take_out(ReaderObject *self)
{
    burble_reader *reader = self->reader;
    self->position = burble_reader_position(reader);
    self->reader = NULL;
    self->unread.text = NULL;
    drop_gathered(self);
    if (self->before != NULL)
        self->before->after = self->after;
    else
        self->log->readers = self->after;
    if (self->after != NULL)
        self->after->before = self->before;
    self->before = self->after = NULL;
    return reader;
}

bool reader_holds_value(const ReaderObject *self)
{
    return self->unread.text != NULL || self->gathered != NULL || self->kept != NULL;
}

burble_reader *reader_give_away(ReaderObject *self)
{
    if (self->closed || self->reader == NULL || self->read_by != &self->consumer
        || self->attached != NULL || self->consumer.reading || self->consumer.blocked
        || reader_holds_value(self)) {
        PyErr_SetString(PyExc_RuntimeError, "the reader is closed, or was read");
        return NULL;
    }
    self->closed = true;
    /* The new owner may set no timer (burble_reader_due). */
    burble_reader_interval(self->reader, 0);
    return take_out(self);
}

void reader_let_go(ReaderObject *self)
{
    if (self->reader == NULL)
        return;
    HubObject *attached = self->attached;
    PyObject *kept = self->kept;
    self->attached = NULL;
    self->kept = NULL;
    burble_reader *reader = take_out(self);
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

enum reading reader_no_value(ReaderObject *self, int rc)
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

int reader_next_value(ReaderObject *self, PyObject **value)
{
    burble_record record;
    if (self->kept != NULL) {
        *value = self->kept;
        self->kept = NULL;
        return BURBLE_OK;
    }
    if (self->gathered != NULL) {
        *value = hand_out_gathered(self);
        return BURBLE_OK;
    }
    const int rc = next_record(self, &record);
    if (rc == BURBLE_OK)
        *value = value_of(self, &record);
    return rc;
}

enum reading reader_read(ReaderObject *self, PyObject **value)
{
    enum reading reading = READ_END;
    if (!self->closed) {
        const int rc = reader_next_value(self, value);
        if (rc != BURBLE_OK)
            reading = reader_no_value(self, rc);
        else
            reading = *value == NULL ? READ_ERROR : READ_VALUE;
        objects_drop_released(); /* what is finalized may close this reader */
    }
    if (self->closed) {
        reader_let_go(self);
        if (reading == READ_NOTHING)
            reading = READ_END;
    }
    return reading;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* When its text is due; 0: at once. */
static uint64_t due(const ReaderObject *self)
{
    return self->reader == NULL ? 0 : burble_reader_due(self->reader);
}

/* The due time changes only in burble_reader_next, and so under the GIL, whichever thread reads. */
bool reader_rests(const ReaderObject *self)
{
    const uint64_t time = due(self);
    return time != 0 && burble_now() < time;
}

uint64_t reader_deadline(const ReaderObject *self, const struct consumer *consumer)
{
    const uint64_t expires = log_due(self->log, consumer), text = due(self);
    return expires == 0 || (text != 0 && text < expires) ? text : expires;
}

int reader_park(ReaderObject *self, HubObject *hub, burble_ready_fn *ready, void *arg)
{
    /* If the loop has a clock of its own, no timer fires at a known time: no interval then. */
    if (hub->own_clock)
        burble_reader_interval(self->reader, 0);
    if (self->attached != hub) {
        const int rc = burble_reader_attach(self->reader, hub->hub, ready, arg);
        HubObject *attached = rc == BURBLE_OK ? (HubObject *)Py_NewRef((PyObject *)hub) : NULL;
        Py_XSETREF(self->attached, attached);
        if (rc != BURBLE_OK)
            return rc;
    }
    return burble_reader_park(self->reader);
}

int reader_wait(ReaderObject *self, uint64_t until)
{
    int rc;
    Py_CLEAR(self->attached); /* waiting detaches it */
    Py_BEGIN_ALLOW_THREADS
        rc = burble_reader_wait(self->reader, until);
    Py_END_ALLOW_THREADS
    objects_drop_released();
    return rc;
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
    return log_may_be_waited_for(self->log) ? reader_wait(self, until) : BURBLE_EINVAL;
}

static uint64_t deadline(PyObject *object, uint64_t began)
{
    (void)began;
    const ReaderObject *self = (ReaderObject *)object;
    const uint64_t first = reader_deadline(self, &self->consumer);
    const uint64_t until = clock_earlier_by(self->until, clock_ahead(&self->consumer.clock, NULL));
    return first == 0 || (until != 0 && until < first) ? until : first;
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

/* A close during a read leaves the work to this. */
static void after_reading(PyObject *object)
{
    ReaderObject *self = (ReaderObject *)object;
    if (self->closed && self->consumer.future == NULL)
        reader_let_go(self);
}

const struct consumer_kind reader_consumer = {
    .read = read_own,
    .park = park,
    .wait = wait_here,
    .deadline = deadline,
    .timed_out = timed_out,
    .after = after_reading,
};
