/* SPDX-License-Identifier: MIT */
#include "llama_words.h"

#include <string.h>

bool read_flash_word(const char *word, burble_llama_flash *value)
{
    static const char *const words[] = {"auto", "on", "off"}; /* as burble_llama_flash counts */
    for (int i = 0; i <= BURBLE_LLAMA_FLASH_OFF; i++) {
        if (strcmp(word, words[i]) == 0) {
            *value = (burble_llama_flash)i;
            return true;
        }
    }
    return false;
}

bool read_cache_word(const char *word, burble_llama_cache *value)
{
    const char *type;
    for (int i = 0; (type = burble_llama_cache_name((burble_llama_cache)i)) != NULL; i++) {
        if (strcmp(word, type) == 0) {
            *value = (burble_llama_cache)i;
            return true;
        }
    }
    return false;
}
