/* SPDX-License-Identifier: MIT
 *
 * A vocabulary: what each token id stands for, and the rule by which a tokenizer turns a sequence
 * of ids into text. It is immutable once made, so any number of detokenizers in any number of
 * threads may share one.
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

/* The largest vocabulary that is accepted, in ids, the longest token, in bytes, and how long all tokens'
 * texts are together, as they are given and as the steps make them. All are far above what exists (some
 * 300,000 ids, some hundreds of bytes, some 4 MiB); they bound what a file can ask for. */
#define BURBLE_VOCAB_MAX_IDS (1u << 24)
#define BURBLE_VOCAB_MAX_TOKEN (1u << 16)
#define BURBLE_VOCAB_MAX_TEXT (1u << 26)

/* Flags of one token. */
enum {
    BURBLE_TOKEN_SPECIAL = 1u << 0, /* left out where special tokens are skipped */
    BURBLE_TOKEN_ABSENT = 1u << 1,  /* no token has this id: it stands for nothing */
    /* Its text is text as it is: no byte, and not changed by steps on single tokens. */
    BURBLE_TOKEN_VERBATIM = 1u << 2
};

/* One token as the tokenizer spells it. */
typedef struct burble_token {
    const char *text; /* UTF-8, need not end in NUL; NULL only where len is 0 */
    uint32_t len;     /* bytes */
    uint32_t flags;   /* BURBLE_TOKEN_… */
} burble_token;

typedef struct burble_vocab_options {
    const burble_step *steps; /* n_steps of them, in order; copied */
    size_t n_steps;           /* 0: the tokens joined by `join` */
    const char *join;         /* between tokens where there are no steps; NULL: nothing */
    /* The same, of special tokens that are left out: they still break the character that they stand
     * in, as where a tokenizer decodes what is between them by itself. */
    bool special_breaks;
} burble_vocab_options;

typedef struct burble_vocab burble_vocab;

/* Fills in the defaults: no steps, nothing between tokens, none that breaks. That is a plain table of pieces: a token's
 * text is its bytes as they are, which need not be UTF-8 by themselves; the bytes of the sequence,
 * decoded as UTF-8, are the text (what is not UTF-8 becomes U+FFFD, one for each maximal part of a
 * character). */
BURBLE_API void burble_vocab_options_init(burble_vocab_options *options);

/* Makes a vocabulary of `n` tokens; the token for id i is tokens[i]. Everything is copied.
 *
 * BURBLE_OK            *out is the vocabulary, with one reference, which the caller owns
 * BURBLE_EUNSUPPORTED  the steps are well-formed but cannot be streamed by this library
 * BURBLE_EINVAL        n above BURBLE_VOCAB_MAX_IDS, NULL `tokens` with n above 0, an unknown step or
 *                      one without what it needs, a token that is too long, has NULL text and a
 *                      length, an unknown flag, or (with steps) is not UTF-8; texts that are too long
 *                      together, as they are given, as the steps make them, or on the way from step to
 *                      step (more than 32 times as long as the tokens, and 64 MiB)
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL, and *error (may be NULL) says what was wrong, naming the
 * token by its id or the step by its number.
 *
 * `options` may be NULL for the defaults. Any thread. */
BURBLE_API int burble_vocab_create(const burble_vocab_options *options, const burble_token *tokens,
                                   size_t n, burble_vocab **out, burble_error *error);

/* ---- loading (also see burble_vocab_parse) ----------------------------------------------------- */

/* What a file may be. */
typedef enum burble_vocab_format {
    BURBLE_VOCAB_AUTO = 0,      /* told by its content (and, for a rank file, its name) */
    BURBLE_VOCAB_HF_JSON,       /* Hugging Face `tokenizer.json` */
    BURBLE_VOCAB_GGUF,          /* the vocabulary in a GGUF file's metadata */
    BURBLE_VOCAB_TIKTOKEN,      /* a tiktoken rank file: base64 and rank in each line */
    BURBLE_VOCAB_SENTENCEPIECE, /* a SentencePiece `.model` */
    BURBLE_VOCAB_TEKKEN         /* mistral-common's Tekken JSON */
} burble_vocab_format;

/* Makes a vocabulary of a file.
 *
 * BURBLE_OK            *out is the vocabulary, with one reference, which the caller owns
 * BURBLE_ESYSTEM       the file cannot be read (errno says why)
 * BURBLE_EFORMAT       the file is not what it should be: truncated, sizes that do not add up, ids out
 *                      of range or given twice, …
 * BURBLE_EUNSUPPORTED  well-formed, but a kind of tokenizer that this library cannot stream
 * BURBLE_EINVAL        an unknown format
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL, and *error (may be NULL) names the file, the place in it
 * and what was wrong. Of JSON, files of at most 128 MiB are read, of other formats
 * 256 MiB (a GGUF file's tensors do not count). Beside texts of BURBLE_VOCAB_MAX_TEXT bytes together,
 * memory is taken in proportion to the file's size: up to 80 times as much for JSON. Any thread. */
BURBLE_API int burble_vocab_load(const char *path, burble_vocab_format format, burble_vocab **out,
                                 burble_error *error);

/* The same for `size` bytes in memory; `name` (may be NULL) stands for the file's in messages. */
BURBLE_API int burble_vocab_parse(const void *data, size_t size, burble_vocab_format format,
                                  const char *name, burble_vocab **out, burble_error *error);

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
