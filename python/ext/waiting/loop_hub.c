/* SPDX-License-Identifier: MIT
 *
 * _core.Hub: the hub of one asyncio event loop, or of one run of trio.
 */
#include "waiting/loop_hub.h"

#include "waiting/consumer.h"
#include "waiting/loop_clock.h"

/* How many tasks one drain resumes before the loop gets to look after others. */
#define SLICE 1024

/* If text wakes the loop twice within this time, in nanoseconds, the next text is collected for this time,
 * until a timer of the loop checks for it. While text comes faster than that, no thread signals: a wake-up
 * costs the generating thread about 70 µs, which is several percent of a fast model's time. Text that comes
 * more slowly, such as the step of an engine that writes many streams at once, finds the hub released, and
 * wakes the loop at once.
 *
 * A hold is short, because other streams of an engine's step may wait for its end. Only if the resumed tasks
 * found more than one piece each, so that every hold saves wake-ups, do the holds become longer, up to half a
 * frame of a screen, which is not noticeable. */
#define SHORTEST_HOLD_NS 2000000u
#define LONGEST_HOLD_NS 8000000u

PyObject *hub_running_loop(struct core *core, bool *trio)
{
    *trio = false;
    /* trio is asked first: it can run inside an asyncio loop. Where nobody has imported it, it runs
     * nowhere. */
    PyObject *module = PyImport_GetModule(core->str_trio);
    if (module != NULL) {
        Py_DECREF(module);
        if (core_import(&core->trio_run, "burble._trio", "current_run") < 0)
            return NULL;
        PyObject *run = PyObject_CallObject(core->trio_run, NULL);
        if (run != Py_None) {
            *trio = run != NULL;
            return run;
        }
        Py_DECREF(run);
    }
    if (PyErr_Occurred()
        || core_import(&core->get_running_loop, "asyncio", "_get_running_loop") < 0)
        return NULL;
    return PyObject_CallObject(core->get_running_loop, NULL);
}

/* CPython's note in each thread about the loop that runs there: a new object each time a loop begins or ends
 * to run, so while it is the same object, it is the same loop. (It does not say which loop that is; but asking
 * costs a system call each time.) Borrowed; NULL, without an exception, if this version of Python keeps the
 * note elsewhere. */
static PyObject *note_of_running_loop(struct core *core)
{
    PyObject *notes = PyThreadState_GetDict();
    PyObject *note = notes == NULL ? NULL : PyDict_GetItemWithError(notes, core->str_running_loop);
    if (note == NULL)
        PyErr_Clear();
    return note;
}

/* Whether the hub resumes tasks right now, in this thread, and nothing that those have called runs a
 * loop of its own. A run of trio leaves no note. */
static bool is_resuming_here(const HubObject *self)
{
    if (self->note == NULL || self->note != note_of_running_loop(self->core))
        return false;
    PyObject *trio = PyImport_GetModule(self->core->str_trio);
    Py_XDECREF(trio);
    return trio == NULL && !PyErr_Occurred();
}

/* A new reference to the hub that belongs to a loop. NULL with an exception. */
static PyObject *hub_of(struct core *core, PyObject *loop, bool trio)
{
    if (trio)
        return PyObject_GetAttrString(loop, "hub");
    if (core_import(&core->hub_of, "burble._loops", "hub_of") < 0)
        return NULL;
    return PyObject_CallFunctionObjArgs(core->hub_of, loop, NULL);
}

HubObject *hub_of_running_loop(struct core *core, HubObject *last, PyObject **loop)
{
    bool trio;
    if (last != NULL && last->hub != NULL && is_resuming_here(last)) {
        *loop = Py_NewRef(last->loop);
        return (HubObject *)Py_NewRef((PyObject *)last);
    }
    *loop = hub_running_loop(core, &trio);
    if (*loop == NULL)
        return NULL;
    if (*loop == Py_None) {
        Py_CLEAR(*loop);
        PyErr_SetString(PyExc_RuntimeError,
                        "no asyncio event loop is running here: use `async for` in a coroutine of "
                        "an asyncio, uvloop or trio program, or `for` (of a streamer: "
                        "TextIteratorStreamer) in a thread");
        return NULL;
    }
    if (last != NULL && last->loop == *loop && last->hub != NULL)
        return (HubObject *)Py_NewRef((PyObject *)last);
    PyObject *hub = hub_of(core, *loop, trio);
    if (hub != NULL && !Py_IS_TYPE(hub, core->hub_type)) {
        PyErr_Format(PyExc_TypeError, "hub_of: expected a hub, found %.100s",
                     Py_TYPE(hub)->tp_name);
        Py_CLEAR(hub);
    }
    if (hub == NULL)
        Py_CLEAR(*loop);
    return (HubObject *)hub;
}

