/* SPDX-License-Identifier: MIT
 *
 * The chunkers, against a naive one that keeps the whole text and looks at all of it at each push.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */

#include "support.h"

#include <string.h>
#include <sys/mman.h>

#include <burble/chunk.h>
#include <burble/stream.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static burble_chunker *new_chunker(burble_chunking rule)
{
    burble_chunker *chunker;
    assert_result(burble_chunker_create(rule, &chunker), BURBLE_OK);
    return chunker;
}

/* ---- transformers' rule, as it is written there ---------------------------------------------- */

struct naive {
    size_t len;     /* of all the text since the last newline */
    size_t printed; /* how much of it has been handed out */
    uint32_t tokens;
    char text[8 * BURBLE_WORD_MAX];
};

/* The last character of valid UTF-8, found from the front. */
static uint32_t last_character(const char *text, size_t len)
{
    uint32_t last = 0;
    for (size_t i = 0; i < len; i++) {
        const uint32_t byte = (unsigned char)text[i];
        if (byte < 0x80)
            last = byte;
        else if (byte < 0xC0)
            last = last << 6 | (byte & 0x3F);
        else
            last = byte & (byte < 0xE0 ? 0x1F : byte < 0xF0 ? 0xF : 7);
    }
    return last;
}

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF)
           || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F)
           || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B820 && c <= 0x2CEAF)
           || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* Where what is held begins, transformers sees a U+FFFD: no newline and no ideograph. */
static burble_text naive_put(struct naive *naive, const char *text, size_t len, bool holds)
{
    assert_true(naive->len + len <= sizeof naive->text);
    memcpy(naive->text + naive->len, text, len);
    naive->len += len;
    size_t end = naive->len;
    const bool newline = !holds && end > 0 && naive->text[end - 1] == '\n';
    if (!newline && (holds || end == 0 || !is_chinese(last_character(naive->text, end))))
        while (end > 0 && naive->text[end - 1] != ' ')
            end--;
    if (end < naive->printed)
        end = naive->printed;
    if (naive->len - end > BURBLE_WORD_MAX) /* which is not transformers' rule any more */
        end = naive->len;
    const burble_text chunk = {.bytes = naive->text + naive->printed, .len = end - naive->printed};
    naive->printed = end;
    if (newline) {
        naive->len = 0;
        naive->printed = 0;
    }
    return chunk;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Pushes a copy of the text that ends where its memory ends, and expects this chunk. */
static void push_at(struct place at, burble_chunker *chunker, const char *text, size_t len,
                    uint32_t tokens, bool holds, const char *want, size_t want_len,
                    uint32_t want_tokens)
{
    burble_text chunk = {.bytes = NULL, .len = 99};
    uint32_t chunk_tokens = 99;
    char *copy = malloc(len == 0 ? 1 : len);
    assert_non_null_at(at, copy);
    memcpy(copy, text, len);
    assert_result_at(at,
                     burble_chunker_push(chunker, copy, len, tokens, holds, &chunk, &chunk_tokens),
                     BURBLE_OK);
    assert_non_null_at(at, chunk.bytes);
    if (chunk.len != want_len || memcmp(chunk.bytes, want, want_len) != 0) {
        fail_at(at, "expected the chunk \"%.*s\", found \"%.*s\"", (int)want_len, want,
                (int)chunk.len, chunk.bytes);
    }
    assert_int_equal_at(at, chunk_tokens, want_tokens);
    free(copy);
}
#define push(...) push_at(HERE, __VA_ARGS__)

static void finish_at(struct place at, burble_chunker *chunker, const char *want,
                      uint32_t want_tokens)
{
    burble_text chunk = {.bytes = NULL, .len = 99};
    uint32_t tokens = 99;
    burble_chunker_finish(chunker, &chunk, &tokens);
    assert_non_null_at(at, chunk.bytes);
    assert_int_equal_at(at, chunk.len, strlen(want));
    assert_memory_equal_at(at, chunk.bytes, want, chunk.len);
    assert_int_equal_at(at, tokens, want_tokens);
}
#define finish(...) finish_at(HERE, __VA_ARGS__)

struct step {
    const char *text;
    const char *chunk;
    uint32_t tokens; /* of the chunk; each push is one token */
    bool holds;
};

static void check_steps_at(struct place at, burble_chunking rule, const struct step *steps,
                           size_t n, const char *rest, uint32_t rest_tokens)
{
    burble_chunker *chunker = new_chunker(rule);
    for (int round = 0; round < 2; round++) { /* the second shows that finish leaves it as new */
        for (size_t i = 0; i < n; i++) {
            push_at(at, chunker, steps[i].text, strlen(steps[i].text), 1, steps[i].holds,
                    steps[i].chunk, strlen(steps[i].chunk), steps[i].tokens);
        }
        finish_at(at, chunker, rest, rest_tokens);
    }
    burble_chunker_destroy(&chunker);
    assert_null_at(at, chunker);
}
#define check_steps(...) check_steps_at(HERE, __VA_ARGS__)

/* ---- token ----------------------------------------------------------------------------------- */

static void by_token_each_text_is_a_chunk(void **state)
{
    (void)state;
    const struct step steps[] = {
        {"a", "a", 1, false},   {"", "", 0, true},           {"", "", 0, true},
        {"中", "中", 3, false}, {"b c\n", "b c\n", 1, true}, {"", "", 0, false},
    };
    check_steps(BURBLE_CHUNK_TOKEN, steps, COUNT(steps), "", 1);
}

static void by_token_text_is_not_copied(void **state)
{
    (void)state;
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_TOKEN);
    const char text[] = "hello";
    burble_text chunk;
    assert_result(burble_chunker_push(chunker, text, 5, 1, false, &chunk, NULL), BURBLE_OK);
    assert_ptr_equal(chunk.bytes, text);
    assert_int_equal(chunk.len, 5);
    burble_chunker_destroy(&chunker);
}

