/* SPDX-License-Identifier: MIT
 *
 * JSON parsed by Python, for the loaders of vocabularies.
 */
#ifndef BURBLE_EXT_JSON_H
#define BURBLE_EXT_JSON_H

#include "core.h"

#include "text/load_json.h"

struct json {
    struct burble__json_parser parser;
    PyObject
        *decode; /* borrowed: of bytes, makes dicts, lists, strs, ints, floats, bools and None */
    PyThreadState *state; /* without the GIL: what takes it again */
};

/* A parser that calls `decode`, which raises ValueError for what is no JSON. It is called without the GIL, with
 * `state` of PyEval_SaveThread, and takes it until the value is released. Where `decode` raises anything
 * else, the exception is set when the loader returns. */
void json_init(struct json *json, PyObject *decoder);

#endif