static PyObject *hub_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", "trio", "own_clock", NULL};
    PyObject *loop;
    int trio = 0, own_clock = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pp", names, &loop, &trio, &own_clock))
        return NULL;
    HubObject *self = (HubObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    const int rc = burble_hub_create(NULL, &self->hub);
    if (rc != BURBLE_OK) {
        core_raise(core_of(type), rc);
        Py_DECREF(self);
        return NULL;
    }
    self->core = core_of(type);
    self->loop = loop;
    self->trio = trio != 0;
    self->own_clock = own_clock != 0;
    return (PyObject *)self;
}

static void hub_dealloc(HubObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    burble_hub_destroy(&self->hub);
    Py_CLEAR(self->note);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *hub_fileno(HubObject *self, PyObject *unused)
{
    (void)unused;
    if (self->hub == NULL) {
        PyErr_SetString(PyExc_ValueError, "the hub is closed");
        return NULL;
    }
    return PyLong_FromLong(burble_hub_fd(self->hub));
}

/* Asks the running loop to call a method of ours after some time, by the system's clock. 0, or -1 with
 * an exception. */
static int call_later(HubObject *self, PyObject *loop, uint64_t nanoseconds, const char *name)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)self, name);
    if (method == NULL)
        return -1;
    const int rc = clock_call_later(self->core, loop, self->own_clock, nanoseconds, method);
    Py_DECREF(method);
    return rc;
}

/* Holds the hub for that long, or, where the loop cannot be asked to come back, not at all. */
static void hold(HubObject *self, uint64_t nanoseconds)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    bool trio;
    PyObject *loop = hub_running_loop(self->core, &trio);
    /* (With a clock of the loop's own, each hold would take a thread to end it.) */
    const bool asked = loop != NULL && loop == self->loop && !self->own_clock
                       && call_later(self, loop, nanoseconds, "_poll") == 0;
    Py_XDECREF(loop);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable((PyObject *)self);
    PyErr_Restore(type, value, traceback);
    self->holding = asked;
    self->held_for = nanoseconds;
    if (self->hub == NULL)
        return; /* closed meanwhile */
    if (asked)
        burble_hub_hold(self->hub);
    else
        burble_hub_release(self->hub);
}

/* The GIL stands for the hub's thread, to which releasing belongs. The timer runs on: when it fires,
 * the hub may be held anew. */
void hub_hurry(HubObject *self)
{
    if (self->hub != NULL && self->holding)
        burble_hub_release(self->hub);
}

/* Notes that tasks are about to be resumed in the hub's own loop. */
static void note_loop(HubObject *self)
{
    bool trio;
    PyObject *loop = hub_running_loop(self->core, &trio);
    if (loop == self->loop && !trio) {
        PyObject *note = Py_XNewRef(note_of_running_loop(self->core));
        Py_XSETREF(self->note, note);
    }
    Py_XDECREF(loop);
    PyErr_Clear();
}

/* nest_asyncio's mark, which may come at any time, and what future.c wants of asyncio's tasks. */
static void read_asyncio_state(struct core *core)
{
    if (core_import(&core->task_type, "burble._loops", "CTask") == 0)
        core_import(&core->finished, "burble._loops", "finished");
    if (core->asyncio_module == NULL) {
        PyObject *module = PyImport_ImportModule("asyncio");
        /* cppcheck-suppress knownConditionTrueFalse ; the import may have come here, too */
        if (core->asyncio_module == NULL)
            core->asyncio_module = module;
        else
            Py_XDECREF(module);
    }
    if (core->asyncio_module != NULL)
        core->indirect = PyObject_HasAttrString(core->asyncio_module, "_nest_patched");
    PyErr_Clear();
}

void hub_resume_last(HubObject *self, struct resumed_last *last)
{
    if (last->noted_at == self)
        return;
    if (last->noted_at != NULL) {
        consumer_ready(NULL, last->consumer);
        return;
    }
    last->noted_at = self;
    last->next = self->last;
    self->last = last;
    Py_INCREF(last->consumer->owner);
}

static void resume_noted(HubObject *self)
{
    while (self->last != NULL) {
        struct resumed_last *last = self->last;
        PyObject *owner = last->consumer->owner;
        self->last = last->next;
        last->noted_at = NULL;
        if (last->consumer->hub == self) /* else it waits elsewhere by now */
            consumer_ready(NULL, last->consumer);
        Py_DECREF(owner);
    }
}

/* Resumes the consumers that are ready. What a resumed task raises goes to the loop's exception handler, but for
 * the two that end a program (see future.c): those are raised here. How many were. */
