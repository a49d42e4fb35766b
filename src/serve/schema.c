/* SPDX-License-Identifier: MIT
 *
 * Each schema becomes a rule: s0, s1 …. What a rule names is put into a list, if it is not there yet, and
 * written later; so nothing calls itself, and a $ref is the name of a rule.
 */
#include "serve/schema.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "serve/body.h"
#include "serve/json.h"
#include "serve/schema_range.h"

/* The most $ref that lead from one to the next. */
#define MAX_HOPS 64

#define UNBOUNDED UINT32_MAX

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

#define DATE                                                                                       \
    "[0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" (\"0\" [1-9] | [12] [0-9] | \"3\" [01])"
#define TIME                                                                                       \
    "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,9})? "          \
    "(\"Z\" | [+-] ([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9])"

static const struct {
    const char *name, *text;
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE " \"T\" " TIME},
    {"uuid", "hex{8} \"-\" hex{4} \"-\" hex{4} \"-\" hex{4} \"-\" hex{12}"},
};

/* What a keyword is about. */
enum {
    OBJECT = 1,
    ARRAY = 2,
    STRING = 4,
    INTEGER = 8,
    NUMBER = 16,
    BOOLEAN = 32,
    NOTHING = 64, /* null */
    TYPE = 128,   /* `type` itself */
    WHOLE = 256,  /* says all by itself */
    SAYS_NOTHING = 512,
};

