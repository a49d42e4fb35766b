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
    for (size_t i = 0; i < n; i++) {
        put_string(tokens[i]);
    }
}

static void put_types(const char *digits)
{
    put_array("tokenizer.ggml.token_type", I32, strlen(digits));
    for (size_t i = 0; digits[i] != '\0'; i++) {
        put_little_endian(&file, (uint64_t)(digits[i] - '0'), 4);
    }
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
    if (prefix >= 0) {
        put_prefix((unsigned)prefix);
    }
}

static burble_vocab *load(void)
{
    return parse(file.at, file.n, FORMAT);
}

static void refused(int code, const char *message)
{
    assert_refused(file.at, file.n, FORMAT, code, message);
}

static void a_gpt2_model_spells_bytes(void **state)
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

static void a_llama_model_has_bytes_and_spaces(void **state)
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

static void a_bert_model_has_spaces_only(void **state)
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

static void what_is_not_supported_is_named(void **state)
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
            "tokenizer.ggml.model: expected gpt2, llama, t5 or bert, found \"rwkv\"");
}

static void an_error_names_the_byte(void **state)
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

static void a_token_that_is_not_utf8_is_refused(void **state)
{
    static const char *const tokens[] = {"a", "\xFF"};
    (void)state;
    begin(3, 2);
    put_model("llama");
    put_tokens(tokens, COUNT(tokens));
    burble_vocab *vocab;
    burble_error error;
    assert_int_equal(burble_vocab_parse(file.at, file.n, FORMAT, "file", &vocab, &error),
                     BURBLE_EFORMAT);
    assert_non_null(strstr(error.message, "token 1"));
}

static void arrays_of_arrays_are_refused(void **state)
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

static void a_damaged_file_is_refused_or_a_vocabulary(void **state)
{
    (void)state;
    make_llama(3, 1);
    assert_survives(file.at, file.n, FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpt2_model_spells_bytes),
        cmocka_unit_test(a_llama_model_has_bytes_and_spaces),
        cmocka_unit_test(a_bert_model_has_spaces_only),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(an_error_names_the_byte),
        cmocka_unit_test(a_token_that_is_not_utf8_is_refused),
        cmocka_unit_test(arrays_of_arrays_are_refused),
        cmocka_unit_test(a_damaged_file_is_refused_or_a_vocabulary),
    };
    return cmocka_run_group_tests_name("load_gguf", tests, NULL, NULL);
}
