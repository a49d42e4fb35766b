/* SPDX-License-Identifier: MIT */
#include "text/load_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "text/load_merges.h"

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

static const char *name_of(json_type type)
{
    switch (type) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

int burble__json_fail(const struct burble__source *source, const char *path, const char *expected,
                      const json_t *found)
{
    char what[96];
    if (found == NULL) {
        snprintf(what, sizeof what, "nothing");
    } else if (json_is_string(found)) {
        snprintf(what, sizeof what, "%s",
                 burble__quote(json_string_value(found), json_string_length(found)).text);
    } else if (json_is_integer(found)) {
        snprintf(what, sizeof what, "%" JSON_INTEGER_FORMAT, json_integer_value(found));
    } else if (json_is_array(found)) {
        snprintf(what, sizeof what, "an array of %zu", json_array_size(found));
    } else {
        snprintf(what, sizeof what, "%s", name_of(json_typeof(found)));
    }
    return burble__load_fail(source, BURBLE_EFORMAT, "%s: expected %s, found %s",
                             path[0] == '\0' ? "the file" : path, expected, what);
}

/* ---- getting values out -------------------------------------------------------------------------- */

int burble__json_member(const struct burble__source *source, const json_t *object, const char *path,
                        const char *key, json_type type, json_t **out)
{
    *out = json_object_get(object, key);
    if (*out != NULL && json_typeof(*out) == type) {
        return BURBLE_OK;
    }
    return burble__json_fail(source, burble__path_member(path, key).text, name_of(type), *out);
}

burble_token burble__json_token(const json_t *string, uint32_t flags)
{
    const size_t len = json_string_length(string);
    return (burble_token){
        .text = json_string_value(string),
        .len = len > UINT32_MAX ? UINT32_MAX : (uint32_t)len,
        .flags = flags,
    };
}

/* ---- parsing ------------------------------------------------------------------------------------- */

/* A source without what nobody reads, on its way to the parser. */
struct feed {
    const struct burble__source *source;
    struct burble__range left_out;
    size_t at;
};

/* As json_load_callback calls it: the next bytes, at most `room`; 0 at the end. */
static size_t next_bytes(void *buffer, size_t room, void *data)
{
    struct feed *feed = data;
    if (feed->at == feed->left_out.begin) {
        feed->at = feed->left_out.end;
    }
    const size_t end = feed->at < feed->left_out.begin ? feed->left_out.begin : feed->source->size;
    const size_t n = end - feed->at < room ? end - feed->at : room;
    memcpy(buffer, feed->source->bytes + feed->at, n);
    feed->at += n;
    return n;
}

/* A place in a text as jansson counts it: lines from 1, and the characters passed in the last. */
struct spot {
    size_t line, column;
};

static struct spot spot_of(const char *bytes, size_t position)
{
    struct spot spot = {1, 0};
    for (size_t i = 0; i < position; i++) {
        if (bytes[i] == '\n') {
            spot = (struct spot){spot.line + 1, 0};
        } else {
            spot.column += ((unsigned char)bytes[i] & 0xC0) != 0x80;
        }
    }
    return spot;
}

/* What jansson says of the text that it was fed, with the place in the source. */
static int fail_parse(const struct feed *feed, const json_error_t *error)
{
    const struct burble__source *source = feed->source;
    /* Not of every allocation that fails does jansson say that it was one. */
    if (errno == ENOMEM || json_error_code(error) == json_error_out_of_memory) {
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    }
    size_t position = (size_t)error->position, line = (size_t)error->line;
    size_t column = (size_t)error->column;
    if (position > feed->left_out.begin) {
        const struct spot before = spot_of(source->bytes, feed->left_out.begin);
        const struct spot after = spot_of(source->bytes, feed->left_out.end);
        column += line == before.line ? after.column - before.column : 0;
        line += after.line - before.line;
        position += feed->left_out.end - feed->left_out.begin;
    }
    return burble__load_fail(source, BURBLE_EFORMAT, "line %zu, column %zu (byte %zu): %s", line,
                             column, position,
                             burble__quote(error->text, strlen(error->text)).text);
}

int burble__load_json(const struct burble__source *source, burble_vocab_format format,
                      burble_vocab **out)
{
    json_error_t error;
    struct feed feed = {source, burble__find_merges(source->bytes, source->size), 0};
    errno = 0;
    json_t *root =
        json_load_callback(next_bytes, &feed, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        return fail_parse(&feed, &error);
    }
    int result;
    if (!json_is_object(root)) {
        result = burble__json_fail(source, "", "an object", root);
    } else if (format == BURBLE_VOCAB_HF_JSON
               || (format == BURBLE_VOCAB_AUTO && json_object_get(root, "model") != NULL)) {
        result = burble__load_hf(source, root, out);
    } else if (format == BURBLE_VOCAB_TEKKEN || json_object_get(root, "config") != NULL) {
        result = burble__load_tekken(source, root, out);
    } else {
        result = burble__load_fail(source, BURBLE_EFORMAT,
                                   "expected the member \"model\" (of a tokenizer.json) or "
                                   "\"config\" (of a Tekken file), found neither");
    }
    json_decref(root);
    return result;
}
