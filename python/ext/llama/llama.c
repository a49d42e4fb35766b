/* SPDX-License-Identifier: MIT */
#include "llama/llama.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <burble/llama.h>
#include <structmember.h>

#include "base/atomic.h"
#include "llama/prompt.h"
#include "llama/submit.h"
#include "log/log.h"

typedef struct {
    PyObject_HEAD
    struct core *core;
    PyObject *weak;
    burble_llama_model *model;
    /* Taken, without the GIL, for reading by each call that uses the engine, and for writing by close():
     * so close() waits until all other calls are done. See enter. */
    pthread_rwlock_t lock;
    _Atomic(bool) closing;       /* set before closing waits, and never taken back */
    burble_llama_engine *engine; /* NULL: it is closed */
    uint64_t forks; /* of the process that created it, and has its thread: base/fork.h */
    uint32_t context;
} EngineObject;

/* ---- errors ---------------------------------------------------------------------------------- */

PyObject *llama_raise(struct core *core, int rc, int number, const char *message, PyObject *path)
{
    switch (rc) {
    case BURBLE_ESYSTEM:
        errno = number;
        return path == NULL ? PyErr_SetFromErrno(PyExc_OSError)
                            : PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    case BURBLE_ENOMEM:
        PyErr_SetString(PyExc_MemoryError, message);
        return NULL;
    case BURBLE_EINVAL:
    case BURBLE_EFORMAT:
    case BURBLE_EUNSUPPORTED:
    case BURBLE_ETOOLONG:
        PyErr_SetString(PyExc_ValueError, message);
        return NULL;
    default:
        PyErr_SetString(core->error, message);
        return NULL;
    }
}

PyObject *llama_raise_closed(struct core *core)
{
    PyErr_SetString(core->error, "the engine is closed");
    return NULL;
}

/* A forked child has the engine's memory, but not its thread, which may have held locks at the fork. So the
 * engine counts as closed in the child, and its memory is not touched. */
static bool is_here(const EngineObject *self)
{
    return self->forks == burble_forks();
}

/* ---- using it while others may close it ------------------------------------------------------ */

/* Keeps the engine from being closed until leave(). Returns false, and holds nothing, if the engine is
 * closed or another thread waits to close it. Called without the GIL.
 *
 * The C library's lock admits readers while a writer waits, so a steady flow of calls could make close()
 * wait for ever. Therefore close() sets `closing` before it waits, and later calls return false. A call that
 * checked before `closing` was set checks again after it has the lock, so only calls that already use the
 * engine go on. Relaxed: it only matters that `closing` is seen soon; the lock orders the changes of the
 * engine. */
static bool enter(EngineObject *self)
{
    if (!is_here(self) || burble__load_relaxed(&self->closing))
        return false;
    pthread_rwlock_rdlock(&self->lock);
    if (!burble__load_relaxed(&self->closing))
        return true;
    pthread_rwlock_unlock(&self->lock);
    return false;
}

static void leave(EngineObject *self)
{
    pthread_rwlock_unlock(&self->lock);
}

bool llama_enter(PyObject *engine)
{
    return enter((EngineObject *)engine);
}

void llama_leave(PyObject *engine)
{
    leave((EngineObject *)engine);
}

burble_llama_engine *llama_engine_of(PyObject *engine)
{
    return ((EngineObject *)engine)->engine;
}

burble_llama_model *llama_model_of(PyObject *engine)
{
    EngineObject *self = (EngineObject *)engine;
    if (is_here(self) && self->model != NULL)
        return self->model;
    llama_raise_closed(self->core);
    return NULL;
}

/* ---- loading --------------------------------------------------------------------------------- */

struct loading {
    PyThreadState *thread; /* as long as the GIL is given up */
    PyObject *progress;    /* a function, or None */
};

/* Loading goes on unless Ctrl-C, or the function, raises: the exception stays set. */
static bool on_progress(float done, void *arg)
{
    struct loading *loading = arg;
    PyEval_RestoreThread(loading->thread);
    bool goes_on = PyErr_CheckSignals() == 0;
    if (goes_on && loading->progress != Py_None) {
        PyObject *result = PyObject_CallFunction(loading->progress, "d", (double)done);
        goes_on = result != NULL;
        Py_XDECREF(result);
    }
    loading->thread = PyEval_SaveThread();
    return goes_on;
}

