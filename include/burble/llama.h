/* SPDX-License-Identifier: MIT */
/** @file
 *
 * An engine on llama.cpp: it generates text for many requests at once, and writes each text into a
 * separate stream. It is the library libburble-llama (pkg-config: burble-llama), which is built if
 * llama.cpp is found.
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
 * An engine has one thread. Each of its steps computes the next token of every request that has a slot,
 * in one batch; requests start and end between steps. Requests without a slot wait in a bounded queue.
 *
 * While answers are being computed, the prompts of other requests make a step longer only by a bounded
 * time. What was computed for a request is kept until its slot is needed, so the next turn of
 * a conversation computes only what is new, and several requests with one prompt compute it once.
 *
 * Back-pressure: if a reader of a stream is at its limit (burble_reader_limit with BURBLE_LAG_BLOCK), the
 * request is left out of the steps until its text fits into the stream again. The other requests go on. It
 * keeps its slot until another request needs one (after 0.1 s); then it waits beside the queue, and goes on
 * when its reader reads.
 *
 * llama.cpp aborts the whole process if one of its internal checks fails, or if there is no memory for a
 * computation. (No memory for a model or an engine is an error that these functions return.)
 */
#ifndef BURBLE_LLAMA_H
#define BURBLE_LLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/chunk.h>
#include <burble/detok.h>
#include <burble/frame.h>
#include <burble/stream.h>
#include <burble/vocab.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_llama_model burble_llama_model;   /**< weights and vocabulary */
typedef struct burble_llama_engine burble_llama_engine; /**< an engine */

/** The most requests that one engine can compute at once. */
#define BURBLE_LLAMA_MAX_SLOTS 256

/* ---- models: immutable, shared by any number of engines ---------------------------------------- */

/** Called while a model is loaded, in the thread that loads it; `done` goes from 0 to 1. Return true to go
 * on, false to give up loading. */
typedef bool burble_llama_model_progress_fn(float done, void *arg);

typedef struct burble_llama_model_options {
    burble_llama_model_progress_fn *progress; /**< may be NULL, the default */
    void *progress_arg;
    /** The number of layers that the GPU computes, if llama.cpp was built for one. Negative (the default):
     * all. */
    int32_t gpu_layers;
    /** Check all weights for invalid values. Default: false, because the check takes long. */
    bool check_tensors;
    /** Load the weights even if they do not fit into the memory that is available. Default: false. */
    bool overcommit;
    uint64_t reserved[4]; /**< 0: see burble.h */
} burble_llama_model_options;

/** Fills in the defaults. */
BURBLE_API void burble_llama_model_options_init(burble_llama_model_options *options);

/** Loads a GGUF file: its weights and its vocabulary. If `options` is NULL, the defaults apply. The first
 * call turns off llama.cpp's own log (llama_log_set); a program that wants this log can turn it on
 * afterwards. Any thread may call it.
 *
 * @retval BURBLE_OK            *out is the model, with one reference, which the caller owns
 * @retval BURBLE_ESYSTEM       the file cannot be read (errno says why)
 * @retval BURBLE_EFORMAT       llama.cpp cannot load the file
 * @retval BURBLE_EUNSUPPORTED  the model cannot continue a text: it is an encoder, a diffusion model, or has no
 *                              vocabulary
 * @retval BURBLE_ECANCELED     `progress` returned false
 * @retval BURBLE_EINVAL        `reserved` is not 0
 * @retval BURBLE_ENOMEM        out of memory, or the file is larger than the memory that is available (see
 *                              burble_llama_memory)
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) names the file and says what was
 * wrong. */
BURBLE_API int burble_llama_model_load(const char *path, const burble_llama_model_options *options,
                                       burble_llama_model **out, burble_error *error);

/** Takes one more reference; returns `model`. Any thread may call it. */
BURBLE_API burble_llama_model *burble_llama_model_ref(burble_llama_model *model);

/** Drops a reference and sets *model to NULL. Dropping the last reference frees the model. Every engine
 * holds a reference. NULL and a pointer to NULL are allowed. Any thread may call it. */
BURBLE_API void burble_llama_model_unref(burble_llama_model **model);

/** The model's vocabulary. It is valid as long as the model; take a reference (burble_vocab_ref) to keep
 * it longer. Any thread may call it. */
BURBLE_API burble_vocab *burble_llama_model_vocab(const burble_llama_model *model);

/** The length of the context that the model was trained with, in tokens. Any thread may call it. */
BURBLE_API uint32_t burble_llama_model_context(const burble_llama_model *model);

