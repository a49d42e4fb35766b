/* SPDX-License-Identifier: MIT
 *
 * A stream as a state machine: any operations on it, its readers and hubs, in one thread, against a
 * model. The model has every record that was written for ever, and of each reader where it stands; it
 * says what each call has to return. What it leaves open is when memory goes: it says when it may not.
 */
#define _POSIX_C_SOURCE 200809L

#include "fuzz.h"

#include <poll.h>
#include <stdbool.h>
#include <string.h>

#include <burble/stream.h>

enum { RECORDS = 256, READERS = 4, HUBS = 2, PASSED = 2 }; /* PASSED: a deadline that has */
#define LONGEST 9000
#define BLOCK 4096

struct model_record {
    size_t len;
    uint32_t tokens;
    uint64_t weight;
    bool released;
};

struct model_reader {
    burble_reader *reader; /* NULL: there is none */
    uint64_t seq;
    int end;      /* that it has reported; 0: none */
    uint64_t max; /* 0: no limit */
    bool drop;    /* what its limit says */
    bool dropped; /* by the writer */
    bool holds;   /* the record before `seq`, which it was handed last */
    bool interrupted;
    int hub;        /* attached to; -1: none */
    bool hub_gone;  /* which was destroyed since */
    bool armed;     /* its function may be called */
    bool must_call; /* and must be, where there is news */
};

static struct {
    struct input *input;
    burble_stream *stream; /* NULL: we have given it back */
    burble_stream_options options;
    struct model_record records[RECORDS];
    uint64_t n;       /* of them */
    uint64_t written; /* what they weigh */
    uint64_t oldest;  /* at least */
    bool had_reader;
    uint64_t awaited; /* the records before the first reader */
    int state, code, reason;
    const char *message;
    struct model_reader readers[READERS];
    size_t n_readers;
    struct model_reader *called; /* whose call runs: it may let go of what it holds */
    burble_hub *hubs[HUBS];
    bool held[HUBS];
    int dispatching; /* the hub; -1: none */
} m;

/* ---- the text ---------------------------------------------------------------------------------- */

/* Characters of one and two bytes in turn, over and over; a record has some of it, and need not begin or
 * end well. */
enum { PERIOD = 78 };
static char pattern[PERIOD + LONGEST];

static void make_pattern(void)
{
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i % 3 == 0 ? (char)('a' + i % 26) : i % 3 == 1 ? '\xC3' : '\xA9';
}

static const char *text_of(uint64_t seq)
{
    return pattern + seq % PERIOD;
}

static uint64_t weigh(uint64_t seq, size_t len, uint32_t tokens)
{
    uint64_t characters = 0;
    if (m.options.lag_unit == BURBLE_LAG_BYTES)
        return len;
    if (m.options.lag_unit == BURBLE_LAG_TOKENS)
        return tokens;
    for (size_t i = 0; i < len; i++)
        characters += text_of(seq)[i] != '\xA9';
    return characters;
}

static void check_record(const burble_record *record)
{
    const struct model_record *expected = &m.records[record->seq];
    CHECK(record->seq < m.n);
    CHECK(record->len == expected->len && record->tokens == expected->tokens);
    CHECK(memcmp(record->text, text_of(record->seq), record->len) == 0);
}

/* Nobody needs it any more: not a reader that stands before it, nor one that was handed it last, nor
 * who comes later. */
static void on_release(const burble_record *record, void *arg)
{
    CHECK(arg == &m);
    check_record(record);
    CHECK(!m.records[record->seq].released);
    m.records[record->seq].released = true;
    for (size_t i = 0; i < READERS; i++) {
        const struct model_reader *reader = &m.readers[i];
        if (reader->reader == NULL || reader == m.called)
            continue;
        CHECK(reader->dropped || reader->end != 0 || record->seq < reader->seq);
        CHECK(!reader->holds || record->seq != reader->seq - 1);
    }
}

/* ---- what the model says ------------------------------------------------------------------------ */

static uint64_t consumed_by(const struct model_reader *reader)
{
    uint64_t weight = 0;
    for (uint64_t seq = 0; seq < reader->seq; seq++)
        weight += m.records[seq].weight;
    return weight;
}

static bool is_full(const struct model_reader *reader, bool drop, uint64_t weight)
{
    const uint64_t lag = m.written - consumed_by(reader);
    return reader->reader != NULL && reader->max > 0 && reader->drop == drop && !reader->dropped
           && lag > 0 && lag + weight > reader->max;
}

static bool any_full(uint64_t weight)
{
    bool full = false;
    for (size_t i = 0; i < READERS; i++)
        full |= is_full(&m.readers[i], false, weight);
    return full;
}

