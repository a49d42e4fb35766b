/* SPDX-License-Identifier: MIT
 *
 * Waiting: readers of an event loop through a hub, on each kind of descriptor, and threads that
 * block.
 */
#define _POSIX_C_SOURCE 200809L

#include "stream_support.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <burble/stream.h>

enum { SOON_MS = 10000 }; /* how long a wake-up that must come may take on a bad day */

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static burble_hub *new_hub(void **state)
{
    burble_hub_options options;
    burble_hub *hub;
    burble_hub_options_init(&options);
    options.wake = *(const burble_wake *)*state;
    assert_result(burble_hub_create(&options, &hub), BURBLE_OK);
    return hub;
}

static bool readable(const burble_hub *hub, int timeout_ms)
{
    struct pollfd fd = {.fd = burble_hub_fd(hub), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

/* Records the calls, in order. */
struct calls {
    burble_reader *who[64];
    size_t n;
};

static void note(burble_reader *reader, void *arg)
{
    struct calls *calls = arg;
    assert_true(calls->n < 64);
    calls->who[calls->n++] = reader;
}

static void parked_reader_is_called_once(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    burble_record record;

    assert_result(burble_reader_attach(reader, hub, note, &calls), BURBLE_OK);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN); /* parking twice is parking */
    assert_false(readable(hub, 0));
    assert_result(burble_stream_append(stream, "a", 1, 1), BURBLE_OK);
    assert_result(burble_stream_append(stream, "b", 1, 1), BURBLE_OK);
    assert_true(readable(hub, 0));
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    assert_int_equal(calls.n, 1);
    assert_ptr_equal(calls.who[0], reader);
    assert_false(readable(hub, 0));
    assert_int_equal(burble_hub_dispatch(hub, 0), 0);

    assert_result(burble_reader_park(reader), BURBLE_OK); /* there is something */
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN);
    burble_stream_end(stream, BURBLE_REASON_STOP);
    assert_true(readable(hub, 0));
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void append_without_parked_reader_signals_nothing(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    burble_reader_attach(reader, hub, note, &calls);
    for (int i = 0; i < 1000; i++)
        burble_stream_append(stream, "x", 1, 1);
    assert_int_equal(burble_hub_signals(hub), 0);
    assert_false(readable(hub, 0));
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void thousand_streams_at_once_signal_once(void **state)
{
    enum { STREAMS = 1000, STEPS = 5 };
    static burble_stream *streams[STREAMS];
    static burble_reader *readers[STREAMS];
    static struct calls calls[STREAMS];
    burble_hub *hub = new_hub(state);
    burble_record record;
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = new_stream(NULL);
        readers[i] = new_reader(streams[i], BURBLE_FROM_OLDEST);
        calls[i].n = 0;
        burble_reader_attach(readers[i], hub, note, &calls[i]);
    }
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < STREAMS; i++)
            assert_result(burble_reader_park(readers[i]), BURBLE_AGAIN);
        for (int i = 0; i < STREAMS; i++)
            burble_stream_append(streams[i], "x", 1, 1);
        assert_int_equal(burble_hub_signals(hub), step + 1);
        assert_int_equal(burble_hub_dispatch(hub, 0), STREAMS);
        for (int i = 0; i < STREAMS; i++)
            assert_result(burble_reader_next(readers[i], &record), BURBLE_OK);
    }
    for (int i = 0; i < STREAMS; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    burble_hub_destroy(&hub);
}

static void dispatch_calls_readers_in_order_of_readiness(void **state)
{
    enum { STREAMS = 20 };
    burble_hub *hub = new_hub(state);
    burble_stream *streams[STREAMS];
    burble_reader *readers[STREAMS];
    struct calls calls = {.n = 0};
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = new_stream(NULL);
        readers[i] = new_reader(streams[i], BURBLE_FROM_OLDEST);
        burble_reader_attach(readers[i], hub, note, &calls);
        burble_reader_park(readers[i]);
    }
    for (int i = 0; i < STREAMS; i++)
        burble_stream_append(streams[(i * 7) % STREAMS], "x", 1, 1);
    burble_hub_dispatch(hub, 0);
    for (size_t i = 0; i < STREAMS; i++)
        assert_ptr_equal(calls.who[i], readers[(i * 7) % STREAMS]);
    for (int i = 0; i < STREAMS; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    burble_hub_destroy(&hub);
}

