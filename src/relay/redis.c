/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/redis.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <async.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error_message.h"
#include "relay/poll.h"

#define FIRST_BACKOFF 20u
#define MS UINT64_C(1000000)

/* How often, in ms, the patience is looked at. */
#define WATCH 250u

/* The least version of Redis: 6.2. */
#define LEAST_MAJOR 6
#define LEAST_MINOR 2

static void on_timer(uv_timer_t *timer);

static void report(struct burble__redis *redis)
{
    const burble_error why = redis->reason;
    redis->reason = (burble_error){.code = BURBLE_OK};
    redis->events.lost(&why, redis->events.arg);
}

/* ---- losing ------------------------------------------------------------------------------------------------ */

static void lose(struct burble__redis *redis)
{
    if (redis->dropping)
        return;
    redis->dropping = true;
    redis->connected = redis->calls_ready = false;
    redis->subscriptions = 0;
    /* Freeing a connection answers its calls with NULL. */
    struct redisAsyncContext *const calls = redis->calls, *const subscribed = redis->subscribed;
    redis->calls = redis->subscribed = NULL;
    if (calls != NULL)
        redisAsyncFree(calls);
    if (subscribed != NULL)
        redisAsyncFree(subscribed);
    redis->dropping = false;
}

/* hiredis must not be left from one of its own functions with its context freed under it, so that losses are made
 * by the timer, which the loop calls next. */
static void lose_soon(struct burble__redis *redis, int code, const char *why)
{
    if (!redis->open || redis->reason.code != BURBLE_OK)
        return;
    burble__error_set(&redis->reason, code, "%s", why);
    redis->connected = false;
    uv_timer_start(&redis->timer, on_timer, 0, 0);
}

void burble__redis_drop(struct burble__redis *redis, const char *why)
{
    lose_soon(redis, BURBLE_ESYSTEM, why);
}

/* Gives the connection up, before there is one. */
static void lose_unconnected(struct burble__redis *redis, const char *reason)
{
    const struct burble__url *const url = redis->url;
    char why[200];
    if (url->local)
        snprintf(why, sizeof why, "cannot connect to %s: %s", url->host, reason);
    else
        snprintf(why, sizeof why, "cannot connect to %s, port %u: %s", url->host,
                 (unsigned)url->port, reason);
    lose_soon(redis, BURBLE_ESYSTEM, why);
}

static void on_connect(const redisAsyncContext *context, int status)
{
    struct burble__redis *redis = context->data;
    if (status == REDIS_OK)
        return;
    /* hiredis frees it on return. */
    if (redis->calls == context)
        redis->calls = NULL;
    if (redis->subscribed == context)
        redis->subscribed = NULL;
    lose_unconnected(redis, context->errstr);
}

static void on_disconnect(const redisAsyncContext *context, int status)
{
    struct burble__redis *redis = context->data;
    if (redis->calls == context)
        redis->calls = NULL;
    if (redis->subscribed == context)
        redis->subscribed = NULL;
    if (redis->dropping)
        return;
    char why[200];
    /* hiredis takes an error that answers SUBSCRIBE for the end of the connection. */
    const bool refused = status != REDIS_OK
                         && (strncmp(context->errstr, "NOAUTH", 6) == 0
                             || strncmp(context->errstr, "NOPERM", 6) == 0);
    snprintf(why, sizeof why, "%s: %s", refused ? "SUBSCRIBE" : "the connection was lost",
             status == REDIS_OK ? "closed" : context->errstr);
    lose_soon(redis, refused ? BURBLE_EUNSUPPORTED : BURBLE_ESYSTEM, why);
}

/* ---- the beginning of a connection ------------------------------------------------------------------------- */

