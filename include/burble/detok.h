/* SPDX-License-Identifier: MIT
 *
 * A detokenizer turns token ids into text, a few at a time, for one sequence.
 *
 * Its law: what it has handed out, joined, is what the tokenizer itself makes of the whole sequence,
 * for every sequence of ids (but for the exception that BURBLE_STEP_BYTE_FALLBACK documents). It
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
    /* Clean up spaces before punctuation and in contractions, as transformers'
     * clean_up_tokenization does with the whole text. Holds back only what a rule can still change. */
    bool clean_up;
    /* Keep what it takes to go back this many tokens (burble_detok_rewind). 0: nothing. */
    uint32_t rewind;
    /* Say from which tokens each piece of text came (burble_detok_spans). */
    bool spans;
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

/* Begins in the middle: takes ids that come before the ones to be streamed (a prompt's last ones, at
 * least as many as decide how the next one begins: some 8) and hands out nothing for them. What the
 * prompt leaves incomplete is completed by the ids that follow, and handed out then. Results as for
 * burble_detok_push. */
BURBLE_API int burble_detok_prime(burble_detok *detok, const int32_t *ids, size_t n);

/* A detokenizer in the same state, independent from now on. BURBLE_OK, or BURBLE_ENOMEM with *out
 * NULL. */
BURBLE_API int burble_detok_copy(const burble_detok *detok, burble_detok **out);

/* Goes back by the last `n` ids that were pushed (or primed), as if they never had been; *bytes (may
 * be NULL) is how many of the bytes that were handed out are thereby taken back.
 *
 * So many states are remembered as options.rewind says, each from before an id was taken. Going back
 * uses them up, and each id that is taken makes one: several calls with no ids in between add up to
 * at most options.rewind.
 *
 * BURBLE_OK
 * BURBLE_EINVAL  more than are remembered, or than there are in this sequence; nothing was done */
BURBLE_API int burble_detok_rewind(burble_detok *detok, size_t n, uint64_t *bytes);

/* Where text came from: bytes [begin, end) of the text handed out last came from tokens [first, last]
 * of the sequence, counted from 0 over all ids pushed and primed. */
typedef struct burble_span {
    size_t begin, end;
    uint64_t first, last;
} burble_span;

/* The spans of the text that the last push or finish handed out, in order, without gaps; *n of them,
 * valid until the next call on this detokenizer. With options.spans off, or no text, *n is 0. */
BURBLE_API void burble_detok_spans(const burble_detok *detok, const burble_span **spans, size_t *n);

/* Whether something is held back that a later id completes, or the end turns into U+FFFD. */
BURBLE_API bool burble_detok_has_pending(const burble_detok *detok);

#ifdef __cplusplus
}
#endif

#endif
