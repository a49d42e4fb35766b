/* SPDX-License-Identifier: MIT */
#include "log/log.h"

#include <structmember.h>

#include "base/atomic.h"
#include "common/failure.h"
#include "common/str.h"
#include "log/reader.h"
#include "stream/stream.h"

/* ---- records that are objects ---------------------------------------------------------------- */

/* Owns the reference to one. */
struct item {
    PyObject *value;
    struct item *next; /* among those that are released */
};

/* What such a record holds. */
struct handle {
    struct item *item;
};

/* Whose records are gone. burble lets go of a record in the midst of its work, and perhaps in a thread
 * that does not have the GIL, where no object can be touched: they are dropped a little later. */
static _Atomic(struct item *) released;

static int drop_released_soon(void *unused)
{
    (void)unused;
    log_drop_released();
    return 0;
}

static struct item *item_of(const burble_record *record)
{
    struct handle handle;
    memcpy(&handle, record->text, sizeof handle);
    return handle.item;
}

static void release(const burble_record *record, void *unused)
{
    (void)unused;
    struct item *item = item_of(record);
    struct item *top = burble__load_relaxed(&released);
    /* Release: pairs with the taking in log_drop_released, which reads `next`. */
    do {
        item->next = top;
    } while (!burble__cas_weak_acq_rel(&released, &top, item));
    /* A call from Python drops them when it is done. A thread that exits calls nothing any more. */
    if (top == NULL && Py_IsInitialized() && !PyGILState_Check())
        Py_AddPendingCall(drop_released_soon, NULL);
}

void log_drop_released(void)
{
    if (burble__load_relaxed(&released) == NULL)
        return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    struct item *item = burble__exchange_acq_rel(&released, NULL);
    while (item != NULL) {
        struct item *next = item->next;
        Py_DECREF(item->value);
        PyMem_RawFree(item);
        item = next;
    }
    PyErr_Restore(type, value, traceback);
}

