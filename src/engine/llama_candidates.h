/* SPDX-License-Identifier: MIT
 *
 * The tokens that may come next: what sampling leaves of them, and the draw of one.
 *
 * No function allocates memory. In each, `p` of an entry is scratch, and the order of the entries is free. If
 * logits are equal, the lower id counts as likelier.
 */
#ifndef BURBLE_ENGINE_LLAMA_CANDIDATES_H
#define BURBLE_ENGINE_LLAMA_CANDIDATES_H

#include <llama.h>
#include <stddef.h>
#include <stdint.h>

struct burble__candidates {
    llama_token_data *data; /* the caller's memory, or the end of it */
    size_t n;               /* at least 1 */
};

/* The index of the likeliest. */
size_t burble__candidates_best(const struct burble__candidates *candidates);

/* Each keeps at least one. The `k` likeliest. */
void burble__candidates_top_k(struct burble__candidates *candidates, size_t k);

/* The likeliest whose probabilities sum up to `p`. */
void burble__candidates_top_p(struct burble__candidates *candidates, float p);

/* Those whose surprise is the nearest to the expected one, up to a sum of `p` of their probabilities. */
void burble__candidates_typical(struct burble__candidates *candidates, float p);

/* Those at least `p` times as likely as the likeliest. */
void burble__candidates_min_p(struct burble__candidates *candidates, float p);

/* Mirostat, version 1 or 2: those that the most surprise `mu` (bits) leaves at a temperature. */
void burble__candidates_mirostat(struct burble__candidates *candidates, int version,
                                 float temperature, float mu);

/* Draws one at a temperature (above 0): returns its index, and its probability in its `p`. The draw is a
 * function of the logits and of `key`, which may be any number.
 *
 * Each token has a random number of its own, from `key` and its id, and they race: token i arrives after a time
 * that is exponentially distributed with its probability as the rate, and the first one is chosen. So its
 * probability is as it should be, and if the logits change a little, the choice changes with about the
 * probability that the change moves. (With one random number for all, which falls into the part of one token in a
 * row of them, any change of a token shifts all tokens behind it.) */
size_t burble__candidates_draw(struct burble__candidates *candidates, float temperature,
                               uint64_t key);

/* SplitMix64: all bits of the result depend on all bits of `x`. */
static inline uint64_t burble__mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* The step of SplitMix64's state: burble__mix(key + i * step) for i = 1, 2, … are its numbers. */
#define BURBLE__MIX_STEP 0x9e3779b97f4a7c15u

/* The probability of one of them; 0 if it is not there. */
float burble__candidates_probability(struct burble__candidates *candidates, float temperature,
                                     llama_token id);

#endif
