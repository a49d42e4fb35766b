/* SPDX-License-Identifier: MIT */
#include "llama/llama.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <burble/llama.h>
#include <structmember.h>

#include "base/atomic.h"

/* How often a call that is to end is interrupted. */
#define INTERRUPT_NS 1000000u

typedef struct {
    PyObject_HEAD
    struct core *core;
    PyObject *weak;
    pthread_rwlock_t lock; /* for reading by calls that use the embedder, for writing by close() */
    _Atomic(bool) closing; /* set before closing waits, and never taken back */
    burble_llama_embedder *embedder; /* NULL: it is closed */
    uint64_t forks;                  /* of the process that created it: base/fork.h */
    Py_ssize_t length;
} EmbedderObject;

static bool is_here(const EmbedderObject *self)
{
    return self->forks == burble_forks();
}

static int load(EmbedderObject *self, PyObject *path,
                const burble_llama_model_options *model_options,
                const burble_llama_embedder_options *options)
{
    PyObject *bytes;
    burble_llama_model *model = NULL;
    burble_error error = {0};
    int rc, number;
    if (!PyUnicode_FSConverter(path, (void *)&bytes))
        return -1;
    Py_BEGIN_ALLOW_THREADS
        rc = burble_llama_model_load(PyBytes_AS_STRING(bytes), model_options, &model, &error);
        if (rc == BURBLE_OK)
            rc = burble_llama_embedder_create(model, options, &self->embedder, &error);
        number = errno;
    Py_END_ALLOW_THREADS
    Py_DECREF(bytes);
    if (rc != BURBLE_OK)
        llama_raise(self->core, rc, number, error.message, model == NULL ? path : NULL);
    burble_llama_model_unref(&model);
    return rc == BURBLE_OK ? 0 : -1;
}

static PyObject *embedder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path",       "context",    "threads", "pooling",
                            "gpu_layers", "overcommit", NULL};
    PyObject *path;
    int pooling, overcommit;
    burble_llama_model_options model_options;
    burble_llama_embedder_options options;
    burble_llama_model_options_init(&model_options);
    burble_llama_embedder_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O$IIiip", names, &path, &options.context,
                                     &options.threads, &pooling, &model_options.gpu_layers,
                                     &overcommit))
        return NULL;
    options.pooling = (burble_llama_pooling)pooling;
    model_options.overcommit = overcommit != 0;
    EmbedderObject *self = (EmbedderObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->core = core_of(type);
    self->forks = burble_forks();
    pthread_rwlock_init(&self->lock, NULL);
    burble__init(&self->closing, false);
    if (load(self, path, &model_options, &options) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->length = (Py_ssize_t)burble_llama_embedder_length(self->embedder);
    return (PyObject *)self;
}

/* ---- closing --------------------------------------------------------------------------------- */

static PyObject *embedder_close(EmbedderObject *self, PyObject *unused)
{
    (void)unused;
    if (!is_here(self))
        Py_RETURN_NONE;
    burble__store_relaxed(&self->closing, true); /* so that no new call makes closing wait */
    Py_BEGIN_ALLOW_THREADS
        pthread_rwlock_rdlock(&self->lock);
        if (self->embedder != NULL)
            burble_llama_embedder_cancel(self->embedder);
        pthread_rwlock_unlock(&self->lock);
        pthread_rwlock_wrlock(&self->lock);
        burble_llama_embedder_destroy(&self->embedder);
        pthread_rwlock_unlock(&self->lock);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static void embedder_dealloc(EmbedderObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    if (is_here(self)) {
        burble_llama_embedder_destroy(&self->embedder);
        pthread_rwlock_destroy(&self->lock);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static int embedder_traverse(EmbedderObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* ---- embedding ------------------------------------------------------------------------------- */

/* The texts of a tuple, which keeps them. NULL with an exception. */
static burble_text *texts_of(PyObject *tuple)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    burble_text *texts = PyMem_Calloc((size_t)n + 1, sizeof *texts);
    if (texts == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; texts != NULL && i < n; i++) {
        PyObject *text = PyTuple_GET_ITEM(tuple, i);
        Py_ssize_t len = 0;
        if (!PyUnicode_Check(text)) {
            PyErr_Format(PyExc_TypeError, "text %zd: expected a str, found %.100s", i,
                         Py_TYPE(text)->tp_name);
        } else {
            texts[i].bytes = PyUnicode_AsUTF8AndSize(text, &len);
            texts[i].len = (size_t)len;
        }
        if (texts[i].bytes == NULL) {
            PyMem_Free(texts);
            texts = NULL;
        }
    }
    return texts;
}

/* One call of embed(). */
struct call {
    EmbedderObject *embedder;
    const burble_text *texts;
    size_t n;
    float *out;
    burble_error error;
    int rc;
    _Atomic(bool) interrupted;
    pthread_mutex_t lock;
    pthread_cond_t over; /* signalled when `done` is set */
    bool done;
};

/* Without the GIL. An interrupt ends the calls of all threads: those for which it was not meant begin again. */
static void compute(struct call *call)
{
    EmbedderObject *self = call->embedder;
    do {
        call->rc = BURBLE_ECLOSED;
        if (burble__load_relaxed(&self->closing))
            return;
        pthread_rwlock_rdlock(&self->lock);
        if (self->embedder != NULL) {
            call->rc = burble_llama_embedder_embed(self->embedder, call->texts, call->n, call->out,
                                                   &call->error);
        }
        pthread_rwlock_unlock(&self->lock);
    } while (call->rc == BURBLE_ECANCELED && !burble__load_relaxed(&call->interrupted)
             && !burble__load_relaxed(&self->closing));
}

static void *run(void *arg)
{
    struct call *call = arg;
    compute(call);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->over);
    pthread_mutex_unlock(&call->lock);
    return NULL;
}

/* Whether the call is done, within `ns`. Without the GIL. */
static bool wait_for(struct call *call, uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ns;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int rc = 0;
    pthread_mutex_lock(&call->lock);
    while (!call->done && rc == 0)
        rc = pthread_cond_timedwait(&call->over, &call->lock, &until);
    const bool done = call->done;
    pthread_mutex_unlock(&call->lock);
    return done;
}

/* Interrupts until the call is over: it may not have begun to compute yet. Without the GIL. */
static void interrupt(struct call *call)
{
    EmbedderObject *self = call->embedder;
    burble__store_relaxed(&call->interrupted, true);
    do {
        pthread_rwlock_rdlock(&self->lock);
        if (self->embedder != NULL)
            burble_llama_embedder_interrupt(self->embedder);
        pthread_rwlock_unlock(&self->lock);
    } while (!wait_for(call, INTERRUPT_NS));
}

/* A thread, which no signal goes to. 0, or -1. */
static int start(pthread_t *thread, struct call *call)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(thread, NULL, run, call);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : -1;
}

static int init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0)
        return -1;
    int rc = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (rc == 0)
        rc = pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return rc == 0 ? 0 : -1;
}

