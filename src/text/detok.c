/* SPDX-License-Identifier: MIT
 *
 * The detokenizer: it takes pieces, and returns text, and holds bytes back in between.
 *
 * A token passes the filters, gets its place in the sequence, and is then a piece of one of two kinds.
 * *Text* is valid UTF-8 by itself: an incomplete character that was held before it becomes U+FFFD, and the
 * text passes unchanged. *Bytes* go to burble__utf8, which joins characters across pieces. The result
 * passes the rewrites, if there are any. If the tokens of a vocabulary differ at the end of the sequence,
 * the part of the last token that differs is held back.
 *
 * detok_past.c implements rewinding, detok_spans.c the spans.
 *
 * The usual call, one id whose piece is text with nothing held before it, copies nothing: the returned text
 * is in the vocabulary, which the detokenizer's reference keeps. All other text is built in `out`.
 */
#include "text/detok.h"

#include <assert.h>
#include <string.h>

#include <burble/stream.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/reserved.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* No token before this one, for a filter. */
#define NO_TOKEN UINT32_MAX

/* The replacements of transformers' clean_up_tokenization, in this order. */
#define CLEAN_UP(pattern, with_text)                                                               \
    {.kind = BURBLE__REWRITE_REPLACE,                                                              \
     .text = (pattern),                                                                            \
     .text_len = sizeof(pattern) - 1,                                                              \
     .with = (with_text),                                                                          \
     .with_len = sizeof(with_text) - 1,                                                            \
     .fallback = space_first}
static const uint32_t space_first[4] = {0};
static const uint32_t space_first_and_last[] = {0, 0, 1};
static const struct burble__rewrite clean_up[] = {
    CLEAN_UP(" .", "."),
    CLEAN_UP(" ?", "?"),
    CLEAN_UP(" !", "!"),
    CLEAN_UP(" ,", ","),
    {.kind = BURBLE__REWRITE_REPLACE,
     .text = " ' ",
     .text_len = 3,
     .with = "'",
     .with_len = 1,
     .fallback = space_first_and_last},
    CLEAN_UP(" n't", "n't"),
    CLEAN_UP(" 'm", "'m"),
    CLEAN_UP(" 's", "'s"),
    CLEAN_UP(" 've", "'ve"),
    CLEAN_UP(" 're", "'re"),
};

static const struct burble__rewrite *rewrite_at(const burble_detok *detok, size_t i)
{
    const size_t n = detok->vocab->rewrites.n;
    return i < n ? &detok->vocab->rewrites.at[i] : &clean_up[i - n];
}

static struct burble__rewrite_state *rewrite_state(const burble_detok *detok, size_t i)
{
    return &detok->state->slots[detok->vocab->n_filters + i].rewrite;
}

/* ---- from ids to pieces ---------------------------------------------------------------------- */

/* Whether the token passes the filters. */
static bool passes(const burble_detok *detok, uint32_t id)
{
    const burble_vocab *vocab = detok->vocab;
    for (size_t i = 0; i < vocab->n_filters; i++) {
        union burble__slot *slot = &detok->state->slots[i];
        const uint32_t entry = vocab->filters[i * vocab->size + id];
        const uint32_t token = entry & ~BURBLE__FILTER_DROP;
        if (slot->token == token)
            return false;
        slot->token = token;
        if ((entry & BURBLE__FILTER_DROP) != 0)
            return false;
    }
    return true;
}

/* ---- from pieces to characters --------------------------------------------------------------- */

static const struct burble__origin *held_origins(const burble_detok *detok)
{
    static const struct burble__origin none = {0};
    return detok->held.len == 0 ? &none : (const void *)detok->held.bytes;
}

