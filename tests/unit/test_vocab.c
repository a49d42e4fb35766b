/* SPDX-License-Identifier: MIT
 *
 * Vocabularies: what each token is compiled to, and what is refused.
 */
#include "support.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "text/vocab.h"

static burble_token token(const char *text)
{
    return (burble_token){.text = text, .len = (uint32_t)strlen(text)};
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* The two families that most models are of. */
enum decoder { BYTE_LEVEL, BYTE_FALLBACK };

static burble_vocab_options options_of(enum decoder decoder)
{
    static const burble_step byte_level = {.kind = BURBLE_STEP_BYTE_LEVEL};
    static const burble_step byte_fallback[] = {
        {.kind = BURBLE_STEP_REPLACE, .text = "▁", .with = " "},
        {.kind = BURBLE_STEP_BYTE_FALLBACK},
        {.kind = BURBLE_STEP_FUSE},
    };
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    options.steps = decoder == BYTE_LEVEL ? &byte_level : byte_fallback;
    options.n_steps = decoder == BYTE_LEVEL ? 1 : COUNT(byte_fallback);
    return options;
}

static burble_vocab *create_at(struct place at, enum decoder decoder, const burble_token *tokens,
                               size_t n)
{
    const burble_vocab_options options = options_of(decoder);
    burble_vocab *vocab;
    assert_result_at(at, burble_vocab_create(&options, tokens, n, &vocab, NULL), BURBLE_OK);
    assert_int_equal_at(at, burble_vocab_size(vocab), n);
    return vocab;
}
#define create(...) create_at(HERE, __VA_ARGS__)

static void assert_piece_at(struct place at, const burble_vocab *vocab, uint32_t id,
                            const char *bytes, size_t len, unsigned flags)
{
    const burble__piece piece = burble__vocab_piece(vocab, id);
    assert_int_equal_at(at, piece & ((1u << BURBLE__PIECE_LEN_SHIFT) - 1), flags);
    assert_int_equal_at(at, burble__piece_len(piece), len);
    if (len > 0)
        assert_memory_equal_at(at, burble__piece_bytes(vocab, piece), bytes, len);
}
#define assert_piece(...) assert_piece_at(HERE, __VA_ARGS__)

/* A vocabulary of this one token compiles it to these bytes. */
static void assert_compiles_at(struct place at, enum decoder decoder, const char *text,
                               const char *bytes, size_t len, unsigned flags)
{
    const burble_token one = token(text);
    burble_vocab *vocab = create_at(at, decoder, &one, 1);
    assert_piece_at(at, vocab, 0, bytes, len, flags);
    burble_vocab_unref(&vocab);
}
#define assert_compiles(...) assert_compiles_at(HERE, __VA_ARGS__)

static void options_default_to_no_steps_and_no_separator(void **state)
{
    (void)state;
    burble_vocab_options options;
    memset(&options, 0xFF, sizeof options);
    burble_vocab_options_init(&options);
    assert_null(options.steps);
    assert_int_equal(options.n_steps, 0);
    assert_null(options.join);
}

/* ---- byte-level ------------------------------------------------------------------------------ */

/* GPT-2's alphabet, byte by byte, as its authors' table prints it. */
static const char *const spelled[256] = {
    "Ā", "ā", "Ă",  "ă", "Ą", "ą", "Ć", "ć", "Ĉ", "ĉ", "Ċ", "ċ", "Č",  "č", "Ď", "ď", /* 00 */
    "Đ", "đ", "Ē",  "ē", "Ĕ", "ĕ", "Ė", "ė", "Ę", "ę", "Ě", "ě", "Ĝ",  "ĝ", "Ğ", "ğ", /* 10 */
    "Ġ", "!", "\"", "#", "$", "%", "&", "'", "(", ")", "*", "+", ",",  "-", ".", "/", /* 20 */
    "0", "1", "2",  "3", "4", "5", "6", "7", "8", "9", ":", ";", "<",  "=", ">", "?", /* 30 */
    "@", "A", "B",  "C", "D", "E", "F", "G", "H", "I", "J", "K", "L",  "M", "N", "O", /* 40 */
    "P", "Q", "R",  "S", "T", "U", "V", "W", "X", "Y", "Z", "[", "\\", "]", "^", "_", /* 50 */
    "`", "a", "b",  "c", "d", "e", "f", "g", "h", "i", "j", "k", "l",  "m", "n", "o", /* 60 */
    "p", "q", "r",  "s", "t", "u", "v", "w", "x", "y", "z", "{", "|",  "}", "~", "ġ", /* 70 */
    "Ģ", "ģ", "Ĥ",  "ĥ", "Ħ", "ħ", "Ĩ", "ĩ", "Ī", "ī", "Ĭ", "ĭ", "Į",  "į", "İ", "ı", /* 80 */
    "Ĳ", "ĳ", "Ĵ",  "ĵ", "Ķ", "ķ", "ĸ", "Ĺ", "ĺ", "Ļ", "ļ", "Ľ", "ľ",  "Ŀ", "ŀ", "Ł", /* 90 */
    "ł", "¡", "¢",  "£", "¤", "¥", "¦", "§", "¨", "©", "ª", "«", "¬",  "Ń", "®", "¯", /* A0 */
    "°", "±", "²",  "³", "´", "µ", "¶", "·", "¸", "¹", "º", "»", "¼",  "½", "¾", "¿", /* B0 */
    "À", "Á", "Â",  "Ã", "Ä", "Å", "Æ", "Ç", "È", "É", "Ê", "Ë", "Ì",  "Í", "Î", "Ï", /* C0 */
    "Ð", "Ñ", "Ò",  "Ó", "Ô", "Õ", "Ö", "×", "Ø", "Ù", "Ú", "Û", "Ü",  "Ý", "Þ", "ß", /* D0 */
    "à", "á", "â",  "ã", "ä", "å", "æ", "ç", "è", "é", "ê", "ë", "ì",  "í", "î", "ï", /* E0 */
    "ð", "ñ", "ò",  "ó", "ô", "õ", "ö", "÷", "ø", "ù", "ú", "û", "ü",  "ý", "þ", "ÿ", /* F0 */
};

static void byte_level_alphabet_covers_every_byte(void **state)
{
    (void)state;
    burble_token tokens[256];
    for (unsigned byte = 0; byte < 256; byte++)
        tokens[byte] = token(spelled[byte]);
    burble_vocab *vocab = create(BYTE_LEVEL, tokens, 256);
    for (unsigned byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        assert_piece(vocab, byte, &c, 1, byte < 0x80 ? BURBLE__PIECE_TEXT : 0);
    }
    burble_vocab_unref(&vocab);
}

static void byte_level_token_outside_alphabet_is_its_own_bytes(void **state)
{
    (void)state;
    /* The characters next to the alphabet on every side, and longer ones. */
    static const char *const outside[] = {"\x01", " ",   "\x7F", "\xC2\x80", "\xC2\xA0", "\xC2\xAD",
                                          "ń",    "ƀ",   "ſ",    "日",       "😀",       "x y",
                                          "Ġ日",  "日Ġ", "ĠĠń",  "abc ",     "ŅĠ"};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
        assert_compiles(BYTE_LEVEL, outside[i], outside[i], strlen(outside[i]), BURBLE__PIECE_TEXT);
}

static void byte_level_token_of_whole_characters_is_text(void **state)
{
    (void)state;
    const enum decoder decoder = BYTE_LEVEL;
    assert_compiles(decoder, "Ġhello", " hello", 6, BURBLE__PIECE_TEXT);
    assert_compiles(decoder, "ä¸Ń", "中", 3, BURBLE__PIECE_TEXT);
    assert_compiles(decoder, "Ġä¸", " \xE4\xB8", 3, 0);
    assert_compiles(decoder, "Ńa",
                    "\xAD"
                    "a",
                    2, 0);
    assert_compiles(decoder, "é", "\xE9", 1, 0);
}

static void byte_level_empty_token_splits_no_character(void **state)
{
    (void)state;
    assert_compiles(BYTE_LEVEL, "", "", 0, 0);
}

/* ---- byte fallback --------------------------------------------------------------------------- */

static void byte_fallback_token_is_its_byte(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        const unsigned flags = byte < 0x80 ? BURBLE__PIECE_TEXT : 0;
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        assert_compiles(BYTE_FALLBACK, text, &c, 1, flags);
        snprintf(text, sizeof text, "<0x%02x>", byte);
        assert_compiles(BYTE_FALLBACK, text, &c, 1, flags);
    }
    /* What Rust's from_str_radix reads, too. */
    assert_compiles(BYTE_FALLBACK, "<0x+A>", "\n", 1, BURBLE__PIECE_TEXT);
}

