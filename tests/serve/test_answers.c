/* SPDX-License-Identifier: MIT
 *
 * Answers and their registry: who finds which, and when they are forgotten.
 */
#include "protocol.h"

#include <pthread.h>

#include "serve/registry.h"

#define SECOND UINT64_C(1000000000)
#define RESUME_TIME (600 * SECOND)

/* A backend that counts what it is told. */
struct backend {
    unsigned cancelled, released;
};

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    (void)arg, (void)request, (void)stream, (void)error;
    return BURBLE_OK;
}

static void cancelled(void *arg, burble_stream *stream)
{
    (void)stream;
    ((struct backend *)arg)->cancelled++;
}

static void release(void *arg)
{
    ((struct backend *)arg)->released++;
}

struct fixture {
    struct backend backend;
    struct burble__models *models;
    struct burble__model *model;
    struct burble__registry *registry;
};

static void open_fixture(struct fixture *fixture, const struct burble__registry_options *options)
{
    const burble_serve_model model = {.name = "m",
                                      .submit = submit,
                                      .cancelled = cancelled,
                                      .release = release,
                                      .arg = &fixture->backend};
    fixture->backend = (struct backend){0};
    assert_result(burble__models_create(&fixture->models), BURBLE_OK);
    assert_result(burble__models_add(fixture->models, &model, 1, NULL), BURBLE_OK);
    fixture->model = burble__models_find(fixture->models, NULL, 0);
    assert_result(burble__registry_create(options, &fixture->registry), BURBLE_OK);
}

static void close_fixture(struct fixture *fixture)
{
    burble__registry_destroy(&fixture->registry);
    burble__model_drop(&fixture->model);
    burble__models_destroy(&fixture->models);
    assert_int_equal(fixture->backend.released, 1);
}

static const struct burble__registry_options usual = {.retain = 1 << 20,
                                                      .resume_time = RESUME_TIME};

static struct burble__answer *new_answer(struct fixture *fixture, uint64_t key, bool resumable,
                                         const char *idempotency)
{
    struct burble__answer *answer;
    const struct burble__answer_options options = {
        .route = BURBLE_SERVE_CHAT,
        .flags = (uint64_t)1 << BURBLE__ANSWER_CHOICES_SHIFT,
        .model = fixture->model,
        .key = key,
        .body_hash = burble__body_hash("body", 4),
        .resumable = resumable,
        .idempotency = idempotency,
        .idempotency_len = idempotency == NULL ? 0 : strlen(idempotency),
        .now = SECOND,
        .created = 1790000000,
    };
    assert_result(burble__answer_create(&options, &answer), BURBLE_OK);
    return answer;
}

/* A new answer in the registry, with one client. */
static struct burble__answer *add_answer(struct fixture *fixture, uint64_t key, bool resumable,
                                         const char *idempotency)
{
    struct burble__answer *answer = new_answer(fixture, key, resumable, idempotency), *other;
    assert_int_equal(burble__registry_add(fixture->registry, answer, &other), BURBLE__NOT_FOUND);
    assert_null(other);
    return answer;
}

static struct burble__stream_id id_of(const struct burble__answer *answer)
{
    struct burble__stream_id id;
    assert_true(burble__stream_id_parse(burble__answer_stream(answer), BURBLE__STREAM_ID_LEN, &id));
    return id;
}

static void leave(struct fixture *fixture, struct burble__answer **answer, uint64_t now)
{
    assert_false(burble__registry_detach(fixture->registry, *answer, now));
    burble__answer_drop(answer);
}

static enum burble__found find(struct fixture *fixture, const struct burble__stream_id *id,
                               uint64_t key, const char *token)
{
    struct burble__answer *found;
    const enum burble__found result = burble__registry_find(
        fixture->registry, id, key, token, token == NULL ? 0 : strlen(token), &found);
    assert_int_equal(found != NULL, result == BURBLE__FOUND);
    if (found != NULL) {
        assert_string_equal(burble__answer_stream(found), id->hex);
        leave(fixture, &found, 2 * SECOND);
    }
    return result;
}

static struct burble__registry_stats stats_of(struct fixture *fixture)
{
    struct burble__registry_stats stats;
    burble__registry_stats(fixture->registry, &stats);
    return stats;
}

