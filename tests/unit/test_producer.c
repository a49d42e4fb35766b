/* SPDX-License-Identifier: MIT
 *
 * The producer's death: a thread that wrote to a stream and exits without ending it fails it.
 */
#define _POSIX_C_SOURCE 200809L

#include "stream_support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <burble/stream.h>

enum { MANY = 500 };

static void in_a_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void *write_one(void *arg)
{
    burble_stream_append(arg, "last words", 10, 1);
    return NULL;
}

static void *write_and_end(void *arg)
{
    burble_stream_append(arg, "x", 1, 1);
    burble_stream_end(arg, BURBLE_REASON_STOP);
    return NULL;
}

static void *only_touch(void *arg)
{
    burble_stream_append(arg, NULL, 0, 1);
    return NULL;
}

static void dead_producer_is_reported_after_its_text(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader;
    burble_record record;
    burble_reader_create(stream, 0, &reader, NULL);
    in_a_thread(write_one, stream);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    assert_memory_equal(record.text, "last words", 10);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    assert_result(burble_reader_next(reader, &record), BURBLE_EDIED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void dead_producer_is_ignored_if_it_may_exit(void **state)
{
    (void)state;
    burble_stream_options options;
    burble_stream *stream;
    burble_stream_options_init(&options);
    options.producer_may_exit = true;
    assert_result(burble_stream_create(&options, &stream), BURBLE_OK);
    in_a_thread(write_one, stream);
    in_a_thread(write_one, stream);
    assert_state(stream, BURBLE_OPEN);
    assert_result(burble_stream_append(stream, "x", 1, 1), BURBLE_OK);
    assert_result(burble_stream_end(stream, BURBLE_REASON_STOP), BURBLE_OK);
    burble_stream_unref(&stream);
}

static void *blocked_read(void *arg)
{
    burble_reader *reader = arg;
    burble_record record;
    static int result;
    do {
        result = burble_reader_next(reader, &record);
        if (result == BURBLE_AGAIN)
            burble_reader_wait(reader, 0);
    } while (result >= 0);
    return &result;
}

static void dead_producer_wakes_blocked_reader(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader;
    pthread_t thread;
    void *result;
    burble_reader_create(stream, 0, &reader, NULL);
    assert_int_equal(pthread_create(&thread, NULL, blocked_read, reader), 0);
    in_a_thread(write_one, stream);
    pthread_join(thread, &result);
    assert_result(*(int *)result, BURBLE_EDIED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void dead_producer_after_end_is_ignored(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    in_a_thread(write_and_end, stream);
    assert_state(stream, BURBLE_ENDED);
    burble_stream_unref(&stream);
}

static void thread_that_showed_activity_becomes_producer(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    in_a_thread(only_touch, stream);
    assert_state(stream, BURBLE_FAILED);
    burble_stream_unref(&stream);
}

/* Writes, waits for leave to go, and goes. */
struct relay {
    burble_stream *stream;
    pthread_barrier_t written, leave;
};

static void *write_then_wait(void *arg)
{
    struct relay *relay = arg;
    burble_stream_append(relay->stream, "x", 1, 1);
    pthread_barrier_wait(&relay->written);
    pthread_barrier_wait(&relay->leave);
    return NULL;
}

static void dead_producer_after_takeover_is_ignored(void **state)
{
    (void)state;
    struct relay relay = {.stream = new_stream(NULL)};
    pthread_t thread;
    pthread_barrier_init(&relay.written, NULL, 2);
    pthread_barrier_init(&relay.leave, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, write_then_wait, &relay), 0);
    pthread_barrier_wait(&relay.written);
    assert_result(burble_stream_append(relay.stream, "y", 1, 1), BURBLE_OK);
    pthread_barrier_wait(&relay.leave);
    pthread_join(thread, NULL);
    assert_state(relay.stream, BURBLE_OPEN);
    assert_result(burble_stream_end(relay.stream, BURBLE_REASON_STOP), BURBLE_OK);
    pthread_barrier_destroy(&relay.written);
    pthread_barrier_destroy(&relay.leave);
    burble_stream_unref(&relay.stream);
}

static void *write_many(void *arg)
{
    burble_stream **streams = arg;
    for (int i = 0; i < MANY; i++)
        burble_stream_append(streams[i], "x", 1, 1);
    for (int i = 0; i < MANY; i += 2)
        burble_stream_end(streams[i], BURBLE_REASON_STOP);
    return NULL;
}

static void dead_producer_fails_all_its_open_streams(void **state)
{
    (void)state;
    burble_stream *streams[MANY];
    for (int i = 0; i < MANY; i++)
        streams[i] = new_stream(NULL);
    in_a_thread(write_many, streams);
    for (int i = 0; i < MANY; i++) {
        assert_state(streams[i], i % 2 == 0 ? BURBLE_ENDED : BURBLE_FAILED);
        burble_stream_unref(&streams[i]);
    }
}

/* Streams that go while they are on the list of a thread that lives on: LeakSanitizer and
 * AddressSanitizer say whether that is right. */
static void *write_and_drop(void *arg)
{
    (void)arg;
    for (int i = 0; i < MANY; i++) {
        burble_stream *stream = NULL;
        if (burble_stream_create(NULL, &stream) != BURBLE_OK)
            continue;
        burble_stream_append(stream, "x", 1, 1);
        if (i % 3 == 0)
            burble_stream_cancel(stream);
        burble_stream_unref(&stream);
    }
    return NULL;
}

static void stream_is_destroyed_before_its_producer_exits(void **state)
{
    (void)state;
    in_a_thread(write_and_drop, NULL);
    write_and_drop(NULL);
}

struct handover {
    burble_stream *streams[MANY];
    pthread_barrier_t written, leave;
};

static void *write_all_then_wait(void *arg)
{
    struct handover *handover = arg;
    for (int i = 0; i < MANY; i++)
        burble_stream_append(handover->streams[i], "x", 1, 1);
    pthread_barrier_wait(&handover->written);
    pthread_barrier_wait(&handover->leave);
    return NULL;
}

static void stream_is_destroyed_by_another_thread(void **state)
{
    (void)state;
    static struct handover handover;
    pthread_t thread;
    for (int i = 0; i < MANY; i++)
        handover.streams[i] = new_stream(NULL);
    pthread_barrier_init(&handover.written, NULL, 2);
    pthread_barrier_init(&handover.leave, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, write_all_then_wait, &handover), 0);
    pthread_barrier_wait(&handover.written);
    for (int i = 0; i < MANY; i++)
        burble_stream_unref(&handover.streams[i]);
    pthread_barrier_wait(&handover.leave);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&handover.written);
    pthread_barrier_destroy(&handover.leave);
}

/* The first producer cancels while the second one takes over, at every distance from one another:
 * TSan says whether they meet. */
enum { MEETINGS = 6000 };

struct meeting {
    burble_stream *stream;
    pthread_barrier_t begin, end;
};

static void *take_over(void *arg)
{
    struct meeting *meeting = arg;
    for (int i = 0; i < MEETINGS; i++) {
        pthread_barrier_wait(&meeting->begin);
        burble_stream_append(meeting->stream, "y", 1, 1);
        pthread_barrier_wait(&meeting->end);
    }
    return NULL;
}

static void cancel_by_producer_during_takeover_succeeds(void **state)
{
    (void)state;
    static struct meeting meeting;
    pthread_t thread;
    pthread_barrier_init(&meeting.begin, NULL, 2);
    pthread_barrier_init(&meeting.end, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, take_over, &meeting), 0);
    for (int i = 0; i < MEETINGS; i++) {
        meeting.stream = new_stream(NULL);
        assert_result(burble_stream_append(meeting.stream, "x", 1, 1), BURBLE_OK);
        pthread_barrier_wait(&meeting.begin);
        for (volatile int distance = i % 200; distance > 0; distance--)
            continue;
        assert_true(burble_stream_cancel(meeting.stream));
        pthread_barrier_wait(&meeting.end);
        burble_stream_unref(&meeting.stream);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&meeting.begin);
    pthread_barrier_destroy(&meeting.end);
}

