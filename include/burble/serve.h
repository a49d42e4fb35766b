/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A server: answers of language models over HTTP, in the protocol of OpenAI. It is the library libburble-serve
 * (pkg-config: burble-serve), which is built if libuv, llhttp and jansson are found.
 *
 *     burble_server_options_init(&options);
 *     options.port = 8080;
 *     burble_server_create(&options, &server, &error);
 *     burble_server_add_model(server, &model, &error);        // model.submit: below
 *     burble_server_start(server, &error);
 *     ...
 *     burble_server_drain(server, 30 * 1000000000ull);        // at SIGTERM
 *     burble_server_wait(server, 0);
 *     burble_server_destroy(&server);
 *
 * The server has threads of its own, which run event loops: each client is a socket there, and a reader of the stream
 * of its answer. What generates is a *backend*: for each request, the server creates a stream and calls the function
 * `submit` of the model that the request names. The backend writes frames (frame.h) to this stream, from any thread,
 * or gives the server streams of plain text, from which the server makes frames (burble_server_read_text).
 *
 * A request is cancelled by its stream: burble_stream_append returns BURBLE_ECANCELED, and burble_stream_status
 * says so.
 *
 * Forks: a forked child has none of the server's threads. Its server counts as stopped; call burble_server_destroy
 * there, which closes the child's copies of the sockets, so that clients of the parent see when the parent closes a
 * connection.
 */
#ifndef BURBLE_SERVE_H
#define BURBLE_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>
#include <burble/error.h>
#include <burble/frame.h>
#include <burble/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_server burble_server;

/* ---- requests ----------------------------------------------------------------------------------- */

/** Which form an answer has; `route` of its begin frame. */
typedef enum burble_serve_route {
    BURBLE_SERVE_CHAT = 1,       /**< POST /v1/chat/completions */
    BURBLE_SERVE_COMPLETION = 2, /**< POST /v1/completions */
} burble_serve_route;

/** X(NAME, json name, type, least, most): the parameters of a request, beside its messages or prompt. Numbers are
 * in `numbers` of the request; the other types have members of their own. */
#define BURBLE_SERVE_PARAMETERS(X)                                                                 \
    X(MAX_TOKENS, "max_tokens", INTEGER, 1,                                                        \
      2147483647) /* also max_completion_tokens, n_predict */                                      \
    X(TEMPERATURE, "temperature", NUMBER, 0, 100)                                                  \
    X(TOP_P, "top_p", NUMBER, 0, 1)                                                                \
    X(TOP_K, "top_k", INTEGER, 0, 2147483647)                                                      \
    X(MIN_P, "min_p", NUMBER, 0, 1)                                                                \
    X(TYPICAL_P, "typical_p", NUMBER, 0, 1)                                                        \
    X(SEED, "seed", INTEGER, -1, 4294967295)                                                       \
    X(PRESENCE_PENALTY, "presence_penalty", NUMBER, -100, 100)                                     \
    X(FREQUENCY_PENALTY, "frequency_penalty", NUMBER, -100, 100)                                   \
    X(REPEAT_PENALTY, "repeat_penalty", NUMBER, 0, 100)                                            \
    X(REPEAT_LAST_N, "repeat_last_n", INTEGER, -1, 2147483647)                                     \
    X(DRY_MULTIPLIER, "dry_multiplier", NUMBER, 0, 100)                                            \
    X(DRY_BASE, "dry_base", NUMBER, 1, 100)                                                        \
    X(DRY_ALLOWED_LENGTH, "dry_allowed_length", INTEGER, 0, 2147483647)                            \
    X(DRY_PENALTY_LAST_N, "dry_penalty_last_n", INTEGER, -1, 2147483647)                           \
    X(MIROSTAT, "mirostat", INTEGER, 0, 2)                                                         \
    X(MIROSTAT_TAU, "mirostat_tau", NUMBER, 0, 100)                                                \
    X(MIROSTAT_ETA, "mirostat_eta", NUMBER, 0, 1)                                                  \
    X(IGNORE_EOS, "ignore_eos", BOOLEAN, 0, 1)                                                     \
    X(CACHE_PROMPT, "cache_prompt", BOOLEAN, 0, 1)                                                 \
    X(PRIORITY, "priority", INTEGER, -2147483647, 2147483647)                                      \
    X(CHOICES, "n", INTEGER, 1, 128)                                                               \
    X(TOP_LOGPROBS, "top_logprobs", INTEGER, 0, 20) /* also the number of completions' logprobs */ \
    X(LOGPROBS, "logprobs", BOOLEAN, 0, 1)                                                         \
    X(STOP, "stop", STRINGS, 0, 64)                                                                \
    X(DRY_SEQUENCE_BREAKERS, "dry_sequence_breakers", STRINGS, 0, 64)                              \
    X(LOGIT_BIAS, "logit_bias", BIAS, 0, 4096)                                                     \
    X(GRAMMAR, "grammar", STRING, 0, 65536)                                                        \
    X(RESPONSE_FORMAT, "response_format", FORMAT, 0, 0)

