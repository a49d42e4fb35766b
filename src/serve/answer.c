/* SPDX-License-Identifier: MIT */
#include "serve/answer.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"

size_t burble__answer_begin(const struct burble__answer *answer,
                            const struct burble__answer_options *options, burble_frame *begin,
                            char *bytes)
{
    burble_frame frame = {.kind = BURBLE_FRAME_BEGIN};
    frame.u.begin.id = (burble_text){answer->name, strlen(answer->name)};
    frame.u.begin.model = (burble_text){answer->model->name, strlen(answer->model->name)};
    frame.u.begin.created = options->created;
    frame.u.begin.version = BURBLE_FRAME_VERSION;
    frame.u.begin.route = options->route;
    frame.u.begin.flags = options->flags;
    *begin = frame;
    const size_t len = burble_frame_write(&frame, bytes, BURBLE__BEGIN_MAX);
    assert(len <= BURBLE__BEGIN_MAX);
    return len;
}

/* Appends the begin frame to the stream, and makes the envelope of it. */
static int begin(struct burble__answer *answer, const struct burble__answer_options *options)
{
    char bytes[BURBLE__BEGIN_MAX];
    burble_frame frame;
    const size_t len = burble__answer_begin(answer, options, &frame, bytes);
    int result = burble__envelope_create(&frame, &answer->envelope);
    if (result == BURBLE_OK)
        result = burble_stream_append(answer->stream, bytes, len, 0);
    return result;
}

/* Makes up the names of the answer, and copies its idempotency key. */
static int name(struct burble__answer *answer, const struct burble__answer_options *options)
{
    const char *prefix = options->route == BURBLE_SERVE_CHAT ? "chatcmpl-" : "cmpl-";
    const size_t len = strlen(prefix);
    char *text = answer->texts;
    memcpy(answer->name, prefix, len);
    int result = burble__random_hex(answer->name + len, BURBLE__STREAM_ID_LEN / 2);
    if (result == BURBLE_OK && options->resumable)
        result = burble__random_hex(text, BURBLE__TOKEN_LEN / 2);
    text += (options->resumable ? BURBLE__TOKEN_LEN : 0) + 1;
    if (options->idempotency != NULL) {
        memcpy(text, options->idempotency, options->idempotency_len);
        text[options->idempotency_len] = '\0';
        answer->idempotency = text;
    }
    return result;
}

int burble__answer_create(const struct burble__answer_options *options, struct burble__answer **out)
{
    *out = NULL;
    const size_t texts = (options->resumable ? BURBLE__TOKEN_LEN + 1u : 1u)
                         + (options->idempotency != NULL ? options->idempotency_len + 1 : 0);
    struct burble__answer *answer = burble__calloc(1, sizeof *answer + texts);
    if (answer == NULL)
        return BURBLE_ENOMEM;
    burble__init(&answer->references, 1);
    answer->model = burble__model_ref(options->model);
    answer->key = options->key;
    answer->began = options->now;
    answer->body_hash = options->body_hash;
    answer->resumable = options->resumable;
    answer->of_registry.since = options->now;
    int result = name(answer, options);
    if (result == BURBLE_OK) {
        burble_stream_options stream;
        burble_stream_options_init(&stream);
        stream.keep = burble__answer_is_kept(answer) ? BURBLE_KEEP_ALL : 0;
        result = burble_stream_create(&stream, &answer->stream);
    }
    if (result == BURBLE_OK)
        result = begin(answer, options);
    if (result == BURBLE_OK)
        *out = answer;
    else
        burble__answer_drop(&answer);
    return result;
}

/* Reads the begin frame, which the answer has already. */
static int read_begin(struct burble__answer *answer, const burble_serve_model *backend)
{
    burble_reader *reader;
    burble_record record;
    burble_frame frame;
    int result = burble_reader_create(answer->stream, 0, &reader, NULL);
    if (result != BURBLE_OK)
        return result == BURBLE_ENOMEM ? result : BURBLE_EFORMAT;
    result = burble_reader_next(reader, &record) == BURBLE_OK
                     && burble_frame_read(record.text, record.len, &frame) == BURBLE_OK
                     && frame.kind == BURBLE_FRAME_BEGIN
                     && frame.u.begin.id.len < sizeof answer->name
                 ? burble__envelope_create(&frame, &answer->envelope)
                 : BURBLE_EFORMAT;
    if (result == BURBLE_OK) {
        const burble_text model = frame.u.begin.model, id = frame.u.begin.id;
        memcpy(answer->name, id.bytes, id.len);
        answer->model = burble__model_create(backend, model.bytes, model.len);
        result = answer->model == NULL ? BURBLE_ENOMEM : BURBLE_OK;
    }
    burble_reader_destroy(&reader);
    return result;
}

