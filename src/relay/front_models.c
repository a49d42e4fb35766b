/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fork.h"

#define MS UINT64_C(1000000)

/* How long a model is offered after its last worker has left: meanwhile, requests get 503, and may be repeated. */
#define ABSENCE (60000 * MS)

/* Above so many percent of its maxmemory, Redis gets no more requests: the answers that run need the rest. */
#define CROWDED 80u

/* What GET /ready says while no model has a worker. */
#define NONE_YET                                                                                   \
    "no worker has announced a model in Redis; start one with burble work --redis, and the URL "   \
    "and --redis-prefix of this server"
#define GONE "no worker computes any model at present; start one with burble work --redis"

/* ---- the server's side: any thread -------------------------------------------------------------------------- */

static void on_cancelled(void *arg, burble_stream *stream)
{
    burble__front_on_cancelled(((struct burble__front_model *)arg)->front, stream);
}

static void on_left(void *arg, burble_stream *stream)
{
    burble__front_on_left(((struct burble__front_model *)arg)->front, stream);
}

static void find_load(void *arg, burble_serve_load *load)
{
    struct burble__front_model *model = arg;
    load->waiting = burble__load_relaxed(&model->waiting);
}

static bool is_usable(void *arg)
{
    struct burble__front_model *model = arg;
    return burble__load_relaxed(&model->usable);
}

static const char *find_missing(void *arg)
{
    struct burble__front *front = arg;
    return burble__load_relaxed(&front->missing);
}

static void found_cancelled(void *arg, burble_stream *stream)
{
    burble__front_on_cancelled(arg, stream);
}

static void found_left(void *arg, burble_stream *stream)
{
    burble__front_on_left(arg, stream);
}

static bool is_ready(void *arg)
{
    struct burble__front *front = arg;
    return burble__load_acquire(&front->there);
}

static void put_metrics(void *arg, void (*put)(void *to, const char *text, size_t len), void *to)
{
    struct burble__front *front = arg;
    burble_relay_stats stats;
    char line[512];
    burble_relay_stats_now(front->relay, &stats);
#define METRIC(name, type, help, format, value)                                                    \
    do {                                                                                           \
        const int n = snprintf(line, sizeof line,                                                  \
                               "# HELP burble_relay_" name " " help "\n# TYPE burble_relay_" name  \
                               " " type "\nburble_relay_" name " " format "\n",                    \
                               value);                                                             \
        put(to, line, (size_t)n);                                                                  \
    } while (0)
#define COUNT(name, type, help, value) METRIC(name, type, help, "%llu", (unsigned long long)(value))
    COUNT("connected", "gauge", "1 while Redis is there.", stats.connected);
    METRIC("lag_seconds", "gauge", "How long Redis took for the last command.", "%.6f",
           (double)stats.lag_ns / 1e9);
    COUNT("crowded", "gauge", "1 while Redis has too little memory left for more requests.",
          burble__load_relaxed(&front->crowded));
    COUNT("pending_bytes", "gauge", "Bytes of frames that Redis has not confirmed.", stats.pending);
    COUNT("computing", "gauge", "Answers that are computed here.", stats.computing);
    COUNT("showing", "gauge", "Answers that are shown here.", stats.showing);
    COUNT("commands_total", "counter", "Commands to Redis.", stats.commands);
    COUNT("frames_sent_total", "counter", "Frames that Redis has confirmed.", stats.frames_sent);
    COUNT("frames_received_total", "counter", "Frames from Redis.", stats.frames_received);
    COUNT("gaps_total", "counter", "Frames that were fetched, since their message was lost.",
          stats.gaps);
    COUNT("reaped_total", "counter", "Workers whose lease was over, found here.", stats.reaped);
    COUNT("fenced_total", "counter", "How often the worker here has lost its lease.", stats.fenced);
    COUNT("rejoined_total", "counter", "Answers that were written again after Redis had lost them.",
          stats.rejoined);
    COUNT("diverged_total", "counter", "Streams that failed since another text followed.",
          stats.diverged);
    COUNT("resumed_total", "counter", "Answers of others that were taken over with their text.",
          stats.resumed);
    COUNT("reconnects_total", "counter", "How often Redis was connected to again.",
          stats.reconnects);
#undef COUNT
#undef METRIC
}

/* The server is about to be destroyed. */
static void on_closed(void *arg)
{
    struct burble__front *front = arg;
    pthread_mutex_lock(&front->server_lock);
    front->server = NULL;
    pthread_mutex_unlock(&front->server_lock);
}

