/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json. What is expected was had from the tokenizers library, version 0.23.3.
 */
#include "load_support.h"

#define FORMAT BURBLE_VOCAB_HF_JSON

#define FILE_OF(decoder, vocab, added)                                                             \
    "{\"added_tokens\":[" added "],\"decoder\":" decoder                                           \
    ",\"model\":{\"type\":\"BPE\",\"vocab\":" vocab "}}"
#define ADDED(id, text, special) "{\"id\":" id ",\"content\":\"" text "\",\"special\":" special "}"

#define LLAMA                                                                                      \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"▁\"},"   \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Sequence\",\"decoders\":["         \
    "{\"type\":\"Fuse\"}]},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"

static burble_vocab *load(const char *file)
{
    return parse(file, strlen(file), FORMAT);
}

static void refused(const char *file, const char *message)
{
    assert_refused(file, strlen(file), FORMAT, BURBLE_EFORMAT, message);
}

static void unsupported(const char *file, const char *message)
{
    assert_refused(file, strlen(file), FORMAT, BURBLE_EUNSUPPORTED, message);
}

static void decoder_becomes_its_step(void **state)
{
    static const struct {
        const char *file, *text; /* of the ids 0, 1, 2, 0 */
    } cases[] = {
        {FILE_OF("null", "{\"a\":0,\"b\":1,\"c\":2}", ""), "a b c a"},
        {FILE_OF("{\"type\":\"ByteLevel\"}", "{\"Ġa\":0,\"ä¸\":1,\"Ń\":2}", ""), " a中 a"},
        {FILE_OF(LLAMA, "{\"▁a\":0,\"<0x62>\":1,\"c\":2}", ""), "abc a"},
        {FILE_OF("{\"type\":\"Metaspace\",\"replacement\":\"▁\"}", "{\"▁a\":0,\"b\":1,\"▁\":2}",
                 ""),
         "ab  a"},
        {FILE_OF("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\"}",
                 "{\"_a\":0,\"b\":1,\"_\":2}", ""),
         " ab  a"},
        {FILE_OF("{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}",
                 "{\"a\":0,\"##b\":1,\".\":2}", ""),
         "ab. a"},
        {FILE_OF("{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}",
                 "{\"a</w>\":0,\"b\":1,\"c</w>\":2}", ""),
         "a bc a"},
        {FILE_OF("{\"type\":\"CTC\",\"pad_token\":\"<p>\",\"word_delimiter_token\":\"|\","
                 "\"cleanup\":true}",
                 "{\"a\":0,\"<p>\":1,\"|\":2}", ""),
         "a a"},
        {FILE_OF("{\"type\":\"Sequence\",\"decoders\":[]}", "{\"a\":0,\"b\":1,\"c\":2}", ""),
         "abca"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        burble_vocab *vocab = load(cases[i].file);
        ASSERT_TEXT(vocab, false, cases[i].text, 0, 1, 2, 0);
        burble_vocab_unref(&vocab);
    }
}

/* The last token of a text loses its suffix, others a space in its place: what is said before that is
 * known are whole characters, though the two differ in the second byte of one. */
static void uncertain_text_is_held_back_by_characters(void **state)
{
    (void)state;
    burble_vocab *vocab =
        load(FILE_OF("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"BPEDecoder\",\"suffix\":"
                     "\"</w>\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\"é \"},"
                     "\"content\":\"è\"}]}",
                     "{\"aé</w>\":0}", ""));
    ASSERT_TEXT(vocab, false, "aé", 0);
    ASSERT_TEXT(vocab, false, "aèaé", 0, 0);

    static const int32_t id = 0;
    burble_detok *detok;
    burble_text text;
    assert_result(burble_detok_create(vocab, NULL, &detok), BURBLE_OK);
    assert_result(burble_detok_push(detok, &id, 1, &text), BURBLE_OK);
    assert_int_equal(text.len, 1);
    assert_memory_equal(text.bytes, "a", 1);
    burble_detok_finish(detok, &text);
    assert_int_equal(text.len, 2);
    assert_memory_equal(text.bytes, "é", 2);
    burble_detok_destroy(&detok);
    burble_vocab_unref(&vocab);
}

static void unigram_vocabulary_is_an_array(void **state)
{
    (void)state;
    burble_vocab *vocab = load(FILE_OF("null", "[[\"<unk>\",0],[\"a\",-1.5],[\"a\",-2]]",
                                       ADDED("1", "a", "true") "," ADDED("9", "new", "false")));
    assert_int_equal(burble_vocab_size(vocab), 4);
    ASSERT_TEXT(vocab, false, "<unk> a a new", 0, 1, 2, 3);
    ASSERT_TEXT(vocab, true, "<unk> new", 0, 1, 2, 3);
    burble_vocab_unref(&vocab);
}

static void added_token_has_id_of_model_or_next_one(void **state)
{
    (void)state;
    burble_vocab *vocab = load(
        FILE_OF("null", "{\"a\":0,\"b\":5}",
                ADDED("2", "X", "true") "," ADDED("6", "Y", "false") "," ADDED("8", "b", "true")));
    assert_int_equal(burble_vocab_size(vocab), 6);
    ASSERT_TEXT(vocab, false, "a X Y b", 0, 1, 2, 3, 4, 5);
    ASSERT_TEXT(vocab, true, "a Y", 0, 1, 2, 3, 4, 5);
    burble_vocab_unref(&vocab);
}

static void added_token_replaces_token_of_model(void **state)
{
    (void)state;
    burble_vocab *vocab = load(FILE_OF("null", "{\"a\":0,\"b\":2}", ADDED("2", "X", "false")));
    ASSERT_TEXT(vocab, false, "a X", 0, 2);
    burble_vocab_unref(&vocab);
}

static void added_text_twice_is_one_token_special_if_either_is(void **state)
{
    (void)state;
    burble_vocab *vocab =
        load(FILE_OF("null", "{\"a\":0}",
                     ADDED("1", "Y", "false") "," ADDED("2", "Y", "true") "," ADDED(
                         "3", "", "true") "," ADDED("4", "Z", "false")));
    assert_int_equal(burble_vocab_size(vocab), 3);
    ASSERT_TEXT(vocab, true, "a Z", 0, 1, 2);
    burble_vocab_unref(&vocab);
}

#define INSTEAD "; in Python, pass the tokenizer, not its file"

static void regex_without_operators_is_a_string(void **state)
{
    static const struct {
        const char *regex, *text; /* of "abc" and "b\\b." */
    } cases[] = {
        {"b", "axcx\\x."},
        {"\\\\\\\\b", "abcbx."},
        {"b\\\\.", "abcb\\x"},
    };
    static const char *const others[] = {"", "b.", "b\\\\d", "\\\\", "(b)", "b|c"};
    char file[512];
    (void)state;
#define WITH(regex)                                                                                \
    snprintf(file, sizeof file,                                                                    \
             FILE_OF("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"%s\"},\"content\":\"x\"}",    \
                     "{\"abc\":0,\"b\\\\b.\":1}", ""),                                             \
             regex)
    for (size_t i = 0; i < COUNT(cases); i++) {
        WITH(cases[i].regex);
        burble_vocab *vocab = parse(file, strlen(file), FORMAT);
        ASSERT_TEXT(vocab, false, cases[i].text, 0, 1);
        burble_vocab_unref(&vocab);
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        burble_vocab *vocab;
        burble_error error;
        WITH(others[i]);
        assert_result(burble_vocab_parse(file, strlen(file), FORMAT, "file", &vocab, &error),
                      BURBLE_EUNSUPPORTED);
        assert_non_null(strstr(error.message, "is not supported in a decoder" INSTEAD));
    }
}

/* Texts that become longer and shorter again: what they are on the way counts, too. */
static void steps_above_bound_on_work_are_refused(void **state)
{
    static struct bytes file;
    char token[32];
    (void)state;
    file.n = 0;
    put_text(&file, "{\"model\":{\"vocab\":{");
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(token, sizeof token, "%s\"a%03u\":%u", i == 0 ? "" : ",", i, i);
        put_text(&file, token);
    }
    put_text(&file, "}},\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
                    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"");
    for (unsigned i = 0; i < 20000; i++)
        put_text(&file, "b");
    put_text(&file, "\"},");
    for (unsigned i = 0; i < 28; i++)
        put_text(&file, "{\"type\":\"Strip\",\"content\":\"c\",\"start\":1,\"stop\":1},");
    put_text(&file, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"b\"},\"content\":\"\"}]}}");
    assert_refused(
        file.at, file.n, FORMAT, BURBLE_EFORMAT,
        "expected steps that process at most 67748864 bytes of text in total, found more for the "
        "tokens up to 116");
}

