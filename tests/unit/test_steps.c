/* SPDX-License-Identifier: MIT
 *
 * The steps of all decoders: any order of them, streamed, against each step done plainly to the whole
 * list of tokens; and what the detokenizer offers beside, on top of any of them.
 */
#include "support.h"

#include <stdbool.h>
#include <string.h>

#include <burble/detok.h>

#include "plain_steps.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define R "\xEF\xBF\xBD"

enum { MAX_TEXT = 1 << 16 };

/* ---- a vocabulary for all of them ------------------------------------------------------------ */

static const char *const words[] = {
    "a",    "b",         "ab",      "aa",     "aab",    "",        " ",   "  ",     " a",
    "a ",   "▁",         "▁a",      "▁▁",     "a▁b",    "##a",     "##",  "#",      "a</w>",
    "</w>", "b</w></w>", "|",       "a|",     "<pad>",  "x<pad>y", ".",   " .",     "'",
    " '",   "n't",       "n",       "'t",     "'s",     "s",       "'m",  "'ve",    "'re",
    "re",   "do",        " do not", " not",   ",",      "!",       "?",   "Ġ",      "Ġa",
    "Ġ.",   "<s>",       "</s>",    "<0x41>", "<0x20>", "<0x2E>",  "<0x", "<0xZZ>", "gone",
    "日",   "ж",         "<0xE6>",  "<0x97>", "<0xA5>", "Ã",       "©",   "Ń",
};

enum { IDS = COUNT(words) };

static uint32_t flags_of(size_t id)
{
    return strcmp(words[id], "<s>") == 0 || strcmp(words[id], "</s>") == 0 ? BURBLE_TOKEN_SPECIAL
           : strcmp(words[id], "gone") == 0                                ? BURBLE_TOKEN_ABSENT
                                                                           : 0;
}

static void fill_tokens(burble_token *tokens)
{
    for (size_t i = 0; i < IDS; i++)
        tokens[i] = (burble_token){words[i], (uint32_t)strlen(words[i]), flags_of(i)};
}

static int new_vocab(const burble_vocab_options *options, burble_vocab **vocab)
{
    burble_token tokens[IDS];
    fill_tokens(tokens);
    return burble_vocab_create(options, tokens, IDS, vocab, NULL);
}

static burble_detok *new_detok(burble_vocab *vocab, const burble_detok_options *options)
{
    burble_detok *detok;
    assert_result(burble_detok_create(vocab, options, &detok), BURBLE_OK);
    return detok;
}

/* The text of the whole sequence. */
static struct text decode(const burble_vocab_options *options, const burble_detok_options *detok,
                          const int32_t *ids, size_t n)
{
    burble_token tokens[IDS];
    fill_tokens(tokens);
    return plain_decode(options, tokens, IDS, detok, ids, n);
}

/* ---- random ones ----------------------------------------------------------------------------- */

static uint64_t random_state;

static size_t below(size_t n)
{
    return (size_t)(next_random(&random_state) % n);
}

static const char *pick(const char *const *from, size_t n)
{
    return from[below(n)];
}

