/* SPDX-License-Identifier: MIT
 *
 * The stop filter, against a naive search that looks at all of the text at each byte.
 */
#include "support.h"

#include <pthread.h>
#include <string.h>

#include <burble/stop.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TEXT(literal) ((burble_text){.bytes = (literal), .len = sizeof(literal) - 1})
#define MAX_STRINGS 16

static burble_text text_of(const char *string)
{
    return (burble_text){.bytes = string, .len = strlen(string)};
}

static burble_stop *new_filter(const burble_text *strings, size_t n, bool include)
{
    burble_stop *stop = NULL;
    burble_error error = {.code = 0, .message = ""};
    if (burble_stop_create(strings, n, include, &stop, &error) != BURBLE_OK)
        fail_msg("%s", error.message);
    assert_non_null(stop);
    return stop;
}

/* ---- the naive search ------------------------------------------------------------------------ */

struct found {
    bool met;
    size_t which, begin, end;
};

static bool ends_with(const char *text, size_t len, burble_text string)
{
    return string.len <= len && memcmp(text + len - string.len, string.bytes, string.len) == 0;
}

/* The first match in the text: the one that is complete first, of those the longest, of equal
 * strings the first. */
static struct found naive_match(const burble_text *strings, size_t n, const char *text, size_t len)
{
    struct found found = {.met = false};
    for (size_t end = 1; end <= len && !found.met; end++) {
        for (size_t i = 0; i < n; i++) {
            if (ends_with(text, end, strings[i])
                && (!found.met || strings[i].len > found.end - found.begin)) {
                found = (struct found){true, i, end - strings[i].len, end};
            }
        }
    }
    return found;
}

/* How long the longest end of the text is with which the first match could still begin: a beginning
 * of a string with whose rest that string is the first match. The text has no match. */
static size_t naive_held(const burble_text *strings, size_t n, const char *text, size_t len)
{
    size_t held = 0;
    for (size_t i = 0; i < n; i++) {
        if (naive_match(strings, n, strings[i].bytes, strings[i].len).end != strings[i].len)
            continue; /* another one is always met before it */
        for (size_t m = 1; m < strings[i].len; m++) {
            const burble_text beginning = {.bytes = strings[i].bytes, .len = m};
            if (m > held && ends_with(text, len, beginning))
                held = m;
        }
    }
    return held;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Pushes a copy that ends where its memory ends, so that a sanitizer sees who reads on. Appends what
 * comes out to `got`. */
static int push(burble_stop *stop, const char *text, size_t len, char *got, size_t *got_len,
                burble_stop_match *match)
{
    burble_text out = {.bytes = NULL, .len = 99};
    char *copy = malloc(len == 0 ? 1 : len);
    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, text, len);
    const int result = burble_stop_push(stop, copy, len, &out, match);
    assert_non_null(out.bytes);
    memcpy(got + *got_len, out.bytes, out.len);
    *got_len += out.len;
    free(copy);
    return result;
}

static void finish_at(struct place at, burble_stop *stop, char *got, size_t *got_len)
{
    burble_text out = {.bytes = NULL, .len = 99};
    burble_stop_finish(stop, &out);
    assert_non_null_at(at, out.bytes);
    memcpy(got + *got_len, out.bytes, out.len);
    *got_len += out.len;
    assert_false_at(at, burble_stop_has_pending(stop));
}
#define finish(...) finish_at(HERE, __VA_ARGS__)

/* Pushes `text` in pieces that end at the given places (the last is its end), and expects after each
 * of them exactly what the naive search says. Then finishes. */
