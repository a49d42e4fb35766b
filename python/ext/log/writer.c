/* SPDX-License-Identifier: MIT
 *
 * _core.Writer: writes ids or text of a generation to a log.
 */
#include "common/str.h"
#include "detokenize/pipeline.h"
#include "log/log.h"
#include "log/stats.h"

#include <structmember.h>

/* One thread at a time writes; the others are refused, not made to wait. All under the GIL, which is
 * given up only inside log_append and by tokenizers that run in Python: `busy` covers both. */
typedef struct {
    PyObject_HEAD
    struct core *core;
    LogObject *log;              /* NULL: not initialised */
    const burble_stream *stream; /* the log's */
    struct pipeline pipeline;
    struct stats stats;
    uint64_t blocked; /* how long the log had waited for readers when the last token came */
    PyObject *match;  /* of the stop string, as detokenizer_match has it; or NULL */
    PyObject *reason; /* why the sequence has ended, one of the core's strings; NULL: it has not */
    char skip_prompt;
    char prime;
    char raise_stopped;
    bool begun;            /* something of the present sequence was put */
    char used;             /* something was put, or flushed */
    struct under_way busy; /* one of the methods that write */
} WriterObject;

/* Of many streams that are written in turn, most are out of the cache. Fetches all that a token will use at once, so that the
 * misses overlap. */
static void fetch(const WriterObject *self)
{
    const LogObject *log = self->log;
    if (log == NULL)
        return;
    __builtin_prefetch(&self->busy);
    __builtin_prefetch(self->stats.between);
    __builtin_prefetch(log);
    __builtin_prefetch(&log->active_at);
    for (size_t at = 0; at < 256; at += 64) /* about as long as it is */
        __builtin_prefetch((const char *)self->stream + at);
}

static bool enter(WriterObject *self)
{
    if (self->log == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
        return false;
    }
    /* The log's own append, too: text that it refuses would be missing later. */
    if (is_under_way(&self->busy) || is_under_way(&self->log->appending)) {
        PyErr_Format(PyExc_RuntimeError,
                     "%.100s is being written by another thread, or by its own tokenizer: only one "
                     "call at a time may write (any thread may end the log itself)",
                     Py_TYPE(self)->tp_name);
        return false;
    }
    set_under_way(&self->busy, true);
    self->used = true;
    return true;
}

