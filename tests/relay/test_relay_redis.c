/* SPDX-License-Identifier: MIT
 *
 * A relay's connections: where Redis is, what it must be, losing it and coming back, and the scripts.
 */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "redis_server.h"
#include "relay/relay.h"

/* ---- addresses ------------------------------------------------------------------------------------------- */

static void test_url_is_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
        uint32_t database;
        const char *user, *password;
        bool local;
    } cases[] = {
        {"redis://h", "h", 6379, 0, "", "", false},
        {"redis://h:1/2", "h", 1, 2, "", "", false},
        {"redis://h/", "h", 6379, 0, "", "", false},
        {"redis://:p%40%2f@10.0.0.1:65535", "10.0.0.1", 65535, 0, "", "p@/", false},
        {"redis://u%3A:p@@[::1]:7/65535", "::1", 7, 65535, "u:", "p@", false},
        {"unix:///run/redis.sock", "/run/redis.sock", 0, 0, "", "", true},
        {"unix:///a%20b?db=3", "/a b", 0, 3, "", "", true},
        {"unix://us%40r:p%2Fw@/a@b?db=3", "/a@b", 0, 3, "us@r", "p/w", true},
        {"unix://:secret@/a", "/a", 0, 0, "", "secret", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__url url;
        assert_result(burble__url_parse(cases[i].text, &url, NULL), BURBLE_OK);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.user, cases[i].user);
        assert_string_equal(url.password, cases[i].password);
        assert_int_equal(url.port, cases[i].port);
        assert_int_equal(url.database, cases[i].database);
        assert_int_equal(url.local, cases[i].local);
    }
}

static void test_wrong_url_is_refused_without_its_password(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "h:1",
        "http://h",
        "rediss://h",
        "redis://",
        "redis://secret@h",
        "redis://u:secret%@h",
        "redis://u:secret%00@h",
        "redis://u:se/secret@h",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:1x",
        "redis://h/65536",
        "redis://h/-1",
        "redis://[::1",
        "redis://[::1]x",
        "unix://relative",
        "unix://user@/a",
        "unix://user:secret@a",
        "unix:///a?db=",
        "unix:///a?database=1",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__url url;
        burble_error error;
        assert_result(burble__url_parse(cases[i], &url, &error), BURBLE_EINVAL);
        assert_ptr_equal(strstr(error.message, "url: expected redis://"), error.message);
        assert_null(strstr(error.message, "secret"));
    }
}

static void test_options_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at; /* of a uint64_t */
        uint64_t value;
        const char *message;
    } times[] = {
        {offsetof(burble_relay_options, lease), SECOND / 5 - 1,
         "lease: expected 200 ms to 60 s, in ns, found 199999999"},
        {offsetof(burble_relay_options, lease), 60 * SECOND + 1,
         "lease: expected 200 ms to 60 s, in ns, found 60000000001"},
        {offsetof(burble_relay_options, ttl), 0, "ttl: expected 1 ms to a year, found 0"},
        {offsetof(burble_relay_options, max_pending), 1023,
         "max_pending: expected 1024 to 1073741824, found 1023"},
        {offsetof(burble_relay_options, reserved), 1,
         "burble_relay_options: expected 0 in `reserved`, found a member of a later version"},
    };
    burble_relay *relay;
    burble_error error;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        burble_relay_options options;
        burble_relay_options_init(&options);
        memcpy((char *)&options + times[i].at, &times[i].value, sizeof times[i].value);
        assert_result(burble_relay_create(&options, &relay, &error), BURBLE_EINVAL);
        assert_null(relay);
        assert_string_equal(error.message, times[i].message);
    }
    static const char *const prefixes[] = {"", "a b", "{a}", NULL};
    for (size_t i = 0; i < 4; i++) {
        burble_relay_options options;
        burble_relay_options_init(&options);
        options.prefix = prefixes[i];
        assert_result(burble_relay_create(&options, &relay, &error), BURBLE_EINVAL);
    }
}

/* ---- connecting -------------------------------------------------------------------------------------------- */

