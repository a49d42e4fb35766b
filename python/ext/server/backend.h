/* SPDX-License-Identifier: MIT
 *
 * The backend of one model of a host: a function of Python, or an engine of llama.cpp, answers its requests.
 *
 * The libraries call a backend in their own threads, without the GIL. After its model was removed, it lives on until no
 * request needs it; the next call of the host's then frees it.
 */
#ifndef BURBLE_PYTHON_BACKEND_H
#define BURBLE_PYTHON_BACKEND_H

#include "server/host.h"

/* The methods of a host that add a model. */
PyObject *backend_add_handler(HostObject *self, PyObject *args);
#ifdef BURBLE_PYTHON_LLAMA
PyObject *backend_add_engine(HostObject *self, PyObject *args);
#endif

/* Whether this thread is a worker of `host`, in the midst of a request. */
bool backend_runs_here(const HostObject *host);

/* For the collector: of a list of backends. */
int backends_traverse(const struct backend *backend, visitproc visit, void *arg);

/* Frees those that the host calls no more. May run code of Python. */
void backends_sweep(struct backend **first);

/* Frees all. Once the host is closed: its threads call them. */
void backends_clear(struct backend **first);

#endif
