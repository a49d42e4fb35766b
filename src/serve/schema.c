/* SPDX-License-Identifier: MIT
 *
 * Each schema becomes a rule: s0, s1 …. What a rule names is put into a list, if it is not there yet, and
 * written later; so nothing calls itself, and a $ref is the name of a rule.
 */
#include "serve/schema.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "serve/body.h"
#include "serve/schema_parts.h"

/* The most $ref that lead from one to the next. */
#define MAX_HOPS 64

/* White space is bounded, or a model could go on with it for ever. \u writes no half of a surrogate pair. */
static const char common_rules[] =
    "value ::= object | array | string | number | boolean | null\n"
    "object ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\n"
    "pair ::= string ws \":\" ws value ws\n"
    "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "char ::= [^\"\\\\\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-CefEF] hex{3} | "
    "[dD] [0-7] "
    "hex{2}))\n"
    "hex ::= [0-9a-fA-F]\n"
    "integer ::= \"-\"? whole\n"
    "number ::= \"-\"? positive\n"
    "positive ::= whole (\".\" [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?\n"
    "whole ::= \"0\" | [1-9] [0-9]{0,15}\n"
    "boolean ::= \"true\" | \"false\"\n"
    "null ::= \"null\"\n"
    "ws ::= (\" \" | \"\\n\" [ \\t]{0,20})?\n";

/* What a keyword is about: types, or */
enum {
    TYPE = 2 * BURBLE__TYPE_NULL, /* `type` itself */
    WHOLE = 2 * TYPE,             /* says all by itself */
    SAYS_NOTHING = 2 * WHOLE,
};

static const struct {
    const char *name;
    unsigned type;
} types[] = {
    {"object", BURBLE__TYPE_OBJECT}, {"array", BURBLE__TYPE_ARRAY},
    {"string", BURBLE__TYPE_STRING}, {"integer", BURBLE__TYPE_INTEGER},
    {"number", BURBLE__TYPE_NUMBER}, {"boolean", BURBLE__TYPE_BOOLEAN},
    {"null", BURBLE__TYPE_NULL},
};

static const struct {
    const char *name;
    unsigned about;
} keywords[] = {
    {"type", TYPE},
    {"enum", WHOLE},
    {"const", WHOLE},
    {"anyOf", WHOLE},
    {"oneOf", WHOLE},
    {"allOf", WHOLE},
    {"$ref", WHOLE},
    {"properties", BURBLE__TYPE_OBJECT},
    {"required", BURBLE__TYPE_OBJECT},
    {"additionalProperties", BURBLE__TYPE_OBJECT},
    {"items", BURBLE__TYPE_ARRAY},
    {"prefixItems", BURBLE__TYPE_ARRAY},
    {"minItems", BURBLE__TYPE_ARRAY},
    {"maxItems", BURBLE__TYPE_ARRAY},
    {"minLength", BURBLE__TYPE_STRING},
    {"maxLength", BURBLE__TYPE_STRING},
    {"format", BURBLE__TYPE_STRING},
    {"minimum", BURBLE__TYPE_INTEGER | BURBLE__TYPE_NUMBER},
    {"maximum", BURBLE__TYPE_INTEGER | BURBLE__TYPE_NUMBER},
    {"exclusiveMinimum", BURBLE__TYPE_INTEGER | BURBLE__TYPE_NUMBER},
    {"exclusiveMaximum", BURBLE__TYPE_INTEGER | BURBLE__TYPE_NUMBER},
    {"title", SAYS_NOTHING},
    {"description", SAYS_NOTHING},
    {"default", SAYS_NOTHING},
    {"examples", SAYS_NOTHING},
    {"$schema", SAYS_NOTHING},
    {"$id", SAYS_NOTHING},
    {"$comment", SAYS_NOTHING},
    {"$defs", SAYS_NOTHING},
    {"definitions", SAYS_NOTHING},
    {"deprecated", SAYS_NOTHING},
    {"readOnly", SAYS_NOTHING},
    {"writeOnly", SAYS_NOTHING},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

bool burble__schema_refuse(struct burble__maker *maker, const char *path, const char *message)
{
    return burble__problem_set(maker->problem, 400, "unsupported_schema", path, "%s: %s", path,
                               message);
}

bool burble__schema_refuse_member(struct burble__maker *maker, const char *path, const char *key,
                                  const char *message)
{
    return burble__schema_refuse(maker, burble__body_path_member(path, key).text, message);
}

/* ---- text ---------------------------------------------------------------------------------------------- */

void burble__schema_put(struct burble__maker *maker, const char *text)
{
    burble__put_raw(&maker->out, text);
}

void burble__schema_put_number(struct burble__maker *maker, const char *before, size_t number,
                               const char *after)
{
    burble__schema_put(maker, before);
    burble__put_integer(&maker->out, number);
    burble__schema_put(maker, after);
}

/* Bytes of a literal, between its quotes. Beyond the bound for the text, nothing more is written. */
static int put_escaped(const char *bytes, size_t n, void *arg)
{
    struct burble__maker *maker = arg;
    for (size_t i = 0, from = 0; i < n && maker->out.buffer->len <= BURBLE__SCHEMA_MAX_TEXT;
         i = from) {
        from = i;
        while (from < n && bytes[from] != '"' && bytes[from] != '\\')
            from++;
        burble__put_bytes(&maker->out, bytes + i, from - i);
        if (from < n) {
            const char escape[] = {'\\', bytes[from++], '\0'};
            burble__put_raw(&maker->out, escape);
        }
    }
    return 0;
}

/* A literal of a value's JSON. */
static bool put_value(struct burble__maker *maker, const json_t *value)
{
    burble__schema_put(maker, "\"");
    if (json_dump_callback(value, put_escaped, maker, JSON_ENCODE_ANY | JSON_COMPACT) != 0)
        return burble__problem_memory(maker->problem);
    burble__schema_put(maker, "\"");
    return true;
}

bool burble__schema_put_name(struct burble__maker *maker, const char *name)
{
    maker->name.len = 0;
    if (burble__json_put_name(&maker->name, name) != BURBLE_OK)
        return burble__problem_memory(maker->problem);
    burble__schema_put(maker, "\"");
    put_escaped(maker->name.bytes, maker->name.len, maker);
    burble__schema_put(maker, "\"");
    return true;
}

bool burble__schema_put_times(struct burble__maker *maker, const char *path, uint32_t least,
                              uint32_t most)
{
    maker->times += most == BURBLE__UNBOUNDED ? least : most;
    if (maker->times > BURBLE__SCHEMA_MAX_ALL_TIMES) {
        char message[96];
        snprintf(message, sizeof message, "expected at most %u repetitions in a schema, found more",
                 BURBLE__SCHEMA_MAX_ALL_TIMES);
        return burble__schema_refuse(maker, path, message);
    }
    char text[32];
    if (most == BURBLE__UNBOUNDED)
        snprintf(text, sizeof text, "{%u,}", (unsigned)least);
    else
        snprintf(text, sizeof text, "{%u,%u}", (unsigned)least, (unsigned)most);
    burble__schema_put(maker, text);
    return true;
}

/* ---- references ---------------------------------------------------------------------------------------- */

/* The next part of a path, in which ~0 is ~ and ~1 is /, up to the '/' or the end, at which *at is then. False: too long. */
static bool next_part(const char **at, char *part, size_t room)
{
    size_t n = 0;
    const char *from = *at + 1;
    while (*from != '\0' && *from != '/' && n + 1 < room) {
        const bool escaped = from[0] == '~' && (from[1] == '0' || from[1] == '1');
        part[n++] = escaped ? (from[1] == '0' ? '~' : '/') : from[0];
        from += escaped ? 2 : 1;
    }
    part[n] = '\0';
    *at = from;
    return *from == '\0' || *from == '/';
}

/* What is at a path in the schema, such as #/$defs/a. NULL: nothing. */
static json_t *find(const struct burble__maker *maker, const char *path)
{
    char part[256];
    json_t *found = *path == '#' ? maker->root : NULL;
    const char *at = path + (*path == '#');
    while (found != NULL && *at == '/') {
        if (!next_part(&at, part, sizeof part))
            return NULL;
        char *end = part;
        const unsigned long index = json_is_array(found) ? strtoul(part, &end, 10) : 0;
        found = json_is_array(found)
                    ? end != part && *end == '\0' ? json_array_get(found, index) : NULL
                    : json_object_get(found, part);
    }
    return *at == '\0' ? found : NULL;
}

static unsigned about(const char *keyword)
{
    for (size_t i = 0; i < COUNT(keywords); i++)
        if (strcmp(keywords[i].name, keyword) == 0)
            return keywords[i].about;
    return 0;
}

/* Follows $ref, beside which there may be nothing. */
static bool follow(struct burble__maker *maker, json_t **schema, const char *path)
{
    const json_t *ref;
    for (unsigned hops = 0; (ref = json_object_get(*schema, "$ref")) != NULL; hops++) {
        const struct burble__body_path at = burble__body_path_member(path, "$ref");
        const char *key, *target;
        json_t *value;
        json_object_foreach(*schema, key, value)
        {
            if (strcmp(key, "$ref") != 0 && about(key) != SAYS_NOTHING)
                return burble__schema_refuse_member(maker, path, key, "not supported beside $ref");
        }
        if (!burble__body_name(ref, at.text, &target, maker->problem))
            return false;
        json_t *found = hops < MAX_HOPS ? find(maker, target) : NULL;
        if (found == NULL)
            return burble__problem_set(
                maker->problem, 400, "unsupported_schema", at.text,
                "%s: expected %s, found \"%.64s\"", at.text,
                hops < MAX_HOPS ? "the path of a schema in this one, such as #/$defs/NAME"
                                : "a schema, found only references",
                target);
        *schema = found;
    }
    return true;
}

bool burble__schema_put_rule(struct burble__maker *maker, json_t *schema, const char *path)
{
    size_t i = 0;
    if (!follow(maker, &schema, path))
        return false;
    if (json_is_true(schema)) {
        burble__schema_put(maker, "value");
        return true;
    }
    if (!json_is_object(schema))
        return burble__body_expected(maker->problem, path, "a schema: an object or true", schema);
    while (i < maker->n && maker->items[i].schema != schema)
        i++;
    if (i == BURBLE__SCHEMA_MAX_SCHEMAS) {
        char message[64];
        snprintf(message, sizeof message, "expected at most %u schemas, found more",
                 BURBLE__SCHEMA_MAX_SCHEMAS);
        return burble__schema_refuse(maker, path, message);
    }
    if (i == maker->n) {
        maker->items[i].schema = schema;
        maker->items[i].path = burble__body_path_member("", path);
        maker->n++;
    }
    burble__schema_put_number(maker, "s", i, "");
    return true;
}

/* ---- one schema ---------------------------------------------------------------------------------------- */

static unsigned type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return BURBLE__TYPE_OBJECT;
    case JSON_ARRAY:
        return BURBLE__TYPE_ARRAY;
    case JSON_STRING:
        return BURBLE__TYPE_STRING;
    case JSON_INTEGER:
        return BURBLE__TYPE_INTEGER | BURBLE__TYPE_NUMBER;
    case JSON_REAL:
        return BURBLE__TYPE_NUMBER;
    case JSON_NULL:
        return BURBLE__TYPE_NULL;
    default:
        return BURBLE__TYPE_BOOLEAN;
    }
}

