/* SPDX-License-Identifier: MIT
 *
 * A worker on a real Redis: what it claims, what Redis has of its text, and what happens when either is lost.
 */
#define _GNU_SOURCE
#include "worker_support.h"

#include <sys/wait.h>
#include <unistd.h>

static struct redis_server server;
static struct backend backend, second_backend;

static int begin_with(bool keeps)
{
    return redis_start(&server, keeps) ? 0 : -1;
}

#define BEGIN(keeps)                                                                               \
    (void)state;                                                                                   \
    if (begin_with(keeps) != 0)                                                                    \
    skip()

static void end(burble_relay *relay)
{
    burble_relay_destroy(&relay);
    redis_stop(&server);
}

/* ---- claiming ------------------------------------------------------------------------------------------------ */

static void test_answer_is_computed_and_published(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    struct job *job = &backend.jobs[0];
    assert_string_equal(job->prompt, "number 1");
    assert_int_equal(job->seed, 7);
    assert_true(job->resumable);
    assert_int_equal(job->written, 0);
    assert_true(has(&server, 1, "state", "running"));
    assert_true(has(&server, 1, "digest", "d"));
    assert_result(write_texts(job, 40), BURBLE_OK);
    UNTIL(frames_of(&server, 1) == 41);
    assert_result(burble_stream_end(job->stream, BURBLE_REASON_STOP), BURBLE_OK);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_true(has(&server, 1, "code", "1"));
    assert_log(&server, 1, 40);
    assert_int_equal(cancelled_of(&backend), 0);
    burble_relay_stats stats;
    burble_relay_stats_now(relay, &stats);
    assert_int_equal(stats.frames_sent, 40);
    end(relay);
    assert_int_equal(backend.released, 1);
}

static void test_no_more_than_slots_are_claimed(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    for (unsigned i = 0; i < 4; i++)
        submit_answer(&server, i);
    UNTIL(jobs_of(&backend) == 2);
    assert_string_equal(redis_ask(&server, "ZCARD {burble}:q:m"), "2");
    for (unsigned i = 0; i < 4; i++) {
        UNTIL(job_of(&backend, i) != NULL);
        burble_stream_end(job_of(&backend, i)->stream, BURBLE_REASON_STOP);
        UNTIL(has(&server, i, "state", "ended"));
    }
    end(relay);
}

static void test_refusal_of_backend_fails_answer(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    backend.result = BURBLE_EINVAL;
    submit_answer(&server, 1);
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "code", "-2"));
    assert_true(has(&server, 1, "message", "prompt: expected another one"));
    end(relay);
}

static void test_malformed_log_fails_answer(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    const struct argument arguments[] = {
        WORD("front"), WORD(id_of(1)), WORD("m"), WORD("{}"),   WORD("hash, and no begin frame"),
        WORD("key"),   WORD(""),       WORD("x"), WORD("1000"), WORD("600000"),
    };
    SUBMIT(run_script(&server, BURBLE__SCRIPT_SUBMIT, arguments, 10));
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "code", "-11"));
    assert_int_equal(jobs_of(&backend), 0);
    end(relay);
}

static void test_request_of_another_version_fails_answer(void **state)
{
    char begin[128], value[132];
    uint32_t hash = BURBLE_FRAME_HASH;
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    const size_t n = with_hash(&hash, begin, make_begin("cmpl-0", begin, sizeof begin), value);
    const struct argument arguments[] = {
        WORD("front"), WORD(id_of(1)), WORD("m"), WORD("{\"v\":2}"), {value, n},
        WORD("key"),   WORD(""),       WORD("x"), WORD("1000"),      WORD("600000"),
    };
    SUBMIT(run_script(&server, BURBLE__SCRIPT_SUBMIT, arguments, 10));
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "code", "-12"));
    end(relay);
}

/* A front whose max_json_depth is the highest one. */
static void test_request_that_is_as_deep_as_a_front_lets_through_is_computed(void **state)
{
    enum { DEPTH = 1024 };
    char body[3 * DEPTH] = "{\\\"prompt\\\":\\\"deep\\\",\\\"metadata\\\":{\\\"a\\\":";
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    char *at = body + strlen(body);
    memset(at, '[', DEPTH - 2);
    memset(at + DEPTH - 2, ']', DEPTH - 2);
    memcpy(at + 2 * (DEPTH - 2), "}}", 3);
    SUBMIT(submit_body(&server, 1, body));
    UNTIL(jobs_of(&backend) == 1);
    end(relay);
}

