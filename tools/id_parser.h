/* SPDX-License-Identifier: MIT
 *
 * Token ids out of bytes that come in pieces: decimal numbers between white space, or four bytes
 * each, the least significant one first.
 */
#ifndef BURBLE_TOOLS_ID_PARSER_H
#define BURBLE_TOOLS_ID_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many ids `n` bytes can complete, with what is left of the last piece. */
#define ID_PARSER_ROOM(n) ((n) / 2 + 1)

struct id_parser {
    bool binary;
    uint64_t line, column; /* text: where the next byte is, counted from 1 */
    uint64_t ids;          /* how many were complete */
    size_t len;            /* of an id that is not complete yet, or of the one that is none */
    unsigned char bytes[32];
    char error[256]; /* what was expected, found and where; empty while all is well */
};

void id_parser_init(struct id_parser *parser, bool binary);

/* Takes `n` bytes and puts the ids that they complete into `ids`, which has room for
 * ID_PARSER_ROOM(n). Returns how many; where `error` is no longer empty, those before it. */
size_t id_parser_feed(struct id_parser *parser, const char *bytes, size_t n, int32_t *ids);

/* The end of the bytes: as id_parser_feed, for what is left; `ids` has room for one. */
size_t id_parser_finish(struct id_parser *parser, int32_t *ids);

#endif
