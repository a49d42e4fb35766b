/* SPDX-License-Identifier: MIT
 *
 * _core.IteratorStreamer: a streamer that a thread reads with `for`.
 */
#include "producer.h"
#include "streamer.h"

/* Blocks until there may be something to read. 1; 0 where the timeout passed; -1 with an exception,
 * of a signal handler's. */
static int wait_for_text(StreamerObject *self)
{
    const int handles_signals = core_handles_signals(self->core);
    if (handles_signals < 0)
        return -1;
    const uint64_t began = burble__now();
    burble_reader *reader = self->reading->reader;
    for (;;) {
        /* The deadline moves while tokens come that make no text yet. */
        const uint64_t deadline = streamer_deadline(self, began);
        uint64_t until = burble__now() + (handles_signals ? SIGNAL_CHECK_NS : PRODUCER_LOOK_NS);
        if (deadline != 0 && deadline < until)
            until = deadline;
        int rc;
        Py_BEGIN_ALLOW_THREADS
            rc = burble_reader_wait(reader, until);
        Py_END_ALLOW_THREADS
        if (rc == BURBLE_OK)
            return 1;
        if (rc != BURBLE_ETIMEDOUT) {
            core_raise(self->core, rc);
            return -1;
        }
        if (handles_signals && PyErr_CheckSignals() < 0)
            return -1;
        if (burble__now() - began >= PRODUCER_LOOK_NS) {
            PyObject *frames = NULL;
            rc = producer_look(self->reading, &frames);
            Py_XDECREF(frames);
            if (rc < 0)
                return -1;
        }
        /* Not the deadline from before the wait: tokens may have come, or a new timeout. */
        const uint64_t due = streamer_deadline(self, began);
        if (due != 0 && burble__now() >= due)
            return 0;
    }
}

static PyObject *iterator_next(StreamerObject *self)
{
    PyObject *text = NULL;
    enum reading reading;
    if (self->reading == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__ was not called", Py_TYPE(self)->tp_name);
        return NULL;
    }
    if (self->blocked) {
        PyErr_Format(PyExc_RuntimeError, "another thread is reading this %.100s: one consumer each",
                     Py_TYPE(self)->tp_name);
        return NULL;
    }
    while ((reading = streamer_read(self, &text)) == READ_NOTHING) {
        self->blocked = true;
        const int rc = wait_for_text(self);
        self->blocked = false;
        if (rc < 0)
            return NULL;
        if (rc == 0) {
            if (core_import(&self->core->queue_empty, "queue", "Empty") == 0)
                streamer_timed_out(self, self->core->queue_empty);
            return NULL;
        }
    }
    /* READ_END is NULL without an exception: StopIteration. */
    return reading == READ_TEXT ? text : NULL;
}

static PyMethodDef iterator_methods[] = {
    STREAMER_ON_FINALIZED_TEXT,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, "A streamer that a thread reads with `for`."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {Py_tp_methods, iterator_methods},
    {0, NULL},
};

PyType_Spec iterator_spec = {
    .name = "burble._core.IteratorStreamer",
    .basicsize = sizeof(StreamerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = iterator_slots,
};
