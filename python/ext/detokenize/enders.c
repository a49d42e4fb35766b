/* SPDX-License-Identifier: MIT */
#include "detokenize/enders.h"

static int compare(const void *a, const void *b)
{
    const struct ender *left = a, *right = b;
    if (left->id != right->id)
        return left->id < right->id ? -1 : 1;
    return (left->order > right->order) - (left->order < right->order);
}

/* Reads n of them. 0, or -1 with an exception. */
static int read_pairs(struct ender *at, Py_ssize_t n, PyObject *pairs, Py_ssize_t strings)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        int id;
        Py_ssize_t which;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(pairs, i), "in:enders", &id, &which))
            return -1;
        if (which < -1 || which >= strings) {
            PyErr_Format(PyExc_ValueError, "enders: there is no stop string %zd", which);
            return -1;
        }
        at[i] = (struct ender){id, which, i};
    }
    return 0;
}

int enders_init(struct enders *enders, PyObject *pairs, Py_ssize_t strings)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(pairs);
    *enders = (struct enders){NULL, 0};
    if (n == 0)
        return 0;
    struct ender *at = PyMem_New(struct ender, (size_t)n);
    if (at == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (read_pairs(at, n, pairs, strings) < 0) {
        PyMem_Free(at);
        return -1;
    }
    qsort(at, (size_t)n, sizeof *at, compare);
    size_t kept = 1;
    for (Py_ssize_t i = 1; i < n; i++)
        if (at[i].id != at[kept - 1].id)
            at[kept++] = at[i];
    *enders = (struct enders){at, kept};
    return 0;
}

void enders_finish(struct enders *enders)
{
    PyMem_Free(enders->at);
    *enders = (struct enders){NULL, 0};
}

int enders_copy(const struct enders *enders, struct enders *out)
{
    *out = (struct enders){NULL, 0};
    if (enders->n == 0)
        return 0;
    out->at = PyMem_New(struct ender, enders->n);
    if (out->at == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(out->at, enders->at, enders->n * sizeof *out->at);
    out->n = enders->n;
    return 0;
}

const struct ender *enders_find(const struct enders *enders, int32_t id)
{
    size_t low = 0, high = enders->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (enders->at[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < enders->n && enders->at[low].id == id ? &enders->at[low] : NULL;
}
