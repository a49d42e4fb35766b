/* SPDX-License-Identifier: MIT */
#include "consumer.h"

#include "parked.h"
#include "producer.h"

void consumer_init(struct consumer *self, PyObject *owner, const struct consumer_kind *kind,
                   struct core *core)
{
    self->owner = owner;
    self->kind = kind;
    self->core = core;
    self->forks = burble__forks();
}

/* What the parent's threads and loops have is let be, not freed: a task of the parent's that went now would
 * run its `finally`, and its loop's descriptors are the parent's, too. The hub's list is whole, since it
 * changes under the GIL. */
static void renew(struct consumer *self)
{
    self->forks = burble__forks();
    self->blocked = self->parking = self->timed_out = false;
    hub_delist(self);
    if (self->parked != NULL)
        parked_let_be(self->parked);
    self->parked = self->spare = self->spare_next = self->timer = NULL;
    self->hub = NULL;
    if (self->kind->renew != NULL)
        self->kind->renew(self->owner);
}

void consumer_here(struct consumer *self)
{
    if (self->forks != burble__forks())
        renew(self);
}

int consumer_traverse(struct consumer *self, visitproc visit, void *arg)
{
    Py_VISIT(self->hub);
    Py_VISIT(self->parked);
    Py_VISIT(self->spare);
    Py_VISIT(self->spare_next);
    Py_VISIT(self->timer);
    return 0;
}

void consumer_clear(struct consumer *self)
{
    hub_delist(self);
    Py_CLEAR(self->hub);
    Py_CLEAR(self->parked);
    Py_CLEAR(self->spare);
    Py_CLEAR(self->spare_next);
    consumer_stop_timer(self);
}

bool consumer_wakes(const struct consumer *self)
{
    if (self->forks != burble__forks())
        return false;
    return self->blocked || hub_wakes_for(self);
}

int consumer_forget_closed_loop(struct consumer *self)
{
    if (self->parked == NULL)
        return 0;
    PyObject *loop = PyObject_CallMethod(self->parked, "get_loop", NULL);
    PyObject *closed = loop == NULL ? NULL : PyObject_CallMethod(loop, "is_closed", NULL);
    const int truth = closed == NULL ? -1 : PyObject_IsTrue(closed);
    Py_XDECREF(loop);
    Py_XDECREF(closed);
    if (truth > 0 && self->parked != NULL)
        parked_abandon(self->parked);
    return truth < 0 ? -1 : 0;
}

bool consumer_is_free(struct consumer *self)
{
    consumer_here(self);
    if (consumer_forget_closed_loop(self) < 0)
        return false;
    const char *name = Py_TYPE(self->owner)->tp_name;
    if (self->blocked)
        PyErr_Format(PyExc_RuntimeError, "another thread is reading this %.100s: one consumer each",
                     name);
    else if (self->parked != NULL || self->parking)
        PyErr_Format(PyExc_RuntimeError,
                     "another task is already waiting for the next text of this %.100s: one "
                     "consumer each",
                     name);
    else
        return true;
    return false;
}

/* ---- blocking a thread ----------------------------------------------------------------------- */

/* The earlier one of two times, where 0 is never. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Blocks until there may be something to read. 1; 0 where the deadline passed; -1 with an exception,
 * of a signal handler's. */
static int block(struct consumer *self)
{
    const struct consumer_kind *kind = self->kind;
    const int handles_signals = core_handles_signals(self->core);
    if (handles_signals < 0)
        return -1;
    const uint64_t began = burble__now();
    self->own_clock = false;
    for (;;) {
        /* The deadline moves while tokens come that make no text yet. */
        uint64_t until = kind->deadline(self->owner, began);
        if (handles_signals)
            until = earlier(until, burble__now() + SIGNAL_CHECK_NS);
        else if (kind->look != NULL)
            until = earlier(until, burble__now() + PRODUCER_LOOK_NS);
        int rc = kind->wait(self->owner, until);
        if (rc == BURBLE_OK)
            return 1;
        if (rc != BURBLE_ETIMEDOUT) {
            core_raise(self->core, rc);
            return -1;
        }
        if (handles_signals && PyErr_CheckSignals() < 0)
            return -1;
        if (kind->look != NULL && burble__now() - began >= PRODUCER_LOOK_NS) {
            PyObject *frames = NULL;
            rc = kind->look(self->owner, &frames);
            Py_XDECREF(frames);
            if (rc < 0)
                return -1;
        }
        /* Not the deadline from before the wait: tokens may have come, or a new timeout. */
        const uint64_t due = kind->deadline(self->owner, began);
        if (due != 0 && burble__now() >= due)
            return 0;
    }
}

PyObject *consumer_next(struct consumer *self)
{
    if (!consumer_is_free(self))
        return NULL;
    for (;;) {
        PyObject *value = NULL;
        enum reading reading = self->kind->read(self->owner, &value);
        if (reading == READ_NOTHING) {
            self->blocked = true;
            const int rc = block(self);
            self->blocked = false;
            if (rc < 0)
                return NULL;
            if (rc == 0)
                reading = self->kind->timed_out(self->owner, true);
        }
        if (reading != READ_NOTHING)
            return reading == READ_VALUE ? value : NULL;
    }
}

/* ---- a loop's own clock ---------------------------------------------------------------------- */

int64_t consumer_ahead(const struct consumer *self, const int64_t *lead)
{
    return self->own_clock ? self->lead - (lead == NULL ? self->lead_at_park : *lead) : 0;
}

uint64_t consumer_earlier_by(uint64_t deadline, int64_t ahead)
{
    if (deadline == 0 || ahead == 0)
        return deadline;
    if (ahead < 0)
        return deadline + (uint64_t)-ahead;
    return deadline > (uint64_t)ahead ? deadline - (uint64_t)ahead : 1;
}