/* Some bytes of a piece, as text or not. `origins` is NULL if spans are off. */
static int take_bytes(burble_detok *detok, const char *bytes, size_t len, bool is_text,
                      struct burble__origins *origins, uint64_t token)
{
    struct burble__utf8 *utf8 = &detok->state->utf8;
    struct burble__buffer *out = &detok->out.bytes;
    const struct burble__origin own = {token, token};
    int result = BURBLE_OK;
    if (origins == NULL) {
        result = burble__buffer_reserve(out, BURBLE__UTF8_GROWTH * (utf8->held + len));
        if (result == BURBLE_OK && !is_text) {
            if (len > 0) /* where all is empty, `out` has no memory yet */
                out->len += burble__utf8_feed(utf8, bytes, len, out->bytes + out->len);
        } else if (result == BURBLE_OK) {
            if (utf8->held > 0)
                out->len += burble__utf8_flush(utf8, out->bytes + out->len);
            if (len > 0) { /* the same */
                memcpy(out->bytes + out->len, bytes, len);
                out->len += len;
            }
        }
        return result;
    }
    if (is_text) {
        result = burble__origins_flush(detok, origins);
        return result == BURBLE_OK ? burble__writer_put(&detok->out, bytes, len, &own) : result;
    }
    for (size_t i = 0; i < len && result == BURBLE_OK; i++)
        result = burble__origins_feed(detok, origins, bytes[i], token);
    return result;
}

static int take_piece(burble_detok *detok, burble__piece piece, size_t from,
                      struct burble__origins *origins, uint64_t token)
{
    return take_bytes(detok, burble__piece_bytes(detok->vocab, piece) + from,
                      burble__piece_len(piece) - from, (piece & BURBLE__PIECE_TEXT) != 0, origins,
                      token);
}

/* Puts the text behind what was written. */
static int collect(struct burble__writer *out, const struct burble__traced *text)
{
    int result = burble__buffer_append(&out->bytes, text->bytes, text->len);
    if (result == BURBLE_OK && text->origins != NULL) {
        result = burble__buffer_append(&out->origins, (const char *)text->origins,
                                       text->len * sizeof *text->origins);
    }
    return result;
}

/* Rewrites what a piece in a run of byte tokens has become, which is what `out` has from here on. One
 * character at a time is all that is rewritten there, so nothing is ever held. */
static int rewrite_run(burble_detok *detok, size_t from)
{
    const struct burble__rewrites *rewrites = &detok->vocab->in_runs[detok->state->run_first];
    const bool traced = detok->options.spans;
    struct burble__writer *out = &detok->out;
    struct burble__traced text = burble__writer_text(out, traced);
    static const struct burble__origin nothing = {0};
    const struct burble__origin *none = &nothing;
    unsigned free_one = 0;
    text.bytes += from;
    text.len -= from;
    text.origins = traced ? text.origins + from : NULL;
    for (size_t i = 0; i < rewrites->n && text.len > 0; i++) {
        struct burble__rewrite_state state = {0};
        struct burble__writer *stage = &detok->stages[free_one];
        const int result =
            burble__rewrite_run(&rewrites->at[i], &state, true, &text, stage, &none, &detok->holds);
        if (result != BURBLE_OK)
            return result;
        free_one ^= stage->bytes.len > 0;
    }
    if (text.bytes == out->bytes.bytes + from && text.len > 0)
        return BURBLE_OK; /* it is what it was */
    out->bytes.len = from;
    out->origins.len = traced ? from * sizeof *text.origins : 0;
    return collect(out, &text);
}

/* Takes a piece where runs of byte tokens are rewritten. */
static int take_in_run(burble_detok *detok, burble__piece piece, struct burble__origins *origins,
                       bool first)
{
    struct burble__detok_state *state = detok->state;
    const size_t from = detok->out.bytes.len;
    const bool in_run = (piece & BURBLE__PIECE_TEXT) == 0;
    state->run_first = in_run && (state->in_run ? state->run_first : first);
    state->in_run = in_run;
    const int result = take_piece(detok, piece, 0, origins, state->taken);
    return in_run && result == BURBLE_OK ? rewrite_run(detok, from) : result;
}