PyObject *log_object_of(const burble_record *record)
{
    return Py_NewRef(item_of(record)->value);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

bool log_is_open(const LogObject *self)
{
    burble_status status;
    burble_stream_status(self->stream, &status);
    return status.state == BURBLE_OPEN;
}

/* How the writing stands, whoever does it. */
static struct account_state standing(const LogObject *self)
{
    if (self->account != NULL)
        return account_look(self->account);
    return (struct account_state){
        .begun = self->begun,
        .full = self->full_since != 0,
        .active_at = self->active_at,
        .blocked = self->blocked + (self->full_since == 0 ? 0 : burble__now() - self->full_since)};
}

/* How much the consumer's clock has gained since the deadlines were set. */
static int64_t ahead_since_set(const LogObject *self, const struct consumer *consumer)
{
    return consumer == NULL ? 0 : clock_ahead(&consumer->clock, &self->clock);
}

uint64_t log_due(const LogObject *self, const struct consumer *consumer)
{
    const int64_t ahead = ahead_since_set(self, consumer);
    uint64_t due = clock_earlier_by(self->total_at, ahead);
    if (self->first_at == 0 && self->token_for == 0)
        return due;
    const struct account_state state = standing(self);
    const uint64_t first_at = clock_earlier_by(self->first_at, ahead);
    if (!state.begun && first_at != 0 && (due == 0 || first_at < due))
        due = first_at;
    if (self->token_for != 0) {
        /* Before the first token, and while the writer waits for a reader, this time does not run: it
         * begins at some later moment, which whoever waits now is to notice. */
        const bool runs = state.begun && !state.full;
        const uint64_t at = runs ? clock_earlier_by(state.active_at + self->token_for,
                                                    clock_ahead(&consumer->clock, NULL))
                                 : burble__now() + self->token_for;
        if (due == 0 || at < due)
            due = at;
    }
    return due;
}

static const char total_timeout_message[] = "the end did not come within the total timeout of %S s";

/* Which timeout has passed, and its length in nanoseconds. NULL: none. */
static PyObject *passed(const LogObject *self, const struct consumer *consumer, const char **what,
                        uint64_t *length)
{
    const uint64_t now = burble__now();
    const int64_t ahead = ahead_since_set(self, consumer);
    if (self->total_at != 0 && now >= clock_earlier_by(self->total_at, ahead)) {
        *what = total_timeout_message;
        *length = self->total_at - self->began;
        return self->core->total_timeout;
    }
    const struct account_state state = standing(self);
    if (!state.begun && self->first_at != 0 && now >= clock_earlier_by(self->first_at, ahead)) {
        *what = "no token came within the first-token timeout of %S s";
        *length = self->first_at - self->began;
        return self->core->first_token_timeout;
    }
    if (state.begun && self->token_for != 0 && !state.full
        && now >= clock_earlier_by(state.active_at + self->token_for,
                                   consumer == NULL ? 0 : clock_ahead(&consumer->clock, NULL))) {
        *what = "no further token came within the token timeout of %S s";
        *length = self->token_for;
        return self->core->token_timeout;
    }
    return NULL;
}

static bool fail_as(LogObject *self, int code, PyObject *error)
{
    if (burble_stream_fail(self->stream, code, NULL) != BURBLE_OK)
        return false;
    self->error = Py_NewRef(error);
    self->traceback = PyException_GetTraceback(error);
    return true;
}

/* An exception of this type, which says `what` of a timeout's nanoseconds. */
static PyObject *timeout_error(PyObject *type, const char *what, uint64_t length)
{
    PyObject *seconds = PyFloat_FromDouble(length == 1 ? 0.0 : (double)length / 1e9);
    PyObject *message = seconds == NULL ? NULL : PyUnicode_FromFormat(what, seconds);
    PyObject *error = message == NULL ? NULL : PyObject_CallFunctionObjArgs(type, message, NULL);
    Py_XDECREF(seconds);
    Py_XDECREF(message);
    return error;
}

static void raise_total_timeout(const LogObject *self)
{
    PyObject *type = self->core->total_timeout;
    PyObject *error = timeout_error(type, total_timeout_message, self->total_at - self->began);
    if (error != NULL)
        PyErr_SetObject(type, error);
    Py_XDECREF(error);
}

int log_expire(LogObject *self, const struct consumer *consumer)
{
    const char *what;
    uint64_t length;
    PyObject *type = passed(self, consumer, &what, &length);
    if (type == NULL || !log_is_open(self))
        return 0;
    PyObject *error = timeout_error(type, what, length);
    if (error == NULL)
        return -1;
    fail_as(self, BURBLE_ETIMEDOUT, error);
    Py_DECREF(error);
    return 0;
}

/* Notes the clock of the loop that runs here, if one does. 0, or -1 with an exception. */
static int note_clock(LogObject *self)
{
    bool trio;
    PyObject *loop = hub_running_loop(self->core, &trio);
    const int rc = loop == NULL ? -1 : clock_set_mark(&self->clock, loop);
    Py_XDECREF(loop);
    return rc;
}

static PyObject *log_deadlines(LogObject *self, PyObject *args)
{
    PyObject *first, *token, *total;
    uint64_t first_for, token_for, total_for;
    if (!PyArg_ParseTuple(args, "OOO", &first, &token, &total)
        || core_nanoseconds(first, "first_token_timeout", &first_for) < 0
        || core_nanoseconds(token, "token_timeout", &token_for) < 0
        || core_nanoseconds(total, "total_timeout", &total_for) < 0)
        return NULL;
    if ((first_for != 0 || token_for != 0 || total_for != 0) && note_clock(self) < 0)
        return NULL;
    const uint64_t now = burble__now();
    self->began = now;
    self->first_at = first_for == 0 ? 0 : now + first_for;
    self->token_for = token_for;
    self->total_at = total_for == 0 ? 0 : now + total_for;
    self->active_at = now;
    Py_RETURN_NONE;
}

/* ---- writing --------------------------------------------------------------------------------- */

bool log_wakes(const LogObject *self)
{
    /* One reader is what there nearly always is; of many, somebody waits. */
    unsigned int look = 4;
    for (const ReaderObject *reader = self->readers; reader != NULL; reader = reader->after)
        if (look-- == 0 || consumer_wakes(reader->waits))
            return true;
    return false;
}

/* What a writer is told that comes too late. A timeout that has ended the log is what has to end the
 * generation, too: one of its own, since the log's belongs to the readers. */
static void raise_closed(LogObject *self, int rc)
{
    PyObject *error = self->error;
    if (rc != BURBLE_ECLOSED || error == NULL
        || !PyObject_TypeCheck(error, (PyTypeObject *)self->core->timeout)) {
        core_raise(self->core, rc);
        return;
    }
    Py_INCREF(error);
    PyObject *message = PyObject_Str(error);
    if (message != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(error), message);
    Py_XDECREF(message);
    Py_DECREF(error);
}

static void note_activity(LogObject *self)
{
    self->begun = true;
    if (self->token_for != 0)
        self->active_at = burble__now();
}

/* Readers that have been resumed a moment ago are to read on now, not when their loops look again. */
static void hurry_readers(LogObject *self)
{
    for (ReaderObject *reader = self->readers; reader != NULL; reader = reader->after)
        if (reader->waits->future != NULL && reader->waits->hub != NULL)
            hub_hurry(reader->waits->hub);
}

/* A reader is at its limit: waits for it, and appends. One of burble's results; 1 with an exception. */
static int append_when_there_is_room(LogObject *self, const char *bytes, size_t len,
                                     uint32_t tokens)
{
    int rc = core_handles_signals(self->core);
    if (rc < 0)
        return 1;
    const bool handles_signals = rc > 0;
    self->full_since = burble__now();
    hurry_readers(self);
    do {
        uint64_t until = self->total_at;
        if (handles_signals) {
            const uint64_t look = burble__now() + SIGNAL_CHECK_NS;
            if (until == 0 || look < until)
                until = look;
        }
        Py_BEGIN_ALLOW_THREADS
            rc = burble_stream_append_until(self->stream, bytes, len, tokens, until);
        Py_END_ALLOW_THREADS
        if (rc == BURBLE_ETIMEDOUT
            && ((handles_signals && PyErr_CheckSignals() < 0) || log_expire(self, NULL) < 0))
            rc = 1;
    } while (rc == BURBLE_ETIMEDOUT);
    self->active_at = burble__now(); /* the time that was spent here is not the model's */
    self->blocked += self->active_at - self->full_since;
    self->full_since = 0;
    return rc;
}

static int append(LogObject *self, const char *bytes, size_t len, uint32_t tokens)
{
    int rc;
    if (len > 0 && log_wakes(self)) {
        /* This append wakes a thread that wants the GIL at once. If we kept it, the system would run
         * that thread only to have it wait for us. (The first text of a step that feeds many streams
         * keeps it: a loop that got it now would be woken again by the next one.) */
        Py_BEGIN_ALLOW_THREADS
            rc = burble_stream_append_until(self->stream, bytes, len, tokens, BURBLE_NO_WAIT);
        Py_END_ALLOW_THREADS
    } else {
        rc = burble_stream_append_until(self->stream, bytes, len, tokens, BURBLE_NO_WAIT);
    }
    return rc == BURBLE_EFULL ? append_when_there_is_room(self, bytes, len, tokens) : rc;
}

int log_append(LogObject *self, const char *bytes, size_t len, uint32_t tokens)
{
    if (is_under_way(&self->appending)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "another thread is appending to this log: one writer at a time");
        return -1;
    }
    set_under_way(&self->appending, true); /* before anything that may run Python code */
    if (self->total_at != 0 && log_expire(self, NULL) < 0) {
        set_under_way(&self->appending, false);
        return -1;
    }
    if (len > 0 || tokens > 0)
        note_activity(self);
    const int rc = append(self, bytes, len, tokens);
    set_under_way(&self->appending, false);
    if (rc == BURBLE_OK)
        return 0;
    if (rc == BURBLE_ENOMEM && log_is_open(self)) {
        /* What is missing now was given out of hand: no reader must read past the gap. */
        burble_stream_fail(self->stream, BURBLE_ENOMEM, NULL);
    }
    if (rc < 0)
        raise_closed(self, rc);
    return -1;
}

