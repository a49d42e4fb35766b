/* SPDX-License-Identifier: MIT
 *
 * Stress: forks while streams are written, read by event loops and by threads that block, limited, dropped,
 * ended and made anew; and each function of the library in the children, on the parent's objects. No child
 * hangs or crashes, each reads whole records and then what became of the stream, and the parent's readers
 * miss nothing.
 *
 *     stress_fork            some seconds
 *     stress_fork FORKS      so many forks, by turns with each verb
 *     stress_fork FORKS VERB so many with this one
 */
#define _POSIX_C_SOURCE 200809L

#include "stress_support.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/pool.h>
#include <burble/stream.h>

#include "forked.h"

/* ASan's allocator is not locked around a fork (GCC 12): a child that needs memory from what all threads share can wait for
 * ever for a thread that only the parent has. So a child that hangs is no fault of burble's there; the other builds judge
 * that. A thread always begins with such memory, and TSan lets none begin in a child of a process with threads. */
#ifdef __SANITIZE_ADDRESS__
enum { CHILDREN_MAY_HANG = 1 };
#else
enum { CHILDREN_MAY_HANG = 0 };
#ifndef __SANITIZE_THREAD__
#define CHILDREN_HAVE_THREADS 1
#endif
#endif

enum { LOOPS = 3, TEXTS = 4, DEFAULT_SECONDS = 4, LIMIT = 64 };

/* One writer, a loop that reads through a hub, and a thread that blocks; and one that makes and destroys
 * readers and changes their limits. */
struct world {
    burble_stream *stream;
    burble_hub *hub;
    burble_reader *looped, *blocking, *dropped;
    pthread_t threads[4];
    atomic_bool over;
    atomic_ullong read; /* records, by the loop and the thread that blocks */
    sem_t done;         /* by each of the parent's threads at its end */
};

static struct world worlds[LOOPS];
static burble_stream *mine; /* of the thread that forks */
static burble_reader *my_reader;
static uint64_t my_records;
static burble_pool *pool;
static burble_stream *generated;
static burble_reader *of_generated;
static atomic_uint wrong;

static const char texts[TEXTS][24] = {"a", "four", "twelve bytes", "twenty-three bytes here"};

#define check(right) count_wrong(&wrong, right)

static bool is_text(const burble_record *record)
{
    const char *text = texts[record->seq % TEXTS];
    return record->len == strlen(text) && memcmp(record->text, text, record->len) == 0;
}

/* ---- the parent's threads -------------------------------------------------------------------- */

static void *write_all(void *arg)
{
    struct world *world = arg;
    while (!atomic_load(&world->over)) {
        const char *text = texts[burble_stream_position(world->stream) % TEXTS];
        check(burble_stream_append(world->stream, text, strlen(text), 1) == BURBLE_OK);
    }
    burble_stream_end(world->stream, BURBLE_REASON_STOP);
    sem_post(&world->done);
    return NULL;
}

/* Reads what is there; what comes after it. */
static int read_on(struct world *world, burble_reader *reader)
{
    burble_record record;
    int rc;
    while ((rc = burble_reader_next(reader, &record)) == BURBLE_OK) {
        check(is_text(&record));
        atomic_fetch_add(&world->read, 1);
    }
    return rc;
}

static void note(burble_reader *reader, void *arg)
{
    (void)reader;
    *(bool *)arg = true;
}

static void *loop(void *arg)
{
    struct world *world = arg;
    bool called = true;
    int rc = BURBLE_AGAIN;
    check(burble_reader_attach(world->looped, world->hub, note, &called) == BURBLE_OK);
    while (rc == BURBLE_AGAIN) {
        struct pollfd fd = {.fd = burble_hub_fd(world->hub), .events = POLLIN};
        rc = read_on(world, world->looped);
        if (rc == BURBLE_AGAIN && burble_reader_park(world->looped) == BURBLE_AGAIN) {
            called = false;
            while (!called) {
                check(poll(&fd, 1, -1) == 1);
                burble_hub_dispatch(world->hub, 0);
            }
        }
    }
    check(rc == BURBLE_END);
    sem_post(&world->done);
    return NULL;
}

static void *block(void *arg)
{
    struct world *world = arg;
    int rc;
    while ((rc = read_on(world, world->blocking)) == BURBLE_AGAIN)
        check(burble_reader_wait(world->blocking, 0) == BURBLE_OK);
    check(rc == BURBLE_END);
    sem_post(&world->done);
    return NULL;
}

