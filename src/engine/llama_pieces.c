/* SPDX-License-Identifier: MIT */
#include "engine/llama_pieces.h"

#include <burble/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* A text while it is put into order. */
struct entry {
    const char *bytes;
    uint32_t len;
    int32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    const int order = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    if (order != 0)
        return order;
    return x->len != y->len ? (x->len > y->len) - (x->len < y->len)
                            : (x->id > y->id) - (x->id < y->id);
}

static int sort(struct burble__pieces *pieces)
{
    struct entry *entries = burble__calloc(pieces->n + 1, sizeof *entries);
    if (entries == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < pieces->n; i++) {
        size_t len;
        const char *bytes = burble__piece(pieces, (int32_t)i, &len);
        entries[i] = (struct entry){bytes, (uint32_t)len, (int32_t)i};
    }
    qsort(entries, pieces->n, sizeof *entries, by_bytes);
    for (size_t i = 0; i < pieces->n; i++)
        pieces->order[i] = entries[i].id;
    burble__free(entries);
    return BURBLE_OK;
}

/* The length of a token's text; without room, llama.cpp returns it as a negative number. */
static size_t length(const struct llama_vocab *tokens, llama_token id)
{
    char none;
    const int32_t len = llama_token_to_piece(tokens, id, &none, 0, 0, false);
    return len < 0 ? (size_t)-len : 0;
}

static int fill(const struct llama_vocab *tokens, struct burble__pieces *pieces)
{
    size_t total = 0;
    pieces->begin = burble__calloc(pieces->n + 1, sizeof *pieces->begin);
    pieces->order = burble__calloc(pieces->n + 1, sizeof *pieces->order);
    if (pieces->begin == NULL || pieces->order == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < pieces->n; i++) {
        total += length(tokens, (llama_token)i);
        if (total > INT32_MAX)
            return BURBLE_ENOMEM;
        pieces->begin[i + 1] = (uint32_t)total;
    }
    pieces->bytes = burble__malloc(total + 1);
    if (pieces->bytes == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < pieces->n; i++) {
        const uint32_t begin = pieces->begin[i];
        llama_token_to_piece(tokens, (llama_token)i, pieces->bytes + begin,
                             (int32_t)(pieces->begin[i + 1] - begin), 0, false);
    }
    return sort(pieces);
}

int burble__pieces_create(const struct llama_vocab *tokens, struct burble__pieces **out)
{
    *out = NULL;
    struct burble__pieces *pieces = burble__calloc(1, sizeof *pieces);
    if (pieces == NULL)
        return BURBLE_ENOMEM;
    pieces->n = (size_t)llama_vocab_n_tokens(tokens);
    const int result = fill(tokens, pieces);
    if (result == BURBLE_OK)
        *out = pieces;
    else
        burble__pieces_destroy(pieces);
    return result;
}

void burble__pieces_destroy(struct burble__pieces *pieces)
{
    if (pieces == NULL)
        return;
    burble__free(pieces->bytes);
    burble__free(pieces->begin);
    burble__free(pieces->order);
    burble__free(pieces);
}
