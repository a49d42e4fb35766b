/* SPDX-License-Identifier: MIT */
#include "text/vocab.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

#define ALL_TOKEN_FLAGS ((uint32_t)(BURBLE_TOKEN_SPECIAL | BURBLE_TOKEN_ABSENT))

/* The character after the last one of GPT-2's alphabet. */
#define ALPHABET_END 0x144

/* GPT-2's alphabet, from character to byte; -1 where a character is not in it.
 * Source: bytes_to_unicode in https://github.com/openai/gpt-2/blob/master/src/encoder.py */
struct alphabet {
    int16_t byte[ALPHABET_END];
};

/* Printable bytes of Latin-1 are spelled as themselves, the other 68 in their order from U+0100. */
static void alphabet_init(struct alphabet *alphabet)
{
    memset(alphabet, 0xFF, sizeof *alphabet);
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 0x100; byte++) {
        const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
        alphabet->byte[printable ? byte : next++] = (int16_t)byte;
    }
    assert(next == ALPHABET_END);
}

/* Writes the bytes that a token spells in the alphabet; false where a character is not in it. The
 * token is UTF-8. */
static bool spell(const struct alphabet *alphabet, const burble_token *token, char *out,
                  size_t *len)
{
    size_t written = 0;
    for (size_t i = 0; i < token->len; i++) {
        unsigned character = (unsigned char)token->text[i];
        if (character > 0xC5) {
            return false; /* the first byte of a character beyond U+017F */
        }
        if (character >= 0x80) {
            character = (character & 0x1F) << 6 | ((unsigned char)token->text[++i] & 0x3F);
        }
        if (character >= ALPHABET_END || alphabet->byte[character] < 0) {
            return false;
        }
        out[written++] = (char)alphabet->byte[character];
    }
    *len = written;
    return true;
}

/* The piece of a byte-level token: what it spells, or where it does not, its own bytes.
 * Source: decode_chain of ByteLevel in tokenizers/src/pre_tokenizers/byte_level.rs of
 * https://github.com/huggingface/tokenizers. */
static unsigned compile_byte_level(const struct alphabet *alphabet, const burble_token *token,
                                   char *out, size_t *len)
{
    if (!spell(alphabet, token, out, len)) {
        *len = token->len;
        memcpy(out, token->text, token->len);
    }
    if (*len == 0) {
        return BURBLE__PIECE_NOTHING; /* bytes before and after it still join */
    }
    return burble__utf8_valid(out, *len) ? BURBLE__PIECE_TEXT : 0;
}

/* Copies a token with U+2581 replaced by spaces. */
static size_t replace_blocks(const burble_token *token, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < token->len; i++) {
        if (token->len - i >= 3 && memcmp(token->text + i, "\xE2\x96\x81", 3) == 0) {
            out[written++] = ' ';
            i += 2;
        } else {
            out[written++] = token->text[i];
        }
    }
    return written;
}

/* -1 for what is no hexadecimal digit. */
static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The byte that a byte token stands for, or -1. The two characters in it are read as Rust's
 * u8::from_str_radix reads them, which takes a sign for a digit: `<0x+A>` is 10. */
static int byte_of(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    const int high = text[3] == '+' ? 0 : digit(text[3]);
    const int low = digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* The piece of a token with byte fallback: one byte, or text with spaces in it.
 * Source: decode_chain of ByteFallback in tokenizers/src/decoders/byte_fallback.rs, behind a
 * Replace, as in the tokenizer.json of Llama 2. */
static unsigned compile_byte_fallback(const burble_token *token, char *out, size_t *len)
{
    *len = replace_blocks(token, out);
    const int byte = byte_of(out, *len);
    if (byte < 0) {
        return BURBLE__PIECE_TEXT; /* also where it is empty: it ends a run of bytes */
    }
    out[0] = (char)byte;
    *len = 1;
    return byte < 0x80 ? BURBLE__PIECE_TEXT : 0;
}

/* Whether the tokens are within their bounds; *where is the first that is not. *bytes is how many
 * bytes they have together, SIZE_MAX where that does not fit. */
static bool check(const burble_token *tokens, size_t n, size_t *where, size_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const burble_token *token = &tokens[i];
        *where = i;
        if (token->len > BURBLE_VOCAB_MAX_TOKEN || (token->flags & ~ALL_TOKEN_FLAGS) != 0) {
            return false;
        }
        if (token->len > 0
            && (token->text == NULL || !burble__utf8_valid(token->text, token->len))) {
            return false;
        }
        *bytes = token->len > SIZE_MAX - *bytes ? SIZE_MAX : *bytes + token->len;
    }
    return true;
}

/* Makes the pieces and fills the blob, which has room for the tokens as they are spelled: no piece
 * is longer. Returns how many bytes of the blob are in use. */