/* How many bytes two pieces have in common at their beginning, whole characters of text. */
static size_t common(const burble_vocab *vocab, burble__piece a, burble__piece b)
{
    const char *left = burble__piece_bytes(vocab, a);
    const char *right = burble__piece_bytes(vocab, b);
    const size_t len_a = burble__piece_len(a);
    const size_t len_b = burble__piece_len(b);
    const size_t most = len_a < len_b ? len_a : len_b;
    size_t i = 0;
    if ((a & b & BURBLE__PIECE_TEXT) == 0)
        return 0;
    while (i < most && left[i] == right[i])
        i++;
    while (i > 0
           && ((i < len_a && ((unsigned char)left[i] & 0xC0) == 0x80)
               || (i < len_b && ((unsigned char)right[i] & 0xC0) == 0x80))) {
        i--;
    }
    return i;
}

/* The token that waits turns out to be the last, or not. */
static int resolve(burble_detok *detok, bool last, struct burble__origins *origins)
{
    struct burble__detok_state *state = detok->state;
    if (!state->waits)
        return BURBLE_OK;
    const burble__piece piece = detok->vocab->pieces[state->waiting];
    const unsigned place =
        (state->waiting_first ? BURBLE__AT_FIRST : 0u) | (last ? BURBLE__AT_LAST : 0u);
    state->waits = false;
    return take_piece(detok, burble__vocab_at(detok->vocab, state->waiting, piece, place),
                      state->waiting_out, origins, state->waiting_at);
}

/* A token in a vocabulary whose tokens differ at the end of the sequence. */
static int take_waiting(burble_detok *detok, uint32_t id, burble__piece piece, unsigned place,
                        struct burble__origins *origins)
{
    struct burble__detok_state *state = detok->state;
    const int result = resolve(detok, false, origins);
    if (result != BURBLE_OK)
        return result;
    const burble__piece inside = burble__vocab_at(detok->vocab, id, piece, place);
    const burble__piece last = burble__vocab_at(detok->vocab, id, piece, place | BURBLE__AT_LAST);
    const size_t same = common(detok->vocab, inside, last);
    const bool differ = ((inside ^ last) & BURBLE__PIECE_TEXT) != 0
                        || same < burble__piece_len(inside) || same < burble__piece_len(last);
    if (!differ || (piece & (BURBLE__PIECE_LAST_CUT | BURBLE__PIECE_OTHER)) == 0)
        return take_piece(detok, inside, 0, origins, state->taken);
    state->waits = true;
    state->waiting = id;
    state->waiting_at = state->taken;
    state->waiting_first = place != 0;
    state->waiting_out = (uint32_t)same;
    if ((inside & last & BURBLE__PIECE_TEXT) == 0)
        return BURBLE_OK; /* as bytes, it might still join what is held */
    return take_bytes(detok, burble__piece_bytes(detok->vocab, inside), same, true, origins,
                      state->taken);
}

static int take(burble_detok *detok, int32_t id, struct burble__origins *origins)
{
    const burble_vocab *vocab = detok->vocab;
    struct burble__detok_state *state = detok->state;
    const burble__piece piece = burble__vocab_piece(vocab, (uint32_t)id);
    int result = BURBLE_OK;
    if ((piece & detok->skip & BURBLE__PIECE_SPECIAL) != 0 && vocab->special_breaks) {
        result = take_bytes(detok, "", 0, true, origins, state->taken);
    } else if ((piece & detok->skip) == 0 && passes(detok, (uint32_t)id)) {
        const unsigned place = state->begun ? 0 : BURBLE__AT_FIRST;
        state->begun = true;
        if ((vocab->places & BURBLE__AT_LAST) != 0) {
            result = take_waiting(detok, (uint32_t)id, piece, place, origins);
        } else {
            const burble__piece here = burble__vocab_at(vocab, (uint32_t)id, piece, place);
            result = vocab->in_runs[0].n + vocab->in_runs[1].n > 0
                         ? take_in_run(detok, here, origins, place != 0)
                         : take_piece(detok, here, 0, origins, state->taken);
        }
    }
    state->taken++;
    return result;
}

/* Takes the ids up to the first whose piece is not text in the middle of a sequence, which is what take() does with
 * them: those are nearly all ids of a long list. On failure, *taken ids were taken. */
