/* SPDX-License-Identifier: MIT
 *
 * The engine's thread. Each slot is one of llama.cpp's sequences. A step puts the last token of every
 * generating request into one batch, adds tokens of prompts, computes the batch, and gives each request the
 * token that its logits select. Between steps, requests leave their slots and others take them, so a
 * long text never makes a short one wait. The thread never waits for a reader: a request whose text does
 * not fit into its stream is left out of the steps until the text fits.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error_message.h"
#include "engine/llama_engine.h"
#include "engine/llama_log.h"
#include "engine/llama_output.h"

/* llama_decode's results, beside 0. */
enum { NO_ROOM = 1, ABORTED = 2 };

/* ---- the batch ------------------------------------------------------------------------------------- */

/* Adds a request's next token to the batch. */
static void add_next(burble_llama_engine *engine, uint32_t slot, struct burble__request *request)
{
    struct llama_batch *batch = &engine->batch;
    const int32_t row = batch->n_tokens++;
    const bool in_prompt = request->fed < request->n_ids;
    const bool wants_logits = request->fed + 1 >= request->n_ids;
    const int32_t id = in_prompt ? request->ids[request->fed] : request->last;
    batch->token[row] = id;
    batch->pos[row] = (llama_pos)request->fed++;
    batch->n_seq_id[row] = 1;
    batch->seq_id[row][0] = (llama_seq_id)slot;
    batch->logits[row] = wants_logits;
    request->row = wants_logits ? row : -1;
    engine->rows += wants_logits;
    burble__cells_add(&engine->cells, slot, id);
}

/* How many tokens a request adds to the batch: one if it generates and is not full. */
static uint32_t count_answer(const struct burble__request *request)
{
    return request != NULL && request->fed >= request->n_ids && !burble__request_is_full(request);
}

/* A prompt that is not computed yet. */
struct prompt {
    uint32_t slot;
    uint32_t rest; /* ids to be computed */
    int32_t priority;
    uint64_t number;
};

static int compare_order(const void *a, const void *b)
{
    const struct prompt *one = a;
    const struct prompt *other = b;
    if (one->priority != other->priority)
        return one->priority > other->priority ? -1 : 1;
    return one->number < other->number ? -1 : one->number > other->number;
}

static int compare_rest(const void *a, const void *b)
{
    const struct prompt *one = a;
    const struct prompt *other = b;
    if (one->priority != other->priority || one->rest == other->rest)
        return compare_order(a, b);
    return one->rest < other->rest ? -1 : 1;
}

/* The prompts that can be computed. In every second step, the one that came first is in front; in the others,
 * the one of which least is left, so that a short one does not wait for long ones. */
static uint32_t find_prompts(burble_llama_engine *engine, struct prompt *prompts)
{
    uint32_t n = 0;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        const struct burble__request *request = engine->slots[slot];
        if (request != NULL && request->fed < request->n_ids && !request->done
            && !burble__slots_wait_for_leader(engine, slot)) {
            prompts[n++] = (struct prompt){slot, request->n_ids - request->fed, request->priority,
                                           request->number};
        }
    }
    qsort(prompts, n, sizeof *prompts, engine->stats.steps % 2 == 0 ? compare_rest : compare_order);
    return n;
}

/* Writes to `tokens` how many tokens of each slot's prompt the step computes: up to `alone` of the first prompt, and up to
 * `room` of all together. As few prompts as possible fill the room, since llama.cpp computes a part of a batch for each
 * length that its sequences have there. */
static void share(burble_llama_engine *engine, const struct prompt *prompts, uint32_t n,
                  uint32_t alone, uint32_t room, uint32_t *tokens)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t most = i == 0 ? alone : room;
        if (engine->prompt_tokens >= most)
            break;
        const uint32_t left = most - engine->prompt_tokens;
        tokens[prompts[i].slot] = prompts[i].rest < left ? prompts[i].rest : left;
        engine->prompt_tokens += tokens[prompts[i].slot];
    }
}

/* Makes the next batch, in the order of the slots: llama.cpp computes sequences together whose numbers are successive
 * there. Returns how many requests in it generate already. */