/** Converts `len` bytes of text (UTF-8) to ids, including the tokens that the model expects at the beginning, such as
 * a BOS token, but none at the end: the text is to be continued. If `specials` is true, the text of a special token
 * becomes that token: pass true for the output of burble_llama_model_apply_template (but see
 * burble_llama_model_tokenize_chat), false for text from untrusted sources. Writes at most `capacity` ids; `ids` may
 * be NULL if `capacity` is 0. Any thread may call it.
 *
 * @retval BURBLE_OK      *n ids were written
 * @retval BURBLE_EFULL   `capacity` is too small: *n is the number of ids that the text has; the contents of `ids`
 *                        are undefined
 * @retval BURBLE_EINVAL  `text` is not UTF-8, is NULL although `len` is not 0, or is longer than 1 GiB; *n is 0
 * @retval BURBLE_ENOMEM  out of memory; *n is 0 */
BURBLE_API int burble_llama_model_tokenize(const burble_llama_model *model, const char *text,
                                           size_t len, bool specials, int32_t *ids, size_t capacity,
                                           size_t *n);

/** The text of one token, alone: bytes, which may be a part of a character; special tokens have text, too. Writes at
 * most `capacity` bytes, without a terminating NUL. Any thread may call it.
 *
 * @retval BURBLE_OK      *len bytes were written
 * @retval BURBLE_EFULL   `capacity` is too small: *len is the number of bytes
 * @retval BURBLE_EINVAL  the model does not have the id; *len is 0 */
BURBLE_API int burble_llama_model_piece(const burble_llama_model *model, int32_t id, char *text,
                                        size_t capacity, size_t *len);

/** One message of a conversation. Both strings are UTF-8. */
typedef struct burble_llama_message {
    const char *role; /**< "system", "user", "assistant" …, terminated by NUL */
    const char *content;
    size_t content_len;   /**< bytes of `content`; 0: it is terminated by NUL */
    uint64_t reserved[1]; /**< 0: see burble.h */
} burble_llama_message;

typedef struct burble_llama_conversation {
    const burble_llama_message *messages; /**< `n` of them */
    size_t n;
    /** End the prompt with the beginning of the assistant's next message. Default: true. */
    bool answer;
    /** The name of a template that is built into llama.cpp ("chatml", "llama3", …). NULL, the default: the
     * model's own template. */
    const char *template_name;
    uint64_t reserved[4]; /**< 0: see burble.h */
} burble_llama_conversation;

/** Fills in the defaults; there are no messages. */
BURBLE_API void burble_llama_conversation_init(burble_llama_conversation *conversation);

/** Converts a conversation to one prompt, by a chat template. llama.cpp does not run the model's template,
 * but recognises common ones.
 *
 * Security: the content of a message is copied as it is. The prompt must be tokenized with `specials`,
 * because the template's own tokens are special ones. So the text of a special token within a message
 * becomes that token, too, and can start a message in another role. burble_llama_model_tokenize_chat has not
 * this fault: use it for messages of untrusted sources.
 *
 * Writes at most `capacity` bytes, without a terminating NUL; `text` may be NULL if `capacity` is 0. Any
 * thread may call it.
 *
 * @retval BURBLE_OK            *len bytes were written
 * @retval BURBLE_EFULL         `capacity` is too small: *len is the length of the prompt, in bytes
 * @retval BURBLE_EUNSUPPORTED  the model has no template, or llama.cpp does not know it; *len is 0
 * @retval BURBLE_EINVAL        a role or a content is NULL or not UTF-8, the total is above 1 GiB, or `reserved`
 *                              is not 0; *len is 0
 * @retval BURBLE_ENOMEM        out of memory; *len is 0
 *
 * Unless the result is BURBLE_OK, *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_model_apply_template(const burble_llama_model *model,
                                                 const burble_llama_conversation *conversation,
                                                 char *text, size_t capacity, size_t *len,
                                                 burble_error *error);

/** Converts a conversation to ids, by a chat template: those of burble_llama_model_apply_template and
 * burble_llama_model_tokenize with `specials`, but what a message has becomes no control token, and none of the
 * tokens that the template uses, whatever its text is. Roles that templates do not know are text like that, too. If
 * the template begins with the BOS token that the model adds, there is only one. A content may have NUL bytes. Writes
 * at most `capacity` ids; `ids` may be NULL if `capacity` is 0. Any thread may call it.
 *
 * (Templates that have no special tokens, such as "User: " before each message, can be imitated by any text.)
 *
 * @retval BURBLE_OK            *n ids were written
 * @retval BURBLE_EFULL         `capacity` is too small: *n is the number of ids; the contents of `ids` are undefined
 * @retval BURBLE_EUNSUPPORTED  as burble_llama_model_apply_template; *n is 0
 * @retval BURBLE_EINVAL        as burble_llama_model_apply_template; *n is 0
 * @retval BURBLE_ENOMEM        out of memory; *n is 0
 *
 * Unless the result is BURBLE_OK, *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_model_tokenize_chat(const burble_llama_model *model,
                                                const burble_llama_conversation *conversation,
                                                int32_t *ids, size_t capacity, size_t *n,
                                                burble_error *error);

/* ---- engines ------------------------------------------------------------------------------------ */