static PyObject *leave(WriterObject *self, int rc)
{
    set_under_way(&self->busy, false);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Appends text for which `tokens` stand; without text, they are a sign of life. 0, or -1 with an
 * exception. */
static int append(WriterObject *self, burble_text text, uint32_t tokens)
{
    if (log_append(self->log, text.bytes, text.len, tokens) < 0) {
        /* Text that does not come back (a signal handler raised): no reader may read past the gap. */
        if (text.len > 0 && log_is_open(self->log))
            log_fail_as_raised(self->log);
        return -1;
    }
    self->stats.chunks += text.len > 0;
    return 0;
}

/* So many tokens came at `now`. The time that the log has waited for readers is not the model's. */
static void count(WriterObject *self, uint32_t tokens, uint64_t now)
{
    stats_add(&self->stats, tokens, now, self->log->blocked - self->blocked);
    self->blocked = self->log->blocked;
}

/* ---- sequences ------------------------------------------------------------------------------- */

/* The next ids begin a sequence: the end of the last one no longer counts. */
static void begin_sequence(WriterObject *self)
{
    self->begun = true;
    self->reason = NULL;
    Py_CLEAR(self->match);
}

/* Takes note of the end of the text: by a stop string, or an end of sequence. 0, or -1 with an
 * exception. */
static int note_end(WriterObject *self)
{
    const bool met = self->pipeline.detokenizer->progress.has_met;
    PyObject *match = met ? detokenizer_match(self->pipeline.detokenizer) : NULL;
    if (met && match == NULL)
        return -1;
    self->reason = met ? self->core->str_stop : self->core->str_eos;
    Py_XSETREF(self->match, match);
    return 0;
}

static int raise_stopped(WriterObject *self)
{
    PyErr_SetString(self->core->stopped,
                    self->match != NULL ? "a stop string was found"
                                        : "the sequence has ended at an end-of-sequence token");
    return -1;
}

/* Something is put after the end of the text: it is not heard, but told how the log stands. */
static int put_after_end(WriterObject *self)
{
    if (append(self, (burble_text){"", 0}, 0) < 0)
        return -1;
    return self->raise_stopped ? raise_stopped(self) : 0;
}

static bool is_ended(const WriterObject *self)
{
    return self->begun && self->reason != NULL;
}

/* Appends what has become of ids or text that stand for `tokens`; gives the piece up. A function that goes
 * on after its end of sequence is told of that when it puts more; most do not. 0, or -1 with an
 * exception. */
static int append_piece(WriterObject *self, enum passed passed, struct piece *piece,
                        uint32_t tokens)
{
    int rc = append(self, piece->text, piece->text.len > 0 ? piece->tokens : tokens);
    piece_clear(piece);
    if (rc == 0 && passed == PASSED_END) {
        rc = note_end(self);
        if (rc == 0 && self->raise_stopped && self->match != NULL)
            rc = raise_stopped(self);
    }
    return rc < 0 ? log_lose_text(self->log) : rc;
}

/* ---- ids ------------------------------------------------------------------------------------- */

static int put_prompt(WriterObject *self, const struct ids *ids)
{
    if (append(self, (burble_text){"", 0}, 0) < 0)
        return -1;
    if (self->prime)
        return pipeline_prime(&self->pipeline, ids);
    self->pipeline.at_beginning = false;
    return 0;
}

static int put_ids(WriterObject *self, const struct ids *ids)
{
    const uint64_t now = burble_now();
    const bool prompt = pipeline_is_prompt(&self->pipeline, ids);
    struct piece piece;
    if (!self->begun)
        begin_sequence(self);
    if (prompt && self->skip_prompt)
        return put_prompt(self, ids);
    const enum passed passed = pipeline_put(&self->pipeline, ids, &piece);
    if (passed == PASSED_ERROR)
        return log_lose_text(self->log);
    if (!prompt)
        count(self, piece.taken, now);
    return append_piece(self, passed, &piece, piece.taken);
}

/* An exception is set, for ids that are none. Who put them may end by it and its thread go: readers have
 * to learn of that, if this was the first put, too. -1. */
static int note_refused(WriterObject *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (append(self, (burble_text){"", 0}, 0) < 0)
        PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return -1;
}

static int put(WriterObject *self, PyObject *value)
{
    struct ids ids;
    if (self->pipeline.detokenizer == NULL || self->pipeline.detokenizer->text_alone) {
        PyErr_SetString(PyExc_TypeError, "put: token ids need a tokenizer, and this writer was "
                                         "made without a detokenizer; put_text() takes text");
        return -1;
    }
    if (is_ended(self))
        return put_after_end(self);
    if (ids_read(self->core, value, &ids) < 0)
        return note_refused(self);
    const int rc = put_ids(self, &ids);
    ids_clear(&ids);
    return rc;
}

static PyObject *writer_put(WriterObject *self, PyObject *value)
{
    fetch(self);
    if (!enter(self))
        return NULL;
    return leave(self, put(self, value));
}

/* ---- text ------------------------------------------------------------------------------------ */

static int put_text(WriterObject *self, burble_text text)
{
    struct piece piece;
    const uint64_t now = burble_now();
    if (is_ended(self))
        return put_after_end(self);
    if (!self->begun)
        begin_sequence(self);
    const enum passed passed =
        pipeline_put_text(&self->pipeline, text, text.len > 0 ? 1 : 0, &piece);
    if (passed == PASSED_ERROR)
        return log_lose_text(self->log);
    if (text.len > 0)
        count(self, 1, now);
    return append_piece(self, passed, &piece, 1);
}

static PyObject *writer_put_text(WriterObject *self, PyObject *value)
{
    burble_text text;
    PyObject *keeper;
    fetch(self);
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "put_text: expected a str, found %.100s",
                     Py_TYPE(value)->tp_name);
        return NULL;
    }
    if (str_to_utf8(value, &text, &keeper) < 0)
        return NULL;
    PyObject *none = enter(self) ? leave(self, put_text(self, text)) : NULL;
    Py_DECREF(keeper);
    return none;
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* The tokenizer has raised instead of giving the rest of its text. What waits for its word to end was taken
 * before that: it is handed out. -1, with the exception that is set. */
