/* SPDX-License-Identifier: MIT
 *
 * JSON: what is accepted and what is refused, and where; the merges, which are only checked; keys that collide.
 */
#include "load_support.h"

#include "base/hash.h"
#include "text/load_json.h"

/* ---- values -------------------------------------------------------------------------------------- */

/* The result of a text of this size, of which a copy is parsed: a read beyond it is seen. The root is *root. */
static int parse_text(const char *text, size_t size, struct burble__json_document *document,
                      burble_error *error)
{
    char *copy = malloc(size == 0 ? 1 : size);
    assert_non_null(copy);
    memcpy(copy, text, size);
    *error = (burble_error){.message = ""};
    const struct burble__source source = {
        .name = "file", .bytes = copy, .size = size, .error = error};
    const int result = burble__json_parse(&source, document);
    free(copy);
    if (result != BURBLE_OK) {
        assert_null(document->nodes);
        assert_null(document->texts);
    }
    return result;
}

static struct burble__json accept_at(struct place at, const char *text,
                                     struct burble__json_document *document)
{
    burble_error error;
    const int result = parse_text(text, strlen(text), document, &error);
    assert_string_equal_at(at, error.message, "");
    assert_result_at(at, result, BURBLE_OK);
    return (struct burble__json){document, document->nodes};
}
#define accept(...) accept_at(HERE, __VA_ARGS__)

static void refuse_at(struct place at, const char *text, const char *message)
{
    struct burble__json_document document;
    burble_error error;
    assert_result_at(at, parse_text(text, strlen(text), &document, &error), BURBLE_EFORMAT);
    assert_memory_equal_at(at, error.message, "file: ", 6);
    assert_string_equal_at(at, error.message + 6, message);
}
#define refuse(...) refuse_at(HERE, __VA_ARGS__)

static void values_are_read_in_order(void **state)
{
    (void)state;
    struct burble__json_document document;
    struct burble__json root =
        accept(" { \"a\" : [1 , -2.5e+3,\t\"x\" , {} ,[]],\r\n\"b\":{\"c\":null,"
               "\"d\":[[true]]},\"e\":false } ",
               &document);
    assert_int_equal(burble__json_size(root), 3);
    static const enum burble__json_type types[] = {BURBLE__JSON_INTEGER, BURBLE__JSON_REAL,
                                                   BURBLE__JSON_STRING, BURBLE__JSON_OBJECT,
                                                   BURBLE__JSON_ARRAY};
    struct burble__json item, key;
    size_t n = 0;
    struct burble__json_cursor at = burble__json_begin(burble__json_get(root, "a"));
    for (; burble__json_item(&at, &item); n++)
        assert_int_equal(burble__json_type(item), types[n]);
    assert_int_equal(n, COUNT(types));
    at = burble__json_begin(root);
    static const char *const keys[] = {"a", "b", "e"};
    for (n = 0; burble__json_pair(&at, &key, &item); n++)
        assert_true(burble__json_equals(key, keys[n]));
    assert_int_equal(n, COUNT(keys));
    assert_true(burble__json_is(burble__json_get(root, "e"), BURBLE__JSON_FALSE));
    assert_true(burble__json_is(burble__json_get(root, "f"), BURBLE__JSON_NOTHING));
    assert_true(burble__json_is(burble__json_get(item, "a"), BURBLE__JSON_NOTHING));
    assert_true(
        burble__json_is(burble__json_get(burble__json_get(root, "b"), "c"), BURBLE__JSON_NULL));
    burble__json_finish(&document);
}

static void integers_have_64_bits(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"7", 7},
        {"-10", -10},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    (void)state;
    struct burble__json_document document;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct burble__json value = accept(cases[i].text, &document);
        assert_int_equal(burble__json_type(value), BURBLE__JSON_INTEGER);
        assert_true(burble__json_integer(value) == cases[i].value);
        burble__json_finish(&document);
    }
    static const char *const reals[] = {"0.5", "-1e9", "1E-3", "1.25e+2", "1e999"};
    for (size_t i = 0; i < COUNT(reals); i++) {
        assert_int_equal(burble__json_type(accept(reals[i], &document)), BURBLE__JSON_REAL);
        burble__json_finish(&document);
    }
    refuse("9223372036854775808", "line 1, column 1 (byte 0): expected an integer of 64 bits, "
                                  "found \"92233720\"");
    refuse("-9223372036854775809", "line 1, column 1 (byte 0): expected an integer of 64 bits, "
                                   "found \"-9223372\"");
}