static int append_object(LogObject *self, PyObject *value, uint32_t tokens)
{
    struct item *item = PyMem_RawMalloc(sizeof *item);
    if (item == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    item->value = Py_NewRef(value);
    const struct handle handle = {item};
    const int rc = log_append(self, (const char *)&handle, sizeof handle, tokens);
    if (rc < 0) {
        Py_DECREF(item->value);
        PyMem_RawFree(item);
    }
    log_drop_released();
    return rc;
}

static PyObject *log_append_method(LogObject *self, PyObject *const *args, Py_ssize_t n)
{
    unsigned long tokens = 1;
    if (n < 1 || n > 2) {
        PyErr_SetString(PyExc_TypeError, "append(value, tokens=1) takes one or two arguments");
        return NULL;
    }
    if (n == 2) {
        tokens = PyLong_AsUnsignedLong(args[1]);
        if (tokens == (unsigned long)-1 && PyErr_Occurred())
            return NULL;
        if (tokens > UINT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "append: more tokens than a record can stand for");
            return NULL;
        }
    }
    int rc;
    if (self->objects) {
        rc = append_object(self, args[0], (uint32_t)tokens);
    } else if (PyUnicode_Check(args[0])) {
        burble_text text;
        PyObject *keeper;
        rc = str_to_utf8(args[0], &text, &keeper);
        if (rc == 0)
            rc = log_append(self, text.bytes, text.len, (uint32_t)tokens);
        Py_XDECREF(keeper);
    } else {
        PyErr_Format(PyExc_TypeError, "append: expected a str, found %.100s",
                     Py_TYPE(args[0])->tp_name);
        rc = -1;
    }
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

void log_write_elsewhere(LogObject *self, struct account *account, PyObject *stop_strings,
                         PyObject *keeper)
{
    self->account = account;
    account->stop_strings = Py_NewRef(stop_strings);
    account->keeper = Py_NewRef(keeper);
}

/* ---- ending ---------------------------------------------------------------------------------- */

static burble_reason reason_code(PyObject *reason)
{
    if (reason == NULL || reason == Py_None)
        return BURBLE_REASON_NONE;
    if (PyUnicode_CompareWithASCIIString(reason, "stop") == 0
        || PyUnicode_CompareWithASCIIString(reason, "eos") == 0)
        return BURBLE_REASON_STOP;
    return PyUnicode_CompareWithASCIIString(reason, "length") == 0 ? BURBLE_REASON_LENGTH
                                                                   : BURBLE_REASON_OTHER;
}

bool log_end(LogObject *self, PyObject *reason, PyObject *match)
{
    if (burble_stream_end(self->stream, reason_code(reason)) != BURBLE_OK)
        return false;
    self->reason = Py_XNewRef(reason);
    self->match = Py_XNewRef(match);
    return true;
}

static PyObject *log_end_method(LogObject *self, PyObject *args)
{
    PyObject *reason = Py_None, *match = Py_None;
    if (!PyArg_ParseTuple(args, "|OO", &reason, &match))
        return NULL;
    if (reason != Py_None && !PyUnicode_Check(reason)) {
        PyErr_Format(PyExc_TypeError, "end: the reason must be a str or None, found %.100s",
                     Py_TYPE(reason)->tp_name);
        return NULL;
    }
    return PyBool_FromLong(log_end(self, reason, match));
}

int log_fail(LogObject *self, PyObject *exception)
{
    PyObject *error = failure_of(exception);
    const bool failed = fail_as(self, BURBLE_EFAILED, error);
    Py_DECREF(error);
    return failed;
}

static PyObject *log_fail_method(LogObject *self, PyObject *exception)
{
    if (!PyExceptionInstance_Check(exception)) {
        PyErr_Format(PyExc_TypeError, "fail: expected an exception, found %.100s",
                     Py_TYPE(exception)->tp_name);
        return NULL;
    }
    const int rc = log_fail(self, exception);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *log_cancel(LogObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(burble_stream_cancel(self->stream));
}

PyObject *log_error(LogObject *self)
{
    if (self->error == NULL) {
        burble_status status;
        PyObject *type, *value, *traceback;
        burble_stream_status(self->stream, &status);
        if (status.code == BURBLE_EFAILED && status.message[0] != '\0')
            PyErr_SetString(self->core->error, status.message);
        else if (status.code == BURBLE_ETIMEDOUT && self->account != NULL)
            raise_total_timeout(self);
        else
            core_raise_failure(self->core, self->stream);
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        if (self->error == NULL)
            self->error = value;
        else
            Py_XDECREF(value);
    }
    return Py_NewRef(self->error);
}

void log_raise(LogObject *self)
{
    PyObject *error = log_error(self);
    PyException_SetTraceback(error, self->traceback == NULL ? Py_None : self->traceback);
    /* Not PyErr_SetObject, which would chain the exception that this reader is handling to it. */
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(error)), error, Py_XNewRef(self->traceback));
}

