/* SPDX-License-Identifier: MIT
 *
 * _core.Streamer: the type, and its reading side.
 */
#include "streamers/streamer.h"

#include "common/failure.h"
#include "streamers/writing.h"

#include <structmember.h>

void streamer_set_finish(StreamerObject *self, enum finish finish, PyObject *match)
{
    self->finish = finish;
    Py_XSETREF(self->match, Py_XNewRef(match));
}

/* ---- reading --------------------------------------------------------------------------------- */

static void raise_failure(StreamerObject *self, struct generation *generation, int rc)
{
    /* So that run()'s task does not complain that nobody looked at its exception. */
    PyObject *none = PyObject_CallMethod((PyObject *)self, "_error_delivered", NULL);
    if (none == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(none);
    reader_no_value(generation->reader, rc);
}

/* The rest of a dead producer's text, whose pipeline this is: nobody else can come to it. */
static PyObject *rest_of(struct generation *generation, struct pipeline *left)
{
    struct piece rest;
    if (pipeline_rest(left, &rest) < 0) {
        /* The unfinished word is still to be read; and all of the text, if a signal handler has raised (as
         * that of Ctrl-C does), which says nothing about the tokenizer. */
        if (PyErr_ExceptionMatches(PyExc_Exception))
            pipeline_clear(left);
        generation->abandoned = left;
        return NULL;
    }
    pipeline_finish(left);
    PyMem_Free(left);
    PyObject *text = Py_NewRef(rest.str);
    piece_clear(&rest);
    return text;
}

/* The text that the dead producer's pipeline held, once: it is text that the model has generated. */
static PyObject *take_last_text(StreamerObject *self, struct generation *generation)
{
    /* A producer that is still inside put() is not dead, whatever it looked like. */
    const bool inside =
        is_under_way(&self->busy) && self->busy_in == generation->producer.thread.number;
    if (!generation->written && !inside && writing_abandon(self, generation) < 0)
        return NULL;
    struct pipeline *left = generation->abandoned;
    generation->abandoned = NULL;
    return left == NULL ? PyUnicode_New(0, 0) : rest_of(generation, left);
}

/* The generation is read to its end. */
static void note_finish(StreamerObject *self, struct generation *generation)
{
    burble_status status;
    burble_stream_status(generation->log->stream, &status);
    streamer_set_finish(self, status.reason == BURBLE_REASON_STOP ? FINISH_STOP : FINISH_END,
                        generation->log->match);
}

bool streamer_is_ready(StreamerObject *self)
{
    if (self->reading == NULL)
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
    return self->reading != NULL;
}

/* The generation has ended without more text, as `rc` says: one of burble's results. */
static enum reading read_end(StreamerObject *self, struct generation *generation, int rc,
                             PyObject **text)
{
    if (rc == BURBLE_END) {
        note_finish(self, generation);
        return generation_advance(&self->reading) < 0 ? READ_ERROR : READ_END;
    }
    if (rc == BURBLE_EDIED) {
        *text = take_last_text(self, generation);
        if (*text == NULL) {
            failure_of_raised();
            return READ_ERROR;
        }
        if (PyUnicode_GET_LENGTH(*text) > 0)
            return READ_VALUE;
        Py_CLEAR(*text);
    }
    raise_failure(self, generation, rc);
    if (rc == BURBLE_ECANCELED) /* for good: no other generation follows */
        return READ_ERROR;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    const int advanced = generation_advance(&self->reading);
    if (advanced == 0) {
        PyErr_Restore(type, value, traceback);
    } else { /* it is raised by the next read */
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    }
    return READ_ERROR;
}

/* The end of a generation moves the reading side on to the next one. */
static enum reading read_text(PyObject *object, PyObject **text)
{
    StreamerObject *self = (StreamerObject *)object;
    if (!streamer_is_ready(self))
        return READ_ERROR;
    const int rc = reader_next_value(self->reading->reader, text);
    if (rc == BURBLE_AGAIN)
        return READ_NOTHING;
    if (rc != BURBLE_OK) {
        struct generation *generation = generation_ref(self->reading);
        const enum reading reading = read_end(self, generation, rc, text);
        generation_unref(generation);
        return reading;
    }
    if (self->finish != FINISH_NONE)
        streamer_set_finish(self, FINISH_NONE, NULL);
    return *text == NULL ? READ_ERROR : READ_VALUE;
}

static int park(PyObject *object, HubObject *hub)
{
    StreamerObject *self = (StreamerObject *)object;
    return reader_park(self->reading->reader, hub, consumer_ready, &self->consumer);
}

static int wait_for_text(PyObject *object, uint64_t until)
{
    return reader_wait(((StreamerObject *)object)->reading->reader, until);
}

/* The timeout counts from the last token, or from the wait's beginning where that is later. */
static uint64_t deadline(PyObject *object, uint64_t began)
{
    StreamerObject *self = (StreamerObject *)object;
    if (self->timeout == 0)
        return 0;
    const uint64_t since = self->active_at > began ? self->active_at : began;
    return clock_earlier_by(since + self->timeout, clock_ahead(&self->consumer.clock, NULL));
}

static enum reading timed_out(PyObject *object, bool in_thread)
{
    StreamerObject *self = (StreamerObject *)object;
    if (self->stop_on_timeout)
        return READ_END;
    if (in_thread && core_import(&self->core->queue_empty, "queue", "Empty") < 0)
        return READ_ERROR;
    PyObject *given = Py_NewRef(self->timeout_given == NULL ? Py_None : self->timeout_given);
    PyErr_Format(in_thread ? self->core->queue_empty : PyExc_TimeoutError,
                 "timed out after %S s waiting for a token", given);
    Py_DECREF(given);
    return READ_ERROR;
}

static int check_alive(PyObject *object, PyObject **frames)
{
    StreamerObject *self = (StreamerObject *)object;
    if (self->reading == NULL)
        return 0;
    struct generation *generation = generation_ref(self->reading);
    const int rc = producer_check_alive(&generation->producer, generation->log->stream, frames);
    generation_unref(generation);
    return rc;
}

static const struct consumer_kind streamer_consumer = {
    .read = read_text,
    .park = park,
    .wait = wait_for_text,
    .deadline = deadline,
    .timed_out = timed_out,
    .check_alive = check_alive,
};

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *streamer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    StreamerObject *self = (StreamerObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->core = core_of(type);
        consumer_init(&self->consumer, (PyObject *)self, &streamer_consumer, &self->watched,
                      self->core);
    }
    return (PyObject *)self;
}

