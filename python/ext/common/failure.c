/* SPDX-License-Identifier: MIT */
#include "common/failure.h"

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

/* A RuntimeError of which `exception` is the cause; a MemoryError where there is none to be had. */
static PyObject *caused_by(PyObject *exception)
{
    PyObject *type, *value, *traceback;
    PyObject *error = PyObject_CallFunction(
        PyExc_RuntimeError, "N",
        PyUnicode_FromFormat("the producer raised %.100s", Py_TYPE(exception)->tp_name));
    if (error != NULL) {
        PyException_SetCause(error, Py_NewRef(exception));
        return error;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

PyObject *failure_of(PyObject *exception)
{
    PyObject *type, *value, *traceback; /* of another exception that is set, which stays */
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *failure = misleads(exception) ? caused_by(exception) : Py_NewRef(exception);
    PyErr_Restore(type, value, traceback);
    return failure;
}

void failure_of_raised(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (!misleads(value)) {
        PyErr_Restore(type, value, traceback);
        return;
    }
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    PyObject *failure = failure_of(value);
    PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
    Py_DECREF(failure);
    Py_XDECREF(type);
    Py_DECREF(value);
    Py_XDECREF(traceback);
}
