/* SPDX-License-Identifier: MIT */
#include "waiting/consumer.h"

#include "waiting/future.h"

void consumer_init(struct consumer *self, PyObject *owner, const struct consumer_kind *kind,
                   struct watched *watched, struct core *core)
{
    self->owner = owner;
    self->kind = kind;
    self->core = core;
    self->forks = burble_forks();
    self->watched = watched;
    if (watched != NULL)
        *watched = (struct watched){.owner = owner, .check_alive = kind->check_alive};
}

/* ---- being counted among the consumers parked at a hub ---------------------------------------- */

static void enlist(struct consumer *self)
{
    self->listed = true;
    hub_count_waiting(self->hub, true);
    if (self->watched != NULL)
        watch_add(&self->hub->watched, self->watched);
}

/* Fine for one that is not. */
static void delist(struct consumer *self)
{
    if (!self->listed)
        return;
    self->listed = false;
    hub_count_waiting(self->hub, false);
    if (self->watched != NULL)
        watch_remove(self->watched);
}

/* For struct waiting. */
static void left(struct consumer *self, PyObject *future)
{
    delist(self);
    if (future == NULL)
        return;
    PyObject *mine = NULL;
    if (self->future == future) {
        mine = self->future;
        self->future = NULL;
    }
    if (self->spare == NULL)
        self->spare = Py_NewRef(future);
    Py_XDECREF(mine);
}

/* Objects of the parent's threads and loops are neither used nor freed: freeing a task of the parent would run
 * its `finally`, and the descriptors of its loop are shared with the parent. The hub's list is consistent,
 * because it changes only under the GIL. */
static void renew(struct consumer *self)
{
    self->forks = burble_forks();
    self->reading = self->blocked = self->parking = self->timed_out = false;
    delist(self);
    if (self->future != NULL)
        future_leak(self->future);
    self->future = self->spare = self->spare_anext = self->timer = NULL;
    self->hub = NULL;
    if (self->kind->renew != NULL)
        self->kind->renew(self->owner);
}

void consumer_here(struct consumer *self)
{
    if (self->forks != burble_forks())
        renew(self);
}

int consumer_traverse(struct consumer *self, visitproc visit, void *arg)
{
    Py_VISIT(self->hub);
    Py_VISIT(self->future);
    Py_VISIT(self->spare);
    Py_VISIT(self->spare_anext);
    Py_VISIT(self->timer);
    return 0;
}

void consumer_clear(struct consumer *self)
{
    delist(self);
    Py_CLEAR(self->hub);
    Py_CLEAR(self->future);
    Py_CLEAR(self->spare);
    Py_CLEAR(self->spare_anext);
    consumer_stop_timer(self);
}

bool consumers_may_wake(const struct core *core)
{
    if (core->blocked_consumers > 0 || core->lonely_hubs > 1)
        return true;
    return core->lonely_hubs == 1
           && (core->lonely_hub == NULL || hub_wakes_for_one(core->lonely_hub));
}

bool consumer_wakes(const struct consumer *self)
{
    if (self->forks != burble_forks())
        return false;
    return self->blocked || (self->listed && hub_wakes_for_one(self->hub));
}

int consumer_forget_closed_loop(struct consumer *self)
{
    if (self->future == NULL)
        return 0;
    /* Loops are asked in Python: meanwhile the wait may end, and another one begin in another loop. */
    PyObject *owner = Py_NewRef(self->owner), *future = Py_NewRef(self->future);
    PyObject *loop = PyObject_CallMethod(future, "get_loop", NULL);
    PyObject *closed = loop == NULL ? NULL : PyObject_CallMethod(loop, "is_closed", NULL);
    const int truth = closed == NULL ? -1 : PyObject_IsTrue(closed);
    Py_XDECREF(loop);
    Py_XDECREF(closed);
    if (truth > 0 && self->future == future)
        future_abandon(future);
    Py_DECREF(future);
    Py_DECREF(owner);
    return truth < 0 ? -1 : 0;
}

