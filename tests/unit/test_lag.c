/* SPDX-License-Identifier: MIT
 *
 * Limits of readers: how far they may fall behind, what the writer is told, what wakes it while it
 * waits, and what becomes of a reader that was dropped.
 */
#define _POSIX_C_SOURCE 200809L

#include "stream_support.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <burble/hub.h>
#include <burble/stream.h>

#include "base/clock.h"
#include "stream/reader.h"
#include "stream/stream.h"

static burble_stream *stream_with_unit_at(struct place at, burble_lag_unit unit)
{
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.keep = 4096;
    options.lag_unit = unit;
    return new_stream_at(at, &options);
}
#define stream_with_unit(...) stream_with_unit_at(HERE, __VA_ARGS__)

static burble_reader *limited_reader_at(struct place at, burble_stream *stream, uint64_t max,
                                        burble_on_lag on_lag)
{
    burble_reader *reader = new_reader_at(at, stream, 0);
    assert_result_at(at, burble_reader_limit(reader, max, on_lag), BURBLE_OK);
    return reader;
}
#define limited_reader(...) limited_reader_at(HERE, __VA_ARGS__)

static int offer(burble_stream *stream, const char *text, uint32_t tokens)
{
    return burble_stream_append_until(stream, text, strlen(text), tokens, BURBLE_NO_WAIT);
}

/* Appends records of one byte and one token until one does not pass; how many did. */
static unsigned fill_at(struct place at, burble_stream *stream)
{
    unsigned n = 0;
    int rc;
    while ((rc = offer(stream, "x", 1)) == BURBLE_OK)
        n++;
    assert_result_at(at, rc, BURBLE_EFULL);
    return n;
}
#define fill(...) fill_at(HERE, __VA_ARGS__)

static void done(burble_stream *stream, burble_reader *reader)
{
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

/* ---- a writer in a separate thread, that waits --------------------------------------------- */

struct writer {
    pthread_t thread;
    burble_stream *stream;
    uint64_t deadline;
    int rc;
};

static void *append_one(void *arg)
{
    struct writer *writer = arg;
    writer->rc = burble_stream_append_until(writer->stream, "w", 1, 1, writer->deadline);
    /* Before the thread exits, which would fail the stream: that is not what is tested here. */
    burble_stream_end(writer->stream, BURBLE_REASON_STOP);
    return NULL;
}

static void start(struct writer *writer, burble_stream *stream, uint64_t deadline)
{
    *writer = (struct writer){.stream = stream, .deadline = deadline};
    assert_int_equal(pthread_create(&writer->thread, NULL, append_one, writer), 0);
}

static void start_and_wait_until_it_waits(struct writer *writer, burble_stream *stream)
{
    start(writer, stream, 0);
    while (!burble__load_acquire(&stream->writer_waits))
        sched_yield();
}

static int result_of(struct writer *writer)
{
    assert_int_equal(pthread_join(writer->thread, NULL), 0);
    return writer->rc;
}

/* ---- what is admitted ------------------------------------------------------------------------ */

static void no_limit_leaves_always_room(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_BYTES);
    burble_reader *reader = new_reader(stream, 0);
    for (int i = 0; i < 10000; i++)
        assert_result(offer(stream, "12345678", 1), BURBLE_OK);
    assert_result(burble_stream_wait_for_room(stream, UINT64_MAX, BURBLE_NO_WAIT), BURBLE_OK);
    read_some(reader, 10000);
    expect_result(reader, BURBLE_AGAIN);
    done(stream, reader);
}

static void limit_counts_bytes_characters_or_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t tokens;
        uint64_t weights[3];
    } records[] = {
        {"a", 1, {1, 1, 1}},        {"abcde", 3, {5, 5, 3}},
        {"日本", 2, {6, 2, 2}},     {"é\xF0\x9F\x98\x80x", 9, {7, 3, 9}},
        {"\x80\xBF", 1, {2, 0, 1}}, {"no tokens", 0, {9, 9, 0}},
    };
    for (int unit = BURBLE_LAG_BYTES; unit <= BURBLE_LAG_TOKENS; unit++) {
        for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
            const uint64_t weight = records[i].weights[unit];
            burble_stream *stream = stream_with_unit((burble_lag_unit)unit);
            burble_reader *reader = limited_reader(stream, 100 + weight, BURBLE_LAG_BLOCK);
            assert_result(offer(stream, records[i].text, records[i].tokens), BURBLE_OK);
            assert_int_equal(fill(stream), 100);
            read_some(reader, 1); /* as much comes back */
            assert_result(burble_stream_wait_for_room(stream, weight, BURBLE_NO_WAIT), BURBLE_OK);
            assert_result(burble_stream_wait_for_room(stream, weight + 1, BURBLE_NO_WAIT),
                          BURBLE_EFULL);
            done(stream, reader);
        }
    }
}