static void check_ready(struct burble__redis *redis)
{
    if (redis->connected || !redis->calls_ready || redis->subscriptions < redis->wanted
        || redis->reason.code != BURBLE_OK)
        return;
    redis->connected = true;
    redis->backoff = FIRST_BACKOFF;
    redis->n_connected++;
    const bool restarted = redis->restarted;
    redis->restarted = false;
    redis->events.connected(restarted, redis->events.arg);
}

/* Whether the reply is no error; otherwise the connection is given up. */
static bool is_well(struct burble__redis *redis, const redisReply *reply, const char *what)
{
    char why[200];
    if (reply == NULL)
        return false;
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    snprintf(why, sizeof why, "%s: %s", what, reply->str);
    /* A Redis that starts, or has no master, answers better later. */
    const bool later = strncmp(reply->str, "LOADING", 7) == 0
                       || strncmp(reply->str, "MASTERDOWN", 10) == 0
                       || strncmp(reply->str, "ERR max number of clients", 25) == 0;
    lose_soon(redis, later ? BURBLE_ESYSTEM : BURBLE_EUNSUPPORTED, why);
    return false;
}

static void on_auth(redisAsyncContext *context, void *reply, void *arg)
{
    (void)arg;
    is_well(context->data, reply, "AUTH");
}

static void on_select(redisAsyncContext *context, void *reply, void *arg)
{
    (void)arg;
    is_well(context->data, reply, "SELECT");
}

/* What stands behind `name` in a reply of INFO, up to the end of the line. */
static bool find_info(const char *info, const char *name, char *out, size_t size)
{
    const char *at = strstr(info, name);
    if (at == NULL)
        return false;
    at += strlen(name);
    const size_t len = strcspn(at, "\r\n");
    snprintf(out, size, "%.*s", (int)len, at);
    return true;
}

static void on_info(redisAsyncContext *context, void *given, void *arg)
{
    struct burble__redis *redis = context->data;
    const redisReply *reply = given;
    char version[32] = "", policy[32] = "", run_id[sizeof redis->run_id] = "", why[200];
    (void)arg;
    if (!is_well(redis, reply, "INFO"))
        return;
    const char *info = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    find_info(info, "\nredis_version:", version, sizeof version);
    find_info(info, "\nmaxmemory_policy:", policy, sizeof policy);
    find_info(info, "\nrun_id:", run_id, sizeof run_id);
    char *minor;
    const long major = strtol(version, &minor, 10);
    if (major < LEAST_MAJOR
        || (major == LEAST_MAJOR && *minor == '.' && strtol(minor + 1, NULL, 10) < LEAST_MINOR)) {
        snprintf(why, sizeof why, "expected Redis %d.%d or above, found %s", LEAST_MAJOR,
                 LEAST_MINOR, version[0] == '\0' ? "something else" : version);
        lose_soon(redis, BURBLE_EUNSUPPORTED, why);
        return;
    }
    if (strcmp(policy, "noeviction") != 0) {
        snprintf(why, sizeof why, "maxmemory-policy: expected noeviction, found %s", policy);
        lose_soon(redis, BURBLE_EUNSUPPORTED, why);
        return;
    }
    redis->restarted = redis->run_id[0] != '\0' && strcmp(redis->run_id, run_id) != 0;
    snprintf(redis->run_id, sizeof redis->run_id, "%s", run_id);
    redis->calls_ready = true;
    check_ready(redis);
}

static void on_message(redisAsyncContext *context, void *given, void *arg)
{
    struct burble__redis *redis = context->data;
    const struct burble__channel *channel = arg;
    const redisReply *reply = given;
    if (!is_well(redis, reply, "SUBSCRIBE") || reply->type != REDIS_REPLY_ARRAY
        || reply->elements < 3)
        return;
    if (burble__reply_is(reply->element[0], "subscribe")) {
        redis->subscriptions++;
        check_ready(redis);
    } else if (redis->connected && burble__reply_is(reply->element[0], "message")
               && reply->element[2]->type == REDIS_REPLY_STRING) {
        channel->take(reply->element[2]->str, reply->element[2]->len, channel->arg);
    }
}

