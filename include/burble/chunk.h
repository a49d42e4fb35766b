/* SPDX-License-Identifier: MIT
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

/* The longest text that waits for its word to end, in bytes. */
#define BURBLE_WORD_MAX ((size_t)16384)

typedef enum burble_chunking {
    /* As early as possible: whatever text a push brings is a chunk. */
    BURBLE_CHUNK_TOKEN = 0,
    /* Whole words, by the rule of transformers' streamers (TextStreamer.put in transformers 5): at
     * each push, all of the text where it ends in a newline or in a CJK ideograph, else the text up
     * to and with its last space. Beyond that rule, a word has a longest length: where more than
     * BURBLE_WORD_MAX bytes would wait, all of the text is handed out, whole characters as ever. */
    BURBLE_CHUNK_WORD = 1
} burble_chunking;

typedef struct burble_chunker burble_chunker;

/* Makes an empty chunker.
 *
 * BURBLE_OK      *out is the chunker, which the caller owns
 * BURBLE_EINVAL  an unknown rule; *out is NULL
 * BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_chunker_create(burble_chunking rule, burble_chunker **out);

/* Frees it and sets *chunker to NULL. NULL and a pointer to NULL are fine. */
BURBLE_API void burble_chunker_destroy(burble_chunker **chunker);

/* Takes text (valid UTF-8, `len` bytes, may be empty) that stands for `tokens` more tokens, and hands
 * out the chunk that is complete, if there is one (else chunk->len is 0). `incomplete` says that
 * the detokenizer holds back the beginning of a character after this text (burble_detok_has_pending), so
 * that the text does not end where it seems to.
 * Work: proportional to `len`, however long the text that waits for its word to end.
 *
 * BURBLE_OK      *chunk is valid until the next call on this chunker, and while `text` is;
 *                *chunk_tokens (may be NULL) is the number of tokens since the last chunk, or 0
 *                where there is none
 * BURBLE_ENOMEM  the text was not taken, *chunk is empty */
BURBLE_API int burble_chunker_push(burble_chunker *chunker, const char *text, size_t len,
                                   uint32_t tokens, bool incomplete, burble_text *chunk,
                                   uint32_t *chunk_tokens);

/* Ends the text: hands out all that waits (may be empty). *chunk_tokens (may be NULL) is the number
 * of tokens since the last chunk, also where no text is left. The chunker is then as new. Never
 * fails. */
BURBLE_API void burble_chunker_finish(burble_chunker *chunker, burble_text *chunk,
                                      uint32_t *chunk_tokens);

/* Forgets what waits: as new. */
BURBLE_API void burble_chunker_reset(burble_chunker *chunker);

#ifdef __cplusplus
}
#endif

#endif
