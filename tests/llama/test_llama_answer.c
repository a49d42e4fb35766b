/* SPDX-License-Identifier: MIT
 *
 * An answer's tokens: their log-probabilities, where their text is, and how it goes on from each of them.
 */
#include "engine_support.h"

#include <math.h>

enum { TOKENS = 40, MOST = 64, PROMPT = 200 };

/* Log-probabilities nearer than this may change their order, since llama.cpp's sums in a prompt and in a step
 * differ in their last bits, and its cache has 16. */
#define TIE 0.02

/* What a request's watcher was told of each token. */
struct answer {
    burble_stream *stream;
    uint32_t n;
    int32_t ids[MOST];
    uint64_t offsets[MOST];
    uint64_t records[MOST]; /* in the stream before the token */
    float logprobs[MOST];
    float lead[MOST]; /* of the likeliest before the next one, in log-probability */
    float mu[MOST];   /* after the token */
    float top[MOST][BURBLE_LLAMA_MAX_LOGPROBS];
    int32_t top_ids[MOST][BURBLE_LLAMA_MAX_LOGPROBS];
    uint32_t n_top;
    size_t ends[4096]; /* the length of the text after each record */
    struct output output;
};

static void watch(const burble_llama_progress *progress, void *arg)
{
    struct answer *answer = arg;
    const uint32_t i = progress->tokens - 1;
    if (progress->over || progress->tokens == 0 || progress->tokens == answer->n)
        return;
    answer->n = progress->tokens;
    answer->ids[i] = progress->id;
    answer->offsets[i] = progress->offset;
    answer->records[i] = burble_stream_position(answer->stream);
    answer->mu[i] = progress->mirostat_mu;
    if (!progress->has_logprobs)
        return;
    answer->logprobs[i] = progress->logprob;
    answer->n_top = progress->n_top;
    for (uint32_t j = 0; j < progress->n_top; j++) {
        answer->top[i][j] = progress->top_logprobs[j];
        answer->top_ids[i][j] = progress->top_ids[j];
    }
    answer->lead[i] = progress->n_top > 1 ? answer->top[i][0] - answer->top[i][1] : 0.0f;
}

