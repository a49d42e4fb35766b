/* SPDX-License-Identifier: MIT
 *
 * Readers with an interval: what is handed out when, and what wakes them. No test waits for an interval to be over: one
 * is an hour or a nanosecond.
 */
#include "stream_support.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>

#include <burble/clock.h>
#include <burble/hub.h>
#include <burble/stream.h>

#define HOUR UINT64_C(3600000000000)

/* A stream with a reader that has an interval, attached to a hub, and how often its function was called. */
struct paced {
    burble_stream *stream;
    burble_reader *reader;
    burble_hub *hub;
    int calls;
};

static void count(burble_reader *reader, void *arg)
{
    (void)reader;
    ++*(int *)arg;
}

static void begin(struct paced *paced, uint64_t interval)
{
    *paced = (struct paced){.stream = new_stream(NULL)};
    paced->reader = new_reader(paced->stream, BURBLE_FROM_OLDEST);
    assert_result(burble_hub_create(NULL, &paced->hub), BURBLE_OK);
    assert_result(burble_reader_attach(paced->reader, paced->hub, count, &paced->calls), BURBLE_OK);
    assert_result(burble_reader_interval(paced->reader, interval), BURBLE_OK);
}

/* The same, and its first text was read: it rests. */
static void begin_rest(struct paced *paced, uint64_t interval)
{
    begin(paced, interval);
    put(paced->stream, "a");
    expect(paced->reader, "a", 0);
    expect_result(paced->reader, BURBLE_AGAIN);
}

static void finish(struct paced *paced)
{
    burble_reader_destroy(&paced->reader);
    burble_hub_destroy(&paced->hub);
    burble_stream_unref(&paced->stream);
}

