/* SPDX-License-Identifier: MIT
 *
 * The races that the streams' memory orderings decide, one at a time and many times over, on the
 * processor that there is: two threads meet, each does its half, and then it is looked at what each has
 * seen of the other. A wake-up is lost where neither has; that is seen at once, without waiting for it.
 *
 *     litmus SECONDS [SEED]
 *
 * Prints how often each outcome came, those among them where both halves ran at the same time. Exits
 * with 1 where a wake-up was lost. Built with no_fence.h, it runs the races that a fence decides, and exits
 * with 3 where each of them has lost one, which shows that it would be seen; with 1 where one has not.
 */
#define _GNU_SOURCE

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/stream.h>

/* Whether no_fence.h came before. */
#ifndef NO_FENCE
#define NO_FENCE false
#endif

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* How the program ends. That a CHECK fails is none of these. */
enum { GOOD = 0, BAD = 1, NOT_RUN = 2, ALL_LOST = 3 };

enum { LOST = 0, OUTCOMES = 4, MOST_JITTER = 256, MOST_SHIFT = 4096 };

/* A wait that is over sooner, or was in vain. */
#define IN_VAIN_NS UINT64_C(5000000000)

/* How long a race may go without a loss where there has to be one. */
#define PATIENCE_NS UINT64_C(60000000000)

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* ---- what the halves work on ------------------------------------------------------------------- */

/* Each side writes what it has seen into its own fields; the meeting orders them. */
static struct {
    burble_stream *streams[2];
    burble_reader *readers[2];
    burble_hub *hub;
    int result;     /* the right side's */
    int left;       /* the left side's */
    uint64_t begun; /* signals of the hub before */
    unsigned calls;
} w;

static void append(int i)
{
    CHECK(burble_stream_append(w.streams[i], "12345678", 8, 1) == BURBLE_OK);
}

/* Reads all. Returns how many records there were. */
static unsigned read_all(int i)
{
    burble_record record;
    unsigned n = 0;
    while (burble_reader_next(w.readers[i], &record) == BURBLE_OK) {
        CHECK(record.len == 8 && memcmp(record.text, "12345678", 8) == 0);
        n++;
    }
    return n;
}

static void on_ready(burble_reader *reader, void *arg)
{
    (void)reader, (void)arg;
    w.calls++;
}

