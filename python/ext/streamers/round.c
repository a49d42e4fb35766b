/* SPDX-License-Identifier: MIT */
#include "streamers/round.h"

struct round *round_create(struct core *core)
{
    struct round *round = PyMem_Calloc(1, sizeof *round);
    if (round == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    int rc = burble_stream_create(NULL, &round->stream);
    if (rc == BURBLE_OK)
        rc = burble_reader_create(round->stream, 0, &round->reader, NULL);
    if (rc != BURBLE_OK) {
        burble_stream_unref(&round->stream);
        PyMem_Free(round);
        core_raise(core, rc);
        return NULL;
    }
    round->refs = 1;
    return round;
}

struct round *round_ref(struct round *round)
{
    round->refs++;
    return round;
}

void round_unref(struct round *round)
{
    while (round != NULL && --round->refs == 0) {
        struct round *next = round->next;
        /* Nobody can write to it or read it any more. */
        burble_stream_cancel(round->stream);
        burble_reader_destroy(&round->reader);
        burble_stream_unref(&round->stream);
        Py_CLEAR(round->hub);
        producer_clear(&round->producer);
        Py_CLEAR(round->error);
        if (round->left != NULL)
            pipeline_finish(round->left);
        PyMem_Free(round->left);
        Py_CLEAR(round->match);
        PyMem_Free(round);
        round = next;
    }
}

int round_advance(struct core *core, struct round **side)
{
    struct round *round = *side;
    if (round->next == NULL && (round->next = round_create(core)) == NULL)
        return -1;
    *side = round_ref(round->next);
    round_unref(round);
    return 0;
}

int round_traverse(struct round *round, visitproc visit, void *arg)
{
    for (; round != NULL; round = round->next) {
        int visited = round->left == NULL ? 0 : pipeline_traverse(round->left, visit, arg);
        if (visited == 0)
            visited = producer_traverse(&round->producer, visit, arg);
        if (visited != 0)
            return visited;
        Py_VISIT(round->error);
        Py_VISIT(round->hub);
        Py_VISIT(round->match);
    }
    return 0;
}
