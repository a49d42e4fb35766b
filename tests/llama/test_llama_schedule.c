/* SPDX-License-Identifier: MIT
 *
 * Which requests an engine computes when, and what it does not compute: what was cancelled, and what was
 * computed before.
 */
#define _POSIX_C_SOURCE 200809L

#include "engine_support.h"

#include <burble/clock.h>
#include <time.h>

enum { LONG = 400 };

/* A prompt of `n` ids, different for each `seed`. */
static burble_llama_request request_of(int32_t *ids, size_t n, unsigned seed, uint32_t max_tokens)
{
    burble_llama_request request = request_for("", max_tokens);
    uint32_t random = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        ids[i] = (int32_t)(1 + (random >> 8) % 2000);
    }
    request.ids = ids;
    request.n_ids = n;
    request.ignore_end = true;
    return request;
}

/* As in most tests: each slot has memory of its own. */
static bool unified;

static int in_one_memory(void **state)
{
    (void)state;
    unified = true;
    return 0;
}

static int in_separate_memories(void **state)
{
    (void)state;
    unified = false;
    return 0;
}

static burble_llama_engine *open_engine_in(struct place at, uint32_t slots, uint32_t queue)
{
    burble_llama_engine *engine;
    burble_llama_engine_options options;
    burble_error error = {0};
    burble_llama_engine_options_init(&options);
    options.slots = slots;
    options.queue = queue;
    options.threads = 1;
    options.unified = unified;
    if (burble_llama_engine_create(model, &options, &engine, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    return engine;
}
#undef open_engine
#define open_engine(model, slots, queue) open_engine_in(HERE, slots, queue)

static burble_llama_place place_of(burble_llama_engine *engine, const burble_stream *stream)
{
    burble_llama_place place;
    burble_llama_engine_find(engine, stream, &place);
    return place;
}

static burble_stream *submit_stream(burble_llama_engine *engine,
                                    const burble_llama_request *request, burble_reader **reader)
{
    burble_error error = {0};
    burble_stream *stream = stream_and_reader(reader);
    if (burble_llama_engine_submit(engine, request, stream, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    return stream;
}

/* ---- requests that nobody wants any more ----------------------------------------------------------- */

/* One request generates, so that there are steps; `n` wait behind it. */
static void cancel_in_queue_computes_nothing(void **state)
{
    enum { REQUESTS = 200 };
    burble_reader *readers[REQUESTS];
    burble_stream *streams[REQUESTS];
    burble_reader *running;
    int32_t ids[LONG];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, REQUESTS);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    burble_stream *stream = submit_stream(engine, &request, &running);
    assert_result(burble_reader_wait(running, 0), BURBLE_OK);
    for (unsigned i = 0; i < REQUESTS; i++) {
        request = request_of(ids, LONG, i, 1);
        streams[i] = submit_stream(engine, &request, &readers[i]);
    }
    for (int i = 0; i < REQUESTS; i++)
        burble_stream_cancel(streams[i]);
    const burble_llama_stats before = stats_of(engine);
    while (stats_of(engine).waiting > 0)
        sched_yield();
    assert_int_equal(stats_of(engine).active, 1); /* they did not wait for its end */
    burble_stream_cancel(stream);
    wait_until_active(engine, 0);
    assert_int_equal(stats_of(engine).prompt_tokens, before.prompt_tokens);
    for (int i = 0; i < REQUESTS; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    burble_reader_destroy(&running);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

/* The deadlines are in the past, so that the test need not wait for them. */
static void deadline_in_queue_makes_room_for_others(void **state)
{
    enum { REQUESTS = 8 };
    burble_reader *readers[REQUESTS];
    burble_reader *running;
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, REQUESTS);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    burble_stream *stream = submit_stream(engine, &request, &running);
    assert_result(burble_reader_wait(running, 0), BURBLE_OK);
    request.deadline = 1;
    for (int i = 0; i < REQUESTS; i++)
        readers[i] = submit(engine, &request);
    request.deadline = 0;
    request.max_tokens = 1;
    burble_reader *last = submit(engine, &request);
    burble_stream_cancel(stream);
    read_all(last, &output);
    assert_result(output.end, BURBLE_END);
    for (int i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &output);
        assert_result(output.end, BURBLE_ETIMEDOUT);
        assert_int_equal(output.tokens, 0);
    }
    burble_reader_destroy(&running);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

static void deadline_ends_an_answer(void **state)
{
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 1);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    request.deadline = burble_now() + 20000000;
    for (int i = 0; i < 20; i++) { /* in so short a time, the context is not full */
        generate(engine, &request, &output);
        assert_result(output.end, BURBLE_ETIMEDOUT);
    }
    burble_llama_engine_destroy(&engine);
}

/* ---- who comes first ------------------------------------------------------------------------------- */

/* What was first to come to its end. */
struct order {
    int ended[8];
    int n;
};

struct ending {
    struct order *order;
    int which;
};

static void note_end(const burble_llama_progress *progress, void *arg)
{
    struct ending *ending = arg;
    if (progress->over)
        ending->order->ended[ending->order->n++] = ending->which;
}

static void priority_comes_before_order(void **state)
{
    enum { REQUESTS = 6 };
    const int32_t priorities[REQUESTS] = {0, -1, 1, 0, 1, INT32_MIN};
    const int expected[REQUESTS] = {2, 4, 0, 3, 1, 5};
    burble_reader *readers[REQUESTS];
    burble_stream *streams[REQUESTS];
    struct ending endings[REQUESTS];
    struct order order = {.n = 0};
    burble_reader *running;
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, REQUESTS);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    burble_stream *stream = submit_stream(engine, &request, &running);
    assert_result(burble_reader_wait(running, 0), BURBLE_OK);
    request.max_tokens = 2;
    request.watch = note_end;
    for (int i = 0; i < REQUESTS; i++) {
        endings[i] = (struct ending){&order, i};
        request.watch_arg = &endings[i];
        request.priority = priorities[i];
        streams[i] = submit_stream(engine, &request, &readers[i]);
    }
    assert_int_equal(place_of(engine, stream).stage, BURBLE_LLAMA_STAGE_ANSWER);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        const burble_llama_place place = place_of(engine, streams[expected[i]]);
        assert_int_equal(place.stage, BURBLE_LLAMA_STAGE_QUEUED);
        assert_int_equal(place.before, i);
    }
    burble_stream_cancel(stream);
    for (int i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &output);
        assert_result(output.end, BURBLE_END);
    }
    wait_until_active(engine, 0);
    burble_llama_engine_destroy(&engine); /* its thread has told of all ends */
    assert_int_equal(order.n, REQUESTS);
    for (int i = 0; i < REQUESTS; i++) {
        assert_int_equal(order.ended[i], expected[i]);
        burble_stream_unref(&streams[i]);
    }
    burble_reader_destroy(&running);
    burble_stream_unref(&stream);
}