/** The types of the numbers in which llama.cpp keeps what attention needs of each token, its keys (K) and its
 * values (V). The smaller ones, from Q8_0 on, cost accuracy. They keep numbers in blocks of 32, so that the
 * length of the model's heads must be a multiple of 32. */
typedef enum burble_llama_cache {
    BURBLE_LLAMA_CACHE_F16 = 0,
    BURBLE_LLAMA_CACHE_F32,
    BURBLE_LLAMA_CACHE_BF16,
    BURBLE_LLAMA_CACHE_Q8_0, /**< 8.5 bits for each number */
    BURBLE_LLAMA_CACHE_Q5_1, /**< 6 */
    BURBLE_LLAMA_CACHE_Q5_0, /**< 5.5 */
    BURBLE_LLAMA_CACHE_Q4_1, /**< 5 */
    BURBLE_LLAMA_CACHE_Q4_0, /**< 4.5 */
} burble_llama_cache;

/** The name that llama.cpp has for the type ("f16", "q8_0" …); NULL if there is no such type. Any thread may
 * call it. */
BURBLE_API const char *burble_llama_cache_name(burble_llama_cache type);

/** Whether llama.cpp computes attention in one pass (flash attention), which needs less memory, and is mostly
 * faster. */
typedef enum burble_llama_flash {
    /** If llama.cpp can. On a processor not for a model whose heads have no multiple of 32 numbers, for which it is
     * slow in texts of more than about 200 tokens, unless `context` is at most 192, V is quantized or the scores of a
     * batch (`batch` + `slots` times `context` times the model's heads, 4 bytes each) exceed 256 MiB. */
    BURBLE_LLAMA_FLASH_AUTO = 0,
    BURBLE_LLAMA_FLASH_ON,
    BURBLE_LLAMA_FLASH_OFF,
} burble_llama_flash;

typedef struct burble_llama_engine_options {
    /** The most requests that are computed at once: 1 to BURBLE_LLAMA_MAX_SLOTS. Default: 8. */
    uint32_t slots;
    /** The most tokens of one request, prompt and text together. The engine allocates that much memory
     * for each slot at the beginning. 0, the default: the context that the model was trained with, but
     * at most 4,096. */
    uint32_t context;
    /** The most requests that may wait for a slot. Default: 1,024. */
    uint32_t queue;
    /** The most prompt tokens of one step, where no other request is being answered. A larger value
     * computes prompts faster, and needs more memory. Default: 512. */
    uint32_t batch;
    /** While other requests are being answered, prompts may make a step longer by this many milliseconds, or
     * twice as long, if that is more. A smaller value keeps the text of the
     * others more even; a larger value computes prompts faster. 1 to 60,000. Default: 12. */
    uint32_t prompt_ms;
    /** The number of computing threads, including the engine's own. 0, the default: one for each processor
     * that the process may use. */
    uint32_t threads;
    /** The number of computing threads of steps that compute prompts, too. 0, the default: as many as
     * `threads`. */
    uint32_t prompt_threads;
    burble_llama_flash flash;   /**< default: BURBLE_LLAMA_FLASH_AUTO */
    burble_llama_cache cache_k; /**< the type of K; default: BURBLE_LLAMA_CACHE_F16 */
    /** The type of V; default: BURBLE_LLAMA_CACHE_F16. The types from Q8_0 on need flash attention. */
    burble_llama_cache cache_v;
    /** Keep the tokens of all slots in one memory, as large as the separate ones together: requests with a
     * common beginning share its tokens, but each step looks through the tokens of all. Default: false. */
    bool unified;
    /** Create the engine even if it does not fit into the memory that is available. Default: false. */
    bool overcommit;
    uint64_t reserved[4]; /**< 0: see burble.h */
} burble_llama_engine_options;

/** Fills in the defaults. */
BURBLE_API void burble_llama_engine_options_init(burble_llama_engine_options *options);

/** The memory that a model and an engine take, in bytes. */
typedef struct burble_llama_memory {
    uint64_t weights; /**< the model's tensors; llama.cpp maps the file, so engines share them */
    uint64_t cache;   /**< what attention and recurrent layers keep of the tokens of all slots */
    uint64_t compute; /**< for intermediate results and logits */
    /** What this process may still take: the least of the machine's available memory, what its control groups
     * (cgroups) leave, and its limit of address space. UINT64_MAX: unknown, as on systems without /proc. */
    uint64_t available;
    uint64_t reserved[4]; /**< 0 */
} burble_llama_memory;