static void check_split_at(struct place at, burble_stop *stop, const burble_text *strings, size_t n,
                           bool include, const char *text, const size_t *ends, size_t n_ends)
{
    const size_t len = ends[n_ends - 1];
    const struct found found = naive_match(strings, n, text, len);
    const size_t last = !found.met ? len : include ? found.end : found.begin;
    char got[4096];
    size_t got_len = 0, from = 0;
    for (size_t i = 0; i < n_ends; i++) {
        burble_stop_match match = {.which = 99, .begin = 99, .end = 99};
        const int result = push(stop, text + from, ends[i] - from, got, &got_len, &match);
        from = ends[i];
        if (found.met && found.end <= from) {
            assert_result_at(at, result, BURBLE_END);
            assert_int_equal_at(at, match.which, found.which);
            assert_int_equal_at(at, match.begin, found.begin);
            assert_int_equal_at(at, match.end, found.end);
            assert_int_equal_at(at, got_len, last);
            assert_false_at(at, burble_stop_has_pending(stop));
        } else {
            const size_t held = naive_held(strings, n, text, from);
            assert_result_at(at, result, BURBLE_OK);
            assert_int_equal_at(at, got_len, from - held);
            assert_int_equal_at(at, burble_stop_has_pending(stop), held > 0);
            assert_int_equal_at(at, match.which, 99);
        }
    }
    finish_at(at, stop, got, &got_len);
    assert_int_equal_at(at, got_len, last);
    assert_memory_equal_at(at, got, text, last);
}
#define check_split(...) check_split_at(HERE, __VA_ARGS__)

/* In one piece, byte by byte, and split at every place. The filter is as new after each. */
static void check_at(struct place at, const burble_text *strings, size_t n, const char *text,
                     size_t len)
{
    size_t ends[512];
    assert_true_at(at, len < COUNT(ends));
    for (int include = 0; include < 2; include++) {
        burble_stop *stop = new_filter(strings, n, include != 0);
        for (size_t i = 0; i < len; i++)
            ends[i] = i + 1;
        if (len > 0)
            check_split_at(at, stop, strings, n, include != 0, text, ends, len);
        for (size_t split = 0; split <= len; split++) {
            const size_t two[] = {split, len};
            check_split_at(at, stop, strings, n, include != 0, text, two, 2);
        }
        burble_stop_destroy(&stop);
        assert_null_at(at, stop);
    }
}
#define check(...) check_at(HERE, __VA_ARGS__)

static void check_text_at(struct place at, const burble_text *strings, size_t n, const char *text)
{
    check_at(at, strings, n, text, strlen(text));
}
#define check_text(...) check_text_at(HERE, __VA_ARGS__)

/* ---- what is met ----------------------------------------------------------------------------- */

static void stop_string_is_found_for_any_split(void **state)
{
    (void)state;
    const burble_text strings[] = {TEXT("</s>"), TEXT("\n\n"), TEXT("User:")};
    check_text(strings, 3, "Hello </ world </s>, and so on");
    check_text(strings, 3, "a\nb\n\nc");
    check_text(strings, 3, "UseUserUser User: x");
    check_text(strings, 3, "no stop string <Us");
    check_text(strings, 3, "</s>");
    check_text(strings, 3, "");
}

static void match_that_is_complete_first_wins(void **state)
{
    (void)state;
    const burble_text strings[] = {TEXT("abcdef"), TEXT("cd"), TEXT("bcx")};
    check_text(strings, 3, "xabcdefg");
    check_text(strings, 3, "xabcxdefg");
    const burble_text beginning[] = {TEXT("abc"), TEXT("ab")};
    check_text(beginning, 2, "xxabcxx");
}

static void match_that_is_longest_wins_at_same_end(void **state)
{
    (void)state;
    const burble_text strings[] = {TEXT("c"), TEXT("abc"), TEXT("bc")};
    check_text(strings, 3, "xabc");
    check_text(strings, 3, "xbbc");
    check_text(strings, 3, "xac");
    const burble_text same[] = {TEXT("x"), TEXT("ab"), TEXT("ab")};
    check_text(same, 3, "zab");
}

static void text_that_cannot_match_is_not_held_back(void **state)
{
    (void)state;
    /* "ab" is met before "xabc" and "yxabcd" can be, so that their beginnings are let through. */
    const burble_text strings[] = {TEXT("xabc"), TEXT("ab"), TEXT("yxabcd")};
    burble_stop *stop = new_filter(strings, 3, false);
    char got[16];
    size_t len = 0;
    assert_result(push(stop, "yx", 2, got, &len, NULL), BURBLE_OK);
    assert_int_equal(len, 2);
    assert_false(burble_stop_has_pending(stop));
    burble_stop_destroy(&stop);
    check_text(strings, 3, "yxayxabcd");
}