static bool is_signalled(const struct paced *paced)
{
    struct pollfd fd = {.fd = burble_hub_fd(paced->hub), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void first_text_is_due_at_once(void **state)
{
    (void)state;
    struct paced paced;
    begin(&paced, HOUR);
    assert_int_equal(burble_reader_due(paced.reader), 0);
    assert_result(burble_reader_park(paced.reader), BURBLE_AGAIN);
    put(paced.stream, "a");
    assert_true(is_signalled(&paced));
    assert_int_equal(burble_hub_dispatch(paced.hub, 0), 1);
    expect(paced.reader, "a", 0);
    finish(&paced);
}

static void delivery_is_all_text_until_there_is_none(void **state)
{
    (void)state;
    struct paced paced;
    begin(&paced, HOUR);
    put(paced.stream, "a");
    put(paced.stream, "b");
    expect(paced.reader, "a", 0);
    put(paced.stream, "c"); /* amid the delivery */
    assert_int_equal(burble_reader_due(paced.reader), 0);
    expect(paced.reader, "b", 1);
    expect(paced.reader, "c", 2);
    expect_result(paced.reader, BURBLE_AGAIN);
    assert_true(burble_reader_due(paced.reader) > burble_now());
    assert_true(burble_reader_due(paced.reader) <= burble_now() + HOUR);
    put(paced.stream, "d");
    expect_result(paced.reader, BURBLE_AGAIN);
    finish(&paced);
}

static void resting_reader_is_woken_by_end_alone(void **state)
{
    (void)state;
    struct paced paced;
    burble_record record;
    begin_rest(&paced, HOUR);
    for (int i = 0; i < 3; i++) {
        assert_result(burble_reader_park(paced.reader), BURBLE_AGAIN);
        put(paced.stream, "b");
        expect_result(paced.reader, BURBLE_AGAIN);
        assert_result(burble_reader_next_or_park(paced.reader, &record), BURBLE_AGAIN);
    }
    assert_int_equal(burble_hub_signals(paced.hub), 0);
    burble_stream_end(paced.stream, BURBLE_REASON_STOP);
    assert_true(is_signalled(&paced));
    assert_int_equal(burble_hub_dispatch(paced.hub, 0), 1);
    assert_int_equal(paced.calls, 1);
    for (uint64_t i = 1; i <= 3; i++)
        expect(paced.reader, "b", i);
    expect_result(paced.reader, BURBLE_END);
    finish(&paced);
}

static void resting_reader_is_woken_by_cancel_failure_and_interruption(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct paced paced;
        begin_rest(&paced, HOUR);
        assert_result(burble_reader_park(paced.reader), BURBLE_AGAIN);
        if (how == 0)
            burble_stream_cancel(paced.stream);
        else if (how == 1)
            burble_stream_fail(paced.stream, -99, NULL);
        else
            burble_reader_interrupt(paced.reader);
        assert_int_equal(burble_hub_dispatch(paced.hub, 0), 1);
        expect_result(paced.reader, how == 0 ? BURBLE_ECANCELED : how == 1 ? -99 : BURBLE_AGAIN);
        finish(&paced);
    }
}

/* The time that burble_reader_due says has come: text is handed out, or wakes the reader as soon as it comes. */
static void text_after_due_time_wakes_reader(void **state)
{
    (void)state;
    struct paced paced;
    begin_rest(&paced, 1);
    put(paced.stream, "b"); /* a nanosecond is over */
    assert_result(burble_reader_park(paced.reader), BURBLE_OK);
    expect(paced.reader, "b", 1);
    expect_result(paced.reader, BURBLE_AGAIN);
    expect_result(paced.reader, BURBLE_AGAIN);
    assert_int_equal(burble_reader_due(paced.reader), 0);
    assert_result(burble_reader_park(paced.reader), BURBLE_AGAIN);
    put(paced.stream, "c");
    assert_true(is_signalled(&paced));
    assert_int_equal(burble_hub_dispatch(paced.hub, 0), 1);
    expect(paced.reader, "c", 2);
    finish(&paced);
}

static void interval_of_none_ends_rest(void **state)
{
    (void)state;
    struct paced paced;
    begin_rest(&paced, HOUR);
    put(paced.stream, "b");
    expect_result(paced.reader, BURBLE_AGAIN);
    assert_result(burble_reader_interval(paced.reader, 0), BURBLE_OK);
    assert_int_equal(burble_reader_due(paced.reader), 0);
    expect(paced.reader, "b", 1);
    assert_result(burble_reader_interval(paced.reader, 0), BURBLE_OK);
    finish(&paced);
}

static void reader_that_leaves_or_moves_while_resting_is_not_called(void **state)
{
    (void)state;
    struct paced paced;
    burble_hub *other;
    int calls = 0;
    begin_rest(&paced, HOUR);
    burble_reader *stays = new_reader(paced.stream, BURBLE_FROM_OLDEST);
    assert_result(burble_hub_create(NULL, &other), BURBLE_OK);
    assert_result(burble_reader_attach(stays, paced.hub, count, &calls), BURBLE_OK);
    assert_result(burble_reader_interval(stays, HOUR), BURBLE_OK);
    read_some(stays, 1);
    expect_result(stays, BURBLE_AGAIN);
    assert_result(burble_reader_park(stays), BURBLE_AGAIN);
    assert_result(burble_reader_park(paced.reader), BURBLE_AGAIN);
    assert_result(burble_reader_attach(paced.reader, other, count, &paced.calls), BURBLE_OK);
    burble_hub_dispatch(paced.hub, 0);
    assert_int_equal(paced.calls, 0);
    assert_result(burble_reader_park(paced.reader), BURBLE_AGAIN);
    burble_reader_destroy(&paced.reader);
    assert_int_equal(burble_hub_dispatch(other, 0), 0);
    calls = 0; /* it may have been called, for nothing, when the other one left */
    assert_result(burble_reader_park(stays), BURBLE_AGAIN);
    burble_stream_end(paced.stream, BURBLE_REASON_STOP);
    burble_hub_dispatch(paced.hub, 0);
    assert_int_equal(calls, 1);
    burble_reader_destroy(&stays);
    burble_hub_destroy(&other);
    finish(&paced);
}

/* ---- threads that block ------------------------------------------------------------------------ */

enum { RECORDS = 1000 };

static void *write_and_end(void *arg)
{
    burble_stream *stream = arg;
    int bad = 0;
    for (int i = 0; i < RECORDS; i++)
        bad += burble_stream_append(stream, "b", 1, 1) != BURBLE_OK;
    burble_stream_end(stream, BURBLE_REASON_STOP);
    return bad == 0 ? stream : NULL;
}

static pthread_t start_writer(burble_stream *stream)
{
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_and_end, stream), 0);
    return writer;
}