static void end_answer(struct burble__answer *answer, size_t bytes)
{
    char text[1000] = {1};
    for (size_t done = 0; done < bytes; done += sizeof text)
        assert_result(burble_stream_append(answer->stream, text, sizeof text, 1), BURBLE_OK);
    assert_result(burble_stream_end(answer->stream, BURBLE_REASON_STOP), BURBLE_OK);
}

static void test_answer_has_its_begin_frame(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    for (unsigned resumable = 0; resumable < 2; resumable++) {
        struct burble__answer *answer = new_answer(&fixture, 0, resumable, NULL);
        burble_reader *reader;
        burble_record record;
        burble_frame frame;
        assert_result(burble_reader_create(answer->stream, BURBLE_FROM_OLDEST, &reader, NULL),
                      BURBLE_OK);
        assert_result(burble_reader_next(reader, &record), BURBLE_OK);
        assert_result(burble_frame_read(record.text, record.len, &frame), BURBLE_OK);
        assert_int_equal(frame.kind, BURBLE_FRAME_BEGIN);
        assert_int_equal(frame.u.begin.route, BURBLE_SERVE_CHAT);
        assert_true(frame.u.begin.created == 1790000000);
        assert_int_equal(frame.u.begin.id.len, strlen(answer->name));
        assert_memory_equal(frame.u.begin.id.bytes, answer->name, frame.u.begin.id.len);
        assert_memory_equal(answer->name, "chatcmpl-", 9);
        assert_string_equal(answer->name + 9, burble__answer_stream(answer));
        assert_memory_equal(frame.u.begin.model.bytes, "m", 1);
        assert_true(answer->envelope->has_stream);
        assert_memory_equal(burble__envelope_stream(answer->envelope),
                            burble__answer_stream(answer), BURBLE__STREAM_ID_LEN);
        assert_int_equal(strlen(burble__answer_token(answer)), resumable ? BURBLE__TOKEN_LEN : 0);
        burble_reader_destroy(&reader);
        /* One that can be read again keeps what was read. */
        assert_true(!resumable || burble_stream_oldest(answer->stream) == 0);
        burble__answer_drop(&answer);
        burble__answer_drop(&answer);
    }
    close_fixture(&fixture);
}

static void test_ordinary_answer_is_cancelled_with_its_client_and_forgotten(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    struct burble__answer *answer = add_answer(&fixture, 0, false, NULL);
    const struct burble__stream_id id = id_of(answer);
    assert_true(stats_of(&fixture).running == 1);
    assert_true(burble__registry_detach(fixture.registry, answer, SECOND));
    assert_true(burble__answer_cancel(answer));
    assert_false(burble__answer_cancel(answer));
    assert_int_equal(fixture.backend.cancelled, 1);
    burble__registry_ended(fixture.registry, answer, SECOND);
    burble__registry_ended(fixture.registry, answer, SECOND);
    assert_true(stats_of(&fixture).running == 0);
    burble__answer_drop(&answer);
    assert_int_equal(find(&fixture, &id, 0, NULL), BURBLE__NOT_FOUND);
    /* One that has ended is not to be cancelled. */
    answer = add_answer(&fixture, 0, false, NULL);
    end_answer(answer, 0);
    burble__registry_tick(fixture.registry, SECOND);
    assert_false(burble__registry_detach(fixture.registry, answer, SECOND));
    burble__answer_drop(&answer);
    assert_int_equal(fixture.backend.cancelled, 1);
    close_fixture(&fixture);
}

