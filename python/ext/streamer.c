/* SPDX-License-Identifier: MIT
 *
 * _core.Streamer: ids from generate, through the detokenizer and the chunker, into a stream (or, in
 * TextStreamer, into on_finalized_text alone).
 */
#include "streamer.h"

#include "producer.h"

#include <structmember.h>

/* ---- writing --------------------------------------------------------------------------------- */

/* What the chunker holds and the last text of a sequence, as one str; the chunker is then as new. */
static PyObject *drain_chunker(StreamerObject *self, burble_text last)
{
    burble_text before, after;
    if (burble_chunker_push(self->chunker, last.bytes, last.len, 0, false, &before, NULL)
        != BURBLE_OK)
        return PyErr_NoMemory();
    PyObject *text = PyUnicode_DecodeUTF8(before.bytes, (Py_ssize_t)before.len, NULL);
    burble_chunker_finish(self->chunker, &after, NULL);
    if (text == NULL || after.len == 0)
        return text;
    PyObject *rest = PyUnicode_DecodeUTF8(after.bytes, (Py_ssize_t)after.len, NULL);
    PyObject *both = rest == NULL ? NULL : PyUnicode_Concat(text, rest);
    Py_DECREF(text);
    Py_XDECREF(rest);
    return both;
}

/* All that is left of a sequence, as one str; the detokenizer and the chunker are then as new. */
static PyObject *rest_of_sequence(StreamerObject *self)
{
    struct kept_text held;
    if (detokenizer_finish(self->detokenizer, &held) < 0)
        return NULL;
    PyObject *text = drain_chunker(self, held.text);
    Py_XDECREF(held.keeper);
    return text;
}

static void begin_sequence(StreamerObject *self)
{
    self->next_tokens_are_prompt = true;
    self->at_beginning = true;
}

static int forget_sequence(StreamerObject *self)
{
    burble_chunker_reset(self->chunker);
    begin_sequence(self);
    return detokenizer_reset(self->detokenizer);
}

static void raise_two_writers(StreamerObject *self)
{
    PyErr_Format(PyExc_RuntimeError,
                 "%.100s is being written by another thread, or from within its own "
                 "on_finalized_text: one generation at a time",
                 Py_TYPE(self)->tp_name);
}

/* Appends to the stream of the round that is being written. 0, or -1 with an exception. */
static int append(StreamerObject *self, const char *bytes, size_t len, uint32_t tokens)
{
    if (self->appending) {
        raise_two_writers(self);
        return -1;
    }
    struct round *round = round_ref(self->writing);
    int rc;
    self->appending = true;
    if (len > 0 && consumer_wakes(&self->consumer)) {
        /* This append wakes the consumer's thread, which wants the GIL at once. If we kept it, the
         * system would run that thread only to have it wait for us. */
        Py_BEGIN_ALLOW_THREADS
            rc = burble_stream_append(round->stream, bytes, len, tokens);
        Py_END_ALLOW_THREADS
    } else {
        rc = burble_stream_append(round->stream, bytes, len, tokens);
    }
    self->appending = false;
    if (rc != BURBLE_OK) {
        /* The text was already taken from the chunker: a consumer must not read past the gap. */
        if (rc == BURBLE_ENOMEM)
            burble_stream_fail(round->stream, BURBLE_ENOMEM, NULL);
        core_raise(self->core, rc);
    }
    round_unref(round);
    return rc == BURBLE_OK ? 0 : -1;
}

static int append_str(StreamerObject *self, PyObject *text)
{
    Py_ssize_t len;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &len);
    return bytes == NULL ? -1 : append(self, bytes, (size_t)len, 1);
}

/* No more will be written to this round. */
static void finish_writing(struct round *round)
{
    round->written = true;
    Py_CLEAR(round->frame);
    writer_clear(&round->writer);
}

/* The producer of the round that is being written is dead. What it left in the chunker is text that
 * the model has generated, and belongs to that round: it is put there, and the writing side is done
 * with the round. A consumer and a new generation may come to this at once, and a tokenizer that
 * decodes in Python lets go of the GIL in the midst of it: hence the lock. 0, or -1 with an
 * exception. */
