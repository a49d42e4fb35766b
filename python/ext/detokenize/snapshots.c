/* SPDX-License-Identifier: MIT */
#include "detokenize/snapshots.h"

#include <assert.h>

void snapshot_clear(struct snapshot *snapshot)
{
    PyMem_Free(snapshot->offsets.pending.at);
    snapshot->offsets.pending = (struct stretches){NULL, 0, 0};
    Py_CLEAR(snapshot->held);
    Py_CLEAR(snapshot->window);
}

int snapshots_init(struct snapshots *snapshots, size_t room)
{
    *snapshots = (struct snapshots){.room = 0};
    if (room == 0)
        return 0;
    snapshots->ring = PyMem_Calloc(room, sizeof *snapshots->ring);
    if (snapshots->ring == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    snapshots->room = room;
    return 0;
}

void snapshots_finish(struct snapshots *snapshots)
{
    snapshots_forget(snapshots);
    PyMem_Free(snapshots->ring);
    *snapshots = (struct snapshots){.room = 0};
}

struct snapshot *snapshots_at(const struct snapshots *snapshots, size_t back)
{
    assert(snapshots->room > 0);
    return &snapshots->ring[(snapshots->next + snapshots->room - back) % snapshots->room];
}

void snapshots_push(struct snapshots *snapshots, struct snapshot snapshot)
{
    struct snapshot *oldest = &snapshots->ring[snapshots->next];
    struct snapshot gone = *oldest;
    *oldest = snapshot;
    snapshots->next = (snapshots->next + 1) % snapshots->room;
    if (snapshots->n == snapshots->room)
        snapshot_clear(&gone);
    else
        snapshots->n++;
}

struct snapshot snapshots_pop(struct snapshots *snapshots, size_t back)
{
    for (size_t i = 1; i < back; i++)
        snapshot_clear(snapshots_at(snapshots, i));
    struct snapshot first = *snapshots_at(snapshots, back);
    snapshots->next = (snapshots->next + snapshots->room - back) % snapshots->room;
    snapshots->n -= back;
    return first;
}

void snapshots_forget(struct snapshots *snapshots)
{
    while (snapshots->n > 0) {
        struct snapshot gone = snapshots_pop(snapshots, 1);
        snapshot_clear(&gone);
    }
}

static int copy_one(struct core *core, const struct snapshot *snapshot, struct snapshot *out)
{
    *out = *snapshot;
    out->held = Py_NewRef(snapshot->held);
    out->window = NULL;
    if (stretches_copy(&snapshot->offsets.pending, &out->offsets.pending) < 0)
        goto fail;
    if (snapshot->window != NULL) {
        out->window = PyObject_CallMethodObjArgs(snapshot->window, core->str_copy, NULL);
        if (out->window == NULL)
            goto fail;
    }
    return 0;

fail:
    snapshot_clear(out);
    return -1;
}

int snapshots_copy(struct core *core, const struct snapshots *from, struct snapshots *to)
{
    for (size_t i = from->n; i > 0; i--) {
        if (copy_one(core, snapshots_at(from, i), &to->ring[to->n]) < 0)
            return -1;
        to->next = ++to->n % to->room;
    }
    return 0;
}

int snapshots_traverse(const struct snapshots *snapshots, visitproc visit, void *arg)
{
    for (size_t i = 0; i < snapshots->n; i++)
        Py_VISIT(snapshots_at(snapshots, i + 1)->window);
    return 0;
}
