/* SPDX-License-Identifier: MIT
 *
 * The detokenizer's law, against an oracle that sees the whole sequence at once.
 */
#include "support.h"

#include <string.h>

/* The source rather than its header: to set the bound of a detokenizer's buffer. */
#include "text/detok.c" /* NOLINT(bugprone-suspicious-include) */

#define R "\xEF\xBF\xBD"

enum {
    LONGEST = 32,   /* ids in a sequence */
    MAX_TEXT = 1024 /* bytes of its text */
};

/* ---- vocabularies, each token given by what it stands for ------------------------------------ */

struct entry {
    const char *bytes;
    uint32_t flags;
    bool byte; /* byte fallback: a byte token */
};

#define SPECIAL BURBLE_TOKEN_SPECIAL
#define ABSENT BURBLE_TOKEN_ABSENT

enum { LEVEL_E4 = 3, LEVEL_B8, LEVEL_AD, LEVEL_S = 9, LEVEL_GONE, LEVEL_EMPTY };

static const struct entry level[] = {
    {.bytes = "a"},        {.bytes = " b"},           {.bytes = "中"},
    {.bytes = "\xE4"},     {.bytes = "\xB8"},         {.bytes = "\xAD"},
    {.bytes = "\xE4\xB8"}, {.bytes = " \xE4\xB8"},    {.bytes = "\xAD\xE4"},
    {"<s>", SPECIAL, 0},   {"gone", ABSENT, 0},       {.bytes = ""},
    {.bytes = "\xF0\x9F"}, {.bytes = "\x98"},         {.bytes = "\x80"},
    {.bytes = "\xFF"},     {.bytes = "\xC3"},         {.bytes = "\xA9\xC3"},
    {.bytes = "\xED"},     {.bytes = "\xA0"},         {.bytes = "\xF0\x9F\x98"},
    {.bytes = "\n"},       {"s\xE4\xB8", SPECIAL, 0}, {.bytes = "\xAD, a long piece 😀\xF4"},
};

enum { FALL_SPACE = 1, FALL_S = 4, FALL_GONE, FALL_EMPTY, FALL_E4, FALL_B8, FALL_AD, FALL_20 };

