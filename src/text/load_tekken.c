/* SPDX-License-Identifier: MIT
 *
 * mistral-common's Tekken files: bytes in Base64, behind special tokens.
 *
 * Source of the rules: Tekkenizer in mistral_common/tokens/tokenizers/tekken.py of
 * https://github.com/mistralai/mistral-common, version 1.13.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "text/load_json.h"

/* The last version of the format whose files may leave the special tokens out. */
#define LAST_WITHOUT_SPECIAL 7

/* Which those are, then: DEPRECATED_SPECIAL_TOKENS. */
static const char *const implied[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};
#define IMPLIED (sizeof implied / sizeof implied[0])

/* Room for "<SPECIAL_16777215>", what special ids without a token are called. */
#define FILLER_MAX 24

struct tekken {
    const struct burble__source *source;
    struct burble__table table;
    size_t n_ids;
    size_t n_special;
    char *texts; /* what the file has in Base64, and the fillers */
    size_t used;
};

/* ---- config -------------------------------------------------------------------------------------- */

static int read_size(const struct tekken *tekken, struct burble__json config, const char *key,
                     size_t *out)
{
    struct burble__json value = burble__json_get(config, key);
    const int64_t size = burble__json_integer(value);
    if (!burble__json_is(value, BURBLE__JSON_INTEGER) || size < 0
        || (uint64_t)size > tekken->table.max) {
        char expected[64];
        snprintf(expected, sizeof expected, "an integer from 0 to %zu", tekken->table.max);
        return burble__json_fail(tekken->source, burble__path_member("config", key).text, expected,
                                 value);
    }
    *out = (size_t)size;
    return BURBLE_OK;
}

static int read_config(struct tekken *tekken, struct burble__json config)
{
    int result = read_size(tekken, config, "default_vocab_size", &tekken->n_ids);
    if (result == BURBLE_OK)
        result = read_size(tekken, config, "default_num_special_tokens", &tekken->n_special);
    if (result == BURBLE_OK && tekken->n_special > tekken->n_ids) {
        result = burble__load_fail(tekken->source, BURBLE_EFORMAT,
                                   "config.default_num_special_tokens: expected at most "
                                   "default_vocab_size (%zu), found %zu",
                                   tekken->n_ids, tekken->n_special);
    }
    return result;
}

/* ---- special tokens ------------------------------------------------------------------------------ */

static int put_special(struct tekken *tekken, size_t id, burble_token token)
{
    token.flags = BURBLE_TOKEN_SPECIAL;
    return burble__table_put(&tekken->table, tekken->source, (int64_t)id, token,
                             (struct burble__place){"special token", id});
}

/* Whether the file says that this entry's rank is its place, which is what the library goes by. */
static int check_rank(const struct tekken *tekken, struct burble__json object, const char *path,
                      size_t i)
{
    struct burble__json rank;
    const int result =
        burble__json_member(tekken->source, object, path, "rank", BURBLE__JSON_INTEGER, &rank);
    if (result == BURBLE_OK && burble__json_integer(rank) != (int64_t)i) {
        char expected[48];
        snprintf(expected, sizeof expected, "its place, %zu", i);
        return burble__json_fail(tekken->source, burble__path_member(path, "rank").text, expected,
                                 rank);
    }
    return result;
}

static int read_special(struct tekken *tekken, struct burble__json list)
{
    struct burble__json object;
    struct burble__json_cursor next = burble__json_begin(list);
    for (size_t i = 0; burble__json_item(&next, &object); i++) {
        const struct burble__path at = burble__path_item("special_tokens", i);
        struct burble__json text;
        int result = burble__json_member(tekken->source, object, at.text, "token_str",
                                         BURBLE__JSON_STRING, &text);
        if (result == BURBLE_OK)
            result = check_rank(tekken, object, at.text, i);
        if (result == BURBLE_OK)
            result = put_special(tekken, i, burble__json_token(text, 0));
        if (result != BURBLE_OK)
            return result;
    }
    return BURBLE_OK;
}

/* Whether a file of this version ("v3") may leave the special tokens out. */
static bool may_imply(struct burble__json version)
{
    const char *name = burble__json_text(version).bytes;
    return name != NULL && name[0] == 'v' && name[1] >= '0' && name[1] <= '9'
           && strtol(name + 1, NULL, 10) <= LAST_WITHOUT_SPECIAL;
}

static int imply_special(struct tekken *tekken)
{
    int result = BURBLE_OK;
    for (size_t i = 0; i < IMPLIED && result == BURBLE_OK; i++) {
        const burble_token token = {implied[i], (uint32_t)strlen(implied[i]), 0};
        result = put_special(tekken, i, token);
    }
    return result;
}