/* The values of `enum`, or that of `const`, which have to be of the schema's types. */
static bool put_values(struct burble__maker *maker, const json_t *list, const json_t *only,
                       unsigned given, const char *path)
{
    const struct burble__body_path at =
        burble__body_path_member(path, list != NULL ? "enum" : "const");
    const size_t n = list != NULL ? json_array_size(list) : 1;
    if (list != NULL && n == 0)
        return burble__body_expected(maker->problem, at.text, "a list of values", list);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = list != NULL ? json_array_get(list, i) : only;
        if (given != 0 && value != NULL && (type_of(value) & given) == 0)
            return burble__body_expected(
                maker->problem, list != NULL ? burble__body_path_item(at.text, i).text : at.text,
                "a value of the schema's type", value);
        if (i > 0)
            burble__schema_put(maker, " | ");
        if (!put_value(maker, value))
            return false;
    }
    return true;
}

static bool put_any_of(struct burble__maker *maker, const char *key, const json_t *list,
                       const char *path)
{
    const struct burble__body_path at = burble__body_path_member(path, key);
    const size_t n = json_array_size(list);
    if (n == 0)
        return burble__body_expected(maker->problem, at.text, "a list of schemas", list);
    if (strcmp(key, "allOf") == 0 && n > 1)
        return burble__schema_refuse(maker, at.text, "supported with one schema only");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            burble__schema_put(maker, " | ");
        if (!burble__schema_put_rule(maker, json_array_get(list, i),
                                     burble__body_path_item(at.text, i).text))
            return false;
    }
    return true;
}

