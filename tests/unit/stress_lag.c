/* SPDX-License-Identifier: MIT
 *
 * Stress: a writer and readers of all kinds, whose limits change while they read, with seeded
 * choices. Every reader that is not dropped gets every record, whole and in order, and the end after
 * them; the writer never gets further ahead of a reader than its limit; every record is released
 * once; no thread may sleep for ever (the test runner's time limit would say so).
 */
#define _POSIX_C_SOURCE 200809L

#include "stress_support.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <burble/stream.h>

#include "base/clock.h"
#include "stream/lag.h"

enum { ROUNDS = 24, RECORDS = 4000, WRITERS = 3, READERS = 5, LONGEST = 200, WIDEST = 600 };

enum ending { ENDS, FAILS, DIES, IS_CANCELLED, ENDINGS };

/* What a reader says of itself, for the writer to check. */
struct reader {
    struct world *world;
    pthread_t thread;
    uint64_t seed;
    bool looped;         /* waits in a hub */
    atomic_ullong seq;   /* of the next record; one too many while it asks for it */
    atomic_ullong max;   /* how far the writer may go ahead of it; UINT64_MAX: without end */
    atomic_uint changes; /* of the limit; odd: just now */
    uint64_t drop_at;    /* beyond this lag it may be dropped; UINT64_MAX: it must not be */
    unsigned dropped;    /* how often */
    burble_reader *reader;
    burble_hub *hub;
};

struct world {
    burble_stream *stream;
    burble_lag_unit unit;
    enum ending ending;
    uint64_t seed;
    uint64_t weights[RECORDS + 1]; /* of all records before that one */
    struct reader readers[READERS];
    sem_t hand_over; /* the next writer has begun */
    atomic_uint wrong;
    atomic_ullong appended, released, checked;
};

#define check(world, right) count_wrong(&(world)->wrong, right)

/* A record's text is a function of its number, so that any reader can check it alone. */
static size_t text_of(uint64_t seed, uint64_t seq, char *text, uint32_t *tokens)
{
    uint64_t random = seed ^ (seq * 977);
    const uint64_t kind = next_random(&random);
    const size_t n = 1 + (size_t)(kind % 32 == 0 ? next_random(&random) % LONGEST : kind % 7);
    static const char letters[][4] = {"a", "é", "日", "z"};
    const char *letter = letters[seq % 4];
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(text + len, letter, strlen(letter));
        len += strlen(letter);
    }
    *tokens = (uint32_t)(kind >> 8) % 4;
    return len;
}

static void check_record(struct world *world, const burble_record *record, uint64_t expected_seq)
{
    char text[3 * LONGEST];
    uint32_t tokens;
    const size_t len = text_of(world->seed, record->seq, text, &tokens);
    check(world, record->seq == expected_seq && record->tokens == tokens);
    check(world, record->len == len && memcmp(record->text, text, len) == 0);
}

static void on_release(const burble_record *record, void *arg)
{
    check_record(arg, record, record->seq);
    atomic_fetch_add(&((struct world *)arg)->released, 1);
}

/* ---- writing --------------------------------------------------------------------------------- */

struct seen {
    uint64_t max;
    unsigned changes;
};

static struct seen look_at(struct reader *reader)
{
    const unsigned changes = atomic_load(&reader->changes);
    return (struct seen){atomic_load(&reader->max), changes};
}

/* The record `seq` has been appended. A reader whose limit was the same all the while has room for
 * it, or had read everything before it. */
static void check_lag(struct world *world, struct reader *reader, struct seen before, uint64_t seq)
{
    const struct seen after = look_at(reader);
    const uint64_t read = atomic_load(&reader->seq); /* at least what it has consumed */
    if (before.changes % 2 == 1 || before.changes != after.changes
        || after.changes != atomic_load(&reader->changes) || before.max == UINT64_MAX)
        return;
    const uint64_t consumed = world->weights[read <= seq ? read : seq];
    check(world,
          world->weights[seq] == consumed || world->weights[seq + 1] - consumed <= before.max);
    atomic_fetch_add(&world->checked, 1);
}