/* ---- word ------------------------------------------------------------------------------------ */

static void by_word_chunk_ends_with_last_space(void **state)
{
    (void)state;
    const struct step steps[] = {
        {"Hel", "", 0, false},       {"lo", "", 0, false},        {", wor", "Hello, ", 3, false},
        {"ld ", "world ", 1, false}, {"a b c", "a b ", 1, false}, {" ", "c ", 1, false},
        {"", "", 0, false},          {"\xC2\xA0x", "", 0, false}, /* no-break space is no U+0020 */
    };
    check_steps(BURBLE_CHUNK_WORD, steps, COUNT(steps), "\xC2\xA0x", 2);
}

static void by_word_newline_at_end_releases_all_text(void **state)
{
    (void)state;
    const struct step steps[] = {
        {"a b", "a ", 1, false}, {"c\n", "bc\n", 1, false},      {"\n", "\n", 1, false},
        {"d\ne", "", 0, false},  {" f\n", "d\ne f\n", 2, false},
    };
    check_steps(BURBLE_CHUNK_WORD, steps, COUNT(steps), "", 0);
}

static void by_word_ideograph_at_end_releases_all_text(void **state)
{
    (void)state;
    const struct step steps[] = {
        {"a b", "a ", 1, false},   {"中", "b中", 1, false}, {"中c", "", 0, false},
        {"文", "中c文", 2, false}, {"かな", "", 0, false},  {"한글", "", 0, false},
        {"。", "", 0, false},
    };
    check_steps(BURBLE_CHUNK_WORD, steps, COUNT(steps), "かな한글。", 3);
}

static void by_word_ideographs_are_those_of_transformers(void **state)
{
    (void)state;
    static const uint32_t edges[][2] = {
        {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
        {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0x2F800, 0x2FA1F},
    };
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    for (size_t i = 0; i < COUNT(edges); i++) {
        const uint32_t near[] = {edges[i][0] - 1, edges[i][0], edges[i][1], edges[i][1] + 1};
        for (size_t j = 0; j < COUNT(near); j++) {
            const uint32_t c = near[j];
            char text[4];
            size_t len = 0;
            if (c >= 0x10000) {
                text[len++] = (char)(0xF0 | c >> 18);
                text[len++] = (char)(0x80 | (c >> 12 & 0x3F));
            } else {
                text[len++] = (char)(0xE0 | c >> 12);
            }
            text[len++] = (char)(0x80 | (c >> 6 & 0x3F));
            text[len++] = (char)(0x80 | (c & 0x3F));
            const bool cut = is_chinese(c);
            push(chunker, text, len, 1, false, text, cut ? len : 0, cut);
            burble_chunker_reset(chunker);
        }
    }
    burble_chunker_destroy(&chunker);
}

static void by_word_text_before_held_character_stays_held(void **state)
{
    (void)state;
    const struct step steps[] = {
        {"a\n", "", 0, true}, {"", "a\n", 2, false}, /* what was held turned out to be nothing */
        {"中", "", 0, true},  {"文", "中文", 2, false},  {"b c\n", "b ", 1, true},
        {"é", "", 0, false},  {" 中", "c\né ", 2, true}, {"", "", 0, true},
        {"", "中", 2, false},
    };
    check_steps(BURBLE_CHUNK_WORD, steps, COUNT(steps), "", 0);
}

static void by_word_random_text_is_cut_as_by_transformers(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",   "bc", " ",  "d e", " f", "g ", "\n",  "h\n",
                                        "\ni", "",   "",   "",    "",   "中", "字j", " 文",
                                        "あ",  "é",  "😀", "𠀀",  "한", "  ", "。"};
    uint64_t random = test_seed(3);
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    for (int round = 0; round < 5000; round++) {
        static struct naive naive;
        naive.len = naive.printed = 0;
        naive.tokens = 0;
        const size_t pushes = next_random(&random) % 60;
        for (size_t i = 0; i < pushes; i++) {
            char text[64];
            const char *const first = parts[next_random(&random) % COUNT(parts)];
            const char *const second = parts[next_random(&random) % COUNT(parts)];
            snprintf(text, sizeof text, "%s%s", first, second);
            const bool holds = next_random(&random) % 4 == 0;
            const uint32_t tokens = (uint32_t)(next_random(&random) % 3);
            const burble_text want = naive_put(&naive, text, strlen(text), holds);
            naive.tokens += tokens;
            push(chunker, text, strlen(text), tokens, holds, want.bytes, want.len,
                 want.len > 0 ? naive.tokens : 0);
            if (want.len > 0)
                naive.tokens = 0;
        }
        naive.text[naive.len] = '\0';
        finish(chunker, naive.text + naive.printed, naive.tokens);
    }
    burble_chunker_destroy(&chunker);
}