static uint32_t fill(burble_llama_engine *engine)
{
    struct prompt prompts[BURBLE_LLAMA_MAX_SLOTS];
    uint32_t tokens[BURBLE_LLAMA_MAX_SLOTS] = {0};
    uint32_t answers = 0;
    engine->batch.n_tokens = 0;
    engine->prompt_tokens = 0;
    engine->rows = 0;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++)
        answers += tokens[slot] = count_answer(engine->slots[slot]);
    const uint32_t n = find_prompts(engine, prompts);
    const uint32_t most = engine->options.batch;
    const uint32_t room = burble__llama_pace_room(&engine->pace, answers, most);
    /* Without answers, too, several steps share many short prompts: the first ones begin to answer sooner, and not all of them
     * end, and are followed by new requests, in the same step. */
    share(engine, prompts, n, answers == 0 ? most : room, room, tokens);
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        struct burble__request *request = engine->slots[slot];
        if (request == NULL)
            continue;
        request->row = -1;
        for (uint32_t i = 0; i < tokens[slot]; i++)
            add_next(engine, slot, request);
    }
    return answers;
}

/* ---- computing it ---------------------------------------------------------------------------------- */

/* llama.cpp calls this in the middle of a step. Requests that are full are not part of it. */
bool burble__engine_gives_up(void *arg)
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
        if (burble__request_follow(request, logits, engine->candidates, engine->n_vocab))
            continue;
        const int32_t id =
            burble__request_sample(request, logits, engine->candidates, engine->n_vocab);
        if (!burble__request_take(request, engine->model->tokens, id))
            burble__slots_release(engine, slot);
    }
}

/* The batch was not computed, or not as a whole: what it had is to be computed again. */
static void take_back(burble_llama_engine *engine)
{
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        struct burble__sequence *sequence = &engine->cells.sequences[slot];
        if (sequence->pending == 0)
            continue;
        const uint32_t n = sequence->n;
        const uint32_t left = burble__cells_cut(&engine->cells, slot, n);
        struct burble__request *request = engine->slots[slot];
        request->fed = left;
        request->row = -1;
        /* A recurrent model cannot go back. What an answer had so far is not in the prompt's ids. */
        if (left < n && n >= request->n_ids) {
            burble_stream_fail(request->stream, BURBLE_EFAILED,
                               "llama.cpp cannot repeat a computation that it has broken off");
        }
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
        code, code == NO_ROOM ? "its memory has no room for them" : burble__llama_said());
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        if (engine->cells.sequences[slot].pending == 0)
            continue;
        burble__cells_cut(&engine->cells, slot, 0);
        burble_stream_fail(engine->slots[slot]->stream, error.code, error.message);
        burble__slots_release(engine, slot);
    }
}

/* Before the tokens are handed out, so that whoever has a text finds its tokens counted. */
static void count(burble_llama_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->stats.steps++;
    engine->stats.prompt_tokens += engine->prompt_tokens;
    engine->stats.tokens += engine->rows;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        struct burble__request *request = engine->slots[slot];
        if (request != NULL) {
            const uint32_t most = request->progress.prompt_tokens;
            request->progress.prompt_done = request->fed < most ? request->fed : most;
        }
    }
    pthread_mutex_unlock(&engine->lock);
}

static void step(burble_llama_engine *engine)
{
    burble__slots_close_gap(engine);
    const uint32_t answers = fill(engine);
    const uint64_t begin = burble__now();
    burble__context_step(&engine->context, engine->prompt_tokens > 0);
    burble__llama_listen();
    const int32_t code = llama_decode(engine->context.llama, engine->batch);
    if (code == 0) {
        llama_synchronize(engine->context.llama);
        const uint64_t time = burble__now() - begin;
        burble__llama_pace_note(&engine->pace, answers, engine->prompt_tokens, time);
        engine->credit += (int64_t)(time / 8);
        burble__cells_keep(&engine->cells, engine->stats.steps);
        count(engine);
        hand_out(engine);
    } else if (code
               == ABORTED) { /* nobody in the batch wants to go on: their slots are freed next */
        take_back(engine);
    } else {
        fail(engine, code);
    }
}

void *burble__engine_run(void *arg)
{
    burble_llama_engine *engine = arg;
    while (burble__slots_admit(engine))
        if (burble__slots_catch_up(engine))
            step(engine);
        else
            burble__slots_wait_for_room(engine);
    return NULL;
}
