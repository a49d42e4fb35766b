/* SPDX-License-Identifier: MIT
 *
 * The values of a JSON file, and what the loaders of JSON files share.
 *
 * Each format has one loader, here. JSON itself is parsed by a library, behind a table of functions, the
 * *parser*: jansson in the C library (load_jansson.c), Python's json in the Python package
 * (python/ext/detokenize/json.c). Both accept the same texts: RFC 8259, with
 *
 *   - an object or an array at the top, nested up to BURBLE__JSON_DEPTH_MAX deep,
 *   - UTF-8 without surrogates, escaped ones included, and no NUL in a key,
 *   - each key once in its object,
 *   - integers of 64 bits, and real numbers of a `double` that are finite.
 */
#ifndef BURBLE_TEXT_LOAD_JSON_H
#define BURBLE_TEXT_LOAD_JSON_H

#include "text/load.h"
#include "text/load_merges.h"

/* How deep arrays and objects are nested, at most. Nobody's go to 20, but a decoder or a normalizer may be
 * 16 sequences in one another. */
#define BURBLE__JSON_DEPTH_MAX 64

enum burble__json_type {
    BURBLE__JSON_OBJECT,
    BURBLE__JSON_ARRAY,
    BURBLE__JSON_STRING,
    BURBLE__JSON_INTEGER,
    BURBLE__JSON_REAL,
    BURBLE__JSON_TRUE,
    BURBLE__JSON_FALSE,
    BURBLE__JSON_NULL,
    BURBLE__JSON_NOTHING /* what is not there */
};

/* A value, borrowed from the text that was parsed. */
struct burble__json {
    const struct burble__json_parser *parser;
    const void *at; /* the parser's own; NULL: nothing */
};

/* A string, borrowed. UTF-8, with a NUL behind it and maybe within. */
struct burble__json_text {
    const char *bytes; /* NULL: no string */
    size_t len;
};

/* How far a look through an object has come; zeros at the beginning. */
struct burble__json_cursor {
    void *pointer;
    ptrdiff_t position;
};

struct burble__json_parser {
    /* Parses the source without the bytes of `left_out`, which do not matter. BURBLE_OK, with *root to be
     * released; BURBLE_EFORMAT or BURBLE_ENOMEM, which it reports. */
    int (*parse)(const struct burble__json_parser *parser, const struct burble__source *source,
                 struct burble__range left_out, const void **root);
    void (*release)(const struct burble__json_parser *parser, const void *root);
    /* Of a value that is there, and of the type that each is for: */
    enum burble__json_type (*type)(const void *value);
    size_t (*size)(const void *value); /* of an array or object */
    const void *(*member)(const void *object, const char *key);
    const void *(*item)(const void *array, size_t index); /* which is there */
    struct burble__json_text (*text)(const void *string);
    int64_t (*integer)(const void *integer);
    /* The next member of an object, in no certain order; false: there is none. */
    bool (*next)(const void *object, struct burble__json_cursor *at, struct burble__json_text *key,
                 const void **value);
};

/* The C library's own; NULL in a build without jansson. */
extern const struct burble__json_parser *const burble__json_own;

/* ---- values: of one that is nothing, or of another type, these are nothing, 0, NULL or false ---------- */

enum burble__json_type burble__json_type(struct burble__json value);
size_t burble__json_size(struct burble__json value);
struct burble__json burble__json_get(struct burble__json object, const char *key);
struct burble__json burble__json_at(struct burble__json array, size_t index);
struct burble__json_text burble__json_text(struct burble__json string);
int64_t burble__json_integer(struct burble__json integer);
bool burble__json_next(struct burble__json object, struct burble__json_cursor *at,
                       struct burble__json_text *key, struct burble__json *value);

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