static int take_texts(burble_detok *detok, const int32_t *ids, size_t n, size_t *taken)
{
    const burble_vocab *vocab = detok->vocab;
    struct burble__buffer *out = &detok->out.bytes;
    const unsigned flags = detok->skip | BURBLE__PIECE_TEXT;
    int result = BURBLE_OK;
    size_t i = 0;
    for (; i < n; i++) {
        const burble__piece piece = burble__vocab_piece(vocab, (uint32_t)ids[i]);
        const size_t len = burble__piece_len(piece);
        if ((piece & flags) != BURBLE__PIECE_TEXT
            || (result = burble__buffer_reserve(out, len)) != BURBLE_OK)
            break;
        if (len == 0)
            continue; /* `out` may have no memory yet */
        memcpy(out->bytes + out->len, burble__piece_bytes(vocab, piece), len);
        out->len += len;
    }
    if (i > 0)
        detok->state->in_run = false;
    detok->state->taken += i;
    *taken = i;
    return result;
}

/* Takes all ids. */
static int take_all(burble_detok *detok, const int32_t *ids, size_t n,
                    struct burble__origins *origins)
{
    const struct burble__detok_state *state = detok->state;
    const bool plain = (detok->vocab->places & BURBLE__AT_LAST) == 0 && detok->vocab->n_filters == 0
                       && origins == NULL;
    int result = BURBLE_OK;
    for (size_t i = 0; i < n && result == BURBLE_OK;) {
        size_t taken = 0;
        if (plain && state->begun && state->utf8.held == 0)
            result = take_texts(detok, ids + i, n - i, &taken);
        i += taken;
        if (i < n && result == BURBLE_OK)
            result = take(detok, ids[i++], origins);
    }
    return result;
}

/* ---- from characters to text ----------------------------------------------------------------- */

/* Whether clean_up leaves this text unchanged; decided by its first character and the one after each space
 * in it. */
static bool is_clean(const struct burble__traced *text)
{
    const char *at = text->bytes;
    const char *end = at + text->len;
    while ((at = memchr(at, ' ', (size_t)(end - at))) != NULL) {
        at++;
        if (at == end || memchr(".?!,'n", *at, 6) != NULL)
            return false;
    }
    return true;
}

static bool clean_up_holds(const burble_detok *detok)
{
    uint32_t held = 0;
    for (size_t i = detok->vocab->rewrites.n; i < detok->n_rewrites; i++)
        held |= rewrite_state(detok, i)->held;
    return held > 0;
}

/* Takes the text through the rewrites. `held` are the origins of what they hold. */
static int rewrite(burble_detok *detok, bool end, struct burble__traced *text,
                   const struct burble__origin *held)
{
    unsigned free_one = 0;
    for (size_t i = 0; i < detok->n_rewrites; i++) {
        if (i == detok->vocab->rewrites.n && is_clean(text) && !clean_up_holds(detok))
            return BURBLE_OK;
        struct burble__writer *out = &detok->stages[free_one];
        const int result = burble__rewrite_run(rewrite_at(detok, i), rewrite_state(detok, i), end,
                                               text, out, &held, &detok->holds);
        if (result != BURBLE_OK)
            return result;
        /* Where something was written, that is the text, and the next one writes elsewhere. */
        free_one ^= out->bytes.len > 0;
    }
    return BURBLE_OK;
}

/* Passes the text of `out` through the rewrites. `origins` are those of the bytes that burble__utf8 holds
 * now, `held` those of the text that the rewrites held when the call began. */
static int rewrite_traced(burble_detok *detok, bool end, struct burble__traced *text,
                          const struct burble__origins *origins, const struct burble__origin *held)
{
    int result = BURBLE_OK;
    detok->holds.len = 0;
    for (size_t i = 0; i < detok->state->utf8.held && result == BURBLE_OK; i++) {
        result = burble__buffer_append(&detok->holds, (const char *)&origins->at[i],
                                       sizeof origins->at[i]);
    }
    return result == BURBLE_OK ? rewrite(detok, end, text, held) : result;
}

