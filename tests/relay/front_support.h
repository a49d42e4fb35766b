/* SPDX-License-Identifier: MIT
 *
 * For the tests of a front: a worker that is the test itself, which runs the protocol's scripts, so that it decides what is
 * written, lost and taken back at which moment; fronts, each as if it were on a machine of its own; and their clients.
 */
#ifndef BURBLE_TESTS_RELAY_FRONT_SUPPORT_H
#define BURBLE_TESTS_RELAY_FRONT_SUPPORT_H

#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hiredis.h>

#include <burble/frame.h>
#include <burble/relay.h>

#include "redis_server.h"
#include "relay/scripts.h"

#define SESSION "00000000000000000000000000000001"
#define ROOM 65536

static struct redis_server redis;
static bool there; /* redis */

/* ---- the worker ------------------------------------------------------------------------------------------- */

struct hand {
    redisContext *context;
    unsigned n;  /* of its last command */
    char id[33]; /* of the answer that it has claimed */
    uint32_t k;  /* the number of its next frame */
    uint32_t hash;
    bool hidden; /* fronts are not told what it writes */
};

static inline redisReply *eval(struct hand *hand, enum burble__script script, size_t n,
                               const char **arguments, const size_t *lens)
{
    const char *argv[64] = {"EVAL", (const char *)burble__scripts[script].text, "1", "{burble}:"};
    size_t sizes[64] = {4, burble__scripts[script].len, 1, 9};
    assert_in_range(n, 0, 60);
    for (size_t i = 0; i < n; i++) {
        argv[4 + i] = arguments[i];
        sizes[4 + i] = lens == NULL ? strlen(arguments[i]) : lens[i];
    }
    redisReply *reply = redisCommandArgv(hand->context, (int)n + 4, argv, sizes);
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", burble__scripts[script].name,
                 reply == NULL ? hand->context->errstr : reply->str);
    return reply;
}

#define EVAL(hand, script, ...)                                                                    \
    eval(hand, BURBLE__SCRIPT_##script, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),    \
         (const char *[]){__VA_ARGS__}, NULL)

static inline const char *number(unsigned long long value)
{
    static char texts[8][24];
    static unsigned next;
    char *text = texts[next++ % 8];
    snprintf(text, sizeof texts[0], "%llu", value);
    return text;
}

static inline void hand_connect(struct hand *hand)
{
    const char *path = redis.url + strlen("unix://");
    hand->context = redisConnectUnix(path);
    if (hand->context == NULL || hand->context->err != 0)
        fail_msg("%s: %s", path, hand->context == NULL ? "" : hand->context->errstr);
}

/* A worker of the model `numbers`, whose lease is long. */
static inline void hand_open(struct hand *hand)
{
    *hand = (struct hand){.n = 0};
    hand_connect(hand);
    freeReplyObject(EVAL(hand, OPEN, SESSION, "hand", "60000", "", "numbers",
                         "{\"v\":1,\"context\":4096,\"chat\":true,"
                         "\"parameters\":\"000000000fffffff\",\"created\":1,\"slots\":8}"));
}

static inline void hand_close(struct hand *hand)
{
    redisFree(hand->context);
}

/* Takes an answer, which comes in time. */
static inline void hand_claim(struct hand *hand)
{
    const uint64_t deadline = burble_now() + PATIENCE;
    for (hand->id[0] = '\0'; hand->id[0] == '\0';) {
        redisReply *reply = EVAL(hand, CLAIM, SESSION, number(++hand->n), "1", "600000", "numbers");
        assert_string_equal(reply->element[0]->str, "ok");
        if (reply->elements > 1) {
            const redisReply *frames = reply->element[1]->element[8];
            const redisReply *last = frames->element[frames->elements - 1];
            snprintf(hand->id, sizeof hand->id, "%s", reply->element[1]->element[0]->str);
            hand->k = (uint32_t)frames->elements;
            memcpy(&hand->hash, last->str, 4);
        } else if (burble_now() > deadline) {
            fail_msg("expected an answer to claim, found none");
        } else {
            usleep(5000);
        }
        freeReplyObject(reply);
    }
}

static inline size_t make_frame(struct hand *hand, const burble_frame *frame, char *value)
{
    const size_t len = burble_frame_write(frame, value + 4, 200);
    hand->hash = burble_frame_hash(hand->hash, value + 4, len);
    memcpy(value, &hand->hash, 4);
    return len + 4;
}

/* Without a front that is told of it, as if all messages were lost: those that show the answer are taken out in the same step,
 * since they come back once a second. */
static inline void hand_hide(struct hand *hand)
{
    char command[64];
    snprintf(command, sizeof command, "DEL {burble}:fr:%s", hand->id);
    freeReplyObject(redisCommand(hand->context, "MULTI"));
    freeReplyObject(redisCommand(hand->context, command));
}

