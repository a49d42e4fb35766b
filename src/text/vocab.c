/* SPDX-License-Identifier: MIT */
#include "text/vocab.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/error_message.h"
#include "base/hash.h"
#include "text/compile.h"

#define ALL_TOKEN_FLAGS                                                                            \
    ((uint32_t)(BURBLE_TOKEN_SPECIAL | BURBLE_TOKEN_ABSENT | BURBLE_TOKEN_VERBATIM))

static_assert(BURBLE_VOCAB_MAX_TEXT < (uint64_t)1 << (64 - BURBLE__PIECE_OFFSET_SHIFT),
              "a piece's offset tells all places in the blob apart");

/* More than this may not be left to hand out when a sequence ends, in bytes. */
#define FINISH_MAX ((size_t)1 << 19)

/* While a vocabulary is made. */
struct maker {
    burble_vocab *vocab;
    const burble_token *tokens;
    size_t n;
    burble_error *error;
    struct burble__plan plan;
    struct burble__compiler compiler;
    struct burble__buffer blob;
    struct burble__buffer late; /* see run_late */
    struct burble__buffer other_ids;
    struct burble__buffer others;
    size_t longest; /* piece, in bytes */
};

/* The piece of a token at one place of the sequence: its position in the blob, and whether it is text. */
struct spelled {
    size_t offset;
    size_t len;
    bool is_text;
};

static int no_memory(burble_error *error)
{
    return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
}

/* The texts of the tokens before this one and its own are too long together. */
static int too_much(burble_error *error, size_t token, size_t len)
{
    return burble__error_set(
        error, BURBLE_EINVAL,
        "expected at most %u bytes of text in all tokens together, found %zu in "
        "those up to token %zu",
        BURBLE_VOCAB_MAX_TEXT, len, token);
}

/* Steps on single tokens have taken too much work. */
static int too_much_work(burble_error *error, size_t token, size_t max)
{
    return burble__error_set(
        error, BURBLE_EINVAL,
        "expected steps that process at most %zu bytes of text in total, found more for the "
        "tokens up to %zu",
        max, token);
}

/* ---- what is asked for --------------------------------------------------------------------------- */

/* Whether the tokens are within their bounds; *bytes is how long they are together. */
static int check_tokens(const burble_token *tokens, size_t n, bool utf8, size_t *bytes,
                        burble_error *error)
{
    if (n > BURBLE_VOCAB_MAX_IDS) {
        return burble__error_set(error, BURBLE_EINVAL, "expected at most %u tokens, found %zu",
                                 BURBLE_VOCAB_MAX_IDS, n);
    }
    if (tokens == NULL && n > 0)
        return burble__error_set(error, BURBLE_EINVAL, "expected %zu tokens, found NULL", n);
    size_t len = 0;
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const burble_token *token = &tokens[i];
        if (token->len > BURBLE_VOCAB_MAX_TOKEN) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "token %zu: expected at most %u bytes, found %lu", i,
                                     BURBLE_VOCAB_MAX_TOKEN, (unsigned long)token->len);
        }
        if ((token->flags & ~ALL_TOKEN_FLAGS) != 0) {
            return burble__error_set(error, BURBLE_EINVAL, "token %zu: unknown flags 0x%lX", i,
                                     (unsigned long)(token->flags & ~ALL_TOKEN_FLAGS));
        }
        if (token->len > 0 && token->text == NULL) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "token %zu: expected %lu bytes of text, found NULL", i,
                                     (unsigned long)token->len);
        }
        if (token->len > 0 && utf8 && !burble__utf8_valid(token->text, token->len))
            return burble__error_set(error, BURBLE_EINVAL, "token %zu: expected UTF-8", i);
        len += token->len;
        if (len > BURBLE_VOCAB_MAX_TEXT)
            return too_much(error, i, len);
    }
    *bytes = len;
    return BURBLE_OK;
}

/* Whether an operation on single tokens can be applied to a run of byte tokens before the run ends: it must be
 * about a single character, which is never split, and must not depend on the last token. */
static bool works_on_runs(const struct burble__op *op)
{
    if (op->kind != BURBLE__OP_REWRITE || op->rewrite.kind != BURBLE__REWRITE_REPLACE
        || op->places == BURBLE__LAST || op->places == BURBLE__NOT_LAST) {
        return false;
    }
    for (uint32_t i = 1; i < op->rewrite.text_len; i++)
        if (((unsigned char)op->rewrite.text[i] & 0xC0) != 0x80)
            return false;
    return true;
}