/* From the queue to a slot, and into a pause and out of it, a request is always somewhere. */
static void request_is_found_until_its_text_ends(void **state)
{
    enum { REQUESTS = 60 };
    burble_reader *readers[REQUESTS];
    burble_stream *streams[REQUESTS];
    static struct output output;
    int32_t ids[LONG];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, REQUESTS);
    burble_llama_request request = request_of(ids, LONG, 9, 2);
    for (int i = 0; i < REQUESTS; i++) {
        ids[LONG - 1 - i] ^= 1; /* so that the beginning is copied */
        streams[i] = submit_stream(engine, &request, &readers[i]);
    }
    for (int i = 0; i < REQUESTS; i++) {
        burble_status status = {.state = BURBLE_OPEN};
        burble_llama_place place;
        do {
            place = place_of(engine, streams[i]);
            burble_stream_status(streams[i], &status);
        } while (status.state == BURBLE_OPEN && place.stage != BURBLE_LLAMA_STAGE_NONE);
        assert_int_not_equal(status.state, BURBLE_OPEN);
        read_all(readers[i], &output);
        burble_stream_unref(&streams[i]);
    }
    burble_llama_engine_destroy(&engine);
}

/* One with a higher priority computes a prompt itself, before the same one of a lower priority. */
static void priority_does_not_wait_for_a_lower_leader(void **state)
{
    static int32_t ids[LONG], others[LONG];
    burble_reader *readers[3];
    struct ending endings[3];
    struct order order = {.n = 0};
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 4, 8);
    burble_reader *running;
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    burble_stream *stream = submit_stream(engine, &request, &running);
    assert_result(burble_reader_wait(running, 0), BURBLE_OK);
    const int32_t priorities[] = {-1, 1, 0};
    for (int i = 0; i < 3; i++) {
        request = i == 2 ? request_of(others, LONG, 12, 1) : request_of(ids, LONG, 11, 1);
        endings[i] = (struct ending){&order, i};
        request.watch = note_end;
        request.watch_arg = &endings[i];
        request.priority = priorities[i];
        readers[i] = submit(engine, &request);
        while (i == 0 && stats_of(engine).active < 2)
            sched_yield();
    }
    for (int i = 0; i < 3; i++)
        read_all(readers[i], &output);
    burble_stream_cancel(stream);
    burble_llama_engine_destroy(&engine);
    assert_int_equal(order.ended[0], 1);
    burble_reader_destroy(&running);
    burble_stream_unref(&stream);
}