static int end_of_stream(void)
{
    return m.state == BURBLE_ENDED       ? BURBLE_END
           : m.state == BURBLE_CANCELLED ? BURBLE_ECANCELED
                                         : m.code;
}

static int writable(void)
{
    return m.state == BURBLE_OPEN        ? BURBLE_OK
           : m.state == BURBLE_CANCELLED ? BURBLE_ECANCELED
                                         : BURBLE_ECLOSED;
}

static bool has_news(const struct model_reader *reader)
{
    return reader->end != 0 || reader->dropped || reader->interrupted || reader->seq < m.n
           || m.state != BURBLE_OPEN;
}

/* There is news for the parked readers. */
static void expect_calls(void)
{
    for (size_t i = 0; i < READERS; i++)
        if (m.readers[i].armed && has_news(&m.readers[i]))
            m.readers[i].must_call = true;
}

static void close_model(int state, int code, int reason)
{
    m.state = state;
    m.code = code;
    m.reason = reason;
    expect_calls();
}

/* ---- the writer --------------------------------------------------------------------------------- */

static uint64_t text_from(uint64_t seq)
{
    uint64_t bytes = 0;
    for (; seq < m.n; seq++)
        bytes += m.records[seq].len;
    return bytes;
}

/* Retention: what was asked for is there, and not much more. */
static void check_oldest(void)
{
    const uint64_t oldest = burble_stream_oldest(m.stream);
    CHECK(oldest >= m.oldest && oldest <= m.n);
    m.oldest = oldest;
    if (oldest > 0) {
        CHECK(text_from(oldest) >= m.options.keep);
        CHECK(m.options.keep > 0 || m.had_reader);
    }
    /* What waited for a first reader goes with one of the next blocks. */
    if (m.options.keep != BURBLE_KEEP_ALL
        && (m.options.keep > 0 || (m.had_reader && text_from(m.awaited) > BLOCK + LONGEST)))
        CHECK(text_from(oldest) <= m.options.keep + 3 * (BLOCK + LONGEST));
}

static void append(void)
{
    const uint8_t size = next_byte(m.input), how = next_byte(m.input);
    const size_t len = size >= 0xF8   ? (size_t)(size - 0xF7) * 1000
                       : size >= 0xC0 ? size * 4
                                      : size % 16;
    const uint32_t tokens = how / 4 % 8;
    const uint64_t weight = weigh(m.n, len, tokens),
                   deadline = how % 4 == 0 ? PASSED : BURBLE_NO_WAIT;
    int expected = writable();
    if (m.n == RECORDS)
        return;
    if (expected == BURBLE_OK && len > 0 && any_full(weight))
        expected = deadline == PASSED ? BURBLE_ETIMEDOUT : BURBLE_EFULL;
    /* Without anything to wait for, no deadline is the same. */
    const bool plain = how % 4 == 3 && expected != BURBLE_EFULL;
    m.records[m.n] = (struct model_record){len, tokens, weight, false};
    if (expected == BURBLE_OK && len > 0) {
        for (size_t i = 0; i < READERS; i++)
            m.readers[i].dropped |= is_full(&m.readers[i], true, weight);
        m.written += weight;
        m.n++;
    }
    const char *text = text_of(len > 0 && expected == BURBLE_OK ? m.n - 1 : m.n);
    const int result = plain ? burble_stream_append(m.stream, text, len, tokens)
                             : burble_stream_append_until(m.stream, text, len, tokens, deadline);
    CHECK(result == expected);
    CHECK(burble_stream_position(m.stream) == m.n);
    if (expected == BURBLE_OK && len > 0)
        expect_calls();
    check_oldest();
}

static void append_wrong(void)
{
    CHECK(burble_stream_append(m.stream, "", BURBLE_RECORD_MAX + 1, 1) == BURBLE_EINVAL);
    CHECK(burble_stream_append(m.stream, NULL, 1, 1) == BURBLE_EINVAL);
    CHECK(burble_stream_append(m.stream, NULL, 0, 1) == writable());
}

static void wait_for_room(void)
{
    const uint64_t weight = next_byte(m.input);
    int expected = writable();
    if (expected == BURBLE_OK && any_full(weight))
        expected = BURBLE_EFULL;
    CHECK(burble_stream_wait_for_room(m.stream, weight, BURBLE_NO_WAIT) == expected);
    expected = expected == BURBLE_EFULL ? BURBLE_ETIMEDOUT : expected;
    CHECK(burble_stream_wait_for_room(m.stream, weight, PASSED) == expected);
}

