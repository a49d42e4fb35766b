/* SPDX-License-Identifier: MIT
 *
 * POST /tokenize and /detokenize, with the names of llama.cpp's server: {"content":"…"} and {"tokens":[…]}.
 */
#ifndef BURBLE_SERVE_TOKENIZE_H
#define BURBLE_SERVE_TOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>
#include <burble/serve.h>

#include "base/buffer.h"
#include "serve/body.h"
#include "serve/problem.h"

struct burble__tokenize {
    burble_text content;
    const char *model;  /* NULL: not named */
    bool add_special;   /* default: false */
    bool parse_special; /* default: true */
    bool with_pieces;   /* default: false */
    struct burble__body body;
};

struct burble__detokenize {
    const int32_t *ids;
    size_t n_ids;
    const char *model; /* NULL: not named */
    struct burble__body body;
};

/* As burble__request_parse (request.h). The structs are the caller's; finish one after success. */
bool burble__tokenize_parse(const char *body, size_t len, unsigned max_depth,
                            struct burble__tokenize *out, struct burble__problem *problem);
bool burble__detokenize_parse(const char *body, size_t len, unsigned max_depth,
                              struct burble__detokenize *out, struct burble__problem *problem);
void burble__tokenize_finish(struct burble__tokenize *tokenize);
void burble__detokenize_finish(struct burble__detokenize *detokenize);

/* Append the replies: {"tokens":[…]} and {"content":"…"}. BURBLE_OK or BURBLE_ENOMEM. */
int burble__tokenize_write(const int32_t *ids, size_t n, struct burble__buffer *buffer);
/* With the text of each id: {"tokens":[{"id":1,"piece":"a"},…]}; what is no UTF-8, such as a part of a character, is a list of
 * bytes. `piece` is the backend's. BURBLE_OK, BURBLE_ENOMEM, or a result of the backend. */
int burble__tokenize_write_pieces(const burble_serve_model *backend, const int32_t *ids, size_t n,
                                  struct burble__buffer *buffer, burble_error *error);
int burble__detokenize_write(const char *text, size_t len, struct burble__buffer *buffer);

#endif