static bool read_type(struct burble__maker *maker, const json_t *value, const char *path,
                      unsigned *type)
{
    const char *name;
    if (!burble__body_name(value, path, &name, maker->problem))
        return false;
    for (size_t i = 0; i < COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0) {
            *type |= types[i].type;
            return true;
        }
    return burble__problem_set(maker->problem, 400, NULL, path,
                               "%s: expected object, array, string, number, integer, boolean or "
                               "null, found \"%.64s\"",
                               path, name);
}

/* The types that `type` names; 0: it is not there. */
static bool read_types(struct burble__maker *maker, const json_t *value, const char *path,
                       unsigned *given)
{
    const struct burble__body_path at = burble__body_path_member(path, "type");
    *given = 0;
    if (value == NULL)
        return true;
    if (!json_is_array(value))
        return read_type(maker, value, at.text, given);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!read_type(maker, json_array_get(value, i), burble__body_path_item(at.text, i).text,
                       given))
            return false;
    return *given != 0
           || burble__body_expected(maker->problem, at.text, "a name or a list of names", value);
}

/* Looks at all keywords: which one says all, and what types the others are about. */
static bool look(struct burble__maker *maker, json_t *schema, const char *path, const char **whole,
                 unsigned *implied)
{
    const char *key, *other = NULL;
    json_t *value;
    *whole = NULL;
    *implied = 0;
    json_object_foreach(schema, key, value)
    {
        const unsigned what = about(key);
        if (what == 0 && !(strcmp(key, "uniqueItems") == 0 && json_is_false(value)))
            return burble__schema_refuse_member(maker, path, key, "not supported");
        const bool first = what == WHOLE && *whole == NULL;
        const bool implies = what < TYPE && what != 0;
        if (first)
            *whole = key;
        if (implies)
            *implied |= what;
        if (implies || (what == WHOLE && !first) || (what == TYPE && other == NULL))
            other = key;
    }
    const bool values =
        *whole != NULL && (strcmp(*whole, "enum") == 0 || strcmp(*whole, "const") == 0);
    if (*whole == NULL || other == NULL || (values && strcmp(other, "type") == 0))
        return true;
    char message[64];
    snprintf(message, sizeof message, "not supported beside %s", *whole);
    return burble__schema_refuse_member(maker, path, other, message);
}