static int load(EngineObject *self, PyObject *path, burble_llama_model_options model_options,
                const burble_llama_engine_options *options, PyObject *progress)
{
    PyObject *bytes;
    if (!PyUnicode_FSConverter(path, (void *)&bytes))
        return -1;
    burble_error error = {0};
    struct loading loading = {NULL, progress};
    model_options.progress = on_progress;
    model_options.progress_arg = &loading;
    loading.thread = PyEval_SaveThread();
    int rc =
        burble_llama_model_load(PyBytes_AS_STRING(bytes), &model_options, &self->model, &error);
    if (rc == BURBLE_OK)
        rc = burble_llama_engine_create(self->model, options, &self->engine, &error);
    const int number = errno;
    PyEval_RestoreThread(loading.thread);
    Py_DECREF(bytes);
    if (rc != BURBLE_OK && !PyErr_Occurred())
        llama_raise(self->core, rc, number, error.message, self->model == NULL ? path : NULL);
    return rc == BURBLE_OK ? 0 : -1;
}

/* The type of the KV cache that has this name. -1 with an exception. */
static int cache_of(const char *option, const char *name, burble_llama_cache *type)
{
    char names[128] = "";
    for (int i = 0; burble_llama_cache_name((burble_llama_cache)i) != NULL; i++) {
        const char *found = burble_llama_cache_name((burble_llama_cache)i);
        if (strcmp(found, name) == 0) {
            *type = (burble_llama_cache)i;
            return 0;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s'%s'", i > 0 ? ", " : "",
                 found);
    }
    PyErr_Format(PyExc_ValueError, "%s: expected one of %s, found '%.50s'", option, names, name);
    return -1;
}

/* What a model and an engine are made with. */
struct options {
    PyObject *path, *progress;
    burble_llama_model_options model;
    burble_llama_engine_options engine;
};

static int read_options(PyObject *args, PyObject *kwargs, struct options *options)
{
    static char *names[] = {
        "path",    "progress",       "slots",      "context",       "queue", "batch",
        "threads", "prompt_threads", "gpu_layers", "check_tensors", "flash", "cache_k",
        "cache_v", "unified",        "overcommit", "prompt_ms",     NULL};
    int check_tensors, flash, unified, overcommit;
    const char *cache_k, *cache_v;
    burble_llama_engine_options *engine = &options->engine;
    burble_llama_model_options_init(&options->model);
    burble_llama_engine_options_init(engine);
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OO$IIIIIIipissppI", names, &options->path, &options->progress,
            &engine->slots, &engine->context, &engine->queue, &engine->batch, &engine->threads,
            &engine->prompt_threads, &options->model.gpu_layers, &check_tensors, &flash, &cache_k,
            &cache_v, &unified, &overcommit, &engine->prompt_ms))
        return -1;
    if (cache_of("cache_k", cache_k, &engine->cache_k) < 0
        || cache_of("cache_v", cache_v, &engine->cache_v) < 0)
        return -1;
    options->model.check_tensors = check_tensors != 0;
    engine->flash = (burble_llama_flash)flash;
    engine->unified = unified != 0;
    engine->overcommit = options->model.overcommit = overcommit != 0;
    return 0;
}

static PyObject *engine_memory(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct options options;
    PyObject *path;
    burble_llama_memory memory;
    burble_error error = {0};
    int rc, number;
    if (read_options(args, kwargs, &options) < 0
        || !PyUnicode_FSConverter(options.path, (void *)&path))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        rc = burble_llama_memory_needed(PyBytes_AS_STRING(path), &options.model, &options.engine,
                                        &memory, &error);
        number = errno;
    Py_END_ALLOW_THREADS
    Py_DECREF(path);
    if (rc != BURBLE_OK)
        return llama_raise(core_of(type), rc, number, error.message, options.path);
    return Py_BuildValue("(KKKK)", (unsigned long long)memory.weights,
                         (unsigned long long)memory.cache, (unsigned long long)memory.compute,
                         (unsigned long long)memory.available);
}

