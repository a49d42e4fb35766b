/* SPDX-License-Identifier: MIT
 *
 * Sizes and times, as options have them: 16K is 16 * 1024 bytes, 1.5s is one and a half seconds.
 */
#ifndef BURBLE_TOOLS_QUANTITY_H
#define BURBLE_TOOLS_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

/* The longest text of size_text and time_text, with its NUL. */
#define QUANTITY_TEXT 32

/* Reads a whole number of bytes, or of KiB, MiB or GiB (K, M, G, also KiB and so on, in either case). Returns
 * whether all of `text` is one. */
bool read_size(const char *text, uint64_t *bytes);

/* Reads a number, which may have a fraction, of ms, s, m or h; of seconds if it has no unit. */
bool read_time(const char *text, uint64_t *nanoseconds);

/* The shortest text that is read as this value; of a time that is no whole number of milliseconds, the one
 * before it. */
const char *size_text(uint64_t bytes, char text[QUANTITY_TEXT]);
const char *time_text(uint64_t nanoseconds, char text[QUANTITY_TEXT]);

#endif
