/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A stop filter looks for stop strings in a stream of text. It returns text that can no longer be part
 * of a stop string, and holds back only the longest suffix of the text that is the beginning of one. It
 * finds matches that cross the boundaries of the pieces of text.
 *
 * The first match to be complete is reported; if several are complete with the same byte, the longest
 * one; if stop strings are equal, the first of them.
 *
 * Only one thread at a time may use a filter.
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

/** The most stop strings of one filter, and the most bytes that they may have in total. */
#define BURBLE_STOP_MAX_STRINGS 4096
#define BURBLE_STOP_MAX_BYTES (1u << 20)

/** A match. */
typedef struct burble_stop_match {
    size_t which;         /**< the index of the stop string that matched */
    uint64_t begin;       /**< the position of its first byte in the text */
    uint64_t end;         /**< begin + its length */
    uint64_t reserved[2]; /**< 0: see burble.h */
} burble_stop_match;

/** A special token whose text is a stop string. If special tokens are left out, this text never appears
 * in the stream. So the caller must end the text at this token, as a match of that stop string. */
typedef struct burble_stop_token {
    uint32_t id;
    size_t which; /**< the index of the stop string */
} burble_stop_token;

/** Finds the tokens with BURBLE_TOKEN_SPECIAL whose whole text is one of the `n` strings (if strings are
 * equal, the first of them), and writes the first `capacity` of these tokens to `tokens`, in the order
 * of their ids. Returns the number of such tokens, which may be above `capacity`. Any thread may call
 * it. */
BURBLE_API size_t burble_stop_tokens(const burble_vocab *vocab, const burble_text *strings,
                                     size_t n, burble_stop_token *tokens, size_t capacity);

/** Creates a filter for `n` strings, which are copied. If `include` is true, the text returned at a match
 * includes the stop string.
 *
 * @retval BURBLE_OK      *out is the filter, which the caller owns
 * @retval BURBLE_EINVAL  an empty string, one that is not UTF-8, or more than the bounds above; *out is NULL,
 *                        and *error (may be NULL) says which and why
 * @retval BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_stop_create(const burble_text *strings, size_t n, bool include,
                                  burble_stop **out, burble_error *error);

/** Creates a copy in the same state. From then on, the two are independent, and may be used in different
 * threads. The strings are shared, not copied.
 *
 * @retval BURBLE_OK      *out is the filter, which the caller owns
 * @retval BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_stop_copy(const burble_stop *stop, burble_stop **out);

/** Frees the filter and sets *stop to NULL. NULL and a pointer to NULL are allowed. */
BURBLE_API void burble_stop_destroy(burble_stop **stop);

/** Takes `len` bytes of text (valid UTF-8) and returns the text that cannot be part of a stop string.
 * Time: proportional to `len`.
 *
 * @retval BURBLE_OK      *out is valid until the next call on this filter, and only as long as `text` is valid
 * @retval BURBLE_END     a stop string was found, now or earlier: *out is the text before it (and the stop
 *                        string, if it is included), and *match (may be NULL) is the match; later calls return
 *                        no text
 * @retval BURBLE_ENOMEM  the text was not taken, *out is empty */
BURBLE_API int burble_stop_push(burble_stop *stop, const char *text, size_t len, burble_text *out,
                                burble_stop_match *match);

/** Ends the text: returns the text that was held back. The filter is then as after burble_stop_create.
 * Never fails. */
BURBLE_API void burble_stop_finish(burble_stop *stop, burble_text *out);

/** Whether text is held back. */
BURBLE_API bool burble_stop_has_pending(const burble_stop *stop);

/** Discards the text that was held back. The filter is then as after burble_stop_create. */
BURBLE_API void burble_stop_reset(burble_stop *stop);

#ifdef __cplusplus
}
#endif

#endif
