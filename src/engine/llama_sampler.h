/* SPDX-License-Identifier: MIT
 *
 * What chooses the tokens of one request. One thread at a time.
 */
#ifndef BURBLE_ENGINE_LLAMA_SAMPLER_H
#define BURBLE_ENGINE_LLAMA_SAMPLER_H

#include "engine/llama_model.h"

struct burble__sampler;

/* Creates what the request's parameters of sampling ask for.
 *
 * BURBLE_OK      *out is the sampler, which the caller owns
 * BURBLE_EINVAL  *error says which parameter is out of its range
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL. */
int burble__sampler_create(const burble_llama_request *wanted, struct burble__sampler **out,
                           burble_error *error);

/* Frees it and sets *sampler to NULL. NULL and a pointer to NULL are allowed. */
void burble__sampler_destroy(struct burble__sampler **sampler);

/* Chooses the next token. `logits` has one value for each of the `n` tokens; `candidates` has room for as
 * many entries. */
int32_t burble__sampler_choose(struct burble__sampler *sampler, const float *logits,
                               llama_token_data *candidates, size_t n);

#endif
