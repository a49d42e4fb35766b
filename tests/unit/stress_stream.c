/* SPDX-License-Identifier: MIT
 *
 * Stress: writers, blocked readers, event loops and cancellers on the same streams at once, with
 * seeded choices. Every reader must get every record, whole and in order, and the end after them;
 * no thread may sleep for ever (the test runner's time limit would say so).
 */
#define _POSIX_C_SOURCE 200809L

#include "stress_support.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <burble/stream.h>

enum { STREAMS = 4, RECORDS = 3000, BLOCKED = 2, LOOPS = 2, ROUNDS = 6, LONGEST = 700 };

/* How a stream's writer leaves. */
enum ending { ENDS, FAILS, DIES, IS_CANCELLED, ENDINGS };

struct world {
    burble_stream *streams[STREAMS];
    enum ending endings[STREAMS];
    uint64_t seed;
    atomic_uint wrong;     /* checks that failed, in any thread */
    atomic_ullong records; /* records read, for the report */
};

struct worker {
    struct world *world;
    int stream; /* for writers and blocked readers */
    uint64_t seed;
    pthread_t thread;
};

#define check(world, right) count_wrong(&(world)->wrong, right)

/* A record's text is a function of its number, so that any reader can check it alone. */
static size_t text_of(uint64_t seed, uint64_t seq, char *text)
{
    uint64_t random = seed ^ (seq * 977);
    const uint64_t kind = next_random(&random);
    const size_t len = 1 + (size_t)(kind % 16 == 0 ? next_random(&random) % LONGEST : kind % 12);
    memset(text, (int)('a' + seq % 26), len);
    return len;
}

static void check_record(struct world *world, int stream, const burble_record *record,
                         uint64_t expected_seq)
{
    char text[LONGEST + 1];
    const size_t len = text_of(world->seed + (uint64_t)stream, record->seq, text);
    check(world, record->seq == expected_seq);
    check(world, record->len == len && memcmp(record->text, text, len) == 0);
    atomic_fetch_add(&world->records, 1);
}

static void check_end(struct world *world, int stream, int end, uint64_t seq)
{
    const int expected[ENDINGS] = {BURBLE_END, -99, BURBLE_EDIED, BURBLE_ECANCELED};
    check(world, end == expected[world->endings[stream]]);
    if (world->endings[stream] != IS_CANCELLED)
        check(world, seq == RECORDS);
}

static void *write_all(void *arg)
{
    struct worker *worker = arg;
    struct world *world = worker->world;
    burble_stream *stream = world->streams[worker->stream];
    char text[LONGEST + 1];
    for (uint64_t seq = 0; seq < RECORDS; seq++) {
        const size_t len = text_of(world->seed + (uint64_t)worker->stream, seq, text);
        const int rc = burble_stream_append(stream, text, len, 1);
        if (rc == BURBLE_ECANCELED) {
            check(world, world->endings[worker->stream] == IS_CANCELLED);
            return NULL;
        }
        check(world, rc == BURBLE_OK);
    }
    switch (world->endings[worker->stream]) {
    case ENDS:
        check(world, burble_stream_end(stream, BURBLE_REASON_STOP) == BURBLE_OK);
        break;
    case FAILS:
        check(world, burble_stream_fail(stream, -99, "on purpose") == BURBLE_OK);
        break;
    case IS_CANCELLED:
        burble_stream_cancel(stream); /* where no reader has done it yet */
        break;
    default:
        break;
    }
    return NULL;
}

/* Reads by blocking, now and then with a deadline, now and then starting anew at its position. */
static void *read_blocked(void *arg)
{
    struct worker *worker = arg;
    struct world *world = worker->world;
    burble_stream *stream = world->streams[worker->stream];
    burble_reader *reader;
    burble_record record;
    uint64_t seq = 0;
    int rc;
    check(world, burble_reader_create(stream, 0, &reader, NULL) == BURBLE_OK);
    for (;;) {
        rc = burble_reader_next(reader, &record);
        if (rc == BURBLE_OK) {
            check_record(world, worker->stream, &record, seq++);
            if (next_random(&worker->seed) % 256 == 0) {
                burble_reader_destroy(&reader);
                check(world, burble_reader_create(stream, seq, &reader, NULL) == BURBLE_OK);
            }
            if (world->endings[worker->stream] == IS_CANCELLED
                && next_random(&worker->seed) % 2048 == 0)
                burble_stream_cancel(stream);
        } else if (rc == BURBLE_AGAIN) {
            /* A deadline in the distant past comes at once. */
            burble_reader_wait(reader, next_random(&worker->seed) % 8 == 0 ? 1 : 0);
        } else {
            break;
        }
    }
    check_end(world, worker->stream, rc, seq);
    burble_reader_destroy(&reader);
    return NULL;
}

