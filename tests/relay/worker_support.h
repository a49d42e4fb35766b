/* SPDX-License-Identifier: MIT
 *
 * For the tests of a worker: a backend whose text the test writes, a front that is a few calls of the scripts, and what
 * Redis has.
 */
#ifndef BURBLE_TESTS_RELAY_WORKER_SUPPORT_H
#define BURBLE_TESTS_RELAY_WORKER_SUPPORT_H

#include "support.h"

#include <pthread.h>
#include <string.h>

#include <burble/frame.h>
#include <burble/relay.h>

#include "redis_server.h"
#include "relay/scripts.h"

#define LEASE (200 * MS)

/* ---- a backend -------------------------------------------------------------------------------------------- */

enum { MOST_JOBS = 16 };

struct job {
    burble_stream *stream;
    uint64_t written; /* frames after `begin` that it was given */
    uint32_t next;    /* number of the text that is written next */
    uint64_t seed;
    bool resumable;
    char prompt[64], id[64], first[64]; /* `first`: the text of the first frame that it was given */
};

struct backend {
    pthread_mutex_t lock;
    int result; /* of submit */
    unsigned n, cancelled, released;
    struct job jobs[MOST_JOBS];
};

static inline int backend_submit(void *arg, const burble_serve_request *request,
                                 burble_stream *stream, burble_error *error)
{
    struct backend *backend = arg;
    burble_frame frame;
    if (backend->result != BURBLE_OK) {
        snprintf(error->message, sizeof error->message, "prompt: expected another one");
        return backend->result;
    }
    pthread_mutex_lock(&backend->lock);
    struct job *job = &backend->jobs[backend->n % MOST_JOBS];
    *job = (struct job){
        .stream = burble_stream_ref(stream),
        .written = request->n_written,
        .next = (uint32_t)request->n_written,
        .seed = (uint64_t)burble_serve_number(request, BURBLE_SERVE_SEED, 0),
        .resumable = request->resumable,
    };
    snprintf(job->prompt, sizeof job->prompt, "%.*s", (int)request->prompt.len,
             request->prompt.bytes);
    snprintf(job->id, sizeof job->id, "%s", request->id);
    if (request->n_written > 0
        && burble_frame_read(request->written[0].bytes, request->written[0].len, &frame)
               == BURBLE_OK)
        snprintf(job->first, sizeof job->first, "%.*s", (int)frame.u.text.text.len,
                 frame.u.text.text.bytes);
    burble_stream_hand_over(stream);
    backend->n++;
    pthread_mutex_unlock(&backend->lock);
    return BURBLE_OK;
}

/* The job of answer `number`: backends get requests in any order. */
static inline struct job *job_of(struct backend *backend, unsigned number)
{
    char prompt[64];
    struct job *found = NULL;
    snprintf(prompt, sizeof prompt, "number %u", number);
    pthread_mutex_lock(&backend->lock);
    for (unsigned i = 0; i < backend->n && i < MOST_JOBS; i++)
        if (strcmp(backend->jobs[i].prompt, prompt) == 0)
            found = &backend->jobs[i];
    pthread_mutex_unlock(&backend->lock);
    return found;
}

static inline void backend_cancelled(void *arg, burble_stream *stream)
{
    struct backend *backend = arg;
    (void)stream;
    pthread_mutex_lock(&backend->lock);
    backend->cancelled++;
    pthread_mutex_unlock(&backend->lock);
}

static inline void backend_release(void *arg)
{
    struct backend *backend = arg;
    for (unsigned i = 0; i < backend->n && i < MOST_JOBS; i++)
        burble_stream_unref(&backend->jobs[i].stream);
    backend->released++;
}

static inline burble_serve_model model_of(struct backend *backend, const char *digest)
{
    *backend = (struct backend){.lock = PTHREAD_MUTEX_INITIALIZER};
    return (burble_serve_model){
        .name = "m",
        .parameters = BURBLE_SERVE_BIT(BURBLE_SERVE_SEED)
                      | BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS)
                      | BURBLE_SERVE_BIT(BURBLE_SERVE_CHOICES),
        .chat = true,
        .arg = backend,
        .submit = backend_submit,
        .cancelled = backend_cancelled,
        .release = backend_release,
        .digest = digest,
    };
}

