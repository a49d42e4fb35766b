/* SPDX-License-Identifier: MIT */
#include "log/log.h"

#include "common/failure.h"
#include "log/reader.h"

/* ---- deadlines ------------------------------------------------------------------------------- */

bool log_is_open(const LogObject *self)
{
    burble_status status;
    burble_stream_status(self->stream, &status);
    return status.state == BURBLE_OPEN;
}

struct writing_state log_writing_state(const LogObject *self)
{
    if (self->writer_stats != NULL)
        return writer_stats_read(self->writer_stats);
    return (struct writing_state){
        .begun = self->begun,
        .full = self->full_since != 0,
        .active_at = self->active_at,
        .blocked = self->blocked + (self->full_since == 0 ? 0 : burble_now() - self->full_since)};
}

static struct writing_state state_for_deadlines(const LogObject *self)
{
    return deadlines_need_state(&self->deadlines) ? log_writing_state(self)
                                                  : (struct writing_state){.begun = false};
}

uint64_t log_due(const LogObject *self, const struct consumer *consumer)
{
    static const struct loop_clock of_system = {.own = false};
    const struct writing_state state = state_for_deadlines(self);
    return deadlines_due(&self->deadlines, &state,
                         consumer == NULL ? &of_system : &consumer->clock);
}

/* What readers in C are told of a failure: of burble's own exceptions the message, of others the type alone, since what
 * they say may be none of a client's business. Runs no Python. */
static void describe(const LogObject *self, PyObject *error, char *message, size_t size)
{
    PyObject *args = ((PyBaseExceptionObject *)error)->args;
    const char *text = NULL;
    if (PyObject_TypeCheck(error, (PyTypeObject *)self->core->error) && args != NULL
        && PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0
        && PyUnicode_CheckExact(PyTuple_GET_ITEM(args, 0)))
        text = PyUnicode_AsUTF8(PyTuple_GET_ITEM(args, 0));
    if (text != NULL)
        snprintf(message, size, "%s", text);
    else
        snprintf(message, size, "the generation failed: %s", Py_TYPE(error)->tp_name);
}

static bool fail_as(LogObject *self, int code, PyObject *error)
{
    PyObject *type, *value, *traceback;
    char message[512];
    PyErr_Fetch(&type, &value, &traceback); /* it may have lone surrogates, which are no UTF-8 */
    describe(self, error, message, sizeof message);
    PyErr_Restore(type, value, traceback);
    if (burble_stream_fail(self->stream, code, message) != BURBLE_OK)
        return false;
    self->error = Py_NewRef(error);
    self->traceback = PyException_GetTraceback(error);
    return true;
}

int log_expire(LogObject *self, const struct consumer *consumer)
{
    const struct writing_state state = state_for_deadlines(self);
    const struct passed_deadline passed = deadlines_passed(
        &self->deadlines, self->core, &state, consumer == NULL ? NULL : &consumer->clock);
    if (passed.type == NULL || !log_is_open(self))
        return 0;
    PyObject *error = deadline_error(&passed);
    if (error == NULL)
        return -1;
    fail_as(self, BURBLE_ETIMEDOUT, error);
    Py_DECREF(error);
    return 0;
}

static void raise_total_timeout(const LogObject *self)
{
    const struct passed_deadline passed = deadlines_total(&self->deadlines, self->core);
    PyObject *error = deadline_error(&passed);
    if (error != NULL)
        PyErr_SetObject(passed.type, error);
    Py_XDECREF(error);
}

/* ---- writing --------------------------------------------------------------------------------- */

bool log_wakes(const LogObject *self)
{
    if (!consumers_may_wake(self->core))
        return false;
    /* Almost always there is one reader; if there are many, assume that one of them waits. */
    unsigned int left = 4;
    for (const ReaderObject *reader = self->readers; reader != NULL; reader = reader->after)
        if (left-- == 0 || (consumer_wakes(reader->read_by) && !reader_rests(reader)))
            return true;
    return false;
}

