/* SPDX-License-Identifier: MIT
 *
 * A subscription: which frames are shown, whatever comes from Redis, in whatever order.
 */
#include "../unit/support.h"

#include <stdio.h>
#include <string.h>

#include <burble/frame.h>

#include "relay/subscription.h"

#define N 8

static const struct burble__stream_id id = {"0123456789abcdef0123456789abcdef"};

/* The frames of one answer, each with its hash in front, as they are in Redis. */
struct text {
    char values[N][64];
    size_t lens[N];
    uint32_t hashes[N + 1]; /* of the first i frames */
};

/* `word` is in each of its frames, from number `from` on; those before are the same for all words. */
static struct text make_text(const char *word, unsigned from)
{
    struct text text;
    text.hashes[0] = BURBLE_FRAME_HASH;
    for (unsigned i = 0; i < N; i++) {
        char piece[24];
        const int n = snprintf(piece, sizeof piece, "%s%u ", i < from ? "same" : word, i);
        burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
        frame.u.text.text = (burble_text){piece, (size_t)n};
        const size_t len = burble_frame_write(&frame, text.values[i] + 4, 60);
        const uint32_t hash = burble_frame_hash(text.hashes[i], text.values[i] + 4, len);
        for (unsigned j = 0; j < 4; j++)
            text.values[i][j] = (char)(hash >> 8 * j & 0xff);
        text.lens[i] = len + 4;
        text.hashes[i + 1] = hash;
    }
    return text;
}

struct shown {
    struct burble__subscription of;
    burble_stream *stream;
    burble_reader *reader;
};

static void begin(struct shown *shown, uint64_t frames, uint32_t hash)
{
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.producer_may_exit = true;
    assert_result(burble_stream_create(&options, &shown->stream), BURBLE_OK);
    assert_result(burble_reader_create(shown->stream, 0, &shown->reader, NULL), BURBLE_OK);
    burble__subscription_init(&shown->of, &id, shown->stream, frames, hash);
}

static void end(struct shown *shown)
{
    burble_reader_destroy(&shown->reader);
    burble_stream_unref(&shown->stream);
}

static enum burble__next take(struct shown *shown, const struct text *text, unsigned k)
{
    return burble__subscription_take(&shown->of, k, text->values[k], text->lens[k]);
}

static enum burble__next take_end(struct shown *shown, const char *text)
{
    return burble__subscription_take(&shown->of, BURBLE__FRAMES_ENDED, text, strlen(text));
}

/* The reader has these frames of the text next, and no more. */
static void expect_frames_at(struct place at, struct shown *shown, const struct text *text,
                             unsigned from, unsigned to)
{
    burble_record record;
    for (unsigned i = from; i < to; i++) {
        if (burble_reader_next(shown->reader, &record) != BURBLE_OK)
            fail_at(at, "expected frame %u, found none", i);
        if (record.len != text->lens[i] - 4
            || memcmp(record.text, text->values[i] + 4, record.len) != 0)
            fail_at(at, "expected frame %u, found another one", i);
    }
    if (burble_reader_next(shown->reader, &record) == BURBLE_OK)
        fail_at(at, "expected no frame after %u, found one", to);
}
#define expect_frames(...) expect_frames_at(HERE, __VA_ARGS__)

static void expect_status_at(struct place at, struct shown *shown, burble_state state, int code)
{
    burble_status status;
    burble_stream_status(shown->stream, &status);
    if (status.state != state || status.code != code)
        fail_at(at, "expected state %d with code %d, found %d with %d (%s)", (int)state, code,
                (int)status.state, status.code, status.message);
}
#define expect_status(...) expect_status_at(HERE, __VA_ARGS__)

/* ---- frames ------------------------------------------------------------------------------------------- */

static void test_frames_in_order_are_shown(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(take(&shown, &text, i), BURBLE__NEXT_NOTHING);
    assert_int_equal(take_end(&shown, "ended 1 8 "), BURBLE__NEXT_OVER);
    expect_frames(&shown, &text, 0, N);
    expect_status(&shown, BURBLE_ENDED, 0);
    end(&shown);
}

static void test_repeated_frames_are_dropped(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0), other = make_text("b", 0);
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    for (unsigned i = 0; i < N; i++)
        for (unsigned j = 0; j <= i; j++)
            assert_int_equal(take(&shown, &text, j), BURBLE__NEXT_NOTHING);
    /* What a worker that was fenced has written late has a number that was shown. */
    assert_int_equal(take(&shown, &other, 3), BURBLE__NEXT_NOTHING);
    expect_frames(&shown, &text, 0, N);
    expect_status(&shown, BURBLE_OPEN, 0);
    end(&shown);
}

