/* SPDX-License-Identifier: MIT
 *
 * A vocabulary: what each token id stands for, and the rule by which a tokenizer turns a sequence
 * of ids into text. It is immutable once made, so any number of detokenizers in any number of
 * threads may share one.
 */
#ifndef BURBLE_VOCAB_H
#define BURBLE_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The largest vocabulary that is accepted, in ids, and the longest token, in bytes. Both are far
 * above what exists (some 300,000 ids, some hundreds of bytes); they bound what a file can ask for.
 */
#define BURBLE_VOCAB_MAX_IDS (1u << 24)
#define BURBLE_VOCAB_MAX_TOKEN (1u << 16)

/* How tokens become text. */
typedef enum burble_decoder {
    /* Byte-level BPE (GPT-2, Llama 3, Qwen, Falcon): a token is spelled in GPT-2's alphabet of 256
     * printable characters, one per byte; a token with a character outside that alphabet stands for
     * its own UTF-8 bytes. The bytes of the whole sequence, decoded as UTF-8, are the text; what is
     * not UTF-8 becomes U+FFFD, one for each maximal part of a character (Unicode 15, 3.9, U+FFFD
     * Substitution of Maximal Subparts, which is also what Rust's from_utf8_lossy does).
     * The rule of `ByteLevel` in Hugging Face's tokenizers. */
    BURBLE_DECODER_BYTE_LEVEL = 0,

    /* SentencePiece-style BPE with byte fallback (Llama 2, Phi 3): U+2581 stands for a space, and
     * tokens `<0x00>` to `<0xFF>` for single bytes. A run of byte tokens that is UTF-8 becomes those
     * characters; in a run that is not, each byte outside a valid character becomes one U+FFFD.
     * (The tokenizers library replaces *all* bytes of such a run, also those of the valid characters
     * in it; a stream cannot know that early. See docs/design.md.)
     * The rule of `Sequence[Replace(U+2581, " "), ByteFallback, Fuse, Strip(" ", n, 0)]`. */
    BURBLE_DECODER_BYTE_FALLBACK = 1
} burble_decoder;

/* Flags of one token. */
enum {
    BURBLE_TOKEN_SPECIAL = 1u << 0, /* left out where special tokens are skipped */
    BURBLE_TOKEN_ABSENT = 1u << 1   /* no token has this id: it stands for nothing */
};

/* One token as the tokenizer spells it. */
typedef struct burble_token {
    const char *text; /* UTF-8, need not end in NUL; NULL only where len is 0 */
    uint32_t len;     /* bytes */
    uint32_t flags;   /* BURBLE_TOKEN_… */
} burble_token;

typedef struct burble_vocab_options {
    burble_decoder decoder;
    /* How many spaces (U+0020) to take away from the beginning of the text: `Strip`'s `start`. Only
     * for BURBLE_DECODER_BYTE_FALLBACK, else 0. */
    uint32_t strip_left;
} burble_vocab_options;

typedef struct burble_vocab burble_vocab;

/* Fills in the defaults: byte-level, nothing stripped. */
BURBLE_API void burble_vocab_options_init(burble_vocab_options *options);

/* Makes a vocabulary of `n` tokens; the token for id i is tokens[i]. Everything is copied.
 *
 * BURBLE_OK      *out is the vocabulary, with one reference, which the caller owns
 * BURBLE_EINVAL  n above BURBLE_VOCAB_MAX_IDS; NULL `tokens` with n above 0; an unknown decoder;
 *                `strip_left` with BURBLE_DECODER_BYTE_LEVEL; a token longer than
 *                BURBLE_VOCAB_MAX_TOKEN, with NULL text and a length, with an unknown flag, or whose
 *                text is not UTF-8. *out is NULL and, where a token is at fault, *where is its id
 *                (else n).
 * BURBLE_ENOMEM  *out is NULL
 *
 * `options` must not be NULL; `where` may be. Any thread. */
BURBLE_API int burble_vocab_create(const burble_vocab_options *options, const burble_token *tokens,
                                   size_t n, burble_vocab **out, size_t *where);

/* One more reference; returns `vocab`. Any thread. */
BURBLE_API burble_vocab *burble_vocab_ref(burble_vocab *vocab);

/* Gives a reference back and sets *vocab to NULL; the last one frees it. NULL and a pointer to NULL
 * are fine. Any thread. */
BURBLE_API void burble_vocab_unref(burble_vocab **vocab);

/* How many ids there are: 0 to size - 1. Any thread. */
BURBLE_API size_t burble_vocab_size(const burble_vocab *vocab);

/* How many bytes of memory the vocabulary takes. Any thread. */
BURBLE_API size_t burble_vocab_memory(const burble_vocab *vocab);

#ifdef __cplusplus
}
#endif

#endif
