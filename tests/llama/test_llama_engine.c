/* SPDX-License-Identifier: MIT
 *
 * An engine's requests: cancelled, held up by their readers, too many, watched.
 */
#define _POSIX_C_SOURCE 200809L

#include "engine_support.h"

#include "../unit/forked.h"

#include <time.h>

/* ---- cancelling ---------------------------------------------------------------------------------- */

static void cancel_running_request_frees_slot_within_a_step(void **state)
{
    burble_reader *reader;
    burble_record record;
    int result;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    burble_stream *stream = stream_and_reader(&reader);
    assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    assert_true(burble_stream_cancel(stream));
    const uint64_t steps = stats_of(engine).steps;
    const burble_llama_stats stats = wait_until_active(engine, 0);
    assert_true(stats.steps <= steps + 1);
    while ((result = burble_reader_next(reader, &record)) == BURBLE_OK) {
    }
    assert_result(result, BURBLE_ECANCELED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

static void cancel_in_prompt_aborts_the_step(void **state)
{
    enum { LONG = 500, TRIES = 100 };
    int32_t ids[LONG];
    unsigned broken_off = 0;
    (void)state;
    for (int i = 0; i < LONG; i++)
        ids[i] = 1 + i;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for("", 1);
    request.ids = ids;
    request.n_ids = LONG;
    for (int i = 0; i < TRIES && broken_off == 0; i++) {
        burble_reader *reader;
        burble_stream *stream = stream_and_reader(&reader);
        const uint64_t steps = stats_of(engine).steps;
        assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
        while (stats_of(engine).active == 0 && stats_of(engine).waiting > 0)
            sched_yield();
        burble_stream_cancel(stream);
        /* Steps that were broken off do not count. That the step has begun is not sure, so there are
         * several tries; that it is over before we come is next to impossible each time. */
        broken_off += wait_until_active(engine, 0).steps == steps;
        burble_reader_destroy(&reader);
        burble_stream_unref(&stream);
    }
    assert_true(broken_off > 0);
    /* And what comes after is as ever. */
    static struct output before;
    static struct output after;
    request = request_for(prompts[0], 10);
    generate(engine, &request, &after);
    burble_llama_engine_destroy(&engine);
    engine = open_engine(model, 1, 0);
    generate(engine, &request, &before);
    assert_same(&after, &before);
    burble_llama_engine_destroy(&engine);
}

static void close_engine_cancels_running_and_queued_requests(void **state)
{
    enum { REQUESTS = 16 };
    burble_reader *readers[REQUESTS];
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 4, REQUESTS);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    for (int i = 0; i < REQUESTS; i++)
        readers[i] = submit(engine, &request);
    assert_result(burble_reader_wait(readers[0], 0), BURBLE_OK); /* it generates */
    burble_llama_engine_destroy(&engine);
    assert_null(engine);
    burble_llama_engine_destroy(&engine);
    burble_llama_engine_destroy(NULL);
    for (int i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &output);
        assert_result(output.end, BURBLE_ECANCELED);
    }
}

static void engine_keeps_its_own_reference_to_model(void **state)
{
    static struct output output;
    (void)state;
    burble_llama_model *own = load_model();
    burble_llama_engine *engine = open_engine(own, 1, 0);
    burble_llama_model_unref(&own);
    const burble_llama_request request = request_for(prompts[0], 5);
    generate(engine, &request, &output);
    assert_int_equal(output.tokens, 5);
    burble_llama_engine_destroy(&engine);
}

/* ---- back-pressure ------------------------------------------------------------------------------- */

/* Hands a request in whose reader may leave `max_lag` tokens unread; the caller owns both. */
static burble_reader *submit_limited_at(struct place at, burble_llama_engine *engine,
                                        const burble_llama_request *request, uint64_t max_lag,
                                        burble_stream **stream)
{
    burble_stream_options options;
    burble_reader *reader;
    burble_stream_options_init(&options);
    options.lag_unit = BURBLE_LAG_TOKENS;
    assert_result_at(at, burble_stream_create(&options, stream), BURBLE_OK);
    assert_result_at(at, burble_reader_create(*stream, 0, &reader, NULL), BURBLE_OK);
    assert_result_at(at, burble_reader_limit(reader, max_lag, BURBLE_LAG_BLOCK), BURBLE_OK);
    assert_result_at(at, burble_llama_engine_submit(engine, request, *stream, NULL), BURBLE_OK);
    return reader;
}
#define submit_limited(...) submit_limited_at(HERE, __VA_ARGS__)

