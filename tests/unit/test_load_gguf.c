/* SPDX-License-Identifier: MIT
 *
 * The vocabulary in a GGUF file.
 */
#include "load_support.h"

#define FORMAT BURBLE_VOCAB_GGUF

enum { U8 = 0, I32 = 5, BOOL = 7, STRING = 8, ARRAY = 9 };

static struct bytes file;

static void put_string(const char *text)
{
    put_little_endian(&file, strlen(text), 8);
    put(&file, text, strlen(text));
}

static void put_key(const char *key, uint64_t type)
{
    put_string(key);
    put_little_endian(&file, type, 4);
}

static void begin(uint64_t version, uint64_t members)
{
    file.n = 0;
    put(&file, "GGUF", 4);
    put_little_endian(&file, version, 4);
    put_little_endian(&file, 1, 8);
    put_little_endian(&file, members, 8);
}

static void put_model(const char *model)
{
    put_key("tokenizer.ggml.model", STRING);
    put_string(model);
}

static void put_array(const char *key, uint64_t type, uint64_t n)
{
    put_key(key, ARRAY);
    put_little_endian(&file, type, 4);
    put_little_endian(&file, n, 8);
}

static void put_tokens(const char *const *tokens, size_t n)
{
    put_array("tokenizer.ggml.tokens", STRING, n);
    for (size_t i = 0; i < n; i++)
        put_string(tokens[i]);
}

static void put_types(const char *digits)
{
    put_array("tokenizer.ggml.token_type", I32, strlen(digits));
    for (size_t i = 0; digits[i] != '\0'; i++)
        put_little_endian(&file, (uint64_t)(digits[i] - '0'), 4);
}

static void put_prefix(unsigned flag)
{
    put_key("tokenizer.ggml.add_space_prefix", BOOL);
    put_little_endian(&file, flag, 1);
}

static const char *const llama[] = {"<unk>", "<s>", "▁a", "<0xE4>", "<0xB8>", "<0xAD>", "[PAD]"};

static void make_llama(uint64_t version, int prefix)
{
    begin(version, prefix < 0 ? 4 : 5);
    put_key("general.number", U8);
    put_little_endian(&file, 7, 1);
    put_tokens(llama, COUNT(llama));
    put_types("2316665");
    put_model("llama");
    if (prefix >= 0)
        put_prefix((unsigned)prefix);
}

static burble_vocab *load(void)
{
    return parse(file.at, file.n, FORMAT);
}

static void refused(int code, const char *message)
{
    assert_refused(file.at, file.n, FORMAT, code, message);
}

static void gpt2_model_is_byte_level(void **state)
{
    static const char *const tokens[] = {"Ġa", "ä¸", "Ń", "<e>"};
    (void)state;
    begin(3, 3);
    put_model("gpt2");
    put_tokens(tokens, COUNT(tokens));
    put_types("1113");
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, false, " a中<e>", 0, 1, 2, 3);
    ASSERT_TEXT(vocab, true, " a中", 0, 1, 2, 3);
    burble_vocab_unref(&vocab);
}

static void llama_model_has_byte_tokens_and_spaces(void **state)
{
    (void)state;
    for (uint64_t version = 2; version <= 3; version++) {
        for (int prefix = -1; prefix <= 1; prefix++) {
            make_llama(version, prefix);
            burble_vocab *vocab = load();
            assert_int_equal(burble_vocab_size(vocab), 7);
            ASSERT_TEXT(vocab, true, prefix == 0 ? " a中 a" : "a中 a", 1, 2, 3, 4, 5, 6, 2, 0);
            ASSERT_TEXT(vocab, false, "<s> a<unk>", 1, 2, 6, 0);
            burble_vocab_unref(&vocab);
        }
    }
}

static void bert_model_has_spaces_only(void **state)
{
    static const char *const tokens[] = {"▁a", "b", "<0x41>"};
    (void)state;
    begin(3, 2);
    put_model("bert");
    put_tokens(tokens, COUNT(tokens));
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, false, "ab a<0x41>", 0, 1, 0, 2);
    burble_vocab_unref(&vocab);
}

static void put_pre(const char *pre)
{
    put_key("tokenizer.ggml.pre", STRING);
    put_string(pre);
}