static void dispatch_in_slices_stays_readable_until_all_are_called(void **state)
{
    enum { STREAMS = 10 };
    burble_hub *hub = new_hub(state);
    burble_stream *streams[STREAMS];
    burble_reader *readers[STREAMS];
    struct calls calls = {.n = 0};
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = new_stream(NULL);
        readers[i] = new_reader(streams[i], BURBLE_FROM_OLDEST);
        burble_reader_attach(readers[i], hub, note, &calls);
        burble_reader_park(readers[i]);
    }
    for (int i = 0; i < 7; i++)
        burble_stream_append(streams[i], "x", 1, 1);
    assert_int_equal(burble_hub_dispatch(hub, 4), 4);
    assert_true(readable(hub, 0));
    for (int i = 7; i < STREAMS; i++)
        burble_stream_append(streams[i], "x", 1, 1);
    assert_int_equal(burble_hub_dispatch(hub, 4), 4);
    assert_int_equal(burble_hub_dispatch(hub, 4), 2);
    assert_false(readable(hub, 0));
    for (size_t i = 0; i < STREAMS; i++)
        assert_ptr_equal(calls.who[i], readers[i]);
    for (int i = 0; i < STREAMS; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    burble_hub_destroy(&hub);
}

/* Destroys another reader that is ready, too. */
struct killer {
    burble_reader **victim;
    int calls;
};

static void kill_other(burble_reader *reader, void *arg)
{
    (void)reader;
    struct killer *killer = arg;
    killer->calls++;
    burble_reader_destroy(killer->victim);
}

static void dispatch_skips_reader_destroyed_by_another_function(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *one = new_reader(stream, BURBLE_FROM_OLDEST);
    burble_reader *two = new_reader(stream, BURBLE_FROM_OLDEST);
    struct killer first = {&two, 0};
    struct killer second = {&one, 0};
    burble_reader_attach(one, hub, kill_other, &first);
    burble_reader_attach(two, hub, kill_other, &second);
    burble_reader_park(one);
    burble_reader_park(two);
    burble_stream_append(stream, "x", 1, 1);
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 0);
    burble_reader_destroy(&one);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void parked_reader_that_is_destroyed_leaves_others_waking(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *stays = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    burble_reader_attach(stays, hub, note, &calls);
    burble_reader_park(stays);
    for (int i = 0; i < 100; i++) {
        burble_reader *goes = new_reader(stream, BURBLE_FROM_OLDEST);
        burble_reader_attach(goes, hub, note, &calls);
        burble_reader_park(goes);
        burble_reader_destroy(&goes);
        burble_hub_dispatch(hub, 0); /* the one that stays is woken for nothing, and parks again */
        calls.n = 0;
        assert_result(burble_reader_park(stays), BURBLE_AGAIN);
    }
    burble_stream_append(stream, "x", 1, 1);
    burble_hub_dispatch(hub, 0);
    assert_int_equal(calls.n, 1);
    assert_ptr_equal(calls.who[0], stays);
    burble_reader_destroy(&stays);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void parked_reader_moves_to_another_hub(void **state)
{
    burble_hub *from = new_hub(state);
    burble_hub *to = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls before = {.n = 0}, after = {.n = 0};
    burble_reader_attach(reader, from, note, &before);
    burble_reader_park(reader);
    burble_reader_attach(reader, to, note, &after);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN);
    burble_stream_append(stream, "x", 1, 1);
    burble_hub_dispatch(from, 0);
    burble_hub_dispatch(to, 0);
    assert_int_equal(before.n, 0);
    assert_int_equal(after.n, 1);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&from);
    burble_hub_destroy(&to);
}

static void destroyed_hub_leaves_its_readers_usable(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *parked_on = new_stream(NULL), *fired_on = new_stream(NULL);
    burble_reader *parked = new_reader(parked_on, BURBLE_FROM_OLDEST),
                  *fired = new_reader(fired_on, 0);
    struct calls calls = {.n = 0};
    burble_record record;
    burble_reader_attach(parked, hub, note, &calls);
    burble_reader_attach(fired, hub, note, &calls);
    burble_reader_park(parked);
    burble_reader_park(fired);
    burble_stream_append(fired_on, "x", 1, 1);
    burble_hub_destroy(&hub);
    burble_stream_append(parked_on, "y", 1, 1); /* wakes into a hub that is gone */
    assert_int_equal(calls.n, 0);
    assert_result(burble_reader_park(parked), BURBLE_EDETACHED);

    hub = new_hub(state);
    assert_result(burble_reader_attach(parked, hub, note, &calls), BURBLE_OK);
    assert_result(burble_reader_park(parked), BURBLE_OK);
    assert_result(burble_reader_next(parked, &record), BURBLE_OK);
    assert_result(burble_reader_next(fired, &record), BURBLE_OK);
    burble_reader_destroy(&parked);
    burble_reader_destroy(&fired);
    burble_stream_unref(&parked_on);
    burble_stream_unref(&fired_on);
    burble_hub_destroy(&hub);
}

