/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/routes.h"

#include <stdio.h>
#include <string.h>

#include <llhttp.h>

#include <burble/clock.h>

#include "base/alloc.h"
#include "serve/answer.h"
#include "serve/connection.h"
#include "serve/cors.h"
#include "serve/delivery.h"
#include "serve/exchange.h"
#include "serve/keys.h"
#include "serve/loop.h"
#include "serve/models.h"
#include "serve/page.h"
#include "serve/registry.h"
#include "serve/server.h"
#include "serve/work.h"

/* The longest item of a path that is looked up, and the longest value in a query, in bytes. */
#define MAX_ITEM 1024u
#define MAX_VALUE 256u

enum { GET = 1, POST = 2, DELETE = 4 }; /* GET includes HEAD; OPTIONS is possible everywhere */

struct burble__route {
    const char *path;
    const char *behind; /* what follows the item, if the path ends with '/' */
    unsigned methods;
    bool open; /* no key is asked for */
    enum burble__metric_route metric;
    void (*run)(struct burble__exchange *exchange);
};

/* ---- requests' ids ------------------------------------------------------------------------------------- */

static bool is_plain(const char *text)
{
    const size_t len = strlen(text);
    return len > 0 && len <= BURBLE__REQUEST_ID_MAX
           && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/=+")
                  == len;
}

void burble__route_name_request(struct burble__exchange *exchange)
{
    const char *id = exchange->headers_over && exchange->in != NULL
                         ? burble__head_find(&exchange->in->head, "x-request-id", NULL)
                         : NULL;
    const size_t size = id != NULL && is_plain(id) ? strlen(id) + 1 : 0;
    if (size > 0)
        exchange->request_id = burble__malloc(size);
    if (size > 0 && exchange->request_id != NULL)
        memcpy(exchange->request_id, id, size);
    else
        exchange->number = burble__loop_random(exchange->loop) | 1;
}

/* ---- targets -------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes %XX. Returns the length, or SIZE_MAX: it does not fit, or has a NUL or a wrong escape. */
static size_t decode(const char *text, size_t len, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            const int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
            c = low < 0 ? 0 : high * 16 + low;
            i += 2;
        }
        if (c == 0 || n + 1 >= room)
            return SIZE_MAX;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return n;
}

/* The path of the target and its query, without the '?'. False: it has none, as in CONNECT. */
static bool split_target(const struct burble__exchange *exchange, burble_text *path,
                         burble_text *query)
{
    const char *target = burble__head_target(&exchange->in->head);
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        target = strstr(target, "//") + 2; /* a proxy's form: the host is that of the header */
        target += strcspn(target, "/?#");
        if (*target != '/')
            target = "/";
    }
    const size_t len = strcspn(target, "?#");
    *path = (burble_text){.bytes = target, .len = len};
    *query = (burble_text){.bytes = "", .len = 0};
    if (target[len] == '?') {
        query->bytes = target + len + 1;
        query->len = strcspn(query->bytes, "#");
    }
    return *target == '/' || strcmp(target, "*") == 0;
}

/* The value of a name in the query. False: it is not there, or too long. */
static bool find_in_query(const struct burble__exchange *exchange, const char *name, char *value,
                          size_t room)
{
    burble_text path, query;
    const size_t len = strlen(name);
    if (!split_target(exchange, &path, &query))
        return false;
    while (query.len > 0) {
        const char *end = memchr(query.bytes, '&', query.len);
        const size_t part = end == NULL ? query.len : (size_t)(end - query.bytes);
        if (part > len && query.bytes[len] == '=' && memcmp(query.bytes, name, len) == 0)
            return decode(query.bytes + len + 1, part - len - 1, value, room) != SIZE_MAX;
        const size_t taken = part < query.len ? part + 1 : part;
        query.bytes += taken;
        query.len -= taken;
    }
    return false;
}

static bool is_true(const char *value)
{
    return strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0;
}

