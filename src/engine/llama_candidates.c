/* SPDX-License-Identifier: MIT */
#include "engine/llama_candidates.h"

#include <math.h>
#include <stdbool.h>

/* How many of the likeliest tokens Mirostat 1 estimates the distribution from, as in its paper. */
#define MIROSTAT_TOP 100

/* ---- an order, and a heap in it -------------------------------------------------------------------- */

typedef bool order(const llama_token_data *a, const llama_token_data *b);

static inline bool is_first(const llama_token_data *a, const llama_token_data *b)
{
    return a->p > b->p || (a->p == b->p && a->id < b->id);
}

static inline bool is_last(const llama_token_data *a, const llama_token_data *b)
{
    return is_first(b, a);
}

/* Lets the entry at `i` sink to its place in a heap whose root precedes all others. */
static inline void sink(llama_token_data *heap, size_t n, size_t i, order *precedes)
{
    const llama_token_data entry = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && precedes(&heap[child + 1], &heap[child]))
            child++;
        if (!precedes(&heap[child], &entry))
            break;
        heap[i] = heap[child];
    }
    heap[i] = entry;
}

static inline void make_heap(llama_token_data *heap, size_t n, order *precedes)
{
    for (size_t i = n / 2; i-- > 0;)
        sink(heap, n, i, precedes);
}

/* Moves the first of the heap behind the others. */
static inline void pop(llama_token_data *heap, size_t n)
{
    const llama_token_data first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sink(heap, n - 1, 0, is_first);
}

/* ---- probabilities --------------------------------------------------------------------------------- */

size_t burble__candidates_best(const struct burble__candidates *candidates)
{
    const llama_token_data *data = candidates->data;
    size_t best = 0;
    for (size_t i = 1; i < candidates->n; i++)
        if (data[i].logit > data[best].logit
            || (data[i].logit == data[best].logit && data[i].id < data[best].id))
            best = i;
    return best;
}

static float highest(const struct burble__candidates *candidates)
{
    return candidates->data[burble__candidates_best(candidates)].logit;
}

/* Makes each `p` the weight of its entry: the probability without the common divisor, which is returned. It
 * is no number, or 0, if no token can be chosen. */
static double weigh(struct burble__candidates *candidates, float temperature)
{
    const float most = highest(candidates);
    double total = 0.0;
    for (size_t i = 0; i < candidates->n; i++) {
        llama_token_data *entry = &candidates->data[i];
        entry->p = expf((entry->logit - most) / temperature);
        total += (double)entry->p;
    }
    return total;
}

/* Keeps what has at least this weight, in the present order. */
static void keep_from(struct burble__candidates *candidates, double least)
{
    size_t n = 0;
    for (size_t i = 0; i < candidates->n; i++)
        if ((double)candidates->data[i].p >= least)
            candidates->data[n++] = candidates->data[i];
    candidates->n = n;
}

/* Keeps the last `n` in the array, which were popped from a heap. */
static void keep_popped(struct burble__candidates *candidates, size_t n)
{
    candidates->data += candidates->n - n;
    candidates->n = n;
}

void burble__candidates_top_k(struct burble__candidates *candidates, size_t k)
{
    llama_token_data *data = candidates->data;
    if (k >= candidates->n)
        return;
    for (size_t i = 0; i < candidates->n; i++)
        data[i].p = data[i].logit;
    make_heap(data, k, is_last);
    for (size_t i = k; i < candidates->n; i++) {
        if (is_first(&data[i], &data[0])) {
            data[0] = data[i];
            sink(data, k, 0, is_last);
        }
    }
    candidates->n = k;
}

/* Tokens below 1 / 2n of the probability that may be left out cannot be needed: all of them together have
 * at most half of it. So only the few others are put into order. */
void burble__candidates_top_p(struct burble__candidates *candidates, float p)
{
    const double total = weigh(candidates, 1.0f);
    if (!(total > 0.0 && isfinite(total)))
        return;
    keep_from(candidates, (1.0 - (double)p) * total / (2.0 * (double)candidates->n));
    make_heap(candidates->data, candidates->n, is_first);
    double sum = 0.0;
    size_t n = 0;
    while (n < candidates->n && (n == 0 || sum < (double)p * total)) {
        sum += (double)candidates->data[0].p;
        pop(candidates->data, candidates->n - n++);
    }
    keep_popped(candidates, n);
}