static int bury(StreamerObject *self)
{
    struct round *round = round_ref(self->writing);
    if (!PyThread_acquire_lock(self->burying, NOWAIT_LOCK)) {
        Py_BEGIN_ALLOW_THREADS
            PyThread_acquire_lock(self->burying, WAIT_LOCK);
        Py_END_ALLOW_THREADS
    }
    int rc = 0;
    if (!round->written) { /* nobody was faster */
        round->last_text = rest_of_sequence(self);
        if (round->last_text == NULL)
            rc = -1;
        begin_sequence(self);
        finish_writing(round);
    }
    PyThread_release_lock(self->burying);
    round_unref(round);
    return rc;
}

/* Before anything is written: goes on to a new round where the last one is over, and notes that its
 * producer is alive. 0; or -1 with an exception (Cancelled, where it was cancelled). */
static int begin_writing(StreamerObject *self)
{
    if (self->cancelled) {
        core_raise(self->core, BURBLE_ECANCELED);
        return -1;
    }
    if (self->writing == NULL)
        return 0;
    if (self->appending) {
        raise_two_writers(self);
        return -1;
    }
    if (self->timeout != 0)
        self->active_at = burble__now();
    if (!self->writing->written) {
        if (producer_note(self->core, self->writing) < 0)
            return -1;
        const int rc = burble_stream_append(self->writing->stream, NULL, 0, 0);
        if (rc != BURBLE_ECLOSED) {
            if (rc != BURBLE_OK)
                core_raise(self->core, rc);
            return rc == BURBLE_OK ? 0 : -1;
        }
        /* It failed under its last producer, and this is another generation. */
        if (bury(self) < 0)
            return -1;
    }
    if (round_advance(self->core, &self->writing) < 0
        || producer_note(self->core, self->writing) < 0)
        return -1;
    return append(self, NULL, 0, 0);
}

/* Whether on_finalized_text is the one below, not one of a subclass or of the instance. */
static bool is_plain(StreamerObject *self, PyObject *method)
{
    return PyCFunction_CheckExact(method) && PyCFunction_GET_SELF(method) == (PyObject *)self
           && PyCFunction_GET_FUNCTION(method)
                  == (PyCFunction)(void (*)(void))streamer_on_finalized_text;
}

/* Hands a chunk to on_finalized_text, empty ones as well, as transformers does; or, where nobody has
 * overridden it, does what it would do without making a str. */
