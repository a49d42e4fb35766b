/* SPDX-License-Identifier: MIT
 *
 * Between steps: which request has which slot.
 *
 * A slot is a sequence of llama.cpp, and keeps what was computed in it (llama_cells.h) until the room is
 * needed. A request gets a free slot, and what any slot has computed of its prompt already. If another
 * request is still computing the same beginning, as for several answers to one prompt, it waits for it.
 *
 * A request whose reader does not read keeps its slot, unless others wait for one: then it is paused. When
 * its text fits again, it goes back into the queue, and what it had so far is its prompt.
 */
#define _POSIX_C_SOURCE 200809L

#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "engine/llama_engine.h"
#include "engine/llama_output.h"

/* How often, in nanoseconds, the thread checks for room while all requests wait for it. */
#define PATIENCE 2000000u

/* For how long, in nanoseconds, a request may be full before it loses its slot to another one; and before it
 * no longer counts as one of those whose sequences are to be neighbours. */
#define PAUSED_AFTER 100000000u
#define IDLE_AFTER 20000000u

/* How many requests of the queue are looked at in each step, to find those that were cancelled. */
#define LOOKED_AT 256

/* How many ids a sequence must have in common with a prompt to be copied for it: less is as soon computed. */
#define WORTH_COPYING 32

/* Slots whose last uses are no more steps apart count as equally old. */
#define AS_OLD 64

/* The most time of moves that is saved up, in nanoseconds. */
#define MOST_CREDIT 20000000

/* ---- the ends of requests -------------------------------------------------------------------------- */

void burble__slots_bury(struct burble__request *over)
{
    while (over != NULL) {
        struct burble__request *next = over->next;
        if (over->deadline != 0 && burble__request_is_late(over, burble__now()))
            burble_stream_fail(over->stream, BURBLE_ETIMEDOUT, NULL);
        burble__llama_request_destroy(&over);
        over = next;
    }
}

/* Takes the request out of a slot, which is free then; puts it into the list of the paused ones, if it goes on
 * later. */
static struct burble__request *vacate(burble_llama_engine *engine, uint32_t slot, bool goes_on)
{
    struct burble__request *request = engine->slots[slot];
    pthread_mutex_lock(&engine->lock);
    engine->slots[slot] = NULL;
    engine->stats.active--;
    if (goes_on) {
        /* Those who wait already come before it, or a few slow readers could keep them waiting for ever. */
        request->turn = ++engine->turns;
        request->next = engine->paused;
        engine->paused = request;
        engine->stats.paused++;
    }
    pthread_mutex_unlock(&engine->lock);
    if (!request->reuse)
        burble__cells_cut(&engine->cells, slot, 0);
    return request;
}

void burble__slots_release(burble_llama_engine *engine, uint32_t slot)
{
    struct burble__request *request = vacate(engine, slot, false);
    burble__llama_request_destroy(&request);
}

/* Frees the slots of requests that are over or late. */
static void sweep(burble_llama_engine *engine)
{
    const uint64_t now = burble__now();
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        struct burble__request *request = engine->slots[slot];
        if (request == NULL)
            continue;
        if (burble__request_is_late(request, now))
            burble_stream_fail(request->stream, BURBLE_ETIMEDOUT, NULL);
        if (burble__request_is_over(request))
            burble__slots_release(engine, slot);
    }
}

/* ---- what was computed before ---------------------------------------------------------------------- */

/* The slot that has computed the longest beginning of a prompt, and how many ids that is. One id at least must
 * be computed, since the next token is chosen from what comes out of it. */
static uint32_t find_donor(const burble_llama_engine *engine, const struct burble__request *request,
                           uint32_t *common)
{
    uint32_t donor = 0;
    *common = 0;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        const struct burble__request *other = engine->slots[slot];
        if (other != NULL ? !burble__request_shares(request, other) : !request->reuse)
            continue;
        const uint32_t n =
            burble__cells_common(&engine->cells, slot, request->ids, request->n_ids - 1);
        if (n > *common) {
            donor = slot;
            *common = n;
        }
    }
    return donor;
}

/* How many ids of the prompt a free slot has computed; 0 if that is less than half of it, such as the token that all prompts
 * begin with. */
static uint32_t own_part(const burble_llama_engine *engine, uint32_t slot,
                         const struct burble__request *request)
{
    if (!request->reuse)
        return 0;
    const uint32_t n = burble__cells_common(&engine->cells, slot, request->ids, request->n_ids - 1);
    return n >= request->n_ids / 2 ? n : 0;
}

