/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A chunker decides where a stream of text is cut into records.
 *
 * One thread at a time per chunker.
 */
#ifndef BURBLE_CHUNK_H
#define BURBLE_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most bytes that a chunker keeps back while it waits for the end of a word. */
#define BURBLE_WORD_MAX ((size_t)16384)

typedef enum burble_chunking {
    /** As early as possible: the text of each push is a chunk. */
    BURBLE_CHUNK_TOKEN = 0,
    /** Whole words, by the rule of transformers' streamers (TextStreamer.put in transformers 5): if
     * the text ends with a newline or a CJK ideograph, a push returns all of it; otherwise it
     * returns the text up to and including its last space. burble adds an upper bound: if more than
     * BURBLE_WORD_MAX bytes would be kept back, all of the text is returned. Characters are never
     * split. */
    BURBLE_CHUNK_WORD = 1
} burble_chunking;

typedef struct burble_chunker burble_chunker;

/** Creates an empty chunker.
 *
 * @retval BURBLE_OK      *out is the chunker, which the caller owns
 * @retval BURBLE_EINVAL  an unknown rule; *out is NULL
 * @retval BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_chunker_create(burble_chunking rule, burble_chunker **out);

/** Frees the chunker and sets *chunker to NULL. NULL and a pointer to NULL are allowed. */
BURBLE_API void burble_chunker_destroy(burble_chunker **chunker);

/** Takes `len` bytes of text (valid UTF-8; `len` may be 0) that represent `tokens` more tokens, and
 * returns the next complete chunk. If there is none, chunk->len is 0. `incomplete` is true if the
 * detokenizer holds back the beginning of a character that follows this text (burble_detok_has_pending):
 * the end of `text` is then not the end of the available text, and the rule for the last character
 * does not apply.
 * Time: proportional to `len`, independent of the length of the text kept back.
 *
 * @retval BURBLE_OK      *chunk is valid until the next call on this chunker, and only as long as `text` is
 *                        valid; *chunk_tokens (may be NULL) is the number of tokens since the last chunk, or 0
 *                        if there is no chunk
 * @retval BURBLE_ENOMEM  the text was not taken, *chunk is empty */
BURBLE_API int burble_chunker_push(burble_chunker *chunker, const char *text, size_t len,
                                   uint32_t tokens, bool incomplete, burble_text *chunk,
                                   uint32_t *chunk_tokens);

/** Ends the text: returns all text that was kept back (may be empty). *chunk_tokens (may be NULL) is the
 * number of tokens since the last chunk, even if no text is left. The chunker is then as after
 * burble_chunker_create. Never fails. */
BURBLE_API void burble_chunker_finish(burble_chunker *chunker, burble_text *chunk,
                                      uint32_t *chunk_tokens);

/** Discards the text that was kept back. The chunker is then as after burble_chunker_create. */
BURBLE_API void burble_chunker_reset(burble_chunker *chunker);

#ifdef __cplusplus
}
#endif

#endif
