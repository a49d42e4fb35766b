/* SPDX-License-Identifier: MIT
 *
 * The common parts of the loaders.
 *
 * A loader reads a *source*, untrusted bytes in memory, collects tokens in a *table* and makes a vocabulary
 * of it. Every count and size in a source is compared with the number of remaining bytes before anything is
 * allocated for it.
 */
#ifndef BURBLE_TEXT_LOAD_H
#define BURBLE_TEXT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/vocab.h>

/* How much of a file is read, at most: some seven times the largest tokenizer.json, and that is the
 * largest kind. Of a GGUF file, only the part before the tensors counts. */
#define BURBLE__LOAD_MAX ((size_t)256 << 20)

/* The same for JSON, some four times the largest: what is made of it takes up to 20 times its size (a node of 16 bytes
 * for a value, of 2 bytes with its comma, in a buffer that doubles). */
#define BURBLE__LOAD_JSON_MAX ((size_t)128 << 20)

struct burble__source {
    const char *name;  /* of the file, for messages; NULL: none */
    const char *bytes; /* `size` of them */
    size_t size;
    uint64_t total;      /* of the whole file; above `size` where only its beginning is there */
    burble_error *error; /* may be NULL */
};

/* burble_vocab_load and burble_vocab_parse, of a source whose name, bytes and error are filled in:
 * as those, with *out NULL on failure. */
int burble__load_file(struct burble__source *source, burble_vocab_format format,
                      burble_vocab **out);
int burble__load_bytes(struct burble__source *source, burble_vocab_format format,
                       burble_vocab **out);

/* Sets the error message, which begins with the name of the file; returns `code`. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
int burble__load_fail(const struct burble__source *source, int code, const char *format, ...);

/* Quotes bytes from a file for a message: in quotation marks, cut if they are long, and with \xHH for bytes
 * that are not printable or not UTF-8. */
struct burble__quoted {
    char text[64];
};
struct burble__quoted burble__quote(const char *bytes, size_t len);

/* The tokens found so far; the token for id i is tokens[i]. Ids that were not given are ABSENT. */
struct burble__table {
    burble_token *tokens;
    size_t n;
    size_t capacity;
    size_t max; /* ids are below it */
};

/* Makes it empty, with a bound on the ids that the source's size justifies. */
void burble__table_init(struct burble__table *table, const struct burble__source *source);
void burble__table_finish(struct burble__table *table);

/* The place of a token in its source, for messages: "line" 7, or only a path. */
struct burble__place {
    const char *what;
    size_t number; /* BURBLE__NO_NUMBER: none */
};
#define BURBLE__NO_NUMBER SIZE_MAX

/* Adds the token of an id; the text must stay in place. BURBLE_OK, BURBLE_EFORMAT (the id is out of range or
 * occurs twice, the text is too long) or BURBLE_ENOMEM. */
int burble__table_put(struct burble__table *table, const struct burble__source *source, int64_t id,
                      burble_token token, struct burble__place place);

/* The same, but the token may replace another one. */
int burble__table_replace(struct burble__table *table, const struct burble__source *source,
                          int64_t id, burble_token token, struct burble__place place);

/* burble_vocab_create, with the file's name in its messages and BURBLE_EFORMAT for what it finds
 * wrong with the tokens. */
int burble__table_compile(const struct burble__table *table, const struct burble__source *source,
                          const burble_vocab_options *options, burble_vocab **out);

/* The loaders, one for each format. Results as for burble_vocab_parse, with *out NULL on failure. Only
 * burble__load_gguf accepts a source that was not read completely, and returns BURBLE_AGAIN if it needs
 * more of it. */
int burble__load_gguf(const struct burble__source *source, burble_vocab **out);
int burble__load_tiktoken(const struct burble__source *source, burble_vocab **out);
int burble__load_sentencepiece(const struct burble__source *source, burble_vocab **out);

/* A tokenizer.json or a Tekken file, told by its members where the format is BURBLE_VOCAB_AUTO. */
int burble__load_json(const struct burble__source *source, burble_vocab_format format,
                      burble_vocab **out);

#endif
