/* SPDX-License-Identifier: MIT */
#include "common/str.h"

/* Longer texts are left to CPython, whose way costs them nothing. In bytes. */
#define SHORT 64

/* Reads the first character of `len` bytes. Returns how many of them it has; 0: it is none.
 * (Unicode 15.0, table 3-7, said by values: no overlong form, no surrogate, nothing above U+10FFFF.) */
static size_t read_character(const unsigned char *bytes, size_t len, Py_UCS4 *character)
{
    const unsigned char lead = bytes[0];
    if (lead < 0x80) {
        *character = lead;
        return 1;
    }
    const size_t whole = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (whole == 0 || whole > len)
        return 0;
    Py_UCS4 value = lead & (0x7Fu >> whole);
    for (size_t i = 1; i < whole; i++) {
        if ((bytes[i] & 0xC0u) != 0x80u)
            return 0;
        value = value << 6 | (bytes[i] & 0x3Fu);
    }
    *character = value;
    if (whole == 3)
        return value >= 0x800 && (value < 0xD800 || value > 0xDFFF) ? whole : 0;
    if (whole == 4)
        return value >= 0x10000 && value <= 0x10FFFF ? whole : 0;
    return whole;
}

static PyObject *decode(const char *bytes, size_t len)
{
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)len, "surrogatepass");
}

static PyObject *copy(const char *ascii, size_t len)
{
    if (len < 2)
        return decode(ascii, len); /* of which there is one for all */
    PyObject *text = PyUnicode_New((Py_ssize_t)len, 0x7F);
    if (text != NULL)
        memcpy(PyUnicode_1BYTE_DATA(text), ascii, len);
    return text;
}

PyObject *str_from_utf8(const char *bytes, size_t len)
{
    Py_UCS4 characters[SHORT];
    const unsigned char *in = (const unsigned char *)bytes;
    size_t n = 0, ascii = 0;

    if (len > SHORT)
        return decode(bytes, len);
    while (ascii < len && in[ascii] < 0x80)
        ascii++;
    if (ascii == len)
        return copy(bytes, len);
    for (size_t i = 0; i < len; n++) {
        const size_t taken = read_character(in + i, len - i, &characters[n]);
        if (taken == 0)
            return decode(bytes, len); /* which says what is wrong */
        i += taken;
    }
    return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, characters, (Py_ssize_t)n);
}

int str_to_utf8(PyObject *text, burble_text *out, PyObject **keeper)
{
    Py_ssize_t len;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &len);
    *keeper = NULL;
    if (bytes != NULL) {
        *keeper = Py_NewRef(text); /* which has them from now on */
        *out = (burble_text){bytes, (size_t)len};
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return -1;
    PyErr_Clear();
    *keeper = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    if (*keeper == NULL)
        return -1;
    *out = (burble_text){PyBytes_AS_STRING(*keeper), (size_t)PyBytes_GET_SIZE(*keeper)};
    return 0;
}
