/* SPDX-License-Identifier: MIT
 *
 * _core.LlamaEngine: libburble-llama's engine, whose thread writes the streams of logs without Python.
 * Only in a build with -Dllama=enabled.
 */
#ifndef BURBLE_PYTHON_LLAMA_H
#define BURBLE_PYTHON_LLAMA_H

#include "common/core.h"

extern PyType_Spec llama_spec;

/* Keeps an engine, a LlamaEngine, from being closed until llama_leave. False, and holds nothing, if it is closed, or about
 * to be. With or without the GIL; close() gives that up while it waits. */
bool llama_enter(PyObject *engine);
void llama_leave(PyObject *engine);

/* Between these two. */
struct burble_llama_engine *llama_engine_of(PyObject *engine);

/* Its model, as long as the object is there, also after close(). In a forked child, NULL with an exception. */
struct burble_llama_model *llama_model_of(PyObject *engine);

/* _core.LlamaEmbedder: libburble-llama's embedder. */
extern PyType_Spec embedder_spec;

/* Raises what libburble-llama's functions say; returns NULL. `number` is errno as it was. */
PyObject *llama_raise(struct core *core, int rc, int number, const char *message, PyObject *path);

/* Raises that the engine is closed; returns NULL. */
PyObject *llama_raise_closed(struct core *core);

#endif