static int set_timeout(StreamerObject *self, PyObject *value, void *unused)
{
    (void)unused;
    if (value == NULL)
        value = Py_None;
    uint64_t timeout;
    if (core_nanoseconds(value, "timeout", &timeout) < 0)
        return -1;
    self->timeout = timeout;
    PyObject *before = self->timeout_given;
    self->timeout_given = Py_NewRef(value);
    Py_XDECREF(before);
    return 0;
}

static PyObject *get_timeout(StreamerObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(self->timeout_given == NULL ? Py_None : self->timeout_given);
}

static bool has_consumer(StreamerObject *self)
{
    return PyObject_TypeCheck(self, self->core->iterator_type)
           || PyObject_TypeCheck(self, self->core->async_iterator_type);
}

static void raise_initialised(void)
{
    PyErr_SetString(PyExc_RuntimeError, "a streamer can be initialised only once");
}

static int streamer_init(StreamerObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"detokenizer", "skip_prompt",     "chunk",
                            "timeout",     "stop_on_timeout", NULL};
    PyObject *detokenizer, *timeout = Py_None;
    const char *chunk = "word";
    int skip_prompt = 0, stop_on_timeout = 0;
    struct pipeline pipeline;
    struct generation *first = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|psOp", names, self->core->detokenizer_type,
                                     &detokenizer, &skip_prompt, &chunk, &timeout,
                                     &stop_on_timeout))
        return -1;
    if (self->pipeline.detokenizer != NULL) {
        raise_initialised();
        return -1;
    }
    if (set_timeout(self, timeout, NULL) < 0)
        return -1;
    if (pipeline_init(&pipeline, self->core, (DetokenizerObject *)detokenizer, chunk,
                      skip_prompt != 0)
        < 0)
        return -1;
    if (has_consumer(self) && (first = generation_create(self->core, &self->consumer)) == NULL) {
        pipeline_finish(&pipeline);
        return -1;
    }
    /* Once more, since making these may run Python code, which may do the same. */
    if (self->pipeline.detokenizer != NULL) {
        raise_initialised();
        generation_unref(first);
        pipeline_finish(&pipeline);
        return -1;
    }
    burble_chunker_destroy(&self->pipeline.chunker); /* where the collector has cleared it */
    self->pipeline = pipeline;
    self->writing = first;
    self->reading = first == NULL ? NULL : generation_ref(first);
    self->stop_on_timeout = stop_on_timeout != 0;
    return 0;
}

/* Whether generate has ended the text that it wrote: for run(). */
static PyObject *streamer_written(StreamerObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!self->stopped && (self->writing == NULL || self->writing->written));
}