/* ---- its name -------------------------------------------------------------------------------- */

PyObject *log_id(LogObject *self)
{
    if (self->id == NULL) {
        if (core_import(&self->core->urandom, "os", "urandom") < 0)
            return NULL;
        PyObject *bits = PyObject_CallFunction(self->core->urandom, "i", 16);
        PyObject *id = bits == NULL ? NULL : PyObject_CallMethod(bits, "hex", NULL);
        Py_XDECREF(bits);
        if (id == NULL)
            return NULL;
        if (self->id == NULL)
            self->id = id;
        else
            Py_DECREF(id); /* another thread made one meanwhile */
    }
    return Py_NewRef(self->id);
}

/* ---- the type -------------------------------------------------------------------------------- */

static int parse_unit(const char *name, burble_lag_unit *unit)
{
    static const struct {
        const char *name;
        burble_lag_unit unit;
    } units[] = {
        {"bytes", BURBLE_LAG_BYTES},
        {"characters", BURBLE_LAG_CHARACTERS},
        {"tokens", BURBLE_LAG_TOKENS},
    };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(name, units[i].name) == 0) {
            *unit = units[i].unit;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError,
                 "lag_unit: expected 'characters', 'tokens' or 'bytes', found '%.100s'", name);
    return -1;
}

/* From `keep` as Python has it: bytes of text, or objects. 0 or -1. */
static int parse_keep(long long keep, bool objects, uint64_t *bytes)
{
    if (keep < -1) {
        PyErr_Format(PyExc_ValueError, "keep: expected -1 (all) or a number from 0 on, found %lld",
                     keep);
        return -1;
    }
    const uint64_t each = objects ? sizeof(struct handle) : 1;
    if (keep == -1 || (uint64_t)keep > INT64_MAX / each)
        *bytes = BURBLE_KEEP_ALL;
    else
        *bytes = (uint64_t)keep * each;
    return 0;
}