static const struct entry fall[] = {
    {.bytes = "a"},      {.bytes = " "},      {.bytes = "  b "},       {.bytes = "中"},
    {"<s>", SPECIAL, 0}, {"gone", ABSENT, 0}, {.bytes = ""},           {"\xE4", 0, true},
    {"\xB8", 0, true},   {"\xAD", 0, true},   {" ", 0, true},          {"A", 0, true},
    {"\xF0", 0, true},   {"\x9F", 0, true},   {"\x98", 0, true},       {"\x80", 0, true},
    {"\xFF", 0, true},   {"\xC3", 0, true},   {"\xA9", SPECIAL, true}, {"\xED", 0, true},
    {"\xA0", 0, true},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct family {
    bool fallback;
    uint32_t strip_left;
    const struct entry *entries;
    size_t n;
};

static const struct family byte_level = {false, 0, level, COUNT(level)};
static const struct family byte_fallback = {true, 1, fall, COUNT(fall)};
static const struct family byte_fallback_2 = {true, 2, fall, COUNT(fall)};
static const struct family byte_fallback_0 = {true, 0, fall, COUNT(fall)};

/* Spells bytes in GPT-2's alphabet. */
static void spell_level(const char *bytes, char *out)
{
    for (; *bytes != '\0'; bytes++) {
        const unsigned byte = (unsigned char)*bytes;
        unsigned character = byte;
        if (byte <= 0x20)
            character = 0x100 + byte;
        else if (byte >= 0x7F && byte <= 0xA0)
            character = 0x121 + byte - 0x7F;
        else if (byte == 0xAD)
            character = 0x143;
        if (character >= 0x80) {
            *out++ = (char)(0xC0 | character >> 6);
            character = 0x80 | (character & 0x3F);
        }
        *out++ = (char)character;
    }
    *out = '\0';
}

/* Spells text with U+2581 for spaces, and byte tokens. */
static void spell_fall(const struct entry *entry, char *out)
{
    if (entry->byte) {
        sprintf(out, "<0x%02X>", (unsigned)(unsigned char)entry->bytes[0]);
        return;
    }
    for (const char *c = entry->bytes; *c != '\0'; c++)
        out += sprintf(out, "%.*s", *c == ' ' ? 3 : 1, *c == ' ' ? "▁" : c);
    *out = '\0';
}

static burble_vocab *new_vocab(const struct family *family)
{
    static char spelled[LONGEST][64];
    burble_token tokens[LONGEST];
    const burble_step as_bytes = {.kind = BURBLE_STEP_BYTE_LEVEL};
    const burble_step with_fallback[] = {
        {.kind = BURBLE_STEP_REPLACE, .text = "▁", .with = " "},
        {.kind = BURBLE_STEP_BYTE_FALLBACK},
        {.kind = BURBLE_STEP_FUSE},
        {.kind = BURBLE_STEP_STRIP, .text = " ", .start = family->strip_left},
    };
    const burble_vocab_options options = {
        .steps = family->fallback ? with_fallback : &as_bytes,
        .n_steps = family->fallback ? COUNT(with_fallback) : 1,
    };
    burble_vocab *vocab;
    assert_true(family->n <= LONGEST);
    for (size_t i = 0; i < family->n; i++) {
        if (!family->fallback)
            spell_level(family->entries[i].bytes, spelled[i]);
        else
            spell_fall(&family->entries[i], spelled[i]);
        tokens[i] = (burble_token){.text = spelled[i],
                                   .len = (uint32_t)strlen(spelled[i]),
                                   .flags = family->entries[i].flags};
    }
    assert_result(burble_vocab_create(&options, tokens, family->n, &vocab, NULL), BURBLE_OK);
    return vocab;
}

static burble_detok *new_detok(const struct family *family, bool skip_special)
{
    burble_vocab *vocab = new_vocab(family);
    burble_detok_options options;
    burble_detok *detok;
    burble_detok_options_init(&options);
    assert_false(options.skip_special);
    options.skip_special = skip_special;
    assert_result(burble_detok_create(vocab, &options, &detok), BURBLE_OK);
    burble_vocab_unref(&vocab); /* the detokenizer has its own reference */
    return detok;
}

/* ---- the oracle ------------------------------------------------------------------------------ */

struct sequence {
    size_t len;
    size_t settled; /* oracle: bytes of it that no later id can change */
    char bytes[MAX_TEXT];
};

static void put(struct sequence *text, const char *bytes, size_t n)
{
    assert_true(text->len + n <= sizeof text->bytes);
    memcpy(text->bytes + text->len, bytes, n);
    text->len += n;
}

/* How long a character is that begins with this byte; 0 where none does. */
static size_t whole_length(unsigned lead)
{
    return lead < 0x80   ? 1
           : lead < 0xC0 ? 0
           : lead < 0xE0 ? 2
           : lead < 0xF0 ? 3
           : lead < 0xF8 ? 4
                         : 0;
}

/* Whether some character begins with these bytes: the least and the greatest number that they could
 * become, compared with what numbers of that length there are. */
static bool begins_character(const char *bytes, size_t n)
{
    static const uint32_t lead_bits[] = {0, 0x7F, 0x1F, 0xF, 7};
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t whole = whole_length((unsigned char)bytes[0]);
    if (whole < n)
        return false;
    uint32_t low = (unsigned char)bytes[0] & lead_bits[whole];
    uint32_t high = low;
    for (size_t i = 1; i < whole; i++) {
        if (i < n && ((unsigned char)bytes[i] & 0xC0) != 0x80)
            return false;
        low = low << 6 | (i < n ? (unsigned char)bytes[i] & 0x3Fu : 0);
        high = high << 6 | (i < n ? (unsigned char)bytes[i] & 0x3Fu : 0x3F);
    }
    low = low < least[whole] ? least[whole] : low;
    high = high > 0x10FFFF ? 0x10FFFF : high;
    return low <= high && !(low >= 0xD800 && high <= 0xDFFF);
}

/* Decodes bytes that lie behind one another; `open` says that more may follow. */
static void decode(struct sequence *text, const char *bytes, size_t n, bool per_byte, bool open)
{
    for (size_t at = 0; at < n;) {
        size_t len = 0;
        while (at + len < n && len < 4 && begins_character(bytes + at, len + 1))
            len++;
        if (open && len > 0 && at + len == n && len < whole_length((unsigned char)bytes[at]))
            text->settled = text->len;
        if (len > 0 && len == whole_length((unsigned char)bytes[at])) {
            put(text, bytes + at, len);
        } else {
            len = len == 0 ? 1 : len;
            for (size_t i = 0; i < (per_byte ? len : 1); i++)
                put(text, R, 3);
        }
        at += len;
    }
}

/* The text of a whole sequence of ids. */
static struct sequence oracle(const struct family *family, bool skip_special, const int32_t *ids,
                              size_t n)
{
    const bool per_byte = family->fallback;
    struct sequence text = {.settled = MAX_TEXT};
    char run[MAX_TEXT];
    size_t run_len = 0;
    for (size_t i = 0; i < n; i++) {
        if ((size_t)ids[i] >= family->n)
            continue;
        const struct entry *entry = &family->entries[ids[i]];
        if ((entry->flags & ABSENT) != 0 || (skip_special && (entry->flags & SPECIAL) != 0))
            continue;
        const size_t len = strlen(entry->bytes);
        if (!per_byte || entry->byte) {
            memcpy(run + run_len, entry->bytes, len);
            run_len += len;
        } else {
            decode(&text, run, run_len, per_byte, false);
            run_len = 0;
            put(&text, entry->bytes, len);
        }
    }
    decode(&text, run, run_len, per_byte, true);
    if (text.settled > text.len)
        text.settled = text.len;
    size_t spaces = 0;
    while (spaces < family->strip_left && spaces < text.len && text.bytes[spaces] == ' ')
        spaces++;
    text.len -= spaces;
    text.settled -= spaces;
    memmove(text.bytes, text.bytes + spaces, text.len);
    return text;
}

/* ---- running --------------------------------------------------------------------------------- */

static void push(burble_detok *detok, const int32_t *ids, size_t n, struct sequence *got)
{
    burble_text text;
    /* A copy that ends where its memory ends, so that a sanitizer sees a step beyond. */
    int32_t *copy = malloc((n + 1) * sizeof *copy);
    assert_non_null(copy);
    if (n > 0)
        memcpy(copy + 1, ids, n * sizeof *copy);
    assert_result(burble_detok_push(detok, copy + 1, n, &text), BURBLE_OK);
    free(copy);
    assert_non_null(text.bytes);
    assert_true(burble__utf8_valid(text.bytes, text.len));
    put(got, text.bytes, text.len);
}

static void finish(burble_detok *detok, struct sequence *got)
{
    burble_text text;
    burble_detok_finish(detok, &text);
    assert_non_null(text.bytes);
    put(got, text.bytes, text.len);
    assert_false(burble_detok_has_pending(detok));
}

static void assert_text(const struct sequence *got, const char *bytes, size_t len)
{
    if (got->len != len || memcmp(got->bytes, bytes, len) != 0)
        fail_msg("expected \"%.*s\", found \"%.*s\"", (int)len, bytes, (int)got->len, got->bytes);
}

/* Whole, cut in two at each id, and id by id; the same detokenizer throughout, so that each
 * sequence also shows that the last one has left nothing behind. */
static void check(burble_detok *detok, const struct family *family, bool skip_special,
                  const int32_t *ids, size_t n)
{
    const struct sequence want = oracle(family, skip_special, ids, n);
    for (size_t cut = 0; cut <= n; cut++) {
        struct sequence got = {0};
        push(detok, ids, cut, &got);
        push(detok, ids + cut, n - cut, &got);
        assert_text(&got, want.bytes, want.settled);
        finish(detok, &got);
        assert_text(&got, want.bytes, want.len);
    }
    struct sequence got = {0};
    for (size_t i = 0; i < n; i++) {
        push(detok, ids + i, 1, &got);
        const struct sequence so_far = oracle(family, skip_special, ids, i + 1);
        assert_text(&got, so_far.bytes, so_far.settled); /* neither more nor less */
        assert_int_equal(burble_detok_has_pending(detok), so_far.settled < so_far.len);
    }
    finish(detok, &got);
    assert_text(&got, want.bytes, want.len);
}

struct vector {
    const struct family *family;
    bool skip_special;
    size_t n;
    int32_t ids[8];
    const char *text;
};

static void check_vector(const struct vector *vector)
{
    const struct sequence text =
        oracle(vector->family, vector->skip_special, vector->ids, vector->n);
    assert_text(&text, vector->text, strlen(vector->text));
    burble_detok *detok = new_detok(vector->family, vector->skip_special);
    check(detok, vector->family, vector->skip_special, vector->ids, vector->n);
    burble_detok_destroy(&detok);
    assert_null(detok);
}

#define CHECK_VECTORS(vectors)                                                                     \
    for (size_t i = 0; i < COUNT(vectors); i++) {                                                  \
        check_vector(&(vectors)[i]);                                                               \
    }

/* ---- byte-level ------------------------------------------------------------------------------ */

static void byte_level_pieces_join_to_characters(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_level, false, 0, {0}, ""},
        {&byte_level, false, 3, {0, 1, 2}, "a b中"},
        {&byte_level, false, 3, {LEVEL_E4, LEVEL_B8, LEVEL_AD}, "中"},
        {&byte_level, false, 5, {LEVEL_E4, LEVEL_B8, LEVEL_EMPTY, LEVEL_AD, 0}, "中a"},
    };
    CHECK_VECTORS(vectors);
}

