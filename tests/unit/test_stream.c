/* SPDX-License-Identifier: MIT
 *
 * The log: what is written is read, whole and in order, by every reader; how a stream ends; what it
 * retains.
 */
#include "stream_support.h"

#include "stream/reader.h"

#include <string.h>

#include <burble/stream.h>

static void records_are_read_whole_and_in_order(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, 0);
    expect_result(reader, BURBLE_AGAIN);
    put(stream, "Hello");
    put(stream, ", ");
    expect(reader, "Hello", 0);
    expect(reader, ", ", 1);
    expect_result(reader, BURBLE_AGAIN);
    put(stream, "world");
    expect(reader, "world", 2);
    assert_int_equal(burble_reader_position(reader), 3);
    burble_stream_end(stream, BURBLE_REASON_STOP);
    expect_result(reader, BURBLE_END);
    burble_reader_destroy(&reader);
    assert_null(reader);
    burble_stream_unref(&stream);
    assert_null(stream);
}

static void record_counts_its_tokens(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, 0);
    burble_record record;
    assert_result(burble_stream_append(stream, "abc", 3, 7), BURBLE_OK);
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    assert_int_equal(record.tokens, 7);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

/* Around the longest record, and the most tokens, of which a head of one byte can say. */
static void records_keep_length_and_tokens_whatever_these_are(void **state)
{
    (void)state;
    static const uint32_t tokens[] = {0, 1, 2, 127, 128, UINT32_MAX};
    enum { LONGEST = 66, KINDS = sizeof tokens / sizeof tokens[0] };
    char text[LONGEST];
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, 0);
    burble_record record;
    for (size_t len = 1; len <= LONGEST; len++)
        for (size_t i = 0; i < KINDS; i++) {
            memset(text, (int)('a' + (len + i) % 26), len);
            assert_result(burble_stream_append(stream, text, len, tokens[i]), BURBLE_OK);
        }
    for (size_t len = 1; len <= LONGEST; len++)
        for (size_t i = 0; i < KINDS; i++) {
            memset(text, (int)('a' + (len + i) % 26), len);
            assert_result(burble_reader_next(reader, &record), BURBLE_OK);
            assert_int_equal(record.len, len);
            assert_int_equal(record.tokens, tokens[i]);
            assert_memory_equal(record.text, text, len);
        }
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

/* Every length from 1 to beyond the largest block, so that each way to fill a block occurs. */
static void records_of_every_length_cross_blocks_intact(void **state)
{
    (void)state;
    enum { LONGEST = 9000, STEP = 7 };
    static char text[LONGEST];
    for (size_t i = 0; i < LONGEST; i++)
        text[i] = (char)('a' + i % 26);
    burble_stream *stream = new_stream(NULL);
    burble_reader *behind = new_reader(stream, 0);
    burble_reader *beside = new_reader(stream, 0);
    burble_record record;
    for (size_t len = 1; len < LONGEST; len += STEP) {
        assert_result(burble_stream_append(stream, text, len, 1), BURBLE_OK);
        assert_result(burble_reader_next(beside, &record), BURBLE_OK);
        assert_int_equal(record.len, len);
        assert_memory_equal(record.text, text, len);
    }
    burble_stream_end(stream, BURBLE_REASON_NONE);
    for (size_t len = 1; len < LONGEST; len += STEP) {
        assert_result(burble_reader_next(behind, &record), BURBLE_OK);
        assert_int_equal(record.len, len);
        assert_memory_equal(record.text, text, len);
    }
    expect_result(behind, BURBLE_END);
    expect_result(beside, BURBLE_END);
    burble_reader_destroy(&behind);
    burble_reader_destroy(&beside);
    burble_stream_unref(&stream);
}

static void reader_has_position_of_its_own(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *one = new_reader(stream, 0);
    burble_reader *two = new_reader(stream, 0);
    put(stream, "a");
    put(stream, "b");
    expect(one, "a", 0);
    expect(one, "b", 1);
    expect(two, "a", 0);
    burble_reader_destroy(&one);
    expect(two, "b", 1);
    burble_reader_destroy(&two);
    burble_stream_unref(&stream);
}

static void stream_outlives_its_handle_while_it_has_readers(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, 0);
    put(stream, "kept");
    burble_stream_unref(&stream);
    expect(reader, "kept", 0);
    expect_result(reader, BURBLE_AGAIN);
    burble_reader_destroy(&reader);
}

