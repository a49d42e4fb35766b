/* SPDX-License-Identifier: MIT */
#include "server/options.h"

/* X(name, type): the numbers of burble_server_options. */
#define NUMBERS(X)                                                                                 \
    X(port, uint16_t)                                                                              \
    X(listen_fd, int)                                                                              \
    X(loops, uint32_t)                                                                             \
    X(backlog, uint32_t)                                                                           \
    X(expected_models, uint32_t)                                                                   \
    X(backend_threads, uint32_t)                                                                   \
    X(page, bool)                                                                                  \
    X(max_connections, uint32_t)                                                                   \
    X(max_connections_key, uint32_t)                                                               \
    X(max_header, uint32_t)                                                                        \
    X(max_body, uint64_t)                                                                          \
    X(max_bodies, uint64_t)                                                                        \
    X(max_output, uint32_t)                                                                        \
    X(socket_buffer, uint32_t)                                                                     \
    X(max_answer, uint64_t)                                                                        \
    X(max_lag, uint64_t)                                                                           \
    X(retain, uint64_t)                                                                            \
    X(max_ignored, uint64_t)                                                                       \
    X(max_json_depth, uint32_t)                                                                    \
    X(header_timeout, uint64_t)                                                                    \
    X(body_timeout, uint64_t)                                                                      \
    X(body_rate, uint64_t)                                                                         \
    X(idle_timeout, uint64_t)                                                                      \
    X(stall_timeout, uint64_t)                                                                     \
    X(output_rate, uint64_t)                                                                       \
    X(first_timeout, uint64_t)                                                                     \
    X(ping_interval, uint64_t)                                                                     \
    X(resume_time, uint64_t)                                                                       \
    X(drain_delay, uint64_t)

static int set_number(void *of, const char *name, long long value)
{
    burble_server_options *options = of;
    NUMBERS(OPTIONS_SET)
    PyErr_Format(PyExc_TypeError, "'%.100s' is not an option of a server", name);
    return -1;
}

int options_set_each(PyObject *numbers,
                     int (*set)(void *options, const char *name, long long value), void *options)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(numbers, &at, &key, &value)) {
        const char *name = PyUnicode_AsUTF8(key);
        if (name == NULL)
            return -1;
        const long long number = PyLong_AsLongLong(value);
        if ((number == -1 && PyErr_Occurred()) || set(options, name, number) < 0)
            return -1;
    }
    return 0;
}

int options_set(burble_server_options *options, PyObject *numbers)
{
    return options_set_each(numbers, set_number, options);
}