/* The special ids that no entry is for. */
static int fill_special(struct tekken *tekken, size_t from)
{
    int result = BURBLE_OK;
    for (size_t i = from; i < tekken->n_special && result == BURBLE_OK; i++) {
        char *text = tekken->texts + tekken->used;
        const int len = snprintf(text, FILLER_MAX, "<SPECIAL_%zu>", i);
        tekken->used += (size_t)len;
        result = put_special(tekken, i, (burble_token){text, (uint32_t)len, 0});
    }
    return result;
}

static int read_all_special(struct tekken *tekken, struct burble__json root,
                            struct burble__json config)
{
    struct burble__json list = burble__json_get(root, "special_tokens");
    const bool none = list.at == NULL || burble__json_is(list, BURBLE__JSON_NULL);
    if ((none && !may_imply(burble__json_get(config, "version")))
        || (!none && !burble__json_is(list, BURBLE__JSON_ARRAY))) {
        return burble__json_fail(tekken->source, "special_tokens", "an array", list);
    }
    const size_t n = none ? IMPLIED : burble__json_size(list);
    if (n > tekken->n_special) {
        return burble__load_fail(tekken->source, BURBLE_EFORMAT,
                                 "special_tokens: expected at most %zu "
                                 "(config.default_num_special_tokens), found %zu",
                                 tekken->n_special, n);
    }
    const int result = none ? imply_special(tekken) : read_special(tekken, list);
    return result == BURBLE_OK ? fill_special(tekken, n) : result;
}

/* ---- vocabulary ---------------------------------------------------------------------------------- */

static int read_token(struct tekken *tekken, struct burble__json object, size_t i)
{
    const struct burble__path at = burble__path_item("vocab", i);
    struct burble__json base64;
    int result = check_rank(tekken, object, at.text, i);
    if (result == BURBLE_OK) {
        result = burble__json_member(tekken->source, object, at.text, "token_bytes",
                                     BURBLE__JSON_STRING, &base64);
    }
    if (result != BURBLE_OK)
        return result;
    char *text = tekken->texts + tekken->used;
    size_t len;
    const struct burble__json_text written = burble__json_text(base64);
    if (!burble__base64_decode(written.bytes, written.len, text, &len)) {
        return burble__json_fail(tekken->source, burble__path_member(at.text, "token_bytes").text,
                                 "Base64", base64);
    }
    tekken->used += len;
    const burble_token token = {text, len > UINT32_MAX ? UINT32_MAX : (uint32_t)len, 0};
    return burble__table_put(&tekken->table, tekken->source, (int64_t)(tekken->n_special + i),
                             token, (struct burble__place){"vocab, item", i});
}

/* Of the tokens in the file, only as many count as the configuration says. */
static int read_vocab(struct tekken *tekken, struct burble__json root)
{
    struct burble__json vocab;
    int result = burble__json_member(tekken->source, root, "", "vocab", BURBLE__JSON_ARRAY, &vocab);
    if (result != BURBLE_OK)
        return result;
    const size_t n = tekken->n_ids - tekken->n_special;
    if (n > burble__json_size(vocab)) {
        return burble__load_fail(tekken->source, BURBLE_EFORMAT,
                                 "vocab: expected at least %zu tokens (config.default_vocab_size "
                                 "less the special ones), found %zu",
                                 n, burble__json_size(vocab));
    }
    struct burble__json object;
    struct burble__json_cursor next = burble__json_begin(vocab);
    for (size_t i = 0; i < n && result == BURBLE_OK && burble__json_item(&next, &object); i++)
        result = read_token(tekken, object, i);
    return result;
}

int burble__load_tekken(const struct burble__source *source, struct burble__json root,
                        burble_vocab **out)
{
    struct tekken tekken = {.source = source};
    struct burble__json config;
    int result = burble__json_member(source, root, "", "config", BURBLE__JSON_OBJECT, &config);
    if (result != BURBLE_OK)
        return result;
    burble__table_init(&tekken.table, source);
    result = read_config(&tekken, config);
    if (result != BURBLE_OK)
        return result;
    /* Base64 of all tokens together is shorter than the file. */
    tekken.texts =
        burble__malloc(BURBLE__BASE64_BYTES(source->size) + tekken.n_special * FILLER_MAX);
    if (tekken.texts == NULL)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    result = read_all_special(&tekken, root, config);
    if (result == BURBLE_OK)
        result = read_vocab(&tekken, root);
    if (result == BURBLE_OK) {
        burble_vocab_options options;
        burble_vocab_options_init(&options);
        options.special_breaks = true; /* Tekkenizer decodes what is between them by itself */
        result = burble__table_compile(&tekken.table, source, &options, out);
    }
    burble__free(tekken.texts);
    burble__table_finish(&tekken.table);
    return result;
}
