/* SPDX-License-Identifier: MIT */
#include "server/relay.h"

#include <errno.h>
#include <string.h>

#include <structmember.h>

#include <burble/relay.h>

#include "log/log.h"
#include "server/backend.h"
#include "server/options.h"

typedef struct {
    HostObject host; /* first */
    burble_relay *relay;
    burble_stream *lines; /* lines for a log; NULL: none is wanted */
    uint32_t slots;       /* of each model */
} RelayObject;

static burble_relay *relay_of(HostObject *host)
{
    return ((RelayObject *)(void *)host)->relay;
}

/* ---- what a host does -------------------------------------------------------------------------- */

/* errno is 0: the failure was in the relay's thread, which has an errno of its own. */
static int kind_start(HostObject *host, burble_error *error)
{
    const int rc = burble_relay_start(relay_of(host), error);
    errno = 0;
    return rc;
}

static int kind_add_model(HostObject *host, const burble_serve_model *model, burble_error *error)
{
    return burble_relay_add_model(relay_of(host), model, ((RelayObject *)(void *)host)->slots,
                                  error);
}

static int kind_read_text(HostObject *host, burble_stream *stream,
                          const burble_serve_source *sources, size_t n)
{
    return burble_relay_read_text(relay_of(host), stream, sources, n);
}

static void kind_drain(HostObject *host, uint64_t grace)
{
    burble_relay_drain(relay_of(host), grace);
}

static int kind_wait(HostObject *host, uint64_t deadline)
{
    return burble_relay_wait(relay_of(host), deadline);
}

static void kind_stop(HostObject *host)
{
    burble_relay_stop(relay_of(host));
}

static void kind_destroy(HostObject *host)
{
    RelayObject *self = (RelayObject *)(void *)host;
    burble_relay_destroy(&self->relay);
    if (self->lines != NULL)
        burble_stream_end(self->lines, BURBLE_REASON_NONE); /* for the thread that writes them */
}

static const struct host_kind relay_kind = {
    .name = "relay",
    .start = kind_start,
    .add_model = kind_add_model,
    .read_text = kind_read_text,
    .drain = kind_drain,
    .wait = kind_wait,
    .stop = kind_stop,
    .destroy = kind_destroy,
};

/* ---- making one ------------------------------------------------------------------------------ */

/* X(name, type): the numbers of burble_relay_options; times in nanoseconds. */
#define NUMBERS(X)                                                                                 \
    X(max_pending, uint64_t)                                                                       \
    X(retain, uint64_t)                                                                            \
    X(attempts, uint32_t)                                                                          \
    X(idle_attempts, uint32_t)                                                                     \
    X(lease, uint64_t)                                                                             \
    X(stall, uint64_t)                                                                             \
    X(ttl, uint64_t)                                                                               \
    X(linger, uint64_t)                                                                            \
    X(away, uint64_t)

static int set_number(void *of, const char *name, long long value)
{
    burble_relay_options *options = of;
    NUMBERS(OPTIONS_SET)
    PyErr_Format(PyExc_TypeError, "'%.100s' is not an option of a relay", name);
    return -1;
}

/* In the relay's thread, without the GIL. A line for which there is no room is left out. */
static void write_line(const char *line, void *arg)
{
    (void)burble_stream_append_until(arg, line, strlen(line), 0, BURBLE_NO_WAIT);
}

static PyObject *relay_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"url", "prefix", "numbers", "slots", "name", "lines", NULL};
    burble_relay_options options;
    burble_error error = {0};
    unsigned int slots;
    PyObject *numbers, *lines = Py_None;
    struct core *core = core_of(type);
    burble_relay_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ssO!I|zO", names, &options.url, &options.prefix,
                                     &PyDict_Type, &numbers, &slots, &options.name, &lines)
        || options_set_each(numbers, set_number, &options) < 0)
        return NULL;
    if (lines != Py_None && !PyObject_TypeCheck(lines, core->log_type)) {
        PyErr_Format(PyExc_TypeError, "lines: expected a Log or None, found %.100s",
                     Py_TYPE(lines)->tp_name);
        return NULL;
    }
    RelayObject *self = (RelayObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    host_init(&self->host, &relay_kind, core);
    self->slots = slots;
    if (lines != Py_None) {
        self->lines = burble_stream_ref(((LogObject *)lines)->stream);
        burble_stream_hand_over(self->lines);
        options.log = write_line;
        options.log_arg = self->lines;
    }
    const int rc = burble_relay_create(&options, &self->relay, &error);
    if (rc != BURBLE_OK) {
        host_raise_result(&self->host, rc, errno, &error);
        Py_DECREF(self);
        return NULL;
    }
    self->host.open = true;
    return (PyObject *)self;
}

