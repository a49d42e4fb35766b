/* SPDX-License-Identifier: MIT */
#include "llama/llama.h"

#include <errno.h>
#include <pthread.h>

#include <burble/llama.h>
#include <structmember.h>

#include "base/atomic.h"

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

static int embed(EmbedderObject *self, const burble_text *texts, size_t n, void *out,
                 burble_error *error)
{
    int rc = BURBLE_ECLOSED;
    Py_BEGIN_ALLOW_THREADS
        if (!burble__load_relaxed(&self->closing)) {
            pthread_rwlock_rdlock(&self->lock);
            if (self->embedder != NULL)
                rc = burble_llama_embedder_embed(self->embedder, texts, n, out, error);
            pthread_rwlock_unlock(&self->lock);
        }
    Py_END_ALLOW_THREADS
    return rc == BURBLE_ECANCELED ? BURBLE_ECLOSED : rc; /* only closing cancels */
}

static PyObject *embedder_embed(EmbedderObject *self, PyObject *tuple)
{
    burble_error error = {0};
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
    int rc = BURBLE_ECLOSED;
    if (bytes != NULL && is_here(self))
        rc = embed(self, texts, (size_t)n, PyBytes_AS_STRING(bytes), &error);
    PyMem_Free(texts);
    if (bytes == NULL || rc == BURBLE_OK)
        return bytes;
    Py_DECREF(bytes);
    return llama_raise(self->core, rc, 0,
                       rc == BURBLE_ECLOSED ? "the embedder is closed" : error.message, NULL);
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
    {"closed", (getter)get_closed, NULL, "Whether it is, or is about to be.", NULL},
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
