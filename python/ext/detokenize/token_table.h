/* SPDX-License-Identifier: MIT
 *
 * The tokens and steps of a vocabulary, read from Python objects.
 */
#ifndef BURBLE_PYTHON_TOKEN_TABLE_H
#define BURBLE_PYTHON_TOKEN_TABLE_H

#include "common/core.h"

/* All the tokens, of a dict of ids to their texts, `*n` of them, with id i at [i]; those whose ids are in the
 * tuple `special` are marked. The texts belong to `tokens`, which nothing that is called from here on can
 * change. The caller frees the table by PyMem_Free. NULL with an exception. */
burble_token *token_table_read(PyObject *tokens, PyObject *special, size_t *n);

/* The tokens with ids 0 to n - 1, whose texts a function of an id returns; those in the set of texts `special` are
 * marked. The texts are in *memory. The caller frees both by PyMem_Free. NULL where an id has no text (the
 * function returns None) or with an exception; *memory is then NULL. */
burble_token *token_table_ask(PyObject *text_of, size_t n, PyObject *special, char **memory);

/* The steps of a tuple of tuples, which keeps their texts, `*n` of them. The caller frees them by PyMem_Free. NULL
 * with an exception. */
burble_step *token_table_read_steps(PyObject *tuples, size_t *n);

/* Token `i`, of bytes, or of None: no token has this id. 0, or -1 with an exception. */
int token_table_read_piece(PyObject *piece, Py_ssize_t i, burble_token *token);

/* Marks the tokens whose ids are in a tuple. 0, or -1 with an exception. */
int token_table_mark_special(PyObject *special, burble_token *table, size_t n);

#endif
