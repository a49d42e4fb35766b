/* SPDX-License-Identifier: MIT
 *
 * tiktoken's rank files: in each line a token's bytes in Base64, a space, and its rank, which is its
 * id. Special tokens are not in such a file.
 *
 * Source of the rules: load_tiktoken_bpe in tiktoken/load.py of https://github.com/openai/tiktoken.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "text/load.h"

struct ranks {
    const struct burble__source *source;
    struct burble__table table;
    char *texts; /* the tokens' bytes, one after the other */
    size_t used;
};

/* A number and nothing else; false where it has no digit, another character or too many. */
static bool read_number(const char *text, size_t len, int64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 18)
            return false;
        *out = *out * 10 + (text[i] - '0');
    }
    return len > 0;
}

static int read_line(struct ranks *ranks, const char *line, size_t len, size_t number)
{
    const char *space = memchr(line, ' ', len);
    int64_t id;
    if (space == NULL || !read_number(space + 1, len - (size_t)(space + 1 - line), &id)) {
        return burble__load_fail(ranks->source, BURBLE_EFORMAT,
                                 "line %zu: expected Base64, a space and a rank, found %s", number,
                                 burble__quote(line, len).text);
    }
    char *text = ranks->texts + ranks->used;
    size_t n;
    if (space == line || !burble__base64_decode(line, (size_t)(space - line), text, &n)) {
        return burble__load_fail(ranks->source, BURBLE_EFORMAT,
                                 "line %zu: expected Base64, found %s", number,
                                 burble__quote(line, (size_t)(space - line)).text);
    }
    ranks->used += n;
    const burble_token token = {text, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n, 0};
    return burble__table_put(&ranks->table, ranks->source, id, token,
                             (struct burble__place){"line", number});
}

/* Lines end with "\n" or "\r\n"; the last one need not end. Empty ones do not count. */
static int read_lines(struct ranks *ranks)
{
    const char *at = ranks->source->bytes;
    const char *const end = at + ranks->source->size;
    for (size_t number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *const next = stop == NULL ? end : stop + 1;
        stop = stop == NULL ? end : stop;
        if (stop > at && stop[-1] == '\r')
            stop--;
        const int result =
            stop == at ? BURBLE_OK : read_line(ranks, at, (size_t)(stop - at), number);
        if (result != BURBLE_OK)
            return result;
        at = next;
    }
    return BURBLE_OK;
}

int burble__load_tiktoken(const struct burble__source *source, burble_vocab **out)
{
    struct ranks ranks = {.source = source};
    burble__table_init(&ranks.table, source);
    ranks.texts = burble__malloc(BURBLE__BASE64_BYTES(source->size) + 1);
    if (ranks.texts == NULL)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    int result = read_lines(&ranks);
    if (result == BURBLE_OK && ranks.table.n == 0) {
        result = burble__load_fail(source, BURBLE_EFORMAT,
                                   "expected lines of Base64, a space and a rank, found none");
    }
    if (result == BURBLE_OK) {
        burble_vocab_options options;
        burble_vocab_options_init(&options);
        result = burble__table_compile(&ranks.table, source, &options, out);
    }
    burble__free(ranks.texts);
    burble__table_finish(&ranks.table);
    return result;
}