static void test_cancelled_answer_ends_at_backend(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 2);
    const struct argument arguments[] = {WORD(id_of(1)), WORD("600000")};
    assert_string_equal(run_script(&server, BURBLE__SCRIPT_CANCEL, arguments, 2), "ok");
    UNTIL(has(&server, 1, "state", "cancelled"));
    assert_int_equal(cancelled_of(&backend), 1);
    assert_result(write_texts(&backend.jobs[0], 1), BURBLE_ECANCELED);
    assert_log(&server, 1, 2);
    end(relay);
}

/* ---- going on ------------------------------------------------------------------------------------------------- */

static void test_answer_goes_on_after_dead_worker(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 5);
    UNTIL(frames_of(&server, 1) == 6);
    burble_relay_destroy(&relay); /* its lease is not given back, as if it had died */
    assert_true(has(&server, 1, "state", "running"));
    relay = start_worker(&options, &second_backend, "d", 2);
    UNTIL(jobs_of(&second_backend) == 1);
    struct job *job = &second_backend.jobs[0];
    assert_int_equal(job->written, 5);
    assert_string_equal(job->first, "text 0 ");
    assert_int_equal(burble_stream_position(job->stream), 6);
    write_texts(job, 3);
    burble_stream_end(job->stream, BURBLE_REASON_LENGTH);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 8);
    burble_relay_stats stats;
    burble_relay_stats_now(relay, &stats);
    assert_int_equal(stats.reaped, 1);
    assert_int_equal(stats.resumed, 1);
    end(relay);
}

static void test_text_of_other_digest_is_not_gone_on_with(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 1);
    UNTIL(frames_of(&server, 1) == 2);
    burble_relay_destroy(&relay);
    relay = start_worker(&options, &second_backend, "e", 2);
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "code", "DIGEST"));
    assert_int_equal(jobs_of(&second_backend), 0);
    end(relay);
}

static void test_answer_of_several_choices_stays_with_its_worker(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    SUBMIT(submit_body(&server, 1, "{\\\"prompt\\\":\\\"x\\\",\\\"n\\\":2}"));
    UNTIL(jobs_of(&backend) == 1);
    UNTIL(has(&server, 1, "digest", "-"));
    write_texts(&backend.jobs[0], 1);
    UNTIL(frames_of(&server, 1) == 2);
    burble_relay *other = start_worker(&options, &second_backend, "d", 2);
    burble_relay_drain(relay, PATIENCE);
    UNTIL(strcmp(redis_ask(&server, "ZCARD {burble}:wk:m"), "1") == 0);
    write_texts(&backend.jobs[0], 1);
    UNTIL(frames_of(&server, 1) == 3);
    burble_relay_destroy(&relay); /* it dies */
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "code", "WORKER"));
    assert_int_equal(jobs_of(&second_backend), 0);
    end(other);
}

static void test_answer_that_nobody_shows_is_cancelled(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    redis_ask(&server, "HSET {burble}:m:%s linger 50", id_of(1));
    UNTIL(has(&server, 1, "state", "cancelled"));
    assert_int_equal(cancelled_of(&backend), 1);
    end(relay);
}

