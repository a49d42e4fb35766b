/* SPDX-License-Identifier: MIT
 *
 * _core.IteratorStreamer: a streamer that a thread reads with `for`.
 */
#include "streamers/streamer.h"

static PyObject *iterator_next(StreamerObject *self)
{
    return streamer_is_ready(self) ? consumer_next(&self->consumer) : NULL;
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
