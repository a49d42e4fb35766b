/* SPDX-License-Identifier: MIT
 *
 * Models: loading them, and what they make of text and of conversations.
 */
#define _POSIX_C_SOURCE 200809L

#include "engine_support.h"

#include <errno.h>
#include <unistd.h>

/* ---- loading ------------------------------------------------------------------------------------- */

struct progress {
    unsigned calls;
    float last;
    bool fell;
    float give_up_at;
};

static bool on_progress(float done, void *arg)
{
    struct progress *progress = arg;
    progress->calls++;
    progress->fell |= done < progress->last;
    progress->last = done;
    return done < progress->give_up_at;
}

static void load_progress_rises_to_one(void **state)
{
    struct progress progress = {.give_up_at = 2};
    burble_llama_model_options options;
    burble_llama_model *loaded;
    (void)state;
    burble_llama_model_options_init(&options);
    options.progress = on_progress;
    options.progress_arg = &progress;
    options.check_tensors = true;
    assert_result(burble_llama_model_load(model_path(), &options, &loaded, NULL), BURBLE_OK);
    assert_true(progress.calls > 1);
    assert_false(progress.fell);
    assert_true(progress.last >= 1.0f);
    burble_llama_model_unref(&loaded);
    assert_null(loaded);
}

static void load_is_cancelled_by_progress_function(void **state)
{
    struct progress progress = {.give_up_at = 0};
    burble_llama_model_options options;
    burble_llama_model *loaded;
    burble_error error = {0};
    (void)state;
    burble_llama_model_options_init(&options);
    options.progress = on_progress;
    options.progress_arg = &progress;
    assert_result(burble_llama_model_load(model_path(), &options, &loaded, &error),
                  BURBLE_ECANCELED);
    assert_null(loaded);
    assert_int_equal(progress.calls, 1);
    assert_non_null(strstr(error.message, "was cancelled"));
}

static void refuses(const char *path, int code, const char *message)
{
    burble_llama_model *loaded = (burble_llama_model *)&code;
    burble_error error = {0};
    assert_result(burble_llama_model_load(path, NULL, &loaded, &error), code);
    assert_null(loaded);
    assert_result(error.code, code);
    assert_non_null(strstr(error.message, path));
    if (strstr(error.message, message) == NULL)
        fail_msg("expected \"%s\", found \"%s\"", message, error.message);
}

static void load_missing_file_error_names_it(void **state)
{
    (void)state;
    refuses("/nowhere/at/all.gguf", BURBLE_ESYSTEM, "No such file");
    assert_int_equal(errno, ENOENT);
    refuses("/", BURBLE_ESYSTEM, "expected a GGUF file, found a directory");
}

/* The first `size` bytes of the model, with `change` at its beginning. */
static void write_part(const char *path, size_t size, const char *change)
{
    char *bytes = malloc(size + 1);
    FILE *from = fopen(model_path(), "rb");
    FILE *to = fopen(path, "wb");
    assert_non_null(bytes);
    assert_non_null(from);
    assert_non_null(to);
    assert_int_equal(fread(bytes, 1, size, from), size);
    memcpy(bytes, change, strlen(change));
    assert_int_equal(fwrite(bytes, 1, size, to), size);
    fclose(from);
    fclose(to);
    free(bytes);
}

static void load_broken_file_error_says_what_is_wrong(void **state)
{
    char path[] = "/tmp/burble-test-XXXXXX";
    (void)state;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    refuses(path, BURBLE_EFORMAT, "expected a GGUF file, found an empty one");
    write_part(path, 1000, "no GGUF");
    refuses(path, BURBLE_EFORMAT, "magic");
    write_part(path, 20000, "");
    refuses(path, BURBLE_EFORMAT, "");
    write_part(path, 1000000, "");
    refuses(path, BURBLE_EFORMAT, "not within the file bounds");
    unlink(path);
}

