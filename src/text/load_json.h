/* SPDX-License-Identifier: MIT
 *
 * What the loaders of JSON files share. The parsing is jansson's; this is how a value is got out of
 * it, or else an error that names its place.
 */
#ifndef BURBLE_TEXT_LOAD_JSON_H
#define BURBLE_TEXT_LOAD_JSON_H

#include <jansson.h>

#include "text/load.h"

/* A place in a JSON file: `model.vocab`, `added_tokens[3].id`. Cut where it is long. */
struct burble__path {
    char text[96];
};
struct burble__path burble__path_member(const char *path, const char *key);
struct burble__path burble__path_item(const char *path, size_t index);

/* "PATH: expected EXPECTED, found …", with a description of `found` (NULL: nothing). Returns
 * BURBLE_EFORMAT. */
int burble__json_fail(const struct burble__source *source, const char *path, const char *expected,
                      const json_t *found);

/* The object's member of that type, borrowed; BURBLE_OK or BURBLE_EFORMAT. */
int burble__json_member(const struct burble__source *source, const json_t *object, const char *path,
                        const char *key, json_type type, json_t **out);

/* The text of a string, as long as that lives. */
burble_token burble__json_token(const json_t *string, uint32_t flags);

/* The loaders of what burble__load_json has told apart; `root` is an object. */
int burble__load_hf(const struct burble__source *source, const json_t *root, burble_vocab **out);
int burble__load_tekken(const struct burble__source *source, const json_t *root,
                        burble_vocab **out);

#endif
