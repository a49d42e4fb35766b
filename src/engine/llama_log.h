/* SPDX-License-Identifier: MIT
 *
 * llama.cpp reports the reasons of errors only in its log. This part records them.
 */
#ifndef BURBLE_ENGINE_LLAMA_LOG_H
#define BURBLE_ENGINE_LLAMA_LOG_H

/* Makes llama.cpp ready and its log silent, once. Any thread. */
void burble__llama_begin(void);

/* Discards the messages of this thread. */
void burble__llama_listen(void);

/* The first error that llama.cpp has logged in this thread since burble__llama_listen, on one line;
 * "llama.cpp does not say why" where there is none. Valid until the next call in this thread. */
const char *burble__llama_said(void);

/* The sizes of a context's parts that llama.cpp logs while it makes one, in MiB. */
struct burble__llama_sizes {
    double cache;   /* what is kept of each token */
    double compute; /* buffers for computing, and for results */
};

/* Adds up the sizes that are logged in this thread from now on; NULL: no more. */
void burble__llama_measure(struct burble__llama_sizes *sizes);

#endif