/* The frame of text number k. */
static inline size_t make_text(uint32_t k, char *bytes, size_t room)
{
    char text[32];
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
    frame.u.text.text.bytes = text;
    frame.u.text.text.len = (size_t)snprintf(text, sizeof text, "text %u ", k);
    frame.u.text.ids = frame.u.text.logprobs = (burble_text){"", 0};
    return burble_frame_write(&frame, bytes, room);
}

/* Writes the next `n` texts of a job. Returns the last result. */
static inline int write_texts(struct job *job, unsigned n)
{
    char bytes[128];
    int result = BURBLE_OK;
    for (unsigned i = 0; i < n && result == BURBLE_OK; i++) {
        const size_t len = make_text(job->next, bytes, sizeof bytes);
        result = burble_stream_append_until(job->stream, bytes, len, 1, burble_now() + PATIENCE);
        job->next += result == BURBLE_OK;
    }
    return result;
}

static inline unsigned jobs_of(struct backend *backend)
{
    pthread_mutex_lock(&backend->lock);
    const unsigned n = backend->n;
    pthread_mutex_unlock(&backend->lock);
    return n;
}

static inline unsigned cancelled_of(struct backend *backend)
{
    pthread_mutex_lock(&backend->lock);
    const unsigned n = backend->cancelled;
    pthread_mutex_unlock(&backend->lock);
    return n;
}

/* ---- a relay ------------------------------------------------------------------------------------------------ */

static inline void print_line(const char *line, void *arg)
{
    (void)arg;
    if (getenv("BURBLE_TEST_VERBOSE") != NULL)
        printf("  %s\n", line);
}

static inline burble_relay_options options_for(const struct redis_server *server)
{
    burble_relay_options options;
    burble_relay_options_init(&options);
    options.url = server->url;
    options.lease = LEASE;
    options.log = print_line;
    return options;
}

/* Whether Redis has a session of this worker. */
static inline bool is_registered(burble_relay *relay, const char *name)
{
    burble_relay_status *status;
    bool found = false;
    if (burble_relay_status_read(relay, 0, &status, NULL) != BURBLE_OK)
        return false;
    for (size_t i = 0; i < status->n_workers; i++)
        found |= strcmp(status->workers[i].name, name) == 0;
    burble_relay_status_destroy(&status);
    return found;
}

