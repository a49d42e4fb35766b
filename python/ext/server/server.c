/* SPDX-License-Identifier: MIT */
#include "server/server.h"

#include <errno.h>
#include <string.h>

#include <structmember.h>

#include "common/str.h"
#include "log/log.h"
#include "server/access_log.h"
#include "server/backend.h"
#include "server/options.h"

/* ---- what a host does -------------------------------------------------------------------------- */

static burble_server *server_of(HostObject *host)
{
    return ((ServerObject *)(void *)host)->server;
}

static int kind_start(HostObject *host, burble_error *error)
{
    return burble_server_start(server_of(host), error);
}

static int kind_add_model(HostObject *host, const burble_serve_model *model, burble_error *error)
{
    return burble_server_add_model(server_of(host), model, error);
}

static int kind_read_text(HostObject *host, burble_stream *stream,
                          const burble_serve_source *sources, size_t n)
{
    return burble_server_read_text(server_of(host), stream, sources, n);
}

static void kind_drain(HostObject *host, uint64_t grace)
{
    burble_server_drain(server_of(host), grace);
}

static int kind_wait(HostObject *host, uint64_t deadline)
{
    return burble_server_wait(server_of(host), deadline);
}

static void kind_destroy(HostObject *host)
{
    burble_server_destroy(&((ServerObject *)(void *)host)->server);
}

static const struct host_kind server_kind = {
    .name = "server",
    .start = kind_start,
    .add_model = kind_add_model,
    .read_text = kind_read_text,
    .drain = kind_drain,
    .wait = kind_wait,
    .destroy = kind_destroy,
};

/* ---- making one ------------------------------------------------------------------------------ */

/* The items of a tuple of str as C strings, which are valid as long as the tuple; freed by PyMem_Free. NULL with an
 * exception. */
static const char **strings_of(PyObject *tuple)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    const char **strings = (const char **)PyMem_Calloc((size_t)n + 1, sizeof *strings);
    if (strings == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t len = 0;
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        if (PyUnicode_Check(item))
            strings[i] = PyUnicode_AsUTF8AndSize(item, &len);
        else
            PyErr_Format(PyExc_TypeError, "expected a str, found %.100s", Py_TYPE(item)->tp_name);
        if (strings[i] != NULL && strlen(strings[i]) != (size_t)len) {
            PyErr_SetString(PyExc_ValueError, "expected a str without NUL characters");
            strings[i] = NULL;
        }
        if (strings[i] == NULL) {
            PyMem_Free((void *)strings);
            return NULL;
        }
    }
    return strings;
}

static int create(ServerObject *self, burble_server_options *options, PyObject *keys,
                  PyObject *origins, PyObject *hosts)
{
    burble_error error = {0};
    const char **key_strings = strings_of(keys);
    const char **origin_strings = key_strings == NULL ? NULL : strings_of(origins);
    const char **host_strings = origin_strings == NULL ? NULL : strings_of(hosts);
    int rc = -1;
    if (host_strings != NULL) {
        options->allowed_hosts = host_strings;
        options->n_allowed_hosts = (size_t)PyTuple_GET_SIZE(hosts);
        options->keys = key_strings;
        options->n_keys = (size_t)PyTuple_GET_SIZE(keys);
        options->origins = origin_strings;
        options->n_origins = (size_t)PyTuple_GET_SIZE(origins);
        rc = burble_server_create(options, &self->server, &error);
        if (rc != BURBLE_OK) {
            host_raise_result(&self->host, rc, errno, &error);
            rc = -1;
        }
    }
    PyMem_Free((void *)key_strings);
    PyMem_Free((void *)origin_strings);
    PyMem_Free((void *)host_strings);
    return rc;
}

static PyObject *server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"host",          "numbers",     "keys",       "origins",
                            "allowed_hosts", "max_answers", "access_log", NULL};
    unsigned long long max_answers;
    struct core *core = core_of(type);
    PyObject *numbers, *keys, *origins, *hosts, *log = Py_None;
    burble_server_options options;
    burble_server_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO!O!O!O!K|O", names, &options.host,
                                     &PyDict_Type, &numbers, &PyTuple_Type, &keys, &PyTuple_Type,
                                     &origins, &PyTuple_Type, &hosts, &max_answers, &log)
        || options_set(&options, numbers) < 0)
        return NULL;
    if (log != Py_None && !PyObject_TypeCheck(log, core->log_type)) {
        PyErr_Format(PyExc_TypeError, "access_log: expected a Log or None, found %.100s",
                     Py_TYPE(log)->tp_name);
        return NULL;
    }
    ServerObject *self = (ServerObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    host_init(&self->host, &server_kind, core);
    self->host.max_answers = max_answers;
    if (log != Py_None) {
        self->access_log = access_log_create(((LogObject *)log)->stream);
        if (self->access_log == NULL) {
            Py_DECREF(self);
            return PyErr_NoMemory();
        }
        options.log = access_log_write;
        options.log_arg = self->access_log;
    }
    if (create(self, &options, keys, origins, hosts) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->host.open = true;
    return (PyObject *)self;
}

/* ---- running ----------------------------------------------------------------------------------- */

static PyObject *server_remove_model(ServerObject *self, PyObject *args)
{
    const char *name;
    int rc = BURBLE_ECLOSED;
    if (!PyArg_ParseTuple(args, "s", &name))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(&self->host)) {
            rc = burble_server_remove_model(self->server, name);
            host_leave(&self->host);
        }
    Py_END_ALLOW_THREADS
    if (rc == BURBLE_ECLOSED)
        return host_raise_closed(&self->host);
    if (rc != BURBLE_OK) {
        PyErr_Format(PyExc_KeyError, "the server has no model '%.200s'", name);
        return NULL;
    }
    backends_sweep(&self->host.backends);
    Py_RETURN_NONE;
}

