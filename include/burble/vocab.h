/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A vocabulary: the text of each token id, and the rule by which a tokenizer converts a sequence of ids
 * to text. A vocabulary is immutable, so any number of detokenizers in any number of threads may share
 * it.
 */
#ifndef BURBLE_VOCAB_H
#define BURBLE_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/decoder.h>
#include <burble/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Upper bounds: the number of ids of a vocabulary; the length of a token, in bytes; the total length of all
 * tokens' texts, in bytes, both as given and after the steps. They bound the memory that a file can ask
 * for, and are far above the largest known vocabularies: about 300,000 ids, tokens of some hundred bytes,
 * 4 MiB of text. */
#define BURBLE_VOCAB_MAX_IDS (1u << 24)
#define BURBLE_VOCAB_MAX_TOKEN (1u << 16)
#define BURBLE_VOCAB_MAX_TEXT (1u << 26)

/** Flags of one token. */
enum {
    BURBLE_TOKEN_SPECIAL = 1u << 0, /**< left out if special tokens are skipped */
    BURBLE_TOKEN_ABSENT = 1u << 1,  /**< no token has this id, so it has no text */
    /** The text is used as it is: it is not read as a byte token, and steps on single tokens do not
     * change it. */
    BURBLE_TOKEN_VERBATIM = 1u << 2
};

/** One token as the tokenizer's vocabulary spells it. */
typedef struct burble_token {
    const char *text; /**< UTF-8, not necessarily terminated by NUL; may be NULL only if len is 0 */
    uint32_t len;     /**< bytes */
    uint32_t flags;   /**< BURBLE_TOKEN_… */
} burble_token;

typedef struct burble_vocab_options {
    const burble_step *steps; /**< n_steps of them, in order; copied */
    size_t n_steps;           /**< 0: the tokens are joined by `join` */
    const char *join;         /**< put between tokens if there are no steps; NULL: nothing */
    /** Whether a special token that is left out ends an incomplete character before it, if there are no
     * steps. True for a tokenizer that decodes the tokens between special tokens separately. */
    bool special_breaks;
    uint64_t reserved[3]; /**< 0: see burble.h */
} burble_vocab_options;

typedef struct burble_vocab burble_vocab;

/** Fills in the defaults: no steps, nothing between tokens, special_breaks false. The vocabulary is then a
 * plain table of byte strings: the bytes of a token need not be valid UTF-8 by themselves. The text is the
 * bytes of the whole sequence, decoded as UTF-8; invalid bytes become U+FFFD, one for each maximal part
 * of a character. */
BURBLE_API void burble_vocab_options_init(burble_vocab_options *options);

/** Creates a vocabulary of `n` tokens; the token with id i is tokens[i]. Everything is copied. If `options`
 * is NULL, the defaults apply. Any thread may call it.
 *
 * @retval BURBLE_OK            *out is the vocabulary, with one reference, which the caller owns
 * @retval BURBLE_EUNSUPPORTED  the steps are well-formed, but this library cannot stream them
 * @retval BURBLE_EINVAL        `n` is above BURBLE_VOCAB_MAX_IDS; `tokens` is NULL and `n` is above 0; a step is
 *                              unknown or lacks a member that it needs; `reserved` is not 0; a token is too long,
 *                              has NULL text and a length, has an unknown flag, or (with steps) is not UTF-8; the
 *                              texts are too long in total, as given or after the steps. (Between two steps they
 *                              may have 32 times the length of the tokens, and 64 MiB more.)
 * @retval BURBLE_ENOMEM        out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) says what was wrong, with the id
 * of the token or the number of the step. */
BURBLE_API int burble_vocab_create(const burble_vocab_options *options, const burble_token *tokens,
                                   size_t n, burble_vocab **out, burble_error *error);

/* ---- loading (also see burble_vocab_parse) ----------------------------------------------------- */

/** The format of a file. */
typedef enum burble_vocab_format {
    BURBLE_VOCAB_AUTO = 0, /**< detected from the content (for a rank file, also from the name) */
    BURBLE_VOCAB_HF_JSON,  /**< Hugging Face `tokenizer.json` */
    BURBLE_VOCAB_GGUF,     /**< the vocabulary in a GGUF file's metadata */
    BURBLE_VOCAB_TIKTOKEN, /**< a tiktoken rank file: base64 and rank in each line */
    BURBLE_VOCAB_SENTENCEPIECE, /**< a SentencePiece `.model` */
    BURBLE_VOCAB_TEKKEN         /**< mistral-common's Tekken JSON */
} burble_vocab_format;

/** Creates a vocabulary from a file.
 *
 * @retval BURBLE_OK            *out is the vocabulary, with one reference, which the caller owns
 * @retval BURBLE_ESYSTEM       the file cannot be read (errno says why)
 * @retval BURBLE_EFORMAT       the file is malformed: truncated, with inconsistent sizes, with ids that are out of
 *                              range or occur twice, …
 * @retval BURBLE_EUNSUPPORTED  the file is well-formed, but this library cannot stream that kind of tokenizer
 * @retval BURBLE_EINVAL        `format` is not valid
 * @retval BURBLE_ENOMEM        out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) names the file, the position in
 * it and what was wrong.
 *
 * A JSON file may have at most 128 MiB, a file of another format 256 MiB (the tensors of a GGUF file do
 * not count). In addition to BURBLE_VOCAB_MAX_TEXT bytes of text, memory is used in proportion to the
 * size of the file: for JSON, up to 20 times its size. Any thread may call it. */
BURBLE_API int burble_vocab_load(const char *path, burble_vocab_format format, burble_vocab **out,
                                 burble_error *error);

/** As burble_vocab_load, for `size` bytes in memory; messages call the data `name` (may be NULL). */
BURBLE_API int burble_vocab_parse(const void *data, size_t size, burble_vocab_format format,
                                  const char *name, burble_vocab **out, burble_error *error);

/** Takes one more reference; returns `vocab`. Any thread may call it. */
BURBLE_API burble_vocab *burble_vocab_ref(burble_vocab *vocab);

/** Drops a reference and sets *vocab to NULL. Dropping the last reference frees the vocabulary. NULL and a
 * pointer to NULL are allowed. Any thread may call it. */
BURBLE_API void burble_vocab_unref(burble_vocab **vocab);

/** The number of ids: they are 0 to size - 1. Any thread may call it. */
BURBLE_API size_t burble_vocab_size(const burble_vocab *vocab);

/** The memory that the vocabulary uses, in bytes. Any thread may call it. */
BURBLE_API size_t burble_vocab_memory(const burble_vocab *vocab);

#ifdef __cplusplus
}
#endif

#endif
