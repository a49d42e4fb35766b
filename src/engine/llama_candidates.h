/* SPDX-License-Identifier: MIT
 *
 * The tokens that may come next: what sampling leaves of them, and the draw of one.
 *
 * No function allocates memory. In each, `p` of an entry is scratch, and the order of the entries is free:
 * a draw puts them into the order of their ids, so that a small difference of the logits rarely changes
 * what a random number chooses. If logits are equal, the lower id counts as likelier.
 */
#ifndef BURBLE_ENGINE_LLAMA_CANDIDATES_H
#define BURBLE_ENGINE_LLAMA_CANDIDATES_H

#include <llama.h>
#include <stdbool.h>
#include <stddef.h>

struct burble__candidates {
    llama_token_data *data; /* the caller's memory, or the end of it */
    size_t n;               /* at least 1 */
    bool by_id;             /* whether they are in the order of their ids */
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

/* Draws one at a temperature (above 0) with a random number from 0 to below 1: returns its index, and its
 * probability in its `p`. */
size_t burble__candidates_draw(struct burble__candidates *candidates, float temperature,
                               double random);

#endif