static const struct {
    const char *name;
    unsigned type;
} types[] = {
    {"object", OBJECT}, {"array", ARRAY},     {"string", STRING}, {"integer", INTEGER},
    {"number", NUMBER}, {"boolean", BOOLEAN}, {"null", NOTHING},
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
    {"properties", OBJECT},
    {"required", OBJECT},
    {"additionalProperties", OBJECT},
    {"items", ARRAY},
    {"prefixItems", ARRAY},
    {"minItems", ARRAY},
    {"maxItems", ARRAY},
    {"minLength", STRING},
    {"maxLength", STRING},
    {"format", STRING},
    {"minimum", INTEGER | NUMBER},
    {"maximum", INTEGER | NUMBER},
    {"exclusiveMinimum", INTEGER | NUMBER},
    {"exclusiveMaximum", INTEGER | NUMBER},
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

struct item {
    json_t *schema;
    struct burble__body_path path;
};

struct maker {
    struct item items[BURBLE__SCHEMA_MAX_SCHEMAS]; /* rule i is that of schema i */
    size_t n;
    json_t *root;
    const char *root_path;
    uint32_t times; /* repetitions so far */
    struct burble__output out;
    struct burble__buffer name; /* of a member, as JSON */
    struct burble__problem *problem;
};

static bool refuse(struct maker *maker, const char *path, const char *message)
{
    return burble__problem_set(maker->problem, 400, "unsupported_schema", path, "%s: %s", path,
                               message);
}

static bool refuse_member(struct maker *maker, const char *path, const char *key,
                          const char *message)
{
    return refuse(maker, burble__body_path_member(path, key).text, message);
}

/* ---- text ---------------------------------------------------------------------------------------------- */

static void put(struct maker *maker, const char *text)
{
    burble__put_raw(&maker->out, text);
}

static void put_number(struct maker *maker, const char *before, size_t number, const char *after)
{
    put(maker, before);
    burble__put_integer(&maker->out, number);
    put(maker, after);
}

/* Bytes of a literal, between its quotes. Beyond the bound for the text, nothing more is written. */
static int put_escaped(const char *bytes, size_t n, void *arg)
{
    struct maker *maker = arg;
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
static bool put_value(struct maker *maker, const json_t *value)
{
    put(maker, "\"");
    if (json_dump_callback(value, put_escaped, maker, JSON_ENCODE_ANY | JSON_COMPACT) != 0)
        return burble__problem_memory(maker->problem);
    put(maker, "\"");
    return true;
}

/* A literal of the JSON of a member's name. */
static bool put_name(struct maker *maker, const char *name)
{
    maker->name.len = 0;
    if (burble__json_put_name(&maker->name, name) != BURBLE_OK)
        return burble__problem_memory(maker->problem);
    put(maker, "\"");
    put_escaped(maker->name.bytes, maker->name.len, maker);
    put(maker, "\"");
    return true;
}

/* How often the item before may stand. */
static bool put_times(struct maker *maker, const char *path, uint32_t least, uint32_t most)
{
    maker->times += most == UNBOUNDED ? least : most;
    if (maker->times > BURBLE__SCHEMA_MAX_ALL_TIMES) {
        char message[96];
        snprintf(message, sizeof message, "expected at most %u repetitions in a schema, found more",
                 BURBLE__SCHEMA_MAX_ALL_TIMES);
        return refuse(maker, path, message);
    }
    char text[32];
    if (most == UNBOUNDED)
        snprintf(text, sizeof text, "{%u,}", (unsigned)least);
    else
        snprintf(text, sizeof text, "{%u,%u}", (unsigned)least, (unsigned)most);
    put(maker, text);
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
static json_t *find(const struct maker *maker, const char *path)
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
static bool follow(struct maker *maker, json_t **schema, const char *path)
{
    const json_t *ref;
    for (unsigned hops = 0; (ref = json_object_get(*schema, "$ref")) != NULL; hops++) {
        const struct burble__body_path at = burble__body_path_member(path, "$ref");
        const char *key, *target;
        json_t *value;
        json_object_foreach(*schema, key, value)
        {
            if (strcmp(key, "$ref") != 0 && about(key) != SAYS_NOTHING)
                return refuse_member(maker, path, key, "not supported beside $ref");
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

/* Names the rule of a schema. */
static bool put_rule(struct maker *maker, json_t *schema, const char *path)
{
    size_t i = 0;
    if (!follow(maker, &schema, path))
        return false;
    if (json_is_true(schema)) {
        put(maker, "value");
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
        return refuse(maker, path, message);
    }
    if (i == maker->n) {
        maker->items[i].schema = schema;
        maker->items[i].path = burble__body_path_member("", path);
        maker->n++;
    }
    put_number(maker, "s", i, "");
    return true;
}

/* ---- objects ------------------------------------------------------------------------------------------- */

static bool is_required(const json_t *required, const char *name)
{
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *found = json_string_value(json_array_get(required, i));
        if (found != NULL && strcmp(found, name) == 0)
            return true;
    }
    return false;
}

static bool check_required(struct maker *maker, const json_t *required, const json_t *properties,
                           const char *path)
{
    const struct burble__body_path at = burble__body_path_member(path, "required");
    if (required != NULL && !json_is_array(required))
        return burble__body_expected(maker->problem, at.text, "a list of names", required);
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name;
        const struct burble__body_path item = burble__body_path_item(at.text, i);
        if (!burble__body_name(json_array_get(required, i), item.text, &name, maker->problem))
            return false;
        if (json_object_get(properties, name) == NULL)
            return burble__problem_set(maker->problem, 400, "unsupported_schema", item.text,
                                       "%s: expected a name of properties, found \"%.64s\"",
                                       item.text, name);
    }
    return true;
}

/* Any names, all with the same schema. */
static bool put_map(struct maker *maker, json_t *additional, const char *path)
{
    put(maker, "\"{\" ws (string ws \":\" ws ");
    const struct burble__body_path at = burble__body_path_member(path, "additionalProperties");
    if (!put_rule(maker, additional, at.text))
        return false;
    put(maker, " ws (\",\" ws string ws \":\" ws ");
    if (!put_rule(maker, additional, at.text))
        return false;
    put(maker, " ws)*)? \"}\"");
    return true;
}

/* What follows from property `i` on, in rules of their own: sN-fI, if none came before, and sN-mI. An optional one may be left
 * out. */
static void put_property_rules(struct maker *maker, size_t rule, size_t i, size_t n, bool required)
{
    static const struct {
        const char *begin, *before;
    } kinds[] = {{"-f", ""}, {"-m", "\",\" ws "}};
    for (size_t kind = 0; kind < 2; kind++) {
        put_number(maker, "\ns", rule, kinds[kind].begin);
        put_number(maker, "", i, " ::= ");
        if (i == n) {
            put(maker, "\"\"");
            continue;
        }
        put(maker, kinds[kind].before);
        put_number(maker, "s", rule, "-p");
        put_number(maker, "", i, " ");
        put_number(maker, "s", rule, "-m");
        put_number(maker, "", i + 1, "");
        if (!required) {
            put_number(maker, " | s", rule, kinds[kind].begin);
            put_number(maker, "", i + 1, "");
        }
    }
}

static bool put_properties(struct maker *maker, size_t rule, json_t *properties,
                           const json_t *required, const char *path)
{
    const struct burble__body_path at = burble__body_path_member(path, "properties");
    const size_t n = json_object_size(properties);
    const char *name;
    json_t *schema;
    size_t i = 0;
    json_object_foreach(properties, name, schema)
    {
        put_number(maker, "\ns", rule, "-p");
        put_number(maker, "", i, " ::= ");
        if (!put_name(maker, name))
            return false;
        put(maker, " ws \":\" ws ");
        if (!put_rule(maker, schema, burble__body_path_member(at.text, name).text))
            return false;
        put(maker, " ws");
        put_property_rules(maker, rule, i, n, is_required(required, name));
        i++;
    }
    put_property_rules(maker, rule, n, n, false);
    return true;
}

/* The name of an alternative that needs rules of its own, which follow. */
static bool put_object(struct maker *maker, size_t rule, json_t *schema, const char *path)
{
    json_t *properties = json_object_get(schema, "properties");
    json_t *additional = json_object_get(schema, "additionalProperties");
    if (properties != NULL && !json_is_object(properties))
        return burble__body_expected(maker->problem,
                                     burble__body_path_member(path, "properties").text, "an object",
                                     properties);
    if (!check_required(maker, json_object_get(schema, "required"), properties, path))
        return false;
    if (additional != NULL && !json_is_boolean(additional) && !json_is_object(additional))
        return burble__body_expected(maker->problem,
                                     burble__body_path_member(path, "additionalProperties").text,
                                     "a schema: an object, true or false", additional);
    if (json_object_size(properties) > 0) {
        if (json_object_size(additional) > 0)
            return refuse_member(maker, path, "additionalProperties",
                                 "not supported beside properties, unless it is true or false");
        put_number(maker, "\"{\" ws s", rule, "-f0 \"}\"");
    } else if (json_is_false(additional)) {
        put(maker, "\"{\" ws \"}\"");
    } else if (json_object_size(additional) > 0) {
        return put_map(maker, additional, path);
    } else {
        put(maker, "object");
    }
    return true;
}

/* ---- arrays -------------------------------------------------------------------------------------------- */

static bool read_count(struct maker *maker, const json_t *schema, const char *key, const char *path,
                       uint32_t *count)
{
    const json_t *value = json_object_get(schema, key);
    double number;
    if (value == NULL)
        return true;
    if (!burble__body_integer(value, burble__body_path_member(path, key).text, 0,
                              BURBLE__SCHEMA_MAX_TIMES, &number, maker->problem))
        return false;
    *count = (uint32_t)number;
    return true;
}

static bool read_counts(struct maker *maker, const json_t *schema, const char *least_key,
                        const char *most_key, const char *path, uint32_t *least, uint32_t *most)
{
    *least = 0;
    *most = UNBOUNDED;
    if (!read_count(maker, schema, least_key, path, least)
        || !read_count(maker, schema, most_key, path, most))
        return false;
    return *least <= *most
           || refuse_member(maker, path, most_key, "expected no less than the least, found less");
}

/* One of each of a list of schemas. */
static bool put_tuple(struct maker *maker, const json_t *list, const char *path)
{
    put(maker, "\"[\" ws ");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0)
            put(maker, "\",\" ws ");
        if (!put_rule(maker, json_array_get(list, i), burble__body_path_item(path, i).text))
            return false;
        put(maker, " ws ");
    }
    put(maker, "\"]\"");
    return true;
}

static bool put_list(struct maker *maker, json_t *items, const char *path, uint32_t least,
                     uint32_t most)
{
    const struct burble__body_path at = burble__body_path_member(path, "items");
    if (most == 0) {
        put(maker, "\"[\" ws \"]\"");
        return true;
    }
    put(maker, least == 0 ? "\"[\" ws (" : "\"[\" ws ");
    if (!put_rule(maker, items, at.text))
        return false;
    put(maker, " ws (\",\" ws ");
    if (!put_rule(maker, items, at.text))
        return false;
    put(maker, " ws)");
    if (!put_times(maker, path, least > 0 ? least - 1 : 0,
                   most == UNBOUNDED ? UNBOUNDED : most - 1))
        return false;
    put(maker, least == 0 ? ")? \"]\"" : " \"]\"");
    return true;
}

static bool put_array(struct maker *maker, json_t *schema, const char *path)
{
    json_t *items = json_object_get(schema, "items");
    const json_t *first = json_object_get(schema, "prefixItems");
    uint32_t least, most;
    const bool old = json_is_array(items); /* as before 2020 */
    if (!read_counts(maker, schema, "minItems", "maxItems", path, &least, &most))
        return false;
    if (first == NULL && !old) {
        if (items != NULL)
            return put_list(maker, items, path, least, most);
        if (least == 0 && most == UNBOUNDED) {
            put(maker, "array");
            return true;
        }
        return put_list(maker, json_true(), path, least, most);
    }
    const char *key = old ? "items" : "prefixItems";
    const json_t *list = old ? items : first;
    const size_t n = json_array_size(list);
    if (!json_is_array(list))
        return burble__body_expected(maker->problem, burble__body_path_member(path, key).text,
                                     "a list of schemas", list);
    if (first != NULL && items != NULL && !json_is_boolean(items))
        return refuse_member(maker, path, "items", "not supported beside prefixItems");
    if (least > n || most < n)
        return refuse_member(maker, path, least > n ? "minItems" : "maxItems",
                             "expected the number of the schemas that are listed, or none");
    return put_tuple(maker, list, burble__body_path_member(path, key).text);
}

/* ---- strings and numbers ------------------------------------------------------------------------------- */

static bool put_string(struct maker *maker, const json_t *schema, const char *path)
{
    const json_t *format = json_object_get(schema, "format");
    uint32_t least, most;
    const char *name;
    const struct burble__body_path at = burble__body_path_member(path, "format");
    if (!read_counts(maker, schema, "minLength", "maxLength", path, &least, &most))
        return false;
    if (format == NULL) {
        if (least == 0 && most == UNBOUNDED) {
            put(maker, "string");
            return true;
        }
        put(maker, "\"\\\"\" char");
        if (!put_times(maker, path, least, most))
            return false;
        put(maker, " \"\\\"\"");
        return true;
    }
    if (!burble__body_name(format, at.text, &name, maker->problem))
        return false;
    if (least != 0 || most != UNBOUNDED)
        return refuse(maker, at.text, "not supported beside minLength and maxLength");
    for (size_t i = 0; i < COUNT(formats); i++)
        if (strcmp(formats[i].name, name) == 0) {
            put(maker, "\"\\\"\" ");
            put(maker, formats[i].text);
            put(maker, " \"\\\"\"");
            return true;
        }
    return burble__problem_set(maker->problem, 400, "unsupported_schema", at.text,
                               "%s: expected date, time, date-time or uuid, found \"%.64s\"",
                               at.text, name);
}

/* A bound of numbers; NAN: there is none. */
static bool read_bound(struct maker *maker, const json_t *schema, const char *key, const char *path,
                       double *bound)
{
    const json_t *value = json_object_get(schema, key);
    *bound = NAN;
    return value == NULL
           || burble__body_number(value, burble__body_path_member(path, key).text,
                                  -(double)BURBLE__RANGE_MAX, (double)BURBLE__RANGE_MAX, bound,
                                  maker->problem);
}

/* The largest integer that is not above a number of at most 17 digits. */
static int64_t floor_of(double number)
{
    const int64_t whole = (int64_t)number;
    return (double)whole > number ? whole - 1 : whole;
}

static bool put_integer(struct maker *maker, const json_t *schema, const char *path)
{
    double least, most, above, below;
    int64_t low = -BURBLE__RANGE_MAX, high = BURBLE__RANGE_MAX;
    if (!read_bound(maker, schema, "minimum", path, &least)
        || !read_bound(maker, schema, "maximum", path, &most)
        || !read_bound(maker, schema, "exclusiveMinimum", path, &above)
        || !read_bound(maker, schema, "exclusiveMaximum", path, &below))
        return false;
    if (isnan(least) && isnan(most) && isnan(above) && isnan(below)) {
        put(maker, "integer");
        return true;
    }
    if (!isnan(least) && -floor_of(-least) > low)
        low = -floor_of(-least);
    if (!isnan(above) && floor_of(above) + 1 > low)
        low = floor_of(above) + 1;
    if (!isnan(most) && floor_of(most) < high)
        high = floor_of(most);
    if (!isnan(below) && -floor_of(-below) - 1 < high)
        high = -floor_of(-below) - 1;
    if (low > high || low > BURBLE__RANGE_MAX || high < -BURBLE__RANGE_MAX)
        return refuse(maker, path, "expected bounds with an integer between them, found none");
    burble__range_write(low, high, &maker->out);
    return true;
}

static bool put_real(struct maker *maker, const json_t *schema, const char *path)
{
    static const char *const others[] = {"maximum", "exclusiveMinimum", "exclusiveMaximum"};
    double least;
    if (!read_bound(maker, schema, "minimum", path, &least))
        return false;
    for (size_t i = 0; i < COUNT(others); i++)
        if (json_object_get(schema, others[i]) != NULL)
            return refuse_member(maker, path, others[i], "supported for integers only");
    if (!isnan(least) && (least < 0 || least > 0))
        return refuse_member(maker, path, "minimum", "supported for integers only, unless it is 0");
    put(maker, isnan(least) ? "number" : "positive");
    return true;
}

/* ---- one schema ---------------------------------------------------------------------------------------- */

static unsigned type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return OBJECT;
    case JSON_ARRAY:
        return ARRAY;
    case JSON_STRING:
        return STRING;
    case JSON_INTEGER:
        return INTEGER | NUMBER;
    case JSON_REAL:
        return NUMBER;
    case JSON_NULL:
        return NOTHING;
    default:
        return BOOLEAN;
    }
}