/* The free slot that was used least recently, an empty one first. `spared` is taken only if no other one is free. */
static uint32_t find_oldest(const burble_llama_engine *engine, uint32_t spared)
{
    uint32_t best = engine->options.slots;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        const struct burble__sequence *found = &engine->cells.sequences[slot];
        if (engine->slots[slot] != NULL)
            continue;
        if (best == engine->options.slots || best == spared) {
            best = slot;
        } else if (slot != spared) {
            const struct burble__sequence *least = &engine->cells.sequences[best];
            if (least->n > 0 && (found->n == 0 || found->used < least->used))
                best = slot;
        }
    }
    return best;
}

/* The free slot whose loss costs least: an empty one, else of the oldest ones the one that has computed the longest beginning of
 * the prompt. If `donor` has computed so much of it that it is copied, the donor is taken only if no other one is free. */
static uint32_t find_cheapest(const burble_llama_engine *engine,
                              const struct burble__request *request, uint32_t donor,
                              uint32_t common)
{
    const bool copied = common >= WORTH_COPYING;
    uint32_t best = find_oldest(engine, copied ? donor : engine->options.slots);
    const struct burble__sequence *oldest = &engine->cells.sequences[best];
    if (oldest->n == 0 || copied || common == 0)
        return best;
    uint32_t longest = own_part(engine, best, request);
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        const struct burble__sequence *found = &engine->cells.sequences[slot];
        if (engine->slots[slot] != NULL || found->used > oldest->used + AS_OLD)
            continue;
        const uint32_t n = own_part(engine, slot, request);
        if (n > longest) {
            best = slot;
            longest = n;
        }
    }
    return best;
}

/* Finds the request that will have computed the longest beginning of this one's prompt, if that is more than
 * the `n` ids that there are already. */
static void find_leader(const burble_llama_engine *engine, struct burble__request *request,
                        uint32_t n)
{
    request->leader = 0;
    request->shared = n + WORTH_COPYING - 1;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        const struct burble__request *other = engine->slots[slot];
        if (other == NULL || !burble__request_shares(request, other) || other->fed >= other->n_ids
            || other->priority < request->priority) /* it may be computed much later */
            continue;
        const uint32_t most = request->n_ids - 1 < other->n_ids ? request->n_ids - 1 : other->n_ids;
        uint32_t same = 0;
        while (same < most && request->ids[same] == other->ids[same])
            same++;
        if (same > request->shared) {
            request->leader = other->number;
            request->shared = same;
        }
    }
}

static void set_reused(burble_llama_engine *engine, struct burble__request *request, uint32_t n)
{
    pthread_mutex_lock(&engine->lock);
    engine->stats.reused_tokens += n > request->fed ? n - request->fed : 0;
    request->fed = n;
    if (request->progress.tokens == 0) {
        request->progress.reused = n;
        request->progress.prompt_done = n;
    }
    pthread_mutex_unlock(&engine->lock);
}

/* Gives a request a free slot. */
static void place(burble_llama_engine *engine, struct burble__request *request)
{
    uint32_t common;
    const uint32_t donor = find_donor(engine, request, &common);
    const bool fits = common > 0 && engine->slots[donor] == NULL
                      && common >= engine->cells.sequences[donor].n / 2;
    const uint32_t slot = fits ? donor : find_cheapest(engine, request, donor, common);
    request->fed = 0;
    if (request->choice != NULL && request->choice->shared->placed == 0)
        request->choice->shared->placed = burble__now();
    find_leader(engine, request, common);
    if (slot == donor)
        common = burble__cells_cut(&engine->cells, slot, common);
    else if (common >= WORTH_COPYING && request->leader == 0)
        common = burble__cells_copy(&engine->cells, donor, slot, common) ? common : 0;
    else
        common = burble__cells_cut(&engine->cells, slot, own_part(engine, slot, request));
    set_reused(engine, request, common);
    pthread_mutex_lock(&engine->lock);
    engine->slots[slot] = request;
    engine->arriving = NULL;
    pthread_mutex_unlock(&engine->lock);
}