int burble_relay_serve(burble_relay *relay, burble_server *server, burble_error *error)
{
    struct burble__front *front = relay->shown;
    const burble_serve_finder finder = {
        .arg = front,
        .find = burble__front_find,
        .cancelled = found_cancelled,
        .left = found_left,
        .ready = is_ready,
        .metrics = put_metrics,
        .closed = on_closed,
        .patience = burble__front_patience(relay),
        .missing = find_missing,
    };
    if (relay->forks != burble__forks())
        return burble__error_set(error, BURBLE_EINVAL, "the relay belongs to a parent process");
    pthread_mutex_lock(&relay->lock);
    const bool is_new = relay->state == BURBLE__RELAY_CREATED;
    pthread_mutex_unlock(&relay->lock);
    if (!is_new || front->server != NULL)
        return burble__error_set(error, BURBLE_EINVAL,
                                 "the relay was started before, or has a server");
    const int result = burble_server_set_finder(server, &finder, error);
    if (result == BURBLE_OK)
        front->server = server;
    return result;
}

/* ---- what workers say of a model ---------------------------------------------------------------------------- */

/* False: it is not understood. */
static bool read_description(const char *text, size_t len, burble_serve_model *model)
{
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const char *bits = json_string_value(json_object_get(root, "parameters"));
    const json_int_t context = json_integer_value(json_object_get(root, "context"));
    const json_int_t created = json_integer_value(json_object_get(root, "created"));
    const bool read = json_integer_value(json_object_get(root, "v")) == 1 && bits != NULL
                      && context >= 0 && context <= UINT32_MAX && created >= 0;
    if (read) {
        model->parameters = strtoull(bits, NULL, 16);
        model->context = (uint32_t)context;
        model->created = (uint64_t)created;
        model->chat = json_is_true(json_object_get(root, "chat"));
    }
    json_decref(root);
    return read;
}

/* Offers the model by the server, anew if it can do something else than before. (Its workers need not have been started
 * at the same time, or with as many slots.) */
static void offer(struct burble__front *front, struct burble__front_model *model,
                  const redisReply *description)
{
    burble_serve_model backend = {
        .name = model->name,
        .arg = model,
        .submit = burble__front_submit,
        .cancelled = on_cancelled,
        .load = find_load,
        .left = on_left,
        .usable = is_usable,
    };
    const burble_serve_model *told = &model->told;
    burble_error error;
    if (!read_description(description->str, description->len, &backend)) {
        if (!model->offered && !model->unread)
            burble__relay_log(front->relay, "model %s: its workers describe it in another version",
                              model->name);
        model->unread = true;
        return;
    }
    if (model->offered && backend.parameters == told->parameters && backend.context == told->context
        && backend.chat == told->chat)
        return;
    const bool was_offered = model->offered;
    model->offered = false;
    pthread_mutex_lock(&front->server_lock);
    if (front->server != NULL) {
        if (was_offered)
            burble_server_remove_model(front->server, model->name);
        model->offered = burble_server_add_model(front->server, &backend, &error) == BURBLE_OK;
    }
    pthread_mutex_unlock(&front->server_lock);
    model->told = backend;
    if (model->offered && !was_offered)
        burble__relay_log(front->relay, "model %s: offered", model->name);
}

static void withdraw(struct burble__front *front, struct burble__front_model *model)
{
    pthread_mutex_lock(&front->server_lock);
    if (front->server != NULL && model->offered)
        burble_server_remove_model(front->server, model->name);
    model->offered = false;
    pthread_mutex_unlock(&front->server_lock);
    burble__relay_log(front->relay, "model %s: no longer offered: it has no worker", model->name);
}

/* ---- the list of models -------------------------------------------------------------------------------------- */

struct burble__front_model *burble__front_find_model(const struct burble__front *front,
                                                     const char *name, size_t len)
{
    struct burble__front_model *model = front->models;
    while (model != NULL && (strlen(model->name) != len || memcmp(model->name, name, len) != 0))
        model = model->next;
    return model;
}

/* The model of this name, which is new if there is none. NULL: too many, or a name that none can have. */
static struct burble__front_model *know(struct burble__front *front, const redisReply *name)
{
    if (name->len == 0 || name->len > BURBLE_FRAME_MAX_NAME
        || memchr(name->str, '\0', name->len) != NULL)
        return NULL;
    struct burble__front_model *model = burble__front_find_model(front, name->str, name->len);
    if (model != NULL || front->n_models == BURBLE__FRONT_MODELS)
        return model;
    model = burble__calloc(1, sizeof *model);
    if (model == NULL)
        return NULL;
    memcpy(model->name, name->str, name->len);
    model->front = front;
    model->absent_since = burble__now();
    model->next = front->models;
    front->models = model;
    front->n_models++;
    return model;
}

