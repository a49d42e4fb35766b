/* SPDX-License-Identifier: MIT
 *
 * The detokenizer: pieces in, text out, with what is held in between.
 *
 * The vocabulary has compiled each token to a piece of one of two kinds. *Text* is valid UTF-8 by
 * itself: it shows that what was held before it stays broken, and goes out as it is. *Bytes* are
 * fed to burble__utf8, which puts characters together across pieces. The two decoders differ only
 * in what a broken character becomes.
 *
 * The usual call, one id whose piece is text with nothing held before it, copies nothing: the text
 * handed out lies in the vocabulary, which the detokenizer's reference keeps. All else is put
 * together in `out`.
 */
#include <burble/detok.h>

#include <string.h>

#include <burble/stream.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "text/vocab.h"

struct burble_detok {
    burble_vocab *vocab;
    unsigned skip;  /* BURBLE__PIECE_…: pieces with one of these are as if never there */
    uint32_t strip; /* spaces still to be taken away, while the text has not begun */
    struct burble__utf8 utf8;
    struct burble__buffer out;
    char last[BURBLE__UTF8_GROWTH * BURBLE__UTF8_HELD_MAX]; /* finish: what was held */
};

/* Takes spaces away from the beginning of the sequence's text. */
static void strip(burble_detok *detok, burble_text *text)
{
    while (detok->strip > 0 && text->len > 0) {
        if (text->bytes[0] != ' ') {
            detok->strip = 0;
            return;
        }
        detok->strip--;
        text->bytes++;
        text->len--;
    }
}

/* Puts the text of one piece behind `out`. BURBLE_OK or BURBLE_ENOMEM. */
static int take(burble_detok *detok, burble__piece piece)
{
    struct burble__buffer *out = &detok->out;
    const size_t len = burble__piece_len(piece);
    if (burble__buffer_reserve(out, BURBLE__UTF8_GROWTH * (detok->utf8.held + len)) != BURBLE_OK) {
        return BURBLE_ENOMEM;
    }
    if ((piece & BURBLE__PIECE_TEXT) == 0) {
        out->len += burble__utf8_feed(&detok->utf8, burble__piece_bytes(detok->vocab, piece), len,
                                      out->bytes + out->len);
        return BURBLE_OK;
    }
    if (detok->utf8.held > 0) {
        out->len += burble__utf8_flush(&detok->utf8, out->bytes + out->len);
    }
    if (len > 0) { /* where all is empty, `out` has no memory yet */
        memcpy(out->bytes + out->len, burble__piece_bytes(detok->vocab, piece), len);
        out->len += len;
    }
    return BURBLE_OK;
}

/* Puts the text of all the ids in `out`. Where memory is short, nothing has happened. */
static int take_all(burble_detok *detok, const int32_t *ids, size_t n)
{
    const struct burble__utf8 before = detok->utf8;
    detok->out.len = 0;
    for (size_t i = 0; i < n; i++) {
        const burble__piece piece = burble__vocab_piece(detok->vocab, (uint32_t)ids[i]);
        if ((piece & detok->skip) != 0) {
            continue;
        }
        if (take(detok, piece) != BURBLE_OK) {
            detok->utf8 = before;
            return BURBLE_ENOMEM;
        }
    }
    return BURBLE_OK;
}

/* The text of one id without a copy, where that can be. */
static bool lend(const burble_detok *detok, int32_t id, burble_text *text)
{
    const burble__piece piece = burble__vocab_piece(detok->vocab, (uint32_t)id);
    if ((piece & BURBLE__PIECE_TEXT) == 0 || (piece & detok->skip) != 0 || detok->utf8.held > 0) {
        return false;
    }
    text->bytes = burble__piece_bytes(detok->vocab, piece);
    text->len = burble__piece_len(piece);
    return true;
}

void burble_detok_options_init(burble_detok_options *options)
{
    *options = (burble_detok_options){.skip_special = false};
}

int burble_detok_create(burble_vocab *vocab, const burble_detok_options *options,
                        burble_detok **out)
{
    burble_detok *detok = burble__malloc(sizeof *detok);
    *out = detok;
    if (detok == NULL) {
        return BURBLE_ENOMEM;
    }
    detok->vocab = burble_vocab_ref(vocab);
    detok->skip = BURBLE__PIECE_NOTHING;
    if (options != NULL && options->skip_special) {
        detok->skip |= BURBLE__PIECE_SPECIAL;
    }
    /* What a push hands out is to fit in one record. */
    burble__buffer_init(&detok->out, BURBLE_RECORD_MAX);
    burble_detok_reset(detok);
    return BURBLE_OK;
}

void burble_detok_destroy(burble_detok **detok)
{
    if (detok == NULL || *detok == NULL) {
        return;
    }
    burble__buffer_finish(&(*detok)->out);
    burble_vocab_unref(&(*detok)->vocab);
    burble__free(*detok);
    *detok = NULL;
}

int burble_detok_push(burble_detok *detok, const int32_t *ids, size_t n, burble_text *text)
{
    *text = (burble_text){.bytes = ""};
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0) {
            return BURBLE_EINVAL;
        }
    }
    if (n != 1 || !lend(detok, ids[0], text)) {
        const int result = take_all(detok, ids, n);
        if (result != BURBLE_OK) {
            return result;
        }
        if (detok->out.len > 0) {
            *text = (burble_text){.bytes = detok->out.bytes, .len = detok->out.len};
        }
    }
    strip(detok, text);
    return BURBLE_OK;
}

void burble_detok_finish(burble_detok *detok, burble_text *text)
{
    text->bytes = detok->last;
    text->len = burble__utf8_flush(&detok->utf8, detok->last);
    burble_detok_reset(detok);
}

void burble_detok_reset(burble_detok *detok)
{
    detok->strip = detok->vocab->strip_left;
    burble__utf8_init(&detok->utf8, detok->vocab->rule);
}

bool burble_detok_holds(const burble_detok *detok)
{
    return detok->utf8.held > 0;
}