int burble__answer_create_found(const burble_serve_finder *finder, const burble_serve_found *found,
                                const char *id, uint64_t now, struct burble__answer **out)
{
    const burble_serve_model backend = {
        .arg = finder->arg, .cancelled = finder->cancelled, .left = finder->left};
    burble_stream *stream = found->stream;
    *out = NULL;
    struct burble__answer *answer = burble__calloc(1, sizeof *answer + sizeof found->token);
    if (answer == NULL) {
        burble_stream_unref(&stream);
        return BURBLE_ENOMEM;
    }
    burble__init(&answer->references, 1);
    answer->stream = stream;
    answer->key = found->key;
    answer->began = now;
    answer->of_registry.since = now;
    answer->resumable = found->kept;
    answer->found = true;
    memcpy(answer->texts, found->token, sizeof found->token - 1);
    int result = read_begin(answer, &backend);
    if (result == BURBLE_OK
        && (!answer->envelope->has_stream || strcmp(burble__answer_stream(answer), id) != 0))
        result = BURBLE_EFORMAT;
    if (result == BURBLE_OK)
        *out = answer;
    else
        burble__answer_drop(&answer);
    return result;
}

const char *burble__answer_stream(const struct burble__answer *answer)
{
    return answer->name + (strlen(answer->name) - BURBLE__STREAM_ID_LEN);
}

struct burble__answer *burble__answer_ref(struct burble__answer *answer)
{
    burble__add_relaxed(&answer->references, 1);
    return answer;
}

void burble__answer_drop(struct burble__answer **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    struct burble__answer *answer = *handle;
    *handle = NULL;
    if (burble__sub_acq_rel(&answer->references, 1) != 1)
        return;
    struct burble__sources *sources = burble__load_relaxed(&answer->sources);
    for (size_t i = 0; sources != NULL && i < sources->n; i++)
        burble_stream_unref(&sources->streams[i]);
    burble__free(sources);
    burble_reader_destroy(&answer->meter);
    burble_stream_unref(&answer->stream);
    burble__envelope_destroy(&answer->envelope);
    burble__model_drop(&answer->model);
    burble__free(answer);
}

/* Nobody wants what its backend, and its sources, still write. */
static void tell_backend(struct burble__answer *answer)
{
    burble__answer_cancel_sources(answer);
    const burble_serve_model *backend = &answer->model->backend;
    if (backend->cancelled != NULL)
        backend->cancelled(backend->arg, answer->stream);
}

bool burble__answer_cancel(struct burble__answer *answer)
{
    if (!burble_stream_cancel(answer->stream))
        return false;
    tell_backend(answer);
    return true;
}

bool burble__answer_fail(struct burble__answer *answer, int code, const char *message)
{
    if (burble_stream_fail(answer->stream, code, message) != BURBLE_OK)
        return false;
    tell_backend(answer);
    return true;
}

void burble__answer_leave(struct burble__answer *answer)
{
    answer->model->backend.left(answer->model->backend.arg, answer->stream);
}

void burble__answer_cancel_sources(struct burble__answer *answer)
{
    /* Pairs with the fence in burble__answer_set_sources: either this thread sees the sources, or that one sees that the
     * answer is over. */
    burble__fence_seq_cst();
    struct burble__sources *sources = burble__load_acquire(&answer->sources);
    for (size_t i = 0; sources != NULL && i < sources->n; i++)
        burble_stream_cancel(sources->streams[i]);
}

int burble__answer_set_sources(struct burble__answer *answer, burble_stream *const *streams,
                               size_t n)
{
    struct burble__sources *sources =
        burble__malloc(sizeof *sources + n * sizeof sources->streams[0]);
    if (sources == NULL)
        return BURBLE_ENOMEM;
    sources->n = n;
    for (size_t i = 0; i < n; i++)
        sources->streams[i] = burble_stream_ref(streams[i]);
    struct burble__sources *none = NULL;
    if (!burble__cas_acq_rel(&answer->sources, &none, sources)) {
        for (size_t i = 0; i < n; i++)
            burble_stream_unref(&sources->streams[i]);
        burble__free(sources);
        return BURBLE_EINVAL;
    }
    burble__fence_seq_cst();
    burble_status status;
    burble_stream_status(answer->stream, &status);
    if (status.state != BURBLE_OPEN)
        burble__answer_cancel_sources(answer);
    return BURBLE_OK;
}

uint64_t burble__body_hash(const char *body, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ len;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)body[i]) * UINT64_C(0x100000001b3);
    return hash;
}
