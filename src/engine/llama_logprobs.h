/* SPDX-License-Identifier: MIT
 *
 * The log-probabilities of one position: the log softmax of its logits, before any parameter of sampling.
 */
#ifndef BURBLE_ENGINE_LLAMA_LOGPROBS_H
#define BURBLE_ENGINE_LLAMA_LOGPROBS_H

#include <burble/llama.h>
#include <llama.h>

struct burble__logprobs {
    uint32_t top; /* how many of the likeliest are wanted, at most BURBLE_LLAMA_MAX_LOGPROBS */
    uint32_t n;   /* how many there are */
    int32_t ids[BURBLE_LLAMA_MAX_LOGPROBS];
    float values[BURBLE_LLAMA_MAX_LOGPROBS];
    double norm; /* a log-probability is the logit less this */
};

/* Looks at `n` logits; `candidates` has room for as many entries. */
void burble__logprobs_take(struct burble__logprobs *logprobs, const float *logits,
                           llama_token_data *candidates, size_t n);

#endif
