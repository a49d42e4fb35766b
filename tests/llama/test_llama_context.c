/* SPDX-License-Identifier: MIT
 *
 * The options of what llama.cpp computes with: each works, or is refused before llama.cpp ends the process.
 */
#define _POSIX_C_SOURCE 200809L

#include "llama_support.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static burble_llama_model *model; /* the shipped one, whose heads have 48 numbers */
static burble_llama_model
    *with_three; /* the same with heads of 64 numbers, which makes noise of it */

/* A copy of the shipped model that says it has three heads instead of four. */
static burble_llama_model *load_with_three_heads(void)
{
    static const char key[] = "gpt2.attention.head_count";
    char path[] = "/tmp/burble-heads-XXXXXX";
    burble_llama_model *copy;
    burble_error error = {0};
    FILE *from = fopen(model_path(), "rb");
    const int descriptor = mkstemp(path);
    FILE *to = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    assert_non_null(from);
    assert_non_null(to);
    char *bytes = malloc(8 << 20);
    assert_non_null(bytes);
    const size_t n = fread(bytes, 1, 8 << 20, from);
    size_t at = 0;
    while (at + sizeof key < n && memcmp(bytes + at, key, sizeof key - 1) != 0)
        at++;
    at += sizeof key - 1 + 4; /* after the key comes its type, then the value */
    assert_true(at < n);
    assert_int_equal(bytes[at], 4);
    bytes[at] = 3;
    assert_int_equal(fwrite(bytes, 1, n, to), n);
    free(bytes);
    fclose(from);
    assert_int_equal(fclose(to), 0);
    if (burble_llama_model_load(path, NULL, &copy, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    unlink(path);
    return copy;
}

static int load_both(void **state)
{
    (void)state;
    model = load_model();
    with_three = load_with_three_heads();
    return 0;
}

static int unload_both(void **state)
{
    (void)state;
    burble_llama_model_unref(&model);
    burble_llama_model_unref(&with_three);
    return 0;
}

static burble_llama_engine_options small(void)
{
    burble_llama_engine_options options;
    burble_llama_engine_options_init(&options);
    options.slots = 2;
    options.context = 256;
    options.batch = 16;
    options.threads = 1;
    return options;
}

/* What an engine with these options makes of a prompt that is longer than a batch. */
static void text_with(burble_llama_model *from, const burble_llama_engine_options *options,
                      struct output *output)
{
    burble_llama_engine *engine;
    burble_error error = {0};
    const burble_llama_request request = request_for(prompts[2], 12);
    if (burble_llama_engine_create(from, options, &engine, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    generate(engine, &request, output);
    burble_llama_engine_destroy(&engine);
}

static void refused(burble_llama_model *from, const burble_llama_engine_options *options,
                    int result, const char *message)
{
    burble_llama_engine *engine = (burble_llama_engine *)&message;
    burble_error error = {0};
    assert_result(burble_llama_engine_create(from, options, &engine, &error), result);
    assert_null(engine);
    assert_string_equal(error.message, message);
}

/* ---- tests --------------------------------------------------------------------------------------- */

static void option_without_effect_on_accuracy_leaves_text_equal(void **state)
{
    burble_llama_engine_options options = small();
    struct output expected;
    struct output found;
    (void)state;
    text_with(model, &options, &expected);
    assert_int_equal(expected.end, BURBLE_END);
    assert_int_equal(expected.tokens, 12);
    for (int flash = BURBLE_LLAMA_FLASH_AUTO; flash <= BURBLE_LLAMA_FLASH_OFF; flash++) {
        for (int unified = 0; unified < 2; unified++) {
            options.flash = (burble_llama_flash)flash;
            options.unified = unified == 1;
            options.cache_k = unified == 1 ? BURBLE_LLAMA_CACHE_F32 : BURBLE_LLAMA_CACHE_F16;
            options.cache_v = options.cache_k;
            text_with(model, &options, &found);
            assert_string_equal(found.text, expected.text);
        }
    }
}

static void prompt_threads_compute_the_same_text(void **state)
{
    burble_llama_engine_options options = small();
    struct output expected;
    struct output found;
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message(
        "not under TSan: it does not see how llama.cpp's own threads wait for each other\n");
    skip();
#endif
    text_with(model, &options, &expected);
    options.prompt_threads = 2;
    text_with(model, &options, &found);
    assert_string_equal(found.text, expected.text);
    options.threads = 2;
    options.prompt_threads = 1;
    text_with(model, &options, &found);
    assert_string_equal(found.text, expected.text);
}

static void every_cache_type_computes_a_text(void **state)
{
    burble_llama_engine_options options = small();
    struct output output;
    (void)state;
    for (int k = 0; burble_llama_cache_name((burble_llama_cache)k) != NULL; k++) {
        for (int v = 0; burble_llama_cache_name((burble_llama_cache)v) != NULL; v++) {
            options.cache_k = (burble_llama_cache)k;
            options.cache_v = (burble_llama_cache)v;
            options.unified = (k + v) % 2 == 1;
            text_with(with_three, &options, &output);
            assert_int_equal(output.end, BURBLE_END);
            assert_int_equal(output.tokens, 12);
        }
    }
}

static void quantized_k_computes_without_flash_attention(void **state)
{
    burble_llama_engine_options options = small();
    struct output output;
    (void)state;
    options.flash = BURBLE_LLAMA_FLASH_OFF;
    options.cache_k = BURBLE_LLAMA_CACHE_Q8_0;
    text_with(with_three, &options, &output);
    assert_int_equal(output.tokens, 12);
}

static void quantized_v_without_flash_attention_is_refused(void **state)
{
    burble_llama_engine_options options = small();
    (void)state;
    options.flash = BURBLE_LLAMA_FLASH_OFF;
    options.cache_v = BURBLE_LLAMA_CACHE_Q8_0;
    refused(with_three, &options, BURBLE_EINVAL,
            "cache_v: expected f16, f32 or bf16, as flash attention is off, found q8_0");
}

static void quantized_cache_of_unfit_heads_is_refused(void **state)
{
    burble_llama_engine_options options = small();
    (void)state;
    options.cache_k = BURBLE_LLAMA_CACHE_Q8_0;
    refused(model, &options, BURBLE_EUNSUPPORTED,
            "cache_k: expected f16, f32 or bf16, as the model's heads have 48 numbers, no multiple "
            "of 32, found q8_0");
    options.flash = BURBLE_LLAMA_FLASH_OFF;
    refused(model, &options, BURBLE_EUNSUPPORTED,
            "cache_k: expected f16, f32 or bf16, as the model's heads have 48 numbers, no multiple "
            "of 32, found q8_0");
    options = small();
    options.cache_v = BURBLE_LLAMA_CACHE_Q4_0;
    refused(model, &options, BURBLE_EUNSUPPORTED,
            "cache_v: expected f16, f32 or bf16, as the model's heads have 48 numbers, no multiple "
            "of 32, found q4_0");
}

static void option_out_of_range_is_refused(void **state)
{
    burble_llama_engine_options options = small();
    (void)state;
    options.flash = (burble_llama_flash)3;
    refused(model, &options, BURBLE_EINVAL, "flash: expected 0 to 2, found 3");
    options = small();
    options.cache_k = (burble_llama_cache)8;
    refused(model, &options, BURBLE_EINVAL, "cache_k: expected 0 to 7, found 8");
    options = small();
    options.cache_v = (burble_llama_cache)99;
    refused(model, &options, BURBLE_EINVAL, "cache_v: expected 0 to 7, found 99");
    options = small();
    options.prompt_threads = 513;
    refused(model, &options, BURBLE_EINVAL, "prompt_threads: expected 1 to 512, found 513");
}

static void cache_name_of_no_type_is_null(void **state)
{
    (void)state;
    assert_string_equal(burble_llama_cache_name(BURBLE_LLAMA_CACHE_F16), "f16");
    assert_string_equal(burble_llama_cache_name(BURBLE_LLAMA_CACHE_Q4_0), "q4_0");
    assert_null(burble_llama_cache_name((burble_llama_cache)8));
}

/* ---- memory -------------------------------------------------------------------------------------- */

static burble_llama_memory needed_with(const burble_llama_engine_options *options)
{
    burble_llama_memory memory;
    burble_error error = {0};
    if (burble_llama_memory_needed(model_path(), NULL, options, &memory, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    return memory;
}

/* Within 1 % and 64 KiB, as the header says. */
static void about(uint64_t found, uint64_t expected)
{
    const uint64_t slack = expected / 100 + (64 << 10);
    if (found + slack < expected || found > expected + slack)
        fail_msg("expected about %" PRIu64 " bytes, found %" PRIu64, expected, found);
}

/* 5 layers that keep 192 numbers each of K and of V for each token. */
static void memory_of_cache_is_tokens_times_numbers(void **state)
{
    burble_llama_engine_options options = small();
    (void)state;
    options.slots = 4;
    options.context = 512;
    about(needed_with(&options).cache, (uint64_t)4 * 512 * 5 * 192 * (2 + 2));
    options.cache_k = BURBLE_LLAMA_CACHE_F32;
    about(needed_with(&options).cache, (uint64_t)4 * 512 * 5 * 192 * (4 + 2));
    options.unified = true;
    options.slots = 64;
    about(needed_with(&options).cache, (uint64_t)64 * 512 * 5 * 192 * (4 + 2));
}

static void memory_of_weights_is_that_of_file(void **state)
{
    (void)state;
    const burble_llama_memory memory = needed_with(NULL);
    FILE *file = fopen(model_path(), "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long size = ftell(file);
    fclose(file);
    assert_true(memory.weights < (uint64_t)size); /* the vocabulary is in it, too */
    assert_true(memory.weights > (uint64_t)size * 9 / 10);
    assert_true(memory.available > 0);
}

static void memory_of_computing_grows_with_batch_and_without_flash(void **state)
{
    burble_llama_engine_options options = small();
    (void)state;
    options.flash = BURBLE_LLAMA_FLASH_ON;
    const uint64_t least = needed_with(&options).compute;
    options.batch = 512;
    const uint64_t more = needed_with(&options).compute;
    options.flash = BURBLE_LLAMA_FLASH_OFF;
    const uint64_t most = needed_with(&options).compute;
    assert_true(least > 0);
    assert_true(more > least);
    assert_true(most > more);
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static uint64_t resident(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
#endif

/* The cache is cleared when it is made, so all of it is the process's; what is computed with is not yet. */
static void process_grows_by_memory_of_engine(void **state)
{
    (void)state;
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    burble_llama_engine_options options = small();
    burble_llama_engine *engine;
    options.slots = 128;
    options.context = 512;
    const burble_llama_memory memory = needed_with(&options);
    const uint64_t before = resident();
    assert_result(burble_llama_engine_create(model, &options, &engine, NULL), BURBLE_OK);
    const uint64_t grown = resident() - before;
    burble_llama_engine_destroy(&engine);
    assert_true(grown > memory.cache * 95 / 100);
    assert_true(grown < (memory.cache + memory.compute) * 105 / 100 + (8 << 20));
#else
    skip();
#endif
}

static void memory_of_what_is_no_model_is_refused(void **state)
{
    burble_llama_memory memory;
    burble_error error = {0};
    burble_llama_engine_options options = small();
    (void)state;
    assert_result(burble_llama_memory_needed("/nowhere", NULL, NULL, &memory, &error),
                  BURBLE_ESYSTEM);
    assert_string_equal(error.message, "/nowhere: No such file or directory");
    assert_result(burble_llama_memory_needed("/proc/self/status", NULL, NULL, &memory, &error),
                  BURBLE_EFORMAT);
    options.slots = 257;
    assert_result(burble_llama_memory_needed(model_path(), NULL, &options, &memory, &error),
                  BURBLE_EINVAL);
    assert_string_equal(error.message, "slots: expected 1 to 256, found 257");
    options = small();
    options.cache_k = BURBLE_LLAMA_CACHE_Q8_0;
    assert_result(burble_llama_memory_needed(model_path(), NULL, &options, &memory, &error),
                  BURBLE_EUNSUPPORTED);
    assert_int_equal(memory.weights, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(option_without_effect_on_accuracy_leaves_text_equal),
        cmocka_unit_test(prompt_threads_compute_the_same_text),
        cmocka_unit_test(every_cache_type_computes_a_text),
        cmocka_unit_test(quantized_k_computes_without_flash_attention),
        cmocka_unit_test(quantized_v_without_flash_attention_is_refused),
        cmocka_unit_test(quantized_cache_of_unfit_heads_is_refused),
        cmocka_unit_test(option_out_of_range_is_refused),
        cmocka_unit_test(cache_name_of_no_type_is_null),
        cmocka_unit_test(memory_of_cache_is_tokens_times_numbers),
        cmocka_unit_test(memory_of_weights_is_that_of_file),
        cmocka_unit_test(memory_of_computing_grows_with_batch_and_without_flash),
        cmocka_unit_test(process_grows_by_memory_of_engine),
        cmocka_unit_test(memory_of_what_is_no_model_is_refused),
    };
    return cmocka_run_group_tests(tests, load_both, unload_both);
}
