/* SPDX-License-Identifier: MIT */
#include "detokenize/places.h"

#include <assert.h>

#include "detokenize/offsets.h"

int places_make(DetokenizerObject *self, size_t rewind)
{
    if (rewind == 0)
        return 0;
    self->places = PyMem_Calloc(rewind, sizeof *self->places);
    if (self->places == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->rewind = rewind;
    return 0;
}

void place_clear(struct place *place)
{
    PyMem_Free(place->pending.at);
    place->pending = (struct stretches){NULL, 0, 0};
    Py_CLEAR(place->held);
    Py_CLEAR(place->window);
}

/* What the stop filter holds back, as bytes. */
static PyObject *held_by_filter(DetokenizerObject *self)
{
    burble_text held = {"", 0}, nothing;
    if (self->stop == NULL || self->stopped || !burble_stop_has_pending(self->stop))
        return PyBytes_FromStringAndSize("", 0);
    burble_stop_finish(self->stop, &held);
    PyObject *bytes = PyBytes_FromStringAndSize(held.bytes, (Py_ssize_t)held.len);
    /* That is all its state. Given back, it is held again, for which no memory is needed. */
    burble_stop_push(self->stop, held.bytes, held.len, &nothing, NULL);
    return bytes;
}

int place_save(DetokenizerObject *self, struct place *place)
{
    *place = (struct place){
        .met = self->met,
        .chars = self->chars,
        .handed = self->handed,
        .taken = self->taken,
        .since = self->since,
        .stopped = self->stopped,
        .has_met = self->has_met,
        .waits = self->waits,
    };
    place->held = held_by_filter(self);
    if (place->held == NULL || stretches_copy(&self->pending, &place->pending) < 0)
        goto fail;
    if (self->window != NULL) {
        place->window = PyObject_CallMethodObjArgs(self->window, self->core->str_copy, NULL);
        if (place->window == NULL)
            goto fail;
    }
    return 0;

fail:
    place_clear(place);
    return -1;
}

void place_restore(DetokenizerObject *self, struct place *place)
{
    self->met = place->met;
    self->chars = place->chars;
    self->handed = place->handed;
    self->taken = place->taken;
    self->since = place->since;
    self->stopped = place->stopped;
    self->has_met = place->has_met;
    self->waits = place->waits;
    if (self->stop != NULL) {
        burble_text nothing;
        burble_stop_reset(self->stop);
        burble_stop_push(self->stop, PyBytes_AS_STRING(place->held),
                         (size_t)PyBytes_GET_SIZE(place->held), &nothing, NULL);
    }
    const struct stretches pending = self->pending;
    self->pending = place->pending;
    place->pending = pending;
    PyObject *window = self->window;
    self->window = place->window;
    place->window = window;
    place_clear(place);
}

struct place *places_at(DetokenizerObject *self, size_t n)
{
    assert(self->rewind > 0);
    return &self->places[(self->place + self->rewind - n) % self->rewind];
}

int places_remember(DetokenizerObject *self)
{
    struct place place;
    if (place_save(self, &place) < 0)
        return -1;
    struct place *oldest = &self->places[self->place];
    struct place gone = *oldest;
    *oldest = place;
    self->place = (self->place + 1) % self->rewind;
    if (self->n_places == self->rewind)
        place_clear(&gone);
    else
        self->n_places++;
    return 0;
}

void places_go_back(DetokenizerObject *self, size_t n)
{
    for (size_t i = 1; i < n; i++)
        place_clear(places_at(self, i));
    struct place place = *places_at(self, n);
    self->place = (self->place + self->rewind - n) % self->rewind;
    self->n_places -= n;
    place_restore(self, &place);
}

void places_forget(DetokenizerObject *self)
{
    while (self->n_places > 0) {
        struct place gone = *places_at(self, 1);
        self->place = (self->place + self->rewind - 1) % self->rewind;
        self->n_places--;
        place_clear(&gone);
    }
}

int64_t places_go_back_by(DetokenizerObject *self, PyObject *count)
{
    const Py_ssize_t n = PyNumber_AsSsize_t(count, NULL);
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n < 0 || (size_t)n > self->n_places) {
        PyErr_Format(PyExc_ValueError,
                     "rewind: asked for %S tokens, there are %zu to go back by (made with "
                     "rewind=%zu; tokens taken back count until others are pushed)",
                     count, self->n_places, self->rewind);
        return -1;
    }
    self->spans.n = 0;
    if (n == 0)
        return 0;
    const uint64_t handed = self->handed;
    if (self->detok != NULL)
        burble_detok_rewind(self->detok, (size_t)n, NULL);
    places_go_back(self, (size_t)n);
    return (int64_t)(handed - self->handed);
}

static int place_copy(DetokenizerObject *self, const struct place *place, struct place *out)
{
    *out = *place;
    out->held = Py_NewRef(place->held);
    out->window = NULL;
    if (stretches_copy(&place->pending, &out->pending) < 0)
        goto fail;
    if (place->window != NULL) {
        out->window = PyObject_CallMethodObjArgs(place->window, self->core->str_copy, NULL);
        if (out->window == NULL)
            goto fail;
    }
    return 0;

fail:
    place_clear(out);
    return -1;
}

int places_copy(DetokenizerObject *from, DetokenizerObject *to)
{
    for (size_t i = from->n_places; i > 0; i--) {
        if (place_copy(from, places_at(from, i), &to->places[to->n_places]) < 0)
            return -1;
        to->place = ++to->n_places % to->rewind;
    }
    return 0;
}
