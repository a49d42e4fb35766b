/* SPDX-License-Identifier: MIT
 *
 * The names of streams, and positions in them: what a client sends back as Last-Event-ID.
 *
 *     0123456789abcdef0123456789abcdef:000000000042_89abcdef
 *     stream: 128 random bits          seq          hash, of all frames up to the one with this number
 *
 * The position of an event is that of its frame. That of the end of the stream has the number of frames, which is one
 * above that of the last frame, and the last frame's hash.
 */
#ifndef BURBLE_SERVE_POSITION_H
#define BURBLE_SERVE_POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BURBLE__STREAM_ID_LEN 32
#define BURBLE__POSITION_SEQ_LEN 12
#define BURBLE__POSITION_LEN (BURBLE__STREAM_ID_LEN + 1 + BURBLE__POSITION_SEQ_LEN + 1 + 8)

/* The number of a frame is below this. */
#define BURBLE__POSITION_SEQ_END UINT64_C(1000000000000)

/* The name of a stream: 32 hexadecimal digits in lower case, and NUL. */
struct burble__stream_id {
    char hex[BURBLE__STREAM_ID_LEN + 1];
};

struct burble__position {
    struct burble__stream_id stream;
    uint64_t seq;
    uint32_t hash;
};

/* `n` random bytes, as 2 * n hexadecimal digits and NUL. BURBLE_OK, or BURBLE_ESYSTEM. */
int burble__random_hex(char *out, size_t n);

/* A new one. BURBLE_OK, or BURBLE_ESYSTEM. */
int burble__stream_id_create(struct burble__stream_id *id);

/* Reads one, also behind "chatcmpl-" or "cmpl-". */
bool burble__stream_id_parse(const char *text, size_t len, struct burble__stream_id *id);

/* Writes BURBLE__POSITION_LEN bytes, without NUL. */
void burble__position_write(const struct burble__position *position, char *out);

/* Reads one that was written, and nothing else. */
bool burble__position_parse(const char *text, size_t len, struct burble__position *position);

#endif