static void unstreamable_step_is_named(void **state)
{
    (void)state;
    unsupported(FILE_OF("{\"type\":\"Foo\"}", "{}", ""),
                "decoder: a decoder of type \"Foo\" is not supported" INSTEAD);
    unsupported(FILE_OF("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":"
                        "\"Replace\",\"pattern\":{\"Regex\":\"a+\"},\"content\":\"\"}]}",
                        "{}", ""),
                "decoder.decoders[1].pattern: Replace with the Regex \"a+\" is not supported in a "
                "decoder" INSTEAD);
    unsupported(FILE_OF("{\"type\":\"BPEDecoder\",\"suffix\":\"a\\u0000\"}", "{}", ""),
                "decoder.suffix: a NUL in a decoder");
}

static void error_names_json_path(void **state)
{
    (void)state;
    refused(
        "{",
        "line 1, column 2 (byte 1): expected a key in quotation marks, found the end of the file");
    refused("[]", "the file: expected an object, found an array of 0");
    refused("{\"model\":[]}", "model: expected an object, found an array of 0");
    refused("{\"model\":{}}", "model.vocab: expected an object or an array, found nothing");
    refused(FILE_OF("[]", "{}", ""), "decoder: expected an object, found an array of 0");
    refused(FILE_OF("{}", "{}", ""), "decoder.type: expected a string, found nothing");
    refused(FILE_OF("{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}", "{}", ""),
            "decoder.content: expected one character, found \"ab\"");
    refused(FILE_OF("{\"type\":\"Strip\",\"content\":\"a\",\"start\":-1,\"stop\":0}", "{}", ""),
            "decoder.start: expected an integer of at least 0, found -1");
    refused(FILE_OF("{\"type\":\"WordPiece\",\"prefix\":\"a\"}", "{}", ""),
            "decoder.cleanup: expected true or false, found nothing");
    refused(
        FILE_OF("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":null}", "{}", ""),
        "decoder.prepend_scheme: expected \"always\", \"first\" or \"never\", found null");
    refused(FILE_OF("null", "{\"a\":\"0\"}", ""),
            "model.vocab[\"a\"]: expected an id, found \"0\"");
    refused(FILE_OF("null", "{\"a\":-1}", ""),
            "model.vocab: expected an id from 0 to 65535 (in a file of this size), found -1");
    refused(FILE_OF("null", "{\"a\":16777215}", ""),
            "model.vocab: expected an id from 0 to 65535 (in a file of this size), found 16777215");
    refused(FILE_OF("null", "{\"a\":3,\"b\":3}", ""),
            "model.vocab: expected each id once, found 3 for \"a\" and for \"b\"");
    refused(FILE_OF("null", "[[\"a\"]]", ""),
            "model.vocab[0]: expected an array of a token and its score, found an array of 1");
    refused(FILE_OF("null", "{}", ADDED("-1", "x", "true")),
            "added_tokens[0].id: expected an id, found -1");
    refused(FILE_OF("null", "{}", "7"), "added_tokens[0]: expected an object, found 7");
    refused("{\"added_tokens\":{},\"model\":{\"vocab\":{}}}",
            "added_tokens: expected an array, found an object");
    refused(FILE_OF("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\","
                    "\"add_prefix_space\":false}",
                    "{}", ""),
            "decoder.prepend_scheme: expected \"never\", as add_prefix_space is false, found "
            "\"first\"");
    refused("{\"model\":1.5}", "model: expected an object, found a real number");
    refused("{\"model\":true}", "model: expected an object, found true");
    refused("{\"model\":false}", "model: expected an object, found false");
    refused("{\"model\":\"a\\nb\"}", "model: expected an object, found \"a\\x0Ab\"");
}

