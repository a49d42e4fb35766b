/* SPDX-License-Identifier: MIT */
#include "llama/llama.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <burble/llama.h>
#include <structmember.h>

#include "base/atomic.h"
#include "llama/token_log.h"
#include "log/log.h"
#include "log/writer_stats.h"

/* The most bytes of one prompt; libburble-llama has the same bound. */
#define PROMPT_MAX ((Py_ssize_t)1 << 30)

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
        PyErr_SetString(PyExc_ValueError, message);
        return NULL;
    default:
        PyErr_SetString(core->error, message);
        return NULL;
    }
}

static PyObject *raise_closed(struct core *core)
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

/* ---- prompts --------------------------------------------------------------------------------- */

/* A str as UTF-8 of which `what` is the name. NULL with an exception. */
static const char *text_of(PyObject *value, const char *what, Py_ssize_t *len)
{
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a str, found %.100s", what,
                     Py_TYPE(value)->tp_name);
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(value, len);
    if (text != NULL && *len > PROMPT_MAX) {
        PyErr_Format(PyExc_ValueError, "%s: expected at most 1 GiB of text", what);
        return NULL;
    }
    return text;
}

static PyObject *engine_tokenize(EngineObject *self, PyObject *args)
{
    PyObject *value;
    int specials, rc;
    size_t n = 0, capacity;
    Py_ssize_t len;
    int32_t *ids = NULL;
    if (!PyArg_ParseTuple(args, "Op", &value, &specials))
        return NULL;
    const char *text = text_of(value, "text", &len);
    if (text == NULL)
        return NULL;
    if (!is_here(self) || self->model == NULL)
        return raise_closed(self->core);
    capacity = (size_t)len + 8; /* nearly always enough: an id stands for a byte or more */
    do {
        PyMem_RawFree(ids);
        ids = PyMem_RawMalloc(capacity * sizeof *ids);
        if (ids == NULL)
            return PyErr_NoMemory();
        Py_BEGIN_ALLOW_THREADS
            rc = burble_llama_model_tokenize(self->model, text, (size_t)len, specials != 0, ids,
                                             capacity, &n);
        Py_END_ALLOW_THREADS
        capacity = n;
    } while (rc == BURBLE_EFULL);
    PyObject *list = rc == BURBLE_OK ? PyList_New((Py_ssize_t)n) : core_raise(self->core, rc);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *id = PyLong_FromLong(ids[i]);
        if (id == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, id);
    }
    PyMem_RawFree(ids);
    return list;
}

/* The prompt of `n` messages, by the model's template or one that llama.cpp knows. */
static PyObject *apply_template(EngineObject *self, const burble_llama_conversation *conversation)
{
    burble_error error = {0};
    size_t len = 0;
    char *text = NULL;
    int rc = burble_llama_model_apply_template(self->model, conversation, NULL, 0, &len, &error);
    if (rc == BURBLE_EFULL) {
        text = PyMem_Malloc(len);
        if (text == NULL)
            return PyErr_NoMemory();
        rc = burble_llama_model_apply_template(self->model, conversation, text, len, &len, &error);
    }
    PyObject *prompt = rc == BURBLE_OK
                           ? PyUnicode_DecodeUTF8(text == NULL ? "" : text, (Py_ssize_t)len, NULL)
                           : llama_raise(self->core, rc, 0, error.message, NULL);
    PyMem_Free(text);
    return prompt;
}