static int hand_out_held(WriterObject *self)
{
    struct piece held;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    pipeline_cut(&self->pipeline, &held);
    if (held.text.len > 0 && append(self, held.text, held.tokens) < 0)
        PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return log_lose_text(self->log);
}

static int flush(WriterObject *self)
{
    struct piece rest;
    if (pipeline_rest(&self->pipeline, &rest) < 0)
        return hand_out_held(self);
    const int rc = append(self, rest.text, rest.tokens);
    piece_clear(&rest);
    self->begun = false;
    if (rc == 0 && self->reason == NULL && self->pipeline.detokenizer != NULL
        && self->pipeline.detokenizer->progress.has_met)
        return note_end(self);
    return rc;
}

static PyObject *writer_flush(WriterObject *self, PyObject *unused)
{
    (void)unused;
    if (!enter(self))
        return NULL;
    return leave(self, flush(self));
}

/* Whether the exception that is set says no more than that the log has ended before. */
static bool came_too_late(WriterObject *self)
{
    return !log_is_open(self->log) && PyErr_ExceptionMatches(self->core->error);
}

static int end(WriterObject *self, PyObject *reason)
{
    if (flush(self) < 0) {
        if (!came_too_late(self)) {
            log_fail_as_raised(self->log); /* no reader may wait for an end that does not come */
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    if (self->reason != NULL && reason == Py_None)
        reason = self->reason;
    log_end(self->log, reason, self->match);
    return 0;
}

static PyObject *writer_end(WriterObject *self, PyObject *const *args, Py_ssize_t n)
{
    PyObject *reason = n > 0 ? args[0] : Py_None;
    if (n > 1 || (reason != Py_None && !PyUnicode_Check(reason))) {
        PyErr_SetString(PyExc_TypeError, "end(reason=None): the reason must be a str or None");
        return NULL;
    }
    if (!enter(self))
        return NULL;
    return leave(self, end(self, reason));
}

static int fail(WriterObject *self, PyObject *exception)
{
    const int rc = flush(self);
    if (rc < 0 && came_too_late(self)) {
        PyErr_Clear();
        return 0;
    }
    log_fail(self->log, exception);
    return rc;
}

static PyObject *writer_fail(WriterObject *self, PyObject *exception)
{
    if (!PyExceptionInstance_Check(exception)) {
        PyErr_Format(PyExc_TypeError, "fail: expected an exception, found %.100s",
                     Py_TYPE(exception)->tp_name);
        return NULL;
    }
    if (!enter(self))
        return NULL;
    return leave(self, fail(self, exception));
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    WriterObject *self = (WriterObject *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->core = core_of(type);
    return (PyObject *)self;
}

static void raise_initialised(void)
{
    PyErr_SetString(PyExc_RuntimeError, "a writer can be initialised only once");
}

static int writer_init(WriterObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"log", "detokenizer", "chunk", "skip_prompt", "prime", NULL};
    PyObject *log, *detokenizer = Py_None;
    const char *chunk = "token";
    int skip_prompt = 0, prime = 1;
    struct pipeline pipeline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|Ospp", names, self->core->log_type, &log,
                                     &detokenizer, &chunk, &skip_prompt, &prime))
        return -1;
    if (detokenizer != Py_None && !PyObject_TypeCheck(detokenizer, self->core->detokenizer_type)) {
        PyErr_Format(PyExc_TypeError, "detokenizer: expected a Detokenizer or None, found %.100s",
                     Py_TYPE(detokenizer)->tp_name);
        return -1;
    }
    if (((LogObject *)log)->objects) {
        PyErr_SetString(PyExc_ValueError, "log: expected a log of text, found one of objects");
        return -1;
    }
    if (self->log != NULL) {
        raise_initialised();
        return -1;
    }
    /* The pipeline of streamers leaves out the first ids whatever their shape; here, a prompt is what
     * comes as generate puts one. */
    if (pipeline_init(&pipeline, self->core,
                      detokenizer == Py_None ? NULL : (DetokenizerObject *)detokenizer, chunk,
                      false)
        < 0)
        return -1;
    /* Once more, since making a pipeline may run Python code, which may do the same. */
    if (self->log != NULL) {
        raise_initialised();
        pipeline_finish(&pipeline);
        return -1;
    }
    pipeline_finish(&self->pipeline); /* where the collector has cleared it */
    self->pipeline = pipeline;
    self->skip_prompt = skip_prompt != 0;
    self->pipeline.has_prompt = skip_prompt != 0;
    self->prime = prime != 0;
    stats_clear(&self->stats);
    stats_init(&self->stats);
    self->log = (LogObject *)Py_NewRef(log);
    self->stream = self->log->stream;
    return 0;
}