/* A copy of the model that names another tokenizer: llama.cpp knows it, burble does not. */
static void write_as_rwkv(const char *path)
{
    static const char key[] = "tokenizer.ggml.model";
    FILE *in = fopen(model_path(), "rb");
    FILE *out = fopen(path, "wb");
    assert_non_null(in);
    assert_non_null(out);
    assert_int_equal(fseek(in, 0, SEEK_END), 0);
    const size_t size = (size_t)ftell(in);
    char *bytes = malloc(size);
    assert_non_null(bytes);
    rewind(in);
    assert_int_equal(fread(bytes, 1, size, in), size);
    size_t at = 0;
    while (memcmp(bytes + at, key, sizeof key - 1) != 0) {
        at++;
        assert_true(at + 64 < size);
    }
    char *name = bytes + at + sizeof key - 1 + 4 + 8; /* behind its type and its length */
    assert_memory_equal(name, "gpt2", 4);
    memcpy(name, "rwkv", 4);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    free(bytes);
    fclose(in);
    fclose(out);
}

static void unknown_tokenizer_decodes_by_pieces_of_llama_cpp(void **state)
{
    char path[] = "/tmp/burble-model-XXXXXX";
    (void)state;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_as_rwkv(path);
    burble_llama_model *loaded;
    burble_error error = {.message = ""};
    const int result = burble_llama_model_load(path, NULL, &loaded, &error);
    unlink(path);
    assert_string_equal(error.message, "");
    assert_result(result, BURBLE_OK);

    burble_vocab *pieces = burble_llama_model_vocab(loaded);
    assert_int_equal(burble_vocab_size(pieces), burble_vocab_size(burble_llama_model_vocab(model)));
    /* Where GPT-2's spelling is the text itself. */
    static const char expected[] = "ROMEO:What,speak";
    int32_t ids[64];
    size_t n;
    burble_detok *detok;
    burble_text text;
    assert_result(
        burble_llama_model_tokenize(model, expected, strlen(expected), false, ids, 64, &n),
        BURBLE_OK);
    assert_result(burble_detok_create(pieces, NULL, &detok), BURBLE_OK);
    assert_result(burble_detok_push(detok, ids, n, &text), BURBLE_OK);
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.bytes, expected, text.len);
    burble_detok_destroy(&detok);
    burble_llama_model_unref(&loaded);
}

static void model_is_freed_with_last_reference(void **state)
{
    (void)state;
    burble_llama_model *first = load_model();
    burble_llama_model *second = burble_llama_model_ref(first);
    burble_llama_model_unref(&first);
    assert_int_equal(burble_llama_model_context(second), 512);
    assert_int_equal(burble_vocab_size(burble_llama_model_vocab(second)), 2048);
    burble_llama_model_unref(&second);
    burble_llama_model_unref(&second);
    burble_llama_model_unref(NULL);
}

/* ---- ids ----------------------------------------------------------------------------------------- */

static void tokenize_then_decode_gives_same_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < PROMPTS; i++) {
        int32_t ids[512];
        size_t n;
        burble_detok *detok;
        burble_text text;
        char whole[2048];
        assert_result(
            burble_llama_model_tokenize(model, prompts[i], strlen(prompts[i]), false, ids, 512, &n),
            BURBLE_OK);
        assert_result(burble_detok_create(burble_llama_model_vocab(model), NULL, &detok),
                      BURBLE_OK);
        assert_result(burble_detok_push(detok, ids, n, &text), BURBLE_OK);
        memcpy(whole, text.bytes, text.len);
        whole[text.len] = '\0';
        assert_string_equal(whole, prompts[i]);
        burble_detok_destroy(&detok);
    }
}

