/* SPDX-License-Identifier: MIT
 *
 * An engine: one thread that computes the next token of many requests at once.
 *
 *     llama_engine.c  creates and destroys it, and takes requests in, in the callers' threads
 *     llama_step.c    its thread: a batch, the computation, a token for each request
 *     llama_slots.c   between steps: which request has which slot, and what is computed for it already
 *
 * The engine's lock protects the queue, the assignment of requests to slots, the list of the paused ones,
 * `closing` and the counts. A request belongs to one thread at a time: to the caller's until it is in the
 * queue, then to the engine's. Other threads may only cancel its stream.
 *
 * A forked child has the engine's memory, but not its thread, which may have held the lock at the fork. So
 * the engine counts as closed in the child: it accepts no requests, and its memory is not touched.
 */
#ifndef BURBLE_ENGINE_LLAMA_ENGINE_H
#define BURBLE_ENGINE_LLAMA_ENGINE_H

#include <pthread.h>

#include "engine/llama_cells.h"
#include "engine/llama_context.h"
#include "engine/llama_pace.h"
#include "engine/llama_queue.h"
#include "engine/llama_request.h"

struct burble_llama_engine {
    burble_llama_model *model;
    burble_llama_engine_options options; /* with the defaults filled in */
    size_t n_vocab;

    /* Only for the engine's thread. */
    struct burble__context context;
    struct burble__cells cells; /* of each slot's sequence, with a request or without */
    struct burble__llama_pace pace;
    struct llama_batch batch;
    uint32_t prompt_tokens; /* in the batch */
    uint32_t rows;          /* of the batch whose logits are wanted: tokens to be generated */
    llama_token_data *candidates;
    int64_t credit; /* how long sequences may be moved, in nanoseconds: a part of the steps' time */

    uint64_t forks; /* of the process that created it, and has its thread: base/fork.h */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work; /* there is a request in the queue, or the engine closes */
    struct burble__queue queue;
    uint64_t turns;    /* that have been given to requests */
    uint32_t reserved; /* places in the queue for requests that are being made */
    /* Written by the thread, under the lock; so the thread may read them without it. */
    struct burble__request *slots[BURBLE_LLAMA_MAX_SLOTS];
    struct burble__request *arriving; /* on its way from the queue to a slot; counts as active */
    struct burble__request *paused;   /* they lost their slots, since their readers did not read */
    burble_llama_stats stats;         /* `waiting` is the queue's */
    _Atomic(bool) closing;            /* written under the lock */
};

/* The engine's thread; `arg` is a burble_llama_engine, here and below. */
void *burble__engine_run(void *arg);

/* For llama.cpp: whether no request wants the present step any more. */
bool burble__engine_gives_up(void *arg);

/* ---- between steps, in the engine's thread --------------------------------------------------------- */

/* Frees a slot. The request is over. What was computed for it stays, for others with the same beginning. */
void burble__slots_release(burble_llama_engine *engine, uint32_t slot);

/* Frees the slots and the queue's places of requests that are over or late, and gives free slots to waiting
 * requests. If there are no requests at all, waits for one. Returns false if the engine closes. */
bool burble__slots_admit(burble_llama_engine *engine);

/* Writes the text that did not fit before. Returns whether any request needs a token. */
bool burble__slots_catch_up(burble_llama_engine *engine);

/* Waits while all requests are full and no other one can get a slot. */
void burble__slots_wait_for_room(burble_llama_engine *engine);

/* Moves at most one request, so that those that are computed have successive numbers. */
void burble__slots_close_gap(burble_llama_engine *engine);

/* Whether another request is about to compute what this one needs. Once it has, takes that over. */
bool burble__slots_wait_for_leader(burble_llama_engine *engine, uint32_t slot);

/* Frees requests, a list by `next`, after it has ended the streams of those that are late. */
void burble__slots_bury(struct burble__request *over);

#endif
