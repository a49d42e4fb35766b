/* SPDX-License-Identifier: MIT
 *
 * Where a detokenizer's text came from: stretches of it, each of the same tokens, first of what the
 * stop filter holds back, then of what is handed out.
 */
#ifndef BURBLE_PYTHON_OFFSETS_H
#define BURBLE_PYTHON_OFFSETS_H

#include "detokenize/detokenizer.h"

/* *out is a list of its own. 0, or -1 with an exception and nothing to free. */
int stretches_copy(const struct stretches *list, struct stretches *out);

/* Notes where text, which no stop filter has seen yet, came from. 0, or -1 with an exception. */
int offsets_trace(DetokenizerObject *self, burble_text text, bool end);

/* The same for so many characters that stand for the last token. 0, or -1 with an exception. */
int offsets_trace_token(DetokenizerObject *self, uint64_t chars);

/* The text is handed out. 0, or -1 with an exception. */
int offsets_hand_out(DetokenizerObject *self, burble_text text);

/* The getter: a list of (begin, end, first, last). */
PyObject *offsets_get(DetokenizerObject *self, void *unused);

#endif
