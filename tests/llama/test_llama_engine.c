/* SPDX-License-Identifier: MIT
 *
 * Engines: the same text alone and among others, every end that a request can come to, and bounds.
 */
#define _GNU_SOURCE /* sched_setaffinity */
#define _POSIX_C_SOURCE 200809L

#include "llama_support.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static burble_llama_model *model;

static int load_once(void **state)
{
    (void)state;
    model = load_model();
    return 0;
}

static int unload(void **state)
{
    (void)state;
    burble_llama_model_unref(&model);
    return model != NULL;
}

static burble_llama_stats stats_of(burble_llama *engine)
{
    burble_llama_stats stats;
    burble_llama_get_stats(engine, &stats);
    return stats;
}

/* Until the engine's thread has noticed what happened. The test's time limit is the bound. */
static burble_llama_stats wait_until_active(burble_llama *engine, uint32_t active)
{
    while (stats_of(engine).active != active) {
        sched_yield();
    }
    return stats_of(engine);
}

static void assert_same(const struct output *found, const struct output *expected)
{
    assert_int_equal(found->end, expected->end);
    assert_int_equal(found->len, expected->len);
    assert_memory_equal(found->text, expected->text, expected->len);
}

static burble_reason reason_of(burble_llama *engine, const burble_llama_request *request,
                               struct output *output)
{
    burble_reader *reader;
    burble_status status;
    burble_error error = {0};
    burble_stream *stream = new_stream(&reader);
    if (burble_llama_submit(engine, request, stream, &error) != BURBLE_OK) {
        fail_msg("%s", error.message);
    }
    read_all(reader, output);
    burble_stream_status(stream, &status);
    burble_stream_unref(&stream);
    assert_int_equal(output->end, BURBLE_END);
    return status.reason;
}

/* ---- text ---------------------------------------------------------------------------------------- */

enum { CROWD = 64 };

static burble_llama_request of_the_crowd(size_t i)
{
    return request_for(prompts[i % PROMPTS], (uint32_t)(4 + i * 7 % 29));
}

static void sixty_four_at_once_have_the_text_that_each_has_alone(void **state)
{
    static struct output alone[CROWD];
    static struct output together;
    burble_reader *readers[CROWD];
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < CROWD; i++) {
        const burble_llama_request request = of_the_crowd(i);
        generate(engine, &request, &alone[i]);
    }
    burble_llama_close(&engine);
    engine = open_engine(model, CROWD, 0);
    for (size_t i = 0; i < CROWD; i++) {
        const burble_llama_request request = of_the_crowd(i);
        readers[i] = submit(engine, &request);
    }
    for (size_t i = 0; i < CROWD; i++) {
        read_all(readers[i], &together);
        assert_same(&together, &alone[i]);
    }
    burble_llama_close(&engine);
}

static void requests_that_come_and_go_do_not_disturb_each_other(void **state)
{
    enum { REQUESTS = 24 };
    static struct output alone[REQUESTS];
    static struct output together;
    burble_reader *readers[REQUESTS];
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        const burble_llama_request request = of_the_crowd(i);
        generate(engine, &request, &alone[i]);
    }
    burble_llama_close(&engine);
    engine = open_engine(model, 3, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) {
        const burble_llama_request request = of_the_crowd(i);
        readers[i] = submit(engine, &request);
    }
    for (size_t i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &together);
        assert_same(&together, &alone[i]);
    }
    const burble_llama_stats stats = wait_until_active(engine, 0);
    assert_int_equal(stats.requests, REQUESTS);
    assert_int_equal(stats.waiting, 0);
    burble_llama_close(&engine);
}

/* A prompt that needs many steps to come in, as those take few tokens of it each. */
static void a_prompt_in_parts_makes_the_text_that_it_makes_whole(void **state)
{
    static struct output whole;
    static struct output parts;
    burble_llama_options options;
    burble_llama *engine = open_engine(model, 2, 0);
    (void)state;
    const burble_llama_request request = request_for(prompts[PROMPTS - 1], 20);
    generate(engine, &request, &whole);
    burble_llama_close(&engine);
    burble_llama_options_init(&options);
    options.batch = 3;
    options.threads = 1;
    assert_int_equal(burble_llama_open(model, &options, &engine, NULL), BURBLE_OK);
    generate(engine, &request, &parts);
    assert_true(stats_of(engine).steps > 20 + 10);
    assert_same(&parts, &whole);
    burble_llama_close(&engine);
}

