/* SPDX-License-Identifier: MIT
 *
 * Frames: what is written is read back, and what is no frame is refused.
 */
#include "support.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <burble/frame.h>

#define TEXT(literal) ((burble_text){(literal), sizeof(literal) - 1})

static void assert_text(burble_text found, burble_text expected)
{
    assert_int_equal(found.len, expected.len);
    assert_memory_equal(found.bytes, expected.bytes, expected.len);
}

/* Writes a frame, with every capacity below what it needs, too, and reads it back. */
static void write_and_read(const burble_frame *frame, char *bytes, size_t capacity, size_t *len,
                           burble_frame *read)
{
    *len = burble_frame_write(frame, NULL, 0);
    assert_true(*len <= capacity);
    for (size_t room = 0; room <= *len; room++) {
        char *exact = malloc(room + 1); /* so that ASan sees a byte too many */
        assert_non_null(exact);
        assert_int_equal(burble_frame_write(frame, exact, room), *len);
        if (room == *len)
            memcpy(bytes, exact, room);
        free(exact);
    }
    assert_int_equal(burble_frame_read(bytes, *len, read), BURBLE_OK);
    assert_int_equal(read->kind, frame->kind);
    assert_int_equal(read->choice, frame->choice);
}

static void test_begin_reads_back(void **state)
{
    (void)state;
    burble_frame frame = {.kind = BURBLE_FRAME_BEGIN}, read;
    frame.u.begin.id = TEXT("chatcmpl-0");
    frame.u.begin.model = TEXT("m\xc3\xbc");
    frame.u.begin.created = 1790000000;
    frame.u.begin.version = BURBLE_FRAME_VERSION;
    frame.u.begin.route = 2;
    frame.u.begin.flags = UINT64_MAX;
    char bytes[64];
    size_t len;
    write_and_read(&frame, bytes, sizeof bytes, &len, &read);
    assert_text(read.u.begin.id, frame.u.begin.id);
    assert_text(read.u.begin.model, frame.u.begin.model);
    assert_true(read.u.begin.created == frame.u.begin.created);
    assert_int_equal(read.u.begin.route, 2);
    assert_true(read.u.begin.flags == UINT64_MAX);
    /* What a later minor version adds at its end is ignored. */
    bytes[len] = 77;
    assert_int_equal(burble_frame_read(bytes, len + 1, &read), BURBLE_OK);
}

static void test_begin_of_a_later_version_is_unsupported(void **state)
{
    (void)state;
    burble_frame read;
    const char later[] = {BURBLE_FRAME_BEGIN, BURBLE_FRAME_VERSION + 1, 0};
    assert_int_equal(burble_frame_read(later, sizeof later, &read), BURBLE_EUNSUPPORTED);
}

static void test_text_with_ids_and_logprobs_reads_back(void **state)
{
    (void)state;
    const int32_t ids[] = {0, 127, 128, 50256, INT32_MAX};
    char id_bytes[25], logprobs[64];
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT, .choice = 127}, read;
    frame.u.text.n_ids = 5;
    frame.u.text.ids.bytes = id_bytes;
    frame.u.text.ids.len = burble_frame_write_ids(ids, 5, id_bytes, sizeof id_bytes);
    const burble_logprob token = {50256, -0.25f, TEXT(" the"), 2};
    const burble_logprob tops[] = {{50256, -0.25f, TEXT(" the"), 0}, {-1, -1e30f, TEXT("\xff"), 0}};
    size_t n = burble_logprob_write(&token, false, logprobs, sizeof logprobs);
    for (int i = 0; i < 2; i++)
        n += burble_logprob_write(&tops[i], true, logprobs + n, sizeof logprobs - n);
    frame.u.text.logprobs = (burble_text){logprobs, n};
    frame.u.text.text = TEXT(" the\n");

    char bytes[128];
    size_t len;
    write_and_read(&frame, bytes, sizeof bytes, &len, &read);
    assert_text(read.u.text.text, frame.u.text.text);
    assert_int_equal(read.u.text.n_ids, 5);
    int32_t found[5];
    burble_frame_ids(&read, found);
    assert_memory_equal(found, ids, sizeof ids);
    burble_text rest = read.u.text.logprobs;
    burble_logprob entry;
    assert_true(burble_logprob_read(&rest, false, &entry));
    assert_int_equal(entry.id, 50256);
    assert_true(entry.logprob == -0.25f);
    assert_int_equal(entry.n_top, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(burble_logprob_read(&rest, true, &entry));
        assert_int_equal(entry.id, tops[i].id);
        assert_true(entry.logprob == tops[i].logprob);
        assert_text(entry.text, tops[i].text);
    }
    assert_false(burble_logprob_read(&rest, false, &entry));
}