/* The types of a schema that names none: those that its keywords are about, if that is one. */
static bool imply(struct burble__maker *maker, unsigned implied, const char *path, unsigned *given)
{
    *given =
        implied == (BURBLE__TYPE_INTEGER | BURBLE__TYPE_NUMBER) ? BURBLE__TYPE_NUMBER : implied;
    return (*given & (*given - 1)) == 0
           || burble__schema_refuse_member(maker, path, "type", "expected one, found none");
}

static bool put_schema(struct burble__maker *maker, size_t rule)
{
    json_t *schema = maker->items[rule].schema;
    const char *path = maker->items[rule].path.text, *whole;
    unsigned given, implied;
    burble__schema_put_number(maker, "s", rule, " ::= ");
    if (!look(maker, schema, path, &whole, &implied)
        || !read_types(maker, json_object_get(schema, "type"), path, &given))
        return false;
    const json_t *value = whole == NULL ? NULL : json_object_get(schema, whole);
    if (whole != NULL && strcmp(whole, "enum") == 0)
        return put_values(maker, value, NULL, given, path);
    if (whole != NULL && strcmp(whole, "const") == 0)
        return put_values(maker, NULL, value, given, path);
    if (whole != NULL)
        return put_any_of(maker, whole, value, path);
    if (given == 0 && !imply(maker, implied, path, &given))
        return false;
    if (given == 0)
        burble__schema_put(maker, "value");
    if (given & BURBLE__TYPE_NUMBER) /* which has the integers */
        given &= ~(unsigned)BURBLE__TYPE_INTEGER;
    const char *next = "";
    for (unsigned type = BURBLE__TYPE_OBJECT; type <= BURBLE__TYPE_NULL; type *= 2) {
        if ((given & type) == 0)
            continue;
        burble__schema_put(maker, next);
        if (!burble__schema_put_type(maker, rule, type, schema, path))
            return false;
        next = " | ";
    }
    json_t *properties = given & BURBLE__TYPE_OBJECT ? json_object_get(schema, "properties") : NULL;
    return json_object_size(properties) == 0
           || burble__schema_put_properties(maker, rule, properties,
                                            json_object_get(schema, "required"), path);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static bool put_all(struct burble__maker *maker)
{
    burble__schema_put(maker, common_rules);
    burble__schema_put(maker, "root ::= ");
    if (!burble__schema_put_rule(maker, maker->root, maker->root_path))
        return false;
    burble__schema_put(maker, "\n");
    for (size_t i = 0; i < maker->n; i++) {
        if (!put_schema(maker, i))
            return false;
        burble__schema_put(maker, "\n");
        if (maker->out.buffer->len > BURBLE__SCHEMA_MAX_TEXT) {
            char message[96];
            snprintf(message, sizeof message,
                     "expected a schema whose grammar has at most %u bytes, found more",
                     BURBLE__SCHEMA_MAX_TEXT);
            return burble__schema_refuse(maker, maker->root_path, message);
        }
    }
    return maker->out.result == BURBLE_OK || burble__problem_memory(maker->problem);
}

bool burble__schema_write(json_t *schema, const char *path, struct burble__buffer *out,
                          struct burble__problem *problem)
{
    struct burble__maker *maker = burble__malloc(sizeof *maker);
    if (maker == NULL)
        return burble__problem_memory(problem);
    maker->n = 0;
    maker->root = schema;
    maker->root_path = path;
    maker->times = 0;
    maker->out = (struct burble__output){out, BURBLE_OK};
    maker->problem = problem;
    burble__buffer_init(&maker->name, SIZE_MAX / 2);
    const bool ok = put_all(maker);
    burble__buffer_finish(&maker->name);
    burble__free(maker);
    return ok;
}