static struct redisAsyncContext *open_connection(struct burble__redis *redis)
{
    const struct burble__url *url = redis->url;
    struct redisAsyncContext *context =
        url->local ? redisAsyncConnectUnix(url->host) : redisAsyncConnect(url->host, url->port);
    if (context == NULL || context->err != 0) {
        lose_unconnected(redis, context == NULL ? "out of memory" : context->errstr);
        if (context != NULL)
            redisAsyncFree(context);
        return NULL;
    }
    context->data = redis;
    fcntl(context->c.fd, F_SETFD, FD_CLOEXEC);
    if (!url->local)
        redisEnableKeepAlive(&context->c);
    if (!burble__poll_attach(context, redis->loop)) {
        redisAsyncFree(context);
        lose_soon(redis, BURBLE_ESYSTEM, "cannot watch the connection");
        return NULL;
    }
    redisAsyncSetConnectCallback(context, on_connect);
    redisAsyncSetDisconnectCallback(context, on_disconnect);
    if (url->password[0] != '\0' && url->user[0] != '\0')
        redisAsyncCommand(context, on_auth, NULL, "AUTH %s %s", url->user, url->password);
    else if (url->password[0] != '\0')
        redisAsyncCommand(context, on_auth, NULL, "AUTH %s", url->password);
    return context;
}

static void connect_now(struct burble__redis *redis)
{
    redis->since = burble__now();
    uv_timer_start(&redis->timer, on_timer, WATCH, WATCH);
    redis->calls = open_connection(redis);
    if (redis->calls == NULL)
        return;
    if (redis->url->database != 0)
        redisAsyncCommand(redis->calls, on_select, NULL, "SELECT %u", redis->url->database);
    redisAsyncCommand(redis->calls, on_info, NULL, "INFO");
    if (redis->channels == NULL)
        return;
    redis->subscribed = open_connection(redis);
    for (struct burble__channel *at = redis->channels; redis->subscribed != NULL && at != NULL;
         at = at->next)
        redisAsyncCommand(redis->subscribed, on_message, at, "SUBSCRIBE %s", at->name);
}

static void on_timer(uv_timer_t *timer)
{
    struct burble__redis *redis = timer->data;
    const uint64_t now = burble__now();
    const uint64_t asked =
        redis->connected ? (redis->first != NULL ? redis->first->sent_at : now) : redis->since;
    if (redis->calls != NULL && redis->reason.code == BURBLE_OK
        && now - asked > BURBLE__PATIENCE * MS)
        burble__error_set(&redis->reason, BURBLE_ESYSTEM, "Redis has not answered for %u s",
                          BURBLE__PATIENCE / 1000);
    if (redis->reason.code != BURBLE_OK) {
        lose(redis);
        uv_timer_start(timer, on_timer, redis->backoff, 0);
        redis->backoff =
            redis->backoff * 2 < BURBLE__MOST_BACKOFF ? redis->backoff * 2 : BURBLE__MOST_BACKOFF;
        report(redis);
    } else if (redis->calls == NULL) {
        connect_now(redis);
    }
}

/* ---- calls -------------------------------------------------------------------------------------------------- */

static void take_out(struct burble__redis *redis, struct burble__call *call)
{
    struct burble__call *before = NULL, *at = redis->first;
    while (at != call) {
        before = at;
        at = at->next;
    }
    if (before == NULL)
        redis->first = call->next;
    else
        before->next = call->next;
    if (redis->last == call)
        redis->last = before;
    call->next = NULL;
    call->in_flight = false;
}

static bool send_as(struct burble__redis *redis, struct burble__call *call, bool whole);

