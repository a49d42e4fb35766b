/* SPDX-License-Identifier: MIT
 *
 * _core.LlamaEngine: libburble-llama's engine, whose thread writes the streams of logs without Python.
 * Only in a build with -Dllama=enabled.
 */
#ifndef BURBLE_PYTHON_LLAMA_H
#define BURBLE_PYTHON_LLAMA_H

#include "common/core.h"

extern PyType_Spec llama_spec;

/* _core.LlamaEmbedder: libburble-llama's embedder. */
extern PyType_Spec embedder_spec;

/* Raises what libburble-llama's functions say; returns NULL. `number` is errno as it was. */
PyObject *llama_raise(struct core *core, int rc, int number, const char *message, PyObject *path);

#endif
