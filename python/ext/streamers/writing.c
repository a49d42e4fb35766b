/* SPDX-License-Identifier: MIT
 *
 * The writing side of a streamer: what generate calls, down to the log of a generation (or, in
 * TextStreamer, to on_finalized_text alone).
 */
#include "streamers/writing.h"

#include "common/str.h"

static void raise_two_writers(StreamerObject *self)
{
    PyErr_Format(PyExc_RuntimeError,
                 "%.100s is being written by another thread, or by its own on_finalized_text: only "
                 "one generation at a time may write",
                 Py_TYPE(self)->tp_name);
}

/* Appends to the log of the generation that is being written. 0, or -1 with an exception. */
static int append(StreamerObject *self, burble_text text, uint32_t tokens)
{
    LogObject *log = (LogObject *)Py_NewRef((PyObject *)self->writing->log);
    const int rc = log_append(log, text.bytes, text.len, tokens);
    Py_DECREF(log);
    return rc;
}

/* An exception is set, perhaps for lack of memory. -1. */
static int lose_text(StreamerObject *self)
{
    return self->writing == NULL ? -1 : log_lose_text(self->writing->log);
}

/* No more will be written to this generation. Its log was told so before: this may run Python code. */
static void finish_writing(struct generation *generation)
{
    struct generation *kept = generation_ref(generation);
    generation->written = true;
    producer_clear(&generation->producer);
    generation_unref(kept);
}

