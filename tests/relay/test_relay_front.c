/* SPDX-License-Identifier: MIT
 *
 * Fronts: servers whose answers a worker elsewhere writes into Redis. The worker here is the test itself.
 */
#define _GNU_SOURCE
#include "front_support.h"

#include <pthread.h>

/* ---- the usual course ------------------------------------------------------------------------------------- */

static void test_answer_of_another_process_is_shown(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    client_send(&client, &front, POST, BODY);
    hand_claim(&hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    hand_write(&hand, "two ");
    expect_text(&client, "two ");
    hand_end(&hand);
    expect_text(&client, "[DONE]");
    client_close(&client);
    UNTIL(showing(&front) == 0);
    front_stop(&front);
    hand_close(&hand);
}

static void test_whole_answer_is_one_reply(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    client_send(&client, &front, POST, "{\"model\": \"numbers\", \"prompt\": \"p\"}");
    hand_claim(&hand);
    hand_write(&hand, "one ");
    hand_write(&hand, "two");
    hand_end(&hand);
    expect_text(&client, "\"text\":\"one two\"");
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_client_resumes_at_another_front(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client first, second, whole;
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(2 * SECOND);
    begin(&first, &a, &hand);
    hand_write(&hand, "one ");
    hand_write(&hand, "two ");
    expect_text(&first, "two ");
    client_close(&first);
    front_stop(&a); /* it dies, as far as Redis can tell */
    hand_write(&hand, "three ");
    resume(&second, &b, &hand, &first, "key-one");
    expect_text(&second, "three ");
    hand_write(&hand, "four ");
    expect_text(&second, "four ");
    assert_null(strstr(second.text, "one "));
    assert_null(strstr(second.text, "two "));
    hand_end(&hand);
    expect_text(&second, "event: end");
    client_close(&second);
    /* And once more from the beginning, after the end. */
    resume(&whole, &b, &hand, NULL, "key-one");
    expect_text(&whole, "event: end");
    assert_non_null(strstr(whole.text, "one "));
    assert_non_null(strstr(whole.text, "four "));
    client_close(&whole);
    front_stop(&b);
    hand_close(&hand);
}

static void test_stream_of_another_key_is_not_found(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, other;
    char token[64], request[256], reply[ROOM];
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(2 * SECOND);
    begin(&client, &a, &hand);
    hand_write(&hand, "secret ");
    expect_text(&client, "secret ");
    resume(&other, &b, &hand, NULL, "key-two");
    expect_text(&other, NULL);
    assert_non_null(strstr(other.text, " 404 "));
    assert_null(strstr(other.text, "secret"));
    client_close(&other);
    /* Its capability opens it, also there. */
    find_last(&client, "Burble-Token: ", token, sizeof token);
    snprintf(request, sizeof request, "GET /v1/streams/%s?token=%s HTTP/1.1\r\n", hand.id, token);
    client_send(&other, &b, request, "");
    expect_text(&other, "secret ");
    client_close(&other);
    snprintf(request, sizeof request, "GET /v1/streams/%s?token=%032d HTTP/1.1\r\n", hand.id, 0);
    assert_int_equal(ask(&b, request, reply, sizeof reply), 404);
    snprintf(request, sizeof request,
             "GET /v1/streams/%032d HTTP/1.1\r\nAuthorization: Bearer key-one\r\n", 0);
    assert_int_equal(ask(&b, request, reply, sizeof reply), 404);
    hand_end(&hand);
    client_close(&client);
    front_stop(&a);
    front_stop(&b);
    hand_close(&hand);
}

static void test_idempotency_key_finds_the_answer_of_another_front(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client first, second, other;
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(2 * SECOND);
    client_send(&first, &a, POST "Idempotency-Key: again\r\n", BODY);
    hand_claim(&hand);
    hand_write(&hand, "once ");
    expect_text(&first, "once ");
    client_send(&second, &b, POST "Idempotency-Key: again\r\n", BODY);
    expect_text(&second, "once ");
    client_send(&other, &b, POST "Idempotency-Key: again\r\n",
                "{\"model\": \"numbers\", \"prompt\": \"q\", \"stream\": true}");
    expect_text(&other, NULL);
    assert_non_null(strstr(other.text, " 409 "));
    client_close(&other);
    hand_end(&hand);
    expect_text(&first, "[DONE]");
    expect_text(&second, "[DONE]");
    client_close(&first);
    client_close(&second);
    /* Another key's is another request. */
    client_send(&other, &b,
                "POST /v1/completions HTTP/1.1\r\nAuthorization: Bearer key-two\r\n"
                "Idempotency-Key: again\r\n",
                BODY);
    hand_claim(&hand);
    hand_write(&hand, "another ");
    expect_text(&other, "another ");
    client_close(&other);
    hand_end(&hand);
    front_stop(&a);
    front_stop(&b);
    hand_close(&hand);
}

/* ---- leaving and cancelling ------------------------------------------------------------------------------- */

static void test_ordinary_answer_is_cancelled_when_its_client_leaves(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    client_send(&client, &front, POST, BODY);
    hand_claim(&hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    client_close(&client);
    UNTIL(hand_is_cancelled(&hand));
    hand_end(&hand);
    front_stop(&front);
    hand_close(&hand);
}

static void test_resumable_answer_goes_on_without_clients(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, again;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    begin(&client, &front, &hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    client_close(&client);
    UNTIL(showing(&front) == 0);
    hand_write(&hand, "two ");
    resume(&again, &front, &hand, &client, "key-one");
    expect_text(&again, "two ");
    assert_false(hand_is_cancelled(&hand));
    hand_end(&hand);
    expect_text(&again, "event: end");
    client_close(&again);
    front_stop(&front);
    hand_close(&hand);
}

static void test_delete_at_another_front_cancels(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    char request[256], reply[ROOM];
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(2 * SECOND);
    client_send(&client, &a, POST, BODY); /* also one that is not resumable */
    hand_claim(&hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    /* To look at it does not end it. */
    snprintf(request, sizeof request,
             "GET /v1/streams/%s HTTP/1.1\r\nAuthorization: Bearer key-one\r\n", hand.id);
    assert_int_equal(ask(&b, request, reply, sizeof reply), 404);
    assert_non_null(strstr(reply, "stream_not_resumable"));
    hand_write(&hand, "two ");
    expect_text(&client, "two ");
    assert_false(hand_is_cancelled(&hand));
    snprintf(request, sizeof request,
             "DELETE /v1/streams/%s HTTP/1.1\r\nAuthorization: Bearer key-one\r\n", hand.id);
    assert_int_equal(ask(&b, request, reply, sizeof reply), 200);
    assert_non_null(strstr(reply, "\"cancelled\":true"));
    UNTIL(hand_is_cancelled(&hand));
    freeReplyObject(EVAL(&hand, STEP, SESSION, number(++hand.n), "60000", "0", "600000", "e",
                         hand.id, "cancelled", "0", "", ""));
    expect_text(&client, NULL);
    assert_null(strstr(client.text, "[DONE]"));
    client_close(&client);
    front_stop(&a);
    front_stop(&b);
    hand_close(&hand);
}

/* ---- bounds ------------------------------------------------------------------------------------------------ */

static bool is_refused_for_memory(const struct front *front)
{
    struct client client;
    client_send(&client, front, POST, BODY);
    expect_text(&client, NULL);
    client_close(&client);
    assert_null(strstr(client.text, " 200 "));
    return strstr(client.text, " 503 ") != NULL && strstr(client.text, "too little memory") != NULL;
}

static void test_full_queue_and_full_memory_refuse_requests(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client clients[4], more;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    for (unsigned i = 0; i < 4; i++) {
        client_send(&clients[i], &front, POST RESUMABLE, BODY);
        expect_text(&clients[i], "Burble-Stream");
    }
    client_send(&more, &front, POST, BODY);
    expect_text(&more, NULL);
    assert_non_null(strstr(more.text, " 429 "));
    client_close(&more);
    for (unsigned i = 0; i < 4; i++) {
        hand_claim(&hand);
        hand_end(&hand);
    }
    for (unsigned i = 0; i < 4; i++) {
        expect_text(&clients[i], "[DONE]");
        client_close(&clients[i]);
    }
    redis_ask(&redis, "CONFIG SET maxmemory 1");
    UNTIL(is_refused_for_memory(&front)); /* the front asks for it once a second */
    redis_ask(&redis, "CONFIG SET maxmemory 0");
    front_stop(&front);
    hand_close(&hand);
}

static uint64_t received(const struct front *front)
{
    burble_relay_stats stats;
    burble_relay_stats_now(front->relay, &stats);
    return stats.frames_received;
}

/* A client that reads nothing, while the worker writes far more than its front keeps for it. */
static void test_slow_client_gets_everything_from_redis_later(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    char piece[201];
    unsigned lines = 0;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    client_send(&client, &front, POST, BODY);
    hand_claim(&hand);
    memset(piece, 'x', sizeof piece - 1);
    piece[150] = '\0';
    for (unsigned i = 0; i < 12000; i++) {
        snprintf(piece + 140, 10, "%u;", i);
        hand_write(&hand, piece);
    }
    hand_end(&hand);
    /* Later messages are dropped until there is room: 1 MiB, and what the socket takes. */
    UNTIL(received(&front) > 1000);
    assert_in_range(received(&front), 1000, 11000);
    assert_int_equal(showing(&front), 1);
    for (;;) { /* reads it, line for line */
        client.len = 0;
        char *at = client.text;
        const ssize_t got = read(client.fd, client.text, ROOM - 1);
        if (got <= 0)
            break;
        client.text[got] = '\0';
        for (; (at = strchr(at, ';')) != NULL; at++)
            lines++;
    }
    assert_int_equal(lines, 12000 + 1); /* one in the head: the charset */
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_model_without_workers_is_503(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    char reply[ROOM];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    assert_int_equal(ask(&front, "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer key-one\r\n",
                         reply, sizeof reply),
                     200);
    assert_non_null(strstr(reply, "\"id\":\"numbers\""));
    assert_non_null(strstr(reply, "\"context\":4096,\"chat\":true"));
    freeReplyObject(EVAL(&hand, CLOSE, SESSION, number(++hand.n)));
    client_send(&client, &front, POST, BODY);
    expect_text(&client, NULL);
    assert_non_null(strstr(client.text, " 503 "));
    assert_non_null(strstr(client.text, "\r\nRetry-After: "));
    assert_non_null(strstr(client.text, "no worker computes the model `numbers` at present"));
    client_close(&client);
    assert_int_equal(ask(&front, "GET /metrics HTTP/1.1\r\nAuthorization: Bearer key-one\r\n",
                         reply, sizeof reply),
                     200);
    assert_non_null(strstr(reply, "\nburble_relay_connected 1\n"));
    assert_non_null(strstr(reply, "\nburble_relay_frames_received_total "));
    front_stop(&front);
    hand_close(&hand);
}

static void test_front_without_workers_says_so_until_one_comes(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    char reply[ROOM];
    const unsigned before = lines_of_no_model;
    struct front front = front_begin(2 * SECOND, 30 * SECOND);
    UNTIL(lines_of_no_model > before);
    assert_int_equal(ask(&front, READY, reply, sizeof reply), 503);
    assert_non_null(strstr(reply, "\r\nRetry-After: "));
    assert_non_null(strstr(reply,
                           "{\"status\":\"unavailable\",\"message\":\"no worker has announced a "
                           "model in Redis; start one with burble work --redis"));
    client_send(&client, &front, POST, BODY);
    expect_text(&client, NULL);
    assert_non_null(strstr(client.text, " 503 "));
    assert_non_null(strstr(client.text, "\r\nRetry-After: "));
    assert_non_null(
        strstr(client.text, "no model can be used yet: no worker has announced a model in Redis"));
    client_close(&client);
    hand_open(&hand);
    UNTIL(is_ready(&front));
    front_stop(&front);
    front = front_start(2 * SECOND);
    assert_int_equal(lines_of_no_model, before + 1);
    front_stop(&front);
    hand_close(&hand);
}

/* As if the hand's lease was over. */
static void lapse(void)
{
    redis_ask(&redis, "ZADD {burble}:w 1 " SESSION);
    redis_ask(&redis, "ZADD {burble}:wk:numbers 1 " SESSION);
}

static void test_front_whose_workers_are_gone_is_not_ready(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    char reply[ROOM];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    lapse();
    UNTIL(ask(&front, READY, reply, sizeof reply) == 503);
    assert_non_null(strstr(reply, "\r\nRetry-After: "));
    assert_non_null(strstr(reply, "\"message\":\"no worker computes any model at present"));
    assert_int_equal(ask(&front, "GET /metrics HTTP/1.1\r\nAuthorization: Bearer key-one\r\n",
                         reply, sizeof reply),
                     200);
    assert_non_null(strstr(reply, "\nburble_ready 0\n"));
    hand_close(&hand);
    redis_ask(&redis, "FLUSHALL");
    hand_open(&hand);
    UNTIL(is_ready(&front));
    front_stop(&front);
    hand_close(&hand);
}

static void test_request_without_model_goes_to_one_that_has_a_worker(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    char reply[ROOM];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    lapse();
    UNTIL(ask(&front, READY, reply, sizeof reply) == 503);
    freeReplyObject(EVAL(&hand, OPEN, "00000000000000000000000000000002", "other", "60000", "",
                         "second",
                         "{\"v\":1,\"context\":4096,\"chat\":true,"
                         "\"parameters\":\"000000000fffffff\",\"created\":1,\"slots\":8}"));
    UNTIL(is_ready(&front));
    client_send(&client, &front, POST RESUMABLE, "{\"prompt\": \"p\", \"stream\": true}");
    expect_text(&client, "Burble-Stream");
    assert_string_equal(redis_ask(&redis, "ZCARD {burble}:q:second"), "1");
    client_close(&client);
    /* One that names the model without a worker hears so, though the model is still offered. */
    client_send(&client, &front, POST, BODY);
    expect_text(&client, NULL);
    assert_non_null(strstr(client.text, " 503 "));
    assert_non_null(strstr(client.text, "no worker computes the model `numbers` at present"));
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

#define MODELS "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer key-one\r\n"

/* Opens a session of a model, and waits until the front offers it. */
static void offer(struct hand *hand, const struct front *front, const char *session,
                  const char *model)
{
    char reply[ROOM];
    freeReplyObject(EVAL(hand, OPEN, session, model, "60000", "", model,
                         "{\"v\":1,\"context\":4096,\"chat\":true,"
                         "\"parameters\":\"000000000fffffff\",\"created\":1,\"slots\":8}"));
    UNTIL(ask(front, MODELS, reply, sizeof reply) == 200 && strstr(reply, model) != NULL);
}

/* Another program has put names into the set of models that begin like those of workers. */
static void test_name_with_nul_is_not_that_of_another_model(void **state)
{
    SKIP_WITHOUT_REDIS();
    static const char *const models[] = {"numbers", "second", "third"};
    struct hand hand;
    char name[8192], reply[ROOM];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    for (unsigned i = 0; i < 3 * 32; i++) {
        memset(name, 'x', sizeof name);
        snprintf(name, sizeof name, "%s", models[i % 3]);
        const size_t len = strlen(models[i % 3]) + 2 + i, longer = i < 3 ? sizeof name : len;
        freeReplyObject(redisCommand(hand.context, "SADD {burble}:models %b", name, longer));
    }
    offer(&hand, &front, "00000000000000000000000000000002", "second");
    offer(&hand, &front, "00000000000000000000000000000003", "third"); /* it has listed all once */
    assert_int_equal(ask(&front, READY, reply, sizeof reply), 200);
    front_stop(&front);
    hand_close(&hand);
}

/* ---- burble_relay_attach ------------------------------------------------------------------------------------ */

static void test_attach_gives_the_rest_of_an_answer(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    burble_error error;
    burble_stream *stream;
    burble_reader *reader;
    burble_record record;
    burble_frame frame;
    hand_open(&hand);
    struct front front = front_start(SECOND / 5);
    burble_relay *relay = front.relay;
    begin(&client, &front, &hand);
    hand_write(&hand, "one ");
    const struct hand before = hand;
    hand_write(&hand, "two ");
    assert_result(burble_relay_attach(relay, hand.id, before.k, before.hash, 0, &stream, &error),
                  BURBLE_OK);
    assert_result(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
    hand_write(&hand, "three ");
    hand_end(&hand);
    for (unsigned i = 0; i < 2; i++) {
        assert_result(burble_reader_wait(reader, burble_now() + PATIENCE), BURBLE_OK);
        assert_result(burble_reader_next(reader, &record), BURBLE_OK);
        assert_result(burble_frame_read(record.text, record.len, &frame), BURBLE_OK);
        assert_memory_equal(frame.u.text.text.bytes, i == 0 ? "two " : "three ",
                            frame.u.text.text.len);
    }
    int result;
    while ((result = burble_reader_next(reader, &record)) != BURBLE_END)
        assert_in_range(burble_reader_wait(reader, burble_now() + PATIENCE), 0, 2);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    /* Others than those that it has, more than there are, and no answer. */
    assert_result(burble_relay_attach(relay, hand.id, 2, 7, 0, &stream, &error), BURBLE_EFORMAT);
    assert_null(stream);
    assert_result(burble_relay_attach(relay, hand.id, 77, 7, 0, &stream, &error), BURBLE_EFORMAT);
    assert_result(burble_relay_attach(relay, SESSION, 0, 0, 0, &stream, &error), BURBLE_EGONE);
    assert_result(burble_relay_attach(relay, "short", 0, 0, 0, &stream, &error), BURBLE_EINVAL);
    assert_non_null(strstr(error.message, "found 'short'"));
    expect_text(&client, "[DONE]");
    client_close(&client);
    redis_freeze(&redis);
    assert_result(
        burble_relay_attach(relay, hand.id, 0, 0, burble_now() + SECOND / 10, &stream, &error),
        BURBLE_ETIMEDOUT);
    redis_thaw(&redis);
    front_stop(&front);
    hand_close(&hand);
}

/* ---- burble_relay_cancel ------------------------------------------------------------------------------------ */

/* An answer that waits for a worker, since the hand does not claim it. */
static void queue_one(struct client *client, const struct front *front, char *id, size_t room)
{
    client_send(client, front, POST RESUMABLE, BODY);
    expect_text(client, "\r\n\r\n");
    find_last(client, "Burble-Stream: ", id, room);
    UNTIL(strcmp(redis_ask(&redis, "ZCARD {burble}:q:numbers"), "1") == 0);
}

static void test_cancel_ends_an_answer_that_runs_or_waits(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, waiting;
    burble_error error = {0};
    char id[64];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND), other = front_start(2 * SECOND);
    burble_relay *relay = other.relay;
    begin(&client, &front, &hand);
    assert_result(burble_relay_cancel(relay, hand.id, 0, &error), BURBLE_OK);
    assert_true(hand_is_cancelled(&hand));
    queue_one(&waiting, &front, id, sizeof id);
    assert_result(burble_relay_cancel(relay, id, 0, &error), BURBLE_OK);
    expect_text(&waiting, "cancelled");
    assert_string_equal(redis_ask(&redis, "ZCARD {burble}:q:numbers"), "0");
    assert_result(burble_relay_cancel(relay, id, 0, &error), BURBLE_EGONE);
    assert_non_null(strstr(error.message, id));
    assert_result(burble_relay_cancel(relay, SESSION, 0, &error), BURBLE_EGONE);
    assert_result(burble_relay_cancel(relay, "short", 0, &error), BURBLE_EINVAL);
    assert_non_null(strstr(error.message, "found 'short'"));
    client_close(&client);
    client_close(&waiting);
    front_stop(&front);
    front_stop(&other);
    hand_close(&hand);
}

static void test_cancel_that_redis_does_not_answer_is_done_later(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    burble_error error = {0};
    char id[64];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    queue_one(&client, &front, id, sizeof id);
    redis_freeze(&redis);
    assert_result(burble_relay_cancel(front.relay, id, burble_now() + SECOND / 10, &error),
                  BURBLE_ETIMEDOUT);
    redis_thaw(&redis);
    expect_text(&client, "cancelled");
    redis_kill(&redis);
    assert_result(burble_relay_cancel(front.relay, id, burble_now() + SECOND / 10, &error),
                  BURBLE_ETIMEDOUT);
    client_close(&client);
    front_stop(&front); /* with one that was never sent */
    redis_start_again(&redis);
    hand_close(&hand);
}

struct canceller {
    burble_relay *relay;
    _Atomic(bool) begun;
    int result;
};

static void *cancel_in_thread(void *arg)
{
    struct canceller *canceller = arg;
    canceller->begun = true;
    canceller->result = burble_relay_cancel(canceller->relay, SESSION, 0, NULL);
    return NULL;
}

static void test_cancel_returns_when_the_relay_stops(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    pthread_t thread;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    struct canceller canceller = {.relay = front.relay};
    redis_freeze(&redis);
    assert_int_equal(pthread_create(&thread, NULL, cancel_in_thread, &canceller), 0);
    UNTIL(canceller.begun);
    burble_relay_stop(front.relay);
    pthread_join(thread, NULL);
    assert_result(canceller.result, BURBLE_ECLOSED);
    redis_thaw(&redis);
    front_stop(&front);
    hand_close(&hand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answer_of_another_process_is_shown),
        TEST(test_whole_answer_is_one_reply),
        TEST(test_client_resumes_at_another_front),
        TEST(test_stream_of_another_key_is_not_found),
        TEST(test_idempotency_key_finds_the_answer_of_another_front),
        TEST(test_ordinary_answer_is_cancelled_when_its_client_leaves),
        TEST(test_resumable_answer_goes_on_without_clients),
        TEST(test_delete_at_another_front_cancels),
        TEST(test_full_queue_and_full_memory_refuse_requests),
        TEST(test_slow_client_gets_everything_from_redis_later),
        TEST(test_model_without_workers_is_503),
        TEST(test_front_without_workers_says_so_until_one_comes),
        TEST(test_front_whose_workers_are_gone_is_not_ready),
        TEST(test_name_with_nul_is_not_that_of_another_model),
        TEST(test_request_without_model_goes_to_one_that_has_a_worker),
        TEST(test_attach_gives_the_rest_of_an_answer),
        TEST(test_cancel_ends_an_answer_that_runs_or_waits),
        TEST(test_cancel_that_redis_does_not_answer_is_done_later),
        TEST(test_cancel_returns_when_the_relay_stops),
    };
    RUN_ALL(tests);
}