static size_t dispatch(HubObject *self)
{
    if (self->dispatching)
        return 0;
    Py_INCREF(self);
    burble_hub *hub = self->hub;
    self->dispatching = true;
    note_loop(self);
    read_asyncio_state(self->core);
    const size_t resumed = self->hub == NULL ? 0 : burble_hub_dispatch(hub, SLICE);
    resume_noted(self);
    self->dispatching = false;
    if (self->hub == NULL)
        burble_hub_destroy(&hub); /* closed meanwhile */
    Py_CLEAR(self->note);
    Py_DECREF(self);
    return resumed;
}

/* The descriptor was signalled. */
static PyObject *hub_drain(HubObject *self, PyObject *unused)
{
    (void)unused;
    const uint64_t now = burble_now();
    if (self->hub != NULL && dispatch(self) > 0 && !self->holding && self->hub != NULL
        && now - self->drained_at < SHORTEST_HOLD_NS)
        hold(self, SHORTEST_HOLD_NS);
    self->drained_at = now;
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* The hold is over: goes on with it while there is something to do. */
static PyObject *hub_poll(HubObject *self, PyObject *unused)
{
    (void)unused;
    self->holding = false;
    self->drained_at = burble_now();
    if (self->hub != NULL) {
        const uint64_t before = self->more;
        const size_t resumed = dispatch(self);
        const bool saves = self->more - before >= resumed;
        const uint64_t longer = saves ? 2 * self->held_for : SHORTEST_HOLD_NS;
        if (resumed > 0 && self->hub != NULL)
            hold(self, longer < LONGEST_HOLD_NS ? longer : LONGEST_HOLD_NS);
        else if (self->hub != NULL)
            burble_hub_release(self->hub);
    }
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* ---- generations that have died without a word ------------------------------------------------ */

int hub_schedule_check(HubObject *self, PyObject *loop)
{
    if (self->watched.scheduled || self->watched.first == NULL)
        return 0;
    self->watched.scheduled = true;
    const int rc = call_later(self, loop, LIVENESS_INTERVAL_NS, "_check_alive");
    if (rc < 0)
        self->watched.scheduled = false;
    return rc;
}

/* One timer for all that are parked here, and none where nobody is. */
static PyObject *hub_check_alive(HubObject *self, PyObject *unused)
{
    (void)unused;
    self->watched.scheduled = false;
    int rc = watch_check(&self->watched);
    if (rc == 0 && self->watched.first != NULL) {
        bool trio;
        PyObject *loop = hub_running_loop(self->core, &trio);
        if (loop == NULL)
            return NULL;
        if (loop != Py_None)
            rc = hub_schedule_check(self, loop);
        Py_DECREF(loop);
    }
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

void hub_count_waiting(HubObject *self, bool more)
{
    struct core *core = self->core;
    if (self->waiting == 1) {
        core->lonely_hubs--;
        if (core->lonely_hub == self)
            core->lonely_hub = NULL;
    }
    self->waiting += more ? 1 : (size_t)-1;
    if (self->waiting == 1) {
        core->lonely_hubs++;
        core->lonely_hub = self;
    }
}

bool hub_wakes_for_one(const HubObject *self)
{
    return self->waiting == 1 && self->hub != NULL && burble_hub_would_signal(self->hub);
}

static PyObject *hub_close(HubObject *self, PyObject *unused)
{
    (void)unused;
    if (self->dispatching)
        self->hub = NULL; /* see dispatch */
    else
        burble_hub_destroy(&self->hub);
    Py_RETURN_NONE;
}

static PyObject *hub_signals(HubObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->hub == NULL ? 0 : burble_hub_signals(self->hub));
}

static PyMethodDef hub_methods[] = {
    {"fileno", (PyCFunction)hub_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\nThe descriptor that becomes readable when tasks are to be resumed."},
    {"drain", (PyCFunction)hub_drain, METH_NOARGS,
     "drain($self, /)\n--\n\nResume the tasks whose streams have moved."},
    {"close", (PyCFunction)hub_close, METH_NOARGS,
     "close($self, /)\n--\n\nClose the descriptor. Idempotent."},
    {"_check_alive", (PyCFunction)hub_check_alive, METH_NOARGS, NULL},
    {"_poll", (PyCFunction)hub_poll, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef hub_getset[] = {
    {"signals", (getter)hub_signals, NULL, "How often the descriptor has been signalled.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot hub_slots[] = {
    {Py_tp_doc,
     "Hub(loop, trio=False, own_clock=False)\n--\n\n"
     "Gathers the wake-ups of one event loop behind one descriptor.\n\n"
     "own_clock: the loop's time() is not the system's. Deadlines go by it; the hub's own timers\n"
     "do not."},
    {Py_tp_new, hub_new},
    {Py_tp_dealloc, hub_dealloc},
    {Py_tp_methods, hub_methods},
    {Py_tp_getset, hub_getset},
    {0, NULL},
};

PyType_Spec hub_spec = {
    .name = "burble._core.Hub",
    .basicsize = sizeof(HubObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = hub_slots,
};