typedef enum burble_serve_parameter {
#define BURBLE_SERVE_PARAMETER_ENUM(name, json, type, least, most) BURBLE_SERVE_##name,
    BURBLE_SERVE_PARAMETERS(BURBLE_SERVE_PARAMETER_ENUM)
#undef BURBLE_SERVE_PARAMETER_ENUM
        BURBLE_SERVE_N_PARAMETERS
} burble_serve_parameter;

/** The bit of a parameter in burble_serve_model.parameters and burble_serve_request.given. */
#define BURBLE_SERVE_BIT(parameter) ((uint64_t)1 << (parameter))

/** In burble_serve_model.parameters: the backend reads `body` itself; the server refuses no name that it does
 * not know. */
#define BURBLE_SERVE_ANY ((uint64_t)1 << 63)

/** In burble_serve_model.parameters: the backend takes requests with several prompts (`prompts`). */
#define BURBLE_SERVE_PROMPTS ((uint64_t)1 << 62)

typedef struct burble_serve_message {
    burble_text role;    /**< "system", "user", "assistant" …; has no NUL */
    burble_text content; /**< text; the parts of a list are joined by line feeds */
    burble_text name;    /**< empty: none */
} burble_serve_message;

/** One prompt of a completion: text, or ids. */
typedef struct burble_serve_prompt {
    burble_text text;
    const int32_t *ids; /**< if not NULL: `n_ids` ids, each 0 or above */
    size_t n_ids;
} burble_serve_prompt;

typedef struct burble_serve_bias {
    int32_t id;
    float bias; /**< -100 to 100; `false` in JSON is -INFINITY, as in llama.cpp */
} burble_serve_bias;

typedef struct burble_serve_header {
    burble_text name; /**< in lower case */
    burble_text value;
} burble_serve_header;

/** A request, which the server has checked: everything is in the ranges above, and valid UTF-8. It is valid
 * until `submit` returns. */
typedef struct burble_serve_request {
    const char *id; /**< of the answer: "chatcmpl-" or "cmpl-" and 32 hexadecimal digits */
    burble_serve_route route;
    const char *model;

    const burble_serve_message *messages; /**< CHAT: `n_messages`, at least one */
    size_t n_messages;
    burble_text prompt; /**< COMPLETION: the first of `prompts`: text, or */
    const int32_t *ids; /**< if not NULL: `n_ids` ids, each 0 or above */
    size_t n_ids;
    /** COMPLETION: all `n_prompts` prompts, one unless the model has BURBLE_SERVE_PROMPTS. Choice j of prompt i is
     * choice i * `choices` + j of the answer. */
    const burble_serve_prompt *prompts;
    size_t n_prompts;

    uint64_t given; /**< bits of the parameters that the request has (not null) */
    double numbers[BURBLE_SERVE_N_PARAMETERS]; /**< of numbers and booleans that are given */
    const burble_text *stop;                   /**< STOP */
    size_t n_stop;
    const burble_text *breakers; /**< DRY_SEQUENCE_BREAKERS */
    size_t n_breakers;
    const burble_serve_bias *bias; /**< LOGIT_BIAS */
    size_t n_bias;
    burble_text grammar; /**< GRAMMAR; with `json_schema`, the server has made it of the schema */
    bool json_object;    /**< RESPONSE_FORMAT is {"type": "json_object"} */
    /** RESPONSE_FORMAT has a JSON Schema; GRAMMAR is given, too. (If both are false, RESPONSE_FORMAT is "text".) */
    bool json_schema;

    /** Answers to each prompt: `n`, or 1. Those to all prompts are at most BURBLE_FRAME_MAX_CHOICES. */
    uint32_t choices;
    bool streamed;                      /**< the client asked for a stream */
    bool resumable;                     /**< the answer outlives its connection */
    burble_text body;                   /**< the whole request, as JSON */
    const burble_serve_header *headers; /**< without those that carry keys */
    size_t n_headers;
    const char *request_id; /**< X-Request-Id, or what the server made */
    burble_server *server; /**< NULL: the request comes from a front on another machine (relay.h) */
    /** The frames after BURBLE_FRAME_BEGIN that the answer has already: another worker, whose model has the same
     * `digest`, has written them. The backend goes on after them as if it had written them itself, and writes none of
     * them again. The stream has all of them. Never there for a model without `digest`, and for several choices. */
    const burble_text *written;
    size_t n_written;

    /* For a backend whose answers other servers show, too (burble_serve_finder). */
    uint64_t key;            /**< tells API keys apart, as burble_serve_found.key does */
    const char *token;       /**< Burble-Token of the reply: 32 hexadecimal digits, or "" */
    burble_text idempotency; /**< Idempotency-Key; empty: none */
    uint64_t body_hash;      /**< of `body` */
    burble_text begin;       /**< the frame that the stream has */
} burble_serve_request;

