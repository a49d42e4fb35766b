/* SPDX-License-Identifier: MIT */
#include "streamers/producer.h"

#include <frameobject.h> /* before 3.11, PyFrame_GetBack is declared only there */

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

/* The frame of the call of generate that this thread is in, or NULL. */
static PyObject *frame_of_generate(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    Py_XINCREF(frame);
    for (int i = 0; frame != NULL && i < MOST_FRAMES; i++) {
        if (is_generate(frame))
            return (PyObject *)frame;
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return NULL;
}

/* (Both are the caller's references: walking a stack makes objects, and so may run Python code.) */
static bool is_on_stack(const PyObject *wanted, PyObject *top)
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

int producer_note(struct core *core, struct round *round)
{
    PyObject *top = (PyObject *)PyEval_GetFrame(); /* borrowed */
    if (thread_is_me(&round->writer)) {
        /* A second call of generate, after the first one raised, writes to the same round. */
        PyObject *noted = Py_XNewRef(round->frame);
        const bool goes_on = noted == NULL || is_on_stack(noted, top);
        Py_XDECREF(noted);
        if (goes_on)
            return 0;
    } else {
        burble_status status;
        producer_check_thread(round);
        burble_stream_status(round->stream, &status);
        if (status.state != BURBLE_OPEN)
            return 0; /* it stays the round of the one that died */
        if (thread_set(core, &round->writer) < 0)
            return -1;
    }
    /* The frame refers to the streamer, which refers to this round: a cycle that the end of the
     * round, or the garbage collector, undoes. */
    PyObject *frame =
        frame_of_generate(); /* (which may run Python code that changes the old one) */
    Py_XSETREF(round->frame, frame);
    return 0;
}

static void fail(struct round *round)
{
    burble_stream_fail(round->stream, BURBLE_EDIED, burble_result_text(BURBLE_EDIED));
}

void producer_check_thread(struct round *round)
{
    if (thread_has_exited(&round->writer))
        fail(round);
}

/* What runs in each thread, by its number: a new reference. NULL with an exception. */
static PyObject *current_frames(void)
{
    PyObject *function = PySys_GetObject("_current_frames"); /* borrowed */
    if (function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "sys._current_frames is gone");
        return NULL;
    }
    return PyObject_CallObject(function, NULL);
}

/* The top of a thread's stack: borrowed from `frames`, NULL where there is no such thread. 0 or -1. */
static int top_of_stack(PyObject *frames, unsigned long ident, PyObject **top)
{
    PyObject *number = PyLong_FromUnsignedLong(ident);
    if (number == NULL)
        return -1;
    *top = PyDict_GetItemWithError(frames, number);
    Py_DECREF(number);
    return *top == NULL && PyErr_Occurred() ? -1 : 0;
}

/* Whether the call is still on the stack of its thread: 1, 0, or -1 with an exception. */
static int is_running(const PyObject *call, unsigned long ident, PyObject *frames)
{
    PyObject *top;
    if (top_of_stack(frames, ident, &top) < 0)
        return -1;
    return is_on_stack(call, top);
}

/* `call` is the one that writes the round, and `ident` its thread. */
static int look_at(struct round *round, const PyObject *call, unsigned long ident,
                   PyObject **frames)
{
    const bool had = *frames != NULL;
    if (!had && (*frames = current_frames()) == NULL)
        return -1;
    int running = is_running(call, ident, *frames);
    if (running == 0 && had) { /* the call may be younger than what others have looked at */
        PyObject *now = current_frames();
        if (now == NULL)
            return -1;
        Py_SETREF(*frames, now);
        running = is_running(call, ident, now);
    }
    /* Meanwhile Python code may have run, and another call have begun. */
    if (running == 0 && round->frame == call)
        fail(round);
    return running < 0 ? -1 : 0;
}

int producer_look(struct round *round, PyObject **frames)
{
    burble_status status;
    burble_stream_status(round->stream, &status);
    if (status.state != BURBLE_OPEN)
        return 0;
    producer_check_thread(round); /* in a child process, the threads of its parent are gone */
    if (round->frame == NULL)
        return 0;
    PyObject *call = Py_NewRef(round->frame);
    const int rc = look_at(round, call, round->writer.ident, frames);
    Py_DECREF(call);
    return rc;
}