/* Whether no task waits here; else RuntimeError. */
static bool nobody_is_parked(struct consumer *self)
{
    consumer_here(self);
    if (consumer_forget_closed_loop(self) < 0)
        return false;
    if (self->future == NULL && !self->parking)
        return true;
    PyErr_Format(PyExc_RuntimeError,
                 "another task is already waiting for the next text of this %.100s: it can have "
                 "only one consumer (Stream.reader() makes a reader for each)",
                 Py_TYPE(self->owner)->tp_name);
    return false;
}

/* Whether no reading is in progress; else RuntimeError. */
static bool nobody_reads(struct consumer *self)
{
    if (!self->reading)
        return true;
    PyErr_Format(
        PyExc_RuntimeError,
        "this %.100s is already being read, by another thread or by a caller of this function: "
        "it can have only one consumer (Stream.reader() makes a reader for each)",
        Py_TYPE(self->owner)->tp_name);
    return false;
}

bool consumer_is_free(struct consumer *self)
{
    return nobody_is_parked(self) && nobody_reads(self);
}

bool consumer_begin_reading(struct consumer *self)
{
    if (!nobody_reads(self))
        return false;
    self->reading = true;
    return true;
}

void consumer_end_reading(struct consumer *self)
{
    self->reading = false;
    if (self->kind->after != NULL)
        self->kind->after(self->owner);
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
    const uint64_t began = burble_now();
    self->clock.own = false;
    for (;;) {
        /* The deadline moves while tokens come that make no text yet. */
        uint64_t until = kind->deadline(self->owner, began);
        if (handles_signals)
            until = earlier(until, burble_now() + SIGNAL_CHECK_NS);
        else if (kind->check_alive != NULL)
            until = earlier(until, burble_now() + LIVENESS_INTERVAL_NS);
        int rc = kind->wait(self->owner, until);
        if (rc == BURBLE_OK)
            return 1;
        if (rc != BURBLE_ETIMEDOUT) {
            core_raise(self->core, rc);
            return -1;
        }
        if (handles_signals && PyErr_CheckSignals() < 0)
            return -1;
        if (kind->check_alive != NULL && burble_now() - began >= LIVENESS_INTERVAL_NS) {
            PyObject *frames = NULL;
            rc = kind->check_alive(self->owner, &frames);
            Py_XDECREF(frames);
            if (rc < 0)
                return -1;
        }
        /* Not the deadline from before the wait: tokens may have come, or a new timeout. */
        const uint64_t due = kind->deadline(self->owner, began);
        if (due != 0 && burble_now() >= due)
            return 0;
    }
}

/* Reads, and waits where there is nothing. */
static enum reading read_blocking(struct consumer *self, PyObject **value)
{
    for (;;) {
        enum reading reading = self->kind->read(self->owner, value);
        if (reading != READ_NOTHING)
            return reading;
        self->blocked = true;
        self->core->blocked_consumers++;
        const int rc = block(self);
        self->blocked = false;
        self->core->blocked_consumers--;
        if (rc < 0)
            return READ_ERROR;
        if (rc == 0)
            reading = self->kind->timed_out(self->owner, true);
        if (reading != READ_NOTHING)
            return reading;
    }
}

PyObject *consumer_next(struct consumer *self)
{
    PyObject *value = NULL;
    if (!nobody_is_parked(self) || !consumer_begin_reading(self))
        return NULL;
    const enum reading reading = read_blocking(self, &value);
    consumer_end_reading(self);
    return reading == READ_VALUE ? value : NULL;
}

/* ---- the timer of a task that waits ---------------------------------------------------------- */

static uint64_t deadline_of_wait(const struct consumer *self)
{
    return self->kind->deadline(self->owner, self->watched == NULL ? 0 : self->watched->since);
}

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
    self->timer_loop = loop;
    self->timer_at = burble_now() + delay;
    Py_XSETREF(self->timer, handle); /* last: letting go of the old one may run Python code */
    return 0;
}