static void strings_are_unescaped(void **state)
{
    static const struct {
        const char *text, *value;
        size_t len;
    } cases[] = {
        {"\"\"", "", 0},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"", "a\"\\/\b\f\n\r\tz", 10},
        {"\"\\u0041\\u00e9\\u4E2d\\uFFFF\"", "A\xC3\xA9\xE4\xB8\xAD\xEF\xBF\xBF", 9},
        {"\"\\ud83d\\ude00\\uDBFF\\uDFFF\"", "\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF", 8},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\xF0\x9F\x98\x80\x7F\"", "\xF0\x9F\x98\x80\x7F", 5},
    };
    (void)state;
    struct burble__json_document document;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct burble__json_text text = burble__json_text(accept(cases[i].text, &document));
        assert_int_equal(text.len, cases[i].len);
        assert_memory_equal(text.bytes, cases[i].value, cases[i].len + 1); /* and the NUL behind */
        burble__json_finish(&document);
    }
}

/* Strings are looked at eight bytes at a time: each byte, and characters of each length, at each place in 18. */
static void any_byte_at_any_place_of_string_is_seen(void **state)
{
    enum { LENGTH = 18 };
    (void)state;
    struct burble__json_document document;
    burble_error error;
    for (size_t place = 0; place < LENGTH; place++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char text[LENGTH + 2];
            memset(text, 'x', sizeof text);
            text[0] = text[LENGTH + 1] = '"';
            text[1 + place] = (char)byte;
            const bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
            const int result = parse_text(text, sizeof text, &document, &error);
            assert_int_equal(result, plain ? BURBLE_OK : BURBLE_EFORMAT);
            if (!plain)
                continue;
            const struct burble__json root = {&document, document.nodes};
            assert_int_equal(burble__json_text(root).len, LENGTH);
            assert_memory_equal(burble__json_text(root).bytes, text + 1, LENGTH);
            burble__json_finish(&document);
        }
        static const char *const characters[] = {"\xC4\xA0", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                                                 "\\n"};
        for (size_t i = 0; i < COUNT(characters); i++) {
            char text[2 * LENGTH + 8];
            snprintf(text, sizeof text, "\"%.*s%sxxxxxxxxx\"", (int)place, "xxxxxxxxxxxxxxxxxx",
                     characters[i]);
            const size_t len = burble__json_text(accept(text, &document)).len;
            assert_int_equal(len, place + 9 + strlen(characters[i]) - (i == 3));
            burble__json_finish(&document);
        }
    }
}

static void space_of_any_length_is_passed(void **state)
{
    static const char spaces[] = "                          ";
    (void)state;
    struct burble__json_document document;
    for (int n = 0; n < (int)sizeof spaces; n++) {
        static const char others[] = " \t\r\n";
        for (size_t i = 0; i < sizeof others - 1; i++) {
            char text[128];
            snprintf(text, sizeof text, "[\n%.*s%c%.*s1%.*s]%.*s", n, spaces, others[i], n / 2,
                     spaces, n, spaces, n, spaces);
            assert_int_equal(burble__json_size(accept(text, &document)), 1);
            burble__json_finish(&document);
        }
    }
}

static void error_names_position_and_expectation(void **state)
{
    (void)state;
    refuse("", "line 1, column 1 (byte 0): expected a value, found the end of the file");
    refuse("{\"\xC3\xA9\":\n  1;}",
           "line 2, column 4 (byte 10): expected \",\" or \"}\", found \";}\"");
    refuse("[1 2]", "line 1, column 4 (byte 3): expected \",\" or \"]\", found \"2]\"");
    refuse("[1,]", "line 1, column 4 (byte 3): expected a value, found \"]\"");
    refuse("[,1]", "line 1, column 2 (byte 1): expected a value, found \",1]\"");
    refuse("[1}", "line 1, column 3 (byte 2): expected \",\" or \"]\", found \"}\"");
    refuse("{\"a\":1,}",
           "line 1, column 8 (byte 7): expected a key in quotation marks, found \"}\"");
    refuse("{\"a\" 1}", "line 1, column 6 (byte 5): expected \":\", found \"1}\"");
    refuse("[01]", "line 1, column 2 (byte 1): expected a number, found \"01]\"");
    refuse("[1.]", "line 1, column 2 (byte 1): expected a number, found \"1.]\"");
    refuse("[-]", "line 1, column 2 (byte 1): expected a number, found \"-]\"");
    refuse("[1e+]", "line 1, column 2 (byte 1): expected a number, found \"1e+]\"");
    refuse("[nul]", "line 1, column 2 (byte 1): expected a value, found \"nul]\"");
    refuse("{}x", "line 1, column 3 (byte 2): expected the end of the file, found \"x\"");
    refuse("\"a", "line 1, column 3 (byte 2): expected the rest of a string, found the end of the "
                  "file");
    refuse("\"a\n\"", "line 1, column 3 (byte 2): expected the rest of a string, found "
                      "\"\\x0A\\\"\"");
    refuse("\"\\x\"", "line 1, column 3 (byte 2): expected one of \"\\/bfnrtu behind a backslash, "
                      "found \"x\\\"\"");
    refuse("\"\\u12g4\"", "line 1, column 4 (byte 3): expected four hexadecimal digits, found "
                          "\"12g4\\\"\"");
    refuse("\"\\ud800\"", "line 1, column 4 (byte 3): expected a character or both halves of a "
                          "surrogate pair, found \"d800\\\"\"");
    refuse("\"\\ud800\\u0041\"",
           "line 1, column 4 (byte 3): expected a character or both halves of "
           "a surrogate pair, found \"d800\\\\u00\"");
    refuse("\"\\ude00\"", "line 1, column 4 (byte 3): expected a character or both halves of a "
                          "surrogate pair, found \"de00\\\"\"");
    refuse("\"\xED\xA0\x80\"", "line 1, column 2 (byte 1): expected a string in UTF-8, found "
                               "\"\\xED\\xA0\\x80\\\"\"");
    refuse("{\"a\\u0000\":1}", "line 1, column 2 (byte 1): expected a key without NUL, found "
                               "\"\\\"a\\\\u0000\"");
}