static void end(void)
{
    const uint8_t how = next_byte(m.input);
    const int expected = writable();
    if (how % 4 == 0) {
        CHECK(burble_stream_fail(m.stream, how % 8 == 0 ? 0 : 3, "x") == BURBLE_EINVAL);
    } else if (how % 4 == 1) {
        const int reason = how / 4 % 4;
        CHECK(burble_stream_end(m.stream, (burble_reason)reason) == expected);
        if (expected == BURBLE_OK)
            close_model(BURBLE_ENDED, 0, reason);
    } else if (how % 4 == 2) {
        const int code = how >= 128 ? BURBLE_EFAILED : -how;
        const char *message = how % 8 == 2 ? NULL : "what was wrong";
        CHECK(burble_stream_fail(m.stream, code, message) == expected);
        if (expected == BURBLE_OK) {
            m.message = message == NULL ? "" : message;
            close_model(BURBLE_FAILED, code, BURBLE_REASON_NONE);
        }
    } else {
        CHECK(burble_stream_cancel(m.stream) == (expected == BURBLE_OK));
        if (expected == BURBLE_OK)
            close_model(BURBLE_CANCELLED, 0, BURBLE_REASON_NONE);
    }
}

static void check_status(void)
{
    burble_status status;
    burble_stream_status(m.stream, &status);
    CHECK((int)status.state == m.state && status.code == m.code && (int)status.reason == m.reason);
    CHECK(strcmp(status.message, m.message) == 0);
}

/* ---- readers ------------------------------------------------------------------------------------ */

static struct model_reader *pick_reader(void)
{
    return &m.readers[next_byte(m.input) % READERS];
}

/* It lets go of the record that it was handed last. */
static void begin_call(struct model_reader *reader)
{
    m.called = reader;
    reader->holds = false;
}

static void create_reader(void)
{
    struct model_reader *reader = pick_reader();
    const uint8_t where = next_byte(m.input);
    uint64_t from = where, bound = 77, expected_bound = 77;
    int expected = BURBLE_OK;
    if (reader->reader != NULL)
        return;
    const uint64_t oldest = burble_stream_oldest(m.stream);
    uint64_t seq = from;
    if (where >= 0xF0) {
        from = BURBLE_FROM_TAIL;
        seq = m.n;
    } else if (where >= 0xE0) {
        from = BURBLE_FROM_OLDEST;
        seq = oldest;
    } else if (from < oldest) {
        expected = BURBLE_EGONE;
        expected_bound = oldest;
    } else if (from > m.n) {
        expected = BURBLE_EINVAL;
        expected_bound = m.n;
    }
    if (!m.had_reader)
        m.awaited = m.n;
    m.had_reader = true;
    CHECK(burble_reader_create(m.stream, from, &reader->reader, &bound) == expected);
    CHECK(bound == expected_bound);
    CHECK((reader->reader != NULL) == (expected == BURBLE_OK));
    if (expected == BURBLE_OK) {
        burble_reader *const made = reader->reader;
        *reader = (struct model_reader){.reader = made, .seq = seq, .hub = -1};
        CHECK(burble_reader_position(made) == seq);
        m.n_readers++;
    }
}

static void destroy_reader(struct model_reader *reader)
{
    if (reader->reader == NULL)
        return;
    begin_call(reader);
    /* The last one ends it before it goes, where that was asked for. */
    if (--m.n_readers == 0 && m.options.cancel_when_unread && m.state == BURBLE_OPEN)
        close_model(BURBLE_CANCELLED, 0, BURBLE_REASON_NONE);
    burble_reader_destroy(&reader->reader);
    CHECK(reader->reader == NULL);
    *reader = (struct model_reader){.hub = -1};
}

/* Returns what the reader said. */
static int next(struct model_reader *reader)
{
    burble_record record;
    if (reader->reader == NULL)
        return BURBLE_END;
    begin_call(reader);
    int expected = BURBLE_AGAIN;
    if (reader->end != 0)
        expected = reader->end;
    else if (reader->dropped)
        expected = BURBLE_ELAGGED;
    else if (reader->seq < m.n)
        expected = BURBLE_OK;
    else if (m.state != BURBLE_OPEN)
        expected = end_of_stream();
    CHECK(burble_reader_next(reader->reader, &record) == expected);
    if (expected == BURBLE_OK) {
        CHECK(record.seq == reader->seq);
        CHECK(!m.records[record.seq].released);
        check_record(&record);
        reader->seq++;
        reader->holds = true;
    } else if (expected != BURBLE_AGAIN) {
        reader->end = expected;
    }
    CHECK(burble_reader_position(reader->reader) == reader->seq);
    return expected;
}

