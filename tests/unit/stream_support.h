/* SPDX-License-Identifier: MIT
 *
 * Shared by the tests of streams: making a stream and a reader, appending, and what a read is
 * expected to give. A failure names the line that called.
 */
#ifndef BURBLE_TESTS_STREAM_SUPPORT_H
#define BURBLE_TESTS_STREAM_SUPPORT_H

#include "support.h"

#include <string.h>

#include <burble/stream.h>

#define assert_state(stream, expected) check_state_at(HERE, #stream, stream, expected)
#define assert_reason(stream, expected) check_reason_at(HERE, #stream, stream, expected)

static inline const char *state_name(burble_state state)
{
    switch (state) {
    case BURBLE_OPEN:
        return "BURBLE_OPEN";
    case BURBLE_ENDED:
        return "BURBLE_ENDED";
    case BURBLE_FAILED:
        return "BURBLE_FAILED";
    case BURBLE_CANCELLED:
        return "BURBLE_CANCELLED";
    }
    return "no state";
}

static inline const char *reason_name(burble_reason reason)
{
    switch (reason) {
    case BURBLE_REASON_NONE:
        return "BURBLE_REASON_NONE";
    case BURBLE_REASON_STOP:
        return "BURBLE_REASON_STOP";
    case BURBLE_REASON_LENGTH:
        return "BURBLE_REASON_LENGTH";
    case BURBLE_REASON_OTHER:
        return "BURBLE_REASON_OTHER";
    }
    return "no reason";
}

static inline void check_state_at(struct place at, const char *what, const burble_stream *stream,
                                  burble_state expected)
{
    burble_status status;
    burble_stream_status(stream, &status);
    if (status.state != expected)
        fail_at(at, "state of %s: expected %s, found %s (%s)", what, state_name(expected),
                state_name(status.state), burble_result_name(status.code));
}

static inline void check_reason_at(struct place at, const char *what, const burble_stream *stream,
                                   burble_reason expected)
{
    burble_status status;
    burble_stream_status(stream, &status);
    if (status.reason != expected)
        fail_at(at, "reason of %s: expected %s, found %s", what, reason_name(expected),
                reason_name(status.reason));
}

/* With NULL for the default options. */
static inline burble_stream *new_stream_at(struct place at, const burble_stream_options *options)
{
    burble_stream *stream;
    assert_result_at(at, burble_stream_create(options, &stream), BURBLE_OK);
    return stream;
}
#define new_stream(...) new_stream_at(HERE, __VA_ARGS__)

static inline burble_reader *new_reader_at(struct place at, burble_stream *stream, uint64_t from)
{
    burble_reader *reader;
    assert_result_at(at, burble_reader_create(stream, from, &reader, NULL), BURBLE_OK);
    return reader;
}
#define new_reader(...) new_reader_at(HERE, __VA_ARGS__)

/* A record of one token. */
static inline void put_at(struct place at, burble_stream *stream, const char *text)
{
    assert_result_at(at, burble_stream_append(stream, text, strlen(text), 1), BURBLE_OK);
}
#define put(...) put_at(HERE, __VA_ARGS__)

/* The reader's next record has this text and this position. */
static inline void expect_at(struct place at, burble_reader *reader, const char *text, uint64_t seq)
{
    burble_record record;
    assert_result_at(at, burble_reader_next(reader, &record), BURBLE_OK);
    if (record.len != strlen(text) || memcmp(record.text, text, record.len) != 0)
        fail_at(at, "expected the record \"%s\", found \"%.*s\"", text, (int)record.len,
                record.text);
    assert_int_equal_at(at, record.seq, seq);
}
#define expect(...) expect_at(HERE, __VA_ARGS__)

/* The reader's next call returns this. */
static inline void expect_result_at(struct place at, burble_reader *reader, int result)
{
    burble_record record;
    assert_result_at(at, burble_reader_next(reader, &record), result);
}
#define expect_result(...) expect_result_at(HERE, __VA_ARGS__)

/* The reader's next `n` calls return a record each. */
static inline void read_some_at(struct place at, burble_reader *reader, int n)
{
    for (int i = 0; i < n; i++)
        expect_result_at(at, reader, BURBLE_OK);
}
#define read_some(...) read_some_at(HERE, __VA_ARGS__)

#endif