static PyObject *engine_chat(EngineObject *self, PyObject *args)
{
    PyObject *pairs;
    burble_llama_conversation conversation;
    burble_llama_conversation_init(&conversation);
    if (!PyArg_ParseTuple(args, "O!z", &PyTuple_Type, &pairs, &conversation.template_name))
        return NULL;
    if (!is_here(self) || self->model == NULL)
        return raise_closed(self->core);
    const Py_ssize_t n = PyTuple_GET_SIZE(pairs);
    burble_llama_message *messages = PyMem_Calloc((size_t)n, sizeof *messages);
    if (messages == NULL)
        return PyErr_NoMemory();
    PyObject *prompt = NULL;
    Py_ssize_t i = 0;
    while (i < n
           && PyArg_ParseTuple(PyTuple_GET_ITEM(pairs, i), "ss", &messages[i].role,
                               &messages[i].content))
        i++;
    if (i == n) {
        conversation.messages = messages;
        conversation.n = (size_t)n;
        prompt = apply_template(self, &conversation);
    }
    PyMem_Free(messages);
    return prompt;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* What the engine's thread tells of a request. */
struct watched {
    struct writer_stats *writer_stats;
    struct token_log *tokens; /* NULL: no log-probabilities are wanted */
};

/* In the engine's thread, without the GIL. */
static void watch(const burble_llama_progress *progress, void *arg)
{
    struct watched *watched = arg;
    struct writer_stats *writer_stats = watched->writer_stats;
    const uint64_t now = burble_now();
    writer_stats_lock(writer_stats);
    const uint32_t tokens = progress->tokens - (uint32_t)writer_stats->stats.tokens;
    if (tokens > 0) {
        stats_add(&writer_stats->stats, tokens, now, progress->waited - writer_stats->counted);
        writer_stats->counted = progress->waited;
    }
    if (tokens > 0 || writer_stats->full)
        writer_stats->active_at = now;
    writer_stats->full = progress->waits;
    writer_stats->blocked = progress->waited;
    writer_stats->stopped = progress->stopped;
    writer_stats->stop = progress->stop;
    writer_stats->stop_begin = progress->stop_begin;
    writer_stats->prompt_tokens = progress->prompt_tokens;
    writer_stats->reused_tokens = progress->reused;
    writer_stats_unlock(writer_stats);
    if (watched->tokens != NULL)
        token_log_add(watched->tokens, progress);
    if (!progress->over)
        return;
    writer_stats_unref(&writer_stats);
    token_log_unref(watched->tokens);
    PyMem_RawFree(watched);
}

/* The prompt, in ids where it is a list of these. 0, or -1 with an exception. */
static int take_prompt(PyObject *prompt, burble_llama_request *request, int32_t **ids)
{
    if (!PyList_Check(prompt)) {
        Py_ssize_t len;
        request->prompt = text_of(prompt, "prompt", &len);
        request->prompt_len = request->prompt == NULL ? 0 : (size_t)len;
        return request->prompt == NULL ? -1 : 0;
    }
    /* Converting an item may run Python code, which could change the list. */
    PyObject *items = PyList_AsTuple(prompt);
    if (items == NULL)
        return -1;
    const Py_ssize_t n = PyTuple_GET_SIZE(items);
    *ids = PyMem_New(int32_t, (size_t)n + 1);
    if (*ids == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; *ids != NULL && i < n && !PyErr_Occurred(); i++) {
        int overflow;
        const long id = PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(items, i), &overflow);
        (*ids)[i] = overflow != 0 || id < 0 || id > INT32_MAX ? -1 : (int32_t)id; /* none either */
    }
    Py_DECREF(items);
    if (PyErr_Occurred())
        return -1;
    request->ids = *ids;
    request->n_ids = (size_t)n;
    return 0;
}

/* Hands the request in, with what is watched. BURBLE_OK, or what burble_llama_engine_submit says. */
static int submit(EngineObject *self, burble_llama_request *request, burble_stream *stream,
                  struct watched *watched, burble_error *error)
{
    int rc = BURBLE_ECLOSED;
    request->watch = watch;
    request->watch_arg = watched;
    Py_BEGIN_ALLOW_THREADS
        if (enter(self)) {
            rc = burble_llama_engine_submit(self->engine, request, stream, error);
            leave(self);
        }
    Py_END_ALLOW_THREADS
    return rc;
}

