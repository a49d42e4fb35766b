/* SPDX-License-Identifier: MIT */
/** @file
 *
 * The steps of a decoder: the rule by which a tokenizer converts tokens to text. The functions of vocab.h
 * take a list of steps.
 */
#ifndef BURBLE_DECODER_H
#define BURBLE_DECODER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One step of the rule by which tokens become text. The steps are the `decoders` of Hugging Face's
 * tokenizers library, with the same meaning: each step maps a list of token texts to a list of token
 * texts, and the result of the last step is joined. */
typedef enum burble_step_kind {
    /** Converts GPT-2's alphabet of 256 characters to bytes; joins all tokens. */
    BURBLE_STEP_BYTE_LEVEL,
    /** Converts runs of `<0x00>` … `<0xFF>` to characters. If a run is not UTF-8, each byte outside a
     * valid character becomes one U+FFFD. This differs from the tokenizers library, which then replaces
     * *all* bytes of the run, including those of valid characters: a stream has returned these before it
     * sees the invalid byte. */
    BURBLE_STEP_BYTE_FALLBACK,
    /** Joins all tokens. */
    BURBLE_STEP_FUSE,
    /** Replaces `text` by `with` in each token. */
    BURBLE_STEP_REPLACE,
    /** Removes `text`, one character, up to `start` times from the left of each token and up to `stop`
     * times from its right. */
    BURBLE_STEP_STRIP,
    /** Replaces `text`, one character, by a space. If `flag` is true (any prepend scheme but "never"),
     * removes it in the first token. */
    BURBLE_STEP_METASPACE,
    /** In each token but the first, removes `text` (##) from the beginning or, if it is not there, puts a
     * space before the token. If `flag` (cleanup) is true, removes spaces before punctuation. */
    BURBLE_STEP_WORDPIECE,
    /** Replaces `text` (`</w>`) by a space; removes it in the last token. */
    BURBLE_STEP_BPE,
    /** Keeps one of repeated tokens; removes `text` (the pad token). If `flag` (cleanup) is true,
     * replaces `with` (the word delimiter) by a space. */
    BURBLE_STEP_CTC
} burble_step_kind;

typedef struct burble_step {
    burble_step_kind kind;
    const char *text; /**< UTF-8, terminated by NUL; NULL if the kind does not use it */
    const char *with; /**< UTF-8, terminated by NUL; NULL if the kind does not use it */
    uint32_t start, stop;
    bool flag;
    uint64_t reserved[2]; /**< 0: see burble.h */
} burble_step;

#ifdef __cplusplus
}
#endif

#endif