/* The long prompts need many steps, beside an answer; the short one is not behind them. */
static void short_prompt_does_not_wait_for_long_ones(void **state)
{
    enum { LONG_ONES = 6 };
    burble_reader *readers[LONG_ONES];
    burble_stream *streams[LONG_ONES];
    int32_t ids[LONG];
    burble_reader *running;
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, LONG_ONES + 2, 0);
    burble_llama_request request = request_for(prompts[0], 0);
    request.ignore_end = true;
    burble_stream *stream = submit_stream(engine, &request, &running);
    assert_result(burble_reader_wait(running, 0), BURBLE_OK);
    for (unsigned i = 0; i < LONG_ONES; i++) {
        request = request_of(ids, LONG, i, 1);
        streams[i] = submit_stream(engine, &request, &readers[i]);
    }
    request = request_of(ids, 2, LONG_ONES, 1);
    generate(engine, &request, &output);
    assert_result(output.end, BURBLE_END);
    const burble_llama_place last = place_of(engine, streams[LONG_ONES - 1]);
    assert_int_equal(last.stage, BURBLE_LLAMA_STAGE_PROMPT);
    assert_true(last.prompt_done < LONG);
    assert_int_equal(last.prompt_tokens, LONG);
    for (int i = 0; i < LONG_ONES; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    burble_reader_destroy(&running);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

/* ---- what was computed before ---------------------------------------------------------------------- */

/* The turns of a conversation: each prompt is the one before, its answer, and a few ids more. */
static void conversation_computes_only_what_is_new(void **state)
{
    enum { TURNS = 6, ANSWER = 12, NEW = 20 };
    static struct output with, without;
    int32_t ids[TURNS * (ANSWER + NEW) + NEW];
    int32_t answer[ANSWER + 1];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 4, 4);
    burble_llama_engine *plain = open_engine(model, 1, 4);
    size_t n = NEW;
    request_of(ids, sizeof ids / sizeof *ids, 7, 1);
    for (int turn = 0; turn < TURNS; turn++) {
        burble_llama_request request = request_for("", ANSWER);
        request.ids = ids;
        request.n_ids = n;
        request.ignore_end = true;
        const burble_llama_stats before = stats_of(engine);
        generate(engine, &request, &with);
        const burble_llama_stats after = wait_until_active(engine, 0);
        const uint64_t computed = after.prompt_tokens - before.prompt_tokens;
        assert_int_equal(computed + (after.reused_tokens - before.reused_tokens), n);
        if (turn > 0) {
            /* The answer's last token is computed for nobody; its text may stand for other ids. */
            assert_true(computed < ANSWER + NEW + 2);
            assert_true(after.reused_tokens - before.reused_tokens >= n - ANSWER - NEW - 1);
        }
        request.reuse = false;
        generate(plain, &request, &without);
        assert_same(&with, &without);
        size_t found;
        assert_result(burble_llama_model_tokenize(model, with.text, with.len, false, answer,
                                                  ANSWER + 1, &found),
                      BURBLE_OK);
        for (size_t i = 0; i < found; i++)
            ids[n + i] = answer[i];
        n += found + NEW;
    }
    assert_int_equal(stats_of(plain).reused_tokens, 0);
    burble_llama_engine_destroy(&engine);
    burble_llama_engine_destroy(&plain);
}

