/* SPDX-License-Identifier: MIT
 *
 * Writing JSON to the end of a buffer. Text is UTF-8; bytes that are not, such as those of a token that is a part of
 * a character, become U+FFFD. Nothing is allocated while the buffer has room. Numbers do not depend on the locale.
 *
 * All functions that return an int return BURBLE_OK or BURBLE_ENOMEM; on failure, a part may have been written.
 */
#ifndef BURBLE_SERVE_JSON_H
#define BURBLE_SERVE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* The most bytes that one byte of text becomes. */
#define BURBLE__JSON_GROWTH 6

/* The most bytes of a number that is written. */
#define BURBLE__JSON_NUMBER_MAX 24

/* Text without its quotes. */
int burble__json_put_text(struct burble__buffer *out, const char *text, size_t len);

/* A string, with its quotes. */
int burble__json_put_string(struct burble__buffer *out, const char *text, size_t len);

/* A string that ends with NUL, with its quotes; NULL becomes null. */
int burble__json_put_name(struct burble__buffer *out, const char *text);

/* Bytes as they are, such as punctuation: a string that ends with NUL. */
int burble__json_put_raw(struct burble__buffer *out, const char *bytes);

int burble__json_put_integer(struct burble__buffer *out, uint64_t number);

/* A number with at most `decimals` decimals (0 to 9), without zeros at its end. Infinities and values beyond ±1e9, and what
 * is no number, become ±1e9, and 0. */
int burble__json_put_decimal(struct burble__buffer *out, double number, unsigned decimals);

/* ---- several in a row: the first failure is kept, and nothing is written after it --------------------- */

struct burble__output {
    struct burble__buffer *buffer;
    int result; /* BURBLE_OK at the beginning */
};

void burble__put_text(struct burble__output *out, const char *text, size_t len);
void burble__put_string(struct burble__output *out, const char *text, size_t len);
void burble__put_name(struct burble__output *out, const char *text);
void burble__put_raw(struct burble__output *out, const char *bytes);
void burble__put_bytes(struct burble__output *out, const char *bytes, size_t n);
void burble__put_integer(struct burble__output *out, uint64_t number);
void burble__put_decimal(struct burble__output *out, double number, unsigned decimals);

/* ---- the same for memory that has room: each returns the end of what it wrote ------------------------- */

/* For BURBLE__JSON_GROWTH * len bytes. */
char *burble__json_write_text(char *out, const char *text, size_t len);

/* For BURBLE__JSON_NUMBER_MAX bytes. */
char *burble__json_write_integer(char *out, uint64_t number);

#endif