/* Readers that come and go; and one that is dropped, by the writer, again and again. */
static void *come_and_go(void *arg)
{
    struct world *world = arg;
    while (!atomic_load(&world->over)) {
        burble_reader *reader;
        check(burble_reader_create(world->stream, BURBLE_FROM_TAIL, &reader, NULL) == BURBLE_OK);
        check(burble_reader_limit(reader, LIMIT, BURBLE_LAG_DROP) == BURBLE_OK);
        while (burble_reader_limit(reader, LIMIT, BURBLE_LAG_DROP) == BURBLE_OK
               && !atomic_load(&world->over))
            check(burble_reader_wait(reader, 0) == BURBLE_OK);
        burble_reader_limit(reader, LIMIT, BURBLE_LAG_BLOCK);
        burble_reader_limit(reader, 0, BURBLE_LAG_BLOCK);
        burble_reader_destroy(&reader);
    }
    sem_post(&world->done);
    return NULL;
}

/* ---- what a child does ----------------------------------------------------------------------- */

/* Reads to the end. */
static bool ends(burble_reader *reader, int end)
{
    burble_record record;
    int rc;
    bool well = true;
    uint64_t seq = burble_reader_position(reader);
    for (;;) {
        while ((rc = burble_reader_next(reader, &record)) == BURBLE_OK) {
            well = well && record.seq >= seq && is_text(&record);
            seq = record.seq + 1;
        }
        if (rc != BURBLE_AGAIN)
            return well && rc == end;
        if (burble_reader_wait(reader, 0) != BURBLE_OK)
            return false;
    }
}

static bool do_nothing(void)
{
    return true;
}

static bool do_append(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && burble_stream_append(worlds[i].stream, "x", 1, 1) == BURBLE_ECLOSED
               && burble_stream_wait_for_room(worlds[i].stream, 1, 0) == BURBLE_ECLOSED;
    return well;
}

static bool do_end(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && burble_stream_end(worlds[i].stream, BURBLE_REASON_STOP) == BURBLE_ECLOSED;
    return well;
}

static bool do_fail(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && burble_stream_fail(worlds[i].stream, BURBLE_EFAILED, "x") == BURBLE_ECLOSED;
    return well;
}

static bool do_cancel(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && !burble_stream_cancel(worlds[i].stream);
    return well;
}

static bool do_read(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well =
            well && ends(worlds[i].looped, BURBLE_EDIED) && ends(worlds[i].blocking, BURBLE_EDIED);
    return well;
}

static bool do_wait(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && burble_reader_wait(worlds[i].looped, 0) == BURBLE_OK
               && burble_reader_wait(worlds[i].blocking, 0) == BURBLE_OK;
    return well;
}

static bool do_create(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++) {
        burble_reader *reader;
        well = well
               && burble_reader_create(worlds[i].stream, BURBLE_FROM_OLDEST, &reader, NULL)
                      == BURBLE_OK
               && ends(reader, BURBLE_EDIED);
        burble_reader_destroy(&reader);
    }
    return well;
}

static bool do_destroy(void)
{
    for (int i = 0; i < LOOPS; i++) {
        burble_reader_destroy(&worlds[i].looped);
        burble_reader_destroy(&worlds[i].blocking);
        burble_stream_unref(&worlds[i].stream);
    }
    return true;
}

static bool do_limit(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && burble_reader_limit(worlds[i].looped, 1, BURBLE_LAG_DROP) == BURBLE_OK
               && burble_reader_limit(worlds[i].blocking, 0, BURBLE_LAG_BLOCK) == BURBLE_OK;
    return well;
}

static bool do_look(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++) {
        burble_status status;
        const uint64_t oldest = burble_stream_oldest(worlds[i].stream);
        burble_stream_status(worlds[i].stream, &status);
        well = well && status.code == BURBLE_EDIED
               && burble_stream_position(worlds[i].stream) >= oldest;
    }
    return well;
}

static bool do_interrupt(void)
{
    for (int i = 0; i < LOOPS; i++) {
        burble_reader_interrupt(worlds[i].looped);
        burble_reader_interrupt(worlds[i].blocking);
    }
    return do_wait();
}

static bool do_attach(void)
{
    bool called = false;
    burble_hub *hub;
    if (burble_hub_create(NULL, &hub) != BURBLE_OK)
        return false;
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && burble_reader_attach(worlds[i].looped, hub, note, &called) == BURBLE_OK
               && burble_reader_park(worlds[i].looped) == BURBLE_OK;
    burble_hub_dispatch(hub, 0);
    burble_hub_destroy(&hub);
    return well;
}

static bool do_park(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++)
        well = well && burble_reader_park(worlds[i].looped) == BURBLE_EDETACHED;
    return well;
}