/* One of another loop than the one that runs here is left to itself, since its handle is not this
 * thread's: it will find that it is no longer the one. */
void consumer_stop_timer(struct consumer *self)
{
    PyObject *timer = self->timer;
    const PyObject *timer_loop = self->timer_loop;
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
    else if (loop == timer_loop)
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
    if (self->future == NULL)
        return 0;
    if (clock_read(&self->clock, loop, self->hub->own_clock) < 0)
        return -1;
    const uint64_t deadline = deadline_of_wait(self);
    const uint64_t now = burble_now();
    if (deadline == 0)
        return 0;
    if (now < deadline)
        return start_timer(self, loop, deadline - now);
    self->timed_out = true;
    future_wake(self->future);
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
    struct consumer *self = consumer;
    if (self->future != NULL)
        future_wake(self->future);
}

/* Makes the loop check at the deadline of the wait, if it has one. */
static int watch_deadline(struct consumer *self, PyObject *loop)
{
    const uint64_t deadline = deadline_of_wait(self);
    if (deadline == 0)
        return 0;
    /* A timer that fires too early checks again; one that would fire too late is replaced. (If the loop has
     * its own clock, it is unknown when the timer fires.) */
    if (self->timer != NULL && self->timer_loop == loop && self->timer_at <= deadline
        && !self->clock.own)
        return 0;
    consumer_stop_timer(self);
    const uint64_t now = burble_now();
    return start_timer(self, loop, deadline > now ? deadline - now : 0);
}

/* Prepares the wait, so that the task is resumed in time. 1 if something has come in the meantime, 0 if it is
 * parked, or -1 with an exception. Parking at the hub is the last step, and runs no Python code: a
 * wake-up before it resumes `future`, and a wake-up after it finds everything prepared. */
static int set_up(struct consumer *self, PyObject *future, PyObject *loop)
{
    if (watch_deadline(self, loop) < 0 || hub_schedule_check(self->hub, loop) < 0)
        return -1;
    if (!future_is_pending(future))
        return 1;
    const int rc = self->kind->park(self->owner, self->hub);
    if (rc == BURBLE_OK)
        return 1;
    if (rc == BURBLE_AGAIN)
        return 0;
    core_raise(self->core, rc);
    return -1;
}

/* A pending one, also noted as self->future: a new reference, or NULL with an exception. */
static PyObject *create_future(struct consumer *self, PyObject *loop)
{
    const struct waiting waiting = {self, self->owner, left};
    PyObject *spare = self->spare;
    self->spare = NULL;
    PyObject *future = future_create(self->core, spare, loop, &waiting);
    self->future = Py_XNewRef(future);
    return future;
}

static int park(struct consumer *self, PyObject **future)
{
    PyObject *loop;
    PyObject *last = Py_XNewRef((PyObject *)self->hub);
    HubObject *hub = hub_of_running_loop(self->core, (HubObject *)last, &loop);
    Py_XDECREF(last);
    if (hub == NULL)
        return -1;
    Py_XSETREF(self->hub, hub);
    if (self->watched != NULL)
        self->watched->since = burble_now();
    self->timed_out = false;
    if (clock_read(&self->clock, loop, self->hub->own_clock) < 0) {
        Py_DECREF(loop);
        return -1;
    }
    self->clock.lead_at_park = self->clock.lead;
    *future = create_future(self, loop);
    if (*future != NULL && future_is_pending(*future))
        enlist(self);
    const int rc = *future == NULL ? -1 : set_up(self, *future, loop);
    if (rc != 0 && *future != NULL) {
        future_abandon(*future);
        Py_CLEAR(*future);
    }
    Py_DECREF(loop);
    return rc;
}

int consumer_park(struct consumer *self, PyObject **future)
{
    *future = NULL;
    if (!nobody_is_parked(self))
        return -1;
    /* Loops are asked in Python, so that meanwhile another thread may want to read or close it. */
    self->parking = true;
    const int rc = park(self, future);
    self->parking = false;
    return rc;
}
