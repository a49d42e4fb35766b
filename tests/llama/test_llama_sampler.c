/* SPDX-License-Identifier: MIT
 *
 * The sampler of one request over made-up logits, beside llama.cpp's own samplers of the same names.
 */
#include "engine/llama_sampler.h"

#include "engine_support.h"

#include <math.h>

enum { N = 2048, ROUNDS = 200, PAST = 120, CONTEXT = 512 };

static float logits[N];
static llama_token_data data[N];

/* Made-up logits; the first few tokens, which the made-up past consists of, are likely. */
static void make_logits(uint64_t *random)
{
    for (int i = 0; i < N; i++)
        logits[i] = (float)(next_random(random) % 20000) / 1000.0f - 12.0f + (i < 24 ? 6.0f : 0.0f);
}

static void make_past(uint64_t *random, int32_t *ids)
{
    for (int i = 0; i < PAST; i++)
        ids[i] = i > 10 && next_random(random) % 2 == 0 ? ids[i - 8]
                                                        : (int32_t)(next_random(random) % 24);
}

static struct burble__sampler *make_at(struct place at, const burble_llama_request *request)
{
    struct burble__sampler *sampler;
    burble_error error = {0};
    if (burble__sampler_create(model, request, CONTEXT, &sampler, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    return sampler;
}
#define make(...) make_at(HERE, __VA_ARGS__)

/* Whether greedy choices equal the likeliest tokens after llama.cpp's sampler, which is freed. */
static void assert_equals_llama_at(struct place at, const burble_llama_request *request,
                                   struct llama_sampler *llama)
{
    uint64_t random = 7;
    int32_t past[PAST];
    int changed = 0;
    struct burble__sampler *sampler = make_at(at, request);
    make_past(&random, past);
    burble__sampler_take_prompt(sampler, past, PAST);
    for (int i = 0; i < PAST; i++)
        llama_sampler_accept(llama, past[i]);
    for (int round = 0; round < ROUNDS; round++) {
        make_logits(&random);
        int plain = 0;
        for (int i = 0; i < N; i++) {
            data[i] = (llama_token_data){i, logits[i], 0.0f};
            plain = logits[i] > logits[plain] ? i : plain;
        }
        llama_token_data_array all = {data, N, -1, false};
        llama_sampler_apply(llama, &all);
        int expected = 0;
        for (int i = 0; i < N; i++)
            expected = data[i].logit > data[expected].logit ? i : expected;
        const int32_t id = burble__sampler_choose(sampler, PAST + (uint32_t)round, logits, data, N);
        assert_int_equal_at(at, id, expected);
        llama_sampler_accept(llama, id);
        changed += id != plain;
    }
    assert_true_at(at, changed > 0);
    llama_sampler_free(llama);
    burble__sampler_destroy(&sampler);
}
#define assert_equals_llama(...) assert_equals_llama_at(HERE, __VA_ARGS__)

static burble_llama_request defaults(void)
{
    burble_llama_request request;
    burble_llama_request_init(&request);
    return request;
}

static void penalties_equal_those_of_llama(void **state)
{
    static const struct {
        uint32_t last_n;
        float repeat, frequency, presence;
    } cases[] = {{64, 1.3f, 0, 0}, {64, 1, 0.7f, 0}, {64, 1, 0, 2.5f},        {5, 1.1f, 0.2f, 0.3f},
                 {1, 3, 0, 0},     {400, 2, 1, 1},   {64, 0.5f, -0.5f, -1.0f}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        burble_llama_request request = defaults();
        request.penalty_last_n = cases[i].last_n;
        request.repeat_penalty = cases[i].repeat;
        request.frequency_penalty = cases[i].frequency;
        request.presence_penalty = cases[i].presence;
        assert_equals_llama(
            &request, llama_sampler_init_penalties(N, (int32_t)cases[i].last_n, cases[i].repeat,
                                                   cases[i].frequency, cases[i].presence));
    }
}

static void dry_equals_that_of_llama(void **state)
{
    static const char *breakers[] = {"\n", ":", "\"", "*"};
    (void)state;
    const struct llama_vocab *vocab = model->tokens;
    burble_llama_request request = defaults();
    request.dry_multiplier = 0.8f;
    assert_equals_llama(&request,
                        llama_sampler_init_dry(vocab, 0.8f, 1.75f, 2, CONTEXT, breakers, 4));
    request.dry_multiplier = 3;
    request.dry_base = 1.1f;
    request.dry_allowed_length = 1;
    request.dry_last_n = 50;
    request.n_dry_breakers = 0;
    assert_equals_llama(&request, llama_sampler_init_dry(vocab, 3, 1.1f, 1, 50, NULL, 0));
}

/* Also where the sum of its other biases is infinite. */
static void token_with_bias_of_minus_infinity_is_never_chosen(void **state)
{
    const burble_llama_bias biases[] = {{0, 3e38f}, {0, 3e38f}, {0, -INFINITY}, {0, 3e38f}};
    burble_llama_request request;
    uint64_t random = 3;
    (void)state;
    burble_llama_request_init(&request);
    request.logit_bias = biases;
    request.n_logit_bias = 4;
    for (int warm = 0; warm < 2; warm++) {
        request.temperature = (float)warm;
        struct burble__sampler *sampler = make(&request);
        make_logits(&random);
        assert_int_not_equal(burble__sampler_choose(sampler, 0, logits, data, N), 0);
        burble__sampler_destroy(&sampler);
    }
}

static void logit_bias_is_added_up(void **state)
{
    const llama_logit_bias biases[] = {{3, 2}, {3, 1.5f}, {9, -100}, {700, 6}, {20, -INFINITY}};
    burble_llama_bias same[5];
    (void)state;
    for (int i = 0; i < 5; i++)
        same[i] = (burble_llama_bias){biases[i].token, biases[i].bias};
    burble_llama_request request = defaults();
    request.logit_bias = same;
    request.n_logit_bias = 5;
    assert_equals_llama(&request, llama_sampler_init_logit_bias(N, 5, biases));
}

static void excluded_tokens_are_never_chosen(void **state)
{
    enum { LEFT = 1234 };
    burble_llama_bias biases[N];
    uint64_t random = 3;
    (void)state;
    for (int i = 0; i < N; i++)
        biases[i] = (burble_llama_bias){i, -INFINITY};
    burble_llama_request request = defaults();
    request.logit_bias = biases;
    request.n_logit_bias = N;
    for (int how = 0; how < 6; how++) {
        request.temperature = how == 0 ? 0.0f : 1.0f;
        request.top_k = how == 1 ? 40 : 0;
        request.top_p = how == 2 ? 0.9f : 1.0f;
        request.typical_p = how == 3 ? 0.9f : 1.0f;
        request.min_p = how == 4 ? 0.1f : 0.0f;
        request.mirostat = how == 5 ? 1 + (how & 1) : 0;
        biases[LEFT].bias = -INFINITY;
        struct burble__sampler *none = make(&request);
        biases[LEFT].bias = 0.0f;
        struct burble__sampler *one = make(&request);
        for (uint32_t i = 0; i < 20; i++) {
            make_logits(&random);
            assert_int_equal(burble__sampler_choose(one, i, logits, data, N), LEFT);
            assert_result(burble__sampler_choose(none, i, logits, data, N), -1);
        }
        burble__sampler_destroy(&none);
        burble__sampler_destroy(&one);
    }
}

/* Chi-square over 16 bins of tokens that are equally likely: 35 bounds it for 15 degrees of freedom in 997
 * cases of 1,000. The seeds are fixed. */
static void choices_of_seeds_and_positions_are_uniform(void **state)
{
    enum { SEEDS = 400, POSITIONS = 40, BINS = 16 };
    static int seen[SEEDS][POSITIONS];
    int by_seed[BINS] = {0};
    int pairs[BINS] = {0};
    (void)state;
    memset(logits, 0, sizeof logits);
    burble_llama_request request = defaults();
    request.temperature = 1.0f;
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        request.seed = seed;
        struct burble__sampler *sampler = make(&request);
        struct burble__sampler *late = make(&request);
        for (uint32_t i = 0; i < POSITIONS; i++) {
            const int32_t id = burble__sampler_choose(sampler, i, logits, data, N);
            seen[seed][i] = id / (N / BINS);
            by_seed[seen[seed][i]]++;
            if (i >= POSITIONS / 2) /* what was drawn before does not matter */
                assert_int_equal(burble__sampler_choose(late, i, logits, data, N), id);
        }
        burble__sampler_destroy(&sampler);
        burble__sampler_destroy(&late);
    }
    for (uint32_t seed = 1; seed < SEEDS; seed++)
        for (uint32_t i = 1; i < POSITIONS; i++)
            pairs[(seen[seed][i] - seen[seed - 1][i] + seen[seed][i - 1] + BINS) % BINS]++;
    double chi = 0.0;
    double chi_of_pairs = 0.0;
    for (int i = 0; i < BINS; i++) {
        const double expected = (double)SEEDS * POSITIONS / BINS;
        const double of_pairs = (double)(SEEDS - 1) * (POSITIONS - 1) / BINS;
        chi += (by_seed[i] - expected) * (by_seed[i] - expected) / expected;
        chi_of_pairs += (pairs[i] - of_pairs) * (pairs[i] - of_pairs) / of_pairs;
    }
    assert_true(chi < 35);
    assert_true(chi_of_pairs < 35);
}

static void seed_of_chance_differs_each_time(void **state)
{
    int same = 0;
    (void)state;
    memset(logits, 0, sizeof logits);
    burble_llama_request request = defaults();
    request.temperature = 1.0f;
    request.seed = UINT32_MAX;
    int32_t before = -1;
    for (int i = 0; i < 50; i++) {
        struct burble__sampler *sampler = make(&request);
        const int32_t id = burble__sampler_choose(sampler, 0, logits, data, N);
        same += id == before;
        before = id;
        burble__sampler_destroy(&sampler);
    }
    assert_true(same < 5);
}

/* The surprise of the tokens that Mirostat chooses comes near its aim, which is far from that of all. */
static void mirostat_comes_near_its_surprise(void **state)
{
    enum { TOKENS = 1500 };
    static const float aims[] = {3, 5};
    uint64_t random = 11;
    (void)state;
    for (uint32_t version = 1; version <= 2; version++) {
        for (size_t i = 0; i < 2; i++) {
            double surprise = 0.0;
            burble_llama_request request = defaults();
            request.temperature = 1.0f;
            request.mirostat = version;
            request.mirostat_tau = aims[i];
            request.mirostat_eta = 0.1f;
            struct burble__sampler *sampler = make(&request);
            assert_true(burble__sampler_mu(sampler) == 2 * aims[i]);
            for (uint32_t position = 0; position < TOKENS; position++) {
                const float before = burble__sampler_mu(sampler);
                for (int j = 0; j < N; j++)
                    logits[j] = (float)(-1.1 * log((double)((j * 37) % N + 1))
                                        + 1e-4 * (double)(next_random(&random) % 100));
                burble__sampler_choose(sampler, position, logits, data, N);
                surprise += (double)((before - burble__sampler_mu(sampler)) / 0.1f + aims[i]);
            }
            assert_true(fabs(surprise / TOKENS - (double)aims[i]) < 0.3);
            burble__sampler_destroy(&sampler);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalties_equal_those_of_llama),
        cmocka_unit_test(dry_equals_that_of_llama),
        cmocka_unit_test(logit_bias_is_added_up),
        cmocka_unit_test(token_with_bias_of_minus_infinity_is_never_chosen),
        cmocka_unit_test(excluded_tokens_are_never_chosen),
        cmocka_unit_test(choices_of_seeds_and_positions_are_uniform),
        cmocka_unit_test(seed_of_chance_differs_each_time),
        cmocka_unit_test(mirostat_comes_near_its_surprise),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