/** A number or boolean of a request, or `otherwise` if it is not given. */
static inline double burble_serve_number(const burble_serve_request *request,
                                         burble_serve_parameter parameter, double otherwise)
{
    return (request->given & BURBLE_SERVE_BIT(parameter)) != 0 ? request->numbers[parameter]
                                                               : otherwise;
}

/* ---- backends ----------------------------------------------------------------------------------- */

/** Where a request is, for keep-alives and pages. */
typedef struct burble_serve_place {
    bool waits;             /**< for a slot */
    uint32_t before;        /**< requests that get one first */
    uint32_t prompt_tokens; /**< in the prompt; 0: unknown */
    uint32_t prompt_done;
    uint64_t reserved[4]; /**< 0 */
} burble_serve_place;

/** What a backend counts. */
typedef struct burble_serve_load {
    uint64_t slots;   /**< requests that it can compute at once; 0: unknown */
    uint64_t running; /**< requests that have one */
    uint64_t waiting; /**< requests that wait for one */
    uint64_t prompt_tokens, reused_tokens, tokens, steps; /**< so far */
    uint64_t reserved[8];                                 /**< 0 */
} burble_serve_load;

/** A model, and the backend that generates its text. Functions may be called in several threads at once, none
 * of which is an event loop's, except `cancelled`, which is called in an event loop's thread and must not block.
 * Functions that are NULL are not offered to clients. */
