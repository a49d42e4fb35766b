/* SPDX-License-Identifier: MIT */
#include "detokenize/token_table.h"

static int read_token(PyObject *text, burble_token *token)
{
    Py_ssize_t len;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &len);
    if (bytes == NULL)
        return -1;
    if (len > (Py_ssize_t)BURBLE_VOCAB_MAX_TOKEN) {
        PyErr_Format(PyExc_ValueError, "a token may have at most %u bytes, found %zd",
                     BURBLE_VOCAB_MAX_TOKEN, len);
        return -1;
    }
    *token = (burble_token){bytes, (uint32_t)len, 0};
    return 0;
}

/* The id in a mapping of the tokenizer's: below BURBLE_VOCAB_MAX_IDS, or -1 with an exception. */
static Py_ssize_t read_id(PyObject *object)
{
    const Py_ssize_t id = PyLong_AsSsize_t(object);
    if (id == -1 && PyErr_Occurred())
        return -1;
    if (id < 0 || id >= (Py_ssize_t)BURBLE_VOCAB_MAX_IDS) {
        PyErr_Format(PyExc_ValueError, "a token id must be from 0 to %u, found %zd",
                     BURBLE_VOCAB_MAX_IDS - 1, id);
        return -1;
    }
    return id;
}

int token_table_mark_special(PyObject *special, burble_token *table, size_t n)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(special); i++) {
        const Py_ssize_t id = read_id(PyTuple_GET_ITEM(special, i));
        if (id < 0)
            return -1;
        if ((size_t)id >= n) {
            PyErr_Format(PyExc_ValueError, "the special token %zd is not in the vocabulary", id);
            return -1;
        }
        table[id].flags |= BURBLE_TOKEN_SPECIAL;
    }
    return 0;
}

burble_token *token_table_read(PyObject *tokens, PyObject *special, size_t *n)
{
    Py_ssize_t at = 0, largest = -1;
    PyObject *key, *value;
    while (PyDict_Next(tokens, &at, &key, &value)) {
        const Py_ssize_t id = read_id(key);
        if (id < 0)
            return NULL;
        largest = id > largest ? id : largest;
    }

    *n = (size_t)(largest + 1);
    burble_token *table = PyMem_New(burble_token, *n == 0 ? 1 : *n);
    if (table == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < *n; i++)
        table[i] = (burble_token){NULL, 0, BURBLE_TOKEN_ABSENT};
    for (at = 0; PyDict_Next(tokens, &at, &key, &value);)
        if (read_token(value, &table[PyLong_AsSsize_t(key)]) < 0)
            goto fail;

    if (token_table_mark_special(special, table, *n) < 0)
        goto fail;
    return table;

fail:
    PyMem_Free(table);
    return NULL;
}

/* Texts behind one another. */
struct texts {
    char *bytes;
    size_t len, capacity;
};

static int put_text(struct texts *texts, const char *bytes, size_t len)
{
    if (len == 0)
        return 0;
    if (len > texts->capacity - texts->len) {
        /* (Less than twice BURBLE_VOCAB_MAX_TEXT, which the vocabulary refuses.) */
        const size_t capacity = 2 * (texts->len + len);
        char *larger =
            texts->len + len > BURBLE_VOCAB_MAX_TEXT ? NULL : PyMem_Realloc(texts->bytes, capacity);
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        texts->bytes = larger;
        texts->capacity = capacity;
    }
    memcpy(texts->bytes + texts->len, bytes, len);
    texts->len += len;
    return 0;
}

/* Token `i`, whose text is put behind the others. 0; -1 where there is none, or with an exception. */
static int ask_token(PyObject *text_of, size_t i, PyObject *special, struct texts *texts,
                     burble_token *token)
{
    PyObject *id = PyLong_FromSize_t(i);
    PyObject *text = id == NULL ? NULL : PyObject_CallOneArg(text_of, id);
    Py_XDECREF(id);
    int result = text == NULL || text == Py_None ? -1 : read_token(text, token);
    const int is_special = result < 0 ? 0 : PySet_Contains(special, text);
    if (result == 0)
        result = is_special < 0 ? -1 : put_text(texts, token->text, token->len);
    Py_XDECREF(text);
    token->flags = is_special > 0 ? BURBLE_TOKEN_SPECIAL : 0u;
    return result;
}