static void full_stream_refuses_append_until_there_is_room(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 3, BURBLE_LAG_BLOCK);
    assert_int_equal(fill(stream), 3);
    assert_int_equal(burble_stream_position(stream), 3);
    assert_result(offer(stream, "", 7), BURBLE_OK); /* no record: no weight */
    read_some(reader, 1);
    assert_result(offer(stream, "xx", 2), BURBLE_EFULL);
    assert_result(offer(stream, "x", 1), BURBLE_OK);
    assert_result(offer(stream, "x", 1), BURBLE_EFULL);
    assert_int_equal(burble_stream_position(stream), 4);
    burble_stream_end(stream, BURBLE_REASON_STOP);
    assert_result(offer(stream, "x", 1), BURBLE_ECLOSED);
    assert_result(burble_stream_wait_for_room(stream, 1, 0), BURBLE_ECLOSED);
    read_some(reader, 3);
    expect_result(reader, BURBLE_END);
    done(stream, reader);
}

static void record_above_limit_is_appended_once_all_is_read(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_BYTES);
    burble_reader *reader = limited_reader(stream, 2, BURBLE_LAG_BLOCK);
    assert_result(offer(stream, "a", 1), BURBLE_OK);
    assert_result(offer(stream, "far too long", 1), BURBLE_EFULL);
    read_some(reader, 1);
    assert_result(offer(stream, "far too long", 1), BURBLE_OK);
    assert_result(offer(stream, "b", 1), BURBLE_EFULL);
    read_some(reader, 1);
    assert_result(offer(stream, "b", 1), BURBLE_OK);
    done(stream, reader);
}

static void slowest_limited_reader_decides(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *unlimited = new_reader(stream, 0);
    burble_reader *wide = limited_reader(stream, 100, BURBLE_LAG_BLOCK);
    burble_reader *narrow = limited_reader(stream, 10, BURBLE_LAG_BLOCK);
    assert_int_equal(fill(stream), 10);
    read_some(narrow, 10);
    assert_int_equal(fill(stream), 10);
    burble_reader_destroy(&narrow);
    assert_int_equal(fill(stream), 80);
    read_some(wide, 40);
    assert_int_equal(fill(stream), 40);
    burble_reader_destroy(&wide);
    assert_result(offer(stream, "x", 1000),
                  BURBLE_OK); /* without a limited reader, none is too slow */
    done(stream, unlimited);
}

static void greatest_limit_never_blocks(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, UINT64_MAX, BURBLE_LAG_BLOCK);
    for (int i = 0; i < 100; i++)
        assert_result(offer(stream, "x", UINT32_MAX), BURBLE_OK);
    assert_result(burble_stream_wait_for_room(stream, UINT64_MAX, BURBLE_NO_WAIT), BURBLE_EFULL);
    read_some(reader, 100);
    assert_result(burble_stream_wait_for_room(stream, UINT64_MAX, BURBLE_NO_WAIT), BURBLE_OK);
    done(stream, reader);
}

/* At each position in several blocks, so that what lies before it is weighed right. */
static void limit_set_later_counts_unread_records(void **state)
{
    (void)state;
    enum { RECORDS = 1500, STEP = 37 };
    for (int at = 0; at <= RECORDS; at += STEP) {
        burble_stream *stream = stream_with_unit(BURBLE_LAG_CHARACTERS);
        burble_reader *reader = new_reader(stream, 0);
        for (int i = 0; i < RECORDS; i++)
            assert_result(offer(stream, i % 2 == 0 ? "日本" : "x", 1), BURBLE_OK);
        read_some(reader, at);
        uint64_t unread = 0;
        for (int i = at; i < RECORDS; i++)
            unread += i % 2 == 0 ? 2 : 1;
        assert_result(burble_reader_limit(reader, unread + 1, BURBLE_LAG_BLOCK), BURBLE_OK);
        assert_int_equal(fill(stream), 1);
        assert_result(burble_reader_limit(reader, unread + 4, BURBLE_LAG_BLOCK), BURBLE_OK);
        assert_int_equal(fill(stream), 3);
        done(stream, reader);
    }
}