static void test_forked_child_can_destroy_relay(void **state)
{
    int status;
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    const pid_t child = fork();
    if (child == 0) {
        burble_relay_drain(relay, 0);
        const int waited = burble_relay_wait(relay, 0);
        burble_relay_destroy(&relay);
        _exit(relay != NULL || waited != BURBLE_OK);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    write_texts(&backend.jobs[0], 3);
    burble_stream_end(backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 3);
    end(relay);
}

/* ---- Redis is lost --------------------------------------------------------------------------------------------- */

static void test_redis_that_dies_with_its_data_loses_nothing(void **state)
{
    BEGIN(true);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    for (int i = 0; i < 3; i++) {
        write_texts(&backend.jobs[0], 10);
        redis_kill(&server);
        write_texts(&backend.jobs[0], 10);
        redis_start_again(&server);
    }
    burble_stream_end(backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 60);
    assert_int_equal(jobs_of(&backend), 1);
    end(relay);
}

static void test_redis_without_data_gets_all_logs_again(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 20);
    burble_stream_end(backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    submit_answer(&server, 2);
    UNTIL(jobs_of(&backend) == 2);
    write_texts(&backend.jobs[1], 700); /* more than a step has */
    UNTIL(frames_of(&server, 2) == 701);
    redis_kill(&server);
    redis_start_again(&server);
    UNTIL(frames_of(&server, 2) == 701 && has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 20);
    assert_true(has(&server, 2, "state", "running"));
    assert_true(has(&server, 2, "key", "key"));
    assert_true(has(&server, 2, "linger", "600000"));
    write_texts(&backend.jobs[1], 1);
    burble_stream_end(backend.jobs[1].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 2, "state", "ended"));
    assert_log(&server, 2, 701);
    assert_int_equal(jobs_of(&backend), 2);
    burble_relay_stats stats;
    burble_relay_stats_now(relay, &stats);
    assert_int_equal(stats.rejoined, 2);
    assert_int_equal(stats.fenced, 1);
    end(relay);
}

static void test_logs_beyond_retain_are_not_kept(void **state)
{
    BEGIN(false);
    burble_relay_options options = options_for(&server);
    options.retain = 100; /* bytes: of the second one alone */
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    for (unsigned i = 1; i <= 2; i++) {
        submit_answer(&server, i);
        UNTIL(jobs_of(&backend) == i);
        write_texts(&backend.jobs[i - 1], i == 1 ? 20 : 1);
        burble_stream_end(backend.jobs[i - 1].stream, BURBLE_REASON_STOP);
        UNTIL(has(&server, i, "state", "ended"));
    }
    redis_kill(&server);
    redis_start_again(&server);
    UNTIL(has(&server, 2, "state", "ended"));
    assert_log(&server, 2, 1);
    assert_int_equal(frames_of(&server, 1), 0);
    end(relay);
}

static void test_logs_are_kept_for_ttl(void **state)
{
    BEGIN(false);
    burble_relay_options options = options_for(&server);
    options.ttl = 300 * MS;
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    burble_stream_end(backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "(nil)")); /* the request went with its end */
    redis_kill(&server);
    redis_start_again(&server);
    UNTIL(strcmp(redis_ask(&server, "ZCARD {burble}:wk:m"), "1") == 0);
    burble_relay_stats stats;
    burble_relay_stats_now(relay, &stats);
    assert_int_equal(stats.rejoined, 0);
    end(relay);
}

static void test_redis_that_loses_its_tail_gets_it_again(void **state)
{
    BEGIN(true);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 4);
    submit_answer(&server, 1);
    submit_answer(&server, 2);
    UNTIL(jobs_of(&backend) == 2);
    struct job *first = job_of(&backend, 1), *second = job_of(&backend, 2);
    write_texts(first, 10);
    write_texts(second, 10);
    UNTIL(frames_of(&server, 1) == 11 && frames_of(&server, 2) == 11);
    redis_save(&server);
    write_texts(first, 10);
    write_texts(second, 10);
    burble_stream_end(second->stream, BURBLE_REASON_STOP);
    submit_answer(&server, 3); /* claimed after what is kept */
    UNTIL(jobs_of(&backend) == 3);
    write_texts(&backend.jobs[2], 5);
    UNTIL(frames_of(&server, 3) == 6 && frames_of(&server, 1) == 21);
    UNTIL(has(&server, 2, "state", "ended"));
    /* The second time brings a session back that was followed by two others. */
    for (int i = 0; i < 2; i++) {
        redis_kill(&server);
        redis_restore(&server);
        redis_start_again(&server);
        UNTIL(frames_of(&server, 1) == 21 && frames_of(&server, 3) == 6);
        UNTIL(has(&server, 2, "state", "ended"));
    }
    assert_log(&server, 2, 20);
    write_texts(first, 1);
    burble_stream_end(first->stream, BURBLE_REASON_STOP);
    burble_stream_end(backend.jobs[2].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended") && has(&server, 3, "state", "ended"));
    assert_log(&server, 1, 21);
    assert_log(&server, 3, 5);
    assert_int_equal(jobs_of(&backend), 3);
    assert_int_equal(cancelled_of(&backend), 0);
    end(relay);
}

