/* SPDX-License-Identifier: MIT
 *
 * Records that own something: whoever owns it is told, once for each record, when its memory goes.
 */
#include "stream_support.h"

#include <pthread.h>
#include <string.h>

#include <burble/stream.h>

#include "stream/stream.h"

enum { RECORDS = 5000 };

/* What has been released, and a stream of which no lock may be held meanwhile. */
struct log {
    burble_stream *stream;
    unsigned released[RECORDS];
    uint64_t last;
    unsigned out_of_order;
    unsigned locked;
    unsigned wrong;
};

static bool is_free(pthread_mutex_t *lock)
{
    if (pthread_mutex_trylock(lock) != 0)
        return false;
    pthread_mutex_unlock(lock);
    return true;
}

static void on_release(const burble_record *record, void *arg)
{
    struct log *log = arg;
    uint64_t number;
    const bool right = record->len == sizeof number && record->tokens == record->seq % 7;
    memcpy(&number, record->text, sizeof number);
    log->wrong += !right || number != record->seq;
    log->out_of_order += record->seq < log->last;
    log->last = record->seq;
    log->released[record->seq]++;
    struct burble__lag *lag = burble__load_relaxed(&log->stream->lag);
    log->locked += !is_free(&log->stream->head_lock);
    log->locked += lag != NULL && !is_free(&lag->lock);
    for (struct burble__limit *limit = lag == NULL ? NULL : lag->first; limit; limit = limit->next)
        log->locked += !is_free(&limit->place);
}

static void start_at(struct place at, struct log *log, uint64_t keep)
{
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.keep = keep;
    options.lag_unit = BURBLE_LAG_BYTES;
    options.release = on_release;
    options.release_arg = log;
    memset(log, 0, sizeof *log);
    assert_result_at(at, burble_stream_create(&options, &log->stream), BURBLE_OK);
}
#define start(...) start_at(HERE, __VA_ARGS__)

static int offer(struct log *log)
{
    const uint64_t number = burble_stream_position(log->stream);
    return burble_stream_append_until(log->stream, (const char *)&number, sizeof number,
                                      (uint32_t)(number % 7), BURBLE_NO_WAIT);
}

static void write_numbers_at(struct place at, struct log *log, int n)
{
    for (int i = 0; i < n; i++)
        assert_result_at(at, offer(log), BURBLE_OK);
}
#define write_numbers(...) write_numbers_at(HERE, __VA_ARGS__)

static unsigned released(const struct log *log)
{
    unsigned n = 0;
    for (size_t i = 0; i < RECORDS; i++)
        n += log->released[i];
    return n;
}

/* The stream goes; by then, each of its `n` records must have been released, once. */
static void finish_at(struct place at, struct log *log, unsigned n)
{
    /* on_release looks at the stream's locks, which go with the blocks that it still has. */
    burble_stream *stream = log->stream;
    assert_int_equal_at(at, burble_stream_position(stream), n);
    burble_stream_unref(&stream);
    for (size_t i = 0; i < n; i++)
        assert_int_equal_at(at, log->released[i], 1);
    assert_int_equal_at(at, released(log), n);
    assert_int_equal_at(at, log->wrong, 0);
    assert_int_equal_at(at, log->locked, 0);
}
#define finish(...) finish_at(HERE, __VA_ARGS__)

static void unread_records_are_released(void **state)
{
    (void)state;
    static struct log log;
    start(&log, 0);
    write_numbers(&log, 10);
    burble_reader *reader = new_reader(log.stream, BURBLE_FROM_OLDEST);
    burble_reader_destroy(&reader);
    write_numbers(&log, RECORDS - 10);
    assert_true(released(&log) > RECORDS - 600); /* all but those of the last block */
    finish(&log, RECORDS);
    assert_int_equal(log.out_of_order, 0);
}

static void retained_records_are_not_released(void **state)
{
    (void)state;
    static struct log log;
    start(&log, BURBLE_KEEP_ALL);
    write_numbers(&log, RECORDS);
    assert_int_equal(released(&log), 0);
    finish(&log, RECORDS);
    start(&log, 1000 * sizeof(uint64_t));
    write_numbers(&log, RECORDS);
    assert_int_equal(released(&log), burble_stream_oldest(log.stream));
    assert_true(released(&log) <= RECORDS - 1000);
    finish(&log, RECORDS);
}

