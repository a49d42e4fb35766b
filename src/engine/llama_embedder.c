/* SPDX-License-Identifier: MIT
 *
 * Embeddings: what a model makes of a whole text, as one vector. It has a context of llama.cpp's of its own, in
 * which each text is a sequence. llama.cpp pools the vectors of a sequence's tokens only where all of them are
 * computed at once, so that a batch has whole texts, as many as fit.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/error_message.h"
#include "base/fork.h"
#include "base/reserved.h"
#include "engine/llama_context.h"
#include "engine/llama_log.h"

/* The most texts of one batch. */
#define SEQUENCES 32u

struct burble_llama_embedder {
    burble_llama_model *model;
    struct burble__context context;
    struct llama_batch batch;
    uint32_t most; /* tokens of one text, and of a batch */
    size_t length; /* of a vector */
    uint64_t forks;
    pthread_mutex_t lock;
    pthread_cond_t free; /* signalled when a call has computed, and where calls are to end */
    bool busy;           /* a call computes: one at a time */
    uint32_t began;      /* the number of interrupts when that call began */
    _Atomic(uint32_t) interrupts;
    _Atomic(bool) canceled;
};

void burble_llama_embedder_options_init(burble_llama_embedder_options *options)
{
    *options = (burble_llama_embedder_options){.context = 0};
}

/* ---- creating and destroying ------------------------------------------------------------------------- */

/* Whether a call is to end that began after so many interrupts. Relaxed: only the flags themselves count. */
static bool is_to_end(const burble_llama_embedder *embedder, uint32_t began)
{
    return burble__load_relaxed(&embedder->canceled)
           || burble__load_relaxed(&embedder->interrupts) != began;
}

/* Whether the call that computes is to end. */
static bool is_ended(const burble_llama_embedder *embedder)
{
    return is_to_end(embedder, embedder->began);
}

/* For llama.cpp, in the middle of a batch. */
static bool gives_up(void *arg)
{
    return is_ended(arg);
}

/* How llama.cpp makes one vector out of those of the tokens; UNSPECIFIED: in a way that is no vector of a text
 * (a score, for ranking). */
static enum llama_pooling_type pooling_of(const struct llama_model *model,
                                          burble_llama_pooling wanted)
{
    char architecture[64];
    char key[128];
    char value[32];
    if (wanted != BURBLE_LLAMA_POOLING_MODEL) {
        return wanted == BURBLE_LLAMA_POOLING_MEAN    ? LLAMA_POOLING_TYPE_MEAN
               : wanted == BURBLE_LLAMA_POOLING_FIRST ? LLAMA_POOLING_TYPE_CLS
                                                      : LLAMA_POOLING_TYPE_LAST;
    }
    if (llama_model_meta_val_str(model, "general.architecture", architecture, sizeof architecture)
        <= 0)
        return LLAMA_POOLING_TYPE_MEAN;
    snprintf(key, sizeof key, "%s.pooling_type", architecture);
    if (llama_model_meta_val_str(model, key, value, sizeof value) <= 0)
        return LLAMA_POOLING_TYPE_MEAN;
    switch (strtol(value, NULL, 10)) {
    case LLAMA_POOLING_TYPE_CLS:
        return LLAMA_POOLING_TYPE_CLS;
    case LLAMA_POOLING_TYPE_LAST:
        return LLAMA_POOLING_TYPE_LAST;
    case LLAMA_POOLING_TYPE_RANK:
        return LLAMA_POOLING_TYPE_UNSPECIFIED;
    default:
        return LLAMA_POOLING_TYPE_MEAN;
    }
}

static int make_context(burble_llama_embedder *embedder, enum llama_pooling_type pooling,
                        const burble_llama_engine_options *size, burble_error *error)
{
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = embedder->most;
    params.n_batch = embedder->most;
    params.n_ubatch = embedder->most;
    params.n_seq_max = embedder->most < SEQUENCES ? embedder->most : SEQUENCES;
    params.n_threads = (int32_t)size->threads;
    params.n_threads_batch = (int32_t)size->threads;
    params.pooling_type = pooling;
    params.embeddings = true;
    params.kv_unified = true; /* one text may fill it, or many */
    params.no_perf = true;
    params.abort_callback = gives_up;
    params.abort_callback_data = embedder;
    burble__llama_listen();
    embedder->context.llama = llama_init_from_model(embedder->model->llama, params);
    embedder->batch = llama_batch_init((int32_t)embedder->most, 0, 1);
    if (embedder->context.llama == NULL || embedder->batch.token == NULL) {
        return burble__error_set(error, BURBLE_ENOMEM,
                                 "no memory for an embedder of %" PRIu32 " tokens: %s",
                                 embedder->most, burble__llama_said());
    }
    return burble__context_start(&embedder->context, size->threads, size->threads, error);
}

