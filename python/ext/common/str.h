/* SPDX-License-Identifier: MIT
 *
 * The text of tokens as a str, short and in any script; and a str as bytes.
 *
 * A str may hold lone surrogates: half of an emoji, as JSON spells it. UTF-8 has no bytes for them, and what
 * is written has to be read again, so each is written by UTF-8's rule for three bytes. The bytes of any str
 * are valid UTF-8 but for that.
 */
#ifndef BURBLE_PYTHON_STR_H
#define BURBLE_PYTHON_STR_H

#include "common/core.h"

/* A str of such bytes; what PyUnicode_DecodeUTF8 makes of them, its UnicodeDecodeError included, and
 * sooner. That grows a buffer as it meets wider characters, which costs more than all the rest of a token.
 *
 * A new reference, or NULL with an exception. */
PyObject *str_from_utf8(const char *bytes, size_t len);

/* The bytes of a str, which are valid as long as *keeper, a new reference, is. 0, or -1 with an
 * exception. */
int str_to_utf8(PyObject *text, burble_text *out, PyObject **keeper);

#endif
