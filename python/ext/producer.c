/* SPDX-License-Identifier: MIT */
#include "producer.h"

/* How far up a stack is looked: generate stands some ten calls above put(). */
#define MOST_FRAMES 1000

static bool is_generate(PyFrameObject *frame)
{
    bool is = false;
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *name = PyObject_GetAttrString((PyObject *)code, "co_name");
    if (name != NULL && PyUnicode_Check(name)
        && PyUnicode_CompareWithASCIIString(name, "generate") == 0) {
        PyObject *file = PyObject_GetAttrString((PyObject *)code, "co_filename");
        const char *path = file == NULL ? NULL : PyUnicode_AsUTF8(file);
        is = path != NULL && strstr(path, "transformers") != NULL
             && strstr(path, "generation") != NULL;
        Py_XDECREF(file);
    }
    Py_XDECREF(name);
    Py_DECREF(code);
    PyErr_Clear();
    return is;
}

void producer_note(struct round *round)
{
    if (round->noted)
        return;
    round->noted = true;
    PyFrameObject *frame = PyEval_GetFrame();
    Py_XINCREF(frame);
    for (int i = 0; frame != NULL && i < MOST_FRAMES; i++) {
        if (is_generate(frame)) {
            /* The frame refers to the streamer, which refers to this round: a cycle that the end of
             * the round, or the garbage collector, undoes. */
            round->frame = (PyObject *)frame;
            round->thread = PyThread_get_thread_ident();
            return;
        }
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
}

static bool is_on_stack(PyObject *wanted, PyObject *top)
{
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef(top);
    bool found = false;
    for (int i = 0; frame != NULL && !found && i < MOST_FRAMES; i++) {
        found = (PyObject *)frame == wanted;
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    /* A stack deeper than we look: nothing is concluded. */
    found = found || frame != NULL;
    Py_XDECREF(frame);
    return found;
}

int producer_look(struct round *round, PyObject **frames)
{
    burble_status status;
    if (round->frame == NULL)
        return 0;
    burble_stream_status(round->stream, &status);
    if (status.state != BURBLE_OPEN)
        return 0;
    if (*frames == NULL) {
        PyObject *function = PySys_GetObject("_current_frames"); /* borrowed */
        if (function == NULL)
            return 0;
        *frames = PyObject_CallObject(function, NULL);
        if (*frames == NULL)
            return -1;
    }
    PyObject *thread = PyLong_FromUnsignedLong(round->thread);
    if (thread == NULL)
        return -1;
    PyObject *top = PyDict_GetItemWithError(*frames, thread); /* borrowed */
    Py_DECREF(thread);
    if (top == NULL && PyErr_Occurred())
        return -1;
    if (!is_on_stack(round->frame, top))
        burble_stream_fail(round->stream, BURBLE_EDIED, burble_result_text(BURBLE_EDIED));
    return 0;
}
