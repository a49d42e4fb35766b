/* SPDX-License-Identifier: MIT
 *
 * JSON parsed by jansson.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "text/load_json.h"

/* ---- parsing ------------------------------------------------------------------------------------- */

/* A source without what nobody reads, on its way to jansson. */
struct feed {
    const struct burble__source *source;
    struct burble__range left_out;
    size_t at;
};

/* As json_load_callback calls it: the next bytes, at most `room`; 0 at the end. */
static size_t next_bytes(void *buffer, size_t room, void *data)
{
    struct feed *feed = data;
    if (feed->at == feed->left_out.begin)
        feed->at = feed->left_out.end;
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
    for (size_t i = 0; i < position; i++)
        if (bytes[i] == '\n')
            spot = (struct spot){spot.line + 1, 0};
        else
            spot.column += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return spot;
}

/* Jansson's message about the text that it was fed, with the position in the source. */
static int fail_parse(const struct feed *feed, const json_error_t *error)
{
    const struct burble__source *source = feed->source;
    /* Not of every allocation that fails does jansson say that it was one. */
    if (errno == ENOMEM || json_error_code(error) == json_error_out_of_memory)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
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

static int parse(const struct burble__json_parser *parser, const struct burble__source *source,
                 struct burble__range left_out, const void **root)
{
    (void)parser;
    json_error_t error;
    struct feed feed = {source, left_out, 0};
    errno = 0;
    *root = json_load_callback(next_bytes, &feed, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    return *root == NULL ? fail_parse(&feed, &error) : BURBLE_OK;
}

static void release(const struct burble__json_parser *parser, const void *root)
{
    (void)parser;
    json_decref((json_t *)root);
}

/* ---- values -------------------------------------------------------------------------------------- */

static enum burble__json_type type(const void *value)
{
    switch (json_typeof((const json_t *)value)) {
    case JSON_OBJECT:
        return BURBLE__JSON_OBJECT;
    case JSON_ARRAY:
        return BURBLE__JSON_ARRAY;
    case JSON_STRING:
        return BURBLE__JSON_STRING;
    case JSON_INTEGER:
        return BURBLE__JSON_INTEGER;
    case JSON_REAL:
        return BURBLE__JSON_REAL;
    case JSON_TRUE:
        return BURBLE__JSON_TRUE;
    case JSON_FALSE:
        return BURBLE__JSON_FALSE;
    case JSON_NULL:
        return BURBLE__JSON_NULL;
    }
    return BURBLE__JSON_NOTHING;
}

static size_t size(const void *value)
{
    return json_is_array((const json_t *)value) ? json_array_size(value) : json_object_size(value);
}

static const void *member(const void *object, const char *key)
{
    return json_object_get(object, key);
}

static const void *item(const void *array, size_t index)
{
    return json_array_get(array, index);
}

static struct burble__json_text text(const void *string)
{
    return (struct burble__json_text){json_string_value(string), json_string_length(string)};
}

static int64_t integer(const void *value)
{
    return json_integer_value(value);
}

static bool next(const void *object, struct burble__json_cursor *at, struct burble__json_text *key,
                 const void **value)
{
    json_t *members = (json_t *)object; /* to iterate changes nothing */
    at->pointer = at->pointer == NULL ? json_object_iter(members)
                                      : json_object_iter_next(members, at->pointer);
    if (at->pointer == NULL)
        return false;
    *key = (struct burble__json_text){json_object_iter_key(at->pointer),
                                      json_object_iter_key_len(at->pointer)};
    *value = json_object_iter_value(at->pointer);
    return true;
}

static const struct burble__json_parser jansson = {
    .parse = parse,
    .release = release,
    .type = type,
    .size = size,
    .member = member,
    .item = item,
    .text = text,
    .integer = integer,
    .next = next,
};

const struct burble__json_parser *const burble__json_own = &jansson;