static void test_resumable_answer_is_found_by_its_key_or_token_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    struct burble__answer *answer = add_answer(&fixture, 11, true, NULL);
    struct burble__stream_id other = id_of(answer);
    other.hex[31] = other.hex[31] == '0' ? '1' : '0';
    char wrong[BURBLE__TOKEN_LEN + 1];
    strcpy(wrong, burble__answer_token(answer));
    wrong[5] = wrong[5] == '0' ? '1' : '0';
    for (unsigned ended = 0; ended < 2; ended++) {
        assert_int_equal(
            find(&fixture, &(const struct burble__stream_id[]){id_of(answer)}[0], 11, NULL),
            BURBLE__FOUND);
        assert_int_equal(
            find(&fixture, &(const struct burble__stream_id[]){id_of(answer)}[0], 12, NULL),
            BURBLE__NOT_FOUND);
        assert_int_equal(
            find(&fixture, &(const struct burble__stream_id[]){id_of(answer)}[0], 0, NULL),
            BURBLE__NOT_FOUND);
        assert_int_equal(find(&fixture, &(const struct burble__stream_id[]){id_of(answer)}[0], 0,
                              burble__answer_token(answer)),
                         BURBLE__FOUND);
        assert_int_equal(
            find(&fixture, &(const struct burble__stream_id[]){id_of(answer)}[0], 0, wrong),
            BURBLE__NOT_FOUND);
        assert_int_equal(
            find(&fixture, &(const struct burble__stream_id[]){id_of(answer)}[0], 0, ""),
            BURBLE__NOT_FOUND);
        assert_int_equal(find(&fixture, &other, 11, burble__answer_token(answer)),
                         BURBLE__NOT_FOUND);
        if (ended == 0)
            end_answer(answer, 0);
        burble__registry_ended(fixture.registry, answer, SECOND);
        assert_true(stats_of(&fixture).retained == 1);
    }
    leave(&fixture, &answer, SECOND);
    close_fixture(&fixture);
}

static void test_abandoned_answer_is_cancelled_after_resume_time(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    struct burble__answer *answer = add_answer(&fixture, 0, true, NULL);
    const struct burble__stream_id id = id_of(answer);
    char token[BURBLE__TOKEN_LEN + 1];
    memcpy(token, burble__answer_token(answer), sizeof token);
    /* A client is there, however long. */
    burble__registry_tick(fixture.registry, 10 * RESUME_TIME);
    assert_int_equal(fixture.backend.cancelled, 0);
    leave(&fixture, &answer, 10 * RESUME_TIME);
    burble__registry_tick(fixture.registry, 11 * RESUME_TIME - 1);
    assert_int_equal(fixture.backend.cancelled, 0);
    assert_true(stats_of(&fixture).running == 1);
    burble__registry_tick(fixture.registry, 11 * RESUME_TIME);
    assert_int_equal(fixture.backend.cancelled, 1);
    /* How it ended can be read for as long again; then its name is known to be gone, to its key and its token. */
    assert_true(stats_of(&fixture).retained == 1);
    assert_int_equal(find(&fixture, &id, 0, NULL), BURBLE__FOUND);
    burble__registry_tick(fixture.registry, 12 * RESUME_TIME);
    assert_true(stats_of(&fixture).retained == 0);
    assert_true(stats_of(&fixture).bytes == 0);
    assert_true(stats_of(&fixture).evicted == 1);
    assert_int_equal(find(&fixture, &id, 0, NULL), BURBLE__EVICTED);
    assert_int_equal(find(&fixture, &id, 1, NULL), BURBLE__NOT_FOUND);
    assert_int_equal(find(&fixture, &id, 7, token), BURBLE__EVICTED);
    token[0] = token[0] == '0' ? '1' : '0';
    assert_int_equal(find(&fixture, &id, 7, token), BURBLE__NOT_FOUND);
    assert_int_equal(find(&fixture, &id, 7, ""), BURBLE__NOT_FOUND);
    close_fixture(&fixture);
}

static void test_oldest_ended_answers_are_evicted_beyond_the_bytes_retained(void **state)
{
    (void)state;
    struct fixture fixture;
    static const struct burble__registry_options small = {.retain = 50000,
                                                          .resume_time = RESUME_TIME};
    open_fixture(&fixture, &small);
    struct burble__stream_id ids[10];
    for (size_t i = 0; i < 10; i++) {
        struct burble__answer *answer = add_answer(&fixture, 0, true, NULL);
        ids[i] = id_of(answer);
        end_answer(answer, 10000);
        if (i % 2 == 0)
            burble__registry_ended(fixture.registry, answer, (i + 2) * SECOND);
        leave(&fixture, &answer, SECOND);
        burble__registry_tick(fixture.registry, (i + 2) * SECOND);
        assert_true(stats_of(&fixture).bytes <= 50000);
    }
    assert_true(stats_of(&fixture).retained == 4);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(find(&fixture, &ids[i], 0, NULL), i < 6 ? BURBLE__EVICTED : BURBLE__FOUND);
    close_fixture(&fixture);
}

