/* SPDX-License-Identifier: MIT
 *
 * burble._core: the extension module.
 */
#include "common/core.h"
#include "common/failure.h"

#include "text/load.h"

#ifdef BURBLE_PYTHON_SERVE
#include "server/answer.h"
#include "server/server.h"
#include "server/thread_state.h"
#endif
#ifdef BURBLE_PYTHON_RELAY
#include "server/relay.h"
#endif
#ifdef BURBLE_PYTHON_LLAMA
#include "llama/llama.h"
#endif

static struct PyModuleDef core_module;

struct core *core_of(PyTypeObject *type)
{
    /* Types that Python code derives from ours belong to other modules, or to none. Ours come first
     * on the way up through tp_base. */
    for (; type != NULL; type = type->tp_base) {
        if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
            continue;
        PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
        if (module != NULL && PyModule_Check(module) && PyModule_GetDef(module) == &core_module)
            return PyModule_GetState(module);
    }
    Py_UNREACHABLE();
}

int core_import(PyObject **slot, const char *module_name, const char *name)
{
    if (*slot != NULL)
        return 0;
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return -1;
    PyObject *attribute = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (attribute == NULL)
        return -1;
    if (*slot == NULL)
        *slot = attribute;
    else
        Py_DECREF(attribute); /* importing has run Python, which has come here as well */
    return 0;
}

int core_nanoseconds(PyObject *value, const char *name, uint64_t *nanoseconds)
{
    *nanoseconds = 0;
    if (value == Py_None)
        return 0;
    const double seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s: expected None or a number of seconds, found %.100s",
                         name, Py_TYPE(value)->tp_name);
        else if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_Format(PyExc_ValueError,
                         "%s: expected None or a number of seconds, found an int that is too large "
                         "for a float",
                         name);
        return -1;
    }
    if (!(seconds >= 0.0)) {
        PyErr_Format(PyExc_ValueError, "%s: expected None or at least 0 seconds, found %R", name,
                     value);
        return -1;
    }
    /* A hundred years are for ever. */
    const double most = 100.0 * 365 * 86400;
    *nanoseconds = (uint64_t)((seconds < most ? seconds : most) * 1e9);
    if (*nanoseconds == 0)
        *nanoseconds = 1;
    return 0;
}

int core_handles_signals(struct core *core)
{
    if (core_import(&core->main_thread, "threading", "main_thread") < 0)
        return -1;
    PyObject *thread = PyObject_CallObject(core->main_thread, NULL);
    PyObject *ident = thread == NULL ? NULL : PyObject_GetAttrString(thread, "ident");
    Py_XDECREF(thread);
    if (ident == NULL)
        return -1;
    const unsigned long number = PyLong_AsUnsignedLong(ident);
    Py_DECREF(ident);
    if (number == (unsigned long)-1 && PyErr_Occurred())
        return -1;
    return number == PyThread_get_thread_ident();
}

PyObject *core_raise(struct core *core, int result)
{
    if (PyErr_Occurred()) /* by what has refused, which says more */
        return NULL;
    switch (result) {
    case BURBLE_ENOMEM:
        return PyErr_NoMemory();
    case BURBLE_ESYSTEM:
        return PyErr_SetFromErrno(PyExc_OSError);
    case BURBLE_ECANCELED:
        PyErr_SetString(core->cancelled, "the stream was cancelled");
        return NULL;
    case BURBLE_EDIED:
        PyErr_SetString(core->producer_died,
                        "the generation thread exited without ending the stream; it probably "
                        "raised an exception (see its traceback)");
        return NULL;
    default:
        PyErr_SetString(core->error, burble_result_text(result));
        return NULL;
    }
}

PyObject *core_raise_failure(struct core *core, const burble_stream *stream)
{
    burble_status status;
    burble_stream_status(stream, &status);
    /* Not in the words of every failure of this kind: a native writer, and a forked child, have their own. */
    if (status.code == BURBLE_ENOMEM || status.code == BURBLE_ESYSTEM || status.message[0] == '\0'
        || strcmp(status.message, burble_result_text(status.code)) == 0)
        return core_raise(core, status.code);
    PyErr_SetString(status.code == BURBLE_EDIED       ? core->producer_died
                    : status.code == BURBLE_ECANCELED ? core->cancelled
                    : status.code == BURBLE_ETIMEDOUT ? core->timeout
                                                      : core->error,
                    status.message);
    return NULL;
}

#define TYPES(X)                                                                                   \
    X(vocabulary)                                                                                  \
    X(detokenizer)                                                                                 \
    X(hub)                                                                                         \
    X(future)                                                                                      \
    X(anext)                                                                                       \
    X(streamer)                                                                                    \
    X(iterator)                                                                                    \
    X(async_iterator)                                                                              \
    X(log)                                                                                         \
    X(reader)                                                                                      \
    X(merged)                                                                                      \
    X(writer)                                                                                      \
    X(llama)                                                                                       \
    X(embedder)                                                                                    \
    X(server)                                                                                      \
    X(relay)                                                                                       \
    X(answer)