static int emit_chunk(StreamerObject *self, burble_text chunk, uint32_t tokens)
{
    PyObject *method = PyObject_GetAttr((PyObject *)self, self->core->str_on_finalized_text);
    if (method == NULL)
        return -1;
    if (is_plain(self, method)) {
        Py_DECREF(method);
        return append(self, chunk.bytes, chunk.len, tokens);
    }
    PyObject *text = PyUnicode_DecodeUTF8(chunk.bytes, (Py_ssize_t)chunk.len, NULL);
    PyObject *none = text == NULL ? NULL : PyObject_CallFunctionObjArgs(method, text, NULL);
    Py_DECREF(method);
    Py_XDECREF(text);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static void set_finish(StreamerObject *self, enum finish finish, PyObject *match)
{
    self->finish = finish;
    Py_XSETREF(self->match, Py_XNewRef(match));
}

/* Hands the last text of a sequence to on_finalized_text, with the end; and with the stop string that
 * was the reason, where one was. */
static int emit_end(StreamerObject *self, PyObject *text)
{
    PyObject *match = NULL;
    self->reason = BURBLE_REASON_NONE;
    if (self->detokenizer->has_met) {
        match = detokenizer_match(self->detokenizer);
        if (match == NULL)
            return -1;
        self->reason = BURBLE_REASON_STOP;
    }
    if (self->writing == NULL)
        set_finish(self, match == NULL ? FINISH_END : FINISH_STOP, match);
    else
        Py_XSETREF(self->writing->match, Py_XNewRef(match));
    Py_XDECREF(match);

    PyObject *method = PyObject_GetAttr((PyObject *)self, self->core->str_on_finalized_text);
    if (method == NULL)
        return -1;
    PyObject *args[] = {text, Py_True};
    PyObject *names = PyTuple_Pack(1, self->core->str_stream_end);
    PyObject *none = names == NULL ? NULL : PyObject_Vectorcall(method, args, 1, names);
    Py_XDECREF(names);
    Py_DECREF(method);
    Py_XDECREF(none);
    self->reason = BURBLE_REASON_NONE;
    return none == NULL ? -1 : 0;
}

static bool enter(StreamerObject *self)
{
    if (self->detokenizer == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
        return false;
    }
    if (self->busy) {
        raise_two_writers(self);
        return false;
    }
    self->busy = true;
    self->busy_in = writer_my_number();
    return true;
}

/* ---- stop strings ---------------------------------------------------------------------------- */

/* The generation is over that went on after its stop string. */
static int leave_stopped(StreamerObject *self)
{
    self->stopped = false;
    writer_clear(&self->stopped_by);
    return forget_sequence(self);
}

static int raise_stopped(StreamerObject *self)
{
    PyErr_SetString(self->core->stopped, "a stop string was met");
    return -1;
}

/* A stop string was met: ends the round with the text before it. generate does not know yet; what it
 * still puts is not heard, until it calls end(). If it raises instead, and its thread exits, what
 * comes then is another generation. */
static int stop(StreamerObject *self, burble_text last)
{
    PyObject *text = drain_chunker(self, last);
    const int rc = text == NULL ? -1 : emit_end(self, text);
    Py_XDECREF(text);
    if (rc < 0)
        return -1;
    self->stopped = true;
    if (writer_set(self->core, &self->stopped_by) < 0)
        return -1;
    return self->raise_stopped ? raise_stopped(self) : 0;
}

/* A put() after the stop. 1 where it is not to be heard, 0 where it is another generation's; or -1
 * with an exception, which ends the generation. */
static int put_after_stop(StreamerObject *self)
{
    if (writer_has_exited(&self->stopped_by))
        return leave_stopped(self);
    if (self->cancelled) {
        core_raise(self->core, BURBLE_ECANCELED);
        return -1;
    }
    return self->raise_stopped ? raise_stopped(self) : 1;
}

/* ---- put and end ----------------------------------------------------------------------------- */

/* The first put of a sequence, where it comes as generate makes it: none of it was generated. */
static bool is_prompt(StreamerObject *self, const struct ids *ids)
{
    const bool first = self->at_beginning;
    self->at_beginning = false;
    return first && ids->batch;
}

static int put_ids(StreamerObject *self, const struct ids *ids)
{
    struct kept_text kept;
    burble_text chunk;
    uint32_t tokens;
    if (self->stopped) {
        const int rc = put_after_stop(self);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
    }
    if (begin_writing(self) < 0)
        return -1;
    if (self->at_beginning && self->writing == NULL)
        set_finish(self, FINISH_NONE, NULL);
    const bool prompt = is_prompt(self, ids);
    if (self->skip_prompt && self->next_tokens_are_prompt) {
        self->next_tokens_are_prompt = false;
        return 0;
    }
    if (detokenizer_push(self->detokenizer, ids, prompt, &kept) < 0)
        return -1;
    int rc = -1;
    const int holds = detokenizer_holds(self->detokenizer);
    if (holds >= 0 && self->detokenizer->stopped) {
        rc = stop(self, kept.text);
    } else if (holds >= 0) {
        if (burble_chunker_push(self->chunker, kept.text.bytes, kept.text.len, (uint32_t)ids->n,
                                holds != 0, &chunk, &tokens)
            != BURBLE_OK)
            PyErr_NoMemory();
        else
            rc = emit_chunk(self, chunk, tokens);
    }
    Py_XDECREF(kept.keeper);
    return rc;
}

static PyObject *streamer_put(StreamerObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    struct ids ids;
    const Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (n + named != 1
        || (named == 1
            && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "value") != 0)) {
        PyErr_SetString(PyExc_TypeError, "put(value) takes one argument");
        return NULL;
    }
    PyObject *value = args[0];
    if (!enter(self))
        return NULL;
    int rc = ids_read(self->core, value, &ids);
    if (rc == 0) {
        rc = put_ids(self, &ids);
        ids_clear(&ids);
    }
    self->busy = false;
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* An end() after the stop. 1 where there is nothing more to end, 0 where it is another generation's;
 * or -1 with an exception. */
static int end_after_stop(StreamerObject *self)
{
    const bool another = writer_has_exited(&self->stopped_by);
    return leave_stopped(self) < 0 ? -1 : !another;
}

static PyObject *streamer_end(StreamerObject *self, PyObject *unused)
{
    (void)unused;
    if (!enter(self))
        return NULL;
    int rc = self->stopped ? end_after_stop(self) : 0;
    if (rc == 0) {
        rc = begin_writing(self);
        if (rc == 0) {
            PyObject *text = rest_of_sequence(self);
            begin_sequence(self);
            rc = text == NULL ? -1 : emit_end(self, text);
            Py_XDECREF(text);
        }
    }
    self->busy = false;
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *streamer_on_finalized_text(StreamerObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    const Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    PyObject *text = n > 0 ? args[0] : NULL, *end = n > 1 ? args[1] : Py_False;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "stream_end") == 0 && n < 2) {
            end = args[n + i];
        } else if (PyUnicode_CompareWithASCIIString(name, "text") == 0 && n < 1) {
            text = args[n + i];
        } else {
            PyErr_Format(PyExc_TypeError, "on_finalized_text() got an unexpected argument %R",
                         name);
            return NULL;
        }
    }
    if (n > 2 || text == NULL || !PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError,
                        "on_finalized_text(text, stream_end=False): text must be a str");
        return NULL;
    }
    const int ends = PyObject_IsTrue(end);
    if (ends < 0)
        return NULL;
    if (self->writing == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
        return NULL;
    }
    if (begin_writing(self) < 0 || append_str(self, text) < 0)
        return NULL;
    if (ends) {
        finish_writing(self->writing);
        const int rc = burble_stream_end(self->writing->stream, self->reason);
        if (rc != BURBLE_OK)
            return core_raise(self->core, rc);
    }
    Py_RETURN_NONE;
}