/* Takes the ids, and, if `end` is true, the end of the sequence after them, and returns the text. After a
 * failure, *detok->state is undefined. */
static int run(burble_detok *detok, const int32_t *ids, size_t n, bool end,
               struct burble__traced *text)
{
    struct burble__origins traced = {0};
    struct burble__origins *origins = detok->options.spans ? &traced : NULL;
    const struct burble__origin *held = held_origins(detok);
    const size_t held_before = detok->state->utf8.held;
    if (origins != NULL)
        memcpy(traced.at, held, held_before * sizeof *held);
    detok->out.bytes.len = 0;
    detok->out.origins.len = 0;
    int result = take_all(detok, ids, n, origins);
    if (end && result == BURBLE_OK) {
        result = resolve(detok, true, origins);
        if (result == BURBLE_OK && detok->state->utf8.held > 0)
            result = take_bytes(detok, "", 0, true, origins, 0);
    }
    if (result != BURBLE_OK)
        return result;
    *text = burble__writer_text(&detok->out, origins != NULL);
    if (origins == NULL)
        return rewrite(detok, end, text, NULL);
    result = rewrite_traced(detok, end, text, origins, held + held_before);
    if (result == BURBLE_OK) {
        const struct burble__buffer swap = detok->held;
        detok->held = detok->holds;
        detok->holds = swap;
    }
    return result;
}

/* Returns the text of one id without a copy, if possible; otherwise returns false and changes nothing. */
static bool lend(burble_detok *detok, int32_t id, struct burble__traced *text)
{
    struct burble__detok_state *state = detok->state;
    burble__piece piece = burble__vocab_piece(detok->vocab, (uint32_t)id);
    if ((piece & BURBLE__PIECE_TEXT) == 0 || (piece & detok->skip) != 0 || !detok->lends
        || state->utf8.held > 0) {
        return false;
    }
    if (!state->begun) {
        piece = burble__vocab_at(detok->vocab, (uint32_t)id, piece, BURBLE__AT_FIRST);
        if ((piece & BURBLE__PIECE_TEXT) == 0)
            return false;
    }
    text->bytes = burble__piece_bytes(detok->vocab, piece);
    text->len = burble__piece_len(piece);
    if (detok->n_rewrites > 0) {
        memcpy(detok->before.state, state, detok->state_size);
        if (rewrite(detok, false, text, NULL) != BURBLE_OK) {
            memcpy(state, detok->before.state, detok->state_size);
            return false;
        }
    }
    state->begun = true;
    state->in_run = false;
    state->taken++;
    return true;
}

/* ---- making one ------------------------------------------------------------------------------ */

static void begin(burble_detok *detok)
{
    const burble_vocab *vocab = detok->vocab;
    memset(detok->state, 0, detok->state_size);
    burble__utf8_init(&detok->state->utf8, vocab->rule);
    for (size_t i = 0; i < vocab->n_filters; i++)
        detok->state->slots[i].token = NO_TOKEN;
    for (size_t i = 0; i < detok->n_rewrites; i++)
        burble__rewrite_reset(rewrite_at(detok, i), rewrite_state(detok, i));
    detok->held.len = 0;
    detok->n_pasts = 0;
}

static int reserve_writer(struct burble__writer *writer, size_t n, bool traced)
{
    const int result = burble__buffer_reserve(&writer->bytes, n);
    return result == BURBLE_OK && traced
               ? burble__buffer_reserve(&writer->origins, n * sizeof(struct burble__origin))
               : result;
}

/* Makes room for all text that the end of a sequence can return, because that must not fail. */
static int reserve_finish(burble_detok *detok)
{
    const bool traced = detok->options.spans;
    size_t max = detok->vocab->finish_max;
    if (detok->lends && detok->n_rewrites == 0)
        return BURBLE_OK;
    int result = reserve_writer(&detok->out, max, traced);
    for (size_t i = 0; i < detok->n_rewrites; i++)
        max = burble__rewrite_bound(rewrite_at(detok, i), max);
    for (size_t i = 0; i < COUNT(detok->stages) && detok->n_rewrites > 0; i++)
        result = result == BURBLE_OK ? reserve_writer(&detok->stages[i], max, traced) : result;
    if (traced && result == BURBLE_OK)
        result = burble__buffer_reserve(&detok->spans, max * sizeof(burble_span));
    return result;
}