/* Generates an answer, and notes what the watcher is told. */
static void answer_at(struct place at, burble_llama_engine *engine, burble_llama_request request,
                      struct answer *answer)
{
    burble_reader *reader;
    burble_record record;
    burble_error error = {0};
    memset(answer, 0, sizeof *answer);
    answer->stream = stream_and_reader_at(at, &reader);
    request.watch = watch;
    request.watch_arg = answer;
    if (burble_llama_engine_submit(engine, &request, answer->stream, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    struct output *output = &answer->output;
    while ((output->end = burble_reader_next(reader, &record)) == BURBLE_OK
           || output->end == BURBLE_AGAIN) {
        if (output->end == BURBLE_AGAIN) {
            burble_reader_wait(reader, 0);
            continue;
        }
        memcpy(output->text + output->len, record.text, record.len);
        output->len += record.len;
        output->tokens += record.tokens;
        answer->ends[++output->records] = output->len;
    }
    burble_reader_destroy(&reader);
    wait_until_active(engine, 0); /* the watcher has had its last call */
    burble_stream_unref(&answer->stream);
}
#define answer(...) answer_at(HERE, __VA_ARGS__)

static size_t tokenize(const char *prompt, int32_t *ids)
{
    size_t n;
    assert_result(
        burble_llama_model_tokenize(model, prompt, strlen(prompt), false, ids, PROMPT, &n),
        BURBLE_OK);
    return n;
}

/* ---- log-probabilities ------------------------------------------------------------------------------ */

static void logprobs_are_those_of_model(void **state)
{
    static struct answer greedy;
    static struct answer changed;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for(prompts[0], TOKENS);
    request.logprobs = true;
    request.top_logprobs = 20;
    request.reuse = false; /* what is reused was summed up in another order */
    answer(engine, request, &greedy);
    assert_int_equal(greedy.n, TOKENS);
    assert_int_equal(greedy.n_top, 20);
    for (int i = 0; i < TOKENS; i++) {
        double sum = 0.0;
        assert_int_equal(greedy.top_ids[i][0], greedy.ids[i]);
        assert_true(greedy.top[i][0] == greedy.logprobs[i]);
        for (int j = 0; j < 20; j++) {
            sum += exp((double)greedy.top[i][j]);
            assert_true(j == 0 || greedy.top[i][j] <= greedy.top[i][j - 1]);
        }
        assert_true(sum <= 1.000001 && greedy.logprobs[i] <= 0.0f);
    }
    /* Nothing that changes the choice changes them; that bias leaves one token. */
    burble_llama_bias bias = {greedy.top_ids[0][7], 1000};
    request.logit_bias = &bias;
    request.n_logit_bias = 1;
    request.temperature = 1.0f;
    request.repeat_penalty = 1.5f;
    request.max_tokens = 1;
    answer(engine, request, &changed);
    assert_int_equal(changed.ids[0], bias.id);
    assert_true(changed.logprobs[0] == greedy.top[0][7]);
    assert_memory_equal(changed.top[0], greedy.top[0], sizeof greedy.top[0]);
    request.top_logprobs = 0;
    answer(engine, request, &changed);
    assert_int_equal(changed.n_top, 0);
    assert_true(changed.logprobs[0] == greedy.top[0][7]);
    burble_llama_engine_destroy(&engine);
}

/* Of first tokens over many seeds, and the log-probabilities: chi-square over those expected 8 times or more,
 * and the rest as one. The seeds are fixed. */
static void sampled_tokens_have_probabilities_of_logprobs(void **state)
{
    enum { SEEDS = 1500, TOP = 20 };
    static struct answer found;
    int count[TOP] = {0};
    double weight[TOP];
    double total = 0.0;
    const double temperature = 1.7;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for(prompts[1], 1);
    request.logprobs = true;
    request.top_logprobs = TOP;
    request.top_k = TOP - 1;
    request.temperature = (float)temperature;
    answer(engine, request, &found);
    /* One of the 20 is repeated in the prompt, another one is made likelier, and a third excluded. */
    const burble_llama_bias biases[] = {{found.top_ids[0][5], 1.5f},
                                        {found.top_ids[0][2], -INFINITY}};
    request.logit_bias = biases;
    request.n_logit_bias = 2;
    for (int i = 0; i < TOP; i++) {
        const double logit = (double)found.top[0][i] + (i == 5 ? 1.5 : 0.0);
        weight[i] = i == 2 ? 0.0 : exp(logit / temperature);
        total += weight[i];
    }
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        request.seed = seed;
        answer(engine, request, &found);
        int which = 0;
        while (which < TOP && found.top_ids[0][which] != found.ids[0])
            which++;
        assert_true(which < TOP);
        count[which]++;
    }
    double chi = 0.0;
    double rest = 0.0;
    double of_rest = 0.0;
    int freedom = 0;
    for (int i = 0; i < TOP; i++) {
        const double expected = weight[i] / total * SEEDS;
        if (expected < 8) {
            rest += count[i];
            of_rest += expected;
            continue;
        }
        chi += (count[i] - expected) * (count[i] - expected) / expected;
        freedom++;
    }
    if (of_rest >= 1)
        chi += (rest - of_rest) * (rest - of_rest) / of_rest;
    assert_int_equal(count[2], 0);
    assert_true(chi < freedom + 4 * sqrt(2.0 * freedom));
    burble_llama_engine_destroy(&engine);
}

/* ---- offsets ---------------------------------------------------------------------------------------- */

static uint64_t characters(const char *text, size_t len)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xC0u) != 0x80u;
    return n;
}

/* Bytes of characters are forced by a bias: the model has never seen such. */
static void offsets_line_tokens_up_with_text(void **state)
{
    static struct answer found;
    int32_t wanted[PROMPT];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for(prompts[0], TOKENS);
    answer(engine, request, &found);
    for (uint32_t i = 0; i < found.n; i++)
        assert_int_equal(found.offsets[i], characters(found.output.text, found.ends[i]));
    /* A token that begins a character, then one that cannot complete it. */
    const size_t n = tokenize("\xE2\x82\xAC", wanted);
    assert_true(n > 1);
    burble_llama_bias bias = {wanted[0], 1000};
    request.logit_bias = &bias;
    request.n_logit_bias = 1;
    request.max_tokens = 3;
    answer(engine, request, &found);
    assert_int_equal(found.offsets[0], 0);
    for (uint32_t i = 1; i < found.n; i++)
        assert_true(found.offsets[i] >= found.offsets[i - 1]
                    && found.offsets[i] <= characters(found.output.text, found.output.len));
    burble_llama_engine_destroy(&engine);
}

