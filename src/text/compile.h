/* SPDX-License-Identifier: MIT
 *
 * Runs the operations that act on single tokens.
 */
#ifndef BURBLE_TEXT_COMPILE_H
#define BURBLE_TEXT_COMPILE_H

#include <burble/vocab.h>

#include "text/steps.h"

/* The character after the last one of GPT-2's alphabet. */
#define BURBLE__ALPHABET_END 0x144

/* How the bytes of tokens become text. */
enum burble__core {
    BURBLE__CORE_RAW,        /* tokens are bytes */
    BURBLE__CORE_TEXT,       /* tokens are text */
    BURBLE__CORE_BYTE_LEVEL, /* tokens spell bytes */
    BURBLE__CORE_FALLBACK    /* some tokens are bytes */
};

struct burble__compiler {
    enum burble__core core;
    const struct burble__op *ops; /* the plan's, of which the first n_ops act on single tokens */
    size_t n_ops;
    /* CORE_FALLBACK: those from `late` to before `rest` act on what byte tokens have become, and on
     * the other tokens. */
    size_t late, rest;
    struct burble__writer writers[2]; /* text on its way from one operation to the next */
    int16_t alphabet[BURBLE__ALPHABET_END];
    size_t work; /* up to now: bytes of text before each rewrite, and OP_WORK for each operation */
    size_t work_max; /* more than this is refused */
};

/* The work of an operation on an empty text, in bytes; a token counts as this in addition to its own bytes. */
#define BURBLE__OP_WORK 16

/* How much work is allowed for tokens of so many bytes: that of 32 operations on each, plus as much text as all
 * tokens may have. (CTC with its cleanup, which has the most, takes 30 operations on each, and WordPiece 24.)
 * Without this bound, steps that make texts longer and shorter again could take any time. */
#define BURBLE__WORK_MAX(bytes, n)                                                                 \
    ((size_t)32 * ((bytes) + BURBLE__OP_WORK * (n)) + (size_t)BURBLE_VOCAB_MAX_TEXT)

/* The character of GPT-2's alphabet that spells a byte. */
unsigned burble__alphabet_at(unsigned char byte);

/* Divides the plan; all operations from `rest` on are for the whole text. */
void burble__compiler_init(struct burble__compiler *compiler, const struct burble__plan *plan,
                           bool has_steps, size_t work_max);
void burble__compiler_finish(struct burble__compiler *compiler);

/* Takes *text through the operations from `begin` to before `end`, for a token at this place of
 * its list; it is then valid until the next call, unless it still is what it was.
 * BURBLE_OK, BURBLE_EUNSUPPORTED where it becomes too long, BURBLE_EFULL where that was too much work, or
 * BURBLE_ENOMEM. */
int burble__compiler_run(struct burble__compiler *compiler, size_t begin, size_t end,
                         unsigned place, struct burble__traced *text);

/* Whether such a text, with the first n_ops operations behind it, is a byte token. */
bool burble__compiler_is_byte(const struct burble__compiler *compiler,
                              const struct burble__traced *text);

/* Writes the bytes of a text that has passed all operations to `out`, which has room for as many bytes as
 * the text has. `is_byte`: it is a byte token. *is_text says whether the bytes are complete characters,
 * independent of the text before and after them. Returns the number of bytes. */
size_t burble__compiler_spell(const struct burble__compiler *compiler,
                              const struct burble__traced *text, bool is_byte, char *out,
                              bool *is_text);

#endif