static void limit_set_below_lag_blocks_next_append(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 100, BURBLE_LAG_BLOCK);
    for (int i = 0; i < 20; i++)
        assert_result(offer(stream, "x", 1), BURBLE_OK);
    assert_result(burble_reader_limit(reader, 5, BURBLE_LAG_BLOCK), BURBLE_OK);
    assert_result(offer(stream, "x", 1), BURBLE_EFULL);
    read_some(reader, 15);
    assert_result(offer(stream, "x", 1), BURBLE_EFULL);
    read_some(reader, 1);
    assert_result(offer(stream, "x", 1), BURBLE_OK);
    assert_result(burble_reader_limit(reader, 0, BURBLE_LAG_BLOCK), BURBLE_OK);
    for (int i = 0; i < 1000; i++)
        assert_result(offer(stream, "x", 1), BURBLE_OK);
    read_some(reader, 1005);
    expect_result(reader, BURBLE_AGAIN);
    done(stream, reader);
}

static void lag_options_out_of_range_are_refused(void **state)
{
    (void)state;
    burble_stream_options options;
    burble_stream *stream;
    burble_stream_options_init(&options);
    options.lag_unit = (burble_lag_unit)3;
    assert_result(burble_stream_create(&options, &stream), BURBLE_EINVAL);
    assert_null(stream);
    stream = stream_with_unit(BURBLE_LAG_BYTES);
    burble_reader *reader = new_reader(stream, 0);
    assert_result(burble_reader_limit(reader, 1, (burble_on_lag)2), BURBLE_EINVAL);
    assert_result(burble_reader_limit(reader, 0, BURBLE_LAG_DROP), BURBLE_OK); /* none to lift */
    assert_result(offer(stream, "xxx", 1), BURBLE_OK);
    done(stream, reader);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void append_after_deadline_appends_nothing(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 2, BURBLE_LAG_BLOCK);
    fill(stream);
    const uint64_t deadline = burble__now() + 2000000;
    assert_result(burble_stream_append_until(stream, "x", 1, 1, deadline), BURBLE_ETIMEDOUT);
    assert_true(burble__now() >= deadline);
    assert_result(burble_stream_wait_for_room(stream, 1, deadline), BURBLE_ETIMEDOUT);
    assert_int_equal(burble_stream_position(stream), 2);
    read_some(reader, 1); /* with room, no deadline is too early */
    assert_result(burble_stream_append_until(stream, "x", 1, 1, deadline), BURBLE_OK);
    done(stream, reader);
}

static void waiting_writer_continues_once_a_quarter_is_free(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 100, BURBLE_LAG_BLOCK);
    struct writer writer;
    assert_int_equal(fill(stream), 100);
    start_and_wait_until_it_waits(&writer, stream);
    read_some(reader, 24);
    assert_true(burble__load_acquire(&stream->writer_waits));
    assert_int_equal(burble__load_relaxed(&reader->limit->wake_at), 25);
    read_some(reader, 1);
    assert_result(result_of(&writer), BURBLE_OK);
    assert_int_equal(burble_stream_position(stream), 101);
    done(stream, reader);
}

static void small_limit_needs_room_for_the_record_only(void **state)
{
    (void)state;
    for (uint64_t max = 1; max < 8; max++) {
        burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
        burble_reader *reader = limited_reader(stream, max, BURBLE_LAG_BLOCK);
        struct writer writer;
        assert_int_equal(fill(stream), max);
        start_and_wait_until_it_waits(&writer, stream);
        read_some(reader, 1);
        assert_result(result_of(&writer), BURBLE_OK);
        done(stream, reader);
    }
}

/* Room for the record, though not for a quarter of the limit, when the deadline passes. */
static void append_with_room_ignores_deadline(void **state)
{
    (void)state;
    uint64_t read_at;
    struct writer writer;
    do { /* until the reading came in time */
        burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
        burble_reader *reader = limited_reader(stream, 100, BURBLE_LAG_BLOCK);
        fill(stream);
        start(&writer, stream, burble__now() + 20000000);
        read_some(reader, 1);
        read_at = burble__now();
        const int rc = result_of(&writer);
        if (read_at < writer.deadline)
            assert_result(rc, BURBLE_OK);
        done(stream, reader);
    } while (read_at >= writer.deadline);
}

