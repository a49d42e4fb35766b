/* SPDX-License-Identifier: MIT */
#include "detokenize/ids.h"

static bool is_row(PyObject *value)
{
    return PyList_Check(value) || PyTuple_Check(value);
}

static int read_id(PyObject *object, int32_t *id)
{
    int overflow = 0;
    /* Goes through __index__, so that NumPy's integers are fine and floats are not. */
    PyObject *integer = PyNumber_Index(object);
    if (integer == NULL) {
        if (is_row(object))
            PyErr_Format(
                PyExc_TypeError,
                "a token id must be an int, found %.100s: token ids have the shape [n] or [1, n]",
                Py_TYPE(object)->tp_name);
        else if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "a token id must be an int, found %.100s",
                         Py_TYPE(object)->tp_name);
        return -1;
    }
    const long value = PyLong_AsLongAndOverflow(integer, &overflow);
    if (overflow != 0 || value < 0 || value > INT32_MAX) {
        PyObject *digits = PyObject_Str(integer);
        if (digits != NULL) {
            PyErr_Format(PyExc_ValueError, "a token id must be from 0 to %d, found %.100S",
                         INT32_MAX, digits);
            Py_DECREF(digits);
        } else if (PyErr_ExceptionMatches(PyExc_ValueError)) { /* more digits than Python writes */
            PyErr_Format(PyExc_ValueError,
                         "a token id must be from 0 to %d, found a number of thousands of digits",
                         INT32_MAX);
        }
        Py_DECREF(integer);
        return -1;
    }
    Py_DECREF(integer);
    *id = (int32_t)value;
    return 0;
}

/* The usual case of read_id: an int that is an id. Runs no Python code. */
static inline bool read_int(PyObject *object, int32_t *id)
{
    int overflow;
    if (!PyLong_CheckExact(object))
        return false;
    const long value = PyLong_AsLongAndOverflow(object, &overflow);
    *id = (int32_t)value;
    return value >= 0 && value <= INT32_MAX; /* -1 if there was an overflow */
}

/* Points ids->data at room for `n` ids. 0, or -1 with MemoryError. */
static int make_room(struct ids *ids, size_t n)
{
    ids->data = ids->few;
    ids->n = 0;
    ids->batch = false;
    if (n <= sizeof ids->few / sizeof ids->few[0])
        return 0;
    ids->data = PyMem_New(int32_t, n);
    if (ids->data != NULL)
        return 0;
    ids->data = ids->few;
    PyErr_NoMemory();
    return -1;
}

static int read_row(PyObject *row, struct ids *ids)
{
    PyObject *items = PySequence_Fast(row, "a row of token ids is a list");
    if (items == NULL)
        return -1;
    const size_t n = (size_t)PySequence_Fast_GET_SIZE(items);
    if (make_room(ids, n) < 0) {
        Py_DECREF(items);
        return -1;
    }
    /* Converting an item that is no int may run Python code, which could change the list. */
    while (ids->n < n && ids->n < (size_t)PySequence_Fast_GET_SIZE(items)) {
        PyObject *item = PySequence_Fast_GET_ITEM(items, (Py_ssize_t)ids->n);
        if (read_int(item, &ids->data[ids->n])) {
            ids->n++;
            continue;
        }
        Py_INCREF(item);
        const int rc = read_id(item, &ids->data[ids->n]);
        Py_DECREF(item);
        if (rc < 0) {
            ids_clear(ids);
            Py_DECREF(items);
            return -1;
        }
        ids->n++;
    }
    Py_DECREF(items);
    return 0;
}

