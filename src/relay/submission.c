/* SPDX-License-Identifier: MIT
 *
 * An answer is given to its backend: the request that the front has stored is parsed, and the backend asked, in a thread of libuv's pool,
 * since both may block.
 *
 *     {"v":1,"route":1,"id":"chatcmpl-…","seed":N,"resumable":true,"request_id":"…","body":"<what the client sent>"}
 *
 * `route` is a burble_serve_route. `seed` is for a request that has none, so that each worker makes the same choices.
 */
#define _GNU_SOURCE
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "relay/session.h"
#include "serve/request.h"

/* How deep the body's JSON may be: the front has refused what is deeper than its own bound, which is no higher. */
#define MAX_DEPTH 1024u

struct submission {
    uv_work_t work;
    struct burble__session *session;
    struct burble__publication *one;
    struct burble__model *model; /* a reference */
    burble_text request;         /* the publication's */
    burble_stream *stream;       /* a reference */
    /* The frames after `begin`, if there are such. */
    burble_reader *reader;
    uint64_t n_written;
    bool bound; /* no other worker can go on with it */
    int result;
    burble_error error;
};

/* Copies the frames that the stream has: the backend may look at them as long as it is asked. */
static int copy_written(struct submission *submission, burble_text **out, char **bytes)
{
    struct burble__buffer all;
    burble_record record;
    int result = BURBLE_OK;
    *out = burble__calloc(submission->n_written + 1, sizeof **out);
    *bytes = NULL;
    if (*out == NULL)
        return BURBLE_ENOMEM;
    burble__buffer_init(&all, 2 * BURBLE__MAX_LOG);
    for (uint64_t i = 0; i < submission->n_written && result == BURBLE_OK; i++) {
        result = burble_reader_next(submission->reader, &record);
        if (result == BURBLE_OK) {
            (*out)[i].len = record.len;
            result = burble__buffer_append(&all, record.text, record.len);
        }
    }
    *bytes = all.bytes;
    size_t at = 0;
    for (uint64_t i = 0; i < submission->n_written; i++) {
        (*out)[i].bytes = all.bytes + at;
        at += (*out)[i].len;
    }
    return result;
}

static void set_seed(burble_serve_request *request, const json_t *stored,
                     const burble_serve_model *backend)
{
    const json_t *seed = json_object_get(stored, "seed");
    const uint64_t bit = BURBLE_SERVE_BIT(BURBLE_SERVE_SEED);
    if (!json_is_integer(seed) || (backend->parameters & bit) == 0)
        return;
    if ((request->given & bit) != 0 && request->numbers[BURBLE_SERVE_SEED] >= 0)
        return;
    request->given |= bit;
    request->numbers[BURBLE_SERVE_SEED] = (double)json_integer_value(seed);
}

static int ask(struct submission *submission, const json_t *stored)
{
    const burble_serve_model *backend = &submission->model->backend;
    const json_t *body = json_object_get(stored, "body");
    const char *id = json_string_value(json_object_get(stored, "id"));
    const char *request_id = json_string_value(json_object_get(stored, "request_id"));
    const json_int_t route = json_integer_value(json_object_get(stored, "route"));
    struct burble__request *request;
    struct burble__problem problem;
    burble_text *written = NULL;
    char *bytes = NULL;
    if (json_integer_value(json_object_get(stored, "v")) != 1 || !json_is_string(body) || id == NULL
        || (route != BURBLE_SERVE_CHAT && route != BURBLE_SERVE_COMPLETION))
        return burble__error_set(&submission->error, BURBLE_EUNSUPPORTED,
                                 "the request is of another version of burble");
    if (!burble__request_parse((burble_serve_route)route, json_string_value(body),
                               json_string_length(body), MAX_DEPTH, &request, &problem))
        return burble__error_set(&submission->error,
                                 problem.status == 503 ? BURBLE_ENOMEM : BURBLE_EINVAL, "%s",
                                 problem.message);
    int result = copy_written(submission, &written, &bytes);
    burble_serve_request *wanted = &request->wanted;
    wanted->id = id;
    wanted->model = backend->name;
    wanted->resumable = json_is_true(json_object_get(stored, "resumable"));
    wanted->request_id = request_id == NULL ? "" : request_id;
    wanted->written = written;
    wanted->n_written = submission->n_written;
    set_seed(wanted, stored, backend);
    submission->bound = wanted->choices > 1;
    if (result == BURBLE_OK && !burble__request_check(request, backend, &problem))
        result = burble__error_set(&submission->error, BURBLE_EUNSUPPORTED, "%s", problem.message);
    if (result == BURBLE_OK)
        result = backend->submit(backend->arg, wanted, submission->stream, &submission->error);
    burble__request_destroy(&request);
    burble__free(written);
    burble__free(bytes);
    return result;
}

/* In a thread of the pool. */
static void work(uv_work_t *of)
{
    struct submission *submission = of->data;
    json_t *stored = json_loadb(submission->request.bytes, submission->request.len, 0, NULL);
    submission->error.message[0] = '\0';
    submission->result = stored == NULL ? BURBLE_ENOMEM : ask(submission, stored);
    json_decref(stored);
}

static void end(struct submission *submission)
{
    burble_reader_destroy(&submission->reader);
    burble_stream_unref(&submission->stream);
    burble__model_drop(&submission->model);
    burble__free(submission);
}

static void on_done(uv_work_t *of, int status)
{
    struct submission *submission = of->data;
    struct burble__session *session = submission->session;
    struct burble__publication *one = submission->one;
    const int result = status == 0 ? submission->result : BURBLE_ECANCELED;
    session->submissions--;
    one->submitting = false;
    one->taken = result == BURBLE_OK;
    one->bound = submission->bound;
    one->progress = burble__now();
    if (result != BURBLE_OK)
        burble_stream_fail(one->stream, result,
                           submission->error.message[0] != '\0' ? submission->error.message
                                                                : burble_result_text(result));
    const burble_serve_model *backend = &submission->model->backend;
    if (one->cut && one->taken && backend->cancelled != NULL)
        backend->cancelled(backend->arg, one->stream);
    if (one->unwanted)
        burble__publication_destroy(one);
    else if (one->given_up)
        burble__session_revive(session, one);
    else
        burble__session_mark(session, one); /* it may be handed on now */
    end(submission);
}

void burble__submission_begin(struct burble__session *session, struct burble__publication *one)
{
    struct submission *submission = burble__calloc(1, sizeof *submission);
    int result = submission == NULL ? BURBLE_ENOMEM : BURBLE_OK;
    if (result == BURBLE_OK)
        result = burble_reader_create(one->stream, 1, &submission->reader, NULL);
    if (result == BURBLE_OK) {
        submission->work.data = submission;
        submission->session = session;
        submission->one = one;
        submission->request = one->texts[BURBLE__ANSWER_REQUEST];
        submission->n_written = one->found - 1;
        submission->model = burble__model_ref(one->model->model);
        submission->stream = burble_stream_ref(one->stream);
        result = uv_queue_work(&session->relay->uv, &submission->work, work, on_done) == 0
                     ? BURBLE_OK
                     : BURBLE_ENOMEM;
    }
    if (result == BURBLE_OK) {
        session->submissions++;
        one->submitting = true;
        return;
    }
    if (submission != NULL)
        end(submission);
    burble_stream_fail(one->stream, result, burble_result_text(result));
}