/* A client that reads an evicted answer goes on. */
static void test_evicted_answer_lives_as_long_as_its_clients(void **state)
{
    (void)state;
    struct fixture fixture;
    static const struct burble__registry_options none = {.retain = 0, .resume_time = RESUME_TIME};
    open_fixture(&fixture, &none);
    struct burble__answer *answer = add_answer(&fixture, 0, true, NULL);
    end_answer(answer, 1000);
    burble__registry_tick(fixture.registry, 2 * SECOND);
    assert_true(stats_of(&fixture).evicted == 1);
    assert_true(burble_stream_oldest(answer->stream) == 0);
    leave(&fixture, &answer, SECOND);
    close_fixture(&fixture);
}

static void test_number_of_ended_answers_and_evicted_names_is_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    static const struct burble__registry_options few = {
        .retain = UINT64_MAX, .resume_time = RESUME_TIME, .max_ended = 3, .max_evicted = 2};
    open_fixture(&fixture, &few);
    struct burble__stream_id ids[20];
    for (size_t i = 0; i < 20; i++) {
        struct burble__answer *answer = add_answer(&fixture, 0, true, NULL);
        ids[i] = id_of(answer);
        end_answer(answer, 0);
        leave(&fixture, &answer, SECOND);
    }
    burble__registry_tick(fixture.registry, SECOND);
    assert_true(stats_of(&fixture).retained == 3);
    size_t remembered = 0;
    for (size_t i = 0; i < 20; i++)
        remembered += find(&fixture, &ids[i], 0, NULL) == BURBLE__EVICTED;
    assert_in_range(remembered, 1, 2);
    close_fixture(&fixture);
}

static void test_idempotency_key_finds_the_same_answer(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    const uint64_t hash = burble__body_hash("body", 4), other_hash = burble__body_hash("else", 4);
    struct burble__answer *answer = add_answer(&fixture, 5, false, "again"), *found;
    struct burble__answer *second = new_answer(&fixture, 5, false, "again");
    assert_int_equal(burble__registry_add(fixture.registry, second, &found), BURBLE__FOUND);
    assert_ptr_equal(found, answer);
    burble__answer_drop(&second);
    leave(&fixture, &found, SECOND);
    assert_int_equal(
        burble__registry_find_idempotent(fixture.registry, 5, "again", 5, hash, &found),
        BURBLE__FOUND);
    leave(&fixture, &found, SECOND);
    assert_int_equal(
        burble__registry_find_idempotent(fixture.registry, 5, "again", 5, other_hash, &found),
        BURBLE__OTHER_BODY);
    assert_null(found);
    assert_int_equal(
        burble__registry_find_idempotent(fixture.registry, 6, "again", 5, hash, &found),
        BURBLE__NOT_FOUND);
    assert_int_equal(burble__registry_find_idempotent(fixture.registry, 5, "agai", 4, hash, &found),
                     BURBLE__NOT_FOUND);
    /* It lives on without a client, and after its end. */
    assert_false(burble__registry_detach(fixture.registry, answer, SECOND));
    end_answer(answer, 0);
    burble__registry_tick(fixture.registry, SECOND);
    burble__answer_drop(&answer);
    assert_int_equal(
        burble__registry_find_idempotent(fixture.registry, 5, "again", 5, hash, &found),
        BURBLE__FOUND);
    leave(&fixture, &found, SECOND);
    burble__registry_tick(fixture.registry, SECOND + RESUME_TIME);
    assert_int_equal(
        burble__registry_find_idempotent(fixture.registry, 5, "again", 5, hash, &found),
        BURBLE__NOT_FOUND);
    close_fixture(&fixture);
}