static void test_frozen_redis_reaps_nobody(void **state)
{
    const struct timespec while_frozen = {.tv_sec = 1};
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    redis_freeze(&server);
    write_texts(&backend.jobs[0], 5);
    nanosleep(&while_frozen, NULL); /* five leases */
    redis_thaw(&server);
    write_texts(&backend.jobs[0], 5);
    burble_stream_end(backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 10);
    burble_relay_stats stats;
    burble_relay_stats_now(relay, &stats);
    assert_int_equal(stats.fenced, 0);
    end(relay);
}

/* Writes a frame with a text of `n` bytes, at most 17 MiB. Returns its length. */
static size_t write_long_frame(char *bytes, size_t capacity, size_t n)
{
    static char text[17 << 20];
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
    assert_true(n <= sizeof text);
    memset(text, 'x', n);
    frame.u.text.text = (burble_text){text, n};
    frame.u.text.ids = frame.u.text.logprobs = (burble_text){"", 0};
    return burble_frame_write(&frame, bytes, capacity);
}

static void test_writer_waits_at_max_pending(void **state)
{
    BEGIN(false);
    burble_relay_options options = options_for(&server);
    options.max_pending = 65536;
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    redis_freeze(&server);
    char bytes[1100];
    const size_t len = write_long_frame(bytes, sizeof bytes, 1024);
    size_t written = 0;
    int result;
    while ((result = burble_stream_append_until(backend.jobs[0].stream, bytes, len, 1,
                                                burble_now() + 300 * MS))
           == BURBLE_OK)
        written += len;
    assert_result(result, BURBLE_ETIMEDOUT);
    assert_in_range(written, 16384, 65536);
    redis_thaw(&server);
    assert_result(
        burble_stream_append_until(backend.jobs[0].stream, bytes, len, 1, burble_now() + PATIENCE),
        BURBLE_OK);
    UNTIL(frames_of(&server, 1) == written / len + 2);
    end(relay);
}

/* The log of an answer is kept until Redis has it, and for a Redis that loses it: it has a bound. */
static void test_log_beyond_16_mib_fails_its_answer(void **state)
{
    enum { SIZE = 60000 };
    static char bytes[SIZE + 100];
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    const size_t len = write_long_frame(bytes, sizeof bytes, SIZE);
    uint64_t written = 0;
    int result;
    while ((result = burble_stream_append_until(backend.jobs[0].stream, bytes, len, 1,
                                                burble_now() + PATIENCE))
           == BURBLE_OK)
        written += len;
    assert_result(result, BURBLE_ECLOSED);
    assert_true(written > UINT64_C(16) << 20);
    assert_true(written < UINT64_C(18) << 20); /* and what had not been sent: max_pending */
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "message", "the answer is too long to be kept: 16 MiB"));
    end(relay);
}

/* It would hold up all other answers of the worker, and above 256 MiB for ever. */
static void test_frame_beyond_16_mib_is_not_sent(void **state)
{
    enum { SIZE = 17 << 20 };
    static char bytes[SIZE + 100];
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    const size_t len = write_long_frame(bytes, sizeof bytes, SIZE);
    burble_stream *stream = backend.jobs[0].stream;
    assert_result(burble_stream_append(stream, bytes, len, 1), BURBLE_OK);
    (void)burble_stream_end(stream, BURBLE_REASON_STOP); /* unless it has failed already */
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "message", "the answer is too long to be kept: 16 MiB"));
    assert_int_equal(frames_of(&server, 1), 1);
    submit_answer(&server, 2);
    UNTIL(jobs_of(&backend) == 2);
    end(relay);
}