/* ---- continuing ------------------------------------------------------------------------------------- */

/* Continues an answer from each of its tokens: the rest is what the whole text had after that token. Returns how
 * many parted from it, none of them a greedy one where no two tokens tie. */
static int continue_from_each_at(struct place at, burble_llama_engine *engine,
                                 burble_llama_request request, int *tried)
{
    static struct answer whole;
    static struct answer rest;
    int32_t ids[PROMPT];
    int parted = 0;
    request.logprobs = true;
    request.top_logprobs = 2;
    const size_t n = tokenize(request.prompt, ids);
    request.ids = ids;
    request.n_ids = n;
    answer_at(at, engine, request, &whole);
    assert_true_at(at, n + whole.n <= PROMPT);
    memcpy(ids + n, whole.ids, whole.n * sizeof *ids);
    const uint32_t most = request.max_tokens;
    for (uint32_t k = 1; k < whole.n; k++) {
        const size_t begin = whole.ends[whole.records[k]];
        request.n_ids = n + k;
        request.answered = k;
        request.max_tokens = most - k;
        request.mirostat_mu = k % 2 == 0 ? whole.mu[k - 1] : 0; /* as told, or from the tokens */
        answer_at(at, engine, request, &rest);
        ++*tried;
        uint32_t same = 0;
        while (same < rest.n && k + same < whole.n && rest.ids[same] == whole.ids[k + same])
            same++;
        if (same < rest.n && k + same < whole.n) {
            if (request.temperature == 0.0f)
                assert_true_at(at, (double)whole.lead[k + same] < TIE);
            parted++;
            continue;
        }
        assert_result_at(at, rest.output.end, whole.output.end);
        assert_int_equal_at(at, rest.n, whole.n - k);
        assert_int_equal_at(at, rest.output.len, whole.output.len - begin);
        assert_memory_equal_at(at, rest.output.text, whole.output.text + begin, rest.output.len);
        for (uint32_t i = 0; i < rest.n; i++)
            assert_int_equal_at(at, rest.offsets[i], whole.offsets[k + i]);
    }
    return parted;
}
#define continue_from_each(...) continue_from_each_at(HERE, __VA_ARGS__)

static void greedy_answer_continues_from_each_token(void **state)
{
    int parted = 0;
    int tried = 0;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < PROMPTS; i++) {
        burble_llama_request request = request_for(prompts[i], 24);
        request.chunking = i % 2 == 0 ? BURBLE_CHUNK_TOKEN : BURBLE_CHUNK_WORD;
        parted += continue_from_each(engine, request, &tried);
    }
    print_message("%d of %d parted\n", parted, tried);
    assert_true(parted <= tried / 10);
    burble_llama_engine_destroy(&engine);
}

static void sampled_answer_continues_from_each_token(void **state)
{
    int parted = 0;
    int tried = 0;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (int how = 0; how < 7; how++) {
        burble_llama_request request = request_for(prompts[how % 4], 20);
        request.temperature = 0.9f;
        request.seed = (uint32_t)how + 3;
        request.top_p = how == 0 ? 0.9f : 1.0f;
        request.repeat_penalty = how == 1 ? 1.3f : 1.0f;
        request.penalty_last_n = 12;
        request.dry_multiplier = how == 2 ? 1.0f : 0.0f;
        request.mirostat = how == 3 ? 1 : how == 4 || how == 6 ? 2 : 0;
        request.json = how == 6;
        request.top_k = how == 5 ? 30 : 0;
        parted += continue_from_each(engine, request, &tried);
    }
    print_message("%d of %d parted\n", parted, tried);
    assert_true(parted <= tried / 10);
    burble_llama_engine_destroy(&engine);
}

