/* SPDX-License-Identifier: MIT
 *
 * Loading from files: the format told by the content, what cannot be read, and large files.
 */
#define _POSIX_C_SOURCE 200809L

#include "load_support.h"

#include <errno.h>
#include <unistd.h>

/* A GGUF file whose first member has `filler` bytes. */
static void write_gguf(FILE *out, size_t filler)
{
    static struct bytes head;
    head.n = 0;
    put(&head, "GGUF\3\0\0\0", 8);
    put_little_endian(&head, 0, 8);
    put_little_endian(&head, 3, 8);
    put_little_endian(&head, 1, 8);
    put(&head, "x\x08\0\0\0", 5);
    put_little_endian(&head, filler, 8);
    assert_int_equal(fwrite(head.at, 1, head.n, out), head.n);
    for (size_t i = 0; i < filler; i++)
        assert_true(putc('x', out) != EOF);
    head.n = 0;
    put_little_endian(&head, 20, 8);
    put(&head, "tokenizer.ggml.model\x08\0\0\0", 24);
    put_little_endian(&head, 4, 8);
    put(&head, "gpt2", 4);
    put_little_endian(&head, 21, 8);
    put(&head, "tokenizer.ggml.tokens\x09\0\0\0\x08\0\0\0", 29);
    put_little_endian(&head, 1, 8);
    put_little_endian(&head, 2, 8);
    put(&head, "hi", 2);
    assert_int_equal(fwrite(head.at, 1, head.n, out), head.n);
}

struct file {
    char name[64];
    FILE *out;
};

static struct file make_file(void)
{
    struct file file = {.name = "/tmp/burble-load-XXXXXX"};
    const int fd = mkstemp(file.name);
    assert_true(fd >= 0);
    file.out = fdopen(fd, "wb");
    assert_non_null(file.out);
    return file;
}

static void format_is_detected_by_content(void **state)
{
    static const char *const ranks[] = {"YQ== 0\n", "YQ== 0", "YQ== 0\r\nYg== 1\r\n"};
    (void)state;
    for (size_t i = 0; i < COUNT(ranks); i++) {
        burble_vocab *vocab = parse(ranks[i], strlen(ranks[i]), BURBLE_VOCAB_AUTO);
        ASSERT_TEXT(vocab, false, "a", 0);
        burble_vocab_unref(&vocab);
    }
    static const char pieces[] = "\x0A\x07\x0A\x03<u>\x18\x02";
    burble_vocab *vocab = parse(pieces, sizeof pieces - 1, BURBLE_VOCAB_AUTO);
    assert_int_equal(burble_vocab_size(vocab), 1);
    burble_vocab_unref(&vocab);
}

static void format_unknown_error_shows_first_bytes(void **state)
{
    static const char *const none[] = {"", "hello", "YQ==", "YQ== x", "a b c", "\n\n\n", "\x0A"};
    (void)state;
    for (size_t i = 0; i < COUNT(none); i++) {
        burble_vocab *vocab;
        burble_error error;
        assert_result(
            burble_vocab_parse(none[i], strlen(none[i]), BURBLE_VOCAB_AUTO, "file", &vocab, &error),
            BURBLE_EFORMAT);
    }
    assert_refused("hel\xFFlo", 6, BURBLE_VOCAB_AUTO, BURBLE_EFORMAT,
                   "expected tokenizer.json, GGUF, tiktoken ranks, a SentencePiece model or Tekken "
                   "JSON, found a file of 6 bytes that begins with \"hel\\xFFlo\"");
}

static void format_option_unknown_is_refused(void **state)
{
    (void)state;
    assert_refused("", 0, (burble_vocab_format)77, BURBLE_EINVAL,
                   "expected a format from 0 to 5, found 77");
    burble_vocab *vocab;
    assert_result(burble_vocab_load("/nowhere", (burble_vocab_format)77, &vocab, NULL),
                  BURBLE_EINVAL);
}

static void file_that_cannot_be_read_is_a_system_error(void **state)
{
    (void)state;
    burble_vocab *vocab;
    burble_error error;
    errno = 0;
    assert_result(burble_vocab_load("/nowhere/at/all", BURBLE_VOCAB_AUTO, &vocab, &error),
                  BURBLE_ESYSTEM);
    assert_int_equal(errno, ENOENT);
    assert_null(vocab);
    assert_string_equal(error.message, "/nowhere/at/all: No such file or directory");
    errno = 0;
    assert_result(burble_vocab_load("/", BURBLE_VOCAB_AUTO, &vocab, &error), BURBLE_ESYSTEM);
    assert_int_equal(errno, EISDIR);
    assert_result(burble_vocab_load("/", BURBLE_VOCAB_AUTO, &vocab, NULL), BURBLE_ESYSTEM);
}

static void long_file_name_in_message_leaves_room_for_error(void **state)
{
    char name[1024];
    (void)state;
    for (size_t i = 0; i + 3 < sizeof name; i += 3)
        memcpy(name + i, "▁", 4);
    burble_vocab *vocab;
    burble_error error;
    assert_result(burble_vocab_parse("YQ== 0\n?\n", 9, BURBLE_VOCAB_TIKTOKEN, name, &vocab, &error),
                  BURBLE_EFORMAT);
    assert_non_null(strstr(error.message, "line 2: expected Base64"));
    assert_true(burble__utf8_valid(error.message, strlen(error.message)));
}

