/* SPDX-License-Identifier: MIT */
#include "serve/schema_parts.h"

#include <math.h>
#include <string.h>

#include "serve/body.h"
#include "serve/schema_range.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

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

static bool check_required(struct burble__maker *maker, const json_t *required,
                           const json_t *properties, const char *path)
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
static bool put_map(struct burble__maker *maker, json_t *additional, const char *path)
{
    burble__schema_put(maker, "\"{\" ws (string ws \":\" ws ");
    const struct burble__body_path at = burble__body_path_member(path, "additionalProperties");
    if (!burble__schema_put_rule(maker, additional, at.text))
        return false;
    burble__schema_put(maker, " ws (\",\" ws string ws \":\" ws ");
    if (!burble__schema_put_rule(maker, additional, at.text))
        return false;
    burble__schema_put(maker, " ws)*)? \"}\"");
    return true;
}

/* What follows from property `i` on, in rules of their own: sN-fI, if none came before, and sN-mI. An optional one may be left
 * out. */
static void put_property_rules(struct burble__maker *maker, size_t rule, size_t i, size_t n,
                               bool required)
{
    static const struct {
        const char *begin, *before;
    } kinds[] = {{"-f", ""}, {"-m", "\",\" ws "}};
    for (size_t kind = 0; kind < 2; kind++) {
        burble__schema_put_number(maker, "\ns", rule, kinds[kind].begin);
        burble__schema_put_number(maker, "", i, " ::= ");
        if (i == n) {
            burble__schema_put(maker, "\"\"");
            continue;
        }
        burble__schema_put(maker, kinds[kind].before);
        burble__schema_put_number(maker, "s", rule, "-p");
        burble__schema_put_number(maker, "", i, " ");
        burble__schema_put_number(maker, "s", rule, "-m");
        burble__schema_put_number(maker, "", i + 1, "");
        if (!required) {
            burble__schema_put_number(maker, " | s", rule, kinds[kind].begin);
            burble__schema_put_number(maker, "", i + 1, "");
        }
    }
}

bool burble__schema_put_properties(struct burble__maker *maker, size_t rule, json_t *properties,
                                   const json_t *required, const char *path)
{
    const struct burble__body_path at = burble__body_path_member(path, "properties");
    const size_t n = json_object_size(properties);
    const char *name;
    json_t *schema;
    size_t i = 0;
    json_object_foreach(properties, name, schema)
    {
        burble__schema_put_number(maker, "\ns", rule, "-p");
        burble__schema_put_number(maker, "", i, " ::= ");
        if (!burble__schema_put_name(maker, name))
            return false;
        burble__schema_put(maker, " ws \":\" ws ");
        if (!burble__schema_put_rule(maker, schema, burble__body_path_member(at.text, name).text))
            return false;
        burble__schema_put(maker, " ws");
        put_property_rules(maker, rule, i, n, is_required(required, name));
        i++;
    }
    put_property_rules(maker, rule, n, n, false);
    return true;
}

/* Names members whose rules follow: burble__schema_put_properties. */
static bool put_object(struct burble__maker *maker, size_t rule, json_t *schema, const char *path)
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
            return burble__schema_refuse_member(
                maker, path, "additionalProperties",
                "not supported beside properties, unless it is true or false");
        burble__schema_put_number(maker, "\"{\" ws s", rule, "-f0 \"}\"");
    } else if (json_is_false(additional)) {
        burble__schema_put(maker, "\"{\" ws \"}\"");
    } else if (json_object_size(additional) > 0) {
        return put_map(maker, additional, path);
    } else {
        burble__schema_put(maker, "object");
    }
    return true;
}

/* ---- arrays -------------------------------------------------------------------------------------------- */

static bool read_count(struct burble__maker *maker, const json_t *schema, const char *key,
                       const char *path, uint32_t *count)
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

static bool read_counts(struct burble__maker *maker, const json_t *schema, const char *least_key,
                        const char *most_key, const char *path, uint32_t *least, uint32_t *most)
{
    *least = 0;
    *most = BURBLE__UNBOUNDED;
    if (!read_count(maker, schema, least_key, path, least)
        || !read_count(maker, schema, most_key, path, most))
        return false;
    return *least <= *most
           || burble__schema_refuse_member(maker, path, most_key,
                                           "expected no less than the least, found less");
}

/* One of each of a list of schemas. */
static bool put_tuple(struct burble__maker *maker, const json_t *list, const char *path)
{
    burble__schema_put(maker, "\"[\" ws ");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0)
            burble__schema_put(maker, "\",\" ws ");
        if (!burble__schema_put_rule(maker, json_array_get(list, i),
                                     burble__body_path_item(path, i).text))
            return false;
        burble__schema_put(maker, " ws ");
    }
    burble__schema_put(maker, "\"]\"");
    return true;
}