static void relay_dealloc(RelayObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (!host_dealloc(&self->host))
        return;
    burble_stream_unref(&self->lines);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- reading ------------------------------------------------------------------------------------- */

static PyObject *raise_not_played(RelayObject *self, int rc, const burble_error *error)
{
    switch (rc) {
    case BURBLE_EGONE:
        PyErr_SetString(PyExc_LookupError, error->message);
        return NULL;
    case BURBLE_ETIMEDOUT:
        PyErr_SetString(self->host.core->timeout, error->message);
        return NULL;
    case BURBLE_EINVAL:
    case BURBLE_ENOMEM:
        return host_raise_result(&self->host, rc, 0, error);
    default:
        PyErr_SetString(self->host.core->error, error->message);
        return NULL;
    }
}

static PyObject *relay_play(RelayObject *self, PyObject *args)
{
    const char *id;
    unsigned int choice;
    PyObject *log, *seconds;
    uint64_t timeout;
    burble_error error = {0};
    bool open = false;
    int rc = BURBLE_ECLOSED;
    if (!PyArg_ParseTuple(args, "sIO!O", &id, &choice, self->host.core->log_type, &log, &seconds)
        || core_nanoseconds(seconds, "timeout", &timeout) < 0)
        return NULL;
    burble_stream *stream = ((LogObject *)log)->stream; /* `args` keep the log */
    Py_BEGIN_ALLOW_THREADS
        open = host_enter(&self->host);
        if (open) {
            const uint64_t deadline = timeout == 0 ? 0 : burble_now() + timeout;
            rc = burble_relay_play(self->relay, id, choice, deadline, stream, &error);
            host_leave(&self->host);
        }
    Py_END_ALLOW_THREADS
    if (!open)
        return host_raise_closed(&self->host);
    if (rc != BURBLE_OK)
        return raise_not_played(self, rc, &error);
    Py_RETURN_NONE;
}

static PyObject *relay_cancel(RelayObject *self, PyObject *args)
{
    const char *id;
    PyObject *seconds;
    uint64_t timeout;
    burble_error error = {0};
    bool open = false;
    int rc = BURBLE_ECLOSED;
    if (!PyArg_ParseTuple(args, "sO", &id, &seconds)
        || core_nanoseconds(seconds, "timeout", &timeout) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        open = host_enter(&self->host);
        if (open) {
            const uint64_t deadline = timeout == 0 ? 0 : burble_now() + timeout;
            rc = burble_relay_cancel(self->relay, id, deadline, &error);
            host_leave(&self->host);
        }
    Py_END_ALLOW_THREADS
    if (!open)
        return host_raise_closed(&self->host);
    if (rc == BURBLE_OK || rc == BURBLE_EGONE)
        return PyBool_FromLong(rc == BURBLE_OK);
    return raise_not_played(self, rc, &error);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *get_stats(RelayObject *self, void *unused)
{
    (void)unused;
    burble_relay_stats stats = {0};
    backends_sweep(&self->host.backends);
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(&self->host)) {
            burble_relay_stats_now(self->relay, &stats);
            host_leave(&self->host);
        }
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(NKKKKK)", PyBool_FromLong(stats.connected),
                         (unsigned long long)stats.computing, (unsigned long long)stats.frames_sent,
                         (unsigned long long)stats.pending, (unsigned long long)stats.fenced,
                         (unsigned long long)stats.resumed);
}

static PyMethodDef relay_methods[] = {
    {"add_handler", (PyCFunction)backend_add_handler, METH_VARARGS, HOST_ADD_HANDLER},
#ifdef BURBLE_PYTHON_LLAMA
    {"add_engine", (PyCFunction)backend_add_engine, METH_VARARGS, HOST_ADD_ENGINE},
#endif
    {"start", (PyCFunction)host_start, METH_NOARGS, HOST_START},
    {"play", (PyCFunction)relay_play, METH_VARARGS,
     "play($self, id, choice, log, seconds, /)\n--\n\n"
     "Have the relay write the text of an answer to a log. LookupError: there is no such answer."},
    {"cancel", (PyCFunction)relay_cancel, METH_VARARGS,
     "cancel($self, id, seconds, /)\n--\n\nCancel an answer. Returns whether it has run, or "
     "waited."},
    {"drain", (PyCFunction)host_drain, METH_VARARGS, HOST_DRAIN},
    {"wait", (PyCFunction)host_wait, METH_O, HOST_WAIT},
    {"close", (PyCFunction)host_close, METH_NOARGS, HOST_CLOSE},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef relay_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(RelayObject, host.weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef relay_getset[] = {
    {"closed", (getter)host_get_closed, NULL, "Whether it is closed, or is being closed.", NULL},
    {"stats", (getter)get_stats, NULL, "connected, computing, sent, pending, fenced, resumed.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot relay_slots[] = {
    {Py_tp_doc, "A worker whose backends are functions of Python, and what reads answers."},
    {Py_tp_new, relay_new},
    {Py_tp_finalize, host_finalize},
    {Py_tp_dealloc, relay_dealloc},
    {Py_tp_traverse, host_traverse},
    {Py_tp_clear, host_clear},
    {Py_tp_methods, relay_methods},
    {Py_tp_members, relay_members},
    {Py_tp_getset, relay_getset},
    {0, NULL},
};

PyType_Spec relay_spec = {
    .name = "burble._core.Relay",
    .basicsize = sizeof(RelayObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = relay_slots,
};
