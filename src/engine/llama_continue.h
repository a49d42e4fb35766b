/* SPDX-License-Identifier: MIT
 *
 * Going on with the answer of another worker (burble_serve_request.written): what its frames say of the tokens so far.
 */
#ifndef BURBLE_ENGINE_LLAMA_CONTINUE_H
#define BURBLE_ENGINE_LLAMA_CONTINUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/llama.h>
#include <burble/serve.h>

struct burble__written {
    int32_t *ids; /* room for the prompt's ids, and behind them those of the answer so far */
    size_t room;  /* for the prompt's */
    size_t n;     /* of the answer */
    bool finished;
    uint32_t reason; /* if it has finished */
    bool counted;    /* its last frame is there, too */
};

/* Reads the frames that are there already. `room`: ids of the prompt, at most. out->ids is the caller's, to be freed
 * in any case.
 *
 * BURBLE_OK
 * BURBLE_EUNSUPPORTED  an answer of several choices, which write in any order
 * BURBLE_EFORMAT       the frames are malformed
 * BURBLE_ENOMEM */
int burble__written_read(const burble_serve_request *request, size_t room,
                         struct burble__written *out, burble_error *error);

/* Puts the answer's ids behind the `wanted->n_ids` ids of the prompt, which are in `written->ids`, so that the engine goes on after
 * them. Returns false if nothing is left to be generated. */
bool burble__written_continue(const struct burble__written *written, uint32_t context,
                              burble_llama_request *wanted);

/* Writes the frames that an answer lacks which generates nothing any more, and ends the stream. BURBLE_OK, or as
 * burble_stream_append. */
int burble__written_end(const struct burble__written *written, size_t prompt,
                        burble_stream *stream);

#endif
