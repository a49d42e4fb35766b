/* SPDX-License-Identifier: MIT
 *
 * llama.cpp says what went wrong only in its log. Here that is caught.
 */
#ifndef BURBLE_ENGINE_LLAMA_LOG_H
#define BURBLE_ENGINE_LLAMA_LOG_H

/* Makes llama.cpp ready and its log silent, once. Any thread. */
void burble__llama_begin(void);

/* Forgets what was said in this thread. */
void burble__llama_listen(void);

/* The first error that llama.cpp has logged in this thread since burble__llama_listen, on one line;
 * "llama.cpp does not say why" where there is none. Valid until the next call in this thread. */
const char *burble__llama_said(void);

#endif