static void test_finish_and_usage_read_back(void **state)
{
    (void)state;
    char id_bytes[5], bytes[128];
    const int32_t id = 2;
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH, .choice = 3}, read;
    frame.u.text.reason = BURBLE_FRAME_STOP;
    frame.u.text.n_ids = 1;
    frame.u.text.ids = (burble_text){id_bytes, burble_frame_write_ids(&id, 1, id_bytes, 5)};
    frame.u.text.text = TEXT("\n\n");
    size_t len;
    write_and_read(&frame, bytes, sizeof bytes, &len, &read);
    assert_int_equal(read.u.text.reason, BURBLE_FRAME_STOP);
    assert_text(read.u.text.text, frame.u.text.text);
    assert_int_equal(read.u.text.n_ids, 1);

    burble_frame usage = {.kind = BURBLE_FRAME_USAGE};
    usage.u.usage.prompt = 12;
    usage.u.usage.reused = 11;
    usage.u.usage.completion = BURBLE_FRAME_MAX_NUMBER;
    usage.u.usage.answer_ns = 5;
    write_and_read(&usage, bytes, sizeof bytes, &len, &read);
    assert_true(read.u.usage.completion == BURBLE_FRAME_MAX_NUMBER);
    assert_int_equal(read.u.usage.reused, 11);
    assert_int_equal(read.u.usage.answer_ns, 5);

    usage.u.usage.completion++; /* and the sum of two might be more than JSON's readers take */
    len = burble_frame_write(&usage, bytes, sizeof bytes);
    assert_int_equal(burble_frame_read(bytes, len, &read), BURBLE_EFORMAT);
}

static void test_what_is_no_frame_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        int expected;
    } cases[] = {
        {"", 0, BURBLE_EFORMAT},
        {"\0", 1, BURBLE_EFORMAT},
        {"\x63", 1, BURBLE_EUNSUPPORTED},
        {"\2", 1, BURBLE_EFORMAT},                          /* no choice */
        {"\2\0\0", 3, BURBLE_EFORMAT},                      /* no length of log-probabilities */
        {"\2\x80\1\0\0", 5, BURBLE_EFORMAT},                /* choice 128 */
        {"\2\0\3\1\1\0", 6, BURBLE_EFORMAT},                /* fewer ids than it says */
        {"\2\0\1\x80\x80\x80\x80\x8\0", 9, BURBLE_EFORMAT}, /* an id of 2^31 */
        {"\2\0\0\5a", 5, BURBLE_EFORMAT},                   /* log-probabilities beyond its end */
        {"\2\0\0\1\0", 5, BURBLE_EFORMAT},                  /* an entry without its number */
        {"\2\0\0\7\1\0\0\0\0\0\1", 11, BURBLE_EFORMAT},     /* an alternative is missing */
        {"\3\0\0\0", 4, BURBLE_EFORMAT},                    /* reason 0 */
        {"\1\1\1\0\0\0\1m", 8, BURBLE_EFORMAT},             /* an empty id */
        {"\4\0\0\0\0\0", 6, BURBLE_EFORMAT},                /* five counts */
        {"\4\xff\xff\xff\xff\xff\xff\xff\xff\xff\2\0\0\0\0\0", 16, BURBLE_EFORMAT}, /* 65 bits */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *exact = malloc(cases[i].len + 1);
        burble_frame frame;
        assert_non_null(exact);
        memcpy(exact, cases[i].bytes, cases[i].len);
        assert_int_equal(burble_frame_read(exact, cases[i].len, &frame), cases[i].expected);
        free(exact);
    }
}

static void test_hash_tells_frames_with_other_borders_apart(void **state)
{
    (void)state;
    const uint32_t one = burble_frame_hash(burble_frame_hash(BURBLE_FRAME_HASH, "ab", 2), "c", 1);
    const uint32_t other = burble_frame_hash(burble_frame_hash(BURBLE_FRAME_HASH, "a", 1), "bc", 2);
    assert_true(one != other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin_reads_back),
        cmocka_unit_test(test_begin_of_a_later_version_is_unsupported),
        cmocka_unit_test(test_text_with_ids_and_logprobs_reads_back),
        cmocka_unit_test(test_finish_and_usage_read_back),
        cmocka_unit_test(test_what_is_no_frame_is_refused),
        cmocka_unit_test(test_hash_tells_frames_with_other_borders_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