static burble_relay *new_relay(const char *url)
{
    burble_relay_options options;
    burble_relay *relay;
    burble_error error;
    burble_relay_options_init(&options);
    options.url = url;
    options.lease = SECOND / 5;
    if (burble_relay_create(&options, &relay, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    return relay;
}

static void refused(const char *url, int code, const char *part)
{
    burble_error error;
    burble_relay *relay = new_relay(url);
    const int result = burble_relay_start(relay, &error);
    if (result != code || strstr(error.message, part) == NULL)
        fail_msg("expected %s: …%s…, found %s: %s", burble_result_name(code), part,
                 burble_result_name(result), error.message);
    assert_result(burble_relay_start(relay, &error), BURBLE_EINVAL);
    burble_relay_destroy(&relay);
    assert_null(relay);
}

static void test_start_without_redis_fails_with_reason(void **state)
{
    (void)state;
    refused("unix:///nowhere/redis.sock", BURBLE_ESYSTEM,
            "cannot connect to /nowhere/redis.sock: No such file");
    refused("redis://127.0.0.1:1", BURBLE_ESYSTEM,
            "cannot connect to 127.0.0.1, port 1: Connection refused");
    refused("redis://burble.invalid", BURBLE_ESYSTEM,
            "cannot connect to burble.invalid, port 6379: ");
    burble_relay *relay = new_relay("redis://127.0.0.1:1");
    burble_relay_destroy(&relay); /* never started */
    burble_relay_destroy(&relay);
    burble_relay_destroy(NULL);
}

static void test_unfit_redis_is_refused(void **state)
{
    struct redis_server server;
    char url[256];
    (void)state;
    if (!redis_start(&server, false))
        skip();
    redis_ask(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    refused(server.url, BURBLE_EUNSUPPORTED,
            "maxmemory-policy: expected noeviction, found allkeys-lru");
    redis_ask(&server, "CONFIG SET maxmemory-policy noeviction");
    snprintf(url, sizeof url, "%s?db=77", server.url);
    refused(url, BURBLE_EUNSUPPORTED, "SELECT: ERR DB index is out of range");
    redis_ask(&server, "CONFIG SET requirepass x");
    refused(server.url, BURBLE_EUNSUPPORTED, "NOAUTH");
    redis_stop(&server);
}

/* ---- a role that counts -------------------------------------------------------------------------------------- */

struct watcher {
    struct burble__role role;
    burble_relay *relay;
    struct burble__call call;
    _Atomic(uint64_t) connected, restarted, lost, messages, replies, errors, nothing;
};

static void on_status(struct burble__call *call, const redisReply *reply)
{
    struct watcher *watcher = call->arg;
    if (reply == NULL)
        burble__add_relaxed(&watcher->nothing, 1);
    else if (reply->type == REDIS_REPLY_ERROR)
        burble__add_relaxed(&watcher->errors, 1);
    else
        burble__add_relaxed(&watcher->replies, 1);
}

static void ask_status(burble_relay *relay, struct burble__relay_post *post)
{
    struct watcher *watcher = (struct watcher *)(void *)relay->roles;
    free(post);
    if (!watcher->call.in_flight && !burble__redis_send(&relay->redis, &watcher->call))
        burble__add_relaxed(&watcher->nothing, 1);
}

static void on_connected(struct burble__role *role, bool restarted)
{
    struct watcher *watcher = (struct watcher *)(void *)role;
    burble__add_relaxed(&watcher->restarted, restarted);
    burble__add_relaxed(&watcher->connected, 1);
}

static void on_lost(struct burble__role *role)
{
    burble__add_relaxed(&((struct watcher *)(void *)role)->lost, 1);
}

static void on_stop(struct burble__role *role)
{
    (void)role;
}

static void on_destroy(struct burble__role *role, bool forked)
{
    struct watcher *watcher = (struct watcher *)(void *)role;
    (void)forked;
    burble__call_finish(&watcher->call);
}

static void on_message(const char *bytes, size_t len, void *arg)
{
    struct watcher *watcher = arg;
    burble__add_relaxed(&watcher->messages, len == 3 && memcmp(bytes, "a\0b", 3) == 0);
}

static void watch(struct watcher *watcher, burble_relay *relay)
{
    *watcher = (struct watcher){
        .role = {.connected = on_connected,
                 .lost = on_lost,
                 .stop = on_stop,
                 .destroy = on_destroy},
        .relay = relay,
    };
    burble__call_init(&watcher->call, BURBLE__SCRIPT_STATUS, on_status, watcher);
    assert_result(burble__redis_subscribe(&relay->redis, "one", on_message, watcher), BURBLE_OK);
    assert_result(burble__redis_subscribe(&relay->redis, "two", on_message, watcher), BURBLE_OK);
    burble__relay_add_role(relay, &watcher->role);
}

static void ask(struct watcher *watcher)
{
    struct burble__relay_post *post = calloc(1, sizeof *post);
    post->run = ask_status;
    assert_true(burble__relay_post(watcher->relay, post));
}

#define until(count, least) UNTIL(burble__load_relaxed(count) >= (least))

static void test_scripts_survive_flush_and_restart(void **state)
{
    struct redis_server server;
    struct watcher watcher;
    burble_error error;
    (void)state;
    if (!redis_start(&server, false))
        skip();
    burble_relay *relay = new_relay(server.url);
    watch(&watcher, relay);
    assert_result(burble_relay_start(relay, &error), BURBLE_OK);
    assert_int_equal(burble__load_relaxed(&watcher.connected), 1);
    ask(&watcher);
    until(&watcher.replies, 1);
    redis_ask(&server, "SCRIPT FLUSH");
    ask(&watcher);
    until(&watcher.replies, 2);
    redis_kill(&server);
    until(&watcher.lost, 1);
    redis_start_again(&server);
    until(&watcher.connected, 2);
    assert_int_equal(burble__load_relaxed(&watcher.restarted), 1);
    ask(&watcher);
    until(&watcher.replies, 3);
    assert_int_equal(burble__load_relaxed(&watcher.errors), 0);
    burble_relay_stats stats;
    burble_relay_stats_now(relay, &stats);
    assert_true(stats.connected);
    assert_int_equal(stats.reconnects, 1);
    burble_relay_destroy(&relay);
    redis_stop(&server);
}

static void test_messages_of_channels_arrive(void **state)
{
    struct redis_server server;
    struct watcher watcher;
    burble_error error;
    (void)state;
    if (!redis_start(&server, false))
        skip();
    burble_relay *relay = new_relay(server.url);
    watch(&watcher, relay);
    assert_result(burble_relay_start(relay, &error), BURBLE_OK);
    assert_string_equal(redis_ask(&server, "PUBLISH {burble}:c:one %b", "a\0b", (size_t)3), "1");
    assert_string_equal(redis_ask(&server, "PUBLISH {burble}:c:two %b", "a\0b", (size_t)3), "1");
    until(&watcher.messages, 2);
    /* One that is lost takes the other one along, and both come back. */
    redis_ask(&server, "CLIENT KILL TYPE pubsub");
    until(&watcher.connected, 2);
    assert_int_equal(burble__load_relaxed(&watcher.restarted), 0);
    assert_string_equal(redis_ask(&server, "PUBLISH {burble}:c:two %b", "a\0b", (size_t)3), "1");
    until(&watcher.messages, 3);
    redis_ask(&server, "CLIENT KILL TYPE normal SKIPME yes");
    until(&watcher.connected, 3);
    burble_relay_destroy(&relay);
    redis_stop(&server);
}

static void test_call_to_dead_redis_is_answered(void **state)
{
    struct redis_server server;
    struct watcher watcher;
    burble_error error;
    (void)state;
    if (!redis_start(&server, false))
        skip();
    burble_relay *relay = new_relay(server.url);
    watch(&watcher, relay);
    assert_result(burble_relay_start(relay, &error), BURBLE_OK);
    redis_freeze(&server);
    ask(&watcher);
    redis_kill(&server);
    until(&watcher.nothing, 1);
    ask(&watcher);
    until(&watcher.nothing, 2);
    burble_relay_destroy(&relay); /* while it connects again */
    redis_stop(&server);
}

/* ---- without a thread ---------------------------------------------------------------------------------------- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);

/* Posts while the relay's thread is being created, which fails; NULL: threads are created. */
static struct poster {
    pthread_t thread;
    burble_relay *relay;
    struct burble__relay_post post;
    bool accepted;
    _Atomic(bool) ran;
} *poster;

static void on_post(burble_relay *relay, struct burble__relay_post *post)
{
    struct poster *of = (struct poster *)(void *)((char *)post - offsetof(struct poster, post));
    (void)relay;
    burble__store_release(&of->ran, true);
}

static void *run_poster(void *arg)
{
    struct poster *of = arg;
    of->accepted = burble__relay_post(of->relay, &of->post);
    return NULL;
}

/* (The linker calls this in place of pthread_create.) */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    struct timespec until;
    if (poster == NULL)
        return __real_pthread_create(thread, attr, run, arg);
    assert_int_equal(__real_pthread_create(&poster->thread, NULL, run_poster, poster), 0);
    /* It has posted, if it may; otherwise it waits until this function has returned. */
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_timedjoin_np(poster->thread, NULL, &until) == 0)
        poster->thread = 0;
    return EAGAIN;
}

static void test_post_is_refused_if_no_thread_can_be_created(void **state)
{
    struct redis_server server;
    burble_error error;
    (void)state;
    if (!redis_start(&server, false))
        skip();
    burble_relay *relay = new_relay(server.url);
    struct poster of = {.relay = relay, .post.run = on_post};
    poster = &of;
    const int result = burble_relay_start(relay, &error);
    poster = NULL;
    if (of.thread != 0)
        pthread_join(of.thread, NULL);
    assert_result(result, BURBLE_ESYSTEM);
    assert_false(of.accepted);
    /* It can be started again. */
    assert_result(burble_relay_start(relay, &error), BURBLE_OK);
    assert_true(burble__relay_post(relay, &of.post));
    UNTIL(burble__load_acquire(&of.ran));
    burble_relay_destroy(&relay);
    redis_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url_is_parsed),
        cmocka_unit_test(test_wrong_url_is_refused_without_its_password),
        cmocka_unit_test(test_options_out_of_range_are_refused),
        cmocka_unit_test(test_start_without_redis_fails_with_reason),
        cmocka_unit_test(test_unfit_redis_is_refused),
        cmocka_unit_test(test_scripts_survive_flush_and_restart),
        cmocka_unit_test(test_messages_of_channels_arrive),
        cmocka_unit_test(test_call_to_dead_redis_is_answered),
        cmocka_unit_test(test_post_is_refused_if_no_thread_can_be_created),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