static void test_redis_that_stays_away_fails_answers(void **state)
{
    BEGIN(true);
    burble_relay_options options = options_for(&server);
    options.away = 300 * MS;
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 1);
    UNTIL(frames_of(&server, 1) == 2);
    redis_kill(&server);
    burble_status status;
    UNTIL((burble_stream_status(backend.jobs[0].stream, &status), status.state != BURBLE_OPEN));
    assert_int_equal(status.state, BURBLE_FAILED);
    assert_int_equal(-status.code, -BURBLE_ETIMEDOUT);
    UNTIL(cancelled_of(&backend) == 1);
    redis_start_again(&server);
    UNTIL(has(&server, 1, "state", "failed"));
    assert_true(has(&server, 1, "message", "Redis was away for too long"));
    end(relay);
}

/* ---- the lease is lost ------------------------------------------------------------------------------------------- */

static void test_fenced_worker_takes_its_answers_back(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 5);
    UNTIL(frames_of(&server, 1) == 6);
    redis_ask(&server, "EVAL %s 0",
              "for _, S in ipairs(redis.call('ZRANGE', '{burble}:w', 0, -1)) do "
              "redis.call('DEL', '{burble}:ses:' .. S, '{burble}:own:' .. S) "
              "redis.call('ZREM', '{burble}:w', S) end");
    UNTIL(strcmp(redis_ask(&server, "ZCARD {burble}:w"), "1") == 0);
    write_texts(&backend.jobs[0], 5);
    burble_stream_end(backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 10);
    assert_int_equal(jobs_of(&backend), 1);
    end(relay);
}

static void test_answer_of_another_worker_is_dropped(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 5);
    UNTIL(frames_of(&server, 1) == 6);
    /* A live session has it now. */
    redis_ask(&server, "EVAL %s 0",
              "for _, S in ipairs(redis.call('ZRANGE', '{burble}:w', 0, -1)) do "
              "redis.call('DEL', '{burble}:ses:' .. S, '{burble}:own:' .. S) "
              "redis.call('ZREM', '{burble}:w', S) end "
              "redis.call('HSET', '{burble}:ses:other', 'n', 1, 'models', 'm') "
              "for _, m in ipairs(redis.call('KEYS', '{burble}:m:*')) do "
              "redis.call('HSET', m, 'session', 'other') end");
    UNTIL(cancelled_of(&backend) == 1);
    assert_result(write_texts(&backend.jobs[0], 1), BURBLE_ECANCELED);
    assert_log(&server, 1, 5);
    assert_true(has(&server, 1, "state", "running"));
    end(relay);
}

static void test_stuck_worker_gives_its_lease_up(void **state)
{
    BEGIN(false);
    burble_relay_options options = options_for(&server);
    options.stall = 300 * MS;
    burble_relay *relay = start_worker(&options, &backend, "d", 2);
    submit_answer(&server, 1);
    UNTIL(jobs_of(&backend) == 1);
    write_texts(&backend.jobs[0], 2);
    UNTIL(frames_of(&server, 1) == 3);
    options.stall = 60 * SECOND;
    burble_relay *other = start_worker(&options, &second_backend, "d", 2);
    UNTIL(jobs_of(&second_backend) == 1);
    assert_int_equal(second_backend.jobs[0].written, 2);
    /* It gets no others, until there is a sign of its writer. */
    write_texts(&second_backend.jobs[0], 1);
    for (unsigned i = 2; i < 4; i++)
        submit_answer(&server, i);
    UNTIL(jobs_of(&second_backend) == 2);
    assert_int_equal(jobs_of(&backend), 1);
    write_texts(&backend.jobs[0], 1);
    UNTIL(jobs_of(&backend) == 2);
    assert_result(write_texts(&backend.jobs[0], 1), BURBLE_ECANCELED);
    burble_stream_end(second_backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 3);
    burble_relay_destroy(&other);
    end(relay);
}

/* ---- draining ---------------------------------------------------------------------------------------------------- */

