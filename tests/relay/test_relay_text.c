/* SPDX-License-Identifier: MIT
 *
 * Plain text at both ends: a worker whose backend has text and no frames (burble_relay_read_text), and a process that reads an
 * answer as text (burble_relay_play). One relay is both.
 */
#define _GNU_SOURCE
#include "worker_support.h"

static struct redis_server server;
static struct backend backend;

#define BEGIN()                                                                                    \
    (void)state;                                                                                   \
    if (!redis_start(&server, false))                                                              \
    skip()

static void end(burble_relay *relay)
{
    burble_relay_destroy(&relay);
    redis_stop(&server);
}

/* A relay with one answer, whose text is `source`. */
static burble_relay *begin_answer(burble_stream **source)
{
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, NULL, 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    assert_result(burble_stream_create(NULL, source), BURBLE_OK);
    const burble_serve_source one = {.stream = *source};
    assert_result(burble_relay_read_text(relay, backend.jobs[0].stream, &one, 1), BURBLE_OK);
    return relay;
}

static burble_state state_of(burble_stream *stream)
{
    burble_status status;
    burble_stream_status(stream, &status);
    return status.state;
}

/* Plays the answer into a new stream, of which it returns a reader with this limit; 0: none. */
static burble_reader *play(burble_relay *relay, uint32_t choice, uint64_t limit,
                           burble_stream **text)
{
    burble_error error = {.message = ""};
    burble_reader *reader;
    assert_result(burble_stream_create(NULL, text), BURBLE_OK);
    assert_result(burble_reader_create(*text, 0, &reader, NULL), BURBLE_OK);
    if (limit > 0)
        assert_result(burble_reader_limit(reader, limit, BURBLE_LAG_BLOCK), BURBLE_OK);
    assert_result(burble_relay_play(relay, id_of(1), choice, 0, *text, &error), BURBLE_OK);
    return reader;
}

/* Reads up to the end; how many bytes there were. */
static size_t read_all(burble_reader *reader, char *out, size_t room)
{
    burble_record record;
    size_t len = 0;
    int result;
    while ((result = burble_reader_next(reader, &record)) == BURBLE_OK
           || (result == BURBLE_AGAIN
               && burble_reader_wait(reader, burble_now() + 20 * SECOND) != BURBLE_ETIMEDOUT)) {
        if (result == BURBLE_AGAIN)
            continue;
        if (len + record.len < room)
            memcpy(out + len, record.text, record.len);
        len += record.len;
    }
    if (len < room)
        out[len] = '\0';
    return len;
}

static void test_text_of_a_source_is_played(void **state)
{
    burble_stream *source, *text, *late;
    burble_status status;
    char all[64];
    BEGIN();
    burble_relay *relay = begin_answer(&source);
    burble_reader *reader = play(relay, 0, 0, &text);
    assert_result(burble_stream_append(source, "one ", 4, 3), BURBLE_OK);
    assert_result(burble_stream_append(source, "two", 3, 1), BURBLE_OK);
    assert_result(burble_stream_end(source, BURBLE_REASON_LENGTH), BURBLE_OK);
    read_all(reader, all, sizeof all);
    assert_string_equal(all, "one two");
    burble_stream_status(text, &status);
    assert_int_equal(status.state, BURBLE_ENDED);
    assert_int_equal(status.reason, BURBLE_REASON_LENGTH);
    burble_reader_destroy(&reader);
    burble_stream_unref(&text);
    /* begin, two texts, finish, usage */
    UNTIL(has(&server, 1, "state", "ended"));
    assert_int_equal(frames_of(&server, 1), 5);
    reader = play(relay, 0, 0, &late);
    read_all(reader, all, sizeof all);
    assert_string_equal(all, "one two");
    burble_reader_destroy(&reader);
    burble_stream_unref(&late);
    burble_stream_unref(&source);
    end(relay);
}