static void overlapping_prefixes_are_all_searched(void **state)
{
    (void)state;
    const burble_text one[] = {TEXT("aabaaaba")};
    check_text(one, 1, "aabaabaaabaaba");
    check_text(one, 1, "aaaabaaab");
    const burble_text runs[] = {TEXT("aaab"), TEXT("aac"), TEXT("aaaaaad")};
    check_text(runs, 3, "aaaaabaac");
    check_text(runs, 3, "aaaaaaaaaaad");
    check_text(runs, 3, "aaaaac");
}

static void multibyte_characters_are_not_split(void **state)
{
    (void)state;
    /* All share first bytes with each other: E4 B8 AD, E4 B8 8E, E4 BA 8C; F0 9F 98 80, … 81. */
    const burble_text strings[] = {TEXT("中与"), TEXT("二中二"), TEXT("😀😁"), TEXT("é")};
    const char *const texts[] = {"中中二中与x", "二中中二中二", "😁😀😀😁", "caf\xC3\xA8\xC3\xA9"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        const char *const text = texts[i];
        const size_t len = strlen(text);
        check(strings, COUNT(strings), text, len);
        size_t ends[64], n = 0;
        for (size_t j = 1; j <= len; j++)
            if (j == len || ((unsigned char)text[j] & 0xC0) != 0x80)
                ends[n++] = j;
        burble_stop *stop = new_filter(strings, COUNT(strings), false);
        size_t from = 0;
        for (size_t j = 0; j < n; j++) {
            burble_text out;
            burble_stop_push(stop, text + from, ends[j] - from, &out, NULL);
            from = ends[j];
            if (out.len > 0)
                assert_int_not_equal((unsigned char)out.bytes[0] & 0xC0, 0x80);
        }
        burble_stop_destroy(&stop);
    }
}

static size_t random_string(uint64_t *random, unsigned letters, size_t max, char *out)
{
    const size_t len = 1 + next_random(random) % max;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + next_random(random) % letters);
    return len;
}

static void random_strings_match_as_in_naive_search(void **state)
{
    (void)state;
    uint64_t random = test_seed(11);
    for (int round = 0; round < 20000; round++) {
        char bytes[MAX_STRINGS][12], text[40];
        burble_text strings[MAX_STRINGS];
        const unsigned letters = 1 + (unsigned)(next_random(&random) % 3);
        const size_t n = next_random(&random) % (round % 4 == 0 ? MAX_STRINGS : 5);
        const size_t longest = 1 + next_random(&random) % sizeof bytes[0];
        for (size_t i = 0; i < n; i++) {
            strings[i].bytes = bytes[i];
            strings[i].len = random_string(&random, letters, longest, bytes[i]);
        }
        /* One letter more than the strings have. */
        const size_t len = random_string(&random, letters + (unsigned)(round % 2), 39, text);
        check(strings, n, text, len);
    }
}

static void random_strings_are_found_for_any_split(void **state)
{
    (void)state;
    uint64_t random = test_seed(12);
    for (int round = 0; round < 5000; round++) {
        char bytes[MAX_STRINGS][40], text[500];
        burble_text strings[MAX_STRINGS];
        const unsigned letters = 2 + (unsigned)(next_random(&random) % 25);
        const size_t n = 1 + next_random(&random) % MAX_STRINGS;
        for (size_t i = 0; i < n; i++) {
            strings[i].bytes = bytes[i];
            strings[i].len = 3 + random_string(&random, letters, 37, bytes[i] + 3);
            memcpy(bytes[i], i % 2 == 0 ? "\n##" : "ab#", 3);
        }
        size_t len = 0, ends[500], n_ends = 0;
        while (len < 400) { /* words, with ever more of a stop string */
            len += random_string(&random, letters, 20, text + len);
            const burble_text piece = strings[next_random(&random) % n];
            const size_t some = next_random(&random) % (piece.len + (len > 200));
            memcpy(text + len, piece.bytes, some);
            len += some;
        }
        for (size_t end = 0; end < len;) {
            end += next_random(&random) % 16;
            ends[n_ends++] = end < len ? end : len;
            if (n_ends == COUNT(ends))
                ends[n_ends - 1] = end = len;
        }
        burble_stop *stop = new_filter(strings, n, round % 2 == 0);
        check_split(stop, strings, n, round % 2 == 0, text, ends, n_ends);
        burble_stop_destroy(&stop);
    }
}

/* ---- after a match, and after the end -------------------------------------------------------- */