/* Has another thread compute, while this one handles signals. 0; -1 with a handler's exception; 1 if there is no such
 * thread. */
static int compute_beside(struct call *call)
{
    pthread_t thread;
    int rc = 0;
    if (init_condition(&call->over) < 0)
        return 1;
    pthread_mutex_init(&call->lock, NULL);
    if (start(&thread, call) < 0) {
        rc = 1;
    } else {
        bool done = false;
        do {
            Py_BEGIN_ALLOW_THREADS
                done = wait_for(call, SIGNAL_CHECK_NS);
            Py_END_ALLOW_THREADS
            rc = done ? 0 : PyErr_CheckSignals();
        } while (!done && rc == 0);
        Py_BEGIN_ALLOW_THREADS
            if (rc < 0)
                interrupt(call);
            pthread_join(thread, NULL);
        Py_END_ALLOW_THREADS
    }
    pthread_mutex_destroy(&call->lock);
    pthread_cond_destroy(&call->over);
    return rc;
}

/* 0, or -1 with an exception. */
static int embed(struct call *call)
{
    EmbedderObject *self = call->embedder;
    const int handles_signals = core_handles_signals(self->core);
    int rc = handles_signals < 0 ? -1 : handles_signals ? compute_beside(call) : 1;
    if (rc > 0) {
        Py_BEGIN_ALLOW_THREADS
            compute(call);
        Py_END_ALLOW_THREADS
        rc = 0;
    }
    if (rc < 0 || call->rc == BURBLE_OK)
        return rc;
    /* Only closing cancels. */
    const bool closed = call->rc == BURBLE_ECLOSED || call->rc == BURBLE_ECANCELED;
    llama_raise(self->core, closed ? BURBLE_ECLOSED : call->rc, 0,
                closed ? "the embedder is closed" : call->error.message, NULL);
    return -1;
}

static PyObject *embedder_embed(EmbedderObject *self, PyObject *tuple)
{
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "expected a tuple of str, found %.100s",
                     Py_TYPE(tuple)->tp_name);
        return NULL;
    }
    const Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    const Py_ssize_t size = self->length * (Py_ssize_t)sizeof(float);
    if (n > PY_SSIZE_T_MAX / 2 / size)
        return PyErr_NoMemory();
    burble_text *texts = texts_of(tuple);
    if (texts == NULL)
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, n * size);
    if (bytes != NULL) {
        struct call call = {
            .embedder = self,
            .texts = texts,
            .n = (size_t)n,
            .out = (void *)PyBytes_AS_STRING(bytes),
            .rc = BURBLE_ECLOSED,
        };
        burble__init(&call.interrupted, false);
        if (!is_here(self)) {
            llama_raise(self->core, BURBLE_ECLOSED, 0, "the embedder is closed", NULL);
            Py_CLEAR(bytes);
        } else if (embed(&call) < 0) {
            Py_CLEAR(bytes);
        }
    }
    PyMem_Free(texts);
    return bytes;
}

static PyObject *get_length(EmbedderObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(self->length);
}

static PyObject *get_closed(EmbedderObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!is_here(self) || burble__load_relaxed(&self->closing));
}

static PyMethodDef embedder_methods[] = {
    {"embed", (PyCFunction)embedder_embed, METH_O,
     "embed($self, texts, /)\n--\n\n"
     "The vectors of a tuple of texts, one after the other: bytes of `length` floats each."},
    {"close", (PyCFunction)embedder_close, METH_NOARGS,
     "close($self, /)\n--\n\nEnd the call that computes, and free the model. Idempotent."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef embedder_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(EmbedderObject, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef embedder_getset[] = {
    {"length", (getter)get_length, NULL, "How many numbers a vector has.", NULL},
    {"closed", (getter)get_closed, NULL, "Whether it is closed, or is being closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot embedder_slots[] = {
    {Py_tp_doc, "A model of llama.cpp that makes vectors of texts."},
    {Py_tp_new, embedder_new},
    {Py_tp_dealloc, embedder_dealloc},
    {Py_tp_traverse, embedder_traverse},
    {Py_tp_methods, embedder_methods},
    {Py_tp_members, embedder_members},
    {Py_tp_getset, embedder_getset},
    {0, NULL},
};

PyType_Spec embedder_spec = {
    .name = "burble._core.LlamaEmbedder",
    .basicsize = sizeof(EmbedderObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = embedder_slots,
};
