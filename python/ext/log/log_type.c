/* SPDX-License-Identifier: MIT
 *
 * _core.Log: the type.
 */
#include "log/log.h"

#include <structmember.h>

#include "common/str.h"
#include "log/objects.h"
#include "log/reader.h"

/* ---- making one ------------------------------------------------------------------------------ */

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
        PyErr_Format(PyExc_ValueError, "keep: expected -1 (all) or at least 0, found %lld", keep);
        return -1;
    }
    const uint64_t each = objects ? sizeof(struct object_record) : 1;
    if (keep == -1 || (uint64_t)keep > INT64_MAX / each)
        *bytes = BURBLE_KEEP_ALL;
    else
        *bytes = (uint64_t)keep * each;
    return 0;
}

LogObject *log_create(struct core *core, const burble_stream_options *options)
{
    burble_stream *stream;
    const int rc = burble_stream_create(options, &stream);
    if (rc != BURBLE_OK) {
        core_raise(core, rc);
        return NULL;
    }
    LogObject *self = (LogObject *)core->log_type->tp_alloc(core->log_type, 0);
    if (self == NULL) {
        burble_stream_unref(&stream);
        return NULL;
    }
    self->core = core;
    self->stream = stream;
    return self;
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
        options.release = objects_release;
    }
    LogObject *self = log_create(core_of(type), &options);
    if (self == NULL)
        return NULL;
    self->objects = objects != 0;
    if (!watch_producer) /* a job ends it, in its own threads */
        burble_stream_hand_over(self->stream);
    return (PyObject *)self;
}

/* ---- methods --------------------------------------------------------------------------------- */

static PyObject *log_deadlines(LogObject *self, PyObject *args)
{
    if (deadlines_set(&self->deadlines, self->core, args) < 0)
        return NULL;
    self->active_at = self->deadlines.began;
    Py_RETURN_NONE;
}

static PyObject *log_check_deadlines(LogObject *self, PyObject *unused)
{
    (void)unused;
    if (log_expire(self, NULL) < 0)
        return NULL;
    const uint64_t due = log_is_open(self) ? log_due(self, NULL) : 0;
    if (due == 0)
        Py_RETURN_NONE;
    const uint64_t now = burble_now();
    return PyFloat_FromDouble(due > now ? (double)(due - now) / 1e9 : 0.0);
}

static int append_object(LogObject *self, PyObject *value, uint32_t tokens)
{
    struct object_record record;
    if (object_record_init(&record, value) < 0)
        return -1;
    const int rc = log_append(self, (const char *)&record, sizeof record, tokens);
    if (rc < 0)
        object_record_finish(&record);
    objects_drop_released();
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
            PyErr_SetString(PyExc_OverflowError, "append: tokens must be at most 4294967295");
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

static PyObject *log_fail_method(LogObject *self, PyObject *exception)
{
    if (!PyExceptionInstance_Check(exception)) {
        PyErr_Format(PyExc_TypeError, "fail: expected an exception, found %.100s",
                     Py_TYPE(exception)->tp_name);
        return NULL;
    }
    return PyBool_FromLong(log_fail(self, exception));
}

static PyObject *log_cancel(LogObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(burble_stream_cancel(self->stream));
}

static int log_traverse(LogObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    if (self->writer_stats != NULL)
        Py_VISIT(self->writer_stats->keeper);
    Py_VISIT(self->match);
    Py_VISIT(self->error);
    Py_VISIT(self->traceback);
    return 0;
}

static int log_clear(LogObject *self)
{
    if (self->writer_stats != NULL)
        Py_CLEAR(self->writer_stats->keeper);
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
    if (self->writer_stats != NULL)
        Py_CLEAR(self->writer_stats->stop_strings);
    writer_stats_unref(&self->writer_stats);
    Py_CLEAR(self->reason);
    Py_CLEAR(self->id);
    objects_drop_released();
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
    return PyFloat_FromDouble((double)log_writing_state(self).blocked / 1e9);
}

static PyObject *get_reason(LogObject *self, void *unused)
{
    (void)unused;
    burble_status status;
    burble_stream_status(self->stream, &status);
    if (self->reason != NULL || status.state != BURBLE_ENDED)
        return Py_NewRef(self->reason == NULL ? Py_None : self->reason);
    if (status.reason == BURBLE_REASON_LENGTH) /* a native writer has ended it, as below */
        return PyUnicode_FromString("length");
    if (self->writer_stats == NULL)
        return Py_NewRef(status.reason == BURBLE_REASON_STOP ? self->core->str_stop : Py_None);
    return PyUnicode_FromString(log_writing_state(self).stopped ? "stop" : "eos");
}

static PyObject *get_match(LogObject *self, void *unused)
{
    (void)unused;
    if (self->match != NULL || self->writer_stats == NULL)
        return Py_NewRef(self->match == NULL ? Py_None : self->match);
    const struct writing_state state = log_writing_state(self);
    if (!state.stopped)
        Py_RETURN_NONE;
    PyObject *string = PyTuple_GET_ITEM(self->writer_stats->stop_strings, (Py_ssize_t)state.stop);
    const unsigned long long begin = state.stop_begin;
    return Py_BuildValue("nOKK", (Py_ssize_t)state.stop, string, begin,
                         begin + (unsigned long long)PyUnicode_GET_LENGTH(string));
}

static PyObject *get_stats(LogObject *self, void *unused)
{
    (void)unused;
    if (self->writer_stats == NULL)
        Py_RETURN_NONE;
    writer_stats_lock(self->writer_stats);
    const struct stats *stats = &self->writer_stats->stats;
    const uint64_t tokens = stats->tokens;
    const double first = tokens > 0 ? (double)(stats->first - stats->began) * 1e-9 : -1;
    const double last = tokens > 0 ? (double)(stats->last - stats->began) * 1e-9 : -1;
    const double p50 = stats_percentile(stats, 0.5), p99 = stats_percentile(stats, 0.99);
    const uint32_t prompt = self->writer_stats->prompt_tokens;
    const uint32_t reused = self->writer_stats->reused_tokens;
    writer_stats_unlock(self->writer_stats);
    return Py_BuildValue("(Kdddd(II))", (unsigned long long)tokens, first, last, p50, p99, prompt,
                         reused);
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

static PyMethodDef log_methods[] = {
    {"append", (PyCFunction)(void (*)(void))log_append_method, METH_FASTCALL, append_doc},
    {"end", (PyCFunction)log_end_method, METH_VARARGS,
     "end($self, reason=None, match=None, /)\n--\n\n"
     "End the log. Returns whether this call ended it: only the first end, fail or cancel has an "
     "effect. Any "
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
    {"check_deadlines", (PyCFunction)log_check_deadlines, METH_NOARGS,
     "check_deadlines($self, /)\n--\n\n"
     "Fail the log if a timeout has passed, for readers that do not look themselves. In how many\n"
     "seconds to call it again; None: never."},
    {"reader", (PyCFunction)(void (*)(void))reader_create_method, METH_VARARGS | METH_KEYWORDS,
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