static void held_hub_signals_only_when_released(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    burble_record record;
    burble_reader_attach(reader, hub, note, &calls);

    burble_hub_hold(hub);
    burble_reader_park(reader);
    burble_stream_append(stream, "a", 1, 1);
    assert_false(readable(hub, 0));
    assert_int_equal(burble_hub_dispatch(hub, 0), 1); /* by itself, as it has promised */
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);

    burble_reader_park(reader);
    burble_stream_append(stream, "b", 1, 1);
    assert_int_equal(burble_hub_signals(hub), 0);
    burble_hub_release(hub);
    burble_hub_release(hub);
    assert_int_equal(burble_hub_signals(hub), 1);
    assert_true(readable(hub, 0));
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);

    burble_hub_hold(hub);
    burble_hub_release(hub); /* nothing came: nothing is signalled */
    assert_int_equal(burble_hub_signals(hub), 1);
    burble_reader_park(reader);
    burble_stream_append(stream, "c", 1, 1);
    assert_true(readable(hub, 0));
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void park_without_hub_is_refused(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    assert_result(burble_reader_park(reader), BURBLE_EDETACHED);
    assert_result(burble_reader_wait(reader, 1), BURBLE_ETIMEDOUT);
    assert_result(burble_reader_park(reader), BURBLE_EDETACHED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void wait_with_text_available_detaches_reader(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    burble_reader_attach(reader, hub, note, &calls);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN);
    burble_stream_append(stream, "x", 1, 1);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    burble_hub_dispatch(hub, 0);
    assert_int_equal(calls.n, 0);
    assert_result(burble_reader_park(reader), BURBLE_EDETACHED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void create_with_unknown_kind_of_descriptor_is_refused(void **state)
{
    (void)state;
    burble_hub *hub;
    const burble_hub_options options = {.wake = (burble_wake)99};
    assert_result(burble_hub_create(&options, &hub), BURBLE_EINVAL);
    assert_null(hub);
}

/* ---- other threads ---------------------------------------------------------------------------- */

static void *append_one(void *arg)
{
    burble_stream_append(arg, "x", 1, 1);
    burble_stream_end(arg, BURBLE_REASON_STOP);
    return NULL;
}

static void parked_reader_is_woken_by_another_thread(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    pthread_t thread;
    burble_reader_attach(reader, hub, note, &calls);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN);
    assert_int_equal(pthread_create(&thread, NULL, append_one, stream), 0);
    assert_true(readable(hub, SOON_MS));
    burble_hub_dispatch(hub, 0);
    assert_int_equal(calls.n, 1);
    pthread_join(thread, NULL);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void wait_is_woken_by_text_and_by_end(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    burble_record record;
    pthread_t thread;
    const uint64_t deadline = now() + (uint64_t)SOON_MS * 1000000u;
    assert_int_equal(pthread_create(&thread, NULL, append_one, stream), 0);
    while (burble_reader_next(reader, &record) == BURBLE_AGAIN)
        assert_result(burble_reader_wait(reader, deadline), BURBLE_OK);
    int rc;
    while ((rc = burble_reader_next(reader, &record)) == BURBLE_AGAIN)
        assert_result(burble_reader_wait(reader, deadline), BURBLE_OK);
    assert_result(rc, BURBLE_END);
    pthread_join(thread, NULL);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void wait_with_deadline_ends_no_earlier(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    for (int i = 0; i < 3; i++) {
        const uint64_t deadline = now() + 5000000u;
        assert_result(burble_reader_wait(reader, deadline), BURBLE_ETIMEDOUT);
        assert_true(now() >= deadline);
    }
    burble_stream_append(stream, "x", 1, 1); /* fires the waiter that the last wait left armed */
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void *cancel(void *arg)
{
    burble_stream_cancel(arg);
    return NULL;
}

static void wait_is_woken_by_cancel(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    burble_record record;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel, stream), 0);
    assert_result(burble_reader_wait(reader, now() + (uint64_t)SOON_MS * 1000000u), BURBLE_OK);
    assert_result(burble_reader_next(reader, &record), BURBLE_ECANCELED);
    pthread_join(thread, NULL);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void *interrupt(void *arg)
{
    burble_reader_interrupt(arg);
    return NULL;
}

static void interrupt_prevents_waiting_but_not_reading(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST), *other = new_reader(stream, 0);
    burble_record record;
    pthread_t thread;
    const uint64_t deadline = now() + (uint64_t)SOON_MS * 1000000u;
    assert_int_equal(pthread_create(&thread, NULL, interrupt, reader), 0);
    for (int i = 0; i < 2; i++) {
        assert_result(burble_reader_wait(reader, deadline), BURBLE_OK);
        assert_result(burble_reader_next(reader, &record), BURBLE_AGAIN);
    }
    pthread_join(thread, NULL);
    assert_result(burble_reader_wait(other, now() + 1000000u), BURBLE_ETIMEDOUT);
    burble_stream_append(stream, "x", 1, 1);
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    burble_reader_destroy(&reader);
    burble_reader_destroy(&other);
    burble_stream_unref(&stream);
}

static void interrupt_calls_parked_reader(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    pthread_t thread;
    assert_result(burble_reader_attach(reader, hub, note, &calls), BURBLE_OK);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, reader), 0);
    assert_true(readable(hub, SOON_MS));
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    assert_ptr_equal(calls.who[0], reader);
    pthread_join(thread, NULL);
    assert_result(burble_reader_park(reader), BURBLE_OK);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void next_or_park_parks_when_all_is_read(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    burble_record record;

    assert_result(burble_reader_attach(reader, hub, note, &calls), BURBLE_OK);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_AGAIN);
    assert_result(burble_stream_append(stream, "a", 1, 1), BURBLE_OK);
    assert_result(burble_stream_append(stream, "b", 1, 1), BURBLE_OK);
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_OK);
    assert_memory_equal(record.text, "a", 1);
    assert_int_equal(burble_hub_dispatch(hub, 0), 0); /* it has not parked */
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_OK);
    assert_memory_equal(record.text, "b", 1);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_AGAIN);
    assert_result(burble_stream_end(stream, BURBLE_REASON_STOP), BURBLE_OK);
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_END);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_END);
    assert_int_equal(calls.n, 2);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