static void byte_level_invalid_utf8_becomes_replacements(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_level, false, 3, {LEVEL_E4, LEVEL_B8, 0}, R "a"},
        {&byte_level, false, 2, {LEVEL_E4, LEVEL_B8}, R},
        {&byte_level, false, 4, {LEVEL_E4, LEVEL_B8, LEVEL_E4, LEVEL_E4}, R R R},
        {&byte_level, false, 3, {LEVEL_B8, LEVEL_AD, 0}, R R "a"},
    };
    CHECK_VECTORS(vectors);
}

static void special_token_in_character_splits_it_unless_skipped(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_level, true, 4, {LEVEL_E4, LEVEL_B8, LEVEL_S, LEVEL_AD}, "中"},
        {&byte_level, false, 4, {LEVEL_E4, LEVEL_B8, LEVEL_S, LEVEL_AD}, R "<s>" R},
        {&byte_fallback, true, 4, {FALL_E4, FALL_B8, FALL_S, FALL_AD}, "中"},
        {&byte_fallback, false, 4, {FALL_E4, FALL_B8, FALL_S, FALL_AD}, R R "<s>" R},
    };
    CHECK_VECTORS(vectors);
}

static void id_without_token_is_ignored(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_level, false, 4, {LEVEL_E4, LEVEL_GONE, LEVEL_B8, LEVEL_AD}, "中"},
        {&byte_level, false, 4, {LEVEL_E4, LEVEL_B8, COUNT(level), LEVEL_AD}, "中"},
        {&byte_level, false, 4, {LEVEL_E4, INT32_MAX, LEVEL_B8, LEVEL_AD}, "中"},
        {&byte_fallback, false, 4, {FALL_E4, FALL_GONE, FALL_B8, FALL_AD}, "中"},
        {&byte_fallback, false, 4, {FALL_E4, FALL_B8, COUNT(fall), FALL_AD}, "中"},
        {&byte_fallback, false, 3, {FALL_GONE, INT32_MAX, FALL_SPACE}, ""},
    };
    CHECK_VECTORS(vectors);
}

