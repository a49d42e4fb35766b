/* SPDX-License-Identifier: MIT
 *
 * A grammar of the JSON that a JSON Schema allows: GBNF, which backends take as the parameter `grammar`. Every text that the
 * grammar allows is valid for the schema (but see `oneOf` and `format`); it need not allow every valid text: members come in
 * the order of `properties`, and none that has no name there, if there are any.
 *
 *     any                true, {}
 *     of all types       type (a name, or a list of names), enum, const, anyOf, oneOf (as anyOf: whether a value is valid for
 *                        only one of them is not known), allOf with one schema, $ref to a path in the schema ("#/$defs/a")
 *     object             properties, required, additionalProperties (a schema: only without properties)
 *     array              items, minItems, maxItems, prefixItems (all of them)
 *     string             minLength, maxLength, format (the form of a date, time, date-time or uuid)
 *     integer            minimum, maximum, exclusiveMinimum, exclusiveMaximum
 *     number             minimum 0
 *     ignored            title, description, default, examples, $schema, $id, $comment, deprecated, readOnly, writeOnly
 *
 * All else is refused, with its path. So are schemas above the bounds below.
 */
#ifndef BURBLE_SERVE_SCHEMA_H
#define BURBLE_SERVE_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "serve/problem.h"

/* The most schemas in a schema; the most bytes of a grammar; the most repetitions of one thing, and of all. */
#define BURBLE__SCHEMA_MAX_SCHEMAS 2000u
#define BURBLE__SCHEMA_MAX_TEXT 32768u
#define BURBLE__SCHEMA_MAX_TIMES 2000u
#define BURBLE__SCHEMA_MAX_ALL_TIMES 7000u

/* Appends the grammar to an empty buffer. `path` is that of the schema in the request, for messages. False: *problem is filled in. */
bool burble__schema_write(json_t *schema, const char *path, struct burble__buffer *out,
                          struct burble__problem *problem);

#endif
