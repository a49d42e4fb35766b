/* SPDX-License-Identifier: MIT
 *
 * A model: llama.cpp's, and the vocabulary that its text is made with.
 */
#ifndef BURBLE_ENGINE_LLAMA_MODEL_H
#define BURBLE_ENGINE_LLAMA_MODEL_H

#include <llama.h>

#include <burble/llama.h>

#include "base/atomic.h"

struct burble_llama_model {
    struct llama_model *llama;
    const struct llama_vocab *tokens; /* llama.cpp's vocabulary, a part of `llama` */
    burble_vocab *vocab;              /* burble's */
    _Atomic(uint32_t) refs;
};

#endif