/* ---- byte fallback --------------------------------------------------------------------------- */

static void byte_tokens_of_valid_utf8_become_characters(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_fallback, false, 3, {FALL_E4, FALL_B8, FALL_AD}, "中"},
        {&byte_fallback, false, 5, {0, FALL_E4, FALL_B8, FALL_AD, 0}, "a中a"},
    };
    CHECK_VECTORS(vectors);
}

static void byte_tokens_of_invalid_utf8_become_one_replacement_each(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_fallback, false, 2, {FALL_E4, FALL_B8}, R R},
        {&byte_fallback, false, 3, {FALL_E4, FALL_B8, 0}, R R "a"},
        /* The documented exception: tokenizers would replace 中, too. */
        {&byte_fallback, false, 4, {FALL_E4, FALL_B8, FALL_AD, FALL_B8}, "中" R},
    };
    CHECK_VECTORS(vectors);
}

static void empty_token_ends_run_of_byte_tokens(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_fallback, false, 4, {FALL_E4, FALL_B8, FALL_EMPTY, FALL_AD}, R R R},
        {&byte_fallback, false, 4, {FALL_E4, FALL_B8, FALL_AD, FALL_EMPTY}, "中"},
    };
    CHECK_VECTORS(vectors);
}

static void strip_removes_only_spaces_at_start_of_text(void **state)
{
    (void)state;
    const struct vector vectors[] = {
        {&byte_fallback, false, 3, {FALL_SPACE, 0, FALL_SPACE}, "a "},
        {&byte_fallback, false, 3, {0, FALL_SPACE, 0}, "a a"},
        {&byte_fallback, false, 3, {FALL_SPACE, FALL_SPACE, 0}, " a"},
        {&byte_fallback, false, 2, {2, 0}, " b a"},
        {&byte_fallback, false, 2, {FALL_20, FALL_20}, " "},
        {&byte_fallback, false, 3, {FALL_EMPTY, FALL_SPACE, 0}, "a"},
        {&byte_fallback, false, 2, {FALL_S, FALL_SPACE}, "<s> "},
        {&byte_fallback, true, 2, {FALL_S, FALL_SPACE}, ""},
        {&byte_fallback, false, 2, {FALL_E4, FALL_SPACE}, R " "},
        {&byte_fallback_2, false, 4, {FALL_SPACE, FALL_20, FALL_SPACE, 0}, " a"},
        {&byte_fallback_2, false, 2, {2, 0}, "b a"},
        {&byte_fallback_2, false, 3, {FALL_SPACE, 0, FALL_SPACE}, "a "},
        {&byte_fallback_0, false, 2, {FALL_SPACE, 0}, " a"},
    };
    CHECK_VECTORS(vectors);
}