/* Hands the request in, and the log's stream with it; *tokens is one owner's, if log-probabilities are wanted. 0, or
 * -1 with an exception. */
static int hand_in(EngineObject *self, burble_llama_request *request, LogObject *log,
                   PyObject *stop_strings, PyObject *keeper, struct token_log **tokens)
{
    burble_error error = {0};
    struct writer_stats *writer_stats = writer_stats_create();
    struct watched *watched = PyMem_RawMalloc(sizeof *watched);
    int rc = BURBLE_ENOMEM;
    *tokens = request->logprobs ? token_log_create() : NULL;
    if (writer_stats != NULL && watched != NULL && (*tokens != NULL || !request->logprobs)) {
        *watched = (struct watched){writer_stats, *tokens};
        /* Also if no reader is left: otherwise the request would keep its place. */
        request->deadline = log->deadlines.total_at;
        rc = submit(self, request, log->stream, watched, &error);
    }
    if (rc == BURBLE_OK) {
        log_set_native_writer(log, writer_stats, stop_strings, keeper);
        return 0;
    }
    if (writer_stats != NULL) {
        struct writer_stats *of_nobody = writer_stats;
        writer_stats_unref(&of_nobody); /* nobody watches */
        writer_stats_unref(&writer_stats);
    }
    token_log_unref(*tokens);
    token_log_unref(*tokens);
    *tokens = NULL;
    PyMem_RawFree(watched);
    if (rc == BURBLE_ECLOSED)
        raise_closed(self->core);
    else
        llama_raise(self->core, rc, 0, error.message, NULL);
    return -1;
}

/* Pairs of an id and a bias. 0, or -1 with an exception. */
static int take_biases(PyObject *pairs, burble_llama_request *request, burble_llama_bias **biases)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(pairs);
    *biases = PyMem_New(burble_llama_bias, (size_t)n + 1);
    if (*biases == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(pairs, i), "if", &(*biases)[i].id,
                              &(*biases)[i].bias))
            return -1;
    request->logit_bias = *biases;
    request->n_logit_bias = (size_t)n;
    return 0;
}

/* The strings of a tuple, in UTF-8. 0, or -1 with an exception. */
static int take_strings(PyObject *strings, const char *what, burble_text **texts)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(strings);
    *texts = PyMem_New(burble_text, (size_t)n + 1);
    if (*texts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t len;
        (*texts)[i].bytes = text_of(PyTuple_GET_ITEM(strings, i), what, &len);
        if ((*texts)[i].bytes == NULL)
            return -1;
        (*texts)[i].len = (size_t)len;
    }
    return 0;
}

#define TOKENS "burble._core.LlamaEngine.tokens"

static void free_tokens(PyObject *capsule)
{
    token_log_unref(PyCapsule_GetPointer(capsule, TOKENS));
}

static PyObject *engine_logprobs(PyObject *unused, PyObject *capsule)
{
    (void)unused;
    struct token_log *tokens = PyCapsule_GetPointer(capsule, TOKENS);
    return tokens == NULL ? NULL : token_log_list(tokens);
}

static PyObject *engine_piece(EngineObject *self, PyObject *args)
{
    int id;
    char text[256];
    size_t len;
    if (!PyArg_ParseTuple(args, "i", &id))
        return NULL;
    if (!is_here(self) || self->model == NULL)
        return raise_closed(self->core);
    int rc = burble_llama_model_piece(self->model, id, text, sizeof text, &len);
    if (rc != BURBLE_EFULL)
        return rc == BURBLE_OK ? PyBytes_FromStringAndSize(text, (Py_ssize_t)len)
                               : core_raise(self->core, rc);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (bytes != NULL)
        burble_llama_model_piece(self->model, id, PyBytes_AS_STRING(bytes), len, &len);
    return bytes;
}

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

