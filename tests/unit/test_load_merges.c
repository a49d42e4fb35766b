/* SPDX-License-Identifier: MIT
 *
 * The merges of a tokenizer.json: that they are found, only where that changes nothing.
 */
#include "load_support.h"

#include <jansson.h>

#include "text/load_merges.h"

/* What is found in a text; "" for nothing. */
static const char *found(const char *text)
{
    static char between[256];
    const struct burble__range range = burble__find_merges(text, strlen(text));
    assert_true(range.begin <= range.end && range.end <= strlen(text));
    assert_true(range.end - range.begin < sizeof between);
    memcpy(between, text + range.begin, range.end - range.begin);
    between[range.end - range.begin] = '\0';
    return between;
}

static void merges_of_both_kinds_are_found(void **state)
{
    (void)state;
    assert_string_equal(found("{\"model\":{\"merges\":[\"a b\"]}}"), "\"a b\"");
    assert_string_equal(found("{\"model\":{\"merges\":[[\"a\",\"b\"],[\"c\",\"d\"]]}}"),
                        "[\"a\",\"b\"],[\"c\",\"d\"]");
    assert_string_equal(found(" { \"model\" : { \"merges\" : [\n[ \"a\" , \"]\" ] ,\t\"\\\"\" ]"),
                        "\n[ \"a\" , \"]\" ] ,\t\"\\\"\" ");
    assert_string_equal(
        found("{\"model\":{\"merges\":[\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uFfFf中\"]"),
        "\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uFfFf中\"");
}

static void merges_after_other_members_are_found(void **state)
{
    (void)state;
    assert_string_equal(found("{\"merges\":[\"x\"],\"a\":{\"merges\":[\"y\"]},\"b\":[[],{},-1.5e3,"
                              "true,null,\"{\\\"[\"],\"model\":{\"vocab\":{\"merges\":1,\"}\":2},"
                              "\"dropout\":null,\"merges\":[\"z\"]}}"),
                        "\"z\"");
}

static void merges_of_another_object_are_not_found(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"merges\":[\"a\"]}",
        "[{\"model\":{\"merges\":[\"a\"]}}]",
        "{\"x\":{\"model\":{\"merges\":[\"a\"]}}}",
        "{\"model\":{\"x\":{\"merges\":[\"a\"]}}}",
        "{\"model\":[{\"merges\":[\"a\"]}]}",
        "{\"model\":{\"merges\":{\"a\":\"b\"}}}",
        "{\"model\":{\"merges\":\"a\"}}",
        "{\"model\":{\"merges\":[]}}",
        "{\"mode\":{\"merges\":[\"a\"]}}",
        "{\"models\":{\"merges\":[\"a\"]}}",
        "{\"model\":{}},{\"merges\":[\"a\"]}",
        "{\"model\":{\"vocab\":],\"merges\":[\"a\"]}}",
        "{\"model\":{\"vocab\":\x01,\"merges\":[\"a\"]}}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        assert_string_equal(found(texts[i]), "");
}

static void merges_of_other_types_are_left_to_parser(void **state)
{
    static const char *const merges[] = {
        "1",           "null",        "{}",
        "[]",          "[[\"a\"]]",   "[\"a\",1]",
        "\"a\",",      ",\"a\"",      "\"a\" \"b\"",
        "[\"a\",]",    "[\"a\"",      "\"a",
        "\"\n\"",      "\"\\x\"",     "\"\\u12\"",
        "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"",
        "\"\xFF\"",    "\"\xC3\"",    "\"\xED\xA0\x80\"",
    };
    char text[128];
    (void)state;
    for (size_t i = 0; i < COUNT(merges); i++) {
        snprintf(text, sizeof text, "{\"model\":{\"merges\":[%s]}}", merges[i]);
        assert_string_equal(found(text), "");
        snprintf(text, sizeof text, "{\"model\":{\"merges\":[\"b\",%s,\"c\"]}}", merges[i]);
        assert_string_equal(found(text), "");
    }
}

/* What the parser itself makes of the whole text: its complaint, or "". */
static const char *complaint(const char *text, size_t size)
{
    static char said[256];
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    snprintf(said, sizeof said, "file: line %d, column %d (byte %d): ", error.line, error.column,
             error.position);
    if (root != NULL)
        said[0] = '\0';
    json_decref(root);
    return said;
}

/* Whether text and place of an error are those of a parser that has seen all of it. */
static void assert_same_complaint(const char *text, size_t size)
{
    char *copy = malloc(size == 0 ? 1 : size); /* of its very size: a read beyond it is seen */
    assert_non_null(copy);
    memcpy(copy, text, size);
    burble_vocab *vocab;
    burble_error error = {.message = ""};
    burble_vocab_parse(copy, size, BURBLE_VOCAB_HF_JSON, "file", &vocab, &error);
    burble_vocab_unref(&vocab);
    const char *expected = complaint(copy, size);
    if (expected[0] != '\0')
        assert_memory_equal(error.message, expected, strlen(expected));
    else
        assert_null(strstr(error.message, "column"));
    free(copy);
}

static void error_position_is_that_in_file(void **state)
{
    static const char text[] = "{\"é\":\n1,\"model\":{\"vocab\":{\"a\":0},\n \"merges\":[\n  "
                               "[\"é\",\"b\"],\n\"中 d\\u0041\""
                               "\n ],\"é\":2},\n\"decoder\":null}";
    char broken[sizeof text];
    (void)state;
    assert_string_not_equal(found(text), "");
    for (size_t i = 0; i < sizeof text; i++)
        assert_same_complaint(text, i);
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        static const char others[] = "\"[]{},:\\\n a1\x01\xC3\xFF";
        for (size_t k = 0; k < sizeof others; k++) { /* the NUL included */
            memcpy(broken, text, sizeof text);
            broken[i] = others[k];
            assert_same_complaint(broken, sizeof text - 1);
        }
    }
    for (size_t i = 0; i + 1 < sizeof text; i++) { /* one byte taken away */
        memcpy(broken, text, i);
        memcpy(broken + i, text + i + 1, sizeof text - i - 1);
        assert_same_complaint(broken, sizeof text - 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_of_both_kinds_are_found),
        cmocka_unit_test(merges_after_other_members_are_found),
        cmocka_unit_test(merges_of_another_object_are_not_found),
        cmocka_unit_test(merges_of_other_types_are_left_to_parser),
        cmocka_unit_test(error_position_is_that_in_file),
    };
    return cmocka_run_group_tests_name("load_merges", tests, NULL, NULL);
}
