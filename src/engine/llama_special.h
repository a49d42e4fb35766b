/* SPDX-License-Identifier: MIT
 *
 * The tokens of a model that llama.cpp finds in a text before it splits the rest into words. Immutable.
 */
#ifndef BURBLE_ENGINE_LLAMA_SPECIAL_H
#define BURBLE_ENGINE_LLAMA_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llama.h>

struct burble__special {
    const char *text; /* of the vocabulary */
    size_t len;
    int32_t id;
    bool left, right; /* white space before it, or after it, belongs to it */
};

struct burble__special_set {
    struct burble__special *items; /* in the order of their bytes */
    size_t n;
    bool begins[256]; /* the first bytes */
};

struct burble__specials {
    struct burble__special_set control; /* found only if the caller wants special tokens */
    struct burble__special_set defined; /* always found */
};

/* BURBLE_OK or BURBLE_ENOMEM; *out is the caller's. */
int burble__specials_create(const struct llama_vocab *tokens, struct burble__specials **out);

/* NULL is fine. */
void burble__specials_destroy(struct burble__specials *specials);

/* The longest one that a text begins with; NULL: none. */
const struct burble__special *burble__special_at(const struct burble__special_set *set,
                                                 const char *text, size_t len);

#endif