static void push_after_match_gives_no_text_and_same_match(void **state)
{
    (void)state;
    const burble_text strings[] = {TEXT("zz"), TEXT("stop")};
    burble_stop *stop = new_filter(strings, 2, false);
    char got[64];
    size_t len = 0;
    assert_result(push(stop, "go st", 5, got, &len, NULL), BURBLE_OK);
    assert_result(push(stop, "opzz more", 9, got, &len, NULL), BURBLE_END);
    for (int i = 0; i < 3; i++) {
        burble_stop_match match;
        assert_result(push(stop, "zz", 2, got, &len, &match), BURBLE_END);
        assert_int_equal(match.which, 1);
        assert_int_equal(match.begin, 3);
        assert_int_equal(match.end, 7);
    }
    finish(stop, got, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(got, "go ", 3);
    burble_stop_destroy(&stop);
}

static void finish_and_reset_restore_initial_state(void **state)
{
    (void)state;
    const burble_text strings[] = {TEXT("abc")};
    burble_stop *stop = new_filter(strings, 1, false);
    for (int round = 0; round < 4; round++) {
        char got[16];
        size_t len = 0;
        burble_stop_match match;
        assert_result(push(stop, "xab", 3, got, &len, NULL), BURBLE_OK);
        assert_true(burble_stop_has_pending(stop));
        if (round % 2 == 0) {
            finish(stop, got, &len);
            assert_memory_equal(got, "xab", 3);
        } else {
            burble_stop_reset(stop);
            assert_false(burble_stop_has_pending(stop));
        }
        len = 0;
        assert_result(push(stop, "cabc", 4, got, &len, &match), BURBLE_END);
        assert_int_equal(len, 1);
        assert_int_equal(match.begin, 1);
        if (round % 2 == 0) {
            burble_stop_reset(stop);
        } else {
            finish(stop, got, &len);
            assert_int_equal(len, 1);
        }
    }
    burble_stop_destroy(&stop);
}

/* ---- what it costs --------------------------------------------------------------------------- */

static void assert_push_at(struct place at, burble_stop *stop, const char *text, int result,
                           const char *want)
{
    burble_text out;
    assert_result_at(at, burble_stop_push(stop, text, strlen(text), &out, NULL), result);
    assert_int_equal_at(at, out.len, strlen(want));
    assert_memory_equal_at(at, out.bytes, want, out.len);
}
#define assert_push(...) assert_push_at(HERE, __VA_ARGS__)

static void copy_continues_independently(void **state)
{
    (void)state;
    burble_stop *stop = new_filter((const burble_text[]){TEXT("stop")}, 1, false);
    burble_stop *copy, *second;
    burble_stop_match match;
    burble_text out;
    assert_push(stop, "do not st", BURBLE_OK, "do not ");
    assert_result(burble_stop_copy(stop, &copy), BURBLE_OK);
    assert_true(burble_stop_has_pending(copy));
    assert_push(stop, "ay", BURBLE_OK, "stay");
    assert_result(burble_stop_copy(copy, &second), BURBLE_OK);
    burble_stop_destroy(&stop);
    assert_result(burble_stop_push(copy, "op", 2, &out, &match), BURBLE_END);
    assert_int_equal(out.len, 0);
    assert_int_equal(match.begin, 7);
    assert_int_equal(match.end, 11);
    assert_result(burble_stop_copy(copy, &stop), BURBLE_OK);
    assert_push(stop, "more", BURBLE_END, "");
    burble_stop_destroy(&copy);
    burble_stop_finish(second, &out);
    assert_int_equal(out.len, 2);
    assert_memory_equal(out.bytes, "st", 2);
    burble_stop_destroy(&stop);
    burble_stop_destroy(&second);
}

static void *use_a_copy(void *filter)
{
    burble_stop *stop = filter;
    burble_text out;
    burble_stop_match match = {.end = 0};
    bool met = false;
    for (int i = 0; i < 100 && !met; i++) {
        met = burble_stop_push(stop, "st op sto", 9, &out, &match) == BURBLE_END;
        met = met || burble_stop_push(stop, i < 50 ? "" : "p", i < 50 ? 0 : 1, &out, &match) != 0;
    }
    burble_stop_destroy(&stop);
    return met && match.end == 51 * 9 + 1 ? filter : NULL;
}

static void copies_in_several_threads_share_no_state(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    burble_stop *stop = new_filter((const burble_text[]){TEXT("stop")}, 1, true);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        burble_stop *copy;
        assert_result(burble_stop_copy(stop, &copy), BURBLE_OK);
        assert_int_equal(pthread_create(&threads[i], NULL, use_a_copy, copy), 0);
    }
    burble_stop_destroy(&stop);
    for (int i = 0; i < THREADS; i++) {
        void *met;
        assert_int_equal(pthread_join(threads[i], &met), 0);
        assert_non_null(met);
    }
}

