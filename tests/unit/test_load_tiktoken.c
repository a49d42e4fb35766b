/* SPDX-License-Identifier: MIT
 *
 * tiktoken's rank files.
 */
#include "load_support.h"

#define FORMAT BURBLE_VOCAB_TIKTOKEN

static void refused(const char *file, const char *message)
{
    assert_refused(file, strlen(file), FORMAT, BURBLE_EFORMAT, message);
}

static void tokens_are_bytes_that_join_to_text(void **state)
{
    static const char file[] = "YQ== 0\n5A== 1\r\n\nuK0= 2\n/w== 4"; /* a, E4, B8 AD, FF */
    (void)state;
    burble_vocab *vocab = parse(file, strlen(file), FORMAT);
    assert_int_equal(burble_vocab_size(vocab), 5);
    ASSERT_TEXT(vocab, false, "a中a", 0, 1, 2, 0);
    ASSERT_TEXT(vocab, false,
                "a\xEF\xBF\xBD"
                "a\xEF\xBF\xBD",
                0, 1, 3, 0, 4);
    burble_vocab_unref(&vocab);
}

static void error_names_line(void **state)
{
    (void)state;
    refused("YQ== 0\nYg=\n", "line 2: expected Base64, a space and a rank, found \"Yg=\"");
    refused("YQ== 0\nYg= 1\n", "line 2: expected Base64, found \"Yg=\"");
    refused(" 1\n", "line 1: expected Base64, found \"\"");
    refused("YQ== -1\n", "line 1: expected Base64, a space and a rank, found \"YQ== -1\"");
    refused("YQ== 1 2\n", "line 1: expected Base64, a space and a rank, found \"YQ== 1 2\"");
    refused("YQ== 9999999999999999999\n",
            "line 1: expected Base64, a space and a rank, found \"YQ== 9999999999999999999\"");
    refused("YQ== 1\nYg== 1\n", "line 2: expected each id once, found 1 for \"a\" and for \"b\"");
    refused("YQ== 16777216\n",
            "line 1: expected an id from 0 to 65535 (in a file of this size), found 16777216");
    refused("\n\n", "expected lines of Base64, a space and a rank, found none");
}

static void damaged_file_is_refused_or_loaded(void **state)
{
    static const char file[] = "YQ== 0\n5A== 1\r\nuK0= 2\n/w== 4\n";
    (void)state;
    assert_survives(file, strlen(file), FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_bytes_that_join_to_text),
        cmocka_unit_test(error_names_line),
        cmocka_unit_test(damaged_file_is_refused_or_loaded),
    };
    return cmocka_run_group_tests_name("load_tiktoken", tests, NULL, NULL);
}