/** Says how much memory a model and an engine on it would take, without loading the weights. NULL for options: the
 * defaults. The numbers come from llama.cpp, which simulates the engine. Not included: the vocabulary, threads'
 * stacks, texts, and what sampling needs. With a GPU, they are the sums of what the GPU and the machine need. Any
 * thread may call it.
 *
 * burble_llama_model_load and burble_llama_engine_create fail with BURBLE_ENOMEM if a file's size, or `cache`
 * and `compute`, are more than `available`, unless the options say `overcommit`, or llama.cpp was built for a
 * GPU.
 *
 * @retval BURBLE_OK           *memory says it
 * @retval BURBLE_EINVAL       as burble_llama_engine_create
 * @retval BURBLE_EUNSUPPORTED as burble_llama_engine_create; or llama.cpp does not say what it needs
 * @retval BURBLE_ESYSTEM      the file cannot be read (errno says why)
 * @retval BURBLE_EFORMAT      llama.cpp cannot load the file
 * @retval BURBLE_ENOMEM       no memory to find out
 *
 * Unless the result is BURBLE_OK, *memory is all 0, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_memory_needed(const char *path,
                                          const burble_llama_model_options *model_options,
                                          const burble_llama_engine_options *engine_options,
                                          burble_llama_memory *memory, burble_error *error);

/** Creates an engine and starts its thread; the engine takes a reference to `model`. If `options` is NULL,
 * the defaults apply. Any thread may call it.
 *
 * @retval BURBLE_OK       *out is the engine, which the caller owns
 * @retval BURBLE_EINVAL       an option is out of its range, `context` is above the one that the model was
 *                             trained with, `cache_v` needs flash attention, which is off, or `reserved` is
 *                             not 0
 * @retval BURBLE_EUNSUPPORTED llama.cpp cannot compute this model with these options
 * @retval BURBLE_ENOMEM       no memory for that many slots of that context: more is needed than is available
 *                             (see burble_llama_memory), or the allocation failed
 * @retval BURBLE_ESYSTEM      the engine's threads could not be started (errno says why)
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_engine_create(burble_llama_model *model,
                                          const burble_llama_engine_options *options,
                                          burble_llama_engine **out, burble_error *error);

/** Cancels all requests, even in the middle of a step, waits for the engine's thread to exit, frees the
 * engine and sets *engine to NULL. NULL and a pointer to NULL are allowed. No other thread may use the
 * engine at the same time. The streams stay valid.
 *
 * In a forked child, the parent's engine counts as closed: this call does nothing there, and the engine's
 * memory is not freed. */
BURBLE_API void burble_llama_engine_destroy(burble_llama_engine **engine);

/** The most alternatives of a token whose log-probabilities are reported. */
#define BURBLE_LLAMA_MAX_LOGPROBS 20

/** The most DRY sequence breakers of a request. */
#define BURBLE_LLAMA_MAX_BREAKERS 64

/** A change of one token's logit. */
typedef struct burble_llama_bias {
    int32_t id;
    float bias; /**< not NaN, not +INFINITY */
} burble_llama_bias;

/** The progress of a request. The library allocates it, so later versions may add members at its end. */
typedef struct burble_llama_progress {
    uint32_t prompt_tokens; /**< in the prompt */
    uint32_t prompt_done;   /**< of these, computed or reused so far */
    uint32_t reused;        /**< of these, computed before: for another request, or another turn */
    uint32_t tokens;        /**< generated so far */
    uint64_t waited; /**< time that its text has waited for readers at their limits, nanoseconds */
    bool waits;      /**< its text waits for a reader at present */
    bool stopped;    /**< a stop string was found */
    size_t stop;     /**< if stopped: the index of the stop string */
    uint64_t stop_begin; /**< if stopped: the position of its first character in the text */
    bool over;           /**< the request is done or cancelled: `watch` is not called again */
    float mirostat_mu;   /**< Mirostat's state after the token; 0 without Mirostat */
    int32_t id;          /**< the token that was chosen last; -1: none yet */
    /** The number of characters of the text before this token. If the token completes a character, or the
     * detokenizer still holds text back, it is the position of that character, or of that text. Characters of
     * a stop string count, also if it is left out. */
    uint64_t offset;
    bool has_logprobs; /**< the request wants log-probabilities, and a token was chosen: */
    float logprob;     /**< of that token */
    uint32_t n_top;    /**< the most likely tokens at its place, the likeliest first */
    const int32_t *top_ids;
    const float *top_logprobs;
    uint32_t choice; /**< from 0 */
} burble_llama_progress;