static size_t compile(burble_vocab *vocab, burble_decoder decoder, const burble_token *tokens,
                      size_t n)
{
    struct alphabet alphabet;
    alphabet_init(&alphabet);
    size_t end = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        unsigned flags;
        if ((tokens[i].flags & BURBLE_TOKEN_ABSENT) != 0) {
            flags = BURBLE__PIECE_NOTHING;
        } else if (tokens[i].len == 0) {
            flags =
                decoder == BURBLE_DECODER_BYTE_LEVEL ? BURBLE__PIECE_NOTHING : BURBLE__PIECE_TEXT;
        } else if (decoder == BURBLE_DECODER_BYTE_LEVEL) {
            flags = compile_byte_level(&alphabet, &tokens[i], vocab->blob + end, &len);
        } else {
            flags = compile_byte_fallback(&tokens[i], vocab->blob + end, &len);
        }
        if ((tokens[i].flags & BURBLE_TOKEN_SPECIAL) != 0) {
            flags |= BURBLE__PIECE_SPECIAL;
        }
        vocab->pieces[i] = (burble__piece)end << BURBLE__PIECE_OFFSET_SHIFT
                           | (burble__piece)len << BURBLE__PIECE_LEN_SHIFT | flags;
        end += len;
    }
    return end;
}

/* Gives back what the blob does not need. A failure to shrink leaves it as it is, which will do. */
static void shrink(burble_vocab *vocab, size_t used)
{
    const size_t size = used == 0 ? 1 : used;
    char *blob = size == vocab->blob_size ? NULL : burble__realloc(vocab->blob, size);
    if (blob != NULL) {
        vocab->blob = blob;
        vocab->blob_size = size;
    }
}

void burble_vocab_options_init(burble_vocab_options *options)
{
    *options = (burble_vocab_options){.decoder = BURBLE_DECODER_BYTE_LEVEL};
}

int burble_vocab_create(const burble_vocab_options *options, const burble_token *tokens, size_t n,
                        burble_vocab **out, size_t *where)
{
    size_t at = n;
    size_t bytes = 0;
    int result = BURBLE_EINVAL;
    burble_vocab *vocab = NULL;
    *out = NULL;

    const bool fallback = options->decoder == BURBLE_DECODER_BYTE_FALLBACK;
    if (n > BURBLE_VOCAB_MAX_IDS || (tokens == NULL && n > 0)
        || (!fallback && options->decoder != BURBLE_DECODER_BYTE_LEVEL)
        || (!fallback && options->strip_left != 0) || !check(tokens, n, &at, &bytes)) {
        goto done;
    }
    result = BURBLE_ENOMEM;
    if (bytes == SIZE_MAX || n > (SIZE_MAX - sizeof *vocab) / sizeof(burble__piece)) {
        goto done;
    }
    vocab = burble__malloc(sizeof *vocab + n * sizeof(burble__piece));
    if (vocab == NULL) {
        goto done;
    }
    *vocab = (burble_vocab){
        .size = n,
        .blob_size = bytes == 0 ? 1 : bytes,
        .strip_left = options->strip_left,
        .rule = fallback ? BURBLE__UTF8_PER_BYTE : BURBLE__UTF8_PER_PART,
    };
    burble__init(&vocab->refs, 1);
    vocab->blob = burble__malloc(vocab->blob_size);
    if (vocab->blob == NULL) {
        goto free_vocab;
    }
    shrink(vocab, compile(vocab, options->decoder, tokens, n));
    *out = vocab;
    return BURBLE_OK;

free_vocab:
    burble__free(vocab);
done:
    if (where != NULL && result == BURBLE_EINVAL) {
        *where = at;
    }
    return result;
}

burble_vocab *burble_vocab_ref(burble_vocab *vocab)
{
    /* Relaxed: whoever makes a reference has one, and what that one lets him see, he sees. */
    burble__add_relaxed(&vocab->refs, 1);
    return vocab;
}

void burble_vocab_unref(burble_vocab **vocab)
{
    if (vocab == NULL || *vocab == NULL) {
        return;
    }
    burble_vocab *mine = *vocab;
    *vocab = NULL;
    /* Acquire and release pair with one another across threads: every read that another holder made
     * comes before the free. Without that it could read freed memory. */
    const size_t before = burble__sub_acq_rel(&mine->refs, 1);
    assert(before > 0);
    if (before == 1) {
        burble__free(mine->blob);
        burble__free(mine);
    }
}

size_t burble_vocab_size(const burble_vocab *vocab)
{
    return vocab->size;
}

size_t burble_vocab_memory(const burble_vocab *vocab)
{
    return sizeof *vocab + vocab->size * sizeof(burble__piece) + vocab->blob_size;
}