static void test_refused_answer_is_removed(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    struct burble__answer *answer = add_answer(&fixture, 0, true, "x"), *found;
    burble__registry_remove(fixture.registry, answer);
    assert_int_equal(find(&fixture, &(const struct burble__stream_id[]){id_of(answer)}[0], 0, NULL),
                     BURBLE__NOT_FOUND);
    assert_int_equal(
        burble__registry_find_idempotent(fixture.registry, 0, "x", 1, answer->body_hash, &found),
        BURBLE__NOT_FOUND);
    assert_null(burble__registry_of_stream(fixture.registry, answer->stream));
    assert_true(stats_of(&fixture).running == 0);
    burble__answer_drop(&answer);
    close_fixture(&fixture);
}

static void test_answer_is_found_by_its_stream_while_it_runs(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    struct burble__answer *answer = add_answer(&fixture, 0, true, NULL);
    struct burble__answer *found = burble__registry_of_stream(fixture.registry, answer->stream);
    assert_ptr_equal(found, answer);
    burble__answer_drop(&found);
    assert_null(burble__registry_of_stream(fixture.registry, NULL));
    end_answer(answer, 0);
    burble__registry_ended(fixture.registry, answer, SECOND);
    assert_null(burble__registry_of_stream(fixture.registry, answer->stream));
    leave(&fixture, &answer, SECOND);
    close_fixture(&fixture);
}

static void test_fail_all_fails_what_runs(void **state)
{
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, &usual);
    struct burble__answer *answers[100];
    for (size_t i = 0; i < 100; i++)
        answers[i] = add_answer(&fixture, 0, i % 2 == 0, NULL);
    end_answer(answers[7], 0);
    assert_int_equal(
        burble__registry_fail_all(fixture.registry, BURBLE_ECLOSED, "the server stops", SECOND),
        99);
    assert_int_equal(fixture.backend.cancelled, 99);
    assert_true(stats_of(&fixture).running == 0);
    assert_true(stats_of(&fixture).retained == 50);
    for (size_t i = 0; i < 100; i++) {
        burble_status status;
        burble_stream_status(answers[i]->stream, &status);
        assert_int_equal(status.state, i == 7 ? BURBLE_ENDED : BURBLE_FAILED);
        leave(&fixture, &answers[i], SECOND);
    }
    close_fixture(&fixture);
}

static int append(const struct burble__answer *answer, size_t len)
{
    static const char text[1000];
    return burble_stream_append_until(answer->stream, text, len, 0, BURBLE_NO_WAIT);
}

static void test_log_without_readers_is_bounded(void **state)
{
    (void)state;
    enum { MANY = 100, MOST = 10000 };
    static const struct burble__registry_options bounded = {
        .retain = 1 << 20, .resume_time = RESUME_TIME, .max_answer = MOST};
    struct fixture fixture;
    struct burble__answer *answers[MANY];
    open_fixture(&fixture, &bounded);
    for (size_t i = 0; i < MANY; i++) {
        answers[i] =
            add_answer(&fixture, 0, i % 2 == 0, i % 2 == 0 ? NULL : (char[]){(char)(i + 1), 0});
        assert_false(burble__registry_detach(fixture.registry, answers[i], SECOND));
        size_t n = 0;
        while (append(answers[i], 1000) == BURBLE_OK) /* until it has to wait */
            assert_true(++n <= MOST / 1000);
        assert_true(n >= MOST / 1000 - 1);
    }
    burble__registry_tick(fixture.registry, 2 * SECOND);
    assert_int_equal(fixture.backend.cancelled, 0);
    for (size_t i = 0; i < MANY; i++)
        assert_result(append(answers[i], 1000), BURBLE_OK);
    burble__registry_tick(fixture.registry, 3 * SECOND);
    assert_int_equal(fixture.backend.cancelled, MANY);
    assert_true(stats_of(&fixture).running == 0);
    for (size_t i = 0; i < MANY; i++) {
        burble_status status;
        burble_stream_status(answers[i]->stream, &status);
        assert_int_equal(status.state, BURBLE_FAILED);
        assert_int_equal(status.code, BURBLE_EFULL);
        assert_string_equal(status.message, "the answer is longer than 10000 bytes");
        burble__answer_drop(&answers[i]);
    }
    close_fixture(&fixture);
}