static void limit(struct model_reader *reader)
{
    const uint8_t how = next_byte(m.input);
    const bool drop = how % 2 == 1;
    const uint64_t max = how / 2 % 4 == 0 ? 0 : how / 8;
    if (reader->reader == NULL)
        return;
    begin_call(reader);
    if (how == 0xFF) {
        CHECK(burble_reader_limit(reader->reader, 1, (burble_on_lag)2) == BURBLE_EINVAL);
        return;
    }
    const int expected = reader->dropped ? BURBLE_ELAGGED : BURBLE_OK;
    CHECK(burble_reader_limit(reader->reader, max, drop ? BURBLE_LAG_DROP : BURBLE_LAG_BLOCK)
          == expected);
    if (expected == BURBLE_OK) {
        reader->max = max;
        reader->drop = drop;
    }
}

static void detached(struct model_reader *reader)
{
    reader->hub = -1;
    reader->armed = reader->must_call = reader->hub_gone = false;
}

static void wait(struct model_reader *reader)
{
    if (reader->reader == NULL)
        return;
    begin_call(reader);
    CHECK(burble_reader_wait(reader->reader, PASSED)
          == (has_news(reader) ? BURBLE_OK : BURBLE_ETIMEDOUT));
    detached(reader);
}

static void interrupt(struct model_reader *reader)
{
    if (reader->reader == NULL)
        return;
    burble_reader_interrupt(reader->reader);
    reader->interrupted = true;
    expect_calls();
}

/* ---- hubs --------------------------------------------------------------------------------------- */

static void on_ready(burble_reader *handle, void *arg);

static void attach(struct model_reader *reader)
{
    const int hub = next_byte(m.input) % (HUBS + 1) - 1;
    if (reader->reader == NULL || (hub >= 0 && m.hubs[hub] == NULL))
        return;
    begin_call(reader);
    CHECK(burble_reader_attach(reader->reader, hub < 0 ? NULL : m.hubs[hub], on_ready, reader)
          == BURBLE_OK);
    detached(reader);
    reader->hub = hub;
}

static void park(struct model_reader *reader)
{
    if (reader->reader == NULL)
        return;
    begin_call(reader);
    const int result = burble_reader_park(reader->reader);
    if (reader->hub < 0 || reader->hub_gone) {
        CHECK(result == BURBLE_EDETACHED);
        return;
    }
    CHECK(result == (has_news(reader) ? BURBLE_OK : BURBLE_AGAIN));
    reader->armed = true; /* if it is not parked, it may still be called */
}

