/* SPDX-License-Identifier: MIT
 *
 * Embeddings of the shipped model. (That they are those of transformers is in test_embedder.py.)
 */
#define _POSIX_C_SOURCE 200809L

#include "engine_support.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LENGTH = 192 };

static burble_llama_embedder *open_embedder(uint32_t context, burble_llama_pooling pooling)
{
    burble_llama_embedder *embedder;
    burble_llama_embedder_options options;
    burble_error error = {0};
    burble_llama_embedder_options_init(&options);
    options.context = context;
    options.pooling = pooling;
    options.threads = 1;
    if (burble_llama_embedder_create(model, &options, &embedder, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    return embedder;
}

static burble_text text_of(const char *text)
{
    return (burble_text){.bytes = text, .len = strlen(text)};
}

static double cosine(const float *a, const float *b)
{
    double sum = 0;
    for (int i = 0; i < LENGTH; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void vectors_have_length_one_alone_and_in_company(void **state)
{
    static float together[PROMPTS * 10 * LENGTH];
    float alone[LENGTH];
    burble_text texts[PROMPTS * 10]; /* more than one batch */
    (void)state;
    burble_llama_embedder *embedder = open_embedder(0, BURBLE_LLAMA_POOLING_MODEL);
    assert_int_equal(burble_llama_embedder_length(embedder), LENGTH);
    for (int i = 0; i < PROMPTS * 10; i++)
        texts[i] = text_of(prompts[i % PROMPTS]);
    assert_result(burble_llama_embedder_embed(embedder, texts, PROMPTS * 10, together, NULL),
                  BURBLE_OK);
    for (int i = 0; i < PROMPTS * 10; i++) {
        const float *found = together + (size_t)i * LENGTH;
        assert_result(burble_llama_embedder_embed(embedder, &texts[i], 1, alone, NULL), BURBLE_OK);
        assert_true(fabs(cosine(found, found) - 1) < 1e-5);
        assert_true(cosine(found, alone) > 0.9999);
    }
    assert_true(cosine(together, together + LENGTH) < 0.999); /* of other texts */
    burble_llama_embedder_destroy(&embedder);
    assert_null(embedder);
    burble_llama_embedder_destroy(&embedder);
    burble_llama_embedder_destroy(NULL);
}

/* Of a text with one token, all are the same. */
static void pooling_decides_on_vector(void **state)
{
    float vectors[4][2][LENGTH];
    const burble_text texts[] = {text_of("a"), text_of(prompts[2])};
    (void)state;
    for (int pooling = 0; pooling < 4; pooling++) {
        burble_llama_embedder *embedder = open_embedder(0, (burble_llama_pooling)pooling);
        assert_result(burble_llama_embedder_embed(embedder, texts, 2, vectors[pooling][0], NULL),
                      BURBLE_OK);
        burble_llama_embedder_destroy(&embedder);
    }
    for (int a = 0; a < 4; a++) {
        for (int b = 0; b < 4; b++) {
            const bool same = a == b || (a < 2 && b < 2); /* the model has none of its own */
            assert_true(cosine(vectors[a][0], vectors[b][0]) > 0.9999);
            assert_true((cosine(vectors[a][1], vectors[b][1]) > 0.9999) == same);
        }
    }
}

static void refuses(burble_llama_embedder *embedder, burble_text text, const char *message)
{
    float out[2 * LENGTH];
    burble_error error = {0};
    const burble_text texts[] = {text_of("a"), text};
    assert_result(burble_llama_embedder_embed(embedder, texts, 2, out, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, message);
}

static void text_out_of_bounds_is_refused(void **state)
{
    float out[LENGTH];
    const burble_text good = text_of("ROMEO:");
    (void)state;
    burble_llama_embedder *embedder = open_embedder(8, BURBLE_LLAMA_POOLING_MEAN);
    refuses(embedder, text_of(""), "text 1: expected 1 to 8 tokens, found none: 0 bytes of text");
    refuses(embedder, text_of("\xff"), "text 1: expected at most 1 GiB of UTF-8");
    refuses(embedder, text_of(prompts[2]),
            "text 1: expected 1 to 8 tokens, found more: 67 bytes of text");
    char *text = malloc(1 << 20);
    assert_non_null(text);
    memset(text, 'z', 1 << 20);
    refuses(embedder, (burble_text){.bytes = text, .len = 1 << 20},
            "text 1: expected 1 to 8 tokens, found more: 1048576 bytes of text");
    free(text);
    assert_result(burble_llama_embedder_embed(embedder, &good, 1, out, NULL), BURBLE_OK);
    assert_result(burble_llama_embedder_embed(embedder, NULL, 0, NULL, NULL), BURBLE_OK);
    burble_llama_embedder_destroy(&embedder);
}

static void option_out_of_range_is_refused(void **state)
{
    burble_llama_embedder *embedder = (burble_llama_embedder *)&state;
    burble_llama_embedder_options options;
    burble_error error = {0};
    burble_llama_embedder_options_init(&options);
    options.pooling = (burble_llama_pooling)4;
    assert_result(burble_llama_embedder_create(model, &options, &embedder, &error), BURBLE_EINVAL);
    assert_null(embedder);
    assert_string_equal(error.message, "pooling: expected 0 to 3, found 4");
    burble_llama_embedder_options_init(&options);
    options.context = 513;
    assert_result(burble_llama_embedder_create(model, &options, &embedder, &error), BURBLE_EINVAL);
    burble_llama_embedder_options_init(&options);
    options.reserved[0] = 1;
    assert_result(burble_llama_embedder_create(model, &options, &embedder, &error), BURBLE_EINVAL);
}

/* ---- threads --------------------------------------------------------------------------------------- */

static void *embed_for_ever(void *arg)
{
    static float out[512 * LENGTH];
    burble_text texts[512];
    int result;
    for (int i = 0; i < 512; i++)
        texts[i] = text_of(prompts[9]);
    do
        result = burble_llama_embedder_embed(arg, texts, 512, out, NULL);
    while (result == BURBLE_OK);
    return (void *)(intptr_t)result;
}

static void cancel_ends_call_of_another_thread(void **state)
{
    float out[LENGTH];
    const burble_text text = text_of("a");
    pthread_t thread;
    void *result;
    (void)state;
    burble_llama_embedder *embedder = open_embedder(0, BURBLE_LLAMA_POOLING_MEAN);
    assert_int_equal(pthread_create(&thread, NULL, embed_for_ever, embedder), 0);
    burble_llama_embedder_embed(embedder, &text, 1, out, NULL); /* beside it, in turn */
    burble_llama_embedder_cancel(embedder);
    pthread_join(thread, &result);
    assert_int_equal((intptr_t)result, BURBLE_ECANCELED);
    assert_result(burble_llama_embedder_embed(embedder, &text, 1, out, NULL), BURBLE_ECANCELED);
    burble_llama_embedder_destroy(&embedder);
}

static atomic_int ended;

static void *embed_until_interrupted(void *arg)
{
    void *result = embed_for_ever(arg);
    ended++;
    return result;
}

/* Both calls end: that which computes, and that which waits for it. */
static void interrupt_ends_calls_and_no_later_ones(void **state)
{
    float out[LENGTH];
    const burble_text text = text_of("a");
    pthread_t threads[2];
    void *result;
    (void)state;
    burble_llama_embedder *embedder = open_embedder(0, BURBLE_LLAMA_POOLING_MEAN);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, embed_until_interrupted, embedder), 0);
    while (ended < 2) {
        burble_llama_embedder_interrupt(embedder);
        sched_yield();
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &result);
        assert_int_equal((intptr_t)result, BURBLE_ECANCELED);
    }
    assert_result(burble_llama_embedder_embed(embedder, &text, 1, out, NULL), BURBLE_OK);
    burble_llama_embedder_destroy(&embedder);
}

static void forked_child_is_refused(void **state)
{
    float out[LENGTH];
    const burble_text text = text_of("a");
    int status;
    (void)state;
    burble_llama_embedder *embedder = open_embedder(0, BURBLE_LLAMA_POOLING_MEAN);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const int result = burble_llama_embedder_embed(embedder, &text, 1, out, NULL);
        burble_llama_embedder_destroy(&embedder);
        _exit(result == BURBLE_ECLOSED && embedder == NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_result(burble_llama_embedder_embed(embedder, &text, 1, out, NULL), BURBLE_OK);
    burble_llama_embedder_destroy(&embedder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_have_length_one_alone_and_in_company),
        cmocka_unit_test(pooling_decides_on_vector),
        cmocka_unit_test(text_out_of_bounds_is_refused),
        cmocka_unit_test(option_out_of_range_is_refused),
        cmocka_unit_test(cancel_ends_call_of_another_thread),
        cmocka_unit_test(interrupt_ends_calls_and_no_later_ones),
        cmocka_unit_test(forked_child_is_refused),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
