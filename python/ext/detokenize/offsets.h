/* SPDX-License-Identifier: MIT
 *
 * Which tokens a detokenizer's text comes from: stretches of text, each of the same tokens, first of the text
 * that the stop filter holds back, then of the text that is handed out.
 */
#ifndef BURBLE_PYTHON_OFFSETS_H
#define BURBLE_PYTHON_OFFSETS_H

#include "common/core.h"

/* A stretch of text and the tokens of the sequence, counted from 0, that it comes from. */
struct stretch {
    uint64_t chars, first, last;
};

struct stretches {
    struct stretch *at; /* n of them, room for `room` */
    size_t n, room;
};

/* The state of a sequence. */
struct offsets_state {
    struct stretches pending; /* of the text that the stop filter holds back */
    uint64_t taken;           /* tokens of this sequence */
    uint64_t held_since;      /* where `held`: from this token on, the window may hold text */
    bool held;                /* the window holds text back */
};

struct offsets {
    bool on;                    /* they are asked for; else nothing is noted */
    struct stretches spans;     /* of the text that was handed out last */
    struct offsets_state state; /* of the present sequence */
};

void offsets_finish(struct offsets *offsets);

/* *out is its own list. 0, or -1 with an exception and nothing to free. */
int stretches_copy(const struct stretches *list, struct stretches *out);

/* Notes where text that `detok` has handed out, which no stop filter has seen yet, comes from. 0, or -1 with an
 * exception. */
int offsets_trace_compiled(struct offsets *offsets, const burble_detok *detok, burble_text text);

/* The same for a window, of which only this is known: whether it `holds` text back now. `end`: the text came of
 * no further token. */
int offsets_trace_windowed(struct offsets *offsets, burble_text text, bool end, bool holds);

/* The same for so many characters that stand for the last token. */
int offsets_trace_token(struct offsets *offsets, uint64_t chars);

/* So many of the pending characters are handed out. 0, or -1 with an exception. */
int offsets_hand_out(struct offsets *offsets, uint64_t chars);

/* A list of (begin, end, first, last), of the text that was handed out last. NULL with an exception. */
PyObject *offsets_list(const struct offsets *offsets);

#endif
