/* SPDX-License-Identifier: MIT
 *
 * What the hand-over costs in C, beside what a program would do without burble. Prints every single
 * value, a line each: its name and the number; wakeup.py says what they mean.
 *
 *     wakeup ROUNDS [wakes|steps|records|memory]...
 */
#define _GNU_SOURCE

#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_CK
#include <ck_ring.h>
#endif

#include <burble/stream.h>

static void check(bool fine, const char *what)
{
    if (!fine) {
        perror(what);
        exit(1);
    }
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static int watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* ---- wakes: from an append to the consumer that reads it, who slept in epoll_wait ------------------ */

enum { WAKES = 400 }; /* in a round: of each kind, in turn */

/* How long a consumer that is about to sleep is given to do so. */
#define FALLING_ASLEEP 30000

struct wakes {
    int epoll, bare;
    burble_hub *hub;
    burble_stream *stream;
    burble_reader *reader;
    atomic_uint asleep;      /* consumer: how many times it was about to sleep */
    atomic_uint_fast64_t at; /* writer: when it woke the bare consumer */
    uint64_t woken;          /* consumer */
    double hub_times[WAKES], bare_times[WAKES];
};

static void on_wake(burble_reader *reader, void *arg)
{
    struct wakes *wakes = arg;
    burble_record record;
    while (burble_reader_next(reader, &record) == BURBLE_OK) {
        uint64_t at;
        memcpy(&at, record.text, sizeof at);
        wakes->woken = now() - at;
    }
    check(burble_reader_park(reader) == BURBLE_AGAIN, "park");
}

static void *consume_wakes(void *arg)
{
    struct wakes *wakes = arg;
    struct epoll_event event;
    for (unsigned i = 0; i < 2 * WAKES; i++) {
        atomic_fetch_add(&wakes->asleep, 1);
        check(epoll_wait(wakes->epoll, &event, 1, -1) == 1, "epoll_wait");
        if (event.data.fd == wakes->bare) {
            uint64_t count;
            check(read(wakes->bare, &count, sizeof count) == sizeof count, "read");
            wakes->woken = now() - atomic_load_explicit(&wakes->at, memory_order_acquire);
            wakes->bare_times[i / 2] = (double)wakes->woken;
        } else {
            wakes->woken = 0;
            while (wakes->woken == 0) /* a signal may come before its reader can be called */
                burble_hub_dispatch(wakes->hub, 0);
            wakes->hub_times[i / 2] = (double)wakes->woken;
        }
    }
    return NULL;
}

static void wake_all(struct wakes *wakes)
{
    const uint64_t one = 1;
    for (unsigned i = 0; i < 2 * WAKES; i++) {
        while (atomic_load(&wakes->asleep) <= i)
            sched_yield();
        for (const uint64_t begin = now(); now() - begin < FALLING_ASLEEP;) {
        }
        const uint64_t at = now();
        if (i % 2 == 0) {
            check(burble_stream_append(wakes->stream, (const char *)&at, sizeof at, 1) == BURBLE_OK,
                  "append");
        } else {
            atomic_store_explicit(&wakes->at, at, memory_order_release);
            check(write(wakes->bare, &one, sizeof one) == sizeof one, "write");
        }
    }
}

static void measure_wakes(void)
{
    static struct wakes wakes;
    pthread_t consumer;
    memset(&wakes, 0, sizeof wakes);
    wakes.epoll = epoll_create1(EPOLL_CLOEXEC);
    wakes.bare = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    check(burble_hub_create(NULL, &wakes.hub) == BURBLE_OK, "hub");
    check(watch(wakes.epoll, wakes.bare) == 0, "watch");
    check(watch(wakes.epoll, burble_hub_fd(wakes.hub)) == 0, "watch");
    check(burble_stream_create(NULL, &wakes.stream) == BURBLE_OK, "stream");
    check(burble_reader_create(wakes.stream, 0, &wakes.reader, NULL) == BURBLE_OK, "reader");
    check(burble_reader_attach(wakes.reader, wakes.hub, on_wake, &wakes) == BURBLE_OK, "attach");
    check(burble_reader_park(wakes.reader) == BURBLE_AGAIN, "park");
    check(pthread_create(&consumer, NULL, consume_wakes, &wakes) == 0, "thread");
    wake_all(&wakes);
    pthread_join(consumer, NULL);
    burble_stream_end(wakes.stream, BURBLE_REASON_STOP);
    burble_reader_destroy(&wakes.reader);
    burble_stream_unref(&wakes.stream);
    burble_hub_destroy(&wakes.hub);
    close(wakes.bare);
    close(wakes.epoll);
    printf("wake_hub %.0f\n", median(wakes.hub_times, WAKES));
    printf("wake_bare %.0f\n", median(wakes.bare_times, WAKES));
}

/* ---- steps: a thousand streams that move together --------------------------------------------------- */

enum { STREAMS = 1000, STEPS = 100 };

struct steps {
    burble_hub *hub;
    burble_stream *streams[STREAMS];
    burble_reader *readers[STREAMS];
    atomic_uint read; /* consumer: records so far */
};

static void on_step(burble_reader *reader, void *arg)
{
    struct steps *steps = arg;
    burble_record record;
    unsigned n = 0;
    do {
        while (burble_reader_next(reader, &record) == BURBLE_OK)
            n++;
    } while (burble_reader_park(reader) == BURBLE_OK);
    atomic_fetch_add(&steps->read, n);
}

static void *consume_steps(void *arg)
{
    struct steps *steps = arg;
    struct epoll_event event;
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    check(watch(epoll, burble_hub_fd(steps->hub)) == 0, "watch");
    while (atomic_load(&steps->read) < STREAMS * STEPS) {
        check(epoll_wait(epoll, &event, 1, -1) == 1, "epoll_wait");
        burble_hub_dispatch(steps->hub, 0);
    }
    close(epoll);
    return NULL;
}

static void open_steps(struct steps *steps)
{
    check(burble_hub_create(NULL, &steps->hub) == BURBLE_OK, "hub");
    atomic_store(&steps->read, 0);
    for (int i = 0; i < STREAMS; i++) {
        burble_reader **reader = &steps->readers[i];
        check(burble_stream_create(NULL, &steps->streams[i]) == BURBLE_OK, "stream");
        check(burble_reader_create(steps->streams[i], 0, reader, NULL) == BURBLE_OK, "reader");
        check(burble_reader_attach(*reader, steps->hub, on_step, steps) == BURBLE_OK, "attach");
        check(burble_reader_park(*reader) == BURBLE_AGAIN, "park");
    }
}

/* The hub goes first, so that it signals nothing more. */
static void close_steps(struct steps *steps)
{
    burble_hub_destroy(&steps->hub);
    for (int i = 0; i < STREAMS; i++) {
        burble_reader_destroy(&steps->readers[i]);
        burble_stream_unref(&steps->streams[i]);
    }
}

static void move(struct steps *steps)
{
    for (int i = 0; i < STREAMS; i++)
        check(burble_stream_append(steps->streams[i], "token", 5, 1) == BURBLE_OK, "append");
}

/* The loop comes to it after the step: in the same thread, or because it was busy. */
static void measure_busy_steps(void)
{
    static struct steps steps;
    open_steps(&steps);
    for (int i = 0; i < STEPS; i++) {
        move(&steps);
        burble_hub_dispatch(steps.hub, 0);
    }
    printf("signals_busy %g\n", (double)burble_hub_signals(steps.hub) / STEPS);
    close_steps(&steps);
}

/* The loop sleeps in another thread, wakes in the middle of the step, and reads beside it. */
static void measure_idle_steps(void)
{
    static struct steps steps;
    pthread_t consumer;
    open_steps(&steps);
    check(pthread_create(&consumer, NULL, consume_steps, &steps) == 0, "thread");
    for (unsigned i = 0; i < STEPS; i++) {
        move(&steps);
        while (atomic_load(&steps.read) < (i + 1) * STREAMS)
            sched_yield();
        for (const uint64_t begin = now(); now() - begin < FALLING_ASLEEP;) {
        }
    }
    pthread_join(consumer, NULL);
    printf("signals_idle %g\n", (double)burble_hub_signals(steps.hub) / STEPS);
    close_steps(&steps);
}

/* ---- records: from a thread to a reader, at full speed ----------------------------------------------- */

enum { RECORDS = 1000000 };

static void *write_records(void *arg)
{
    burble_stream *stream = arg;
    for (int i = 0; i < RECORDS; i++)
        check(burble_stream_append(stream, "token", 5, 1) == BURBLE_OK, "append");
    burble_stream_end(stream, BURBLE_REASON_STOP);
    return NULL;
}

static void measure_records(void)
{
    pthread_t writer;
    burble_stream *stream;
    burble_reader *reader;
    burble_record record;
    int result;
    size_t bytes = 0;
    check(burble_stream_create(NULL, &stream) == BURBLE_OK, "stream");
    check(burble_reader_create(stream, 0, &reader, NULL) == BURBLE_OK, "reader");
    const uint64_t begin = now();
    check(pthread_create(&writer, NULL, write_records, stream) == 0, "thread");
    while ((result = burble_reader_next(reader, &record)) != BURBLE_END)
        if (result == BURBLE_OK)
            bytes += record.len;
        else
            check(burble_reader_wait(reader, 0) == BURBLE_OK, "wait");
    const uint64_t end = now();
    pthread_join(writer, NULL);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    check(bytes == 5 * (size_t)RECORDS, "records");
    printf("record_burble %.2f\n", (double)(end - begin) / RECORDS);
}

#ifdef HAVE_CK
struct entry {
    uint32_t len;
    char text[12];
};
CK_RING_PROTOTYPE(entries, entry)

enum { RING = 1 << 16 };
static ck_ring_t ring;
static struct entry ring_memory[RING];

static void *write_ring(void *unused)
{
    for (int i = 0; i < RECORDS; i++) {
        struct entry entry = {.len = 5};
        memcpy(entry.text, "token", 5);
        while (!CK_RING_ENQUEUE_SPSC(entries, &ring, ring_memory, &entry))
            sched_yield();
    }
    return unused;
}

static void measure_ring(void)
{
    pthread_t writer;
    struct entry entry;
    size_t bytes = 0;
    ck_ring_init(&ring, RING);
    const uint64_t begin = now();
    check(pthread_create(&writer, NULL, write_ring, NULL) == 0, "thread");
    for (int i = 0; i < RECORDS; i++) {
        while (!CK_RING_DEQUEUE_SPSC(entries, &ring, ring_memory, &entry))
            sched_yield();
        bytes += entry.len;
    }
    const uint64_t end = now();
    pthread_join(writer, NULL);
    check(bytes == 5 * (size_t)RECORDS, "entries");
    printf("record_ring %.2f\n", (double)(end - begin) / RECORDS);
}
#endif

/* ---- memory: of streams where nothing happens ------------------------------------------------------------ */

static size_t allocated(void)
{
    return mallinfo2().uordblks;
}

/* With a reader that is parked; `used`: after a record that was read. */
static void measure_memory(const char *name, bool used)
{
    enum { MANY = 10 };
    static struct steps steps[MANY];
    const size_t before = allocated();
    for (int i = 0; i < MANY; i++) {
        open_steps(&steps[i]);
        if (used) {
            move(&steps[i]);
            burble_hub_dispatch(steps[i].hub, 0);
        }
    }
    printf("%s %.1f\n", name, (double)(allocated() - before) / (MANY * STREAMS));
    for (int i = 0; i < MANY; i++)
        close_steps(&steps[i]);
}

/* ---- all -------------------------------------------------------------------------------------------------- */

static bool wanted(int argc, char **argv, const char *name)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc <= 2;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: wakeup ROUNDS [wakes|steps|records|memory]...\n", stderr);
        return 2;
    }
    if (wanted(argc, argv, "memory")) {
        measure_memory("memory_new", false);
        measure_memory("memory_used", true);
    }
    for (long rounds = strtol(argv[1], NULL, 10); rounds > 0; rounds--) {
        if (wanted(argc, argv, "wakes"))
            measure_wakes();
        if (wanted(argc, argv, "steps")) {
            measure_busy_steps();
            measure_idle_steps();
        }
        if (wanted(argc, argv, "records")) {
            measure_records();
#ifdef HAVE_CK
            measure_ring();
#endif
        }
    }
    return 0;
}