static void end_is_read_after_all_text_and_does_not_change(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, 0);
    put(stream, "a");
    assert_result(burble_stream_end(stream, BURBLE_REASON_LENGTH), BURBLE_OK);
    assert_result(burble_stream_end(stream, BURBLE_REASON_STOP), BURBLE_ECLOSED);
    assert_result(burble_stream_fail(stream, -50, "late"), BURBLE_ECLOSED);
    assert_false(burble_stream_cancel(stream));
    assert_result(burble_stream_append(stream, "b", 1, 1), BURBLE_ECLOSED);
    assert_state(stream, BURBLE_ENDED);
    assert_reason(stream, BURBLE_REASON_LENGTH);
    expect(reader, "a", 0);
    expect_result(reader, BURBLE_END);
    expect_result(reader, BURBLE_END);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void failure_is_read_after_all_text_with_code_and_message(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, 0);
    burble_status status;
    put(stream, "so far");
    assert_result(burble_stream_fail(stream, 3, "not an error code"), BURBLE_EINVAL);
    assert_result(burble_stream_fail(stream, -77, "no memory on the device"), BURBLE_OK);
    expect(reader, "so far", 0);
    expect_result(reader, -77);
    expect_result(reader, -77);
    burble_stream_status(stream, &status);
    assert_int_equal(status.state, BURBLE_FAILED);
    assert_int_equal(status.code, -77);
    assert_string_equal(status.message, "no memory on the device");
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void failure_message_too_long_is_cut_at_character(void **state)
{
    (void)state;
    char message[BURBLE_MESSAGE_MAX + 10];
    memset(message, 'x', sizeof message);
    message[sizeof message - 1] = '\0';
    memcpy(message + BURBLE_MESSAGE_MAX - 2, "\xE2\x82\xAC", 3); /* one byte too long */
    burble_stream *stream = new_stream(NULL);
    burble_status status;
    burble_stream_fail(stream, BURBLE_EFAILED, message);
    burble_stream_status(stream, &status);
    assert_int_equal(strlen(status.message), BURBLE_MESSAGE_MAX - 2);
    burble_stream_unref(&stream);
}