void burble__candidates_typical(struct burble__candidates *candidates, float p)
{
    llama_token_data *data = candidates->data;
    const double total = weigh(candidates, 1.0f);
    if (!(total > 0.0 && isfinite(total)))
        return;
    const double norm = (double)highest(candidates) + log(total); /* log p is logit - norm */
    double expected = 0.0;
    for (size_t i = 0; i < candidates->n; i++)
        if (data[i].p > 0.0f)
            expected += (double)data[i].p / total * (norm - (double)data[i].logit);
    for (size_t i = 0; i < candidates->n; i++)
        data[i].p = -(float)fabs(norm - (double)data[i].logit - expected);
    make_heap(data, candidates->n, is_first);
    double sum = 0.0;
    size_t n = 0;
    while (n < candidates->n && (n == 0 || sum <= (double)p)) {
        sum += exp((double)data[0].logit - norm);
        pop(data, candidates->n - n++);
    }
    keep_popped(candidates, n);
}

void burble__candidates_min_p(struct burble__candidates *candidates, float p)
{
    const float least = highest(candidates) + logf(p);
    size_t n = 0;
    if (!isfinite(least))
        return;
    for (size_t i = 0; i < candidates->n; i++)
        if (candidates->data[i].logit >= least)
            candidates->data[n++] = candidates->data[i];
    candidates->n = n;
}

/* ---- Mirostat -------------------------------------------------------------------------------------- */

/* How many tokens have a surprise of at most `mu`, if the probabilities fall by a power law, whose exponent
 * the likeliest tokens show. The equations are those of the paper (https://arxiv.org/abs/2007.14966). */
static double estimate(struct burble__candidates *candidates, float temperature, float mu)
{
    llama_token_data *data = candidates->data;
    const size_t n = candidates->n;
    const size_t top = n < MIROSTAT_TOP ? n : MIROSTAT_TOP;
    double products = 0.0;
    double squares = 0.0;
    for (size_t i = 0; i < n; i++)
        data[i].p = data[i].logit;
    make_heap(data, n, is_first);
    /* cppcheck-suppress knownConditionTrueFalse ; it takes n for 0 after the loop above */
    for (size_t i = 0; i < top; i++) {
        pop(data, n - i);
        if (i == 0)
            continue;
        const double t = log((double)(i + 1) / (double)i);
        const double step = (double)(data[n - i].logit - data[n - 1 - i].logit);
        if (!isfinite(step))
            break;
        products += t * step / (double)temperature;
        squares += t * t;
    }
    const double s = products / squares;
    const double epsilon = s - 1.0;
    return pow(epsilon * exp2((double)mu) / (1.0 - pow((double)n, -epsilon)), 1.0 / s);
}

void burble__candidates_mirostat(struct burble__candidates *candidates, int version,
                                 float temperature, float mu)
{
    if (version == 1) {
        const double k = estimate(candidates, temperature, mu);
        burble__candidates_top_k(candidates, k >= (double)candidates->n ? candidates->n
                                             : k >= 1.0                 ? (size_t)k
                                                                        : 1);
        return;
    }
    const double total = weigh(candidates, temperature);
    const llama_token_data best = candidates->data[burble__candidates_best(candidates)];
    keep_from(candidates, total * exp2(-(double)mu));
    if (candidates->n == 0)
        candidates->data[candidates->n++] = best;
}

/* ---- the draw -------------------------------------------------------------------------------------- */

/* A token's random number, above 0 and below 1. */
static double random_of(uint64_t key, llama_token id)
{
    const uint64_t number = burble__mix(key + ((uint64_t)id + 1) * BURBLE__MIX_STEP);
    return ((double)(number >> 12) + 0.5) * 0x1p-52;
}

size_t burble__candidates_draw(struct burble__candidates *candidates, float temperature,
                               uint64_t key)
{
    llama_token_data *data = candidates->data;
    const double total = weigh(candidates, temperature);
    size_t chosen = burble__candidates_best(candidates); /* also if the logits are no numbers */
    double first = -log(random_of(key, data[chosen].id)) / (double)data[chosen].p;
    for (size_t i = 0; i < candidates->n; i++) {
        const double random = random_of(key, data[i].id);
        /* -log(r) is at least 1 - r, so most tokens are known to be late without their logarithm. */
        if (!(1.0 - random < first * (double)data[i].p))
            continue;
        const double time = -log(random) / (double)data[i].p;
        if (time < first) {
            first = time;
            chosen = i;
        }
    }
    data[chosen].p = (float)((double)data[chosen].p / total);
    return chosen;
}

float burble__candidates_probability(struct burble__candidates *candidates, float temperature,
                                     llama_token id)
{
    const double total = weigh(candidates, temperature);
    for (size_t i = 0; i < candidates->n; i++)
        if (candidates->data[i].id == id)
            return (float)((double)candidates->data[i].p / total);
    return 0.0f;
}
