/* SPDX-License-Identifier: MIT
 *
 * Where a detokenizer's sequence stood, for going back: in a ring, before each of the last tokens.
 */
#ifndef BURBLE_PYTHON_PLACES_H
#define BURBLE_PYTHON_PLACES_H

#include "detokenize/detokenizer.h"

/* Makes the ring, of up to REWIND_MAX places. 0, or -1 with an exception. */
int places_make(DetokenizerObject *self, size_t rewind);

/* Notes where the sequence stands. 0, or -1 with an exception and nothing to clear. */
int place_save(DetokenizerObject *self, struct place *place);

/* Goes there, and clears it. */
void place_restore(DetokenizerObject *self, struct place *place);

void place_clear(struct place *place);

/* The place before the last `n` tokens, where there are places. */
struct place *places_at(DetokenizerObject *self, size_t n);

/* Puts where the sequence stands into the ring. 0, or -1 with an exception. */
int places_remember(DetokenizerObject *self);

/* Goes back by `n` of the places; `detok` is the caller's. */
void places_go_back(DetokenizerObject *self, size_t n);

/* The method: how many characters are taken back, or -1 with an exception. */
int64_t places_go_back_by(DetokenizerObject *self, PyObject *count);

/* Fills the ring of `to`, which is empty and of the same size, as the other one's. 0, or -1 with an
 * exception. */
int places_copy(DetokenizerObject *from, DetokenizerObject *to);

void places_forget(DetokenizerObject *self);

#endif
