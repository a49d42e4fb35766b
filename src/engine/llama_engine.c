/* SPDX-License-Identifier: MIT
 *
 * An engine: one thread that computes the next token of many requests at once.
 *
 * Each slot is one of llama.cpp's sequences, with separate memory. A step puts the last token of every
 * generating request into one batch, fills the batch up with prompts, computes it, and gives each request
 * the token that its logits select. Between steps, requests leave their slots and others take them, so a
 * long text never makes a short one wait. The thread never waits for a reader: a request whose text does
 * not fit into its stream is left out of the steps until the text fits.
 *
 * The engine's lock protects the queue, the assignment of requests to slots, `closing` and the counts. A
 * request belongs to one thread at a time: to the caller's until it is in the queue, then to the engine's.
 * Other threads may only cancel its stream.
 *
 * A forked child has the engine's memory, but not its thread, which may have held the lock at the fork. So
 * the engine counts as closed in the child: it accepts no requests, and its memory is not touched.
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
#include "engine/llama_context.h"
#include "engine/llama_log.h"
#include "engine/llama_request.h"

/* How often, in nanoseconds, the thread checks for room while all requests wait for it. */
#define PATIENCE 2000000u

struct burble_llama_engine {
    burble_llama_model *model;
    burble_llama_engine_options options; /* with the defaults filled in */
    size_t n_vocab;

    /* Only for the engine's thread. */
    struct burble__context context;
    struct llama_batch batch;
    uint32_t prompt_tokens; /* in the batch */
    uint32_t rows;          /* of the batch whose logits are wanted: tokens to be generated */
    llama_token_data *candidates;
    uint32_t turn; /* the slot whose prompt comes first in the next batch */

    uint64_t forks; /* of the process that created it, and has its thread: base/fork.h */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work; /* there is a request in the queue, or the engine closes */
    struct burble__request *first, **end; /* the queue */
    /* Written by the thread, under the lock; so the thread may read them without it. */
    struct burble__request *slots[BURBLE_LLAMA_MAX_SLOTS];
    burble_llama_stats stats;
    _Atomic(bool) closing; /* written under the lock */
};

void burble_llama_engine_options_init(burble_llama_engine_options *options)
{
    *options = (burble_llama_engine_options){.slots = 8, .queue = 1024, .batch = 512};
}

static bool is_here(const burble_llama_engine *engine)
{
    return engine->forks == burble__forks();
}

/* ---- slots and the queue --------------------------------------------------------------------------- */

/* Frees a slot, and the memory of its request in llama.cpp. The request is over. */
static void release(burble_llama_engine *engine, uint32_t slot)
{
    struct burble__request *request = engine->slots[slot];
    pthread_mutex_lock(&engine->lock);
    engine->slots[slot] = NULL;
    engine->stats.active--;
    pthread_mutex_unlock(&engine->lock);
    llama_memory_seq_rm(llama_get_memory(engine->context.llama), (llama_seq_id)slot, -1, -1);
    burble__request_destroy(&request);
}

/* Takes a request out of the queue; under the lock. */
static struct burble__request *unqueue(burble_llama_engine *engine, struct burble__request **at)
{
    struct burble__request *request = *at;
    *at = request->next;
    if (request->next == NULL)
        engine->end = at;
    request->next = NULL;
    engine->stats.waiting--;
    return request;
}

/* Removes the requests whose streams are over from the queue; under the lock. Returns them as a list, to
 * be destroyed without the lock, because the release functions of their streams may do anything. */
static struct burble__request *tidy_queue(burble_llama_engine *engine)
{
    struct burble__request *over = NULL;
    for (struct burble__request **at = &engine->first; *at != NULL;) {
        if (burble__request_is_over(*at)) {
            struct burble__request *request = unqueue(engine, at);
            request->next = over;
            over = request;
        } else {
            at = &(*at)->next;
        }
    }
    return over;
}

static void destroy_all(struct burble__request *list)
{
    while (list != NULL) {
        struct burble__request *next = list->next;
        burble__request_destroy(&list);
        list = next;
    }
}

/* Frees the slots of requests whose streams are over. */
static void sweep(burble_llama_engine *engine)
{
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        if (engine->slots[slot] != NULL && burble__request_is_over(engine->slots[slot]))
            release(engine, slot);
}

/* Gives free slots to waiting requests. If there are no requests at all, waits for one. Returns false if
 * the engine closes. */