typedef struct burble_serve_model {
    const char *name; /**< 1 to BURBLE_FRAME_MAX_NAME bytes of UTF-8 */
    uint64_t created; /**< seconds since 1970; 0: when it was added */
    /** The parameters that the backend honours: the server refuses the others by name. */
    uint64_t parameters;
    uint32_t context; /**< most tokens of prompt and answer; 0: unknown. It is told to clients */
    bool chat;        /**< it has a chat template: POST /v1/chat/completions is possible */
    void *arg;        /**< passed to the functions */

    /** Takes a request. The backend takes a reference to `stream` (burble_stream_ref), which has a frame,
     * BURBLE_FRAME_BEGIN, and with `echo` the text of the prompt for each choice, and calls burble_stream_hand_over
     * if another thread writes it. May block for a short time. It must not wait for the answer.
     *
     * @retval BURBLE_OK           the request was taken
     * @retval BURBLE_EINVAL       400: *error says what is wrong; if it begins with the name of a parameter and a
     *                             colon, clients are told the name
     * @retval BURBLE_EFULL        429: its queue is full
     * @retval BURBLE_EUNSUPPORTED 400: as BURBLE_EINVAL
     * @retval BURBLE_ETOOLONG     400: as BURBLE_EINVAL; the prompt is longer than the context
     * @retval BURBLE_ECLOSED, BURBLE_ENOMEM  503
     * @retval BURBLE_AGAIN        503: it is not known yet whether the request was taken. The client is to repeat it with
     *                             its Idempotency-Key. The stream goes on, as if the client had left
     * @retval BURBLE_EGONE        another server has an answer with this Idempotency-Key: the message of *error is its id, of 32
     *                             hexadecimal digits, for burble_serve_finder.find; or, if it is to a request with another
     *                             body, empty: 409. Only if the server has a finder
     * @retval other               500 */
    int (*submit)(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error);
    /** Called once if the server has cancelled `stream` of a request that was taken: nobody wants the answer any
     * more. Optional: backends that append to the stream learn of it there. */
    void (*cancelled)(void *arg, burble_stream *stream);
    /** Optional. As burble_llama_model_tokenize. */
    int (*tokenize)(void *arg, burble_text text, bool add_special, bool parse_special, int32_t *ids,
                    size_t capacity, size_t *n, burble_error *error);
    /** Optional. The text of one id. As burble_llama_model_piece. */
    int (*piece)(void *arg, int32_t id, char *text, size_t capacity, size_t *len);
    void (*place)(void *arg, const burble_stream *stream,
                  burble_serve_place *place);         /**< optional */
    void (*load)(void *arg, burble_serve_load *load); /**< optional */
    /** Optional. Called once when the model was removed, or the server destroyed, and no function above runs any
     * more. */
    void (*release)(void *arg);
    /** Optional. What text depends on besides the request: two models with the same digest compute the same text for
     * the same request and seed, and can go on with the answers of each other (burble_serve_request.written). 1 to
     * BURBLE_SERVE_MAX_DIGEST visible ASCII characters but '-' alone; it is copied. NULL: it cannot go on. */
    const char *digest;
    /** Optional: other servers show the answers, too (burble_serve_finder), so this one keeps an answer only while it
     * has a client here. Called if an answer that is resumable, or that has an Idempotency-Key, has none any more:
     * the server reads `stream` no longer, and looks for the answer anew if a client returns. Called in any thread;
     * must not block. */
    void (*left)(void *arg, burble_stream *stream);
    /** Optional. While it returns false, requests that name no model go to another one, if there is one. Must not
     * block, and calls no function of the server. Any thread. */
    bool (*usable)(void *arg);
    uint64_t reserved[5]; /**< 0: see burble.h */
} burble_serve_model;

/** The longest `digest` of a model, in bytes. */
#define BURBLE_SERVE_MAX_DIGEST 64

/** Counts of a prompt that are known only once its answer has text: the beginning of a struct of the backend's. */
typedef struct burble_serve_counts {
    /** Sets the counts that it knows, which are those of the source, and 0. Called once at the end of the text, in a
     * thread of the server; must not block. */
    void (*read)(struct burble_serve_counts *counts, uint64_t *prompt_tokens,
                 uint64_t *reused_tokens);
    /** Called once when the server needs it no more, in any thread. */
    void (*release)(struct burble_serve_counts *counts);
} burble_serve_counts;

/** One choice's plain text, which the server reads and makes frames of. */
typedef struct burble_serve_source {
    /** Records of text; the server takes a reference, and cancels it with the answer. */
    burble_stream *stream;
    /** For the usage: at most BURBLE_FRAME_MAX_NUMBER; of the first source only. */
    uint64_t prompt_tokens;
    /** Of `stream`, attached to no hub: the server reads with it, where others have read before, or text is written
     * already that the stream itself does not keep. After BURBLE_OK, it is the server's. NULL: the server makes one,
     * from the oldest record on. */
    burble_reader *reader;
    /** Of the first source only; NULL: `prompt_tokens` is all that is known. After BURBLE_OK, it is the server's. */
    burble_serve_counts *counts;
    uint64_t reserved[2]; /**< 0: see burble.h */
} burble_serve_source;

/** For a backend that has streams of plain text: the server reads source i as choice i of the answer `stream`, to
 * which the backend writes nothing then, and ends it when all have ended. Tokens are counted by the `tokens` of the
 * records. A source that fails, fails the answer. If the client is so far behind that the answer takes no more text
 * (`max_lag`), 65,536 units of each source wait beside it; then burble_stream_append to the source waits, too. Call it
 * once for a stream that `submit` was called with, in `submit` or later; if the request has been cancelled meanwhile, the
 * sources are cancelled. Any thread may call it.
 *
 * @retval BURBLE_OK      the sources are read
 * @retval BURBLE_EINVAL  `n` is not the number of choices, `reserved` is not 0, or the answer is not one of the server's
 *                        that still runs, or has sources already
 * @retval BURBLE_ENOMEM  out of memory: the answer has failed */