#define OBJECTS(X)                                                                                 \
    X(error)                                                                                       \
    X(producer_died)                                                                               \
    X(cancelled)                                                                                   \
    X(lagged)                                                                                      \
    X(gone)                                                                                        \
    X(timeout)                                                                                     \
    X(first_token_timeout)                                                                         \
    X(token_timeout)                                                                               \
    X(total_timeout)                                                                               \
    X(stopped)                                                                                     \
    X(get_running_loop)                                                                            \
    X(urandom)                                                                                     \
    X(on_timer)                                                                                    \
    X(call_later)                                                                                  \
    X(task_type)                                                                                   \
    X(finished)                                                                                    \
    X(trio_run)                                                                                    \
    X(trio_wait)                                                                                   \
    X(trio_checkpoint)                                                                             \
    X(current_thread)                                                                              \
    X(main_thread)                                                                                 \
    X(asyncio_module)                                                                              \
    X(hub_of)                                                                                      \
    X(cancelled_error)                                                                             \
    X(queue_empty)                                                                                 \
    X(str_on_finalized_text)                                                                       \
    X(str_stream_end)                                                                              \
    X(str_tolist)                                                                                  \
    X(str_push)                                                                                    \
    X(str_finish)                                                                                  \
    X(str_reset)                                                                                   \
    X(str_holds)                                                                                   \
    X(str_copy)                                                                                    \
    X(str_call_soon)                                                                               \
    X(str_call_later)                                                                              \
    X(str_context)                                                                                 \
    X(str_stop)                                                                                    \
    X(str_eos)                                                                                     \
    X(str_trio)                                                                                    \
    X(str_running_loop)

static int add_type(PyObject *module, PyTypeObject **slot, PyType_Spec *spec, PyTypeObject *base)
{
    /* A tuple: before 3.10 it may not be the type itself. */
    PyObject *bases = base == NULL ? NULL : PyTuple_Pack(1, base);
    if (base != NULL && bases == NULL)
        return -1;
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, bases);
    Py_XDECREF(bases);
    if (*slot == NULL)
        return -1;
#ifndef Py_TPFLAGS_DISALLOW_INSTANTIATION
    if (spec == &future_spec || spec == &anext_spec || spec == &reader_spec)
        (*slot)->tp_new = NULL; /* only made by what is waited for */
#ifdef BURBLE_PYTHON_SERVE
    if (spec == &answer_spec)
        (*slot)->tp_new = NULL; /* only made by a server */
#endif
#endif
    return PyModule_AddType(module, *slot);
}

static int add_exception(PyObject *module, PyObject **slot, const char *name, const char *doc,
                         PyObject *base)
{
    *slot = PyErr_NewExceptionWithDoc(name, doc, base, NULL);
    if (*slot == NULL)
        return -1;
    Py_INCREF(*slot);
    if (PyModule_AddObject(module, strchr(name, '.') + 1, *slot) < 0) {
        Py_DECREF(*slot);
        return -1;
    }
    return 0;
}

static int add_exceptions(PyObject *module, struct core *core)
{
    if (add_exception(module, &core->error, "burble.Error", "The base of burble's exceptions.",
                      NULL)
            < 0
        || add_exception(module, &core->producer_died, "burble.ProducerDied",
                         "The generating thread exited without ending its stream.", core->error)
               < 0
        || add_exception(module, &core->cancelled, "burble.Cancelled",
                         "The stream was cancelled. Raised in the generating thread, to stop it,\n"
                         "and in the readers, after the text that came before.",
                         core->error)
               < 0
        || add_exception(
               module, &core->stopped, "burble.Stopped",
               "The text has ended at a stop string. put() raises it to end a generation\n"
               "that cannot be ended in another way. run() catches it, and readers\n"
               "never see it.",
               core->cancelled)
               < 0)
        return -1;

    PyObject *bases = NULL;
    if (add_exception(module, &core->lagged, "burble.Lagged",
                      "A reader fell behind its limit and was dropped from its stream.",
                      core->error)
            < 0
        || add_exception(
               module, &core->gone, "burble.Gone",
               "A position in a stream is no longer kept. `oldest` is the oldest position\n"
               "that is.",
               core->error)
               < 0
        || PyObject_SetAttrString(core->gone, "oldest", Py_None) < 0
        || (bases = PyTuple_Pack(2, core->error, PyExc_TimeoutError)) == NULL)
        return -1;
    const int rc = add_exception(module, &core->timeout, "burble.Timeout",
                                 "One of a stream's timeouts has passed.", bases);
    Py_DECREF(bases);
    if (rc < 0
        || add_exception(module, &core->first_token_timeout, "burble.FirstTokenTimeout",
                         "The first token did not come within first_token_timeout.", core->timeout)
               < 0
        || add_exception(module, &core->token_timeout, "burble.TokenTimeout",
                         "The next token did not come within token_timeout.", core->timeout)
               < 0
        || add_exception(module, &core->total_timeout, "burble.TotalTimeout",
                         "The generation did not end within total_timeout.", core->timeout)
               < 0)
        return -1;
    return 0;
}

