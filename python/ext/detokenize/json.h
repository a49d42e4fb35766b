/* SPDX-License-Identifier: MIT
 *
 * JSON parsed by Python, for the loaders of vocabularies.
 */
#ifndef BURBLE_EXT_JSON_H
#define BURBLE_EXT_JSON_H

#include "common/core.h"

#include "text/load_json.h"

struct json {
    struct burble__json_parser parser;
    PyObject
        *decode; /* borrowed: of bytes, makes dicts, lists, strs, ints, floats, bools and None */
    PyThreadState *state; /* without the GIL: what takes it again */
};

/* Initialises a parser that calls `decoder`, which raises ValueError for invalid JSON; any other exception stays set
 * when the loader returns. The loader runs without the GIL. Parsing takes the GIL by `state`, of PyEval_SaveThread,
 * and holds it until the value is released. */
void json_init(struct json *json, PyObject *decoder);

#endif