static PyObject *streamer_cancel(StreamerObject *self, PyObject *unused)
{
    (void)unused;
    burble_status status;
    self->cancelled = true;
    if (self->writing == NULL)
        Py_RETURN_NONE;
    /* A round that is over stays readable; the one that would come next is the cancelled one. */
    if (!self->writing->written)
        producer_check_thread(self->writing);
    burble_stream_status(self->writing->stream, &status);
    if (!self->writing->written && status.state == BURBLE_FAILED && bury(self) < 0)
        return NULL;
    if (self->writing->written && round_advance(self->core, &self->writing) < 0)
        return NULL;
    burble_stream_cancel(self->writing->stream);
    Py_CLEAR(self->writing->frame);
    Py_RETURN_NONE;
}

/* _begin(): run() is about to generate, so that what was written before is another generation. */
static PyObject *streamer_begin(StreamerObject *self, PyObject *unused)
{
    (void)unused;
    if (self->stopped && leave_stopped(self) < 0)
        return NULL;
    if (self->writing != NULL && self->writing->written && !self->cancelled
        && round_advance(self->core, &self->writing) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* _fail(exception): generate raised it (run() calls this in its thread). What was written so far
 * comes first; what was ended already is left alone. */
static PyObject *streamer_fail(StreamerObject *self, PyObject *exception)
{
    if (self->cancelled || (!self->stopped && (self->writing == NULL || self->writing->written)))
        Py_RETURN_NONE;
    if (!enter(self))
        return NULL;
    if (self->stopped) { /* its text has ended all the same */
        const int left = leave_stopped(self);
        self->busy = false;
        if (left < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    int rc = begin_writing(self);
    if (rc == 0) {
        PyObject *text = rest_of_sequence(self);
        rc = text == NULL ? -1 : append_str(self, text);
        Py_XDECREF(text);
        begin_sequence(self);
        finish_writing(self->writing);
        Py_XSETREF(self->writing->error, Py_NewRef(exception));
        burble_stream_fail(self->writing->stream, BURBLE_EFAILED, NULL);
    }
    self->busy = false;
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void raise_failure(StreamerObject *self, int rc)
{
    /* So that run()'s task does not complain that nobody looked at its exception. */
    PyObject *none = PyObject_CallMethod((PyObject *)self, "_error_delivered", NULL);
    if (none == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(none);
    PyObject *error = self->reading->error;
    if (error != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    else
        core_raise(self->core, rc);
}

/* What the dead producer's chunker held, once: it is text that the model has generated. */
static PyObject *take_last_text(StreamerObject *self)
{
    struct round *round = self->reading;
    /* A producer that is still inside put() is not dead, whatever it looked like. */
    const bool inside = self->busy && self->busy_in == round->writer.number;
    if (self->writing == round && !round->written && !inside && bury(self) < 0)
        return NULL;
    PyObject *text = round->last_text;
    round->last_text = NULL;
    return text == NULL ? PyUnicode_New(0, 0) : text;
}

/* The round is read to its end. */
static void note_finish(StreamerObject *self)
{
    burble_status status;
    burble_stream_status(self->reading->stream, &status);
    set_finish(self, status.reason == BURBLE_REASON_STOP ? FINISH_STOP : FINISH_END,
               self->reading->match);
}

bool streamer_is_ready(StreamerObject *self)
{
    if (self->reading == NULL)
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
    return self->reading != NULL;
}

/* The end of a round moves the reading side on to the next one. */
static enum reading read_text(PyObject *object, PyObject **text)
{
    StreamerObject *self = (StreamerObject *)object;
    burble_record record;
    if (!streamer_is_ready(self))
        return READ_ERROR;
    const int rc = burble_reader_next(self->reading->reader, &record);
    switch (rc) {
    case BURBLE_OK:
        *text = PyUnicode_DecodeUTF8(record.text, (Py_ssize_t)record.len, NULL);
        if (self->finish != FINISH_NONE)
            set_finish(self, FINISH_NONE, NULL);
        return *text == NULL ? READ_ERROR : READ_VALUE;
    case BURBLE_AGAIN:
        return READ_NOTHING;
    case BURBLE_END:
        note_finish(self);
        return round_advance(self->core, &self->reading) < 0 ? READ_ERROR : READ_END;
    case BURBLE_ECANCELED: /* for good: no other round follows */
        raise_failure(self, rc);
        return READ_ERROR;
    case BURBLE_EDIED:
        *text = take_last_text(self);
        if (*text == NULL)
            return READ_ERROR;
        if (PyUnicode_GET_LENGTH(*text) > 0)
            return READ_VALUE;
        Py_CLEAR(*text);
        break;
    default:
        break;
    }
    raise_failure(self, rc);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    const int advanced = round_advance(self->core, &self->reading);
    if (advanced == 0)
        PyErr_Restore(type, value, traceback);
    return READ_ERROR;
}

/* Makes `hub` the one through which the present round wakes. One of burble's results. */
static int attach(StreamerObject *self, HubObject *hub)
{
    struct round *round = self->reading;
    if (round->hub == hub)
        return BURBLE_OK;
    const int rc = burble_reader_attach(round->reader, hub->hub, consumer_ready, &self->consumer);
    Py_XSETREF(round->hub, rc == BURBLE_OK ? (HubObject *)Py_NewRef((PyObject *)hub) : NULL);
    return rc;
}

static int park(PyObject *object, HubObject *hub)
{
    StreamerObject *self = (StreamerObject *)object;
    const int rc = attach(self, hub);
    return rc == BURBLE_OK ? burble_reader_park(self->reading->reader) : rc;
}

static int wait_for_text(PyObject *object, uint64_t until)
{
    burble_reader *reader = ((StreamerObject *)object)->reading->reader;
    int rc;
    Py_BEGIN_ALLOW_THREADS
        rc = burble_reader_wait(reader, until);
    Py_END_ALLOW_THREADS
    return rc;
}

/* The timeout counts from the last token, or from the wait's beginning where that is later. */
static uint64_t deadline(PyObject *object, uint64_t began)
{
    StreamerObject *self = (StreamerObject *)object;
    if (self->timeout == 0)
        return 0;
    return (self->active_at > began ? self->active_at : began) + self->timeout;
}

static enum reading timed_out(PyObject *object, bool in_thread)
{
    StreamerObject *self = (StreamerObject *)object;
    if (self->stop_on_timeout)
        return READ_END;
    if (in_thread && core_import(&self->core->queue_empty, "queue", "Empty") < 0)
        return READ_ERROR;
    PyErr_Format(in_thread ? self->core->queue_empty : PyExc_TimeoutError,
                 "no token came within the timeout of %S s",
                 self->timeout_given == NULL ? Py_None : self->timeout_given);
    return READ_ERROR;
}

static int look(PyObject *object, PyObject **frames)
{
    StreamerObject *self = (StreamerObject *)object;
    return self->reading == NULL ? 0 : producer_look(self->reading, frames);
}

static const struct consumer_kind streamer_consumer = {
    .read = read_text,
    .park = park,
    .wait = wait_for_text,
    .deadline = deadline,
    .timed_out = timed_out,
    .look = look,
};

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *streamer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    StreamerObject *self = (StreamerObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->core = core_of(type);
        consumer_init(&self->consumer, (PyObject *)self, &streamer_consumer, self->core);
    }
    return (PyObject *)self;
}

static int set_timeout(StreamerObject *self, PyObject *value, void *unused)
{
    (void)unused;
    if (value == NULL)
        value = Py_None;
    if (core_nanoseconds(value, "timeout", &self->timeout) < 0)
        return -1;
    Py_XSETREF(self->timeout_given, Py_NewRef(value));
    return 0;
}

static PyObject *get_timeout(StreamerObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(self->timeout_given == NULL ? Py_None : self->timeout_given);
}

static int streamer_init(StreamerObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"detokenizer", "skip_prompt",     "chunk",
                            "timeout",     "stop_on_timeout", NULL};
    PyObject *detokenizer, *timeout = Py_None;
    const char *chunk = "word";
    int skip_prompt = 0, stop_on_timeout = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|psOp", names, self->core->detokenizer_type,
                                     &detokenizer, &skip_prompt, &chunk, &timeout,
                                     &stop_on_timeout))
        return -1;
    if (self->detokenizer != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a streamer is initialised once");
        return -1;
    }
    burble_chunking rule;
    if (strcmp(chunk, "word") == 0) {
        rule = BURBLE_CHUNK_WORD;
    } else if (strcmp(chunk, "token") == 0) {
        rule = BURBLE_CHUNK_TOKEN;
    } else {
        PyErr_Format(PyExc_ValueError, "chunk: expected 'word' or 'token', found '%s'", chunk);
        return -1;
    }
    if (set_timeout(self, timeout, NULL) < 0)
        return -1;
    const bool has_consumer = PyObject_TypeCheck(self, self->core->iterator_type)
                              || PyObject_TypeCheck(self, self->core->async_iterator_type);
    if (has_consumer) {
        self->writing = round_create(self->core);
        if (self->writing == NULL)
            return -1;
        self->reading = round_ref(self->writing);
    }
    self->burying = PyThread_allocate_lock();
    if (self->burying == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    const int rc = burble_chunker_create(rule, &self->chunker);
    if (rc != BURBLE_OK) {
        core_raise(self->core, rc);
        return -1;
    }
    self->skip_prompt = skip_prompt != 0;
    self->stop_on_timeout = stop_on_timeout != 0;
    self->next_tokens_are_prompt = true;
    self->detokenizer = (DetokenizerObject *)Py_NewRef(detokenizer);
    return forget_sequence(self);
}

/* Whether generate has ended the round that it wrote: for run(). */
static PyObject *streamer_written(StreamerObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!self->stopped && (self->writing == NULL || self->writing->written));
}

static PyObject *streamer_stopped(StreamerObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->stopped);
}

static PyObject *streamer_should_stop(StreamerObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->stopped || self->cancelled);
}

static PyObject *streamer_match(StreamerObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(self->match == NULL ? Py_None : self->match);
}

static PyObject *streamer_finish_reason(StreamerObject *self, void *unused)
{
    (void)unused;
    if (self->finish == FINISH_NONE)
        Py_RETURN_NONE;
    return PyUnicode_FromString(self->finish == FINISH_STOP ? "stop" : "end");
}

static PyObject *streamer_path(StreamerObject *self, void *unused)
{
    (void)unused;
    if (self->detokenizer == NULL)
        Py_RETURN_NONE;
    return PyObject_GetAttrString((PyObject *)self->detokenizer, "path");
}

static int streamer_traverse(StreamerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->detokenizer);
    const int visited = consumer_traverse(&self->consumer, visit, arg);
    if (visited != 0)
        return visited;
    Py_VISIT(self->stopped_by.thread);
    Py_VISIT(self->match);
    /* The sides share their rounds: visit each round once, from the side that is behind. A round is
     * behind another if it comes earlier in the chain. */
    for (struct round *round = self->writing; round != NULL; round = round->next)
        if (round == self->reading)
            return round_traverse(self->writing, visit, arg);
    return self->reading == NULL ? 0 : round_traverse(self->reading, visit, arg);
}

