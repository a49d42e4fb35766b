/* SPDX-License-Identifier: MIT
 *
 * The steps of all decoders, each done plainly to the whole list of tokens: what the detokenizer has
 * to come to, however it is fed.
 *
 * The rules were compared with tokenizers 0.23.3 itself, but for runs of byte tokens that are no
 * UTF-8: there it is burble's (docs/design.md, "The exception").
 */
#ifndef BURBLE_TESTS_PLAIN_STEPS_H
#define BURBLE_TESTS_PLAIN_STEPS_H

#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>
#include <burble/vocab.h>

/* A text on the heap, ended by NUL. Where memory is short, the process ends. */
struct text {
    size_t len;
    char *bytes;
};

struct text text_of(const char *bytes, size_t len);
void append(struct text *text, const char *bytes, size_t len);

/* The text of the whole sequence of `n` ids; the caller frees its bytes. The vocabulary is one that
 * burble_vocab_create has taken. */
struct text plain_decode(const burble_vocab_options *options, const burble_token *tokens,
                         size_t n_tokens, const burble_detok_options *detok, const int32_t *ids,
                         size_t n);

#endif