static void ids_and_text_are_the_same_prompt(void **state)
{
    static struct output of_text;
    static struct output of_ids;
    int32_t ids[64];
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[1], 12);
    generate(engine, &request, &of_text);
    assert_int_equal(burble_llama_tokenize(model, prompts[1], strlen(prompts[1]), false, ids, 64,
                                           &request.n_ids),
                     BURBLE_OK);
    request.ids = ids;
    generate(engine, &request, &of_ids);
    assert_same(&of_ids, &of_text);
    burble_llama_close(&engine);
}

/* The text goes on from the prompt's bytes: half a character there is a part of it. */
static void what_a_prompt_leaves_incomplete_is_finished(void **state)
{
    static struct output output;
    int32_t ids[64];
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for("", 4);
    assert_int_equal(burble_llama_tokenize(model, "caf\xC3\xA9", 5, false, ids, 64, &request.n_ids),
                     BURBLE_OK);
    request.ids = ids;
    request.n_ids--;
    generate(engine, &request, &output);
    /* The model has never seen such bytes, and does not go on with one. */
    assert_true(output.len > 3);
    assert_memory_equal(output.text, "\xEF\xBF\xBD", 3);
    burble_llama_close(&engine);
}

static void a_chunk_comes_with_each_token(void **state)
{
    static struct output output;
    static struct output words;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 20);
    generate(engine, &request, &output);
    assert_int_equal(output.tokens, 20);
    assert_int_equal(output.records, 20);
    request.chunking = BURBLE_CHUNK_WORD;
    generate(engine, &request, &words);
    assert_same(&words, &output);
    assert_int_equal(words.tokens, 20);
    assert_true(words.records < 20);
    burble_llama_close(&engine);
}

/* ---- sampling ------------------------------------------------------------------------------------ */

static void the_coldest_is_greedy(void **state)
{
    static const float cold[] = {1e-6f, 1e-30f, 1e-37f, 1e-38f,
                                 1e-45f}; /* the last are not normal */
    static struct output greedy;
    static struct output found;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 30);
    generate(engine, &request, &greedy);
    for (size_t i = 0; i < sizeof cold / sizeof cold[0]; i++) {
        for (uint32_t seed = 0; seed < 3; seed++) {
            request.temperature = cold[i];
            request.top_p = seed == 2 ? 0.9f : 1.0f;
            request.seed = seed;
            generate(engine, &request, &found);
            assert_same(&found, &greedy);
        }
    }
    burble_llama_close(&engine);
}

static void a_seed_decides_what_chance_does(void **state)
{
    static struct output first;
    static struct output again;
    static struct output other;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 30);
    request.temperature = 0.9f;
    request.top_k = 50;
    request.top_p = 0.95f;
    request.min_p = 0.01f;
    request.seed = 7;
    generate(engine, &request, &first);
    generate(engine, &request, &again);
    assert_same(&again, &first);
    request.seed = 8;
    generate(engine, &request, &other);
    assert_true(other.len != first.len || memcmp(other.text, first.text, first.len) != 0);
    burble_llama_close(&engine);
}

static void whoever_leaves_only_the_likeliest_is_greedy(void **state)
{
    static struct output greedy;
    static struct output narrow;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 25);
    generate(engine, &request, &greedy);
    request.temperature = 1.5f;
    request.top_k = 1;
    generate(engine, &request, &narrow);
    assert_same(&narrow, &greedy);
    request.top_k = 0;
    request.top_p = 1e-6f;
    generate(engine, &request, &narrow);
    assert_same(&narrow, &greedy);
    request.top_p = 1.0f;
    request.min_p = 1.0f;
    generate(engine, &request, &narrow);
    assert_same(&narrow, &greedy);
    burble_llama_close(&engine);
}

/* ---- ends ---------------------------------------------------------------------------------------- */

static void a_stop_string_ends_the_text_before_it(void **state)
{
    static struct output whole;
    static struct output output;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 40);
    assert_int_equal(reason_of(engine, &request, &whole), BURBLE_REASON_LENGTH);
    /* From the middle of the text, so that it begins and ends within tokens. */
    const burble_text stop[] = {{"never to be seen", 16}, {whole.text + whole.len / 2, 7}};
    char *const needle = strndup(stop[1].bytes, stop[1].len);
    assert_non_null(needle);
    whole.text[whole.len] = '\0';
    const size_t before = (size_t)(strstr(whole.text, needle) - whole.text);
    request.stop = stop;
    request.n_stop = 2;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_STOP);
    assert_int_equal(output.len, before);
    assert_memory_equal(output.text, whole.text, before);
    request.include_stop = true;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_STOP);
    assert_int_equal(output.len, before + stop[1].len);
    assert_memory_equal(output.text, whole.text, output.len);
    /* What was held back for a stop string that does not come. */
    const burble_text other = {"never", 5};
    request.stop = &other;
    request.n_stop = 1;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_LENGTH);
    assert_same(&output, &whole);
    free(needle);
    burble_llama_close(&engine);
}