static bool admit(burble_llama_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    while (engine->stats.active == 0 && engine->first == NULL
           && !burble__load_relaxed(&engine->closing)) {
        pthread_cond_wait(&engine->work, &engine->lock);
    }
    const bool closing = burble__load_relaxed(&engine->closing);
    for (uint32_t slot = 0; !closing && slot < engine->options.slots && engine->first != NULL;
         slot++) {
        if (engine->slots[slot] == NULL) {
            engine->slots[slot] = unqueue(engine, &engine->first);
            engine->stats.active++;
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return !closing;
}

/* Writes the text that did not fit before. Returns whether any request needs a token. */
static bool catch_up(burble_llama_engine *engine)
{
    bool any = false;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        struct burble__request *request = engine->slots[slot];
        if (request == NULL)
            continue;
        if (burble__request_catch_up(request))
            any = any || !burble__request_is_full(request);
        else
            release(engine, slot);
    }
    return any;
}

/* Waits while all requests in slots are full and no other request can get a slot. A reader that makes room
 * can wake a writer that waits on its stream, but here one thread would have to wait on several streams.
 * So the thread checks for room every PATIENCE, which is about one step of a small model: such a slow
 * reader does not notice the delay, and 500 checks a second cost almost nothing. A new request and
 * closing signal `work`, so they do not have to wait; a cancelled request is removed at the next check. */
static void wait_for_room(burble_llama_engine *engine)
{
    const uint64_t deadline = burble__now() + PATIENCE;
    const struct timespec until = {
        .tv_sec = (time_t)(deadline / 1000000000u),
        .tv_nsec = (long)(deadline % 1000000000u),
    };
    pthread_mutex_lock(&engine->lock);
    if (engine->stats.active > 0
        && (engine->stats.active == engine->options.slots || engine->first == NULL)
        && !burble__load_relaxed(&engine->closing)) {
        pthread_cond_timedwait(&engine->work, &engine->lock, &until);
    }
    pthread_mutex_unlock(&engine->lock);
}

/* Moves the request in the highest slot to the lowest free one, if that is lower: llama.cpp computes
 * sequences with successive numbers together, but others one after the other. One move per step, because
 * a move copies the KV cache of the sequence. */
static void close_gap(burble_llama_engine *engine)
{
    uint32_t to = 0;
    uint32_t end = engine->options.slots;
    while (to < end && engine->slots[to] != NULL)
        to++;
    while (end > to && engine->slots[end - 1] == NULL)
        end--;
    if (end == to)
        return;
    const uint32_t from = end - 1;
    llama_memory_t memory = llama_get_memory(engine->context.llama);
    llama_memory_seq_cp(memory, (llama_seq_id)from, (llama_seq_id)to, -1, -1);
    llama_memory_seq_rm(memory, (llama_seq_id)from, -1, -1);
    pthread_mutex_lock(&engine->lock);
    engine->slots[to] = engine->slots[from];
    engine->slots[from] = NULL;
    pthread_mutex_unlock(&engine->lock);
}

/* ---- a step ---------------------------------------------------------------------------------------- */

/* Adds a request's next token to the batch. */
static void add(burble_llama_engine *engine, uint32_t slot, int32_t id, bool wants_logits)
{
    struct burble__request *request = engine->slots[slot];
    struct llama_batch *batch = &engine->batch;
    const int32_t row = batch->n_tokens++;
    batch->token[row] = id;
    batch->pos[row] = (llama_pos)request->fed++;
    batch->n_seq_id[row] = 1;
    batch->seq_id[row][0] = (llama_seq_id)slot;
    batch->logits[row] = wants_logits;
    request->row = wants_logits ? row : -1;
    engine->rows += wants_logits;
}

/* Makes the next batch: one token for each generating request that is not full, then as many tokens of
 * prompts as there is room for; the slots take turns. */
static void fill(burble_llama_engine *engine)
{
    const uint32_t slots = engine->options.slots;
    uint32_t room = engine->options.batch;
    uint32_t next = engine->turn;
    engine->batch.n_tokens = 0;
    engine->rows = 0;
    for (uint32_t slot = 0; slot < slots; slot++) {
        struct burble__request *request = engine->slots[slot];
        if (request != NULL) {
            request->row = -1;
            if (request->fed >= request->n_ids && !burble__request_is_full(request))
                add(engine, slot, request->last, true);
        }
    }
    for (uint32_t i = 0; i < slots && room > 0; i++) {
        const uint32_t slot = (engine->turn + i) % slots;
        struct burble__request *request = engine->slots[slot];
        while (request != NULL && request->fed < request->n_ids && room > 0) {
            add(engine, slot, request->ids[request->fed], request->fed + 1 == request->n_ids);
            room--;
            next = slot + 1;
        }
    }
    engine->turn = next < slots ? next : 0;
    engine->prompt_tokens = engine->options.batch - room;
}

/* Whether no request wants the present step any more; llama.cpp calls it in the middle of a step. Requests
 * that are full are not part of the step. */
static bool give_up(void *arg)
{
    const burble_llama_engine *engine = arg;
    if (burble__load_relaxed(&engine->closing))
        return true;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        const struct burble__request *request = engine->slots[slot];
        if (request != NULL && !burble__request_is_full(request)
            && !burble__request_is_over(request)) {
            return false;
        }
    }
    return true;
}

/* Gives each request in the batch its token, if its logits were computed. */
static void hand_out(burble_llama_engine *engine)
{
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        struct burble__request *request = engine->slots[slot];
        if (request == NULL || request->row < 0)
            continue;
        const float *logits = llama_get_logits_ith(engine->context.llama, request->row);
        const int32_t id =
            burble__request_sample(request, logits, engine->candidates, engine->n_vocab);
        if (!burble__request_take(request, engine->model->tokens, id))
            release(engine, slot);
    }
}