static void test_gap_is_fetched_and_nothing_behind_it_is_shown(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    assert_int_equal(take(&shown, &text, 0), BURBLE__NEXT_NOTHING);
    assert_int_equal(take(&shown, &text, 3), BURBLE__NEXT_FETCH);
    expect_frames(&shown, &text, 0, 1);
    /* While the fetch is on its way, frame 5 comes, but not frame 4. */
    assert_int_equal(take(&shown, &text, 5), BURBLE__NEXT_FETCH);
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(take(&shown, &text, i), BURBLE__NEXT_NOTHING);
    assert_int_equal(burble__subscription_attached(&shown.of, 4, NULL, true), BURBLE__NEXT_FETCH);
    assert_int_equal(take(&shown, &text, 4), BURBLE__NEXT_NOTHING);
    assert_int_equal(take(&shown, &text, 5), BURBLE__NEXT_NOTHING);
    assert_int_equal(burble__subscription_attached(&shown.of, 6, NULL, true), BURBLE__NEXT_NOTHING);
    expect_frames(&shown, &text, 1, 6);
    end(&shown);
}

static void test_reply_with_a_part_of_the_frames_is_followed_by_another(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    for (unsigned i = 0; i < 4; i++)
        take(&shown, &text, i);
    assert_int_equal(burble__subscription_attached(&shown.of, N, NULL, true), BURBLE__NEXT_FETCH);
    /* No frames, though there are some: not at once again. */
    assert_int_equal(burble__subscription_attached(&shown.of, N, NULL, false), BURBLE__NEXT_RETRY);
    end(&shown);
}

/* Every pair of texts that part at some frame, at every position of a reader. */
static void test_other_text_fails_at_the_frame_where_it_parts(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    for (unsigned parts = 0; parts < N; parts++)
        for (unsigned at = 1; at < N; at++) {
            /* The first `parts` frames are those that were shown; Redis goes on with others. */
            struct text other = make_text("b", 0);
            struct shown shown;
            begin(&shown, 0, BURBLE_FRAME_HASH);
            memcpy(&other, &text, sizeof other);
            for (unsigned i = parts; i < N; i++) {
                char piece[24];
                burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
                const int n = snprintf(piece, sizeof piece, "b%u ", i);
                frame.u.text.text = (burble_text){piece, (size_t)n};
                const size_t len = burble_frame_write(&frame, other.values[i] + 4, 60);
                other.hashes[i + 1] = burble_frame_hash(other.hashes[i], other.values[i] + 4, len);
                for (unsigned j = 0; j < 4; j++)
                    other.values[i][j] = (char)(other.hashes[i + 1] >> 8 * j & 0xff);
                other.lens[i] = len + 4;
            }
            for (unsigned i = 0; i < at; i++)
                assert_int_equal(take(&shown, &text, i), BURBLE__NEXT_NOTHING);
            const enum burble__next next = take(&shown, &other, at);
            if (parts < at) { /* it was shown frames that Redis has not */
                assert_int_equal(next, BURBLE__NEXT_OVER);
                expect_frames(&shown, &text, 0, at);
                expect_status(&shown, BURBLE_FAILED, BURBLE_EFORMAT);
                assert_true(shown.of.diverged);
            } else {
                assert_int_equal(next, BURBLE__NEXT_NOTHING);
                expect_frames(&shown, &other, 0, at + 1);
            }
            end(&shown);
        }
}

static void test_damaged_frame_fails_the_stream(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    for (size_t len = 0; len < text.lens[0]; len++) {
        struct shown shown;
        begin(&shown, 0, BURBLE_FRAME_HASH);
        assert_int_equal(burble__subscription_take(&shown.of, 0, text.values[0], len),
                         BURBLE__NEXT_OVER);
        expect_status(&shown, BURBLE_FAILED, BURBLE_EFORMAT);
        end(&shown);
    }
}

/* ---- the end ------------------------------------------------------------------------------------------ */

static void test_end_before_its_last_frames_waits_for_them(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    const struct burble__ending ending = {"ended", "2", ""};
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    take(&shown, &text, 0);
    assert_int_equal(take_end(&shown, "ended 2 8 "), BURBLE__NEXT_FETCH);
    expect_status(&shown, BURBLE_OPEN, 0);
    for (unsigned i = 1; i < N; i++)
        take(&shown, &text, i);
    assert_int_equal(burble__subscription_attached(&shown.of, N, &ending, true), BURBLE__NEXT_OVER);
    expect_frames(&shown, &text, 0, N);
    burble_status status;
    burble_stream_status(shown.stream, &status);
    assert_int_equal(status.state, BURBLE_ENDED);
    assert_int_equal(status.reason, BURBLE_REASON_LENGTH);
    end(&shown);
}