static void records_left_behind_by_reader_are_released(void **state)
{
    (void)state;
    static struct log log;
    burble_record record;
    start(&log, 0);
    burble_reader *reader = new_reader(log.stream, BURBLE_FROM_OLDEST);
    burble_reader *behind = new_reader(log.stream, BURBLE_FROM_OLDEST);
    write_numbers(&log, RECORDS);
    for (int i = 0; i < RECORDS; i++)
        assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    assert_int_equal(released(&log), 0);
    for (int i = 0; i < RECORDS / 2; i++) {
        assert_result(burble_reader_next(behind, &record), BURBLE_OK);
        assert_int_equal(log.released[record.seq], 0); /* not what it was handed last */
    }
    const unsigned n = released(&log);
    assert_true(n > RECORDS / 2 - 600 && n < RECORDS / 2);
    burble_reader_destroy(&behind);
    assert_true(released(&log) > RECORDS - 600);
    burble_reader_destroy(&reader);
    finish(&log, RECORDS);
}

static void refused_record_is_not_released(void **state)
{
    (void)state;
    static struct log log;
    start(&log, 0);
    burble_reader *reader = new_reader(log.stream, BURBLE_FROM_OLDEST);
    assert_result(burble_reader_limit(reader, 100 * sizeof(uint64_t), BURBLE_LAG_BLOCK), BURBLE_OK);
    write_numbers(&log, 100);
    assert_result(offer(&log), BURBLE_EFULL);
    burble_stream_cancel(log.stream);
    assert_result(offer(&log), BURBLE_ECANCELED);
    assert_int_equal(released(&log), 0);
    burble_reader_destroy(&reader);
    finish(&log, 100);
}

/* Several readers are dropped, each at another block; another one stays. */
static void dropped_reader_releases_all_but_block_of_last_record(void **state)
{
    (void)state;
    enum { READERS = 5, APART = 400, BOUND = 2000 };
    static struct log log;
    burble_record record;
    burble_record last[READERS];
    burble_reader *readers[READERS];
    start(&log, 0);
    for (int i = 0; i < READERS; i++) {
        readers[i] = new_reader(log.stream, BURBLE_FROM_OLDEST);
        assert_result(burble_reader_limit(readers[i], BOUND * sizeof(uint64_t), BURBLE_LAG_DROP),
                      BURBLE_OK);
    }
    write_numbers(&log, BOUND);
    for (int i = 0; i < READERS; i++)
        for (int k = 0; k < 10 + i * APART; k++)
            assert_result(burble_reader_next(readers[i], &last[i]), BURBLE_OK);
    write_numbers(&log, RECORDS - BOUND - 10);
    write_numbers(&log, 10);
    /* At most a block for each of them, and the last. */
    assert_true(released(&log) > RECORDS - (READERS + 1) * 300);
    for (int i = 0; i < READERS; i++) {
        uint64_t number;
        assert_int_equal(log.released[last[i].seq], 0);
        memcpy(&number, last[i].text, sizeof number);
        assert_int_equal(number, last[i].seq);
        if (i % 2 == 0) {
            assert_result(burble_reader_next(readers[i], &record), BURBLE_ELAGGED);
            assert_int_equal(log.released[last[i].seq], 1);
        }
        burble_reader_destroy(&readers[i]);
        assert_int_equal(log.released[last[i].seq], 1);
    }
    assert_true(released(&log) > RECORDS - 300);
    finish(&log, RECORDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unread_records_are_released),
        cmocka_unit_test(retained_records_are_not_released),
        cmocka_unit_test(records_left_behind_by_reader_are_released),
        cmocka_unit_test(refused_record_is_not_released),
        cmocka_unit_test(dropped_reader_releases_all_but_block_of_last_record),
    };
    return cmocka_run_group_tests_name("release", tests, NULL, NULL);
}
