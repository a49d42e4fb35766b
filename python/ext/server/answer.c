/* SPDX-License-Identifier: MIT */
#include "server/answer.h"

#include <structmember.h>

#include "base/alloc.h"
#include "log/log.h"
#include "log/reader.h"

typedef struct {
    PyObject_HEAD
    struct core *core;
    PyObject *weak;
    HostObject *host;
    PyObject *left; /* a Log without records, which ends when the answer is cancelled */
    struct pending pending;
    uint32_t choices;
    bool settled; /* its text is on the way, or it has failed */
} AnswerObject;

/* ---- the list of its host -------------------------------------------------------------------- */

static void put_into_list(AnswerObject *self)
{
    HostObject *host = self->host;
    pthread_mutex_lock(&host->pending_lock);
    self->pending.next = host->pending;
    if (host->pending != NULL)
        host->pending->previous = &self->pending;
    host->pending = &self->pending;
    pthread_mutex_unlock(&host->pending_lock);
}

static void take_from_list(AnswerObject *self)
{
    HostObject *host = self->host;
    struct pending *pending = &self->pending;
    pthread_mutex_lock(&host->pending_lock);
    if (pending->previous != NULL)
        pending->previous->next = pending->next;
    else if (host->pending == pending)
        host->pending = pending->next;
    if (pending->next != NULL)
        pending->next->previous = pending->previous;
    pthread_mutex_unlock(&host->pending_lock);
}

void answer_cancelled(HostObject *host, const burble_stream *stream)
{
    burble_stream *left = NULL;
    pthread_mutex_lock(&host->pending_lock);
    for (struct pending *pending = host->pending; pending != NULL && left == NULL;
         pending = pending->next)
        if (pending->stream == stream)
            left = burble_stream_ref(pending->left);
    pthread_mutex_unlock(&host->pending_lock);
    if (left != NULL)
        burble_stream_end(left, BURBLE_REASON_NONE);
    burble_stream_unref(&left);
}

/* ---- making one ------------------------------------------------------------------------------ */

PyObject *answer_create(HostObject *host, burble_stream *stream, uint32_t choices)
{
    struct core *core = host->core;
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.producer_may_exit = true;
    LogObject *left = log_create(core, &options);
    if (left == NULL)
        return NULL;
    burble_stream_hand_over(left->stream);
    AnswerObject *self = (AnswerObject *)core->answer_type->tp_alloc(core->answer_type, 0);
    if (self == NULL) {
        Py_DECREF(left);
        return NULL;
    }
    self->core = core;
    self->host = (HostObject *)Py_NewRef((PyObject *)host);
    self->left = (PyObject *)left;
    self->choices = choices;
    self->pending.stream = burble_stream_ref(stream);
    self->pending.left = burble_stream_ref(left->stream);
    put_into_list(self);
    return (PyObject *)self;
}

void answer_forget(PyObject *answer)
{
    ((AnswerObject *)answer)->settled = true;
}

/* Nobody will answer any more: clients must not wait for ever. */
static void fail_if_open(AnswerObject *self)
{
    if (!self->settled && self->pending.stream != NULL)
        burble_stream_fail(self->pending.stream, BURBLE_EDIED,
                           "the request was dropped without an answer");
}

static int answer_traverse(AnswerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->host);
    Py_VISIT(self->left);
    return 0;
}

static void answer_dealloc(AnswerObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    /* In a forked child, the parent's threads may have held the lock, and its clients are the parent's. */
    if (self->host != NULL && host_is_here(self->host)) {
        take_from_list(self);
        fail_if_open(self);
    }
    if (self->pending.left != NULL)
        burble_stream_end(self->pending.left, BURBLE_REASON_NONE);
    burble_stream_unref(&self->pending.left);
    burble_stream_unref(&self->pending.stream);
    Py_CLEAR(self->left);
    Py_CLEAR(self->host);
    type->tp_free(self);
    Py_DECREF(type);
}

int answer_result_of_status(int status)
{
    switch (status) {
    case 400:
        return BURBLE_EINVAL;
    case 429:
        return BURBLE_EFULL;
    case 503:
        return BURBLE_ECLOSED;
    case 504:
        return BURBLE_ETIMEDOUT;
    default:
        return BURBLE_EFAILED;
    }
}

/* ---- its text ---------------------------------------------------------------------------------- */

static int check_readers(AnswerObject *self, PyObject *readers)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(readers);
    if (n != (Py_ssize_t)self->choices) {
        PyErr_Format(PyExc_ValueError, "expected %u stream(s), one for each choice, found %zd",
                     (unsigned int)self->choices, n);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *reader = PyTuple_GET_ITEM(readers, i);
        if (!PyObject_TypeCheck(reader, self->core->reader_type)) {
            PyErr_Format(PyExc_TypeError, "read: expected a Reader, found %.100s",
                         Py_TYPE(reader)->tp_name);
            return -1;
        }
        if (((ReaderObject *)reader)->log->objects) {
            PyErr_SetString(PyExc_TypeError, "expected a stream of text, found one of objects");
            return -1;
        }
    }
    if (self->settled) {
        PyErr_SetString(PyExc_RuntimeError, "the request has been answered already");
        return -1;
    }
    return 0;
}

/* What an engine knows of a prompt once its text has begun. */
struct counts {
    burble_serve_counts base; /* first */
    struct writer_stats *writer_stats;
};

