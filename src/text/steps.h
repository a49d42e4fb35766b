/* SPDX-License-Identifier: MIT
 *
 * The steps of a tokenizer's decoder, taken apart.
 *
 * A step maps a list of tokens to a list of tokens. Each is one or several *operations* of a few
 * kinds, and an operation on single tokens says for which tokens it is meant: the first of the list,
 * the last, or the others. After the operation that joins all, the list is one token, the first
 * and the last at once, and what follows are rewrites of the whole text.
 *
 * Source of all these rules: tokenizers/src/decoders and pre_tokenizers/{byte_level,metaspace}.rs of
 * https://github.com/huggingface/tokenizers.
 */
#ifndef BURBLE_TEXT_STEPS_H
#define BURBLE_TEXT_STEPS_H

#include <burble/vocab.h>

#include "text/rewrite.h"

/* Where in its list a token stands. */
enum {
    BURBLE__AT_FIRST = 1u << 0,
    BURBLE__AT_LAST = 1u << 1,
    BURBLE__PLACES = 4 /* neither, first, last, both */
};

/* A set of places: bit i stands for place i. */
enum {
    BURBLE__ANYWHERE = 0xF,
    BURBLE__FIRST = 0xA,
    BURBLE__NOT_FIRST = 0x5,
    BURBLE__LAST = 0xC,
    BURBLE__NOT_LAST = 0x3
};

enum burble__op_kind {
    /* On single tokens: */
    BURBLE__OP_REWRITE,
    BURBLE__OP_HEAD,  /* takes `text` from its beginning or, where it is not there, puts a space */
    BURBLE__OP_JOIN,  /* puts `text` before it */
    BURBLE__OP_DEDUP, /* drops it where it is the same as the token before it */
    BURBLE__OP_DROP,  /* drops it where it is empty */
    /* These, from OP_FUSE on, leave one token: */
    BURBLE__OP_FUSE,
    BURBLE__OP_BYTE_LEVEL,
    /* Makes tokens of runs of byte tokens: */
    BURBLE__OP_BYTE_FALLBACK
};

struct burble__op {
    enum burble__op_kind kind;
    unsigned places; /* the tokens that it is meant for */
    struct burble__rewrite rewrite;
};

struct burble__plan {
    struct burble__op *ops;
    size_t n_ops;
    uint32_t *fallbacks; /* of the rewrites */
};

/* Takes the steps apart; their texts stay the caller's. The results are those of
 * burble_vocab_create, and *plan is to be finished only after BURBLE_OK. */
int burble__plan_init(struct burble__plan *plan, const burble_vocab_options *options,
                      burble_error *error);
void burble__plan_finish(struct burble__plan *plan);

#endif