static void join_writer(pthread_t writer)
{
    void *result;
    assert_int_equal(pthread_join(writer, &result), 0);
    assert_non_null(result);
}

/* How many pieces the rest of the text comes in. */
static int read_to_end(burble_reader *reader)
{
    int pieces = 0, rc;
    uint64_t seq = burble_reader_position(reader);
    for (;;) {
        burble_record record;
        const uint64_t before = seq;
        while ((rc = burble_reader_next(reader, &record)) == BURBLE_OK)
            assert_int_equal(record.seq, seq++);
        pieces += seq > before;
        if (rc != BURBLE_AGAIN)
            break;
        assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    }
    assert_result(rc, BURBLE_END);
    return pieces;
}

static void wait_of_resting_reader_sleeps_until_end(void **state)
{
    (void)state;
    struct paced paced;
    begin_rest(&paced, HOUR);
    const pthread_t writer = start_writer(paced.stream);
    assert_int_equal(read_to_end(paced.reader), 1);
    assert_int_equal(burble_reader_position(paced.reader), RECORDS + 1);
    join_writer(writer);
    finish(&paced);
}

static void wait_sees_every_text_with_any_interval(void **state)
{
    (void)state;
    for (uint64_t interval = 1; interval < 10000000; interval *= 10) {
        struct paced paced;
        begin_rest(&paced, interval);
        const pthread_t writer = start_writer(paced.stream);
        read_to_end(paced.reader);
        assert_int_equal(burble_reader_position(paced.reader), RECORDS + 1);
        join_writer(writer);
        finish(&paced);
    }
}

static void writer_at_limit_ends_rest(void **state)
{
    (void)state;
    struct paced paced;
    begin_rest(&paced, HOUR);
    assert_result(burble_reader_limit(paced.reader, 10, BURBLE_LAG_BLOCK), BURBLE_OK);
    const pthread_t writer = start_writer(paced.stream);
    read_to_end(paced.reader); /* with an interval alone, this would take an hour */
    assert_int_equal(burble_reader_position(paced.reader), RECORDS + 1);
    join_writer(writer);
    finish(&paced);
}

static void wait_is_over_at_due_time_or_deadline(void **state)
{
    (void)state;
    struct paced paced;
    begin_rest(&paced, 2000000);
    put(paced.stream, "b");
    const uint64_t due = burble_reader_due(paced.reader);
    assert_result(burble_reader_wait(paced.reader, 0), BURBLE_OK); /* nothing else happens */
    assert_true(burble_now() >= due);
    expect(paced.reader, "b", 1);
    expect_result(paced.reader, BURBLE_AGAIN);
    assert_result(burble_reader_interval(paced.reader, HOUR), BURBLE_OK);
    assert_result(burble_reader_wait(paced.reader, burble_now() + 2000000), BURBLE_ETIMEDOUT);
    finish(&paced);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_text_is_due_at_once),
        cmocka_unit_test(delivery_is_all_text_until_there_is_none),
        cmocka_unit_test(resting_reader_is_woken_by_end_alone),
        cmocka_unit_test(resting_reader_is_woken_by_cancel_failure_and_interruption),
        cmocka_unit_test(text_after_due_time_wakes_reader),
        cmocka_unit_test(interval_of_none_ends_rest),
        cmocka_unit_test(reader_that_leaves_or_moves_while_resting_is_not_called),
        cmocka_unit_test(wait_of_resting_reader_sleeps_until_end),
        cmocka_unit_test(wait_sees_every_text_with_any_interval),
        cmocka_unit_test(writer_at_limit_ends_rest),
        cmocka_unit_test(wait_is_over_at_due_time_or_deadline),
    };
    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
