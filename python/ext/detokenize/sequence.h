/* SPDX-License-Identifier: MIT
 *
 * The sequence of a detokenizer: saved, gone back to, and copied. (A compiled detokenizer, `detok`, goes back by
 * itself, and is the caller's.)
 */
#ifndef BURBLE_PYTHON_SEQUENCE_H
#define BURBLE_PYTHON_SEQUENCE_H

#include "detokenize/detokenizer.h"

/* Takes a snapshot of the sequence. 0, or -1 with an exception and nothing to clear. */
int sequence_save(DetokenizerObject *self, struct snapshot *snapshot);

/* Goes back to it, and clears it. */
void sequence_restore(DetokenizerObject *self, struct snapshot *snapshot);

/* Puts a snapshot into the ring. 0, or -1 with an exception. */
int sequence_remember(DetokenizerObject *self);

/* Goes back by `n` of the snapshots in the ring. */
void sequence_go_back(DetokenizerObject *self, size_t n);

#endif
