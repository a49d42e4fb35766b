/* SPDX-License-Identifier: MIT
 *
 * What the text of an engine depends on beside the request, in a few characters: the digest of burble_serve_model.
 */
#ifndef BURBLE_ENGINE_LLAMA_DIGEST_H
#define BURBLE_ENGINE_LLAMA_DIGEST_H

#include <stdbool.h>

#include <burble/llama.h>

#define BURBLE__DIGEST_LEN 32

/* Reads the model's file: its size, its beginning, where the metadata is, and samples of its weights. Two files that differ in none
 * of these count as one. False: it cannot be read. `out` has room for the digest and NUL. */
bool burble__llama_digest(const burble_llama_model *model,
                          const burble_llama_engine_options *options, char *out);

#endif
