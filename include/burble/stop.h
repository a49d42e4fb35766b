/* SPDX-License-Identifier: MIT
 *
 * A stop filter looks for stop strings in a stream of text. It hands on what can no longer be part of
 * one, holds back exactly the longest end of the text that could still become one, and matches across
 * the borders of whatever pieces the text comes in.
 *
 * The match is the one that is complete first; of several that become complete with the same byte,
 * the longest; of equal strings, the first.
 *
 * One thread at a time per filter.
 */
#ifndef BURBLE_STOP_H
#define BURBLE_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_stop burble_stop;

/* The most stop strings of one filter, and their length together, in bytes. */
#define BURBLE_STOP_MAX_STRINGS 4096
#define BURBLE_STOP_MAX_BYTES (1u << 20)

/* A match. */
typedef struct burble_stop_match {
    size_t which;   /* the index of the stop string that matched */
    uint64_t begin; /* where it begins, in bytes from the beginning of the text */
    uint64_t end;   /* where it ends: begin + its length */
} burble_stop_match;

/* A special token whose text is a stop string. Where special tokens are left out, that text never comes:
 * the token itself is to end the text, and the stop string is met there. */
typedef struct burble_stop_token {
    uint32_t id;
    size_t which; /* the index of the stop string */
} burble_stop_token;

/* Finds the tokens with BURBLE_TOKEN_SPECIAL whose whole text is one of the `n` strings (of equal
 * strings, the first), in the order of their ids, and writes the first `capacity` of them to `tokens`.
 * Returns how many there are. Any thread. */
BURBLE_API size_t burble_stop_tokens(const burble_vocab *vocab, const burble_text *strings,
                                     size_t n, burble_stop_token *tokens, size_t capacity);

/* Makes a filter for `n` strings; they are copied. `include` says whether the stop string itself is
 * handed on when it is met.
 *
 * BURBLE_OK      *out is the filter, which the caller owns
 * BURBLE_EINVAL  an empty string, one that is not UTF-8, or more than the bounds above; *out is NULL,
 *                and *error (may be NULL) says which and why
 * BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_stop_create(const burble_text *strings, size_t n, bool include,
                                  burble_stop **out, burble_error *error);

/* A filter in the same state, independent from now on. The strings are not copied: both filters have
 * them, in whatever threads they are used.
 *
 * BURBLE_OK      *out is the filter, which the caller owns
 * BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_stop_copy(const burble_stop *stop, burble_stop **out);

/* Frees it and sets *stop to NULL. NULL and a pointer to NULL are fine. */
BURBLE_API void burble_stop_destroy(burble_stop **stop);

/* Takes text (valid UTF-8) and hands out what is settled. Work: proportional to `len`.
 *
 * BURBLE_OK      *out is valid until the next call on this filter, and while `text` is
 * BURBLE_END     a stop string was met, now or earlier: *out is the text before it (with it, where it
 *                is included) and *match (may be NULL) says which and where; later calls hand out
 *                nothing
 * BURBLE_ENOMEM  the text was not taken, *out is empty */
BURBLE_API int burble_stop_push(burble_stop *stop, const char *text, size_t len, burble_text *out,
                                burble_stop_match *match);

/* Ends the text: hands out what was held back; the filter is then as new. Never fails. */
BURBLE_API void burble_stop_finish(burble_stop *stop, burble_text *out);

/* Whether something is held back. */
BURBLE_API bool burble_stop_has_pending(const burble_stop *stop);

/* Forgets the text: as new. */
BURBLE_API void burble_stop_reset(burble_stop *stop);

#ifdef __cplusplus
}
#endif

#endif