/** Called in the engine's thread, which waits until it returns. It may use the request's stream, but not
 * the engine. `progress` is valid until it returns. */
typedef void burble_llama_watch_fn(const burble_llama_progress *progress, void *arg);

/** One of several prompts: ids or, if `ids` is NULL, text. */
typedef struct burble_llama_prompt {
    const int32_t *ids;
    size_t n_ids;
    const char *text;
    size_t len; /**< bytes */
} burble_llama_prompt;

typedef struct burble_llama_request {
    /** The prompt: `n_ids` ids or, if `ids` is NULL, text to be tokenized as by
     * burble_llama_model_tokenize. It must have at least one token; an empty text stands for BOS, if the model has
     * that. */
    const int32_t *ids;
    size_t n_ids;
    const char *prompt;
    size_t prompt_len; /**< bytes */
    bool specials;     /**< see burble_llama_model_tokenize; default: false */
    /** To continue an answer: the number of the last ids of `ids` that are its tokens so far (less than
     * `n_ids`; default: 0). Their text is not written again. All else follows as if the answer had never been
     * interrupted: text that was held back, such as a part of a character or of a stop string, the word that
     * had begun, penalties and the choices of a seed. `max_tokens` and the counts of
     * burble_llama_progress are those of the rest; its positions in the text are those of the whole. */
    size_t answered;

    /** The most tokens to generate. 0, the default: as many as the context has room for. */
    uint32_t max_tokens;

    /** Sampling, in the order of the members below. First the logits are changed: */

    /** `bias` is added to the logit of each `id`; -INFINITY means that it is never chosen. Default: none.
     * (The model's own list of tokens that are never chosen, tokenizer.ggml.suppress_tokens, always
     * applies.) */
    const burble_llama_bias *logit_bias;
    size_t n_logit_bias;

    /** Penalties for tokens among the last `penalty_last_n` of the prompt and the text (default: 64; 0: no
     * penalties; the most is the whole context). As in llama.cpp, the logit of such a token is divided by
     * `repeat_penalty` if it is positive, and multiplied by it if not; then `presence_penalty`, and
     * `frequency_penalty` for each time that the token is there, are subtracted. Defaults: 1, 0 and 0,
     * which change nothing. Ranges: above 0 to 100, and -100 to 100. */
    uint32_t penalty_last_n;
    float repeat_penalty;
    float presence_penalty;
    float frequency_penalty;

    /** DRY, the penalty of llama.cpp for tokens that would repeat a sequence of the last `dry_last_n` tokens
     * of the prompt and the text (default: UINT32_MAX; the most is the whole context). If the sequence has n
     * tokens, at least `dry_allowed_length` (default: 2), the penalty is
     * dry_multiplier * dry_base ^ (n - dry_allowed_length). A sequence ends at each of the strings
     * `dry_breakers` (llama.cpp uses the first 40 bytes of each; at most BURBLE_LLAMA_MAX_BREAKERS; default:
     * "\n", ":", "\"" and "*"). Multiplier: 0 (the default: no penalty) to 100; base: 1 to 100, default 1.75. */
    float dry_multiplier;
    float dry_base;
    uint32_t dry_allowed_length;
    uint32_t dry_last_n;
    const burble_text *dry_breakers;
    size_t n_dry_breakers;

    /** Then one token is chosen. A temperature of 0, the default, is greedy: it always chooses the token
     * with the highest logit. Otherwise (at most 100): keep the `top_k` most likely tokens (0: all); of
     * these, keep the ones whose surprise is nearest to the expected one, with probabilities that sum up to
     * `typical_p` (1: all); of these, the most likely ones whose probabilities sum up to `top_p` (1: all);
     * of these, the ones that are at least `min_p` times as likely as the most likely one (0: all); choose
     * one at this `temperature`. The defaults keep all tokens. */
    float temperature;
    uint32_t top_k;
    float typical_p;
    float top_p;
    float min_p;

    /** Mirostat 1 or 2 instead of top_k, typical_p, top_p and min_p (0, the default: none): it keeps tokens
     * such that the surprise of the text is near `mirostat_tau` (bits; above 0 to 100, default 5), with the
     * learning rate `mirostat_eta` (0 to 1, default 0.1). It needs a temperature above 0. `mirostat_mu` is
     * its state at the beginning (0 to 1,000). 0, the default: twice mirostat_tau; if an answer is continued
     * (`answered`), its state after those tokens, for which each of them is computed in a step of its own, as
     * before. That of burble_llama_progress saves these steps. */
    uint32_t mirostat;
    float mirostat_tau;
    float mirostat_eta;
    float mirostat_mu;

    /** The choice is a function of the probabilities, of `seed` and of the token's position in the sequence of
     * prompt and text. So the same seed makes the same choices alone, beside other requests, and in a text
     * that is continued. Default: 0; UINT32_MAX chooses another seed each time. */
    uint32_t seed;

    /** Generate only text that a grammar allows, up to its end: `grammar_len` bytes of UTF-8 in GBNF, the notation
     * of llama.cpp (grammars/README.md there, without tokens in < >), whose rule `root` is the text. Or, with
     * `json`, one JSON object. A token is chosen as above; if the grammar does not allow it, one of those that it
     * allows is chosen. The model may end the text only where the grammar does; if max_tokens or a stop string ends
     * it before, the text is incomplete. Special tokens have no text here. The stream fails with BURBLE_EFAILED if
     * no token of the model goes on as the grammar wants it, or if the grammar has too many ways to read the text.
     * The bounds are 64 KiB of text, 2,000 repetitions in { }, and 65,536 symbols once repetitions are written out.
     * A grammar needs `ignore_end` to be false. Defaults: NULL and false. */
    const char *grammar;
    size_t grammar_len;
    bool json;

    /** Report log-probabilities (natural logarithms) in burble_llama_progress: of the chosen token, and of the
     * `top_logprobs` most likely ones (0 to BURBLE_LLAMA_MAX_LOGPROBS). As in OpenAI's API, they are those of
     * the model, before any parameter above changes them. Defaults: false and 0. */
    bool logprobs;
    uint32_t top_logprobs;

    /** The stop strings (see burble_stop_create), `n_stop` of them. Default: none. The text does not
     * include the stop string, unless `include_stop` is true. If special tokens are left out, a special
     * token whose text is a stop string ends the text, too (see burble_stop_tokens). */
    const burble_text *stop;
    size_t n_stop;
    bool include_stop;

    burble_chunking chunking; /**< how text is cut into records; default: BURBLE_CHUNK_TOKEN */
    bool skip_special;        /**< leave special tokens out of the text; default: true */
    bool ignore_end;          /**< go on after the model's end-of-text token; default: false */

    /** The requests of a higher priority get slots first, and their prompts are computed first; requests of
     * the same priority in the order in which they came. Default: 0. */
    int32_t priority;
    /** When the stream fails with BURBLE_ETIMEDOUT unless it has ended, wherever the request is then: waiting
     * for a slot, computed, or waiting for its reader. By burble_now; 0, the default: never. It is
     * checked between steps. */
    uint64_t deadline;
    /** Use what the engine has computed before for a prompt with the same beginning, and keep what is computed
     * for this one. The text is the same either way, except for rounding differences (see
     * burble_llama_engine_submit). How long an answer takes to begin then tells others who can submit
     * requests whether somebody has used a beginning before: pass false for a prompt whose existence must
     * stay secret. Default: true. */
    bool reuse;

    /** Called with `watch_arg` for each chosen token, before its text is in the stream; repeatedly while
     * the text waits for readers; and before the stream ends. If burble_llama_engine_submit has returned
     * BURBLE_OK, it is called exactly once for each choice with `over` true: the last call. This call may come from
     * burble_llama_engine_destroy, or from another burble_llama_engine_submit that removes the cancelled
     * request from the queue. Default: NULL. */
    burble_llama_watch_fn *watch;
    void *watch_arg;

    /** Write frames (frame.h) instead of text: the records of an answer that goes over a network. `stream` may have
     * records already, such as a begin frame; the engine writes none. Each token makes at most one TEXT frame, with the
     * ids since the last one, also those whose text is still held back, and, with `logprobs`, their log-probabilities.
     * FINISH has the ids that are left, and the stop string that was found. USAGE is the last frame. The tokens of a
     * stop string that is left out have no log-probabilities, nor has a token that ends the text.
     *
     * To continue an answer whose frames got lost from any place on, pass all ids of those before it as the last ones
     * of `ids`, and their number as `answered`. If they end the answer, only FINISH and USAGE are written. An answer
     * that has all its `max_tokens`, or fills the context, lacks only a FINISH frame, which the caller writes. The
     * counts of USAGE are those of the whole answer. Default: false. */
    bool frames;
    /** With `frames`: the number of answers, 0 (the default, as 1) to BURBLE_FRAME_MAX_CHOICES. They share what is
     * computed of the prompt, also without `reuse`. Each is a request of the engine's, with a slot and a place in the
     * queue of its own: all are accepted, or none. Choice i has the seed `seed` + i, modulo 2^32 - 1. If one fails,
     * the stream fails, and the others end. The reason of the stream's end is that of the choice that ends last. */
    uint32_t choices;
    /** With `frames`: several prompts, `n_prompts` (0, the default: the one above), each with as many answers: choice
     * i * `choices` + j is answer j to prompt i, with the seed `seed` + j. The answers are at most
     * BURBLE_FRAME_MAX_CHOICES in all, and `answered` is 0. */
    const burble_llama_prompt *prompts;
    size_t n_prompts;
    uint64_t reserved[5]; /**< 0: see burble.h */
} burble_llama_request;

