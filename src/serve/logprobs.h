/* SPDX-License-Identifier: MIT
 *
 * The log-probabilities of tokens as JSON, in OpenAI's two forms.
 */
#ifndef BURBLE_SERVE_LOGPROBS_H
#define BURBLE_SERVE_LOGPROBS_H

#include <stdint.h>

#include <burble/frame.h>
#include <burble/serve.h>

#include "serve/json.h"

/* The form of the route; null if there are none. `offset`: the number of characters before the first token. */
void burble__logprobs_write(burble_serve_route route, burble_text logprobs, uint32_t offset,
                            struct burble__output *out);

#endif