/* The values of `enum`, or that of `const`, which have to be of the schema's types. */
static bool put_values(struct maker *maker, const json_t *list, const json_t *only, unsigned given,
                       const char *path)
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
            put(maker, " | ");
        if (!put_value(maker, value))
            return false;
    }
    return true;
}

static bool put_any_of(struct maker *maker, const char *key, const json_t *list, const char *path)
{
    const struct burble__body_path at = burble__body_path_member(path, key);
    const size_t n = json_array_size(list);
    if (n == 0)
        return burble__body_expected(maker->problem, at.text, "a list of schemas", list);
    if (strcmp(key, "allOf") == 0 && n > 1)
        return refuse(maker, at.text, "supported with one schema only");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put(maker, " | ");
        if (!put_rule(maker, json_array_get(list, i), burble__body_path_item(at.text, i).text))
            return false;
    }
    return true;
}

static bool put_type(struct maker *maker, size_t rule, unsigned type, json_t *schema,
                     const char *path)
{
    switch (type) {
    case OBJECT:
        return put_object(maker, rule, schema, path);
    case ARRAY:
        return put_array(maker, schema, path);
    case STRING:
        return put_string(maker, schema, path);
    case INTEGER:
        return put_integer(maker, schema, path);
    case NUMBER:
        return put_real(maker, schema, path);
    default:
        put(maker, type == BOOLEAN ? "boolean" : "null");
        return true;
    }
}

