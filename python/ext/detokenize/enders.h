/* SPDX-License-Identifier: MIT
 *
 * The tokens with which a text ends: ends of sequence, and special tokens that are stop strings.
 */
#ifndef BURBLE_PYTHON_ENDERS_H
#define BURBLE_PYTHON_ENDERS_H

#include "common/core.h"

struct ender {
    int32_t id;
    /* The stop string that is this special token's text, by its number; -1: the token is an end of sequence. */
    Py_ssize_t which;
    Py_ssize_t order; /* in which they were given */
};

struct enders {
    struct ender *at; /* n of them, in the order of their ids, each id once; NULL: none */
    size_t n;
};

/* Makes them of a tuple of (id, which), with so many stop strings; of several for an id, the first. 0, or -1
 * with an exception and nothing to free. */
int enders_init(struct enders *enders, PyObject *pairs, Py_ssize_t strings);
void enders_finish(struct enders *enders);

/* 0, or -1 with an exception and nothing to free. */
int enders_copy(const struct enders *enders, struct enders *out);

/* NULL: the text does not end with this token. */
const struct ender *enders_find(const struct enders *enders, int32_t id);

#endif