/* Wherever it is cut: names of all lengths move the end of a message that is too long. */
static void message_that_is_cut_ends_with_whole_character(void **state)
{
    static struct bytes file;
    char name[81];
    unsigned cut = 0;
    (void)state;
    file.n = 0;
    put_text(&file, "{\"model\":{\"vocab\":{}},\"decoder\":");
    for (unsigned i = 0; i < 8; i++)
        put_text(&file, "{\"type\":\"Sequence\",\"decoders\":[");
    put_text(&file, "{\"type\":\"中中中中中中中中中中中中中中中中中中中中\"}");
    for (unsigned i = 0; i < 8; i++)
        put_text(&file, "]}");
    put_text(&file, "}");
    for (size_t len = 1; len < sizeof name; len++) {
        burble_vocab *vocab;
        burble_error error;
        memset(name, 'n', len);
        name[len] = '\0';
        assert_result(burble_vocab_parse(file.at, file.n, FORMAT, name, &vocab, &error),
                      BURBLE_EUNSUPPORTED);
        const size_t n = strlen(error.message);
        assert_true(burble__utf8_valid(error.message, n));
        cut += error.message[n - 1] != '"';
    }
    assert_true(cut > 3);
}

static void file_above_bounds_is_refused(void **state)
{
    static struct bytes file;
    burble_vocab *vocab;
    burble_error error;
    (void)state;
    file.n = 0;
    put_text(&file, "{\"model\":{\"vocab\":{}},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[");
    for (unsigned i = 0; i < 33; i++)
        put_text(&file, i == 0 ? "{\"type\":\"Fuse\"}" : ",{\"type\":\"Fuse\"}");
    put_text(&file, "]}}");
    assert_result(burble_vocab_parse(file.at, file.n, FORMAT, "file", &vocab, &error),
                  BURBLE_EUNSUPPORTED);
    assert_string_equal(error.message,
                        "file: decoder.decoders[32]: a decoder of more than 32 steps");

    char *long_file = malloc(BURBLE_VOCAB_MAX_TOKEN + 64);
    assert_non_null(long_file);
    int n = sprintf(long_file, "{\"model\":{\"vocab\":{\"");
    memset(long_file + n, 'a', BURBLE_VOCAB_MAX_TOKEN + 1);
    n += (int)BURBLE_VOCAB_MAX_TOKEN + 1;
    n += sprintf(long_file + n, "\":0}}}");
    const int result = burble_vocab_parse(long_file, (size_t)n, FORMAT, "file", &vocab, &error);
    free(long_file);
    assert_result(result, BURBLE_EFORMAT);
    assert_string_equal(error.message,
                        "file: model.vocab: expected at most 65536 bytes in token 0, "
                        "found 65537");
}