static void the_context_ends_a_text_that_nothing_else_ends(void **state)
{
    static struct output output;
    burble_llama_options options;
    burble_llama *engine;
    int32_t ids[64];
    size_t n;
    (void)state;
    burble_llama_options_init(&options);
    options.slots = 2;
    options.threads = 1;
    options.context = 48;
    assert_int_equal(burble_llama_open(model, &options, &engine, NULL), BURBLE_OK);
    burble_llama_request request = request_for(prompts[3], 0);
    request.ignore_end = true;
    assert_int_equal(
        burble_llama_tokenize(model, prompts[3], strlen(prompts[3]), false, ids, 64, &n),
        BURBLE_OK);
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_LENGTH);
    assert_int_equal(output.tokens, 48 - n);
    request.max_tokens = 1000;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_LENGTH);
    assert_int_equal(output.tokens, 48 - n);
    burble_llama_close(&engine);
}

static void the_whole_context_can_be_used(void **state)
{
    static struct output output;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for("a", 0);
    request.ignore_end = true;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_LENGTH);
    assert_int_equal(output.tokens, 511);
    int32_t ids[511] = {0};
    request = request_for("", 0);
    request.ids = ids;
    request.n_ids = 511;
    request.ignore_end = true;
    request.skip_special = false;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_LENGTH);
    assert_int_equal(output.tokens, 1);
    burble_llama_close(&engine);
}

/* ---- cancelling ---------------------------------------------------------------------------------- */

static void cancelling_frees_the_slot_within_a_step(void **state)
{
    burble_reader *reader;
    burble_record record;
    int result;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    burble_stream *stream = new_stream(&reader);
    assert_int_equal(burble_llama_submit(engine, &request, stream, NULL), BURBLE_OK);
    assert_int_equal(burble_reader_wait(reader, 0), BURBLE_OK);
    assert_true(burble_stream_cancel(stream));
    const uint64_t steps = stats_of(engine).steps;
    const burble_llama_stats stats = wait_until_active(engine, 0);
    assert_true(stats.steps <= steps + 1);
    while ((result = burble_reader_next(reader, &record)) == BURBLE_OK) {
    }
    assert_int_equal(result, BURBLE_ECANCELED);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_llama_close(&engine);
}

static void a_prompt_is_broken_off_in_the_middle_of_a_step(void **state)
{
    enum { LONG = 500, TRIES = 100 };
    int32_t ids[LONG];
    unsigned broken_off = 0;
    (void)state;
    for (int i = 0; i < LONG; i++) {
        ids[i] = 1 + i;
    }
    burble_llama *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for("", 1);
    request.ids = ids;
    request.n_ids = LONG;
    for (int i = 0; i < TRIES && broken_off == 0; i++) {
        burble_reader *reader;
        burble_stream *stream = new_stream(&reader);
        const uint64_t steps = stats_of(engine).steps;
        assert_int_equal(burble_llama_submit(engine, &request, stream, NULL), BURBLE_OK);
        while (stats_of(engine).active == 0 && stats_of(engine).waiting > 0) {
            sched_yield();
        }
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
    burble_llama_close(&engine);
    engine = open_engine(model, 1, 0);
    generate(engine, &request, &before);
    assert_same(&after, &before);
    burble_llama_close(&engine);
}

static void closing_cancels_everything(void **state)
{
    enum { REQUESTS = 16 };
    burble_reader *readers[REQUESTS];
    static struct output output;
    (void)state;
    burble_llama *engine = open_engine(model, 4, REQUESTS);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    for (int i = 0; i < REQUESTS; i++) {
        readers[i] = submit(engine, &request);
    }
    assert_int_equal(burble_reader_wait(readers[0], 0), BURBLE_OK); /* it generates */
    burble_llama_close(&engine);
    assert_null(engine);
    burble_llama_close(&engine);
    burble_llama_close(NULL);
    for (int i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &output);
        assert_int_equal(output.end, BURBLE_ECANCELED);
    }
}