static PyObject *server_set_keys(ServerObject *self, PyObject *keys)
{
    if (!PyTuple_Check(keys)) {
        PyErr_Format(PyExc_TypeError, "keys: expected a tuple, found %.100s",
                     Py_TYPE(keys)->tp_name);
        return NULL;
    }
    const char **strings = strings_of(keys);
    if (strings == NULL)
        return NULL;
    int rc = BURBLE_ECLOSED;
    const size_t n = (size_t)PyTuple_GET_SIZE(keys);
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(&self->host)) {
            rc = burble_server_set_keys(self->server, strings, n);
            host_leave(&self->host);
        }
    Py_END_ALLOW_THREADS
    PyMem_Free((void *)strings);
    if (rc == BURBLE_ECLOSED)
        return host_raise_closed(&self->host);
    if (rc == BURBLE_EINVAL) {
        PyErr_SetString(PyExc_ValueError, /* without the key: messages are logged */
                        "api_keys: expected keys of 1 to 512 visible ASCII characters, found "
                        "another one");
        return NULL;
    }
    if (rc != BURBLE_OK)
        return core_raise(self->host.core, rc);
    Py_RETURN_NONE;
}

static void server_dealloc(ServerObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (!host_dealloc(&self->host))
        return;
    access_log_destroy(&self->access_log);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *get_port(ServerObject *self, void *unused)
{
    (void)unused;
    uint16_t port = 0;
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(&self->host)) {
            port = burble_server_port(self->server);
            host_leave(&self->host);
        }
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(port);
}

static PyObject *get_stats(ServerObject *self, void *unused)
{
    (void)unused;
    burble_server_stats stats = {0};
    backends_sweep(&self->host.backends);
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(&self->host)) {
            burble_server_stats_now(self->server, &stats);
            host_leave(&self->host);
        }
    Py_END_ALLOW_THREADS
    const uint64_t counts[] = {
        stats.connections, stats.accepted,     stats.refused,  stats.requests, stats.running,
        stats.streaming,   stats.queued_bytes, stats.retained, stats.resumed,  stats.stalled};
    const Py_ssize_t n = sizeof counts / sizeof counts[0];
    PyObject *tuple = PyTuple_New(n);
    for (Py_ssize_t i = 0; tuple != NULL && i < n; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(counts[i]);
        if (count == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, count);
    }
    return tuple;
}

static PyMethodDef server_methods[] = {
    {"add_handler", (PyCFunction)backend_add_handler, METH_VARARGS, HOST_ADD_HANDLER},
#ifdef BURBLE_PYTHON_LLAMA
    {"add_engine", (PyCFunction)backend_add_engine, METH_VARARGS, HOST_ADD_ENGINE},
#endif
    {"remove_model", (PyCFunction)server_remove_model, METH_VARARGS,
     "remove_model($self, name, /)\n--\n\nRemove a model; what runs goes on."},
    {"start", (PyCFunction)host_start, METH_NOARGS, HOST_START},
    {"set_keys", (PyCFunction)server_set_keys, METH_O,
     "set_keys($self, keys, /)\n--\n\nReplace the API keys."},
    {"drain", (PyCFunction)host_drain, METH_VARARGS, HOST_DRAIN},
    {"wait", (PyCFunction)host_wait, METH_O, HOST_WAIT},
    {"close", (PyCFunction)host_close, METH_NOARGS, HOST_CLOSE},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef server_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ServerObject, host.weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"port", (getter)get_port, NULL, "The port; 0 before it listens.", NULL},
    {"closed", (getter)host_get_closed, NULL, "Whether it is closed, or is being closed.", NULL},
    {"stats", (getter)get_stats, NULL, "The counts of burble_server_stats, in its order.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_doc, "A server, whose backends are functions of Python."},
    {Py_tp_new, server_new},
    {Py_tp_finalize, host_finalize},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_traverse, host_traverse},
    {Py_tp_clear, host_clear},
    {Py_tp_methods, server_methods},
    {Py_tp_members, server_members},
    {Py_tp_getset, server_getset},
    {0, NULL},
};

PyType_Spec server_spec = {
    .name = "burble._core.Server",
    .basicsize = sizeof(ServerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = server_slots,
};
