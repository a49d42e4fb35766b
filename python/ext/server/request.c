/* SPDX-License-Identifier: MIT */
#include "server/request.h"

#include "common/str.h"

enum kind { INTEGER, NUMBER, BOOLEAN, STRINGS, BIAS, STRING, FORMAT };

static const struct {
    const char *name;
    enum kind kind;
} parameters[] = {
#define PARAMETER(name, json, type, least, most) [BURBLE_SERVE_##name] = {json, type},
    BURBLE_SERVE_PARAMETERS(PARAMETER)
#undef PARAMETER
};

int request_parameter_of(PyObject *name)
{
    if (PyUnicode_Check(name))
        for (int i = 0; i < BURBLE_SERVE_N_PARAMETERS; i++)
            if (PyUnicode_CompareWithASCIIString(name, parameters[i].name) == 0)
                return i;
    return -1;
}

static PyObject *str_of(burble_text text)
{
    return str_from_utf8(text.len == 0 ? "" : text.bytes, text.len);
}

/* Puts a new reference, which may be NULL with an exception. 0 or -1. */
static int put(PyObject *dict, const char *name, PyObject *value)
{
    const int rc = value == NULL ? -1 : PyDict_SetItemString(dict, name, value);
    Py_XDECREF(value);
    return rc;
}

static PyObject *strings(const burble_text *texts, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *text = str_of(texts[i]);
        if (text == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, text);
    }
    return list;
}

static PyObject *messages_of(const burble_serve_request *request)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < request->n_messages; i++) {
        const burble_serve_message *message = &request->messages[i];
        PyObject *dict = PyDict_New();
        if (dict == NULL || put(dict, "role", str_of(message->role)) < 0
            || put(dict, "content", str_of(message->content)) < 0
            || (message->name.len > 0 && put(dict, "name", str_of(message->name)) < 0)
            || PyList_Append(list, dict) < 0)
            Py_CLEAR(list);
        Py_XDECREF(dict);
    }
    return list;
}

static PyObject *ids_of(const burble_serve_request *request)
{
    PyObject *list = PyList_New((Py_ssize_t)request->n_ids);
    for (size_t i = 0; list != NULL && i < request->n_ids; i++) {
        PyObject *id = PyLong_FromLong(request->ids[i]);
        if (id == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, id);
    }
    return list;
}

static PyObject *biases_of(const burble_serve_request *request)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < request->n_bias; i++) {
        PyObject *id = PyLong_FromLong(request->bias[i].id);
        PyObject *bias = PyFloat_FromDouble((double)request->bias[i].bias);
        if (id == NULL || bias == NULL || PyDict_SetItem(dict, id, bias) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(id);
        Py_XDECREF(bias);
    }
    return dict;
}

static PyObject *value_of(const burble_serve_request *request, int parameter)
{
    const double number = request->numbers[parameter];
    switch (parameters[parameter].kind) {
    case INTEGER:
        return PyLong_FromDouble(number);
    case NUMBER:
        return PyFloat_FromDouble(number);
    case BOOLEAN:
        return PyBool_FromLong(number != 0);
    case STRINGS:
        return parameter == BURBLE_SERVE_STOP ? strings(request->stop, request->n_stop)
                                              : strings(request->breakers, request->n_breakers);
    case BIAS:
        return biases_of(request);
    case STRING:
        return str_of(request->grammar);
    case FORMAT:
        return PyUnicode_FromString(request->json_object   ? "json_object"
                                    : request->json_schema ? "json_schema"
                                                           : "text");
    }
    Py_RETURN_NONE;
}

static PyObject *parameters_of(const burble_serve_request *request)
{
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && i < BURBLE_SERVE_N_PARAMETERS; i++)
        if ((request->given & BURBLE_SERVE_BIT(i)) != 0
            && put(dict, parameters[i].name, value_of(request, i)) < 0)
            Py_CLEAR(dict);
    return dict;
}

/* In the order in which they came; a name that came several times has its values joined, as HTTP says. */
static PyObject *headers_of(const burble_serve_request *request)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < request->n_headers; i++) {
        const burble_serve_header *header = &request->headers[i];
        PyObject *name =
            PyUnicode_DecodeLatin1(header->name.bytes, (Py_ssize_t)header->name.len, NULL);
        PyObject *value =
            PyUnicode_DecodeLatin1(header->value.bytes, (Py_ssize_t)header->value.len, NULL);
        PyObject *before =
            name == NULL || value == NULL ? NULL : PyDict_GetItemWithError(dict, name);
        if (before != NULL)
            Py_SETREF(value, PyUnicode_FromFormat("%U, %U", before, value));
        if (name == NULL || value == NULL || PyErr_Occurred()
            || PyDict_SetItem(dict, name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return dict;
}

PyObject *request_facts(const burble_serve_request *request)
{
    const bool chat = request->route == BURBLE_SERVE_CHAT;
    PyObject *facts = PyDict_New();
    if (facts == NULL || put(facts, "id", PyUnicode_FromString(request->id)) < 0
        || put(facts, "chat", PyBool_FromLong(chat)) < 0
        || put(facts, "model", PyUnicode_FromString(request->model)) < 0
        || put(facts, "messages", messages_of(request)) < 0
        || put(facts, "prompt",
               chat || request->ids != NULL ? Py_NewRef(Py_None) : str_of(request->prompt))
               < 0
        || put(facts, "ids", request->ids == NULL ? Py_NewRef(Py_None) : ids_of(request)) < 0
        || put(facts, "parameters", parameters_of(request)) < 0
        || put(facts, "n", PyLong_FromUnsignedLong(request->choices)) < 0
        || put(facts, "streamed", PyBool_FromLong(request->streamed)) < 0
        || put(facts, "resumable", PyBool_FromLong(request->resumable)) < 0
        || put(facts, "raw_body",
               PyBytes_FromStringAndSize(request->body.bytes, (Py_ssize_t)request->body.len))
               < 0
        || put(facts, "headers", headers_of(request)) < 0
        || put(facts, "request_id",
               PyUnicode_FromString(request->request_id == NULL ? "" : request->request_id))
               < 0)
        Py_CLEAR(facts);
    return facts;
}
