/* SPDX-License-Identifier: MIT */
#include "llama/prompt.h"

#include <burble/llama.h>

#include "llama/llama.h"

/* The most bytes of one prompt; libburble-llama has the same bound. */
#define PROMPT_MAX ((Py_ssize_t)1 << 30)

const char *llama_text_of(PyObject *value, const char *what, Py_ssize_t *len)
{
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a str, found %.100s", what,
                     Py_TYPE(value)->tp_name);
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(value, len);
    if (text != NULL && *len > PROMPT_MAX) {
        PyErr_Format(PyExc_ValueError, "%s: expected at most 1 GiB of text", what);
        return NULL;
    }
    return text;
}

static PyObject *list_of(const int32_t *ids, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *id = PyLong_FromLong(ids[i]);
        if (id == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, id);
    }
    return list;
}

PyObject *engine_tokenize(PyObject *self, PyObject *args)
{
    PyObject *value;
    int specials, rc;
    size_t n = 0, capacity;
    Py_ssize_t len;
    int32_t *ids = NULL;
    if (!PyArg_ParseTuple(args, "Op", &value, &specials))
        return NULL;
    const char *text = llama_text_of(value, "text", &len);
    if (text == NULL)
        return NULL;
    burble_llama_model *model = llama_model_of(self);
    if (model == NULL)
        return NULL;
    capacity = (size_t)len + 8; /* nearly always enough: an id stands for a byte or more */
    do {
        PyMem_RawFree(ids);
        ids = PyMem_RawMalloc(capacity * sizeof *ids);
        if (ids == NULL)
            return PyErr_NoMemory();
        Py_BEGIN_ALLOW_THREADS
            rc = burble_llama_model_tokenize(model, text, (size_t)len, specials != 0, ids, capacity,
                                             &n);
        Py_END_ALLOW_THREADS
        capacity = n;
    } while (rc == BURBLE_EFULL);
    PyObject *list = rc == BURBLE_OK ? list_of(ids, n) : core_raise(core_of(Py_TYPE(self)), rc);
    PyMem_RawFree(ids);
    return list;
}

/* The prompt of `n` messages, by the model's template or one that llama.cpp knows. */
static PyObject *apply_template(struct core *core, burble_llama_model *model,
                                const burble_llama_conversation *conversation)
{
    burble_error error = {0};
    size_t len = 0;
    char *text = NULL;
    int rc = burble_llama_model_apply_template(model, conversation, NULL, 0, &len, &error);
    if (rc == BURBLE_EFULL) {
        text = PyMem_Malloc(len);
        if (text == NULL)
            return PyErr_NoMemory();
        rc = burble_llama_model_apply_template(model, conversation, text, len, &len, &error);
    }
    PyObject *prompt = rc == BURBLE_OK
                           ? PyUnicode_DecodeUTF8(text == NULL ? "" : text, (Py_ssize_t)len, NULL)
                           : llama_raise(core, rc, 0, error.message, NULL);
    PyMem_Free(text);
    return prompt;
}

/* The ids of this prompt. */
static PyObject *tokenize_chat(struct core *core, burble_llama_model *model,
                               const burble_llama_conversation *conversation)
{
    burble_error error = {0};
    size_t n = 0;
    int32_t *ids = NULL;
    int rc;
    size_t room = 512; /* enough for most */
    do {
        PyMem_RawFree(ids);
        ids = PyMem_RawMalloc(room * sizeof *ids);
        if (ids == NULL)
            return PyErr_NoMemory();
        rc = burble_llama_model_tokenize_chat(model, conversation, ids, room, &n, &error);
        room = n;
    } while (rc == BURBLE_EFULL);
    PyObject *list =
        rc == BURBLE_OK ? list_of(ids, n) : llama_raise(core, rc, 0, error.message, NULL);
    PyMem_RawFree(ids);
    return list;
}

/* Takes the messages and the template, and makes a prompt of them. */
static PyObject *convert(PyObject *self, PyObject *args,
                         PyObject *(*make)(struct core *, burble_llama_model *,
                                           const burble_llama_conversation *))
{
    PyObject *pairs;
    burble_llama_conversation conversation;
    burble_llama_conversation_init(&conversation);
    if (!PyArg_ParseTuple(args, "O!z", &PyTuple_Type, &pairs, &conversation.template_name))
        return NULL;
    burble_llama_model *model = llama_model_of(self);
    if (model == NULL)
        return NULL;
    const Py_ssize_t n = PyTuple_GET_SIZE(pairs);
    burble_llama_message *messages = PyMem_Calloc((size_t)n, sizeof *messages);
    if (messages == NULL)
        return PyErr_NoMemory();
    PyObject *prompt = NULL;
    Py_ssize_t i = 0;
    while (i < n
           && PyArg_ParseTuple(PyTuple_GET_ITEM(pairs, i), "ss", &messages[i].role,
                               &messages[i].content))
        i++;
    if (i == n) {
        conversation.messages = messages;
        conversation.n = (size_t)n;
        prompt = make(core_of(Py_TYPE(self)), model, &conversation);
    }
    PyMem_Free(messages);
    return prompt; /* cppcheck-suppress returnDanglingLifetime ; an object, made of the conversation's text */
}

PyObject *engine_chat(PyObject *self, PyObject *args)
{
    return convert(self, args, apply_template);
}

PyObject *engine_chat_ids(PyObject *self, PyObject *args)
{
    return convert(self, args, tokenize_chat);
}

PyObject *engine_piece(PyObject *self, PyObject *args)
{
    int id;
    char text[256];
    size_t len;
    if (!PyArg_ParseTuple(args, "i", &id))
        return NULL;
    burble_llama_model *model = llama_model_of(self);
    if (model == NULL)
        return NULL;
    int rc = burble_llama_model_piece(model, id, text, sizeof text, &len);
    if (rc != BURBLE_EFULL)
        return rc == BURBLE_OK ? PyBytes_FromStringAndSize(text, (Py_ssize_t)len)
                               : core_raise(core_of(Py_TYPE(self)), rc);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (bytes != NULL)
        burble_llama_model_piece(model, id, PyBytes_AS_STRING(bytes), len, &len);
    return bytes;
}
