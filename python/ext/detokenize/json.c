/* SPDX-License-Identifier: MIT */
#include "detokenize/json.h"

/* ---- parsing ------------------------------------------------------------------------------------- */

/* Whether a str is Unicode that C can read, which it can from then on without memory. */
static bool is_fine(PyObject *string, bool is_key)
{
    Py_ssize_t len;
    const char *bytes = PyUnicode_AsUTF8AndSize(string, &len);
    if (bytes == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "expected Unicode, found a lone surrogate in %.60A", string);
    }
    if (bytes != NULL && is_key && memchr(bytes, '\0', (size_t)len) != NULL) {
        PyErr_Format(PyExc_ValueError, "expected keys without NUL, found %.60A", string);
        bytes = NULL;
    }
    return bytes != NULL;
}

/* Whether all strings in a value are. BURBLE__JSON_DEPTH_MAX bounds the recursion. */
static bool are_fine(PyObject *value) /* NOLINT(misc-no-recursion) */
{
    if (PyUnicode_Check(value))
        return is_fine(value, false);
    if (PyList_Check(value)) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); i++)
            if (!are_fine(PyList_GET_ITEM(value, i)))
                return false;
    } else if (PyDict_Check(value)) {
        PyObject *key, *child;
        for (Py_ssize_t at = 0; PyDict_Next(value, &at, &key, &child);)
            if (!is_fine(key, true) || !are_fine(child))
                return false;
    }
    return true;
}

/* The source without what is left out, as bytes. */
static PyObject *bytes_of(const struct burble__source *source, struct burble__range left_out)
{
    const size_t rest = source->size - left_out.end;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(left_out.begin + rest));
    if (bytes == NULL)
        return NULL;
    memcpy(PyBytes_AS_STRING(bytes), source->bytes, left_out.begin);
    memcpy(PyBytes_AS_STRING(bytes) + left_out.begin, source->bytes + left_out.end, rest);
    return bytes;
}

static PyObject *decode(const struct json *self, const struct burble__source *source,
                        struct burble__range left_out)
{
    PyObject *bytes = bytes_of(source, left_out);
    if (bytes == NULL)
        return NULL;
    PyObject *value = PyObject_CallFunctionObjArgs(self->decode, bytes, NULL);
    Py_DECREF(bytes);
    if (value != NULL && !are_fine(value))
        Py_CLEAR(value);
    return value;
}

/* Takes a ValueError, or leaves any other exception set. */
static int report(const struct burble__source *source)
{
    if (!PyErr_ExceptionMatches(PyExc_ValueError))
        return burble__load_fail(source, BURBLE_ENOMEM, "an exception of Python's");
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyObject *text = error == NULL ? NULL : PyObject_Str(error);
    const char *what = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    const int result =
        what == NULL ? BURBLE_ENOMEM : burble__load_fail(source, BURBLE_EFORMAT, "%s", what);
    Py_XDECREF(text);
    Py_XDECREF(traceback);
    Py_XDECREF(error);
    Py_XDECREF(type);
    return result;
}

static struct json *json_of(const struct burble__json_parser *parser)
{
    return (struct json *)parser; /* its first member */
}

static int parse(const struct burble__json_parser *parser, const struct burble__source *source,
                 struct burble__range left_out, const void **root)
{
    struct json *self = json_of(parser);
    PyEval_RestoreThread(self->state);
    PyObject *value = decode(self, source, left_out);
    if (value == NULL && left_out.end > left_out.begin
        && PyErr_ExceptionMatches(PyExc_ValueError)) {
        /* Once more, for the position of the error in the whole. */
        PyErr_Clear();
        value = decode(self, source, (struct burble__range){0, 0});
    }
    const int result = value == NULL ? report(source) : BURBLE_OK;
    *root = value;
    if (result != BURBLE_OK)
        self->state = PyEval_SaveThread();
    return result;
}

static void release(const struct burble__json_parser *parser, const void *root)
{
    Py_DECREF((PyObject *)root);
    json_of(parser)->state = PyEval_SaveThread();
}

/* ---- values. Nothing of this calls Python code, takes memory, or fails. ------------------------------ */

static PyObject *object_of(const void *value)
{
    return (PyObject *)value;
}

static enum burble__json_type type_of(const void *value)
{
    PyObject *object = object_of(value);
    return PyUnicode_Check(object) ? BURBLE__JSON_STRING
           : PyDict_Check(object)  ? BURBLE__JSON_OBJECT
           : PyList_Check(object)  ? BURBLE__JSON_ARRAY
           : object == Py_True     ? BURBLE__JSON_TRUE
           : object == Py_False    ? BURBLE__JSON_FALSE
           : PyLong_Check(object)  ? BURBLE__JSON_INTEGER
           : PyFloat_Check(object) ? BURBLE__JSON_REAL
                                   : BURBLE__JSON_NULL;
}

static size_t size(const void *value)
{
    PyObject *object = object_of(value);
    return (size_t)(PyList_Check(object) ? PyList_GET_SIZE(object) : PyDict_Size(object));
}

/* Comparing each key takes no memory, as a str to look it up by would. */
static const void *member(const void *object, const char *key)
{
    PyObject *found, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object_of(object), &at, &found, &value);)
        if (PyUnicode_CompareWithASCIIString(found, key) == 0)
            return value;
    return NULL;
}

static const void *item(const void *array, size_t index)
{
    return PyList_GET_ITEM(object_of(array), (Py_ssize_t)index);
}

static struct burble__json_text text_of(const void *string)
{
    Py_ssize_t len;
    const char *bytes = PyUnicode_AsUTF8AndSize(object_of(string), &len); /* made by are_fine */
    return (struct burble__json_text){bytes, (size_t)len};
}

static int64_t integer(const void *value)
{
    return PyLong_AsLongLong(object_of(value)); /* `decode` makes no larger ones */
}

static bool next(const void *object, struct burble__json_cursor *at, struct burble__json_text *key,
                 const void **value)
{
    PyObject *name, *found;
    Py_ssize_t position = at->position;
    if (!PyDict_Next(object_of(object), &position, &name, &found))
        return false;
    at->position = position;
    *key = text_of(name);
    *value = found;
    return true;
}

void json_init(struct json *json, PyObject *decoder)
{
    *json = (struct json){
        .parser =
            {
                .parse = parse,
                .release = release,
                .type = type_of,
                .size = size,
                .member = member,
                .item = item,
                .text = text_of,
                .integer = integer,
                .next = next,
            },
        .decode = decoder,
    };
}