/* llama.cpp cannot compute the batch: the requests in it fail, the others go on. */
static void fail(burble_llama_engine *engine, int32_t code)
{
    burble_error error;
    const int32_t n = engine->batch.n_tokens;
    burble__error_set(
        &error, BURBLE_EFAILED,
        "llama.cpp cannot compute a batch of %" PRId32 " tokens (llama_decode: %" PRId32 "): %s", n,
        code, code == 1 ? "its memory has no room for them" : burble__llama_said());
    for (int32_t row = 0; row < n; row++) {
        const uint32_t slot = (uint32_t)engine->batch.seq_id[row][0];
        if (engine->slots[slot] != NULL) {
            burble_stream_fail(engine->slots[slot]->stream, error.code, error.message);
            release(engine, slot);
        }
    }
}

/* Before the tokens are handed out, so that whoever has a text finds its tokens counted. */
static void count(burble_llama_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->stats.steps++;
    engine->stats.prompt_tokens += engine->prompt_tokens;
    engine->stats.tokens += engine->rows;
    pthread_mutex_unlock(&engine->lock);
}

static void step(burble_llama_engine *engine)
{
    enum { ABORTED = 2 };
    close_gap(engine);
    fill(engine);
    burble__llama_listen();
    const int32_t code = llama_decode(engine->context.llama, engine->batch);
    if (code == 0) {
        count(engine);
        hand_out(engine);
    } else if (code != ABORTED) {
        fail(engine, code);
    } /* else nobody in the batch wants to go on, and their slots are swept next */
}

static void *run(void *arg)
{
    burble_llama_engine *engine = arg;
    while (admit(engine)) {
        if (catch_up(engine))
            step(engine);
        else
            wait_for_room(engine);
        sweep(engine);
    }
    return NULL;
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
    return burble__context_create(&engine->context, engine->model, &engine->options, give_up,
                                  engine, error);
}

/* Frees what make has created, even if make has failed half-way. */
static void unmake(burble_llama_engine *engine)
{
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
    reason = pthread_create(&engine->thread, NULL, run, engine);
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
    engine->end = &engine->first;
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
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        if (engine->slots[slot] != NULL)
            burble_stream_cancel(engine->slots[slot]->stream);
    /* The engine's thread has exited, so it will not take these from the queue. */
    for (struct burble__request *request = engine->first; request != NULL; request = request->next)
        burble_stream_cancel(request->stream);
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    pthread_join(engine->thread, NULL);
    /* No other thread uses the engine now. */
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        if (engine->slots[slot] != NULL)
            release(engine, slot);
    destroy_all(engine->first);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->lock);
    unmake(engine);
}

/* ---- for others ---------------------------------------------------------------------------------------- */

/* The number of requests, without those that are over and will leave their slots after the present step;
 * under the lock. So a caller that has seen the end of a text finds its slot free. */
static uint64_t requests_in(const burble_llama_engine *engine)
{
    uint64_t n = (uint64_t)engine->stats.active + engine->stats.waiting;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        n -= engine->slots[slot] != NULL && burble__request_is_over(engine->slots[slot]);
    return n;
}

/* Puts a request at the end of the queue, if there is room; under the lock. */
static bool queue(burble_llama_engine *engine, struct burble__request *request,
                  struct burble__request **over)
{
    burble_llama_stats *stats = &engine->stats;
    const uint64_t room = (uint64_t)engine->options.queue + engine->options.slots;
    if ((uint64_t)stats->active + stats->waiting >= room) {
        *over = tidy_queue(engine);
        if (requests_in(engine) >= room)
            return false;
    }
    *engine->end = request;
    engine->end = &request->next;
    stats->waiting++;
    stats->requests++;
    pthread_cond_signal(&engine->work);
    return true;
}

int burble_llama_engine_submit(burble_llama_engine *engine, const burble_llama_request *request,
                               burble_stream *stream, burble_error *error)
{
    struct burble__request *made;
    struct burble__request *over = NULL;
    if (!is_here(engine)) {
        return burble__error_set(
            error, BURBLE_ECLOSED,
            "expected an engine of this process, found one of its parent process");
    }
    const int result = burble__request_create(engine->model, request, engine->options.context,
                                              stream, &made, error);
    if (result != BURBLE_OK)
        return result;
    pthread_mutex_lock(&engine->lock);
    const bool queued = queue(engine, made, &over);
    if (queued) { /* one that is refused is not told of its end, either */
        burble_stream_hand_over(stream);
        made->watch = request->watch;
        made->watch_arg = request->watch_arg;
    }
    pthread_mutex_unlock(&engine->lock);
    destroy_all(over);
    if (!queued) {
        burble__request_destroy(&made);
        return burble__error_set(error, BURBLE_EFULL,
                                 "the queue is full: %" PRIu32 " requests wait for one of %" PRIu32
                                 " slots",
                                 engine->options.queue, engine->options.slots);
    }
    return BURBLE_OK;
}

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
    pthread_mutex_unlock(&engine->lock);
}