/* Stop strings that hold text back at nearly each token, and one that is found in the end. */
static void answer_with_held_text_continues_from_each_token(void **state)
{
    static struct answer whole;
    int parted = 0;
    int tried = 0;
    char end[8];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for(prompts[0], 30);
    answer(engine, request, &whole);
    memcpy(end, whole.output.text + whole.output.len - 9, 7);
    const burble_text stop[] = {{whole.output.text + 2, 9}, {end, 7}};
    char longer[16] = {0};
    memcpy(longer, stop[0].bytes, 9);
    longer[9] = '~'; /* so that it does not match */
    const burble_text stops[] = {{longer, 10}, stop[1]};
    request.stop = stops;
    request.n_stop = 2;
    parted += continue_from_each(engine, request, &tried);
    request.include_stop = true;
    request.chunking = BURBLE_CHUNK_WORD;
    parted += continue_from_each(engine, request, &tried);
    assert_true(parted <= tried / 10);
    burble_llama_engine_destroy(&engine);
}

/* The answer so far ends within a character, which the rest completes or gives up. */
static void answer_that_ends_within_character_continues(void **state)
{
    static struct answer rest;
    int32_t ids[PROMPT];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    const size_t n = tokenize("a", ids);
    const size_t all = n + tokenize("\xE2\x82\xAC", ids + n);
    assert_true(all - n == 3);
    burble_llama_bias bias = {ids[all - 1], 1000};
    burble_llama_request request = request_for("", 1);
    request.ids = ids;
    request.n_ids = all - 1;
    request.answered = 2;
    request.logit_bias = &bias;
    request.n_logit_bias = 1;
    answer(engine, request, &rest);
    assert_int_equal(rest.output.len, 3);
    assert_memory_equal(rest.output.text, "\xE2\x82\xAC", 3);
    assert_int_equal(rest.offsets[0], 0);
    burble_llama_engine_destroy(&engine);
}

static void answer_that_has_ended_is_refused(void **state)
{
    int32_t ids[PROMPT];
    burble_error error = {0};
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for("", 1);
    request.ids = ids;
    request.n_ids = tokenize("ROMEO: hear me", ids);
    request.answered = request.n_ids;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_non_null(strstr(error.message, "answered: expected fewer than the ids of the prompt"));
    request.answered--;
    const burble_text stop = {"ear", 3};
    request.stop = &stop;
    request.n_stop = 1;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_non_null(strstr(error.message, "answered: expected an answer that goes on"));
    request = request_for("text", 1);
    request.answered = 1;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    request = request_for("text", 1);
    request.top_logprobs = 21;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "top_logprobs: expected 0 to 20, found 21");
    burble_llama_engine_destroy(&engine);
}

/* ---- grammars --------------------------------------------------------------------------------------- */

static burble_llama_request with_grammar(const char *rules, uint32_t tokens)
{
    burble_llama_request request = request_for(prompts[0], tokens);
    request.grammar = rules;
    request.grammar_len = strlen(rules);
    return request;
}

static void text_is_of_the_grammar_up_to_its_end(void **state)
{
    static struct answer found;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (uint32_t seed = 0; seed < 40; seed++) {
        burble_llama_request request =
            with_grammar("root ::= (\"yes\" | \"no\") [0-9]{3} \"\xC3\xA9\"?", 0);
        request.temperature = seed == 0 ? 0.0f : 1.5f;
        request.seed = seed;
        request.top_k = seed % 3 == 2 ? 5 : 0;
        request.mirostat = seed % 7 == 6 ? 2 : 0;
        answer(engine, request, &found);
        found.output.text[found.output.len] = '\0';
        assert_result(found.output.end, BURBLE_END);
        const char *text = found.output.text;
        const size_t word = strncmp(text, "yes", 3) == 0 ? 3 : 2;
        assert_true(word == 3 || strncmp(text, "no", 2) == 0);
        assert_int_equal(strspn(text + word, "0123456789"), 3);
        assert_true(text[word + 3] == '\0' || strcmp(text + word + 3, "\xC3\xA9") == 0);
    }
    burble_llama_engine_destroy(&engine);
}

