/* SPDX-License-Identifier: MIT
 *
 * A relay whose allocations fail in turn, those of its thread: what it does then is reported, or done later.
 * (The allocations of hiredis, libuv and jansson do not fail.)
 */
#define _GNU_SOURCE
#include "front_support.h"

#include <errno.h>
#include <pthread.h>

#include "../unit/failing_memory.h"
#include "relay/relay.h"

/* ---- the allocator ------------------------------------------------------------------------------------------ */

static _Atomic(bool) armed;
static _Atomic(long) before; /* allocations that still succeed */
static _Atomic(long) most;   /* that fail after these */
static _Atomic(long) failed;
/* The relays whose threads' allocations fail; NULL: none. */
static burble_relay *_Atomic tortured[2];
static _Atomic(bool) everybody; /* those of all threads */

static bool is_tortured(void)
{
    for (unsigned i = 0; i < 2; i++) {
        const burble_relay *relay = tortured[i];
        if (relay != NULL && pthread_equal(relay->thread, pthread_self()))
            return true;
    }
    return everybody;
}

static bool fails(void)
{
    if (!armed || !is_tortured())
        return false;
    const long left = before--;
    if (left > 0 || -left >= most)
        return false;
    failed++;
    errno = ENOMEM;
    return true;
}

/* From now on `count` allocations of the relays' threads fail, after `n` others. */
static void arm(long n, long count)
{
    failed = 0;
    before = n;
    most = count;
    armed = true;
}

/* Nothing fails any more. Returns whether something has. */
static bool disarm(void)
{
    armed = false;
    return failed > 0;
}

/* ---- cancelling --------------------------------------------------------------------------------------------- */

static void test_cancel_without_memory_is_refused_or_done(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    burble_error error;
    bool more = true;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    tortured[0] = front.relay;
    for (long n = 0; more; n++) {
        begin(&client, &front, &hand);
        arm(n, 1);
        const int result =
            burble_relay_cancel(front.relay, hand.id, burble_now() + PATIENCE, &error);
        more = disarm();
        if (result == BURBLE_ENOMEM && more)
            assert_result(burble_relay_cancel(front.relay, hand.id, 0, &error), BURBLE_OK);
        else
            assert_result(result, BURBLE_OK);
        assert_true(hand_is_cancelled(&hand));
        hand_end(&hand);
        expect_text(&client, NULL);
        client_close(&client);
    }
    tortured[0] = NULL;
    front_stop(&front);
    hand_close(&hand);
}

static void test_answer_whose_client_left_is_cancelled_also_without_memory(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    bool more = true;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    tortured[0] = front.relay;
    for (long n = 0; more; n++) {
        client_send(&client, &front, POST, BODY);
        hand_claim(&hand);
        hand_write(&hand, "one ");
        expect_text(&client, "one ");
        arm(n, 1);
        client_close(&client);
        UNTIL(hand_is_cancelled(&hand));
        more = disarm();
        hand_end(&hand);
        UNTIL(showing(&front) == 0);
    }
    tortured[0] = NULL;
    front_stop(&front);
    hand_close(&hand);
}

/* ---- a worker and a front ------------------------------------------------------------------------------------- */

static int append(burble_stream *stream, const burble_frame *frame)
{
    char bytes[256];
    return burble_stream_append(stream, bytes, burble_frame_write(frame, bytes, sizeof bytes), 0);
}

struct job {
    const burble_serve_request *request;
    burble_stream *stream;
};

/* Writes "one two " after what another attempt has written. */
static void *write_answer(void *arg)
{
    static const char *const texts[] = {"one ", "two "};
    const struct job *job = arg;
    const size_t written = job->request->n_written;
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
    for (size_t i = written; i < 2; i++) {
        frame.u.text.text = (burble_text){texts[i], strlen(texts[i])};
        append(job->stream, &frame);
    }
    frame = (burble_frame){.kind = BURBLE_FRAME_FINISH};
    frame.u.text.reason = BURBLE_FRAME_STOP;
    if (written <= 2)
        append(job->stream, &frame);
    frame = (burble_frame){.kind = BURBLE_FRAME_USAGE};
    if (written <= 3)
        append(job->stream, &frame);
    burble_stream_end(job->stream, BURBLE_REASON_STOP);
    return NULL;
}

