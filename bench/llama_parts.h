/* SPDX-License-Identifier: MIT
 *
 * The counts of llama_parts.c, in a file that another process can map.
 */
#ifndef BURBLE_BENCH_LLAMA_PARTS_H
#define BURBLE_BENCH_LLAMA_PARTS_H

#include <stdatomic.h>
#include <stdint.h>

/* The variable of the environment that names the file. */
#define PARTS_VARIABLE "LLAMA_PARTS"

/* (llama_parts.py has them in the same order.) */
enum part {
    PART_STEP,   /* the batch, the slots, the counts, and what is between the others */
    PART_DECODE, /* llama_decode */
    PART_CHOICE, /* from the logits to the token */
    PART_TEXT,   /* detokenizer and chunker */
    PART_FRAME,  /* encoding frames */
    PART_STREAM, /* appending to streams */
    PART_WAKE,   /* the system call that wakes the reader */
    PARTS
};

struct parts {
    _Atomic(uint64_t) ns[PARTS];
    _Atomic(uint64_t) steps;
};

#endif
