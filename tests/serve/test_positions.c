/* SPDX-License-Identifier: MIT
 *
 * Names of streams, and positions.
 */
#include "protocol.h"

#include "serve/position.h"

static void test_names_are_random_and_read_back(void **state)
{
    (void)state;
    struct burble__stream_id a, b, read;
    assert_int_equal(burble__stream_id_create(&a), BURBLE_OK);
    assert_int_equal(burble__stream_id_create(&b), BURBLE_OK);
    assert_true(strcmp(a.hex, b.hex) != 0);
    assert_int_equal(strlen(a.hex), BURBLE__STREAM_ID_LEN);
    assert_true(burble__stream_id_parse(a.hex, BURBLE__STREAM_ID_LEN, &read));
    assert_string_equal(read.hex, a.hex);
}

static void test_only_names_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {HEX, true},
        {"chatcmpl-" HEX, true},
        {"cmpl-" HEX, true},
        {"chatcmpl-cmpl-" HEX, false},
        {"cmpl-chatcmpl-" HEX, false},
        {"", false},
        {"chatcmpl-", false},
        {"0123456789abcdef0123456789abcde", false},
        {HEX "0", false},
        {"0123456789ABCDEF0123456789abcdef", false},
        {"0123456789abcdeg0123456789abcdef", false},
        {"0123456789abcde/0123456789abcdef", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__stream_id id;
        assert_int_equal(burble__stream_id_parse(cases[i].text, strlen(cases[i].text), &id),
                         cases[i].ok);
        if (cases[i].ok)
            assert_string_equal(id.hex, HEX);
    }
    struct burble__stream_id id;
    assert_false(burble__stream_id_parse("0123456789abcde\0" HEX, 32, &id));
}

static void test_random_hex_of_many_bytes(void **state)
{
    (void)state;
    char hex[2 * 200 + 1];
    assert_int_equal(burble__random_hex(hex, 200), BURBLE_OK);
    assert_int_equal(strspn(hex, "0123456789abcdef"), 400);
}

static void test_positions_read_back_and_sort(void **state)
{
    (void)state;
    static const struct {
        uint64_t seq;
        uint32_t hash;
        const char *text;
    } cases[] = {
        {0, 0, HEX ":000000000000_00000000"},
        {42, 0x89abcdef, HEX ":000000000042_89abcdef"},
        {BURBLE__POSITION_SEQ_END - 1, UINT32_MAX, HEX ":999999999999_ffffffff"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__position position = {{HEX}, cases[i].seq, cases[i].hash}, read;
        char text[BURBLE__POSITION_LEN];
        burble__position_write(&position, text);
        assert_memory_equal(text, cases[i].text, BURBLE__POSITION_LEN);
        assert_true(burble__position_parse(text, sizeof text, &read));
        assert_string_equal(read.stream.hex, HEX);
        assert_true(read.seq == cases[i].seq);
        assert_int_equal(read.hash, cases[i].hash);
    }
}

static void test_other_than_positions_is_refused(void **state)
{
    (void)state;
    static const char whole[] = HEX ":000000000042_89abcdef";
    struct burble__position position;
    for (size_t len = 0; len < BURBLE__POSITION_LEN; len++)
        assert_false(burble__position_parse(whole, len, &position));
    assert_false(burble__position_parse(whole, sizeof whole, &position));
    for (size_t i = 0; i < BURBLE__POSITION_LEN; i++)
        for (unsigned c = 0; c < 256; c++) {
            char text[sizeof whole], back[BURBLE__POSITION_LEN];
            memcpy(text, whole, sizeof whole);
            text[i] = (char)c;
            /* What is read is written in the same way: there is one form. */
            if (burble__position_parse(text, BURBLE__POSITION_LEN, &position)) {
                burble__position_write(&position, back);
                assert_memory_equal(back, text, BURBLE__POSITION_LEN);
            } else {
                assert_true(text[i] != whole[i]);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_random_and_read_back),
        cmocka_unit_test(test_only_names_are_read),
        cmocka_unit_test(test_random_hex_of_many_bytes),
        cmocka_unit_test(test_positions_read_back_and_sort),
        cmocka_unit_test(test_other_than_positions_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