static void next_or_park_without_waiting_is_refused_after_all_text(void **state)
{
    burble_hub *hub = new_hub(state);
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    struct calls calls = {.n = 0};
    burble_record record;

    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_EDETACHED);
    assert_result(burble_stream_append(stream, "a", 1, 1), BURBLE_OK);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_OK);
    assert_result(burble_reader_attach(reader, hub, note, &calls), BURBLE_OK);
    burble_reader_interrupt(reader);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_EDETACHED);
    assert_result(burble_stream_append(stream, "b", 1, 1), BURBLE_OK);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_OK);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_EDETACHED);
    burble_stream_cancel(stream);
    assert_result(burble_reader_next_or_park(reader, &record), BURBLE_ECANCELED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_hub_destroy(&hub);
}

#define ON(test, kind) {#test " (" #kind ")", test, NULL, NULL, &kind}
#define ON_BOTH(test) ON(test, eventfd), ON(test, pipe)

int main(void)
{
#ifdef __linux__
    static burble_wake eventfd = BURBLE_WAKE_EVENTFD;
#else
    static burble_wake eventfd = BURBLE_WAKE_BEST;
#endif
    static burble_wake pipe = BURBLE_WAKE_PIPE;
    const struct CMUnitTest tests[] = {
        ON_BOTH(parked_reader_is_called_once),
        ON_BOTH(append_without_parked_reader_signals_nothing),
        ON_BOTH(thousand_streams_at_once_signal_once),
        ON_BOTH(dispatch_calls_readers_in_order_of_readiness),
        ON_BOTH(dispatch_in_slices_stays_readable_until_all_are_called),
        ON_BOTH(dispatch_skips_reader_destroyed_by_another_function),
        ON_BOTH(parked_reader_that_is_destroyed_leaves_others_waking),
        ON_BOTH(parked_reader_moves_to_another_hub),
        ON_BOTH(destroyed_hub_leaves_its_readers_usable),
        ON_BOTH(parked_reader_is_woken_by_another_thread),
        ON_BOTH(held_hub_signals_only_when_released),
        cmocka_unit_test(park_without_hub_is_refused),
        ON_BOTH(wait_with_text_available_detaches_reader),
        cmocka_unit_test(create_with_unknown_kind_of_descriptor_is_refused),
        cmocka_unit_test(wait_is_woken_by_text_and_by_end),
        cmocka_unit_test(wait_with_deadline_ends_no_earlier),
        cmocka_unit_test(wait_is_woken_by_cancel),
        cmocka_unit_test(interrupt_prevents_waiting_but_not_reading),
        ON_BOTH(interrupt_calls_parked_reader),
        ON_BOTH(next_or_park_parks_when_all_is_read),
        ON_BOTH(next_or_park_without_waiting_is_refused_after_all_text),
    };
    return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
