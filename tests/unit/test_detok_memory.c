/* SPDX-License-Identifier: MIT
 *
 * Vocabularies and detokenizers where memory is short: each of their allocations fails in turn. Their
 * sources are compiled in here, with an allocator that fails when it is told to.
 */
#include "support.h"

#include <stdbool.h>
#include <string.h>

#define BURBLE_BASE_ALLOC_H /* instead of src/base/alloc.h */

static size_t allocations; /* still to succeed */

static bool fails(void)
{
    if (allocations > 0) {
        allocations--;
        return false;
    }
    return true;
}

static void *burble__malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *burble__realloc(void *p, size_t size)
{
    return fails() ? NULL : realloc(p, size);
}

static void burble__free(void *p)
{
    free(p);
}

/* NOLINTBEGIN(bugprone-suspicious-include): that is the point */
#include "../../src/base/buffer.c"
#include "../../src/text/compile.c"
#include "../../src/text/detok.c"
#include "../../src/text/detok_past.c"
#include "../../src/text/detok_spans.c"
#include "../../src/text/rewrite.c"
#include "../../src/text/steps.c"
#include "../../src/text/vocab.c"
/* NOLINTEND(bugprone-suspicious-include) */

static const burble_token tokens[] = {
    {"▁a", 4, 0},
    {"b</w>", 5, 0},
    {"▁", 3, 0},
    {"<0xE4>", 6, 0},
    {"<0xB8>", 6, 0},
    {"<0xAD>", 6, 0},
    {"n", 1, 0},
    {"'t", 2, 0},
    {"a long token that needs a buffer of its own, and one more </w>", 62, 0},
    {"##c", 3, 0},
};

/* Among them, they have everything that takes memory. */
static const burble_step fallback[] = {
    {.kind = BURBLE_STEP_BYTE_FALLBACK},
    {.kind = BURBLE_STEP_METASPACE, .text = "▁", .flag = true},
    {.kind = BURBLE_STEP_FUSE},
    {.kind = BURBLE_STEP_REPLACE, .text = "a", .with = "<longer than it was>"},
    {.kind = BURBLE_STEP_STRIP, .text = " ", .start = 1, .stop = 1},
};
static const burble_step wordpiece[] = {
    {.kind = BURBLE_STEP_CTC, .text = "<pad>", .with = "|", .flag = true},
    {.kind = BURBLE_STEP_WORDPIECE, .text = "##", .flag = true},
    {.kind = BURBLE_STEP_BPE, .text = "</w>"},
};
static const burble_vocab_options decoders[] = {
    {.steps = fallback, .n_steps = COUNT(fallback)},
    {.steps = wordpiece, .n_steps = COUNT(wordpiece)},
};

static const int32_t ids[] = {0, 3, 4, 5, 2, 6, 7, 8, 1, 9, 2, 3, 4, 1, 8, 2, 2, 8};

static burble_vocab *new_vocab(size_t i)
{
    burble_vocab *vocab;
    allocations = SIZE_MAX;
    assert_result(burble_vocab_create(&decoders[i], tokens, COUNT(tokens), &vocab, NULL),
                  BURBLE_OK);
    return vocab;
}

static void vocabulary_without_memory_fails_and_leaks_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(decoders); i++) {
        burble_vocab *vocab = NULL;
        for (size_t n = 0; vocab == NULL; n++) {
            burble_error error = {.code = 0};
            allocations = n;
            const int result =
                burble_vocab_create(&decoders[i], tokens, COUNT(tokens), &vocab, &error);
            assert_result(result, vocab == NULL ? BURBLE_ENOMEM : BURBLE_OK);
            assert_result(error.code, result);
        }
        burble_vocab_unref(&vocab);
    }
}

/* Every set of options, with everything that can be asked of a detokenizer. */
typedef void check_fn(burble_vocab *vocab, const burble_detok_options *options);

static void for_all_options(check_fn *check)
{
    for (size_t i = 0; i < COUNT(decoders); i++) {
        burble_vocab *vocab = new_vocab(i);
        for (unsigned set = 0; set < 8; set++) {
            const burble_detok_options options = {.clean_up = (set & 1) != 0,
                                                  .spans = (set & 2) != 0,
                                                  .rewind = (set & 4) != 0 ? 3 : 0};
            check(vocab, &options);
        }
        burble_vocab_unref(&vocab);
    }
}

