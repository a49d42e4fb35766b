/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include <string.h>
#include <time.h>

#include <burble/clock.h>

#include "base/alloc.h"
#include "serve/answer.h"
#include "serve/echo.h"
#include "serve/exchange.h"
#include "serve/json.h"
#include "serve/models.h"
#include "serve/registry.h"
#include "serve/routes.h"
#include "serve/server.h"
#include "serve/work_parts.h"

/* Tokens that a tokenizer is first given room for, beside one for each byte. */
#define SPECIAL_TOKENS 8

/* ---- chat and completions ------------------------------------------------------------------------------ */

static bool is_secret(burble_text name)
{
    static const char *const secrets[] = {"authorization", "proxy-authorization", "cookie",
                                          "x-api-key", "api-key"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (strcmp(name.bytes, secrets[i]) == 0)
            return true;
    return false;
}

static size_t collect_headers(const struct burble__head *head, burble_serve_header *headers)
{
    size_t at = 0, n = 0;
    burble_text name, value;
    while (burble__head_next(head, &at, &name, &value))
        if (!is_secret(name))
            headers[n++] = (burble_serve_header){.name = name, .value = value};
    return n;
}

static void refuse_model(struct burble__work *work, const char *name)
{
    const char *missing = burble__server_missing(work->server);
    if (burble__models_count(work->server->models) == 0)
        burble__problem_set(&work->problem, 503, NULL, NULL, "no model can be used yet: %s",
                            missing == NULL ? "GET /ready is 200 once one can" : missing);
    else
        burble__problem_set(&work->problem, 404, "model_not_found", "model",
                            "the model `%s` does not exist; GET /v1/models lists those that do",
                            name == NULL ? "" : name);
}

static struct burble__model *find_model(struct burble__work *work, const char *name)
{
    struct burble__model *model =
        burble__models_find(work->server->models, name, name == NULL ? 0 : strlen(name));
    if (model == NULL)
        refuse_model(work, name);
    return model;
}

/* Gives the request to the backend of its model. */
static int submit(struct burble__work *work, const struct burble__answer *answer,
                  const struct burble__answer_options *options, burble_error *error)
{
    char begin[BURBLE__BEGIN_MAX];
    burble_frame frame;
    const struct burble__exchange *exchange = work->exchange;
    const struct burble__model *model = work->model;
    struct burble__request *request = work->wanted.request;
    burble_serve_header headers[BURBLE__MAX_HEADERS];
    char id[BURBLE__REQUEST_ID_MAX + 1];
    request->wanted.id = answer->name;
    request->wanted.model = model->name;
    request->wanted.resumable = answer->resumable;
    request->wanted.headers = headers;
    request->wanted.n_headers = collect_headers(&exchange->in->head, headers);
    request->wanted.request_id = burble__exchange_request_id(exchange, id);
    request->wanted.server = work->server;
    request->wanted.key = answer->key;
    request->wanted.token = burble__answer_token(answer);
    request->wanted.body_hash = answer->body_hash;
    request->wanted.begin =
        (burble_text){begin, burble__answer_begin(answer, options, &frame, begin)};
    if (answer->idempotency != NULL)
        request->wanted.idempotency =
            (burble_text){answer->idempotency, strlen(answer->idempotency)};
    return model->backend.submit(model->backend.arg, &request->wanted, answer->stream, error);
}

static void refuse_other_body(struct burble__work *work)
{
    burble__problem_set(&work->problem, 409, "idempotency_key_in_use", NULL,
                        "this Idempotency-Key was used for a request with another body");
}

/* Looks elsewhere for an answer: `work->answer` is then in the registry, with the exchange as a client. BURBLE_OK,
 * BURBLE_EGONE, or another result, with *problem. */
static int find(struct burble__work *work, const char *id)
{
    const burble_serve_finder *finder = &work->server->finder;
    burble_serve_found found = {.stream = NULL};
    burble_error error = {.code = BURBLE_OK};
    struct burble__answer *answer = NULL, *earlier = NULL;
    int result = finder->find(finder->arg, id, &found, &error);
    if (result == BURBLE_OK)
        result = burble__answer_create_found(finder, &found, id, burble_now(), &answer);
    if (result == BURBLE_EGONE)
        return result;
    if (result == BURBLE_EFORMAT)
        burble__problem_set(&work->problem, 410, "diverged", NULL, "%s",
                            error.message[0] != '\0' ? error.message : burble_result_text(result));
    else if (result != BURBLE_OK)
        burble__problem_of_result(&work->problem, result, &error);
    if (result != BURBLE_OK)
        return result;
    if (burble__registry_add(work->server->registry, answer, &earlier) == BURBLE__FOUND) {
        burble__answer_leave(answer); /* another client was faster */
        burble__answer_drop(&answer);
        answer = earlier;
    }
    work->answer = answer;
    return BURBLE_OK;
}

/* Another server has an answer with this Idempotency-Key. */
static void repeat_elsewhere(struct burble__work *work, const char *id)
{
    struct burble__stream_id parsed;
    work->repeated = true;
    if (!burble__stream_id_parse(id, strlen(id), &parsed))
        refuse_other_body(work);
    else if (find(work, parsed.hex) == BURBLE_EGONE)
        burble__problem_set(&work->problem, 503, NULL, NULL,
                            "the answer with this Idempotency-Key has just expired");
}

/* A stream of its own for the request, and its submission. */
static void generate(struct burble__work *work, const struct burble__answer_options *options)
{
    struct burble__request *request = work->wanted.request;
    struct burble__registry *registry = work->server->registry;
    struct burble__answer *answer, *earlier = NULL;
    if (burble__answer_create(options, &answer) != BURBLE_OK) {
        burble__problem_memory(&work->problem);
        return;
    }
    switch (burble__registry_add(registry, answer, &earlier)) {
    case BURBLE__FOUND:
        work->answer = earlier;
        work->repeated = true;
        break;
    case BURBLE__OTHER_BODY:
        refuse_other_body(work);
        break;
    default: {
        burble_error error = {.code = BURBLE_OK};
        int result = request->echo ? burble__echo(request, answer, &error) : BURBLE_OK;
        if (result == BURBLE_OK)
            result = submit(work, answer, options, &error);
        if (result == BURBLE_AGAIN) /* the answer goes on without this client */
            burble__problem_of_result(&work->problem, BURBLE_ECLOSED, &error);
        if (result == BURBLE_OK || result == BURBLE_AGAIN) {
            work->answer = answer;
            return;
        }
        const bool elsewhere = result == BURBLE_EGONE && work->server->finder.find != NULL;
        if (!elsewhere)
            burble__problem_of_result(&work->problem, result, &error);
        /* For another client that has attached to it by its Idempotency-Key meanwhile. */
        if (elsewhere)
            burble_stream_fail(answer->stream, BURBLE_ECLOSED,
                               "another server has this answer: repeat the request with the same "
                               "Idempotency-Key");
        else
            burble_stream_fail(answer->stream, result < 0 ? result : BURBLE_EINVAL, error.message);
        burble__registry_remove(registry, answer);
        if (elsewhere)
            repeat_elsewhere(work, error.message);
        break;
    }
    }
    burble__answer_drop(&answer);
}

/* Finds the answer to an earlier request with the same Idempotency-Key. False: there is none, and no problem. */
static bool repeat(struct burble__work *work, const struct burble__answer_options *options)
{
    if (options->idempotency == NULL)
        return false;
    if (options->idempotency_len == 0 || options->idempotency_len > BURBLE__IDEMPOTENCY_MAX) {
        burble__problem_set(&work->problem, 400, NULL, NULL,
                            "Idempotency-Key: expected 1 to %d bytes, found %zu",
                            BURBLE__IDEMPOTENCY_MAX, options->idempotency_len);
        return true;
    }
    const enum burble__found found = burble__registry_find_idempotent(
        work->server->registry, options->key, options->idempotency, options->idempotency_len,
        options->body_hash, &work->answer);
    work->repeated = found == BURBLE__FOUND;
    if (found == BURBLE__OTHER_BODY)
        refuse_other_body(work);
    return found == BURBLE__FOUND || found == BURBLE__OTHER_BODY;
}

static struct burble__answer_options answer_options(const struct burble__work *work,
                                                    const struct burble__request *request)
{
    const struct burble__exchange *exchange = work->exchange;
    const char *idempotency = burble__head_find(&exchange->in->head, "idempotency-key", NULL);
    return (struct burble__answer_options){
        .route = request->wanted.route,
        .flags = burble__request_flags(request),
        .model = work->model,
        .key = exchange->key,
        .body_hash = burble__body_hash(exchange->in->body.bytes, exchange->in->body.len),
        .resumable = burble__route_wants_resumable(exchange),
        .idempotency = idempotency,
        .idempotency_len = idempotency == NULL ? 0 : strlen(idempotency),
        .now = burble_now(),
        .created = (uint64_t)time(NULL),
    };
}

static void parse_text(struct burble__work *work, burble_serve_route route)
{
    const struct burble__exchange *exchange = work->exchange;
    struct burble__request *request;
    if (!burble__request_parse(route, exchange->in->body.bytes, exchange->in->body.len,
                               work->server->options.max_json_depth, &request, &work->problem))
        return;
    work->streamed = request->wanted.streamed;
    work->wanted.request = request;
    work->model = find_model(work, request->model);
    if (work->model != NULL
        && burble__request_check(request, &work->model->backend, &work->problem)) {
        const struct burble__answer_options options = answer_options(work, request);
        if (!repeat(work, &options)) {
            work->lane = &work->model->lane;
            return;
        }
    }
    burble__model_drop(&work->model);
    burble__request_destroy(&work->wanted.request);
}

static void call_text(struct burble__work *work)
{
    const struct burble__answer_options options = answer_options(work, work->wanted.request);
    generate(work, &options);
}

/* ---- the other work ------------------------------------------------------------------------------------ */

static int tokenize(const struct burble__model *model, const struct burble__tokenize *wanted,
                    struct burble__buffer *reply, burble_error *error)
{
    const size_t capacity = wanted->content.len + SPECIAL_TOKENS;
    size_t n = 0;
    int32_t *ids = burble__calloc(capacity, sizeof *ids);
    if (ids == NULL)
        return BURBLE_ENOMEM;
    int result = model->backend.tokenize(model->backend.arg, wanted->content, wanted->add_special,
                                         wanted->parse_special, ids, capacity, &n, error);
    if (result == BURBLE_OK)
        result = n > capacity ? BURBLE_EFULL
                 : wanted->with_pieces
                     ? burble__tokenize_write_pieces(&model->backend, ids, n, reply, error)
                     : burble__tokenize_write(ids, n, reply);
    burble__free(ids);
    return result;
}

static bool has_tokenizer(struct burble__work *work, bool has)
{
    if (work->model != NULL && !has)
        burble__problem_set(&work->problem, 400, NULL, "model", "the model `%s` has no tokenizer",
                            work->model->name);
    if (work->model != NULL && has) {
        work->lane = &work->model->lane;
        return true;
    }
    burble__model_drop(&work->model);
    return false;
}

static void parse_tokenize(struct burble__work *work)
{
    const struct burble__exchange *exchange = work->exchange;
    struct burble__tokenize *wanted = &work->wanted.tokenize;
    if (!burble__tokenize_parse(exchange->in->body.bytes, exchange->in->body.len,
                                work->server->options.max_json_depth, wanted, &work->problem))
        return;
    work->model = find_model(work, wanted->model);
    if (!has_tokenizer(work, work->model != NULL && work->model->backend.tokenize != NULL
                                 && (!wanted->with_pieces || work->model->backend.piece != NULL)))
        burble__tokenize_finish(wanted);
}

static void call_tokenize(struct burble__work *work)
{
    burble_error error = {.code = BURBLE_OK};
    const int result = tokenize(work->model, &work->wanted.tokenize, &work->reply, &error);
    if (result != BURBLE_OK)
        burble__problem_of_result(&work->problem, result, &error);
}

/* The text of all ids. */
static int detokenize(struct burble__work *work, burble_error *error)
{
    const struct burble__detokenize *wanted = &work->wanted.detokenize;
    struct burble__buffer text;
    burble__buffer_init(&text, BURBLE__MAX_REPLY);
    int result = burble__put_pieces(&work->model->backend, "tokens", wanted->ids, wanted->n_ids,
                                    &text, error);
    if (result == BURBLE_OK)
        result =
            burble__detokenize_write(text.bytes == NULL ? "" : text.bytes, text.len, &work->reply);
    burble__buffer_finish(&text);
    return result;
}

static void parse_detokenize(struct burble__work *work)
{
    const struct burble__exchange *exchange = work->exchange;
    struct burble__detokenize *wanted = &work->wanted.detokenize;
    if (!burble__detokenize_parse(exchange->in->body.bytes, exchange->in->body.len,
                                  work->server->options.max_json_depth, wanted, &work->problem))
        return;
    work->model = find_model(work, wanted->model);
    if (!has_tokenizer(work, work->model != NULL && work->model->backend.piece != NULL))
        burble__detokenize_finish(wanted);
}

static void call_detokenize(struct burble__work *work)
{
    burble_error error = {.code = BURBLE_OK};
    const int result = detokenize(work, &error);
    if (result != BURBLE_OK)
        burble__problem_of_result(&work->problem, result, &error);
}

static void call_find(struct burble__work *work)
{
    const char *item = work->exchange->item;
    struct burble__stream_id id;
    if (burble__stream_id_parse(item, strlen(item), &id))
        (void)find(work, id.hex);
}

static void answer_metrics(struct burble__work *work)
{
    if (burble__server_write_metrics(work->server, &work->reply) != BURBLE_OK)
        burble__problem_memory(&work->problem);
}

static int put_count(struct burble__buffer *out, const char *name, uint64_t count)
{
    const int result = burble__json_put_raw(out, name);
    return result == BURBLE_OK ? burble__json_put_integer(out, count) : result;
}

/* Where the answer is: {"waits":true,"before":3,…}. */
static void call_place(struct burble__work *work)
{
    const struct burble__model *model = work->model;
    burble_serve_place place = {.waits = false};
    burble_serve_load load = {.slots = 0};
    burble_status status;
    burble_stream_status(work->answer->stream, &status);
    if (status.state == BURBLE_OPEN && model->backend.place != NULL)
        model->backend.place(model->backend.arg, work->answer->stream, &place);
    if (model->backend.load != NULL)
        model->backend.load(model->backend.arg, &load);
    struct burble__buffer *out = &work->reply;
    if (burble__json_put_raw(out, place.waits ? "{\"waits\":true" : "{\"waits\":false") != BURBLE_OK
        || put_count(out, ",\"before\":", place.before) != BURBLE_OK
        || put_count(out, ",\"prompt_tokens\":", place.prompt_tokens) != BURBLE_OK
        || put_count(out, ",\"prompt_done\":", place.prompt_done) != BURBLE_OK
        || put_count(out, ",\"slots\":", load.slots) != BURBLE_OK
        || put_count(out, ",\"running\":", load.running) != BURBLE_OK
        || put_count(out, ",\"waiting\":", load.waiting) != BURBLE_OK
        || burble__json_put_raw(out, "}\n") != BURBLE_OK)
        burble__problem_memory(&work->problem);
}

/* ---- the stages ---------------------------------------------------------------------------------------- */

void burble__work_parse(struct burble__work *work)
{
    switch (work->kind) {
    case BURBLE__WORK_CHAT:
        parse_text(work, BURBLE_SERVE_CHAT);
        break;
    case BURBLE__WORK_COMPLETION:
        parse_text(work, BURBLE_SERVE_COMPLETION);
        break;
    case BURBLE__WORK_TOKENIZE:
        parse_tokenize(work);
        break;
    case BURBLE__WORK_DETOKENIZE:
        parse_detokenize(work);
        break;
    case BURBLE__WORK_METRICS:
        answer_metrics(work);
        break;
    case BURBLE__WORK_PLACE:
        work->model = burble__model_ref(work->answer->model);
        work->lane = &work->model->lane;
        break;
    case BURBLE__WORK_FIND:
        work->lane = &work->server->finder_lane;
        break;
    }
}

void burble__work_call(struct burble__work *work)
{
    switch (work->kind) {
    case BURBLE__WORK_CHAT:
    case BURBLE__WORK_COMPLETION:
        call_text(work);
        break;
    case BURBLE__WORK_TOKENIZE:
        call_tokenize(work);
        break;
    case BURBLE__WORK_DETOKENIZE:
        call_detokenize(work);
        break;
    case BURBLE__WORK_METRICS:
        break;
    case BURBLE__WORK_PLACE:
        call_place(work);
        break;
    case BURBLE__WORK_FIND:
        call_find(work);
        break;
    }
}

void burble__work_finish(struct burble__work *work)
{
    if (work->model == NULL)
        return;
    burble__model_drop(&work->model);
    if (work->kind == BURBLE__WORK_CHAT || work->kind == BURBLE__WORK_COMPLETION)
        burble__request_destroy(&work->wanted.request);
    else if (work->kind == BURBLE__WORK_TOKENIZE)
        burble__tokenize_finish(&work->wanted.tokenize);
    else if (work->kind == BURBLE__WORK_DETOKENIZE)
        burble__detokenize_finish(&work->wanted.detokenize);
}
