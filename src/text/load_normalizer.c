/* SPDX-License-Identifier: MIT
 *
 * The normalizer in a tokenizer.json.
 *
 * Source of the rules: the `Deserialize` implementations below tokenizers/src/normalizers of
 * https://github.com/huggingface/tokenizers, version 0.23.3, and its Precompiled, whose table is the
 * one that SentencePiece makes.
 */
#include "text/load_normalizer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/little_endian.h"
#include "text/load_pattern.h"

/* How deep sequences of normalizers go, at most. */
#define DEPTH_MAX 16

/* The most bytes of a text between two steps: a text that is too long for a token may become shorter again. */
#define TEXT_MAX (4 * (size_t)BURBLE_VOCAB_MAX_TOKEN)

/* ---- Precompiled --------------------------------------------------------------------------------- */

/* The units of a double-array trie, as Darts-clone writes them. */
struct trie {
    const unsigned char *bytes;
    size_t n;
};

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* Whether the trie has the string of this one byte. */
static bool has_key(const struct trie *trie, uint32_t byte)
{
    const uint32_t at = offset_of(burble__get_le32(trie->bytes)) ^ byte;
    if (at >= trie->n)
        return false;
    const uint32_t unit = burble__get_le32(trie->bytes + 4 * (size_t)at);
    return (unit & (1u << 31 | 0xFF)) == byte && (unit & 1u << 8) != 0;
}

static int read_precompiled(const struct burble__source *source, struct burble__json object,
                            const char *path, struct burble__normal *normal)
{
    struct burble__json map;
    const int result = burble__json_member(source, object, path, "precompiled_charsmap",
                                           BURBLE__JSON_STRING, &map);
    if (result != BURBLE_OK)
        return result;
    const size_t characters = burble__json_text(map).len;
    size_t len = 0;
    char *bytes = burble__malloc(BURBLE__BASE64_BYTES(characters) + 1);
    if (bytes == NULL)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    const bool whole = burble__base64_decode(burble__json_text(map).bytes, characters, bytes, &len);
    const struct trie trie = {
        .bytes = (const unsigned char *)bytes + 4,
        .n = whole && len >= 4 ? burble__get_le32((const unsigned char *)bytes) / 4 : 0,
    };
    const bool fits = trie.n > 0 && trie.n <= (len - 4) / 4;
    for (uint32_t byte = 1; fits && byte < 0x80; byte++)
        normal->keys[byte] = has_key(&trie, byte);
    burble__free(bytes);
    return fits ? BURBLE_OK
                : burble__json_fail(source, burble__path_member(path, "precompiled_charsmap").text,
                                    "Base64 of a table", map);
}

/* ---- single normalizers -------------------------------------------------------------------------- */

static int read_plain(const struct burble__source *source, struct burble__json object,
                      const char *path, struct burble__normal *normal)
{
    (void)source, (void)object, (void)path, (void)normal;
    return BURBLE_OK;
}

static int read_prepend(const struct burble__source *source, struct burble__json object,
                        const char *path, struct burble__normal *normal)
{
    struct burble__json prepend;
    const int result =
        burble__json_member(source, object, path, "prepend", BURBLE__JSON_STRING, &prepend);
    normal->text = burble__json_text(prepend).bytes;
    normal->text_len = burble__json_text(prepend).len;
    return result;
}

static int read_strip(const struct burble__source *source, struct burble__json object,
                      const char *path, struct burble__normal *normal)
{
    const int result = burble__json_flag(source, object, path, "strip_left", &normal->left);
    return result == BURBLE_OK
               ? burble__json_flag(source, object, path, "strip_right", &normal->right)
               : result;
}

/* Its other rules do not change printable ASCII without capital letters. */
static int read_bert(const struct burble__source *source, struct burble__json object,
                     const char *path, struct burble__normal *normal)
{
    bool lowercase;
    const int result = burble__json_flag(source, object, path, "lowercase", &lowercase);
    normal->kind = lowercase ? BURBLE__NORMAL_LOWER_ASCII : BURBLE__NORMAL_ASCII;
    return result;
}

