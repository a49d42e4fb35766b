/* SPDX-License-Identifier: MIT
 *
 * llama.cpp as an engine: text for many requests at once, each into a stream of its own. This is the
 * library libburble-llama (pkg-config: burble-llama), which is built where llama.cpp is there.
 *
 *     burble_llama_model_load("model.gguf", NULL, &model, &error);
 *     burble_llama_engine_create(model, NULL, &engine, &error);
 *     burble_stream_create(NULL, &stream);
 *
 *     burble_llama_request_init(&request);
 *     request.prompt = "ROMEO:";
 *     request.prompt_len = 6;
 *     burble_llama_engine_submit(engine, &request, stream, &error);
 *
 *     ... read the stream; burble_stream_cancel ends the request ...
 *
 * An engine has one thread. Each of its steps computes the next token of every request that has a
 * slot, in one batch; requests come and go between steps. What waits for a slot waits in a queue with
 * a bound.
 *
 * Back-pressure: where a stream's reader is at its limit (burble_reader_limit with BURBLE_LAG_BLOCK),
 * its request keeps its slot and is left out of the steps until its text fits again; the others go on.
 *
 * llama.cpp itself ends the program where it finds that its own assumptions do not hold, and where the
 * memory for a computation (not for a model or an engine) cannot be had.
 */
#ifndef BURBLE_LLAMA_H
#define BURBLE_LLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/chunk.h>
#include <burble/detok.h>
#include <burble/stream.h>
#include <burble/vocab.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_llama_model burble_llama_model;   /* weights and vocabulary */
typedef struct burble_llama_engine burble_llama_engine; /* an engine */

/* The most requests that one engine computes at once. */
#define BURBLE_LLAMA_MAX_SLOTS 256

/* ---- models: immutable, shared by any number of engines ---------------------------------------- */

/* Called while a model is loaded, in the thread that loads it; `done` goes from 0 to 1. Loading goes
 * on where it returns true, and is given up where it returns false. */
typedef bool burble_llama_model_progress_fn(float done, void *arg);

typedef struct burble_llama_model_options {
    burble_llama_model_progress_fn *progress; /* may be NULL, the default */
    void *progress_arg;
    /* How many layers a GPU takes, if llama.cpp was built for one. Negative (the default): all. */
    int32_t gpu_layers;
    /* Look through all weights for values that cannot be. Default: false, as it takes long. */
    bool check_tensors;
} burble_llama_model_options;

/* Fills in the defaults. */
BURBLE_API void burble_llama_model_options_init(burble_llama_model_options *options);

/* Loads a GGUF file: its weights and, for the text, its vocabulary. `options` may be NULL for the
 * defaults. The first call tells llama.cpp to log nothing (llama_log_set); a program that wants
 * llama.cpp's own log can ask for it after that. Any thread.
 *
 * BURBLE_OK            *out is the model, with one reference, which the caller owns
 * BURBLE_ESYSTEM       the file cannot be read (errno says why)
 * BURBLE_EFORMAT       llama.cpp finds something wrong with it
 * BURBLE_EUNSUPPORTED  it is not a model that continues a text (an encoder, one for diffusion, one
 *                      without a vocabulary)
 * BURBLE_ECANCELED     `progress` returned false
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL, and *error (may be NULL) names the file and says what was
 * wrong. */
BURBLE_API int burble_llama_model_load(const char *path, const burble_llama_model_options *options,
                                       burble_llama_model **out, burble_error *error);

/* One more reference; returns `model`. Any thread. */
BURBLE_API burble_llama_model *burble_llama_model_ref(burble_llama_model *model);

/* Gives a reference back and sets *model to NULL; the last one frees it. Every engine holds one. NULL
 * and a pointer to NULL are fine. Any thread. */
BURBLE_API void burble_llama_model_unref(burble_llama_model **model);

/* The model's vocabulary, which lives as long as the model; take a reference (burble_vocab_ref) to
 * keep it longer. Any thread. */
BURBLE_API burble_vocab *burble_llama_model_vocab(const burble_llama_model *model);

/* How many tokens of context the model was trained with. Any thread. */
BURBLE_API uint32_t burble_llama_model_context(const burble_llama_model *model);

/* Turns `len` bytes of text (UTF-8) into ids, with what the model wants at the beginning (such as a BOS
 * token). `specials` says that the text of a special token stands for that token: right for what
 * burble_llama_model_apply_template made, wrong for what a stranger wrote. Writes at most `capacity` ids; `ids` may be
 * NULL where `capacity` is 0. Any thread.
 *
 * BURBLE_OK      *n ids were written
 * BURBLE_EFULL   `capacity` is too small: *n is how many ids there are, and how many were written is
 *                not said
 * BURBLE_EINVAL  `text` is not UTF-8, or NULL where `len` is not 0, or above 1 GiB; *n is 0
 * BURBLE_ENOMEM  *n is 0 */