static void by_word_chunk_at_start_of_text_is_not_copied(void **state)
{
    (void)state;
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    const char text[] = "hello world";
    burble_text chunk;
    assert_result(burble_chunker_push(chunker, text, 11, 1, false, &chunk, NULL), BURBLE_OK);
    assert_ptr_equal(chunk.bytes, text);
    assert_int_equal(chunk.len, 6);
    burble_chunker_finish(chunker, &chunk, NULL);
    assert_int_equal(chunk.len, 5);
    assert_memory_equal(chunk.bytes, "world", 5);
    burble_chunker_destroy(&chunker);
}

/* If each push looked at, or moved, all that waits, this would take hours. */
static void by_word_endless_word_costs_the_same_per_push(void **state)
{
    (void)state;
    enum { PUSHES = 2000000 };
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    burble_text chunk;
    uint32_t tokens;
    size_t len = 0, waits = 0, count = 0;
    for (size_t i = 0; i < PUSHES; i++) {
        assert_result(burble_chunker_push(chunker, "x", 1, 1, false, &chunk, &tokens), BURBLE_OK);
        assert_int_equal(chunk.len, waits == BURBLE_WORD_MAX ? waits + 1 : 0);
        waits = chunk.len == 0 ? waits + 1 : 0;
        len += chunk.len;
        count += tokens;
    }
    burble_chunker_finish(chunker, &chunk, &tokens);
    assert_int_equal(len + chunk.len, PUSHES);
    assert_int_equal(count + tokens, PUSHES);
    burble_chunker_destroy(&chunker);
}

static void by_word_word_above_bound_is_released(void **state)
{
    (void)state;
    static char word[BURBLE_WORD_MAX + 3]; /* room for a character of two bytes, and NUL */
    memset(word, 'x', BURBLE_WORD_MAX);
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);

    word[BURBLE_WORD_MAX] = ' ';
    push(chunker, word, BURBLE_WORD_MAX, 1, false, "", 0, 0);
    push(chunker, " ", 1, 1, false, word, BURBLE_WORD_MAX + 1, 2);

    memcpy(word + BURBLE_WORD_MAX, "\xC3\xA9", 2);
    push(chunker, word, BURBLE_WORD_MAX, 1, false, "", 0, 0);
    push(chunker, "\xC3\xA9", 2, 1, false, word, BURBLE_WORD_MAX + 2, 2);
    push(chunker, word, BURBLE_WORD_MAX + 2, 1, true, word, BURBLE_WORD_MAX + 2, 1);

    word[1] = ' '; /* what comes behind it is the longest word */
    push(chunker, word, BURBLE_WORD_MAX + 2, 1, false, word, 2, 1);
    finish(chunker, word + 2, 0);
    burble_chunker_destroy(&chunker);
}

static void by_word_long_words_are_cut_as_by_naive_rule(void **state)
{
    (void)state;
    static const char *const ends[] = {"", " ", "\n", "中", "é", " é", "😀", "\nx", " 中"};
    static char text[BURBLE_WORD_MAX + 16];
    uint64_t random = test_seed(5);
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    for (int round = 0; round < 300; round++) {
        static struct naive naive;
        naive.len = naive.printed = 0;
        naive.tokens = 0;
        for (size_t i = 0; i < 6; i++) {
            const size_t n = next_random(&random) % (BURBLE_WORD_MAX / (i % 2 == 0 ? 1 : 4096));
            memset(text, 'x', n);
            strcpy(text + n, ends[next_random(&random) % COUNT(ends)]);
            const bool holds = next_random(&random) % 4 == 0;
            const burble_text want = naive_put(&naive, text, strlen(text), holds);
            naive.tokens += 1;
            push(chunker, text, strlen(text), 1, holds, want.bytes, want.len,
                 want.len > 0 ? naive.tokens : 0);
            if (want.len > 0)
                naive.tokens = 0;
        }
        naive.text[naive.len] = '\0';
        finish(chunker, naive.text + naive.printed, naive.tokens);
    }
    burble_chunker_destroy(&chunker);
}