/* Whether the expression matches nothing but white space. */
static bool is_for_spaces(struct burble__json_text regex)
{
    static const char *const known[] = {"\\s", "\\s+", "\\s{2,}", " +", " {2,}"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (regex.len == strlen(known[i]) && memcmp(regex.bytes, known[i], regex.len) == 0)
            return true;
    return false;
}

static int read_replace(const struct burble__source *source, struct burble__json object,
                        const char *path, struct burble__normal *normal)
{
    struct burble__pattern pattern;
    struct burble__json content;
    int result = burble__pattern_read(&pattern, source, object, path);
    normal->owned = pattern.owned;
    normal->regex = pattern.regex.bytes;
    normal->regex_len = pattern.regex.len;
    if (result != BURBLE_OK)
        return result;
    result = burble__json_member(source, object, path, "content", BURBLE__JSON_STRING, &content);
    normal->text = pattern.text.bytes;
    normal->text_len = pattern.text.len;
    normal->with = burble__json_text(content).bytes;
    normal->with_len = burble__json_text(content).len;
    if (pattern.text.len == 0) {
        normal->kind = pattern.regex.bytes != NULL && is_for_spaces(pattern.regex)
                           ? BURBLE__NORMAL_SPACES
                           : BURBLE__NORMAL_OTHER;
    }
    return result;
}

typedef int read_normal_fn(const struct burble__source *, struct burble__json, const char *,
                           struct burble__normal *);

static const struct {
    const char *name;
    enum burble__normal_kind kind;
    read_normal_fn *read;
} kinds[] = {
    {"Prepend", BURBLE__NORMAL_PREPEND, read_prepend},
    {"Replace", BURBLE__NORMAL_REPLACE, read_replace},
    {"Strip", BURBLE__NORMAL_STRIP, read_strip},
    {"Lowercase", BURBLE__NORMAL_LOWER, read_plain},
    {"NFC", BURBLE__NORMAL_COMPOSE, read_plain},
    {"NFD", BURBLE__NORMAL_PLAIN, read_plain},
    {"NFKC", BURBLE__NORMAL_PLAIN, read_plain},
    {"NFKD", BURBLE__NORMAL_PLAIN, read_plain},
    {"Nmt", BURBLE__NORMAL_PLAIN, read_plain},
    {"StripAccents", BURBLE__NORMAL_PLAIN, read_plain},
    {"BertNormalizer", BURBLE__NORMAL_ASCII, read_bert},
    {"Precompiled", BURBLE__NORMAL_KEYS, read_precompiled},
};

static int read_one(struct burble__normalizer *normalizer, const struct burble__source *source,
                    struct burble__json object, const char *path, struct burble__json type)
{
    if (normalizer->n == BURBLE__NORMALS_MAX) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "%s: a normalizer of more than %d steps", path,
                                 BURBLE__NORMALS_MAX);
    }
    normalizer->paths[normalizer->n] = burble__path_member("", path);
    struct burble__normal *normal = &normalizer->steps[normalizer->n++];
    const struct burble__json_text name = burble__json_text(type);
    *normal = (struct burble__normal){.kind = BURBLE__NORMAL_OTHER, .name = name.bytes};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (burble__json_equals(type, kinds[i].name)) {
            normal->kind = kinds[i].kind;
            return kinds[i].read(source, object, path, normal);
        }
    }
    return BURBLE_OK;
}

