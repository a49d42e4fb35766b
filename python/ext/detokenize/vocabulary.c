/* SPDX-License-Identifier: MIT
 *
 * _core.Vocabulary: an immutable burble_vocab, made from what a tokenizer says of itself.
 */
#include "detokenize/vocabulary.h"

#include <burble/stop.h>

#include "detokenize/json.h"

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

/* Marks the tokens whose ids are in a tuple. 0, or -1 with an exception. */
static int mark_special(PyObject *special, burble_token *table, size_t n)
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

/* All the tokens, with id i at [i]; the texts belong to `tokens`, which nothing that is called from
 * here on can change. */
static burble_token *read_tokens(PyObject *tokens, PyObject *special, size_t *n)
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

    if (mark_special(special, table, *n) < 0)
        goto fail;
    return table;

fail:
    PyMem_Free(table);
    return NULL;
}

/* What a step's name in Python is. */
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

/* The steps of a tuple of tuples, which keeps them. */
static burble_step *read_steps(PyObject *tuples, size_t *n)
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

static PyObject *vocabulary_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"steps", "tokens", "special", "join", NULL};
    PyObject *given, *tokens, *special;
    PyObject *result = NULL;
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!O|z", names, &given, &PyDict_Type, &tokens,
                                     &special, &options.join))
        return NULL;
    /* What may call Python, and so change the mapping, comes before it is looked at. */
    PyObject *tuples = PySequence_Tuple(given);
    PyObject *ids = tuples == NULL ? NULL : PySequence_Tuple(special);
    if (ids == NULL)
        goto release_tuples;
    burble_step *steps = read_steps(tuples, &options.n_steps);
    if (steps == NULL)
        goto release_tuples;
    size_t n;
    burble_token *table = read_tokens(tokens, ids, &n);
    if (table == NULL)
        goto free_steps;

    burble_vocab *vocab;
    burble_error error;
    options.steps = steps;
    const int rc = burble_vocab_create(&options, table, n, &vocab, &error);
    if (rc == BURBLE_EINVAL || rc == BURBLE_EUNSUPPORTED) {
        PyErr_Format(rc == BURBLE_EINVAL ? PyExc_ValueError : PyExc_NotImplementedError,
                     "the vocabulary: %s", error.message);
        goto free_table;
    }
    if (rc != BURBLE_OK) {
        core_raise(core_of(type), rc);
        goto free_table;
    }
    VocabularyObject *self = (VocabularyObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        burble_vocab_unref(&vocab);
    else
        self->vocab = vocab;
    result = (PyObject *)self;

free_table:
    PyMem_Free(table);
free_steps:
    PyMem_Free(steps);
release_tuples:
    Py_XDECREF(ids);
    Py_XDECREF(tuples);
    return result;
}

/* ---- of pieces and of files ------------------------------------------------------------------ */