static int writer_traverse(WriterObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->log);
    Py_VISIT(self->match);
    return pipeline_traverse(&self->pipeline, visit, arg);
}

static int writer_clear(WriterObject *self)
{
    Py_CLEAR(self->log);
    Py_CLEAR(self->match);
    pipeline_clear(&self->pipeline);
    return 0;
}

static void writer_dealloc(WriterObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    writer_clear(self);
    pipeline_finish(&self->pipeline);
    stats_clear(&self->stats);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *get_cancelled(WriterObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->log != NULL && !log_is_open(self->log));
}

static PyObject *get_stopped(WriterObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->reason != NULL);
}

static PyObject *get_reason(WriterObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(self->reason == NULL ? Py_None : self->reason);
}

static PyObject *get_first_tokens(WriterObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(self->stats.first_tokens);
}

/* Seconds, or None where there are none. */
static PyObject *seconds(bool there, double value)
{
    if (!there)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(value);
}

static PyObject *get_stats(WriterObject *self, void *unused)
{
    (void)unused;
    const struct stats *stats = &self->stats;
    const bool begun = stats->tokens > 0;
    const double p50 = stats_percentile(stats, 0.5), p99 = stats_percentile(stats, 0.99);
    return Py_BuildValue("(KKNNNN)", (unsigned long long)stats->tokens,
                         (unsigned long long)stats->chunks,
                         seconds(begun, (double)(stats->first - stats->began) * 1e-9),
                         seconds(begun, (double)(stats->last - stats->began) * 1e-9),
                         seconds(p50 >= 0, p50), seconds(p99 >= 0, p99));
}

PyDoc_STRVAR(
    writer_doc,
    "Writer(log, detokenizer=None, chunk='token', skip_prompt=False, prime=True)\n--\n\n"
    "Ids, or text, into a log of text: through the detokenizer, which is the writer's own from\n"
    "now on, and a chunker. Where has_prompt is set, which skip_prompt does, the first put() of a\n"
    "sequence is its prompt if it has the shape [1, n]: no stop string is looked for in it, and "
    "it\n"
    "does not count; skip_prompt leaves it out, and prime goes on where it stops, so that the "
    "text\n"
    "is what follows in the text of both.\n\n"
    "put(), put_text(), flush(), end() and fail() are for one thread at a time, else\n"
    "RuntimeError; to end the log under a thread that writes, call end(), fail() or cancel() of\n"
    "the log. An exception that these raise for what they were given leaves all as it was.");