/* In a thread of the host, without the GIL. What the handler has said goes before. */
static void read_counts(burble_serve_counts *base, uint64_t *prompt_tokens, uint64_t *reused_tokens)
{
    struct writer_stats *writer_stats = ((struct counts *)(void *)base)->writer_stats;
    writer_stats_lock(writer_stats);
    if (*prompt_tokens == 0)
        *prompt_tokens = writer_stats->prompt_tokens;
    *reused_tokens = writer_stats->reused_tokens;
    writer_stats_unlock(writer_stats);
}

static void release_counts(burble_serve_counts *base)
{
    struct counts *counts = (struct counts *)(void *)base;
    writer_stats_unref(&counts->writer_stats);
    burble__free(counts);
}

/* The counts of a log; NULL: it has none. 0, or -1 with an exception. */
static int make_counts(const LogObject *log, burble_serve_counts **out)
{
    *out = NULL;
    if (log->writer_stats == NULL)
        return 0;
    struct counts *counts = burble__malloc(sizeof *counts);
    if (counts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *counts = (struct counts){{read_counts, release_counts}, writer_stats_ref(log->writer_stats)};
    *out = &counts->base;
    return 0;
}

/* The readers become the host's, or are destroyed. One of burble's results, or 1 with an exception. */
static int read_text(AnswerObject *self, PyObject *readers, burble_serve_source *sources)
{
    const size_t n = (size_t)PyTuple_GET_SIZE(readers);
    int rc = BURBLE_ECLOSED;
    size_t given = 0;
    for (; given < n; given++) {
        ReaderObject *reader = (ReaderObject *)PyTuple_GET_ITEM(readers, (Py_ssize_t)given);
        sources[given].stream = reader->log->stream;
        sources[given].reader = reader_give_away(reader);
        if (sources[given].reader == NULL)
            break;
    }
    if (given == n) {
        self->settled = true; /* before another thread can run */
        Py_BEGIN_ALLOW_THREADS
            if (host_enter(self->host)) {
                rc = self->host->kind->read_text(self->host, self->pending.stream, sources, n);
                host_leave(self->host);
            }
        Py_END_ALLOW_THREADS
        self->settled = rc == BURBLE_OK || rc == BURBLE_ENOMEM;
    }
    for (size_t i = 0; rc != BURBLE_OK && i < given; i++)
        burble_reader_destroy(&sources[i].reader);
    if (rc != BURBLE_OK && sources[0].counts != NULL)
        sources[0].counts->release(sources[0].counts);
    return given < n ? 1 : rc;
}

static PyObject *answer_read(AnswerObject *self, PyObject *args)
{
    PyObject *readers;
    unsigned long long prompt_tokens;
    if (!PyArg_ParseTuple(args, "O!K", &PyTuple_Type, &readers, &prompt_tokens)
        || check_readers(self, readers) < 0)
        return NULL;
    burble_serve_source *sources = PyMem_Calloc((size_t)PyTuple_GET_SIZE(readers), sizeof *sources);
    if (sources == NULL)
        return PyErr_NoMemory();
    sources[0].prompt_tokens = prompt_tokens;
    const ReaderObject *first = (ReaderObject *)PyTuple_GET_ITEM(readers, 0);
    const int rc =
        make_counts(first->log, &sources[0].counts) < 0 ? 1 : read_text(self, readers, sources);
    PyMem_Free(sources);
    if (rc == BURBLE_OK)
        Py_RETURN_NONE;
    /* Closed: the host cancels the request with all others, or has done so. */
    if (rc < 0)
        core_raise(self->core, rc == BURBLE_ECLOSED ? BURBLE_ECANCELED : rc);
    return NULL;
}

static PyObject *answer_fail(AnswerObject *self, PyObject *args)
{
    int status;
    const char *message;
    if (!PyArg_ParseTuple(args, "is", &status, &message))
        return NULL;
    if (self->settled)
        Py_RETURN_FALSE;
    self->settled = true;
    const int rc =
        burble_stream_fail(self->pending.stream, answer_result_of_status(status), message);
    return PyBool_FromLong(rc == BURBLE_OK);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *get_cancelled(AnswerObject *self, void *unused)
{
    (void)unused;
    burble_status status;
    burble_stream_status(self->pending.stream, &status);
    return PyBool_FromLong(status.state != BURBLE_OPEN || !host_is_here(self->host));
}

static PyMethodDef answer_methods[] = {
    {"read", (PyCFunction)answer_read, METH_VARARGS,
     "read($self, readers, prompt_tokens, /)\n--\n\n"
     "Have the client get the text of a tuple of readers, one for each choice, which it takes "
     "over. "
     "Once."},
    {"fail", (PyCFunction)answer_fail, METH_VARARGS,
     "fail($self, status, message, /)\n--\n\n"
     "Have the client get an error. Whether it was still open."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef answer_members[] = {
    {"left", T_OBJECT_EX, offsetof(AnswerObject, left), READONLY,
     "A log that ends when nobody wants the answer any more."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(AnswerObject, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef answer_getset[] = {
    {"cancelled", (getter)get_cancelled, NULL, "Whether nobody wants it any more.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot answer_slots[] = {
    {Py_tp_doc, "The answer to a request, which is still to be given."},
    {Py_tp_dealloc, answer_dealloc},
    {Py_tp_traverse, answer_traverse},
    {Py_tp_methods, answer_methods},
    {Py_tp_members, answer_members},
    {Py_tp_getset, answer_getset},
    {0, NULL},
};

PyType_Spec answer_spec = {
    .name = "burble._core.Answer",
    .basicsize = sizeof(AnswerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_DISALLOW_INSTANTIATION
#endif
    ,
    .slots = answer_slots,
};