/* The types are: normal, unknown, control, user-defined, unused, none, and one to come. */
static void token_type_decides_how_token_is_read(void **state)
{
    static const char *const spelled[] = {"ü", "Ġ", "▁a", "<0x41>"};
    static const char *const normal[][COUNT(spelled)] = {
        {"\xEF\xBF\xBD", " ", "▁a", "<0x41>"}, /* of gpt2 */
        {"ü", "Ġ", " a", "<0x41>"},            /* of all others */
    };
    static const struct {
        const char *model, *pre;
        size_t rule;
    } models[] = {{"gpt2", "deepseek-llm", 0},
                  {"gpt2", "sarvam-moe", 1},
                  {"gemma4", "", 1},
                  {"llama", "", 1},
                  {"t5", "", 1},
                  {"bert", "", 1}};
    (void)state;
    for (size_t i = 0; i < COUNT(models); i++) {
        for (size_t j = 0; j < COUNT(spelled); j++) {
            const char *const text = spelled[j];
            const char *const tokens[] = {"x", text, text, text, text, text, text, text};
            char expected[64];
            begin(3, 4);
            put_model(models[i].model);
            put_pre(models[i].pre);
            put_tokens(tokens, COUNT(tokens));
            put_types("11234509");
            burble_vocab *vocab = load();
            snprintf(expected, sizeof expected, "x%sx%sx%sx%sxxx", normal[models[i].rule][j], text,
                     text, text);
            ASSERT_TEXT(vocab, false, expected, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7);
            snprintf(expected, sizeof expected, "x%sxxx%sxxx", normal[models[i].rule][j], text);
            ASSERT_TEXT(vocab, true, expected, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7);
            burble_vocab_unref(&vocab);
        }
    }
}

static void byte_token_is_its_byte(void **state)
{
    static const char *const tokens[] = {"x",      "<0xE4>", "<0xB8>", "<0xAD>",
                                         "<0x00>", "<0x20>", "<0x7f>"};
    static const char *const models[] = {"gpt2", "llama", "t5", "gemma4"};
    (void)state;
    for (size_t i = 0; i < COUNT(models); i++) {
        begin(3, 3);
        put_model(models[i]);
        put_tokens(tokens, COUNT(tokens));
        put_types("1666666");
        burble_vocab *vocab = load();
        ASSERT_TEXT(vocab, false, "x中 x\x7F", 0, 1, 2, 3, 5, 0, 6);
        burble_vocab_unref(&vocab);
    }
}

/* Whatever the steps are, at every place, and also where they tell which tokens are the same. */
static void verbatim_token_is_not_changed_by_steps(void **state)
{
    static const burble_step steps[][3] = {
        {{.kind = BURBLE_STEP_BYTE_LEVEL}},
        {{.kind = BURBLE_STEP_REPLACE, .text = "x", .with = "y"},
         {.kind = BURBLE_STEP_BYTE_FALLBACK},
         {.kind = BURBLE_STEP_FUSE}},
        {{.kind = BURBLE_STEP_WORDPIECE, .text = "##", .flag = true}},
        {{.kind = BURBLE_STEP_METASPACE, .text = "x", .flag = true}},
        {{.kind = BURBLE_STEP_BPE, .text = "x"}},
        {{.kind = BURBLE_STEP_CTC, .text = "x", .with = "|", .flag = true}},
    };
    static const char *const texts[] = {"ü", "x", "<0x41>", "##a", "a n't", "", "|"};
    (void)state;
    for (size_t i = 0; i < COUNT(steps); i++) {
        const size_t n_steps = i == 1 ? 3 : 1;
        const burble_vocab_options options = {.steps = steps[i], .n_steps = n_steps};
        burble_token tokens[COUNT(texts)];
        char expected[64] = "";
        for (size_t j = 0; j < COUNT(texts); j++) {
            tokens[j] = (burble_token){texts[j], (uint32_t)strlen(texts[j]), BURBLE_TOKEN_VERBATIM};
            strcat(expected, texts[j]);
        }
        burble_vocab *vocab;
        assert_result(burble_vocab_create(&options, tokens, COUNT(tokens), &vocab, NULL),
                      BURBLE_OK);
        ASSERT_TEXT(vocab, false, expected, 0, 1, 2, 3, 4, 5, 6);
        burble_vocab_unref(&vocab);
    }
}

