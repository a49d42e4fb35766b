/* SPDX-License-Identifier: MIT
 *
 * What a vocabulary looks like inside, for the detokenizer.
 *
 * At creation every token is compiled to a *piece*: the bytes it stands for and a few flags. The
 * bytes of all pieces lie behind one another in one blob; a piece is one 64-bit word that says
 * where in it, so that looking a token up is one load, and the vocabulary takes 8 bytes per id
 * beside the bytes themselves.
 */
#ifndef BURBLE_TEXT_VOCAB_H
#define BURBLE_TEXT_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include <burble/vocab.h>

#include "base/atomic.h"
#include "base/utf8.h"

/* From the low end: 7 bits of flags, 17 of length, 40 of offset. That is room for every vocabulary
 * that passes the bounds of <burble/vocab.h>: a piece of 2^16 bytes, 2^24 of them. */
typedef uint64_t burble__piece;

#define BURBLE__PIECE_LEN_SHIFT 7
#define BURBLE__PIECE_LEN_BITS 17
#define BURBLE__PIECE_OFFSET_SHIFT (BURBLE__PIECE_LEN_SHIFT + BURBLE__PIECE_LEN_BITS)

enum {
    /* It changes neither the text nor what is held: an id without a token, or an empty token where
     * that means nothing. */
    BURBLE__PIECE_NOTHING = 1u << 0,
    /* Left out where special tokens are skipped. */
    BURBLE__PIECE_SPECIAL = 1u << 1,
    /* Valid UTF-8, nothing incomplete: text as it is, and what was held before it stays broken.
     * Pieces without this flag are bytes, to be fed to burble__utf8. */
    BURBLE__PIECE_TEXT = 1u << 2
};

struct burble_vocab {
    _Atomic(size_t) refs;
    size_t size;      /* ids; never changes, like all that follows */
    size_t blob_size; /* bytes, at least 1 */
    char *blob;
    uint32_t strip_left; /* spaces to take away from the beginning of the text */
    enum burble__utf8_rule rule;
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

#endif
