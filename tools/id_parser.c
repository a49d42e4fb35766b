/* SPDX-License-Identifier: MIT */
#include "id_parser.h"

#include <inttypes.h>
#include <stdio.h>

#define EXPECTED "expected a token id (0 to 2147483647)"

void id_parser_init(struct id_parser *parser, bool binary)
{
    *parser = (struct id_parser){.binary = binary, .line = 1, .column = 1};
}

/* ---- text ------------------------------------------------------------------------------------ */

static bool is_space(unsigned char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* Says what stands in place of an id, which ended just before the parser's line and column. */
static void refuse_word(struct id_parser *parser)
{
    char shown[4 * sizeof parser->bytes + 1];
    size_t n = 0;
    const bool cut = parser->len > sizeof parser->bytes;
    bool strange = false;
    for (size_t i = 0; i < (cut ? sizeof parser->bytes : parser->len); i++) {
        const unsigned char byte = parser->bytes[i];
        if (byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\') {
            shown[n++] = (char)byte;
        } else {
            n += (size_t)snprintf(shown + n, sizeof shown - n, "\\x%02X", (unsigned)byte);
            strange = strange || byte < 0x20 || byte >= 0x7F;
        }
    }
    shown[n] = '\0';
    snprintf(parser->error, sizeof parser->error,
             EXPECTED ", found \"%s\"%s in line %" PRIu64 ", column %" PRIu64 "%s", shown,
             cut ? "..." : "", parser->line, parser->column - parser->len,
             strange ? " (binary input needs --binary)" : "");
}

/* The number that the word is; -1 where it is none, or too large. */
static int64_t number(const struct id_parser *parser)
{
    int64_t value = 0;
    if (parser->len > sizeof parser->bytes)
        return -1;
    for (size_t i = 0; i < parser->len; i++) {
        const unsigned char byte = parser->bytes[i];
        if (byte < '0' || byte > '9')
            return -1;
        value = 10 * value + (byte - '0');
        if (value > INT32_MAX)
            return -1;
    }
    return value;
}

/* A word is complete, if there is one. Returns how many ids that makes. */
static size_t end_word(struct id_parser *parser, int32_t *id)
{
    if (parser->len == 0)
        return 0;
    const int64_t value = number(parser);
    if (value < 0) {
        refuse_word(parser);
        return 0;
    }
    *id = (int32_t)value;
    parser->len = 0;
    parser->ids++;
    return 1;
}

static size_t feed_text(struct id_parser *parser, const unsigned char *bytes, size_t n,
                        int32_t *ids)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char byte = bytes[i];
        if (!is_space(byte)) {
            if (parser->len < sizeof parser->bytes)
                parser->bytes[parser->len] = byte;
            parser->len++;
            parser->column++;
            continue;
        }
        found += end_word(parser, ids + found);
        if (parser->error[0] != '\0')
            break;
        parser->column++;
        if (byte == '\n') {
            parser->line++;
            parser->column = 1;
        }
    }
    return found;
}

/* ---- binary ---------------------------------------------------------------------------------- */

static size_t feed_binary(struct id_parser *parser, const unsigned char *bytes, size_t n,
                          int32_t *ids)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        parser->bytes[parser->len++] = bytes[i];
        if (parser->len < 4)
            continue;
        const uint32_t value = (uint32_t)parser->bytes[0] | (uint32_t)parser->bytes[1] << 8
                               | (uint32_t)parser->bytes[2] << 16
                               | (uint32_t)parser->bytes[3] << 24;
        if (value > INT32_MAX) {
            snprintf(parser->error, sizeof parser->error,
                     EXPECTED ", found %" PRIu32 " (%" PRId64 ", if it is signed) at byte %" PRIu64,
                     value, (int64_t)value - ((int64_t)1 << 32), 4 * parser->ids);
            break;
        }
        ids[found++] = (int32_t)value;
        parser->len = 0;
        parser->ids++;
    }
    return found;
}

/* ---- both ------------------------------------------------------------------------------------ */

size_t id_parser_feed(struct id_parser *parser, const char *bytes, size_t n, int32_t *ids)
{
    const unsigned char *const unsigned_bytes = (const unsigned char *)bytes;
    return parser->binary ? feed_binary(parser, unsigned_bytes, n, ids)
                          : feed_text(parser, unsigned_bytes, n, ids);
}

size_t id_parser_finish(struct id_parser *parser, int32_t *ids)
{
    if (!parser->binary)
        return end_word(parser, ids);
    if (parser->len > 0) {
        snprintf(parser->error, sizeof parser->error,
                 "expected 4 bytes for each token id, found the end after %zu of them at byte "
                 "%" PRIu64,
                 parser->len, 4 * parser->ids);
    }
    return 0;
}
