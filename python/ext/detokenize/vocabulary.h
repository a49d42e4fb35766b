/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_VOCABULARY_H
#define BURBLE_PYTHON_VOCABULARY_H

#include "common/core.h"

typedef struct {
    PyObject_HEAD
    burble_vocab *vocab;
    bool clean_up; /* its detokenizers clean up spaces */
} VocabularyObject;

#endif