/* ---- both ------------------------------------------------------------------------------------ */

static void unknown_rule_is_refused(void **state)
{
    (void)state;
    burble_chunker *chunker = (burble_chunker *)&state;
    /* NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): that is the point */
    assert_result(burble_chunker_create((burble_chunking)2, &chunker), BURBLE_EINVAL);
    assert_null(chunker);
}

static void empty_text_may_be_null(void **state)
{
    (void)state;
    for (int rule = BURBLE_CHUNK_TOKEN; rule <= BURBLE_CHUNK_WORD; rule++) {
        burble_chunker *chunker = new_chunker((burble_chunking)rule);
        burble_text chunk = {.bytes = NULL, .len = 99};
        assert_result(burble_chunker_push(chunker, NULL, 0, 2, false, &chunk, NULL), BURBLE_OK);
        assert_non_null(chunk.bytes);
        assert_int_equal(chunk.len, 0);
        finish(chunker, "", 2);
        burble_chunker_destroy(&chunker);
    }
}

static void token_count_saturates(void **state)
{
    (void)state;
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    push(chunker, "a", 1, UINT32_MAX - 1, false, "", 0, 0);
    push(chunker, "b", 1, 3, false, "", 0, 0);
    push(chunker, " ", 1, UINT32_MAX, false, "ab ", 3, UINT32_MAX);
    push(chunker, " ", 1, 1, false, " ", 1, 1);
    burble_chunker_destroy(&chunker);
}

static void reset_discards_held_text(void **state)
{
    (void)state;
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    push(chunker, "ab", 2, 1, false, "", 0, 0);
    push(chunker, "c de", 4, 1, false, "abc ", 4, 2); /* a chunk that the next call takes away */
    burble_chunker_reset(chunker);
    push(chunker, "x ", 2, 1, false, "x ", 2, 1);
    finish(chunker, "", 0);
    burble_chunker_destroy(&chunker);
}

static void text_above_longest_record_is_refused_and_not_taken(void **state)
{
    (void)state;
    /* Spaces to look at only at the end; the rest is never touched. */
    const size_t len = BURBLE_RECORD_MAX;
    char *text =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (text == MAP_FAILED) {
        skip();
        return; /* skip does not come back, but says so nowhere */
    }
    text[len - 1] = ' ';
    burble_chunker *chunker = new_chunker(BURBLE_CHUNK_WORD);
    burble_text chunk = {.bytes = NULL, .len = 99};
    uint32_t tokens = 99;
    push(chunker, "ab", 2, 1, false, "", 0, 0);
    assert_result(burble_chunker_push(chunker, text, len, 1, false, &chunk, &tokens),
                  BURBLE_ENOMEM);
    assert_non_null(chunk.bytes);
    assert_int_equal(chunk.len, 0);
    assert_int_equal(tokens, 0);
    push(chunker, "c ", 2, 1, false, "abc ", 4, 2);
    burble_chunker_destroy(&chunker);
    munmap(text, len);
}

static void destroy_of_null_does_nothing(void **state)
{
    (void)state;
    burble_chunker *none = NULL;
    burble_chunker_destroy(&none);
    burble_chunker_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_token_each_text_is_a_chunk),
        cmocka_unit_test(by_token_text_is_not_copied),
        cmocka_unit_test(by_word_chunk_ends_with_last_space),
        cmocka_unit_test(by_word_newline_at_end_releases_all_text),
        cmocka_unit_test(by_word_ideograph_at_end_releases_all_text),
        cmocka_unit_test(by_word_ideographs_are_those_of_transformers),
        cmocka_unit_test(by_word_text_before_held_character_stays_held),
        cmocka_unit_test(by_word_random_text_is_cut_as_by_transformers),
        cmocka_unit_test(by_word_chunk_at_start_of_text_is_not_copied),
        cmocka_unit_test(by_word_endless_word_costs_the_same_per_push),
        cmocka_unit_test(by_word_word_above_bound_is_released),
        cmocka_unit_test(by_word_long_words_are_cut_as_by_naive_rule),
        cmocka_unit_test(unknown_rule_is_refused),
        cmocka_unit_test(empty_text_may_be_null),
        cmocka_unit_test(token_count_saturates),
        cmocka_unit_test(reset_discards_held_text),
        cmocka_unit_test(text_above_longest_record_is_refused_and_not_taken),
        cmocka_unit_test(destroy_of_null_does_nothing),
    };
    return cmocka_run_group_tests_name("chunk", tests, NULL, NULL);
}
