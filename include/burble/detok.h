/* SPDX-License-Identifier: MIT
 *
 * A detokenizer turns token ids into text, a few at a time, for one sequence.
 *
 * Its law: what it has handed out, joined, is what the tokenizer itself makes of the whole sequence,
 * for every sequence of ids (but for the exception that BURBLE_DECODER_BYTE_FALLBACK documents). It
 * hands text out as early as that allows and does a constant amount of work per token.
 *
 * No locks and no I/O; one thread at a time per detokenizer.
 */
#ifndef BURBLE_DETOK_H
#define BURBLE_DETOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/vocab.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_detok burble_detok;

typedef struct burble_detok_options {
    bool skip_special; /* leave out tokens with BURBLE_TOKEN_SPECIAL */
} burble_detok_options;

/* A piece of text that belongs to somebody else: valid, complete UTF-8, not ended by NUL. */
typedef struct burble_text {
    const char *bytes; /* never NULL */
    size_t len;        /* bytes */
} burble_text;

/* Fills in the defaults: special tokens are not skipped. */
BURBLE_API void burble_detok_options_init(burble_detok_options *options);

/* Makes a detokenizer at the beginning of a sequence; it takes a reference to `vocab`. `options` may
 * be NULL for the defaults.
 *
 * BURBLE_OK      *out is the detokenizer, which the caller owns
 * BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_detok_create(burble_vocab *vocab, const burble_detok_options *options,
                                   burble_detok **out);

/* Frees it and sets *detok to NULL. NULL and a pointer to NULL are fine. */
BURBLE_API void burble_detok_destroy(burble_detok **detok);

/* Takes the next `n` ids and hands out the text that has become final; `text->len` may be 0. An id
 * beyond the vocabulary stands for nothing, as for the tokenizers library.
 *
 * BURBLE_OK      *text is valid until the next call on this detokenizer, its destruction included
 * BURBLE_EINVAL  an id is negative; none of the ids was taken, *text is empty
 * BURBLE_ENOMEM  none of the ids was taken, *text is empty */
BURBLE_API int burble_detok_push(burble_detok *detok, const int32_t *ids, size_t n,
                                 burble_text *text);

/* Ends the sequence: hands out what was held back (an incomplete character becomes U+FFFD). The
 * detokenizer is then at the beginning of a new sequence. Never fails; *text is valid until the next
 * call on this detokenizer. */
BURBLE_API void burble_detok_finish(burble_detok *detok, burble_text *text);

/* Forgets the sequence: at the beginning of a new one, nothing handed out. */
BURBLE_API void burble_detok_reset(burble_detok *detok);

/* Whether something is held back that a later id completes, or the end turns into U+FFFD. */
BURBLE_API bool burble_detok_holds(const burble_detok *detok);

#ifdef __cplusplus
}
#endif

#endif