static bool do_hub(void)
{
    bool well = true;
    for (int i = 0; i < LOOPS; i++) {
        well = well && burble_hub_dispatch(worlds[i].hub, 0) == 0;
        burble_hub_hold(worlds[i].hub);
        burble_hub_release(worlds[i].hub);
        burble_hub_signals(worlds[i].hub);
    }
    return well;
}

static bool do_destroy_hub(void)
{
    for (int i = 0; i < LOOPS; i++)
        burble_hub_destroy(&worlds[i].hub);
    return do_destroy();
}

/* The stream of the thread that has forked goes on. */
static bool do_mine(void)
{
    burble_record record;
    for (int i = 0; i < 200; i++) {
        const char *text = texts[my_records++ % TEXTS];
        if (burble_stream_append(mine, text, strlen(text), 1) != BURBLE_OK)
            return false;
    }
    while (burble_reader_next(my_reader, &record) == BURBLE_OK)
        if (!is_text(&record))
            return false;
    return burble_reader_position(my_reader) == my_records
           && burble_stream_end(mine, BURBLE_REASON_STOP) == BURBLE_OK
           && ends(my_reader, BURBLE_END);
}

static int generate_for_ever(burble_stream *stream, void *arg)
{
    (void)arg;
    int rc = BURBLE_OK;
    for (uint64_t n = 0; rc == BURBLE_OK; n++)
        rc = burble_stream_append(stream, texts[n % TEXTS], strlen(texts[n % TEXTS]), 1);
    return rc;
}

#ifdef CHILDREN_HAVE_THREADS
static int generate(burble_stream *stream, void *arg)
{
    (void)arg;
    int rc = BURBLE_OK;
    for (uint64_t n = 0; rc == BURBLE_OK && n < 100; n++)
        rc = burble_stream_append(stream, texts[n % TEXTS], strlen(texts[n % TEXTS]), 1);
    return rc;
}

static bool do_pool(void)
{
    burble_stream *stream;
    burble_reader *reader;
    unsigned running;
    burble_pool_counts(pool, &running, NULL);
    bool well = running == 0 && ends(of_generated, BURBLE_EDIED)
                && burble_pool_run(pool, generate, NULL, NULL, &stream) == BURBLE_OK
                && burble_reader_create(stream, 0, &reader, NULL) == BURBLE_OK
                && ends(reader, BURBLE_END);
    burble_pool_destroy(&pool);
    return well;
}

static void *read_in_thread(void *arg)
{
    struct world *world = arg;
    burble_reader *reader;
    const bool well =
        burble_reader_create(world->stream, BURBLE_FROM_OLDEST, &reader, NULL) == BURBLE_OK
        && ends(reader, BURBLE_EDIED);
    return well ? NULL : arg;
}

static bool do_threads(void)
{
    pthread_t threads[2 * LOOPS];
    bool well = true;
    for (int i = 0; i < 2 * LOOPS; i++)
        well = well && pthread_create(&threads[i], NULL, read_in_thread, &worlds[i % LOOPS]) == 0;
    for (int i = 0; i < 2 * LOOPS; i++) {
        void *bad = NULL;
        pthread_join(threads[i], &bad);
        well = well && bad == NULL;
    }
    return well && do_read();
}
#endif