static bool put_list(struct burble__maker *maker, json_t *items, const char *path, uint32_t least,
                     uint32_t most)
{
    const struct burble__body_path at = burble__body_path_member(path, "items");
    if (most == 0) {
        burble__schema_put(maker, "\"[\" ws \"]\"");
        return true;
    }
    burble__schema_put(maker, least == 0 ? "\"[\" ws (" : "\"[\" ws ");
    if (!burble__schema_put_rule(maker, items, at.text))
        return false;
    burble__schema_put(maker, " ws (\",\" ws ");
    if (!burble__schema_put_rule(maker, items, at.text))
        return false;
    burble__schema_put(maker, " ws)");
    if (!burble__schema_put_times(maker, path, least > 0 ? least - 1 : 0,
                                  most == BURBLE__UNBOUNDED ? BURBLE__UNBOUNDED : most - 1))
        return false;
    burble__schema_put(maker, least == 0 ? ")? \"]\"" : " \"]\"");
    return true;
}

static bool put_array(struct burble__maker *maker, json_t *schema, const char *path)
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
        if (least == 0 && most == BURBLE__UNBOUNDED) {
            burble__schema_put(maker, "array");
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
        return burble__schema_refuse_member(maker, path, "items",
                                            "not supported beside prefixItems");
    if (least > n || most < n)
        return burble__schema_refuse_member(
            maker, path, least > n ? "minItems" : "maxItems",
            "expected the number of the schemas that are listed, or none");
    return put_tuple(maker, list, burble__body_path_member(path, key).text);
}

/* ---- strings and numbers ------------------------------------------------------------------------------- */

static bool put_string(struct burble__maker *maker, const json_t *schema, const char *path)
{
    const json_t *format = json_object_get(schema, "format");
    uint32_t least, most;
    const char *name;
    const struct burble__body_path at = burble__body_path_member(path, "format");
    if (!read_counts(maker, schema, "minLength", "maxLength", path, &least, &most))
        return false;
    if (format == NULL) {
        if (least == 0 && most == BURBLE__UNBOUNDED) {
            burble__schema_put(maker, "string");
            return true;
        }
        burble__schema_put(maker, "\"\\\"\" char");
        if (!burble__schema_put_times(maker, path, least, most))
            return false;
        burble__schema_put(maker, " \"\\\"\"");
        return true;
    }
    if (!burble__body_name(format, at.text, &name, maker->problem))
        return false;
    if (least != 0 || most != BURBLE__UNBOUNDED)
        return burble__schema_refuse(maker, at.text,
                                     "not supported beside minLength and maxLength");
    for (size_t i = 0; i < COUNT(formats); i++)
        if (strcmp(formats[i].name, name) == 0) {
            burble__schema_put(maker, "\"\\\"\" ");
            burble__schema_put(maker, formats[i].text);
            burble__schema_put(maker, " \"\\\"\"");
            return true;
        }
    return burble__problem_set(maker->problem, 400, "unsupported_schema", at.text,
                               "%s: expected date, time, date-time or uuid, found \"%.64s\"",
                               at.text, name);
}

/* A bound of numbers; NAN: there is none. */
static bool read_bound(struct burble__maker *maker, const json_t *schema, const char *key,
                       const char *path, double *bound)
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

static bool put_integer(struct burble__maker *maker, const json_t *schema, const char *path)
{
    double least, most, above, below;
    int64_t low = -BURBLE__RANGE_MAX, high = BURBLE__RANGE_MAX;
    if (!read_bound(maker, schema, "minimum", path, &least)
        || !read_bound(maker, schema, "maximum", path, &most)
        || !read_bound(maker, schema, "exclusiveMinimum", path, &above)
        || !read_bound(maker, schema, "exclusiveMaximum", path, &below))
        return false;
    if (isnan(least) && isnan(most) && isnan(above) && isnan(below)) {
        burble__schema_put(maker, "integer");
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
        return burble__schema_refuse(maker, path,
                                     "expected bounds with an integer between them, found none");
    burble__range_write(low, high, &maker->out);
    return true;
}

static bool put_real(struct burble__maker *maker, const json_t *schema, const char *path)
{
    static const char *const others[] = {"maximum", "exclusiveMinimum", "exclusiveMaximum"};
    double least;
    if (!read_bound(maker, schema, "minimum", path, &least))
        return false;
    for (size_t i = 0; i < COUNT(others); i++)
        if (json_object_get(schema, others[i]) != NULL)
            return burble__schema_refuse_member(maker, path, others[i],
                                                "supported for integers only");
    if (!isnan(least) && (least < 0 || least > 0))
        return burble__schema_refuse_member(maker, path, "minimum",
                                            "supported for integers only, unless it is 0");
    burble__schema_put(maker, isnan(least) ? "number" : "positive");
    return true;
}

/* ---- any of them --------------------------------------------------------------------------------------- */

bool burble__schema_put_type(struct burble__maker *maker, size_t rule, unsigned type,
                             json_t *schema, const char *path)
{
    switch (type) {
    case BURBLE__TYPE_OBJECT:
        return put_object(maker, rule, schema, path);
    case BURBLE__TYPE_ARRAY:
        return put_array(maker, schema, path);
    case BURBLE__TYPE_STRING:
        return put_string(maker, schema, path);
    case BURBLE__TYPE_INTEGER:
        return put_integer(maker, schema, path);
    case BURBLE__TYPE_NUMBER:
        return put_real(maker, schema, path);
    default:
        burble__schema_put(maker, type == BURBLE__TYPE_BOOLEAN ? "boolean" : "null");
        return true;
    }
}