/* ---- release functions that write ------------------------------------------------------------ */

enum { ROUNDS = 100, DYING = 64 };

/* What a release function appends to, each to the next one. */
struct heirs {
    burble_stream *streams[DYING];
    atomic_uint next;
};

static void append_to_heir(const burble_record *record, void *arg)
{
    struct heirs *heirs = arg;
    const unsigned i = atomic_fetch_add(&heirs->next, 1);
    assert_true(i < DYING);
    assert_result(burble_stream_append(heirs->streams[i], record->text, record->len, 1), BURBLE_OK);
}

struct dying {
    burble_stream *streams[DYING];
    atomic_bool written;
};

static void *write_to_all(void *arg)
{
    struct dying *dying = arg;
    for (int i = 0; i < DYING; i++)
        burble_stream_append(dying->streams[i], "x", 1, 1);
    atomic_store(&dying->written, true);
    return NULL;
}

/* The thread that dies may be the last to let go of a stream, and then calls its release function in
 * the midst of failing them all. */
static void release_function_may_write_while_producer_dies(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct heirs heirs = {.next = 0};
        struct dying dying = {.written = false};
        burble_stream_options options;
        pthread_t thread;
        burble_stream_options_init(&options);
        options.release = append_to_heir;
        options.release_arg = &heirs;
        for (int i = 0; i < DYING; i++) {
            heirs.streams[i] = new_stream(NULL);
            assert_result(burble_stream_create(&options, &dying.streams[i]), BURBLE_OK);
        }
        assert_int_equal(pthread_create(&thread, NULL, write_to_all, &dying), 0);
        while (!atomic_load(&dying.written))
            sched_yield();
        for (int i = 0; i < DYING; i++)
            burble_stream_unref(&dying.streams[i]);
        pthread_join(thread, NULL);
        assert_int_equal(heirs.next, DYING);
        for (int i = 0; i < DYING; i++)
            burble_stream_unref(&heirs.streams[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_producer_is_reported_after_its_text),
        cmocka_unit_test(dead_producer_is_ignored_if_it_may_exit),
        cmocka_unit_test(dead_producer_wakes_blocked_reader),
        cmocka_unit_test(dead_producer_after_end_is_ignored),
        cmocka_unit_test(thread_that_showed_activity_becomes_producer),
        cmocka_unit_test(dead_producer_after_takeover_is_ignored),
        cmocka_unit_test(dead_producer_fails_all_its_open_streams),
        cmocka_unit_test(stream_is_destroyed_before_its_producer_exits),
        cmocka_unit_test(stream_is_destroyed_by_another_thread),
        cmocka_unit_test(cancel_by_producer_during_takeover_succeeds),
        cmocka_unit_test(release_function_may_write_while_producer_dies),
    };
    return cmocka_run_group_tests_name("producer", tests, NULL, NULL);
}
