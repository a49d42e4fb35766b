/* SPDX-License-Identifier: MIT
 *
 * A backend whose text is known: numbers. One thread writes all answers, at a rate.
 *
 *     "#7 "                      the first piece: this is the seventh request that was submitted
 *     "PROMPT·0 é€😀 "           then so many pieces as `max_tokens` says (default: 16)
 *     "PROMPT·1 é€😀 "
 *
 * PROMPT is that of the completion, or the content of the last message. It ends with the reason length. Some prompts
 * ask for something else:
 *
 *     !refuse  submit returns BURBLE_EINVAL with "prompt: …"        !full    BURBLE_EFULL
 *     !closed  BURBLE_ECLOSED                                       !fail    it fails before the first text
 *     !break   it fails after two pieces                            !hang    it writes nothing until it is cancelled
 *     !big     pieces of 4,000 bytes                                !stop    the reason is stop
 *     !hold    it waits after its first piece until numbers_let_go
 */
#ifndef BURBLE_TESTS_NUMBERS_H
#define BURBLE_TESTS_NUMBERS_H

#include <stdint.h>

#include <burble/serve.h>

struct numbers;

struct numbers_counts {
    uint64_t submitted, running, ended, cancelled;
    uint64_t called; /* `cancelled` of the backend, how often */
};

/* `rate`: pieces a second of each answer; 0: as fast as there is room. */
struct numbers *numbers_create(double rate);

/* Answers to !hold go on. Any thread. */
void numbers_let_go(struct numbers *numbers);

/* Ends the thread. All its answers have ended, or are cancelled. */
void numbers_destroy(struct numbers *numbers);

/* Fills in a model of the server. `plain`: it writes streams of plain text, which the server reads
 * (burble_server_read_text). */
void numbers_model(struct numbers *numbers, const char *name, int plain, burble_serve_model *model);

struct numbers_counts numbers_counts(struct numbers *numbers);

#endif