/* Several answers to one prompt, which is computed once; all at once, so that it is not computed yet when they
 * get their slots. */
static void requests_with_one_prompt_compute_it_once(void **state)
{
    enum { ANSWERS = 4, TOKENS = 8 };
    burble_reader *readers[ANSWERS];
    static struct output alone, output;
    int32_t ids[LONG];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_of(ids, LONG, 3, TOKENS);
    generate(engine, &request, &alone);
    burble_llama_engine_destroy(&engine);
    engine = open_engine(model, ANSWERS, 0);
    for (int i = 0; i < ANSWERS; i++)
        readers[i] = submit(engine, &request);
    for (int i = 0; i < ANSWERS; i++) {
        read_all(readers[i], &output);
        assert_same(&output, &alone);
    }
    const burble_llama_stats stats = stats_of(engine);
    assert_int_equal(stats.prompt_tokens, LONG + ANSWERS - 1);
    assert_int_equal(stats.reused_tokens, (ANSWERS - 1) * (LONG - 1));
    burble_llama_engine_destroy(&engine);
}

/* Whoever computes the beginning for the others is cancelled. */
static void cancel_of_leader_leaves_followers(void **state)
{
    enum { ANSWERS = 4, TOKENS = 8, TRIES = 20 };
    burble_reader *readers[ANSWERS];
    burble_stream *streams[ANSWERS];
    static struct output alone, output;
    int32_t ids[LONG];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_of(ids, LONG, 3, TOKENS);
    generate(engine, &request, &alone);
    burble_llama_engine_destroy(&engine);
    for (int i = 0; i < TRIES; i++) {
        engine = open_engine(model, ANSWERS, 0);
        for (int j = 0; j < ANSWERS; j++)
            streams[j] = submit_stream(engine, &request, &readers[j]);
        if (i % 2 == 0)
            while (stats_of(engine).active < ANSWERS)
                sched_yield();
        burble_stream_cancel(streams[0]);
        for (int j = 1; j < ANSWERS; j++) {
            read_all(readers[j], &output);
            assert_same(&output, &alone);
        }
        for (int j = 0; j < ANSWERS; j++)
            burble_stream_unref(&streams[j]);
        burble_reader_destroy(&readers[0]);
        burble_llama_engine_destroy(&engine);
    }
}

/* Asks for an answer of `n` tokens to a short prompt. Returns how much of the prompt was computed before. */
static uint64_t reused_for(burble_llama_engine *engine, unsigned seed, uint32_t n)
{
    enum { SHORT = 8 };
    static struct output output;
    int32_t ids[SHORT];
    const burble_llama_request request = request_of(ids, SHORT, seed, n);
    const uint64_t before = stats_of(engine).reused_tokens;
    generate(engine, &request, &output);
    assert_result(output.end, BURBLE_END);
    return wait_until_active(engine, 0).reused_tokens - before;
}

/* Too little to be copied to another slot, and the answers are longer than the prompts. */
static void short_prompt_that_comes_again_gets_its_old_slot(void **state)
{
    enum { SLOTS = 3, ANSWER = 20 };
    (void)state;
    burble_llama_engine *engine = open_engine(model, SLOTS, 0);
    for (unsigned seed = 1; seed <= SLOTS; seed++)
        assert_int_equal(reused_for(engine, seed, ANSWER), 0);
    for (unsigned seed = SLOTS; seed > 0; seed--)
        assert_int_equal(reused_for(engine, seed, ANSWER), 7);
    burble_llama_engine_destroy(&engine);
}

static void short_prompt_does_not_displace_new_sequence_instead_of_old_one(void **state)
{
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    assert_int_equal(reused_for(engine, 1, 20), 0);
    assert_int_equal(reused_for(engine, 2, 100), 0);
    assert_int_equal(reused_for(engine, 2, 100), 0); /* the first one's slot is much older */
    assert_int_equal(reused_for(engine, 2, 100), 7);
    burble_llama_engine_destroy(&engine);
}