/* ---- the law --------------------------------------------------------------------------------- */

static void random_sequence_gives_whole_text_as_early_as_possible(void **state)
{
    (void)state;
    const struct family *const families[] = {&byte_level, &byte_fallback, &byte_fallback_2,
                                             &byte_fallback_0};
    uint64_t random = test_seed(42);
    for (size_t f = 0; f < 2 * COUNT(families); f++) {
        const struct family *family = families[f / 2];
        const bool skip_special = f % 2 == 1;
        burble_detok *detok = new_detok(family, skip_special);
        for (int round = 0; round < 4000; round++) {
            int32_t ids[LONGEST];
            const size_t n = next_random(&random) % (round % 2 == 0 ? 6 : LONGEST);
            for (size_t i = 0; i < n; i++)
                ids[i] = (int32_t)(next_random(&random) % (family->n + 2));
            check(detok, family, skip_special, ids, n);
        }
        burble_detok_destroy(&detok);
    }
}

static void short_sequence_gives_whole_text_as_early_as_possible(void **state)
{
    (void)state;
    const struct family *const families[] = {&byte_level, &byte_fallback};
    for (size_t f = 0; f < COUNT(families); f++) {
        const size_t n = families[f]->n;
        burble_detok *detok = new_detok(families[f], true);
        for (size_t i = 0; i < n * n * n; i++) {
            const int32_t ids[] = {(int32_t)(i / n / n), (int32_t)(i / n % n), (int32_t)(i % n)};
            check(detok, families[f], true, ids, 3);
        }
        burble_detok_destroy(&detok);
    }
}