/* Until the engine has generated that many tokens. */
static void wait_for_tokens(burble_llama_engine *engine, uint64_t tokens)
{
    while (stats_of(engine).tokens < tokens)
        sched_yield();
    assert_int_equal(stats_of(engine).tokens, tokens);
}

static void slow_reader_does_not_stall_other_requests(void **state)
{
    enum { REQUESTS = 8, STALLED = 3, MAX_LAG = 5, TOKENS = 40 };
    static struct output alone[REQUESTS];
    static struct output together;
    burble_reader *readers[REQUESTS];
    burble_stream *stream;
    burble_status status;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        const burble_llama_request request = request_for(prompts[i], TOKENS);
        generate(engine, &request, &alone[i]);
    }
    burble_llama_engine_destroy(&engine);
    assert_true(alone[STALLED].records > MAX_LAG);
    engine = open_engine(model, REQUESTS, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        const burble_llama_request request = request_for(prompts[i], TOKENS);
        readers[i] = i == STALLED ? submit_limited(engine, &request, MAX_LAG, &stream)
                                  : submit(engine, &request);
    }
    for (size_t i = 0; i < REQUESTS; i++) {
        if (i != STALLED) {
            read_all(readers[i], &together);
            assert_same(&together, &alone[i]);
        }
    }
    assert_int_equal(wait_until_active(engine, 1).waiting, 0);
    burble_stream_status(stream, &status);
    assert_int_equal(status.state, BURBLE_OPEN);
    assert_int_equal(burble_stream_position(stream), MAX_LAG);
    /* And now it is read. */
    read_all(readers[STALLED], &together);
    assert_same(&together, &alone[STALLED]);
    assert_int_equal(together.records, alone[STALLED].records);
    burble_stream_unref(&stream);
    wait_until_active(engine, 0);
    burble_llama_engine_destroy(&engine);
}