bool burble__route_wants_resumable(const struct burble__exchange *exchange)
{
    char value[MAX_VALUE];
    const char *header = burble__head_find(&exchange->in->head, "burble-resumable", NULL);
    if (header != NULL)
        return is_true(header);
    return find_in_query(exchange, "resumable", value, sizeof value) && is_true(value);
}

/* ---- the routes that need no worker ---------------------------------------------------------------------- */

static void reply_json(struct burble__exchange *exchange, unsigned status, const char *json)
{
    burble__exchange_reply(exchange, status, "application/json", json, strlen(json));
}

static void reply_buffer(struct burble__exchange *exchange, unsigned status, int result,
                         struct burble__buffer *body)
{
    if (result == BURBLE_OK) {
        burble__exchange_reply_buffer(exchange, status, "application/json", body);
        return;
    }
    struct burble__problem problem;
    burble__buffer_finish(body);
    burble__problem_memory(&problem);
    burble__exchange_problem(exchange, &problem);
}

static void run_health(struct burble__exchange *exchange)
{
    reply_json(exchange, 200, "{\"status\":\"ok\"}\n");
}

static void reply_missing(struct burble__exchange *exchange, const char *what)
{
    struct burble__buffer body;
    burble__buffer_init(&body, SIZE_MAX / 2);
    struct burble__output out = {&body, BURBLE_OK};
    burble__put_raw(&out, "{\"status\":\"unavailable\",\"message\":");
    burble__put_name(&out, what);
    burble__put_raw(&out, "}\n");
    reply_buffer(exchange, 503, out.result, &body);
}

static void run_ready(struct burble__exchange *exchange)
{
    burble_server *server = exchange->loop->server;
    const char *missing = burble__server_missing(server);
    if (burble__server_state(server) != BURBLE__SERVER_RUNNING) {
        burble__exchange_header(exchange, "Retry-After: 5\r\n");
        reply_json(exchange, 503, "{\"status\":\"draining\"}\n");
    } else if (!burble__server_is_connected(server)) {
        burble__exchange_header(exchange, "Retry-After: 1\r\n");
        reply_json(exchange, 503, "{\"status\":\"disconnected\"}\n");
    } else if (missing != NULL) {
        burble__exchange_header(exchange, "Retry-After: 1\r\n");
        reply_missing(exchange, missing);
    } else if (!burble__server_has_models(server)) {
        burble__exchange_header(exchange, "Retry-After: 1\r\n");
        reply_json(exchange, 503, "{\"status\":\"loading\"}\n");
    } else {
        reply_json(exchange, 200, "{\"status\":\"ready\"}\n");
    }
}

static void run_models(struct burble__exchange *exchange)
{
    struct burble__buffer body;
    burble__buffer_init(&body, SIZE_MAX / 2);
    reply_buffer(exchange, 200, burble__models_write(exchange->loop->server->models, &body), &body);
}

static void run_model(struct burble__exchange *exchange)
{
    struct burble__buffer body;
    struct burble__model *model =
        burble__models_find(exchange->loop->server->models, exchange->item, strlen(exchange->item));
    burble__buffer_init(&body, SIZE_MAX / 2);
    if (model == NULL) {
        burble__exchange_refuse(exchange, 404, "model_not_found", "model",
                                "the model `%s` does not exist; GET /v1/models lists those that do",
                                exchange->item);
        return;
    }
    const int result = burble__model_write(model, &body);
    burble__model_drop(&model);
    reply_buffer(exchange, 200, result, &body);
}