static void test_slow_reader_of_text_gets_all_of_it(void **state)
{
    enum { PIECES = 400, PIECE = 1000 };
    burble_stream *source, *text;
    char piece[PIECE];
    BEGIN();
    burble_relay *relay = begin_answer(&source);
    burble_reader *reader = play(relay, 0, 2 * PIECE, &text);
    memset(piece, 'x', sizeof piece);
    /* The frames are on their way while the text has no room. */
    for (unsigned i = 0; i < PIECES; i++)
        assert_result(
            burble_stream_append_until(source, piece, sizeof piece, 1, burble_now() + 20 * SECOND),
            BURBLE_OK);
    burble_stream_end(source, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_int_equal(read_all(reader, piece, 0), PIECES * PIECE);
    burble_reader_destroy(&reader);
    burble_stream_unref(&text);
    burble_stream_unref(&source);
    end(relay);
}

static void test_source_of_a_cancelled_answer_is_cancelled(void **state)
{
    burble_stream *source;
    BEGIN();
    burble_relay *relay = begin_answer(&source);
    const struct argument arguments[] = {WORD(id_of(1)), WORD("600000")};
    assert_string_equal(run_script(&server, BURBLE__SCRIPT_CANCEL, arguments, 2), "ok");
    UNTIL(state_of(source) == BURBLE_CANCELLED);
    UNTIL(has(&server, 1, "state", "cancelled"));
    burble_stream_unref(&source);
    end(relay);
}

static void test_sources_of_a_destroyed_relay_are_cancelled(void **state)
{
    burble_stream *source, *text;
    BEGIN();
    burble_relay *relay = begin_answer(&source);
    burble_reader *reader = play(relay, 0, 0, &text);
    burble_relay_destroy(&relay);
    assert_int_equal(state_of(source), BURBLE_CANCELLED);
    burble_status status;
    burble_stream_status(text, &status);
    assert_int_equal(status.state, BURBLE_FAILED);
    assert_int_equal(status.code, BURBLE_ECLOSED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&text);
    burble_stream_unref(&source);
    end(relay);
}

static void test_source_that_fails_fails_text(void **state)
{
    burble_stream *source, *text;
    burble_status status;
    char all[64];
    BEGIN();
    burble_relay *relay = begin_answer(&source);
    burble_reader *reader = play(relay, 0, 0, &text);
    burble_stream_append(source, "one", 3, 1);
    burble_stream_fail(source, BURBLE_EFAILED, "the model is ill");
    read_all(reader, all, sizeof all);
    assert_string_equal(all, "one");
    burble_stream_status(text, &status);
    assert_int_equal(status.state, BURBLE_FAILED);
    assert_int_equal(status.code, BURBLE_EFAILED);
    assert_string_equal(status.message, "the model is ill");
    burble_reader_destroy(&reader);
    burble_stream_unref(&text);
    burble_stream_unref(&source);
    end(relay);
}

static void test_what_is_no_answer_is_refused(void **state)
{
    burble_stream *source, *text;
    burble_error error;
    BEGIN();
    burble_relay *relay = begin_answer(&source);
    const burble_serve_source two[] = {{.stream = source}, {.stream = source}};
    assert_result(burble_relay_read_text(relay, backend.jobs[0].stream, two, 2), BURBLE_EINVAL);
    assert_result(burble_relay_read_text(relay, source, two, 1), BURBLE_EINVAL);
    assert_result(burble_stream_create(NULL, &text), BURBLE_OK);
    assert_result(burble_relay_play(relay, id_of(2), 0, 0, text, &error), BURBLE_EGONE);
    assert_result(burble_relay_play(relay, "short", 0, 0, text, &error), BURBLE_EINVAL);
    assert_int_equal(state_of(text), BURBLE_OPEN);
    burble_stream_unref(&text);
    /* A choice that it does not have. */
    burble_stream_end(source, BURBLE_REASON_STOP);
    burble_reader *reader = play(relay, 1, 0, &text);
    UNTIL(state_of(text) == BURBLE_FAILED);
    burble_status status;
    burble_stream_status(text, &status);
    assert_int_equal(status.code, BURBLE_EINVAL);
    burble_reader_destroy(&reader);
    burble_stream_unref(&text);
    burble_stream_unref(&source);
    end(relay);
}

struct late {
    burble_relay *relay;
    int result;
};

static void *play_late(void *arg)
{
    struct late *late = arg;
    burble_error error = {.message = ""};
    burble_stream *text;
    if (burble_stream_create(NULL, &text) != BURBLE_OK)
        return NULL;
    late->result = burble_relay_play(late->relay, id_of(1), 0, 0, text, &error);
    burble_stream_unref(&text);
    return NULL;
}

static void test_stop_ends_wait_for_redis_that_does_not_answer(void **state)
{
    pthread_t thread;
    BEGIN();
    const burble_relay_options options = options_for(&server);
    struct late late = {.relay = start_worker(&options, &backend, NULL, 2)};
    redis_freeze(&server);
    assert_int_equal(pthread_create(&thread, NULL, play_late, &late), 0);
    burble_relay_stop(late.relay); /* before, while or after it begins to wait: without end */
    burble_relay_stop(late.relay);
    pthread_join(thread, NULL);
    assert_result(late.result, BURBLE_ECLOSED);
    redis_thaw(&server);
    end(late.relay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_of_a_source_is_played),
        cmocka_unit_test(test_slow_reader_of_text_gets_all_of_it),
        cmocka_unit_test(test_source_of_a_cancelled_answer_is_cancelled),
        cmocka_unit_test(test_sources_of_a_destroyed_relay_are_cancelled),
        cmocka_unit_test(test_source_that_fails_fails_text),
        cmocka_unit_test(test_what_is_no_answer_is_refused),
        cmocka_unit_test(test_stop_ends_wait_for_redis_that_does_not_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