int writing_abandon(StreamerObject *self, struct generation *generation)
{
    struct pipeline *left = PyMem_New(struct pipeline, 1);
    struct pipeline fresh;
    if (left == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (pipeline_init_like(&self->pipeline, self->core, &fresh) < 0) {
        PyMem_Free(left);
        return -1;
    }
    if (generation->written) { /* another thread was faster */
        PyMem_Free(left);
        pipeline_finish(&fresh);
        return 0;
    }
    *left = self->pipeline;
    self->pipeline = fresh;
    generation->abandoned = left;
    finish_writing(generation);
    return 0;
}

/* Goes on in `generation`, where its log takes what is written: notes that its producer is alive. 1; 0
 * where it is over; or -1 with an exception. */
static int go_on(StreamerObject *self, struct generation *generation)
{
    if (generation->written)
        return 0;
    burble_stream *stream = generation->log->stream;
    if (producer_note(&generation->producer, self->core, stream) < 0)
        return -1;
    const int rc = burble_stream_append(stream, NULL, 0, 0);
    if (rc == BURBLE_OK)
        return 1;
    if (rc != BURBLE_ECLOSED) {
        core_raise(self->core, rc);
        return -1;
    }
    /* It failed under its last producer: this is the next one. */
    return writing_abandon(self, generation);
}

/* Before anything is written: goes on to a new generation where the last one is over, and notes that its
 * producer is alive. 0; or -1 with an exception (Cancelled, where it was cancelled). */
static int begin_writing(StreamerObject *self)
{
    if (self->cancelled) {
        core_raise(self->core, BURBLE_ECANCELED);
        return -1;
    }
    if (self->writing == NULL)
        return 0;
    if (is_under_way(&self->writing->log->appending)) { /* perhaps without the GIL */
        raise_two_writers(self);
        return -1;
    }
    if (self->timeout != 0)
        self->active_at = burble_now();
    struct generation *generation = generation_ref(self->writing);
    int rc = go_on(self, generation);
    if (rc == 0 && self->writing == generation)
        rc = generation_advance(&self->writing);
    generation_unref(generation);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    generation = generation_ref(self->writing);
    rc = producer_note(&generation->producer, self->core, generation->log->stream);
    generation_unref(generation);
    return rc < 0 ? -1 : append(self, (burble_text){"", 0}, 0);
}

/* Whether on_finalized_text is the one below, not one of a subclass or of the instance. */
static bool is_plain(StreamerObject *self, PyObject *method)
{
    return PyCFunction_CheckExact(method) && PyCFunction_GET_SELF(method) == (PyObject *)self
           && PyCFunction_GET_FUNCTION(method)
                  == (PyCFunction)(void (*)(void))streamer_on_finalized_text;
}

/* on_finalized_text. Looked for before anything is taken that it is to get: where it is not found, which
 * is what CPython also says of a lookup without memory, the call can be made again. */
static PyObject *finalizer_of(StreamerObject *self)
{
    return PyObject_GetAttr((PyObject *)self, self->core->str_on_finalized_text);
}

/* Hands a piece to on_finalized_text, empty ones as well, as transformers does; or, where nobody has
 * overridden it, does what it would do without making a str. */
static int emit_piece(StreamerObject *self, PyObject *method, const struct piece *piece)
{
    if (is_plain(self, method))
        return append(self, piece->text, piece->tokens);
    PyObject *text = str_from_utf8(piece->text.bytes, piece->text.len);
    PyObject *none = text == NULL ? NULL : PyObject_CallFunctionObjArgs(method, text, NULL);
    Py_XDECREF(text);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Hands the last text of a sequence to on_finalized_text, with the end; and with the stop string that
 * was the reason, where one was. */
static int emit_end(StreamerObject *self, PyObject *method, PyObject *text)
{
    PyObject *match = NULL;
    if (self->pipeline.detokenizer->progress.has_met) {
        match = detokenizer_match(self->pipeline.detokenizer);
        if (match == NULL)
            return -1;
    }
    if (self->writing == NULL)
        streamer_set_finish(self, match == NULL ? FINISH_END : FINISH_STOP, match);

    PyObject *args[] = {text, Py_True};
    PyObject *names = PyTuple_Pack(1, self->core->str_stream_end);
    self->met = match;
    PyObject *none = names == NULL ? NULL : PyObject_Vectorcall(method, args, 1, names);
    self->met = NULL;
    Py_XDECREF(names);
    Py_XDECREF(none);
    Py_XDECREF(match);
    return none == NULL ? -1 : 0;
}

static bool enter(StreamerObject *self)
{
    if (self->pipeline.detokenizer == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
        return false;
    }
    if (is_under_way(&self->busy)) {
        raise_two_writers(self);
        return false;
    }
    set_under_way(&self->busy, true);
    self->used = true;
    self->busy_in = thread_my_number();
    return true;
}

/* ---- stop strings ---------------------------------------------------------------------------- */

/* The generation is over that went on after its stop string. */
static int leave_stopped(StreamerObject *self)
{
    self->stopped = false;
    thread_clear(&self->stopped_by);
    return pipeline_forget(&self->pipeline);
}

static int raise_stopped(StreamerObject *self)
{
    PyErr_SetString(self->core->stopped, "a stop string was found");
    return -1;
}

/* A stop string was met: ends the generation with the rest of its text. generate does not know yet; what it
 * still puts is not heard, until it calls end(). If it raises instead, and its thread exits, what
 * comes then is another generation. */
static int stop(StreamerObject *self, PyObject *method, PyObject *rest)
{
    if (emit_end(self, method, rest) < 0)
        return -1;
    self->stopped = true;
    if (thread_set(self->core, &self->stopped_by) < 0)
        return -1;
    return self->raise_stopped ? raise_stopped(self) : 0;
}

/* A put() after the stop. 1 where it is not to be heard, 0 where it is another generation's; or -1
 * with an exception, which ends the generation. */
static int put_after_stop(StreamerObject *self)
{
    if (thread_has_exited(&self->stopped_by))
        return leave_stopped(self);
    if (self->cancelled) {
        core_raise(self->core, BURBLE_ECANCELED);
        return -1;
    }
    return self->raise_stopped ? raise_stopped(self) : 1;
}

/* ---- put and end ----------------------------------------------------------------------------- */

static int put_ids(StreamerObject *self, const struct ids *ids)
{
    if (self->stopped) {
        const int rc = put_after_stop(self);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
    }
    if (begin_writing(self) < 0)
        return -1;
    if (self->pipeline.at_beginning && self->writing == NULL)
        streamer_set_finish(self, FINISH_NONE, NULL);
    PyObject *method = finalizer_of(self);
    if (method == NULL)
        return -1;
    struct piece piece;
    int rc = 0;
    const enum passed passed = pipeline_put(&self->pipeline, ids, &piece);
    if (passed == PASSED_ERROR) {
        rc = -1;
    } else if (passed != PASSED_NOTHING) {
        rc =
            passed == PASSED_END ? stop(self, method, piece.str) : emit_piece(self, method, &piece);
        piece_clear(&piece);
    }
    Py_DECREF(method);
    return rc < 0 ? lose_text(self) : rc;
}

/* An exception is set, for ids that are none. generate, which put them, may end by it, and its thread with it:
 * waiting consumers have to learn of that, even if this was the first put. */
static void note_refused(StreamerObject *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!self->stopped && begin_writing(self) < 0)
        PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

PyObject *writing_put(StreamerObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
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
    } else {
        note_refused(self);
    }
    set_under_way(&self->busy, false);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* An end() after the stop. 1 where there is nothing more to end, 0 where it is another generation's;
 * or -1 with an exception. */
static int end_after_stop(StreamerObject *self)
{
    const bool another = thread_has_exited(&self->stopped_by);
    return leave_stopped(self) < 0 ? -1 : !another;
}

/* Writes the rest of the sequence, and the end. */
static int end_sequence(StreamerObject *self)
{
    if (begin_writing(self) < 0)
        return -1;
    PyObject *method = finalizer_of(self);
    if (method == NULL)
        return -1;
    struct piece rest;
    int rc = pipeline_rest(&self->pipeline, &rest);
    if (rc == 0) {
        rc = emit_end(self, method, rest.str);
        piece_clear(&rest);
    }
    Py_DECREF(method);
    return rc < 0 ? lose_text(self) : 0;
}

PyObject *writing_end(StreamerObject *self, PyObject *unused)
{
    (void)unused;
    if (!enter(self))
        return NULL;
    int rc = self->stopped ? end_after_stop(self) : 0;
    if (rc == 0)
        rc = end_sequence(self);
    set_under_way(&self->busy, false);
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
    burble_text utf8;
    PyObject *keeper;
    if (str_to_utf8(text, &utf8, &keeper) < 0)
        return NULL;
    if (begin_writing(self) < 0) {
        Py_DECREF(keeper);
        return NULL;
    }
    struct generation *generation = generation_ref(self->writing);
    int rc = append(self, utf8, 1);
    Py_DECREF(keeper);
    if (rc == 0 && ends) {
        generation->written = true;
        const bool ended =
            log_end(generation->log, self->met == NULL ? NULL : self->core->str_stop, self->met);
        finish_writing(generation);
        if (!ended) /* it was over before: says how */
            rc = log_append(generation->log, NULL, 0, 0);
    }
    generation_unref(generation);
    if (rc != 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Whether the writing side is done with the generation, or its producer has died. */
static bool is_over(struct generation *generation)
{
    burble_status status;
    if (generation->written)
        return true;
    producer_check_thread(&generation->producer, generation->log->stream);
    burble_stream_status(generation->log->stream, &status);
    return status.state == BURBLE_FAILED;
}

/* Takes nothing that the producer holds, and so runs none of the tokenizer's code: what a dead one has
 * left is the reading side's to take, and a live one's to lose. */
PyObject *writing_cancel(StreamerObject *self, PyObject *unused)
{
    (void)unused;
    self->cancelled = true;
    if (self->writing == NULL)
        Py_RETURN_NONE;
    /* A generation that is over stays readable; the one that would come next is the cancelled one. */
    struct generation *generation = generation_ref(self->writing);
    int rc = 0;
    if (is_over(generation) && self->writing == generation)
        rc = generation_advance(&self->writing);
    generation_unref(generation);
    if (rc < 0)
        return NULL;
    generation = generation_ref(self->writing);
    burble_stream_cancel(generation->log->stream);
    Py_CLEAR(generation->producer.frame);
    generation_unref(generation);
    Py_RETURN_NONE;
}

PyObject *writing_begin(StreamerObject *self, PyObject *unused)
{
    (void)unused;
    if (self->stopped) {
        if (!enter(self))
            return NULL;
        const int rc = leave_stopped(self);
        set_under_way(&self->busy, false);
        if (rc < 0)
            return NULL;
    }
    self->used = false;
    if (self->writing != NULL && self->writing->written && !self->cancelled
        && generation_advance(&self->writing) < 0)
        return NULL;
    if (self->writing != NULL && !self->writing->written)
        burble_stream_hand_over(self->writing->log->stream); /* to the thread that generates */
    Py_RETURN_NONE;
}

/* The rest of the text, then the failure of the generation. 0, or -1 with an exception. */
static int fail(StreamerObject *self, PyObject *exception)
{
    if (begin_writing(self) < 0)
        return -1;
    struct generation *generation = generation_ref(self->writing);
    struct piece rest;
    int rc = pipeline_rest(&self->pipeline, &rest);
    if (rc == 0) {
        rc = append(self, rest.text, rest.tokens);
        piece_clear(&rest);
    }
    generation->written = true;
    log_fail(generation->log, exception);
    finish_writing(generation);
    generation_unref(generation);
    return rc;
}

PyObject *writing_fail(StreamerObject *self, PyObject *exception)
{
    if (self->cancelled || (!self->stopped && (self->writing == NULL || self->writing->written)))
        Py_RETURN_NONE;
    if (!enter(self))
        return NULL;
    /* After a stop string, its text has already ended. */
    const int rc = self->stopped ? leave_stopped(self) : fail(self, exception);
    set_under_way(&self->busy, false);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}
