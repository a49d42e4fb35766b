/* SPDX-License-Identifier: MIT
 *
 * A text that arrives a few characters at a time, rewritten on its way.
 *
 * One rewrite is one rule over a whole text: replace each occurrence of a string, from the left and
 * without overlap, or strip a character from its ends. The returned pieces, joined, equal the result of the
 * rule for the whole text. Only text that a later character can still change is held back.
 *
 * The rule is immutable and shared. A text needs only 8 bytes of state, because the held text is known from
 * the rule: it is the beginning of the string to be replaced, or a number of the character to be stripped.
 *
 * The work is linear in the text (Knuth, Morris, Pratt 1977), whatever the rule and the text.
 */
#ifndef BURBLE_TEXT_REWRITE_H
#define BURBLE_TEXT_REWRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

enum burble__rewrite_kind {
    BURBLE__REWRITE_REPLACE, /* `text` by `with` */
    BURBLE__REWRITE_STRIP    /* up to `start` times `text` from the left, `stop` from the right */
};

struct burble__rewrite {
    enum burble__rewrite_kind kind;
    uint32_t text_len; /* bytes, not 0 */
    uint32_t with_len;
    uint32_t start, stop;
    const char *text; /* whole characters, like `with` */
    const char *with;
    /* REPLACE: how many bytes of `text` still match where its first i + 1 are matched and the next
     * one is not. Filled in by burble__rewrite_prepare. */
    const uint32_t *fallback;
};

struct burble__rewrite_state {
    uint32_t left; /* STRIP: how many may still be taken from the left */
    uint32_t held; /* REPLACE: bytes of `text`; STRIP: times `text` */
};

/* The tokens that a byte of text came from. */
struct burble__origin {
    uint64_t first, last;
};

/* Some text. `origins`, one for each byte, is NULL where nobody wants to know. */
struct burble__traced {
    const char *bytes;
    size_t len;
    const struct burble__origin *origins;
};

/* Text being written, with its origins where they are wanted. */
struct burble__writer {
    struct burble__buffer bytes;
    struct burble__buffer origins;
};

void burble__writer_init(struct burble__writer *writer, size_t max);
void burble__writer_finish(struct burble__writer *writer);

/* The text written so far, never NULL; with its origins if `traced`. */
struct burble__traced burble__writer_text(const struct burble__writer *writer, bool traced);

/* Writes `n` bytes that all came from one origin; it is NULL where nobody wants to know. BURBLE_OK
 * or BURBLE_ENOMEM. */
int burble__writer_put(struct burble__writer *writer, const char *bytes, size_t n,
                       const struct burble__origin *origin);

/* Fills in the `text_len` entries of a REPLACE's `fallback`. */
void burble__rewrite_prepare(const char *text, uint32_t text_len, uint32_t *fallback);

/* At the beginning of a text. */
void burble__rewrite_reset(const struct burble__rewrite *rewrite,
                           struct burble__rewrite_state *state);

/* How many bytes are held back. */
size_t burble__rewrite_held(const struct burble__rewrite *rewrite,
                            const struct burble__rewrite_state *state);

/* The most bytes that can be returned for `n` bytes and the end of the text; SIZE_MAX if this is too large. */
size_t burble__rewrite_bound(const struct burble__rewrite *rewrite, size_t n);

/* Takes *text, and replaces it by the text that has become final. This is a part of the same bytes if nothing
 * was rewritten; otherwise it is in `out`, whose previous contents are lost.
 *
 * If text->origins is not NULL, `held` points to the origins of the bytes that are held back, and is moved
 * behind them; the origins of the bytes that are held back afterwards are appended to `holds`.
 *
 * `end`: the text ends here, so nothing is held back afterwards.
 *
 * BURBLE_OK, or BURBLE_ENOMEM; then *state is undefined. */
int burble__rewrite_run(const struct burble__rewrite *rewrite, struct burble__rewrite_state *state,
                        bool end, struct burble__traced *text, struct burble__writer *out,
                        const struct burble__origin **held, struct burble__buffer *holds);

#endif
