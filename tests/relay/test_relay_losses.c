/* SPDX-License-Identifier: MIT
 *
 * Fronts whose messages, connections, workers or Redis are lost. The worker here is the test itself, so that it decides at which
 * moment.
 */
#define _GNU_SOURCE
#include "front_support.h"

/* ---- what goes wrong --------------------------------------------------------------------------------------- */

static void test_lost_message_delays_and_loses_nothing(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    burble_relay_stats stats;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    begin(&client, &front, &hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    hand.hidden = true;
    hand_write(&hand, "two ");
    hand_write(&hand, "three ");
    hand.hidden = false;
    expect_text(&client, "three ");
    /* Both were fetched. (They are counted once the reply was taken, which is after the client has them.) */
    UNTIL((burble_relay_stats_now(front.relay, &stats), stats.gaps == 2));
    hand_end(&hand);
    expect_text(&client, "[DONE]");
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_connections_that_are_cut_lose_nothing(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    begin(&client, &front, &hand);
    for (unsigned i = 0; i < 6; i++) {
        char piece[16];
        snprintf(piece, sizeof piece, "piece%u ", i);
        redis_ask(&redis, "CLIENT KILL TYPE %s", i % 2 == 0 ? "pubsub" : "normal");
        hand_close(&hand);
        hand_connect(&hand);
        hand_write(&hand, piece);
        expect_text(&client, piece);
    }
    hand_end(&hand);
    expect_text(&client, "[DONE]");
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_front_without_redis_is_not_ready(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, other;
    char reply[ROOM];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    begin(&client, &front, &hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    hand_close(&hand);
    redis_kill(&redis);
    UNTIL(ask(&front, "GET /ready HTTP/1.1\r\n", reply, sizeof reply) == 503);
    assert_non_null(strstr(reply, "disconnected"));
    client_send(&other, &front, POST, BODY);
    expect_text(&other, NULL);
    assert_non_null(strstr(other.text, " 503 "));
    assert_non_null(strstr(other.text, "Retry-After"));
    client_close(&other);
    redis_start_again(&redis);
    hand_connect(&hand);
    hand_write(&hand, "two ");
    expect_text(&client, "two ");
    assert_true(is_ready(&front));
    hand_end(&hand);
    expect_text(&client, "[DONE]");
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_answer_that_redis_has_lost_is_an_error(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    hand_open(&hand);
    struct front front = front_start(SECOND / 5);
    begin(&client, &front, &hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    redis_ask(&redis, "DEL {burble}:m:%s {burble}:s:%s", hand.id, hand.id);
    expect_text(&client, NULL);
    assert_non_null(strstr(client.text, "the answer is lost"));
    assert_null(strstr(client.text, "[DONE]"));
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_other_text_after_a_rollback_is_never_shown(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, late;
    burble_relay_stats stats;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND), other = front_start(2 * SECOND);
    begin(&client, &front, &hand);
    hand_write(&hand, "one ");
    const struct hand before = hand;
    hand_write(&hand, "two ");
    hand_write(&hand, "three ");
    expect_text(&client, "three ");
    /* Redis loses the two last frames, and another worker goes on with others. */
    redis_ask(&redis, "DEL {burble}:fr:%s", hand.id);
    redis_ask(&redis, "XDEL {burble}:s:%s 3-0 4-0", hand.id);
    redis_ask(&redis, "XSETID {burble}:s:%s 2-0", hand.id);
    hand.k = before.k;
    hand.hash = before.hash;
    hand_write(&hand, "TWO ");
    hand_write(&hand, "THREE ");
    hand_write(&hand, "FOUR ");
    expect_text(&client, NULL);
    assert_non_null(strstr(client.text, "\"diverged\""));
    assert_null(strstr(client.text, "TWO"));
    assert_null(strstr(client.text, "FOUR"));
    burble_relay_stats_now(front.relay, &stats);
    assert_int_equal(stats.diverged, 1);
    /* Nor to a client that returns to another front, which has never seen the first text. */
    resume(&late, &other, &hand, &client, "key-one");
    expect_text(&late, NULL);
    assert_non_null(strstr(late.text, " 410 "));
    client_close(&late);
    client_close(&client);
    hand_end(&hand);
    front_stop(&front);
    front_stop(&other);
    hand_close(&hand);
}

static void test_damaged_log_is_410_at_another_front(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, late;
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(2 * SECOND);
    begin(&client, &a, &hand);
    redis_ask(&redis, "XDEL {burble}:s:%s 1-0", hand.id);
    redis_ask(&redis, "XSETID {burble}:s:%s 0-0", hand.id);
    redis_ask(&redis, "XADD {burble}:s:%s 1-0 f %s", hand.id, "hash, and no frame");
    resume(&late, &b, &hand, NULL, "key-one");
    expect_text(&late, NULL);
    assert_non_null(strstr(late.text, " 410 "));
    assert_non_null(strstr(late.text, "\"diverged\""));
    client_close(&late);
    client_close(&client);
    front_stop(&a);
    front_stop(&b);
    hand_close(&hand);
}

/* A client that has seen more than Redis has: the worker writes it again. */
static void test_position_beyond_the_end_is_waited_for(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, late;
    hand_open(&hand);
    /* (One waits longer than the test, the other one is to give up.) */
    struct front a = front_start(SECOND), b = front_start(PATIENCE), c = front_start(SECOND / 5);
    begin(&client, &a, &hand);
    hand_write(&hand, "one ");
    const struct hand before = hand;
    hand_write(&hand, "two ");
    expect_text(&client, "two ");
    client_close(&client);
    front_stop(&a);
    redis_ask(&redis, "XDEL {burble}:s:%s 3-0", hand.id);
    redis_ask(&redis, "XSETID {burble}:s:%s 2-0", hand.id);
    resume(&late, &b, &hand, &client, "key-one");
    UNTIL(showing(&b) == 1);
    assert_false(client_read(&late, "HTTP", SECOND / 2));
    hand.k = before.k;
    hand.hash = before.hash;
    hand_write(&hand, "two ");
    hand_write(&hand, "three ");
    expect_text(&late, "three ");
    assert_null(strstr(late.text, "two "));
    client_close(&late);
    /* What never comes again is 410. */
    redis_ask(&redis, "XDEL {burble}:s:%s 3-0 4-0", hand.id);
    redis_ask(&redis, "XSETID {burble}:s:%s 2-0", hand.id);
    resume(&late, &c, &hand, &client, "key-one");
    expect_text(&late, NULL);
    assert_non_null(strstr(late.text, " 410 "));
    client_close(&late);
    front_stop(&b);
    front_stop(&c);
    hand_close(&hand);
}

static void test_request_that_redis_has_lost_is_submitted_again(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    char id[33];
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    client_send(&client, &front, POST RESUMABLE, BODY);
    expect_text(&client, "Burble-Stream");
    find_last(&client, "Burble-Stream: ", id, sizeof id);
    redis_ask(&redis, "DEL {burble}:m:%s {burble}:s:%s {burble}:fr:%s {burble}:q:numbers", id, id,
              id);
    hand_claim(&hand);
    assert_string_equal(hand.id, id);
    hand_write(&hand, "one ");
    hand_end(&hand);
    expect_text(&client, "[DONE]");
    assert_non_null(strstr(client.text, "one "));
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

/* The client has gone to another front meanwhile, which does not have the request. */
static void test_lost_request_of_a_client_that_left_is_submitted_again(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, late;
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(PATIENCE);
    client_send(&client, &a, POST RESUMABLE, BODY);
    expect_text(&client, "Burble-Stream");
    find_last(&client, "Burble-Stream: ", hand.id, sizeof hand.id);
    const struct hand wanted = hand;
    client_close(&client);
    resume(&late, &b, &wanted, NULL, "key-one");
    expect_text(&late, "event: begin");
    redis_ask(&redis, "DEL {burble}:m:%s {burble}:s:%s {burble}:fr:%s {burble}:q:numbers", hand.id,
              hand.id, hand.id);
    hand_claim(&hand);
    assert_string_equal(hand.id, wanted.id);
    hand_write(&hand, "one ");
    expect_text(&late, "one ");
    UNTIL(showing(&a) == 0); /* it has text: its worker has it, too */
    hand_end(&hand);
    expect_text(&late, "event: end");
    client_close(&late);
    front_stop(&a);
    front_stop(&b);
    hand_close(&hand);
}

static void test_request_to_a_frozen_redis_is_answered_once_it_thaws(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    redis_freeze(&redis);
    client_send(&client, &front, POST RESUMABLE, BODY);
    expect_text(&client, "Burble-Stream"); /* it was accepted, though Redis has not answered yet */
    redis_thaw(&redis);
    hand_claim(&hand);
    hand_write(&hand, "one ");
    hand_end(&hand);
    expect_text(&client, "[DONE]");
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

#define KEYED POST RESUMABLE "Idempotency-Key: again\r\n"

/* Clients that repeat a request at `first` and `second` while Redis stands still, when nobody knows whether it has the request: each
 * has to ask again, or gets the one answer. */
static void check_repeated_request(struct hand *hand, const struct front *first,
                                   const struct front *second)
{
    struct client clients[3];
    redis_freeze(&redis);
    client_send(&clients[0], first, KEYED, BODY);
    client_send(&clients[1], second, KEYED, BODY);
    expect_text(&clients[0], "\r\n\r\n");
    expect_text(&clients[1], "\r\n\r\n");
    redis_thaw(&redis);
    UNTIL(is_ready(first) && is_ready(second));
    client_send(&clients[2], second, KEYED, BODY);
    hand_claim(hand);
    hand_write(hand, "one ");
    hand_end(hand);
    for (unsigned i = 0; i < 3; i++) {
        expect_text(&clients[i], NULL);
        if (strncmp(clients[i].text, "HTTP/1.1 503 ", 13) == 0 && i < 2)
            assert_non_null(strstr(clients[i].text, "\r\nRetry-After: "));
        else if (strstr(clients[i].text, "one ") == NULL
                 || strstr(clients[i].text, "[DONE]") == NULL)
            fail_msg("client %u: expected the answer, found\n%s", i, clients[i].text);
        client_close(&clients[i]);
    }
    assert_string_equal(redis_ask(&redis, "ZCARD {burble}:q:numbers"), "0");
}

static void test_repeat_at_frozen_redis_has_one_answer(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    check_repeated_request(&hand, &front, &front);
    front_stop(&front);
    hand_close(&hand);
}

static void test_repeat_at_other_front_has_one_answer(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(2 * SECOND);
    check_repeated_request(&hand, &a, &b);
    front_stop(&a);
    front_stop(&b);
    hand_close(&hand);
}

/* A request that `front` has accepted, since Redis stood still, and that Redis has refused: its worker's lease is over. */
static void accept_and_refuse(struct client *client, const struct front *front, char *id,
                              size_t room)
{
    char reply[ROOM];
    redis_ask(&redis, "ZADD {burble}:wk:numbers 1 " SESSION);
    redis_freeze(&redis);
    client_send(client, front, POST RESUMABLE, BODY);
    expect_text(client, "Burble-Stream: ");
    expect_text(client, "\r\n\r\n");
    find_last(client, "Burble-Stream: ", id, room);
    redis_thaw(&redis);
    /* What is asked later is answered later. */
    UNTIL(ask(front, READY, reply, sizeof reply) == 503);
    burble_relay_cancel(front->relay, SESSION, 0, NULL);
}

static void test_request_accepted_by_a_frozen_redis_waits_for_a_worker(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    char id[64];
    hand_open(&hand);
    struct front front = front_start(30 * SECOND);
    accept_and_refuse(&client, &front, id, sizeof id);
    hand_close(&hand);
    redis_ask(&redis, "FLUSHALL"); /* the worker's session, too */
    hand_open(&hand);
    hand_claim(&hand);
    assert_string_equal(hand.id, id);
    hand_write(&hand, "one ");
    hand_end(&hand);
    expect_text(&client, "[DONE]");
    assert_null(strstr(client.text, "error"));
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_accepted_request_that_redis_has_not_is_503_at_another_front(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, late;
    hand_open(&hand);
    struct front front = front_start(30 * SECOND), other = front_start(30 * SECOND);
    accept_and_refuse(&client, &front, hand.id, sizeof hand.id);
    burble_relay_cancel(other.relay, SESSION, 0, NULL); /* it has its late replies, too */
    resume(&late, &other, &hand, NULL, "key-one");
    expect_text(&late, NULL);
    assert_non_null(strstr(late.text, " 503 "));
    assert_non_null(strstr(late.text, "\r\nRetry-After: "));
    assert_non_null(strstr(late.text, "Redis was away a moment ago"));
    client_close(&client);
    client_close(&late);
    front_stop(&front);
    front_stop(&other);
    hand_close(&hand);
}

static void test_answers_of_a_model_without_workers_fail(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    hand_open(&hand);
    struct front front = front_start_away(2 * SECOND, SECOND);
    client_send(&client, &front, POST RESUMABLE, BODY);
    expect_text(&client, "Burble-Stream");
    freeReplyObject(EVAL(&hand, CLOSE, SESSION, number(++hand.n)));
    expect_text(&client, NULL);
    assert_non_null(strstr(client.text, "no worker computes the model `numbers` any more"));
    client_close(&client);
    front_stop(&front);
    hand_close(&hand);
}

static void test_front_that_drains_hands_its_clients_on(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client, late;
    hand_open(&hand);
    struct front a = front_start(2 * SECOND), b = front_start(2 * SECOND);
    begin(&client, &a, &hand);
    hand_write(&hand, "one ");
    expect_text(&client, "one ");
    burble_server_drain(a.server, SECOND / 10);
    expect_text(&client, NULL);
    assert_null(strstr(client.text, "error")); /* it is cut, and not ended */
    assert_null(strstr(client.text, "0\r\n\r\n"));
    hand_write(&hand, "two ");
    resume(&late, &b, &hand, &client, "key-one");
    expect_text(&late, "two ");
    assert_false(hand_is_cancelled(&hand));
    hand_end(&hand);
    expect_text(&late, "event: end");
    client_close(&client);
    client_close(&late);
    front_stop(&a);
    front_stop(&b);
    hand_close(&hand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lost_message_delays_and_loses_nothing),
        TEST(test_connections_that_are_cut_lose_nothing),
        TEST(test_front_without_redis_is_not_ready),
        TEST(test_answer_that_redis_has_lost_is_an_error),
        TEST(test_other_text_after_a_rollback_is_never_shown),
        TEST(test_damaged_log_is_410_at_another_front),
        TEST(test_position_beyond_the_end_is_waited_for),
        TEST(test_request_that_redis_has_lost_is_submitted_again),
        TEST(test_lost_request_of_a_client_that_left_is_submitted_again),
        TEST(test_request_to_a_frozen_redis_is_answered_once_it_thaws),
        TEST(test_repeat_at_frozen_redis_has_one_answer),
        TEST(test_repeat_at_other_front_has_one_answer),
        TEST(test_request_accepted_by_a_frozen_redis_waits_for_a_worker),
        TEST(test_accepted_request_that_redis_has_not_is_503_at_another_front),
        TEST(test_answers_of_a_model_without_workers_fail),
        TEST(test_front_that_drains_hands_its_clients_on),
    };
    RUN_ALL(tests);
}