/* The choice is the same as with the refused tokens excluded by a bias. */
static void grammar_chooses_as_if_others_were_excluded(void **state)
{
    enum { IDS = 2048 };
    static struct answer by_grammar;
    static struct answer by_bias;
    static burble_llama_bias biases[IDS];
    int32_t ids[PROMPT];
    size_t n = 0;
    int refused = 0;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (int32_t i = 0; i < IDS; i++)
        biases[i] = (burble_llama_bias){i, -INFINITY};
    for (char letter = 'a'; letter <= 'z'; letter++) {
        char text[2] = {letter, '\0'};
        assert_int_equal(tokenize(text, ids), 1);
        biases[ids[0]].bias = 0.0f;
        n++;
    }
    assert_int_equal(n, 26);
    burble_llama_request plain = request_for(prompts[1], 1);
    plain.temperature = 1.0f;
    plain.reuse = false;
    for (uint32_t seed = 0; seed < 100; seed++) {
        plain.seed = seed;
        answer(engine, plain, &by_grammar);
        refused += biases[by_grammar.ids[0]].bias < 0.0f;
        burble_llama_request request = plain;
        request.logit_bias = biases;
        request.n_logit_bias = IDS;
        answer(engine, request, &by_bias);
        request = plain;
        request.grammar = "root ::= [a-z] .*";
        request.grammar_len = strlen(request.grammar);
        const burble_llama_bias only[] = {{0, 0}};
        request.logit_bias = only;
        request.n_logit_bias = 1;
        answer(engine, request, &by_grammar);
        if (by_grammar.output.len == 1)
            assert_int_equal(by_grammar.ids[0], by_bias.ids[0]);
    }
    assert_true(refused > 20);
    burble_llama_engine_destroy(&engine);
}

static void answer_with_grammar_continues_from_each_token(void **state)
{
    int parted = 0;
    int tried = 0;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    for (int how = 0; how < 2; how++) {
        burble_llama_request request = request_for(prompts[how], 40);
        request.json = true;
        request.temperature = how == 0 ? 0.0f : 1.0f;
        parted += continue_from_each(engine, request, &tried);
    }
    assert_true(tried > 20 && parted <= tried / 10);
    burble_llama_engine_destroy(&engine);
}

static void grammar_without_a_way_on_fails_text(void **state)
{
    static struct answer found;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = with_grammar("root ::= \"a\" []", 10);
    answer(engine, request, &found);
    assert_result(found.output.end, BURBLE_EFAILED);
    assert_int_equal(found.output.len, 1);
    request = with_grammar("root ::= \"\"", 10); /* only the end is allowed */
    answer(engine, request, &found);
    assert_result(found.output.end, BURBLE_END);
    assert_int_equal(found.output.len, 0);
    burble_llama_engine_destroy(&engine);
}

static void grammar_out_of_its_bounds_is_refused(void **state)
{
    burble_error error = {0};
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = with_grammar("root ::= [", 10);
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message,
                        "grammar: line 1, column 11: expected a closing ], found the end");
    request = with_grammar("root ::= \"\xFF\"", 10);
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "grammar: expected UTF-8, found byte 0xff at 10");
    request = with_grammar("root ::= .*", 10);
    request.ignore_end = true;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    request.ignore_end = false;
    request.json = true;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    int32_t ids[PROMPT];
    request = with_grammar("root ::= [0-9]*", 10);
    request.ids = ids;
    request.n_ids = tokenize("ROMEO: hear", ids);
    request.answered = 1;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_non_null(strstr(error.message, "answered: expected an answer of the grammar"));
    burble_llama_engine_destroy(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logprobs_are_those_of_model),
        cmocka_unit_test(sampled_tokens_have_probabilities_of_logprobs),
        cmocka_unit_test(offsets_line_tokens_up_with_text),
        cmocka_unit_test(greedy_answer_continues_from_each_token),
        cmocka_unit_test(sampled_answer_continues_from_each_token),
        cmocka_unit_test(answer_with_held_text_continues_from_each_token),
        cmocka_unit_test(answer_that_ends_within_character_continues),
        cmocka_unit_test(answer_that_has_ended_is_refused),
        cmocka_unit_test(text_is_of_the_grammar_up_to_its_end),
        cmocka_unit_test(grammar_chooses_as_if_others_were_excluded),
        cmocka_unit_test(answer_with_grammar_continues_from_each_token),
        cmocka_unit_test(grammar_without_a_way_on_fails_text),
        cmocka_unit_test(grammar_out_of_its_bounds_is_refused),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
