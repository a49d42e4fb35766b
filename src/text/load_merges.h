/* SPDX-License-Identifier: MIT
 *
 * The largest part of a tokenizer.json, `model.merges`, is for encoding alone. This finds it, so that
 * no value has to be made of each of its hundreds of thousands of strings.
 */
#ifndef BURBLE_TEXT_LOAD_MERGES_H
#define BURBLE_TEXT_LOAD_MERGES_H

#include <stddef.h>

/* Bytes [begin, end) of a text. */
struct burble__range {
    size_t begin, end;
};

/* The text between the brackets of the array `model.merges`; empty if the file has none, or if that is not
 * certain.
 *
 * The text that is found has been read in full, and is strings and arrays of strings, in UTF-8. So the text
 * without it is JSON if, and only if, the text is; and where it is not, what is wrong is the same. */
struct burble__range burble__find_merges(const char *bytes, size_t size);

#endif
