/* SPDX-License-Identifier: MIT
 *
 * The tokens that a loader has found, by their ids.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "text/load.h"

/* Ids up to here are fine in a source of any size; beyond it, there are no more of them than the
 * source has bytes, so that one absurd id does not take absurd memory. */
#define ALWAYS_FINE ((size_t)1 << 16)

#define FIRST_CAPACITY 256

void burble__table_init(struct burble__table *table, const struct burble__source *source)
{
    size_t max = source->size < ALWAYS_FINE ? ALWAYS_FINE : source->size;
    if (max > BURBLE_VOCAB_MAX_IDS)
        max = BURBLE_VOCAB_MAX_IDS;
    *table = (struct burble__table){.max = max};
}

void burble__table_finish(struct burble__table *table)
{
    burble__free(table->tokens);
    *table = (struct burble__table){.max = table->max};
}

struct where {
    char text[96];
};

static struct where show(struct burble__place place)
{
    struct where where;
    if (place.number == BURBLE__NO_NUMBER)
        snprintf(where.text, sizeof where.text, "%s", place.what);
    else
        snprintf(where.text, sizeof where.text, "%s %zu", place.what, place.number);
    return where;
}

/* Makes room for an id below the maximum. */
static int reserve(struct burble__table *table, size_t id)
{
    if (id < table->capacity)
        return BURBLE_OK;
    size_t capacity = table->capacity == 0 ? FIRST_CAPACITY : table->capacity;
    while (capacity <= id)
        capacity *= 2;
    if (capacity > table->max)
        capacity = table->max;
    burble_token *tokens = burble__realloc(table->tokens, capacity * sizeof *tokens);
    if (tokens == NULL)
        return BURBLE_ENOMEM;
    table->tokens = tokens;
    table->capacity = capacity;
    return BURBLE_OK;
}

int burble__table_replace(struct burble__table *table, const struct burble__source *source,
                          int64_t id, burble_token token, struct burble__place place)
{
    if (id < 0 || (uint64_t)id >= table->max) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "%s: expected an id from 0 to %zu (in a file of this size), found "
                                 "%" PRId64,
                                 show(place).text, table->max - 1, id);
    }
    if (token.len > BURBLE_VOCAB_MAX_TOKEN) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "%s: expected at most %u bytes in token %" PRId64
                                 ", found %" PRIu32,
                                 show(place).text, BURBLE_VOCAB_MAX_TOKEN, id, token.len);
    }
    const size_t at = (size_t)id;
    if (reserve(table, at) != BURBLE_OK)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    for (; table->n <= at; table->n++)
        table->tokens[table->n] = (burble_token){.flags = BURBLE_TOKEN_ABSENT};
    table->tokens[at] = token;
    return BURBLE_OK;
}

int burble__table_put(struct burble__table *table, const struct burble__source *source, int64_t id,
                      burble_token token, struct burble__place place)
{
    if (id >= 0 && (uint64_t)id < table->n) {
        const burble_token *before = &table->tokens[id];
        if ((before->flags & BURBLE_TOKEN_ABSENT) == 0) {
            return burble__load_fail(
                source, BURBLE_EFORMAT,
                "%s: expected each id once, found %" PRId64 " for %s and for %s", show(place).text,
                id, burble__quote(before->text, before->len).text,
                burble__quote(token.text, token.len).text);
        }
    }
    return burble__table_replace(table, source, id, token, place);
}

int burble__table_compile(const struct burble__table *table, const struct burble__source *source,
                          const burble_vocab_options *options, burble_vocab **out)
{
    burble_error error = {.code = BURBLE_OK};
    const int result = burble_vocab_create(options, table->tokens, table->n, out, &error);
    if (result == BURBLE_OK)
        return BURBLE_OK;
    return burble__load_fail(source, result == BURBLE_EINVAL ? BURBLE_EFORMAT : result, "%s",
                             error.message[0] == '\0' ? burble_result_text(result) : error.message);
}
