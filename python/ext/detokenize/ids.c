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

static int read_row(PyObject *row, struct ids *ids)
{
    ids->data = ids->few;
    ids->n = 0;
    ids->batch = false;
    PyObject *items = PySequence_Fast(row, "a row of token ids is a list");
    if (items == NULL)
        return -1;
    const size_t n = (size_t)PySequence_Fast_GET_SIZE(items);
    if (n > sizeof ids->few / sizeof ids->few[0]) {
        ids->data = PyMem_New(int32_t, n);
        if (ids->data == NULL) {
            Py_DECREF(items);
            PyErr_NoMemory();
            return -1;
        }
    }
    /* Converting an item may run Python code, which could change the list. */
    while (ids->n < n && ids->n < (size_t)PySequence_Fast_GET_SIZE(items)) {
        PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(items, (Py_ssize_t)ids->n));
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