void burble_detok_options_init(burble_detok_options *options)
{
    *options = (burble_detok_options){0};
}

int burble_detok_create(burble_vocab *vocab, const burble_detok_options *options,
                        burble_detok **out)
{
    const burble_detok_options defaults = {0};
    options = options == NULL ? &defaults : options;
    *out = NULL;
    if (!BURBLE__UNUSED(options))
        return BURBLE_EINVAL;
    const size_t n_rewrites = vocab->rewrites.n + (options->clean_up ? COUNT(clean_up) : 0);
    const size_t state_size = sizeof(struct burble__detok_state)
                              + (vocab->n_filters + n_rewrites) * sizeof(union burble__slot);
    burble_detok *detok = burble__malloc(sizeof *detok + 2 * state_size);
    if (detok == NULL)
        return BURBLE_ENOMEM;
    *detok = (burble_detok){
        .vocab = burble_vocab_ref(vocab),
        .skip = BURBLE__PIECE_NOTHING | (options->skip_special ? BURBLE__PIECE_SPECIAL : 0u),
        .lends = (vocab->places & BURBLE__AT_LAST) == 0 && vocab->n_filters == 0
                 && options->rewind == 0 && !options->spans,
        .options = *options,
        .n_rewrites = n_rewrites,
        .state_size = state_size,
        .state = (void *)(detok + 1),
    };
    detok->before.state = (void *)((char *)(detok + 1) + state_size);
    /* The text of a push must fit into one record. */
    burble__writer_init(&detok->out, BURBLE_RECORD_MAX);
    burble__writer_init(&detok->stages[0], BURBLE_RECORD_MAX);
    burble__writer_init(&detok->stages[1], BURBLE_RECORD_MAX);
    burble__writer_init(&detok->collected, BURBLE_RECORD_MAX);
    burble__buffer_init(&detok->held, BURBLE_RECORD_MAX);
    burble__buffer_init(&detok->holds, BURBLE_RECORD_MAX);
    burble__buffer_init(&detok->before.held, BURBLE_RECORD_MAX);
    burble__buffer_init(&detok->spans, SIZE_MAX / 2);
    if (reserve_finish(detok) != BURBLE_OK || burble__past_make_ring(detok) != BURBLE_OK) {
        burble_detok_destroy(&detok);
        return BURBLE_ENOMEM;
    }
    begin(detok);
    *out = detok;
    return BURBLE_OK;
}

void burble_detok_destroy(burble_detok **detok)
{
    if (detok == NULL || *detok == NULL)
        return;
    burble_detok *mine = *detok;
    burble__past_free_ring(mine);
    burble__buffer_finish(&mine->spans);
    burble__buffer_finish(&mine->before.held);
    burble__buffer_finish(&mine->holds);
    burble__buffer_finish(&mine->held);
    burble__writer_finish(&mine->collected);
    burble__writer_finish(&mine->stages[1]);
    burble__writer_finish(&mine->stages[0]);
    burble__writer_finish(&mine->out);
    burble_vocab_unref(&mine->vocab);
    burble__free(mine);
    *detok = NULL;
}

int burble_detok_copy(const burble_detok *detok, burble_detok **out)
{
    burble_detok *copy;
    *out = NULL;
    if (burble_detok_create(detok->vocab, &detok->options, &copy) != BURBLE_OK)
        return BURBLE_ENOMEM;
    memcpy(copy->state, detok->state, detok->state_size);
    int result = burble__buffer_append(&copy->held, detok->held.bytes, detok->held.len);
    result = result == BURBLE_OK ? burble__past_copy_ring(detok, copy) : result;
    if (result != BURBLE_OK) {
        burble_detok_destroy(&copy);
        return BURBLE_ENOMEM;
    }
    *out = copy;
    return BURBLE_OK;
}

