/* SPDX-License-Identifier: MIT */
/** @file
 *
 * An engine of llama.h as a backend of a server (serve.h). It is in libburble-llama, which does not need
 * libburble-serve for it.
 *
 *     burble_llama_serve_model(engine, model, "small", &backend, &error);
 *     burble_server_add_model(server, &backend, &error);
 *     ...
 *     burble_server_destroy(&server);
 *     burble_llama_engine_destroy(&engine);
 */
#ifndef BURBLE_LLAMA_SERVE_H
#define BURBLE_LLAMA_SERVE_H

#include <burble/llama.h>
#include <burble/serve.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Fills in a model for burble_server_add_model, whose answers `engine` computes; `model` is the engine's. The engine
 * must live until the server has called `release`; a model that was not added to a server is freed by calling
 * out->release(out->arg). `name` must stay valid as long as *out is used; the server copies it. Any thread may call
 * it.
 *
 * Parameters that a request has not: a temperature of 1, as in OpenAI's API; another seed each time; as many tokens
 * as the context has room for; otherwise the defaults of burble_llama_request. A seed of -1 is another one each time,
 * -1 in repeat_last_n and dry_penalty_last_n is the whole context. Messages become ids by
 * burble_llama_model_tokenize_chat; in the prompt of a completion, which an application may make by a template of its
 * own, the texts of special tokens are these tokens.
 *
 * The model's `digest` is that of its file (its size, its metadata and samples of its weights are read) and of the
 * options that text depends on. It goes on with an answer of one choice that another engine has begun; one of several
 * choices, it refuses with BURBLE_EUNSUPPORTED.
 *
 * @retval BURBLE_OK      *out is the model
 * @retval BURBLE_EINVAL  `name` is NULL, empty, or longer than BURBLE_FRAME_MAX_NAME; or the engine is of the parent
 *                        process
 * @retval BURBLE_ENOMEM  out of memory
 *
 * Unless the result is BURBLE_OK, *out is all 0, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_serve_model(burble_llama_engine *engine, burble_llama_model *model,
                                        const char *name, burble_serve_model *out,
                                        burble_error *error);

#ifdef __cplusplus
}
#endif

#endif
