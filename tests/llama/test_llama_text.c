/* SPDX-License-Identifier: MIT
 *
 * An engine's texts: the same alone and among others, how they are sampled, what ends them.
 */
#define _POSIX_C_SOURCE 200809L

#include "engine_support.h"

/* ---- text ---------------------------------------------------------------------------------------- */

enum { CROWD = 64 };

static burble_llama_request of_the_crowd(size_t i)
{
    return request_for(prompts[i % PROMPTS], (uint32_t)(4 + i * 7 % 29));
}

static void concurrent_requests_give_same_text_as_alone(void **state)
{
    static struct output alone[CROWD];
    static struct output together;
    burble_reader *readers[CROWD];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < CROWD; i++) {
        const burble_llama_request request = of_the_crowd(i);
        generate(engine, &request, &alone[i]);
    }
    burble_llama_engine_destroy(&engine);
    engine = open_engine(model, CROWD, 0);
    for (size_t i = 0; i < CROWD; i++) {
        const burble_llama_request request = of_the_crowd(i);
        readers[i] = submit(engine, &request);
    }
    for (size_t i = 0; i < CROWD; i++) {
        read_all(readers[i], &together);
        assert_same(&together, &alone[i]);
    }
    burble_llama_engine_destroy(&engine);
}

static void queued_requests_give_same_text_as_alone(void **state)
{
    enum { REQUESTS = 24 };
    static struct output alone[REQUESTS];
    static struct output together;
    burble_reader *readers[REQUESTS];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        const burble_llama_request request = of_the_crowd(i);
        generate(engine, &request, &alone[i]);
    }
    burble_llama_engine_destroy(&engine);
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
    burble_llama_engine_destroy(&engine);
}

/* A prompt that needs many steps to come in, as those take few tokens of it each. */
static void prompt_in_several_steps_gives_same_text(void **state)
{
    static struct output whole;
    static struct output parts;
    burble_llama_engine_options options;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    (void)state;
    const burble_llama_request request = request_for(prompts[PROMPTS - 1], 20);
    generate(engine, &request, &whole);
    burble_llama_engine_destroy(&engine);
    burble_llama_engine_options_init(&options);
    options.batch = 3;
    options.threads = 1;
    assert_result(burble_llama_engine_create(model, &options, &engine, NULL), BURBLE_OK);
    generate(engine, &request, &parts);
    assert_true(stats_of(engine).steps > 20 + 10);
    assert_same(&parts, &whole);
    burble_llama_engine_destroy(&engine);
}

static void prompt_as_ids_equals_prompt_as_text(void **state)
{
    static struct output of_text;
    static struct output of_ids;
    int32_t ids[64];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[1], 12);
    generate(engine, &request, &of_text);
    assert_result(burble_llama_model_tokenize(model, prompts[1], strlen(prompts[1]), false, ids, 64,
                                              &request.n_ids),
                  BURBLE_OK);
    request.ids = ids;
    generate(engine, &request, &of_ids);
    assert_same(&of_ids, &of_text);
    burble_llama_engine_destroy(&engine);
}

/* The text goes on from the prompt's bytes: half a character there is a part of it. */
static void prompt_with_incomplete_character_is_completed(void **state)
{
    static struct output output;
    int32_t ids[64];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for("", 4);
    assert_result(
        burble_llama_model_tokenize(model, "caf\xC3\xA9", 5, false, ids, 64, &request.n_ids),
        BURBLE_OK);
    request.ids = ids;
    request.n_ids--;
    generate(engine, &request, &output);
    /* The model has never seen such bytes, and does not go on with one. */
    assert_true(output.len > 3);
    assert_memory_equal(output.text, "\xEF\xBF\xBD", 3);
    burble_llama_engine_destroy(&engine);
}

static void chunk_is_written_for_each_token(void **state)
{
    static struct output output;
    static struct output words;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
    burble_llama_request request = request_for(prompts[0], 20);
    generate(engine, &request, &output);
    assert_int_equal(output.tokens, 20);
    assert_int_equal(output.records, 20);
    request.chunking = BURBLE_CHUNK_WORD;
    generate(engine, &request, &words);
    assert_same(&words, &output);
    assert_int_equal(words.tokens, 20);
    assert_true(words.records < 20);
    burble_llama_engine_destroy(&engine);
}

/* ---- sampling ------------------------------------------------------------------------------------ */

static void sampling_at_lowest_temperature_is_greedy(void **state)
{
    static const float cold[] = {1e-6f, 1e-30f, 1e-37f, 1e-38f,
                                 1e-45f}; /* the last are not normal */
    static struct output greedy;
    static struct output found;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
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
    burble_llama_engine_destroy(&engine);
}

static void sampling_with_same_seed_repeats_text(void **state)
{
    static struct output first;
    static struct output again;
    static struct output other;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
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
    burble_llama_engine_destroy(&engine);
}

static void sampling_narrowed_to_likeliest_token_is_greedy(void **state)
{
    static struct output greedy;
    static struct output narrow;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
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
    burble_llama_engine_destroy(&engine);
}

/* ---- ends ---------------------------------------------------------------------------------------- */

static void stop_string_ends_text_before_it(void **state)
{
    static struct output whole;
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
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
    burble_llama_engine_destroy(&engine);
}

static void context_full_ends_text(void **state)
{
    static struct output output;
    burble_llama_engine_options options;
    burble_llama_engine *engine;
    int32_t ids[64];
    size_t n;
    (void)state;
    burble_llama_engine_options_init(&options);
    options.slots = 2;
    options.threads = 1;
    options.context = 48;
    assert_result(burble_llama_engine_create(model, &options, &engine, NULL), BURBLE_OK);
    burble_llama_request request = request_for(prompts[3], 0);
    request.ignore_end = true;
    assert_result(
        burble_llama_model_tokenize(model, prompts[3], strlen(prompts[3]), false, ids, 64, &n),
        BURBLE_OK);
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_LENGTH);
    assert_int_equal(output.tokens, 48 - n);
    request.max_tokens = 1000;
    assert_int_equal(reason_of(engine, &request, &output), BURBLE_REASON_LENGTH);
    assert_int_equal(output.tokens, 48 - n);
    burble_llama_engine_destroy(&engine);
}

static void context_is_usable_to_its_last_cell(void **state)
{
    static struct output output;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 0);
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
    burble_llama_engine_destroy(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(concurrent_requests_give_same_text_as_alone),
        cmocka_unit_test(queued_requests_give_same_text_as_alone),
        cmocka_unit_test(prompt_in_several_steps_gives_same_text),
        cmocka_unit_test(prompt_as_ids_equals_prompt_as_text),
        cmocka_unit_test(prompt_with_incomplete_character_is_completed),
        cmocka_unit_test(chunk_is_written_for_each_token),
        cmocka_unit_test(sampling_at_lowest_temperature_is_greedy),
        cmocka_unit_test(sampling_with_same_seed_repeats_text),
        cmocka_unit_test(sampling_narrowed_to_likeliest_token_is_greedy),
        cmocka_unit_test(stop_string_ends_text_before_it),
        cmocka_unit_test(context_full_ends_text),
        cmocka_unit_test(context_is_usable_to_its_last_cell),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