static void depth_is_bounded(void **state)
{
    char text[2 * BURBLE__JSON_DEPTH_MAX + 3];
    struct burble__json_document document;
    (void)state;
    memset(text, '[', BURBLE__JSON_DEPTH_MAX);
    memset(text + BURBLE__JSON_DEPTH_MAX, ']', BURBLE__JSON_DEPTH_MAX);
    text[2 * BURBLE__JSON_DEPTH_MAX] = '\0';
    accept(text, &document);
    burble__json_finish(&document);
    memset(text, '[', BURBLE__JSON_DEPTH_MAX + 1);
    refuse(text, "byte 64: expected at most 64 arrays and objects in one another, found more");
}

static void every_text_that_is_cut_or_changed_is_refused_or_read(void **state)
{
    static const char text[] = "{\"\xC3\xA9\":\n1,\"model\":{\"vocab\":{\"a\":0,\"b\":-1.5e3},\n "
                               "\"merges\":[\n  [\"\xC3\xA9\",\"b\"],\n\"\xE4\xB8\xAD d\\u0041\""
                               "\n ],\"x\":[{},[],true,false,null]},\n\"decoder\":null}";
    static const char others[] = "\"[]{},:\\\n a1\x01\xC3\xFF";
    char broken[sizeof text];
    struct burble__json_document document;
    burble_error error;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof text; i++)
        assert_int_equal(parse_text(text, i, &document, &error), BURBLE_EFORMAT);
    size_t accepted = 0;
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        for (size_t k = 0; k < sizeof others; k++) { /* the NUL included */
            memcpy(broken, text, sizeof text);
            broken[i] = others[k];
            const int result = parse_text(broken, sizeof text - 1, &document, &error);
            assert_true(result == BURBLE_OK || result == BURBLE_EFORMAT);
            accepted += result == BURBLE_OK;
            if (result == BURBLE_OK)
                burble__json_finish(&document);
        }
    }
    assert_true(accepted > 0);
}

/* ---- merges -------------------------------------------------------------------------------------- */

static size_t items_of_merges(const char *text)
{
    struct burble__json_document document;
    struct burble__json root = accept(text, &document);
    const struct burble__json model = burble__json_get(root, "model");
    const size_t n = burble__json_size(burble__json_get(model, "merges"));
    assert_true(burble__json_integer(burble__json_get(root, "last")) == 7);
    burble__json_finish(&document);
    return n;
}

static void only_merges_of_model_are_left_out(void **state)
{
    (void)state;
    assert_int_equal(items_of_merges("{\"model\":{\"merges\":[\"a b\"]},\"last\":7}"), 0);
    assert_int_equal(
        items_of_merges("{\"model\":{\"merges\":[[\"a\",\"]\"],[]],\"b\":1},\"last\":7}"), 0);
    assert_int_equal(items_of_merges("{\"model\":{\"merges\":{\"a\":[],\"b\":1}},\"last\":7}"), 2);
    static const char *const kept[] = {
        "{\"merges\":[\"a\"],\"last\":7}",
        "{\"x\":[{\"merges\":[\"a\"]}],\"last\":7}",
        "{\"x\":{\"merges\":[\"a\"]},\"last\":7}",
        "{\"model\":{\"x\":{\"merges\":[\"a\"]}},\"last\":7}",
        "{\"model\":{\"merge\":[\"a\"]},\"last\":7}",
        "{\"models\":{\"merges\":[\"a\"]},\"last\":7}",
    };
    for (size_t i = 0; i < COUNT(kept); i++) {
        struct burble__json_document document;
        accept(kept[i], &document);
        bool found = false;
        for (size_t k = 0; k < document.nodes->as.span; k++) {
            const struct burble__json_node *node = &document.nodes[k];
            found |= node->type == BURBLE__JSON_STRING
                     && strcmp(document.texts + node->as.begin, "a") == 0;
        }
        assert_true(found);
        burble__json_finish(&document);
    }
}