static void invalid_utf8_file_name_gives_valid_utf8_message(void **state)
{
    burble_vocab *vocab;
    burble_error error;
    (void)state;
    assert_result(burble_vocab_load("/nowhere/caf\xE9", BURBLE_VOCAB_AUTO, &vocab, &error),
                  BURBLE_ESYSTEM);
    assert_string_equal(error.message, "/nowhere/caf?: No such file or directory");
}

static void endless_source_is_refused(void **state)
{
    (void)state;
    burble_vocab *vocab;
    burble_error error;
    if (access("/dev/zero", R_OK) != 0)
        skip();
    assert_result(burble_vocab_load("/dev/zero", BURBLE_VOCAB_AUTO, &vocab, &error),
                  BURBLE_EFORMAT);
    assert_null(vocab);
    assert_string_equal(error.message,
                        "/dev/zero: expected a vocabulary in the first 256 MiB, found more");
}

static void gguf_metadata_longer_than_first_read_is_loaded(void **state)
{
    static const size_t fillers[] = {0, (1 << 20) - 150, (1 << 20) - 100, (1 << 20) - 60, 5 << 20};
    (void)state;
    for (size_t i = 0; i < COUNT(fillers); i++) {
        struct file file = make_file();
        write_gguf(file.out, fillers[i]);
        fclose(file.out);
        burble_vocab *vocab;
        burble_error error = {.message = ""};
        const int result = burble_vocab_load(file.name, BURBLE_VOCAB_AUTO, &vocab, &error);
        unlink(file.name);
        assert_string_equal(error.message, "");
        assert_result(result, BURBLE_OK);
        ASSERT_TEXT(vocab, false, "hi", 0);
        burble_vocab_unref(&vocab);
    }
}

/* It is sparse: only its beginning takes room on the disk. */
static void gguf_tensors_are_not_read(void **state)
{
    (void)state;
    struct file file = make_file();
    write_gguf(file.out, 10);
    fclose(file.out);
    if (truncate(file.name, (off_t)10 << 30) != 0) {
        unlink(file.name);
        skip();
    }
    burble_vocab *vocab;
    const int result = burble_vocab_load(file.name, BURBLE_VOCAB_AUTO, &vocab, NULL);
    burble_vocab *other;
    burble_error error;
    const int refused = burble_vocab_load(file.name, BURBLE_VOCAB_TIKTOKEN, &other, &error);
    unlink(file.name);
    assert_result(result, BURBLE_OK);
    burble_vocab_unref(&vocab);
    assert_result(refused, BURBLE_EFORMAT);
    assert_non_null(strstr(error.message, "expected a file of at most 256 MiB, found 10737418240"));
}

/* A small piece of JSON takes much memory. */
static void json_file_above_bound_is_refused_unread(void **state)
{
    static const char begun[] = "{\"model\":";
    const size_t size = ((size_t)128 << 20) + 1;
    struct file file = make_file();
    burble_vocab *vocab;
    burble_error error;
    (void)state;
    fputs(begun, file.out);
    fclose(file.out);
    const bool large = truncate(file.name, (off_t)size) == 0;
    const int result = burble_vocab_load(file.name, BURBLE_VOCAB_AUTO, &vocab, &error);
    unlink(file.name);
    if (!large)
        skip();
    assert_result(result, BURBLE_EFORMAT);
    assert_non_null(
        strstr(error.message, ": expected a file of at most 128 MiB, found 134217729 "));

    char *bytes = calloc(1, size);
    assert_non_null(bytes);
    memcpy(bytes, begun, sizeof begun);
    for (int format = 0; format < 2; format++) {
        assert_refused(bytes, size, format == 0 ? BURBLE_VOCAB_HF_JSON : BURBLE_VOCAB_TEKKEN,
                       BURBLE_EFORMAT, "expected a file of at most 128 MiB, found 134217729 bytes");
    }
    free(bytes);
}

static void file_of_several_reads_is_loaded_whole(void **state)
{
    enum { TOKENS = 200000 };
    (void)state;
    struct file file = make_file();
    for (unsigned i = 0; i < TOKENS; i++)
        fprintf(file.out, "YWJj %u\n", i);
    fclose(file.out);
    burble_vocab *vocab;
    burble_error error = {.message = ""};
    const int result = burble_vocab_load(file.name, BURBLE_VOCAB_AUTO, &vocab, &error);
    unlink(file.name);
    assert_string_equal(error.message, "");
    assert_result(result, BURBLE_OK);
    assert_int_equal(burble_vocab_size(vocab), TOKENS);
    ASSERT_TEXT(vocab, false, "abcabc", 0, TOKENS - 1);
    burble_vocab_unref(&vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_is_detected_by_content),
        cmocka_unit_test(format_unknown_error_shows_first_bytes),
        cmocka_unit_test(format_option_unknown_is_refused),
        cmocka_unit_test(file_that_cannot_be_read_is_a_system_error),
        cmocka_unit_test(long_file_name_in_message_leaves_room_for_error),
        cmocka_unit_test(invalid_utf8_file_name_gives_valid_utf8_message),
        cmocka_unit_test(endless_source_is_refused),
        cmocka_unit_test(gguf_metadata_longer_than_first_read_is_loaded),
        cmocka_unit_test(json_file_above_bound_is_refused_unread),
        cmocka_unit_test(gguf_tensors_are_not_read),
        cmocka_unit_test(file_of_several_reads_is_loaded_whole),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
