/* SPDX-License-Identifier: MIT
 *
 * The values of a JSON file, and what the loaders of JSON files share.
 */
#ifndef BURBLE_TEXT_LOAD_JSON_H
#define BURBLE_TEXT_LOAD_JSON_H

#include "text/json.h"

/* A value, borrowed from its document. */
struct burble__json {
    const struct burble__json_document *document;
    const struct burble__json_node *at; /* NULL: nothing */
};

/* A string, borrowed. UTF-8, with a NUL behind it and maybe within. */
struct burble__json_text {
    const char *bytes; /* NULL: no string */
    size_t len;
};

/* How far a look through an array or object has come. */
struct burble__json_cursor {
    struct burble__json next;
    size_t left;
};

/* ---- values: of one that is nothing, or of another type, these are nothing, 0, NULL or false ---------- */

enum burble__json_type burble__json_type(struct burble__json value);
size_t burble__json_size(struct burble__json value); /* of an array or object */
struct burble__json burble__json_get(struct burble__json object, const char *key);
struct burble__json_text burble__json_text(struct burble__json string);
int64_t burble__json_integer(struct burble__json integer);

/* To look at each item of an array, or at each member of an object; in the order of the file. */
struct burble__json_cursor burble__json_begin(struct burble__json value);
bool burble__json_item(struct burble__json_cursor *at, struct burble__json *item);
bool burble__json_pair(struct burble__json_cursor *at, struct burble__json *key,
                       struct burble__json *value);

static inline bool burble__json_is(struct burble__json value, enum burble__json_type type)
{
    return burble__json_type(value) == type;
}

/* Whether it is this string. */
bool burble__json_equals(struct burble__json string, const char *text);

/* A string as a token. */
burble_token burble__json_token(struct burble__json string, uint32_t flags);

/* ---- places and errors ------------------------------------------------------------------------------- */

/* A place in a JSON file: `model.vocab`, `added_tokens[3].id`. Cut where it is long. */
struct burble__path {
    char text[96];
};
struct burble__path burble__path_member(const char *path, const char *key);
struct burble__path burble__path_item(const char *path, size_t index);

/* "PATH: expected EXPECTED, found …", with a description of `found`. Returns BURBLE_EFORMAT. */
int burble__json_fail(const struct burble__source *source, const char *path, const char *expected,
                      struct burble__json found);

/* The end of a message about an unsupported tokenizer: the remedy. */
#define BURBLE__JSON_INSTEAD "; in Python, pass the tokenizer, not its file"

/* ---- members of an object that have to be there; BURBLE_OK, BURBLE_EFORMAT or BURBLE_EUNSUPPORTED --------- */

int burble__json_member(const struct burble__source *source, struct burble__json object,
                        const char *path, const char *key, enum burble__json_type type,
                        struct burble__json *out);
int burble__json_flag(const struct burble__source *source, struct burble__json object,
                      const char *path, const char *key, bool *out);

/* ---- loaders of what burble__load_json has told apart; `root` is an object ------------------------------- */

int burble__load_hf(const struct burble__source *source, struct burble__json root,
                    burble_vocab **out);
int burble__load_tekken(const struct burble__source *source, struct burble__json root,
                        burble_vocab **out);

#endif
