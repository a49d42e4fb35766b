/* SPDX-License-Identifier: MIT */
#include "serve/body.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* Strings up to this many bytes are not looked after: see has_room. */
#define JSON_BUFFER 4096u

struct burble__body_block {
    struct burble__body_block *next;
    alignas(max_align_t) char bytes[];
};

void *burble__body_alloc(struct burble__body *body, size_t n, size_t size,
                         struct burble__problem *problem)
{
    struct burble__body_block *block =
        size > 0 && n > (SIZE_MAX - sizeof *block) / size
            ? NULL
            : burble__calloc(1, sizeof *block + (n * size > 0 ? n * size : 1));
    if (block == NULL) {
        burble__problem_memory(problem);
        return NULL;
    }
    block->next = body->blocks;
    body->blocks = block;
    return block->bytes;
}

void burble__body_finish(struct burble__body *body)
{
    while (body->blocks != NULL) {
        struct burble__body_block *block = body->blocks;
        body->blocks = block->next;
        burble__free(block);
    }
    json_decref(body->root);
    body->root = NULL;
}

/* ---- parsing ------------------------------------------------------------------------------------------- */

/* Counts what jansson would allocate, before it does: *longest is its longest string. Of what is no JSON, it counts
 * something; jansson refuses it. */
static bool scan(const char *bytes, size_t len, unsigned max_depth, size_t *longest,
                 struct burble__problem *problem)
{
    size_t values = 1, containers = 0, depth = 0, begin = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        const char c = bytes[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            if (i - begin > *longest)
                *longest = i - begin;
            continue;
        }
        switch (c) {
        case '"':
            in_string = true;
            begin = i;
            break;
        case ',':
        case ':':
            values++;
            break;
        case '[':
        case '{':
            values++;
            if (++containers > BURBLE__BODY_MAX_CONTAINERS)
                return burble__problem_set(
                    problem, 413, "too_many_values", NULL,
                    "expected at most %zu lists and objects in the body, found more",
                    BURBLE__BODY_MAX_CONTAINERS);
            if (++depth > max_depth)
                return burble__problem_set(
                    problem, 400, "invalid_json", NULL,
                    "expected JSON nested up to %u deep, found more at byte %zu", max_depth, i);
            break;
        case ']':
        case '}':
            depth -= depth > 0;
            break;
        default:
            break;
        }
        if (values > BURBLE__BODY_MAX_VALUES)
            return burble__problem_set(problem, 413, "too_many_values", NULL,
                                       "expected at most %zu values in the body, found more",
                                       BURBLE__BODY_MAX_VALUES);
    }
    return true;
}

/* Whether there is memory for a string of this length. jansson does not notice that its buffer could not grow: it tries again
 * for each byte, for minutes, and then reads beyond the buffer. The buffer is doubled, and copied at the end. */
static bool has_room(size_t longest)
{
    void *room = longest < JSON_BUFFER ? NULL : burble__malloc(4 * longest);
    burble__free(room);
    return longest < JSON_BUFFER || room != NULL;
}