/** Fills in the defaults; the prompt is empty. */
BURBLE_API void burble_llama_request_init(burble_llama_request *request);

/** Submits a request. Its text is written to `stream`, which must be open and, without `frames`, have no records. The
 * engine takes a reference to the stream, and the engine's thread becomes its writer. Everything in `request` is
 * copied. Any thread may call it.
 *
 * The stream ends with BURBLE_REASON_STOP at the model's end-of-text token or a stop string, and with
 * BURBLE_REASON_LENGTH at max_tokens or when the context is full. It fails with BURBLE_EFAILED if
 * llama.cpp cannot compute the request's tokens, and with BURBLE_ENOMEM if memory runs out. Cancelling
 * the stream (burble_stream_cancel) frees the slot before the next step; if no other request needs the
 * present step, the step is aborted.
 *
 * Text does not depend on the other requests, except for rounding differences in the last bits of llama.cpp's
 * sums: greedy text, if two tokens are almost equally likely; seeded text, if the random number of a token is as
 * near to another one's.
 *
 * @retval BURBLE_OK       the request was accepted
 * @retval BURBLE_EFULL    all slots are busy and the queue is full, or has not as many places as there are `choices`;
 *                         the caller may try again later
 * @retval BURBLE_ECLOSED  the engine belongs to the parent of this process
 * @retval BURBLE_EINVAL   the prompt is empty, is not UTF-8, or has an id that the model does not have; an option is out
 *                         of its range; or `reserved` is not 0
 * @retval BURBLE_ETOOLONG the prompt leaves no room in the context
 * @retval BURBLE_ENOMEM   out of memory
 *
 * Unless the result is BURBLE_OK, the stream is unchanged, and *error (may be NULL) says what was
 * wrong. */
