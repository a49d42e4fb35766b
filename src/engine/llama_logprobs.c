/* SPDX-License-Identifier: MIT */
#include "engine/llama_logprobs.h"

#include <math.h>
#include <stdlib.h>

#include "engine/llama_candidates.h"

static int likelier_first(const void *a, const void *b)
{
    const llama_token_data *x = a;
    const llama_token_data *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

void burble__logprobs_take(struct burble__logprobs *logprobs, const float *logits,
                           llama_token_data *candidates, size_t n)
{
    float most = logits[0];
    for (size_t i = 1; i < n; i++)
        most = logits[i] > most ? logits[i] : most;
    double sum = (double)expf(logits[0] - most);
    for (size_t i = 1; i < n; i++)
        sum += (double)expf(logits[i] - most);
    logprobs->norm = (double)most + log(sum);
    logprobs->n = logprobs->top < n ? logprobs->top : (uint32_t)n;
    if (logprobs->n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        candidates[i] = (llama_token_data){(llama_token)i, logits[i], 0.0f};
    struct burble__candidates top = {candidates, n};
    burble__candidates_top_k(&top, logprobs->n);
    qsort(top.data, top.n, sizeof *top.data, likelier_first);
    for (uint32_t i = 0; i < logprobs->n; i++) {
        logprobs->ids[i] = top.data[i].id;
        logprobs->values[i] = (float)((double)top.data[i].logit - logprobs->norm);
    }
}
