/* SPDX-License-Identifier: MIT */
#include "serve/logprobs.h"

#include <stdbool.h>

#include <burble/error.h>

#include "base/utf8.h"

/* JSON has no infinity: OpenAI writes this for a token that is nearly impossible. */
#define LEAST_LOGPROB (-9999.0f)

static void put_logprob(struct burble__output *out, float logprob)
{
    const float most = logprob > 0 ? 0 : logprob;
    burble__put_decimal(out, (double)(most > LEAST_LOGPROB ? most : LEAST_LOGPROB), 9);
}

static void skip_alternatives(burble_text *rest, uint32_t n)
{
    burble_logprob alternative;
    for (uint32_t i = 0; i < n; i++)
        burble_logprob_read(rest, true, &alternative);
}

/* ---- chats: {"content":[{"token":…}]} --------------------------------------------------------------- */

/* The members of a token, or of an alternative. */
static void put_members(struct burble__output *out, const burble_logprob *entry)
{
    burble__put_raw(out, "{\"token\":");
    burble__put_string(out, entry->text.bytes, entry->text.len);
    burble__put_raw(out, ",\"logprob\":");
    put_logprob(out, entry->logprob);
    burble__put_raw(out, ",\"bytes\":[");
    for (size_t i = 0; i < entry->text.len; i++) {
        burble__put_raw(out, i > 0 ? "," : "");
        burble__put_integer(out, (unsigned char)entry->text.bytes[i]);
    }
    burble__put_raw(out, "]");
}

static void put_content(struct burble__output *out, burble_text rest)
{
    burble_logprob entry, alternative;
    burble__put_raw(out, "{\"content\":[");
    for (bool first = true; burble_logprob_read(&rest, false, &entry); first = false) {
        burble__put_raw(out, first ? "" : ",");
        put_members(out, &entry);
        burble__put_raw(out, ",\"top_logprobs\":[");
        for (uint32_t i = 0; i < entry.n_top; i++) {
            burble_logprob_read(&rest, true, &alternative);
            burble__put_raw(out, i > 0 ? "," : "");
            put_members(out, &alternative);
            burble__put_raw(out, "}");
        }
        burble__put_raw(out, "]}");
    }
    burble__put_raw(out, "],\"refusal\":null}");
}

/* ---- completions: {"tokens":[…],"token_logprobs":[…],…} --------------------------------------------- */

/* A token as a string; one that is no whole text is "bytes:\xe2\x82". */
static void put_token(struct burble__output *out, burble_text text)
{
    static const char hex[] = "0123456789abcdef";
    if (burble__utf8_valid(text.bytes, text.len)) {
        burble__put_string(out, text.bytes, text.len);
        return;
    }
    burble__put_raw(out, "\"bytes:");
    for (size_t i = 0; i < text.len; i++) {
        const unsigned byte = (unsigned char)text.bytes[i];
        const char escaped[] = {'\\', '\\', 'x', hex[byte >> 4], hex[byte & 15]};
        burble__put_bytes(out, escaped, sizeof escaped);
    }
    burble__put_raw(out, "\"");
}

/* The alternatives of one token: {"a":-0.1,"b":-2.3}. */
static void put_top(struct burble__output *out, burble_text *rest, uint32_t n)
{
    burble_logprob alternative;
    burble__put_raw(out, "{");
    for (uint32_t i = 0; i < n; i++) {
        burble_logprob_read(rest, true, &alternative);
        burble__put_raw(out, i > 0 ? "," : "");
        put_token(out, alternative.text);
        burble__put_raw(out, ":");
        put_logprob(out, alternative.logprob);
    }
    burble__put_raw(out, "}");
}

enum column { TOKENS, LOGPROBS, TOP, OFFSETS, N_COLUMNS };

/* One of the lists. */
static void put_column(struct burble__output *out, enum column column, burble_text rest,
                       uint32_t offset)
{
    burble_logprob entry;
    burble__put_raw(out, "[");
    for (bool first = true; burble_logprob_read(&rest, false, &entry); first = false) {
        burble__put_raw(out, first ? "" : ",");
        switch (column) {
        case TOKENS:
            put_token(out, entry.text);
            break;
        case LOGPROBS:
            put_logprob(out, entry.logprob);
            break;
        case TOP:
            put_top(out, &rest, entry.n_top);
            break;
        default:
            burble__put_integer(out, offset);
            break;
        }
        offset += (uint32_t)burble__utf8_count(entry.text.bytes, entry.text.len);
        if (column != TOP)
            skip_alternatives(&rest, entry.n_top);
    }
    burble__put_raw(out, "]");
}

static void put_columns(struct burble__output *out, burble_text logprobs, uint32_t offset)
{
    static const char *const names[] = {
        "{\"tokens\":", ",\"token_logprobs\":", ",\"top_logprobs\":", ",\"text_offset\":"};
    for (unsigned column = 0; column < N_COLUMNS; column++) {
        burble__put_raw(out, names[column]);
        put_column(out, (enum column)column, logprobs, offset);
    }
    burble__put_raw(out, "}");
}

void burble__logprobs_write(burble_serve_route route, burble_text logprobs, uint32_t offset,
                            struct burble__output *out)
{
    if (logprobs.len == 0)
        burble__put_raw(out, "null");
    else if (route == BURBLE_SERVE_CHAT)
        put_content(out, logprobs);
    else
        put_columns(out, logprobs, offset);
}