/* Whether the operations can be streamed in this order. */
static int check_order(const struct maker *maker)
{
    const struct burble__plan *plan = &maker->plan;
    const struct burble__compiler *compiler = &maker->compiler;
    bool by_place = false;
    for (size_t i = 0; i < compiler->n_ops; i++) {
        if (plan->ops[i].kind == BURBLE__OP_DEDUP && by_place) {
            return burble__error_set(maker->error, BURBLE_EUNSUPPORTED,
                                     "CTC after a step that depends on a token's place (Metaspace, "
                                     "WordPiece, BPEDecoder) is not supported");
        }
        by_place |= plan->ops[i].places != BURBLE__ANYWHERE;
    }
    for (size_t i = compiler->late; i < compiler->rest; i++) {
        if (!works_on_runs(&plan->ops[i]) || (maker->vocab->places & BURBLE__AT_LAST) != 0) {
            return burble__error_set(
                maker->error, BURBLE_EUNSUPPORTED,
                "a step that changes single tokens, between ByteFallback and Fuse, is not "
                "supported, except for replacing one character");
        }
    }
    for (size_t i = compiler->rest; i < plan->n_ops; i++) {
        if (plan->ops[i].kind > BURBLE__OP_FUSE) {
            return burble__error_set(maker->error, BURBLE_EUNSUPPORTED,
                                     "ByteLevel or ByteFallback after a step that joins tokens "
                                     "(ByteLevel, ByteFallback, Fuse) is not supported");
        }
    }
    return BURBLE_OK;
}

/* On which of its places the text of a token depends. */
static unsigned places_of(const struct burble__compiler *compiler)
{
    unsigned places = 0;
    for (size_t i = 0; i < compiler->rest; i++) {
        const unsigned at = compiler->ops[i].places;
        places |= at == BURBLE__FIRST || at == BURBLE__NOT_FIRST ? BURBLE__AT_FIRST : 0;
        places |= at == BURBLE__LAST || at == BURBLE__NOT_LAST ? BURBLE__AT_LAST : 0;
    }
    return places;
}

/* ---- filters --------------------------------------------------------------------------------- */

/* The texts of tokens, behind one another, and for each the number of the first that is the same. */
struct texts {
    struct burble__buffer bytes;
    size_t *ends; /* where the text of token i - 1 ends is where that of token i begins */
    uint32_t *slots;
    size_t mask;
};

/* `work` counts the bytes that are looked at: texts may have been chosen for their hashes. */
static uint32_t intern(struct texts *texts, size_t i, size_t *work)
{
    const size_t begin = i == 0 ? 0 : texts->ends[i - 1];
    const size_t len = texts->ends[i] - begin;
    const char *bytes = len == 0 ? "" : texts->bytes.bytes + begin;
    for (size_t at = burble__hash(bytes, len) & texts->mask;; at = (at + 1) & texts->mask) {
        const uint32_t found = texts->slots[at];
        if (found == UINT32_MAX) {
            texts->slots[at] = (uint32_t)i;
            return (uint32_t)i;
        }
        const size_t other = found == 0 ? 0 : texts->ends[found - 1];
        *work += 1 + (texts->ends[found] - other == len ? len : 0);
        if (texts->ends[found] - other == len
            && (len == 0 || memcmp(texts->bytes.bytes + other, bytes, len) == 0)) {
            return found;
        }
    }
}

/* Takes the text of a token through some of the operations before its core. */
static int run_token(struct maker *maker, size_t id, size_t begin, size_t end, unsigned place,
                     struct burble__traced *text)
{
    return (maker->tokens[id].flags & BURBLE_TOKEN_VERBATIM) != 0
               ? BURBLE_OK
               : burble__compiler_run(&maker->compiler, begin, end, place, text);
}

/* Fills in one filter: which tokens are the same before operation `dedup`, and which are empty
 * before operation `drop`. */