static void run_page(struct burble__exchange *exchange)
{
    burble_text path, query;
    const struct burble__asset *asset = NULL;
    if (exchange->loop->server->options.page && split_target(exchange, &path, &query))
        asset = burble__asset_find(path.bytes, path.len);
    if (asset == NULL) {
        burble__exchange_refuse(exchange, 404, NULL, NULL, "there is no page here");
        return;
    }
    const char *known = burble__head_find(&exchange->in->head, "if-none-match", NULL);
    burble__exchange_header(exchange, "%s", BURBLE__ASSET_HEADERS);
    burble__exchange_header(exchange, "ETag: %s\r\n", asset->etag);
    if (burble__asset_matches(asset, known, known == NULL ? 0 : strlen(known)))
        burble__exchange_reply(exchange, 304, NULL, "", 0);
    else
        burble__exchange_reply(exchange, 200, asset->type, (const char *)asset->bytes, asset->len);
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

/* The answer that the path names; the client is attached to it. NULL: the exchange was answered; or the answer is looked for
 * elsewhere, and then the route runs again. */
static struct burble__answer *find_answer(struct burble__exchange *exchange)
{
    const burble_server *server = exchange->loop->server;
    struct burble__registry *registry = server->registry;
    struct burble__stream_id id;
    struct burble__answer *answer = NULL;
    char token[MAX_VALUE];
    enum burble__found found = BURBLE__NOT_FOUND;
    const bool has_token = find_in_query(exchange, "token", token, sizeof token);
    const bool is_id = burble__stream_id_parse(exchange->item, strlen(exchange->item), &id);
    if (is_id)
        found = burble__registry_find(registry, &id, exchange->key, has_token ? token : NULL,
                                      has_token ? strlen(token) : 0, &answer);
    if (found == BURBLE__FOUND)
        return answer;
    if (is_id && server->finder.find != NULL && !exchange->sought)
        burble__work_begin(exchange, BURBLE__WORK_FIND, NULL);
    else if (found == BURBLE__EVICTED)
        burble__exchange_refuse(exchange, 410, "stream_gone", NULL,
                                "this stream is not kept any more");
    else
        burble__exchange_refuse(exchange, 404, "stream_not_found", NULL, "there is no such stream");
    return NULL;
}

static void leave_answer(struct burble__exchange *exchange, struct burble__answer *answer)
{
    if (burble__registry_detach(exchange->loop->server->registry, answer, burble_now()))
        burble__answer_cancel(answer);
    burble__answer_drop(&answer);
}

static void run_stream(struct burble__exchange *exchange)
{
    struct burble__position after;
    char value[MAX_VALUE];
    struct burble__answer *answer = find_answer(exchange);
    if (answer == NULL)
        return;
    if (exchange->method == HTTP_DELETE) {
        const bool cancelled = burble__answer_cancel(answer);
        leave_answer(exchange, answer);
        reply_json(exchange, 200, cancelled ? "{\"cancelled\":true}\n" : "{\"cancelled\":false}\n");
        return;
    }
    if (!burble__answer_is_kept(answer)) {
        leave_answer(exchange, answer);
        burble__exchange_refuse(exchange, 404, "stream_not_resumable", NULL,
                                "this stream is not resumable: its request had no header "
                                "Burble-Resumable: true");
        return;
    }
    if (exchange->only_head) {
        leave_answer(exchange, answer);
        burble__exchange_reply(exchange, 200, "text/event-stream; charset=utf-8", "", 0);
        return;
    }
    const char *last = burble__head_find(&exchange->in->head, "last-event-id", NULL);
    if (last == NULL && find_in_query(exchange, "last_event_id", value, sizeof value))
        last = value;
    if (last != NULL && *last != '\0'
        && (!burble__position_parse(last, strlen(last), &after)
            || memcmp(after.stream.hex, burble__answer_stream(answer), BURBLE__STREAM_ID_LEN)
                   != 0)) {
        leave_answer(exchange, answer);
        burble__exchange_refuse(exchange, 400, NULL, "Last-Event-ID",
                                "expected a position in this stream, as in the id of its events");
        return;
    }
    burble__metrics_count(burble__loop_metrics(exchange->loop), BURBLE__COUNT_RESUMED, 1);
    burble__delivery_begin(exchange, answer, BURBLE__DELIVER_OWN, false,
                           last != NULL && *last != '\0' ? &after : NULL);
}

static void run_place(struct burble__exchange *exchange)
{
    struct burble__answer *answer = find_answer(exchange);
    if (answer == NULL)
        return;
    burble__work_begin(exchange, BURBLE__WORK_PLACE, answer);
}

/* ---- the routes that need a worker ------------------------------------------------------------------------- */

static void run_chat(struct burble__exchange *exchange)
{
    burble__work_begin(exchange, BURBLE__WORK_CHAT, NULL);
}

static void run_completion(struct burble__exchange *exchange)
{
    burble__work_begin(exchange, BURBLE__WORK_COMPLETION, NULL);
}

static void run_tokenize(struct burble__exchange *exchange)
{
    burble__work_begin(exchange, BURBLE__WORK_TOKENIZE, NULL);
}

static void run_detokenize(struct burble__exchange *exchange)
{
    burble__work_begin(exchange, BURBLE__WORK_DETOKENIZE, NULL);
}

static void run_metrics(struct burble__exchange *exchange)
{
    burble__work_begin(exchange, BURBLE__WORK_METRICS, NULL);
}

/* ---- the table ------------------------------------------------------------------------------------------- */

/* A path with an item ends with '/'. Of two that match, the first one is meant. */
static const struct burble__route routes[] = {
    {"/v1/chat/completions", NULL, POST, false, BURBLE__ROUTE_CHAT, run_chat},
    {"/chat/completions", NULL, POST, false, BURBLE__ROUTE_CHAT, run_chat}, /* as llama-server's */
    {"/v1/completions", NULL, POST, false, BURBLE__ROUTE_COMPLETIONS, run_completion},
    {"/completions", NULL, POST, false, BURBLE__ROUTE_COMPLETIONS, run_completion},
    {"/v1/models", NULL, GET, false, BURBLE__ROUTE_MODELS, run_models},
    {"/models", NULL, GET, false, BURBLE__ROUTE_MODELS, run_models}, /* as llama-server's */
    {"/v1/models/", "", GET, false, BURBLE__ROUTE_MODELS, run_model},
    {"/v1/streams/", "/place", GET, false, BURBLE__ROUTE_STREAMS, run_place},
    {"/v1/streams/", "", GET | DELETE, false, BURBLE__ROUTE_STREAMS, run_stream},
    {"/tokenize", NULL, POST, false, BURBLE__ROUTE_TOKENIZE, run_tokenize},
    {"/detokenize", NULL, POST, false, BURBLE__ROUTE_DETOKENIZE, run_detokenize},
    {"/health", NULL, GET, true, BURBLE__ROUTE_HEALTH, run_health},
    {"/ready", NULL, GET, true, BURBLE__ROUTE_READY, run_ready},
    {"/metrics", NULL, GET, false, BURBLE__ROUTE_METRICS, run_metrics},
    {"/", NULL, GET, true, BURBLE__ROUTE_PAGE, run_page},
    {"/page/", "", GET, true, BURBLE__ROUTE_PAGE, run_page},
};

static bool matches(const struct burble__route *route, burble_text path, burble_text *item)
{
    const size_t len = strlen(route->path);
    if (route->behind == NULL)
        return path.len == len && memcmp(path.bytes, route->path, len) == 0;
    const size_t behind = strlen(route->behind);
    if (path.len <= len + behind || memcmp(path.bytes, route->path, len) != 0
        || memcmp(path.bytes + path.len - behind, route->behind, behind) != 0)
        return false;
    *item = (burble_text){.bytes = path.bytes + len, .len = path.len - len - behind};
    return true;
}

static const struct burble__route *find_route(burble_text path, burble_text *item)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (matches(&routes[i], path, item))
            return &routes[i];
    return NULL;
}

