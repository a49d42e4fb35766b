/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/relay.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <burble/loop_uv.h>

#include "base/alloc.h"
#include "base/fork.h"
#include "base/thread.h"
#include "relay/front.h"
#include "relay/options.h"
#include "relay/player.h"

#define MS UINT64_C(1000000)

/* The least time in ms between the two passes of reaping: workers connect again meanwhile. */
#define LEAST_PAUSE (UINT64_C(2) * BURBLE__MOST_BACKOFF)

/* The most time in ms between two reapings. */
#define MOST_BETWEEN 1000u

void burble__relay_log(const burble_relay *relay, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (relay->options.log == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    relay->options.log(line, relay->options.log_arg);
}

/* ---- creating -------------------------------------------------------------------------------------------- */

static void on_connected(bool restarted, void *arg);
static void on_lost(const burble_error *why, void *arg);
static void on_wake(uv_async_t *wake);
static void stop(burble_relay *relay);
static void on_reaped(struct burble__call *call, const redisReply *reply);

static int open_handles(burble_relay *relay)
{
    const struct burble__redis_events events = {on_connected, on_lost, relay};
    int result = burble__redis_init(&relay->redis, &relay->uv, &relay->url, relay->prefix, &events);
    relay->wake.data = relay->reap_timer.data = relay;
    result = result == 0 ? uv_async_init(&relay->uv, &relay->wake, on_wake) : result;
    result = result == 0 ? uv_timer_init(&relay->uv, &relay->reap_timer) : result;
    result = result == 0 ? burble__retries_init(&relay->retries, &relay->uv) : result;
    relay->recorders = (struct burble__recorders){.hub = relay->hub, .retries = &relay->retries};
    return result == 0 ? burble_uv_poll_init(&relay->uv, &relay->hub_poll, relay->hub) : result;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Closes a loop that does not run. */
static void close_loop(burble_relay *relay)
{
    uv_walk(&relay->uv, close_handle, NULL);
    uv_run(&relay->uv, UV_RUN_DEFAULT);
    uv_loop_close(&relay->uv);
}

static int make_parts(burble_relay *relay, const burble_relay_options *options, burble_error *error)
{
    int result = burble__relay_copy_options(&relay->options, options);
    if (result == BURBLE_OK)
        result = burble_hub_create(NULL, &relay->hub);
    if (result != BURBLE_OK)
        return burble__error_set(error, result, "cannot make a relay");
    if (burble__stream_id_create(&relay->front) != BURBLE_OK)
        return burble__error_set(error, BURBLE_ESYSTEM, "no random numbers");
    snprintf(relay->prefix, sizeof relay->prefix, "{%s}:", relay->options.prefix);
    result = uv_loop_init(&relay->uv);
    if (result == 0) {
        result = open_handles(relay);
        if (result != 0)
            close_loop(relay);
    }
    if (result != 0)
        return burble__error_set(error, result == UV_ENOMEM ? BURBLE_ENOMEM : BURBLE_ESYSTEM,
                                 "cannot make an event loop: %s", uv_strerror(result));
    return BURBLE_OK;
}

static void free_relay(burble_relay *relay)
{
    burble__call_finish(&relay->reap);
    burble_hub_destroy(&relay->hub);
    burble__redis_finish(&relay->redis);
    burble__relay_free_options(&relay->options);
    pthread_cond_destroy(&relay->changed);
    pthread_mutex_destroy(&relay->lock);
    burble__free(relay);
}

int burble_relay_create(const burble_relay_options *options, burble_relay **out,
                        burble_error *error)
{
    burble_relay_options defaults;
    struct burble__url url;
    *out = NULL;
    if (options == NULL) {
        burble_relay_options_init(&defaults);
        options = &defaults;
    }
    int result = burble__relay_check_options(options, error);
    if (result == BURBLE_OK)
        result = burble__url_parse(options->url, &url, error);
    if (result != BURBLE_OK)
        return result;
    burble_relay *relay = burble__calloc(1, sizeof *relay);
    if (relay == NULL || burble__fork_watch() != BURBLE_OK
        || !burble__condition_init(&relay->changed)) {
        burble__free(relay);
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    }
    pthread_mutex_init(&relay->lock, NULL);
    relay->forks = burble__forks();
    relay->last_post = &relay->posts;
    burble__call_init(&relay->reap, BURBLE__SCRIPT_REAP, on_reaped, relay);
    burble__url_parse(options->url, &relay->url, NULL);
    result = make_parts(relay, options, error);
    if (result != BURBLE_OK) {
        free_relay(relay);
        return result;
    }
    result = burble__front_create(relay);
    if (result == BURBLE_OK)
        *out = relay;
    else
        burble_relay_destroy(&relay);
    return result == BURBLE_OK ? result : burble__error_set(error, result, "cannot make a front");
}

void burble__relay_add_role(burble_relay *relay, struct burble__role *role)
{
    role->next = relay->roles;
    relay->roles = role;
}

/* ---- posts ------------------------------------------------------------------------------------------------ */

/* Whether the thread runs posts. With the lock held. */
static bool is_up(const burble_relay *relay)
{
    return relay->state == BURBLE__RELAY_STARTING || relay->state == BURBLE__RELAY_RUNNING;
}

bool burble__relay_post(burble_relay *relay, struct burble__relay_post *post)
{
    post->next = NULL;
    if (relay->forks != burble__forks())
        return false;
    pthread_mutex_lock(&relay->lock);
    const bool runs = is_up(relay);
    if (runs) {
        *relay->last_post = post;
        relay->last_post = &post->next;
        uv_async_send(&relay->wake);
    }
    pthread_mutex_unlock(&relay->lock);
    return runs;
}

static void run_posts(burble_relay *relay)
{
    pthread_mutex_lock(&relay->lock);
    struct burble__relay_post *post = relay->posts;
    relay->posts = NULL;
    relay->last_post = &relay->posts;
    pthread_mutex_unlock(&relay->lock);
    while (post != NULL) {
        struct burble__relay_post *next = post->next;
        post->run(relay, post);
        post = next;
    }
}

/* It stops between posts, not in one: those behind it in the list would come to roles that have stopped. */
static void on_wake(uv_async_t *wake)
{
    burble_relay *relay = wake->data;
    run_posts(relay);
    pthread_mutex_lock(&relay->lock);
    const bool stops = relay->stopping && is_up(relay);
    pthread_mutex_unlock(&relay->lock);
    if (stops)
        stop(relay);
}

/* ---- reaping ------------------------------------------------------------------------------------------------ */

static void on_reaped(struct burble__call *call, const redisReply *reply)
{
    burble_relay *relay = call->arg;
    const redisReply *fenced = burble__reply_at(reply, 0), *back = burble__reply_at(reply, 1),
                     *failed = burble__reply_at(reply, 2);
    if (fenced == NULL || back == NULL || failed == NULL || fenced->integer == 0)
        return;
    BURBLE__RELAY_ADD(relay, reaped, fenced->integer);
    burble__relay_log(relay,
                      "reaped %lld workers whose leases were over: %lld answers go on elsewhere, "
                      "%lld have failed",
                      fenced->integer, back->integer, failed->integer);
}

static void on_reap_timer(uv_timer_t *timer)
{
    burble_relay *relay = timer->data;
    const uint64_t lease = relay->options.lease / MS;
    struct burble__call *call = &relay->reap;
    if (call->in_flight || !relay->redis.connected)
        return;
    burble__call_restart(call, BURBLE__SCRIPT_REAP);
    burble__call_add_number(call, relay->options.idle_attempts);
    burble__call_add_number(call, relay->options.attempts);
    burble__call_add_number(call, relay->options.ttl / MS);
    burble__call_add_number(call, lease / 2 > LEAST_PAUSE ? lease / 2 : LEAST_PAUSE);
    burble__call_add_text(call, relay->session.hex);
    burble__redis_send(&relay->redis, call);
    BURBLE__RELAY_SET(relay, lag_ns, relay->redis.lag);
    BURBLE__RELAY_SET(relay, commands, relay->redis.n_calls);
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static void set_state(burble_relay *relay, enum burble__relay_state state)
{
    pthread_mutex_lock(&relay->lock);
    relay->state = state;
    pthread_cond_broadcast(&relay->changed);
    pthread_mutex_unlock(&relay->lock);
}

/* Closes everything, so that uv_run returns. In the relay's thread. */
static void stop(burble_relay *relay)
{
    set_state(relay, BURBLE__RELAY_STOPPED);
    run_posts(relay);
    for (struct burble__role *role = relay->roles; role != NULL; role = role->next)
        role->stop(role);
    burble__recorders_stop(&relay->recorders, BURBLE_ECLOSED, "the relay was closed");
    burble__players_stop(relay);
    burble__retries_close(&relay->retries);
    burble__redis_close(&relay->redis);
    uv_close((uv_handle_t *)&relay->reap_timer, NULL);
    uv_close((uv_handle_t *)&relay->wake, NULL);
    uv_close((uv_handle_t *)&relay->hub_poll, NULL);
}

static void on_connected(bool restarted, void *arg)
{
    burble_relay *relay = arg;
    const bool first = relay->state == BURBLE__RELAY_STARTING;
    const uint64_t half = relay->options.lease / MS / 2;
    BURBLE__RELAY_SET(relay, connected, 1);
    BURBLE__RELAY_SET(relay, reconnects, relay->redis.n_connected - 1);
    burble__relay_log(relay, "%s to Redis at %s%s", first ? "connected" : "connected again",
                      relay->url.host, restarted ? ", which has restarted" : "");
    uv_timer_start(&relay->reap_timer, on_reap_timer, half < MOST_BETWEEN ? half : MOST_BETWEEN,
                   half < MOST_BETWEEN ? half : MOST_BETWEEN);
    for (struct burble__role *role = relay->roles; role != NULL; role = role->next)
        role->connected(role, restarted);
    if (first)
        set_state(relay, BURBLE__RELAY_RUNNING);
}

static void on_lost(const burble_error *why, void *arg)
{
    burble_relay *relay = arg;
    uv_timer_stop(&relay->reap_timer);
    if (relay->state == BURBLE__RELAY_STARTING) {
        relay->start_error = *why;
        stop(relay);
        return;
    }
    if (burble__load_relaxed(&relay->counts.connected) != 0)
        burble__relay_log(relay, "Redis is away: %s", why->message);
    BURBLE__RELAY_SET(relay, connected, 0);
    for (struct burble__role *role = relay->roles; role != NULL; role = role->next)
        role->lost(role);
}

static void *run(void *arg)
{
    burble_relay *relay = arg;
    pthread_mutex_lock(&relay->lock); /* until burble_relay_start has set the state */
    pthread_mutex_unlock(&relay->lock);
    burble__redis_connect(&relay->redis);
    uv_run(&relay->uv, UV_RUN_DEFAULT);
    return NULL;
}

int burble_relay_start(burble_relay *relay, burble_error *error)
{
    if (relay->forks != burble__forks())
        return burble__error_set(error, BURBLE_EINVAL, "the relay belongs to a parent process");
    pthread_mutex_lock(&relay->lock);
    const bool is_new = relay->state == BURBLE__RELAY_CREATED;
    /* With the lock held, so that nothing is posted to a thread that does not come to be. */
    const int reason = is_new ? burble__thread_start(&relay->thread, run, relay) : 0;
    if (is_new && reason == 0)
        relay->state = BURBLE__RELAY_STARTING;
    pthread_mutex_unlock(&relay->lock);
    if (!is_new)
        return burble__error_set(error, BURBLE_EINVAL, "the relay was started before");
    if (reason != 0)
        return burble__error_set(error, BURBLE_ESYSTEM, "cannot start a thread: %s",
                                 strerror(reason));
    pthread_mutex_lock(&relay->lock);
    while (relay->state == BURBLE__RELAY_STARTING)
        pthread_cond_wait(&relay->changed, &relay->lock);
    const bool runs = relay->state == BURBLE__RELAY_RUNNING;
    pthread_mutex_unlock(&relay->lock);
    if (runs)
        return BURBLE_OK;
    if (relay->start_error.code == BURBLE_OK)
        return burble__error_set(error, BURBLE_ECLOSED, "the relay was closed");
    return burble__error_set(error, relay->start_error.code, "%s", relay->start_error.message);
}

/* ---- its end -------------------------------------------------------------------------------------------------- */

void burble_relay_stop(burble_relay *relay)
{
    if (relay->forks != burble__forks())
        return;
    pthread_mutex_lock(&relay->lock);
    if (is_up(relay)) {
        relay->stopping = true;
        uv_async_send(&relay->wake);
    }
    pthread_mutex_unlock(&relay->lock);
}

void burble_relay_destroy(burble_relay **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_relay *relay = *handle;
    const bool forked = relay->forks != burble__forks();
    *handle = NULL;
    if (forked) {
        burble__redis_forget(&relay->redis);
    } else {
        burble_relay_stop(relay);
        pthread_mutex_lock(&relay->lock);
        const bool was_started = relay->state != BURBLE__RELAY_CREATED;
        pthread_mutex_unlock(&relay->lock);
        if (was_started) {
            pthread_join(relay->thread, NULL);
            uv_loop_close(&relay->uv);
        } else {
            close_loop(relay);
        }
    }
    while (relay->roles != NULL) {
        struct burble__role *role = relay->roles;
        relay->roles = role->next;
        role->destroy(role, forked);
    }
    /* In a forked child, the loop, the lock and the connections are the parent's thread's. */
    if (!forked)
        free_relay(relay);
}

void burble_relay_stats_now(const burble_relay *relay, burble_relay_stats *stats)
{
    const struct burble__relay_counts *counts = &relay->counts;
    *stats = (burble_relay_stats){.connected = false};
#define LOAD(name) const uint64_t name##_now = burble__load_relaxed(&counts->name);
    BURBLE__RELAY_COUNTS(LOAD)
#undef LOAD
    *stats = (burble_relay_stats){
        .connected = connected_now != 0,
        .lag_ns = lag_ns_now,
        .pending = pending_now,
        .computing = computing_now,
        .showing = showing_now,
        .commands = commands_now,
        .frames_sent = frames_sent_now,
        .frames_received = frames_received_now,
        .gaps = gaps_now,
        .reaped = reaped_now,
        .fenced = fenced_now,
        .rejoined = rejoined_now,
        .diverged = diverged_now,
        .resumed = resumed_now,
        .reconnects = reconnects_now,
    };
}