/* The last token's text is held, and the end with it, as nothing is read before. */
static void slow_reader_gets_held_text_before_end(void **state)
{
    static struct output output;
    burble_stream *stream;
    burble_status status;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    const burble_llama_request request = request_for(prompts[0], 2);
    burble_reader *reader = submit_limited(engine, &request, 1, &stream);
    wait_for_tokens(engine, 2);
    burble_stream_status(stream, &status);
    assert_int_equal(status.state, BURBLE_OPEN);
    read_all(reader, &output);
    assert_result(output.end, BURBLE_END);
    assert_int_equal(output.records, 2);
    assert_int_equal(output.tokens, 2);
    burble_stream_status(stream, &status);
    assert_int_equal(status.reason, BURBLE_REASON_LENGTH);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

/* With room for one token, chunks are held again and again, also those that only the end brings. */
static void slow_reader_gets_same_chunks_as_without_limit(void **state)
{
    enum { TOKENS = 24 };
    static struct output whole;
    static struct output expected;
    static struct output limited;
    burble_stream *stream;
    burble_status status;
    char almost[2];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for(prompts[0], TOKENS);
    generate(engine, &request, &whole);
    /* What is met, and what is held back for to the end: the text's last byte could begin it. */
    almost[0] = whole.text[whole.len - 1];
    almost[1] = '\x01';
    const burble_text stops[] = {{whole.text + whole.len / 2, 7}, {almost, 2}};
    for (int choice = 0; choice < 6; choice++) {
        request.chunking = choice % 2 == 0 ? BURBLE_CHUNK_TOKEN : BURBLE_CHUNK_WORD;
        request.stop = choice < 2 ? NULL : &stops[choice / 2 - 1];
        request.n_stop = choice >= 2;
        const burble_reason reason = reason_of(engine, &request, &expected);
        burble_reader *reader = submit_limited(engine, &request, 1, &stream);
        read_all(reader, &limited);
        assert_same(&limited, &expected);
        assert_int_equal(limited.records, expected.records);
        assert_int_equal(limited.tokens, expected.tokens);
        burble_stream_status(stream, &status);
        assert_int_equal(status.reason, reason);
        burble_stream_unref(&stream);
    }
    burble_llama_engine_destroy(&engine);
}

static void cancel_stalled_request_frees_slot(void **state)
{
    enum { MAX_LAG = 3 };
    static struct output output;
    burble_stream *stream;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 1);
    const burble_llama_request request = request_for(prompts[0], 10);
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    wait_for_tokens(engine, MAX_LAG + 1);
    burble_reader *next = submit(engine, &request);
    burble_stream_cancel(stream);
    read_all(next, &output);
    assert_result(output.end, BURBLE_END);
    assert_int_equal(output.tokens, 10);
    read_all(reader, &output);
    assert_result(output.end, BURBLE_ECANCELED);
    assert_int_equal(output.tokens, MAX_LAG);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

static void new_request_beside_stalled_ones_is_started(void **state)
{
    enum { MAX_LAG = 3 };
    static struct output output;
    burble_stream *stream;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    const burble_llama_request request = request_for(prompts[0], 10);
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    wait_for_tokens(engine, MAX_LAG + 1);
    for (int i = 0; i < 3; i++) {
        generate(engine, &request, &output);
        assert_int_equal(output.tokens, 10);
    }
    /* A reader that is destroyed does not delay the others, either. */
    burble_reader_destroy(&reader);
    wait_until_active(engine, 0);
    assert_int_equal(burble_stream_position(stream), 10);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

static void close_engine_with_stalled_requests_does_not_wait(void **state)
{
    enum { SLOTS = 2, REQUESTS = 6, MAX_LAG = 3 };
    static struct output output;
    burble_reader *readers[REQUESTS];
    burble_stream *stream;
    (void)state;
    burble_llama_engine *engine = open_engine(model, SLOTS, REQUESTS);
    const burble_llama_request request = request_for(prompts[0], 10);
    for (int i = 0; i < REQUESTS; i++) {
        if (i == SLOTS)
            wait_for_tokens(engine, (uint64_t)SLOTS * (MAX_LAG + 1));
        readers[i] = submit_limited(engine, &request, MAX_LAG, &stream);
        burble_stream_unref(&stream);
    }
    burble_llama_engine_destroy(&engine);
    for (int i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &output);
        assert_result(output.end, BURBLE_ECANCELED);
        /* Those that waited may have got the slots of the others. */
        assert_true(i < SLOTS ? output.tokens == MAX_LAG : output.tokens <= MAX_LAG);
    }
}

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What the process computes, against the time that passes; with us asleep, all of it is the engine's. */
static void stalled_engine_uses_no_processor_time(void **state)
{
    enum { MAX_LAG = 3 };
    const struct timespec a_while = {0, 300000000};
    burble_stream *stream;
    burble_stream *other;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 1);
    const burble_llama_request request = request_for(prompts[0], 10);
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    wait_for_tokens(engine, MAX_LAG + 1);
    burble_reader *next = submit_limited(engine, &request, MAX_LAG, &other);
    wait_for_tokens(engine, 2 * (MAX_LAG + 1)); /* one has no slot any more, one has it */
    const int64_t passed = nanoseconds(CLOCK_MONOTONIC);
    const int64_t computed = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    nanosleep(&a_while, NULL);
    assert_true((nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - computed) * 5
                < nanoseconds(CLOCK_MONOTONIC) - passed);
    assert_int_equal(stats_of(engine).tokens, 2 * (MAX_LAG + 1));
    burble_reader_destroy(&reader);
    burble_reader_destroy(&next);
    burble_stream_unref(&stream);
    burble_stream_unref(&other);
    burble_llama_engine_destroy(&engine);
}

/* ---- the queue ----------------------------------------------------------------------------------- */

/* With no queue at all, there is never more than one request in. */
static void queue_has_room_once_an_end_was_read(void **state)
{
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    const burble_llama_request request = request_for(prompts[0], 1);
    for (int i = 0; i < 50; i++) {
        generate(engine, &request, &output);
        assert_result(output.end, BURBLE_END);
    }
    burble_llama_engine_destroy(&engine);
}

static void full_queue_refuses_until_there_is_room(void **state)
{
    static struct output output;
    burble_reader *readers[4];
    burble_stream *streams[4];
    burble_error error;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 2);
    burble_llama_request endless = request_for(prompts[0], 0);
    const burble_llama_request shorter = request_for(prompts[0], 3);
    endless.ignore_end = true;
    for (int i = 0; i < 4; i++) {
        streams[i] = stream_and_reader(&readers[i]);
        assert_result(burble_llama_engine_submit(engine, &endless, streams[i], NULL), BURBLE_OK);
    }
    assert_result(try_to_submit(engine, &shorter, &error), BURBLE_EFULL);
    assert_string_equal(error.message, "the queue is full: 2 requests wait for one of 2 slots");
    /* A waiting request is cancelled: there is room for another at once. */
    burble_stream_cancel(streams[3]);
    burble_reader *reader = submit(engine, &shorter);
    for (int i = 0; i < 3; i++)
        burble_stream_cancel(streams[i]);
    read_all(reader, &output);
    assert_result(output.end, BURBLE_END);
    assert_int_equal(output.tokens, 3);
    for (int i = 0; i < 4; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    wait_until_active(engine, 0);
    burble_llama_engine_destroy(&engine);
}