static void tokenize_into_small_buffer_reports_needed_size(void **state)
{
    int32_t ids[64];
    size_t n;
    size_t needed;
    (void)state;
    const char *text = prompts[3];
    assert_result(burble_llama_model_tokenize(model, text, strlen(text), false, NULL, 0, &needed),
                  BURBLE_EFULL);
    assert_true(needed > 5);
    assert_result(
        burble_llama_model_tokenize(model, text, strlen(text), false, ids, needed - 1, &n),
        BURBLE_EFULL);
    assert_int_equal(n, needed);
    assert_result(burble_llama_model_tokenize(model, text, strlen(text), false, ids, needed, &n),
                  BURBLE_OK);
    assert_int_equal(n, needed);
    assert_result(burble_llama_model_tokenize(model, "", 0, false, ids, 64, &n), BURBLE_OK);
    assert_int_equal(n, 0);
    assert_result(burble_llama_model_tokenize(model, NULL, 1, false, ids, 64, &n), BURBLE_EINVAL);
}

static void tokenize_reads_special_tokens_only_if_asked(void **state)
{
    const char text[] = "<|endoftext|>";
    int32_t ids[64];
    size_t n;
    (void)state;
    assert_result(burble_llama_model_tokenize(model, text, strlen(text), true, ids, 64, &n),
                  BURBLE_OK);
    assert_int_equal(n, 1);
    assert_int_equal(ids[0], 0);
    assert_result(burble_llama_model_tokenize(model, text, strlen(text), false, ids, 64, &n),
                  BURBLE_OK);
    assert_true(n > 1);
}

/* Each with where its first byte is that is not UTF-8; llama.cpp would end the program. */
static const struct {
    const char *text;
    size_t at;
    const char *found;
} broken[] = {
    {"\xF4\x90\x80\x80", 0, "expected UTF-8, found byte 0xf4 at 0"}, /* above U+10FFFF */
    {"\xF7\xBF\xBF\xBF", 0, "expected UTF-8, found byte 0xf7 at 0"},
    {"caf\xC3\xA9 \xED\xA0\x80", 6, "expected UTF-8, found byte 0xed at 6"}, /* half a pair */
    {"0123456789\xE2\x82", 10, "expected UTF-8, found byte 0xe2 at 10"},     /* incomplete */
    {"a\x80", 1, "expected UTF-8, found byte 0x80 at 1"},
};
enum { BROKEN = sizeof broken / sizeof broken[0] };

static void tokenize_invalid_utf8_is_refused(void **state)
{
    int32_t ids[64];
    size_t n = 7;
    (void)state;
    for (size_t i = 0; i < BROKEN; i++) {
        const char *text = broken[i].text;
        assert_result(burble_llama_model_tokenize(model, text, strlen(text), true, ids, 64, &n),
                      BURBLE_EINVAL);
        assert_int_equal(n, 0);
        if (broken[i].at > 0) {
            assert_result(burble_llama_model_tokenize(model, text, broken[i].at, true, ids, 64, &n),
                          BURBLE_OK);
        }
    }
}

/* ---- conversations ------------------------------------------------------------------------------- */

static void template_built_in_formats_prompt(void **state)
{
    const burble_llama_message messages[] = {{.role = "system", .content = "Be brief."},
                                             {.role = "user", .content = "Hello"}};
    burble_llama_conversation conversation;
    char text[256];
    size_t len;
    (void)state;
    burble_llama_conversation_init(&conversation);
    conversation.messages = messages;
    conversation.n = 2;
    conversation.template_name = "chatml";
    assert_result(
        burble_llama_model_apply_template(model, &conversation, text, sizeof text, &len, NULL),
        BURBLE_OK);
    text[len] = '\0';
    assert_string_equal(text, "<|im_start|>system\nBe brief.<|im_end|>\n"
                              "<|im_start|>user\nHello<|im_end|>\n"
                              "<|im_start|>assistant\n");
    const size_t whole = len;
    assert_result(
        burble_llama_model_apply_template(model, &conversation, text, whole - 1, &len, NULL),
        BURBLE_EFULL);
    assert_int_equal(len, whole);
    assert_result(burble_llama_model_apply_template(model, &conversation, NULL, 0, &len, NULL),
                  BURBLE_EFULL);
    conversation.answer = false;
    assert_result(burble_llama_model_apply_template(model, &conversation, text, whole, &len, NULL),
                  BURBLE_OK);
    assert_int_equal(len, whole - strlen("<|im_start|>assistant\n"));
}