BURBLE_API int burble_server_read_text(burble_server *server, burble_stream *stream,
                                       const burble_serve_source *sources, size_t n);

/* ---- answers that other servers have, too ------------------------------------------------------- */

/** An answer that a finder has found. */
typedef struct burble_serve_found {
    /** Its frames from BURBLE_FRAME_BEGIN on, which it has already; it keeps them all (BURBLE_KEEP_ALL). The
     * reference becomes the server's. */
    burble_stream *stream;
    uint64_t key;         /**< burble_serve_request.key of its request: others do not find it */
    char token[33];       /**< burble_serve_request.token */
    bool kept;            /**< its request was resumable, or had an Idempotency-Key */
    uint64_t reserved[4]; /**< 0: see burble.h */
} burble_serve_found;

/** Finds answers that the server does not know since another one has taken the request. */
typedef struct burble_serve_finder {
    void *arg; /**< passed to the functions */

    /** Looks for the answer of this name, which is 32 hexadecimal digits. May block for a short time. Called in a
     * thread that is no event loop's.
     *
     * @retval BURBLE_OK      *found is the answer
     * @retval BURBLE_EGONE   404: there is none (any more)
     * @retval BURBLE_EFORMAT 410: its frames are damaged
     * @retval other          as of burble_serve_model.submit; *error says why */
    int (*find)(void *arg, const char *id, burble_serve_found *found, burble_error *error);
    /** What becomes of an answer that was found: as the functions of burble_serve_model. */
    void (*cancelled)(void *arg, burble_stream *stream);
    void (*left)(void *arg, burble_stream *stream);
    /** Optional. While it returns false, GET /ready says 503. Must not block. Any thread. */
    bool (*ready)(void *arg);
    /** Optional. More lines for GET /metrics: calls `put` any number of times. Called in a thread that is no event
     * loop's. */
    void (*metrics)(void *arg, void (*put)(void *to, const char *text, size_t len), void *to);
    /** Optional. Called once at the beginning of burble_server_destroy: after it, `arg` calls no function of the
     * server. */
    void (*closed)(void *arg);
    /** How long, in nanoseconds, a client whose position is beyond the present end of an answer waits for it, before it
     * gets 410. */
    uint64_t patience;
    /** Optional. What is missing before a request can be answered, such as a worker: while it does not return NULL,
     * GET /ready says 503, with this text for a person, which is valid as long as the server. Must not block. Any
     * thread. */
    const char *(*missing)(void *arg);
    uint64_t reserved[7]; /**< 0: see burble.h */
} burble_serve_finder;

/** Before burble_server_start: answers that the server does not know are looked for by `finder`, which is copied. From
 * now on, all servers with a finder give an API key the same identity.
 *
 * @retval BURBLE_OK      they are
 * @retval BURBLE_EINVAL  the server was started, or has a finder; `find`, `cancelled` or `left` is NULL; or `reserved` is
 *                        not 0 */
BURBLE_API int burble_server_set_finder(burble_server *server, const burble_serve_finder *finder,
                                        burble_error *error);

/* ---- servers ------------------------------------------------------------------------------------ */

/** One line of the log, for a request that is over. Strings are valid until the function returns. */
typedef struct burble_serve_log {
    const char *request_id;
    const char *client; /**< address */
    const char *method;
    const char *path;  /**< without its query */
    const char *model; /**< "": none */
    const char *id;    /**< of the answer; "": none */
    uint32_t status;
    const char *result; /**< "ok", "error", "disconnected", "cancelled" … */
    uint64_t prompt_tokens, reused_tokens, tokens;
    uint64_t queue_ns, prompt_ns, answer_ns, total_ns;
    uint64_t sent; /**< bytes */
    uint64_t reserved[8];
} burble_serve_log;