static int fill_filter(struct maker *maker, size_t dedup, size_t drop, struct texts *texts,
                       uint32_t *filter)
{
    int result = BURBLE_OK;
    for (size_t i = 0; i < maker->n && result == BURBLE_OK; i++) {
        struct burble__traced text = {.bytes = "", .len = maker->tokens[i].len};
        if (text.len > 0)
            text.bytes = maker->tokens[i].text;
        result = run_token(maker, i, 0, dedup, 0, &text);
        if (result == BURBLE_OK && texts->bytes.len + text.len > BURBLE_VOCAB_MAX_TEXT)
            return too_much(maker->error, i, texts->bytes.len + text.len);
        if (result == BURBLE_OK)
            result = burble__buffer_append(&texts->bytes, text.bytes, text.len);
        texts->ends[i] = texts->bytes.len;
        if (result == BURBLE_OK) {
            filter[i] = intern(texts, i, &maker->compiler.work);
            /* From the copy: what lies in the compiler is about to be overwritten. */
            text.bytes = text.len == 0 ? "" : texts->bytes.bytes + texts->bytes.len - text.len;
            result = run_token(maker, i, dedup, drop, 0, &text);
            filter[i] |= text.len == 0 ? BURBLE__FILTER_DROP : 0;
        }
        if (result == BURBLE_EUNSUPPORTED)
            return burble__error_set(maker->error, result, "the steps make token %zu too long", i);
        if (result == BURBLE_EFULL)
            return too_much_work(maker->error, i, maker->compiler.work_max);
    }
    return result == BURBLE_OK ? result : no_memory(maker->error);
}

static int make_filter(struct maker *maker, size_t dedup, uint32_t *filter)
{
    struct texts texts = {.mask = 1};
    size_t drop = dedup;
    int result;
    while (maker->compiler.ops[drop].kind != BURBLE__OP_DROP)
        drop++;
    while (texts.mask < 2 * maker->n)
        texts.mask = 2 * texts.mask + 1;
    burble__buffer_init(&texts.bytes, BURBLE_VOCAB_MAX_TEXT);
    texts.ends = burble__malloc((maker->n + 1) * sizeof *texts.ends);
    texts.slots = burble__malloc((texts.mask + 1) * sizeof *texts.slots);
    if (texts.ends == NULL || texts.slots == NULL) {
        result = no_memory(maker->error);
    } else {
        memset(texts.slots, 0xFF, (texts.mask + 1) * sizeof *texts.slots);
        result = fill_filter(maker, dedup, drop, &texts, filter);
    }
    burble__free(texts.slots);
    burble__free(texts.ends);
    burble__buffer_finish(&texts.bytes);
    return result;
}