static void test_endings_have_the_code_of_their_worker(void **state)
{
    (void)state;
    static const struct {
        const char *end;
        burble_state state;
        int code;
        const char *message;
    } cases[] = {
        {"ended 0 0 ", BURBLE_ENDED, 0, ""},
        {"ended 77 0 ", BURBLE_ENDED, 0, ""},
        {"cancelled 0 0 ", BURBLE_CANCELLED, 0, ""},
        {"failed -4 0 no more  paper", BURBLE_FAILED, BURBLE_EFAILED, "no more  paper"},
        {"failed -6 0 ", BURBLE_FAILED, BURBLE_ETIMEDOUT, ""},
        {"failed 5 0 x", BURBLE_FAILED, BURBLE_EFAILED, "x"},
        {"failed EXHAUSTED 0 ", BURBLE_FAILED, BURBLE_EDIED,
         "the workers that computed this answer have died"},
        {"failed WORKER 0 ", BURBLE_FAILED, BURBLE_EDIED,
         "the worker that computed this answer has died, and no other one can go on with its text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shown shown;
        burble_status status;
        begin(&shown, 0, BURBLE_FRAME_HASH);
        assert_int_equal(take_end(&shown, cases[i].end), BURBLE__NEXT_OVER);
        burble_stream_status(shown.stream, &status);
        assert_int_equal(status.state, cases[i].state);
        assert_int_equal(status.code, cases[i].code);
        assert_string_equal(status.message, cases[i].message);
        end(&shown);
    }
}

/* ---- what Redis has lost ------------------------------------------------------------------------------ */

static void test_missing_frames_are_waited_for_and_then_the_stream_fails(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    struct shown shown;
    for (int none = 0; none < 2; none++) {
        const enum burble__refusal refusal = none ? BURBLE__REFUSED_NONE : BURBLE__REFUSED_BEYOND;
        begin(&shown, 0, BURBLE_FRAME_HASH);
        take(&shown, &text, 0);
        take(&shown, &text, 1);
        assert_int_equal(burble__subscription_refused(&shown.of, refusal, 1000, 100),
                         BURBLE__NEXT_RETRY);
        assert_int_equal(burble__subscription_refused(&shown.of, refusal, 1099, 100),
                         BURBLE__NEXT_RETRY);
        /* It was there in between: the patience begins anew. */
        assert_int_equal(burble__subscription_attached(&shown.of, 2, NULL, false),
                         BURBLE__NEXT_NOTHING);
        assert_int_equal(burble__subscription_refused(&shown.of, refusal, 1150, 100),
                         BURBLE__NEXT_RETRY);
        assert_int_equal(burble__subscription_refused(&shown.of, refusal, 1250, 100),
                         BURBLE__NEXT_OVER);
        expect_frames(&shown, &text, 0, 2);
        expect_status(&shown, BURBLE_FAILED, none ? BURBLE_ECLOSED : BURBLE_EFORMAT);
        end(&shown);
    }
}

static void test_diverged_answer_fails_at_once(void **state)
{
    (void)state;
    struct shown shown;
    begin(&shown, 3, 7);
    assert_int_equal(
        burble__subscription_refused(&shown.of, BURBLE__REFUSED_DIVERGED, 1, UINT64_MAX),
        BURBLE__NEXT_OVER);
    expect_status(&shown, BURBLE_FAILED, BURBLE_EFORMAT);
    end(&shown);
}

static void test_look_compares_number_and_hash(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0), other = make_text("b", 0);
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    for (unsigned i = 0; i < 4; i++)
        take(&shown, &text, i);
    shown.of.asked = 4;
    assert_int_equal(burble__subscription_looked(&shown.of, 4, text.values[3], true),
                     BURBLE__NEXT_NOTHING);
    assert_int_equal(burble__subscription_looked(&shown.of, 4, other.values[3], true),
                     BURBLE__NEXT_FETCH);
    assert_int_equal(burble__subscription_looked(&shown.of, 4, text.values[3], false),
                     BURBLE__NEXT_FETCH);
    assert_int_equal(burble__subscription_looked(&shown.of, 5, text.values[4], true),
                     BURBLE__NEXT_FETCH);
    assert_int_equal(burble__subscription_looked(&shown.of, 3, text.values[2], true),
                     BURBLE__NEXT_FETCH);
    assert_int_equal(burble__subscription_looked(&shown.of, -1, "", true), BURBLE__NEXT_FETCH);
    /* A frame that has come since the look was sent is not missing. */
    take(&shown, &text, 4);
    assert_int_equal(burble__subscription_looked(&shown.of, 4, text.values[3], true),
                     BURBLE__NEXT_NOTHING);
    end(&shown);
}

