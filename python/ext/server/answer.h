/* SPDX-License-Identifier: MIT
 *
 * _core.Answer: the answer to a request, as the backend in Python has it: a stream of its host, to which
 * it gives the logs that are its text, or an error.
 */
#ifndef BURBLE_PYTHON_ANSWER_H
#define BURBLE_PYTHON_ANSWER_H

#include "server/host.h"

/* In the list of its host, under `pending_lock`, from its creation until its object is freed. */
struct pending {
    struct pending *previous, *next;
    burble_stream *stream; /* of the answer: a reference */
    burble_stream *left;   /* ends when the answer is cancelled: a reference */
};

extern PyType_Spec answer_spec;

/* The answer of `choices` choices that goes to `stream`, of which it takes a reference. A new reference; NULL with an
 * exception. */
PyObject *answer_create(HostObject *host, burble_stream *stream, uint32_t choices);

/* The request was not taken: the host answers it. */
void answer_forget(PyObject *answer);

/* The result of burble for a status of HTTP, by which a server finds the status again. */
int answer_result_of_status(int status);

/* The host has cancelled `stream`. In a loop's thread, without the GIL. */
void answer_cancelled(HostObject *host, const burble_stream *stream);

#endif
