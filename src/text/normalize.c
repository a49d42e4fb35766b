/* SPDX-License-Identifier: MIT
 *
 * Source of the rules: tokenizers/src/normalizers of https://github.com/huggingface/tokenizers,
 * version 0.23.3.
 */
#include "text/normalize.h"

#include <stdint.h>
#include <string.h>

#include <burble/error.h>

#include "base/alloc.h"
#include "text/rewrite.h"

/* ---- what the text is made of -------------------------------------------------------------------- */

/* A character; moves *at behind it. The text is UTF-8. */
static uint32_t next_character(const char **at)
{
    const unsigned char *bytes = (const unsigned char *)*at;
    const size_t len = bytes[0] < 0x80 ? 1 : bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
    uint32_t character = len == 1 ? bytes[0] : bytes[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++)
        character = character << 6 | (bytes[i] & 0x3F);
    *at += len;
    return character;
}

static bool is_ascii(uint32_t c)
{
    return c >= ' ' && c <= '~';
}

static bool is_plain(uint32_t c)
{
    return is_ascii(c) || (c >= 0x3400 && c <= 0x9FFF);
}

/* Whether NFC leaves it, among others like it: what is below the first combining character has no
 * parts to be put together, nor have ideographs and the syllables of Hangul. */
static bool is_composed(uint32_t c)
{
    return c < 0x300 || is_plain(c) || (c >= 0xAC00 && c <= 0xD7A3);
}

/* Whether the step can be done to this character. */
static bool can_do(const struct burble__normal *step, uint32_t c)
{
    switch (step->kind) {
    case BURBLE__NORMAL_PREPEND:
    case BURBLE__NORMAL_REPLACE:
        return true;
    case BURBLE__NORMAL_STRIP:
    case BURBLE__NORMAL_LOWER:
    case BURBLE__NORMAL_PLAIN:
        return is_plain(c);
    case BURBLE__NORMAL_COMPOSE:
        return is_composed(c);
    case BURBLE__NORMAL_ASCII:
    case BURBLE__NORMAL_LOWER_ASCII:
        return is_ascii(c);
    case BURBLE__NORMAL_SPACES:
        return is_plain(c) && c != ' ';
    case BURBLE__NORMAL_KEYS:
        return is_ascii(c) && !step->keys[c];
    case BURBLE__NORMAL_OTHER:
        break;
    }
    return false;
}

static bool can_do_all(const struct burble__normal *step, const struct burble__buffer *text)
{
    const char *at = text->bytes;
    while (at < text->bytes + text->len)
        if (!can_do(step, next_character(&at)))
            return false;
    return true;
}

/* ---- the steps that change it -------------------------------------------------------------------- */

static int prepend(const struct burble__normal *step, struct burble__buffer *text)
{
    if (text->len == 0 || step->text_len == 0)
        return BURBLE_OK;
    if (step->text_len > text->max - text->len)
        return BURBLE_EFULL;
    const int result = burble__buffer_reserve(text, step->text_len);
    if (result == BURBLE_OK) {
        memmove(text->bytes + step->text_len, text->bytes, text->len);
        memcpy(text->bytes, step->text, step->text_len);
        text->len += step->text_len;
    }
    return result;
}

/* Does it to all of the text, which *traced is then. */
static int rewrite_all(const struct burble__rewrite *rewrite, const struct burble__buffer *text,
                       struct burble__traced *traced, struct burble__writer *out)
{
    struct burble__rewrite_state state = {0};
    *traced = (struct burble__traced){.bytes = text->bytes, .len = text->len};
    return burble__rewrite_run(rewrite, &state, true, traced, out, NULL, NULL);
}

static int replace(const struct burble__normal *step, struct burble__buffer *text)
{
    if (step->text_len == 0 || step->text_len > text->len)
        return BURBLE_OK;
    uint32_t *fallback = burble__malloc(step->text_len * sizeof *fallback);
    if (fallback == NULL)
        return BURBLE_ENOMEM;
    burble__rewrite_prepare(step->text, (uint32_t)step->text_len, fallback);
    struct burble__rewrite rewrite = {
        .kind = BURBLE__REWRITE_REPLACE,
        .text = step->text,
        .text_len = (uint32_t)step->text_len,
        .with = step->with,
        .fallback = fallback,
    };
    struct burble__traced traced;
    struct burble__writer out;
    burble__writer_init(&out, text->max);
    /* Removing `text` shows how often it occurs, and so whether there is room for its replacement. */
    int result = rewrite_all(&rewrite, text, &traced, &out);
    if (result == BURBLE_OK && step->with_len > 0) {
        const size_t times = (text->len - traced.len) / step->text_len;
        rewrite.with_len = (uint32_t)step->with_len;
        result = times > (text->max - traced.len) / step->with_len
                     ? BURBLE_EFULL
                     : rewrite_all(&rewrite, text, &traced, &out);
    }
    if (result == BURBLE_OK && traced.bytes != text->bytes) {
        text->len = 0;
        result = burble__buffer_append(text, traced.bytes, traced.len);
    }
    burble__writer_finish(&out);
    burble__free(fallback);
    return result;
}

static void strip(const struct burble__normal *step, struct burble__buffer *text)
{
    size_t left = 0;
    while (step->right && text->len > 0 && text->bytes[text->len - 1] == ' ')
        text->len--;
    while (step->left && left < text->len && text->bytes[left] == ' ')
        left++;
    burble__buffer_drop(text, left);
}

static void lower(struct burble__buffer *text)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->bytes[i] >= 'A' && text->bytes[i] <= 'Z')
            text->bytes[i] = (char)(text->bytes[i] - 'A' + 'a');
}

/* ---- any of them --------------------------------------------------------------------------------- */

int burble__normalize(const struct burble__normal *step, struct burble__buffer *text)
{
    if (!can_do_all(step, text))
        return BURBLE_EUNSUPPORTED;
    if (step->kind == BURBLE__NORMAL_PREPEND)
        return prepend(step, text);
    if (step->kind == BURBLE__NORMAL_REPLACE)
        return replace(step, text);
    if (step->kind == BURBLE__NORMAL_STRIP)
        strip(step, text);
    else if (step->kind == BURBLE__NORMAL_LOWER || step->kind == BURBLE__NORMAL_LOWER_ASCII)
        lower(text);
    return BURBLE_OK;
}
