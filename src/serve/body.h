/* SPDX-License-Identifier: MIT
 *
 * The JSON of a request's body: parsing within bounds, memory that lives as long as the request, and errors that say where:
 *
 *     messages[2].content: expected a string or a list, found a number
 *
 * Functions that return a bool return false if the body is refused, and have filled in *problem.
 */
#ifndef BURBLE_SERVE_BODY_H
#define BURBLE_SERVE_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>

#include "serve/problem.h"

/* The most values in a body, and the most lists and objects: a prompt of a million ids fits, and jansson takes no more
 * than 64 MiB for as many. */
#define BURBLE__BODY_MAX_VALUES ((size_t)1 << 20)
#define BURBLE__BODY_MAX_CONTAINERS ((size_t)1 << 16)

struct burble__body {
    json_t *root; /* an object */
    struct burble__body_block *blocks;
};

/* Parses a body, which must be one object, nested no deeper than `max_depth`. The struct is the caller's, who finishes it
 * in any case. */
bool burble__body_parse(struct burble__body *body, const char *bytes, size_t len,
                        unsigned max_depth, struct burble__problem *problem);

void burble__body_finish(struct burble__body *body);

/* `n` times `size` bytes of zeros that live as long as the body. NULL: out of memory, and *problem says so. */
void *burble__body_alloc(struct burble__body *body, size_t n, size_t size,
                         struct burble__problem *problem);

/* ---- paths -------------------------------------------------------------------------------------------- */

/* Where a value is in a body: messages[2].content. A long one is cut. */
struct burble__body_path {
    char text[sizeof((struct burble__problem *)0)->param];
};
struct burble__body_path burble__body_path_member(const char *path, const char *key);
struct burble__body_path burble__body_path_item(const char *path, size_t index);

/* ---- values -------------------------------------------------------------------------------------------- */

/* Whether it is absent or null, which is the same for a request. */
static inline bool burble__is_absent(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

/* "a string", "a number" …; "nothing" for NULL. */
const char *burble__body_type(const json_t *value);

/* 400: "PATH: expected EXPECTED, found TYPE". Returns false. */
bool burble__body_expected(struct burble__problem *problem, const char *path, const char *expected,
                           const json_t *found);

/* A string. */
bool burble__body_text(const json_t *value, const char *path, burble_text *out,
                       struct burble__problem *problem);

/* A string without NUL, which ends with NUL. */
bool burble__body_name(const json_t *value, const char *path, const char **out,
                       struct burble__problem *problem);

bool burble__body_boolean(const json_t *value, const char *path, bool *out,
                          struct burble__problem *problem);

/* An integer, or a number with no fraction, from `least` to `most`. */
bool burble__body_integer(const json_t *value, const char *path, double least, double most,
                          double *out, struct burble__problem *problem);

bool burble__body_number(const json_t *value, const char *path, double least, double most,
                         double *out, struct burble__problem *problem);

/* A list of ids, each 0 or above, at least one. */
bool burble__body_ids(struct burble__body *body, const json_t *value, const char *path,
                      const int32_t **ids, size_t *n, struct burble__problem *problem);

#endif
