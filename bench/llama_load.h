/* SPDX-License-Identifier: MIT
 *
 * How llama_load.c's workloads reach what answers them: burble's engine in the same process
 * (llama_load_engine.c), or llama-server through a socket (llama_load_server.c). One thread uses all of it.
 */
#ifndef BURBLE_BENCH_LLAMA_LOAD_H
#define BURBLE_BENCH_LLAMA_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A moment by two clocks, in seconds. On a machine that does other things, too, the second one still says how
 * much was computed between two moments. */
struct moment {
    double time; /* CLOCK_MONOTONIC */
    double cpu;  /* processor time of the answering side: transport_cpu */
};

/* A request and its answer; greedy, and not ended by the model. It stays where it is until it is over. */
struct answer {
    /* The request: token ids, or text that ends in NUL if `ids` is NULL. */
    const int32_t *ids;
    size_t n_ids;
    const char *prompt;
    unsigned max_tokens;
    /* Called for each piece of text; may be NULL. */
    void (*arrived)(struct answer *answer, const char *text, size_t len);
    struct moment submitted, first, last; /* first.time is 0 before the first text */
    unsigned tokens;                      /* received; of the server, those whose text has come */
    bool over;
    void *own; /* the transport's */
};

/* Seconds by a clock. */
double seconds_of(int clock);

/* Ends the program with a message. */
_Noreturn void die(const char *what, const char *detail);

/* For the transports: zeroed memory; the result of a system call, unless it is negative. Both end the program
 * if they fail. */
void *allocate(size_t size);
int64_t checked(int64_t result, const char *what);

/* For the transports: notes that text for `tokens` tokens has come. */
void arrive(struct answer *answer, const char *text, size_t len, unsigned tokens);

/* The program's arguments, for its usage line. */
extern const char transport_usage[];

/* Reads the arguments and connects; ends the program if they are wrong. */
void transport_open(int argc, char **argv);
void transport_close(void);

/* Submits a request. */
void transport_submit(struct answer *answer);

/* Cancels one that is not over. It is over as soon as the answering side says so (the server says nothing:
 * at once). */
void transport_cancel(struct answer *answer);

/* Takes what has come, and if nothing has, waits for it until `deadline` (CLOCK_MONOTONIC) at most. */
void transport_wait(double deadline);

/* The seconds of processor time that the answering side has used. */
double transport_cpu(void);

#endif