bool burble__body_parse(struct burble__body *body, const char *bytes, size_t len,
                        unsigned max_depth, struct burble__problem *problem)
{
    *body = (struct burble__body){0};
    if (len == 0)
        return burble__problem_set(problem, 400, "invalid_json", NULL,
                                   "expected JSON in the body, found nothing");
    size_t longest = 0;
    if (!scan(bytes, len, max_depth, &longest, problem))
        return false;
    if (!has_room(longest))
        return burble__problem_memory(problem);
    json_error_t error;
    errno = 0;
    body->root = json_loadb(bytes, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    /* Not of every allocation that fails does jansson say that it was one. */
    if (body->root == NULL
        && (errno == ENOMEM || json_error_code(&error) == json_error_out_of_memory)) {
        return burble__problem_memory(problem);
    }
    if (body->root == NULL)
        return burble__problem_set(problem, 400, "invalid_json", NULL,
                                   "the body is not valid JSON: line %d, column %d (byte %d): %s",
                                   error.line, error.column, error.position, error.text);
    if (!json_is_object(body->root))
        return burble__problem_set(problem, 400, "invalid_json", NULL,
                                   "expected a JSON object, found %s",
                                   burble__body_type(body->root));
    return true;
}

/* ---- paths -------------------------------------------------------------------------------------------- */

/* Appends to a path as much of a text as there is room for. */
static void add(struct burble__body_path *path, const char *text)
{
    const size_t len = strlen(path->text), room = sizeof path->text - 1 - len;
    const size_t n = strlen(text) < room ? strlen(text) : room;
    memcpy(path->text + len, text, n);
    path->text[len + n] = '\0';
}

struct burble__body_path burble__body_path_member(const char *path, const char *key)
{
    struct burble__body_path member = {""};
    add(&member, path);
    if (*path != '\0')
        add(&member, ".");
    add(&member, key);
    return member;
}

struct burble__body_path burble__body_path_item(const char *path, size_t index)
{
    struct burble__body_path item = {""};
    char number[24];
    snprintf(number, sizeof number, "[%zu]", index);
    add(&item, path);
    add(&item, number);
    return item;
}

/* ---- values -------------------------------------------------------------------------------------------- */

const char *burble__body_type(const json_t *value)
{
    if (value == NULL)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

bool burble__body_expected(struct burble__problem *problem, const char *path, const char *expected,
                           const json_t *found)
{
    return burble__problem_set(problem, 400, found == NULL ? "missing_parameter" : NULL, path,
                               "%s: expected %s, found %s", path, expected,
                               burble__body_type(found));
}

bool burble__body_text(const json_t *value, const char *path, burble_text *out,
                       struct burble__problem *problem)
{
    if (!json_is_string(value))
        return burble__body_expected(problem, path, "a string", value);
    *out = (burble_text){json_string_value(value), json_string_length(value)};
    return true;
}

bool burble__body_name(const json_t *value, const char *path, const char **out,
                       struct burble__problem *problem)
{
    burble_text text = {"", 0};
    if (!burble__body_text(value, path, &text, problem))
        return false;
    if (memchr(text.bytes, '\0', text.len) != NULL)
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected a string without NUL, found one", path);
    *out = text.bytes;
    return true;
}

bool burble__body_boolean(const json_t *value, const char *path, bool *out,
                          struct burble__problem *problem)
{
    if (!json_is_boolean(value))
        return burble__body_expected(problem, path, "true or false", value);
    *out = json_is_true(value);
    return true;
}

bool burble__body_number(const json_t *value, const char *path, double least, double most,
                         double *out, struct burble__problem *problem)
{
    if (!json_is_number(value))
        return burble__body_expected(problem, path, "a number", value);
    *out = json_number_value(value);
    if (!(*out >= least && *out <= most))
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected a number from %.10g to %.10g, found %.10g", path,
                                   least, most, *out);
    return true;
}

/* Whether a number in the range of integers has no fraction. */
static bool is_whole(double number)
{
    const double difference = number - (double)(int64_t)number;
    return difference >= 0 && difference <= 0;
}

bool burble__body_integer(const json_t *value, const char *path, double least, double most,
                          double *out, struct burble__problem *problem)
{
    if (!json_is_number(value))
        return burble__body_expected(problem, path, "an integer", value);
    *out = json_number_value(value);
    if (!(*out >= least && *out <= most && is_whole(*out)))
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected an integer from %.0f to %.0f, found %.10g", path,
                                   least, most, *out);
    return true;
}

bool burble__body_ids(struct burble__body *body, const json_t *value, const char *path,
                      const int32_t **ids, size_t *n, struct burble__problem *problem)
{
    if (!json_is_array(value))
        return burble__body_expected(problem, path, "a list of ids", value);
    *n = json_array_size(value);
    if (*n == 0)
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected at least one id, found none", path);
    int32_t *out = burble__body_alloc(body, *n, sizeof *out, problem);
    if (out == NULL)
        return false;
    *ids = out;
    for (size_t i = 0; i < *n; i++) {
        const json_t *item = json_array_get(value, i);
        double id = -1;
        if (json_is_integer(item))
            id = (double)json_integer_value(item);
        if (!(id >= 0 && id <= INT32_MAX)
            && !burble__body_integer(item, burble__body_path_item(path, i).text, 0, INT32_MAX, &id,
                                     problem)) {
            return false;
        }
        out[i] = (int32_t)id;
    }
    return true;
}
