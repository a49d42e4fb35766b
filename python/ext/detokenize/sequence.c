/* SPDX-License-Identifier: MIT */
#include "detokenize/sequence.h"

/* ---- going back ------------------------------------------------------------------------------ */

/* The bytes that the stop filter holds back. */
static PyObject *held_by_filter(DetokenizerObject *self)
{
    burble_text held = {"", 0}, nothing;
    if (self->stop == NULL || self->progress.stopped || !burble_stop_has_pending(self->stop))
        return PyBytes_FromStringAndSize("", 0);
    burble_stop_finish(self->stop, &held);
    PyObject *bytes = PyBytes_FromStringAndSize(held.bytes, (Py_ssize_t)held.len);
    /* That is all its state. Given back, it is held again, for which no memory is needed. */
    burble_stop_push(self->stop, held.bytes, held.len, &nothing, NULL);
    return bytes;
}

int sequence_save(DetokenizerObject *self, struct snapshot *snapshot)
{
    *snapshot = (struct snapshot){
        .progress = self->progress,
        .offsets = self->offsets.state,
    };
    snapshot->offsets.pending = (struct stretches){NULL, 0, 0};
    snapshot->held = held_by_filter(self);
    if (snapshot->held == NULL
        || stretches_copy(&self->offsets.state.pending, &snapshot->offsets.pending) < 0)
        goto fail;
    if (self->window != NULL) {
        snapshot->window = PyObject_CallMethodObjArgs(self->window, self->core->str_copy, NULL);
        if (snapshot->window == NULL)
            goto fail;
    }
    return 0;

fail:
    snapshot_clear(snapshot);
    return -1;
}

void sequence_restore(DetokenizerObject *self, struct snapshot *snapshot)
{
    self->progress = snapshot->progress;
    const struct offsets_state offsets = self->offsets.state;
    self->offsets.state = snapshot->offsets;
    snapshot->offsets = offsets;
    if (self->stop != NULL) {
        burble_text nothing;
        burble_stop_reset(self->stop);
        burble_stop_push(self->stop, PyBytes_AS_STRING(snapshot->held),
                         (size_t)PyBytes_GET_SIZE(snapshot->held), &nothing, NULL);
    }
    PyObject *window = self->window;
    self->window = snapshot->window;
    snapshot->window = window;
    snapshot_clear(snapshot);
}

int sequence_remember(DetokenizerObject *self)
{
    struct snapshot snapshot;
    if (sequence_save(self, &snapshot) < 0)
        return -1;
    snapshots_push(&self->snapshots, snapshot);
    return 0;
}

void sequence_go_back(DetokenizerObject *self, size_t n)
{
    struct snapshot snapshot = snapshots_pop(&self->snapshots, n);
    sequence_restore(self, &snapshot);
}

int64_t detokenizer_rewind(DetokenizerObject *self, PyObject *count)
{
    const Py_ssize_t n = PyNumber_AsSsize_t(count, NULL);
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n < 0 || (size_t)n > self->snapshots.n) {
        PyErr_Format(PyExc_ValueError,
                     "rewind: expected at most %zu tokens, found %S (made with rewind=%zu; "
                     "a token that is taken back uses one of these until another is pushed)",
                     self->snapshots.n, count, self->snapshots.room);
        return -1;
    }
    self->offsets.spans.n = 0;
    if (n == 0)
        return 0;
    const uint64_t handed = self->progress.handed;
    if (self->detok != NULL)
        burble_detok_rewind(self->detok, (size_t)n, NULL);
    sequence_go_back(self, (size_t)n);
    return (int64_t)(handed - self->progress.handed);
}

/* ---- copies -------------------------------------------------------------------------------- */

/* One of the same type and settings; its sequence is the other one's in the vocabulary's detokenizer
 * and the stop filter, and to be copied or begun. Nobody but the caller can use it, since it is busy.
 * NULL with an exception. */
static DetokenizerObject *copy_settings(DetokenizerObject *from)
{
    PyTypeObject *type = Py_TYPE(from);
    DetokenizerObject *to = (DetokenizerObject *)type->tp_alloc(type, 0);
    if (to == NULL)
        return NULL;
    to->core = from->core;
    set_under_way(&to->busy, true);
    to->include_stop = from->include_stop;
    to->offsets.on = from->offsets.on;
    to->text_alone = from->text_alone;
    to->stop_strings = Py_XNewRef(from->stop_strings);
    to->vocabulary = (VocabularyObject *)Py_XNewRef((PyObject *)from->vocabulary);
    int rc = BURBLE_OK;
    if (from->stop != NULL)
        rc = burble_stop_copy(from->stop, &to->stop);
    if (rc == BURBLE_OK && from->detok != NULL)
        rc = burble_detok_copy(from->detok, &to->detok);
    if (rc != BURBLE_OK)
        core_raise(from->core, rc);
    if (rc != BURBLE_OK || enders_copy(&from->enders, &to->enders) < 0
        || snapshots_init(&to->snapshots, from->snapshots.room) < 0)
        Py_CLEAR(to);
    return to;
}

/* Makes the sequence of `to`, which has the settings of `from`, the same as that one's. */
static int copy_sequence(DetokenizerObject *from, DetokenizerObject *to)
{
    struct snapshot now;
    if (snapshots_copy(from->core, &from->snapshots, &to->snapshots) < 0
        || stretches_copy(&from->offsets.spans, &to->offsets.spans) < 0
        || sequence_save(from, &now) < 0)
        return -1;
    sequence_restore(to, &now);
    return 0;
}

DetokenizerObject *detokenizer_copy(DetokenizerObject *self)
{
    DetokenizerObject *copy = copy_settings(self);
    if (copy != NULL && copy_sequence(self, copy) < 0)
        Py_CLEAR(copy);
    if (copy != NULL)
        detokenizer_end_call(copy);
    return copy;
}

DetokenizerObject *detokenizer_new_like(DetokenizerObject *self)
{
    DetokenizerObject *other = copy_settings(self);
    if (other == NULL)
        return NULL;
    PyObject *window = Py_XNewRef(self->window);
    if (window != NULL)
        other->window = PyObject_CallMethodObjArgs(window, self->core->str_copy, NULL);
    if ((window != NULL && other->window == NULL) || detokenizer_reset(other) < 0)
        Py_CLEAR(other);
    else
        detokenizer_end_call(other);
    Py_XDECREF(window);
    return other;
}
