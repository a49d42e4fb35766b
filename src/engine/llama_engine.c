/* SPDX-License-Identifier: MIT
 *
 * Creates and destroys an engine, takes requests in, and says what it does: in the callers' threads.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error_message.h"
#include "base/fork.h"
#include "engine/llama_engine.h"

void burble_llama_engine_options_init(burble_llama_engine_options *options)
{
    *options =
        (burble_llama_engine_options){.slots = 8, .queue = 1024, .batch = 512, .prompt_ms = 12};
}

static bool is_here(const burble_llama_engine *engine)
{
    return engine->forks == burble__forks();
}

/* ---- creating and destroying ------------------------------------------------------------------------- */

static int make(burble_llama_engine *engine, burble_error *error)
{
    const uint32_t batch = burble__context_batch(&engine->options);
    engine->n_vocab = (size_t)llama_vocab_n_tokens(engine->model->tokens);
    engine->candidates = burble__malloc(engine->n_vocab * sizeof *engine->candidates);
    engine->batch = llama_batch_init((int32_t)batch, 0, 1);
    if (engine->candidates == NULL || engine->batch.token == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for an engine");
    const int result = burble__context_create(&engine->context, engine->model, &engine->options,
                                              burble__engine_gives_up, engine, error);
    if (result != BURBLE_OK)
        return result;
    if (burble__cells_init(&engine->cells, engine->context.llama, engine->options.slots,
                           engine->options.context, engine->options.unified)
        != BURBLE_OK) {
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for an engine");
    }
    engine->pace.limit = engine->options.prompt_ms * 1e6;
    return BURBLE_OK;
}

/* Frees what make has created, even if make has failed half-way. */
static void unmake(burble_llama_engine *engine)
{
    burble__cells_finish(&engine->cells);
    burble__context_free(&engine->context);
    llama_batch_free(engine->batch);
    burble__free(engine->candidates);
    burble_llama_model_unref(&engine->model);
    burble__free(engine);
}

/* The condition uses the clock of the deadlines. Returns 0, or the error; then nothing was created. */
static int make_lock(burble_llama_engine *engine)
{
    pthread_condattr_t monotonic;
    int reason = pthread_condattr_init(&monotonic);
    if (reason != 0)
        return reason;
    reason = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (reason == 0)
        reason = pthread_mutex_init(&engine->lock, NULL);
    if (reason == 0) {
        reason = pthread_cond_init(&engine->work, &monotonic);
        if (reason != 0)
            pthread_mutex_destroy(&engine->lock);
    }
    pthread_condattr_destroy(&monotonic);
    return reason;
}

static int start(burble_llama_engine *engine, burble_error *error)
{
    int reason = make_lock(engine);
    if (reason != 0) {
        errno = reason;
        return burble__error_set(error, BURBLE_ESYSTEM, "cannot create a lock for the engine: %s",
                                 strerror(reason));
    }
    reason = pthread_create(&engine->thread, NULL, burble__engine_run, engine);
    if (reason != 0) {
        pthread_cond_destroy(&engine->work);
        pthread_mutex_destroy(&engine->lock);
        errno = reason;
        return burble__error_set(error, BURBLE_ESYSTEM, "cannot start the engine's thread: %s",
                                 strerror(reason));
    }
    return BURBLE_OK;
}

int burble_llama_engine_create(burble_llama_model *model,
                               const burble_llama_engine_options *options,
                               burble_llama_engine **out, burble_error *error)
{
    burble_llama_engine_options filled;

    *out = NULL;
    burble_llama_engine_options_init(&filled);
    if (options != NULL)
        filled = *options;
    int result = burble__context_options(&filled, burble_llama_model_context(model), error);
    if (result != BURBLE_OK)
        return result;
    burble_llama_engine *engine = burble__calloc(1, sizeof *engine);
    if (engine == NULL || burble__fork_watch() != BURBLE_OK) {
        burble__free(engine);
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for an engine");
    }
    engine->forks = burble__forks();
    engine->model = burble_llama_model_ref(model);
    engine->options = filled;
    burble__init(&engine->closing, false);
    /* A thread inherits the signal mask of its creator. Signals are for the program's own threads. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = make(engine, error);
    if (result == BURBLE_OK)
        result = start(engine, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != BURBLE_OK) {
        const int reason = errno;
        unmake(engine);
        errno = reason;
        return result;
    }
    *out = engine;
    return BURBLE_OK;
}

/* Under the lock, or once the engine's thread has exited. */
static void cancel_all(burble_llama_engine *engine)
{
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        if (engine->slots[slot] != NULL)
            burble_stream_cancel(engine->slots[slot]->stream);
    if (engine->arriving != NULL)
        burble_stream_cancel(engine->arriving->stream);
    for (struct burble__request *at = engine->queue.first; at != NULL; at = at->next)
        burble_stream_cancel(at->stream);
    for (struct burble__request *at = engine->paused; at != NULL; at = at->next)
        burble_stream_cancel(at->stream);
}

void burble_llama_engine_destroy(burble_llama_engine **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_llama_engine *engine = *handle;
    *handle = NULL;
    if (!is_here(engine))
        return;
    pthread_mutex_lock(&engine->lock);
    burble__store_relaxed(&engine->closing, true);
    cancel_all(engine); /* so that who reads need not wait for the present step */
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    pthread_join(engine->thread, NULL);
    /* No other thread uses the engine now, and all streams are cancelled. */
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        if (engine->slots[slot] != NULL)
            burble__slots_release(engine, slot);
    burble__slots_bury(engine->queue.first);
    burble__slots_bury(engine->paused);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->lock);
    unmake(engine);
}

/* ---- requests ---------------------------------------------------------------------------------------- */

/* The number of requests, without those that are over and will leave their slots after the present step;
 * under the lock. So a caller that has seen the end of a text finds its slot free. */
static uint64_t requests_in(const burble_llama_engine *engine)
{
    const burble_llama_stats *stats = &engine->stats;
    uint64_t n = (uint64_t)stats->active + stats->paused + engine->queue.n + engine->reserved;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        n -= engine->slots[slot] != NULL && burble__request_is_over(engine->slots[slot]);
    return n;
}

/* Reserves `n` places in the queue, if there is room for all. It comes before the requests are made, since a prompt
 * that is refused need not be tokenized. */
static bool reserve(burble_llama_engine *engine, uint32_t n)
{
    const uint64_t room = (uint64_t)engine->options.queue + engine->options.slots;
    struct burble__request *over = NULL;
    pthread_mutex_lock(&engine->lock);
    if (requests_in(engine) + n > room)
        burble__queue_sweep(&engine->queue, engine->queue.n, burble__now(), &over);
    const bool reserved = requests_in(engine) + n <= room;
    engine->reserved += reserved ? n : 0;
    pthread_mutex_unlock(&engine->lock);
    burble__slots_bury(over);
    return reserved;
}

/* Gives up the `n` reserved places, and puts the requests there, a list by `next`; NULL: none. */
static void enter(burble_llama_engine *engine, const burble_llama_request *wanted, uint32_t n,
                  struct burble__request *request)
{
    pthread_mutex_lock(&engine->lock);
    engine->reserved -= n;
    if (request != NULL) /* one that is refused is not told of its end, either */
        burble_stream_hand_over(request->stream);
    while (request != NULL) {
        struct burble__request *next = request->next;
        request->watch = wanted->watch;
        request->watch_arg = wanted->watch_arg;
        request->number = ++engine->stats.requests;
        request->turn = ++engine->turns;
        burble__queue_push(&engine->queue, request);
        request = next;
    }
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
}

int burble_llama_engine_submit(burble_llama_engine *engine, const burble_llama_request *request,
                               burble_stream *stream, burble_error *error)
{
    struct burble__request *made;
    const uint64_t most = (uint64_t)engine->options.queue + engine->options.slots;
    uint32_t n;
    if (!is_here(engine)) {
        return burble__error_set(
            error, BURBLE_ECLOSED,
            "expected an engine of this process, found one of its parent process");
    }
    int result = burble__request_count(request, most, &n, error);
    if (result != BURBLE_OK)
        return result;
    if (!reserve(engine, n)) {
        return burble__error_set(error, BURBLE_EFULL,
                                 "the queue is full: %" PRIu32 " requests wait for one of %" PRIu32
                                 " slots",
                                 engine->options.queue, engine->options.slots);
    }
    result = burble__request_create(engine->model, request, engine->options.context, stream, &made,
                                    error);
    enter(engine, request, n, made);
    return result;
}

/* Where a request is that has a slot. */
static burble_llama_stage stage_of(const struct burble__request *request)
{
    return request->progress.prompt_done < request->progress.prompt_tokens
               ? BURBLE_LLAMA_STAGE_PROMPT
               : BURBLE_LLAMA_STAGE_ANSWER;
}

/* Fills in where a request is, unless another one of the stream has come farther. */
static void note_place(burble_llama_place *place, const struct burble__request *request,
                       burble_llama_stage stage)
{
    static const int how_far[] = {[BURBLE_LLAMA_STAGE_NONE] = 0,
                                  [BURBLE_LLAMA_STAGE_QUEUED] = 1,
                                  [BURBLE_LLAMA_STAGE_PAUSED] = 2,
                                  [BURBLE_LLAMA_STAGE_PROMPT] = 3,
                                  [BURBLE_LLAMA_STAGE_ANSWER] = 4};
    const burble_llama_progress *progress = &request->progress;
    if (how_far[stage] < how_far[place->stage]
        || (stage == place->stage && progress->prompt_done <= place->prompt_done)) {
        return;
    }
    place->stage = stage;
    place->prompt_tokens = progress->prompt_tokens;
    place->prompt_done = progress->prompt_done;
    place->reused = progress->reused;
}

/* Fills in where the request of a stream is, or the one of its choices that has come farthest; under the lock. */
static void find(const burble_llama_engine *engine, const burble_stream *stream,
                 burble_llama_place *place)
{
    uint32_t n = 0;
    for (uint32_t slot = 0; slot <= engine->options.slots; slot++) {
        const struct burble__request *at =
            slot < engine->options.slots ? engine->slots[slot] : engine->arriving;
        if (at != NULL && at->stream == stream)
            note_place(place, at, stage_of(at));
    }
    for (const struct burble__request *at = engine->paused; at != NULL; at = at->next)
        if (at->stream == stream)
            note_place(place, at, BURBLE_LLAMA_STAGE_PAUSED);
    for (const struct burble__request *at = engine->queue.first;
         at != NULL && place->stage == BURBLE_LLAMA_STAGE_NONE; at = at->next, n++) {
        if (at->stream == stream) {
            note_place(place, at, BURBLE_LLAMA_STAGE_QUEUED);
            place->before = n;
        }
    }
}

void burble_llama_engine_find(const burble_llama_engine *asked, const burble_stream *stream,
                              burble_llama_place *place)
{
    burble_llama_engine *engine = (burble_llama_engine *)asked; /* for its lock */
    *place = (burble_llama_place){.stage = BURBLE_LLAMA_STAGE_NONE};
    if (!is_here(engine))
        return;
    pthread_mutex_lock(&engine->lock);
    find(engine, stream, place);
    pthread_mutex_unlock(&engine->lock);
}

/* ---- counts ------------------------------------------------------------------------------------------ */

uint32_t burble_llama_engine_context(const burble_llama_engine *engine)
{
    return engine->options.context;
}

void burble_llama_engine_stats(const burble_llama_engine *asked, burble_llama_stats *stats)
{
    burble_llama_engine *engine = (burble_llama_engine *)asked; /* for its lock */
    if (!is_here(engine)) {
        *stats = (burble_llama_stats){.active = 0};
        return;
    }
    pthread_mutex_lock(&engine->lock);
    *stats = engine->stats;
    stats->waiting = engine->queue.n;
    pthread_mutex_unlock(&engine->lock);
}