/* ---- watching ------------------------------------------------------------------------------------ */

/* What a request's watcher was told. Written by the engine's thread: to be read once that is joined. */
struct watched {
    uint32_t calls;
    uint32_t overs;
    uint32_t after_over; /* calls that should not have come */
    uint32_t waits;      /* calls while its text waited */
    bool backwards;      /* some number became smaller */
    burble_llama_progress last;
};

static void watch(const burble_llama_progress *progress, void *arg)
{
    struct watched *watched = arg;
    watched->calls++;
    watched->after_over += watched->overs > 0;
    watched->overs += progress->over;
    watched->waits += progress->waits;
    watched->backwards = watched->backwards || progress->tokens < watched->last.tokens
                         || progress->waited < watched->last.waited;
    watched->last = *progress;
}

static void assert_watched_to_the_end_at(struct place at, const struct watched *watched,
                                         uint32_t tokens)
{
    assert_int_equal_at(at, watched->overs, 1);
    assert_int_equal_at(at, watched->after_over, 0);
    assert_false_at(at, watched->backwards);
    assert_int_equal_at(at, watched->last.tokens, tokens);
}
#define assert_watched_to_the_end(...) assert_watched_to_the_end_at(HERE, __VA_ARGS__)

static void progress_reports_each_token_and_end(void **state)
{
    enum { TOKENS = 20, MAX_LAG = 5 };
    static struct output whole;
    static struct output output;
    struct watched plain = {0};
    struct watched slow = {0};
    struct watched stopped = {0};
    burble_stream *stream;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], TOKENS);
    request.watch = watch;
    request.watch_arg = &plain;
    generate(engine, &request, &whole);
    /* Its reader comes only once its text has waited for a while. */
    request.watch_arg = &slow;
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    while (burble_stream_position(stream) < MAX_LAG)
        sched_yield();
    static struct output other;
    const burble_llama_request beside = request_for(prompts[1], TOKENS);
    generate(engine, &beside, &other); /* steps in which that one waits */
    read_all(reader, &output);
    assert_same(&output, &whole);
    burble_stream_unref(&stream);
    /* A stop string, counted in characters. */
    const burble_text stops[] = {{"never to be seen", 16}, {whole.text + whole.len / 2, 4}};
    request.watch_arg = &stopped;
    request.stop = stops;
    request.n_stop = 2;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_STOP);
    wait_until_active(engine, 0);
    burble_llama_engine_destroy(&engine);

    assert_watched_to_the_end(&plain, TOKENS);
    assert_true(plain.calls > TOKENS);
    assert_true(plain.last.prompt_tokens > 0);
    assert_int_equal(plain.last.waited, 0);
    assert_false(plain.last.stopped);
    assert_watched_to_the_end(&slow, TOKENS);
    assert_true(slow.waits > 0);
    assert_true(slow.last.waited > 0);
    assert_false(slow.last.waits);
    assert_watched_to_the_end(&stopped, stopped.last.tokens);
    assert_true(stopped.last.tokens < TOKENS);
    assert_true(stopped.last.stopped);
    assert_int_equal(stopped.last.stop, 1);
    assert_int_equal(stopped.last.stop_begin, output.len); /* the text before it is ASCII */
}

static void progress_reports_cancel_by_close(void **state)
{
    enum { REQUESTS = 4 };
    struct watched watched[REQUESTS] = {{0}};
    struct watched refused = {0};
    burble_reader *readers[REQUESTS];
    burble_error error;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 2);
    burble_llama_request request = request_for(prompts[0], 0);
    request.watch = watch;
    request.watch_arg = &refused;
    request.ignore_end = true;
    request.top_p = -1.0f;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    request.top_p = 1.0f;
    for (int i = 0; i < REQUESTS; i++) {
        request.watch_arg = &watched[i];
        readers[i] = submit(engine, &request);
    }
    request.watch_arg = &refused;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EFULL);
    burble_llama_engine_destroy(&engine); /* two have a slot, two wait for one */
    for (int i = 0; i < REQUESTS; i++) {
        assert_watched_to_the_end(&watched[i], watched[i].last.tokens);
        burble_reader_destroy(&readers[i]);
    }
    assert_int_equal(refused.calls, 0);
}

