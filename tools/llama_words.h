/* SPDX-License-Identifier: MIT
 *
 * What the command line calls the kinds of attention and of its memory.
 */
#ifndef BURBLE_TOOLS_LLAMA_WORDS_H
#define BURBLE_TOOLS_LLAMA_WORDS_H

#include <stdbool.h>

#include <burble/llama.h>

/* auto, on or off. Returns whether `word` is one of them. */
bool read_flash_word(const char *word, burble_llama_flash *value);

/* One of the types that burble_llama_cache_name has. */
bool read_cache_word(const char *word, burble_llama_cache *value);

#endif