/* ---- the rest of the contract ---------------------------------------------------------------- */

static void negative_id_is_refused_and_no_id_is_taken(void **state)
{
    (void)state;
    burble_detok *detok = new_detok(&byte_level, false);
    struct sequence got = {0};
    push(detok, (const int32_t[]){LEVEL_E4, LEVEL_B8}, 2, &got);
    const int32_t bad[][3] = {{-1, LEVEL_AD, 0}, {0, LEVEL_AD, INT32_MIN}, {-1, -1, -1}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        for (size_t n = i == 1 ? 3 : 1; n <= 3; n++) {
            burble_text text = {.bytes = NULL, .len = 99};
            assert_result(burble_detok_push(detok, bad[i], n, &text), BURBLE_EINVAL);
            assert_non_null(text.bytes);
            assert_int_equal(text.len, 0);
            assert_true(burble_detok_has_pending(detok));
        }
    }
    push(detok, (const int32_t[]){LEVEL_AD}, 1, &got);
    assert_text(&got, "中", 3);
    burble_detok_destroy(&detok);
}

static void push_without_memory_takes_no_id(void **state)
{
    (void)state;
    burble_detok *detok = new_detok(&byte_fallback, false);
    struct sequence got = {0};
    burble_text text = {.bytes = NULL, .len = 99};
    push(detok, (const int32_t[]){FALL_E4}, 1, &got);
    const size_t max = detok->out.bytes.max;
    detok->out.bytes.max = detok->out.bytes.capacity;
    int32_t ids[64] = {FALL_B8, FALL_AD, FALL_E4, FALL_B8};
    for (size_t i = 4; i < COUNT(ids); i++)
        ids[i] = 0;
    assert_result(burble_detok_push(detok, ids, COUNT(ids), &text), BURBLE_ENOMEM);
    assert_non_null(text.bytes);
    assert_int_equal(text.len, 0);
    assert_true(burble_detok_has_pending(detok));
    detok->out.bytes.max = max;
    push(detok, ids, COUNT(ids), &got);
    assert_int_equal(got.len, 3 + 6 + 60);
    assert_memory_equal(got.bytes, "中" R R "aaa", 12);
    burble_detok_destroy(&detok);

    /* The spaces that are still to be stripped are state, too. */
    detok = new_detok(&byte_fallback, false);
    detok->out.bytes.max = detok->out.bytes.capacity;
    ids[0] = FALL_SPACE;
    ids[1] = 0;
    assert_result(burble_detok_push(detok, ids, COUNT(ids), &text), BURBLE_ENOMEM);
    got.len = 0;
    push(detok, (const int32_t[]){FALL_SPACE, 0}, 2, &got);
    assert_text(&got, "a", 1);
    burble_detok_destroy(&detok);
}

static void text_of_one_ordinary_token_is_not_copied(void **state)
{
    (void)state;
    burble_detok *detok = new_detok(&byte_fallback, false);
    const burble_vocab *vocab = detok->vocab;
    burble_text text;
    assert_result(burble_detok_push(detok, (const int32_t[]){2}, 1, &text), BURBLE_OK);
    assert_ptr_equal(text.bytes, burble__piece_bytes(vocab, vocab->pieces[2]) + 1);
    assert_int_equal(text.len, 3);
    assert_int_equal(detok->out.bytes.len, 0);
    burble_detok_destroy(&detok);
}