static void an_engine_outlives_its_callers_reference_to_the_model(void **state)
{
    static struct output output;
    (void)state;
    burble_llama_model *own = load_model();
    burble_llama *engine = open_engine(own, 1, 0);
    burble_llama_model_unref(&own);
    const burble_llama_request request = request_for(prompts[0], 5);
    generate(engine, &request, &output);
    assert_int_equal(output.tokens, 5);
    burble_llama_close(&engine);
}

/* ---- back-pressure ------------------------------------------------------------------------------- */

/* Hands a request in whose reader may leave `max_lag` tokens unread; the caller owns both. */
static burble_reader *submit_limited(burble_llama *engine, const burble_llama_request *request,
                                     uint64_t max_lag, burble_stream **stream)
{
    burble_stream_options options;
    burble_reader *reader;
    burble_stream_options_init(&options);
    options.lag_unit = BURBLE_LAG_TOKENS;
    assert_int_equal(burble_stream_create(&options, stream), BURBLE_OK);
    assert_int_equal(burble_reader_create(*stream, 0, &reader, NULL), BURBLE_OK);
    assert_int_equal(burble_reader_limit(reader, max_lag, BURBLE_LAG_BLOCK), BURBLE_OK);
    assert_int_equal(burble_llama_submit(engine, request, *stream, NULL), BURBLE_OK);
    return reader;
}

/* Until the engine has generated that many tokens. */
static void wait_for_tokens(burble_llama *engine, uint64_t tokens)
{
    while (stats_of(engine).tokens < tokens) {
        sched_yield();
    }
    assert_int_equal(stats_of(engine).tokens, tokens);
}

static void a_reader_that_stops_does_not_hold_up_the_others(void **state)
{
    enum { REQUESTS = 8, STALLED = 3, MAX_LAG = 5, TOKENS = 40 };
    static struct output alone[REQUESTS];
    static struct output together;
    burble_reader *readers[REQUESTS];
    burble_stream *stream;
    burble_status status;
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        const burble_llama_request request = request_for(prompts[i], TOKENS);
        generate(engine, &request, &alone[i]);
    }
    burble_llama_close(&engine);
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
    burble_llama_close(&engine);
}

/* The last token's text is held, and the end with it, as nothing is read before. */
static void an_end_comes_after_the_text_that_was_held(void **state)
{
    static struct output output;
    burble_stream *stream;
    burble_status status;
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
    const burble_llama_request request = request_for(prompts[0], 2);
    burble_reader *reader = submit_limited(engine, &request, 1, &stream);
    wait_for_tokens(engine, 2);
    burble_stream_status(stream, &status);
    assert_int_equal(status.state, BURBLE_OPEN);
    read_all(reader, &output);
    assert_int_equal(output.end, BURBLE_END);
    assert_int_equal(output.records, 2);
    assert_int_equal(output.tokens, 2);
    burble_stream_status(stream, &status);
    assert_int_equal(status.reason, BURBLE_REASON_LENGTH);
    burble_stream_unref(&stream);
    burble_llama_close(&engine);
}

/* With room for one token, chunks are held again and again, also those that only the end brings. */
static void held_chunks_are_the_chunks_that_there_are_without_a_limit(void **state)
{
    enum { TOKENS = 24 };
    static struct output whole;
    static struct output expected;
    static struct output limited;
    burble_stream *stream;
    burble_status status;
    char almost[2];
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
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
    burble_llama_close(&engine);
}

static void cancelling_frees_the_slot_of_one_that_stands_still(void **state)
{
    enum { MAX_LAG = 3 };
    static struct output output;
    burble_stream *stream;
    (void)state;
    burble_llama *engine = open_engine(model, 1, 1);
    const burble_llama_request request = request_for(prompts[0], 10);
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    wait_for_tokens(engine, MAX_LAG + 1);
    burble_reader *next = submit(engine, &request);
    burble_stream_cancel(stream);
    read_all(next, &output);
    assert_int_equal(output.end, BURBLE_END);
    assert_int_equal(output.tokens, 10);
    read_all(reader, &output);
    assert_int_equal(output.end, BURBLE_ECANCELED);
    assert_int_equal(output.tokens, MAX_LAG);
    burble_stream_unref(&stream);
    burble_llama_close(&engine);
}

