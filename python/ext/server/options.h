/* SPDX-License-Identifier: MIT
 *
 * The numbers of a host's options by their names, as Python gives them.
 */
#ifndef BURBLE_PYTHON_SERVER_OPTIONS_H
#define BURBLE_PYTHON_SERVER_OPTIONS_H

#include "common/core.h"

#include <limits.h>
#include <string.h>

#include <burble/serve.h>

/* Sets the options that a dict has: name to number. `set` gets each of them: 0, or -1 with an exception. The result is one
 * of these. */
int options_set_each(PyObject *numbers,
                     int (*set)(void *options, const char *name, long long value), void *options);

/* Sets members of burble_server_options. */
int options_set(burble_server_options *options, PyObject *numbers);

/* In such a function, of variables with these names: sets a member of `options`, and returns, if the name is its. */
#define OPTIONS_SET(option, type)                                                                  \
    if (strcmp(name, #option) == 0) {                                                              \
        options->option = (type)value;                                                             \
        if ((long long)options->option == value)                                                   \
            return 0;                                                                              \
        PyErr_Format(PyExc_ValueError, #option ": expected at most %llu, found %lld",              \
                     ULLONG_MAX >> (64 - 8 * sizeof(type)), value);                                \
        return -1;                                                                                 \
    }

#endif