static PyObject *engine_submit(EngineObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "log",      "keeper",       "prompt",     "specials",  "max_tokens", "temperature",
        "top_k",    "top_p",        "min_p",      "seed",      "stop",       "include_stop",
        "words",    "skip_special", "ignore_end", "typical_p", "penalties",  "dry",
        "mirostat", "logit_bias",   "answered",   "grammar",   "json",       "logprobs",
        "priority", "reuse",        NULL};
    PyObject *log, *keeper, *prompt, *strings, *breakers = NULL, *pairs = NULL, *tokens;
    int specials, include_stop, words, skip_special, ignore_end, json = 0, logprobs = -1, reuse = 1;
    Py_ssize_t answered = 0, grammar_len = 0;
    struct token_log *token_log = NULL;
    int32_t *ids = NULL;
    burble_text *stops = NULL, *breaks = NULL;
    burble_llama_bias *biases = NULL;
    burble_llama_request request;
    burble_llama_request_init(&request);
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!OOpIfIffIO!pppp|f(Ifff)(ffIIO!)(Iff)O!nz#piip", names,
            self->core->log_type, &log, &keeper, &prompt, &specials, &request.max_tokens,
            &request.temperature, &request.top_k, &request.top_p, &request.min_p, &request.seed,
            &PyTuple_Type, &strings, &include_stop, &words, &skip_special, &ignore_end,
            &request.typical_p, &request.penalty_last_n, &request.repeat_penalty,
            &request.presence_penalty, &request.frequency_penalty, &request.dry_multiplier,
            &request.dry_base, &request.dry_allowed_length, &request.dry_last_n, &PyTuple_Type,
            &breakers, &request.mirostat, &request.mirostat_tau, &request.mirostat_eta,
            &PyTuple_Type, &pairs, &answered, &request.grammar, &grammar_len, &json, &logprobs,
            &request.priority, &reuse))
        return NULL;
    request.specials = specials != 0;
    request.include_stop = include_stop != 0;
    request.chunking = words ? BURBLE_CHUNK_WORD : BURBLE_CHUNK_TOKEN;
    request.skip_special = skip_special != 0;
    request.ignore_end = ignore_end != 0;
    request.answered = (size_t)answered;
    request.grammar_len = (size_t)grammar_len;
    request.json = json != 0;
    request.reuse = reuse != 0;
    request.logprobs = logprobs >= 0; /* -1: none */
    request.top_logprobs = logprobs > 0 ? (uint32_t)logprobs : 0;
    int rc = take_prompt(prompt, &request, &ids);
    if (rc == 0)
        rc = take_strings(strings, "stop", &stops);
    if (rc == 0 && breakers != NULL) {
        rc = take_strings(breakers, "dry_breakers", &breaks);
        request.dry_breakers = breaks;
        request.n_dry_breakers = (size_t)PyTuple_GET_SIZE(breakers);
    }
    if (rc == 0 && pairs != NULL)
        rc = take_biases(pairs, &request, &biases);
    if (rc == 0) {
        request.stop = stops;
        request.n_stop = (size_t)PyTuple_GET_SIZE(strings);
        rc = hand_in(self, &request, (LogObject *)log, strings, keeper, &token_log);
    }
    PyMem_Free(ids);
    PyMem_Free(stops);
    PyMem_Free(breaks);
    PyMem_Free(biases);
    if (rc < 0)
        return NULL;
    if (token_log == NULL)
        Py_RETURN_NONE;
    tokens = PyCapsule_New(token_log, TOKENS, free_tokens);
    if (tokens == NULL)
        token_log_unref(token_log);
    return tokens;
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
        return raise_closed(self->core);
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
    {"tokenize", (PyCFunction)engine_tokenize, METH_VARARGS,
     "tokenize($self, text, specials, /)\n--\n\nThe ids of a text, as a list."},
    {"chat", (PyCFunction)engine_chat, METH_VARARGS,
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
    {"piece", (PyCFunction)engine_piece, METH_VARARGS,
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
    {"closed", (getter)get_closed, NULL, "Whether it is, or is about to be.", NULL},
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