static void whoever_comes_is_let_in_beside_those_who_stand_still(void **state)
{
    enum { MAX_LAG = 3 };
    static struct output output;
    burble_stream *stream;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    const burble_llama_request request = request_for(prompts[0], 10);
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    wait_for_tokens(engine, MAX_LAG + 1);
    for (int i = 0; i < 3; i++) {
        generate(engine, &request, &output);
        assert_int_equal(output.tokens, 10);
    }
    /* A reader that goes away holds nobody back, either. */
    burble_reader_destroy(&reader);
    wait_until_active(engine, 0);
    assert_int_equal(burble_stream_position(stream), 10);
    burble_stream_unref(&stream);
    burble_llama_close(&engine);
}

static void closing_does_not_wait_for_those_who_stand_still(void **state)
{
    enum { SLOTS = 2, REQUESTS = 6, MAX_LAG = 3 };
    static struct output output;
    burble_reader *readers[REQUESTS];
    burble_stream *stream;
    (void)state;
    burble_llama *engine = open_engine(model, SLOTS, REQUESTS);
    const burble_llama_request request = request_for(prompts[0], 10);
    for (int i = 0; i < REQUESTS; i++) {
        readers[i] = submit_limited(engine, &request, MAX_LAG, &stream);
        burble_stream_unref(&stream);
    }
    wait_for_tokens(engine, (uint64_t)SLOTS * (MAX_LAG + 1));
    burble_llama_close(&engine);
    for (int i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &output);
        assert_int_equal(output.end, BURBLE_ECANCELED);
        assert_int_equal(output.tokens, i < SLOTS ? MAX_LAG : 0);
    }
}

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What the process computes, against the time that passes; with us asleep, all of it is the engine's. */
static void an_engine_that_stands_still_does_not_spin(void **state)
{
    enum { MAX_LAG = 3 };
    const struct timespec a_while = {0, 300000000};
    burble_stream *stream;
    (void)state;
    burble_llama *engine = open_engine(model, 1, 1);
    const burble_llama_request request = request_for(prompts[0], 10);
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    wait_for_tokens(engine, MAX_LAG + 1);
    burble_reader *next = submit(engine, &request); /* it must wait, too */
    const int64_t passed = nanoseconds(CLOCK_MONOTONIC);
    const int64_t computed = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    nanosleep(&a_while, NULL);
    assert_true((nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - computed) * 5
                < nanoseconds(CLOCK_MONOTONIC) - passed);
    assert_int_equal(stats_of(engine).tokens, MAX_LAG + 1);
    burble_reader_destroy(&reader);
    burble_reader_destroy(&next);
    burble_stream_unref(&stream);
    burble_llama_close(&engine);
}

/* ---- bounds -------------------------------------------------------------------------------------- */

static int try_to_submit(burble_llama *engine, const burble_llama_request *request,
                         burble_error *error)
{
    burble_reader *reader;
    burble_status status;
    burble_stream *stream = new_stream(&reader);
    const int result = burble_llama_submit(engine, request, stream, error);
    burble_stream_status(stream, &status);
    if (result != BURBLE_OK) {
        assert_int_equal(status.state, BURBLE_OPEN);
    }
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    return result;
}

/* With no queue at all, there is never more than one request in. */
static void whoever_has_seen_an_end_finds_room(void **state)
{
    static struct output output;
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
    const burble_llama_request request = request_for(prompts[0], 1);
    for (int i = 0; i < 50; i++) {
        generate(engine, &request, &output);
        assert_int_equal(output.end, BURBLE_END);
    }
    burble_llama_close(&engine);
}

static void a_full_queue_refuses_and_takes_again(void **state)
{
    static struct output output;
    burble_reader *readers[4];
    burble_stream *streams[4];
    burble_error error;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 2);
    burble_llama_request endless = request_for(prompts[0], 0);
    const burble_llama_request shorter = request_for(prompts[0], 3);
    endless.ignore_end = true;
    for (int i = 0; i < 4; i++) {
        streams[i] = new_stream(&readers[i]);
        assert_int_equal(burble_llama_submit(engine, &endless, streams[i], NULL), BURBLE_OK);
    }
    assert_int_equal(try_to_submit(engine, &shorter, &error), BURBLE_EFULL);
    assert_string_equal(error.message, "expected fewer than 2 requests to wait for one of 2 slots, "
                                       "found as many");
    /* One of those who wait goes: there is room for another at once. */
    burble_stream_cancel(streams[3]);
    burble_reader *reader = submit(engine, &shorter);
    for (int i = 0; i < 3; i++) {
        burble_stream_cancel(streams[i]);
    }
    read_all(reader, &output);
    assert_int_equal(output.end, BURBLE_END);
    assert_int_equal(output.tokens, 3);
    for (int i = 0; i < 4; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    wait_until_active(engine, 0);
    burble_llama_close(&engine);
}

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