/* The options that engines have, too, are checked as theirs. */
static int check(const burble_llama_embedder_options *options, uint32_t trained,
                 burble_llama_engine_options *size, burble_error *error)
{
    if (!BURBLE__UNUSED(options))
        return burble__error_set(error, BURBLE_EINVAL, "options: " BURBLE__RESERVED);
    if ((uint32_t)options->pooling > BURBLE_LLAMA_POOLING_LAST) {
        return burble__error_set(error, BURBLE_EINVAL, "pooling: expected 0 to %d, found %" PRIu32,
                                 BURBLE_LLAMA_POOLING_LAST, (uint32_t)options->pooling);
    }
    burble_llama_engine_options_init(size);
    size->slots = 1;
    size->context = options->context;
    size->threads = options->threads;
    return burble__context_options(size, trained, error);
}

static void unmake(burble_llama_embedder *embedder)
{
    burble__context_free(&embedder->context);
    llama_batch_free(embedder->batch);
    burble_llama_model_unref(&embedder->model);
    burble__free(embedder);
}

static int make(burble_llama_embedder *embedder, const burble_llama_embedder_options *options,
                const burble_llama_engine_options *size, burble_error *error)
{
    const enum llama_pooling_type pooling = pooling_of(embedder->model->llama, options->pooling);
    if (pooling == LLAMA_POOLING_TYPE_UNSPECIFIED) {
        return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                 "expected a model that makes vectors, found one that ranks texts");
    }
    int reason = pthread_mutex_init(&embedder->lock, NULL);
    if (reason == 0) {
        reason = pthread_cond_init(&embedder->free, NULL);
        if (reason != 0)
            pthread_mutex_destroy(&embedder->lock);
    }
    if (reason != 0) {
        errno = reason;
        return burble__error_set(error, BURBLE_ESYSTEM, "cannot create a lock: %s",
                                 strerror(reason));
    }
    const int result = make_context(embedder, pooling, size, error);
    if (result != BURBLE_OK) {
        pthread_cond_destroy(&embedder->free);
        pthread_mutex_destroy(&embedder->lock);
    }
    return result;
}

int burble_llama_embedder_create(burble_llama_model *model,
                                 const burble_llama_embedder_options *options,
                                 burble_llama_embedder **out, burble_error *error)
{
    burble_llama_embedder_options defaults;
    burble_llama_engine_options size = {.context = 0};
    *out = NULL;
    burble_llama_embedder_options_init(&defaults);
    if (options == NULL)
        options = &defaults;
    int result = check(options, burble_llama_model_context(model), &size, error);
    if (result != BURBLE_OK)
        return result;
    burble_llama_embedder *embedder = burble__calloc(1, sizeof *embedder);
    if (embedder == NULL || burble__fork_watch() != BURBLE_OK) {
        burble__free(embedder);
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for an embedder");
    }
    embedder->model = burble_llama_model_ref(model);
    embedder->most = size.context;
    embedder->length = (size_t)llama_model_n_embd_out(model->llama);
    embedder->forks = burble__forks();
    burble__init(&embedder->canceled, false);
    burble__init(&embedder->interrupts, 0);
    sigset_t all;
    sigset_t before;
    sigfillset(&all); /* signals are not for the threads that compute */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = make(embedder, options, &size, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != BURBLE_OK) {
        const int reason = errno;
        unmake(embedder);
        errno = reason;
        return result;
    }
    *out = embedder;
    return BURBLE_OK;
}

void burble_llama_embedder_destroy(burble_llama_embedder **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_llama_embedder *embedder = *handle;
    *handle = NULL;
    if (embedder->forks != burble__forks())
        return;
    pthread_cond_destroy(&embedder->free);
    pthread_mutex_destroy(&embedder->lock);
    unmake(embedder);
}

/* Has calls that wait look whether they are to end. */
static void wake(burble_llama_embedder *embedder)
{
    pthread_mutex_lock(&embedder->lock);
    pthread_cond_broadcast(&embedder->free);
    pthread_mutex_unlock(&embedder->lock);
}

void burble_llama_embedder_cancel(burble_llama_embedder *embedder)
{
    burble__store_relaxed(&embedder->canceled, true);
    wake(embedder);
}

void burble_llama_embedder_interrupt(burble_llama_embedder *embedder)
{
    burble__add_relaxed(&embedder->interrupts, 1);
    wake(embedder);
}

size_t burble_llama_embedder_length(const burble_llama_embedder *embedder)
{
    return embedder->length;
}

/* ---- embedding --------------------------------------------------------------------------------------- */

/* Writes the ids of a text, at most `most` of them. */
static int ids_of(const burble_llama_embedder *embedder, const burble_text *text, size_t number,
                  int32_t *ids, size_t *n, burble_error *error)
{
    const size_t longest = embedder->model->longest;
    const size_t room = embedder->most;
    int result = BURBLE_EFULL;
    *n = 0;
    /* A text that is too long by far is not tokenized. */
    if (longest > SIZE_MAX / (room + 64) || text->len <= longest * (room + 64)) {
        result = burble_llama_model_tokenize(embedder->model, text->bytes, text->len, false, ids,
                                             room, n);
    }
    if (result == BURBLE_EINVAL)
        return burble__error_set(error, result, "text %zu: expected at most 1 GiB of UTF-8",
                                 number);
    if (result == BURBLE_ENOMEM)
        return burble__error_set(error, result, "text %zu: no memory", number);
    if (result == BURBLE_OK && *n > 0)
        return BURBLE_OK;
    return burble__error_set(error, BURBLE_EINVAL,
                             "text %zu: expected 1 to %zu tokens, found %s: %zu bytes of text",
                             number, room, result == BURBLE_EFULL ? "more" : "none", text->len);
}