static void unsupported_field_is_named(void **state)
{
    (void)state;
    begin(1, 0);
    refused(BURBLE_EUNSUPPORTED, "byte 4: expected GGUF version 2 or 3, found 1");
    begin(0x03000000, 0);
    refused(BURBLE_EUNSUPPORTED,
            "byte 4: expected GGUF version 2 or 3, found a big-endian file, or "
            "version 50331648");
    begin(3, 2);
    put_model("rwkv");
    put_tokens(llama, 1);
    refused(BURBLE_EUNSUPPORTED,
            "tokenizer.ggml.model: expected gpt2, gemma4, llama, t5 or bert, found \"rwkv\"");
}

static void error_names_byte_offset(void **state)
{
    (void)state;
    begin(3, 0);
    refused(BURBLE_EFORMAT, "expected tokenizer.ggml.model and tokenizer.ggml.tokens in the "
                            "metadata, found neither");
    begin(3, UINT64_MAX);
    refused(BURBLE_EFORMAT, "byte 24: expected 8 bytes of a key, found 0 before the end");
    begin(3, 1);
    put_key("k", 99);
    refused(BURBLE_EFORMAT, "byte 37: expected the type of a value, 0 to 12, found 99");
    begin(3, 1);
    put_array("k", STRING, UINT64_MAX / 2);
    refused(BURBLE_EFORMAT,
            "byte 49: expected 18446744073709551608 bytes of an array, found 0 before the end");
    begin(3, 2);
    put_model("gpt2");
    put_model("gpt2");
    refused(BURBLE_EFORMAT, "byte 100: expected \"tokenizer.ggml.model\" once and of type 8, found "
                            "another of type 8");
    begin(3, 1);
    put_key("tokenizer.ggml.tokens", U8);
    refused(BURBLE_EFORMAT, "byte 57: expected \"tokenizer.ggml.tokens\" once and of type 9, found "
                            "one of type 0");
    begin(3, 3);
    put_model("llama");
    put_tokens(llama, 3);
    put_types("11");
    refused(BURBLE_EFORMAT, "byte 199: expected 3 token types, of type 5, found 2 of type 5");
    begin(3, 3);
    put_model("llama");
    put_tokens(llama, 2);
    put_types("16");
    refused(BURBLE_EFORMAT, "byte 127: expected <0x00> to <0xFF>, as token 1 is a byte, found "
                            "\"<s>\"");
}

static void token_of_invalid_utf8_is_refused(void **state)
{
    static const char *const tokens[] = {"a", "\xFF"};
    (void)state;
    begin(3, 2);
    put_model("llama");
    put_tokens(tokens, COUNT(tokens));
    burble_vocab *vocab;
    burble_error error;
    assert_result(burble_vocab_parse(file.at, file.n, FORMAT, "file", &vocab, &error),
                  BURBLE_EFORMAT);
    assert_non_null(strstr(error.message, "token 1"));
}

static void nested_arrays_are_refused(void **state)
{
    (void)state;
    begin(3, 1);
    put_array("k", ARRAY, 1);
    for (unsigned i = 0; i < 1000; i++) {
        put_little_endian(&file, ARRAY, 4);
        put_little_endian(&file, 1, 8);
    }
    refused(BURBLE_EUNSUPPORTED, "byte 49: an array of arrays in the metadata");
}

static void damaged_file_is_refused_or_loaded(void **state)
{
    (void)state;
    make_llama(3, 1);
    assert_survives(file.at, file.n, FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_model_is_byte_level),
        cmocka_unit_test(llama_model_has_byte_tokens_and_spaces),
        cmocka_unit_test(bert_model_has_spaces_only),
        cmocka_unit_test(token_type_decides_how_token_is_read),
        cmocka_unit_test(byte_token_is_its_byte),
        cmocka_unit_test(verbatim_token_is_not_changed_by_steps),
        cmocka_unit_test(unsupported_field_is_named),
        cmocka_unit_test(error_names_byte_offset),
        cmocka_unit_test(token_of_invalid_utf8_is_refused),
        cmocka_unit_test(nested_arrays_are_refused),
        cmocka_unit_test(damaged_file_is_refused_or_loaded),
    };
    return cmocka_run_group_tests_name("load_gguf", tests, NULL, NULL);
}