/* A sequence is its steps one after the other, in whatever way it is nested. DEPTH_MAX bounds the
 * recursion. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int read_all(struct burble__normalizer *normalizer, const struct burble__source *source,
                    struct burble__json object, const char *path, unsigned depth)
{
    if (!burble__json_is(object, BURBLE__JSON_OBJECT))
        return burble__json_fail(source, path, "an object", object);
    struct burble__json type;
    int result = burble__json_member(source, object, path, "type", BURBLE__JSON_STRING, &type);
    if (result != BURBLE_OK)
        return result;
    if (!burble__json_equals(type, "Sequence"))
        return read_one(normalizer, source, object, path, type);
    struct burble__json parts;
    result = burble__json_member(source, object, path, "normalizers", BURBLE__JSON_ARRAY, &parts);
    if (result == BURBLE_OK && depth == DEPTH_MAX) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "%s: a normalizer of more than %d sequences in one another", path,
                                 DEPTH_MAX);
    }
    const struct burble__path at = burble__path_member(path, "normalizers");
    struct burble__json part;
    struct burble__json_cursor next = burble__json_begin(parts);
    for (size_t i = 0; result == BURBLE_OK && burble__json_item(&next, &part); i++)
        result = read_all(normalizer, source, part, burble__path_item(at.text, i).text, depth + 1);
    return result;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

int burble__normalizer_read(struct burble__normalizer *normalizer,
                            const struct burble__source *source, struct burble__json root)
{
    const struct burble__json object = burble__json_get(root, "normalizer");
    normalizer->n = 0;
    normalizer->work = 0;
    return object.at == NULL || burble__json_is(object, BURBLE__JSON_NULL)
               ? BURBLE_OK
               : read_all(normalizer, source, object, "normalizer", 0);
}

void burble__normalizer_finish(struct burble__normalizer *normalizer)
{
    while (normalizer->n > 0)
        burble__free(normalizer->steps[--normalizer->n].owned);
}

/* Reports the step that is not supported for a text. */
static int refuse(const struct burble__normalizer *normalizer, const struct burble__source *source,
                  const char *path, size_t step, const burble_token *token)
{
    const struct burble__normal *normal = &normalizer->steps[step];
    const bool is_regex = normal->regex != NULL;
    return burble__load_fail(
        source, BURBLE_EUNSUPPORTED,
        "%s: %s (%s%s%s) is not supported for the normalized %s" BURBLE__JSON_INSTEAD, path,
        normalizer->paths[step].text, burble__quote(normal->name, strlen(normal->name)).text,
        is_regex ? " with the Regex " : "",
        is_regex ? burble__quote(normal->regex, normal->regex_len).text : "",
        burble__quote(token->text, token->len).text);
}

/* Why a text could not be taken through the steps. */
static int fail(const struct burble__normalizer *normalizer, const struct burble__source *source,
                const char *path, const burble_token *token, int result, size_t step)
{
    if (result == BURBLE_EUNSUPPORTED)
        return refuse(normalizer, source, path, step, token);
    if (result == BURBLE_ENOMEM)
        return burble__load_fail(source, result, "%s", burble_result_text(result));
    return normalizer->work > BURBLE__NORMALS_WORK
               ? burble__load_fail(source, BURBLE_EFORMAT,
                                   "%s: expected at most %zu MiB of text in all steps of the "
                                   "normalizer together, found more",
                                   path, BURBLE__NORMALS_WORK >> 20)
               : burble__load_fail(source, BURBLE_EFORMAT,
                                   "%s: expected at most %u bytes, as the normalizer makes it, "
                                   "found more than %zu",
                                   path, BURBLE_VOCAB_MAX_TOKEN, TEXT_MAX);
}

int burble__normalizer_run(struct burble__normalizer *normalizer,
                           const struct burble__source *source, const char *path,
                           burble_token *token, char **made)
{
    struct burble__buffer text;
    *made = NULL;
    if (token->len == 0 || token->len > BURBLE_VOCAB_MAX_TOKEN || normalizer->n == 0)
        return BURBLE_OK; /* what is too long is refused by the table */
    burble__buffer_init(&text, TEXT_MAX);
    int result = burble__buffer_append(&text, token->text, token->len);
    for (size_t i = 0; i < normalizer->n && result == BURBLE_OK; i++) {
        result = burble__normalize(&normalizer->steps[i], &text);
        normalizer->work += text.len + BURBLE__NORMAL_STEP;
        if (result == BURBLE_OK && normalizer->work > BURBLE__NORMALS_WORK)
            result = BURBLE_EFULL;
        if (result != BURBLE_OK)
            result = fail(normalizer, source, path, token, result, i);
    }
    if (result == BURBLE_OK) {
        *made = text.bytes;
        token->text = text.bytes;
        token->len = (uint32_t)text.len;
    } else {
        burble__buffer_finish(&text);
    }
    return result;
}
