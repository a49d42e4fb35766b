/* SPDX-License-Identifier: MIT
 *
 * A model: llama.cpp's, and the vocabulary that its text is made with.
 */
#ifndef BURBLE_ENGINE_LLAMA_MODEL_H
#define BURBLE_ENGINE_LLAMA_MODEL_H

#include <llama.h>

#include <burble/llama.h>

#include "base/atomic.h"
#include "engine/llama_pieces.h"
#include "engine/llama_special.h"

/* The longest text that is tokenized or made of a conversation, as llama.cpp counts with 32 bits. */
#define BURBLE__LLAMA_MAX_TEXT ((size_t)1 << 30)

struct burble_llama_model {
    struct llama_model *llama;
    const struct llama_vocab *tokens; /* llama.cpp's vocabulary, a part of `llama` */
    burble_vocab *vocab;              /* burble's */
    size_t longest; /* how many bytes of text one token stands for at most; SIZE_MAX: any number */
    _Atomic(struct burble__pieces *) pieces;     /* NULL until a grammar needs them */
    _Atomic(struct burble__specials *) specials; /* NULL until a conversation needs them */
    char *path;
    _Atomic(uint32_t) refs;
};

/* The texts of the model's tokens, which are its own; NULL: no memory. Any thread may call it. */
const struct burble__pieces *burble__llama_pieces(const burble_llama_model *model);

/* The special tokens; NULL: no memory. Any thread may call it. */
const struct burble__specials *burble__llama_specials(const burble_llama_model *model);

/* Checks that the file can be read, because llama.cpp would only report that loading failed. BURBLE_OK,
 * BURBLE_ESYSTEM (errno says why) or BURBLE_EFORMAT, and *error. */
int burble__llama_look_at(const char *path, burble_error *error);

/* Checks that text is UTF-8: for other text, llama.cpp throws a C++ exception, which ends the process.
 * BURBLE_OK, or BURBLE_EINVAL and an error that calls it `what`. */
int burble__llama_check_text(const char *what, const char *text, size_t len, burble_error *error);

/* Whether a text is too long for `context` tokens, whatever its content. Such a text is not tokenized:
 * for megabytes of text, that would take seconds, and a hundred times the text's memory. */
bool burble__llama_is_too_long(const burble_llama_model *model, size_t len, uint32_t context);

#endif
