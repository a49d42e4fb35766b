/* SPDX-License-Identifier: MIT */
#include "server/host.h"

#include <errno.h>

#include "base/atomic.h"
#include "server/backend.h"

void host_init(HostObject *self, const struct host_kind *kind, struct core *core)
{
    self->kind = kind;
    self->core = core;
    self->interpreter = PyInterpreterState_Get();
    self->forks = burble_forks();
    pthread_rwlock_init(&self->lock, NULL);
    pthread_mutex_init(&self->pending_lock, NULL);
    burble__init(&self->closing, false);
}

/* ---- errors ---------------------------------------------------------------------------------- */

PyObject *host_raise_closed(const HostObject *self)
{
    PyErr_Format(self->core->error, "the %s is closed", self->kind->name);
    return NULL;
}

PyObject *host_raise_result(const HostObject *self, int rc, int number, const burble_error *error)
{
    switch (rc) {
    case BURBLE_ESYSTEM:
        if (number == 0) {
            PyErr_SetString(PyExc_ConnectionError, error->message);
        } else if (error->message[0] == '\0') {
            errno = number;
            PyErr_SetFromErrno(PyExc_OSError);
        } else {
            PyObject *args = Py_BuildValue("(is)", number, error->message);
            if (args != NULL)
                PyErr_SetObject(PyExc_OSError, args); /* its subclass for this errno */
            Py_XDECREF(args);
        }
        return NULL;
    case BURBLE_ENOMEM:
        return PyErr_NoMemory();
    case BURBLE_EINVAL:
    case BURBLE_EUNSUPPORTED:
        PyErr_SetString(PyExc_ValueError,
                        error->message[0] == '\0' ? burble_result_text(rc) : error->message);
        return NULL;
    default:
        return core_raise(self->core, rc);
    }
}

/* ---- using it while others may close it ------------------------------------------------------ */

bool host_is_here(const HostObject *self)
{
    return self->forks == burble_forks();
}

/* It does not wait for the lock: only close() takes that for writing, and waits then for the workers of the server, one of
 * which this thread may be. As the engine's (llama/llama.c), which says why it looks twice. */
bool host_enter(HostObject *self)
{
    if (!host_is_here(self) || burble__load_relaxed(&self->closing)
        || pthread_rwlock_tryrdlock(&self->lock) != 0)
        return false;
    if (!burble__load_relaxed(&self->closing) && self->open)
        return true;
    pthread_rwlock_unlock(&self->lock);
    return false;
}

void host_leave(HostObject *self)
{
    pthread_rwlock_unlock(&self->lock);
}

/* ---- running ----------------------------------------------------------------------------------- */

PyObject *host_start(HostObject *self, PyObject *unused)
{
    (void)unused;
    burble_error error = {0};
    int rc = BURBLE_ECLOSED, number = 0;
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(self)) {
            rc = self->kind->start(self, &error);
            number = errno;
            host_leave(self);
        }
    Py_END_ALLOW_THREADS
    if (rc == BURBLE_ECLOSED)
        return host_raise_closed(self);
    if (rc != BURBLE_OK)
        return host_raise_result(self, rc, number, &error);
    Py_RETURN_NONE;
}

PyObject *host_drain(HostObject *self, PyObject *args)
{
    unsigned long long grace;
    if (!PyArg_ParseTuple(args, "K", &grace))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(self)) {
            self->kind->drain(self, grace);
            host_leave(self);
        }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* Waits in steps: in between, signals are handled, and another thread may close the host. */
PyObject *host_wait(HostObject *self, PyObject *seconds)
{
    uint64_t timeout;
    if (core_nanoseconds(seconds, "timeout", &timeout) < 0)
        return NULL;
    const uint64_t until = timeout == 0 ? 0 : burble_now() + timeout;
    for (;;) {
        int rc = BURBLE_OK; /* a closed one has stopped */
        uint64_t step = burble_now() + SIGNAL_CHECK_NS;
        if (until != 0 && until < step)
            step = until;
        Py_BEGIN_ALLOW_THREADS
            if (host_enter(self)) {
                rc = self->kind->wait(self, step);
                host_leave(self);
            }
        Py_END_ALLOW_THREADS
        if (rc == BURBLE_OK)
            Py_RETURN_TRUE;
        if (PyErr_CheckSignals() < 0)
            return NULL;
        if (until != 0 && burble_now() >= until)
            Py_RETURN_FALSE;
    }
}

/* ---- its end ----------------------------------------------------------------------------------- */

static void destroy(HostObject *self)
{
    if (self->open)
        self->kind->destroy(self);
    self->open = false;
}

/* Calls that wait for what another machine does, return now, and let go of the lock. (Where that cannot be had, another
 * thread closes the host.) */
static void end_waits(HostObject *self)
{
    if (self->kind->stop == NULL || pthread_rwlock_tryrdlock(&self->lock) != 0)
        return;
    if (self->open)
        self->kind->stop(self);
    pthread_rwlock_unlock(&self->lock);
}

/* A finalizer may run in a worker of the host itself, for which closing would wait for ever: a thread of Python's
 * closes it then, and has a reference until that is done. */
static void close_in_another_thread(HostObject *self)
{
    PyObject *module = PyImport_ImportModule("_thread");
    PyObject *close = module == NULL ? NULL : PyObject_GetAttrString((PyObject *)self, "close");
    PyObject *result =
        close == NULL ? NULL : PyObject_CallMethod(module, "start_new_thread", "O()", close);
    if (result == NULL)
        PyErr_WriteUnraisable(NULL);
    Py_XDECREF(result);
    Py_XDECREF(close);
    Py_XDECREF(module);
}

static void close_host(HostObject *self)
{
    if (backend_runs_here(self)) {
        burble__store_relaxed(&self->closing, true);
        if (self->open)
            close_in_another_thread(self);
        return;
    }
    if (!host_is_here(self)) {
        /* Only closes the child's copies of the sockets. A thread of the parent may have held the lock. */
        burble__store_relaxed(&self->closing, true);
        destroy(self);
        return;
    }
    burble__store_relaxed(&self->closing, true);
    Py_BEGIN_ALLOW_THREADS
        end_waits(self);
        pthread_rwlock_wrlock(&self->lock);
        destroy(self);
        pthread_rwlock_unlock(&self->lock);
    Py_END_ALLOW_THREADS
}

PyObject *host_close(HostObject *self, PyObject *unused)
{
    (void)unused;
    close_host(self);
    Py_RETURN_NONE;
}

/* Runs before anything is cleared, so that requests on their way find the host closing. */
void host_finalize(HostObject *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (self->core != NULL && self->open)
        close_host(self);
    PyErr_Restore(type, value, traceback);
}

int host_traverse(HostObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return backends_traverse(self->backends, visit, arg);
}

/* Only once it is closed: its threads call these functions. */
int host_clear(HostObject *self)
{
    if (!self->open)
        backends_clear(&self->backends);
    return 0;
}

bool host_dealloc(HostObject *self)
{
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
        return false;
    PyObject_GC_UnTrack(self);
    if (self->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    host_clear(self);
    if (self->core != NULL && host_is_here(self)) {
        pthread_rwlock_destroy(&self->lock);
        pthread_mutex_destroy(&self->pending_lock);
    }
    return true;
}

PyObject *host_get_closed(HostObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!host_is_here(self) || burble__load_relaxed(&self->closing));
}