static int streamer_clear(StreamerObject *self)
{
    struct round *writing = self->writing, *reading = self->reading;
    self->writing = self->reading = NULL;
    consumer_clear(&self->consumer);
    round_unref(writing);
    round_unref(reading);
    Py_CLEAR(self->match);
    Py_CLEAR(self->detokenizer);
    return 0;
}

static void streamer_dealloc(StreamerObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    streamer_clear(self);
    burble_chunker_destroy(&self->chunker);
    Py_CLEAR(self->timeout_given);
    if (self->burying != NULL)
        PyThread_free_lock(self->burying);
    writer_clear(&self->stopped_by);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    put_doc,
    "put($self, value)\n--\n\n"
    "Take the next token ids: what generate calls for the prompt and for each step.\n\n"
    "value: an int, a list of ints, or a tensor or NumPy array of shape [n] or [1, n].\n"
    "Raises ValueError for more than one sequence or an id below 0, TypeError for what is\n"
    "no token ids, Cancelled after cancel(), and Stopped where run() has to stop a generation\n"
    "in this way. After a stop string, ids are ignored until end(). One thread at a time.");

PyDoc_STRVAR(end_doc,
             "end($self, /)\n--\n\n"
             "End the sequence: the rest of its text, then the end. The next put() begins anew.");

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /)\n--\n\n"
             "Stop generating: the next put() raises Cancelled, and so does reading, after the\n"
             "text that came before. For good; idempotent; from any thread.");