/* The vocabulary as an object, which takes the reference. */
static PyObject *wrap(PyTypeObject *type, burble_vocab *vocab)
{
    VocabularyObject *self = (VocabularyObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        burble_vocab_unref(&vocab);
    else
        self->vocab = vocab;
    return (PyObject *)self;
}

/* One of bytes, or None where no token has this id. */
static int read_piece(PyObject *piece, Py_ssize_t i, burble_token *token)
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

static PyObject *vocabulary_from_pieces(PyTypeObject *type, PyObject *args)
{
    PyObject *given, *special, *result = NULL;
    int breaks = 0;
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    if (!PyArg_ParseTuple(args, "OO|p:from_pieces", &given, &special, &breaks))
        return NULL;
    options.special_breaks = breaks != 0;
    PyObject *pieces = PySequence_Tuple(given);
    PyObject *ids = pieces == NULL ? NULL : PySequence_Tuple(special);
    if (ids == NULL)
        goto release_pieces;
    const Py_ssize_t n = PyTuple_GET_SIZE(pieces);
    burble_token *table = PyMem_New(burble_token, n == 0 ? 1 : (size_t)n);
    if (table == NULL) {
        PyErr_NoMemory();
        goto release_pieces;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (read_piece(PyTuple_GET_ITEM(pieces, i), i, &table[i]) < 0)
            goto free_table;
    if (mark_special(ids, table, (size_t)n) < 0)
        goto free_table;
    burble_vocab *vocab;
    burble_error error;
    const int rc = burble_vocab_create(&options, table, (size_t)n, &vocab, &error);
    if (rc == BURBLE_OK)
        result = wrap(type, vocab);
    else if (rc == BURBLE_EINVAL)
        PyErr_Format(PyExc_ValueError, "the pieces: %s", error.message);
    else
        core_raise(core_of(type), rc);

free_table:
    PyMem_Free(table);
release_pieces:
    Py_XDECREF(ids);
    Py_XDECREF(pieces);
    return result;
}

/* The vocabulary that a loader has made, or its exception. */
static PyObject *loaded(PyTypeObject *type, int rc, burble_vocab *vocab, const burble_error *error)
{
    if (PyErr_Occurred()) /* an exception of what decodes JSON */
        return NULL;
    if (rc == BURBLE_OK)
        return wrap(type, vocab);
    if (rc != BURBLE_EFORMAT && rc != BURBLE_EUNSUPPORTED)
        return core_raise(core_of(type), rc);
    /* A name that is not UTF-8 does not stand in the way of the message. */
    PyObject *message =
        PyUnicode_DecodeUTF8(error->message, (Py_ssize_t)strlen(error->message), "replace");
    if (message != NULL)
        PyErr_SetObject(PyExc_ValueError, message);
    Py_XDECREF(message);
    return NULL;
}

static PyObject *vocabulary_load(PyTypeObject *type, PyObject *args)
{
    PyObject *path, *bytes, *decode;
    burble_vocab *vocab;
    burble_error error;
    struct json json;
    int rc;
    if (!PyArg_ParseTuple(args, "OO:load", &path, &decode)
        || !PyUnicode_FSConverter(path, (void *)&bytes))
        return NULL;
    json_init(&json, decode);
    struct burble__source source = {
        .name = PyBytes_AS_STRING(bytes), .error = &error, .json = &json.parser};
    json.state = PyEval_SaveThread();
    rc = burble__load_file(&source, BURBLE_VOCAB_AUTO, &vocab);
    PyEval_RestoreThread(json.state);
    Py_DECREF(bytes);
    if (rc == BURBLE_ESYSTEM)
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    return loaded(type, rc, vocab, &error);
}

static PyObject *vocabulary_parse(PyTypeObject *type, PyObject *args)
{
    Py_buffer data;
    const char *name;
    PyObject *decode;
    burble_vocab *vocab;
    burble_error error;
    struct json json;
    int rc;
    if (!PyArg_ParseTuple(args, "y*sO:parse", &data, &name, &decode))
        return NULL;
    json_init(&json, decode);
    struct burble__source source = {.name = name,
                                    .bytes = data.len == 0 ? "" : data.buf,
                                    .size = (size_t)data.len,
                                    .error = &error,
                                    .json = &json.parser};
    json.state = PyEval_SaveThread();
    rc = burble__load_bytes(&source, BURBLE_VOCAB_AUTO, &vocab);
    PyEval_RestoreThread(json.state);
    PyBuffer_Release(&data);
    return loaded(type, rc, vocab, &error);
}

static PyObject *vocabulary_parse_sentencepiece(PyTypeObject *type, PyObject *args)
{
    Py_buffer model;
    const char *name;
    burble_vocab *vocab;
    burble_error error;
    int rc;
    if (!PyArg_ParseTuple(args, "y*s:parse_sentencepiece", &model, &name))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        rc = burble_vocab_parse(model.buf, (size_t)model.len, BURBLE_VOCAB_SENTENCEPIECE, name,
                                &vocab, &error);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&model);
    return loaded(type, rc, vocab, &error);
}

static void vocabulary_dealloc(VocabularyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    burble_vocab_unref(&self->vocab);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t vocabulary_length(VocabularyObject *self)
{
    return (Py_ssize_t)burble_vocab_size(self->vocab);
}

static PyObject *vocabulary_memory(VocabularyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(burble_vocab_memory(self->vocab));
}

static PyObject *vocabulary_cleaned_up(VocabularyObject *self, PyObject *unused)
{
    (void)unused;
    PyTypeObject *type = Py_TYPE(self);
    VocabularyObject *other = (VocabularyObject *)type->tp_alloc(type, 0);
    if (other != NULL) {
        other->vocab = burble_vocab_ref(self->vocab);
        other->clean_up = true;
    }
    return (PyObject *)other;
}

/* The tokens of burble_stop_tokens as a list of (id, which). */
static PyObject *find_stop_tokens(VocabularyObject *self, const burble_text *strings, size_t n)
{
    const size_t found = burble_stop_tokens(self->vocab, strings, n, NULL, 0);
    burble_stop_token *tokens = PyMem_New(burble_stop_token, found == 0 ? 1 : found);
    if (tokens == NULL)
        return PyErr_NoMemory();
    burble_stop_tokens(self->vocab, strings, n, tokens, found);
    /* (Not of that length at once: making a pair may run the collector, and so code that finds it.) */
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < found; i++) {
        PyObject *pair =
            Py_BuildValue("In", (unsigned int)tokens[i].id, (Py_ssize_t)tokens[i].which);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    PyMem_Free(tokens);
    return list;
}

static PyObject *vocabulary_stop_tokens(VocabularyObject *self, PyObject *strings)
{
    if (!PyTuple_Check(strings)) {
        PyErr_SetString(PyExc_TypeError, "stop_tokens: expected a tuple of str");
        return NULL;
    }
    const Py_ssize_t n = PyTuple_GET_SIZE(strings);
    burble_text *texts = PyMem_New(burble_text, n == 0 ? 1 : (size_t)n);
    PyObject *list = NULL;
    if (texts == NULL)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t len;
        texts[i].bytes = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(strings, i), &len);
        if (texts[i].bytes == NULL)
            goto free_texts;
        texts[i].len = (size_t)len;
    }
    list = find_stop_tokens(self, texts, (size_t)n);

free_texts:
    PyMem_Free(texts);
    return list;
}