static PyObject *log_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"keep", "lag_unit", "objects", "watch_producer", NULL};
    long long keep = 0;
    const char *unit = "characters";
    int objects = 0, watch_producer = 1;
    burble_stream_options options;
    burble_stream_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$Lspp", names, &keep, &unit, &objects,
                                     &watch_producer)
        || parse_keep(keep, objects != 0, &options.keep) < 0
        || parse_unit(unit, &options.lag_unit) < 0)
        return NULL;
    options.cancel_when_unread = true;
    options.producer_may_exit = !watch_producer;
    if (objects) {
        options.lag_unit = BURBLE_LAG_TOKENS; /* there is nothing else to count */
        options.release = release;
    }
    burble_stream *stream;
    const int rc = burble_stream_create(&options, &stream);
    if (rc != BURBLE_OK)
        return core_raise(core_of(type), rc);
    LogObject *self = (LogObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        burble_stream_unref(&stream);
        return NULL;
    }
    self->core = core_of(type);
    self->objects = objects != 0;
    self->stream = stream;
    if (!watch_producer) /* a job ends it, in threads of its own */
        burble_stream_hand_over(self->stream);
    return (PyObject *)self;
}

static int log_traverse(LogObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    if (self->account != NULL)
        Py_VISIT(self->account->keeper);
    Py_VISIT(self->match);
    Py_VISIT(self->error);
    Py_VISIT(self->traceback);
    return 0;
}

