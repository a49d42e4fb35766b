/* SPDX-License-Identifier: MIT
 *
 * Methods of _core.LlamaEngine that convert between text and ids. They need only its model, so they work after close(),
 * too.
 */
#ifndef BURBLE_PYTHON_LLAMA_PROMPT_H
#define BURBLE_PYTHON_LLAMA_PROMPT_H

#include "common/core.h"

/* A str as UTF-8 of which `what` is the name. NULL with an exception. */
const char *llama_text_of(PyObject *value, const char *what, Py_ssize_t *len);

PyObject *engine_tokenize(PyObject *self, PyObject *args);
PyObject *engine_chat(PyObject *self, PyObject *args);
PyObject *engine_chat_ids(PyObject *self, PyObject *args);
PyObject *engine_piece(PyObject *self, PyObject *args);

#endif
