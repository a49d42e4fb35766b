/* SPDX-License-Identifier: MIT
 *
 * Running generators on a pool: pool.h.
 */
#define _POSIX_C_SOURCE 200809L

#include "stream_support.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include <burble/pool.h>

/* What a test's generators and the test tell each other. */
struct scene {
    sem_t begun;    /* posted by each generator that begins */
    sem_t go;       /* waited for by each */
    sem_t released; /* posted for each argument that is given back */
    pthread_mutex_t lock;
    int order[64]; /* in which they ran */
    int n;
};

struct part {
    struct scene *scene;
    int number;
};

static void scene_init(struct scene *scene)
{
    sem_init(&scene->begun, 0, 0);
    sem_init(&scene->go, 0, 0);
    sem_init(&scene->released, 0, 0);
    pthread_mutex_init(&scene->lock, NULL);
    scene->n = 0;
}

static void scene_finish(struct scene *scene)
{
    sem_destroy(&scene->begun);
    sem_destroy(&scene->go);
    sem_destroy(&scene->released);
    pthread_mutex_destroy(&scene->lock);
}

/* The whole text of a stream, and how it ends. */
static int read_all(burble_stream *stream, char *text, size_t size)
{
    burble_reader *reader;
    burble_record record;
    size_t len = 0;
    int rc;
    assert_result(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
    for (;;) {
        rc = burble_reader_next(reader, &record);
        if (rc == BURBLE_AGAIN) {
            assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
            continue;
        }
        if (rc != BURBLE_OK)
            break;
        assert_true(len + record.len < size);
        memcpy(text + len, record.text, record.len);
        len += record.len;
    }
    text[len] = '\0';
    burble_reader_destroy(&reader);
    return rc;
}

static int say_hello(burble_stream *stream, void *arg)
{
    (void)arg;
    const int rc = burble_stream_append(stream, "hello ", 6, 1);
    return rc == BURBLE_OK ? burble_stream_append(stream, "world", 5, 1) : rc;
}

static void generator_text_and_end_are_read(void **state)
{
    (void)state;
    burble_pool *pool;
    burble_stream *stream;
    burble_status status;
    char text[64];
    assert_result(burble_pool_create(NULL, &pool), BURBLE_OK);
    assert_result(burble_pool_run(pool, say_hello, NULL, NULL, &stream), BURBLE_OK);
    assert_result(read_all(stream, text, sizeof text), BURBLE_END);
    assert_string_equal(text, "hello world");
    burble_stream_status(stream, &status);
    assert_int_equal(status.reason, BURBLE_REASON_NONE);
    burble_stream_unref(&stream);
    burble_pool_destroy(&pool);
    assert_null(pool);
    burble_pool_destroy(&pool);
    burble_pool_destroy(NULL);
}

static int end_with_reason(burble_stream *stream, void *arg)
{
    (void)arg;
    burble_stream_append(stream, "x", 1, 1);
    burble_stream_end(stream, BURBLE_REASON_LENGTH);
    return BURBLE_OK;
}

static int return_own_code(burble_stream *stream, void *arg)
{
    (void)arg;
    burble_stream_append(stream, "so far", 6, 1);
    return -1234;
}

static int fail_by_itself(burble_stream *stream, void *arg)
{
    (void)arg;
    burble_stream_fail(stream, -77, "the model is tired");
    return -1;
}

static void generator_result_decides_end_of_stream(void **state)
{
    (void)state;
    burble_pool *pool;
    burble_stream *stream;
    burble_status status;
    char text[64];
    assert_result(burble_pool_create(NULL, &pool), BURBLE_OK);

    assert_result(burble_pool_run(pool, end_with_reason, NULL, NULL, &stream), BURBLE_OK);
    assert_result(read_all(stream, text, sizeof text), BURBLE_END);
    burble_stream_status(stream, &status);
    assert_int_equal(status.reason, BURBLE_REASON_LENGTH);
    burble_stream_unref(&stream);

    assert_result(burble_pool_run(pool, return_own_code, NULL, NULL, &stream), BURBLE_OK);
    assert_int_equal(read_all(stream, text, sizeof text), -1234);
    assert_string_equal(text, "so far");
    burble_stream_status(stream, &status);
    assert_non_null(strstr(status.message, "-1234"));
    burble_stream_unref(&stream);

    assert_result(burble_pool_run(pool, fail_by_itself, NULL, NULL, &stream), BURBLE_OK);
    assert_int_equal(read_all(stream, text, sizeof text), -77);
    burble_stream_status(stream, &status);
    assert_string_equal(status.message, "the model is tired");
    burble_stream_unref(&stream);
    burble_pool_destroy(&pool);
}

static int wait_for_go(burble_stream *stream, void *arg)
{
    struct part *part = arg;
    struct scene *scene = part->scene;
    (void)stream;
    pthread_mutex_lock(&scene->lock);
    scene->order[scene->n++] = part->number;
    pthread_mutex_unlock(&scene->lock);
    sem_post(&scene->begun);
    sem_wait(&scene->go);
    return BURBLE_OK;
}

static void release_part(void *arg)
{
    struct part *part = arg;
    sem_post(&part->scene->released);
}

static void full_queue_refuses_and_keeps_order(void **state)
{
    (void)state;
    struct scene scene;
    struct part parts[8];
    burble_pool_options options;
    burble_pool_run_options run;
    burble_pool *pool;
    burble_stream *streams[8] = {NULL}, *refused;
    unsigned running;
    size_t waiting;

    scene_init(&scene);
    burble_pool_options_init(&options);
    options.workers = 2;
    options.queue = 3;
    burble_pool_run_options_init(&run);
    run.release = release_part;
    assert_result(burble_pool_create(&options, &pool), BURBLE_OK);
    for (int i = 0; i < 5; i++) {
        parts[i] = (struct part){&scene, i};
        assert_result(burble_pool_run(pool, wait_for_go, &parts[i], &run, &streams[i]), BURBLE_OK);
    }
    sem_wait(&scene.begun);
    sem_wait(&scene.begun);
    burble_pool_counts(pool, &running, &waiting);
    assert_int_equal(running, 2);
    assert_int_equal(waiting, 3);
    assert_result(burble_pool_run(pool, wait_for_go, &parts[0], &run, &refused), BURBLE_EFULL);
    assert_null(refused);

    /* One that is cancelled while it waits makes room, and never runs. */
    assert_true(burble_stream_cancel(streams[3]));
    parts[5] = (struct part){&scene, 5};
    assert_result(burble_pool_run(pool, wait_for_go, &parts[5], &run, &streams[5]), BURBLE_OK);
    sem_wait(&scene.released);

    for (int i = 0; i < 5; i++)
        sem_post(&scene.go);
    for (int i = 0; i < 5; i++)
        sem_wait(&scene.released);
    assert_int_equal(scene.n, 5);
    for (int i = 0; i < 5; i++)
        assert_int_not_equal(scene.order[i], 3);
    for (int i = 0; i < 6; i++)
        burble_stream_unref(&streams[i]);
    burble_pool_destroy(&pool);
    scene_finish(&scene);
}

static void single_worker_runs_in_order_of_calls(void **state)
{
    (void)state;
    struct scene scene;
    struct part parts[32];
    burble_pool_options options;
    burble_pool_run_options run;
    burble_pool *pool;
    burble_stream *stream;

    scene_init(&scene);
    burble_pool_options_init(&options);
    options.workers = 1;
    burble_pool_run_options_init(&run);
    run.release = release_part;
    assert_result(burble_pool_create(&options, &pool), BURBLE_OK);
    for (int i = 0; i < 32; i++) {
        parts[i] = (struct part){&scene, i};
        assert_result(burble_pool_run(pool, wait_for_go, &parts[i], &run, &stream), BURBLE_OK);
        burble_stream_unref(&stream); /* which does not stop it */
        sem_post(&scene.go);
    }
    for (int i = 0; i < 32; i++)
        sem_wait(&scene.released);
    for (int i = 0; i < 32; i++)
        assert_int_equal(scene.order[i], i);
    burble_pool_destroy(&pool);
    scene_finish(&scene);
}

static void unbounded_queue_takes_all(void **state)
{
    (void)state;
    const size_t queues[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 3};
    struct scene scene;
    struct part parts[8];
    burble_pool_options options;
    burble_pool_run_options run;
    burble_pool *pool;
    burble_stream *stream;

    scene_init(&scene);
    burble_pool_options_init(&options);
    burble_pool_run_options_init(&run);
    run.release = release_part;
    for (int q = 0; q < 3; q++) {
        options.queue = queues[q];
        assert_result(burble_pool_create(&options, &pool), BURBLE_OK);
        scene.n = 0;
        for (int i = 0; i < 8; i++) {
            parts[i] = (struct part){&scene, i};
            assert_result(burble_pool_run(pool, wait_for_go, &parts[i], &run, &stream), BURBLE_OK);
            burble_stream_unref(&stream);
        }
        for (int i = 0; i < 8; i++)
            sem_post(&scene.go);
        for (int i = 0; i < 8; i++)
            sem_wait(&scene.released);
        burble_pool_destroy(&pool);
    }
    scene_finish(&scene);
}

static int generate_until_cancelled(burble_stream *stream, void *arg)
{
    struct part *part = arg;
    int rc = burble_stream_append(stream, "x", 1, 1);
    sem_post(&part->scene->begun);
    while (rc == BURBLE_OK)
        rc = burble_stream_append(stream, NULL, 0, 0);
    return rc;
}

static void destroy_cancels_running_and_queued_generations(void **state)
{
    (void)state;
    struct scene scene;
    struct part parts[6];
    burble_pool_options options;
    burble_pool_run_options run;
    burble_pool *pool;
    burble_stream *streams[6];
    char text[64];

    scene_init(&scene);
    burble_pool_options_init(&options);
    options.workers = 2;
    burble_pool_run_options_init(&run);
    run.release = release_part;
    assert_result(burble_pool_create(&options, &pool), BURBLE_OK);
    for (int i = 0; i < 6; i++) {
        parts[i] = (struct part){&scene, i};
        assert_result(burble_pool_run(pool, generate_until_cancelled, &parts[i], &run, &streams[i]),
                      BURBLE_OK);
    }
    sem_wait(&scene.begun);
    sem_wait(&scene.begun);
    burble_pool_destroy(&pool);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(sem_trywait(&scene.released), 0);
        assert_result(read_all(streams[i], text, sizeof text), BURBLE_ECANCELED);
        assert_string_equal(text, i < 2 ? "x" : "");
        burble_stream_unref(&streams[i]);
    }
    assert_int_equal(sem_trywait(&scene.begun), -1);
    scene_finish(&scene);
}