/* A prompt that is to stay secret is neither taken from others nor left for them. */
static void request_without_reuse_shares_nothing(void **state)
{
    int32_t ids[LONG];
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_of(ids, LONG, 5, 1);
    const bool reuse[] = {false, true, false, true};
    const uint64_t reused[] = {0, 0, 0, LONG - 1};
    uint64_t before = 0;
    for (int i = 0; i < 4; i++) {
        request.reuse = reuse[i];
        generate(engine, &request, &output);
        wait_until_active(engine, 0);
        assert_int_equal(stats_of(engine).reused_tokens - before, reused[i]);
        before += reused[i];
    }
    burble_llama_engine_destroy(&engine);
}

/* ---- readers that do not read ---------------------------------------------------------------------- */

static burble_reader *submit_slow(burble_llama_engine *engine, const burble_llama_request *request,
                                  burble_stream **stream)
{
    burble_stream_options options;
    burble_reader *reader;
    burble_stream_options_init(&options);
    options.lag_unit = BURBLE_LAG_TOKENS;
    assert_result(burble_stream_create(&options, stream), BURBLE_OK);
    assert_result(burble_reader_create(*stream, 0, &reader, NULL), BURBLE_OK);
    assert_result(burble_reader_limit(reader, 3, BURBLE_LAG_BLOCK), BURBLE_OK);
    assert_result(burble_llama_engine_submit(engine, request, *stream, NULL), BURBLE_OK);
    return reader;
}

/* They read a little, again and again, so that their requests go in and out of the slot. */
static void slow_readers_do_not_keep_others_waiting(void **state)
{
    enum { SLOW = 3 };
    burble_reader *readers[SLOW + 1];
    burble_stream *streams[SLOW];
    const struct timespec nap = {.tv_nsec = 110000000};
    burble_record record;
    int end = BURBLE_ETIMEDOUT;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 16);
    burble_llama_request request = request_for(prompts[0], 400);
    request.ignore_end = true;
    for (int i = 0; i < SLOW; i++)
        readers[i] = submit_slow(engine, &request, &streams[i]);
    while (stats_of(engine).paused < SLOW - 1)
        sched_yield();
    request.max_tokens = 1;
    for (int round = 0; round < 60 && end != BURBLE_OK; round++) {
        if (round == 8)
            readers[SLOW] = submit(engine, &request);
        nanosleep(&nap, NULL);
        for (int i = 0; i < 2 * SLOW; i++)
            burble_reader_next(readers[i % SLOW], &record);
        if (round >= 8)
            end = burble_reader_wait(readers[SLOW], burble_now());
    }
    assert_result(end, BURBLE_OK);
    burble_llama_engine_destroy(&engine);
    for (int i = 0; i <= SLOW; i++)
        burble_reader_destroy(&readers[i]);
    for (int i = 0; i < SLOW; i++)
        burble_stream_unref(&streams[i]);
}

/* More requests than slots, and no reader reads until all have begun: each slot must have changed hands. */
static void slow_readers_give_their_slots_to_others(void **state)
{
    enum { REQUESTS = 6, SLOTS = 2, TOKENS = 40 };
    static struct output alone[REQUESTS];
    burble_reader *readers[REQUESTS];
    burble_stream *streams[REQUESTS];
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        burble_llama_request request = request_for(prompts[i], TOKENS);
        request.ignore_end = true;
        generate(engine, &request, &alone[i]);
    }
    burble_llama_engine_destroy(&engine);
    engine = open_engine(model, SLOTS, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) {
        burble_llama_request request = request_for(prompts[i], TOKENS);
        request.ignore_end = true;
        readers[i] = submit_slow(engine, &request, &streams[i]);
    }
    for (int i = 0; i < REQUESTS; i++)
        assert_result(burble_reader_wait(readers[i], 0), BURBLE_OK);
    assert_true(stats_of(engine).paused >= REQUESTS - SLOTS);
    assert_int_equal(place_of(engine, streams[0]).stage, BURBLE_LLAMA_STAGE_PAUSED);
    for (size_t i = 0; i < REQUESTS; i++) {
        read_all(readers[i], &output);
        assert_same(&output, &alone[i]);
        burble_stream_unref(&streams[i]);
    }
    wait_until_active(engine, 0);
    assert_int_equal(stats_of(engine).paused, 0);
    burble_llama_engine_destroy(&engine);
}

