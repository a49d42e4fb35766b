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

/* How deep sequences of normalizers go, at most. */
#define DEPTH_MAX 16

/* How long a text may become between two steps, in bytes: what is too long for a token may become shorter
 * again. */
#define TEXT_MAX (4 * (size_t)BURBLE_VOCAB_MAX_TOKEN)

/* ---- Precompiled --------------------------------------------------------------------------------- */

/* The units of a double-array trie, as Darts-clone writes them. */
struct trie {
    const unsigned char *bytes;
    size_t n;
};

static uint32_t read_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16
           | (uint32_t)bytes[3] << 24;
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* Whether the trie has the string of this one byte. */
static bool has_key(const struct trie *trie, uint32_t byte)
{
    const uint32_t at = offset_of(read_u32(trie->bytes)) ^ byte;
    if (at >= trie->n) {
        return false;
    }
    const uint32_t unit = read_u32(trie->bytes + 4 * (size_t)at);
    return (unit & (1u << 31 | 0xFF)) == byte && (unit & 1u << 8) != 0;
}

static int read_precompiled(const struct burble__source *source, const json_t *object,
                            const char *path, struct burble__normal *normal)
{
    json_t *map;
    const int result =
        burble__json_member(source, object, path, "precompiled_charsmap", JSON_STRING, &map);
    if (result != BURBLE_OK) {
        return result;
    }
    const size_t characters = json_string_length(map);
    size_t len = 0;
    char *bytes = burble__malloc(BURBLE__BASE64_BYTES(characters) + 1);
    if (bytes == NULL) {
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    }
    const bool whole = burble__base64_decode(json_string_value(map), characters, bytes, &len);
    const struct trie trie = {
        .bytes = (const unsigned char *)bytes + 4,
        .n = whole && len >= 4 ? read_u32((const unsigned char *)bytes) / 4 : 0,
    };
    const bool fits = trie.n > 0 && trie.n <= (len - 4) / 4;
    for (uint32_t byte = 1; fits && byte < 0x80; byte++) {
        normal->keys[byte] = has_key(&trie, byte);
    }
    burble__free(bytes);
    return fits ? BURBLE_OK
                : burble__json_fail(source, burble__path_member(path, "precompiled_charsmap").text,
                                    "Base64 of a table", map);
}

/* ---- single normalizers -------------------------------------------------------------------------- */

static int read_text(const struct burble__source *source, const json_t *object, const char *path,
                     const char *key, const char **text, size_t *len)
{
    json_t *string;
    const int result = burble__json_member(source, object, path, key, JSON_STRING, &string);
    *text = json_string_value(string);
    *len = json_string_length(string);
    return result;
}

static int read_flag(const struct burble__source *source, const json_t *object, const char *path,
                     const char *key, bool *out)
{
    const json_t *flag = json_object_get(object, key);
    *out = json_is_true(flag);
    return json_is_boolean(flag) ? BURBLE_OK
                                 : burble__json_fail(source, burble__path_member(path, key).text,
                                                     "true or false", flag);
}

static int read_plain(const struct burble__source *source, const json_t *object, const char *path,
                      struct burble__normal *normal)
{
    (void)source, (void)object, (void)path, (void)normal;
    return BURBLE_OK;
}

static int read_prepend(const struct burble__source *source, const json_t *object, const char *path,
                        struct burble__normal *normal)
{
    return read_text(source, object, path, "prepend", &normal->text, &normal->text_len);
}

static int read_strip(const struct burble__source *source, const json_t *object, const char *path,
                      struct burble__normal *normal)
{
    const int result = read_flag(source, object, path, "strip_left", &normal->left);
    return result == BURBLE_OK ? read_flag(source, object, path, "strip_right", &normal->right)
                               : result;
}

/* Without capital letters in it, printable ASCII is all the same to the rest of what it does. */
static int read_bert(const struct burble__source *source, const json_t *object, const char *path,
                     struct burble__normal *normal)
{
    bool lowercase;
    const int result = read_flag(source, object, path, "lowercase", &lowercase);
    normal->kind = lowercase ? BURBLE__NORMAL_LOWER_ASCII : BURBLE__NORMAL_ASCII;
    return result;
}

