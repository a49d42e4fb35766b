/* SPDX-License-Identifier: MIT */
#include "engine/llama_special.h"

#include <burble/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { CONTROL = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN };

static int by_bytes(const void *a, const void *b)
{
    const struct burble__special *x = a;
    const struct burble__special *y = b;
    const int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static int fill(const struct llama_vocab *tokens, int attributes, struct burble__special_set *set)
{
    const int32_t n = llama_vocab_n_tokens(tokens);
    size_t found = 0;
    for (int32_t id = 0; id < n; id++)
        found += ((int)llama_vocab_get_attr(tokens, id) & attributes) != 0;
    set->items = burble__calloc(found + 1, sizeof *set->items);
    if (set->items == NULL)
        return BURBLE_ENOMEM;
    for (int32_t id = 0; id < n && set->n < found; id++) {
        const int has = (int)llama_vocab_get_attr(tokens, id);
        const char *text = llama_vocab_get_text(tokens, id);
        if ((has & attributes) == 0 || text[0] == '\0')
            continue;
        set->begins[(unsigned char)text[0]] = true;
        set->items[set->n++] =
            (struct burble__special){text, strlen(text), id, (has & LLAMA_TOKEN_ATTR_LSTRIP) != 0,
                                     (has & LLAMA_TOKEN_ATTR_RSTRIP) != 0};
    }
    qsort(set->items, set->n, sizeof *set->items, by_bytes);
    return BURBLE_OK;
}

int burble__specials_create(const struct llama_vocab *tokens, struct burble__specials **out)
{
    struct burble__specials *specials = burble__calloc(1, sizeof *specials);
    *out = specials;
    if (specials == NULL)
        return BURBLE_ENOMEM;
    int result = fill(tokens, CONTROL, &specials->control);
    if (result == BURBLE_OK)
        result = fill(tokens, LLAMA_TOKEN_ATTR_USER_DEFINED, &specials->defined);
    if (result != BURBLE_OK) {
        burble__specials_destroy(specials);
        *out = NULL;
    }
    return result;
}

void burble__specials_destroy(struct burble__specials *specials)
{
    if (specials == NULL)
        return;
    burble__free(specials->control.items);
    burble__free(specials->defined.items);
    burble__free(specials);
}

/* The first item from `low` to `high` that has at least this byte at `at`; the texts are the same before it. */
static size_t find(const struct burble__special *items, size_t low, size_t high, size_t at,
                   unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct burble__special *item = &items[middle];
        if (item->len <= at || (unsigned char)item->text[at] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct burble__special *burble__special_at(const struct burble__special_set *set,
                                                 const char *text, size_t len)
{
    const struct burble__special *longest = NULL;
    size_t low = 0;
    size_t high = set->n;
    if (len == 0 || !set->begins[(unsigned char)text[0]])
        return NULL;
    for (size_t at = 0; at < len && low < high; at++) {
        const unsigned byte = (unsigned char)text[at];
        low = find(set->items, low, high, at, byte);
        high = find(set->items, low, high, at, byte + 1);
        if (low < high && set->items[low].len == at + 1)
            longest = &set->items[low];
    }
    return longest;
}
