/* SPDX-License-Identifier: MIT
 *
 * Snapshots of a detokenizer's sequence, for going back: a ring of them, one before each of the last tokens.
 */
#ifndef BURBLE_PYTHON_SNAPSHOTS_H
#define BURBLE_PYTHON_SNAPSHOTS_H

#include "common/core.h"
#include "detokenize/offsets.h"

/* A stop string that was met; begin and end in characters of the text that was searched. */
struct met {
    size_t which;
    uint64_t begin, end;
};

/* How far a sequence has come. */
struct progress {
    bool stopped;    /* it is over, by a stop string or an ender: no more text comes */
    bool has_met;    /* by a stop string; or it was the last sequence and no other has begun */
    struct met met;  /* where has_met */
    uint64_t chars;  /* characters that have passed the stop filter */
    uint64_t handed; /* characters handed out; counted only with `rewind` or `offsets` */
};

/* A sequence before a token; but for its burble_detok, which remembers that by itself. */
struct snapshot {
    PyObject *window; /* a copy; or NULL */
    PyObject *held;   /* the bytes that the stop filter held back */
    struct progress progress;
    struct offsets_state offsets;
};

struct snapshots {
    struct snapshot *ring; /* NULL: none are kept */
    size_t room;
    size_t next; /* the next one goes here */
    size_t n;    /* the last n are set */
};

void snapshot_clear(struct snapshot *snapshot);

/* 0, or -1 with an exception. */
int snapshots_init(struct snapshots *snapshots, size_t room);
void snapshots_finish(struct snapshots *snapshots);

/* The one before the last `back` tokens, from 1 to n. */
struct snapshot *snapshots_at(const struct snapshots *snapshots, size_t back);

/* Takes the snapshot, in place of the oldest one where there is no room. */
void snapshots_push(struct snapshots *snapshots, struct snapshot snapshot);

/* Removes the last `back`, from 1 to n, and returns the first of these, which is the caller's. */
struct snapshot snapshots_pop(struct snapshots *snapshots, size_t back);

void snapshots_forget(struct snapshots *snapshots);

/* Fills `to`, which is empty and has as much room. 0, or -1 with an exception. */
int snapshots_copy(struct core *core, const struct snapshots *from, struct snapshots *to);

int snapshots_traverse(const struct snapshots *snapshots, visitproc visit, void *arg);

#endif
