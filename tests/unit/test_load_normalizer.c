/* SPDX-License-Identifier: MIT
 *
 * The normalizer of a tokenizer.json, which spells its added tokens. What is expected was had from the
 * tokenizers library, version 0.23.3.
 */
#include "load_support.h"

#define FORMAT BURBLE_VOCAB_HF_JSON

#define FILE_WITH(normalizer, content, normalized)                                                 \
    "{\"added_tokens\":[{\"id\":1,\"content\":\"" content "\",\"normalized\":" normalized          \
    "}],\"normalizer\":" normalizer                                                                \
    ",\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"vocab\":{\"a\":0}}}"
#define FILE_OF(normalizer, content) FILE_WITH(normalizer, content, "true")

#define INSTEAD "; in Python, pass the tokenizer, not its file"

#define TYPE(name) "{\"type\":\"" name "\"}"
#define REPLACE(pattern, content)                                                                  \
    "{\"type\":\"Replace\",\"pattern\":{" pattern "},\"content\":\"" content "\"}"
#define STRIP(left, right) "{\"type\":\"Strip\",\"strip_left\":" left ",\"strip_right\":" right "}"
#define BERT(lowercase) "{\"type\":\"BertNormalizer\",\"lowercase\":" lowercase "}"
#define SEQUENCE(parts) "{\"type\":\"Sequence\",\"normalizers\":[" parts "]}"
#define PREPEND(text) "{\"type\":\"Prepend\",\"prepend\":\"" text "\"}"

static void refused(const char *file, const char *message)
{
    assert_refused(file, strlen(file), FORMAT, BURBLE_EFORMAT, message);
}

static void unsupported(const char *file, const char *message)
{
    assert_refused(file, strlen(file), FORMAT, BURBLE_EUNSUPPORTED, message);
}

