/* SPDX-License-Identifier: MIT
 *
 * UTF-8, against a decoder that sees all of the bytes at once and knows nothing but the standard's
 * table.
 */
#include "support.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

/* The longest input here, in bytes. */
#define LONGEST 64

/* Table 3-7 of Unicode 15.0: the well-formed byte sequences. */
static const struct {
    size_t len;
    unsigned char range[4][2];
} well_formed[] = {
    {1, {{0x00, 0x7F}}},
    {2, {{0xC2, 0xDF}, {0x80, 0xBF}}},
    {3, {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}},
    {3, {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}},
};

struct text {
    size_t len;
    size_t held; /* oracle: bytes of an incomplete character at the end */
    bool valid;  /* oracle: nothing was replaced */
    char bytes[BURBLE__UTF8_GROWTH * (LONGEST + BURBLE__UTF8_HELD_MAX)];
};

static void put(struct text *text, const void *bytes, size_t n)
{
    assert_true(text->len + n <= sizeof text->bytes);
    memcpy(text->bytes + text->len, bytes, n);
    text->len += n;
}

/* The oracle: all of the bytes at once, by the table. */
static struct text decode(const unsigned char *bytes, size_t n, enum burble__utf8_rule rule)
{
    struct text text = {.valid = true};
    for (size_t at = 0; at < n;) {
        size_t longest = 0;
        bool whole = false;
        for (size_t row = 0; row < sizeof well_formed / sizeof well_formed[0]; row++) {
            size_t len = 0;
            while (len < well_formed[row].len && at + len < n
                   && bytes[at + len] >= well_formed[row].range[len][0]
                   && bytes[at + len] <= well_formed[row].range[len][1]) {
                len++;
            }
            if (len > longest) {
                longest = len;
                whole = len == well_formed[row].len;
            }
        }
        if (whole) {
            put(&text, bytes + at, longest);
        } else {
            const size_t part = longest == 0 ? 1 : longest;
            const size_t times = rule == BURBLE__UTF8_PER_BYTE ? part : 1;
            for (size_t i = 0; i < times; i++)
                put(&text, "\xEF\xBF\xBD", 3);
            text.valid = false;
            text.held = at + longest == n ? longest : 0;
            longest = part;
        }
        at += longest;
    }
    return text;
}

/* Feeds a copy of the bytes that ends where its memory ends into memory of exactly the size that is
 * asked for, so that a sanitizer sees a step beyond either. */
static void feed(struct burble__utf8 *utf8, const unsigned char *bytes, size_t n, struct text *text)
{
    const size_t room = BURBLE__UTF8_GROWTH * (utf8->held + n);
    char *in = malloc(n == 0 ? 1 : n);
    char *out = malloc(room == 0 ? 1 : room);
    assert_non_null(in);
    assert_non_null(out);
    memcpy(in, bytes, n);
    const size_t len = burble__utf8_feed(utf8, in, n, out);
    assert_true(len <= room);
    assert_true(utf8->held <= BURBLE__UTF8_HELD_MAX);
    put(text, out, len);
    free(in);
    free(out);
}

static void flush_at(struct place at, struct burble__utf8 *utf8, struct text *text)
{
    char out[BURBLE__UTF8_GROWTH * BURBLE__UTF8_HELD_MAX];
    put(text, out, burble__utf8_flush(utf8, out));
    assert_int_equal_at(at, utf8->held, 0);
}
#define flush(...) flush_at(HERE, __VA_ARGS__)

static void assert_same_at(struct place at, const struct text *got, const struct text *want)
{
    assert_int_equal_at(at, got->len, want->len);
    assert_memory_equal_at(at, got->bytes, want->bytes, want->len);
}
#define assert_same(...) assert_same_at(HERE, __VA_ARGS__)

/* Whole, and in two parts cut at each byte. */
static void check_splits_at(struct place at, const unsigned char *bytes, size_t n,
                            enum burble__utf8_rule rule)
{
    const struct text want = decode(bytes, n, rule);
    for (size_t cut = 0; cut <= n; cut++) {
        struct burble__utf8 utf8;
        struct text got = {0};
        burble__utf8_init(&utf8, rule);
        feed(&utf8, bytes, cut, &got);
        feed(&utf8, bytes + cut, n - cut, &got);
        assert_int_equal_at(at, utf8.held, want.held);
        flush_at(at, &utf8, &got);
        assert_same_at(at, &got, &want);
    }
    assert_int_equal_at(at, burble__utf8_valid((const char *)bytes, n), want.valid);
}
#define check_splits(...) check_splits_at(HERE, __VA_ARGS__)

/* Byte by byte; after each, what came out and what is held are together the text so far. */
static void check_bytewise_at(struct place at, const unsigned char *bytes, size_t n,
                              enum burble__utf8_rule rule)
{
    struct burble__utf8 utf8;
    struct text got = {0};
    burble__utf8_init(&utf8, rule);
    for (size_t i = 0; i < n; i++) {
        feed(&utf8, bytes + i, 1, &got);
        const struct text want = decode(bytes, i + 1, rule);
        struct burble__utf8 end = utf8;
        struct text so_far = got;
        flush_at(at, &end, &so_far);
        assert_same_at(at, &so_far, &want);
        assert_int_equal_at(at, utf8.held, want.held);
    }
}
#define check_bytewise(...) check_bytewise_at(HERE, __VA_ARGS__)

