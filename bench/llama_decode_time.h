/* SPDX-License-Identifier: MIT
 *
 * The counts of llama_decode_time.c, in a file that another process can map.
 */
#ifndef BURBLE_BENCH_LLAMA_DECODE_TIME_H
#define BURBLE_BENCH_LLAMA_DECODE_TIME_H

#include <stdint.h>

/* The variable of the environment that names the file. */
#define DECODE_TIME_VARIABLE "LLAMA_DECODE_TIME"

struct decode_time {
    _Atomic(uint64_t) ns;    /* processor time of the calling threads within llama_decode */
    _Atomic(uint64_t) calls; /* that have returned */
};

#endif