static void last_reader_destroyed_stops_generation(void **state)
{
    (void)state;
    struct scene scene;
    struct part part = {&scene, 0};
    burble_pool_run_options run;
    burble_pool *pool;
    burble_stream *stream;
    burble_reader *reader;

    scene_init(&scene);
    burble_pool_run_options_init(&run);
    run.release = release_part;
    run.stream.cancel_when_unread = true;
    assert_result(burble_pool_create(NULL, &pool), BURBLE_OK);
    assert_result(burble_pool_run(pool, generate_until_cancelled, &part, &run, &stream), BURBLE_OK);
    assert_result(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
    burble_stream_unref(&stream);
    burble_reader_destroy(&reader);
    sem_wait(&scene.released);
    burble_pool_destroy(&pool);
    scene_finish(&scene);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    burble_pool_options options;
    burble_pool *pool;
    burble_pool_options_init(&options);
    options.workers = 0;
    assert_result(burble_pool_create(&options, &pool), BURBLE_EINVAL);
    assert_null(pool);
    options.workers = 1025;
    assert_result(burble_pool_create(&options, &pool), BURBLE_EINVAL);
}

/* ---- many at once ---------------------------------------------------------------------------- */

#define CALLERS 4
#define CALLS 500

struct caller {
    burble_pool *pool;
    struct part *part;
    uint64_t seed;
    int accepted;
};

static void *call_at_random(void *arg)
{
    struct caller *caller = arg;
    burble_pool_run_options run;
    burble_pool_run_options_init(&run);
    run.release = release_part;
    for (int i = 0; i < CALLS; i++) {
        burble_stream *stream;
        char text[64];
        const uint64_t dice = next_random(&caller->seed) % 4;
        const int rc = burble_pool_run(caller->pool, say_hello, caller->part, &run, &stream);
        if (rc == BURBLE_EFULL)
            continue;
        assert_result(rc, BURBLE_OK);
        caller->accepted++;
        if (dice == 0)
            burble_stream_cancel(stream);
        if (dice <= 1)
            read_all(stream, text, sizeof text);
        burble_stream_unref(&stream);
    }
    return NULL;
}

static void many_callers_at_once_run_all_generations(void **state)
{
    (void)state;
    struct scene scene;
    struct part part = {&scene, 0};
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS];
    burble_pool_options options;
    burble_pool *pool;
    int accepted = 0;
    uint64_t seed = test_seed(20261123);

    scene_init(&scene);
    burble_pool_options_init(&options);
    options.workers = 3;
    options.queue = 16;
    assert_result(burble_pool_create(&options, &pool), BURBLE_OK);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){pool, &part, next_random(&seed), 0};
        assert_int_equal(pthread_create(&threads[i], NULL, call_at_random, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        accepted += callers[i].accepted;
    }
    burble_pool_destroy(&pool);
    for (int i = 0; i < accepted; i++)
        assert_int_equal(sem_trywait(&scene.released), 0);
    assert_int_equal(sem_trywait(&scene.released), -1);
    assert_true(accepted > 0);
    scene_finish(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generator_text_and_end_are_read),
        cmocka_unit_test(generator_result_decides_end_of_stream),
        cmocka_unit_test(full_queue_refuses_and_keeps_order),
        cmocka_unit_test(single_worker_runs_in_order_of_calls),
        cmocka_unit_test(unbounded_queue_takes_all),
        cmocka_unit_test(destroy_cancels_running_and_queued_generations),
        cmocka_unit_test(last_reader_destroyed_stops_generation),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(many_callers_at_once_run_all_generations),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
