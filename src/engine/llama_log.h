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

#endif
