/* SPDX-License-Identifier: MIT */
#include "waiting/liveness.h"

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

int producer_note(struct producer *producer, struct core *core, burble_stream *stream)
{
    PyObject *top = (PyObject *)PyEval_GetFrame(); /* borrowed */
    if (thread_is_me(&producer->thread)) {
        /* A second call of generate, after the first one raised, writes to the same stream. */
        PyObject *noted = Py_XNewRef(producer->frame);
        const bool goes_on = noted == NULL || is_on_stack(noted, top);
        Py_XDECREF(noted);
        if (goes_on)
            return 0;
    } else {
        burble_status status;
        producer_check_thread(producer, stream);
        burble_stream_status(stream, &status);
        if (status.state != BURBLE_OPEN)
            return 0; /* it stays the stream of the one that died */
        if (thread_set(core, &producer->thread) < 0)
            return -1;
    }
    /* The frame refers to the streamer, which refers to this producer: a cycle that the end of the
     * generation, or the garbage collector, undoes. */
    PyObject *frame =
        frame_of_generate(); /* (which may run Python code that changes the old one) */
    Py_XSETREF(producer->frame, frame);
    return 0;
}

static void fail(burble_stream *stream)
{
    burble_stream_fail(stream, BURBLE_EDIED, burble_result_text(BURBLE_EDIED));
}

void producer_check_thread(struct producer *producer, burble_stream *stream)
{
    if (thread_has_exited(&producer->thread))
        fail(stream);
}

/* The frames of all threads, by the threads' numbers: a new reference. NULL with an exception. */
static PyObject *current_frames(void)
{
    PyObject *function = PySys_GetObject("_current_frames"); /* borrowed */
    if (function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "sys._current_frames does not exist");
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

/* `call` is the one that writes the stream. */
static int check_call(struct producer *producer, burble_stream *stream, const PyObject *call,
                      PyObject **frames)
{
    const unsigned long ident = producer->thread.ident;
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
    if (running == 0 && producer->frame == call)
        fail(stream);
    return running < 0 ? -1 : 0;
}

int producer_check_alive(struct producer *producer, burble_stream *stream, PyObject **frames)
{
    burble_status status;
    burble_stream_status(stream, &status);
    if (status.state != BURBLE_OPEN)
        return 0;
    /* In a child process, the threads of its parent are gone. */
    producer_check_thread(producer, stream);
    if (producer->frame == NULL)
        return 0;
    PyObject *call = Py_NewRef(producer->frame);
    const int rc = check_call(producer, stream, call, frames);
    Py_DECREF(call);
    return rc;
}

int producer_traverse(struct producer *producer, visitproc visit, void *arg)
{
    Py_VISIT(producer->frame);
    Py_VISIT(producer->thread.object);
    return 0;
}

void producer_clear(struct producer *producer)
{
    Py_CLEAR(producer->frame);
    thread_clear(&producer->thread);
}

/* ---- the tasks that wait at one hub ----------------------------------------------------------- */

void watch_add(struct watch_list *list, struct watched *watched)
{
    watched->list = list;
    watched->before = NULL;
    watched->after = list->first;
    if (list->first != NULL)
        list->first->before = watched;
    list->first = watched;
    list->n++;
}

void watch_remove(struct watched *watched)
{
    struct watch_list *list = watched->list;
    if (list == NULL)
        return;
    if (watched->before != NULL)
        watched->before->after = watched->after;
    else
        list->first = watched->after;
    if (watched->after != NULL)
        watched->after->before = watched->before;
    watched->before = watched->after = NULL;
    watched->list = NULL;
    list->n--;
}

static struct watched *keep(struct watched *watched)
{
    if (watched != NULL)
        Py_INCREF(watched->owner);
    return watched;
}

int watch_check(struct watch_list *list)
{
    PyObject *frames = NULL;
    const uint64_t now = burble_now();
    /* (One that waits again comes first in the list, so that there could always be more.) */
    size_t left = list->n;
    int rc = 0;
    struct watched *watched = keep(list->first);
    while (watched != NULL) {
        if (rc == 0 && now - watched->since >= LIVENESS_INTERVAL_NS)
            rc = watched->check_alive(watched->owner, &frames);
        /* The check may have run Python code: only now is it known which one comes after, and only if this
         * one is still in the list. */
        const bool goes_on = rc == 0 && --left > 0 && watched->list == list;
        struct watched *after = goes_on ? keep(watched->after) : NULL;
        Py_DECREF(watched->owner);
        watched = after;
    }
    Py_XDECREF(frames);
    return rc;
}
