/* SPDX-License-Identifier: MIT
 *
 * The steps of a decoder: the rule by which a tokenizer turns its tokens into text. vocab.h takes a list
 * of them.
 */
#ifndef BURBLE_DECODER_H
#define BURBLE_DECODER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One step of the rule by which tokens become text. The steps are those of Hugging Face's tokenizers
 * (its `decoders`), with the same meaning: each maps a list of token texts to a list of token texts,
 * and what the last one leaves is joined. */
typedef enum burble_step_kind {
    BURBLE_STEP_BYTE_LEVEL,    /* GPT-2's alphabet of 256 characters back to bytes; joins all */
    BURBLE_STEP_BYTE_FALLBACK, /* runs of `<0x00>` … `<0xFF>` to characters. In a run that is not
                                  UTF-8, each byte outside a valid character becomes one U+FFFD;
                                  the tokenizers library replaces *all* bytes of such a run, also
                                  those of its valid characters, which a stream cannot know that
                                  early */
    BURBLE_STEP_FUSE,          /* joins all */
    BURBLE_STEP_REPLACE,       /* `text` by `with`, in each token */
    BURBLE_STEP_STRIP,         /* up to `start` times `text`, one character, from the left of each
                                  token and up to `stop` times from its right */
    BURBLE_STEP_METASPACE,     /* `text`, one character, by a space; with `flag` (any prepend scheme
                                  but "never") by nothing in the first token */
    BURBLE_STEP_WORDPIECE,     /* `text` (##) marks continuations, other tokens get a space before
                                  them; `flag`: cleanup */
    BURBLE_STEP_BPE,           /* `text` (</w>) by a space, in the last token by nothing */
    BURBLE_STEP_CTC            /* repeated tokens once; `text` (the pad token) by nothing; `flag`
                                  (cleanup): `with` (the word delimiter) by a space */
} burble_step_kind;

typedef struct burble_step {
    burble_step_kind kind;
    const char *text; /* UTF-8, ended by NUL; NULL where the kind has none */
    const char *with; /* the same */
    uint32_t start, stop;
    bool flag;
} burble_step;

#ifdef __cplusplus
}
#endif

#endif