static void assert_watched_to_the_end(const struct watched *watched, uint32_t tokens)
{
    assert_int_equal(watched->overs, 1);
    assert_int_equal(watched->after_over, 0);
    assert_false(watched->backwards);
    assert_int_equal(watched->last.tokens, tokens);
}

static void whoever_watches_is_told_each_token_and_the_end(void **state)
{
    enum { TOKENS = 20, MAX_LAG = 5 };
    static struct output whole;
    static struct output output;
    struct watched plain = {0};
    struct watched slow = {0};
    struct watched stopped = {0};
    burble_stream *stream;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], TOKENS);
    request.watch = watch;
    request.watch_arg = &plain;
    generate(engine, &request, &whole);
    /* Its reader comes only once its text has waited for a while. */
    request.watch_arg = &slow;
    burble_reader *reader = submit_limited(engine, &request, MAX_LAG, &stream);
    while (burble_stream_position(stream) < MAX_LAG) {
        sched_yield();
    }
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
    burble_llama_close(&engine);

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

static void whoever_watches_is_told_when_all_is_given_up(void **state)
{
    enum { REQUESTS = 4 };
    struct watched watched[REQUESTS] = {{0}};
    struct watched refused = {0};
    burble_reader *readers[REQUESTS];
    burble_error error;
    (void)state;
    burble_llama *engine = open_engine(model, 2, 2);
    burble_llama_request request = request_for(prompts[0], 0);
    request.watch = watch;
    request.ignore_end = true;
    for (int i = 0; i < REQUESTS; i++) {
        request.watch_arg = &watched[i];
        readers[i] = submit(engine, &request);
    }
    request.watch_arg = &refused;
    assert_int_equal(try_to_submit(engine, &request, &error), BURBLE_EFULL);
    request.prompt_len = 0;
    assert_int_equal(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    burble_llama_close(&engine); /* two have a slot, two wait for one */
    for (int i = 0; i < REQUESTS; i++) {
        assert_watched_to_the_end(&watched[i], watched[i].last.tokens);
        burble_reader_destroy(&readers[i]);
    }
    assert_int_equal(refused.calls, 0);
}

static void refuses(burble_llama *engine, const burble_llama_request *request, const char *message)
{
    burble_error error = {0};
    assert_int_equal(try_to_submit(engine, request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, message);
}

static void a_request_out_of_its_range_is_refused(void **state)
{
    int32_t ids[600] = {0};
    (void)state;
    burble_llama *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for("", 1);
    refuses(engine, &request, "prompt: expected at least 1 token, found none");
    request.prompt = NULL;
    request.prompt_len = 3;
    refuses(engine, &request, "prompt: expected at most 1 GiB of text, found NULL");
    request.ids = ids;
    request.n_ids = 512;
    refuses(engine, &request,
            "prompt: expected at most 511 tokens, as the context is 512, found 512");
    request.n_ids = 3;
    ids[2] = 2048;
    refuses(engine, &request, "prompt: token 2: expected an id from 0 to 2047, found 2048");
    ids[2] = -1;
    refuses(engine, &request, "prompt: token 2: expected an id from 0 to 2047, found -1");

    request = request_for("caf\xC3\xA9 \xF4\x90\x80\x80", 1);
    refuses(engine, &request, "prompt: expected UTF-8, found byte 0xf4 at 6");

    char long_text[4001];
    memset(long_text, 'z', 4000);
    long_text[4000] = '\0';
    request = request_for(long_text, 1);
    burble_error error;
    assert_int_equal(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_non_null(strstr(error.message, "prompt: expected at most 511 tokens"));

    request = request_for("a", 1);
    request.temperature = -1;
    refuses(engine, &request, "temperature: expected 0 to 100, found -1");
    request = request_for("a", 1);
    request.top_p = 0;
    refuses(engine, &request, "top_p: expected above 0, at most 1, found 0");
    request = request_for("a", 1);
    request.min_p = 2;
    refuses(engine, &request, "min_p: expected 0 to 1, found 2");
    request = request_for("a", 1);
    request.chunking = (burble_chunking)99;
    refuses(engine, &request, "chunking: expected a known rule, found 99");
    request = request_for("a", 1);
    request.stop = &(burble_text){"", 0};
    request.n_stop = 1;
    assert_int_equal(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_int_equal(stats_of(engine).requests, 0);
    burble_llama_close(&engine);
}

/* Text that is too long by far is not tokenized: a context of 64 tokens of 64 bytes each, and 4096 bytes
 * more, is what may yet fit, although all that is said of it then is how many tokens it has. */
static void a_prompt_that_cannot_fit_is_refused_unseen(void **state)
{
    enum { MOST = 64 * 64 + 4096, FAR = 64 << 20 };
    burble_llama *engine;
    burble_llama_options options;
    burble_error error;
    int32_t ids[1];
    size_t n;
    char expected[200];
    (void)state;
    char *text = malloc(FAR);
    assert_non_null(text);
    memset(text, 'z', FAR);
    burble_llama_options_init(&options);
    options.slots = 1;
    options.context = 64;
    options.threads = 1;
    assert_int_equal(burble_llama_open(model, &options, &engine, NULL), BURBLE_OK);
    burble_llama_request request = request_for("", 1);
    request.prompt = text;

    request.prompt_len = MOST;
    assert_int_equal(burble_llama_tokenize(model, text, MOST, false, ids, 0, &n), BURBLE_EFULL);
    snprintf(expected, sizeof expected,
             "prompt: expected at most 63 tokens, as the context is 64, found %zu", n);
    assert_int_equal(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, expected);
    request.prompt_len = MOST + 1;
    refuses(engine, &request,
            "prompt: expected at most 63 tokens, as the context is 64, found more: 8193 bytes of "
            "text");
    request.prompt_len = FAR;
    refuses(engine, &request,
            "prompt: expected at most 63 tokens, as the context is 64, found more: 67108864 bytes "
            "of text");
    burble_llama_close(&engine);
    free(text);
}

static void engine_refuses(const burble_llama_options *options, const char *message)
{
    burble_llama *engine = (burble_llama *)&message;
    burble_error error = {0};
    assert_int_equal(burble_llama_open(model, options, &engine, &error), BURBLE_EINVAL);
    assert_null(engine);
    assert_string_equal(error.message, message);
}

static void an_engine_out_of_its_range_is_refused(void **state)
{
    burble_llama_options options;
    (void)state;
    burble_llama_options_init(&options);
    options.slots = 257;
    engine_refuses(&options, "slots: expected 1 to 256, found 257");
    burble_llama_options_init(&options);
    options.context = 1;
    engine_refuses(&options,
                   "context: expected 2 to 512, what the model was trained with, found 1");
    options.context = 513;
    engine_refuses(&options,
                   "context: expected 2 to 512, what the model was trained with, found 513");
    burble_llama_options_init(&options);
    options.batch = 0;
    engine_refuses(&options, "batch: expected 1 to 65536, found 0");
    burble_llama_options_init(&options);
    options.threads = 513;
    engine_refuses(&options, "threads: expected 1 to 512, found 513");
}

#ifdef __linux__
/* How many threads the process has. One that was joined is seen a moment longer. */
static int threads(void)
{
    int n = 0;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
        n += task->d_name[0] != '.';
    }
    closedir(tasks);
    return n;
}
#endif

static void there_is_a_thread_for_each_processor_that_may_be_used(void **state)
{
    (void)state;
#ifdef __linux__
    cpu_set_t all;
    cpu_set_t one;
    burble_llama *engine;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (size_t i = 0; CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
        }
    }
    const int before = threads();
    assert_int_equal(burble_llama_open(model, NULL, &engine, NULL), BURBLE_OK);
    const int with_all = threads();
    burble_llama_close(&engine);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    const int result = burble_llama_open(model, NULL, &engine, NULL);
    const int with_one = threads();
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(result, BURBLE_OK);
    burble_llama_close(&engine);
    assert_int_equal(with_all - before, CPU_COUNT(&all));
    assert_int_equal(with_one - before, 1);
#else
    skip();
#endif
}

/* In a process of its own, whose memory is bounded. (The sanitizers take theirs from the same.) */
static void an_engine_that_memory_is_too_short_for_is_refused(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)state;
    skip();
#else
    int status;
    (void)state;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {(rlim_t)800 << 20, (rlim_t)800 << 20};
        burble_llama_options options;
        burble_llama *engine;
        burble_error error = {0};
        burble_llama_options_init(&options);
        options.slots = 256; /* which take 1 GB */
        options.cache_f32 = true;
        setrlimit(RLIMIT_AS, &limit);
        const int result = burble_llama_open(model, &options, &engine, &error);
        const char *expected = "expected room for 256 slots of 512 tokens: ";
        _exit(result == BURBLE_ENOMEM && engine == NULL
                      && strncmp(error.message, expected, strlen(expected)) == 0
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
#endif
}

/* Likewise: there is memory for the engine, not for as many stacks. */
static void an_engine_whose_threads_cannot_be_made_is_refused(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)state;
    skip();
#else
    enum { THREADS = 512, POSSIBLE = 200 };
    int status;
    size_t stack;
    pthread_attr_t usual;
    (void)state;
    assert_int_equal(pthread_attr_init(&usual), 0);
    assert_int_equal(pthread_attr_getstacksize(&usual, &stack), 0);
    pthread_attr_destroy(&usual);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const rlim_t bytes = ((rlim_t)1 << 30) + POSSIBLE * (rlim_t)stack;
        const struct rlimit limit = {bytes, bytes};
        burble_llama_options options;
        burble_llama *engine;
        burble_error error = {0};
        burble_llama_options_init(&options);
        options.slots = 1;
        options.threads = THREADS;
        setrlimit(RLIMIT_AS, &limit);
        const int result = burble_llama_open(model, &options, &engine, &error);
        const int reason = errno;
        const bool refused = result == BURBLE_ESYSTEM && engine == NULL && reason == EAGAIN
                             && strncmp(error.message, "512 threads for the engine: ", 28) == 0;
        options.threads = 2; /* nothing is left of those that were made */
        _exit(refused && burble_llama_open(model, &options, &engine, &error) == BURBLE_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixty_four_at_once_have_the_text_that_each_has_alone),
        cmocka_unit_test(requests_that_come_and_go_do_not_disturb_each_other),
        cmocka_unit_test(a_prompt_in_parts_makes_the_text_that_it_makes_whole),
        cmocka_unit_test(ids_and_text_are_the_same_prompt),
        cmocka_unit_test(what_a_prompt_leaves_incomplete_is_finished),
        cmocka_unit_test(a_chunk_comes_with_each_token),
        cmocka_unit_test(the_coldest_is_greedy),
        cmocka_unit_test(a_seed_decides_what_chance_does),
        cmocka_unit_test(whoever_leaves_only_the_likeliest_is_greedy),
        cmocka_unit_test(a_stop_string_ends_the_text_before_it),
        cmocka_unit_test(the_context_ends_a_text_that_nothing_else_ends),
        cmocka_unit_test(the_whole_context_can_be_used),
        cmocka_unit_test(cancelling_frees_the_slot_within_a_step),
        cmocka_unit_test(a_prompt_is_broken_off_in_the_middle_of_a_step),
        cmocka_unit_test(closing_cancels_everything),
        cmocka_unit_test(an_engine_outlives_its_callers_reference_to_the_model),
        cmocka_unit_test(a_reader_that_stops_does_not_hold_up_the_others),
        cmocka_unit_test(an_end_comes_after_the_text_that_was_held),
        cmocka_unit_test(held_chunks_are_the_chunks_that_there_are_without_a_limit),
        cmocka_unit_test(cancelling_frees_the_slot_of_one_that_stands_still),
        cmocka_unit_test(whoever_comes_is_let_in_beside_those_who_stand_still),
        cmocka_unit_test(closing_does_not_wait_for_those_who_stand_still),
        cmocka_unit_test(an_engine_that_stands_still_does_not_spin),
        cmocka_unit_test(whoever_has_seen_an_end_finds_room),
        cmocka_unit_test(a_full_queue_refuses_and_takes_again),
        cmocka_unit_test(whoever_watches_is_told_each_token_and_the_end),
        cmocka_unit_test(whoever_watches_is_told_when_all_is_given_up),
        cmocka_unit_test(a_request_out_of_its_range_is_refused),
        cmocka_unit_test(a_prompt_that_cannot_fit_is_refused_unseen),
        cmocka_unit_test(an_engine_out_of_its_range_is_refused),
        cmocka_unit_test(there_is_a_thread_for_each_processor_that_may_be_used),
        cmocka_unit_test(an_engine_that_memory_is_too_short_for_is_refused),
        cmocka_unit_test(an_engine_whose_threads_cannot_be_made_is_refused),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