static int log_clear(LogObject *self)
{
    if (self->account != NULL)
        Py_CLEAR(self->account->keeper);
    Py_CLEAR(self->match);
    Py_CLEAR(self->error);
    Py_CLEAR(self->traceback);
    return 0;
}

static void log_dealloc(LogObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    if (self->stream != NULL)
        burble_stream_cancel(self->stream); /* nobody can write to it any more, or end it */
    burble_stream_unref(&self->stream);
    log_clear(self);
    if (self->account != NULL)
        Py_CLEAR(self->account->stop_strings);
    account_unref(&self->account);
    Py_CLEAR(self->reason);
    Py_CLEAR(self->id);
    log_drop_released();
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *get_state(LogObject *self, void *unused)
{
    static const char *names[] = {
        [BURBLE_OPEN] = "open",
        [BURBLE_ENDED] = "ended",
        [BURBLE_FAILED] = "failed",
        [BURBLE_CANCELLED] = "cancelled",
    };
    (void)unused;
    burble_status status;
    burble_stream_status(self->stream, &status);
    return PyUnicode_FromString(names[status.state]);
}

PyObject *log_get_error(LogObject *self)
{
    burble_status status;
    burble_stream_status(self->stream, &status);
    if (status.state != BURBLE_FAILED)
        Py_RETURN_NONE;
    return log_error(self);
}

static PyObject *get_error(LogObject *self, void *unused)
{
    (void)unused;
    return log_get_error(self);
}

static PyObject *get_id(LogObject *self, void *unused)
{
    (void)unused;
    return log_id(self);
}

static PyObject *get_position(LogObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(burble_stream_position(self->stream));
}

static PyObject *get_oldest(LogObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(burble_stream_oldest(self->stream));
}

static PyObject *get_blocked(LogObject *self, void *unused)
{
    (void)unused;
    return PyFloat_FromDouble((double)standing(self).blocked / 1e9);
}

static PyObject *get_reason(LogObject *self, void *unused)
{
    (void)unused;
    burble_status status;
    burble_stream_status(self->stream, &status);
    if (self->reason != NULL || self->account == NULL || status.state != BURBLE_ENDED)
        return Py_NewRef(self->reason == NULL ? Py_None : self->reason);
    if (status.reason == BURBLE_REASON_LENGTH)
        return PyUnicode_FromString("length");
    return PyUnicode_FromString(standing(self).stopped ? "stop" : "eos");
}

static PyObject *get_match(LogObject *self, void *unused)
{
    (void)unused;
    if (self->match != NULL || self->account == NULL)
        return Py_NewRef(self->match == NULL ? Py_None : self->match);
    const struct account_state state = standing(self);
    if (!state.stopped)
        Py_RETURN_NONE;
    PyObject *string = PyTuple_GET_ITEM(self->account->stop_strings, (Py_ssize_t)state.stop);
    const unsigned long long begin = state.stop_begin;
    return Py_BuildValue("nOKK", (Py_ssize_t)state.stop, string, begin,
                         begin + (unsigned long long)PyUnicode_GET_LENGTH(string));
}

static PyObject *get_stats(LogObject *self, void *unused)
{
    (void)unused;
    if (self->account == NULL)
        Py_RETURN_NONE;
    account_lock(self->account);
    const struct stats *stats = &self->account->stats;
    const uint64_t tokens = stats->tokens;
    const double first = tokens > 0 ? (double)(stats->first - stats->began) * 1e-9 : -1;
    const double last = tokens > 0 ? (double)(stats->last - stats->began) * 1e-9 : -1;
    const double p50 = stats_percentile(stats, 0.5), p99 = stats_percentile(stats, 0.99);
    account_unlock(self->account);
    return Py_BuildValue("(Kdddd)", (unsigned long long)tokens, first, last, p50, p99);
}

PyDoc_STRVAR(
    append_doc,
    "append($self, value, tokens=1, /)\n--\n\n"
    "Append a str, or, with objects=True, any object. An empty str is a sign of life.\n\n"
    "Waits while a reader is at its limit. Raises Cancelled once the log was cancelled, the\n"
    "timeout that has ended it, and Error where it has ended otherwise. One thread at a\n"
    "time, else RuntimeError.");

static PyObject *log_generate_here(LogObject *self, PyObject *unused)
{
    (void)unused;
    self->generated_in = PyThread_get_thread_ident();
    Py_RETURN_NONE;
}

bool log_may_be_waited_for(const LogObject *self)
{
    if (self->generated_in == 0 || self->generated_in != PyThread_get_thread_ident())
        return true;
    PyErr_SetString(
        PyExc_RuntimeError,
        "the generation would wait for itself: its stream is to be read, joined and left by "
        "another thread or task than the one that generates");
    return false;
}

static PyMethodDef log_methods[] = {
    {"append", (PyCFunction)(void (*)(void))log_append_method, METH_FASTCALL, append_doc},
    {"end", (PyCFunction)log_end_method, METH_VARARGS,
     "end($self, reason=None, match=None, /)\n--\n\n"
     "End the log. Whether this was its end: of end, fail and cancel the first decides. Any "
     "thread."},
    {"fail", (PyCFunction)log_fail_method, METH_O,
     "fail($self, exception, /)\n--\n\n"
     "Fail the log: readers get the exception after what was written. Results as for end()."},
    {"cancel", (PyCFunction)log_cancel, METH_NOARGS,
     "cancel($self, /)\n--\n\n"
     "Cancel the log: append() raises Cancelled, and so does reading, after what was written.\n"
     "Results as for end()."},
    {"generate_here", (PyCFunction)log_generate_here, METH_NOARGS,
     "generate_here($self, /)\n--\n\n"
     "A job generates the log in this thread, which cannot wait for it from now on."},
    {"deadlines", (PyCFunction)log_deadlines, METH_VARARGS,
     "deadlines($self, first, token, total, /)\n--\n\n"
     "Set the timeouts, in seconds from now on, or None: for the first token, for each further "
     "one\n"
     "and for the end. Before the log is read."},
    {"reader", (PyCFunction)(void (*)(void))reader_create, METH_VARARGS | METH_KEYWORDS,
     reader_create_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef log_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(LogObject, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef log_getset[] = {
    {"reason", (getter)get_reason, NULL, "Why it has ended, as end() was told; else None.", NULL},
    {"match", (getter)get_match, NULL, "What end() was told beside the reason; else None.", NULL},
    {"stats", (getter)get_stats, NULL,
     "Where an engine writes it: (tokens, first, last, p50, p99), as Writer.stats has them, but\n"
     "below 0 where there is nothing to say; else None.",
     NULL},
    {"state", (getter)get_state, NULL, "'open', 'ended', 'failed' or 'cancelled'.", NULL},
    {"error", (getter)get_error, NULL, "The exception with which it failed; else None.", NULL},
    {"id", (getter)get_id, NULL, "128 random bits as text, made when they are first asked for.",
     NULL},
    {"position", (getter)get_position, NULL, "The sequence number of the next record.", NULL},
    {"oldest", (getter)get_oldest, NULL,
     "The sequence number of the oldest record that is left; where none is, of the next one.",
     NULL},
    {"blocked", (getter)get_blocked, NULL, "How many seconds append() has waited for readers.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(
    log_doc,
    "Log(*, keep=0, lag_unit='characters', objects=False, watch_producer=True)\n--\n\n"
    "An append-only log of text or objects: one writer, any number of readers.\n\n"
    "keep: how many bytes of text (objects) stay readable after every reader has read them;\n"
    "-1: all. It is cancelled when its last reader goes. watch_producer: it fails when the\n"
    "thread exits that has appended last.\n\n"
    "Objects in a log are out of the garbage collector's sight: one that refers to the log\n"
    "keeps it until it has been read.");

static PyType_Slot log_slots[] = {
    {Py_tp_doc, (void *)log_doc}, {Py_tp_new, log_new},         {Py_tp_traverse, log_traverse},
    {Py_tp_clear, log_clear},     {Py_tp_dealloc, log_dealloc}, {Py_tp_methods, log_methods},
    {Py_tp_members, log_members}, {Py_tp_getset, log_getset},   {0, NULL},
};

PyType_Spec log_spec = {
    .name = "burble._core.Log",
    .basicsize = sizeof(LogObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = log_slots,
};