static bool readable(int hub)
{
    struct pollfd fd = {.fd = burble_hub_fd(m.hubs[hub]), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* A hub whose readers have to be called wakes its loop, unless it is held. Within a dispatch it need not:
 * the dispatch itself is about to call those that it has taken. */
static void check_readable(int hub)
{
    bool must = false;
    if (m.dispatching == hub)
        return;
    for (size_t i = 0; i < READERS; i++)
        must |= m.readers[i].must_call && m.readers[i].hub == hub;
    CHECK(!must || m.held[hub] || readable(hub));
}

static void dispatch(int hub, size_t max)
{
    if (m.hubs[hub] == NULL)
        return;
    if (m.dispatching == hub) {
        CHECK(burble_hub_dispatch(m.hubs[hub], max) == 0);
        return;
    }
    if (m.dispatching >= 0)
        return;
    check_readable(hub);
    m.dispatching = hub;
    const size_t called = burble_hub_dispatch(m.hubs[hub], max);
    m.dispatching = -1;
    CHECK(max == 0 || called <= max);
    check_readable(hub);
}

/* All of its readers that had to be called have been, whatever the functions did meanwhile. */
static void dispatch_all(int hub)
{
    if (m.hubs[hub] == NULL || m.dispatching >= 0)
        return;
    for (int round = 0; round < 64; round++) {
        dispatch(hub, 0);
        bool left = false;
        for (size_t i = 0; i < READERS; i++)
            left |= m.readers[i].must_call && m.readers[i].hub == hub;
        if (!left)
            return;
    }
    CHECK(false); /* every reader is called in the end */
}

static void hold_or_release(void)
{
    const uint8_t how = next_byte(m.input);
    const int hub = how % HUBS;
    if (m.hubs[hub] == NULL)
        return;
    m.held[hub] = how >= 128;
    if (m.held[hub])
        burble_hub_hold(m.hubs[hub]);
    else
        burble_hub_release(m.hubs[hub]);
    check_readable(hub);
}

static void destroy_hub(int hub)
{
    if (m.dispatching >= 0)
        return;
    burble_hub_destroy(&m.hubs[hub]);
    CHECK(m.hubs[hub] == NULL);
    for (size_t i = 0; i < READERS; i++) {
        if (m.readers[i].hub == hub) {
            m.readers[i].hub_gone = true;
            m.readers[i].armed = m.readers[i].must_call = false;
        }
    }
}

static void create_hub(int hub)
{
    const burble_hub_options options = {.wake = hub == 0 ? BURBLE_WAKE_BEST : BURBLE_WAKE_PIPE};
    if (m.hubs[hub] != NULL)
        return;
    CHECK(burble_hub_create(&options, &m.hubs[hub]) == BURBLE_OK);
    m.held[hub] = false;
    for (size_t i = 0; i < READERS; i++)
        if (m.readers[i].hub == hub)
            CHECK(m.readers[i].hub_gone);
}

/* ---- all of it ---------------------------------------------------------------------------------- */

static void write_something(uint8_t op)
{
    if (m.stream == NULL)
        return;
    if (op < 10)
        append();
    else if (op == 10)
        wait_for_room();
    else if (op == 11)
        append_wrong();
    else
        create_reader();
    check_status();
}

/* One operation, which a function of a reader may do, too. */
static void step(void)
{
    const uint8_t op = next_byte(m.input) % 32;
    if (op < 15) {
        write_something(op);
    } else if (op < 20) {
        next(pick_reader());
    } else if (op == 20) {
        limit(pick_reader());
    } else if (op == 21) {
        wait(pick_reader());
    } else if (op == 22) {
        attach(pick_reader());
    } else if (op < 25) {
        park(pick_reader());
    } else if (op == 25) {
        dispatch_all(next_byte(m.input) % HUBS);
    } else if (op == 26) {
        dispatch(next_byte(m.input) % HUBS, 1);
    } else if (op == 27) {
        hold_or_release();
    } else if (op == 28) {
        const uint8_t rare = next_byte(m.input);
        if (rare < 64 && m.stream != NULL)
            end();
        else if (rare < 96)
            interrupt(pick_reader());
        else if (rare < 128)
            destroy_hub(rare % HUBS);
        else if (rare < 192)
            create_hub(rare % HUBS);
        else if (rare < 200)
            burble_stream_unref(&m.stream);
    } else if (op == 29) {
        destroy_reader(pick_reader());
    }
    m.called = NULL;
}

static void on_ready(burble_reader *handle, void *arg)
{
    struct model_reader *reader = arg;
    CHECK(reader->reader == handle);
    CHECK(reader->armed && reader->hub == m.dispatching);
    reader->armed = reader->must_call = false;
    const uint8_t how = next_byte(m.input);
    if (how < 128) {
        while (next(reader) == BURBLE_OK) {
        }
        park(reader);
    } else {
        for (int i = 0; i < how % 4; i++)
            step();
    }
    m.called = NULL;
}

static void begin(void)
{
    const uint8_t head = next_byte(m.input), keep = next_byte(m.input);
    burble_stream_options_init(&m.options);
    m.options.cancel_when_unread = (head & 1) != 0;
    m.options.producer_may_exit = (head & 2) != 0;
    m.options.lag_unit = (burble_lag_unit)(head / 4 % 3);
    m.options.keep = keep == 0xFF  ? BURBLE_KEEP_ALL
                     : keep >= 128 ? (uint64_t)(keep - 127) * 100
                                   : 0;
    m.options.release = on_release;
    m.options.release_arg = &m;
    m.message = "";
    m.dispatching = -1;
    for (size_t i = 0; i < READERS; i++)
        m.readers[i].hub = -1;
    CHECK(burble_stream_create(&m.options, &m.stream) == BURBLE_OK);
    create_hub(0);
    create_hub(1);
}

/* Every record was released, once. */
static void finish(void)
{
    for (int hub = 0; hub < HUBS; hub++)
        dispatch_all(hub);
    burble_stream_unref(&m.stream);
    for (size_t i = 0; i < READERS; i++)
        destroy_reader(&m.readers[i]);
    for (int hub = 0; hub < HUBS; hub++)
        burble_hub_destroy(&m.hubs[hub]);
    for (uint64_t seq = 0; seq < m.n; seq++)
        CHECK(m.records[seq].released);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    memset(&m, 0, sizeof m);
    make_pattern();
    m.input = &input;
    begin();
    while (input.left > 0)
        step();
    finish();
    return 0;
}