static const struct {
    const char *name;
    bool (*act)(void);
} verbs[] = {
    {"nothing", do_nothing},
    {"append", do_append},
    {"end", do_end},
    {"fail", do_fail},
    {"cancel", do_cancel},
    {"read", do_read},
    {"wait", do_wait},
    {"create", do_create},
    {"destroy", do_destroy},
    {"limit", do_limit},
    {"look", do_look},
    {"interrupt", do_interrupt},
    {"attach", do_attach},
    {"park", do_park},
    {"hub", do_hub},
    {"mine", do_mine},
    {"destroy_hub", do_destroy_hub},
#ifdef CHILDREN_HAVE_THREADS
    {"pool", do_pool},
    {"threads", do_threads},
#endif
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static int act(void *arg)
{
    const size_t *verb = arg;
    return verbs[*verb].act() ? 0 : 1;
}

/* ---- the run --------------------------------------------------------------------------------- */

static void begin(void)
{
    void *(*const parts[4])(void *) = {write_all, loop, block, come_and_go};
    for (int i = 0; i < LOOPS; i++) {
        struct world *world = &worlds[i];
        sem_init(&world->done, 0, 0);
        check(burble_stream_create(NULL, &world->stream) == BURBLE_OK);
        check(burble_hub_create(NULL, &world->hub) == BURBLE_OK);
        check(burble_reader_create(world->stream, 0, &world->looped, NULL) == BURBLE_OK);
        check(burble_reader_create(world->stream, 0, &world->blocking, NULL) == BURBLE_OK);
        /* The loop's reader without a limit would let the writer run away from it. */
        check(burble_reader_limit(world->looped, LIMIT, BURBLE_LAG_BLOCK) == BURBLE_OK);
        check(burble_reader_limit(world->blocking, LIMIT / 2, BURBLE_LAG_BLOCK) == BURBLE_OK);
        for (int part = 0; part < 4; part++)
            check(pthread_create(&world->threads[part], NULL, parts[part], world) == 0);
    }
    for (int i = 0; i < LOOPS;
         i++) /* each writes before the first fork, so that its stream is its own */
        while (burble_stream_position(worlds[i].stream) == 0)
            sched_yield();
    check(burble_pool_create(NULL, &pool) == BURBLE_OK);
    check(burble_pool_run(pool, generate_for_ever, NULL, NULL, &generated) == BURBLE_OK);
    check(burble_reader_create(generated, 0, &of_generated, NULL) == BURBLE_OK);
    check(burble_reader_limit(of_generated, LIMIT, BURBLE_LAG_BLOCK) == BURBLE_OK);
    check(burble_stream_create(NULL, &mine) == BURBLE_OK);
    check(burble_reader_create(mine, 0, &my_reader, NULL) == BURBLE_OK);
}

/* Whether each of the parent's threads has come to its end. */
static bool finish(void)
{
    bool ended = true;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    for (int i = 0; i < LOOPS; i++)
        atomic_store(&worlds[i].over, true);
    for (int i = 0; i < LOOPS; i++)
        for (int part = 0; part < 4; part++)
            ended = ended && sem_timedwait(&worlds[i].done, &until) == 0;
    if (!ended)
        return false;
    for (int i = 0; i < LOOPS; i++) {
        for (int part = 0; part < 4; part++)
            pthread_join(worlds[i].threads[part], NULL);
        burble_reader_destroy(&worlds[i].looped);
        burble_reader_destroy(&worlds[i].blocking);
        burble_stream_unref(&worlds[i].stream);
        burble_hub_destroy(&worlds[i].hub);
    }
    burble_pool_destroy(&pool);
    burble_reader_destroy(&of_generated);
    burble_stream_unref(&generated);
    burble_reader_destroy(&my_reader);
    burble_stream_unref(&mine);
    return true;
}

/* Something of the forking thread's own for each child. */
static void write_mine(void)
{
    burble_record record;
    for (int i = 0; i < 7; i++) {
        const char *text = texts[my_records++ % TEXTS];
        check(burble_stream_append(mine, text, strlen(text), 1) == BURBLE_OK);
    }
    for (int i = 0; i < 7; i++)
        check(burble_reader_next(my_reader, &record) == BURBLE_OK && is_text(&record));
}

static size_t verb_of(const char *name)
{
    size_t verb = 0;
    while (verb < VERBS && strcmp(verbs[verb].name, name) != 0)
        verb++;
    if (verb == VERBS) {
        fprintf(stderr, "stress_fork: expected a verb, found %s; there are:", name);
        for (verb = 0; verb < VERBS; verb++)
            fprintf(stderr, " %s", verbs[verb].name);
        fprintf(stderr, "\n");
        exit(2);
    }
    return verb;
}

int main(int argc, char **argv)
{
    const unsigned long wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    const bool one = argc > 2;
    size_t verb = one ? verb_of(argv[2]) : 0;
    unsigned long forks = 0, hung = 0, crashed = 0, bad = 0;
    const time_t end = time(NULL) + DEFAULT_SECONDS;
    begin();
    while (hung == 0 && crashed < 3 && (wanted > 0 ? forks < wanted : time(NULL) < end)) {
        write_mine();
        const int result = in_child(act, &verb);
        hung += result == CHILD_HUNG;
        crashed += result == CHILD_CRASHED;
        bad += result > 0;
        if (result != 0)
            printf("fork %lu, %s: %s\n", forks, verbs[verb].name,
                   result == CHILD_HUNG      ? "hung"
                   : result == CHILD_CRASHED ? "crashed"
                                             : "wrong");
        forks++;
        if (!one)
            verb = (verb + 1) % VERBS;
    }
    const bool ended = finish();
    unsigned long long records = 0;
    for (int i = 0; i < LOOPS; i++)
        records += atomic_load(&worlds[i].read);
    printf("forks %lu, hung %lu, crashed %lu, wrong %lu; the parent read %llu records, %u of them "
           "wrong%s\n",
           forks, hung, crashed, bad, records, atomic_load(&wrong),
           ended ? "" : ", and its readers did not come to their ends");
    const bool well = (hung == 0 || CHILDREN_MAY_HANG) && crashed + bad == 0;
    return well && atomic_load(&wrong) == 0 && ended ? 0 : 1;
}