bool burble__slots_wait_for_leader(burble_llama_engine *engine, uint32_t slot)
{
    struct burble__request *request = engine->slots[slot];
    if (request->leader == 0)
        return false;
    for (uint32_t i = 0; i < engine->options.slots; i++) {
        const struct burble__request *other = engine->slots[i];
        if (other != NULL && other->number == request->leader
            && engine->cells.sequences[i].n < request->shared && other->fed < other->n_ids) {
            return true;
        }
    }
    request->leader = 0;
    uint32_t common;
    const uint32_t donor = find_donor(engine, request, &common);
    if (donor != slot && common >= request->fed + WORTH_COPYING) {
        set_reused(engine, request,
                   burble__cells_copy(&engine->cells, donor, slot, common) ? common : 0);
    }
    return false;
}

/* ---- slots for requests ---------------------------------------------------------------------------- */

static bool has_free_slot(const burble_llama_engine *engine)
{
    return engine->stats.active < engine->options.slots;
}

/* Takes the next request from the queue, if a slot is free for it. NULL: there is none. */
static struct burble__request *next_request(burble_llama_engine *engine)
{
    struct burble__request *over = NULL;
    struct burble__request *request = NULL;
    pthread_mutex_lock(&engine->lock);
    if (has_free_slot(engine) && !burble__load_relaxed(&engine->closing)) {
        request = burble__queue_take(&engine->queue, burble__now(), &over);
        engine->stats.active += request != NULL;
        engine->arriving = request;
    }
    pthread_mutex_unlock(&engine->lock);
    burble__slots_bury(over);
    return request;
}

bool burble__slots_admit(burble_llama_engine *engine)
{
    struct burble__request *over = NULL;
    struct burble__request *request;
    sweep(engine);
    pthread_mutex_lock(&engine->lock);
    while (engine->stats.active == 0 && engine->queue.n == 0 && engine->paused == NULL
           && !burble__load_relaxed(&engine->closing)) {
        pthread_cond_wait(&engine->work, &engine->lock);
    }
    const bool closing = burble__load_relaxed(&engine->closing);
    burble__queue_sweep(&engine->queue, LOOKED_AT, burble__now(), &over);
    pthread_mutex_unlock(&engine->lock);
    burble__slots_bury(over);
    while ((request = next_request(engine)) != NULL)
        place(engine, request);
    return !closing;
}

/* ---- requests whose readers do not read ------------------------------------------------------------ */

/* What a request has so far becomes its prompt, so that another slot can go on from there. Returns false if
 * there is no memory for it. */
static bool remember(burble_llama_engine *engine, uint32_t slot)
{
    struct burble__request *request = engine->slots[slot];
    const struct burble__sequence *sequence = &engine->cells.sequences[slot];
    const uint32_t n = sequence->n;
    int32_t *ids = burble__malloc((n + 1) * sizeof *ids);
    if (ids == NULL)
        return false;
    memcpy(ids, sequence->ids, n * sizeof *ids);
    ids[n] = request->last;
    burble__free(request->ids);
    request->ids = ids;
    request->n_ids = n + 1;
    return true;
}

/* Takes the slot from the request that has been full for longest, if another one waits for a slot. */
static void pause(burble_llama_engine *engine)
{
    uint64_t before = burble__now() - PAUSED_AFTER;
    uint32_t longest = engine->options.slots;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        const struct burble__request *request = engine->slots[slot];
        if (request != NULL && request->full_since != 0 && request->full_since < before) {
            longest = slot;
            before = request->full_since;
        }
    }
    if (longest < engine->options.slots
        && (engine->slots[longest]->done || remember(engine, longest)))
        vacate(engine, longest, true);
}

/* Takes a request out of the list of the paused ones; back into the queue, if it goes on. */
static void resume(burble_llama_engine *engine, struct burble__request **at, bool goes_on)
{
    struct burble__request *request = *at;
    pthread_mutex_lock(&engine->lock);
    *at = request->next;
    request->next = NULL;
    engine->stats.paused--;
    if (goes_on)
        burble__queue_push(&engine->queue, request);
    pthread_mutex_unlock(&engine->lock);
    if (!goes_on)
        burble__slots_bury(request);
}

static void catch_up_paused(burble_llama_engine *engine)
{
    const uint64_t now = burble__now();
    struct burble__request **at = &engine->paused;
    while (*at != NULL) {
        struct burble__request *request = *at;
        const bool wanted =
            !burble__request_is_late(request, now) && burble__request_catch_up(request);
        if (!wanted || !burble__request_is_full(request))
            resume(engine, at, wanted);
        else
            at = &request->next;
    }
}

