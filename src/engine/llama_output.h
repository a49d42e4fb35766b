/* SPDX-License-Identifier: MIT
 *
 * The output of a request: the sampler chooses a token, detokenizer, stop filter and chunker make text of it, and that
 * is written to the stream, as text or as frames; what finds no room there is held. One thread at a time.
 */
#ifndef BURBLE_ENGINE_LLAMA_OUTPUT_H
#define BURBLE_ENGINE_LLAMA_OUTPUT_H

#include "engine/llama_request.h"

/* Brings all that makes text of tokens to where the answered ids left it, and writes nothing. BURBLE_OK,
 * BURBLE_ENOMEM, or BURBLE_EINVAL with an error, if they end an answer before the last one, or a grammar does not
 * allow them. */
int burble__request_replay(const burble_llama_model *model, struct burble__request *request,
                           burble_error *error);

/* Calls the watch function, if there is one, with the present progress. */
void burble__request_tell(struct burble__request *request);

/* If a token of an answer that is continued is next, takes that one and returns true: nothing is written. Arguments
 * as of burble__request_sample. */
bool burble__request_follow(struct burble__request *request, const float *logits,
                            llama_token_data *candidates, size_t n);

/* Chooses the next token, to be taken by burble__request_take. `logits` has one value for each of the `n`
 * tokens; `candidates` has room for as many entries. */
int32_t burble__request_sample(struct burble__request *request, const float *logits,
                               llama_token_data *candidates, size_t n);

/* Takes the chosen token, and writes its text, or holds it if it does not fit. If the text ends with this
 * token, also ends the stream, once all text is written, and all other choices have ended. Never waits. Returns whether the
 * request must be kept: it goes on, or holds text. */
bool burble__request_take(struct burble__request *request, const struct llama_vocab *tokens,
                          int32_t id);

/* Writes the held text, as far as it fits now. Returns whether the request must be kept. */
bool burble__request_catch_up(struct burble__request *request);

#endif
