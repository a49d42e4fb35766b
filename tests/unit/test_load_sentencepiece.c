/* SPDX-License-Identifier: MIT
 *
 * SentencePiece models. What is expected was had from the sentencepiece library, version 0.2.3.
 */
#include "load_support.h"

#define FORMAT BURBLE_VOCAB_SENTENCEPIECE

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, BYTE = 6 };

static struct bytes file;

/* Fields whose tag and length take a byte each (or two, for a tag). */
static void put_bytes(struct bytes *out, unsigned field, const void *bytes, size_t n)
{
    const unsigned tag = field << 3 | 2;
    assert_true(n < 0x80);
    if (tag >= 0x80)
        put_little_endian(out, (tag & 0x7F) | 0x80 | tag >> 7 << 8, 2);
    else
        put_little_endian(out, tag, 1);
    put_little_endian(out, n, 1);
    put(out, bytes, n);
}

static void put_number(struct bytes *out, unsigned field, unsigned value)
{
    const unsigned tag = field << 3;
    if (tag >= 0x80)
        put_little_endian(out, (tag & 0x7F) | 0x80 | tag >> 7 << 8, 2);
    else
        put_little_endian(out, tag, 1);
    put_little_endian(out, value, 1);
}

static void put_piece(const char *text, unsigned kind)
{
    static struct bytes piece;
    piece.n = 0;
    put_bytes(&piece, 1, text, strlen(text));
    put(&piece, "\x15\0\0\0\0", 5); /* its score */
    put_number(&piece, 3, kind);
    put_bytes(&file, 1, piece.at, piece.n);
}

/* 0 <unk>, 1 <s>, 2 ▁a, 3 b▁c, 4 ▁▁x, 5 ▁, then bytes: 6 E4, 7 B8, 8 AD, 9 20 */
static void make(unsigned dummy_prefix, unsigned extra_spaces)
{
    static struct bytes spec;
    file.n = 0;
    put_piece("<unk>", UNKNOWN);
    put_piece("<s>", CONTROL);
    put_piece("▁a", NORMAL);
    put_piece("b▁c", NORMAL);
    put_piece("▁▁x", USER_DEFINED);
    put_piece("▁", NORMAL);
    put_piece("<0xE4>", BYTE);
    put_piece("<0xB8>", BYTE);
    put_piece("<0xAD>", BYTE);
    put_piece("<0x20>", BYTE);
    spec.n = 0;
    put_number(&spec, 35, 1);
    put_bytes(&file, 2, spec.at, spec.n);
    spec.n = 0;
    put_number(&spec, 3, dummy_prefix);
    put_number(&spec, 4, extra_spaces);
    put_bytes(&file, 3, spec.at, spec.n);
}

static burble_vocab *load(void)
{
    return parse(file.at, file.n, FORMAT);
}

static void refused(int code, const char *message)
{
    assert_refused(file.at, file.n, FORMAT, code, message);
}

static void byte_pieces_join_and_spaces_are_decoded(void **state)
{
    (void)state;
    make(1, 0);
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, false, "ab c中 a", 2, 3, 6, 7, 8, 2);
    ASSERT_TEXT(vocab, false, "a\xEF\xBF\xBD\xEF\xBF\xBD a", 2, 6, 7, 2);
    burble_vocab_unref(&vocab);
}

static void dummy_prefix_is_removed_once(void **state)
{
    (void)state;
    make(1, 0);
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, false, " a", 5, 2);
    ASSERT_TEXT(vocab, false, "a", 1, 2);
    ASSERT_TEXT(vocab, false, " x", 4);
    ASSERT_TEXT(vocab, false, "  a", 9, 2);
    ASSERT_TEXT(vocab, false, " ⁇  a", 0, 2);
    burble_vocab_unref(&vocab);
}

static void extra_spaces_are_removed_once_per_piece(void **state)
{
    (void)state;
    make(0, 1);
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, false, "a", 5, 5, 2);
    ASSERT_TEXT(vocab, false, " x", 5, 4);
    ASSERT_TEXT(vocab, false, " ⁇ ", 5, 0);
    burble_vocab_unref(&vocab);
}

