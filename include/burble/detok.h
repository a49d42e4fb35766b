/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A detokenizer converts the token ids of one sequence to text, a few ids at a time.
 *
 * Its guarantee: for every sequence of ids, the returned pieces, joined, equal the text that the
 * tokenizer itself decodes from the whole sequence. BURBLE_STEP_BYTE_FALLBACK documents the one
 * exception. A detokenizer returns text as early as this guarantee allows, and the work per token is
 * constant.
 *
 * It uses no locks and no I/O. Only one thread at a time may use a detokenizer.
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
    bool skip_special; /**< leave out tokens with BURBLE_TOKEN_SPECIAL */
    /** Remove spaces before punctuation and in contractions, as transformers'
     * clean_up_tokenization does for the whole text. Only text that a rule can still change is held
     * back. */
    bool clean_up;
    /** Remember enough to go back by this many tokens (burble_detok_rewind). 0: nothing. */
    uint32_t rewind;
    /** Record which tokens each piece of text came from (burble_detok_spans). */
    bool spans;
    uint64_t reserved[3]; /**< 0: see burble.h */
} burble_detok_options;

/** A borrowed piece of text: valid, complete UTF-8, not terminated by NUL. */
typedef struct burble_text {
    const char *bytes; /**< never NULL */
    size_t len;        /**< bytes */
} burble_text;

/** Fills in the defaults: special tokens are not skipped. */
BURBLE_API void burble_detok_options_init(burble_detok_options *options);

/** Creates a detokenizer at the beginning of a sequence; it takes a reference to `vocab`. If `options`
 * is NULL, the defaults apply.
 *
 * @retval BURBLE_OK      *out is the detokenizer, which the caller owns
 * @retval BURBLE_EINVAL  `reserved` is not 0; *out is NULL
 * @retval BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_detok_create(burble_vocab *vocab, const burble_detok_options *options,
                                   burble_detok **out);

/** Frees the detokenizer and sets *detok to NULL. NULL and a pointer to NULL are allowed. */
BURBLE_API void burble_detok_destroy(burble_detok **detok);

/** Takes the next `n` ids and returns the text that has become final; `text->len` may be 0. An id
 * beyond the vocabulary has no text, as in the tokenizers library.
 *
 * @retval BURBLE_OK      *text is valid until the next call on this detokenizer, including its destruction
 * @retval BURBLE_EINVAL  an id is negative; none of the ids was taken, *text is empty
 * @retval BURBLE_ENOMEM  none of the ids was taken, *text is empty */
BURBLE_API int burble_detok_push(burble_detok *detok, const int32_t *ids, size_t n,
                                 burble_text *text);

/** Ends the sequence: returns the text that was held back (an incomplete character becomes U+FFFD). The
 * detokenizer is then at the beginning of a new sequence. Never fails; *text is valid until the next
 * call on this detokenizer. */
BURBLE_API void burble_detok_finish(burble_detok *detok, burble_text *text);

/** Discards the sequence and returns no text. The detokenizer is then at the beginning of a new one. */
BURBLE_API void burble_detok_reset(burble_detok *detok);

/** Begins in the middle of a sequence: takes the ids that precede the ones to be streamed, such as the
 * last ids of a prompt, and returns no text for them. Pass enough ids to decide how the next one
 * begins; about 8 suffice. If the prompt ends within a character, the ids that follow complete the
 * character, and its text is returned then. Results as for burble_detok_push. */
BURBLE_API int burble_detok_prime(burble_detok *detok, const int32_t *ids, size_t n);

/** Creates a copy in the same state. From then on, the two are independent. Returns BURBLE_OK, or
 * BURBLE_ENOMEM with *out NULL. */
BURBLE_API int burble_detok_copy(const burble_detok *detok, burble_detok **out);

/** Undoes the last `n` ids that were pushed or primed. *bytes (may be NULL) is the number of returned
 * bytes that are thereby taken back.
 *
 * The detokenizer remembers the last options.rewind states, each from before an id was taken. A rewind
 * by n uses up n of them, and each further id adds one. So several rewinds without ids between them
 * can go back by at most options.rewind ids in total.
 *
 * @retval BURBLE_OK      the last `n` ids are undone
 * @retval BURBLE_EINVAL  `n` is above the number of remembered states or of ids in this sequence; nothing was
 *                        changed */
BURBLE_API int burble_detok_rewind(burble_detok *detok, size_t n, uint64_t *bytes);

/** The origin of a piece of text: bytes [begin, end) of the text returned last came from tokens
 * [first, last] of the sequence, counted from 0 over all ids pushed and primed. */
typedef struct burble_span {
    size_t begin, end;
    uint64_t first, last;
} burble_span;

/** The spans of the text that the last push or finish returned: *n of them, in order, without gaps,
 * valid until the next call on this detokenizer. If options.spans is false, or there was no text, *n
 * is 0. */
BURBLE_API void burble_detok_spans(const burble_detok *detok, const burble_span **spans, size_t *n);

/** Whether text is held back: a later id will complete it, or the end will turn it into U+FFFD. */
BURBLE_API bool burble_detok_has_pending(const burble_detok *detok);

#ifdef __cplusplus
}
#endif

#endif