static int make_filters(struct maker *maker)
{
    burble_vocab *vocab = maker->vocab;
    const struct burble__compiler *compiler = &maker->compiler;
    for (size_t i = 0; i < compiler->n_ops; i++)
        vocab->n_filters += compiler->ops[i].kind == BURBLE__OP_DEDUP;
    if (vocab->n_filters == 0)
        return BURBLE_OK;
    const size_t each = maker->n * sizeof *vocab->filters;
    if (each > SIZE_MAX / vocab->n_filters)
        return no_memory(maker->error);
    vocab->filters = burble__malloc(each * vocab->n_filters + 1);
    if (vocab->filters == NULL)
        return no_memory(maker->error);
    vocab->memory += each * vocab->n_filters + 1;
    uint32_t *filter = vocab->filters;
    for (size_t i = 0; i < compiler->n_ops; i++) {
        if (compiler->ops[i].kind == BURBLE__OP_DEDUP) {
            const int result = make_filter(maker, i, filter);
            if (result != BURBLE_OK)
                return result;
            filter += maker->n;
        }
    }
    return BURBLE_OK;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static burble__piece pack(const struct spelled *spelled)
{
    return (burble__piece)spelled->offset << BURBLE__PIECE_OFFSET_SHIFT
           | (burble__piece)spelled->len << BURBLE__PIECE_LEN_SHIFT
           | (spelled->is_text ? BURBLE__PIECE_TEXT : 0u);
}

/* Takes a text that lies in the compiler through its late operations. */
static int run_late(struct maker *maker, unsigned place, struct burble__traced *text)
{
    struct burble__compiler *compiler = &maker->compiler;
    maker->late.len = 0;
    const int result = burble__buffer_append(&maker->late, text->bytes, text->len);
    if (result != BURBLE_OK)
        return result;
    text->bytes = text->len == 0 ? "" : maker->late.bytes;
    return burble__compiler_run(compiler, compiler->late, compiler->rest, place, text);
}

/* Writes what a text behind all operations stands for to `out`. */
static void spell_token(struct maker *maker, const struct burble__traced *text, bool is_verbatim,
                        bool is_byte, char *out, struct spelled *spelled)
{
    const struct burble__compiler *compiler = &maker->compiler;
    if (!is_verbatim) {
        spelled->len = burble__compiler_spell(compiler, text, is_byte, out, &spelled->is_text);
        return;
    }
    memcpy(out, text->bytes, text->len);
    spelled->len = text->len;
    spelled->is_text = compiler->core != BURBLE__CORE_RAW
                       || (text->len > 0 && burble__utf8_valid(text->bytes, text->len));
}

/* Puts what the token stands for at this place at the end of the blob. */
static int spell_at(struct maker *maker, size_t id, unsigned place, struct spelled *spelled)
{
    struct burble__compiler *compiler = &maker->compiler;
    struct burble__traced text = {.bytes = "", .len = maker->tokens[id].len};
    if (text.len > 0)
        text.bytes = maker->tokens[id].text;
    const bool is_verbatim = (maker->tokens[id].flags & BURBLE_TOKEN_VERBATIM) != 0;
    int result = run_token(maker, id, 0, compiler->n_ops, place, &text);
    const bool is_byte =
        result == BURBLE_OK && !is_verbatim && burble__compiler_is_byte(compiler, &text);
    if (result == BURBLE_OK && !is_verbatim && !is_byte && compiler->late < compiler->rest)
        result = run_late(maker, place, &text);
    if (result == BURBLE_EUNSUPPORTED)
        return burble__error_set(maker->error, result, "the steps make token %zu too long", id);
    if (result == BURBLE_EFULL)
        return too_much_work(maker->error, id, compiler->work_max);
    if (result == BURBLE_OK && maker->blob.len + text.len > BURBLE_VOCAB_MAX_TEXT)
        return too_much(maker->error, id, maker->blob.len + text.len);
    if (result == BURBLE_OK)
        result = burble__buffer_reserve(&maker->blob, text.len + 1);
    if (result != BURBLE_OK)
        return no_memory(maker->error);
    char *out = maker->blob.bytes + maker->blob.len;
    spelled->offset = maker->blob.len;
    spell_token(maker, &text, is_verbatim, is_byte, out, spelled);
    maker->blob.len += spelled->len;
    maker->longest = spelled->len > maker->longest ? spelled->len : maker->longest;
    return BURBLE_OK;
}

static bool same(const struct maker *maker, const struct spelled *a, const struct spelled *b)
{
    return a->is_text == b->is_text && a->len == b->len
           && memcmp(maker->blob.bytes + a->offset, maker->blob.bytes + b->offset, a->len) == 0;
}

/* Whether `other` is `one` with so many bytes cut off at its left and right. */
static bool is_cut(const struct maker *maker, const struct spelled *one, size_t left, size_t right,
                   const struct spelled *other)
{
    if (one->len < left + right)
        return false;
    const struct spelled cut = {one->offset + left, one->len - left - right, one->is_text};
    return same(maker, &cut, other);
}

/* Describes the token at all its places by flags, if possible. The text that was written after the first one is
 * then removed again. */
static bool flag_places(struct maker *maker, const struct spelled *spelled, unsigned *flags)
{
    const unsigned places = maker->vocab->places;
    const bool first =
        (places & BURBLE__AT_FIRST) != 0 && !same(maker, &spelled[0], &spelled[BURBLE__AT_FIRST]);
    const bool last =
        (places & BURBLE__AT_LAST) != 0 && !same(maker, &spelled[0], &spelled[BURBLE__AT_LAST]);
    for (unsigned place = 1; place < BURBLE__PLACES; place++) {
        if ((place & ~places) == 0
            && !is_cut(maker, &spelled[0], first && (place & BURBLE__AT_FIRST) != 0,
                       last && (place & BURBLE__AT_LAST) != 0, &spelled[place])) {
            return false;
        }
    }
    *flags |= first ? BURBLE__PIECE_FIRST_CUT : 0;
    *flags |= last ? BURBLE__PIECE_LAST_CUT : 0;
    maker->blob.len = spelled[0].offset + spelled[0].len;
    return true;
}

/* Where the token is the end of what it is as the first one (`##s`), one copy does for both. */
static void share(struct maker *maker, struct spelled *spelled)
{
    const struct spelled *first = &spelled[BURBLE__AT_FIRST];
    const size_t more = first->len - spelled[0].len;
    if (maker->vocab->places != BURBLE__AT_FIRST || first->len < spelled[0].len
        || memcmp(maker->blob.bytes + first->offset + more, maker->blob.bytes + spelled[0].offset,
                  spelled[0].len)
               != 0) {
        return;
    }
    memmove(maker->blob.bytes + spelled[0].offset, maker->blob.bytes + first->offset, first->len);
    spelled[BURBLE__AT_FIRST].offset = spelled[0].offset;
    spelled[0].offset += more;
    maker->blob.len = spelled[BURBLE__AT_FIRST].offset + first->len;
}

static int add_others(struct maker *maker, size_t id, const struct spelled *spelled)
{
    const uint32_t narrow = (uint32_t)id;
    if (burble__buffer_append(&maker->other_ids, (const char *)&narrow, sizeof narrow) != BURBLE_OK)
        return no_memory(maker->error);
    for (unsigned place = 1; place < BURBLE__PLACES; place++) {
        const burble__piece piece = pack(&spelled[place]);
        if ((place & ~maker->vocab->places) == 0
            && burble__buffer_append(&maker->others, (const char *)&piece, sizeof piece)
                   != BURBLE_OK) {
            return no_memory(maker->error);
        }
    }
    return BURBLE_OK;
}

static int make_piece(struct maker *maker, size_t id)
{
    const burble_token *token = &maker->tokens[id];
    unsigned flags = (token->flags & BURBLE_TOKEN_SPECIAL) != 0 ? BURBLE__PIECE_SPECIAL : 0;
    if ((token->flags & BURBLE_TOKEN_ABSENT) != 0) {
        maker->vocab->pieces[id] = flags | BURBLE__PIECE_NOTHING;
        return BURBLE_OK;
    }
    struct spelled spelled[BURBLE__PLACES] = {{0}};
    int result = BURBLE_OK;
    for (unsigned place = 0; place < BURBLE__PLACES && result == BURBLE_OK; place++)
        if ((place & ~maker->vocab->places) == 0)
            result = spell_at(maker, id, place, &spelled[place]);
    if (result == BURBLE_OK && !flag_places(maker, spelled, &flags)) {
        flags |= BURBLE__PIECE_OTHER;
        share(maker, spelled);
        result = add_others(maker, id, spelled);
    }
    maker->vocab->pieces[id] = pack(&spelled[0]) | flags;
    return result;
}

/* The contents of a buffer, in no more memory than needed; never NULL after BURBLE_OK. If shrinking fails, the
 * buffer stays as it is. */
static void *settle(struct burble__buffer *buffer, size_t *memory)
{
    char *bytes = burble__realloc(buffer->bytes, buffer->len == 0 ? 1 : buffer->len);
    bytes = bytes == NULL ? buffer->bytes : bytes;
    *memory += bytes == NULL ? 0 : buffer->len == 0 ? 1 : buffer->len;
    burble__buffer_init(buffer, 0);
    return bytes;
}

static int make_pieces(struct maker *maker)
{
    burble_vocab *vocab = maker->vocab;
    for (size_t id = 0; id < maker->n; id++) {
        const int result = make_piece(maker, id);
        if (result != BURBLE_OK)
            return result;
    }
    vocab->n_others = maker->other_ids.len / sizeof *vocab->other_ids;
    vocab->blob = settle(&maker->blob, &vocab->memory);
    if (vocab->n_others > 0) {
        vocab->other_ids = settle(&maker->other_ids, &vocab->memory);
        vocab->others = settle(&maker->others, &vocab->memory);
    }
    return vocab->blob == NULL ? no_memory(maker->error) : BURBLE_OK;
}

/* ---- rewrites of the whole text ------------------------------------------------------------------ */

/* Whether the operation is a rewrite of tokens at this place. */
static bool is_for(const struct burble__op *op, unsigned place)
{
    return op->kind == BURBLE__OP_REWRITE && (op->places >> place & 1) != 0;
}

/* Copies the rewrites for this place among the operations from `begin` to before `end`, with all
 * they refer to, in one piece of memory. */
static int make_rewrites(struct maker *maker, size_t begin, size_t end, unsigned place,
                         struct burble__rewrites *out)
{
    const struct burble__op *ops = maker->plan.ops;
    size_t n = 0;
    size_t bytes = 0;
    for (size_t i = begin; i < end; i++) {
        if (is_for(&ops[i], place)) {
            const struct burble__rewrite *rewrite = &ops[i].rewrite;
            n++;
            bytes += sizeof *rewrite + rewrite->text_len * (sizeof *rewrite->fallback + 1)
                     + rewrite->with_len;
        }
    }
    if (n == 0)
        return BURBLE_OK;
    out->at = burble__malloc(bytes);
    if (out->at == NULL)
        return no_memory(maker->error);
    maker->vocab->memory += bytes;
    for (size_t i = begin; i < end; i++)
        if (is_for(&ops[i], place))
            out->at[out->n++] = ops[i].rewrite;
    uint32_t *fallback = (void *)(out->at + n);
    for (size_t i = 0; i < n; i++) {
        struct burble__rewrite *rewrite = &out->at[i];
        if (rewrite->fallback != NULL) {
            memcpy(fallback, rewrite->fallback, rewrite->text_len * sizeof *fallback);
            rewrite->fallback = fallback;
        }
        fallback += rewrite->text_len;
    }
    char *text = (void *)fallback;
    for (size_t i = 0; i < n; i++) {
        struct burble__rewrite *rewrite = &out->at[i];
        memcpy(text, rewrite->text, rewrite->text_len);
        memcpy(text + rewrite->text_len, rewrite->with, rewrite->with_len);
        rewrite->text = text;
        rewrite->with = text + rewrite->text_len;
        text += rewrite->text_len + rewrite->with_len;
    }
    return BURBLE_OK;
}

static int make_all_rewrites(struct maker *maker)
{
    burble_vocab *vocab = maker->vocab;
    const struct burble__compiler *compiler = &maker->compiler;
    /* The whole text is a token at the first place and the last. */
    const unsigned all = BURBLE__AT_FIRST | BURBLE__AT_LAST;
    int result = make_rewrites(maker, compiler->rest, maker->plan.n_ops, all, &vocab->rewrites);
    for (unsigned first = 0; first < 2 && result == BURBLE_OK; first++) {
        result =
            make_rewrites(maker, compiler->late, compiler->rest, first, &vocab->in_runs[first]);
    }
    return result;
}

/* Finishing a sequence must never fail, so the text that it returns must be bounded. */
static int check_finish(struct maker *maker)
{
    burble_vocab *vocab = maker->vocab;
    vocab->finish_max = (size_t)BURBLE__UTF8_GROWTH * BURBLE__UTF8_HELD_MAX;
    if ((vocab->places & BURBLE__AT_LAST) != 0)
        vocab->finish_max += BURBLE__UTF8_GROWTH * maker->longest;
    size_t max = vocab->finish_max;
    for (size_t i = 0; i < vocab->rewrites.n && max <= FINISH_MAX; i++)
        max = burble__rewrite_bound(&vocab->rewrites.at[i], max);
    if (max > FINISH_MAX) {
        return burble__error_set(maker->error, BURBLE_EUNSUPPORTED,
                                 "the steps may hold back more than %zu bytes to the end",
                                 FINISH_MAX);
    }
    return BURBLE_OK;
}

/* ---- all together -------------------------------------------------------------------------------- */

static int make(struct maker *maker, const burble_vocab_options *options, size_t bytes)
{
    burble__compiler_init(&maker->compiler, &maker->plan, options->n_steps > 0,
                          BURBLE__WORK_MAX(bytes, maker->n));
    maker->vocab->rule = maker->compiler.core == BURBLE__CORE_FALLBACK ? BURBLE__UTF8_PER_BYTE
                                                                       : BURBLE__UTF8_PER_PART;
    maker->vocab->special_breaks = options->special_breaks && options->n_steps == 0;
    maker->vocab->places = places_of(&maker->compiler);
    burble__buffer_init(&maker->blob, BURBLE_VOCAB_MAX_TEXT + 1);
    burble__buffer_init(&maker->late, BURBLE_VOCAB_MAX_TOKEN);
    burble__buffer_init(&maker->other_ids, SIZE_MAX / 2);
    burble__buffer_init(&maker->others, SIZE_MAX / 2);

    int result = check_order(maker);
    if (result == BURBLE_OK)
        result = make_filters(maker);
    if (result == BURBLE_OK)
        result = make_pieces(maker);
    if (result == BURBLE_OK)
        result = make_all_rewrites(maker);
    if (result == BURBLE_OK)
        result = check_finish(maker);
    burble__buffer_finish(&maker->others);
    burble__buffer_finish(&maker->other_ids);
    burble__buffer_finish(&maker->late);
    burble__buffer_finish(&maker->blob);
    burble__compiler_finish(&maker->compiler);
    return result;
}

void burble_vocab_options_init(burble_vocab_options *options)
{
    *options = (burble_vocab_options){0};
}

int burble_vocab_create(const burble_vocab_options *options, const burble_token *tokens, size_t n,
                        burble_vocab **out, burble_error *error)
{
    const burble_vocab_options defaults = {0};
    struct maker maker = {.tokens = tokens, .n = n, .error = error};
    *out = NULL;
    options = options == NULL ? &defaults : options;
    size_t bytes = 0;
    int result = check_tokens(tokens, n, options->n_steps > 0, &bytes, error);
    if (result != BURBLE_OK)
        return result;
    result = burble__plan_init(&maker.plan, options, error);
    if (result != BURBLE_OK)
        return result;
    const size_t size = sizeof *maker.vocab + n * sizeof(burble__piece);
    maker.vocab =
        n > (SIZE_MAX - sizeof *maker.vocab) / sizeof(burble__piece) ? NULL : burble__malloc(size);
    if (maker.vocab == NULL) {
        result = no_memory(error);
        goto finish_plan;
    }
    *maker.vocab = (burble_vocab){.size = n, .memory = size};
    burble__init(&maker.vocab->refs, 1);
    result = make(&maker, options, bytes);
    if (result != BURBLE_OK)
        burble_vocab_unref(&maker.vocab);
    *out = maker.vocab;

finish_plan:
    burble__plan_finish(&maker.plan);
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
    if (vocab == NULL || *vocab == NULL)
        return;
    burble_vocab *mine = *vocab;
    *vocab = NULL;
    /* Acquire and release pair with one another across threads: every read that another holder made
     * comes before the free. Without that it could read freed memory. */
    const size_t before = burble__sub_acq_rel(&mine->refs, 1);
    assert(before > 0);
    if (before == 1) {
        burble__free(mine->in_runs[1].at);
        burble__free(mine->in_runs[0].at);
        burble__free(mine->rewrites.at);
        burble__free(mine->filters);
        burble__free(mine->others);
        burble__free(mine->other_ids);
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
    return vocab->memory;
}

/* ---- for the detokenizer ------------------------------------------------------------------------- */

/* Where in `other_ids` an id is that is there. */
static size_t find_other(const burble_vocab *vocab, uint32_t id)
{
    size_t low = 0;
    size_t high = vocab->n_others;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (vocab->other_ids[middle] <= id)
            low = middle;
        else
            high = middle;
    }
    assert(vocab->other_ids[low] == id);
    return low;
}

burble__piece burble__vocab_at(const burble_vocab *vocab, uint32_t id, burble__piece piece,
                               unsigned place)
{
    const burble__piece one = (burble__piece)1 << BURBLE__PIECE_LEN_SHIFT;
    place &= vocab->places;
    if (place == 0)
        return piece;
    if ((piece & BURBLE__PIECE_OTHER) != 0) {
        const size_t at = find_other(vocab, id);
        const bool both = vocab->places == (BURBLE__AT_FIRST | BURBLE__AT_LAST);
        return vocab->others[both ? 3 * at + place - 1 : at];
    }
    if ((place & BURBLE__AT_FIRST) != 0 && (piece & BURBLE__PIECE_FIRST_CUT) != 0)
        piece += ((burble__piece)1 << BURBLE__PIECE_OFFSET_SHIFT) - one;
    if ((place & BURBLE__AT_LAST) != 0 && (piece & BURBLE__PIECE_LAST_CUT) != 0)
        piece -= one;
    return piece;
}