BURBLE_API int burble_llama_model_tokenize(const burble_llama_model *model, const char *text,
                                           size_t len, bool specials, int32_t *ids, size_t capacity,
                                           size_t *n);

/* One message of a conversation; both are UTF-8 and end in NUL. */
typedef struct burble_llama_message {
    const char *role; /* "system", "user", "assistant" … */
    const char *content;
} burble_llama_message;

typedef struct burble_llama_conversation {
    const burble_llama_message *messages; /* `n` of them */
    size_t n;
    /* End with what begins the assistant's next message. Default: true. */
    bool answer;
    /* A template that llama.cpp has built in ("chatml", "llama3", …). NULL, the default: the model's. */
    const char *template_name;
} burble_llama_conversation;

/* Fills in the defaults; there are no messages. */
BURBLE_API void burble_llama_conversation_init(burble_llama_conversation *conversation);

/* Makes one prompt of a conversation, by a chat template. llama.cpp does not run templates, but
 * recognises the usual ones. What a message contains is put in as it is: where the prompt is tokenized
 * with `specials`, as the template's own tokens have to be, the text of a special token in it stands for
 * that token, too, and may so begin a message in another role. Take it out of what a stranger wrote.
 *
 * Writes at most `capacity` bytes, without a NUL; `text` may be NULL where `capacity` is 0. Any thread.
 *
 * BURBLE_OK            *len bytes were written
 * BURBLE_EFULL         `capacity` is too small: *len is how many bytes there are
 * BURBLE_EUNSUPPORTED  the model has no template, or llama.cpp does not know it; *len is 0
 * BURBLE_EINVAL        a role or a content is NULL or not UTF-8, or all is above 1 GiB; *len is 0
 * BURBLE_ENOMEM        *len is 0
 * In all but the first case *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_model_apply_template(const burble_llama_model *model,
                                                 const burble_llama_conversation *conversation,
                                                 char *text, size_t capacity, size_t *len,
                                                 burble_error *error);

/* ---- engines ------------------------------------------------------------------------------------ */

typedef struct burble_llama_engine_options {
    /* How many requests are computed at once: 1 to BURBLE_LLAMA_MAX_SLOTS. Default: 8. */
    uint32_t slots;
    /* How many tokens one request may have, prompt and text together. Each slot has memory for that
     * many from the beginning. 0, the default: what the model was trained with, but at most 4,096. */
    uint32_t context;
    /* How many requests may wait for a slot. Default: 1,024. */
    uint32_t queue;
    /* How many tokens of prompts a step takes at most. Smaller ones let text flow more evenly while
     * long prompts come in, larger ones take those in faster. Default: 512. */
    uint32_t batch;
    /* How many threads compute, the engine's own included. 0, the default: one for each processor that
     * the process may use. */
    uint32_t threads;
    /* Keep what the model remembers of a text (llama.cpp's KV cache) in 32 bits rather than in 16.
     * Default: false. */
    bool cache_f32;
} burble_llama_engine_options;

/* Fills in the defaults. */
BURBLE_API void burble_llama_engine_options_init(burble_llama_engine_options *options);

/* Makes an engine and starts its thread; it takes a reference to `model`. `options` may be NULL for
 * the defaults. Any thread.
 *
 * BURBLE_OK      *out is the engine, which the caller owns
 * BURBLE_EINVAL  an option is out of its range, or `context` is above what the model was trained with
 * BURBLE_ENOMEM  no memory for that many slots of that context
 * BURBLE_ESYSTEM its threads could not be started (errno says why)
 * In all but the first case *out is NULL, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_engine_create(burble_llama_model *model,
                                          const burble_llama_engine_options *options,
                                          burble_llama_engine **out, burble_error *error);

/* Cancels all requests, also in the middle of a step, waits for the engine's thread to exit, frees the
 * engine and sets *engine to NULL. NULL and a pointer to NULL are fine. Nobody else may use the engine
 * at the same time; streams live on.
 *
 * In a forked child, the parent's engine counts as closed: closing it does nothing, and its memory stays. */
BURBLE_API void burble_llama_engine_destroy(burble_llama_engine **engine);

/* How a request stands. */
typedef struct burble_llama_progress {
    uint32_t prompt_tokens;
    uint32_t tokens; /* generated so far */
    uint64_t waited; /* how long its text has waited for readers at their limits, in nanoseconds */
    bool waits;      /* it does so now */
    bool stopped;    /* a stop string was met: */
    size_t stop;     /* which, and */
    uint64_t stop_begin; /* where it begins, in characters from the beginning of the text */
    bool over;           /* the request is done, or given up: `watch` is not called again */
} burble_llama_progress;

