/* SPDX-License-Identifier: MIT
 *
 * What a request says, as objects of Python.
 */
#ifndef BURBLE_PYTHON_REQUEST_H
#define BURBLE_PYTHON_REQUEST_H

#include "common/core.h"

#include <burble/serve.h>

/* A dict: id, chat, model, messages, prompt, ids, parameters, n, streamed, resumable, raw_body, headers, request_id. A new
 * reference; NULL with an exception. */
PyObject *request_facts(const burble_serve_request *request);

/* The parameter of this name, a str; -1, without an exception: there is none. */
int request_parameter_of(PyObject *name);

#endif
