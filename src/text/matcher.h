/* SPDX-License-Identifier: MIT
 *
 * A matcher finds, in one pass over a text that comes in pieces, the first of several strings.
 *
 * It is the automaton of Aho and Corasick (1975): a state stands for the longest end of the text so
 * far that is the beginning of one of the strings. The first match is the one that is complete
 * first; of several that are complete with the same byte, the longest.
 *
 * Immutable once made: the state is the caller's, and any thread may use it. It goes with its last
 * reference.
 */
#ifndef BURBLE_TEXT_MATCHER_H
#define BURBLE_TEXT_MATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>

struct burble__matcher;

/* The state before any text: it stands for the empty end. */
#define BURBLE__MATCHER_ROOT 0u

/* Makes a matcher for `n` strings of at least one byte each, less than 2^24 bytes together; they are
 * copied. Of strings that are equal only the first can be met, and what contains another string
 * before its own last byte is never met.
 *
 * Time: proportional to the strings' bytes, but for sorting them. Memory: 9 bytes for each of theirs,
 * 16 for each string, and 1 KiB.
 *
 * BURBLE_OK      *out is the matcher, with one reference, which the caller owns
 * BURBLE_ENOMEM  *out is NULL */
int burble__matcher_create(const burble_text *strings, size_t n, struct burble__matcher **out);

/* One more reference; returns `matcher`. Any thread. */
struct burble__matcher *burble__matcher_ref(struct burble__matcher *matcher);

/* Gives a reference back and sets *matcher to NULL; the last one frees it. NULL and a pointer to NULL
 * are fine. Any thread. */
void burble__matcher_unref(struct burble__matcher **matcher);

/* Goes from *state, in which nothing is met yet, through the text up to and with the byte that
 * completes a string, or to its end. Returns how many bytes that are. Work: proportional to them,
 * over all calls together. */
size_t burble__matcher_run(const struct burble__matcher *matcher, uint32_t *state, const char *text,
                           size_t len);

/* Whether a string was found: the one that `state` represents. */
bool burble__matcher_met(const struct burble__matcher *matcher, uint32_t state);

/* The index of the string that was found, in the argument of burble__matcher_create. */
size_t burble__matcher_which(const struct burble__matcher *matcher, uint32_t state);

/* The end of the text that `state` represents. It belongs to the matcher. If no string was found, each of its
 * bytes can still become part of the first match. */
burble_text burble__matcher_end(const struct burble__matcher *matcher, uint32_t state);

#endif
