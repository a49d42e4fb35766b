/* SPDX-License-Identifier: MIT */
#include "plain_steps.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define R "\xEF\xBF\xBD"

/* ---- texts and lists of them ----------------------------------------------------------------- */

struct list {
    size_t n;
    struct text *at;
};

static void *need(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

struct text text_of(const char *bytes, size_t len)
{
    const struct text text = {len, need(malloc(len + 1))};
    memcpy(text.bytes, bytes, len);
    text.bytes[len] = '\0';
    return text;
}

void append(struct text *text, const char *bytes, size_t len)
{
    text->bytes = need(realloc(text->bytes, text->len + len + 1));
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    text->bytes[text->len] = '\0';
}

static void become(struct text *text, struct text other)
{
    free(text->bytes);
    *text = other;
}

static void drop(struct list *list, size_t i)
{
    free(list->at[i].bytes);
    list->n--;
    memmove(&list->at[i], &list->at[i + 1], (list->n - i) * sizeof list->at[0]);
}

static bool begins(const struct text *text, size_t at, const char *with)
{
    const size_t len = strlen(with);
    return text->len - at >= len && memcmp(text->bytes + at, with, len) == 0;
}

/* ---- bytes that should be UTF-8 -------------------------------------------------------------- */

/* How many bytes the character at `at` has; where there is none (*broken, may be NULL), those that
 * could have begun one, at least 1. */
static size_t character_at(const struct text *text, size_t at, bool *broken)
{
    const unsigned char *c = (const unsigned char *)text->bytes + at;
    const size_t want = c[0] < 0x80                    ? 1
                        : c[0] >= 0xC2 && c[0] <= 0xDF ? 2
                        : c[0] >= 0xE0 && c[0] <= 0xEF ? 3
                        : c[0] >= 0xF0 && c[0] <= 0xF4 ? 4
                                                       : 0;
    /* Of what is too long a form, a surrogate or above U+10FFFF, the second byte tells. */
    const unsigned least = c[0] == 0xE0 ? 0xA0 : c[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned most = c[0] == 0xED ? 0x9F : c[0] == 0xF4 ? 0x8F : 0xBF;
    size_t len = 1;
    while (len < want && at + len < text->len && c[len] >= (len == 1 ? least : 0x80)
           && c[len] <= (len == 1 ? most : 0xBF)) {
        len++;
    }
    if (broken != NULL)
        *broken = len != want;
    return len;
}

/* What is no character becomes U+FFFD: one for each byte, or for each part of a character. */
static void mend(struct text *text, bool each_byte)
{
    struct text out = text_of("", 0);
    for (size_t at = 0; at < text->len;) {
        bool broken;
        const size_t len = character_at(text, at, &broken);
        if (broken) {
            append(&out, R, 3);
            at += each_byte ? 1 : len;
        } else {
            append(&out, text->bytes + at, len);
            at += len;
        }
    }
    become(text, out);
}

/* ---- the steps, plainly ---------------------------------------------------------------------- */

static void replace_n(struct text *text, const char *what, const char *with, size_t most)
{
    struct text out = text_of("", 0);
    for (size_t i = 0; i < text->len;) {
        if (most > 0 && begins(text, i, what)) {
            append(&out, with, strlen(with));
            i += strlen(what);
            most--;
        } else {
            append(&out, text->bytes + i++, 1);
        }
    }
    become(text, out);
}

static void replace(struct text *text, const char *what, const char *with)
{
    replace_n(text, what, with, SIZE_MAX);
}

static void clean(struct text *text, bool do_not)
{
    static const char *const rules[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (do_not || i != 7)
            replace(text, rules[i][0], rules[i][1]);
}

static void strip(struct text *text, const burble_step *step)
{
    const size_t len = strlen(step->text);
    size_t begin = 0;
    size_t end = text->len;
    for (uint32_t i = 0; i < step->start && begins(text, begin, step->text); i++)
        begin += len;
    for (uint32_t i = 0;
         i < step->stop && end - begin >= len && begins(text, end - len, step->text); i++) {
        end -= len;
    }
    become(text, text_of(text->bytes + begin, end - begin));
}

static void join(struct list *list, const char *between)
{
    struct text all = text_of("", 0);
    for (size_t i = 0; i < list->n; i++) {
        append(&all, between, i > 0 ? strlen(between) : 0);
        append(&all, list->at[i].bytes, list->at[i].len);
    }
    while (list->n > 0)
        drop(list, list->n - 1);
    list->n = 1;
    list->at[0] = all;
}

static void ctc(struct list *list, const burble_step *step)
{
    for (size_t i = list->n; i-- > 1;) {
        if (list->at[i].len == list->at[i - 1].len
            && memcmp(list->at[i].bytes, list->at[i - 1].bytes, list->at[i].len) == 0) {
            drop(list, i);
        }
    }
    for (size_t i = list->n; i-- > 0;) {
        if (step->text[0] != '\0')
            replace(&list->at[i], step->text, "");
        if (step->flag) {
            clean(&list->at[i], true);
            replace(&list->at[i], step->with, " ");
        }
        if (list->at[i].len == 0)
            drop(list, i);
    }
}

/* The byte that a token `<0x41>` stands for, or -1. */
static int byte_of(const struct text *text)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    if (text->len != 6 || memcmp(text->bytes, "<0x", 3) != 0 || text->bytes[5] != '>'
        || memchr(digits, text->bytes[3], 22) == NULL
        || memchr(digits, text->bytes[4], 22) == NULL) {
        return -1;
    }
    return (int)strtol(text->bytes + 3, NULL, 16);
}

static void byte_fallback(struct list *list)
{
    bool in_run = false;
    for (size_t i = 0; i < list->n;) {
        const int byte = byte_of(&list->at[i]);
        if (byte < 0) {
            in_run = false;
            i++;
        } else if (in_run) {
            append(&list->at[i - 1], &(char){(char)byte}, 1);
            drop(list, i);
        } else {
            in_run = true;
            become(&list->at[i++], text_of(&(char){(char)byte}, 1));
        }
        if (in_run && (i == list->n || byte_of(&list->at[i]) < 0))
            mend(&list->at[i - 1], true);
    }
}

/* The byte that a character of GPT-2's alphabet stands for, or -1: those that can be seen stand for
 * themselves, the others are numbered from 256 on. */
static int unspell(uint32_t character)
{
    uint32_t other = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        const bool seen = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        if (character == (seen ? byte : other))
            return (int)byte;
        other += !seen;
    }
    return -1;
}

static void byte_level(struct list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct text *text = &list->at[i];
        struct text bytes = text_of("", 0);
        int byte = 0;
        for (size_t at = 0; at < text->len && byte >= 0;) {
            const unsigned char *c = (const unsigned char *)text->bytes + at;
            const size_t len = character_at(text, at, NULL);
            byte = len == 1   ? unspell(c[0])
                   : len == 2 ? unspell((c[0] & 0x1Fu) << 6 | (c[1] & 0x3Fu))
                              : -1;
            append(&bytes, &(char){(char)byte}, 1);
            at += len;
        }
        if (byte >= 0)
            become(&list->at[i], bytes);
        else
            free(bytes.bytes);
    }
    join(list, "");
    mend(&list->at[0], false);
}