/* ---- forks --------------------------------------------------------------------------------------- */

struct requests {
    burble_llama_engine *engine;
    burble_reader *readers[4]; /* three generate or wait for a slot, one is at its limit */
};

static int use_the_parents_engine(void *arg)
{
    struct requests *parent = arg;
    burble_llama_stats stats;
    burble_error error;
    burble_record record;
    burble_stream *stream;
    int result = BURBLE_OK;
    const burble_llama_request request = request_for(prompts[0], 5);
    bool well =
        burble_stream_create(NULL, &stream) == BURBLE_OK
        && burble_llama_engine_submit(parent->engine, &request, stream, &error) == BURBLE_ECLOSED;
    burble_llama_engine_stats(parent->engine, &stats);
    well = well && stats.active == 0 && stats.waiting == 0;
    for (int i = 0; i < 4; i++) {
        do {
            while ((result = burble_reader_next(parent->readers[i], &record)) == BURBLE_OK) {
            }
        } while (result == BURBLE_AGAIN && burble_reader_wait(parent->readers[i], 0) == BURBLE_OK);
        /* One that generates may have come to its end before the fork. */
        well = well && (result == BURBLE_EDIED || (i > 0 && result == BURBLE_END));
        burble_reader_destroy(&parent->readers[i]);
    }
    burble_llama_engine_destroy(&parent->engine);
    burble_stream_unref(&stream);
    return well && parent->engine == NULL ? 0 : 1;
}

/* Another request in the place of each that has come to its end: the context is full. */
static void submit_those_that_ended(struct requests *parent, const burble_llama_request *request)
{
    burble_record record;
    for (int i = 1; i < 4; i++) {
        int result;
        do
            result = burble_reader_next(parent->readers[i], &record);
        while (result == BURBLE_OK);
        if (result == BURBLE_AGAIN)
            continue;
        assert_result(result, BURBLE_END);
        burble_reader_destroy(&parent->readers[i]);
        parent->readers[i] = submit(parent->engine, request);
    }
}

static void fork_child_has_closed_engine_and_dead_streams(void **state)
{
    struct requests parent;
    burble_stream *stream;
    static struct output output;
    (void)state;
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    parent.engine = open_engine(model, 2, 4);
    parent.readers[0] = submit_limited(parent.engine, &request, 3, &stream);
    for (int i = 1; i < 4; i++)
        parent.readers[i] = submit(parent.engine, &request);
    for (int i = 0; i < 200; i++) {
        submit_those_that_ended(&parent, &request);
        assert_int_equal(in_child(use_the_parents_engine, &parent), 0);
    }
    burble_llama_engine_destroy(&parent.engine);
    for (int i = 0; i < 4; i++) {
        read_all(parent.readers[i], &output);
        if (i == 0 || output.end != BURBLE_END)
            assert_result(output.end, BURBLE_ECANCELED);
    }
    burble_stream_unref(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancel_running_request_frees_slot_within_a_step),
        cmocka_unit_test(cancel_in_prompt_aborts_the_step),
        cmocka_unit_test(close_engine_cancels_running_and_queued_requests),
        cmocka_unit_test(fork_child_has_closed_engine_and_dead_streams),
        cmocka_unit_test(engine_keeps_its_own_reference_to_model),
        cmocka_unit_test(slow_reader_does_not_stall_other_requests),
        cmocka_unit_test(slow_reader_gets_held_text_before_end),
        cmocka_unit_test(slow_reader_gets_same_chunks_as_without_limit),
        cmocka_unit_test(cancel_stalled_request_frees_slot),
        cmocka_unit_test(new_request_beside_stalled_ones_is_started),
        cmocka_unit_test(close_engine_with_stalled_requests_does_not_wait),
        cmocka_unit_test(stalled_engine_uses_no_processor_time),
        cmocka_unit_test(queue_has_room_once_an_end_was_read),
        cmocka_unit_test(full_queue_refuses_until_there_is_room),
        cmocka_unit_test(progress_reports_each_token_and_end),
        cmocka_unit_test(progress_reports_cancel_by_close),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
