/* SPDX-License-Identifier: MIT */
#include "llama/token_log.h"

#include <burble/binding.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"

struct choice {
    int32_t id;
    float logprob;
};

struct token {
    struct choice choice;
    uint64_t offset;
    size_t top; /* where its likeliest begin, */
    uint32_t n_top;
};

struct token_log {
    _Atomic(uint32_t) owners;
    uint64_t forks; /* of the process that made it */
    pthread_mutex_t lock;
    uint32_t seen; /* tokens, also those for which there was no memory */
    struct token *tokens;
    size_t n, size;
    struct choice *tops; /* the likeliest of all tokens, in order */
    size_t n_tops, tops_size;
};

struct token_log *token_log_create(void)
{
    struct token_log *log = burble__calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    burble__init(&log->owners, 2);
    log->forks = burble_forks();
    pthread_mutex_init(&log->lock, NULL);
    return log;
}

void token_log_unref(struct token_log *log)
{
    /* Acquire and release: what the other owner did with it comes before its end. */
    if (log == NULL || burble__sub_acq_rel(&log->owners, 1) != 1)
        return;
    pthread_mutex_destroy(&log->lock);
    burble__free(log->tokens);
    burble__free(log->tops);
    burble__free(log);
}

/* Not in a forked child: the thread that adds is not there, and may have had the lock. */
static void lock(struct token_log *log)
{
    if (log->forks == burble_forks())
        pthread_mutex_lock(&log->lock);
}

static void unlock(struct token_log *log)
{
    if (log->forks == burble_forks())
        pthread_mutex_unlock(&log->lock);
}

/* Makes room for `more` entries of `size` bytes. */
static int reserve(void **array, size_t n, size_t more, size_t *capacity, size_t size)
{
    if (*capacity - n >= more)
        return 0;
    const size_t larger = 2 * (n + more);
    void *moved = burble__realloc(*array, larger * size);
    if (moved == NULL)
        return -1;
    *array = moved;
    *capacity = larger;
    return 0;
}

void token_log_add(struct token_log *log, const burble_llama_progress *progress)
{
    if (!progress->has_logprobs || progress->tokens == log->seen)
        return;
    lock(log);
    log->seen = progress->tokens;
    void *tokens = log->tokens;
    void *tops = log->tops;
    int rc = reserve(&tokens, log->n, 1, &log->size, sizeof *log->tokens);
    log->tokens = tokens;
    if (rc == 0)
        rc = reserve(&tops, log->n_tops, progress->n_top, &log->tops_size, sizeof *log->tops);
    log->tops = tops;
    if (rc == 0) {
        log->tokens[log->n++] = (struct token){
            {progress->id, progress->logprob}, progress->offset, log->n_tops, progress->n_top};
        for (uint32_t i = 0; i < progress->n_top; i++)
            log->tops[log->n_tops++] =
                (struct choice){progress->top_ids[i], progress->top_logprobs[i]};
    }
    unlock(log);
}

static PyObject *choice_tuple(struct choice choice)
{
    return Py_BuildValue("(if)", (int)choice.id, choice.logprob);
}

static PyObject *token_tuple(struct token token, const struct choice *tops)
{
    PyObject *top = PyTuple_New((Py_ssize_t)token.n_top);
    for (uint32_t i = 0; top != NULL && i < token.n_top; i++) {
        PyObject *pair = choice_tuple(tops[i]);
        if (pair == NULL)
            Py_CLEAR(top);
        else
            PyTuple_SET_ITEM(top, (Py_ssize_t)i, pair);
    }
    return top == NULL ? NULL
                       : Py_BuildValue("(iKfN)", (int)token.choice.id,
                                       (unsigned long long)token.offset, token.choice.logprob, top);
}

/* The memory of the tokens may move while Python's own is allocated, which may run anything: so each is copied. */
PyObject *token_log_list(struct token_log *log)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL; i++) {
        struct token token;
        struct choice tops[BURBLE_LLAMA_MAX_LOGPROBS];
        lock(log);
        const bool there = i < log->n;
        if (there) {
            token = log->tokens[i];
            memcpy(tops, log->tops + token.top, token.n_top * sizeof *tops);
        }
        unlock(log);
        if (!there)
            break;
        PyObject *tuple = token_tuple(token, tops);
        if (tuple == NULL || PyList_Append(list, tuple) < 0)
            Py_CLEAR(list);
        Py_XDECREF(tuple);
    }
    return list;
}