static void check_at(struct place at, const unsigned char *bytes, size_t n)
{
    check_splits_at(at, bytes, n, BURBLE__UTF8_PER_PART);
    check_splits_at(at, bytes, n, BURBLE__UTF8_PER_BYTE);
    check_bytewise_at(at, bytes, n, BURBLE__UTF8_PER_PART);
    check_bytewise_at(at, bytes, n, BURBLE__UTF8_PER_BYTE);
}
#define check(...) check_at(HERE, __VA_ARGS__)

static size_t encode(uint32_t character, unsigned char *out)
{
    if (character < 0x80) {
        out[0] = (unsigned char)character;
        return 1;
    }
    const size_t len = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (unsigned char)(0x80 | (character & 0x3F));
        character >>= 6;
    }
    out[0] = (unsigned char)(lead[len] | character);
    return len;
}

static void empty_input_gives_empty_output(void **state)
{
    (void)state;
    check((const unsigned char *)"", 0);
    assert_true(burble__utf8_valid(NULL, 0));
}

static void sequences_of_one_and_two_bytes_are_decoded_per_unicode(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++) {
        check((const unsigned char[]){(unsigned char)a}, 1);
        for (unsigned b = 0; b < 256; b++)
            check((const unsigned char[]){(unsigned char)a, (unsigned char)b}, 2);
    }
}

static void sequences_at_edges_of_ranges_are_decoded_per_unicode(void **state)
{
    (void)state;
    static const unsigned char edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                          0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED,
                                          0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
    const size_t n = sizeof edges;
    for (size_t i = 0; i < n * n * n; i++)
        check((const unsigned char[]){edges[i / n / n], edges[i / n % n], edges[i % n]}, 3);
    for (size_t i = 0; i < n * n * n * n; i++) {
        const unsigned char bytes[] = {edges[i / n / n / n], edges[i / n / n % n], edges[i / n % n],
                                       edges[i % n]};
        check_bytewise(bytes, 4, BURBLE__UTF8_PER_PART);
    }
}

static void examples_of_unicode_standard_are_decoded_as_printed(void **state)
{
    (void)state;
#define R "\xEF\xBF\xBD"
    static const struct {
        const char *bytes;
        const char *text;
    } tables[] = {
        {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
         "a" R R R "b" R "c" R R "d"}, /* Unicode 6.0, table 3-8; the others: 15.0 */
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "A"},   /* table 3-8 */
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "A"},   /* table 3-9 */
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "A" R R "B"}, /* table 3-10 */
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A"},           /* table 3-11 */
    };
#undef R
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        const unsigned char *bytes = (const unsigned char *)tables[i].bytes;
        const size_t n = strlen(tables[i].bytes);
        const struct text text = decode(bytes, n, BURBLE__UTF8_PER_PART);
        assert_int_equal(text.len, strlen(tables[i].text));
        assert_memory_equal(text.bytes, tables[i].text, text.len);
        check(bytes, n);
    }
}

static void every_character_is_kept_and_found_as_last(void **state)
{
    (void)state;
    for (uint32_t character = 0; character <= 0x10FFFF; character++) {
        unsigned char bytes[8] = "xyz";
        const size_t n = 3 + encode(character, bytes + 3);
        const bool surrogate = character >= 0xD800 && character <= 0xDFFF;
        assert_int_equal(burble__utf8_valid((const char *)bytes, n), !surrogate);
        if (surrogate)
            continue;
        struct burble__utf8 utf8;
        char out[64];
        burble__utf8_init(&utf8, BURBLE__UTF8_PER_PART);
        assert_int_equal(burble__utf8_feed(&utf8, (const char *)bytes, n, out), n);
        assert_memory_equal(out, bytes, n);
        assert_int_equal(utf8.held, 0);
        assert_int_equal(burble__utf8_last((const char *)bytes, n), character);
        assert_int_equal(burble__utf8_last((const char *)bytes + 3, n - 3), character);
    }
}

static void bad_byte_is_found_at_any_place(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 40; n++) {
        for (size_t at = 0; at < n; at++) {
            unsigned char bytes[40];
            memset(bytes, 'a', n);
            assert_true(burble__utf8_valid((const char *)bytes, n));
            bytes[at] = 0xFF;
            assert_false(burble__utf8_valid((const char *)bytes, n));
            check_splits(bytes, n, BURBLE__UTF8_PER_PART);
        }
    }
}

static void random_bytes_are_decoded_per_unicode(void **state)
{
    (void)state;
    uint64_t random = test_seed(20250611);
    for (int round = 0; round < 20000; round++) {
        unsigned char bytes[LONGEST];
        const size_t n = next_random(&random) % (LONGEST - 3);
        for (size_t i = 0; i < n; i++) {
            /* Half of them whole characters, else nearly everything would be broken. */
            if (next_random(&random) % 2 == 0) {
                bytes[i] = (unsigned char)next_random(&random);
            } else {
                const uint64_t range = UINT64_C(2) << next_random(&random) % 21;
                const uint32_t character = (uint32_t)(next_random(&random) % range % 0x110000);
                unsigned char encoded[4];
                const size_t len = encode(character, encoded);
                memcpy(bytes + i, encoded, i + len <= n ? len : n - i);
                i += len - 1;
            }
        }
        check(bytes, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_input_gives_empty_output),
        cmocka_unit_test(sequences_of_one_and_two_bytes_are_decoded_per_unicode),
        cmocka_unit_test(sequences_at_edges_of_ranges_are_decoded_per_unicode),
        cmocka_unit_test(examples_of_unicode_standard_are_decoded_as_printed),
        cmocka_unit_test(every_character_is_kept_and_found_as_last),
        cmocka_unit_test(bad_byte_is_found_at_any_place),
        cmocka_unit_test(random_bytes_are_decoded_per_unicode),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