static void check_create(burble_vocab *vocab, const burble_detok_options *options)
{
    burble_detok *detok = NULL;
    burble_detok *copy = NULL;
    burble_text text;
    for (size_t n = 0; detok == NULL; n++) {
        allocations = n;
        const int result = burble_detok_create(vocab, options, &detok);
        assert_result(result, detok == NULL ? BURBLE_ENOMEM : BURBLE_OK);
    }
    allocations = SIZE_MAX;
    assert_result(burble_detok_push(detok, ids, 5, &text), BURBLE_OK);
    for (size_t n = 0; copy == NULL; n++) {
        allocations = n;
        const int result = burble_detok_copy(detok, &copy);
        assert_result(result, copy == NULL ? BURBLE_ENOMEM : BURBLE_OK);
    }
    burble_detok_destroy(&copy);
    burble_detok_destroy(&detok);
}

static void detokenizer_without_memory_fails_and_leaks_nothing(void **state)
{
    (void)state;
    for_all_options(check_create);
}

static void append(char *all, size_t *len, const burble_text *text)
{
    assert_true(*len + text->len < 4096);
    memcpy(all + *len, text->bytes, text->len);
    *len += text->len;
}

/* Pushes so many at a time, each time with one allocation more until it works. */
static void check_push_by(burble_vocab *vocab, const burble_detok_options *options, size_t by)
{
    static char want[4096];
    static char got[4096];
    size_t want_len = 0;
    size_t got_len = 0;
    burble_detok *detok;
    burble_text text;
    allocations = SIZE_MAX;
    assert_result(burble_detok_create(vocab, options, &detok), BURBLE_OK);
    assert_result(burble_detok_push(detok, ids, COUNT(ids), &text), BURBLE_OK);
    append(want, &want_len, &text);
    burble_detok_finish(detok, &text);
    append(want, &want_len, &text);
    burble_detok_destroy(&detok);

    allocations = SIZE_MAX;
    assert_result(burble_detok_create(vocab, options, &detok), BURBLE_OK);
    for (size_t at = 0; at < COUNT(ids); at += by) {
        const size_t n = COUNT(ids) - at < by ? COUNT(ids) - at : by;
        int result = BURBLE_ENOMEM;
        for (size_t k = 0; result != BURBLE_OK; k++) {
            allocations = k;
            result = burble_detok_push(detok, ids + at, n, &text);
            assert_true(result == BURBLE_OK || result == BURBLE_ENOMEM);
            assert_true(result == BURBLE_OK || text.len == 0);
        }
        append(got, &got_len, &text);
    }
    allocations = 0; /* finishing never fails */
    burble_detok_finish(detok, &text);
    append(got, &got_len, &text);
    assert_int_equal(got_len, want_len);
    assert_memory_equal(got, want, want_len);
    burble_detok_destroy(&detok);
}

static void check_push(burble_vocab *vocab, const burble_detok_options *options)
{
    for (size_t by = 1; by <= COUNT(ids); by++)
        check_push_by(vocab, options, by);
}

static void push_without_memory_takes_no_id_and_finish_needs_none(void **state)
{
    (void)state;
    for_all_options(check_push);
}

static void check_rewind(burble_vocab *vocab, const burble_detok_options *options)
{
    burble_detok *detok;
    burble_text text;
    static char want[4096];
    if (options->rewind == 0)
        return;
    allocations = SIZE_MAX;
    assert_result(burble_detok_create(vocab, options, &detok), BURBLE_OK);
    assert_result(burble_detok_push(detok, ids, 8, &text), BURBLE_OK);
    assert_result(burble_detok_push(detok, ids + 8, 2, &text), BURBLE_OK);
    const size_t len = text.len;
    memcpy(want, text.bytes, len);
    allocations = 0; /* going back never needs memory, and what it goes back to was there */
    assert_result(burble_detok_rewind(detok, 2, NULL), BURBLE_OK);
    assert_result(burble_detok_push(detok, ids + 8, 2, &text), BURBLE_OK);
    assert_int_equal(text.len, len);
    assert_memory_equal(text.bytes, want, len);
    burble_detok_destroy(&detok);
}

static void rewind_needs_no_memory(void **state)
{
    (void)state;
    for_all_options(check_rewind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vocabulary_without_memory_fails_and_leaks_nothing),
        cmocka_unit_test(detokenizer_without_memory_fails_and_leaks_nothing),
        cmocka_unit_test(push_without_memory_takes_no_id_and_finish_needs_none),
        cmocka_unit_test(rewind_needs_no_memory),
    };
    return cmocka_run_group_tests_name("detok_memory", tests, NULL, NULL);
}
