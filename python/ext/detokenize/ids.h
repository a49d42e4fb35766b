/* SPDX-License-Identifier: MIT
 *
 * Token ids out of what callers pass: an int, a list, a NumPy array, a tensor.
 */
#ifndef BURBLE_PYTHON_IDS_H
#define BURBLE_PYTHON_IDS_H

#include "common/core.h"

struct ids {
    int32_t *data; /* n of them; `few` or the heap */
    size_t n;
    bool batch; /* they came as the one row of a batch: with the shape [1, n] */
    int32_t few[16];
};

/* Reads the ids of one sequence: an int; a list or tuple of them; whatever has `tolist` (NumPy
 * arrays and scalars, tensors on any device); each also with one dimension more, of size 1. Nothing
 * else is accepted, and no id below 0 or above 2^31 - 1. Arrays of int32 and int64 are read from
 * their memory, without an object for each id.
 *
 * 0, and `ids` is to be cleared; or -1 with TypeError or ValueError set, nothing to clear. */
int ids_read(struct core *core, PyObject *value, struct ids *ids);

void ids_clear(struct ids *ids);

#endif