burble_token *token_table_ask(PyObject *text_of, size_t n, PyObject *special, char **memory)
{
    struct texts texts = {NULL, 0, 0};
    burble_token *table = PyMem_New(burble_token, n == 0 ? 1 : n);
    *memory = NULL;
    if (table == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (ask_token(text_of, i, special, &texts, &table[i]) < 0) {
            PyMem_Free(texts.bytes);
            PyMem_Free(table);
            return NULL;
        }
    }
    size_t at = 0;
    for (size_t i = 0; i < n; at += table[i++].len)
        table[i].text = texts.bytes + at;
    *memory = texts.bytes;
    return table;
}

/* The names of the steps in Python. */
static const struct {
    const char *name;
    burble_step_kind kind;
} step_kinds[] = {
    {"byte_level", BURBLE_STEP_BYTE_LEVEL},
    {"byte_fallback", BURBLE_STEP_BYTE_FALLBACK},
    {"fuse", BURBLE_STEP_FUSE},
    {"replace", BURBLE_STEP_REPLACE},
    {"strip", BURBLE_STEP_STRIP},
    {"metaspace", BURBLE_STEP_METASPACE},
    {"wordpiece", BURBLE_STEP_WORDPIECE},
    {"bpe", BURBLE_STEP_BPE},
    {"ctc", BURBLE_STEP_CTC},
};

/* One step of (name, text, with, start, stop, flag); its texts belong to the tuple. */
static int read_step(PyObject *tuple, burble_step *step)
{
    const char *name;
    int flag = 0;
    *step = (burble_step){0};
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "a step must be a tuple, found %.100s",
                     Py_TYPE(tuple)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "s|zzIIp:step", &name, &step->text, &step->with, &step->start,
                          &step->stop, &flag))
        return -1;
    step->flag = flag != 0;
    for (size_t i = 0; i < sizeof step_kinds / sizeof step_kinds[0]; i++) {
        if (strcmp(name, step_kinds[i].name) == 0) {
            step->kind = step_kinds[i].kind;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "step: expected the name of a step, found '%s'", name);
    return -1;
}

burble_step *token_table_read_steps(PyObject *tuples, size_t *n)
{
    *n = (size_t)PyTuple_GET_SIZE(tuples);
    burble_step *steps = PyMem_New(burble_step, *n == 0 ? 1 : *n);
    if (steps == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < *n; i++) {
        if (read_step(PyTuple_GET_ITEM(tuples, (Py_ssize_t)i), &steps[i]) < 0) {
            PyMem_Free(steps);
            return NULL;
        }
    }
    return steps;
}

int token_table_read_piece(PyObject *piece, Py_ssize_t i, burble_token *token)
{
    *token = (burble_token){NULL, 0, BURBLE_TOKEN_ABSENT};
    if (piece == Py_None)
        return 0;
    if (!PyBytes_Check(piece)) {
        PyErr_Format(PyExc_TypeError, "piece %zd: expected bytes or None, found %.100s", i,
                     Py_TYPE(piece)->tp_name);
        return -1;
    }
    const Py_ssize_t len = PyBytes_GET_SIZE(piece);
    if (len > (Py_ssize_t)BURBLE_VOCAB_MAX_TOKEN) {
        PyErr_Format(PyExc_ValueError, "piece %zd: expected at most %u bytes, found %zd", i,
                     BURBLE_VOCAB_MAX_TOKEN, len);
        return -1;
    }
    *token = (burble_token){PyBytes_AS_STRING(piece), (uint32_t)len, 0};
    return 0;
}