static int append(struct world *world, uint64_t *seed, uint64_t seq)
{
    char text[3 * LONGEST];
    uint32_t tokens;
    const size_t len = text_of(world->seed, seq, text, &tokens);
    int rc;
    switch (next_random(seed) % 4) {
    case 0:
        while ((rc = burble_stream_append_until(world->stream, text, len, tokens, BURBLE_NO_WAIT))
               == BURBLE_EFULL) {
            const uint64_t weight = world->weights[seq + 1] - world->weights[seq];
            rc = burble_stream_wait_for_room(world->stream, weight, 0);
            if (rc != BURBLE_OK)
                break;
        }
        return rc;
    case 1:
        do
            rc = burble_stream_append_until(world->stream, text, len, tokens,
                                            burble__now() + next_random(seed) % 100000);
        while (rc == BURBLE_ETIMEDOUT);
        return rc;
    default:
        return burble_stream_append(world->stream, text, len, tokens);
    }
}

struct writer {
    struct world *world;
    uint64_t seed;
    uint64_t from, to;
    pthread_t thread;
};

static void *write_part(void *arg)
{
    struct writer *writer = arg;
    struct world *world = writer->world;
    /* It takes over before the writer before it exits, so that the stream does not fail. */
    burble_stream_append(world->stream, NULL, 0, 0);
    sem_post(&world->hand_over);
    for (uint64_t seq = writer->from; seq < writer->to; seq++) {
        struct seen before[READERS];
        for (int i = 0; i < READERS; i++)
            before[i] = look_at(&world->readers[i]);
        const int rc = append(world, &writer->seed, seq);
        if (rc != BURBLE_OK) {
            check(world, rc == BURBLE_ECANCELED && world->ending == IS_CANCELLED);
            break;
        }
        atomic_fetch_add(&world->appended, 1);
        for (int i = 0; i < READERS; i++)
            check_lag(world, &world->readers[i], before[i], seq);
    }
    if (writer->to < RECORDS) {
        struct writer next = {world, next_random(&writer->seed), writer->to,
                              writer->to + RECORDS / WRITERS, 0};
        if (next.to > RECORDS || RECORDS - next.to < RECORDS / WRITERS)
            next.to = RECORDS;
        check(world, pthread_create(&next.thread, NULL, write_part, &next) == 0);
        sem_wait(&world->hand_over);
        pthread_join(next.thread, NULL);
    } else if (world->ending == ENDS) {
        check(world, burble_stream_end(world->stream, BURBLE_REASON_STOP) == BURBLE_OK);
    } else if (world->ending == FAILS) {
        check(world, burble_stream_fail(world->stream, -99, "on purpose") == BURBLE_OK);
    } else if (world->ending == IS_CANCELLED) {
        burble_stream_cancel(world->stream);
    }
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void change_limit(struct reader *self)
{
    const burble_on_lag on_lag =
        next_random(&self->seed) % 3 == 0 ? BURBLE_LAG_DROP : BURBLE_LAG_BLOCK;
    const uint64_t kind = next_random(&self->seed) % 8;
    const uint64_t max = kind == 0   ? 0
                         : kind == 1 ? 1 + next_random(&self->seed) % 4
                                     : 1 + next_random(&self->seed) % WIDEST;
    atomic_fetch_add(&self->changes, 1);
    const int rc = burble_reader_limit(self->reader, max, on_lag);
    check(self->world, rc == BURBLE_OK || rc == BURBLE_ELAGGED);
    if (rc == BURBLE_OK) {
        const bool drops = max != 0 && on_lag == BURBLE_LAG_DROP;
        self->drop_at = drops ? max : UINT64_MAX;
        atomic_store(&self->max, max == 0 || drops ? UINT64_MAX : max);
    }
    atomic_fetch_add(&self->changes, 1);
}

static void on_ready(burble_reader *reader, void *arg)
{
    (void)reader;
    *(bool *)arg = true;
}

/* Waits for something to read, now and then not long enough. */
static void wait_for_news(struct reader *self)
{
    if (!self->looped) {
        burble_reader_wait(self->reader, next_random(&self->seed) % 8 == 0 ? 1 : 0);
        return;
    }
    bool ready = false;
    check(self->world,
          burble_reader_attach(self->reader, self->hub, on_ready, &ready) == BURBLE_OK);
    if (burble_reader_park(self->reader) != BURBLE_AGAIN)
        return;
    while (!ready) {
        struct pollfd fd = {.fd = burble_hub_fd(self->hub), .events = POLLIN};
        poll(&fd, 1, -1);
        burble_hub_dispatch(self->hub, 0);
    }
}

/* A reader is made where the old one stood, if that is left, else at the oldest record. */
static void make_reader(struct reader *self)
{
    uint64_t oldest = 0;
    const uint64_t seq = atomic_load(&self->seq);
    int rc = burble_reader_create(self->world->stream, seq, &self->reader, &oldest);
    if (rc == BURBLE_EGONE) {
        check(self->world, oldest > seq);
        rc = burble_reader_create(self->world->stream, BURBLE_FROM_OLDEST, &self->reader, NULL);
    }
    check(self->world, rc == BURBLE_OK);
    atomic_store(&self->seq, burble_reader_position(self->reader));
}

static void unmake_reader(struct reader *self)
{
    atomic_fetch_add(&self->changes, 1);
    burble_reader_destroy(&self->reader);
    self->drop_at = UINT64_MAX;
    atomic_store(&self->max, UINT64_MAX);
    atomic_fetch_add(&self->changes, 1);
}

/* Lets the writer run ahead, into its limit. */
static void fall_behind(void)
{
    for (int i = 0; i < 20; i++)
        sched_yield();
}

/* Not for nothing: with the record that the writer is about to append it was beyond its limit. */
static void check_drop(struct reader *self, uint64_t seq)
{
    const uint64_t *weights = self->world->weights;
    const uint64_t next = burble_stream_position(self->world->stream);
    check(self->world, weights[next < RECORDS ? next + 1 : next] - weights[seq] > self->drop_at);
    self->dropped++;
}

static void *read_all(void *arg)
{
    struct reader *self = arg;
    struct world *world = self->world;
    burble_record record;
    int rc;
    for (;;) {
        const uint64_t choice = next_random(&self->seed) % 512;
        if (choice < 8)
            change_limit(self);
        else if (choice < 12)
            fall_behind();
        else if (choice == 12 && world->ending == IS_CANCELLED
                 && next_random(&self->seed) % 16 == 0)
            burble_stream_cancel(world->stream);
        const uint64_t seq = atomic_fetch_add(&self->seq, 1);
        rc = burble_reader_next(self->reader, &record);
        if (rc == BURBLE_OK) {
            check_record(world, &record, seq);
            continue;
        }
        atomic_store(&self->seq, seq);
        if (rc == BURBLE_AGAIN) {
            wait_for_news(self);
        } else if (rc == BURBLE_ELAGGED) {
            check(world, burble_reader_position(self->reader) == seq);
            check_drop(self, seq);
            unmake_reader(self);
            make_reader(self);
        } else {
            break;
        }
        if (choice == 13 && rc != BURBLE_ELAGGED) {
            unmake_reader(self);
            make_reader(self);
        }
    }
    const int expected[ENDINGS] = {BURBLE_END, -99, BURBLE_EDIED, BURBLE_ECANCELED};
    check(world, rc == expected[world->ending]);
    if (world->ending != IS_CANCELLED)
        check(world, atomic_load(&self->seq) == RECORDS);
    unmake_reader(self);
    burble_hub_destroy(&self->hub);
    return NULL;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void begin(struct world *world, int round, uint64_t *seed)
{
    memset(world, 0, sizeof *world);
    world->seed = next_random(seed);
    world->unit = (burble_lag_unit)(round % 3);
    world->ending = (enum ending)(round % ENDINGS);
    for (uint64_t seq = 0; seq < RECORDS; seq++) {
        char text[3 * LONGEST];
        uint32_t tokens;
        const size_t len = text_of(world->seed, seq, text, &tokens);
        world->weights[seq + 1] =
            world->weights[seq] + burble__weigh(world->unit, text, len, tokens);
    }
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.keep = next_random(seed) % 3 * 5000;
    options.lag_unit = world->unit;
    options.release = on_release;
    options.release_arg = world;
    assert_result(burble_stream_create(&options, &world->stream), BURBLE_OK);
    assert_int_equal(sem_init(&world->hand_over, 0, 0), 0);
    for (int i = 0; i < READERS; i++) {
        struct reader *self = &world->readers[i];
        self->world = world;
        self->seed = next_random(seed);
        self->looped = i % 2 == 0;
        self->drop_at = UINT64_MAX;
        atomic_init(&self->max, UINT64_MAX);
        assert_result(burble_hub_create(NULL, &self->hub), BURBLE_OK);
        make_reader(self);
        change_limit(self);
    }
}

static void limits_hold_and_nobody_sleeps_for_ever(void **state)
{
    (void)state;
    static struct world world;
    uint64_t seed = test_seed(20261124);
    unsigned dropped = 0;
    unsigned long long checked = 0;
    for (int round = 0; round < ROUNDS; round++) {
        begin(&world, round, &seed);
        struct writer writer = {&world, next_random(&seed), 0, RECORDS / WRITERS, 0};
        for (int i = 0; i < READERS; i++)
            assert_int_equal(
                pthread_create(&world.readers[i].thread, NULL, read_all, &world.readers[i]), 0);
        assert_int_equal(pthread_create(&writer.thread, NULL, write_part, &writer), 0);
        pthread_join(writer.thread, NULL);
        for (int i = 0; i < READERS; i++) {
            pthread_join(world.readers[i].thread, NULL);
            dropped += world.readers[i].dropped;
        }
        burble_stream_unref(&world.stream);
        sem_destroy(&world.hand_over);
        assert_int_equal(atomic_load(&world.wrong), 0);
        assert_int_equal(atomic_load(&world.released), atomic_load(&world.appended));
        checked += atomic_load(&world.checked);
    }
    printf("%d rounds, %llu times within a limit, %u readers dropped\n", ROUNDS, checked, dropped);
    assert_true(checked > 0 && dropped > 0);
}

/* ---- a writer and a reader that are at each other's heels ------------------------------------ */

enum { STEPS = 150000 };

static void *write_steps(void *arg)
{
    burble_stream *stream = arg;
    for (int i = 0; i < STEPS; i++)
        if (burble_stream_append(stream, "x", 1, 1) != BURBLE_OK)
            return NULL;
    burble_stream_end(stream, BURBLE_REASON_STOP);
    return NULL;
}

/* The reader does not sleep, so that it makes room at every moment of the writer's going to sleep. */
static void writer_does_not_sleep_while_there_is_room(void **state)
{
    (void)state;
    for (uint64_t max = 1; max <= 9; max += 4) {
        burble_stream *stream;
        burble_reader *reader;
        burble_record record;
        pthread_t writer;
        int rc;
        uint64_t seq = 0;
        assert_result(burble_stream_create(NULL, &stream), BURBLE_OK);
        assert_result(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
        assert_result(burble_reader_limit(reader, max, BURBLE_LAG_BLOCK), BURBLE_OK);
        assert_int_equal(pthread_create(&writer, NULL, write_steps, stream), 0);
        while ((rc = burble_reader_next(reader, &record)) == BURBLE_OK || rc == BURBLE_AGAIN)
            seq += rc == BURBLE_OK;
        assert_result(rc, BURBLE_END);
        assert_int_equal(seq, STEPS);
        pthread_join(writer, NULL);
        burble_reader_destroy(&reader);
        burble_stream_unref(&stream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_hold_and_nobody_sleeps_for_ever),
        cmocka_unit_test(writer_does_not_sleep_while_there_is_room),
    };
    return cmocka_run_group_tests_name("stress_lag", tests, NULL, NULL);
}