static void cancel_or_deadline_ends_a_paused_request(void **state)
{
    static struct output output;
    burble_stream *streams[3];
    burble_reader *readers[3];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 3);
    burble_llama_request request = request_for(prompts[0], 40);
    request.ignore_end = true;
    for (int i = 0; i < 3; i++) {
        request.deadline = i == 1 ? burble_now() + 1000000000 : 0;
        readers[i] = submit_slow(engine, &request, &streams[i]);
    }
    assert_result(burble_reader_wait(readers[2], 0), BURBLE_OK);
    burble_stream_cancel(streams[0]);
    while (stats_of(engine).paused > 0)
        sched_yield();
    read_all(readers[0], &output);
    assert_result(output.end, BURBLE_ECANCELED);
    read_all(readers[1], &output);
    assert_result(output.end, BURBLE_ETIMEDOUT);
    burble_llama_engine_destroy(&engine);
    read_all(readers[2], &output);
    assert_result(output.end, BURBLE_ECANCELED);
    for (int i = 0; i < 3; i++)
        burble_stream_unref(&streams[i]);
}

/* Every second request stands still, so that the others are moved together. */
static void moved_requests_have_the_same_text(void **state)
{
    enum { REQUESTS = 8, TOKENS = 70 }; /* two tokens tie in one of the texts, later */
    static struct output alone[REQUESTS];
    burble_reader *readers[REQUESTS];
    burble_stream *stream;
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        burble_llama_request request = request_for(prompts[i], TOKENS);
        request.ignore_end = true;
        generate(engine, &request, &alone[i]);
    }
    burble_llama_engine_destroy(&engine);
    engine = open_engine(model, REQUESTS, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        burble_llama_request request = request_for(prompts[i], TOKENS);
        request.ignore_end = true;
        if (i % 2 == 0) {
            readers[i] = submit_slow(engine, &request, &stream);
            burble_stream_unref(&stream);
        } else {
            readers[i] = submit(engine, &request);
        }
    }
    for (size_t i = 1; i < REQUESTS; i += 2) {
        read_all(readers[i], &output);
        assert_same(&output, &alone[i]);
    }
    for (size_t i = 0; i < REQUESTS; i += 2) {
        read_all(readers[i], &output);
        assert_same(&output, &alone[i]);
    }
    burble_llama_engine_destroy(&engine);
}

/* A test in both kinds of memory. */
#define IN_BOTH(test)                                                                              \
    {#test, test, NULL, NULL, NULL},                                                               \
    {                                                                                              \
        #test "_in_one_memory", test, in_one_memory, in_separate_memories, NULL                    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancel_in_queue_computes_nothing),
        cmocka_unit_test(deadline_in_queue_makes_room_for_others),
        cmocka_unit_test(deadline_ends_an_answer),
        cmocka_unit_test(priority_comes_before_order),
        cmocka_unit_test(request_is_found_until_its_text_ends),
        cmocka_unit_test(priority_does_not_wait_for_a_lower_leader),
        cmocka_unit_test(short_prompt_does_not_wait_for_long_ones),
        IN_BOTH(conversation_computes_only_what_is_new),
        IN_BOTH(requests_with_one_prompt_compute_it_once),
        IN_BOTH(cancel_of_leader_leaves_followers),
        cmocka_unit_test(request_without_reuse_shares_nothing),
        cmocka_unit_test(short_prompt_that_comes_again_gets_its_old_slot),
        cmocka_unit_test(short_prompt_does_not_displace_new_sequence_instead_of_old_one),
        IN_BOTH(slow_readers_give_their_slots_to_others),
        cmocka_unit_test(cancel_or_deadline_ends_a_paused_request),
        cmocka_unit_test(slow_readers_do_not_keep_others_waiting),
        IN_BOTH(moved_requests_have_the_same_text),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
