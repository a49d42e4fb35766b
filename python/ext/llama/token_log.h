/* SPDX-License-Identifier: MIT
 *
 * The tokens of one text with their log-probabilities: the engine's thread adds them, without the GIL, and Python
 * reads them.
 */
#ifndef BURBLE_PYTHON_TOKEN_LOG_H
#define BURBLE_PYTHON_TOKEN_LOG_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <burble/llama.h>

struct token_log;

/* For two owners, the thread and Python; NULL: no memory. */
struct token_log *token_log_create(void);

/* One owner less; NULL is fine. Any thread. */
void token_log_unref(struct token_log *log);

/* Adds the token that was chosen last, if it is not there. What has no memory is left out. */
void token_log_add(struct token_log *log, const burble_llama_progress *progress);

/* A list of (id, offset, logprob, ((id, logprob), …)), or NULL with an exception. */
PyObject *token_log_list(struct token_log *log);

#endif
