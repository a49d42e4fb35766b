/* SPDX-License-Identifier: MIT */
#include "text/compile.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"

/* The most bytes that a token may have between two operations. */
#define TEXT_MAX ((size_t)1 << 21)

/* Printable bytes of Latin-1 are spelled as themselves, the other 68 in their order from U+0100; -1
 * for a character that spells none.
 * Source: bytes_to_unicode in https://github.com/openai/gpt-2/blob/master/src/encoder.py */
static void fill_alphabet(int16_t *byte_of)
{
    unsigned next = 0x100;
    for (unsigned i = 0; i < BURBLE__ALPHABET_END; i++)
        byte_of[i] = -1;
    for (unsigned byte = 0; byte < 0x100; byte++) {
        const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
        byte_of[printable ? byte : next++] = (int16_t)byte;
    }
    assert(next == BURBLE__ALPHABET_END);
}

unsigned burble__alphabet_at(unsigned char byte)
{
    int16_t byte_of[BURBLE__ALPHABET_END];
    unsigned character = 0;
    fill_alphabet(byte_of);
    while (byte_of[character] != byte)
        character++;
    return character;
}

/* Writes the bytes that a text spells in the alphabet; false where a character is not in it. */
static bool spell(const int16_t *byte_of, const struct burble__traced *text, char *out, size_t *len)
{
    size_t written = 0;
    for (size_t i = 0; i < text->len; i++) {
        unsigned character = (unsigned char)text->bytes[i];
        if (character > 0xC5)
            return false; /* the first byte of a character beyond U+017F */
        if (character >= 0x80)
            character = (character & 0x1F) << 6 | ((unsigned char)text->bytes[++i] & 0x3F);
        if (character >= BURBLE__ALPHABET_END || byte_of[character] < 0)
            return false;
        out[written++] = (char)byte_of[character];
    }
    *len = written;
    return true;
}

/* The value of a hexadecimal digit; -1 for other characters. */
static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The byte that a byte token represents, or -1. Its two characters are read as by Rust's
 * u8::from_str_radix, which accepts a sign in place of a digit: `<0x+A>` is 10. */
static int byte_token(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const int high = text[3] == '+' ? 0 : digit(text[3]);
    const int low = digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Prepends `text`. */
static int put_before(struct burble__writer *out, const char *bytes, size_t len,
                      struct burble__traced *text)
{
    out->bytes.len = 0;
    int result = burble__writer_put(out, bytes, len, NULL);
    if (result == BURBLE_OK)
        result = burble__writer_put(out, text->bytes, text->len, NULL);
    *text = burble__writer_text(out, false);
    return result;
}

static int run_op(const struct burble__op *op, struct burble__traced *text,
                  struct burble__writer *out)
{
    const struct burble__rewrite *rewrite = &op->rewrite;
    struct burble__rewrite_state state;
    switch (op->kind) {
    case BURBLE__OP_REWRITE:
        if (burble__rewrite_bound(rewrite, text->len) > TEXT_MAX)
            return BURBLE_EUNSUPPORTED;
        burble__rewrite_reset(rewrite, &state);
        return burble__rewrite_run(rewrite, &state, true, text, out, NULL, NULL);
    case BURBLE__OP_HEAD:
        if (text->len >= rewrite->text_len
            && memcmp(text->bytes, rewrite->text, rewrite->text_len) == 0) {
            text->bytes += rewrite->text_len;
            text->len -= rewrite->text_len;
            return BURBLE_OK;
        }
        return put_before(out, " ", 1, text);
    case BURBLE__OP_JOIN:
        return put_before(out, rewrite->text, rewrite->text_len, text);
    default:
        return BURBLE_OK; /* about more than one token */
    }
}

/* Which operations act on single tokens, how their results are put together, and which operations
 * are left for the whole text. */
static void divide(struct burble__compiler *compiler, const struct burble__plan *plan,
                   bool has_steps)
{
    size_t i = 0;
    while (i < plan->n_ops && plan->ops[i].kind < BURBLE__OP_FUSE)
        i++;
    compiler->ops = plan->ops;
    compiler->n_ops = i;
    compiler->core = has_steps ? BURBLE__CORE_TEXT : BURBLE__CORE_RAW;
    if (i < plan->n_ops && plan->ops[i].kind == BURBLE__OP_BYTE_LEVEL)
        compiler->core = BURBLE__CORE_BYTE_LEVEL;
    i += i < plan->n_ops;
    compiler->late = i;
    if (i > 0 && plan->ops[i - 1].kind == BURBLE__OP_BYTE_FALLBACK) {
        compiler->core = BURBLE__CORE_FALLBACK;
        while (i < plan->n_ops && plan->ops[i].kind < BURBLE__OP_FUSE)
            i++;
    }
    compiler->rest = i;
}

void burble__compiler_init(struct burble__compiler *compiler, const struct burble__plan *plan,
                           bool has_steps, size_t work_max)
{
    compiler->work = 0;
    compiler->work_max = work_max;
    divide(compiler, plan, has_steps);
    burble__writer_init(&compiler->writers[0], TEXT_MAX);
    burble__writer_init(&compiler->writers[1], TEXT_MAX);
    fill_alphabet(compiler->alphabet);
}

void burble__compiler_finish(struct burble__compiler *compiler)
{
    burble__writer_finish(&compiler->writers[1]);
    burble__writer_finish(&compiler->writers[0]);
}

int burble__compiler_run(struct burble__compiler *compiler, size_t begin, size_t end,
                         unsigned place, struct burble__traced *text)
{
    unsigned free_one = 0;
    for (size_t i = begin; i < end; i++) {
        const struct burble__op *op = &compiler->ops[i];
        if ((op->places >> place & 1) == 0)
            continue;
        compiler->work += BURBLE__OP_WORK + (op->kind == BURBLE__OP_REWRITE ? text->len : 0);
        if (compiler->work > compiler->work_max)
            return BURBLE_EFULL;
        struct burble__writer *out = &compiler->writers[free_one];
        out->bytes.len = 0;
        const int result = run_op(op, text, out);
        if (result != BURBLE_OK)
            return result;
        /* Where something was written, that is the text, and the next one writes elsewhere. */
        free_one ^= out->bytes.len > 0;
    }
    return text->len > BURBLE_VOCAB_MAX_TOKEN ? BURBLE_EUNSUPPORTED : BURBLE_OK;
}

bool burble__compiler_is_byte(const struct burble__compiler *compiler,
                              const struct burble__traced *text)
{
    return compiler->core == BURBLE__CORE_FALLBACK && byte_token(text->bytes, text->len) >= 0;
}

size_t burble__compiler_spell(const struct burble__compiler *compiler,
                              const struct burble__traced *text, bool is_byte, char *out,
                              bool *is_text)
{
    size_t len = text->len;
    *is_text = true;
    if (is_byte) {
        const int byte = byte_token(text->bytes, len);
        out[0] = (char)byte;
        /* Where something acts on runs of byte tokens, it has to see them all. */
        *is_text = byte < 0x80 && compiler->late == compiler->rest;
        return 1;
    }
    if (compiler->core == BURBLE__CORE_BYTE_LEVEL) {
        /* A text that spells no bytes stands for its own bytes. */
        if (spell(compiler->alphabet, text, out, &len)) {
            *is_text = len > 0 && burble__utf8_valid(out, len);
            return len;
        }
    } else if (compiler->core == BURBLE__CORE_RAW) {
        *is_text = len > 0 && burble__utf8_valid(text->bytes, len);
    }
    if (len > 0) /* where it is empty, it still ends a run of byte tokens */
        memcpy(out, text->bytes, len);
    return len;
}