static PyMethodDef streamer_methods[] = {
    {"put", (PyCFunction)(void (*)(void))streamer_put, METH_FASTCALL | METH_KEYWORDS, put_doc},
    {"end", (PyCFunction)streamer_end, METH_NOARGS, end_doc},
    {"cancel", (PyCFunction)streamer_cancel, METH_NOARGS, cancel_doc},
    {"_begin", (PyCFunction)streamer_begin, METH_NOARGS, NULL},
    {"_fail", (PyCFunction)streamer_fail, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef streamer_members[] = {
    {"skip_prompt", T_BOOL, offsetof(StreamerObject, skip_prompt), 0,
     "Whether the first put() of a sequence, the prompt, is left out."},
    {"next_tokens_are_prompt", T_BOOL, offsetof(StreamerObject, next_tokens_are_prompt), 0,
     "Whether the next put() is taken for the prompt."},
    {"_raise_stopped", T_BOOL, offsetof(StreamerObject, raise_stopped), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef streamer_getset[] = {
    {"timeout", (getter)get_timeout, (setter)set_timeout,
     "How many seconds to wait for a token, counted from the last one; None: without end.", NULL},
    {"_written", (getter)streamer_written, NULL, NULL, NULL},
    {"_stopped", (getter)streamer_stopped, NULL, NULL, NULL},
    {"_match", (getter)streamer_match, NULL, NULL, NULL},
    {"should_stop", (getter)streamer_should_stop, NULL,
     "Whether the generation that puts its tokens here should end: a stop string was met (until\n"
     "end() is called), or cancel() was called. For loops of one's own.",
     NULL},
    {"finish_reason", (getter)streamer_finish_reason, NULL,
     "How the generation ended whose text was read last (TextStreamer: written): 'stop' with a\n"
     "stop string, 'end' by itself, with the end of its text or its limit, which a streamer is\n"
     "not told. None: not yet, or it was cancelled or failed.",
     NULL},
    {"path", (getter)streamer_path, NULL, "As Detokenizer.path: 'compiled' or 'windowed'.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot streamer_slots[] = {
    {Py_tp_doc, "The base of the streamers."},
    {Py_tp_new, streamer_new},
    {Py_tp_init, streamer_init},
    {Py_tp_traverse, streamer_traverse},
    {Py_tp_clear, streamer_clear},
    {Py_tp_dealloc, streamer_dealloc},
    {Py_tp_methods, streamer_methods},
    {Py_tp_members, streamer_members},
    {Py_tp_getset, streamer_getset},
    {0, NULL},
};

PyType_Spec streamer_spec = {
    .name = "burble._core.Streamer",
    .basicsize = sizeof(StreamerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = streamer_slots,
};