static void byte_fallback_lookalike_is_text(void **state)
{
    (void)state;
    static const char *const others[] = {"<0x4>",   "<0x041>", "<0x4G>", "<0xG4>", "<0x-1>",
                                         "<0x++>",  "<0x4+>",  "<0X41>", "(0x41>", "<0x41)",
                                         " <0x41>", "<0x41> ", "<0xé>",  "0x41",   "<0x@1>",
                                         "<0x1`>",  "<0x/1>",  "<0x1:>", ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_compiles(BYTE_FALLBACK, others[i], others[i], strlen(others[i]), BURBLE__PIECE_TEXT);
}

static void byte_fallback_u2581_is_a_space(void **state)
{
    (void)state;
    const enum decoder decoder = BYTE_FALLBACK;
    assert_compiles(decoder, "▁", " ", 1, BURBLE__PIECE_TEXT);
    assert_compiles(decoder, "▁▁a▁", "  a ", 4, BURBLE__PIECE_TEXT);
    assert_compiles(decoder, "▀▂日▁", "▀▂日 ", 10, BURBLE__PIECE_TEXT);
    assert_compiles(decoder, "<0x▁▁>", "<0x  >", 6, BURBLE__PIECE_TEXT);
}

/* ---- both ------------------------------------------------------------------------------------ */

static void flags_are_kept_and_absent_tokens_are_empty(void **state)
{
    (void)state;
    for (int decoder = 0; decoder <= 1; decoder++) {
        burble_token tokens[] = {token("a"),
                                 token("<s>"),
                                 token("gone"),
                                 token("both"),
                                 {.text = NULL, .len = 0, .flags = BURBLE_TOKEN_ABSENT}};
        tokens[1].flags = BURBLE_TOKEN_SPECIAL;
        tokens[2].flags = BURBLE_TOKEN_ABSENT;
        tokens[3].flags = BURBLE_TOKEN_ABSENT | BURBLE_TOKEN_SPECIAL;
        burble_vocab *vocab = create((enum decoder)decoder, tokens, 5);
        assert_piece(vocab, 0, "a", 1, BURBLE__PIECE_TEXT);
        assert_piece(vocab, 1, "<s>", 3, BURBLE__PIECE_TEXT | BURBLE__PIECE_SPECIAL);
        assert_piece(vocab, 2, "", 0, BURBLE__PIECE_NOTHING);
        assert_piece(vocab, 3, "", 0, BURBLE__PIECE_NOTHING | BURBLE__PIECE_SPECIAL);
        assert_piece(vocab, 4, "", 0, BURBLE__PIECE_NOTHING);
        assert_piece(vocab, 5, "", 0, BURBLE__PIECE_NOTHING);
        assert_piece(vocab, UINT32_MAX, "", 0, BURBLE__PIECE_NOTHING);
        burble_vocab_unref(&vocab);
    }
}

static void tokens_are_copied_and_need_no_nul(void **state)
{
    (void)state;
    char text[] = {'a', 'b', 'c', '\0', 'd'};
    const burble_token tokens[] = {{.text = text, .len = 3}, {.text = text + 1, .len = 4}};
    burble_vocab *vocab = create(BYTE_FALLBACK, tokens, 2);
    memset(text, '?', sizeof text);
    assert_piece(vocab, 0, "abc", 3, BURBLE__PIECE_TEXT);
    assert_piece(vocab, 1, "bc\0d", 4, BURBLE__PIECE_TEXT);
    burble_vocab_unref(&vocab);
}

static void vocabulary_may_be_empty(void **state)
{
    (void)state;
    burble_vocab *vocab = create(BYTE_LEVEL, NULL, 0);
    assert_piece(vocab, 0, "", 0, BURBLE__PIECE_NOTHING);
    burble_vocab_unref(&vocab);
}

static void longest_token_is_kept_whole(void **state)
{
    (void)state;
    char *text = malloc(BURBLE_VOCAB_MAX_TOKEN);
    assert_non_null(text);
    memset(text, 'x', BURBLE_VOCAB_MAX_TOKEN);
    const burble_token tokens[] = {{.text = text, .len = BURBLE_VOCAB_MAX_TOKEN},
                                   {.text = text, .len = BURBLE_VOCAB_MAX_TOKEN},
                                   token("z")};
    for (int decoder = 0; decoder <= 1; decoder++) {
        burble_vocab *vocab = create((enum decoder)decoder, tokens, 3);
        assert_piece(vocab, 0, text, BURBLE_VOCAB_MAX_TOKEN, BURBLE__PIECE_TEXT);
        assert_piece(vocab, 1, text, BURBLE_VOCAB_MAX_TOKEN, BURBLE__PIECE_TEXT);
        assert_piece(vocab, 2, "z", 1, BURBLE__PIECE_TEXT);
        burble_vocab_unref(&vocab);
    }
    free(text);
}

/* Creating it fails like this, and the message says so. */
static void assert_refused_at(struct place at, const burble_vocab_options *options,
                              const burble_token *tokens, size_t n, int result, const char *message)
{
    burble_vocab *vocab = (burble_vocab *)options;
    burble_error error = {.code = 99};
    assert_result_at(at, burble_vocab_create(options, tokens, n, &vocab, &error), result);
    assert_null_at(at, vocab);
    assert_result_at(at, error.code, result);
    if (strstr(error.message, message) == NULL)
        fail_at(at, "expected \"... %s ...\", found \"%s\"", message, error.message);
    assert_result_at(at, burble_vocab_create(options, tokens, n, &vocab, NULL), result);
    assert_null_at(at, vocab);
}
#define assert_refused(...) assert_refused_at(HERE, __VA_ARGS__)

static void token_out_of_bounds_is_refused_and_named(void **state)
{
    (void)state;
    static char long_text[BURBLE_VOCAB_MAX_TOKEN + 1];
    memset(long_text, 'x', sizeof long_text);
    const struct {
        burble_token token;
        const char *message;
    } bad[] = {
        {{.text = long_text, .len = sizeof long_text}, "at most 65536 bytes, found 65537"},
        {{.text = NULL, .len = 1}, "expected 1 bytes of text, found NULL"},
        {{.text = "\xE4\xB8", .len = 2}, "UTF-8"},     /* incomplete */
        {{.text = "a\xFF", .len = 2}, "UTF-8"},        /* not at all */
        {{.text = "\xED\xA0\x80", .len = 3}, "UTF-8"}, /* a surrogate */
        {{.text = "a", .len = 1, .flags = 8}, "unknown flags 0x8"},
        {{.text = "\xFF", .len = 1, .flags = BURBLE_TOKEN_ABSENT}, "UTF-8"},
    };
    for (int decoder = 0; decoder <= 1; decoder++) {
        const burble_vocab_options options = options_of((enum decoder)decoder);
        for (size_t i = 0; i < COUNT(bad); i++) {
            const burble_token tokens[] = {token("fine"), token("Ġ"), bad[i].token, bad[i].token};
            assert_refused(&options, tokens, 4, BURBLE_EINVAL, "token 2: ");
            assert_refused(&options, tokens, 4, BURBLE_EINVAL, bad[i].message);
        }
    }
}

static void token_without_steps_may_be_invalid_utf8(void **state)
{
    (void)state;
    const burble_token one = {.text = "\xFF", .len = 1};
    const burble_vocab_options joined = {.join = " "};
    burble_vocab *vocab;
    assert_result(burble_vocab_create(NULL, &one, 1, &vocab, NULL), BURBLE_OK);
    assert_piece(vocab, 0, "\xFF", 1, 0);
    burble_vocab_unref(&vocab);
    assert_result(burble_vocab_create(&joined, &one, 1, &vocab, NULL), BURBLE_OK);
    assert_piece(vocab, 0, " \xFF", 2, BURBLE__PIECE_FIRST_CUT);
    burble_vocab_unref(&vocab);
}

static void token_array_null_or_too_long_is_refused(void **state)
{
    (void)state;
    const burble_token one = token("a");
    const burble_vocab_options options = options_of(BYTE_LEVEL);
    assert_refused(&options, NULL, 1, BURBLE_EINVAL, "expected 1 tokens, found NULL");
    assert_refused(&options, &one, BURBLE_VOCAB_MAX_IDS + 1, BURBLE_EINVAL, "16777217");
    assert_refused(&options, &one, SIZE_MAX, BURBLE_EINVAL, "at most 16777216 tokens");
    assert_refused(NULL, NULL, 1, BURBLE_EINVAL, "found NULL");
}

/* The same long text for each token takes memory only in the vocabulary. */
static void token_texts_too_long_together_are_refused(void **state)
{
    enum { MOST = BURBLE_VOCAB_MAX_TEXT / BURBLE_VOCAB_MAX_TOKEN };
    static char text[BURBLE_VOCAB_MAX_TOKEN];
    static burble_token tokens[MOST + 1];
    burble_vocab *vocab;
    (void)state;
    memset(text, 'b', sizeof text);
    for (size_t i = 0; i < COUNT(tokens); i++)
        tokens[i] = (burble_token){.text = text, .len = sizeof text};
    assert_result(burble_vocab_create(NULL, tokens, MOST, &vocab, NULL), BURBLE_OK);
    assert_true(burble_vocab_memory(vocab) < BURBLE_VOCAB_MAX_TEXT + 100000);
    burble_vocab_unref(&vocab);
    assert_refused(NULL, tokens, MOST + 1, BURBLE_EINVAL,
                   "expected at most 67108864 bytes of text in all tokens together, found 67174400 "
                   "in those up to token 1024");
}

/* A small table, and a step that makes much of each token; also before repeated tokens are looked for. */
static void token_texts_that_steps_make_too_long_are_refused(void **state)
{
    enum { LONG = 65000, HALF = 4000, MOST = BURBLE_VOCAB_MAX_TEXT / LONG };
    static char text[LONG - HALF + 1];
    static char own[2 * HALF];
    static char half[HALF + 1];
    static burble_token tokens[MOST + 1];
    const burble_step steps[] = {
        {.kind = BURBLE_STEP_REPLACE, .text = half, .with = text},
        {.kind = BURBLE_STEP_CTC, .text = "<pad>", .with = "|"},
        {.kind = BURBLE_STEP_REPLACE, .text = "b", .with = ""},
    };
    (void)state;
    memset(text, 'b', LONG - HALF);
    memset(own, 'b', 2 * HALF);
    memset(own, 'a', HALF);
    memset(half, 'a', HALF);
    for (size_t i = 0; i < COUNT(tokens); i++)
        tokens[i] = (burble_token){.text = own, .len = sizeof own};
    for (size_t n = 1; n <= COUNT(steps); n++) {
        const burble_vocab_options options = {.steps = steps, .n_steps = n};
        burble_vocab *vocab;
        assert_result(burble_vocab_create(&options, tokens, MOST, &vocab, NULL), BURBLE_OK);
        burble_vocab_unref(&vocab);
        assert_refused(&options, tokens, MOST + 1, BURBLE_EINVAL,
                       "expected at most 67108864 bytes of text in all tokens together, found "
                       "67145000 in those up to token 1032");
    }
}

static void step_with_invalid_text_is_refused_and_named(void **state)
{
    (void)state;
    static char long_text[BURBLE_VOCAB_MAX_TOKEN + 2];
    memset(long_text, 'x', sizeof long_text - 1);
    const burble_token one = token("a");
    const struct {
        burble_step step;
        int result;
        const char *message;
    } bad[] = {
        /* NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): that is the point */
        {{.kind = (burble_step_kind)9}, BURBLE_EINVAL, "found 9"},
        {{.kind = BURBLE_STEP_REPLACE, .with = "a"}, BURBLE_EINVAL, "(Replace): expected `text`"},
        {{.kind = BURBLE_STEP_REPLACE, .text = "a"}, BURBLE_EINVAL, "(Replace): expected `with`"},
        {{.kind = BURBLE_STEP_REPLACE, .text = "\xFF", .with = ""}, BURBLE_EINVAL, "UTF-8"},
        {{.kind = BURBLE_STEP_REPLACE, .text = "a", .with = "\xC3"}, BURBLE_EINVAL, "UTF-8"},
        {{.kind = BURBLE_STEP_REPLACE, .text = long_text, .with = ""}, BURBLE_EINVAL, "65536"},
        {{.kind = BURBLE_STEP_REPLACE, .text = "", .with = ""}, BURBLE_EUNSUPPORTED, "empty"},
        {{.kind = BURBLE_STEP_STRIP}, BURBLE_EINVAL, "(Strip): expected `text`"},
        {{.kind = BURBLE_STEP_STRIP, .text = ""}, BURBLE_EINVAL, "one character, found 0"},
        {{.kind = BURBLE_STEP_STRIP, .text = "▁a"}, BURBLE_EINVAL, "one character, found 2"},
        {{.kind = BURBLE_STEP_METASPACE}, BURBLE_EINVAL, "(Metaspace): expected `text`"},
        {{.kind = BURBLE_STEP_METASPACE, .text = "ab"}, BURBLE_EINVAL, "one character, found 2"},
        {{.kind = BURBLE_STEP_WORDPIECE}, BURBLE_EINVAL, "(WordPiece): expected `text`"},
        {{.kind = BURBLE_STEP_BPE}, BURBLE_EINVAL, "(BPEDecoder): expected `text`"},
        {{.kind = BURBLE_STEP_BPE, .text = ""}, BURBLE_EUNSUPPORTED, "empty"},
        {{.kind = BURBLE_STEP_CTC, .with = "|"}, BURBLE_EINVAL, "(CTC): expected `text`"},
        {{.kind = BURBLE_STEP_CTC, .text = "", .flag = true}, BURBLE_EINVAL, "expected `with`"},
        {{.kind = BURBLE_STEP_CTC, .text = "", .with = "", .flag = true},
         BURBLE_EUNSUPPORTED,
         "empty"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        const burble_step steps[] = {{.kind = BURBLE_STEP_FUSE}, bad[i].step};
        const burble_vocab_options options = {.steps = steps, .n_steps = 2};
        assert_refused(&options, &one, 1, bad[i].result, "step 1");
        assert_refused(&options, &one, 1, bad[i].result, bad[i].message);
    }
    const burble_vocab_options none = {.n_steps = 3};
    assert_refused(&none, &one, 1, BURBLE_EINVAL, "expected 3 steps, found NULL");
    const burble_vocab_options bad_join = {.join = "\xFF"};
    assert_refused(&bad_join, &one, 1, BURBLE_EINVAL, "`join`");
}

static void steps_that_cannot_be_streamed_are_unsupported(void **state)
{
    (void)state;
    const burble_token one = token("aaaaaaaa");
    static char long_text[BURBLE_VOCAB_MAX_TOKEN];
    memset(long_text, 'x', sizeof long_text - 1);
    const burble_step byte_level = {.kind = BURBLE_STEP_BYTE_LEVEL};
    const burble_step fuse = {.kind = BURBLE_STEP_FUSE};
    const burble_step ctc = {.kind = BURBLE_STEP_CTC, .text = "<pad>"};
    const burble_step bpe = {.kind = BURBLE_STEP_BPE, .text = "</w>"};
    const burble_step longer = {.kind = BURBLE_STEP_REPLACE, .text = "a", .with = long_text};
    const burble_step patient = {.kind = BURBLE_STEP_STRIP, .text = " ", .stop = UINT32_MAX};
    const struct {
        burble_step steps[2];
        const char *message;
    } bad[] = {
        {{fuse, byte_level}, "ByteLevel"},
        {{byte_level, byte_level}, "ByteLevel"},
        {{bpe, ctc}, "CTC after a step"},
        {{fuse, longer}, "hold back"},
        {{longer, fuse}, "the steps make token 0 too"},
        {{fuse, patient}, "hold back"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        const burble_vocab_options options = {.steps = bad[i].steps, .n_steps = 2};
        assert_refused(&options, &one, 1, BURBLE_EUNSUPPORTED, bad[i].message);
    }
    burble_step many[300];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = fuse;
    const burble_vocab_options options = {.steps = many, .n_steps = COUNT(many)};
    assert_refused(&options, &one, 1, BURBLE_EUNSUPPORTED, "at most 256 steps, found 300");
}

static void memory_is_eight_bytes_per_id_plus_pieces(void **state)
{
    (void)state;
    enum { N = 10000 };
    static char texts[N][16];
    burble_token *tokens = calloc(N, sizeof *tokens);
    assert_non_null(tokens);
    size_t bytes = 0;
    for (int i = 0; i < N; i++) {
        const int len = snprintf(texts[i], sizeof texts[i], "Ġw%d", i);
        tokens[i] = token(texts[i]);
        bytes += (size_t)len - 1; /* the two bytes of Ġ become one space */
    }
    burble_vocab *vocab = create(BYTE_LEVEL, tokens, N);
    assert_int_equal(burble_vocab_memory(vocab), sizeof *vocab + (size_t)8 * N + bytes);
    burble_vocab_unref(&vocab);
    free(tokens);
}

static void memory_of_word_and_continuation_is_shared(void **state)
{
    (void)state;
    enum { N = 30000 };
    static char texts[N][16];
    const burble_step steps = {.kind = BURBLE_STEP_WORDPIECE, .text = "##", .flag = true};
    const burble_vocab_options options = {.steps = &steps, .n_steps = 1};
    burble_token *tokens = calloc(N, sizeof *tokens);
    burble_vocab *vocab;
    size_t bytes = 0;
    assert_non_null(tokens);
    for (int i = 0; i < N; i++) { /* as in BERT's vocabulary, one in five continues a word */
        const int len = snprintf(texts[i], sizeof texts[i], i % 5 == 0 ? "##x%d" : "x%d", i);
        tokens[i] = token(texts[i]);
        bytes += (size_t)len;
    }
    assert_result(burble_vocab_create(&options, tokens, N, &vocab, NULL), BURBLE_OK);
    assert_true(burble_vocab_memory(vocab) <= 2 * bytes + (size_t)8 * N);
    assert_piece(vocab, 1, " x1", 3, BURBLE__PIECE_TEXT | BURBLE__PIECE_FIRST_CUT);
    assert_piece(vocab, 5, "x5", 2, BURBLE__PIECE_TEXT | BURBLE__PIECE_OTHER);
    const burble__piece first = burble__vocab_at(vocab, 5, vocab->pieces[5], BURBLE__AT_FIRST);
    assert_int_equal(burble__piece_len(first), 4);
    assert_memory_equal(burble__piece_bytes(vocab, first), "##x5", 4);
    burble_vocab_unref(&vocab);
    free(tokens);
}

static void unref_of_null_does_nothing(void **state)
{
    (void)state;
    burble_vocab *none = NULL;
    burble_vocab_unref(&none);
    burble_vocab_unref(NULL);
}

static void *share(void *shared)
{
    for (int i = 0; i < 10000; i++) {
        burble_vocab *mine = burble_vocab_ref(shared);
        assert(burble_vocab_size(mine) == 1);
        burble_vocab_unref(&mine);
    }
    burble_vocab *last = shared;
    burble_vocab_unref(&last);
    return NULL;
}

static void unref_by_last_of_several_threads_frees(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    const burble_token one = token("a");
    burble_vocab *vocab = create(BYTE_LEVEL, &one, 1);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, share, burble_vocab_ref(vocab)), 0);
    assert_ptr_equal(burble_vocab_ref(vocab), vocab);
    burble_vocab *second = vocab;
    burble_vocab_unref(&vocab);
    assert_null(vocab);
    burble_vocab_unref(&second);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_default_to_no_steps_and_no_separator),
        cmocka_unit_test(byte_level_alphabet_covers_every_byte),
        cmocka_unit_test(byte_level_token_outside_alphabet_is_its_own_bytes),
        cmocka_unit_test(byte_level_token_of_whole_characters_is_text),
        cmocka_unit_test(byte_level_empty_token_splits_no_character),
        cmocka_unit_test(byte_fallback_token_is_its_byte),
        cmocka_unit_test(byte_fallback_lookalike_is_text),
        cmocka_unit_test(byte_fallback_u2581_is_a_space),
        cmocka_unit_test(flags_are_kept_and_absent_tokens_are_empty),
        cmocka_unit_test(tokens_are_copied_and_need_no_nul),
        cmocka_unit_test(vocabulary_may_be_empty),
        cmocka_unit_test(longest_token_is_kept_whole),
        cmocka_unit_test(token_out_of_bounds_is_refused_and_named),
        cmocka_unit_test(token_without_steps_may_be_invalid_utf8),
        cmocka_unit_test(token_array_null_or_too_long_is_refused),
        cmocka_unit_test(token_texts_too_long_together_are_refused),
        cmocka_unit_test(token_texts_that_steps_make_too_long_are_refused),
        cmocka_unit_test(step_with_invalid_text_is_refused_and_named),
        cmocka_unit_test(steps_that_cannot_be_streamed_are_unsupported),
        cmocka_unit_test(memory_of_word_and_continuation_is_shared),
        cmocka_unit_test(memory_is_eight_bytes_per_id_plus_pieces),
        cmocka_unit_test(unref_of_null_does_nothing),
        cmocka_unit_test(unref_by_last_of_several_threads_frees),
    };
    return cmocka_run_group_tests_name("vocab", tests, NULL, NULL);
}
