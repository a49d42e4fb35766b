/* SPDX-License-Identifier: MIT
 *
 * JSON, parsed into an array of nodes, for the loaders of vocabularies.
 *
 * A tokenizer.json has 17 MB, of which 10 are strings that only encoding needs: a parser that makes an object of each
 * value takes longer than all the rest of loading. This one makes a node of 16 bytes of each, in the order of the text,
 * and none of the items of `model.merges`, which it only checks. (Requests, which are small, are parsed by jansson:
 * src/serve/json.h.)
 *
 * It accepts what RFC 8259 does, with
 *
 *   - arrays and objects up to BURBLE__JSON_DEPTH_MAX deep,
 *   - UTF-8 without surrogates, escaped ones included, and no NUL in a key,
 *   - each key once in its object,
 *   - integers of 64 bits. (Of a real number, only the form is checked: no loader reads its value.)
 */
#ifndef BURBLE_TEXT_JSON_H
#define BURBLE_TEXT_JSON_H

#include "text/load.h"

/* How deep arrays and objects are nested, at most. No known file goes to 20, but a decoder or a normalizer may be
 * 16 nested sequences. */
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
    BURBLE__JSON_NOTHING /* what is not there; no node has this type */
};

/* A value. Those in an array or object follow it, in the order of the text: items, or each key (a string) and the
 * value of this member. */
struct burble__json_node {
    uint32_t type;
    uint32_t n; /* bytes of a string, items of an array, members of an object */
    union {
        int64_t integer;
        size_t begin; /* of a string, in the document's texts */
        size_t span;  /* of an array or object: the nodes that it takes, its own included */
    } as;
};

/* A parsed text. The source is not needed any more. */
struct burble__json_document {
    struct burble__json_node *nodes; /* the first is the root */
    char *texts;                     /* of all strings, each with a NUL behind it */
};

/* Parses the source. BURBLE_OK, with a document to be finished; BURBLE_EFORMAT or BURBLE_ENOMEM, which it reports. */
int burble__json_parse(const struct burble__source *source, struct burble__json_document *out);
void burble__json_finish(struct burble__json_document *document);

#endif
