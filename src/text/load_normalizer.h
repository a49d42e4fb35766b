/* SPDX-License-Identifier: MIT
 *
 * The normalizer in a tokenizer.json, for its added tokens.
 */
#ifndef BURBLE_TEXT_LOAD_NORMALIZER_H
#define BURBLE_TEXT_LOAD_NORMALIZER_H

#include "text/load_json.h"
#include "text/normalize.h"

/* How many steps a normalizer has, at most (nobody's has 20). */
#define BURBLE__NORMALS_MAX 64

/* How much the steps make of all added tokens together, at most: bytes of text after each step, and
 * BURBLE__NORMAL_STEP for each. (Real files: below 1 MiB.) */
#define BURBLE__NORMALS_WORK ((size_t)64 << 20)
#define BURBLE__NORMAL_STEP 16

struct burble__normalizer {
    struct burble__normal steps[BURBLE__NORMALS_MAX]; /* their texts are the file's, or owned */
    struct burble__path paths[BURBLE__NORMALS_MAX];   /* where they stand */
    size_t n;
    size_t work;
};

/* Reads the member `normalizer`, if there is one. An unknown normalizer is not an error: only texts that pass
 * through it are refused. Results as for the loaders; the normalizer must be finished in any case. */
int burble__normalizer_read(struct burble__normalizer *normalizer,
                            const struct burble__source *source, struct burble__json root);
void burble__normalizer_finish(struct burble__normalizer *normalizer);

/* Normalizes the text of a token into new memory, *made, which the caller frees by burble__free; NULL: the text
 * is unchanged. `path` is the position of the token in the file, for messages.
 * BURBLE_OK, BURBLE_EUNSUPPORTED, BURBLE_EFORMAT (the normalizer makes more of it, or of all texts together,
 * than it may) or BURBLE_ENOMEM. */
int burble__normalizer_run(struct burble__normalizer *normalizer,
                           const struct burble__source *source, const char *path,
                           burble_token *token, char **made);

#endif
