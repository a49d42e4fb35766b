/* SPDX-License-Identifier: MIT
 *
 * What the tests of the loaders share: making files of bytes, and asking for what comes of them.
 */
#ifndef BURBLE_TESTS_LOAD_SUPPORT_H
#define BURBLE_TESTS_LOAD_SUPPORT_H

#include "support.h"

#include <stdbool.h>
#include <string.h>

#include <burble/detok.h>
#include <burble/vocab.h>

#include "base/utf8.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A file in the making. */
struct bytes {
    size_t n;
    char at[1 << 16];
};

static inline void put(struct bytes *bytes, const void *what, size_t n)
{
    assert_true(bytes->n + n <= sizeof bytes->at);
    memcpy(bytes->at + bytes->n, what, n);
    bytes->n += n;
}

static inline void put_text(struct bytes *bytes, const char *text)
{
    put(bytes, text, strlen(text));
}

static inline void put_little_endian(struct bytes *bytes, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char byte = (char)(value >> 8 * i & 0xFF);
        put(bytes, &byte, 1);
    }
}

/* What the ids become, all at once and one by one. */
static inline void assert_text_at(struct place at, burble_vocab *vocab, bool skip_special,
                                  const int32_t *ids, size_t n, const char *expected)
{
    burble_detok_options options;
    burble_detok_options_init(&options);
    options.skip_special = skip_special;
    for (size_t step = n; step > 0; step = step == 1 ? 0 : 1) {
        char text[256] = "";
        burble_detok *detok;
        burble_text part;
        assert_result_at(at, burble_detok_create(vocab, &options, &detok), BURBLE_OK);
        for (size_t i = 0; i < n; i += step) {
            assert_result_at(at, burble_detok_push(detok, ids + i, step, &part), BURBLE_OK);
            strncat(text, part.bytes, part.len);
        }
        burble_detok_finish(detok, &part);
        strncat(text, part.bytes, part.len);
        assert_string_equal_at(at, text, expected);
        burble_detok_destroy(&detok);
    }
}
#define assert_text(...) assert_text_at(HERE, __VA_ARGS__)
#define ASSERT_TEXT(vocab, skip, expected, ...)                                                    \
    assert_text(vocab, skip, (const int32_t[]){__VA_ARGS__},                                       \
                COUNT(((const int32_t[]){__VA_ARGS__})), expected)

static inline burble_vocab *parse_at(struct place at, const void *data, size_t size,
                                     burble_vocab_format format)
{
    burble_vocab *vocab;
    burble_error error = {.message = ""};
    const int result = burble_vocab_parse(data, size, format, "file", &vocab, &error);
    assert_string_equal_at(at, error.message, "");
    assert_result_at(at, result, BURBLE_OK);
    assert_non_null_at(at, vocab);
    return vocab;
}
#define parse(...) parse_at(HERE, __VA_ARGS__)

/* It is refused, and the message is this one, after the file's name. */
static inline void assert_refused_at(struct place at, const void *data, size_t size,
                                     burble_vocab_format format, int code, const char *message)
{
    burble_vocab *vocab = (burble_vocab *)&code;
    burble_error error = {.message = ""};
    assert_result_at(at, burble_vocab_parse(data, size, format, "file", &vocab, &error), code);
    assert_null_at(at, vocab);
    assert_result_at(at, error.code, code);
    assert_memory_equal_at(at, error.message, "file: ", 6);
    assert_string_equal_at(at, error.message + 6, message);
    assert_result_at(at, burble_vocab_parse(data, size, format, NULL, &vocab, NULL), code);
}
#define assert_refused(...) assert_refused_at(HERE, __VA_ARGS__)

/* Cut at every byte, and with every byte changed in turn, it is refused or a vocabulary. */
static inline void assert_survives_at(struct place at, const char *data, size_t size,
                                      burble_vocab_format format)
{
    for (size_t i = 0; i < 2 * size; i++) {
        const size_t n = i < size ? i : size;
        char *copy = malloc(n == 0 ? 1 : n); /* of its very size: a read beyond it is seen */
        assert_non_null_at(at, copy);
        memcpy(copy, data, n);
        if (i >= size)
            copy[i - size] ^= (char)(1u << (i % 8));
        burble_vocab *vocab;
        burble_error error = {.message = ""};
        const int result = burble_vocab_parse(copy, n, format, "file", &vocab, &error);
        if (result == BURBLE_OK) {
            assert_non_null_at(at, vocab);
            burble_vocab_unref(&vocab);
        } else {
            assert_true_at(at, result == BURBLE_EFORMAT || result == BURBLE_EUNSUPPORTED);
            assert_null_at(at, vocab);
            assert_true_at(at, strlen(error.message) > strlen("file: "));
            assert_true_at(at, burble__utf8_valid(error.message, strlen(error.message)));
        }
        free(copy);
    }
}
#define assert_survives(...) assert_survives_at(HERE, __VA_ARGS__)

#endif