PyDoc_STRVAR(stop_tokens_doc, "stop_tokens($self, strings, /)\n--\n\n"
                              "(id, which) of each special token whose text is one of a tuple of\n"
                              "strings.");

PyDoc_STRVAR(cleaned_up_doc, "cleaned_up($self, /)\n--\n\n"
                             "The same vocabulary (not a copy), whose text is cleaned up as the\n"
                             "clean_up_tokenization of transformers does it.");

PyDoc_STRVAR(from_pieces_doc,
             "from_pieces($type, pieces, special, breaks=False, /)\n--\n\n"
             "Of the bytes of each token, or None where no token has the id; the bytes of a\n"
             "sequence, decoded as UTF-8, are its text. special: the ids of the special tokens;\n"
             "breaks: they break a character also where they are left out.");

PyDoc_STRVAR(load_doc,
             "load($type, path, decode, /)\n--\n\n"
             "Of a file: tokenizer.json, GGUF, tiktoken's ranks, SentencePiece or Tekken, told by\n"
             "its content. decode: makes a value of the bytes of a JSON text (burble._json).\n"
             "Raises OSError where it cannot be read, ValueError for what is wrong with it.");

PyDoc_STRVAR(parse_doc, "parse($type, data, name, decode, /)\n--\n\n"
                        "The same of a file's bytes; the name stands in messages.");

PyDoc_STRVAR(parse_sentencepiece_doc,
             "parse_sentencepiece($type, model, name, /)\n--\n\n"
             "Of the bytes of a SentencePiece model; the name stands in messages.");

static PyMethodDef vocabulary_methods[] = {
    {"from_pieces", (PyCFunction)vocabulary_from_pieces, METH_VARARGS | METH_CLASS,
     from_pieces_doc},
    {"load", (PyCFunction)vocabulary_load, METH_VARARGS | METH_CLASS, load_doc},
    {"parse", (PyCFunction)vocabulary_parse, METH_VARARGS | METH_CLASS, parse_doc},
    {"parse_sentencepiece", (PyCFunction)vocabulary_parse_sentencepiece, METH_VARARGS | METH_CLASS,
     parse_sentencepiece_doc},
    {"cleaned_up", (PyCFunction)vocabulary_cleaned_up, METH_NOARGS, cleaned_up_doc},
    {"stop_tokens", (PyCFunction)vocabulary_stop_tokens, METH_O, stop_tokens_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef vocabulary_getset[] = {
    {"memory", (getter)vocabulary_memory, NULL, "Bytes of memory that the vocabulary takes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(
    vocabulary_doc,
    "Vocabulary(steps, tokens, added, special, join=None)\n--\n\n"
    "What each token id stands for. Immutable; may be shared between threads.\n\n"
    "steps: how tokens become text, each (name, text, with, start, stop, flag) or fewer of\n"
    "  these; the names are those of burble_step_kind\n"
    "tokens: the text of each token, as the tokenizer spells it, to its id\n"
    "added: ids whose text differs from, or is not in, tokens, to that text\n"
    "special: the ids of the special tokens\n"
    "join: what stands between tokens where there are no steps\n\n"
    "Raises NotImplementedError for steps that cannot be streamed.");

static PyType_Slot vocabulary_slots[] = {
    {Py_tp_doc, (void *)vocabulary_doc},
    {Py_tp_new, vocabulary_new},
    {Py_tp_dealloc, vocabulary_dealloc},
    {Py_sq_length, vocabulary_length},
    {Py_tp_getset, vocabulary_getset},
    {Py_tp_methods, vocabulary_methods},
    {0, NULL},
};

PyType_Spec vocabulary_spec = {
    .name = "burble._core.Vocabulary",
    .basicsize = sizeof(VocabularyObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = vocabulary_slots,
};