static void text_without_prefix_of_stop_string_is_not_copied(void **state)
{
    (void)state;
    static const char text[] =
        "a text that is longer than a few blocks of thirty-two bytes, all of "
        "it harmless, and then one #";
    static const char *const firsts[] = {"#x", "#y", "<x", "|x", "%x", "&x"};
    for (size_t n = 1; n <= COUNT(firsts); n++) {
        burble_text strings[COUNT(firsts)], out;
        for (size_t i = 0; i < n; i++)
            strings[i] = text_of(firsts[i]);
        burble_stop *stop = new_filter(strings, n, false);
        for (size_t len = 0; len < sizeof text; len++) {
            const bool hash = len == sizeof text - 1;
            assert_result(burble_stop_push(stop, text, len, &out, NULL), BURBLE_OK);
            assert_int_equal(out.len, hash ? len - 1 : len);
            assert_true(len == 0 || out.bytes == text);
            assert_int_equal(burble_stop_has_pending(stop), hash);
        }
        burble_stop_destroy(&stop);
    }
}

static void no_stop_strings_pass_all_text(void **state)
{
    (void)state;
    burble_stop *stop = new_filter(NULL, 0, true);
    burble_text out;
    const char text[] = "hello";
    assert_result(burble_stop_push(stop, text, 5, &out, NULL), BURBLE_OK);
    assert_ptr_equal(out.bytes, text);
    assert_int_equal(out.len, 5);
    assert_result(burble_stop_push(stop, NULL, 0, &out, NULL), BURBLE_OK);
    assert_non_null(out.bytes);
    assert_int_equal(out.len, 0);
    burble_stop_destroy(&stop);
}

/* If each push went through all that is held back, or moved it, these would take minutes. */
static void near_misses_take_linear_time(void **state)
{
    (void)state;
    enum { LONG = 100000, TEXT_LEN = 2000000 };
    char *string = malloc(LONG + 1);
    assert_non_null(string);
    memset(string, 'a', LONG);
    string[LONG] = 'b';
    const burble_text strings[] = {{.bytes = string, .len = LONG + 1}};
    burble_stop *stop = new_filter(strings, 1, false);
    burble_text out;
    for (size_t i = 0; i < TEXT_LEN; i++) { /* one byte in, one out */
        assert_result(burble_stop_push(stop, "a", 1, &out, NULL), BURBLE_OK);
        assert_int_equal(out.len, i >= LONG);
    }
    burble_stop_reset(stop);
    for (size_t i = 0; i < 20; i++) { /* all of it in, then all out */
        for (size_t j = 0; j < LONG; j++) {
            assert_result(burble_stop_push(stop, "a", 1, &out, NULL), BURBLE_OK);
            assert_int_equal(out.len, 0);
        }
        assert_result(burble_stop_push(stop, "c", 1, &out, NULL), BURBLE_OK);
        assert_int_equal(out.len, LONG + 1);
        assert_int_equal(out.bytes[LONG], 'c');
    }
    burble_stop_destroy(&stop);
    free(string);
}