static inline void hand_step(struct hand *hand, const burble_frame *frame)
{
    char value[204], record[300];
    const size_t len = make_frame(hand, frame, value);
    const char *arguments[] = {SESSION, number(++hand->n), "60000", "0", "600000",
                               "n",     hand->id,          record};
    size_t lens[8];
    /* The id, the length of the entry's id, that, the length of the value. */
    const int head = snprintf(record, sizeof record, "%s_%u-0", hand->id, ++hand->k);
    record[32] = (char)(head - 33);
    const char value_len[4] = {(char)(unsigned char)len, 0, 0, 0};
    memcpy(record + head, value_len, 4);
    memcpy(record + head + 4, value, len);
    for (size_t i = 0; i < 7; i++)
        lens[i] = strlen(arguments[i]);
    lens[7] = (size_t)head + 4 + len;
    if (hand->hidden)
        hand_hide(hand);
    redisReply *reply = eval(hand, BURBLE__SCRIPT_STEP, 8, arguments, lens);
    if (hand->hidden) { /* the reply was "QUEUED" */
        freeReplyObject(reply);
        reply = redisCommand(hand->context, "EXEC");
        assert_int_equal(reply->elements, 2);
        assert_string_equal(reply->element[1]->element[0]->str, "ok");
    } else {
        assert_string_equal(reply->element[0]->str, "ok");
    }
    freeReplyObject(reply);
}

static inline void hand_write(struct hand *hand, const char *text)
{
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
    frame.u.text.text = (burble_text){text, strlen(text)};
    hand_step(hand, &frame);
}

static inline void hand_end(struct hand *hand)
{
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH};
    frame.u.text.reason = BURBLE_FRAME_STOP;
    hand_step(hand, &frame);
    frame = (burble_frame){.kind = BURBLE_FRAME_USAGE};
    hand_step(hand, &frame);
    freeReplyObject(EVAL(hand, STEP, SESSION, number(++hand->n), "60000", "0", "600000", "e",
                         hand->id, "ended", "1", "", ""));
}

/* Whether the worker was told to cancel its answer. */
static inline bool hand_is_cancelled(struct hand *hand)
{
    char order[64];
    bool found = false;
    snprintf(order, sizeof order, "cancel %s", hand->id);
    redisReply *reply = redisCommand(hand->context, "LRANGE {burble}:ctl:" SESSION " 0 -1");
    for (size_t j = 0; j < reply->elements; j++)
        found |= strcmp(reply->element[j]->str, order) == 0;
    freeReplyObject(reply);
    return found;
}

/* ---- fronts ----------------------------------------------------------------------------------------------- */

struct front {
    burble_relay *relay;
    burble_server *server;
};

static _Atomic(unsigned) lines_of_no_model; /* of all fronts */

static inline void on_log(const char *line, void *arg)
{
    (void)arg;
    if (strstr(line, "no worker has a model yet") != NULL)
        lines_of_no_model++;
    if (getenv("RELAY_LOG") != NULL)
        fprintf(stderr, "relay: %s\n", line);
}

static inline bool is_ready(const struct front *front);