static bool read_type(struct maker *maker, const json_t *value, const char *path, unsigned *type)
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
static bool read_types(struct maker *maker, const json_t *value, const char *path, unsigned *given)
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
static bool look(struct maker *maker, json_t *schema, const char *path, const char **whole,
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
            return refuse_member(maker, path, key, "not supported");
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
    return refuse_member(maker, path, other, message);
}

/* The types of a schema that names none: those that its keywords are about, if that is one. */
static bool imply(struct maker *maker, unsigned implied, const char *path, unsigned *given)
{
    *given = implied == (INTEGER | NUMBER) ? NUMBER : implied;
    return (*given & (*given - 1)) == 0
           || refuse_member(maker, path, "type", "expected one, found none");
}

static bool put_schema(struct maker *maker, size_t rule)
{
    json_t *schema = maker->items[rule].schema;
    const char *path = maker->items[rule].path.text, *whole;
    unsigned given, implied;
    put_number(maker, "s", rule, " ::= ");
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
        put(maker, "value");
    if (given & NUMBER) /* which has the integers */
        given &= ~(unsigned)INTEGER;
    const char *next = "";
    for (unsigned type = OBJECT; type <= NOTHING; type *= 2) {
        if ((given & type) == 0)
            continue;
        put(maker, next);
        if (!put_type(maker, rule, type, schema, path))
            return false;
        next = " | ";
    }
    json_t *properties = given & OBJECT ? json_object_get(schema, "properties") : NULL;
    return json_object_size(properties) == 0
           || put_properties(maker, rule, properties, json_object_get(schema, "required"), path);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static bool put_all(struct maker *maker)
{
    put(maker, common_rules);
    put(maker, "root ::= ");
    if (!put_rule(maker, maker->root, maker->root_path))
        return false;
    put(maker, "\n");
    for (size_t i = 0; i < maker->n; i++) {
        if (!put_schema(maker, i))
            return false;
        put(maker, "\n");
        if (maker->out.buffer->len > BURBLE__SCHEMA_MAX_TEXT) {
            char message[96];
            snprintf(message, sizeof message,
                     "expected a schema whose grammar has at most %u bytes, found more",
                     BURBLE__SCHEMA_MAX_TEXT);
            return refuse(maker, maker->root_path, message);
        }
    }
    return maker->out.result == BURBLE_OK || burble__problem_memory(maker->problem);
}

bool burble__schema_write(json_t *schema, const char *path, struct burble__buffer *out,
                          struct burble__problem *problem)
{
    struct maker *maker = burble__malloc(sizeof *maker);
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