#define PICK(...)                                                                                  \
    pick((const char *const[]){__VA_ARGS__},                                                       \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static burble_step random_step(void)
{
    burble_step step = {.kind = (burble_step_kind)below(BURBLE_STEP_CTC + 1),
                        .flag = below(2) == 0};
    switch (step.kind) {
    case BURBLE_STEP_REPLACE:
        step.text = PICK("a", " ", "▁", "aab", "aa", "ab", "##", ". ", "  ", "a a", "▁a", "日");
        step.with = PICK("", " ", "b", "aa", "xyz", "▁", "'", "日");
        break;
    case BURBLE_STEP_STRIP:
        step.text = PICK(" ", "a", "▁", "b");
        step.start = (uint32_t)below(4);
        step.stop = (uint32_t)below(3);
        break;
    case BURBLE_STEP_METASPACE:
        step.text = PICK("▁", "a", " ");
        break;
    case BURBLE_STEP_WORDPIECE:
        step.text = PICK("##", "", "a");
        break;
    case BURBLE_STEP_BPE:
        step.text = PICK("</w>", "a", "▁");
        break;
    case BURBLE_STEP_CTC:
        step.text = PICK("<pad>", "a", "");
        step.with = PICK("|", "b");
        break;
    default:
        break;
    }
    return step;
}

static size_t random_ids(int32_t *ids, size_t most)
{
    const size_t n = below(most + 1);
    for (size_t i = 0; i < n; i++)
        ids[i] = i > 0 && below(4) == 0 ? ids[i - 1] : (int32_t)below(IDS + 1);
    return n;
}

static void push(burble_detok *detok, const int32_t *ids, size_t n, struct text *got)
{
    burble_text text;
    assert_result(burble_detok_push(detok, ids, n, &text), BURBLE_OK);
    append(got, text.bytes, text.len);
}

static void finish(burble_detok *detok, struct text *got)
{
    burble_text text;
    burble_detok_finish(detok, &text);
    append(got, text.bytes, text.len);
    assert_false(burble_detok_has_pending(detok));
}

static void assert_text(const struct text *got, const struct text *want)
{
    if (got->len != want->len || memcmp(got->bytes, want->bytes, got->len) != 0)
        fail_msg("expected \"%s\", found \"%s\"", want->bytes, got->bytes);
}

/* What a test does with one decoder and one sequence. */
typedef void check_fn(burble_vocab *vocab, const burble_vocab_options *options,
                      burble_detok_options detok, const int32_t *ids, size_t n);

static void for_random_decoders(uint64_t seed, size_t rounds, check_fn *check)
{
    size_t compiled = 0;
    random_state = test_seed(seed);
    for (size_t round = 0; round < rounds; round++) {
        burble_step steps[5];
        burble_vocab_options options = {.steps = steps, .n_steps = below(COUNT(steps) + 1)};
        burble_vocab *vocab;
        for (size_t i = 0; i < options.n_steps; i++)
            steps[i] = random_step();
        options.join = below(2) == 0 ? NULL : " ";
        const int result = new_vocab(&options, &vocab);
        if (result == BURBLE_EUNSUPPORTED)
            continue;
        assert_result(result, BURBLE_OK);
        compiled++;
        for (size_t i = 0; i < 8; i++) {
            int32_t ids[40];
            const size_t n = random_ids(ids, i % 2 == 0 ? 5 : COUNT(ids));
            const burble_detok_options detok = {.skip_special = below(2) == 0,
                                                .clean_up = below(2) == 0};
            check(vocab, &options, detok, ids, n);
        }
        burble_vocab_unref(&vocab);
    }
    assert_true(compiled > rounds / 2);
}

/* ---- the law --------------------------------------------------------------------------------- */

static void check_splits(burble_vocab *vocab, const burble_vocab_options *options,
                         burble_detok_options with, const int32_t *ids, size_t n)
{
    const struct text want = decode(options, &with, ids, n);
    burble_detok *detok = new_detok(vocab, &with);
    for (size_t cut = 0; cut <= n + 1; cut++) {
        struct text got = text_of("", 0);
        if (cut <= n) {
            push(detok, ids, cut, &got);
            push(detok, ids + cut, n - cut, &got);
        }
        for (size_t i = 0; i < n && cut > n; i++)
            push(detok, ids + i, 1, &got);
        finish(detok, &got);
        assert_text(&got, &want);
        free(got.bytes);
    }
    burble_detok_destroy(&detok);
    free(want.bytes);
}

static void steps_in_any_order_give_same_text_as_plain_ones(void **state)
{
    (void)state;
    for_random_decoders(11, 6000, check_splits);
}

/* ---- prime, copy, rewind, spans -------------------------------------------------------------- */

static void check_prime(burble_vocab *vocab, const burble_vocab_options *options,
                        burble_detok_options with, const int32_t *ids, size_t n)
{
    const struct text want = decode(options, &with, ids, n);
    const size_t prompt = below(n + 1);
    burble_detok *plain = new_detok(vocab, &with);
    burble_detok *primed = new_detok(vocab, &with);
    struct text got = text_of("", 0);
    push(plain, ids, prompt, &got);
    assert_result(burble_detok_prime(primed, ids, prompt), BURBLE_OK);
    push(primed, ids + prompt, n - prompt, &got);
    finish(primed, &got);
    assert_text(&got, &want);
    burble_detok_destroy(&primed);
    burble_detok_destroy(&plain);
    free(got.bytes);
    free(want.bytes);
}

static void text_after_prompt_is_what_follows_it(void **state)
{
    (void)state;
    for_random_decoders(12, 2000, check_prime);
}

static void check_copy(burble_vocab *vocab, const burble_vocab_options *options,
                       burble_detok_options with, const int32_t *ids, size_t n)
{
    const size_t begun = below(n + 1);
    with.spans = below(2) == 0;
    with.rewind = (uint32_t)below(3) * 4;
    int32_t other[16];
    const size_t n_other = random_ids(other, COUNT(other));
    int32_t all[64];
    memcpy(all, ids, begun * sizeof *ids);
    memcpy(all + begun, other, n_other * sizeof *other);
    const struct text want = decode(options, &with, ids, n);
    const struct text want_copy = decode(options, &with, all, begun + n_other);
    burble_detok *detok = new_detok(vocab, &with);
    burble_detok *copy;
    struct text got = text_of("", 0);
    push(detok, ids, begun, &got);
    assert_result(burble_detok_copy(detok, &copy), BURBLE_OK);
    struct text got_copy = text_of(got.bytes, got.len);
    const size_t half = (n - begun) / 2;
    push(detok, ids + begun, half, &got);
    push(copy, other, n_other, &got_copy);
    push(detok, ids + begun + half, n - begun - half, &got);
    finish(copy, &got_copy);
    burble_detok_destroy(&copy);
    finish(detok, &got);
    burble_detok_destroy(&detok);
    assert_text(&got, &want);
    assert_text(&got_copy, &want_copy);
    free(got.bytes);
    free(got_copy.bytes);
    free(want.bytes);
    free(want_copy.bytes);
}

static void copy_and_original_are_independent(void **state)
{
    (void)state;
    for_random_decoders(13, 2000, check_copy);
}

static void check_rewind(burble_vocab *vocab, const burble_vocab_options *options,
                         burble_detok_options with, const int32_t *ids, size_t n)
{
    const struct text want = decode(options, &with, ids, n);
    with.rewind = 1 + (uint32_t)below(6);
    with.spans = below(2) == 0;
    burble_detok *detok = new_detok(vocab, &with);
    struct text got = text_of("", 0);
    size_t there = 0; /* ids that can be gone back by */
    for (size_t at = 0; at < n;) {
        int32_t wrong[4];
        const size_t n_wrong = random_ids(wrong, COUNT(wrong));
        const size_t right = 1 + below(n - at > 3 ? 3 : n - at);
        uint64_t bytes = 99;
        push(detok, ids + at, right, &got);
        at += right;
        there = there + right < with.rewind ? there + right : with.rewind;
        const size_t before = got.len;
        push(detok, wrong, n_wrong, &got);
        size_t known = there + n_wrong < with.rewind ? there + n_wrong : with.rewind;
        assert_result(burble_detok_rewind(detok, known + 1, &bytes), BURBLE_EINVAL);
        assert_int_equal(bytes, 99);
        if (n_wrong > known)
            break; /* that cannot be taken back */
        const size_t part = below(n_wrong + 1);
        assert_result(burble_detok_rewind(detok, part, NULL), BURBLE_OK);
        assert_result(burble_detok_rewind(detok, n_wrong - part, &bytes), BURBLE_OK);
        assert_true(bytes <= got.len - before);
        if (part == 0)
            assert_int_equal(bytes, got.len - before);
        got.len = before;
        there = known - n_wrong;
        if (at == n) {
            finish(detok, &got);
            assert_text(&got, &want);
            assert_result(burble_detok_rewind(detok, 1, NULL), BURBLE_EINVAL);
        }
    }
    burble_detok_destroy(&detok);
    free(got.bytes);
    free(want.bytes);
}

static void rewind_leaves_no_trace_of_ids(void **state)
{
    (void)state;
    for_random_decoders(14, 3000, check_rewind);
}

/* Adds what the spans say of the text handed out last, one for each byte. */
static void note(const burble_detok *detok, size_t len, uint64_t taken, burble_span *origins,
                 size_t *n)
{
    const burble_span *spans;
    size_t count;
    size_t at = 0;
    burble_detok_spans(detok, &spans, &count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(spans[i].begin, at);
        assert_true(spans[i].end > at);
        assert_true(spans[i].first <= spans[i].last);
        assert_true(spans[i].last < taken);
        for (; at < spans[i].end; at++) {
            assert_true(*n < MAX_TEXT);
            origins[(*n)++] = (burble_span){0, 0, spans[i].first, spans[i].last};
        }
    }
    assert_int_equal(at, len);
}

/* Spans are those of the whole sequence however it is cut, and in the order of the tokens. */
static void check_spans(burble_vocab *vocab, const burble_vocab_options *options,
                        burble_detok_options with, const int32_t *ids, size_t n)
{
    static burble_span origins[2][MAX_TEXT];
    size_t counts[2] = {0};
    const struct text want = decode(options, &with, ids, n);
    with.spans = true;
    with.rewind = (uint32_t)below(2) * 3;
    burble_detok *detok = new_detok(vocab, &with);
    for (size_t way = 0; way < 2; way++) {
        burble_text text;
        struct text got = text_of("", 0);
        for (size_t at = 0; at < n;) {
            const size_t some = way == 0 ? 1 : 1 + below(n - at);
            assert_result(burble_detok_push(detok, ids + at, some, &text), BURBLE_OK);
            append(&got, text.bytes, text.len);
            at += some;
            note(detok, text.len, at, origins[way], &counts[way]);
        }
        burble_detok_finish(detok, &text);
        append(&got, text.bytes, text.len);
        note(detok, text.len, n, origins[way], &counts[way]);
        assert_text(&got, &want);
        free(got.bytes);
    }
    assert_int_equal(counts[0], counts[1]);
    assert_memory_equal(origins[0], origins[1], counts[0] * sizeof origins[0][0]);
    for (size_t i = 1; i < counts[0]; i++) {
        assert_true(origins[0][i - 1].first <= origins[0][i].first);
        assert_true(origins[0][i - 1].last <= origins[0][i].last);
    }
    burble_detok_destroy(&detok);
    free(want.bytes);
}

static void spans_cover_text_in_order_for_any_split(void **state)
{
    (void)state;
    for_random_decoders(15, 3000, check_spans);
}

/* ---- vectors --------------------------------------------------------------------------------- */

/* Tokens given by their texts, pushed one by one; what each push hands out, and the end. */
struct vector {
    const burble_step *steps;
    size_t n_steps;
    bool clean_up;
    const char *tokens[8]; /* up to NULL */
    const char *texts[9];  /* one more than there are tokens */
};

static void check_vector(const struct vector *vector)
{
    const burble_vocab_options options = {.steps = vector->steps, .n_steps = vector->n_steps};
    const burble_detok_options with = {.clean_up = vector->clean_up};
    burble_token tokens[8];
    burble_vocab *vocab;
    burble_text text;
    size_t n = 0;
    for (; n < COUNT(tokens) && vector->tokens[n] != NULL; n++)
        tokens[n] = (burble_token){vector->tokens[n], (uint32_t)strlen(vector->tokens[n]), 0};
    assert_result(burble_vocab_create(&options, tokens, n, &vocab, NULL), BURBLE_OK);
    burble_detok *detok = new_detok(vocab, &with);
    for (int32_t i = 0; i <= (int32_t)n; i++) {
        if (i < (int32_t)n)
            assert_result(burble_detok_push(detok, &i, 1, &text), BURBLE_OK);
        else
            burble_detok_finish(detok, &text);
        const struct text got = text_of(text.bytes, text.len);
        if (strcmp(got.bytes, vector->texts[i]) != 0) {
            fail_msg("token %d: expected \"%s\", found \"%s\"", (int)i, vector->texts[i],
                     got.bytes);
        }
        free(got.bytes);
    }
    burble_detok_destroy(&detok);
    burble_vocab_unref(&vocab);
}

#define CHECK_VECTORS(vectors)                                                                     \
    for (size_t v = 0; v < COUNT(vectors); v++) {                                                  \
        check_vector(&(vectors)[v]);                                                               \
    }

static void tokens_that_depend_on_start_are_not_held_back(void **state)
{
    (void)state;
    static const burble_step metaspace = {.kind = BURBLE_STEP_METASPACE, .text = "▁", .flag = true};
    static const burble_step never = {.kind = BURBLE_STEP_METASPACE, .text = "▁"};
    static const burble_step wordpiece = {
        .kind = BURBLE_STEP_WORDPIECE, .text = "##", .flag = true};
    const struct vector vectors[] = {
        {&metaspace, 1, false, {"▁Hey", "▁you", "▁▁x"}, {"Hey", " you", "  x", ""}},
        {&never, 1, false, {"▁Hey", "▁you"}, {" Hey", " you", ""}},
        {&wordpiece, 1, false, {"##un", "##aff", "able", "."}, {"##un", "aff", " able", ".", ""}},
    };
    CHECK_VECTORS(vectors);
}

static void tokens_that_depend_on_end_are_held_back(void **state)
{
    (void)state;
    static const burble_step bpe = {.kind = BURBLE_STEP_BPE, .text = "</w>"};
    const struct vector vectors[] = {
        {&bpe, 1, false, {"he", "llo</w>", "you</w>"}, {"he", "llo", " you", ""}},
        {&bpe, 1, false, {"a</w>b</w>", "c"}, {"a", " b c", ""}},
        {&bpe, 1, false, {"a</w>b</w>"}, {"a", "b"}},
    };
    CHECK_VECTORS(vectors);
}

static void ctc_repeated_and_empty_tokens_are_dropped(void **state)
{
    (void)state;
    static const burble_step ctc_step = {
        .kind = BURBLE_STEP_CTC, .text = "<pad>", .with = "|", .flag = true};
    const struct vector vectors[] = {
        {&ctc_step,
         1,
         false,
         {"h", "h", "<pad>", "h", "|", "|", "i"},
         {"h", "", "", "h", " ", "", "i", ""}},
    };
    CHECK_VECTORS(vectors);
}

static void replace_holds_back_only_possible_match(void **state)
{
    (void)state;
    static const burble_step replace_whole[] = {
        {.kind = BURBLE_STEP_FUSE}, {.kind = BURBLE_STEP_REPLACE, .text = "aab", .with = "X"}};
    const struct vector vectors[] = {
        {replace_whole, 2, false, {"ca", "a", "a", "b", "a"}, {"c", "", "a", "X", "", "a"}},
        {replace_whole, 2, false, {"aa", "c", "aab", "b"}, {"", "aac", "X", "b", ""}},
    };
    CHECK_VECTORS(vectors);
}

static void strip_right_holds_back_only_what_it_may_remove(void **state)
{
    (void)state;
    static const burble_step strip_whole[] = {
        {.kind = BURBLE_STEP_FUSE},
        {.kind = BURBLE_STEP_STRIP, .text = " ", .start = 1, .stop = 2}};
    const struct vector vectors[] = {
        {strip_whole, 2, false, {" ", " a ", "  ", "b", " "}, {"", " a", " ", "  b", "", ""}},
    };
    CHECK_VECTORS(vectors);
}

static void clean_up_holds_back_only_what_rule_may_change(void **state)
{
    (void)state;
    static const burble_step fuse = {.kind = BURBLE_STEP_FUSE};
    const struct vector vectors[] = {
        {&fuse,
         1,
         true,
         {"Hi", " there", " .", " do", " n", "'t", " go"},
         {"Hi", " there", ".", " do", "", "n't", " go", ""}},
        {&fuse, 1, true, {"a ", "'", " b", " n", "o"}, {"a", "", "'b", "", " no", ""}},
        {&fuse, 1, true, {"a", " ", "'", "s", " "}, {"a", "", "", "'s", "", " "}},
    };
    CHECK_VECTORS(vectors);
}

static void replace_between_byte_fallback_and_fuse_is_per_character(void **state)
{
    (void)state;
    static const burble_step steps[] = {
        {.kind = BURBLE_STEP_BYTE_FALLBACK},
        {.kind = BURBLE_STEP_METASPACE, .text = "▁", .flag = true},
        {.kind = BURBLE_STEP_REPLACE, .text = "!", .with = "?!"},
    };
    const struct vector vectors[] = {
        {steps,
         3,
         false,
         {"▁a", "▁b!", "<0xE2>", "<0x96>", "<0x81>", "▁"},
         {"a", " b?!", "", "", " ", " ", ""}},
        {steps,
         3,
         false,
         {"<0x21>", "<0xE2>", "<0x96>", "<0x81>", "▁", "<0xE2>", "<0x41>"},
         {"?!", "", "", "", " ", "", R "A", ""}},
        {steps, 3, false, {"<0xE4>"}, {"", R}},
    };
    CHECK_VECTORS(vectors);
}

static void no_steps_join_tokens_unchanged(void **state)
{
    (void)state;
    const burble_token tokens[] = {{"a", 1, 0}, {"", 0, 0}, {"\xC3", 1, 0}, {"\xA9", 1, 0}};
    const int32_t ids[] = {0, 1, 2, 3, 0};
    const char *const joins[] = {NULL, " "};
    const char *const texts[] = {"aéa", "a  " R " " R " a"};
    for (size_t i = 0; i < COUNT(joins); i++) {
        const burble_vocab_options options = {.join = joins[i]};
        burble_vocab *vocab;
        assert_result(burble_vocab_create(&options, tokens, 4, &vocab, NULL), BURBLE_OK);
        burble_detok *detok = new_detok(vocab, NULL);
        struct text got = text_of("", 0);
        push(detok, ids, COUNT(ids), &got);
        finish(detok, &got);
        assert_string_equal(got.bytes, texts[i]);
        free(got.bytes);
        burble_detok_destroy(&detok);
        burble_vocab_unref(&vocab);
    }
}

/* ---- spans, exactly -------------------------------------------------------------------------- */

static void assert_spans_at(struct place at, const burble_detok *detok, const burble_span *want,
                            size_t n)
{
    const burble_span *spans;
    size_t count;
    burble_detok_spans(detok, &spans, &count);
    assert_int_equal_at(at, count, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal_at(at, spans[i].begin, want[i].begin);
        assert_int_equal_at(at, spans[i].end, want[i].end);
        assert_int_equal_at(at, spans[i].first, want[i].first);
        assert_int_equal_at(at, spans[i].last, want[i].last);
    }
}
#define assert_spans(...) assert_spans_at(HERE, __VA_ARGS__)

static void span_of_character_covers_all_its_tokens(void **state)
{
    (void)state;
    const burble_token tokens[] = {{"a", 1, 0},    {"\xE4", 1, 0}, {"\xB8", 1, 0},
                                   {"\xAD", 1, 0}, {"b", 1, 0},    {"\xF0\x9F\x98", 3, 0}};
    const burble_detok_options with = {.spans = true};
    burble_vocab *vocab;
    burble_text text;
    assert_result(burble_vocab_create(NULL, tokens, COUNT(tokens), &vocab, NULL), BURBLE_OK);
    burble_detok *detok = new_detok(vocab, &with);
    assert_result(burble_detok_prime(detok, (const int32_t[]){4, 4}, 2), BURBLE_OK);
    assert_spans(detok, NULL, 0);
    assert_result(burble_detok_push(detok, (const int32_t[]){0, 1, 2}, 3, &text), BURBLE_OK);
    assert_spans(detok, (const burble_span[]){{0, 1, 2, 2}}, 1);
    assert_result(burble_detok_push(detok, (const int32_t[]){3, 4, 5}, 3, &text), BURBLE_OK);
    assert_spans(detok, (const burble_span[]){{0, 3, 3, 5}, {3, 4, 6, 6}}, 2);
    assert_result(burble_detok_push(detok, (const int32_t[]){4}, 1, &text), BURBLE_OK);
    assert_int_equal(text.len, 4);
    assert_spans(detok, (const burble_span[]){{0, 3, 7, 7}, {3, 4, 8, 8}}, 2);
    assert_result(burble_detok_push(detok, (const int32_t[]){1}, 1, &text), BURBLE_OK);
    assert_spans(detok, NULL, 0);
    burble_detok_finish(detok, &text);
    assert_spans(detok, (const burble_span[]){{0, 3, 9, 9}}, 1);
    burble_detok_reset(detok);
    assert_spans(detok, NULL, 0);
    burble_detok_destroy(&detok);
    burble_vocab_unref(&vocab);
}

static void span_of_broken_character_excludes_special_token(void **state)
{
    (void)state;
    const burble_token tokens[] = {
        {"\xE4", 1, 0}, {"\xB8\xAD", 2, 0}, {"<s>", 3, BURBLE_TOKEN_SPECIAL}};
    const burble_detok_options with = {.skip_special = true, .spans = true, .rewind = 2};
    burble_vocab_options options;
    burble_vocab *vocab;
    burble_text text;
    burble_vocab_options_init(&options);
    options.special_breaks = true;
    assert_result(burble_vocab_create(&options, tokens, 3, &vocab, NULL), BURBLE_OK);
    burble_detok *detok = new_detok(vocab, &with);
    assert_result(burble_detok_push(detok, (const int32_t[]){0, 2}, 2, &text), BURBLE_OK);
    assert_int_equal(text.len, 3);
    assert_spans(detok, (const burble_span[]){{0, 3, 0, 0}}, 1);
    assert_result(burble_detok_rewind(detok, 1, NULL), BURBLE_OK);
    assert_result(burble_detok_push(detok, (const int32_t[]){1}, 1, &text), BURBLE_OK);
    assert_int_equal(text.len, 3);
    assert_memory_equal(text.bytes, "中", 3);
    assert_spans(detok, (const burble_span[]){{0, 3, 0, 1}}, 1);
    burble_detok_destroy(&detok);
    burble_vocab_unref(&vocab);
}

static void span_of_held_bytes_is_their_token(void **state)
{
    (void)state;
    const burble_token tokens[] = {
        {"Hi", 2, 0}, {" ", 1, 0}, {"n", 1, 0}, {"'t", 2, 0}, {"o", 1, 0}};
    const burble_detok_options with = {.spans = true, .clean_up = true};
    burble_vocab *vocab;
    burble_text text;
    assert_result(burble_vocab_create(NULL, tokens, COUNT(tokens), &vocab, NULL), BURBLE_OK);
    burble_detok *detok = new_detok(vocab, &with);
    assert_result(burble_detok_push(detok, (const int32_t[]){0, 1, 2}, 3, &text), BURBLE_OK);
    assert_spans(detok, (const burble_span[]){{0, 2, 0, 0}}, 1);
    assert_result(burble_detok_push(detok, (const int32_t[]){4, 1, 2}, 3, &text), BURBLE_OK);
    assert_int_equal(text.len, 3);
    assert_spans(detok, (const burble_span[]){{0, 1, 1, 1}, {1, 2, 2, 2}, {2, 3, 3, 3}}, 3);
    assert_result(burble_detok_push(detok, (const int32_t[]){3}, 1, &text), BURBLE_OK);
    assert_int_equal(text.len, 3);
    assert_spans(detok, (const burble_span[]){{0, 3, 4, 6}}, 1);
    burble_detok_destroy(&detok);
    burble_vocab_unref(&vocab);
}

/* ---- worst cases ----------------------------------------------------------------------------- */

static void replace_of_near_misses_takes_linear_time(void **state)
{
    (void)state;
    enum { LONG = 30000, N = 100000 };
    static char pattern[LONG + 2];
    memset(pattern, 'a', LONG);
    pattern[LONG] = 'b';
    const burble_step steps[] = {{.kind = BURBLE_STEP_FUSE},
                                 {.kind = BURBLE_STEP_REPLACE, .text = pattern, .with = "X"}};
    const burble_vocab_options options = {.steps = steps, .n_steps = 2};
    const burble_token tokens[] = {{"a", 1, 0}, {"b", 1, 0}};
    const burble_detok_options with = {.spans = false};
    burble_vocab *vocab;
    burble_text text;
    assert_result(burble_vocab_create(&options, tokens, 2, &vocab, NULL), BURBLE_OK);
    burble_detok *detok = new_detok(vocab, &with);
    for (size_t i = 0; i < N; i++) {
        assert_result(burble_detok_push(detok, (const int32_t[]){0}, 1, &text), BURBLE_OK);
        assert_int_equal(text.len, i >= LONG ? 1 : 0);
    }
    assert_true(burble_detok_has_pending(detok));
    assert_result(burble_detok_push(detok, (const int32_t[]){1}, 1, &text), BURBLE_OK);
    assert_int_equal(text.len, 1);
    assert_memory_equal(text.bytes, "X", 1);
    burble_detok_destroy(&detok);
    burble_vocab_unref(&vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_in_any_order_give_same_text_as_plain_ones),
        cmocka_unit_test(text_after_prompt_is_what_follows_it),
        cmocka_unit_test(copy_and_original_are_independent),
        cmocka_unit_test(rewind_leaves_no_trace_of_ids),
        cmocka_unit_test(spans_cover_text_in_order_for_any_split),
        cmocka_unit_test(tokens_that_depend_on_start_are_not_held_back),
        cmocka_unit_test(tokens_that_depend_on_end_are_held_back),
        cmocka_unit_test(ctc_repeated_and_empty_tokens_are_dropped),
        cmocka_unit_test(replace_holds_back_only_possible_match),
        cmocka_unit_test(strip_right_holds_back_only_what_it_may_remove),
        cmocka_unit_test(clean_up_holds_back_only_what_rule_may_change),
        cmocka_unit_test(replace_between_byte_fallback_and_fuse_is_per_character),
        cmocka_unit_test(no_steps_join_tokens_unchanged),
        cmocka_unit_test(span_of_character_covers_all_its_tokens),
        cmocka_unit_test(span_of_broken_character_excludes_special_token),
        cmocka_unit_test(span_of_held_bytes_is_their_token),
        cmocka_unit_test(replace_of_near_misses_takes_linear_time),
    };
    return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