typedef struct burble_server_options {
    const char *host; /**< a numeric address, or a name; default: "127.0.0.1" */
    uint16_t port;    /**< 0: any free one; default: 8080 */
    int listen_fd; /**< a listening socket (socket activation), which the server takes over; default: -1 */
    uint32_t loops;   /**< event loops, each with a thread: 1 to 64; default: 1 */
    uint32_t backlog; /**< connections that the kernel holds: 1 to 65,535; default: 1024 */
    /** Threads that parse requests and call backends: 2 to 1,024; default: 4. The calls of one backend take at most
     * half of them at once, so that one whose calls do not return holds up no other requests than its own. */
    uint32_t backend_threads;

    const char *const *keys; /**< API keys; `n_keys` 0, the default: none is asked for */
    size_t n_keys;
    const char *const
        *origins; /**< CORS: "*", or origins such as "https://example.com"; default: none */
    size_t n_origins;
    /** The hosts that requests may be for, by their header Host: names and addresses without ports ("[::1]" in
     * brackets), or "*" for any; a request for another one gets status 421. It keeps pages of other origins out whose
     * names lead to this machine (DNS rebinding). Default, with `n_allowed_hosts` 0: if the server listens on a
     * loopback address and has no keys, "localhost", "127.0.0.1", "[::1]" and `host`; else any. */
    const char *const *allowed_hosts;
    size_t n_allowed_hosts;
    bool page;                /**< serve the page at /; default: true */
    uint32_t expected_models; /**< GET /ready says 503 until so many were added; default: 1 */

    /* Bounds. */
    /** Connections in all: 1 to 2^24; default: 16,384. At most what the limit of descriptors allows. */
    uint32_t max_connections;
    uint32_t max_connections_key; /**< for each key; default: 0: no bound */
    /** Bytes of a request's line and headers: 256 to 1 MiB; default: 16 KiB. */
    uint32_t max_header;
    uint64_t max_body; /**< bytes of a request's body: 1 to 1 GiB; default: 8 MiB */
    /** Bytes of all bodies that are being received or parsed, and of what clients send during answers; default:
     * 256 MiB. */
    uint64_t max_bodies;
    /** Bytes that wait for a client's socket, before its reader stops: 256 to 1 GiB; default: 16 KiB. */
    uint32_t max_output;
    uint32_t socket_buffer; /**< SO_SNDBUF; default: 16 KiB; 0: the system's */
    /** Bytes of an answer that is not streamed, or whose log is kept since it is resumable or has an Idempotency-Key:
     * above that, it fails. Of an answer that another server computes (`left`), how far a client may be behind before
     * the writer waits. 1 KiB to 1 GiB; default: 1 MiB. */
    uint64_t max_answer;
    /** How far the client of any other answer may be behind, in bytes of frames that the log holds for it beside what
     * waits for its socket, before burble_stream_append waits. (A thread that writes several answers appends with
     * BURBLE_NO_WAIT, so that none waits for the client of another one.) 256 to 1 GiB; default: 6 KiB, which is the
     * text of some 500 tokens. */
    uint64_t max_lag;
    /** Bytes of the logs of all finished answers that can be resumed; default: 64 MiB. */
    uint64_t retain;
    /** Bytes that a client may send during its answer: at most 1 GiB; default: 64 KiB. */
    uint64_t max_ignored;
    uint32_t max_json_depth; /**< of a body: 4 to 1,024; default: 64 */

    /* Times, in nanoseconds. */
    uint64_t header_timeout; /**< for a request's headers to be complete; default: 10 s */
    /** The time for a body, plus one second for each `body_rate` bytes of it; default: 10 s. */
    uint64_t body_timeout;
    uint64_t body_rate;     /**< bytes a second: at least 1; default: 16 KiB */
    uint64_t idle_timeout;  /**< between requests; default: 75 s */
    uint64_t stall_timeout; /**< a client that takes nothing; default: 30 s */
    /** Bytes a second: at least 1; default: 1 KiB. A client for which bytes wait is cut if it has taken fewer of them
     * than that, since they began to wait, after `stall_timeout`. */
    uint64_t output_rate;
    /** How long a stream's headers wait for its first text; default: 10 s. */
    uint64_t first_timeout;
    uint64_t ping_interval; /**< keep-alive comments while there is no text; default: 15 s */
    /** How long a resumable answer lives without a client, and after its end; default: 600 s. */
    uint64_t resume_time;
    uint64_t drain_delay; /**< how long connections are still taken once draining; default: 5 s */

    /** Called in an event loop's thread for each request that is over. Must not block. Default: NULL. */
    void (*log)(const burble_serve_log *line, void *arg);
    void *log_arg;
    uint64_t reserved[14]; /**< 0: see burble.h */
} burble_server_options;