static void cancel_stops_writer_and_keeps_written_text(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader = new_reader(stream, 0);
    put(stream, "a");
    assert_true(burble_stream_cancel(stream));
    assert_false(burble_stream_cancel(stream));
    assert_result(burble_stream_append(stream, "b", 1, 1), BURBLE_ECANCELED);
    assert_result(burble_stream_end(stream, BURBLE_REASON_STOP), BURBLE_ECANCELED);
    expect(reader, "a", 0);
    expect_result(reader, BURBLE_ECANCELED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void cancel_on_last_reader_stops_writer(void **state)
{
    (void)state;
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.cancel_when_unread = true;
    burble_stream *stream = new_stream(&options);
    burble_reader *one = new_reader(stream, 0);
    burble_reader *two = new_reader(stream, 0);
    burble_reader_destroy(&one);
    put(stream, "still read");
    burble_reader_destroy(&two);
    assert_result(burble_stream_append(stream, "x", 1, 1), BURBLE_ECANCELED);
    burble_stream_unref(&stream);
}

static void retain_by_default_is_nothing(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *first = new_reader(stream, 0), *late;
    uint64_t oldest = 0;
    burble_reader_destroy(&first);
    for (int i = 0; i < 10000; i++)
        put(stream, "12345678");
    assert_result(burble_reader_create(stream, 0, &late, &oldest), BURBLE_EGONE);
    assert_null(late);
    assert_true(oldest > 9000 && oldest <= 10000);
    late = new_reader(stream, oldest);
    expect(late, "12345678", oldest);
    burble_reader_destroy(&late);
    burble_stream_unref(&stream);
}

static void reader_started_beside_slower_one_reads_its_records(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *first = new_reader(stream, 0), *second;
    for (int i = 0; i < 10000; i++)
        put(stream, "12345678");
    expect(first, "12345678", 0);
    assert_result(burble_reader_create_from(first, 0, &second), BURBLE_EGONE);
    assert_null(second);
    assert_result(burble_reader_create_from(first, 10001, &second), BURBLE_EINVAL);
    assert_null(second);
    for (uint64_t from = 1; from < 10000; from += 1111) {
        assert_result(burble_reader_create_from(first, from, &second), BURBLE_OK);
        expect(second, "12345678", from);
        burble_reader_destroy(&second);
    }
    assert_result(burble_reader_limit(first, 100, BURBLE_LAG_DROP), BURBLE_OK);
    put(stream, "12345678");
    assert_result(burble_reader_create_from(first, 1, &second), BURBLE_EGONE);
    burble_reader_destroy(&first);
    burble_stream_unref(&stream);
}

/* A generator may be through before the reader is made for which it was started. */
static void records_before_first_reader_are_kept(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *second;
    for (int i = 0; i < 10000; i++)
        put(stream, "12345678");
    burble_reader *first = new_reader(stream, 0);
    for (int i = 0; i < 10000; i++)
        expect(first, "12345678", (uint64_t)i);
    for (int i = 0; i < 1000; i++)
        put(stream, "12345678");
    assert_result(burble_reader_create(stream, 0, &second, NULL), BURBLE_EGONE);
    burble_reader_destroy(&first);
    burble_stream_unref(&stream);
}

static void retain_all_keeps_every_record(void **state)
{
    (void)state;
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.keep = BURBLE_KEEP_ALL;
    burble_stream *stream = new_stream(&options);
    char text[16];
    for (int i = 0; i < 10000; i++) {
        snprintf(text, sizeof text, "%d", i);
        put(stream, text);
    }
    burble_stream_end(stream, BURBLE_REASON_STOP);
    for (uint64_t from = 0; from <= 10000; from += 1250) {
        burble_reader *late = new_reader(stream, from);
        for (uint64_t i = from; i < 10000; i++) {
            snprintf(text, sizeof text, "%d", (int)i);
            expect(late, text, i);
        }
        expect_result(late, BURBLE_END);
        burble_reader_destroy(&late);
    }
    burble_stream_unref(&stream);
}

static void retain_bytes_keeps_at_least_as_many(void **state)
{
    (void)state;
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.keep = 20000;
    burble_stream *stream = new_stream(&options);
    for (int i = 0; i < 20000; i++) {
        put(stream, "12345678");
        if (i % 1000 != 999)
            continue;
        burble_reader *late = new_reader(stream, BURBLE_FROM_OLDEST);
        const uint64_t left = (uint64_t)(i + 1) - burble_reader_position(late);
        const uint64_t wanted = (uint64_t)(i + 1) * 8 < 20000 ? (uint64_t)(i + 1) : 20000 / 8;
        assert_true(left >= wanted);
        assert_true(left * 8 < 20000 + 2 * 4096); /* and not much more: a block or two */
        burble_reader_destroy(&late);
    }
    burble_stream_unref(&stream);
}

static void reader_at_tail_gets_next_record(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    for (int i = 0; i < 1000; i++)
        put(stream, "before");
    burble_reader *tail = new_reader(stream, BURBLE_FROM_TAIL);
    assert_int_equal(burble_reader_position(tail), 1000);
    expect_result(tail, BURBLE_AGAIN);
    put(stream, "after");
    expect(tail, "after", 1000);
    burble_reader_destroy(&tail);
    burble_stream_unref(&stream);
}

static void reader_position_beyond_next_record_is_refused(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    burble_reader *reader;
    uint64_t next = 99;
    put(stream, "a");
    assert_result(burble_reader_create(stream, 2, &reader, &next), BURBLE_EINVAL);
    assert_int_equal(next, 1);
    reader = new_reader(stream, 1);
    expect_result(reader, BURBLE_AGAIN);
    put(stream, "b");
    expect(reader, "b", 1);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void record_out_of_bounds_is_refused(void **state)
{
    (void)state;
    burble_stream *stream = new_stream(NULL);
    assert_result(burble_stream_append(stream, NULL, 1, 1), BURBLE_EINVAL);
    assert_result(burble_stream_append(stream, "x", BURBLE_RECORD_MAX + 1, 1), BURBLE_EINVAL);
    assert_result(burble_stream_append(stream, NULL, 0, 1), BURBLE_OK); /* no record */
    burble_reader *reader = new_reader(stream, BURBLE_FROM_OLDEST);
    expect_result(reader, BURBLE_AGAIN);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void destroy_of_null_handles_does_nothing(void **state)
{
    (void)state;
    burble_stream *stream = NULL;
    burble_reader *reader = NULL;
    burble_hub *hub = NULL;
    burble_stream_unref(&stream);
    burble_stream_unref(NULL);
    burble_reader_destroy(&reader);
    burble_reader_destroy(NULL);
    burble_hub_destroy(&hub);
    burble_hub_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_whole_and_in_order),
        cmocka_unit_test(record_counts_its_tokens),
        cmocka_unit_test(records_keep_length_and_tokens_whatever_these_are),
        cmocka_unit_test(records_of_every_length_cross_blocks_intact),
        cmocka_unit_test(reader_has_position_of_its_own),
        cmocka_unit_test(stream_outlives_its_handle_while_it_has_readers),
        cmocka_unit_test(end_is_read_after_all_text_and_does_not_change),
        cmocka_unit_test(failure_is_read_after_all_text_with_code_and_message),
        cmocka_unit_test(failure_message_too_long_is_cut_at_character),
        cmocka_unit_test(cancel_stops_writer_and_keeps_written_text),
        cmocka_unit_test(cancel_on_last_reader_stops_writer),
        cmocka_unit_test(retain_by_default_is_nothing),
        cmocka_unit_test(reader_started_beside_slower_one_reads_its_records),
        cmocka_unit_test(records_before_first_reader_are_kept),
        cmocka_unit_test(retain_all_keeps_every_record),
        cmocka_unit_test(retain_bytes_keeps_at_least_as_many),
        cmocka_unit_test(reader_at_tail_gets_next_record),
        cmocka_unit_test(reader_position_beyond_next_record_is_refused),
        cmocka_unit_test(record_out_of_bounds_is_refused),
        cmocka_unit_test(destroy_of_null_handles_does_nothing),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