static void json_nested_too_deeply_is_refused(void **state)
{
    static struct bytes file;
    (void)state;
    static const char head[] = "{\"model\":{\"vocab\":{}},\"decoder\":";
    static const char open[] = "{\"type\":\"Sequence\",\"decoders\":[";
    file.n = 0;
    put(&file, head, strlen(head));
    for (unsigned i = 0; i < 30; i++)
        put(&file, open, strlen(open));
    for (unsigned i = 0; i < 30; i++)
        put(&file, "]}", 2);
    put(&file, "}", 1);
    burble_vocab *vocab;
    burble_error error;
    assert_result(burble_vocab_parse(file.at, file.n, FORMAT, NULL, &vocab, &error),
                  BURBLE_EUNSUPPORTED);
    memset(file.at, '[', sizeof file.at);
    assert_result(burble_vocab_parse(file.at, sizeof file.at, FORMAT, NULL, &vocab, &error),
                  BURBLE_EFORMAT);
}

static void damaged_file_is_refused_or_loaded(void **state)
{
    static const char *const files[] = {
        FILE_OF(LLAMA, "{\"▁a\":0,\"<0x62>\":1,\"c\":2}", ADDED("3", "<s>", "true")),
        FILE_OF("{\"type\":\"Metaspace\",\"replacement\":\"▁\",\"prepend_scheme\":\"first\"}",
                "[[\"<unk>\",0],[\"a\",-1.5]]", ADDED("2", "x", "false")),
        FILE_OF("{\"type\":\"CTC\",\"pad_token\":\"<p>\",\"word_delimiter_token\":\"|\","
                "\"cleanup\":true}",
                "{\"a\":0}", ""),
    };
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++)
        assert_survives(files[i], strlen(files[i]), FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoder_becomes_its_step),
        cmocka_unit_test(uncertain_text_is_held_back_by_characters),
        cmocka_unit_test(unigram_vocabulary_is_an_array),
        cmocka_unit_test(added_token_has_id_of_model_or_next_one),
        cmocka_unit_test(added_token_replaces_token_of_model),
        cmocka_unit_test(added_text_twice_is_one_token_special_if_either_is),
        cmocka_unit_test(regex_without_operators_is_a_string),
        cmocka_unit_test(steps_above_bound_on_work_are_refused),
        cmocka_unit_test(unstreamable_step_is_named),
        cmocka_unit_test(error_names_json_path),
        cmocka_unit_test(message_that_is_cut_ends_with_whole_character),
        cmocka_unit_test(file_above_bounds_is_refused),
        cmocka_unit_test(json_nested_too_deeply_is_refused),
        cmocka_unit_test(damaged_file_is_refused_or_loaded),
    };
    return cmocka_run_group_tests_name("load_hf", tests, NULL, NULL);
}