BURBLE_API int burble_llama_engine_submit(burble_llama_engine *engine,
                                          const burble_llama_request *request,
                                          burble_stream *stream, burble_error *error);

/** Where a request is. */
typedef enum burble_llama_stage {
    BURBLE_LLAMA_STAGE_NONE = 0,   /**< not in the engine: it is over, or was never there */
    BURBLE_LLAMA_STAGE_QUEUED = 1, /**< waits for a slot */
    BURBLE_LLAMA_STAGE_PROMPT = 2, /**< its prompt is being computed */
    BURBLE_LLAMA_STAGE_ANSWER = 3, /**< its text is being computed, or waits for a reader */
    BURBLE_LLAMA_STAGE_PAUSED =
        4, /**< lost its slot to another one, since its reader does not read */
} burble_llama_stage;

/** The place of a request. The library fills it in. */
typedef struct burble_llama_place {
    burble_llama_stage stage;
    uint32_t before;        /**< requests that get a slot before this one, if it is queued */
    uint32_t prompt_tokens; /**< in the prompt */
    uint32_t prompt_done;   /**< of these, computed or reused so far */
    uint32_t reused;        /**< of these, computed before */
    uint32_t reserved[7];   /**< 0: see burble.h */
} burble_llama_place;

/** Finds the request that writes to `stream`, or the one of its choices that has come farthest: for a keep-alive, or a
 * page that shows what happens. It takes time
 * that grows with the queue. Any thread may call it. In a forked child of the process that created the
 * engine, the stage is always BURBLE_LLAMA_STAGE_NONE. */
BURBLE_API void burble_llama_engine_find(const burble_llama_engine *engine,
                                         const burble_stream *stream, burble_llama_place *place);

/** Counts of an engine. */
typedef struct burble_llama_stats {
    uint32_t active;        /**< requests that have a slot */
    uint32_t waiting;       /**< requests in the queue */
    uint32_t paused;        /**< requests that lost their slots, since their readers do not read */
    uint64_t requests;      /**< accepted so far */
    uint64_t steps;         /**< completed so far, without the aborted ones */
    uint64_t prompt_tokens; /**< prompt tokens computed so far */
    uint64_t reused_tokens; /**< prompt tokens that need not be computed, as they had been before */
    uint64_t tokens;        /**< generated so far */
    uint64_t reserved[6];   /**< 0: see burble.h */
} burble_llama_stats;