static void add(struct llama_batch *batch, const int32_t *ids, size_t n, llama_seq_id sequence)
{
    for (size_t i = 0; i < n; i++) {
        const int32_t row = batch->n_tokens++;
        batch->token[row] = ids[i];
        batch->pos[row] = (llama_pos)i;
        batch->n_seq_id[row] = 1;
        batch->seq_id[row][0] = sequence;
        batch->logits[row] = true;
    }
}

/* Copies a vector, of length 1. (One of zeros stays.) */
static void normalize(const float *from, size_t n, float *to)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)from[i] * from[i];
    const double factor = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)(from[i] * factor);
}

/* Computes the batch, which has `n` texts. */
static int compute(burble_llama_embedder *embedder, uint32_t n, float *out, burble_error *error)
{
    struct llama_context *llama = embedder->context.llama;
    llama_memory_clear(llama_get_memory(llama), false);
    burble__llama_listen();
    const int32_t code = llama_decode(llama, embedder->batch);
    if (is_ended(embedder))
        return burble__error_set(error, BURBLE_ECANCELED, "the embedder was cancelled");
    for (uint32_t i = 0; code == 0 && i < n; i++) {
        const float *vector = llama_get_embeddings_seq(llama, (llama_seq_id)i);
        if (vector == NULL)
            return burble__error_set(error, BURBLE_EFAILED, "llama.cpp has no vector of a text");
        normalize(vector, embedder->length, out + i * embedder->length);
    }
    if (code == 0)
        return BURBLE_OK;
    return burble__error_set(error, BURBLE_EFAILED,
                             "llama.cpp cannot compute a batch of %" PRId32
                             " tokens (llama_decode: %" PRId32 "): %s",
                             embedder->batch.n_tokens, code, burble__llama_said());
}

/* `ids` has room for those of one text. */
static int embed(burble_llama_embedder *embedder, const burble_text *texts, size_t n, int32_t *ids,
                 float *out, burble_error *error)
{
    struct llama_batch *batch = &embedder->batch;
    uint32_t texts_in = 0; /* the batch */
    batch->n_tokens = 0;
    for (size_t i = 0; i < n; i++) {
        size_t tokens;
        if (is_ended(embedder))
            return burble__error_set(error, BURBLE_ECANCELED, "the embedder was cancelled");
        int result = ids_of(embedder, &texts[i], i, ids, &tokens, error);
        if (result != BURBLE_OK)
            return result;
        if (texts_in == SEQUENCES || (size_t)batch->n_tokens + tokens > embedder->most) {
            result = compute(embedder, texts_in, out, error);
            if (result != BURBLE_OK)
                return result;
            out += texts_in * embedder->length;
            texts_in = 0;
            batch->n_tokens = 0;
        }
        add(batch, ids, tokens, (llama_seq_id)texts_in++);
    }
    return texts_in == 0 ? BURBLE_OK : compute(embedder, texts_in, out, error);
}

/* Waits until no other call computes. Returns false if the call is to end before. */
static bool begin(burble_llama_embedder *embedder, uint32_t began)
{
    pthread_mutex_lock(&embedder->lock);
    while (embedder->busy && !is_to_end(embedder, began))
        pthread_cond_wait(&embedder->free, &embedder->lock);
    const bool begins = !embedder->busy;
    if (begins) {
        embedder->busy = true;
        embedder->began = began;
    }
    pthread_mutex_unlock(&embedder->lock);
    return begins;
}

static void end(burble_llama_embedder *embedder)
{
    pthread_mutex_lock(&embedder->lock);
    embedder->busy = false;
    pthread_cond_signal(&embedder->free);
    pthread_mutex_unlock(&embedder->lock);
}

int burble_llama_embedder_embed(burble_llama_embedder *embedder, const burble_text *texts, size_t n,
                                float *out, burble_error *error)
{
    if (embedder->forks != burble__forks()) {
        return burble__error_set(
            error, BURBLE_ECLOSED,
            "expected an embedder of this process, found one of its parent process");
    }
    int32_t *ids = burble__malloc(embedder->most * sizeof *ids);
    if (ids == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for a text");
    const uint32_t began = burble__load_relaxed(&embedder->interrupts);
    int result = BURBLE_OK;
    if (begin(embedder, began)) {
        result = embed(embedder, texts, n, ids, out, error);
        end(embedder);
    } else {
        result = burble__error_set(error, BURBLE_ECANCELED, "the embedder was cancelled");
    }
    burble__free(ids);
    return result;
}