/* Looks at the clock of the loop, which runs here, where it is one of its own. 0, or -1 with an
 * exception. */
static int look_at_clock(struct consumer *self, PyObject *loop)
{
    self->own_clock = self->hub->own_clock;
    return self->own_clock ? hub_lead(loop, &self->lead) : 0;
}

/* ---- the timer of a task that waits ---------------------------------------------------------- */

/* Asks the loop to call _on_timer after `delay` nanoseconds. */
static int start_timer(struct consumer *self, PyObject *loop, uint64_t delay)
{
    PyObject *handle = NULL;
    if (core_import(&self->core->on_timer, "burble._loops", "on_timer") < 0)
        return -1;
    /* By a weak reference: a long timeout must not keep a consumer that nobody else wants. */
    PyObject *reference = PyWeakref_NewRef(self->owner, NULL);
    PyObject *seconds = PyFloat_FromDouble((double)delay / 1e9);
    if (reference != NULL && seconds != NULL)
        handle = PyObject_CallMethodObjArgs(loop, self->core->str_call_later, seconds,
                                            self->core->on_timer, reference, NULL);
    Py_XDECREF(reference);
    Py_XDECREF(seconds);
    if (handle == NULL)
        return -1;
    Py_XSETREF(self->timer, handle);
    self->timer_loop = loop;
    self->timer_at = burble__now() + delay;
    return 0;
}

/* One of another loop than the one that runs here is left to itself, since its handle is not this
 * thread's: it will find that it is no longer the one. */
void consumer_stop_timer(struct consumer *self)
{
    PyObject *timer = self->timer;
    if (timer == NULL)
        return;
    self->timer = NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    bool trio;
    PyObject *loop = hub_running_loop(self->core, &trio);
    PyObject *none = NULL;
    if (loop == NULL)
        PyErr_Clear(); /* the collector runs in the last moments of a run of trio, which is not ours */
    else if (loop == self->timer_loop)
        none = PyObject_CallMethod(timer, "cancel", NULL);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(timer);
    Py_XDECREF(none);
    Py_XDECREF(loop);
    Py_DECREF(timer);
    PyErr_Restore(type, value, traceback);
}

/* One timer serves all waits of a consumer: it is not moved with every token, but looks, when it
 * fires, how long the present wait still has. So a wait costs no timer where one is running. */
static int on_timer(struct consumer *self, PyObject *loop)
{
    if (self->timer == NULL || self->timer_loop != loop)
        return 0; /* a timer that was left behind in another loop */
    Py_CLEAR(self->timer);
    if (self->parked == NULL)
        return 0;
    if (look_at_clock(self, loop) < 0)
        return -1;
    const uint64_t deadline = self->kind->deadline(self->owner, self->wait_began);
    const uint64_t now = burble__now();
    if (deadline == 0)
        return 0;
    if (now < deadline)
        return start_timer(self, loop, deadline - now);
    self->timed_out = true;
    parked_wake(self);
    return PyErr_Occurred() ? -1 : 0;
}

PyObject *consumer_on_timer(struct consumer *self)
{
    bool trio;
    PyObject *loop = hub_running_loop(self->core, &trio);
    const int rc = loop == NULL ? -1 : on_timer(self, loop);
    Py_XDECREF(loop);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- suspending a task ----------------------------------------------------------------------- */

void consumer_ready(burble_reader *reader, void *consumer)
{
    (void)reader;
    parked_wake(consumer);
}

/* Sees to it that the loop looks when the wait is over, if it ever is. */
static int watch_deadline(struct consumer *self, PyObject *loop)
{
    const uint64_t deadline = self->kind->deadline(self->owner, self->wait_began);
    if (deadline == 0)
        return 0;
    /* A timer that fires too early looks again; one that would fire too late is replaced. (When one of
     * a clock of the loop's own fires, nobody knows.) */
    if (self->timer != NULL && self->timer_loop == loop && self->timer_at <= deadline
        && !self->own_clock)
        return 0;
    consumer_stop_timer(self);
    const uint64_t now = burble__now();
    return start_timer(self, loop, deadline > now ? deadline - now : 0);
}

static int park(struct consumer *self, PyObject **parked)
{
    PyObject *loop;
    HubObject *hub = hub_of_running_loop(self->core, self->hub, &loop);
    if (hub == NULL)
        return -1;
    Py_XSETREF(self->hub, hub);
    if (self->kind->look != NULL)
        self->wait_began = burble__now();
    self->timed_out = false;
    if (look_at_clock(self, loop) < 0) {
        Py_DECREF(loop);
        return -1;
    }
    self->lead_at_park = self->lead;
    int rc = self->kind->park(self->owner, hub);
    if (rc == BURBLE_OK) {
        rc = 1;
    } else if (rc != BURBLE_AGAIN) {
        core_raise(self->core, rc);
        rc = -1;
    } else {
        rc = watch_deadline(self, loop);
        if (rc == 0) {
            *parked = parked_create(self, loop);
            rc = *parked == NULL ? -1 : hub_enlist(self, loop);
        }
        if (rc < 0 && *parked != NULL) {
            parked_abandon(*parked);
            Py_CLEAR(*parked);
        }
    }
    Py_DECREF(loop);
    return rc;
}

int consumer_park(struct consumer *self, PyObject **parked)
{
    *parked = NULL;
    if (!consumer_is_free(self))
        return -1;
    /* Loops are asked in Python, so that meanwhile another thread may want to read or close it. */
    self->parking = true;
    const int rc = park(self, parked);
    self->parking = false;
    return rc;
}