/* A reader that has room is not asked for a quarter of its limit because another one was full. */
static void waiting_writer_needs_a_quarter_only_of_full_readers(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *full = limited_reader(stream, 99, BURBLE_LAG_BLOCK);
    burble_reader *nearly = limited_reader(stream, 100, BURBLE_LAG_BLOCK);
    struct writer writer;
    assert_int_equal(fill(stream), 99);
    start_and_wait_until_it_waits(&writer, stream);
    read_some(full, 99);
    assert_result(result_of(&writer), BURBLE_OK);
    burble_reader_destroy(&nearly);
    done(stream, full);
}

static void wait_for_room_appends_nothing(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 8, BURBLE_LAG_BLOCK);
    assert_result(burble_stream_wait_for_room(stream, 8, 0), BURBLE_OK);
    assert_int_equal(burble_stream_position(stream), 0);
    assert_int_equal(fill(stream), 8);
    assert_result(burble_stream_wait_for_room(stream, 1, BURBLE_NO_WAIT), BURBLE_EFULL);
    burble_stream_cancel(stream);
    assert_result(burble_stream_wait_for_room(stream, 1, 0), BURBLE_ECANCELED);
    done(stream, reader);
}

static void cancel(burble_stream *stream, burble_reader **reader)
{
    (void)reader;
    assert_true(burble_stream_cancel(stream));
}

static void end(burble_stream *stream, burble_reader **reader)
{
    (void)reader;
    assert_result(burble_stream_end(stream, BURBLE_REASON_STOP), BURBLE_OK);
}

static void fail_it(burble_stream *stream, burble_reader **reader)
{
    (void)reader;
    assert_result(burble_stream_fail(stream, BURBLE_EFAILED, "no"), BURBLE_OK);
}

static void destroy(burble_stream *stream, burble_reader **reader)
{
    (void)stream;
    burble_reader_destroy(reader);
}

static void lift(burble_stream *stream, burble_reader **reader)
{
    (void)stream;
    assert_result(burble_reader_limit(*reader, 0, BURBLE_LAG_BLOCK), BURBLE_OK);
}

static void widen(burble_stream *stream, burble_reader **reader)
{
    (void)stream;
    assert_result(burble_reader_limit(*reader, 101, BURBLE_LAG_BLOCK), BURBLE_OK);
}

static void let_it_be_dropped(burble_stream *stream, burble_reader **reader)
{
    (void)stream;
    assert_result(burble_reader_limit(*reader, 100, BURBLE_LAG_DROP), BURBLE_OK);
}

static void waiting_writer_wakes_for_cancel_end_and_lifted_limit(void **state)
{
    (void)state;
    static const struct {
        void (*act)(burble_stream *, burble_reader **);
        int rc;
        bool unread; /* cancel the stream when the last reader goes */
    } cases[] = {
        {cancel, BURBLE_ECANCELED, false}, {end, BURBLE_ECLOSED, false},
        {fail_it, BURBLE_ECLOSED, false},  {destroy, BURBLE_OK, false},
        {destroy, BURBLE_ECANCELED, true}, {lift, BURBLE_OK, false},
        {widen, BURBLE_OK, false},         {let_it_be_dropped, BURBLE_OK, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        burble_stream_options options;
        burble_stream *stream;
        struct writer writer;
        burble_stream_options_init(&options);
        options.cancel_when_unread = cases[i].unread;
        assert_result(burble_stream_create(&options, &stream), BURBLE_OK);
        burble_reader *reader = limited_reader(stream, 100, BURBLE_LAG_BLOCK);
        assert_int_equal(fill(stream), 100);
        start_and_wait_until_it_waits(&writer, stream);
        cases[i].act(stream, &reader);
        assert_int_equal(result_of(&writer), cases[i].rc);
        assert_int_equal(burble_stream_position(stream), cases[i].rc == BURBLE_OK ? 101 : 100);
        done(stream, reader);
    }
}

static void waiting_writer_is_not_woken_by_other_readers(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *slow = limited_reader(stream, 1000, BURBLE_LAG_BLOCK);
    struct writer writer;
    assert_int_equal(fill(stream), 1000);
    start_and_wait_until_it_waits(&writer, stream);
    for (int i = 0; i < 50; i++) {
        burble_reader *other = limited_reader(stream, 1001, (burble_on_lag)(i % 2));
        read_some(other, 1000);
        assert_result(burble_reader_limit(other, 10, BURBLE_LAG_BLOCK), BURBLE_OK);
        burble_reader_destroy(&other);
    }
    assert_true(burble__load_acquire(&stream->writer_waits));
    read_some(slow, 1000);
    assert_result(result_of(&writer), BURBLE_OK);
    read_some(slow, 1);
    expect_result(slow, BURBLE_END);
    done(stream, slow);
}

static void *only_be_refused(void *arg)
{
    assert_result(offer(arg, "x", 1), BURBLE_EFULL);
    return NULL;
}

static void refused_writer_that_dies_fails_stream(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 1, BURBLE_LAG_BLOCK);
    pthread_t thread;
    fill(stream);
    assert_int_equal(pthread_create(&thread, NULL, only_be_refused, stream), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    read_some(reader, 1);
    expect_result(reader, BURBLE_EDIED);
    done(stream, reader);
}

/* ---- dropping -------------------------------------------------------------------------------- */

static void dropped_reader_stays_dropped(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 4, BURBLE_LAG_DROP);
    for (int i = 0; i < 4; i++)
        assert_result(offer(stream, "x", 1), BURBLE_OK);
    read_some(reader, 3);
    for (int i = 0; i < 3; i++)
        assert_result(offer(stream, "x", 1), BURBLE_OK);
    read_some(reader, 1); /* at its limit, and not beyond */
    assert_result(offer(stream, "xx", 2), BURBLE_OK);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    assert_result(burble_reader_limit(reader, 9, BURBLE_LAG_BLOCK), BURBLE_ELAGGED);
    assert_result(burble_reader_limit(reader, 0, BURBLE_LAG_BLOCK), BURBLE_ELAGGED);
    expect_result(reader, BURBLE_ELAGGED);
    assert_int_equal(burble_reader_position(reader), 4);
    burble_stream_end(stream, BURBLE_REASON_STOP);
    expect_result(reader, BURBLE_ELAGGED);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    assert_result(burble_reader_limit(reader, 0, BURBLE_LAG_BLOCK), BURBLE_ELAGGED);
    assert_int_equal(burble_reader_position(reader), 4);
    done(stream, reader);
}

