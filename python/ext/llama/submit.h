/* SPDX-License-Identifier: MIT
 *
 * Methods of _core.LlamaEngine: handing in a request, whose text the engine's thread writes to a log, and the
 * log-probabilities of its tokens.
 */
#ifndef BURBLE_PYTHON_LLAMA_SUBMIT_H
#define BURBLE_PYTHON_LLAMA_SUBMIT_H

#include "common/core.h"

PyObject *engine_submit(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *engine_logprobs(PyObject *unused, PyObject *capsule);

#endif
