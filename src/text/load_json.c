/* SPDX-License-Identifier: MIT */
#include "text/load_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- values -------------------------------------------------------------------------------------- */

enum burble__json_type burble__json_type(struct burble__json value)
{
    return value.at == NULL ? BURBLE__JSON_NOTHING : (enum burble__json_type)value.at->type;
}

size_t burble__json_size(struct burble__json value)
{
    return burble__json_is(value, BURBLE__JSON_ARRAY) || burble__json_is(value, BURBLE__JSON_OBJECT)
               ? value.at->n
               : 0;
}

struct burble__json burble__json_get(struct burble__json object, const char *key)
{
    struct burble__json found, value;
    struct burble__json_cursor at = burble__json_begin(object);
    while (burble__json_is(object, BURBLE__JSON_OBJECT) && burble__json_pair(&at, &found, &value))
        if (burble__json_equals(found, key))
            return value;
    return (struct burble__json){object.document, NULL};
}

struct burble__json_text burble__json_text(struct burble__json string)
{
    if (!burble__json_is(string, BURBLE__JSON_STRING))
        return (struct burble__json_text){NULL, 0};
    return (struct burble__json_text){string.document->texts + string.at->as.begin, string.at->n};
}

int64_t burble__json_integer(struct burble__json integer)
{
    return burble__json_is(integer, BURBLE__JSON_INTEGER) ? integer.at->as.integer : 0;
}

struct burble__json_cursor burble__json_begin(struct burble__json value)
{
    const size_t n = burble__json_size(value);
    return (struct burble__json_cursor){{value.document, n == 0 ? NULL : value.at + 1}, n};
}

bool burble__json_item(struct burble__json_cursor *at, struct burble__json *item)
{
    if (at->left == 0)
        return false;
    *item = at->next;
    const bool has_more = item->at->type <= BURBLE__JSON_ARRAY;
    at->next.at += has_more ? item->at->as.span : 1;
    at->left--;
    return true;
}

bool burble__json_pair(struct burble__json_cursor *at, struct burble__json *key,
                       struct burble__json *value)
{
    if (at->left == 0)
        return false;
    *key = at->next;
    at->next.at++;
    return burble__json_item(at, value);
}

bool burble__json_equals(struct burble__json string, const char *text)
{
    const struct burble__json_text found = burble__json_text(string);
    return found.bytes != NULL && found.len == strlen(text)
           && memcmp(found.bytes, text, found.len) == 0;
}

burble_token burble__json_token(struct burble__json string, uint32_t flags)
{
    const struct burble__json_text text = burble__json_text(string);
    return (burble_token){
        .text = text.bytes,
        .len = text.len > UINT32_MAX ? UINT32_MAX : (uint32_t)text.len,
        .flags = flags,
    };
}

/* ---- places and errors --------------------------------------------------------------------------- */

struct burble__path burble__path_member(const char *path, const char *key)
{
    struct burble__path member;
    snprintf(member.text, sizeof member.text, "%s%s%s", path, path[0] == '\0' ? "" : ".", key);
    return member;
}

struct burble__path burble__path_item(const char *path, size_t index)
{
    struct burble__path item;
    snprintf(item.text, sizeof item.text, "%s[%zu]", path, index);
    return item;
}

static const char *const type_names[] = {
    [BURBLE__JSON_OBJECT] = "an object",   [BURBLE__JSON_ARRAY] = "an array",
    [BURBLE__JSON_STRING] = "a string",    [BURBLE__JSON_INTEGER] = "an integer",
    [BURBLE__JSON_REAL] = "a real number", [BURBLE__JSON_TRUE] = "true",
    [BURBLE__JSON_FALSE] = "false",        [BURBLE__JSON_NULL] = "null",
    [BURBLE__JSON_NOTHING] = "nothing",
};

int burble__json_fail(const struct burble__source *source, const char *path, const char *expected,
                      struct burble__json found)
{
    const enum burble__json_type type = burble__json_type(found);
    char what[96];
    if (type == BURBLE__JSON_STRING) {
        const struct burble__json_text text = burble__json_text(found);
        snprintf(what, sizeof what, "%s", burble__quote(text.bytes, text.len).text);
    } else if (type == BURBLE__JSON_INTEGER) {
        snprintf(what, sizeof what, "%" PRId64, burble__json_integer(found));
    } else if (type == BURBLE__JSON_ARRAY) {
        snprintf(what, sizeof what, "an array of %zu", burble__json_size(found));
    } else {
        snprintf(what, sizeof what, "%s", type_names[type]);
    }
    return burble__load_fail(source, BURBLE_EFORMAT, "%s: expected %s, found %s",
                             path[0] == '\0' ? "the file" : path, expected, what);
}

int burble__json_member(const struct burble__source *source, struct burble__json object,
                        const char *path, const char *key, enum burble__json_type type,
                        struct burble__json *out)
{
    *out = burble__json_get(object, key);
    return burble__json_is(*out, type)
               ? BURBLE_OK
               : burble__json_fail(source, burble__path_member(path, key).text, type_names[type],
                                   *out);
}

int burble__json_flag(const struct burble__source *source, struct burble__json object,
                      const char *path, const char *key, bool *out)
{
    const struct burble__json flag = burble__json_get(object, key);
    *out = burble__json_is(flag, BURBLE__JSON_TRUE);
    return *out || burble__json_is(flag, BURBLE__JSON_FALSE)
               ? BURBLE_OK
               : burble__json_fail(source, burble__path_member(path, key).text, "true or false",
                                   flag);
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static int load(const struct burble__source *source, burble_vocab_format format,
                struct burble__json root, burble_vocab **out)
{
    if (!burble__json_is(root, BURBLE__JSON_OBJECT))
        return burble__json_fail(source, "", "an object", root);
    if (format == BURBLE_VOCAB_HF_JSON
        || (format == BURBLE_VOCAB_AUTO && burble__json_get(root, "model").at != NULL)) {
        return burble__load_hf(source, root, out);
    }
    if (format == BURBLE_VOCAB_TEKKEN || burble__json_get(root, "config").at != NULL)
        return burble__load_tekken(source, root, out);
    return burble__load_fail(
        source, BURBLE_EFORMAT,
        "expected the member \"model\" (of a tokenizer.json) or \"config\" (of "
        "a Tekken file), found neither");
}

int burble__load_json(const struct burble__source *source, burble_vocab_format format,
                      burble_vocab **out)
{
    struct burble__json_document document;
    int result = burble__json_parse(source, &document);
    if (result == BURBLE_OK) {
        result = load(source, format, (struct burble__json){&document, document.nodes}, out);
        burble__json_finish(&document);
    }
    return result;
}
