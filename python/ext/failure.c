/* SPDX-License-Identifier: MIT */
#include "failure.h"

/* Whether it is one of `module`'s exceptions called `name`. A module that nobody has imported has
 * raised nothing. */
static bool is_of(PyObject *exception, const char *module, const char *name)
{
    PyObject *names = PyUnicode_FromString(module);
    PyObject *imported = names == NULL ? NULL : PyImport_GetModule(names);
    PyObject *type = imported == NULL ? NULL : PyObject_GetAttrString(imported, name);
    const bool is = type != NULL && PyErr_GivenExceptionMatches(exception, type);
    Py_XDECREF(type);
    Py_XDECREF(imported);
    Py_XDECREF(names);
    PyErr_Clear();
    return is;
}

/* Whether a reader would take it for the end of what it reads, or for its own cancellation. */
static bool misleads(PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, PyExc_StopIteration)
           || PyErr_GivenExceptionMatches(exception, PyExc_StopAsyncIteration)
           || PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit)
           || is_of(exception, "asyncio", "CancelledError")
           || is_of(exception, "concurrent.futures", "CancelledError")
           || is_of(exception, "trio", "Cancelled");
}

/* The exception that is set, taken. */
static PyObject *take_raised(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

PyObject *failure_of(PyObject *exception)
{
    if (!misleads(exception))
        return Py_NewRef(exception);
    PyObject *error = PyObject_CallFunction(
        PyExc_RuntimeError, "N",
        PyUnicode_FromFormat("the producer raised %.100s", Py_TYPE(exception)->tp_name));
    if (error == NULL)
        return take_raised();
    PyException_SetCause(error, Py_NewRef(exception));
    return error;
}