static bool readable(void)
{
    struct pollfd fd = {.fd = burble_hub_fd(w.hub), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void make(int n)
{
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.producer_may_exit = true; /* both threads append, in turn */
    for (int i = 0; i < n; i++) {
        CHECK(burble_stream_create(&options, &w.streams[i]) == BURBLE_OK);
        CHECK(burble_reader_create(w.streams[i], 0, &w.readers[i], NULL) == BURBLE_OK);
        CHECK(burble_reader_attach(w.readers[i], w.hub, on_ready, NULL) == BURBLE_OK);
    }
}

static void unmake(void)
{
    for (int i = 0; i < 2; i++) {
        burble_reader_destroy(&w.readers[i]);
        burble_stream_unref(&w.streams[i]);
    }
}

/* Nobody is parked, and nothing unread. */
static void settle(int n)
{
    for (int i = 0; i < n; i++) {
        append(i);
        read_all(i);
    }
    burble_hub_dispatch(w.hub, 0);
    w.calls = 0;
}

/* ---- append, then look for parked readers; park, then look for a record (F1, F2) --------------------- */

static void make_one(void)
{
    make(1);
}

static void park_begin(void)
{
    settle(1);
}

static void append_one(void)
{
    append(0);
}

static void park_one(void)
{
    w.result = burble_reader_park(w.readers[0]);
}

static int park_outcome(void)
{
    burble_hub_dispatch(w.hub, 0);
    CHECK(read_all(0) == 1);
    const bool reader_saw = w.result == BURBLE_OK, writer_saw = w.calls == 1;
    return reader_saw && writer_saw ? 3 : reader_saw ? 1 : writer_saw ? 2 : LOST;
}

/* ---- the same with the end in place of a record ----------------------------------------------------- */

static void end_begin(void)
{
    unmake();
    make(1);
    w.calls = 0;
}

static void end_one(void)
{
    CHECK(burble_stream_end(w.streams[0], BURBLE_REASON_STOP) == BURBLE_OK);
}

static int end_outcome(void)
{
    burble_record record;
    burble_hub_dispatch(w.hub, 0);
    CHECK(burble_reader_next(w.readers[0], &record) == BURBLE_END);
    const bool reader_saw = w.result == BURBLE_OK, writer_saw = w.calls == 1;
    return reader_saw && writer_saw ? 3 : reader_saw ? 1 : writer_saw ? 2 : LOST;
}

/* ---- append, then the end: the reader never hears the end first ------------------------------------- */

static void append_and_end(void)
{
    append(0);
    end_one();
}

static void read_to_end(void)
{
    burble_record record;
    int first;
    do
        first = burble_reader_next(w.readers[0], &record);
    while (first == BURBLE_AGAIN);
    w.left = first == BURBLE_OK && memcmp(record.text, "12345678", 8) == 0;
    w.result = burble_reader_next(w.readers[0], &record);
}

static int read_outcome(void)
{
    return !w.left ? LOST : w.result == BURBLE_AGAIN ? 2 : w.result == BURBLE_END ? 1 : LOST;
}

/* ---- push to a hub, signal where it was empty; clear the signal, take all --------------------------- */

static void make_two(void)
{
    make(2);
}

static void hub_begin(void)
{
    settle(2);
    for (int i = 0; i < 2; i++)
        CHECK(burble_reader_park(w.readers[i]) == BURBLE_AGAIN);
    append(0); /* signalled: the right side drains, while the left one pushes */
    w.begun = burble_hub_signals(w.hub);
}

static void push_second(void)
{
    append(1);
}

static void drain(void)
{
    burble_hub_dispatch(w.hub, 0);
    w.result = (int)w.calls;
}

static int hub_outcome(void)
{
    const bool signalled = burble_hub_signals(w.hub) != w.begun, left = readable();
    int outcome = w.result == 2 ? (signalled ? 3 : 1) : 2;
    if (w.result < 1 || (w.result == 1 && !left))
        return LOST;
    burble_hub_dispatch(w.hub, 0);
    return w.calls == 2 ? outcome : LOST;
}

/* ---- push, then look whether the hub is held; release it, then look for what was pushed ------------- */

static void hold_begin(void)
{
    settle(1);
    CHECK(burble_reader_park(w.readers[0]) == BURBLE_AGAIN);
    burble_hub_hold(w.hub);
    w.begun = burble_hub_signals(w.hub);
}

static void release_hub(void)
{
    burble_hub_release(w.hub);
}

static int hold_outcome(void)
{
    const uint64_t signals = burble_hub_signals(w.hub) - w.begun;
    return !readable() ? LOST : signals == 1 ? 1 : 2;
}

/* ---- a writer that waits for room, a reader that makes it (L1, L2) ----------------------------------- */

static void make_limited(void)
{
    make(1);
    CHECK(burble_reader_limit(w.readers[0], 8, BURBLE_LAG_BLOCK) == BURBLE_OK);
}

static void room_begin(void)
{
    read_all(0);
    append(0);
}

static void append_with_room(void)
{
    const int rc = burble_stream_append_until(w.streams[0], "12345678", 8, 1, BURBLE_NO_WAIT);
    w.left = rc == BURBLE_OK ? 2 : LOST;
    if (rc == BURBLE_EFULL) {
        const uint64_t deadline = now_ns() + IN_VAIN_NS;
        const int waited = burble_stream_append_until(w.streams[0], "12345678", 8, 1, deadline);
        w.left = waited == BURBLE_OK && now_ns() < deadline ? 1 : LOST;
    }
}

static void read_one(void)
{
    burble_record record;
    CHECK(burble_reader_next(w.readers[0], &record) == BURBLE_OK);
}

static int room_outcome(void)
{
    return w.left;
}

/* ---- a reader that sleeps --------------------------------------------------------------------------- */

static void sleep_begin(void)
{
    read_all(0);
}

static void sleep_until_text(void)
{
    const uint64_t deadline = now_ns() + IN_VAIN_NS;
    w.result = burble_reader_wait(w.readers[0], deadline) == BURBLE_OK && now_ns() < deadline;
}

static int sleep_outcome(void)
{
    return w.result != 0 && read_all(0) == 1 ? 1 : LOST;
}

/* ---- the races -------------------------------------------------------------------------------------- */

/* The left half runs in a separate thread, the right one and all between in the hub's. Of the
 * outcomes, the first after LOST is that of a left half which was before the right one, if the outcome
 * tells; the second the other way round. */
struct litmus {
    const char *name;
    void (*make)(void);
    void (*begin)(void);
    void (*left)(void);
    void (*right)(void);
    int (*outcome)(void);
    const char *outcomes[OUTCOMES];
    bool fenced; /* what orders the halves is a fence on each side */
};

static const struct litmus litmuses[] = {
    {"park",
     make_one,
     park_begin,
     append_one,
     park_one,
     park_outcome,
     {"lost", "the reader saw the record", "the writer saw the reader", "both"},
     .fenced = true},
    {"end",
     make_one,
     end_begin,
     end_one,
     park_one,
     end_outcome,
     {"lost", "the reader saw the end", "the writer saw the reader", "both"},
     .fenced = true},
    {"text before end",
     make_one,
     end_begin,
     append_and_end,
     read_to_end,
     read_outcome,
     {"wrong order", "ended after the text", "still open after it"},
     .fenced = false},
    {"hub",
     make_two,
     hub_begin,
     push_second,
     drain,
     hub_outcome,
     {"lost", "taken, no signal", "signalled for the next drain", "signalled and taken"},
     .fenced = false},
    {"hold",
     make_one,
     hold_begin,
     append_one,
     release_hub,
     hold_outcome,
     {"lost", "one of them signalled", "both did"},
     .fenced = true},
    {"room",
     make_limited,
     room_begin,
     append_with_room,
     read_one,
     room_outcome,
     {"lost", "waited for it", "there was room"},
     .fenced = true},
    {"sleep",
     make_one,
     sleep_begin,
     append_one,
     sleep_until_text,
     sleep_outcome,
     {"lost", "woken or not asleep"},
     .fenced = true},
};

/* Where the two threads meet: the number of the race, of the one for which the left side is there, and
 * of the last that it has done. */
static _Atomic(uint64_t) race, ready, done;
static _Atomic(bool) over;
static const struct litmus *running;
static uint64_t seed;

static void wait_for(_Atomic(uint64_t) *what, uint64_t value)
{
    for (unsigned spins = 0; atomic_load_explicit(what, memory_order_acquire) < value; spins++)
        if (spins % 256 == 255)
            sched_yield(); /* it may want this processor */
}

/* How much later the left half has to begin, that both meet; learnt from the outcomes. */
static _Atomic(int) shift;

static void learn(int outcome)
{
    const int now = atomic_load_explicit(&shift, memory_order_relaxed);
    const int next = outcome == 1 ? now + 1 : outcome == 2 ? now - 1 : now;
    if (abs(next) < MOST_SHIFT)
        atomic_store_explicit(&shift, next, memory_order_relaxed);
}

/* So that the halves meet at any distance from each other, and most often close by. */
static void dally(uint64_t *random, int later)
{
    const uint64_t dice = next_random(random);
    const int jitter = (int)((dice >> 8) % (MOST_JITTER >> dice % 6));
    for (volatile int n = jitter + later; n > 0; n--) {
    }
}

/* Each side has its own processor, or they would only take turns. */
static void stay_on(size_t which)
{
    cpu_set_t allowed, one;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || which-- > 0)
            continue;
        CPU_SET(cpu, &one);
        CHECK(pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0);
        return;
    }
    CHECK(!"there is such a processor");
}

