/* SPDX-License-Identifier: MIT */
#include "detokenize/offsets.h"

#include <assert.h>

static int stretches_reserve(struct stretches *list, size_t n)
{
    if (n <= list->room)
        return 0;
    const size_t room = n > 2 * list->room ? n : 2 * list->room;
    /* (Not PyMem_Resize, which sets the pointer to NULL where it fails.) */
    struct stretch *at =
        room > SIZE_MAX / sizeof *at ? NULL : PyMem_Realloc(list->at, room * sizeof *at);
    if (at == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    list->at = at;
    list->room = room;
    return 0;
}

/* Puts one behind the others, as one with the last of them where that is of the same tokens. */
static int stretches_add(struct stretches *list, struct stretch stretch)
{
    struct stretch *last = list->n == 0 ? NULL : &list->at[list->n - 1];
    if (stretch.chars == 0)
        return 0;
    if (last != NULL && last->first == stretch.first && last->last == stretch.last) {
        last->chars += stretch.chars;
        return 0;
    }
    if (stretches_reserve(list, list->n + 1) < 0)
        return -1;
    assert(list->at != NULL);
    list->at[list->n++] = stretch;
    return 0;
}

int stretches_copy(const struct stretches *list, struct stretches *out)
{
    *out = (struct stretches){NULL, 0, 0};
    if (list->n == 0)
        return 0;
    if (stretches_reserve(out, list->n) < 0)
        return -1;
    memcpy(out->at, list->at, list->n * sizeof *out->at);
    out->n = list->n;
    return 0;
}

/* Moves what the first `chars` characters of one list came from behind the other one. */
static int stretches_move(struct stretches *from, struct stretches *to, uint64_t chars)
{
    size_t gone = 0;
    for (; gone < from->n && chars > 0; gone++) {
        struct stretch stretch = from->at[gone];
        stretch.chars = stretch.chars < chars ? stretch.chars : chars;
        if (stretches_add(to, stretch) < 0)
            return -1;
        chars -= stretch.chars;
        from->at[gone].chars -= stretch.chars;
        if (from->at[gone].chars > 0)
            break;
    }
    if (gone == 0)
        return 0; /* there may be no list at all */
    from->n -= gone;
    memmove(from->at, from->at + gone, from->n * sizeof *from->at);
    return 0;
}

void offsets_finish(struct offsets *offsets)
{
    PyMem_Free(offsets->spans.at);
    PyMem_Free(offsets->state.pending.at);
    *offsets = (struct offsets){.on = false};
}

int offsets_trace_compiled(struct offsets *offsets, const burble_detok *detok, burble_text text)
{
    const burble_span *spans;
    size_t n;
    burble_detok_spans(detok, &spans, &n);
    for (size_t i = 0; i < n; i++) {
        const burble_text part = {text.bytes + spans[i].begin, spans[i].end - spans[i].begin};
        const struct stretch stretch = {burble_utf8_count(part.bytes, part.len), spans[i].first,
                                        spans[i].last};
        if (stretches_add(&offsets->state.pending, stretch) < 0)
            return -1;
    }
    return 0;
}

/* The text of a window comes from the tokens since it last held nothing back. */
int offsets_trace_windowed(struct offsets *offsets, burble_text text, bool end, bool holds)
{
    struct offsets_state *state = &offsets->state;
    const uint64_t last = end && state->taken > 0 ? state->taken - 1 : state->taken;
    const struct stretch stretch = {burble_utf8_count(text.bytes, text.len),
                                    state->held ? state->held_since : last, last};
    if (stretches_add(&state->pending, stretch) < 0)
        return -1;
    if (holds && !state->held)
        state->held_since = last;
    state->held = holds;
    state->taken += !end;
    return 0;
}

int offsets_trace_token(struct offsets *offsets, uint64_t chars)
{
    const uint64_t last = offsets->state.taken - 1;
    if (!offsets->on)
        return 0;
    return stretches_add(&offsets->state.pending, (struct stretch){chars, last, last});
}

int offsets_hand_out(struct offsets *offsets, uint64_t chars)
{
    return offsets->on ? stretches_move(&offsets->state.pending, &offsets->spans, chars) : 0;
}

PyObject *offsets_list(const struct offsets *offsets)
{
    /* Each object that is made may run the collector, and that whatever pushes to this detokenizer:
     * so the list is made of a copy. */
    struct stretches spans;
    if (stretches_copy(&offsets->spans, &spans) < 0)
        return NULL;
    PyObject *list = PyList_New(0);
    unsigned long long begin = 0;
    for (size_t i = 0; list != NULL && i < spans.n; i++) {
        const struct stretch *stretch = &spans.at[i];
        const unsigned long long end = begin + stretch->chars;
        PyObject *span = Py_BuildValue("KKKK", begin, end, (unsigned long long)stretch->first,
                                       (unsigned long long)stretch->last);
        if (span == NULL || PyList_Append(list, span) < 0)
            Py_CLEAR(list);
        Py_XDECREF(span);
        begin = end;
    }
    PyMem_Free(spans.at);
    return list;
}
