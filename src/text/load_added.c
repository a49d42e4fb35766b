/* SPDX-License-Identifier: MIT
 *
 * Source of the rules: AddedVocabulary::add_tokens in tokenizers/src/tokenizer/added_vocabulary.rs of
 * https://github.com/huggingface/tokenizers, version 0.23.3. An added token gets the model's id where the
 * model has its text, else the next free one. The library does not look at the id in the file; in the
 * files that it writes, both are the same. One that is normalized is spelled as the normalizer makes it.
 *
 * Texts are looked up by bisection, so that no file makes that slow.
 */
#include "text/load_added.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/load_normalizer.h"

struct burble__added_token {
    struct burble__json_text text;
    int64_t id;    /* that the model has for the text; -1: none */
    bool special;  /* one entry with this text is */
    bool taken;    /* an entry with this text was added */
    char *spelled; /* as the normalizer makes it; NULL: as it is */
};

/* ---- by their texts ------------------------------------------------------------------------------ */

static int compare(struct burble__json_text a, struct burble__json_text b)
{
    const int order = memcmp(a.bytes, b.bytes, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_tokens(const void *a, const void *b)
{
    const struct burble__added_token *one = a, *other = b;
    return compare(one->text, other->text);
}

static struct burble__added_token *find(const struct burble__added *added,
                                        struct burble__json_text text)
{
    size_t low = 0, high = added->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare(text, added->tokens[middle].text);
        if (order == 0)
            return &added->tokens[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static struct burble__added_token *find_token(const struct burble__added *added,
                                              const burble_token *token)
{
    return token->len == 0 || !added->begins[(unsigned char)token->text[0]]
               ? NULL
               : find(added, (struct burble__json_text){token->text, token->len});
}

/* Fills in the texts, each once. */
static int index_texts(struct burble__added *added, const struct burble__source *source,
                       struct burble__json list)
{
    const size_t n = burble__json_size(list);
    if (n == 0)
        return BURBLE_OK;
    added->tokens =
        n > SIZE_MAX / sizeof *added->tokens ? NULL : burble__malloc(n * sizeof *added->tokens);
    if (added->tokens == NULL)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    size_t found = 0;
    struct burble__json entry;
    for (struct burble__json_cursor at = burble__json_begin(list);
         burble__json_item(&at, &entry);) {
        const struct burble__json_text text = burble__json_text(burble__json_get(entry, "content"));
        if (text.len > 0)
            added->tokens[found++] = (struct burble__added_token){.text = text, .id = -1};
    }
    qsort(added->tokens, found, sizeof *added->tokens, compare_tokens);
    for (size_t i = 0; i < found; i++)
        added->begins[(unsigned char)added->tokens[i].text.bytes[0]] = true;
    for (size_t i = 0; i < found; i++)
        if (i == 0 || compare(added->tokens[i].text, added->tokens[i - 1].text) != 0)
            added->tokens[added->n++] = added->tokens[i];
    return BURBLE_OK;
}

/* ---- entries ------------------------------------------------------------------------------------- */

struct reading {
    const struct burble__source *source;
    struct burble__added *added;
    struct burble__table *table;
    int64_t size; /* how many tokens the model has */
    int64_t max;  /* the largest id of an added token, or -1 */
    struct burble__normalizer normalizer;
};

static bool is_true(struct burble__json object, const char *key)
{
    return burble__json_is(burble__json_get(object, key), BURBLE__JSON_TRUE);
}

/* Whether an entry is whole; *content is its text. */
static int check(const struct burble__source *source, struct burble__json object, const char *path,
                 struct burble__json *content)
{
    struct burble__json id = {NULL, NULL};
    if (!burble__json_is(object, BURBLE__JSON_OBJECT))
        return burble__json_fail(source, path, "an object", object);
    int result = burble__json_member(source, object, path, "content", BURBLE__JSON_STRING, content);
    if (result == BURBLE_OK)
        result = burble__json_member(source, object, path, "id", BURBLE__JSON_INTEGER, &id);
    if (result == BURBLE_OK
        && (burble__json_integer(id) < 0
            || burble__json_integer(id) >= (int64_t)BURBLE_VOCAB_MAX_IDS)) {
        result = burble__json_fail(source, burble__path_member(path, "id").text, "an id", id);
    }
    return result;
}

static int read_entry(struct reading *reading, struct burble__json object, const char *path)
{
    struct burble__json content = {NULL, NULL};
    int result = check(reading->source, object, path, &content);
    if (result != BURBLE_OK || burble__json_text(content).len == 0)
        return result;
    struct burble__added_token *entry = find(reading->added, burble__json_text(content));
    entry->special |= is_true(object, "special");
    if (entry->taken)
        return BURBLE_OK;
    entry->taken = true;
    burble_token token = burble__json_token(content, 0);
    if (is_true(object, "normalized")) {
        result = burble__normalizer_run(&reading->normalizer, reading->source, path, &token,
                                        &entry->spelled);
    }
    if (result != BURBLE_OK)
        return result;
    const int64_t next = reading->max >= reading->size ? reading->max + 1 : reading->size;
    const int64_t id = entry->id >= 0 ? entry->id : next;
    reading->max = id > reading->max ? id : reading->max;
    return burble__table_replace(reading->table, reading->source, id, token,
                                 (struct burble__place){path, BURBLE__NO_NUMBER});
}

static bool any_normalized(struct burble__json list)
{
    struct burble__json entry;
    for (struct burble__json_cursor at = burble__json_begin(list); burble__json_item(&at, &entry);)
        if (is_true(entry, "normalized"))
            return true;
    return false;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static int read_all(struct reading *reading, struct burble__json list)
{
    const struct burble__added *added = reading->added;
    struct burble__table *table = reading->table;
    for (size_t i = 0; i < table->n; i++) { /* of a text that is there twice, the last */
        struct burble__added_token *entry = find_token(added, &table->tokens[i]);
        if (entry != NULL)
            entry->id = (int64_t)i;
    }
    struct burble__json object;
    struct burble__json_cursor at = burble__json_begin(list);
    for (size_t i = 0; burble__json_item(&at, &object); i++) {
        const int result = read_entry(reading, object, burble__path_item("added_tokens", i).text);
        if (result != BURBLE_OK)
            return result;
    }
    /* Special are all tokens with the text of one that is added as special. */
    for (size_t i = 0; i < table->n; i++) {
        const struct burble__added_token *entry = find_token(added, &table->tokens[i]);
        table->tokens[i].flags |= entry != NULL && entry->special ? BURBLE_TOKEN_SPECIAL : 0u;
    }
    return BURBLE_OK;
}

int burble__added_read(struct burble__added *added, const struct burble__source *source,
                       struct burble__json root, size_t size, struct burble__table *table)
{
    *added = (struct burble__added){.tokens = NULL};
    const struct burble__json list = burble__json_get(root, "added_tokens");
    if (list.at == NULL)
        return BURBLE_OK;
    if (!burble__json_is(list, BURBLE__JSON_ARRAY))
        return burble__json_fail(source, "added_tokens", "an array", list);
    struct reading reading = {source, added, table, (int64_t)size, -1, {.n = 0}};
    int result = any_normalized(list) ? burble__normalizer_read(&reading.normalizer, source, root)
                                      : BURBLE_OK;
    if (result == BURBLE_OK)
        result = index_texts(added, source, list);
    if (result == BURBLE_OK)
        result = read_all(&reading, list);
    burble__normalizer_finish(&reading.normalizer);
    return result;
}

void burble__added_finish(struct burble__added *added)
{
    for (size_t i = 0; i < added->n; i++)
        burble__free(added->tokens[i].spelled);
    burble__free(added->tokens);
    *added = (struct burble__added){.tokens = NULL};
}