/* A list of ids, or of one such list. */
static int read_rows(PyObject *value, struct ids *ids)
{
    const Py_ssize_t rows = PySequence_Fast_GET_SIZE(value);
    if (rows == 0 || !is_row(PySequence_Fast_GET_ITEM(value, 0)))
        return read_row(value, ids);
    if (rows > 1) {
        PyErr_Format(
            PyExc_ValueError,
            "only one sequence can be streamed: expected token ids of shape [n] or [1, n], "
            "found %zd rows",
            rows);
        return -1;
    }
    PyObject *row = Py_NewRef(PySequence_Fast_GET_ITEM(value, 0));
    const int rc = read_row(row, ids);
    Py_DECREF(row);
    ids->batch = true;
    return rc;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* Copies `n` items of a C type, so many bytes apart, which are ids: whether all of them are. */
#define COPY_ITEMS(type)                                                                           \
    static bool copy_##type(const char *at, Py_ssize_t stride, size_t n, int32_t *out)             \
    {                                                                                              \
        bool good = true;                                                                          \
        for (size_t i = 0; i < n; i++, at += stride) {                                             \
            type item;                                                                             \
            memcpy(&item, at, sizeof item);                                                        \
            out[i] = (int32_t)item;                                                                \
            good = good && out[i] >= 0 && (type)out[i] == item;                                    \
        }                                                                                          \
        return good;                                                                               \
    }
COPY_ITEMS(int32_t)
COPY_ITEMS(int64_t)

static bool is_signed_format(const char *format)
{
    return format != NULL && format[0] != '\0' && format[1] == '\0'
           && strchr("ilq", format[0]) != NULL;
}

/* Reads an array of shape [n] or [1, n], of int32 or int64. 1; 0 if it is none, or has something else than ids,
 * which then goes by tolist(); -1 with an exception. */
static int read_array(PyObject *value, struct ids *ids)
{
    Py_buffer view;
    /* A subclass may have a tolist() that says something else, as NumPy's masked arrays do. */
    if (!PyObject_CheckBuffer(value) || Py_TYPE(value)->tp_base != &PyBaseObject_Type)
        return 0;
    if (PyObject_GetBuffer(value, &view, PyBUF_FORMAT | PyBUF_STRIDES) < 0) {
        PyErr_Clear();
        return 0;
    }
    const bool batch = view.ndim == 2 && view.shape[0] == 1;
    int rc = 0;
    if ((batch || view.ndim == 1) && is_signed_format(view.format)
        && (view.itemsize == sizeof(int32_t) || view.itemsize == sizeof(int64_t))) {
        const Py_ssize_t n = view.shape[batch], stride = view.strides[batch];
        rc = make_room(ids, (size_t)n);
        if (rc == 0) {
            rc = (view.itemsize == sizeof(int32_t) ? copy_int32_t : copy_int64_t)(
                view.buf, stride, (size_t)n, ids->data);
            ids->n = (size_t)n;
            ids->batch = batch;
            if (rc == 0)
                ids_clear(ids);
        }
    }
    PyBuffer_Release(&view);
    return rc;
}

int ids_read(struct core *core, PyObject *value, struct ids *ids)
{
    if (PyLong_Check(value)) {
        ids->data = ids->few;
        ids->n = 1;
        ids->batch = false;
        return read_id(value, ids->few);
    }
    if (is_row(value))
        return read_rows(value, ids);
    const int read = read_array(value, ids);
    if (read != 0)
        return read < 0 ? -1 : 0;

    PyObject *tolist = PyObject_GetAttr(value, core->str_tolist);
    if (tolist == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Format(
                PyExc_TypeError,
                "token ids must be an int, a list of ints, or a tensor or array of shape [n] "
                "or [1, n], found %.100s",
                Py_TYPE(value)->tp_name);
        return -1;
    }
    PyObject *list = PyObject_CallObject(tolist, NULL);
    Py_DECREF(tolist);
    if (list == NULL)
        return -1;
    int rc;
    if (is_row(list)) {
        rc = read_rows(list, ids);
    } else { /* a scalar */
        ids->data = ids->few;
        ids->n = 1;
        ids->batch = false;
        rc = read_id(list, ids->few);
    }
    Py_DECREF(list);
    return rc;
}

void ids_clear(struct ids *ids)
{
    if (ids->data != ids->few)
        PyMem_Free(ids->data);
    ids->data = ids->few;
    ids->n = 0;
}