/** Fills in the defaults. */
BURBLE_API void burble_server_options_init(burble_server_options *options);

/** Creates a server, which does not listen yet. Everything in `options` is copied. NULL: the defaults.
 *
 * @retval BURBLE_OK      *out is the server, which the caller owns
 * @retval BURBLE_EINVAL  an option is out of its range; a key is not 1 to 512 visible ASCII characters; or `reserved` is
 *                        not 0
 * @retval BURBLE_ESYSTEM the system has no random numbers
 * @retval BURBLE_ENOMEM  out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_server_create(const burble_server_options *options, burble_server **out,
                                    burble_error *error);

/** Adds a model. Everything but `arg` is copied. Until `expected_models` were added, GET /ready says 503. Any thread
 * may call it.
 *
 * @retval BURBLE_OK      clients can use it
 * @retval BURBLE_EINVAL  there is one of that name; the name is empty, too long or not UTF-8; `submit` is
 *                        NULL; or `reserved` is not 0
 * @retval BURBLE_ENOMEM  out of memory */
BURBLE_API int burble_server_add_model(burble_server *server, const burble_serve_model *model,
                                       burble_error *error);

/** Removes a model: new requests get 404; answers that run go on. Any thread may call it. BURBLE_OK, or BURBLE_EINVAL
 * if there is none of that name. */
BURBLE_API int burble_server_remove_model(burble_server *server, const char *name);

/** Binds, listens and starts the threads. Any thread may call it. If it fails because of the address, it may be called
 * again.
 *
 * @retval BURBLE_OK      the server accepts connections
 * @retval BURBLE_EINVAL  it was started before, or another thread starts it; `host` is neither an address nor a
 *                        known name; or `listen_fd` is no listening socket
 * @retval BURBLE_ESYSTEM the address could not be bound, or a thread not started (errno says why)
 * @retval BURBLE_ENOMEM  out of memory */
BURBLE_API int burble_server_start(burble_server *server, burble_error *error);

/** The port that it listens on; 0 before burble_server_start. Any thread may call it. */
BURBLE_API uint16_t burble_server_port(const burble_server *server);

/** Replaces the API keys. A request that was accepted with an old key goes on. Any thread may call it.
 *
 * @retval BURBLE_OK      from the next request on, these keys count
 * @retval BURBLE_EINVAL  a key is not 1 to 512 visible ASCII characters
 * @retval BURBLE_ENOMEM  out of memory
 *
 * Unless the result is BURBLE_OK, the old keys stay. */
BURBLE_API int burble_server_set_keys(burble_server *server, const char *const *keys, size_t n);

/** Begins to drain: GET /ready says 503 at once; after `drain_delay`, no connection is accepted any more, and new
 * POST requests get 503. `grace` nanoseconds after this call, the answers that still run fail. The server stops once
 * no answer runs. A second call stops it now. Before burble_server_start, it does nothing. Any thread may call it. */
BURBLE_API void burble_server_drain(burble_server *server, uint64_t grace);

/** Waits until the server has stopped; returns at once if it was never started. `deadline` by burble_now; 0: none.
 * BURBLE_OK or BURBLE_ETIMEDOUT. Any thread may call it. */
BURBLE_API int burble_server_wait(burble_server *server, uint64_t deadline);

/** Stops the server at once, if it runs, waits for its threads, frees it and sets *server to NULL. NULL and a
 * pointer to NULL are allowed. Streams that were given to backends stay valid. */
BURBLE_API void burble_server_destroy(burble_server **server);

/** Counts of a server. */
typedef struct burble_server_stats {
    uint64_t connections;  /**< now */
    uint64_t accepted;     /**< so far */
    uint64_t refused;      /**< connections above a bound */
    uint64_t requests;     /**< so far, of all routes */
    uint64_t running;      /**< answers that have not ended */
    uint64_t streaming;    /**< clients that read an answer */
    uint64_t queued_bytes; /**< bytes that wait for clients */
    uint64_t retained;     /**< bytes of finished answers' logs */
    uint64_t resumed;      /**< clients that came back */
    uint64_t stalled;      /**< clients that were cut, since they took nothing */
    uint64_t reserved[14];
} burble_server_stats;

/** Fills in the present counts. Any thread may call it. */
BURBLE_API void burble_server_stats_now(const burble_server *server, burble_server_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