static void reset_discards_held_text_and_starts_new_text(void **state)
{
    (void)state;
    burble_detok *detok = new_detok(&byte_fallback, false);
    struct sequence got = {0};
    push(detok, (const int32_t[]){0, FALL_E4, FALL_B8}, 3, &got);
    assert_true(burble_detok_has_pending(detok));
    burble_detok_reset(detok);
    assert_false(burble_detok_has_pending(detok));
    got.len = 0;
    push(detok, (const int32_t[]){FALL_SPACE, 0}, 2, &got);
    finish(detok, &got);
    assert_text(&got, "a", 1);
    burble_detok_destroy(&detok);
}

static void finish_without_held_text_gives_nothing(void **state)
{
    (void)state;
    burble_detok *detok = new_detok(&byte_level, false);
    struct sequence got = {0};
    finish(detok, &got);
    finish(detok, &got);
    assert_int_equal(got.len, 0);
    burble_detok_destroy(&detok);
}

static void special_tokens_by_default_are_not_skipped(void **state)
{
    (void)state;
    burble_vocab *vocab = new_vocab(&byte_level);
    burble_detok *detok;
    struct sequence got = {0};
    assert_result(burble_detok_create(vocab, NULL, &detok), BURBLE_OK);
    push(detok, (const int32_t[]){LEVEL_S}, 1, &got);
    assert_text(&got, "<s>", 3);
    burble_detok_destroy(&detok);
    burble_vocab_unref(&vocab);
}

static void push_of_many_ids_equals_many_pushes(void **state)
{
    (void)state;
    enum { N = 100000 };
    uint64_t random = test_seed(7);
    int32_t *ids = malloc(N * sizeof *ids);
    char *one_by_one = malloc((size_t)N * 64);
    assert_non_null(ids);
    assert_non_null(one_by_one);
    size_t len = 0;
    burble_detok *detok = new_detok(&byte_level, false);
    burble_text text;
    for (size_t i = 0; i < N; i++) {
        ids[i] = (int32_t)(next_random(&random) % COUNT(level));
        assert_result(burble_detok_push(detok, ids + i, 1, &text), BURBLE_OK);
        memcpy(one_by_one + len, text.bytes, text.len);
        len += text.len;
    }
    burble_detok_reset(detok);
    assert_result(burble_detok_push(detok, ids, N, &text), BURBLE_OK);
    assert_int_equal(text.len, len);
    assert_memory_equal(text.bytes, one_by_one, len);
    burble_detok_destroy(&detok);
    free(one_by_one);
    free(ids);
}

static void destroy_of_null_does_nothing(void **state)
{
    (void)state;
    burble_detok *none = NULL;
    burble_detok_destroy(&none);
    burble_detok_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_pieces_join_to_characters),
        cmocka_unit_test(byte_level_invalid_utf8_becomes_replacements),
        cmocka_unit_test(special_token_in_character_splits_it_unless_skipped),
        cmocka_unit_test(id_without_token_is_ignored),
        cmocka_unit_test(byte_tokens_of_valid_utf8_become_characters),
        cmocka_unit_test(byte_tokens_of_invalid_utf8_become_one_replacement_each),
        cmocka_unit_test(empty_token_ends_run_of_byte_tokens),
        cmocka_unit_test(strip_removes_only_spaces_at_start_of_text),
        cmocka_unit_test(random_sequence_gives_whole_text_as_early_as_possible),
        cmocka_unit_test(short_sequence_gives_whole_text_as_early_as_possible),
        cmocka_unit_test(negative_id_is_refused_and_no_id_is_taken),
        cmocka_unit_test(push_without_memory_takes_no_id),
        cmocka_unit_test(text_of_one_ordinary_token_is_not_copied),
        cmocka_unit_test(reset_discards_held_text_and_starts_new_text),
        cmocka_unit_test(finish_without_held_text_gives_nothing),
        cmocka_unit_test(special_tokens_by_default_are_not_skipped),
        cmocka_unit_test(push_of_many_ids_equals_many_pushes),
        cmocka_unit_test(destroy_of_null_does_nothing),
    };
    return cmocka_run_group_tests_name("detok", tests, NULL, NULL);
}