static void take_model(struct burble__front *front, const redisReply *name, uint64_t waiting,
                       uint64_t workers, const redisReply *description)
{
    struct burble__front_model *model = know(front, name);
    if (model == NULL)
        return;
    model->seen = true;
    burble__store_relaxed(&model->waiting, waiting);
    if (workers == 0)
        return;
    model->absent_since = 0;
    offer(front, model, description);
}

/* Notes which models have workers, and what is missing if none has. */
static void note_workers(struct burble__front *front)
{
    bool offers_any = false, has_worker = false;
    for (struct burble__front_model *model = front->models; model != NULL; model = model->next) {
        burble__store_relaxed(&model->usable, model->absent_since == 0);
        offers_any |= model->offered;
        has_worker |= model->offered && model->absent_since == 0;
    }
    burble__store_relaxed(&front->missing, has_worker ? NULL : offers_any ? GONE : NONE_YET);
    if (!front->was_listed && !offers_any)
        burble__relay_log(front->relay,
                          "no worker has a model yet: requests get 503 until one comes");
    front->was_listed = true;
}

static void on_list(struct burble__call *call, const redisReply *reply)
{
    struct burble__front *front = call->arg;
    const uint64_t now = burble__now();
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
        return;
    for (struct burble__front_model *model = front->models; model != NULL; model = model->next)
        model->seen = false;
    for (size_t i = 0; i + 3 < reply->elements; i += 4) {
        const redisReply *name = reply->element[i], *waiting = reply->element[i + 1],
                         *workers = reply->element[i + 2], *description = reply->element[i + 3];
        if (name->type != REDIS_REPLY_STRING || waiting->type != REDIS_REPLY_INTEGER
            || workers->type != REDIS_REPLY_INTEGER || description->type != REDIS_REPLY_STRING)
            continue;
        struct burble__front_model *model = burble__front_find_model(front, name->str, name->len);
        if (model != NULL && workers->integer == 0 && model->absent_since == 0)
            model->absent_since = now;
        take_model(front, name, (uint64_t)waiting->integer, (uint64_t)workers->integer,
                   description);
    }
    for (struct burble__front_model *model = front->models; model != NULL; model = model->next) {
        if (!model->seen && model->absent_since == 0)
            model->absent_since = now;
        if (model->offered && model->absent_since != 0 && now - model->absent_since >= ABSENCE)
            withdraw(front, model);
    }
    note_workers(front);
}

/* ---- Redis's memory ------------------------------------------------------------------------------------------- */

static uint64_t number_behind(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found == NULL ? 0 : strtoull(found + strlen(name), NULL, 10);
}

static void on_memory(struct burble__call *call, const redisReply *reply)
{
    struct burble__front *front = call->arg;
    if (reply == NULL || reply->type != REDIS_REPLY_STRING)
        return;
    const uint64_t used = number_behind(reply->str, "\nused_memory:"),
                   most = number_behind(reply->str, "\nmaxmemory:");
    const bool crowded = most > 0 && used / CROWDED >= most / 100;
    if (crowded != burble__load_relaxed(&front->crowded))
        burble__relay_log(front->relay,
                          crowded ? "Redis uses more than %u %% of its maxmemory: "
                                    "requests are refused"
                                  : "Redis uses less than %u %% of its maxmemory",
                          CROWDED);
    burble__store_relaxed(&front->crowded, crowded);
}

/* ---- for the front -------------------------------------------------------------------------------------------- */

void burble__front_init_models(struct burble__front *front)
{
    burble__call_init(&front->list, BURBLE__SCRIPT_MODELS, on_list, front);
    burble__call_init(&front->memory, BURBLE__COMMAND, on_memory, front);
}

void burble__front_free_models(struct burble__front *front)
{
    while (front->models != NULL) {
        struct burble__front_model *model = front->models;
        front->models = model->next;
        burble__free(model);
    }
}

void burble__front_ask_models(struct burble__front *front)
{
    struct burble__redis *redis = &front->relay->redis;
    pthread_mutex_lock(&front->server_lock);
    const bool has_server = front->server != NULL;
    pthread_mutex_unlock(&front->server_lock);
    if (!redis->connected || !has_server)
        return;
    if (!front->list.in_flight) {
        burble__call_restart(&front->list, BURBLE__SCRIPT_MODELS);
        burble__redis_send(redis, &front->list);
    }
    if (!front->memory.in_flight) {
        burble__call_restart(&front->memory, BURBLE__COMMAND);
        burble__call_add_text(&front->memory, "INFO");
        burble__call_add_text(&front->memory, "memory");
        burble__redis_send(redis, &front->memory);
    }
}
