/* SPDX-License-Identifier: MIT
 *
 * The bodies and replies of /tokenize and /detokenize.
 */
#include "protocol.h"

#include "serve/tokenize.h"

static void test_tokenize_is_read(void **state)
{
    (void)state;
    struct burble__tokenize tokenize;
    struct burble__problem problem;
    static const char body[] = "{\"content\":\"a\\u0000\",\"model\":\"m\",\"add_special\":true,"
                               "\"parse_special\":false,\"with_pieces\":false}";
    assert_true(burble__tokenize_parse(body, strlen(body), 64, &tokenize, &problem));
    assert_int_equal(tokenize.content.len, 2);
    assert_string_equal(tokenize.model, "m");
    assert_true(tokenize.add_special);
    assert_false(tokenize.parse_special);
    burble__tokenize_finish(&tokenize);
    assert_true(burble__tokenize_parse("{\"content\":\"\"}", 14, 64, &tokenize, &problem));
    assert_null(tokenize.model);
    assert_false(tokenize.add_special);
    assert_true(tokenize.parse_special);
    burble__tokenize_finish(&tokenize);
}

static void test_detokenize_is_read(void **state)
{
    (void)state;
    struct burble__detokenize detokenize;
    struct burble__problem problem;
    static const char body[] = "{\"tokens\":[5,6]}";
    assert_true(burble__detokenize_parse(body, strlen(body), 64, &detokenize, &problem));
    assert_int_equal(detokenize.n_ids, 2);
    assert_int_equal(detokenize.ids[1], 6);
    burble__detokenize_finish(&detokenize);
    assert_true(burble__detokenize_parse("{\"tokens\":[]}", 13, 64, &detokenize, &problem));
    assert_int_equal(detokenize.n_ids, 0);
    burble__detokenize_finish(&detokenize);
}

static void test_wrong_bodies_are_refused(void **state)
{
    (void)state;
    static const struct {
        bool detokenize;
        const char *body, *message;
    } cases[] = {
        {false, "{}", "content: expected a string, found nothing"},
        {false, "{\"content\":[]}", "content: expected a string, found a list"},
        {false, "{\"content\":\"\",\"tokens\":[]}", "tokens: not a parameter of this route"},
        {false, "{\"content\":\"\",\"add_special\":1}",
         "add_special: expected true or false, found a number"},
        {false, "{\"content\":\"\",\"with_pieces\":1}",
         "with_pieces: expected true or false, found a number"},
        {false, "{\"content\":\"\",\"model\":{}}", "model: expected a string, found an object"},
        {true, "{}", "tokens: expected a list of ids, found nothing"},
        {true, "{\"tokens\":\"x\"}", "tokens: expected a list of ids, found a string"},
        {true, "{\"tokens\":[-1]}",
         "tokens[0]: expected an integer from 0 to 2147483647, found -1"},
        {true, "{\"tokens\":[],\"content\":\"\"}", "content: not a parameter of this route"},
        {true, "[",
         "the body is not valid JSON: line 1, column 1 (byte 1): ']' expected near end of file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__tokenize tokenize;
        struct burble__detokenize detokenize;
        struct burble__problem problem;
        const size_t len = strlen(cases[i].body);
        assert_false(cases[i].detokenize
                         ? burble__detokenize_parse(cases[i].body, len, 64, &detokenize, &problem)
                         : burble__tokenize_parse(cases[i].body, len, 64, &tokenize, &problem));
        assert_string_equal(problem.message, cases[i].message);
        assert_int_equal(problem.status, 400);
    }
}

static void test_replies(void **state)
{
    (void)state;
    static const int32_t ids[] = {0, 17, INT32_MAX};
    NEW_BUFFER(out);
    assert_result(burble__tokenize_write(ids, 3, &out), BURBLE_OK);
    EXPECT(&out, "{\"tokens\":[0,17,2147483647]}");
    assert_result(burble__tokenize_write(NULL, 0, &out), BURBLE_OK);
    EXPECT(&out, "{\"tokens\":[]}");
    assert_result(burble__detokenize_write("a\"\xff", 3, &out), BURBLE_OK);
    EXPECT(&out, "{\"content\":\"a\\\"\xef\xbf\xbd\"}");
}

/* The texts of three ids, the first of which needs more room than is given at first. */
static int piece(void *arg, int32_t id, char *text, size_t capacity, size_t *len)
{
    static const char *const texts[] = {NULL, "\xc3", "\"b"};
    (void)arg;
    if (id < 0 || id > 2)
        return BURBLE_EINVAL;
    *len = id == 0 ? 1000 : strlen(texts[id]);
    if (*len > capacity)
        return BURBLE_EFULL;
    if (id == 0)
        memset(text, 'a', *len);
    else
        memcpy(text, texts[id], *len);
    return BURBLE_OK;
}

static void test_pieces_are_text_or_bytes(void **state)
{
    (void)state;
    static const burble_serve_model backend = {.piece = piece};
    static const int32_t ids[] = {2, 1, 0};
    static const int32_t wrong[] = {2, 3};
    burble_error error = {.code = BURBLE_OK};
    char expected[1100];
    NEW_BUFFER(out);
    snprintf(expected, sizeof expected,
             "{\"tokens\":[{\"id\":2,\"piece\":\"\\\"b\"},{\"id\":1,\"piece\":[195]},"
             "{\"id\":0,\"piece\":\"%01000d\"}]}",
             0);
    for (char *at = strstr(expected, "000"); *at == '0'; at++)
        *at = 'a';
    assert_result(burble__tokenize_write_pieces(&backend, ids, 3, &out, &error), BURBLE_OK);
    EXPECT(&out, expected);
    assert_result(burble__tokenize_write_pieces(&backend, wrong, 2, &out, &error), BURBLE_EINVAL);
    burble__buffer_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenize_is_read),         cmocka_unit_test(test_detokenize_is_read),
        cmocka_unit_test(test_wrong_bodies_are_refused), cmocka_unit_test(test_replies),
        cmocka_unit_test(test_pieces_are_text_or_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