static void most_strings_of_most_bytes_are_accepted(void **state)
{
    (void)state;
    enum { EACH = BURBLE_STOP_MAX_BYTES / BURBLE_STOP_MAX_STRINGS };
    char *bytes = malloc(BURBLE_STOP_MAX_BYTES);
    burble_text *strings = malloc(BURBLE_STOP_MAX_STRINGS * sizeof *strings);
    assert_non_null(bytes);
    assert_non_null(strings);
    uint64_t random = test_seed(13);
    memset(bytes, 'a', BURBLE_STOP_MAX_BYTES);
    for (size_t i = 0; i < BURBLE_STOP_MAX_STRINGS; i++) {
        char *const string = bytes + i * EACH; /* they part ways late, at many places */
        strings[i] = (burble_text){.bytes = string, .len = EACH};
        for (size_t j = EACH - 12; j < EACH; j++)
            string[j] = (char)('a' + next_random(&random) % 2);
        string[EACH - 13] = (char)(i % 64 + '0');
        string[EACH - 14] = (char)(i / 64 + '0');
    }
    burble_stop *stop = new_filter(strings, BURBLE_STOP_MAX_STRINGS, false);
    for (size_t i = 0; i < BURBLE_STOP_MAX_STRINGS; i += 7) {
        burble_text out;
        burble_stop_match match;
        assert_result(burble_stop_push(stop, "aaaa", 4, &out, NULL), BURBLE_OK);
        assert_result(burble_stop_push(stop, strings[i].bytes, EACH, &out, &match), BURBLE_END);
        assert_int_equal(match.which, i);
        assert_int_equal(match.begin, 4);
        burble_stop_reset(stop);
    }
    burble_stop_destroy(&stop);
    free(strings);
    free(bytes);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void expect_refused_at(struct place at, const burble_text *strings, size_t n,
                              const char *part)
{
    burble_stop *stop = (burble_stop *)&stop;
    burble_error error = {.code = 0, .message = ""};
    assert_result_at(at, burble_stop_create(strings, n, false, &stop, &error), BURBLE_EINVAL);
    assert_null_at(at, stop);
    assert_result_at(at, error.code, BURBLE_EINVAL);
    if (strstr(error.message, part) == NULL)
        fail_at(at, "expected a message with \"%s\", found \"%s\"", part, error.message);
    stop = (burble_stop *)&stop;
    assert_result_at(at, burble_stop_create(strings, n, false, &stop, NULL), BURBLE_EINVAL);
    assert_null_at(at, stop);
}
#define expect_refused(...) expect_refused_at(HERE, __VA_ARGS__)

static void empty_string_is_refused(void **state)
{
    (void)state;
    const burble_text strings[] = {TEXT("a"), TEXT("")};
    expect_refused(strings, 2, "stop string 2 of 2: expected some text, found none");
}

static void invalid_utf8_is_refused(void **state)
{
    (void)state;
    const burble_text strings[] = {TEXT("a"), TEXT("b"), TEXT("\xE4\xB8")};
    expect_refused(strings, 3, "stop string 3 of 3: expected UTF-8");
    const burble_text tail[] = {TEXT("\xAD")};
    expect_refused(tail, 1, "stop string 1 of 1: expected UTF-8");
}

static void more_than_bounds_is_refused(void **state)
{
    (void)state;
    static burble_text strings[BURBLE_STOP_MAX_STRINGS + 1];
    for (size_t i = 0; i < COUNT(strings); i++)
        strings[i] = TEXT("abc");
    expect_refused(strings, COUNT(strings), "expected at most 4096 stop strings, found 4097");
    char *bytes = malloc(BURBLE_STOP_MAX_BYTES);
    assert_non_null(bytes);
    memset(bytes, 'x', BURBLE_STOP_MAX_BYTES);
    strings[1] = (burble_text){.bytes = bytes, .len = BURBLE_STOP_MAX_BYTES - 2};
    expect_refused(strings, 2, "stop string 2 of 2: expected at most 1048576 bytes");
    strings[1].len = SIZE_MAX;
    expect_refused(strings, 2, "stop string 2 of 2: expected at most 1048576 bytes");
    strings[1].len = BURBLE_STOP_MAX_BYTES - 3;
    burble_stop *stop = new_filter(strings, 2, false);
    burble_stop_destroy(&stop);
    free(bytes);
}

static void destroy_of_null_does_nothing(void **state)
{
    (void)state;
    burble_stop *none = NULL;
    burble_stop_destroy(&none);
    burble_stop_destroy(NULL);
}

/* ---- special tokens -------------------------------------------------------------------------- */

static burble_vocab *new_vocab(const burble_step *step, const char *const *texts,
                               const unsigned *flags, size_t n)
{
    burble_token tokens[8];
    burble_vocab *vocab = NULL;
    burble_vocab_options options;
    assert_true(n <= COUNT(tokens));
    for (size_t i = 0; i < n; i++) {
        tokens[i] =
            (burble_token){.text = texts[i], .len = (uint32_t)strlen(texts[i]), .flags = flags[i]};
    }
    burble_vocab_options_init(&options);
    options.steps = step;
    options.n_steps = step == NULL ? 0 : 1;
    assert_result(burble_vocab_create(&options, tokens, n, &vocab, NULL), BURBLE_OK);
    return vocab;
}

static void stop_token_is_special_token_with_text_of_stop_string(void **state)
{
    (void)state;
    static const char *const texts[] = {"<eot>", "<eot>", "<end>", "<eot> ", "e", "<eot>"};
    static const unsigned flags[] = {BURBLE_TOKEN_SPECIAL, 0, BURBLE_TOKEN_SPECIAL,
                                     BURBLE_TOKEN_SPECIAL, 0, BURBLE_TOKEN_SPECIAL};
    const burble_text strings[] = {TEXT("\n"), TEXT("<eot>"), TEXT("<end>"), TEXT("<eot>"),
                                   TEXT("e")};
    burble_vocab *vocab = new_vocab(NULL, texts, flags, COUNT(texts));
    burble_stop_token found[4] = {{0}};
    assert_int_equal(burble_stop_tokens(vocab, strings, COUNT(strings), found, COUNT(found)), 3);
    const burble_stop_token expected[] = {{0, 1}, {2, 2}, {5, 1}};
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_int_equal(found[i].id, expected[i].id);
        assert_int_equal(found[i].which, expected[i].which);
    }
    found[1].id = 77;
    assert_int_equal(burble_stop_tokens(vocab, strings, COUNT(strings), found, 1), 3);
    assert_int_equal(found[1].id, 77); /* there was room for one */
    assert_int_equal(burble_stop_tokens(vocab, strings, COUNT(strings), NULL, 0), 3);
    assert_int_equal(burble_stop_tokens(vocab, NULL, 0, found, COUNT(found)), 0);
    burble_vocab_unref(&vocab);
}