static PyObject *streamer_used(StreamerObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->used);
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
    PyObject *detokenizer = Py_XNewRef((PyObject *)self->pipeline.detokenizer);
    if (detokenizer == NULL)
        Py_RETURN_NONE;
    PyObject *path = PyObject_GetAttrString(detokenizer, "path");
    Py_DECREF(detokenizer);
    return path;
}

static int streamer_traverse(StreamerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->stopped_by.object);
    Py_VISIT(self->match);
    Py_VISIT(self->timeout_given);
    int visited = pipeline_traverse(&self->pipeline, visit, arg);
    if (visited == 0)
        visited = consumer_traverse(&self->consumer, visit, arg);
    if (visited != 0)
        return visited;
    /* The sides share their generations: visit each generation once, from the side that is behind. A generation is
     * behind another if it comes earlier in the chain. */
    for (struct generation *generation = self->writing; generation != NULL;
         generation = generation->next)
        if (generation == self->reading)
            return generation_traverse(self->writing, visit, arg);
    return self->reading == NULL ? 0 : generation_traverse(self->reading, visit, arg);
}

static int streamer_clear(StreamerObject *self)
{
    struct generation *writing = self->writing, *reading = self->reading;
    self->writing = self->reading = NULL;
    consumer_clear(&self->consumer);
    generation_unref(writing);
    generation_unref(reading);
    Py_CLEAR(self->match);
    Py_CLEAR(self->timeout_given);
    thread_clear(&self->stopped_by);
    pipeline_clear(&self->pipeline);
    return 0;
}

static void streamer_dealloc(StreamerObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    streamer_clear(self);
    pipeline_finish(&self->pipeline);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(put_doc,
             "put($self, value)\n--\n\n"
             "Take the next token ids; generate calls it for the prompt and for each step.\n\n"
             "value: an int, a list of ints, or a tensor or NumPy array of shape [n] or [1, n].\n"
             "Raises ValueError for more than one sequence or an id below 0, TypeError for values\n"
             "that are not token ids, Cancelled after cancel(), and Stopped if run() can stop the\n"
             "generation only in this way. After a stop string, ids are ignored until end(). One\n"
             "thread at a time.");

PyDoc_STRVAR(end_doc,
             "end($self, /)\n--\n\n"
             "End the sequence: write the rest of its text, then the end. The next put() begins\n"
             "a new sequence.");

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /)\n--\n\n"
             "Stop generating: the next put() raises Cancelled, and so does reading, after the\n"
             "text that came before. Permanent and idempotent. Any thread may call it.");

static PyMethodDef streamer_methods[] = {
    {"put", (PyCFunction)(void (*)(void))writing_put, METH_FASTCALL | METH_KEYWORDS, put_doc},
    {"end", (PyCFunction)writing_end, METH_NOARGS, end_doc},
    {"cancel", (PyCFunction)writing_cancel, METH_NOARGS, cancel_doc},
    {"_begin", (PyCFunction)writing_begin, METH_NOARGS, NULL},
    {"_fail", (PyCFunction)writing_fail, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef streamer_members[] = {
    {"skip_prompt", T_BOOL, offsetof(StreamerObject, pipeline.skip_prompt), 0,
     "Whether the first put() of a sequence, the prompt, is left out."},
    {"next_tokens_are_prompt", T_BOOL, offsetof(StreamerObject, pipeline.next_tokens_are_prompt), 0,
     "Whether the next put() is taken for the prompt."},
    {"_raise_stopped", T_BOOL, offsetof(StreamerObject, raise_stopped), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef streamer_getset[] = {
    {"timeout", (getter)get_timeout, (setter)set_timeout,
     "How many seconds to wait for a token, counted from the last one; None: no bound.", NULL},
    {"_written", (getter)streamer_written, NULL, NULL, NULL},
    {"_used", (getter)streamer_used, NULL, NULL, NULL},
    {"_stopped", (getter)streamer_stopped, NULL, NULL, NULL},
    {"_match", (getter)streamer_match, NULL, NULL, NULL},
    {"should_stop", (getter)streamer_should_stop, NULL,
     "Whether the generation should end: a stop string was found (until end() is called), or\n"
     "cancel() was called. For your own loops.",
     NULL},
    {"finish_reason", (getter)streamer_finish_reason, NULL,
     "Why the last generation ended whose text was read (TextStreamer: written). 'stop': at a\n"
     "stop string; 'end': by itself, at an end-of-sequence token or a limit (a streamer is not\n"
     "told which). None: it has not ended, was cancelled or has failed.",
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