/* The exception of a writer that comes too late. A timeout that has ended the log must end the generation,
 * too: by an exception of its own, because the log's belongs to the readers. */
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
    if (self->deadlines.token_for != 0)
        self->active_at = burble_now();
}

/* Readers that have been resumed a moment ago are to read on now, not when their loops run again. */
static void hurry_readers(LogObject *self)
{
    for (ReaderObject *reader = self->readers; reader != NULL; reader = reader->after)
        if (reader->read_by->future != NULL && reader->read_by->hub != NULL)
            hub_hurry(reader->read_by->hub);
}

/* A reader is at its limit: waits for it, and appends. One of burble's results; 1 with an exception. */
static int append_when_there_is_room(LogObject *self, const char *bytes, size_t len,
                                     uint32_t tokens)
{
    int rc = core_handles_signals(self->core);
    if (rc < 0)
        return 1;
    const bool handles_signals = rc > 0;
    self->full_since = burble_now();
    hurry_readers(self);
    do {
        uint64_t until = self->deadlines.total_at;
        if (handles_signals) {
            const uint64_t check_at = burble_now() + SIGNAL_CHECK_NS;
            if (until == 0 || check_at < until)
                until = check_at;
        }
        Py_BEGIN_ALLOW_THREADS
            rc = burble_stream_append_until(self->stream, bytes, len, tokens, until);
        Py_END_ALLOW_THREADS
        if (rc == BURBLE_ETIMEDOUT
            && ((handles_signals && PyErr_CheckSignals() < 0) || log_expire(self, NULL) < 0))
            rc = 1;
    } while (rc == BURBLE_ETIMEDOUT);
    self->active_at = burble_now(); /* the time that was spent here is not the model's */
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
        PyErr_SetString(
            PyExc_RuntimeError,
            "another thread is appending to this log: only one thread at a time may write");
        return -1;
    }
    set_under_way(&self->appending, true); /* before anything that may run Python code */
    if (self->deadlines.total_at != 0 && log_expire(self, NULL) < 0) {
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
        /* The missing item had been accepted: no reader must read past the gap. */
        burble_stream_fail(self->stream, BURBLE_ENOMEM, NULL);
    }
    if (rc < 0)
        raise_closed(self, rc);
    return -1;
}

void log_set_native_writer(LogObject *self, struct writer_stats *writer_stats,
                           PyObject *stop_strings, PyObject *keeper)
{
    self->writer_stats = writer_stats;
    writer_stats->stop_strings = Py_NewRef(stop_strings);
    writer_stats->keeper = Py_NewRef(keeper);
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

bool log_fail(LogObject *self, PyObject *exception)
{
    PyObject *error = failure_of(exception);
    const bool failed = fail_as(self, BURBLE_EFAILED, error);
    Py_DECREF(error);
    return failed;
}

void log_fail_as_raised(LogObject *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    log_fail(self, value);
    PyErr_Restore(type, value, traceback);
}

int log_lose_text(LogObject *self)
{
    if (PyErr_ExceptionMatches(PyExc_MemoryError) && log_is_open(self))
        log_fail_as_raised(self);
    return -1;
}

PyObject *log_error(LogObject *self)
{
    if (self->error == NULL) {
        burble_status status;
        PyObject *type, *value, *traceback;
        burble_stream_status(self->stream, &status);
        if (status.code == BURBLE_EFAILED && status.message[0] != '\0')
            PyErr_SetString(self->core->error, status.message);
        else if (status.code == BURBLE_ETIMEDOUT && self->writer_stats != NULL)
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

PyObject *log_get_error(LogObject *self)
{
    burble_status status;
    burble_stream_status(self->stream, &status);
    if (status.state != BURBLE_FAILED)
        Py_RETURN_NONE;
    return log_error(self);
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

/* ---- threads that may wait for it -------------------------------------------------------------- */

bool log_may_be_waited_for(const LogObject *self)
{
    if (self->generated_in == 0 || self->generated_in != PyThread_get_thread_ident())
        return true;
    PyErr_SetString(
        PyExc_RuntimeError,
        "the generation would wait for itself: read, join and leave its stream in another thread "
        "or task than the one that generates");
    return false;
}
