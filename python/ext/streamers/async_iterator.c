/* SPDX-License-Identifier: MIT
 *
 * _core.AsyncIteratorStreamer: a streamer that a task reads with `async for`.
 */
#include "streamers/streamer.h"

static PyObject *async_iterator_anext(StreamerObject *self)
{
    return streamer_is_ready(self) ? consumer_anext(&self->consumer) : NULL;
}

static PyObject *async_iterator_on_timer(StreamerObject *self, PyObject *unused)
{
    (void)unused;
    return consumer_on_timer(&self->consumer);
}

static PyMethodDef async_iterator_methods[] = {
    STREAMER_ON_FINALIZED_TEXT,
    {"_on_timer", (PyCFunction)async_iterator_on_timer, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot async_iterator_slots[] = {
    {Py_tp_doc, "A streamer that a task reads with `async for`."},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, async_iterator_anext},
    {Py_tp_methods, async_iterator_methods},
    {0, NULL},
};

PyType_Spec async_iterator_spec = {
    .name = "burble._core.AsyncIteratorStreamer",
    .basicsize = sizeof(StreamerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = async_iterator_slots,
};
