/* SPDX-License-Identifier: MIT
 *
 * One request: what the model is given, and what makes text of the tokens that it answers (llama_output.h). One
 * thread at a time.
 */
#ifndef BURBLE_ENGINE_LLAMA_REQUEST_H
#define BURBLE_ENGINE_LLAMA_REQUEST_H

#include <burble/stop.h>

#include "base/buffer.h"
#include "engine/llama_frames.h"
#include "engine/llama_logprobs.h"
#include "engine/llama_model.h"
#include "engine/llama_sampler.h"

/* The most chunks that one token can make. For the last token these are its text (or its stop string), and
 * the rest of the text from the stop filter, the detokenizer and the chunker. */
#define BURBLE__CHUNKS_OF_A_TOKEN 4

/* A token whose text is a stop string, so that the text ends at it. */
struct burble__stop_token {
    burble_stop_token token;
    burble_text text; /* to be handed out; empty where stop strings are not */
};

struct burble__request {
    struct burble__request *next, *previous; /* in the queue; `next` in other lists */
    burble_stream *stream;
    uint64_t number;   /* in the order in which requests came */
    uint64_t turn;     /* in the order in which requests came, or lost their slots */
    int32_t priority;  /* the highest first */
    uint64_t deadline; /* by burble__now; 0: none */

    /* The input of the model. */
    int32_t *ids;      /* the prompt; also what was generated before the request lost its slot */
    uint32_t n_ids;    /* at least 1 */
    uint32_t answered; /* the last of the prompt that are the answer's */
    uint32_t fed;      /* ids, and generated tokens, that the model has been given */
    int32_t last;      /* the token that was generated last */
    int32_t row;       /* of the present batch, whose logits are the request's; -1: none */

    /* The tokens of an answer that is continued, if the sampler must follow them (burble__sampler_follows). */
    int32_t *followed;
    uint32_t n_followed, next_followed;

    /* What others have computed of the prompt. */
    bool reuse;      /* wanted, and what is computed here may be used by others */
    uint64_t leader; /* the number of a request that computes the same beginning; 0: none */
    uint32_t shared; /* ids of this beginning */

    /* The output of the model. */
    struct burble__sampler *sampler;
    struct burble__logprobs logprobs;
    bool wants_logprobs;
    uint32_t max_tokens;
    bool ignore_end;
    bool skip_special;
    burble_detok *detok;
    burble_stop *stop;                      /* NULL: no stop strings */
    struct burble__stop_token *stop_tokens; /* special tokens that are stop strings */
    size_t n_stop_tokens;
    burble_chunker *chunker;
    struct burble__choice *choice; /* NULL: text is written, rather than frames */

    /* Called with the progress; may be NULL. */
    burble_llama_watch_fn *watch;
    void *watch_arg;
    burble_llama_progress progress;
    uint64_t full_since; /* when its text began to wait; 0: it does not */
    uint64_t waited;     /* before that */
    uint64_t converted;  /* characters that tokens have become */
    uint64_t characters; /* that have passed the stop strings; only where there are such */
    bool include_stop;   /* in what has passed */

    /* The chunks of one token that did not fit into the stream, because a reader is at its limit; or a frame. */
    struct burble__buffer held; /* their text */
    struct {
        size_t len;
        uint32_t tokens;
    } chunks[BURBLE__CHUNKS_OF_A_TOKEN];
    uint32_t n_chunks;
    /* How the stream, or the choice, ends after them. */
    bool done;
    burble_reason reason;
    int code; /* negative: it fails */
};

/* Creates the requests of the caller's struct: one for each choice, a list by `next`, each with a reference to the
 * stream. `context` is the most tokens of prompt and text together.
 *
 * BURBLE_OK      *out is the first request; the caller owns all
 * BURBLE_EINVAL  *error says what is wrong
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL. */
int burble__request_create(burble_llama_model *model, const burble_llama_request *wanted,
                           uint32_t context, burble_stream *stream, struct burble__request **out,
                           burble_error *error);

/* How many requests burble__request_create makes. BURBLE_OK, or BURBLE_EINVAL with an error, if they may not be that
 * many where at most `most` find a place. */
int burble__request_count(const burble_llama_request *wanted, uint64_t most, uint32_t *n,
                          burble_error *error);

/* Frees it and sets *handle to NULL; the stream is unchanged. The watch function is called. */
void burble__llama_request_destroy(struct burble__request **handle);

/* Whether its text is no longer wanted: another thread has cancelled or ended the stream. */
bool burble__request_is_over(const struct burble__request *request);

/* Whether its deadline has passed. */
static inline bool burble__request_is_late(const struct burble__request *request, uint64_t now)
{
    return request->deadline != 0 && now >= request->deadline;
}

/* Whether what is computed for one of them may be used for the other one. */
static inline bool burble__request_shares(const struct burble__request *one,
                                          const struct burble__request *other)
{
    return (one->reuse && other->reuse) || one->stream == other->stream;
}

/* Whether it holds text that did not fit into its stream. It takes no token then. */
static inline bool burble__request_is_full(const struct burble__request *request)
{
    return request->n_chunks > 0;
}

#endif