const char *burble__route_path(const struct burble__exchange *exchange)
{
    if (exchange->route != NULL)
        return exchange->route->path;
    return exchange->item == NULL ? "" : exchange->item;
}

enum burble__metric_route burble__route_metric(const struct burble__exchange *exchange)
{
    return exchange->route == NULL ? BURBLE__ROUTE_OTHER : exchange->route->metric;
}

/* ---- checks of the head ------------------------------------------------------------------------------------ */

#define REFUSE(exchange, ...)                                                                      \
    do {                                                                                           \
        struct burble__problem *problem = burble__exchange_new_problem(exchange);                  \
        if (problem != NULL)                                                                       \
            burble__problem_set(problem, __VA_ARGS__);                                             \
    } while (0)

static unsigned method_bit(unsigned method)
{
    switch (method) {
    case HTTP_GET:
    case HTTP_HEAD:
        return GET;
    case HTTP_POST:
        return POST;
    case HTTP_DELETE:
        return DELETE;
    default:
        return 0;
    }
}

static const char *allowed(unsigned methods)
{
    switch (methods) {
    case POST:
        return "POST, OPTIONS";
    case GET | DELETE:
        return "GET, HEAD, DELETE, OPTIONS";
    default:
        return "GET, HEAD, OPTIONS";
    }
}