static inline burble_relay *start_worker_at(struct place at, const burble_relay_options *options,
                                            struct backend *backend, const char *digest,
                                            uint32_t slots)
{
    burble_relay *relay;
    burble_error error;
    char name[32];
    static unsigned n;
    burble_relay_options named = *options;
    snprintf(name, sizeof name, "worker %u", n++);
    named.name = name;
    const burble_serve_model model = model_of(backend, digest);
    assert_result_at(at, burble_relay_create(&named, &relay, &error), BURBLE_OK);
    assert_result_at(at, burble_relay_add_model(relay, &model, slots, &error), BURBLE_OK);
    if (burble_relay_start(relay, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    UNTIL(is_registered(relay, name));
    return relay;
}
#define start_worker(...) start_worker_at(HERE, __VA_ARGS__)

/* ---- a front: calls of the scripts --------------------------------------------------------------------------- */

struct argument {
    const char *bytes;
    size_t len;
};
#define WORD(text) ((struct argument){text, strlen(text)})

static inline const char *run_script(struct redis_server *server, enum burble__script script,
                                     const struct argument *arguments, int n)
{
    const char *parts[64] = {"EVAL", (const char *)burble__scripts[script].text, "1", "{burble}:"};
    size_t lens[64] = {4, burble__scripts[script].len, 1, 9};
    for (int i = 0; i < n; i++) {
        parts[4 + i] = arguments[i].bytes;
        lens[4 + i] = arguments[i].len;
    }
    return redis_call(server, 4 + n, parts, lens);
}

/* A frame with its hash before it; *hash goes on. Returns the length. */
static inline size_t with_hash(uint32_t *hash, const char *frame, size_t len, char *out)
{
    *hash = burble_frame_hash(*hash, frame, len);
    for (unsigned i = 0; i < 4; i++)
        out[i] = (char)(unsigned char)(*hash >> (8 * i));
    memcpy(out + 4, frame, len);
    return len + 4;
}

static inline size_t make_begin(const char *id, char *bytes, size_t room)
{
    burble_frame frame = {.kind = BURBLE_FRAME_BEGIN};
    frame.u.begin.id = (burble_text){id, strlen(id)};
    frame.u.begin.model = (burble_text){"m", 1};
    frame.u.begin.created = 1;
    frame.u.begin.version = BURBLE_FRAME_VERSION;
    frame.u.begin.route = BURBLE_SERVE_COMPLETION;
    return burble_frame_write(&frame, bytes, room);
}

/* An id of its own for each i. */
static inline const char *id_of(unsigned i)
{
    static char ids[8][33];
    snprintf(ids[i % 8], sizeof ids[0], "%08x%024x", 0x9e3779b9u * (i + 1), i);
    return ids[i % 8];
}

/* `body` is escaped for JSON. */
static inline const char *submit_body(struct redis_server *server, unsigned i, const char *body)
{
    char begin[128], value[132], request[4096];
    uint32_t hash = BURBLE_FRAME_HASH;
    snprintf(request, sizeof request,
             "{\"v\":1,\"route\":2,\"id\":\"cmpl-%s\",\"seed\":7,\"resumable\":true,"
             "\"request_id\":\"r\",\"body\":\"%s\"}",
             id_of(i), body);
    const size_t n = with_hash(&hash, begin, make_begin("cmpl-0", begin, sizeof begin), value);
    const struct argument arguments[] = {
        WORD("front"), WORD(id_of(i)), WORD("m"), WORD(request), {value, n},
        WORD("key"),   WORD(""),       WORD("x"), WORD("1000"),  WORD("600000"),
    };
    return run_script(server, BURBLE__SCRIPT_SUBMIT, arguments, 10);
}

/* Submits until it is accepted: meanwhile, the lease of the worker may be over. */
#define SUBMIT(call) UNTIL(strcmp(call, "ok") == 0)

static inline void submit_answer(struct redis_server *server, unsigned i)
{
    char body[64];
    snprintf(body, sizeof body, "{\\\"prompt\\\":\\\"number %u\\\"}", i);
    SUBMIT(submit_body(server, i, body));
}

/* ---- what Redis has -------------------------------------------------------------------------------------------- */

static inline bool has(struct redis_server *server, unsigned i, const char *field,
                       const char *value)
{
    return strcmp(redis_ask(server, "HGET {burble}:m:%s %s", id_of(i), field), value) == 0;
}

static inline unsigned frames_of(struct redis_server *server, unsigned i)
{
    return (unsigned)atoi(redis_ask(server, "XLEN {burble}:s:%s", id_of(i)));
}

/* The log of the answer is begin and texts 0 to n - 1, each with the hash of all up to it. */
static inline void assert_log_at(struct place at, struct redis_server *server, unsigned i,
                                 uint32_t n)
{
    char frame[128], value[160], expected[65536];
    uint32_t hash = BURBLE_FRAME_HASH;
    size_t len = 0;
    assert_int_equal_at(at, frames_of(server, i), n + 1);
    const char *found = redis_ask(server, "XRANGE {burble}:s:%s - +", id_of(i));
    for (uint32_t k = 0; k <= n; k++) {
        const size_t size = k == 0 ? make_begin("cmpl-0", frame, sizeof frame)
                                   : make_text(k - 1, frame, sizeof frame);
        const size_t whole = with_hash(&hash, frame, size, value);
        len += (size_t)snprintf(expected + len, sizeof expected - len, "%s%u-0\nf\n",
                                k == 0 ? "" : "\n", k + 1);
        /* As redis_ask prints it: up to a NUL, if there is one. */
        len += (size_t)snprintf(expected + len, sizeof expected - len, "%.*s", (int)whole, value);
    }
    assert_string_equal_at(at, found, expected);
}
#define assert_log(...) assert_log_at(HERE, __VA_ARGS__)

#endif