static void test_drained_worker_hands_its_answers_on(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 4);
    for (unsigned i = 1; i <= 3; i++)
        submit_answer(&server, i);
    UNTIL(jobs_of(&backend) == 3);
    for (unsigned i = 0; i < 3; i++)
        write_texts(&backend.jobs[i], i);
    burble_relay *other = start_worker(&options, &second_backend, "d", 4);
    burble_relay_drain(relay, PATIENCE);
    assert_result(burble_relay_wait(relay, burble_now() + PATIENCE), BURBLE_OK);
    UNTIL(jobs_of(&second_backend) == 3);
    assert_int_equal(cancelled_of(&backend), 3);
    assert_string_equal(redis_ask(&server, "ZCARD {burble}:w"), "1");
    for (unsigned i = 0; i < 3; i++) {
        struct job *job = &second_backend.jobs[i];
        write_texts(job, 3 - (unsigned)job->written);
        burble_stream_end(job->stream, BURBLE_REASON_STOP);
    }
    for (unsigned i = 1; i <= 3; i++) {
        UNTIL(has(&server, i, "state", "ended"));
        assert_log(&server, i, 3);
        assert_true(has(&server, i, "attempts", "1"));
    }
    burble_relay_destroy(&other);
    end(relay);
}

static void test_drained_worker_ends_what_nobody_takes(void **state)
{
    BEGIN(false);
    const burble_relay_options options = options_for(&server);
    burble_relay *relay = start_worker(&options, &backend, "d", 4);
    submit_answer(&server, 1);
    submit_answer(&server, 2);
    UNTIL(jobs_of(&backend) == 2);
    write_texts(&backend.jobs[0], 1);
    burble_relay_drain(relay, PATIENCE);
    submit_body(&server, 3, "{\\\"prompt\\\":\\\"number 3\\\"}"); /* refused, or not taken */
    write_texts(&backend.jobs[0], 1);
    burble_stream_end(backend.jobs[0].stream, BURBLE_REASON_STOP);
    UNTIL(has(&server, 1, "state", "ended"));
    assert_log(&server, 1, 2);
    assert_result(burble_relay_wait(relay, burble_now() + 1), BURBLE_ETIMEDOUT);
    burble_relay_drain(relay, 0); /* a shorter time */
    assert_result(burble_relay_wait(relay, 0), BURBLE_OK);
    assert_true(has(&server, 2, "state", "failed"));
    assert_true(has(&server, 2, "message", "the worker was stopped"));
    assert_int_equal(jobs_of(&backend), 2);
    assert_string_equal(redis_ask(&server, "ZCARD {burble}:w"), "0");
    end(relay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_is_computed_and_published),
        cmocka_unit_test(test_no_more_than_slots_are_claimed),
        cmocka_unit_test(test_refusal_of_backend_fails_answer),
        cmocka_unit_test(test_malformed_log_fails_answer),
        cmocka_unit_test(test_request_of_another_version_fails_answer),
        cmocka_unit_test(test_request_that_is_as_deep_as_a_front_lets_through_is_computed),
        cmocka_unit_test(test_cancelled_answer_ends_at_backend),
        cmocka_unit_test(test_answer_goes_on_after_dead_worker),
        cmocka_unit_test(test_text_of_other_digest_is_not_gone_on_with),
        cmocka_unit_test(test_answer_of_several_choices_stays_with_its_worker),
        cmocka_unit_test(test_answer_that_nobody_shows_is_cancelled),
        cmocka_unit_test(test_forked_child_can_destroy_relay),
        cmocka_unit_test(test_logs_beyond_retain_are_not_kept),
        cmocka_unit_test(test_logs_are_kept_for_ttl),
        cmocka_unit_test(test_redis_that_dies_with_its_data_loses_nothing),
        cmocka_unit_test(test_redis_without_data_gets_all_logs_again),
        cmocka_unit_test(test_redis_that_loses_its_tail_gets_it_again),
        cmocka_unit_test(test_frozen_redis_reaps_nobody),
        cmocka_unit_test(test_writer_waits_at_max_pending),
        cmocka_unit_test(test_log_beyond_16_mib_fails_its_answer),
        cmocka_unit_test(test_frame_beyond_16_mib_is_not_sent),
        cmocka_unit_test(test_redis_that_stays_away_fails_answers),
        cmocka_unit_test(test_fenced_worker_takes_its_answers_back),
        cmocka_unit_test(test_answer_of_another_worker_is_dropped),
        cmocka_unit_test(test_stuck_worker_gives_its_lease_up),
        cmocka_unit_test(test_drained_worker_hands_its_answers_on),
        cmocka_unit_test(test_drained_worker_ends_what_nobody_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