/* In a thread of its own: what the library keeps for a thread goes with it. */
static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    struct job job = {request, stream};
    pthread_t thread;
    (void)arg, (void)error;
    if (pthread_create(&thread, NULL, write_answer, &job) != 0)
        return BURBLE_ESYSTEM;
    pthread_join(thread, NULL);
    return BURBLE_OK;
}

static const burble_serve_model model = {
    .name = "numbers", .parameters = UINT64_MAX, .submit = submit, .digest = "d"};

static burble_relay_options worker_options(void)
{
    burble_relay_options options;
    burble_relay_options_init(&options);
    options.url = redis.url;
    options.lease = SECOND / 5;
    options.log = on_log;
    return options;
}

/* Asks for an answer. Returns whether it was complete; otherwise it was refused, or has ended with an error. */
static bool visit(const struct front *front)
{
    struct client client;
    client_send(&client, front, POST RESUMABLE, BODY);
    expect_text(&client, NULL);
    client_close(&client);
    const bool complete = strstr(client.text, "[DONE]") != NULL;
    const char *one = strstr(client.text, "one "), *two = strstr(client.text, "two ");
    if (complete && (one == NULL || two == NULL || one > two))
        fail_msg("expected all of the text, found\n%s", client.text);
    if (!complete && strstr(client.text, "error") == NULL)
        fail_msg("expected an answer or an error, found\n%s", client.text);
    return complete;
}

static void fail_in_turn(const struct front *front, long count)
{
    bool more = true;
    long n = 0;
    for (; more; n++) {
        arm(n, count);
        visit(front);
        more = disarm();
        if (n % 8 == 0)
            UNTIL(visit(front));
    }
    assert_true(n > 10);
    UNTIL(visit(front));
}

static void test_answers_without_memory_are_complete_or_fail(void **state)
{
    SKIP_WITHOUT_REDIS();
    const long at_first = blocks;
    const burble_relay_options options = worker_options();
    burble_relay *worker;
    burble_error error;
    assert_result(burble_relay_create(&options, &worker, &error), BURBLE_OK);
    assert_result(burble_relay_add_model(worker, &model, 4, &error), BURBLE_OK);
    assert_result(burble_relay_start(worker, &error), BURBLE_OK);
    struct front front = front_start(SECOND / 5);
    UNTIL(visit(&front));
    tortured[0] = front.relay;
    tortured[1] = worker;
    fail_in_turn(&front, 1);
    fail_in_turn(&front, 20);
    tortured[0] = tortured[1] = NULL;
    front_stop(&front);
    burble_relay_destroy(&worker);
    assert_int_equal(blocks, at_first);
}

static void test_relay_is_made_or_not(void **state)
{
    SKIP_WITHOUT_REDIS();
    const burble_relay_options options = worker_options();
    bool more = true;
    long n = 0;
    for (; more; n++) {
        const long at_first = blocks;
        burble_relay *relay;
        burble_error error;
        everybody = true;
        arm(n, 1);
        int result = burble_relay_create(&options, &relay, &error);
        if (result == BURBLE_OK)
            result = burble_relay_add_model(relay, &model, 4, &error);
        if (result == BURBLE_OK)
            result = burble_relay_start(relay, &error);
        more = disarm();
        everybody = false;
        if (result != BURBLE_OK)
            assert_true(more && (result == BURBLE_ENOMEM || result == BURBLE_ESYSTEM));
        burble_relay_destroy(&relay);
        assert_int_equal(blocks, at_first);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancel_without_memory_is_refused_or_done),
        TEST(test_answer_whose_client_left_is_cancelled_also_without_memory),
        TEST(test_relay_is_made_or_not),
        TEST(test_answers_without_memory_are_complete_or_fail),
    };
    RUN_ALL(tests);
}
