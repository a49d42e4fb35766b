/* SPDX-License-Identifier: MIT
 *
 * The internals of a vocabulary, for the detokenizer.
 *
 * When a vocabulary is created, all steps that act on single tokens are applied to every token. The result is
 * a *piece*: the bytes of the token and a few flags. The bytes of all pieces are in one blob; a piece is one
 * 64-bit word with its position there. So looking up a token is one load, and the vocabulary takes 8 bytes
 * per id in addition to the bytes.
 *
 * The rest is done by the detokenizer, in this order: filters drop tokens (CTC); the token's place in the
 * sequence selects its piece; bytes are joined to characters; the whole text is rewritten. Most vocabularies
 * need only one of these.
 */
#ifndef BURBLE_TEXT_VOCAB_H
#define BURBLE_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/vocab.h>

#include "base/atomic.h"
#include "base/utf8.h"
#include "text/rewrite.h"
#include "text/steps.h"

/* From the low end: 7 bits of flags, 17 of length, 40 of offset. That is room for every vocabulary
 * that passes the bounds of <burble/vocab.h>: a piece of 2^16 bytes, 2^24 of them. */
typedef uint64_t burble__piece;

#define BURBLE__PIECE_LEN_SHIFT 7
#define BURBLE__PIECE_LEN_BITS 17
#define BURBLE__PIECE_OFFSET_SHIFT (BURBLE__PIECE_LEN_SHIFT + BURBLE__PIECE_LEN_BITS)

enum {
    /* No token has this id. */
    BURBLE__PIECE_NOTHING = 1u << 0,
    /* Left out where special tokens are skipped. */
    BURBLE__PIECE_SPECIAL = 1u << 1,
    /* Valid UTF-8, nothing incomplete: text as it is, and what was held before it stays broken.
     * Pieces without this flag are bytes, to be fed to burble__utf8. */
    BURBLE__PIECE_TEXT = 1u << 2,
    /* As the first of the sequence, it is without its first byte; as the last, without its last. */
    BURBLE__PIECE_FIRST_CUT = 1u << 3,
    BURBLE__PIECE_LAST_CUT = 1u << 4,
    /* As the first or the last of the sequence, it is another piece, to be found in `others`. */
    BURBLE__PIECE_OTHER = 1u << 5
};

/* In a filter's entry: the token is dropped in any case. The other bits are the same for two ids
 * if, and only if, the filter takes their tokens for the same. */
#define BURBLE__FILTER_DROP (UINT32_C(1) << 31)

struct burble__rewrites {
    struct burble__rewrite *at;
    size_t n;
};

struct burble_vocab {
    _Atomic(size_t) refs;
    size_t size;   /* ids; never changes, like all that follows */
    size_t memory; /* bytes, of all of it */
    char *blob;
    enum burble__utf8_rule rule;
    bool special_breaks; /* a special token that is left out breaks a character */
    unsigned places;     /* BURBLE__AT_…: on which of these pieces depend */
    size_t n_others;     /* ids whose pieces have BURBLE__PIECE_OTHER, in ascending order */
    uint32_t *other_ids; /* their pieces at each place, see burble__vocab_at, follow in `others` */
    burble__piece *others;
    size_t n_filters;
    uint32_t *filters;                  /* n_filters times `size` */
    struct burble__rewrites rewrites;   /* of the whole text */
    struct burble__rewrites in_runs[2]; /* of what byte tokens become: [1] in the first token */
    /* The most bytes that the end of the sequence can hand out, before rewrites. */
    size_t finish_max;
    burble__piece pieces[];
};

/* The piece for an id; one that stands for nothing where there is no such id. */
static inline burble__piece burble__vocab_piece(const burble_vocab *vocab, uint32_t id)
{
    return id < vocab->size ? vocab->pieces[id] : BURBLE__PIECE_NOTHING;
}

static inline size_t burble__piece_len(burble__piece piece)
{
    return (size_t)(piece >> BURBLE__PIECE_LEN_SHIFT) & (((size_t)1 << BURBLE__PIECE_LEN_BITS) - 1);
}

/* Where its bytes begin. */
static inline const char *burble__piece_bytes(const burble_vocab *vocab, burble__piece piece)
{
    return vocab->blob + (size_t)(piece >> BURBLE__PIECE_OFFSET_SHIFT);
}

/* The piece of `id` at this place (BURBLE__AT_… together). */
burble__piece burble__vocab_at(const burble_vocab *vocab, uint32_t id, burble__piece piece,
                               unsigned place);

#endif
