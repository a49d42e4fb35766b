/* SPDX-License-Identifier: MIT
 *
 * Writing JSON: what is written is read back by jansson.
 */
#include "protocol.h"

#include <float.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>

#include "base/utf8.h"
#include "serve/json.h"

/* Writes a string, reads it back, and returns what was read. */
static void round_trip_at(struct place at, const char *text, size_t len, const char *expected,
                          size_t expected_len)
{
    NEW_BUFFER(out);
    assert_result_at(at, burble__json_put_string(&out, text, len), BURBLE_OK);
    json_t *value = json_loadb(out.bytes, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null_at(at, value);
    assert_int_equal_at(at, json_string_length(value), expected_len);
    assert_memory_equal_at(at, json_string_value(value), expected, expected_len);
    json_decref(value);
    burble__buffer_finish(&out);
}
#define round_trip(...) round_trip_at(HERE, __VA_ARGS__)

static void test_every_character_reads_back_at_every_offset(void **state)
{
    (void)state;
    char text[32];
    for (unsigned c = 0; c < 0x80; c++)
        for (size_t before = 0; before < 10; before++) {
            memset(text, 'x', sizeof text);
            text[before] = (char)c;
            round_trip(text, before + 1, text, before + 1);
            round_trip(text, 20, text, 20);
        }
    static const char *const characters[] = {"\xc2\x80",         "\xdf\xbf",        "\xe0\xa0\x80",
                                             "\xe2\x80\xa8",     "\xef\xbf\xbf",    "\xed\x9f\xbf",
                                             "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < 8; i++)
        for (size_t before = 0; before < 10; before++) {
            memset(text, '"', sizeof text);
            memcpy(text + before, characters[i], strlen(characters[i]));
            round_trip(text, 20, text, 20);
            round_trip(text, before + strlen(characters[i]), text, before + strlen(characters[i]));
        }
}

static void test_escapes_are_the_short_ones(void **state)
{
    (void)state;
    NEW_BUFFER(out);
    assert_int_equal(burble__json_put_string(&out, "\b\t\n\v\f\r\x01\x1f\x7f\"\\/", 12), BURBLE_OK);
    EXPECT(&out, "\"\\b\\t\\n\\u000b\\f\\r\\u0001\\u001f\x7f\\\"\\\\/\"");
    assert_int_equal(burble__json_put_name(&out, NULL), BURBLE_OK);
    EXPECT(&out, "null");
}

/* The same bytes as burble's own decoder makes of them, whole. */
static void test_broken_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    for (unsigned round = 0; round < 20000; round++) {
        static const char parts[] = "a\"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\xff\xc0\xed\xa0\x80";
        char text[16], expected[64];
        const size_t len = next_random(&random) % (sizeof text + 1);
        for (size_t i = 0; i < len; i++)
            text[i] = parts[next_random(&random) % (sizeof parts - 1)];
        struct burble__utf8 utf8;
        burble__utf8_init(&utf8, BURBLE__UTF8_PER_PART);
        size_t n = burble__utf8_feed(&utf8, text, len, expected);
        n += burble__utf8_flush(&utf8, expected + n);
        round_trip(text, len, expected, n);
    }
}

static void test_long_text_reads_back(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        char text[5000];
        memset(text, 'x', sizeof text);
        for (size_t i = shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 4);
        round_trip(text, sizeof text, text, sizeof text);
        memset(text, 1, sizeof text);
        round_trip(text, sizeof text, text, sizeof text);
    }
}

static void test_full_buffer_is_out_of_memory(void **state)
{
    (void)state;
    for (size_t max = 0; max < 24; max++) {
        struct burble__buffer out;
        burble__buffer_init(&out, max);
        const int result = burble__json_put_string(&out, "abc", 3);
        assert_true(result == BURBLE_OK ? max >= 5 : result == BURBLE_ENOMEM);
        burble__buffer_finish(&out);
    }
    struct burble__buffer out;
    burble__buffer_init(&out, 4);
    assert_int_equal(burble__json_put_integer(&out, 1), BURBLE_ENOMEM);
    assert_int_equal(burble__json_put_decimal(&out, 1, 3), BURBLE_ENOMEM);
    assert_int_equal(burble__json_put_raw(&out, "12345"), BURBLE_ENOMEM);
    burble__buffer_finish(&out);
}

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        uint64_t number;
        const char *text;
    } cases[] = {{0, "0"},
                 {9, "9"},
                 {10, "10"},
                 {1790000000, "1790000000"},
                 {UINT64_MAX, "18446744073709551615"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        NEW_BUFFER(out);
        assert_int_equal(burble__json_put_integer(&out, cases[i].number), BURBLE_OK);
        EXPECT(&out, cases[i].text);
    }
}

static void test_decimals_do_not_depend_on_the_locale(void **state)
{
    (void)state;
    static const struct {
        double number;
        unsigned decimals;
        const char *text;
    } cases[] = {
        {0, 3, "0"},
        {-0.0, 3, "0"},
        {1.5, 3, "1.5"},
        {-1.25, 1, "-1.3"},
        {-0.0004, 3, "0"},
        {2.0004, 3, "2"},
        {0.05, 3, "0.05"},
        {123.456789, 9, "123.456789"},
        {-9999, 9, "-9999"},
        {1e300, 3, "1000000000"},
        {-INFINITY, 9, "-1000000000"},
        {NAN, 3, "0"},
        {0.9999, 3, "1"},
        {7.6, 0, "8"},
    };
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"};
    for (size_t l = 0; l < 3; l++) {
        setlocale(LC_ALL, locales[l]); /* as far as the machine has it */
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            NEW_BUFFER(out);
            assert_int_equal(burble__json_put_decimal(&out, cases[i].number, cases[i].decimals),
                             BURBLE_OK);
            assert_true(out.len <= BURBLE__JSON_NUMBER_MAX);
            EXPECT(&out, cases[i].text);
        }
    }
    setlocale(LC_ALL, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character_reads_back_at_every_offset),
        cmocka_unit_test(test_escapes_are_the_short_ones),
        cmocka_unit_test(test_broken_utf8_becomes_replacement_characters),
        cmocka_unit_test(test_long_text_reads_back),
        cmocka_unit_test(test_full_buffer_is_out_of_memory),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_decimals_do_not_depend_on_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