/** The most tokens of one request, prompt and text together. Any thread may call it. */
BURBLE_API uint32_t burble_llama_engine_context(const burble_llama_engine *engine);

/** Fills in the present counts. Any thread may call it. In a forked child of the process that created the
 * engine, all counts are 0. */
BURBLE_API void burble_llama_engine_stats(const burble_llama_engine *engine,
                                          burble_llama_stats *stats);

/* ---- embeddings --------------------------------------------------------------------------------- */

/** Vectors of whole texts, for search and comparison: the nearer their directions, the more alike the model
 * finds the texts. */
typedef struct burble_llama_embedder burble_llama_embedder;

/** How one vector is made of those of a text's tokens. */
typedef enum burble_llama_pooling {
    BURBLE_LLAMA_POOLING_MODEL =
        0,                      /**< as the model's file says, or their mean if it says nothing */
    BURBLE_LLAMA_POOLING_MEAN,  /**< their mean */
    BURBLE_LLAMA_POOLING_FIRST, /**< the first token's (CLS) */
    BURBLE_LLAMA_POOLING_LAST,  /**< the last token's */
} burble_llama_pooling;

typedef struct burble_llama_embedder_options {
    /** The most tokens of one text; so many are computed at once, of one or of several texts. 0, the default:
     * the context that the model was trained with, but at most 4,096. */
    uint32_t context;
    /** The number of computing threads, including the caller's. 0, the default: one for each processor that
     * the process may use. */
    uint32_t threads;
    burble_llama_pooling pooling; /**< default: BURBLE_LLAMA_POOLING_MODEL */
    uint64_t reserved[4];         /**< 0: see burble.h */
} burble_llama_embedder_options;

/** Fills in the defaults. */
BURBLE_API void burble_llama_embedder_options_init(burble_llama_embedder_options *options);

/** Creates an embedder, which takes a reference to `model`, and may be used beside engines on it. If `options`
 * is NULL, the defaults apply. Any thread may call it.
 *
 * @retval BURBLE_OK           *out is the embedder, which the caller owns
 * @retval BURBLE_EINVAL       an option is out of its range, or `reserved` is not 0
 * @retval BURBLE_EUNSUPPORTED the model is made for ranking, and makes no vectors
 * @retval BURBLE_ENOMEM       no memory for a context of that length
 * @retval BURBLE_ESYSTEM      its threads could not be started (errno says why)
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_llama_embedder_create(burble_llama_model *model,
                                            const burble_llama_embedder_options *options,
                                            burble_llama_embedder **out, burble_error *error);

/** Frees it and sets *embedder to NULL. NULL and a pointer to NULL are allowed. No other thread may use it at the
 * same time. In a forked child, this does nothing for the parent's embedder, whose memory is not freed. */
BURBLE_API void burble_llama_embedder_destroy(burble_llama_embedder **embedder);

/** How many numbers a vector has. Any thread may call it. */
BURBLE_API size_t burble_llama_embedder_length(const burble_llama_embedder *embedder);

/** Makes the vectors of `n` texts (UTF-8), in their order: each has burble_llama_embedder_length numbers, and
 * length 1. Text of special tokens is ordinary text. `out` has room for all. The texts are computed in this
 * thread (and those that help it), as many at once as fit into `context`. Any thread may call it; calls wait for
 * each other.
 *
 * @retval BURBLE_OK        `out` is complete
 * @retval BURBLE_EINVAL    a text has no token, or more than `context`, or is not UTF-8
 * @retval BURBLE_ECANCELED burble_llama_embedder_cancel or burble_llama_embedder_interrupt was called
 * @retval BURBLE_EFAILED   llama.cpp cannot compute the tokens
 * @retval BURBLE_ECLOSED   the embedder is of the parent process
 * @retval BURBLE_ENOMEM    out of memory
 *
 * Unless the result is BURBLE_OK, the contents of `out` are undefined, and *error (may be NULL) says what was
 * wrong, with the number of the text, from 0. */
BURBLE_API int burble_llama_embedder_embed(burble_llama_embedder *embedder,
                                           const burble_text *texts, size_t n, float *out,
                                           burble_error *error);

/** Ends the call of burble_llama_embedder_embed that computes, even within a batch, and all later ones, with
 * BURBLE_ECANCELED. Any thread may call it. */
BURBLE_API void burble_llama_embedder_cancel(burble_llama_embedder *embedder);

/** Ends the calls of burble_llama_embedder_embed that compute or wait for others, even within a batch, with
 * BURBLE_ECANCELED; later calls are not affected. Any thread may call it. */
BURBLE_API void burble_llama_embedder_interrupt(burble_llama_embedder *embedder);

#ifdef __cplusplus
}
#endif

#endif
