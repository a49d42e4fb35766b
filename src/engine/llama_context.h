/* SPDX-License-Identifier: MIT
 *
 * What an engine computes with: a context of llama.cpp, and the threads that compute in it.
 */
#ifndef BURBLE_ENGINE_LLAMA_CONTEXT_H
#define BURBLE_ENGINE_LLAMA_CONTEXT_H

#include <burble/llama.h>
#include <llama.h>

#include "engine/llama_model.h"

/* A context. All members are NULL before burble__context_create. */
struct burble__context {
    struct llama_context *llama;
    uint32_t threads, prompt_threads;
    struct ggml_threadpool *pool; /* NULL: llama.cpp's own */
    void (*free_pool)(struct ggml_threadpool *);
};

/* Fills in the options that depend on the model, which was trained with a context of `trained` tokens, and
 * checks the others. BURBLE_OK, or BURBLE_EINVAL and *error. */
int burble__context_options(burble_llama_engine_options *options, uint32_t trained,
                            burble_error *error);

/* The most tokens of one batch: the prompts' share, and one token for each slot. */
static inline uint32_t burble__context_batch(const burble_llama_engine_options *options)
{
    return options->batch + options->slots;
}

/* Creates a context for `options`, which are filled in. During a computation, it calls `give_up` with
 * `arg`, and gives the computation up if the result is true. BURBLE_OK; or BURBLE_EUNSUPPORTED, BURBLE_ENOMEM or
 * BURBLE_ESYSTEM (errno says why), and *error; then *context must be freed, too. */
int burble__context_create(struct burble__context *context, const burble_llama_model *model,
                           const burble_llama_engine_options *options, bool (*give_up)(void *arg),
                           void *arg, burble_error *error);

/* Its parts, for those that have no threads, or options of their own. */

/* Whether llama.cpp can compute the model with these options: BURBLE_OK, or BURBLE_EUNSUPPORTED. */
int burble__context_check(const struct llama_model *model,
                          const burble_llama_engine_options *options, burble_error *error);

/* llama.cpp's context alone. BURBLE_OK; or BURBLE_EUNSUPPORTED or BURBLE_ENOMEM, and *error; then *out may be
 * one that is too small, or NULL. In each case, the caller frees it. */
int burble__context_init(struct llama_model *model, const burble_llama_engine_options *options,
                         bool (*give_up)(void *arg), void *arg, struct llama_context **out,
                         burble_error *error);

/* Creates the threads that compute, at most `prompt_threads` or `threads` at once. BURBLE_OK, or
 * BURBLE_ESYSTEM. */
int burble__context_start(struct burble__context *context, uint32_t threads,
                          uint32_t prompt_threads, burble_error *error);

/* About how many bytes the cache would have if all layers of the model were alike. */
uint64_t burble__context_rough_size(const struct llama_model *model,
                                    const burble_llama_engine_options *options);

/* Before each llama_decode: how many threads compute, as the batch has tokens of prompts or not. (llama.cpp's
 * own choice is by the number of tokens: the answers of two requests would count as a prompt.) */
void burble__context_step(struct burble__context *context, bool prompts);

/* Frees what burble__context_create has made. */
void burble__context_free(struct burble__context *context);

#endif
