/* SPDX-License-Identifier: MIT
 *
 * Text that a grammar allows, so far: an Earley parser, which takes any grammar, ambiguous and left-recursive
 * ones, too, and whose work for each character is bounded. It takes text as bytes, since a token may end within a
 * character.
 *
 * (llama.cpp's own sampler for grammars cannot serve requests of untrusted clients: it repeats "a"{3,1} until
 * memory is full, needs time and memory that grow exponentially with some grammars of 30 short rules, prints what it
 * cannot parse to stderr, and ends the process if it is given a token that the grammar does not allow.)
 */
#ifndef BURBLE_ENGINE_GRAMMAR_H
#define BURBLE_ENGINE_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>

struct burble__grammar;

/* Creates one at the beginning of the text. Results as of burble__grammar_rules_parse. */
int burble__grammar_create(const char *text, size_t len, struct burble__grammar **out,
                           burble_error *error);

/* NULL and a pointer to NULL are allowed. */
void burble__grammar_destroy(struct burble__grammar **handle);

/* Whether the text may go on with these bytes; it stays as it is. */
bool burble__grammar_allows(struct burble__grammar *grammar, const char *bytes, size_t n);

/* Goes on with bytes that it allows. Returns false, and stays as it is, if it does not. */
bool burble__grammar_take(struct burble__grammar *grammar, const char *bytes, size_t n);

/* Whether the text may end here. */
bool burble__grammar_may_end(const struct burble__grammar *grammar);

/* Whether the bounds of its work or memory were reached, so that text was refused which it may allow. */
bool burble__grammar_gave_up(const struct burble__grammar *grammar);

/* For many texts in the order of their bytes, to share the work for common beginnings: takes `n` bytes behind the
 * first `common` ones of the last call's text, and returns whether they are allowed. Call
 * burble__grammar_begin_walk before, and burble__grammar_end_walk after all of them. */
void burble__grammar_begin_walk(struct burble__grammar *grammar);
bool burble__grammar_walk(struct burble__grammar *grammar, const char *bytes, size_t n,
                          size_t common);
void burble__grammar_end_walk(struct burble__grammar *grammar);

#endif