/* More answers than the tables begin with, and all are found. */
static void test_many_answers(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    struct fixture fixture;
    static struct burble__answer *answers[MANY];
    open_fixture(&fixture, &usual);
    for (size_t i = 0; i < MANY; i++) {
        char idempotency[16];
        snprintf(idempotency, sizeof idempotency, "%zu", i);
        answers[i] = add_answer(&fixture, i % 3, i % 2 == 0, i % 5 == 0 ? idempotency : NULL);
    }
    for (size_t i = 0; i < MANY; i++) {
        struct burble__answer *found =
            burble__registry_of_stream(fixture.registry, answers[i]->stream);
        assert_ptr_equal(found, answers[i]);
        burble__answer_drop(&found);
        assert_int_equal(
            find(&fixture, &(const struct burble__stream_id[]){id_of(answers[i])}[0], i % 3, NULL),
            BURBLE__FOUND);
    }
    for (size_t i = 0; i < MANY; i++)
        end_answer(answers[i], 0);
    burble__registry_tick(fixture.registry, SECOND);
    assert_true(stats_of(&fixture).running == 0);
    assert_true(stats_of(&fixture).retained == 600);
    for (size_t i = 0; i < MANY; i++)
        leave(&fixture, &answers[i], SECOND);
    close_fixture(&fixture);
}

/* ---- several threads: for TSan ------------------------------------------------------------------------- */

static void *use_registry(void *arg)
{
    struct fixture *fixture = arg;
    for (unsigned i = 0; i < 300; i++) {
        char idempotency[16];
        snprintf(idempotency, sizeof idempotency, "%u", i);
        struct burble__answer *answer =
            new_answer(fixture, 0, i % 2 == 0, i % 3 == 0 ? idempotency : NULL);
        struct burble__answer *other, *found;
        if (burble__registry_add(fixture->registry, answer, &other) == BURBLE__FOUND) {
            burble__answer_drop(&answer);
            answer = other;
        }
        const struct burble__stream_id id = id_of(answer);
        if (burble__registry_find(fixture->registry, &id, 0, NULL, 0, &found) == BURBLE__FOUND) {
            burble__registry_detach(fixture->registry, found, SECOND);
            burble__answer_drop(&found);
        }
        found = burble__registry_of_stream(fixture->registry, answer->stream);
        burble__answer_drop(&found);
        if (i % 4 == 0)
            burble__registry_tick(fixture->registry, SECOND + i);
        burble_stream_end(answer->stream, BURBLE_REASON_STOP);
        burble__registry_ended(fixture->registry, answer, SECOND + i);
        burble__registry_detach(fixture->registry, answer, SECOND + i);
        burble__answer_drop(&answer);
    }
    return NULL;
}

static void test_threads_share_the_registry(void **state)
{
    (void)state;
    struct fixture fixture;
    pthread_t threads[4];
    static const struct burble__registry_options few = {
        .retain = 20000, .resume_time = RESUME_TIME, .max_ended = 50, .max_evicted = 16};
    open_fixture(&fixture, &few);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_registry, &fixture), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    burble__registry_tick(fixture.registry, SECOND);
    assert_true(stats_of(&fixture).running == 0);
    close_fixture(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_has_its_begin_frame),
        cmocka_unit_test(test_ordinary_answer_is_cancelled_with_its_client_and_forgotten),
        cmocka_unit_test(test_resumable_answer_is_found_by_its_key_or_token_alone),
        cmocka_unit_test(test_abandoned_answer_is_cancelled_after_resume_time),
        cmocka_unit_test(test_oldest_ended_answers_are_evicted_beyond_the_bytes_retained),
        cmocka_unit_test(test_evicted_answer_lives_as_long_as_its_clients),
        cmocka_unit_test(test_number_of_ended_answers_and_evicted_names_is_bounded),
        cmocka_unit_test(test_idempotency_key_finds_the_same_answer),
        cmocka_unit_test(test_refused_answer_is_removed),
        cmocka_unit_test(test_answer_is_found_by_its_stream_while_it_runs),
        cmocka_unit_test(test_fail_all_fails_what_runs),
        cmocka_unit_test(test_log_without_readers_is_bounded),
        cmocka_unit_test(test_many_answers),
        cmocka_unit_test(test_threads_share_the_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