static PyObject *engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct options options;
    if (read_options(args, kwargs, &options) < 0)
        return NULL;
    EngineObject *self = (EngineObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->core = core_of(type);
    self->forks = burble_forks();
    pthread_rwlock_init(&self->lock, NULL);
    /* `progress` runs Python, which can find the engine before it is one. */
    burble__init(&self->closing, true);
    if (load(self, options.path, options.model, &options.engine, options.progress) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->context = burble_llama_engine_context(self->engine);
    burble__store_relaxed(&self->closing, false);
    return (PyObject *)self;
}

/* ---- closing --------------------------------------------------------------------------------- */

static PyObject *engine_close(EngineObject *self, PyObject *unused)
{
    (void)unused;
    if (!is_here(self))
        Py_RETURN_NONE;
    burble__store_relaxed(&self->closing, true); /* see enter */
    Py_BEGIN_ALLOW_THREADS
        pthread_rwlock_wrlock(&self->lock);
        burble_llama_engine_destroy(&self->engine);
        pthread_rwlock_unlock(&self->lock);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static void engine_dealloc(EngineObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    if (is_here(self)) {
        burble_llama_engine_destroy(&self->engine); /* its thread never wants the GIL */
        burble_llama_model_unref(&self->model);
        pthread_rwlock_destroy(&self->lock);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static int engine_traverse(EngineObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* ---- its requests ---------------------------------------------------------------------------- */

static PyObject *engine_find(EngineObject *self, PyObject *args)
{
    LogObject *log;
    burble_llama_place place = {.stage = BURBLE_LLAMA_STAGE_NONE};
    if (!PyArg_ParseTuple(args, "O!", self->core->log_type, &log))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        if (enter(self)) {
            burble_llama_engine_find(self->engine, log->stream, &place);
            leave(self);
        }
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(iIIII)", (int)place.stage, place.before, place.prompt_tokens,
                         place.prompt_done, place.reused);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *get_stats(EngineObject *self, void *unused)
{
    (void)unused;
    burble_llama_stats stats = {0};
    bool entered;
    Py_BEGIN_ALLOW_THREADS
        entered = enter(self);
        if (entered) {
            burble_llama_engine_stats(self->engine, &stats);
            leave(self);
        }
    Py_END_ALLOW_THREADS
    if (!entered)
        return llama_raise_closed(self->core);
    return Py_BuildValue("(IIIKKKKK)", (unsigned int)stats.active, (unsigned int)stats.waiting,
                         (unsigned int)stats.paused, (unsigned long long)stats.requests,
                         (unsigned long long)stats.steps, (unsigned long long)stats.prompt_tokens,
                         (unsigned long long)stats.reused_tokens, (unsigned long long)stats.tokens);
}

static PyObject *get_closed(EngineObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!is_here(self) || burble__load_relaxed(&self->closing));
}

static PyObject *get_context(EngineObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(self->context);
}

static PyMethodDef engine_methods[] = {
    {"memory", (PyCFunction)(void (*)(void))engine_memory,
     METH_CLASS | METH_VARARGS | METH_KEYWORDS,
     "memory(path, progress, **options)\n--\n\n"
     "(weights, cache, compute, available) in bytes, of an engine with the same arguments."},
    {"tokenize", engine_tokenize, METH_VARARGS,
     "tokenize($self, text, specials, /)\n--\n\nThe ids of a text, as a list."},
    {"chat_ids", engine_chat_ids, METH_VARARGS,
     PyDoc_STR("Convert messages to the ids of a prompt.")},
    {"chat", engine_chat, METH_VARARGS,
     "chat($self, messages, template, /)\n--\n\n"
     "The prompt of a tuple of (role, content), by a template that llama.cpp has, or the model's\n"
     "own where it is None."},
    {"submit", (PyCFunction)(void (*)(void))engine_submit, METH_VARARGS | METH_KEYWORDS,
     "submit($self, log, prompt, specials, max_tokens, temperature, top_k, top_p, min_p, seed,\n"
     "       stop, include_stop, words, skip_special, ignore_end, typical_p, penalties, dry,\n"
     "       mirostat, logit_bias, answered, grammar, json, logprobs)\n--\n\n"
     "Have the engine's thread write a new log of text. prompt: a str or a list of ids. Returns "
     "what\n"
     "logprobs takes, or None where logprobs is -1."},
    {"logprobs", engine_logprobs, METH_O | METH_STATIC,
     "logprobs(tokens, /)\n--\n\n"
     "The tokens of a text so far: a list of (id, offset, logprob, ((id, logprob), ...))."},
    {"find", (PyCFunction)engine_find, METH_VARARGS,
     "find($self, log, /)\n--\n\n"
     "(stage, before, prompt_tokens, prompt_done, reused), as burble_llama_place has them."},
    {"piece", engine_piece, METH_VARARGS,
     "piece($self, id, /)\n--\n\nThe text of a token, as bytes."},
    {"close", (PyCFunction)engine_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Refuse what comes, cancel all requests, and wait for the thread. Idempotent."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef engine_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(EngineObject, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef engine_getset[] = {
    {"stats", (getter)get_stats, NULL,
     "(active, waiting, paused, requests, steps, prompt_tokens, reused_tokens, tokens), as "
     "burble_llama_stats has them.",
     NULL},
    {"closed", (getter)get_closed, NULL, "Whether it is closed, or is being closed.", NULL},
    {"context", (getter)get_context, NULL,
     "How many tokens a request may have, prompt and text together.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "A model of llama.cpp, and the thread that generates with it."},
    {Py_tp_new, engine_new},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_traverse, engine_traverse},
    {Py_tp_methods, engine_methods},
    {Py_tp_members, engine_members},
    {Py_tp_getset, engine_getset},
    {0, NULL},
};

PyType_Spec llama_spec = {
    .name = "burble._core.LlamaEngine",
    .basicsize = sizeof(EngineObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = engine_slots,
};
