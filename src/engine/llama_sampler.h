/* SPDX-License-Identifier: MIT
 *
 * What chooses the tokens of one request. One thread at a time.
 */
#ifndef BURBLE_ENGINE_LLAMA_SAMPLER_H
#define BURBLE_ENGINE_LLAMA_SAMPLER_H

#include "engine/llama_model.h"

struct burble__sampler;

/* Fills in the defaults of the request's parameters of sampling. */
void burble__sampler_defaults(burble_llama_request *request);

/* Creates what the request's parameters of sampling ask for; `context` is the most tokens of its sequence.
 *
 * BURBLE_OK      *out is the sampler, which the caller owns
 * BURBLE_EINVAL  *error says which parameter is out of its range
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL. */
int burble__sampler_create(const burble_llama_model *model, const burble_llama_request *wanted,
                           uint32_t context, struct burble__sampler **out, burble_error *error);

/* Frees it and sets *handle to NULL. NULL and a pointer to NULL are allowed. */
void burble__sampler_destroy(struct burble__sampler **handle);

/* Takes the ids of the prompt, once, before the first choice. */
void burble__sampler_take_prompt(struct burble__sampler *sampler, const int32_t *ids, size_t n);

/* Takes the ids of an answer that is continued, after the prompt, for the grammar, while the request is made.
 * BURBLE_OK, BURBLE_ENOMEM, or BURBLE_EINVAL with an error if the grammar does not allow them. */
int burble__sampler_take_answer(struct burble__sampler *sampler, const int32_t *ids, size_t n,
                                burble_error *error);

/* Chooses the next token, which is at this position of the sequence of prompt and text. `logits` has one value
 * for each of the `n` tokens; `candidates` has room for as many entries. Returns -1 if no token may be chosen. */
int32_t burble__sampler_choose(struct burble__sampler *sampler, uint32_t position,
                               const float *logits, llama_token_data *candidates, size_t n);

/* After -1 was returned: NULL if the text is complete by its grammar, or why no token may be chosen. */
const char *burble__sampler_why(const struct burble__sampler *sampler);

/* Whether its state depends on the probabilities of an answer that is continued: then take_prompt gets the ids before
 * the answer, and burble__sampler_follow each of the answer's. */
bool burble__sampler_follows(const struct burble__sampler *sampler);

/* As burble__sampler_choose, for a token that was chosen before. */
void burble__sampler_follow(struct burble__sampler *sampler, uint32_t position, int32_t id,
                            const float *logits, llama_token_data *data, size_t n);

/* Mirostat's state; 0 without it. */
float burble__sampler_mu(const struct burble__sampler *sampler);

#endif
