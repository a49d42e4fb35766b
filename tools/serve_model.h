/* SPDX-License-Identifier: MIT
 *
 * A model of `burble serve` or `burble work`: the file, the engine that computes it, and what is known of it outside.
 */
#ifndef BURBLE_TOOLS_SERVE_MODEL_H
#define BURBLE_TOOLS_SERVE_MODEL_H

#include <burble/llama.h>
#include <burble/serve.h>

#include "serve_log.h"
#include "serve_options.h"

struct serve_model {
    const char *name;
    burble_llama_model *model;
    burble_llama_engine *engine;
    burble_serve_model backend; /* what the engine offers the server */
    struct serve_log *prompts;  /* where prompts are logged; NULL: nowhere */
};

/* Whether a file may be a model: it can be read, and begins as GGUF does. EXIT_DONE or, after a message,
 * EXIT_ERROR. Loading finds out the rest, which takes longer. */
int serve_model_check(const char *path);

/* Loads a model and starts its engine. `progress` is that of burble_llama_model_load. BURBLE_OK, or a result with a
 * message. To be destroyed in any case. */
int serve_model_load(struct serve_model *model, const struct serve_options *options,
                     const struct serve_model_option *option,
                     burble_llama_model_progress_fn *progress, void *arg, burble_error *error);

/* Gives a model to a server or a relay, as burble_server_add_model does. */
typedef int serve_model_add_fn(void *arg, const burble_serve_model *model, burble_error *error);

/* Gives it to the server or relay by `add`, which calls it until it is destroyed. */
int serve_model_add(struct serve_model *model, serve_model_add_fn *add, void *arg,
                    burble_error *error);

/* Ends the engine; the server or relay has been destroyed. */
void serve_model_destroy(struct serve_model *model);

#endif
