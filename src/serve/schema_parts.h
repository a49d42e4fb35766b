/* SPDX-License-Identifier: MIT
 *
 * The parts of making a grammar of a schema: what a schema says of one type is in schema_types.c, all else in schema.c.
 */
#ifndef BURBLE_SERVE_SCHEMA_PARTS_H
#define BURBLE_SERVE_SCHEMA_PARTS_H

#include "serve/body.h"
#include "serve/json.h"
#include "serve/schema.h"

/* The types of JSON: bits. */
enum {
    BURBLE__TYPE_OBJECT = 1,
    BURBLE__TYPE_ARRAY = 2,
    BURBLE__TYPE_STRING = 4,
    BURBLE__TYPE_INTEGER = 8,
    BURBLE__TYPE_NUMBER = 16,
    BURBLE__TYPE_BOOLEAN = 32,
    BURBLE__TYPE_NULL = 64,
};

/* No bound for burble__schema_put_times. */
#define BURBLE__UNBOUNDED UINT32_MAX

struct burble__maker {
    struct {
        json_t *schema;
        struct burble__body_path path;
    } items[BURBLE__SCHEMA_MAX_SCHEMAS]; /* rule i is that of schema i */
    size_t n;
    json_t *root;
    const char *root_path;
    uint32_t times; /* repetitions so far */
    struct burble__output out;
    struct burble__buffer name; /* of a member, as JSON */
    struct burble__problem *problem;
};

/* Functions that return a bool return false if the schema is refused, and have filled in maker->problem. */

/* Refuses it. Returns false. */
bool burble__schema_refuse(struct burble__maker *maker, const char *path, const char *message);
bool burble__schema_refuse_member(struct burble__maker *maker, const char *path, const char *key,
                                  const char *message);

/* Text of the grammar. */
void burble__schema_put(struct burble__maker *maker, const char *text);
void burble__schema_put_number(struct burble__maker *maker, const char *before, size_t number,
                               const char *after);

/* A literal of the JSON of a member's name. */
bool burble__schema_put_name(struct burble__maker *maker, const char *name);

/* How often the item before may stand. */
bool burble__schema_put_times(struct burble__maker *maker, const char *path, uint32_t least,
                              uint32_t most);

/* Names the rule of a schema. */
bool burble__schema_put_rule(struct burble__maker *maker, json_t *schema, const char *path);

/* ---- schema_types.c ------------------------------------------------------------------------------------ */

/* What the schema of rule `rule` says of values of one type. */
bool burble__schema_put_type(struct burble__maker *maker, size_t rule, unsigned type,
                             json_t *schema, const char *path);

/* The rules that its alternative for objects needs, if it has properties. */
bool burble__schema_put_properties(struct burble__maker *maker, size_t rule, json_t *properties,
                                   const json_t *required, const char *path);

#endif
