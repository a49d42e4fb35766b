/* SPDX-License-Identifier: MIT
 *
 * What sampling keeps and draws, beside the plain calculation: sort all, add up, cut.
 */
#include "engine/llama_candidates.h"

#include "../unit/support.h"

#include <math.h>
#include <string.h>

enum { N = 700, ROUNDS = 40 };

/* A generator for the tests' numbers, from 0 to below 1. */
static double any(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

/* Logits as of a model: few are high. Every 50th equals its predecessor, and some tokens are excluded. */
static struct burble__candidates make(llama_token_data *data)
{
    for (int i = 0; i < N; i++) {
        const double u = any();
        const float logit = (float)(12.0 * u * u * u * u - 4.0 * any());
        data[i] = (llama_token_data){i, i % 50 == 1 ? data[i - 1].logit : logit, 0.0f};
        if (i % 97 == 5)
            data[i].logit = -INFINITY;
    }
    return (struct burble__candidates){data, N};
}

/* ---- the plain calculation ------------------------------------------------------------------------- */

static double probability[N];
static double key[N]; /* the higher, the earlier it is kept */

static int by_key(const void *a, const void *b)
{
    const int x = *(const int *)a;
    const int y = *(const int *)b;
    return key[x] != key[y] ? (key[x] < key[y]) - (key[x] > key[y]) : (x > y) - (x < y);
}

static void calculate(const llama_token_data *data, double temperature)
{
    double total = 0.0;
    for (int i = 0; i < N; i++)
        total += exp((double)data[i].logit / temperature);
    for (int i = 0; i < N; i++)
        probability[i] = exp((double)data[i].logit / temperature) / total;
}

/* Keeps what comes first, until `enough` of the sum; returns how many, and marks them. */
static int keep(bool *kept, double enough, bool at_least)
{
    int order[N];
    double sum = 0.0;
    int n = 0;
    for (int i = 0; i < N; i++)
        order[i] = i;
    qsort(order, N, sizeof order[0], by_key);
    memset(kept, 0, N * sizeof *kept);
    while (n < N && (n == 0 || (at_least ? sum < enough : sum <= enough))) {
        sum += probability[order[n]];
        kept[order[n++]] = true;
    }
    return n;
}

static void assert_kept_at(struct place at, const struct burble__candidates *found,
                           const bool *expected, int n)
{
    assert_int_equal_at(at, found->n, n);
    for (size_t i = 0; i < found->n; i++)
        assert_true_at(at, expected[found->data[i].id]);
}
#define assert_kept(...) assert_kept_at(HERE, __VA_ARGS__)

/* ---- tests ----------------------------------------------------------------------------------------- */

static void top_k_keeps_likeliest(void **state)
{
    llama_token_data data[N];
    bool kept[N];
    (void)state;
    for (int k = 1; k < N + 20; k += 17) {
        struct burble__candidates candidates = make(data);
        calculate(data, 1.0);
        for (int i = 0; i < N; i++)
            key[i] = (double)data[i].logit;
        keep(kept, 2.0, true);
        int order[N];
        for (int i = 0; i < N; i++)
            order[i] = i;
        qsort(order, N, sizeof order[0], by_key);
        memset(kept, 0, sizeof kept);
        for (int i = 0; i < k && i < N; i++)
            kept[order[i]] = true;
        burble__candidates_top_k(&candidates, (size_t)k);
        assert_kept(&candidates, kept, k < N ? k : N);
    }
}

static void top_p_keeps_fewest_with_that_probability(void **state)
{
    llama_token_data data[N];
    bool kept[N];
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        const float p = i == 0 ? 1e-6f : i == 1 ? 0.9999f : (float)any();
        struct burble__candidates candidates = make(data);
        calculate(data, 1.0);
        for (int j = 0; j < N; j++)
            key[j] = (double)data[j].logit;
        const int n = keep(kept, (double)p, true);
        burble__candidates_top_p(&candidates, p);
        assert_kept(&candidates, kept, n);
    }
}

static void typical_keeps_nearest_to_expected_surprise(void **state)
{
    llama_token_data data[N];
    bool kept[N];
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        const float p = 0.05f + 0.9f * (float)any();
        struct burble__candidates candidates = make(data);
        calculate(data, 1.0);
        double expected = 0.0;
        for (int j = 0; j < N; j++)
            expected -= probability[j] > 0 ? probability[j] * log(probability[j]) : 0.0;
        for (int j = 0; j < N; j++)
            key[j] = (double)-(float)fabs(-log(probability[j]) - expected);
        const int n = keep(kept, (double)p, false);
        burble__candidates_typical(&candidates, p);
        /* One that is as near as the last of them, to the digits of a float, may take its place. */
        assert_int_equal(candidates.n >= (size_t)n - 1 && candidates.n <= (size_t)n + 1, 1);
        int others = 0;
        for (size_t j = 0; j < candidates.n; j++)
            others += !kept[candidates.data[j].id];
        assert_true(others <= 1);
    }
}

static void min_p_keeps_that_part_of_likeliest(void **state)
{
    llama_token_data data[N];
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        const float p = i == 0 ? 1.0f : (float)any();
        struct burble__candidates candidates = make(data);
        struct burble__candidates all = candidates;
        const float highest = data[burble__candidates_best(&all)].logit;
        size_t n = 0;
        for (int j = 0; j < N; j++)
            n += exp((double)(data[j].logit - highest)) >= (double)p;
        burble__candidates_min_p(&candidates, p);
        assert_int_equal(candidates.n, n);
        for (size_t j = 0; j < n; j++)
            assert_true(exp((double)(candidates.data[j].logit - highest)) >= (double)p * 0.999999);
    }
}