/* The same for people. */
static const char *usual(unsigned methods)
{
    switch (methods) {
    case POST:
        return "POST";
    case GET | DELETE:
        return "GET or DELETE";
    default:
        return "GET";
    }
}

/* The headers for other origins. */
static void allow_origin(struct burble__exchange *exchange)
{
    const burble_server_options *options = &exchange->loop->server->options;
    const char *origin = burble__head_find(&exchange->in->head, "origin", NULL);
    if (origin == NULL
        || !burble__cors_allows(options->origins, options->n_origins, origin, strlen(origin)))
        return;
    const char *requested =
        burble__head_find(&exchange->in->head, "access-control-request-headers", NULL);
    const bool preflight =
        exchange->method == HTTP_OPTIONS
        && burble__head_find(&exchange->in->head, "access-control-request-method", NULL) != NULL;
    struct burble__buffer *extra = burble__exchange_extra(exchange);
    if (extra == NULL)
        return; /* the browser refuses the reply, here and below */
    if (preflight)
        (void)burble__cors_write_preflight(options->origins, options->n_origins, origin,
                                           strlen(origin), requested,
                                           requested == NULL ? 0 : strlen(requested), extra);
    else
        (void)burble__cors_write(options->origins, options->n_origins, origin, strlen(origin),
                                 extra);
}

/* A page of any origin may send a POST without asking first, if its body is of a simple type. */
static bool is_from_a_form(const struct burble__exchange *exchange)
{
    const char *type = burble__head_find(&exchange->in->head, "content-type", NULL);
    return exchange->method == HTTP_POST
           && burble__head_find(&exchange->in->head, "origin", NULL) != NULL
           && (type == NULL || strncasecmp(type, "application/json", 16) != 0);
}

/* A page whose name leads to this machine has that name in its requests' Host header; a client without one is no browser. */
static bool check_host(struct burble__exchange *exchange)
{
    const char *host = burble__head_find(&exchange->in->head, "host", NULL);
    if (host == NULL || burble__server_is_host(exchange->loop->server, host))
        return true;
    REFUSE(exchange, 421, "host_not_allowed", "Host",
           "expected the header Host to name an allowed host of this server, found \"%.200s\"",
           host);
    return false;
}

static bool check_key(struct burble__exchange *exchange)
{
    size_t len = 0;
    char token[MAX_VALUE];
    const char *value = burble__head_find(&exchange->in->head, "authorization", NULL);
    const char *key = burble__keys_bearer(value, value == NULL ? 0 : strlen(value), &len);
    if (burble__keys_check(exchange->loop->server->keys, key, len, &exchange->key))
        return true;
    exchange->key = 0;
    /* A stream is open to its token; its registry compares it. */
    if (exchange->route->metric == BURBLE__ROUTE_STREAMS
        && find_in_query(exchange, "token", token, sizeof token)) {
        exchange->key = BURBLE__NO_KEY;
        return true;
    }
    burble__exchange_header(exchange, "WWW-Authenticate: Bearer\r\n");
    REFUSE(exchange, 401, "invalid_api_key", NULL,
           len == 0 ? "expected an API key in the header Authorization: Bearer KEY"
                    : "the API key is not known");
    return false;
}

