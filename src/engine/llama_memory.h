/* SPDX-License-Identifier: MIT
 *
 * Whether what llama.cpp is asked for fits into memory. Linux grants more memory than there is, and ends the
 * process that uses it: so this is looked at before.
 */
#ifndef BURBLE_ENGINE_LLAMA_MEMORY_H
#define BURBLE_ENGINE_LLAMA_MEMORY_H

#include <burble/llama.h>

#include "engine/llama_model.h"

/* How many bytes this process may still take: the least of what the machine has left, its control groups and
 * the limit of its address space. UINT64_MAX: unknown. */
uint64_t burble__memory_available(void);

/* Whether the weights in a file fit. BURBLE_OK, or BURBLE_ENOMEM and *error. */
int burble__memory_check_file(const char *path, const burble_llama_model_options *options,
                              burble_error *error);

/* Whether the cache and the computations of an engine fit. BURBLE_OK, or BURBLE_ENOMEM and *error. */
int burble__memory_check_engine(const burble_llama_model *model,
                                const burble_llama_engine_options *options, burble_error *error);

#endif
