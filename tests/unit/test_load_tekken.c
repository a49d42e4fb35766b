/* SPDX-License-Identifier: MIT
 *
 * mistral-common's Tekken files.
 */
#include "load_support.h"

#define FORMAT BURBLE_VOCAB_TEKKEN

#define VOCAB                                                                                      \
    "\"vocab\":[{\"rank\":0,\"token_bytes\":\"YQ==\",\"token_str\":\"a\"},"                        \
    "{\"rank\":1,\"token_bytes\":\"5A==\",\"token_str\":null},"                                    \
    "{\"rank\":2,\"token_bytes\":\"uK0=\",\"token_str\":null}]"
#define CONFIG(ids, special, version)                                                              \
    "\"config\":{\"default_vocab_size\":" ids ",\"default_num_special_tokens\":" special           \
    ",\"version\":\"" version "\"}"
#define R "\xEF\xBF\xBD"
#define SPECIAL "\"special_tokens\":[{\"rank\":0,\"token_str\":\"<s>\",\"is_control\":true}]"
#define WHOLE "{" CONFIG("5", "2", "v11") "," VOCAB "," SPECIAL "}"

static void refused(const char *file, const char *message)
{
    assert_refused(file, strlen(file), FORMAT, BURBLE_EFORMAT, message);
}

static void special_tokens_and_fillers_have_first_ids(void **state)
{
    (void)state;
    burble_vocab *vocab = parse(WHOLE, strlen(WHOLE), FORMAT);
    assert_int_equal(burble_vocab_size(vocab), 5);
    ASSERT_TEXT(vocab, false, "<s>a中<SPECIAL_1>", 0, 2, 3, 4, 1);
    ASSERT_TEXT(vocab, true, "a中", 0, 2, 3, 4, 1);
    burble_vocab_unref(&vocab);
}

static void special_token_splits_character_also_if_skipped(void **state)
{
    (void)state;
    burble_vocab *vocab = parse(WHOLE, strlen(WHOLE), FORMAT);
    ASSERT_TEXT(vocab, false, "a" R "<s>" R R, 2, 3, 0, 4);
    ASSERT_TEXT(vocab, true, "a" R R R, 2, 3, 0, 4);
    ASSERT_TEXT(vocab, true, R "中", 3, 1, 3, 4, 0);
    burble_vocab_unref(&vocab);
}

static void special_tokens_may_be_missing_in_early_version(void **state)
{
    static const char file[] = "{" CONFIG("24", "21", "v3") "," VOCAB "}";
    (void)state;
    burble_vocab *vocab = parse(file, strlen(file), FORMAT);
    ASSERT_TEXT(vocab, false, "<unk>[TOOL_CONTENT]<SPECIAL_20>a", 0, 19, 20, 21);
    burble_vocab_unref(&vocab);
    refused("{" CONFIG("24", "21", "v11") "," VOCAB "}",
            "special_tokens: expected an array, found nothing");
}

static void tokens_beyond_configured_size_are_ignored(void **state)
{
    static const char file[] = "{" CONFIG("3", "2", "v11") "," VOCAB "," SPECIAL "}";
    (void)state;
    burble_vocab *vocab = parse(file, strlen(file), FORMAT);
    assert_int_equal(burble_vocab_size(vocab), 3);
    burble_vocab_unref(&vocab);
}

static void error_names_json_path(void **state)
{
    (void)state;
    refused("{}", "config: expected an object, found nothing");
    refused("{" CONFIG("-5", "2", "v11") "}",
            "config.default_vocab_size: expected an integer from 0 to 65536, found -5");
    refused("{" CONFIG("2000000000", "2", "v11") "}",
            "config.default_vocab_size: expected an integer from 0 to 65536, found 2000000000");
    refused("{" CONFIG("5", "6", "v11") "}",
            "config.default_num_special_tokens: expected at most default_vocab_size (5), found 6");
    refused("{" CONFIG("5", "0", "v11") "," SPECIAL "}",
            "special_tokens: expected at most 0 (config.default_num_special_tokens), found 1");
    refused("{" CONFIG("6", "2", "v11") "," VOCAB "," SPECIAL "}",
            "vocab: expected at least 4 tokens (config.default_vocab_size less the special ones), "
            "found 3");
    refused("{" CONFIG("2", "1", "v11") "," SPECIAL
                                        ",\"vocab\":[{\"rank\":0,\"token_bytes\":\"*\"}]}",
            "vocab[0].token_bytes: expected Base64, found \"*\"");
    refused("{" CONFIG("2", "1", "v11") "," SPECIAL ",\"vocab\":[{\"rank\":7}]}",
            "vocab[0].rank: expected its place, 0, found 7");
    refused("{" CONFIG("2", "1", "v11") "," SPECIAL ",\"vocab\":[null]}",
            "vocab[0].rank: expected an integer, found nothing");
    refused("{" CONFIG("2", "1", "v11") ",\"special_tokens\":[{\"rank\":0,\"token_str\":1}]}",
            "special_tokens[0].token_str: expected a string, found 1");
}

static void damaged_file_is_refused_or_loaded(void **state)
{
    (void)state;
    assert_survives(WHOLE, strlen(WHOLE), FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(special_tokens_and_fillers_have_first_ids),
        cmocka_unit_test(special_token_splits_character_also_if_skipped),
        cmocka_unit_test(special_tokens_may_be_missing_in_early_version),
        cmocka_unit_test(tokens_beyond_configured_size_are_ignored),
        cmocka_unit_test(error_names_json_path),
        cmocka_unit_test(damaged_file_is_refused_or_loaded),
    };
    return cmocka_run_group_tests_name("load_tekken", tests, NULL, NULL);
}