static void check(struct burble__exchange *exchange)
{
    const struct burble__route *route = exchange->route;
    burble_server *server = exchange->loop->server;
    if ((method_bit(exchange->method) & route->methods) == 0) {
        burble__exchange_header(exchange, "Allow: %s\r\n", allowed(route->methods));
        REFUSE(exchange, 405, NULL, NULL, "expected the method %s at this path, found %s",
               usual(route->methods), llhttp_method_name((llhttp_method_t)exchange->method));
    } else if (!route->open && !check_key(exchange)) {
        return;
    } else if (is_from_a_form(exchange)) {
        REFUSE(exchange, 415, NULL, NULL, "expected the header Content-Type: application/json");
    } else if (!burble__server_enter(server, exchange->connection, exchange->key)) {
        REFUSE(exchange, 429, NULL, NULL, "too many connections with this API key");
    } else if (burble__server_state(server) >= BURBLE__SERVER_CLOSING
               && (route->methods & POST) != 0) {
        REFUSE(exchange, 503, NULL, NULL, "the server is shutting down");
    }
}

/* Clients come with the paths of other servers, and with /v1 too often or not at all. */
static void refuse_path(struct burble__exchange *exchange, const char *path)
{
    static const char *const others[][2] = {
        {"/completion", "/v1/completions"},   {"/v1/completion", "/v1/completions"},
        {"/v1/chat", "/v1/chat/completions"}, {"/chat", "/v1/chat/completions"},
        {"/api/generate", "/v1/completions"}, {"/api/chat", "/v1/chat/completions"},
        {"/api/tags", "/v1/models"},          {"/v1/health", "/health"},
        {"/v1/metrics", "/metrics"},
    };
    static const char doubled[] = "/v1/v1/";
    burble_text item;
    const char *hint = NULL;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(path, others[i][0]) == 0)
            hint = others[i][1];
    if (strncmp(path, doubled, sizeof doubled - 1) == 0
        && find_route((burble_text){path + 3, strlen(path) - 3}, &item) != NULL)
        hint = path + 3;
    if (hint != NULL)
        REFUSE(exchange, 404, NULL, NULL, "there is nothing at %.128s; use %.128s", path, hint);
    else
        REFUSE(exchange, 404, NULL, NULL,
               "there is nothing at %.256s; clients use /v1/chat/completions, /v1/completions and "
               "/v1/models",
               path);
}

void burble__route_look(struct burble__exchange *exchange)
{
    burble_text path, query, item = {.bytes = "", .len = 0};
    char text[MAX_ITEM];
    burble__route_name_request(exchange);
    if (!split_target(exchange, &path, &query)) {
        REFUSE(exchange, 400, NULL, NULL, "expected a path that begins with /");
        return;
    }
    if (!check_host(exchange))
        return;
    allow_origin(exchange);
    exchange->route = find_route(path, &item);
    if (exchange->route == NULL)
        item = path;
    if (item.len > 0) {
        if (decode(item.bytes, item.len, text, sizeof text) == SIZE_MAX) {
            exchange->route = NULL;
            REFUSE(exchange, 404, NULL, NULL, "there is nothing at this path");
            return;
        }
        exchange->item = burble__malloc(strlen(text) + 1);
        if (exchange->item == NULL) {
            REFUSE(exchange, 503, NULL, NULL, "out of memory");
            return;
        }
        memcpy(exchange->item, text, strlen(text) + 1);
    }
    if (exchange->method == HTTP_OPTIONS)
        return;
    if (exchange->route == NULL)
        refuse_path(exchange, text);
    else
        check(exchange);
}

void burble__route_run(struct burble__exchange *exchange)
{
    if (exchange->in->problem != NULL) {
        burble__exchange_problem(exchange, exchange->in->problem);
    } else if (exchange->method == HTTP_OPTIONS) {
        if (exchange->route != NULL)
            burble__exchange_header(exchange, "Allow: %s\r\n", allowed(exchange->route->methods));
        burble__exchange_reply(exchange, 204, NULL, "", 0);
    } else {
        exchange->route->run(exchange);
    }
}