/* ---- taking ids ------------------------------------------------------------------------------ */

/* Takes the ids one by one, remembering where each began; *taken is how many. */
static int run_each(burble_detok *detok, const int32_t *ids, size_t n, bool hand_out,
                    struct burble__traced *text, size_t *taken)
{
    int result = BURBLE_OK;
    detok->collected.bytes.len = 0;
    detok->collected.origins.len = 0;
    for (*taken = 0; *taken < n && result == BURBLE_OK;) {
        result = burble__past_remember(detok);
        if (result == BURBLE_OK)
            result = run(detok, ids + (*taken)++, 1, false, text);
        if (result == BURBLE_OK && hand_out) {
            detok->state->handed += text->len;
            result = n > 1 ? collect(&detok->collected, text) : BURBLE_OK;
        }
    }
    if (n != 1)
        *text = burble__writer_text(&detok->collected, detok->options.spans);
    return result;
}

/* Takes all ids, or none of them if memory runs out. */
static int take_ids(burble_detok *detok, const int32_t *ids, size_t n, bool hand_out,
                    struct burble__traced *text)
{
    const size_t n_pasts = detok->n_pasts;
    size_t taken = 0;
    int result = burble__past_save(detok, &detok->before);
    if (result != BURBLE_OK)
        return result;
    result = detok->options.rewind > 0 ? run_each(detok, ids, n, hand_out, text, &taken)
                                       : run(detok, ids, n, false, text);
    if (result == BURBLE_OK && detok->options.spans && hand_out)
        result = burble__spans_note(detok, text);
    if (result != BURBLE_OK) {
        burble__past_restore(detok, &detok->before);
        if (detok->options.rewind > 0)
            burble__past_forget(detok, taken, n_pasts);
    }
    return result;
}

static bool are_ids(const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0)
            return false;
    return true;
}

int burble_detok_push(burble_detok *detok, const int32_t *ids, size_t n, burble_text *text)
{
    struct burble__traced traced = {.bytes = ""};
    *text = (burble_text){.bytes = ""};
    detok->spans.len = 0;
    if (!are_ids(ids, n))
        return BURBLE_EINVAL;
    if (n != 1 || !lend(detok, ids[0], &traced)) {
        const int result = take_ids(detok, ids, n, true, &traced);
        if (result != BURBLE_OK)
            return result;
    }
    *text = (burble_text){.bytes = traced.bytes, .len = traced.len};
    return BURBLE_OK;
}

int burble_detok_prime(burble_detok *detok, const int32_t *ids, size_t n)
{
    struct burble__traced nobody_wants_it;
    detok->spans.len = 0;
    return are_ids(ids, n) ? take_ids(detok, ids, n, false, &nobody_wants_it) : BURBLE_EINVAL;
}

void burble_detok_finish(burble_detok *detok, burble_text *text)
{
    struct burble__traced traced = {.bytes = ""};
    if (detok->lends && detok->n_rewrites == 0) {
        traced.bytes = detok->last;
        traced.len = burble__utf8_flush(&detok->state->utf8, detok->last);
    } else {
        /* There is room: burble_detok_create has reserved it. */
        int result = run(detok, NULL, 0, true, &traced);
        assert(result == BURBLE_OK);
        result = detok->options.spans ? burble__spans_note(detok, &traced) : BURBLE_OK;
        assert(result == BURBLE_OK);
        (void)result;
    }
    *text = (burble_text){.bytes = traced.bytes, .len = traced.len};
    begin(detok);
}

void burble_detok_reset(burble_detok *detok)
{
    detok->spans.len = 0;
    begin(detok);
}

bool burble_detok_has_pending(const burble_detok *detok)
{
    bool holds = detok->state->utf8.held > 0 || detok->state->waits;
    for (size_t i = 0; i < detok->n_rewrites && !holds; i++)
        holds = rewrite_state(detok, i)->held > 0;
    return holds;
}
