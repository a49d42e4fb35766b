/* SPDX-License-Identifier: MIT
 *
 * What `burble run` writes, as text or as lines of JSON. It is gathered here and sent as standard
 * output takes it, so that who waits for that can wait for other things, too.
 *
 * What is gathered has no bound but the texts: each is at most a context long.
 */
#ifndef BURBLE_TOOLS_RUN_OUTPUT_H
#define BURBLE_TOOLS_RUN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>
#include <burble/stream.h>

#include "bytes.h"

struct output {
    bool json;
    bool numbered; /* there are many prompts: say whose each piece is */
    bool terminal, colour;
    struct bytes bytes;
    size_t sent;
    char last; /* of the text so far; '\n' before it */
};

/* When tokens were made, which may be long before their text is read. */
struct pace {
    uint64_t tokens;      /* so many so far */
    uint64_t first, last; /* nanoseconds */
};

/* The outcome of a prompt, or of all prompts. */
struct figures {
    const char *reason; /* "stop", "length", "cancelled", "error" */
    const char *error;  /* NULL: none */
    uint64_t prompt_tokens, tokens;
    uint64_t begun, first, over; /* nanoseconds; `first`: the first piece of text, 0: none came */
    struct pace pace;            /* of one prompt */
};

void output_init(struct output *output, bool json, bool numbered);

/* The beginning of a prompt's text; nothing in JSON, nor where there is but one. */
void output_heading(struct output *output, size_t number, const char *prompt, size_t len);

/* A piece of a prompt's text. */
void output_text(struct output *output, size_t number, const char *text, size_t len,
                 uint32_t tokens);

/* A piece in JSON, with the log-probabilities of its tokens (burble/frame.h). */
void output_logprobs(struct output *output, size_t number, burble_text text, uint32_t tokens,
                     burble_text logprobs);

/* The end of all, in the middle of a text, too: on a terminal, what comes next begins a line. Whether
 * that took a newline. */
bool output_leave(struct output *output);

/* The end of a prompt's text. */
void output_end(struct output *output, size_t number, const struct figures *figures);

/* Whether there is something to send. */
bool output_pending(const struct output *output);

/* Sends as much as can be written at once, without waiting; poll(2) has said that standard output takes
 * something. Returns false after an error, which it says. */
bool output_send(struct output *output);

/* Sends what standard output takes without waiting for its reader: for who is leaving. */
void output_flush(struct output *output);

void output_free(struct output *output);

/* Tokens a second, from the first one to the last; below 0 where there are not two of them, at two
 * times. */
double pace_rate(const struct pace *pace);

/* Seconds from the beginning to the first text; below 0 where none came. */
double figures_first(const struct figures *figures);

#endif