static void merges_are_checked(void **state)
{
    (void)state;
    refuse("{\"model\":{\"merges\":[\"a\"",
           "line 1, column 24 (byte 23): expected \",\" or \"]\", found the end of the file");
    refuse("{\"model\":{\"merges\":[[\"\\q\"]]}}",
           "line 1, column 24 (byte 23): expected one of \"\\/bfnrtu behind a backslash, found "
           "\"q\\\"]]}}\"");
    refuse("{\"model\":{\"merges\":[\"\xFF\"]}}",
           "line 1, column 22 (byte 21): expected a string in UTF-8, found \"\\xFF\\\"]}}\"");
    refuse("{\"model\":{\"merges\":[{}]}}",
           "line 1, column 21 (byte 20): expected a string or an array of strings in model.merges, "
           "found \"{}]}}\"");
}

/* ---- keys ---------------------------------------------------------------------------------------- */

/* An object of `n` keys, named by `numbers` (NULL: from 0); and once more of the one `again`, if it is below n. */
static size_t write_object(char *out, size_t n, const unsigned *numbers, size_t again)
{
    size_t len = 0;
    out[len++] = '{';
    for (size_t i = 0; i < n; i++)
        len += (size_t)sprintf(out + len, "\"%x\":%zu,", numbers == NULL ? (unsigned)i : numbers[i],
                               i);
    if (again < n)
        len += (size_t)sprintf(out + len, "\"%x\":0,", (unsigned)again);
    out[len - 1] = '}';
    out[len] = '\0';
    return len;
}

enum { KEYS = 1000 };

static void key_that_is_there_twice_is_refused(void **state)
{
    static char text[32 * KEYS];
    (void)state;
    refuse("{\"a\":1,\"a\":1}", "expected each key once in an object, found \"a\" twice");
    refuse("[{\"a\":{\"b\":{},\"\\u0062\":2}}]",
           "expected each key once in an object, found \"b\" twice");
    for (size_t n = 2; n < 40; n++) {
        for (size_t again = 0; again < n; again++) {
            char message[80];
            snprintf(message, sizeof message,
                     "expected each key once in an object, found \"%zx\" twice", again);
            write_object(text, n, NULL, again);
            refuse(text, message);
        }
    }
    struct burble__json_document document;
    write_object(text, KEYS, NULL, KEYS);
    assert_int_equal(burble__json_size(accept(text, &document)), KEYS);
    burble__json_finish(&document);
    write_object(text, KEYS, NULL, KEYS - 1);
    refuse(text, "expected each key once in an object, found \"3e7\" twice");
}

static void keys_chosen_to_collide_are_refused(void **state)
{
    enum { COLLIDING = 200 };
    static unsigned numbers[COLLIDING];
    static char text[32 * COLLIDING];
    (void)state;
    size_t found = 0;
    for (unsigned i = 0; found < COLLIDING; i++) {
        char key[16];
        const int len = snprintf(key, sizeof key, "%x", i);
        if ((burble__hash(key, (size_t)len) & 0x3FF) == 0)
            numbers[found++] = i;
    }
    write_object(text, COLLIDING, numbers, COLLIDING);
    refuse(text, "expected keys that do not collide, found many that do");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_in_order),
        cmocka_unit_test(integers_have_64_bits),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(any_byte_at_any_place_of_string_is_seen),
        cmocka_unit_test(space_of_any_length_is_passed),
        cmocka_unit_test(error_names_position_and_expectation),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(every_text_that_is_cut_or_changed_is_refused_or_read),
        cmocka_unit_test(only_merges_of_model_are_left_out),
        cmocka_unit_test(merges_are_checked),
        cmocka_unit_test(key_that_is_there_twice_is_refused),
        cmocka_unit_test(keys_chosen_to_collide_are_refused),
    };
    return cmocka_run_group_tests_name("load_json", tests, NULL, NULL);
}