static void drop_limit_set_below_lag_drops_at_next_append(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = new_reader(stream, 0);
    for (int i = 0; i < 10; i++)
        assert_result(offer(stream, "x", 1), BURBLE_OK);
    assert_result(burble_reader_limit(reader, 3, BURBLE_LAG_DROP), BURBLE_OK);
    read_some(reader, 1); /* not yet */
    assert_result(offer(stream, "x", 1), BURBLE_OK);
    expect_result(reader, BURBLE_ELAGGED);
    assert_int_equal(burble_reader_position(reader), 1);
    done(stream, reader);
}

static void dropped_reader_keeps_its_last_record(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_BYTES);
    burble_reader *reader = limited_reader(stream, 100, BURBLE_LAG_DROP);
    burble_record record;
    assert_result(offer(stream, "the last one", 1), BURBLE_OK);
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    for (int i = 0; i < 10000; i++)
        assert_result(offer(stream, "12345678", 1), BURBLE_OK);
    assert_int_equal(record.len, 12);
    assert_memory_equal(record.text, "the last one", 12);
    expect_result(reader, BURBLE_ELAGGED);
    /* What is left, it may read anew. */
    uint64_t oldest = 0;
    burble_reader *again;
    assert_result(burble_reader_create(stream, burble_reader_position(reader), &again, &oldest),
                  BURBLE_EGONE);
    assert_int_equal(oldest, burble_stream_oldest(stream));
    assert_result(burble_reader_create(stream, oldest, &again, NULL), BURBLE_OK);
    read_some(again, (int)(burble_stream_position(stream) - oldest));
    burble_reader_destroy(&again);
    done(stream, reader);
}

static void refused_record_drops_no_reader(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *blocking = limited_reader(stream, 5, BURBLE_LAG_BLOCK);
    burble_reader *dropped = limited_reader(stream, 5, BURBLE_LAG_DROP);
    assert_int_equal(fill(stream), 5);
    assert_result(burble_stream_append_until(stream, "x", 1, 1, 2), BURBLE_ETIMEDOUT);
    read_some(dropped, 1);
    read_some(blocking, 3);
    assert_result(burble_stream_wait_for_room(stream, 2, 0), BURBLE_OK); /* nor does waiting */
    read_some(dropped, 1);
    assert_int_equal(fill(stream), 3);
    expect_result(dropped, BURBLE_ELAGGED);
    burble_reader_destroy(&dropped);
    done(stream, blocking);
}