PyDoc_STRVAR(
    put_doc,
    "put($self, value, /)\n--\n\n"
    "Take the next token ids: an int, a list of ints, or a tensor or array of shape [n]\n"
    "or [1, n]. Waits, as Log.append(), while a reader is at its limit, and raises the\n"
    "same: Cancelled, a timeout, Error. ValueError for more than one sequence or an id\n"
    "below 0, TypeError for what is no ids. After the end of the text, by a stop string or\n"
    "an end of sequence, ids are ignored, or Stopped is raised where raise_stopped is set.");

PyDoc_STRVAR(
    put_text_doc,
    "put_text($self, text, /)\n--\n\n"
    "Take text, as put() takes ids: behind the text of those before it, which may be the\n"
    "beginning of its first word or stop string. (A character that ids have left incomplete\n"
    "comes when it is complete.) Counts as a token, where it is not empty.");

static PyMethodDef writer_methods[] = {
    {"put", (PyCFunction)writer_put, METH_O, put_doc},
    {"put_text", (PyCFunction)writer_put_text, METH_O, put_text_doc},
    {"flush", (PyCFunction)writer_flush, METH_NOARGS,
     "flush($self, /)\n--\n\n"
     "Append the rest of the sequence's text. The next put() begins another sequence, in the same\n"
     "log; stopped, reason and match stay until then."},
    {"end", (PyCFunction)(void (*)(void))writer_end, METH_FASTCALL,
     "end($self, reason=None, /)\n--\n\n"
     "flush(), and end the log; the reason is that of the writer unless another is given. Of "
     "several ends the first decides. Where the rest of the text cannot be had, the\n"
     "log fails with what was raised."},
    {"fail", (PyCFunction)writer_fail, METH_O,
     "fail($self, exception, /)\n--\n\n"
     "flush(), and fail the log with an exception. Of several ends the first decides."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef writer_members[] = {
    {"raise_stopped", T_BOOL, offsetof(WriterObject, raise_stopped), 0,
     "Whether put() raises Stopped: as a stop string is met, and after any end of the text."},
    {"has_prompt", T_BOOL, offsetof(WriterObject, pipeline.has_prompt), 0,
     "Whether the first put() of a sequence is its prompt, where it has the shape [1, n]."},
    {"used", T_BOOL, offsetof(WriterObject, used), READONLY,
     "Whether anything was put or flushed."},
    {"match", T_OBJECT, offsetof(WriterObject, match), READONLY,
     "The stop string that was met, as Detokenizer._match has it; else None."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef writer_getset[] = {
    {"stopped", (getter)get_stopped, NULL,
     "Whether the text is complete, by a stop string or an end of sequence; the log is still to "
     "be\n"
     "ended.",
     NULL},
    {"reason", (getter)get_reason, NULL, "By which: 'stop' or 'eos'; else None.", NULL},
    {"cancelled", (getter)get_cancelled, NULL,
     "Whether the log was cancelled or has ended otherwise: what is put is not wanted.", NULL},
    {"stats", (getter)get_stats, NULL,
     "(tokens, chunks, first, last, p50, p99): how many tokens came and pieces of text were\n"
     "appended; when the first and the last token came, in seconds from the writer's making; and\n"
     "percentiles of the time between tokens, to within 3 % (below a microsecond: to within\n"
     "that), without the time that put() has waited for readers. Tokens that come in one put()\n"
     "share the time since the last one. None where there is nothing to say.",
     NULL},
    {"first_tokens", (getter)get_first_tokens, NULL,
     "How many tokens came with the first one, itself included: how fast those were, nobody knows.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, (void *)writer_doc}, {Py_tp_new, writer_new},
    {Py_tp_init, writer_init},       {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},     {Py_tp_dealloc, writer_dealloc},
    {Py_tp_methods, writer_methods}, {Py_tp_members, writer_members},
    {Py_tp_getset, writer_getset},   {0, NULL},
};

PyType_Spec writer_spec = {
    .name = "burble._core.Writer",
    .basicsize = sizeof(WriterObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = writer_slots,
};
