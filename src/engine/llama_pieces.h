/* SPDX-License-Identifier: MIT
 *
 * The text of each token of a model, as bytes, for grammars. Immutable.
 */
#ifndef BURBLE_ENGINE_LLAMA_PIECES_H
#define BURBLE_ENGINE_LLAMA_PIECES_H

#include <llama.h>
#include <stddef.h>
#include <stdint.h>

struct burble__pieces {
    size_t n;        /* tokens */
    char *bytes;     /* all texts */
    uint32_t *begin; /* n + 1: where each text begins; special tokens have none */
    int32_t *order;  /* the ids in the order of the bytes of their texts */
};

/* BURBLE_OK or BURBLE_ENOMEM; *out is the caller's. */
int burble__pieces_create(const struct llama_vocab *tokens, struct burble__pieces **out);

/* NULL is fine. */
void burble__pieces_destroy(struct burble__pieces *pieces);

static inline const char *burble__piece(const struct burble__pieces *pieces, int32_t id,
                                        size_t *len)
{
    *len = pieces->begin[id + 1] - pieces->begin[id];
    return pieces->bytes + pieces->begin[id];
}

#endif