static void step_one(struct text *text, const burble_step *step, bool first, bool last)
{
    switch (step->kind) {
    case BURBLE_STEP_REPLACE:
        replace(text, step->text, step->with);
        break;
    case BURBLE_STEP_STRIP:
        strip(text, step);
        break;
    case BURBLE_STEP_METASPACE:
        replace(text, step->text, first && step->flag ? "" : " ");
        break;
    case BURBLE_STEP_WORDPIECE:
        if (!first && begins(text, 0, step->text)) {
            become(text, text_of(text->bytes + strlen(step->text), text->len - strlen(step->text)));
        } else if (!first) {
            struct text spaced = text_of(" ", 1);
            append(&spaced, text->bytes, text->len);
            become(text, spaced);
        }
        if (step->flag)
            clean(text, true);
        break;
    case BURBLE_STEP_BPE:
        replace(text, step->text, last ? "" : " ");
        break;
    default:
        abort();
    }
}

static void step_all(struct list *list, const burble_step *step)
{
    switch (step->kind) {
    case BURBLE_STEP_BYTE_LEVEL:
        byte_level(list);
        return;
    case BURBLE_STEP_BYTE_FALLBACK:
        byte_fallback(list);
        return;
    case BURBLE_STEP_FUSE:
        join(list, "");
        return;
    case BURBLE_STEP_CTC:
        ctc(list, step);
        return;
    default:
        for (size_t i = 0; i < list->n; i++)
            step_one(&list->at[i], step, i == 0, i + 1 == list->n);
    }
}

/* ---- the whole sequence ---------------------------------------------------------------------- */

/* The tokens as they are, between which a special one that is left out may break a character. */
static struct text plain_table(const burble_vocab_options *options, const burble_token *tokens,
                               size_t n_tokens, const burble_detok_options *detok,
                               const int32_t *ids, size_t n)
{
    const char *between = options->join == NULL ? "" : options->join;
    struct text out = text_of("", 0);
    struct text part = text_of("", 0);
    bool begun = false;
    for (size_t i = 0; i <= n; i++) {
        const size_t id = i < n ? (size_t)ids[i] : n_tokens;
        const uint32_t flags = id < n_tokens ? tokens[id].flags : BURBLE_TOKEN_ABSENT;
        const bool skipped = detok->skip_special && (flags & BURBLE_TOKEN_SPECIAL) != 0;
        if (i == n || (skipped && options->special_breaks)) {
            mend(&part, false);
            append(&out, part.bytes, part.len);
            become(&part, text_of("", 0));
        } else if (!skipped && (flags & BURBLE_TOKEN_ABSENT) == 0) {
            append(&part, between, begun ? strlen(between) : 0);
            append(&part, tokens[id].text, tokens[id].len);
            begun = true;
        }
    }
    free(part.bytes);
    return out;
}

static struct text plain_list(const burble_vocab_options *options, const burble_token *tokens,
                              size_t n_tokens, const burble_detok_options *detok,
                              const int32_t *ids, size_t n)
{
    const uint32_t left_out =
        BURBLE_TOKEN_ABSENT | (detok->skip_special ? BURBLE_TOKEN_SPECIAL : 0u);
    struct list list = {0, need(malloc((n + 1) * sizeof *list.at))};
    for (size_t i = 0; i < n; i++) {
        const size_t id = (size_t)ids[i];
        if (id < n_tokens && (tokens[id].flags & left_out) == 0)
            list.at[list.n++] = text_of(tokens[id].text, tokens[id].len);
    }
    for (size_t i = 0; i < options->n_steps; i++)
        step_all(&list, &options->steps[i]);
    join(&list, "");
    const struct text text = list.at[0];
    free(list.at);
    return text;
}

struct text plain_decode(const burble_vocab_options *options, const burble_token *tokens,
                         size_t n_tokens, const burble_detok_options *detok, const int32_t *ids,
                         size_t n)
{
    struct text text = options->n_steps == 0 ? plain_table(options, tokens, n_tokens, detok, ids, n)
                                             : plain_list(options, tokens, n_tokens, detok, ids, n);
    if (detok->clean_up)
        clean(&text, false);
    return text;
}
