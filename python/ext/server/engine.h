/* SPDX-License-Identifier: MIT
 *
 * An engine of llama.cpp as the backend of a server: no Python runs for its requests. Only in a build with llama.cpp.
 */
#ifndef BURBLE_PYTHON_SERVER_ENGINE_H
#define BURBLE_PYTHON_SERVER_ENGINE_H

#include "server/server.h"

struct engine_backend;

/* Fills in the model `name` of an engine's object. The backend has no reference to that: it must live as long as the server
 * has the model. NULL with an exception. */
struct engine_backend *engine_backend_create(struct core *core, PyObject *engine, const char *name,
                                             burble_serve_model *model);

/* What is set once no server calls it any more. */
_Atomic(bool) *engine_backend_released(struct engine_backend *backend);

/* Once no server has it. NULL is fine. */
void engine_backend_destroy(struct engine_backend **handle);

#endif
