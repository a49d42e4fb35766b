/* SPDX-License-Identifier: MIT
 *
 * The text of prompts at the beginning of an answer's choices: the parameter `echo`, which the server does for any
 * backend. In a worker's thread.
 */
#ifndef BURBLE_SERVE_ECHO_H
#define BURBLE_SERVE_ECHO_H

#include "base/buffer.h"
#include "serve/answer.h"
#include "serve/request.h"

/* The most bytes of one token's text. */
#define BURBLE__MAX_PIECE 65536u

/* Appends the text of ids by the model's `piece`, which it must have; `name` is the member of the request that has them. BURBLE_OK,
 * or a result of the backend with *error filled in, or BURBLE_ENOMEM. */
int burble__put_pieces(const burble_serve_model *backend, const char *name, const int32_t *ids,
                       size_t n, struct burble__buffer *text, burble_error *error);

/* Writes a frame with its prompt for each choice of a new answer. Results as above; BURBLE_EUNSUPPORTED if the model cannot. */
int burble__echo(const struct burble__request *request, struct burble__answer *answer,
                 burble_error *error);

#endif