static void stop_token_is_found_at_any_place(void **state)
{
    (void)state;
    /* WordPiece puts a space before a token that is not the first. */
    const burble_step step = {.kind = BURBLE_STEP_WORDPIECE, .text = "##"};
    static const char *const texts[] = {"a", "[SEP]"};
    static const unsigned flags[] = {0, BURBLE_TOKEN_SPECIAL};
    const burble_text strings[] = {TEXT("[SEP]"), TEXT(" [SEP]")};
    burble_vocab *vocab = new_vocab(&step, texts, flags, COUNT(texts));
    burble_stop_token found;
    for (size_t i = 0; i < COUNT(strings); i++) {
        assert_int_equal(burble_stop_tokens(vocab, &strings[i], 1, &found, 1), 1);
        assert_int_equal(found.id, 1);
    }
    burble_vocab_unref(&vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_string_is_found_for_any_split),
        cmocka_unit_test(match_that_is_complete_first_wins),
        cmocka_unit_test(match_that_is_longest_wins_at_same_end),
        cmocka_unit_test(text_that_cannot_match_is_not_held_back),
        cmocka_unit_test(overlapping_prefixes_are_all_searched),
        cmocka_unit_test(multibyte_characters_are_not_split),
        cmocka_unit_test(random_strings_match_as_in_naive_search),
        cmocka_unit_test(random_strings_are_found_for_any_split),
        cmocka_unit_test(push_after_match_gives_no_text_and_same_match),
        cmocka_unit_test(finish_and_reset_restore_initial_state),
        cmocka_unit_test(copy_continues_independently),
        cmocka_unit_test(copies_in_several_threads_share_no_state),
        cmocka_unit_test(text_without_prefix_of_stop_string_is_not_copied),
        cmocka_unit_test(no_stop_strings_pass_all_text),
        cmocka_unit_test(near_misses_take_linear_time),
        cmocka_unit_test(most_strings_of_most_bytes_are_accepted),
        cmocka_unit_test(empty_string_is_refused),
        cmocka_unit_test(invalid_utf8_is_refused),
        cmocka_unit_test(more_than_bounds_is_refused),
        cmocka_unit_test(destroy_of_null_does_nothing),
        cmocka_unit_test(stop_token_is_special_token_with_text_of_stop_string),
        cmocka_unit_test(stop_token_is_found_at_any_place),
    };
    return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}