static void added_token_is_normalized(void **state)
{
    static const struct {
        const char *file, *text;
    } cases[] = {
        {FILE_OF("null", "a b"), "a b"},
        {FILE_OF(PREPEND("▁"), "ab"), "▁ab"},
        {FILE_OF(PREPEND(""), "ab"), "ab"},
        {FILE_OF(REPLACE("\"String\":\" \"", "▁"), "a b c"), "a▁b▁c"},
        {FILE_OF(REPLACE("\"String\":\"aa\"", ""), "aaaaa"), "a"},
        {FILE_OF(REPLACE("\"String\":\"abc\"", "x"), "ab"), "ab"},
        {FILE_OF(REPLACE("\"Regex\":\" {2,}\"", "▁"), "ab"), "ab"},
        {FILE_OF(REPLACE("\"Regex\":\"a\\\\.\"", "x"), "a.b ab"), "xb ab"},
        {FILE_OF(STRIP("true", "true"), "  a b  "), "a b"},
        {FILE_OF(STRIP("true", "false"), "  a b  "), "a b  "},
        {FILE_OF(STRIP("false", "true"), "  a b  "), "  a b"},
        {FILE_OF(STRIP("true", "true"), "   "), ""},
        {FILE_OF(TYPE("Lowercase"), "AbZ[@`{中"), "abz[@`{中"},
        {FILE_OF(TYPE("NFC"), "é한中a"), "é한中a"},
        {FILE_OF(TYPE("NFD"), "ab中"), "ab中"},
        {FILE_OF(TYPE("NFKC"), "ab中"), "ab中"},
        {FILE_OF(TYPE("NFKD"), "ab中"), "ab中"},
        {FILE_OF(TYPE("Nmt"), "a b中"), "a b中"},
        {FILE_OF(TYPE("StripAccents"), "ab中"), "ab中"},
        {FILE_OF(BERT("true"), "Ab C"), "ab c"},
        {FILE_OF(BERT("false"), "Ab C"), "Ab C"},
        {FILE_OF(SEQUENCE(""), "a b"), "a b"},
        {FILE_OF(SEQUENCE(PREPEND("▁") "," SEQUENCE(REPLACE("\"String\":\" \"", "▁"))), "a b"),
         "▁a▁b"},
        /* one that is not normalized is spelled as it stands there, whatever the normalizer is */
        {FILE_WITH(TYPE("Foo"), "a b", "false"), "a b"},
        {FILE_WITH(PREPEND("▁"), "a b", "false"), "a b"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        burble_vocab *vocab = parse(cases[i].file, strlen(cases[i].file), FORMAT);
        ASSERT_TEXT(vocab, false, cases[i].text, 1);
        burble_vocab_unref(&vocab);
    }
}

/* Rather refused than spelled otherwise: these need tables that the library does not have. */
static void normalizer_that_needs_unicode_table_is_refused(void **state)
{
    static const struct {
        const char *file, *message;
    } cases[] = {
        {FILE_OF(TYPE("NFC"), "e\xCC\x81"),
         "(\"NFC\") is not supported for the normalized \"e\xCC\x81\""},
        {FILE_OF(TYPE("NFD"), "é"), "(\"NFD\") is not supported for the normalized \"é\""},
        {FILE_OF(TYPE("NFKC"), "𝔘"), "(\"NFKC\") is not supported for the normalized \"𝔘\""},
        {FILE_OF(TYPE("Lowercase"), "É"),
         "(\"Lowercase\") is not supported for the normalized \"É\""},
        {FILE_OF(TYPE("Nmt"), "a\\u0001"),
         "(\"Nmt\") is not supported for the normalized \"a\\x01\""},
        {FILE_OF(STRIP("true", "true"), "a\\u3000"),
         "(\"Strip\") is not supported for the normalized \"a\xE3\x80\x80\""},
        {FILE_OF(BERT("true"), "中"),
         "(\"BertNormalizer\") is not supported for the normalized \"中\""},
        {FILE_OF(REPLACE("\"Regex\":\"\\\\s+\"", "▁"), "a b"),
         "(\"Replace\" with the Regex \"\\\\s+\") is not supported for the normalized \"a b\""},
        {FILE_OF(REPLACE("\"Regex\":\"[a-z]\"", "▁"), "X"),
         "(\"Replace\" with the Regex \"[a-z]\") is not supported for the normalized \"X\""},
        {FILE_OF(REPLACE("\"String\":\"\"", "x"), "ab"),
         "(\"Replace\") is not supported for the normalized \"ab\""},
        {FILE_OF(TYPE("Foo"), "ab"), "(\"Foo\") is not supported for the normalized \"ab\""},
        {FILE_OF(TYPE("ByteLevel"), "ab"),
         "(\"ByteLevel\") is not supported for the normalized \"ab\""},
        {FILE_OF(SEQUENCE(PREPEND("▁") "," TYPE("NFD")), "ab"),
         ".normalizers[1] (\"NFD\") is not supported for the normalized \"ab\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[256];
        snprintf(message, sizeof message, "added_tokens[0]: normalizer%s%s" INSTEAD,
                 cases[i].message[0] == '(' ? " " : "", cases[i].message);
        unsupported(cases[i].file, message);
    }
}

/* ---- Precompiled --------------------------------------------------------------------------------- */

#define UNITS 256

/* A table of SentencePiece's, in Base64: the units of a double-array trie behind their size. Its root
 * has no offset, so that the unit of a string of one byte is at that byte. */
static void precompiled_file(char *file, size_t room, uint32_t size, unsigned char key,
                             const char *content)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static struct bytes table;
    char map[4 * (sizeof(uint32_t) * (UNITS + 1) + 2) / 3 + 1];
    size_t n = 0;
    table.n = 0;
    put_little_endian(&table, size, 4);
    for (uint32_t unit = 0; unit < UNITS; unit++)
        put_little_endian(&table, unit == key ? 1u << 8 | key : 0, 4);
    put(&table, "\0\0", 2); /* to a multiple of three */
    for (size_t i = 0; i + 3 <= table.n; i += 3) {
        const unsigned char *bytes = (unsigned char *)table.at + i;
        const uint32_t bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
        for (unsigned j = 0; j < 4; j++)
            map[n++] = digits[bits >> (18 - 6 * j) & 63];
    }
    map[n] = '\0';
    const int len = snprintf(
        file, room, FILE_OF("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"}", "%s"),
        content, map);
    assert_in_range(len, 1, room - 1);
}

static void precompiled_table_keeps_unmapped_text(void **state)
{
    static char file[1 << 12];
    (void)state;
    precompiled_file(file, sizeof file, 4 * UNITS, '~', "a b");
    burble_vocab *vocab = parse(file, strlen(file), FORMAT);
    ASSERT_TEXT(vocab, false, "a b", 1);
    burble_vocab_unref(&vocab);

    precompiled_file(file, sizeof file, 4 * UNITS, '~', "a~b");
    unsupported(file, "added_tokens[0]: normalizer (\"Precompiled\") is not supported for the "
                      "normalized \"a~b\"" INSTEAD);
    precompiled_file(file, sizeof file, 4 * UNITS, '~', "é");
    unsupported(file, "added_tokens[0]: normalizer (\"Precompiled\") is not supported for the "
                      "normalized \"é\"" INSTEAD);
}

static void precompiled_table_that_is_cut_is_refused(void **state)
{
    static char file[1 << 12];
    burble_vocab *vocab;
    burble_error error;
    (void)state;
    precompiled_file(file, sizeof file, 4 * UNITS + 4, '~', "a");
    assert_result(burble_vocab_parse(file, strlen(file), FORMAT, NULL, &vocab, &error),
                  BURBLE_EFORMAT);
    assert_non_null(
        strstr(error.message, "normalizer.precompiled_charsmap: expected Base64 of a table"));
    /* Fewer units than a byte can ask for: what lies beyond them is not a string of it. */
    precompiled_file(file, sizeof file, 4 * 64, '~', "a~b");
    vocab = parse(file, strlen(file), FORMAT);
    ASSERT_TEXT(vocab, false, "a~b", 1);
    burble_vocab_unref(&vocab);
#define PRECOMPILED(map) FILE_OF("{\"type\":\"Precompiled\",\"precompiled_charsmap\":" map "}", "a")
    refused(PRECOMPILED("\"AAA\""),
            "normalizer.precompiled_charsmap: expected Base64 of a table, found \"AAA\"");
    refused(PRECOMPILED("\"\""),
            "normalizer.precompiled_charsmap: expected Base64 of a table, found \"\"");
    refused(PRECOMPILED("\"!!!!\""),
            "normalizer.precompiled_charsmap: expected Base64 of a table, found \"!!!!\"");
    refused(PRECOMPILED("null"), "normalizer.precompiled_charsmap: expected a string, found null");
}

/* ---- errors -------------------------------------------------------------------------------------- */

static void error_names_json_path(void **state)
{
    (void)state;
    refused(FILE_OF("7", "a"), "normalizer: expected an object, found 7");
    refused(FILE_OF("{}", "a"), "normalizer.type: expected a string, found nothing");
    refused(FILE_OF(SEQUENCE("[]"), "a"),
            "normalizer.normalizers[0]: expected an object, found an array of 0");
    refused(FILE_OF("{\"type\":\"Sequence\"}", "a"),
            "normalizer.normalizers: expected an array, found nothing");
    refused(FILE_OF(TYPE("Prepend"), "a"), "normalizer.prepend: expected a string, found nothing");
    refused(FILE_OF(TYPE("Replace"), "a"), "normalizer.pattern: expected an object, found nothing");
    refused(FILE_OF(REPLACE("", "x"), "a"),
            "normalizer.pattern.String: expected a string, found nothing");
    refused(FILE_OF("{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}", "a"),
            "normalizer.content: expected a string, found nothing");
    refused(FILE_OF(STRIP("1", "true"), "a"),
            "normalizer.strip_left: expected true or false, found 1");
    refused(FILE_OF(STRIP("true", "null"), "a"),
            "normalizer.strip_right: expected true or false, found null");
    refused(FILE_OF(TYPE("BertNormalizer"), "a"),
            "normalizer.lowercase: expected true or false, found nothing");
}

static void normalizer_that_does_not_terminate_is_refused(void **state)
{
    static struct bytes file;
    static const char head[] =
        "{\"added_tokens\":[{\"id\":1,\"content\":\"a\",\"normalized\":true}],"
        "\"model\":{\"vocab\":{}},\"normalizer\":";
    burble_vocab *vocab;
    burble_error error;
    (void)state;
    file.n = 0;
    put_text(&file, head);
    for (unsigned i = 0; i < 30; i++)
        put_text(&file, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (unsigned i = 0; i < 30; i++)
        put_text(&file, "]}");
    put_text(&file, "}");
    assert_result(burble_vocab_parse(file.at, file.n, FORMAT, NULL, &vocab, &error),
                  BURBLE_EUNSUPPORTED);
    assert_non_null(strstr(error.message, "a normalizer of more than 16 sequences in one another"));

    file.n = 0;
    put_text(&file, head);
    put_text(&file, "{\"type\":\"Sequence\",\"normalizers\":[" TYPE("NFC"));
    for (unsigned i = 0; i < 64; i++)
        put_text(&file, "," TYPE("NFC"));
    put_text(&file, "]}}");
    assert_result(burble_vocab_parse(file.at, file.n, FORMAT, NULL, &vocab, &error),
                  BURBLE_EUNSUPPORTED);
    assert_string_equal(error.message,
                        "(bytes in memory): normalizer.normalizers[64]: a normalizer of "
                        "more than 64 steps");
}

/* A step that makes `times` of each a. */
static void put_growth(struct bytes *file, unsigned times)
{
    put_text(file, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"");
    for (unsigned i = 0; i < times; i++)
        put(file, "a", 1);
    put_text(file, "\"}");
}

#define GROWING "],\"model\":{\"vocab\":{}},\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["

static void normalized_token_above_longest_is_refused(void **state)
{
    static const char head[] = "{\"added_tokens\":[{\"id\":1,\"content\":\"aaaaaaaa\","
                               "\"normalized\":true}" GROWING;
    static struct bytes file;
    (void)state;
    /* Each letter becomes a hundred, ten thousand, a million. */
    file.n = 0;
    put_text(&file, head);
    for (unsigned i = 0; i < 3; i++) {
        put_text(&file, i == 0 ? "" : ",");
        put_growth(&file, 100);
    }
    put_text(&file, "]}}");
    assert_refused(
        file.at, file.n, FORMAT, BURBLE_EFORMAT,
        "added_tokens[0]: expected at most 65536 bytes, as the normalizer makes it, found "
        "more than 262144");
    /* And with more before it. */
    file.n = 0;
    put_text(&file, head);
    put_growth(&file, 30000);
    put_text(&file, ",{\"type\":\"Prepend\",\"prepend\":\"");
    for (unsigned i = 0; i < 22145; i++)
        put(&file, "b", 1);
    put_text(&file, "\"}]}}");
    assert_refused(
        file.at, file.n, FORMAT, BURBLE_EFORMAT,
        "added_tokens[0]: expected at most 65536 bytes, as the normalizer makes it, found "
        "more than 262144");
}

/* Texts that become longer and shorter again, so that none is long in the end: all steps' are counted. */
static void normalizer_work_is_bounded_over_all_tokens(void **state)
{
    static struct bytes file;
    char text[160];
    (void)state;
    file.n = 0;
    put_text(&file, "{\"added_tokens\":[");
    for (size_t i = 0; i < 600; i++) {
        put_text(&file, i == 0 ? "" : ",");
        snprintf(text, sizeof text, "{\"id\":%zu,\"content\":\"a%zu\",\"normalized\":true}", i, i);
        put_text(&file, text);
    }
    put_text(&file, GROWING);
    put_growth(&file, 100);
    put_text(&file, ",");
    put_growth(&file, 600);
    put_text(&file, "," TYPE("NFC") "," REPLACE("\"String\":\"a\"", ""));
    put_text(&file, "]}}");
    /* Some 100 + 60,000 + 60,000 bytes for each. */
    assert_refused(
        file.at, file.n, FORMAT, BURBLE_EFORMAT,
        "added_tokens[558]: expected at most 64 MiB of text in all steps of the normalizer "
        "together, found more");
}

static void damaged_file_is_refused_or_loaded(void **state)
{
    static const char file[] =
        FILE_OF(SEQUENCE(PREPEND("▁") "," REPLACE("\"String\":\" \"", "▁") "," STRIP(
                    "true", "false") "," TYPE("Lowercase") "," TYPE("NFC")),
                "A b");
    (void)state;
    assert_survives(file, strlen(file), FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(added_token_is_normalized),
        cmocka_unit_test(normalizer_that_needs_unicode_table_is_refused),
        cmocka_unit_test(precompiled_table_keeps_unmapped_text),
        cmocka_unit_test(precompiled_table_that_is_cut_is_refused),
        cmocka_unit_test(error_names_json_path),
        cmocka_unit_test(normalizer_that_does_not_terminate_is_refused),
        cmocka_unit_test(normalized_token_above_longest_is_refused),
        cmocka_unit_test(normalizer_work_is_bounded_over_all_tokens),
        cmocka_unit_test(damaged_file_is_refused_or_loaded),
    };
    return cmocka_run_group_tests_name("load_normalizer", tests, NULL, NULL);
}