static int processors(void)
{
    cpu_set_t allowed;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    return CPU_COUNT(&allowed);
}

static void *run_left(void *arg)
{
    uint64_t random = seed ^ 1;
    const cpu_set_t *all = arg;
    CHECK(pthread_setaffinity_np(pthread_self(), sizeof *all, all) == 0);
    stay_on(1);
    for (uint64_t i = 1;; i++) {
        wait_for(&race, i);
        if (over)
            return NULL;
        atomic_store_explicit(&ready, i, memory_order_release);
        dally(&random, atomic_load_explicit(&shift, memory_order_relaxed));
        running->left();
        atomic_store_explicit(&done, i, memory_order_release);
    }
}

/* Whether something was lost. */
static bool run(const struct litmus *litmus, uint64_t end)
{
    uint64_t counts[OUTCOMES] = {0}, random = seed, i = 0;
    pthread_t left;
    cpu_set_t all;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    CHECK(burble_hub_create(NULL, &w.hub) == BURBLE_OK);
    litmus->make();
    running = litmus;
    race = ready = done = 0;
    over = false;
    shift = 0;
    CHECK(pthread_create(&left, NULL, run_left, &all) == 0);
    stay_on(0);
    while (now_ns() < end && counts[LOST] == 0) {
        litmus->begin();
        atomic_store_explicit(&race, ++i, memory_order_release);
        wait_for(&ready, i);
        dally(&random, -atomic_load_explicit(&shift, memory_order_relaxed));
        litmus->right();
        wait_for(&done, i);
        const int outcome = litmus->outcome();
        counts[outcome]++;
        learn(outcome);
    }
    over = true;
    race = i + 1;
    pthread_join(left, NULL);
    unmake();
    burble_hub_destroy(&w.hub);
    CHECK(pthread_setaffinity_np(pthread_self(), sizeof all, &all) == 0);
    printf("%-16s %10llu races", litmus->name, (unsigned long long)i);
    for (int k = OUTCOMES - 1; k >= 0; k--)
        if (litmus->outcomes[k] != NULL)
            printf("; %s %llu", litmus->outcomes[k], (unsigned long long)counts[k]);
    printf("\n");
    fflush(stdout);
    CHECK(i > 0);
    return counts[LOST] > 0;
}