/* One loop reads all streams through one hub. */
struct looped {
    struct loop *loop;
    int stream;
    burble_reader *reader;
    uint64_t seq;
};

struct loop {
    struct world *world;
    burble_hub *hub;
    struct looped readers[STREAMS];
    int open;
    uint64_t seed;
};

static void attach(struct looped *self);

static void on_ready(burble_reader *reader, void *arg)
{
    struct looped *self = arg;
    struct world *world = self->loop->world;
    burble_record record;
    for (;;) {
        const int rc = burble_reader_next(reader, &record);
        if (rc == BURBLE_OK) {
            check_record(world, self->stream, &record, self->seq++);
        } else if (rc != BURBLE_AGAIN) {
            check_end(world, self->stream, rc, self->seq);
            burble_reader_destroy(&self->reader);
            self->loop->open--;
            return;
        } else if (next_random(&self->loop->seed) % 64 == 0) {
            burble_reader_destroy(&self->reader); /* parked or not: begin anew */
            check(world,
                  burble_reader_create(world->streams[self->stream], self->seq, &self->reader, NULL)
                      == BURBLE_OK);
            attach(self);
            reader = self->reader;
        } else if (burble_reader_park(reader) == BURBLE_AGAIN) {
            return;
        }
    }
}

static void attach(struct looped *self)
{
    check(self->loop->world,
          burble_reader_attach(self->reader, self->loop->hub, on_ready, self) == BURBLE_OK);
}

static void *run_loop(void *arg)
{
    struct worker *worker = arg;
    struct loop loop = {.world = worker->world, .open = STREAMS, .seed = worker->seed};
    const burble_hub_options options = {.wake = worker->seed % 2 == 0 ? BURBLE_WAKE_BEST
                                                                      : BURBLE_WAKE_PIPE};
    check(loop.world, burble_hub_create(&options, &loop.hub) == BURBLE_OK);
    for (int i = 0; i < STREAMS; i++) {
        struct looped *self = &loop.readers[i];
        *self = (struct looped){&loop, i, NULL, 0};
        check(loop.world,
              burble_reader_create(loop.world->streams[i], 0, &self->reader, NULL) == BURBLE_OK);
        attach(self);
        on_ready(self->reader, self);
    }
    while (loop.open > 0) {
        struct pollfd fd = {.fd = burble_hub_fd(loop.hub), .events = POLLIN};
        poll(&fd, 1, -1);
        /* Now and then it holds its hub, and dispatches by itself. */
        const bool holds = next_random(&loop.seed) % 4 == 0;
        if (holds)
            burble_hub_hold(loop.hub);
        burble_hub_dispatch(loop.hub, next_random(&loop.seed) % 3);
        if (holds)
            burble_hub_release(loop.hub);
    }
    burble_hub_destroy(&loop.hub);
    return NULL;
}

static void start(struct worker *worker, struct world *world, int stream, void *(*run)(void *),
                  uint64_t *seed)
{
    *worker = (struct worker){.world = world, .stream = stream, .seed = next_random(seed)};
    assert_int_equal(pthread_create(&worker->thread, NULL, run, worker), 0);
}

static void readers_get_every_record_in_order(void **state)
{
    (void)state;
    uint64_t seed = test_seed(20261123);
    unsigned long long records = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct world world = {.seed = next_random(&seed)};
        struct worker workers[STREAMS * (1 + BLOCKED) + LOOPS];
        size_t n = 0;
        burble_stream_options options;
        burble_stream_options_init(&options);
        options.keep = BURBLE_KEEP_ALL;
        for (int i = 0; i < STREAMS; i++) {
            world.endings[i] = (enum ending)((unsigned)(i + round) % ENDINGS);
            assert_result(burble_stream_create(&options, &world.streams[i]), BURBLE_OK);
        }
        for (int i = 0; i < LOOPS; i++)
            start(&workers[n++], &world, 0, run_loop, &seed);
        for (int i = 0; i < STREAMS; i++) {
            for (int j = 0; j < BLOCKED; j++)
                start(&workers[n++], &world, i, read_blocked, &seed);
            start(&workers[n++], &world, i, write_all, &seed);
        }
        for (size_t i = 0; i < n; i++)
            pthread_join(workers[i].thread, NULL);
        for (int i = 0; i < STREAMS; i++)
            burble_stream_unref(&world.streams[i]);
        assert_int_equal(atomic_load(&world.wrong), 0);
        records += atomic_load(&world.records);
    }
    printf("%d rounds, %llu records read\n", ROUNDS, records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_get_every_record_in_order),
    };
    return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