/* Told in the engine's thread, which waits for it meanwhile; it may use the request's stream, not the
 * engine. `progress` is valid until it returns. */
typedef void burble_llama_watch_fn(const burble_llama_progress *progress, void *arg);

typedef struct burble_llama_request {
    /* The prompt: `n_ids` ids or, where `ids` is NULL, text to be tokenized as by
     * burble_llama_model_tokenize. At least one token. */
    const int32_t *ids;
    size_t n_ids;
    const char *prompt;
    size_t prompt_len; /* bytes */
    bool specials;     /* see burble_llama_model_tokenize; default: false */

    /* The most tokens to generate. 0, the default: as many as the context has room for. */
    uint32_t max_tokens;

    /* Sampling, in this order: of the `top_k` likeliest tokens (0: all) the likeliest ones that make
     * up `top_p` together (1: all), of these the ones that are at least `min_p` times as likely as the
     * likeliest (0: all), at this `temperature`, with the random numbers that `seed` begins. A
     * temperature of 0, the default, is greedy: always the likeliest token. The other defaults leave
     * everything in; `seed` is 0, and UINT32_MAX is another one each time. */
    float temperature;
    uint32_t top_k;
    float top_p;
    float min_p;
    uint32_t seed;

    /* Text that ends the text (see burble_stop_create); `n_stop` of them. Default: none. The match
     * itself is left out, unless `include_stop` says otherwise. Where special tokens are left out, one
     * whose text is a stop string ends the text, too (see burble_stop_tokens). */
    const burble_text *stop;
    size_t n_stop;
    bool include_stop;

    burble_chunking chunking; /* what a record is; default: BURBLE_CHUNK_TOKEN */
    bool skip_special;        /* leave special tokens out of the text; default: true */
    bool ignore_end;          /* go on after the model's own end; default: false */

    /* Called with `watch_arg` for each token that was chosen, before its text is in the stream; again
     * and again while text waits for readers; before the stream ends; and once, where
     * burble_llama_engine_submit has returned BURBLE_OK, with `over` (perhaps in burble_llama_engine_destroy, or in
     * another burble_llama_engine_submit, which finds it cancelled in the queue). Default: NULL. */
    burble_llama_watch_fn *watch;
    void *watch_arg;
} burble_llama_request;

/* Fills in the defaults; the prompt is empty. */
BURBLE_API void burble_llama_request_init(burble_llama_request *request);

/* Hands a request in. Its text goes into `stream`, which must be open and without records; the engine
 * takes a reference to it, and its thread is its writer. Everything in `request` is copied. Any thread.
 *
 * The stream ends with BURBLE_REASON_STOP (the model's own end, or a stop string), or with
 * BURBLE_REASON_LENGTH (max_tokens, or the context is full); it fails with BURBLE_EFAILED where
 * llama.cpp cannot compute the request's tokens, with BURBLE_ENOMEM where memory is short. Whoever
 * cancels it (burble_stream_cancel) frees its slot before the next step, and, where nobody else waits
 * for the present one, breaks that off.
 *
 * Greedy text does not depend on what else is computed at the same time, but for differences in the
 * last bits of sums: where two tokens are as good as equal, another one may win.
 *
 * BURBLE_OK      the request is in
 * BURBLE_EFULL   all slots are busy and the queue is full: later, perhaps
 * BURBLE_ECLOSED the engine is that of the process that forked this one
 * BURBLE_EINVAL  the prompt is empty, is not UTF-8, has an id that the model has not, or leaves no room
 *                in the context; an option is out of its range
 * BURBLE_ENOMEM
 * In all but the first case the stream is as it was, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_engine_submit(burble_llama_engine *engine,
                                          const burble_llama_request *request,
                                          burble_stream *stream, burble_error *error);

/* What an engine does. */
typedef struct burble_llama_stats {
    uint32_t active;        /* requests that have a slot */
    uint32_t waiting;       /* requests in the queue */
    uint64_t requests;      /* that came in so far */
    uint64_t steps;         /* taken so far, without those that were broken off */
    uint64_t prompt_tokens; /* of prompts, computed so far */
    uint64_t tokens;        /* generated so far */
} burble_llama_stats;

/* How many tokens one request may have, prompt and text together. Any thread. */
BURBLE_API uint32_t burble_llama_engine_context(const burble_llama_engine *engine);

/* Any thread. All is 0 in a forked child of the process that opened the engine. */
BURBLE_API void burble_llama_engine_stats(burble_llama_engine *engine, burble_llama_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