/* How many have lost something; *n is how many there were. Each has its share of the time; where one is
 * to be lost, and mostly is at once, as long as that may take. */
static size_t run_all(double seconds, size_t *n)
{
    const uint64_t share = (uint64_t)(seconds * 1e9 / (double)COUNT(litmuses));
    size_t lost = 0;
    *n = 0;
    for (size_t i = 0; i < COUNT(litmuses); i++) {
        if (NO_FENCE && !litmuses[i].fenced)
            continue;
        lost += run(&litmuses[i], now_ns() + (NO_FENCE ? PATIENCE_NS : share));
        ++*n;
    }
    return lost;
}

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? strtod(argv[1], NULL) : 10;
    size_t n;
    if (argc > 3 || !(seconds > 0)) {
        fprintf(stderr, "usage: litmus SECONDS [SEED]\n");
        return NOT_RUN;
    }
    if (processors() < 2) {
        fprintf(stderr, "litmus: not run: two threads cannot meet on one processor\n");
        return NOT_RUN;
    }
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const size_t lost = run_all(seconds, &n);
    if (!NO_FENCE)
        return lost == 0 ? GOOD : BAD;
    printf("%zu of %zu races have lost a wake-up\n", lost, n);
    return lost == n ? ALL_LOST : BAD;
}
