/* SPDX-License-Identifier: MIT
 *
 * The text of tokens as a str: short, and in any script.
 */
#ifndef BURBLE_PYTHON_STR_H
#define BURBLE_PYTHON_STR_H

#include "core.h"

/* A str of UTF-8; what PyUnicode_DecodeUTF8 makes of it, its UnicodeDecodeError included, and sooner.
 * That grows a buffer as it meets wider characters, which costs more than all the rest of a token.
 *
 * A new reference, or NULL with an exception. */
PyObject *str_from_utf8(const char *bytes, size_t len);

#endif
