/* SPDX-License-Identifier: MIT */
#include "llama/submit.h"

#include <burble/llama.h>

#include "llama/llama.h"
#include "llama/prompt.h"
#include "llama/token_log.h"
#include "log/log.h"
#include "log/writer_stats.h"

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
        request->prompt = llama_text_of(prompt, "prompt", &len);
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
static int submit(PyObject *self, burble_llama_request *request, burble_stream *stream,
                  struct watched *watched, burble_error *error)
{
    int rc = BURBLE_ECLOSED;
    request->watch = watch;
    request->watch_arg = watched;
    Py_BEGIN_ALLOW_THREADS
        if (llama_enter(self)) {
            rc = burble_llama_engine_submit(llama_engine_of(self), request, stream, error);
            llama_leave(self);
        }
    Py_END_ALLOW_THREADS
    return rc;
}

/* Hands the request in, and the log's stream with it; *tokens is one owner's, if log-probabilities are wanted. 0, or
 * -1 with an exception. */
static int hand_in(PyObject *self, burble_llama_request *request, LogObject *log,
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
        llama_raise_closed(core_of(Py_TYPE(self)));
    else
        llama_raise(core_of(Py_TYPE(self)), rc, 0, error.message, NULL);
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
        (*texts)[i].bytes = llama_text_of(PyTuple_GET_ITEM(strings, i), what, &len);
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

PyObject *engine_logprobs(PyObject *unused, PyObject *capsule)
{
    (void)unused;
    struct token_log *tokens = PyCapsule_GetPointer(capsule, TOKENS);
    return tokens == NULL ? NULL : token_log_list(tokens);
}

PyObject *engine_submit(PyObject *self, PyObject *args, PyObject *kwargs)
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
            core_of(Py_TYPE(self))->log_type, &log, &keeper, &prompt, &specials,
            &request.max_tokens, &request.temperature, &request.top_k, &request.top_p,
            &request.min_p, &request.seed, &PyTuple_Type, &strings, &include_stop, &words,
            &skip_special, &ignore_end, &request.typical_p, &request.penalty_last_n,
            &request.repeat_penalty, &request.presence_penalty, &request.frequency_penalty,
            &request.dry_multiplier, &request.dry_base, &request.dry_allowed_length,
            &request.dry_last_n, &PyTuple_Type, &breakers, &request.mirostat, &request.mirostat_tau,
            &request.mirostat_eta, &PyTuple_Type, &pairs, &answered, &request.grammar, &grammar_len,
            &json, &logprobs, &request.priority, &reuse))
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