/* Whether the expression matches nothing but white space. */
static bool is_for_spaces(const char *regex)
{
    static const char *const known[] = {"\\s", "\\s+", "\\s{2,}", " +", " {2,}"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(regex, known[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int read_replace(const struct burble__source *source, const json_t *object, const char *path,
                        struct burble__normal *normal)
{
    json_t *pattern;
    int result = burble__json_member(source, object, path, "pattern", JSON_OBJECT, &pattern);
    if (result != BURBLE_OK) {
        return result;
    }
    const struct burble__path at = burble__path_member(path, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    if (json_is_string(regex)) {
        normal->kind =
            is_for_spaces(json_string_value(regex)) ? BURBLE__NORMAL_SPACES : BURBLE__NORMAL_OTHER;
        return BURBLE_OK;
    }
    result = read_text(source, pattern, at.text, "String", &normal->text, &normal->text_len);
    if (result == BURBLE_OK) {
        result = read_text(source, object, path, "content", &normal->with, &normal->with_len);
    }
    if (normal->text_len == 0) {
        normal->kind = BURBLE__NORMAL_OTHER;
    }
    return result;
}

typedef int read_normal_fn(const struct burble__source *, const json_t *, const char *,
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
                    const json_t *object, const char *path, const char *name)
{
    if (normalizer->n == BURBLE__NORMALS_MAX) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "%s: a normalizer of more than %d steps", path,
                                 BURBLE__NORMALS_MAX);
    }
    struct burble__normal *normal = &normalizer->steps[normalizer->n++];
    *normal = (struct burble__normal){.kind = BURBLE__NORMAL_OTHER, .name = name};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
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
                    const json_t *object, const char *path, unsigned depth)
{
    if (!json_is_object(object)) {
        return burble__json_fail(source, path, "an object", object);
    }
    json_t *type;
    int result = burble__json_member(source, object, path, "type", JSON_STRING, &type);
    if (result != BURBLE_OK) {
        return result;
    }
    if (strcmp(json_string_value(type), "Sequence") != 0) {
        return read_one(normalizer, source, object, path, json_string_value(type));
    }
    json_t *parts;
    result = burble__json_member(source, object, path, "normalizers", JSON_ARRAY, &parts);
    if (result == BURBLE_OK && depth == DEPTH_MAX) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "%s: a normalizer of more than %d sequences in one another", path,
                                 DEPTH_MAX);
    }
    const struct burble__path at = burble__path_member(path, "normalizers");
    for (size_t i = 0; result == BURBLE_OK && i < json_array_size(parts); i++) {
        result = read_all(normalizer, source, json_array_get(parts, i),
                          burble__path_item(at.text, i).text, depth + 1);
    }
    return result;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

int burble__normalizer_read(struct burble__normalizer *normalizer,
                            const struct burble__source *source, const json_t *root)
{
    const json_t *object = json_object_get(root, "normalizer");
    normalizer->n = 0;
    normalizer->made = 0;
    return object == NULL || json_is_null(object)
               ? BURBLE_OK
               : read_all(normalizer, source, object, "normalizer", 0);
}

int burble__normalizer_run(struct burble__normalizer *normalizer,
                           const struct burble__source *source, const char *path, json_t *content)
{
    struct burble__buffer text;
    size_t failed = 0;
    const size_t len = json_string_length(content);
    if (len == 0 || len > BURBLE_VOCAB_MAX_TOKEN || normalizer->n == 0) {
        return BURBLE_OK; /* what is too long is refused by the table */
    }
    burble__buffer_init(&text, TEXT_MAX);
    int result = burble__normalize(normalizer->steps, normalizer->n, json_string_value(content),
                                   len, &text, &failed);
    if (result == BURBLE_EUNSUPPORTED) {
        burble__load_fail(
            source, result, "%s: the normalizer %s of %s, which is normalized", path,
            burble__quote(normalizer->steps[failed].name, strlen(normalizer->steps[failed].name))
                .text,
            burble__quote(json_string_value(content), len).text);
    } else if (result == BURBLE_EFULL) {
        result = burble__load_fail(
            source, BURBLE_EFORMAT,
            "%s: expected at most %u bytes, as the normalizer makes it, found more than %zu", path,
            BURBLE_VOCAB_MAX_TOKEN, TEXT_MAX);
    } else if (result == BURBLE_OK && normalizer->made + text.len > BURBLE_VOCAB_MAX_TEXT) {
        result = burble__load_fail(source, BURBLE_EFORMAT,
                                   "%s: expected at most %u bytes in all that the normalizer "
                                   "makes, found %zu up to here",
                                   path, BURBLE_VOCAB_MAX_TEXT, normalizer->made + text.len);
    } else if (result == BURBLE_OK
               && json_string_setn_nocheck(content, text.len == 0 ? "" : text.bytes, text.len)
                      != 0) {
        result = BURBLE_ENOMEM;
    }
    normalizer->made += text.len;
    burble__buffer_finish(&text);
    return result;
}