static int exec(PyObject *module)
{
    struct core *core = PyModule_GetState(module);

    if (burble_forks_watch() != BURBLE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    const struct {
        PyObject **slot;
        const char *text;
    } names[] = {
        {&core->str_on_finalized_text, "on_finalized_text"},
        {&core->str_stream_end, "stream_end"},
        {&core->str_tolist, "tolist"},
        {&core->str_push, "push"},
        {&core->str_finish, "finish"},
        {&core->str_reset, "reset"},
        {&core->str_holds, "holds"},
        {&core->str_copy, "copy"},
        {&core->str_call_soon, "call_soon"},
        {&core->str_call_later, "call_later"},
        {&core->str_context, "context"},
        {&core->str_stop, "stop"},
        {&core->str_eos, "eos"},
        {&core->str_trio, "trio"},
        {&core->str_running_loop, "__asyncio_running_event_loop__"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((*names[i].slot = PyUnicode_InternFromString(names[i].text)) == NULL)
            return -1;

    if (add_type(module, &core->vocabulary_type, &vocabulary_spec, NULL) < 0
        || add_type(module, &core->detokenizer_type, &detokenizer_spec, NULL) < 0
        || add_type(module, &core->hub_type, &hub_spec, NULL) < 0
        || add_type(module, &core->future_type, &future_spec, NULL) < 0
        || add_type(module, &core->anext_type, &anext_spec, NULL) < 0
        || add_type(module, &core->streamer_type, &streamer_spec, NULL) < 0
        || add_type(module, &core->iterator_type, &iterator_spec, core->streamer_type) < 0
        || add_type(module, &core->async_iterator_type, &async_iterator_spec, core->streamer_type)
               < 0
        || add_type(module, &core->log_type, &log_spec, NULL) < 0
        || add_type(module, &core->reader_type, &reader_spec, NULL) < 0
        || add_type(module, &core->merged_type, &merged_spec, NULL) < 0
        || add_type(module, &core->writer_type, &writer_spec, NULL) < 0)
        return -1;
#ifdef BURBLE_PYTHON_LLAMA
    if (add_type(module, &core->llama_type, &llama_spec, NULL) < 0
        || add_type(module, &core->embedder_type, &embedder_spec, NULL) < 0)
        return -1;
#endif
#ifdef BURBLE_PYTHON_SERVE
    if (add_type(module, &core->server_type, &server_spec, NULL) < 0
        || add_type(module, &core->answer_type, &answer_spec, NULL) < 0)
        return -1;
#endif
#ifdef BURBLE_PYTHON_RELAY
    if (add_type(module, &core->relay_type, &relay_spec, NULL) < 0)
        return -1;
#endif
    if (add_exceptions(module, core) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "FILE_MAX", (long)BURBLE__LOAD_MAX) < 0
               ? -1
               : PyModule_AddStringConstant(module, "__version__", burble_version());
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct core *core = PyModule_GetState(module);
#define VISIT(name) Py_VISIT(core->name);
#define VISIT_TYPE(name) Py_VISIT(core->name##_type);
    OBJECTS(VISIT)
    TYPES(VISIT_TYPE)
    return 0;
}

static int clear(PyObject *module)
{
    struct core *core = PyModule_GetState(module);
#define CLEAR(name) Py_CLEAR(core->name);
#define CLEAR_TYPE(name) Py_CLEAR(core->name##_type);
    OBJECTS(CLEAR)
    TYPES(CLEAR_TYPE)
    return 0;
}

static void free_module(void *module)
{
    clear(module);
}

static PyObject *as_failure(PyObject *module, PyObject *exception)
{
    (void)module;
    if (!PyExceptionInstance_Check(exception)) {
        PyErr_Format(PyExc_TypeError, "as_failure: expected an exception, found %.100s",
                     Py_TYPE(exception)->tp_name);
        return NULL;
    }
    return failure_of(exception);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
#ifdef Py_mod_gil
    /* Said in so many words: the objects here rely on the GIL, so a free-threaded CPython turns it on
     * when it imports them. */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static PyObject *forks(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLongLong(burble_forks());
}

static PyMethodDef methods[] = {
    {"as_failure", as_failure, METH_O,
     "as_failure(exception, /)\n--\n\n"
     "The exception, or, where a loop or an iteration would take it for an end or a cancellation,\n"
     "a RuntimeError of which it is the cause."},
    {"forks", forks, METH_NOARGS,
     "forks()\n--\n\nThe number of this process: a forked child has another one than its parent."},
#ifdef BURBLE_PYTHON_SERVE
    {"before_fork", thread_state_before_fork, METH_NOARGS,
     "before_fork()\n--\n\n"
     "Wait until no thread of a server is about to enter the interpreter, and keep it from that."},
    {"after_fork", thread_state_after_fork, METH_NOARGS,
     "after_fork()\n--\n\nIn parent and child: let them enter it again."},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "burble._core",
    .m_doc = "The C part of burble; its public names are in the package burble.",
    .m_size = sizeof(struct core),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = free_module,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