static void template_missing_is_refused(void **state)
{
    const burble_llama_message message = {.role = "user", .content = "Hello"};
    const burble_llama_message nobody = {.role = NULL, .content = "Hello"};
    burble_llama_conversation conversation;
    burble_error error;
    size_t len;
    (void)state;
    burble_llama_conversation_init(&conversation);
    conversation.messages = &message;
    conversation.n = 1;
    assert_result(burble_llama_model_apply_template(model, &conversation, NULL, 0, &len, &error),
                  BURBLE_EUNSUPPORTED);
    assert_string_equal(error.message, "the model has no chat template");
    conversation.template_name = "no such template";
    assert_result(burble_llama_model_apply_template(model, &conversation, NULL, 0, &len, &error),
                  BURBLE_EUNSUPPORTED);
    assert_string_equal(error.message,
                        "expected a chat template that llama.cpp knows, found: no such template");
    conversation.template_name = "chatml";
    conversation.messages = &nobody;
    assert_result(burble_llama_model_apply_template(model, &conversation, NULL, 0, &len, &error),
                  BURBLE_EINVAL);
    assert_string_equal(error.message, "message 0: expected a role, found NULL");
    conversation.reserved[3] = 1;
    assert_int_equal(burble_llama_model_apply_template(model, &conversation, NULL, 0, &len, &error),
                     BURBLE_EINVAL);
}

static void template_of_invalid_utf8_is_refused(void **state)
{
    burble_llama_conversation conversation;
    burble_error error;
    size_t len = 7;
    (void)state;
    burble_llama_conversation_init(&conversation);
    conversation.n = 2;
    conversation.template_name = "chatml";
    for (size_t i = 0; i < BROKEN; i++) {
        char expected[100];
        const burble_llama_message by[] = {{.role = "user", .content = "Hello"},
                                           {.role = broken[i].text, .content = "Hello"}};
        conversation.messages = by;
        snprintf(expected, sizeof expected, "message 1: role: %s", broken[i].found);
        assert_result(
            burble_llama_model_apply_template(model, &conversation, NULL, 0, &len, &error),
            BURBLE_EINVAL);
        assert_int_equal(len, 0);
        assert_string_equal(error.message, expected);
        const burble_llama_message of[] = {{.role = "user", .content = "Hello"},
                                           {.role = "user", .content = broken[i].text}};
        conversation.messages = of;
        snprintf(expected, sizeof expected, "message 1: content: %s", broken[i].found);
        assert_result(
            burble_llama_model_apply_template(model, &conversation, NULL, 0, &len, &error),
            BURBLE_EINVAL);
        assert_string_equal(error.message, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_progress_rises_to_one),
        cmocka_unit_test(load_is_cancelled_by_progress_function),
        cmocka_unit_test(load_missing_file_error_names_it),
        cmocka_unit_test(load_broken_file_error_says_what_is_wrong),
        cmocka_unit_test(unknown_tokenizer_decodes_by_pieces_of_llama_cpp),
        cmocka_unit_test(model_is_freed_with_last_reference),
        cmocka_unit_test(tokenize_then_decode_gives_same_text),
        cmocka_unit_test(tokenize_into_small_buffer_reports_needed_size),
        cmocka_unit_test(tokenize_reads_special_tokens_only_if_asked),
        cmocka_unit_test(tokenize_invalid_utf8_is_refused),
        cmocka_unit_test(template_built_in_formats_prompt),
        cmocka_unit_test(template_missing_is_refused),
        cmocka_unit_test(template_of_invalid_utf8_is_refused),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
