/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_DETOKENIZER_H
#define BURBLE_PYTHON_DETOKENIZER_H

#include "core.h"
#include "ids.h"
#include "vocabulary.h"

/* Either compiled (a vocabulary) or windowed (a Python object with push, finish, reset, holds). */
typedef struct {
    PyObject_HEAD
    struct core *core;
    VocabularyObject *vocabulary;
    burble_detok *detok;
    PyObject *window;
} DetokenizerObject;

/* Text with whoever keeps its bytes, if that is a Python object. */
struct kept_text {
    burble_text text;
    PyObject *keeper; /* a reference, or NULL */
};

/* What the ids make final. 0, or -1 with an exception. */
int detokenizer_push(DetokenizerObject *self, const struct ids *ids, struct kept_text *out);

/* What was held back; the sequence is over. 0, or -1 with an exception. */
int detokenizer_finish(DetokenizerObject *self, struct kept_text *out);

/* Forgets the sequence. 0, or -1 with an exception. */
int detokenizer_reset(DetokenizerObject *self);

/* 1, 0, or -1 with an exception. */
int detokenizer_holds(DetokenizerObject *self);

#endif