static void on_reply(redisAsyncContext *context, void *given, void *arg)
{
    struct burble__redis *redis = context->data;
    struct burble__call *call = arg;
    const redisReply *reply = given;
    const uint64_t sent_at = call->sent_at;
    take_out(redis, call);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        if (strncmp(reply->str, "NOSCRIPT", 8) == 0 && call->script != BURBLE__COMMAND
            && send_as(redis, call, true))
            return;
        /* It became a replica: the connection is to the wrong one. */
        if (strncmp(reply->str, "READONLY", 8) == 0)
            lose_soon(redis, BURBLE_ESYSTEM, reply->str);
    }
    if (reply != NULL) {
        const uint64_t now = burble__now();
        redis->lag = now - sent_at;
        if (redis->lag >= BURBLE__STALL * MS)
            redis->stalled_at = now;
        redis->n_calls++;
    }
    call->done(call, reply);
}

static bool send_as(struct burble__redis *redis, struct burble__call *call, bool whole)
{
    const char *bytes;
    size_t len;
    assert(!call->in_flight);
    if (!redis->connected || redis->calls == NULL
        || burble__call_encode(call, redis->prefix, whole, &redis->whole, &bytes, &len) != BURBLE_OK
        || redisAsyncFormattedCommand(redis->calls, on_reply, call, bytes, len) != REDIS_OK)
        return false;
    call->sent_at = burble__now();
    call->in_flight = true;
    call->next = NULL;
    if (redis->last == NULL)
        redis->first = call;
    else
        redis->last->next = call;
    redis->last = call;
    return true;
}

bool burble__redis_send(struct burble__redis *redis, struct burble__call *call)
{
    return send_as(redis, call, false);
}

/* ---- its life --------------------------------------------------------------------------------------------- */

int burble__redis_init(struct burble__redis *redis, uv_loop_t *loop, const struct burble__url *url,
                       const char *prefix, const struct burble__redis_events *events)
{
    *redis = (struct burble__redis){
        .loop = loop,
        .url = url,
        .prefix = prefix,
        .events = *events,
        .backoff = FIRST_BACKOFF,
    };
    burble__buffer_init(&redis->whole, 2 * BURBLE__CALL_MAX);
    const int result = uv_timer_init(loop, &redis->timer);
    redis->timer.data = redis;
    return result;
}

int burble__redis_subscribe(struct burble__redis *redis, const char *name,
                            void (*take)(const char *bytes, size_t len, void *arg), void *arg)
{
    const size_t size = strlen(redis->prefix) + strlen(name) + 3;
    struct burble__channel *channel = burble__malloc(sizeof *channel + size);
    if (channel == NULL)
        return BURBLE_ENOMEM;
    *channel = (struct burble__channel){redis->channels, (char *)(channel + 1), take, arg};
    snprintf(channel->name, size, "%sc:%s", redis->prefix, name);
    redis->channels = channel;
    redis->wanted++;
    return BURBLE_OK;
}

void burble__redis_connect(struct burble__redis *redis)
{
    redis->open = true;
    connect_now(redis);
}

void burble__redis_close(struct burble__redis *redis)
{
    redis->open = false;
    lose(redis);
    uv_close((uv_handle_t *)&redis->timer, NULL);
}

void burble__redis_finish(struct burble__redis *redis)
{
    while (redis->channels != NULL) {
        struct burble__channel *channel = redis->channels;
        redis->channels = channel->next;
        burble__free(channel);
    }
    burble__buffer_finish(&redis->whole);
}

void burble__redis_forget(struct burble__redis *redis)
{
    if (redis->calls != NULL)
        close(redis->calls->c.fd);
    if (redis->subscribed != NULL)
        close(redis->subscribed->c.fd);
}

/* ---- replies ------------------------------------------------------------------------------------------------ */

bool burble__reply_is(const redisReply *reply, const char *text)
{
    return reply != NULL && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS)
           && reply->len == strlen(text) && memcmp(reply->str, text, reply->len) == 0;
}

const redisReply *burble__reply_at(const redisReply *reply, size_t i)
{
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY && i < reply->elements
               ? reply->element[i]
               : NULL;
}