bool burble__slots_catch_up(burble_llama_engine *engine)
{
    bool any = false;
    for (uint32_t slot = 0; slot < engine->options.slots; slot++) {
        struct burble__request *request = engine->slots[slot];
        if (request == NULL)
            continue;
        if (burble__request_catch_up(request))
            any = any || !burble__request_is_full(request);
        else
            burble__slots_release(engine, slot);
    }
    catch_up_paused(engine);
    pthread_mutex_lock(&engine->lock);
    const bool waited_for = engine->queue.n > 0 && !has_free_slot(engine);
    pthread_mutex_unlock(&engine->lock);
    if (waited_for)
        pause(engine);
    return any;
}

/* A reader that makes room can wake a writer that waits on its stream, but here one thread would have to wait
 * on several streams. So the thread checks for room every PATIENCE, which is about one step of a small
 * model: such a slow reader does not notice the delay, and 500 checks a second cost almost nothing. A new
 * request and closing signal `work`, so they do not have to wait; a cancelled request is removed at the
 * next check. */
void burble__slots_wait_for_room(burble_llama_engine *engine)
{
    const uint64_t deadline = burble__now() + PATIENCE;
    const struct timespec until = {
        .tv_sec = (time_t)(deadline / 1000000000u),
        .tv_nsec = (long)(deadline % 1000000000u),
    };
    pthread_mutex_lock(&engine->lock);
    if ((engine->stats.active > 0 || engine->paused != NULL)
        && !(has_free_slot(engine) && engine->queue.n > 0)
        && !burble__load_relaxed(&engine->closing)) {
        pthread_cond_timedwait(&engine->work, &engine->lock, &until);
    }
    pthread_mutex_unlock(&engine->lock);
}

/* ---- neighbours ------------------------------------------------------------------------------------ */

/* Whether the slot's request is computed in most steps. */
static bool is_computed(const burble_llama_engine *engine, uint32_t slot, uint64_t now)
{
    const struct burble__request *request = engine->slots[slot];
    return request != NULL && (request->full_since == 0 || now - request->full_since < IDLE_AFTER);
}

/* The slot at which there is a gap between those that are computed, and the end of their row that is moved there:
 * the one with less to copy. Returns false if there is no gap. */
static bool find_gap(const burble_llama_engine *engine, uint32_t *gap, uint32_t *end)
{
    const uint64_t now = burble__now();
    uint32_t low = 0;
    uint32_t high = engine->options.slots;
    while (low < high && !is_computed(engine, low, now))
        low++;
    while (high > low && !is_computed(engine, high - 1, now))
        high--;
    uint32_t at = low;
    while (at < high && is_computed(engine, at, now))
        at++;
    if (at == high)
        return false;
    const struct burble__sequence *sequences = engine->cells.sequences;
    *gap = at;
    *end = sequences[low].n < sequences[high - 1].n ? low : high - 1;
    return true;
}

/* llama.cpp computes sequences with successive numbers together, but others one after the other. A move copies
 * the cells of both sequences, so moves take at most an eighth of the time. In a unified memory, all
 * sequences are computed together. */
void burble__slots_close_gap(burble_llama_engine *engine)
{
    uint32_t gap;
    uint32_t end;
    if (engine->cells.unified || engine->credit < 0 || !find_gap(engine, &gap, &end))
        return;
    const uint64_t begin = burble__now();
    const bool swapped = burble__cells_swap(&engine->cells, gap, end);
    if (engine->credit > MOST_CREDIT)
        engine->credit = MOST_CREDIT;
    engine->credit -= (int64_t)(burble__now() - begin);
    if (!swapped)
        return;
    pthread_mutex_lock(&engine->lock);
    struct burble__request *request = engine->slots[gap];
    engine->slots[gap] = engine->slots[end];
    engine->slots[end] = request;
    pthread_mutex_unlock(&engine->lock);
    const uint32_t both[] = {gap, end};
    for (size_t i = 0; i < 2; i++) {
        request = engine->slots[both[i]];
        if (request != NULL && engine->cells.sequences[both[i]].n != request->fed) {
            burble_stream_fail(request->stream, BURBLE_ENOMEM, "no memory to move a sequence");
            burble__slots_release(engine, both[i]);
        }
    }
}