static void mirostat_2_keeps_surprises_up_to_mu(void **state)
{
    llama_token_data data[N];
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        const float mu = i == 0 ? 0.0f : 12.0f * (float)any();
        const float temperature = 0.5f + (float)any();
        struct burble__candidates candidates = make(data);
        calculate(data, (double)temperature);
        size_t n = 0;
        for (int j = 0; j < N; j++)
            n += -log2(probability[j]) <= (double)mu;
        burble__candidates_mirostat(&candidates, 2, temperature, mu);
        assert_int_equal(candidates.n, n > 0 ? n : 1);
    }
}

/* Of a power law, p(i) = c / i^s, whose exponent is found from the likeliest 100. */
static void mirostat_1_keeps_as_many_as_power_law_says(void **state)
{
    llama_token_data data[N];
    const double s = 1.4;
    const double mu = 6.0;
    (void)state;
    for (int i = 0; i < N; i++)
        data[i] = (llama_token_data){i, (float)(-s * log((double)((i * 37) % N + 1))), 0.0f};
    struct burble__candidates candidates = {data, N};
    const double k =
        pow((s - 1) * pow(2, mu) / (1 - pow((double)N, 1 - s)), 1 / s); /* the paper's */
    burble__candidates_mirostat(&candidates, 1, 1.0f, (float)mu);
    assert_true(fabs((double)candidates.n - floor(k)) <= 1.0);
}

/* Chi-square over the tokens that are expected 8 times or more, the rest as one; of 20,000 keys. */
static void draws_have_probabilities_of_temperature(void **state)
{
    enum { DRAWS = 20000 };
    static const float temperatures[] = {0.3f, 1.0f, 2.0f};
    llama_token_data data[N];
    llama_token_data again[N];
    (void)state;
    for (size_t t = 0; t < sizeof temperatures / sizeof temperatures[0]; t++) {
        int count[N] = {0};
        make(data);
        calculate(data, (double)temperatures[t]);
        for (int i = 0; i < DRAWS; i++) {
            memcpy(again, data, sizeof data);
            struct burble__candidates candidates = {again, N};
            if (i % 2 == 0) { /* what is out of order gives the same */
                again[0] = data[N - 1];
                again[N - 1] = data[0];
            }
            const size_t drawn = burble__candidates_draw(&candidates, temperatures[t], (uint64_t)i);
            count[candidates.data[drawn].id]++;
        }
        double chi = 0.0;
        double rest = DRAWS;
        double others = DRAWS;
        int freedom = 0;
        for (int i = 0; i < N; i++) {
            const double expected = probability[i] * DRAWS;
            if (probability[i] == 0)
                assert_int_equal(count[i], 0);
            if (expected < 8)
                continue;
            chi += (count[i] - expected) * (count[i] - expected) / expected;
            rest -= count[i];
            others -= expected;
            freedom++;
        }
        chi += (rest - others) * (rest - others) / (others > 1 ? others : 1);
        assert_true(chi < freedom + 4 * sqrt(2.0 * freedom)); /* four standard deviations */
    }
}

static void draw_changes_little_with_logits(void **state)
{
    enum { DRAWS = 2000 };
    llama_token_data data[N];
    llama_token_data near[N];
    llama_token_data far[N];
    int changed = 0;
    (void)state;
    for (int i = 0; i < DRAWS; i++) {
        make(data);
        memcpy(near, data, sizeof data);
        memcpy(far, data, sizeof data);
        for (int j = 0; j < N; j++)
            far[j].logit += (float)(2e-3 * any() - 1e-3);
        struct burble__candidates a = {near, N};
        struct burble__candidates b = {far, N};
        burble__candidates_top_p(&a, 0.95f);
        burble__candidates_top_p(&b, 0.95f);
        const size_t x = burble__candidates_draw(&a, 0.8f, (uint64_t)i);
        const size_t y = burble__candidates_draw(&b, 0.8f, (uint64_t)i);
        changed += a.data[x].id != b.data[y].id;
    }
    assert_true(changed < DRAWS / 100);
}

static void logits_that_are_no_numbers_choose_a_token(void **state)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    llama_token_data data[N];
    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        for (int how = 0; how < 6; how++) {
            for (int j = 0; j < N; j++)
                data[j] = (llama_token_data){j, j % 3 == 0 && i < 2 ? 1.0f : odd[i], 0.0f};
            struct burble__candidates candidates = {data, N};
            if (how == 1)
                burble__candidates_top_k(&candidates, 5);
            if (how == 2)
                burble__candidates_typical(&candidates, 0.5f);
            if (how == 3)
                burble__candidates_top_p(&candidates, 0.5f);
            if (how == 4)
                burble__candidates_min_p(&candidates, 0.5f);
            if (how == 5)
                burble__candidates_mirostat(&candidates, 1 + (int)i % 2, 1.0f, 5.0f);
            assert_true(candidates.n >= 1);
            assert_true(burble__candidates_draw(&candidates, 1.0f, 1) < candidates.n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_k_keeps_likeliest),
        cmocka_unit_test(top_p_keeps_fewest_with_that_probability),
        cmocka_unit_test(typical_keeps_nearest_to_expected_surprise),
        cmocka_unit_test(min_p_keeps_that_part_of_likeliest),
        cmocka_unit_test(mirostat_2_keeps_surprises_up_to_mu),
        cmocka_unit_test(mirostat_1_keeps_as_many_as_power_law_says),
        cmocka_unit_test(draws_have_probabilities_of_temperature),
        cmocka_unit_test(draw_changes_little_with_logits),
        cmocka_unit_test(logits_that_are_no_numbers_choose_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
