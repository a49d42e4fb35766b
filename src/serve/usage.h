/* SPDX-License-Identifier: MIT
 *
 * The counts and times of an answer as JSON.
 */
#ifndef BURBLE_SERVE_USAGE_H
#define BURBLE_SERVE_USAGE_H

#include <stdint.h>

#include "serve/json.h"

struct burble__usage {
    uint64_t prompt, reused, completion; /* tokens */
    uint64_t queue_ns, prompt_ns, answer_ns;
};

/* {"prompt_tokens":…}: OpenAI's usage. */
void burble__usage_write(const struct burble__usage *usage, struct burble__output *out);

/* {"prompt_n":…}: llama.cpp's timings, and queue_ms. */
void burble__timings_write(const struct burble__usage *usage, struct burble__output *out);

#endif