/* ---- bounds ------------------------------------------------------------------------------------------- */

static void test_reader_at_its_limit_has_frames_fetched_later(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    burble_record record;
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    assert_result(burble_reader_limit(shown.reader, 30, BURBLE_LAG_BLOCK), BURBLE_OK);
    unsigned n = 0;
    while (n < N && take(&shown, &text, n) == BURBLE__NEXT_NOTHING)
        n++;
    assert_in_range(n, 1, 4);
    assert_true(shown.of.full);
    assert_int_equal(take(&shown, &text, n + 1), BURBLE__NEXT_RETRY);
    assert_int_equal(burble__subscription_attached(&shown.of, N, NULL, false), BURBLE__NEXT_RETRY);
    assert_false(burble__subscription_has_room(&shown.of));
    while (burble_reader_next(shown.reader, &record) == BURBLE_OK)
        ;
    assert_true(burble__subscription_has_room(&shown.of));
    assert_int_equal(take(&shown, &text, n), BURBLE__NEXT_NOTHING);
    expect_frames(&shown, &text, n, n + 1);
    end(&shown);
}

static void test_stream_without_a_reader_holds_a_bounded_text(void **state)
{
    (void)state;
    static char value[4 + 65536];
    struct burble__subscription of;
    struct burble__held *held;
    burble_stream *stream;
    burble_reader *reader;
    burble_record record;
    uint32_t hash = BURBLE_FRAME_HASH, k = 0;
    assert_result(burble__held_stream_create(&stream, &held), BURBLE_OK);
    burble__subscription_init(&of, &id, stream, 0, hash);
    of.held = held;
    memset(value, 'x', sizeof value);
    enum burble__next next;
    do {
        hash = burble_frame_hash(of.hash, value + 4, sizeof value - 4);
        for (unsigned j = 0; j < 4; j++)
            value[j] = (char)(hash >> 8 * j & 0xff);
        next = burble__subscription_take(&of, k++, value, sizeof value);
    } while (next == BURBLE__NEXT_NOTHING);
    assert_int_equal(next, BURBLE__NEXT_RETRY);
    assert_in_range(burble__load_relaxed(&held->bytes), BURBLE__HELD_MAX,
                    BURBLE__HELD_MAX + sizeof value);
    assert_false(burble__subscription_has_room(&of));
    assert_result(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
    while (burble_reader_next(reader, &record) == BURBLE_OK)
        ;
    /* Memory is freed by the writer, too: with its next record. */
    next = BURBLE__NEXT_NOTHING;
    of.full = false;
    burble_stream_append(stream, "", 0, 0);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    assert_int_equal(burble__load_relaxed(&held->bytes), 0);
    burble__held_drop(held);
}

static void test_reader_that_cancels_ends_the_subscription(void **state)
{
    (void)state;
    const struct text text = make_text("a", 0);
    struct shown shown;
    begin(&shown, 0, BURBLE_FRAME_HASH);
    take(&shown, &text, 0);
    burble_stream_cancel(shown.stream);
    assert_int_equal(take(&shown, &text, 1), BURBLE__NEXT_OVER);
    assert_true(shown.of.cut);
    assert_int_equal(take(&shown, &text, 2), BURBLE__NEXT_OVER);
    assert_int_equal(burble__subscription_attached(&shown.of, N, NULL, true), BURBLE__NEXT_OVER);
    assert_int_equal(burble__subscription_looked(&shown.of, -1, "", true), BURBLE__NEXT_OVER);
    end(&shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_in_order_are_shown),
        cmocka_unit_test(test_repeated_frames_are_dropped),
        cmocka_unit_test(test_gap_is_fetched_and_nothing_behind_it_is_shown),
        cmocka_unit_test(test_reply_with_a_part_of_the_frames_is_followed_by_another),
        cmocka_unit_test(test_other_text_fails_at_the_frame_where_it_parts),
        cmocka_unit_test(test_damaged_frame_fails_the_stream),
        cmocka_unit_test(test_end_before_its_last_frames_waits_for_them),
        cmocka_unit_test(test_endings_have_the_code_of_their_worker),
        cmocka_unit_test(test_missing_frames_are_waited_for_and_then_the_stream_fails),
        cmocka_unit_test(test_diverged_answer_fails_at_once),
        cmocka_unit_test(test_look_compares_number_and_hash),
        cmocka_unit_test(test_reader_at_its_limit_has_frames_fetched_later),
        cmocka_unit_test(test_stream_without_a_reader_holds_a_bounded_text),
        cmocka_unit_test(test_reader_that_cancels_ends_the_subscription),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