static void dropped_reader_counts_until_destroyed(void **state)
{
    (void)state;
    burble_stream_options options;
    burble_stream *stream;
    burble_stream_options_init(&options);
    options.cancel_when_unread = true;
    assert_result(burble_stream_create(&options, &stream), BURBLE_OK);
    burble_reader *reader = limited_reader(stream, 1, BURBLE_LAG_DROP);
    for (int i = 0; i < 5; i++)
        assert_result(offer(stream, "x", 1), BURBLE_OK);
    burble_reader_destroy(&reader);
    assert_result(offer(stream, "x", 1), BURBLE_ECANCELED);
    burble_stream_unref(&stream);
}

static void note(burble_reader *reader, void *arg)
{
    burble_record record;
    *(int *)arg = burble_reader_next(reader, &record);
}

static void dropped_reader_that_is_parked_is_woken(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_TOKENS);
    burble_reader *reader = limited_reader(stream, 1, BURBLE_LAG_DROP);
    burble_hub *hub;
    int result = BURBLE_OK;
    assert_result(burble_hub_create(NULL, &hub), BURBLE_OK);
    assert_result(burble_reader_attach(reader, hub, note, &result), BURBLE_OK);
    assert_result(burble_reader_park(reader), BURBLE_AGAIN);
    assert_result(offer(stream, "x", 1), BURBLE_OK);
    assert_result(offer(stream, "x", 1), BURBLE_OK);
    struct pollfd fd = {.fd = burble_hub_fd(hub), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, -1), 1);
    assert_int_equal(burble_hub_dispatch(hub, 0), 1);
    assert_result(result, BURBLE_ELAGGED);
    assert_result(burble_reader_park(reader), BURBLE_OK);
    burble_reader_destroy(&reader);
    burble_hub_destroy(&hub);
    burble_stream_unref(&stream);
}

/* ---- positions ------------------------------------------------------------------------------- */

static void stream_position_and_oldest_follow_appends(void **state)
{
    (void)state;
    burble_stream *stream = stream_with_unit(BURBLE_LAG_BYTES);
    assert_int_equal(burble_stream_position(stream), 0);
    assert_int_equal(burble_stream_oldest(stream), 0);
    for (unsigned i = 1; i <= 10000; i++) {
        assert_result(offer(stream, "12345678", 1), BURBLE_OK);
        assert_int_equal(burble_stream_position(stream), i);
    }
    const uint64_t oldest = burble_stream_oldest(stream);
    assert_true(oldest > 9000 && oldest <= 10000);
    burble_reader *reader;
    assert_result(burble_reader_create(stream, BURBLE_FROM_OLDEST, &reader, NULL), BURBLE_OK);
    assert_int_equal(burble_reader_position(reader), oldest);
    done(stream, reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_limit_leaves_always_room),
        cmocka_unit_test(limit_counts_bytes_characters_or_tokens),
        cmocka_unit_test(full_stream_refuses_append_until_there_is_room),
        cmocka_unit_test(record_above_limit_is_appended_once_all_is_read),
        cmocka_unit_test(slowest_limited_reader_decides),
        cmocka_unit_test(greatest_limit_never_blocks),
        cmocka_unit_test(limit_set_later_counts_unread_records),
        cmocka_unit_test(limit_set_below_lag_blocks_next_append),
        cmocka_unit_test(lag_options_out_of_range_are_refused),
        cmocka_unit_test(append_after_deadline_appends_nothing),
        cmocka_unit_test(waiting_writer_continues_once_a_quarter_is_free),
        cmocka_unit_test(small_limit_needs_room_for_the_record_only),
        cmocka_unit_test(append_with_room_ignores_deadline),
        cmocka_unit_test(waiting_writer_needs_a_quarter_only_of_full_readers),
        cmocka_unit_test(wait_for_room_appends_nothing),
        cmocka_unit_test(waiting_writer_wakes_for_cancel_end_and_lifted_limit),
        cmocka_unit_test(waiting_writer_is_not_woken_by_other_readers),
        cmocka_unit_test(refused_writer_that_dies_fails_stream),
        cmocka_unit_test(dropped_reader_stays_dropped),
        cmocka_unit_test(drop_limit_set_below_lag_drops_at_next_append),
        cmocka_unit_test(dropped_reader_keeps_its_last_record),
        cmocka_unit_test(refused_record_drops_no_reader),
        cmocka_unit_test(dropped_reader_counts_until_destroyed),
        cmocka_unit_test(dropped_reader_that_is_parked_is_woken),
        cmocka_unit_test(stream_position_and_oldest_follow_appends),
    };
    return cmocka_run_group_tests_name("lag", tests, NULL, NULL);
}