static void spaces_without_prefix_rules_are_kept(void **state)
{
    (void)state;
    make(0, 0);
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, false, "  a  x", 5, 2, 4);
    burble_vocab_unref(&vocab);
}

static void control_piece_is_empty_and_splits_characters(void **state)
{
    (void)state;
    make(1, 1);
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, false, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 6, 1, 7, 8);
    ASSERT_TEXT(vocab, true, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 6, 1, 7, 8);
    burble_vocab_unref(&vocab);
}

static void unknown_piece_is_its_surface(void **state)
{
    (void)state;
    make(1, 1);
    put_bytes(&file, 2, "\xE2\x02\x03 ? \x98\x02\x01", 9);
    burble_vocab *vocab = load();
    ASSERT_TEXT(vocab, true, "a ? ", 2, 0);
    burble_vocab_unref(&vocab);
}

static void error_names_byte_offset(void **state)
{
    (void)state;
    file.n = 0;
    refused(BURBLE_EFORMAT, "expected pieces, one of them unknown, found 0, none unknown");
    put(&file, "\x0A\x05\x0A", 3);
    refused(BURBLE_EFORMAT,
            "byte 2: expected 5 bytes of a field, found 1 before the end of the message");
    file.n = 0;
    put(&file, "\x0B", 1);
    refused(BURBLE_EFORMAT, "byte 0: expected a field's number and wire type, found 1 and 3");
    file.n = 0;
    put(&file, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 11);
    refused(BURBLE_EFORMAT, "byte 0: expected a varint, found one of more than 10 bytes");
    file.n = 0;
    put(&file, "\x08\x01", 2);
    refused(BURBLE_EFORMAT, "byte 2: expected wire type 2 in field 1, found 0");
    file.n = 0;
    put_piece("a", 9);
    refused(BURBLE_EFORMAT, "byte 2: expected a type from 1 to 6 in piece 0, found 9");
    file.n = 0;
    put_piece("a", BYTE);
    refused(BURBLE_EFORMAT, "byte 2: expected <0x00> to <0xFF>, as piece 0 is a byte, found \"a\"");
    make(1, 1);
    put_piece("u", UNKNOWN);
    refused(BURBLE_EFORMAT, "byte 174: expected one unknown piece, found 0 and 10");
    file.n = 0;
    put_piece("u", UNKNOWN);
    put_piece("<0xAB>", BYTE);
    refused(BURBLE_EFORMAT, "piece 1: expected no bytes, as byte_fallback is off, found one");
}

static void unsupported_field_is_named(void **state)
{
    (void)state;
    make(1, 1);
    put_piece("<0xe4>", NORMAL);
    refused(BURBLE_EUNSUPPORTED, "piece 10: a piece that is spelled like a byte, but is none");
    make(1, 1);
    put_bytes(&file, 5, "\x12\x01x", 3);
    refused(BURBLE_EUNSUPPORTED, "byte 176: a model with a denormalizer");
}

static void damaged_file_is_refused_or_loaded(void **state)
{
    (void)state;
    make(1, 0);
    assert_survives(file.at, file.n, FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_pieces_join_and_spaces_are_decoded),
        cmocka_unit_test(dummy_prefix_is_removed_once),
        cmocka_unit_test(extra_spaces_are_removed_once_per_piece),
        cmocka_unit_test(spaces_without_prefix_rules_are_kept),
        cmocka_unit_test(control_piece_is_empty_and_splits_characters),
        cmocka_unit_test(unknown_piece_is_its_surface),
        cmocka_unit_test(error_names_byte_offset),
        cmocka_unit_test(unsupported_field_is_named),
        cmocka_unit_test(damaged_file_is_refused_or_loaded),
    };
    return cmocka_run_group_tests_name("load_sentencepiece", tests, NULL, NULL);
}