/* A front of its own, as if it were on another machine. `away`: that of its relay. It may offer no model yet. */
static inline struct front front_begin(uint64_t lease, uint64_t away)
{
    static const char *const keys[] = {"key-one", "key-two"};
    struct front front;
    burble_relay_options options;
    burble_server_options serve;
    burble_error error = {.code = BURBLE_OK};
    burble_relay_options_init(&options);
    options.url = redis.url;
    options.lease = lease;
    options.away = away;
    options.queue = 4;
    options.log = on_log;
    assert_result(burble_relay_create(&options, &front.relay, &error), BURBLE_OK);
    burble_server_options_init(&serve);
    serve.port = 0;
    serve.keys = keys;
    serve.n_keys = 2;
    serve.drain_delay = 0;
    serve.stall_timeout = 10 * PATIENCE;
    assert_result(burble_server_create(&serve, &front.server, &error), BURBLE_OK);
    if (burble_relay_serve(front.relay, front.server, &error) != BURBLE_OK
        || burble_relay_start(front.relay, &error) != BURBLE_OK
        || burble_server_start(front.server, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    return front;
}

static inline struct front front_start_away(uint64_t lease, uint64_t away)
{
    struct front front = front_begin(lease, away);
    UNTIL(is_ready(&front));
    return front;
}

static inline struct front front_start(uint64_t lease)
{
    return front_start_away(lease, 30 * SECOND);
}

static inline void front_stop(struct front *front)
{
    burble_server_destroy(&front->server);
    burble_relay_destroy(&front->relay);
}

static inline uint64_t showing(const struct front *front)
{
    burble_relay_stats stats;
    burble_relay_stats_now(front->relay, &stats);
    return stats.showing;
}

/* ---- clients ---------------------------------------------------------------------------------------------- */

struct client {
    int fd;
    size_t len;
    char text[ROOM];
};

/* Sends a request: its line, and lines of headers. */
static inline void client_send(struct client *client, const struct front *front,
                               const char *request, const char *body)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(burble_server_port(front->server)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char text[4096];
    const int n = snprintf(text, sizeof text,
                           "%sHost: localhost\r\nConnection: close\r\nContent-Type: "
                           "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                           request, strlen(body), body);
    client->len = 0;
    client->text[0] = '\0';
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client->fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(write(client->fd, text, (size_t)n), n);
}

/* Reads until `part` is there, or, if it is NULL, to the end. */
static inline bool client_read(struct client *client, const char *part, uint64_t patience)
{
    const uint64_t deadline = burble_now() + patience;
    while (part == NULL || strstr(client->text, part) == NULL) {
        struct pollfd ready = {.fd = client->fd, .events = POLLIN};
        const uint64_t now = burble_now();
        if (now >= deadline || poll(&ready, 1, (int)((deadline - now) / MS) + 1) <= 0)
            return false;
        const ssize_t got = read(client->fd, client->text + client->len, ROOM - 1 - client->len);
        if (got <= 0)
            return part == NULL;
        client->len += (size_t)got;
        client->text[client->len] = '\0';
    }
    return true;
}

static inline void expect_text_at(struct place at, struct client *client, const char *part)
{
    if (!client_read(client, part, PATIENCE))
        fail_at(at, "expected %s, found\n%s", part == NULL ? "the end" : part, client->text);
}
#define expect_text(...) expect_text_at(HERE, __VA_ARGS__)

static inline void client_close(struct client *client)
{
    close(client->fd);
}

/* The whole reply to a request without a body. Returns its status. */
static inline int ask(const struct front *front, const char *request, char *reply, size_t room)
{
    struct client client;
    client_send(&client, front, request, "");
    client_read(&client, NULL, PATIENCE);
    client_close(&client);
    snprintf(reply, room, "%s", client.text);
    return client.len > 12 ? atoi(client.text + 9) : 0;
}

#define READY "GET /ready HTTP/1.1\r\n"

static inline bool is_ready(const struct front *front)
{
    char reply[ROOM];
    return ask(front, READY, reply, sizeof reply) == 200;
}

#define POST "POST /v1/completions HTTP/1.1\r\nAuthorization: Bearer key-one\r\n"
#define RESUMABLE "Burble-Resumable: true\r\n"
#define BODY "{\"model\": \"numbers\", \"prompt\": \"p\", \"stream\": true}"

/* The value of a header of the reply, or what stands behind the last `name`. */
static inline void find_last(const struct client *client, const char *name, char *value,
                             size_t room)
{
    const char *found = NULL;
    for (const char *at = client->text; (at = strstr(at, name)) != NULL; at++)
        found = at + strlen(name);
    if (found == NULL)
        fail_msg("expected %s, found\n%s", name, client->text);
    snprintf(value, room, "%.*s", (int)strcspn(found, "\r\n"), found);
}

/* A resumable answer at `front`, which the hand has claimed. */
static inline void begin(struct client *client, const struct front *front, struct hand *hand)
{
    client_send(client, front, POST RESUMABLE, BODY);
    hand_claim(hand);
}

/* Reads the answer that the hand has at another front, after the position that `from` has seen; NULL: all of it. */
static inline void resume(struct client *client, const struct front *front, const struct hand *hand,
                          const struct client *from, const char *key)
{
    char request[512], position[128] = "";
    if (from != NULL)
        find_last(from, "id: ", position, sizeof position);
    snprintf(request, sizeof request,
             "GET /v1/streams/%s HTTP/1.1\r\nAuthorization: Bearer %s\r\n%s%s%s", hand->id, key,
             from == NULL ? "" : "Last-Event-ID: ", position, from == NULL ? "" : "\r\n");
    client_send(client, front, request, "");
}

/* ---- the program -------------------------------------------------------------------------------------------- */

#define SKIP_WITHOUT_REDIS()                                                                       \
    do {                                                                                           \
        (void)state;                                                                               \
        if (!there)                                                                                \
            skip();                                                                                \
    } while (0)

static inline int flush(void **state)
{
    (void)state;
    if (there)
        redis_ask(&redis, "FLUSHALL");
    return 0;
}

/* Runs tests on one Redis, which each finds empty. */
#define TEST(name) cmocka_unit_test_setup(name, flush)
#define RUN_ALL(tests)                                                                             \
    do {                                                                                           \
        there = redis_start(&redis, true);                                                         \
        const int failed_ = cmocka_run_group_tests(tests, NULL, NULL);                             \
        if (there)                                                                                 \
            redis_stop(&redis);                                                                    \
        return failed_;                                                                            \
    } while (0)

#endif
