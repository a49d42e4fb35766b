/* SPDX-License-Identifier: MIT
 *
 * Streams of all kinds by the thousand: generated on a pool or by threads that exit, read by loops and
 * by threads, limited, dropped, cancelled, abandoned, at random. In the end, and after each round, all
 * is given back: memory, descriptors, threads; each byte was released once; and what each reader got is
 * held against what its writer has counted, once that is done.
 *
 *     soak SECONDS [SEED]
 */
#define _GNU_SOURCE

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <burble/burble.h>

#include "../torture/fail.h"

enum { LOOPS = 2, BATCH = 48, READERS = 3, MOST_RECORDS = 120, ROUND_MS = 1000, PATIENCE = 60 };

/* How far resident memory may be above what it was after the warm-up: allocators keep pages. */
#define RESIDENT_SLACK ((size_t)8 << 20)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            broken(__LINE__, #condition);                                                          \
    } while (0)

static uint64_t seed;

_Noreturn static void broken(int line, const char *condition)
{
    fprintf(stderr, "%s:%d: expected %s; SEED=%llu\n", __FILE__, line, condition,
            (unsigned long long)seed);
    abort();
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static unsigned below(uint64_t *state, unsigned n)
{
    return (unsigned)(next_random(state) % n);
}

/* ---- the account ------------------------------------------------------------------------------- */

static struct {
    _Atomic(uint64_t) written, released; /* bytes */
    _Atomic(uint64_t) read;              /* bytes, record by record */
    _Atomic(uint64_t) missed, left;      /* bytes, by readers that were dropped, or left */
    _Atomic(uint64_t) streams, readers;
    _Atomic(uint64_t) ended, failed, died, cut, lagged, gone; /* readers, by how they ended */
} account;

static void count(_Atomic(uint64_t) *what, uint64_t n)
{
    atomic_fetch_add_explicit(what, n, memory_order_relaxed);
}

static void on_release(const burble_record *record, void *arg)
{
    (void)arg;
    count(&account.released, record->len);
}

/* ---- writing ----------------------------------------------------------------------------------- */

enum ending { ENDS, FAILS, RETURNS_ERROR, CANCELS, DIES, N_ENDINGS };

/* What is written, by which both sides know what comes: its length follows from its number. */
struct script {
    uint64_t seed;
    unsigned records;
    enum ending ending;
    /* The writer's own, to be looked at once it is done. */
    uint64_t appended;    /* records */
    bool cut;             /* an append told it that the stream was cancelled */
    _Atomic(bool) let_go; /* by the pool */
};

static void let_go(void *arg)
{
    struct script *script = arg;
    atomic_store(&script->let_go, true);
}

static size_t length_of(const struct script *script, uint64_t seq)
{
    uint64_t state = script->seed + seq;
    const unsigned kind = below(&state, 64);
    return kind == 0 ? 5000 : 1 + kind % 16 * 9;
}

static uint64_t bytes_before(const struct script *script, uint64_t seq)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < seq; i++)
        bytes += length_of(script, i);
    return bytes;
}

static char letter_of(const struct script *script, uint64_t seq)
{
    return (char)('a' + (script->seed + seq) % 26);
}

static int write_script(burble_stream *stream, struct script *script)
{
    char text[5000];
    for (uint64_t seq = 0; seq < script->records; seq++) {
        const size_t len = length_of(script, seq);
        memset(text, letter_of(script, seq), len);
        const int rc = burble_stream_append(stream, text, len, 1);
        if (rc != BURBLE_OK) {
            CHECK(rc == BURBLE_ECANCELED);
            script->cut = true;
            return rc;
        }
        script->appended++;
        count(&account.written, len);
    }
    switch (script->ending) {
    case FAILS:
        burble_stream_fail(stream, -77, "as the script says");
        return BURBLE_OK;
    case RETURNS_ERROR:
        return -78;
    case CANCELS:
        burble_stream_cancel(stream);
        return BURBLE_OK;
    default:
        return BURBLE_OK;
    }
}

static int generate(burble_stream *stream, void *arg)
{
    return write_script(stream, arg);
}

/* A thread that exits and leaves its stream open. */
struct mortal {
    burble_stream *stream;
    struct script *script;
};

static void *write_and_die(void *arg)
{
    struct mortal *mortal = arg;
    write_script(mortal->stream, mortal->script);
    burble_stream_unref(&mortal->stream);
    return NULL;
}

/* ---- reading ----------------------------------------------------------------------------------- */

struct conversation {
    struct loop *loop;
    struct script script;
    burble_stream *stream;
    pthread_t thread;
    struct mortal mortal;
    bool own_thread, keeps_all;
    bool may_be_cancelled; /* by a reader, or for want of one */
    burble_lag_unit lag_unit;
    int open; /* readers */
};

enum plan { READ_ALL, ABANDON, CANCEL, STALL, N_PLANS };

struct listener {
    struct conversation *conversation;
    burble_reader *reader;
    uint64_t first, seq; /* where it began, and is */
    uint64_t read;
    uint64_t drop_at; /* it is dropped where it would be further behind; 0: never */
    int result;       /* what it has heard in the end; BURBLE_AGAIN: it has left */
    enum plan plan;
    unsigned patience; /* records until the plan is carried out */
};

struct loop {
    uint64_t random;
    uint64_t until; /* no new conversation after that */
    burble_pool *pool;
    burble_hub *hub;
    struct conversation conversations[BATCH];
    struct listener listeners[BATCH][READERS];
    int open; /* listeners */
};

/* Each letter of it. */
static void take(struct listener *listener, const burble_record *record)
{
    const struct script *script = &listener->conversation->script;
    CHECK(record->seq == listener->seq);
    CHECK(record->len == length_of(script, record->seq));
    CHECK(record->tokens == 1);
    CHECK(record->text[0] == letter_of(script, record->seq));
    CHECK(memcmp(record->text, record->text + 1, record->len - 1) == 0);
    listener->seq++;
    listener->read += record->len;
    count(&account.read, record->len);
}

/* What the records from `first` on weigh, up to `end`; in ASCII, a byte is a character. */
static uint64_t weight_of(const struct conversation *conversation, uint64_t first, uint64_t end)
{
    const struct script *script = &conversation->script;
    return conversation->lag_unit == BURBLE_LAG_TOKENS
               ? end - first
               : bytes_before(script, end) - bytes_before(script, first);
}

/* It was dropped by an append that found no room. That appended its record, or was told that the stream had
 * been cancelled meanwhile. */
static void check_dropped(const struct listener *listener)
{
    const struct conversation *conversation = listener->conversation;
    const struct script *script = &conversation->script;
    const uint64_t end = script->appended + (script->cut ? 1 : 0);
    CHECK(listener->drop_at > 0 && end - listener->seq >= 2);
    CHECK(weight_of(conversation, listener->seq, end) > listener->drop_at);
}

/* What it got, against what was written, which is known now: the writer is done. */
static void settle(const struct listener *listener)
{
    const struct script *script = &listener->conversation->script;
    const uint64_t end = script->appended, begin = bytes_before(script, listener->first);
    CHECK(listener->first <= listener->seq && listener->seq <= end);
    CHECK(listener->read == bytes_before(script, listener->seq) - begin);
    const uint64_t missing = bytes_before(script, end) - begin - listener->read;
    switch (listener->result) {
    case BURBLE_AGAIN:
        CHECK(listener->plan == ABANDON || listener->plan == CANCEL);
        count(&account.left, missing);
        break;
    case BURBLE_ELAGGED:
        check_dropped(listener);
        count(&account.missed, missing);
        break;
    case BURBLE_ECANCELED:
        CHECK(end - listener->seq <= 1); /* an append was under way that did not know of it yet */
        break;
    default:
        CHECK(!script->cut && listener->seq == script->records && missing == 0);
    }
    count(&account.readers, 1);
}

/* The end of a reader that has heard it, or does not care to. */
static void leave(struct listener *listener, int result)
{
    struct conversation *conversation = listener->conversation;
    CHECK(burble_reader_position(listener->reader) == listener->seq);
    listener->result = result;
    if (result == BURBLE_AGAIN) {
        count(&account.gone, 1);
        conversation->may_be_cancelled |= listener->plan == CANCEL;
        /* Others of its readers hear that they were cut off. */
        if (listener->plan == CANCEL)
            burble_stream_cancel(conversation->stream);
    }
    burble_reader_destroy(&listener->reader);
    conversation->loop->open--;
    conversation->open--;
}

/* The end that it heard is the one that the script has, and the stream's. */
static void check_end(const struct conversation *conversation, int result)
{
    const enum ending ending = conversation->script.ending;
    burble_status status;
    burble_stream_status(conversation->stream, &status);
    switch (result) {
    case BURBLE_END:
        CHECK(status.state == BURBLE_ENDED && ending == ENDS);
        count(&account.ended, 1);
        break;
    case BURBLE_ECANCELED:
        CHECK(status.state == BURBLE_CANCELLED);
        CHECK(ending == CANCELS || conversation->may_be_cancelled);
        count(&account.cut, 1);
        break;
    case BURBLE_EDIED:
        CHECK(status.state == BURBLE_FAILED && ending == DIES);
        count(&account.died, 1);
        break;
    case -77:
    case -78:
        CHECK(status.state == BURBLE_FAILED && status.code == result);
        CHECK(ending == (result == -77 ? FAILS : RETURNS_ERROR));
        count(&account.failed, 1);
        break;
    default:
        CHECK(result == BURBLE_ELAGGED);
        count(&account.lagged, 1);
    }
}

/* Reads what is there. Whether it goes on. */
static bool listen(struct listener *listener)
{
    burble_record record;
    int result;
    while ((result = burble_reader_next(listener->reader, &record)) == BURBLE_OK) {
        take(listener, &record);
        if (listener->plan != READ_ALL && listener->plan != STALL && listener->patience-- == 0) {
            leave(listener, BURBLE_AGAIN);
            return false;
        }
    }
    if (result == BURBLE_AGAIN)
        return true;
    check_end(listener->conversation, result);
    leave(listener, result);
    return false;
}

static void on_ready(burble_reader *reader, void *arg)
{
    struct listener *listener = arg;
    while (listen(listener) && burble_reader_park(reader) == BURBLE_OK) {
    }
}

/* ---- a conversation ---------------------------------------------------------------------------- */

static burble_stream_options stream_options(struct loop *loop)
{
    static const uint64_t keeps[] = {0, 0, 300, BURBLE_KEEP_ALL};
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.keep = keeps[below(&loop->random, 4)];
    options.cancel_when_unread = below(&loop->random, 2) == 0;
    options.lag_unit = (burble_lag_unit)below(&loop->random, 3);
    options.release = on_release;
    return options;
}

static void write_in_thread(struct conversation *conversation, const burble_stream_options *options)
{
    CHECK(burble_stream_create(options, &conversation->stream) == BURBLE_OK);
    conversation->own_thread = true;
    conversation->mortal =
        (struct mortal){burble_stream_ref(conversation->stream), &conversation->script};
    CHECK(pthread_create(&conversation->thread, NULL, write_and_die, &conversation->mortal) == 0);
}

/* A reader at the beginning, if that is still there, or at the end. */
static void join_in(struct conversation *conversation, struct listener *listener)
{
    struct loop *loop = conversation->loop;
    const uint64_t from = below(&loop->random, 4) == 0 ? BURBLE_FROM_TAIL : BURBLE_FROM_OLDEST;
    *listener = (struct listener){.conversation = conversation};
    listener->plan =
        below(&loop->random, 3) == 0 ? (enum plan)below(&loop->random, N_PLANS) : READ_ALL;
    listener->patience = below(&loop->random, 60);
    CHECK(burble_reader_create(conversation->stream, from, &listener->reader, NULL) == BURBLE_OK);
    listener->first = listener->seq = burble_reader_position(listener->reader);
    CHECK(from == BURBLE_FROM_TAIL || !conversation->keeps_all || listener->first == 0);
    const unsigned limit = below(&loop->random, 4);
    if (limit > 1) {
        const uint64_t most = 1 + below(&loop->random, 500);
        listener->drop_at = limit == 2 ? 0 : most;
        CHECK(burble_reader_limit(listener->reader, most,
                                  limit == 2 ? BURBLE_LAG_BLOCK : BURBLE_LAG_DROP)
              == BURBLE_OK);
    }
    loop->open++;
    conversation->open++;
}

static void begin(struct loop *loop, struct conversation *conversation)
{
    burble_pool_run_options options;
    burble_pool_run_options_init(&options);
    *conversation = (struct conversation){.loop = loop};
    options.release = let_go;
    conversation->script = (struct script){
        .seed = next_random(&loop->random),
        .records = 1
                   + below(&loop->random,
                           MOST_RECORDS), /* a thread that writes nothing is not a producer */
        .ending =
            below(&loop->random, 2) == 0 ? ENDS : (enum ending)below(&loop->random, N_ENDINGS),
    };
    options.stream = stream_options(loop);
    conversation->keeps_all = options.stream.keep == BURBLE_KEEP_ALL;
    conversation->may_be_cancelled = options.stream.cancel_when_unread;
    conversation->lag_unit = options.stream.lag_unit;
    if (conversation->script.ending == DIES)
        write_in_thread(conversation, &options.stream);
    else
        CHECK(burble_pool_run(loop->pool, generate, &conversation->script, &options,
                              &conversation->stream)
              == BURBLE_OK);
    count(&account.streams, 1);
}

static void wait_for_writer(struct conversation *conversation)
{
    const struct script *script = &conversation->script;
    if (conversation->own_thread)
        pthread_join(conversation->thread, NULL);
    else
        while (!atomic_load(&script->let_go))
            sched_yield();
    burble_status status;
    burble_stream_status(conversation->stream, &status);
    if (script->cut || script->appended == 0) /* cancelled in the middle of it, or in the queue */
        CHECK(status.state == BURBLE_CANCELLED && conversation->may_be_cancelled);
    else
        CHECK(script->appended == script->records);
    CHECK(burble_stream_position(conversation->stream) == script->appended);
}

/* Who comes last gets all that was written, where all was kept. */
static void read_late(struct conversation *conversation)
{
    struct listener late = {.conversation = conversation, .plan = READ_ALL};
    CHECK(burble_reader_create(conversation->stream, 0, &late.reader, NULL) == BURBLE_OK);
    conversation->loop->open++;
    conversation->open++;
    CHECK(!listen(&late));
    CHECK(late.seq == conversation->script.appended);
    settle(&late);
}

static void finish(struct conversation *conversation, const struct listener *listeners,
                   unsigned n_listeners)
{
    burble_status status;
    burble_stream_status(conversation->stream, &status);
    conversation->may_be_cancelled |= status.state == BURBLE_OPEN;
    burble_stream_cancel(conversation->stream); /* no reader is left */
    wait_for_writer(conversation);
    for (unsigned i = 0; i < n_listeners; i++)
        settle(&listeners[i]);
    if (conversation->keeps_all)
        read_late(conversation);
    burble_stream_unref(&conversation->stream);
}

/* ---- many at once, on a loop ------------------------------------------------------------------- */

static void run_batch(struct loop *loop)
{
    unsigned n_listeners[BATCH];
    for (int i = 0; i < BATCH; i++) {
        struct conversation *conversation = &loop->conversations[i];
        begin(loop, conversation);
        n_listeners[i] = below(&loop->random, READERS + 1);
        for (unsigned k = 0; k < n_listeners[i]; k++) {
            struct listener *listener = &loop->listeners[i][k];
            join_in(conversation, listener);
            CHECK(burble_reader_attach(listener->reader, loop->hub, on_ready, listener)
                  == BURBLE_OK);
            on_ready(listener->reader, listener);
        }
        if (below(&loop->random, 16) == 0 && conversation->open > 0) {
            conversation->may_be_cancelled = true;
            burble_stream_cancel(conversation->stream);
        }
    }
    while (loop->open > 0) {
        struct pollfd fd = {.fd = burble_hub_fd(loop->hub), .events = POLLIN};
        CHECK(poll(&fd, 1, PATIENCE * 1000) == 1);
        if (below(&loop->random, 8) == 0) {
            burble_hub_hold(loop->hub);
            burble_hub_dispatch(loop->hub, 0);
            burble_hub_release(loop->hub);
        } else {
            burble_hub_dispatch(loop->hub, below(&loop->random, 4));
        }
    }
    for (int i = 0; i < BATCH; i++)
        finish(&loop->conversations[i], loop->listeners[i], n_listeners[i]);
}

/* One that this thread reads by itself, waiting. */
static void run_blocking(struct loop *loop)
{
    struct conversation *conversation = &loop->conversations[0];
    struct listener *listener = &loop->listeners[0][0];
    begin(loop, conversation);
    join_in(conversation, listener);
    while (listen(listener)) {
        const uint64_t deadline = (now_ms() + PATIENCE * 1000) * 1000000;
        CHECK(burble_reader_wait(listener->reader, deadline) == BURBLE_OK);
    }
    finish(conversation, listener, 1);
}

static void *run_loop(void *arg)
{
    struct loop *loop = arg;
    CHECK(burble_hub_create(&(burble_hub_options){.wake = (burble_wake)below(&loop->random, 3)},
                            &loop->hub)
          == BURBLE_OK);
    do {
        run_batch(loop);
        for (int i = 0; i < 8; i++)
            run_blocking(loop);
    } while (now_ms() < loop->until);
    burble_hub_destroy(&loop->hub);
    return NULL;
}

/* ---- rounds ------------------------------------------------------------------------------------ */

static size_t entries(const char *path)
{
    size_t n = 0;
    DIR *folder = opendir(path);
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        n++;
    closedir(folder);
    return n;
}

static size_t resident(void)
{
    size_t total = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%zu %zu", &total, &pages) == 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

struct level {
    size_t resident, descriptors, threads;
};

/* A thread that was joined may have some way to go. */
static struct level measure(void)
{
    const uint64_t bound = now_ms() + PATIENCE * 1000;
    while (entries("/proc/self/task") > 2 + 1 && now_ms() < bound)
        sched_yield();
    return (struct level){resident(), entries("/proc/self/fd"), entries("/proc/self/task")};
}

/* What one round has begun it has ended, to the last block. */
static void run_round(struct fail_report *report, uint64_t *random)
{
    static struct loop loops[LOOPS];
    pthread_t threads[LOOPS];
    burble_pool *pool;
    const burble_pool_options options = {.workers = 1 + below(random, 6), .queue = LOOPS * BATCH};
    CHECK(burble_pool_create(&options, &pool) == BURBLE_OK);
    for (int i = 0; i < LOOPS; i++) {
        loops[i].random = next_random(random);
        loops[i].until = now_ms() + ROUND_MS;
        loops[i].pool = pool;
        CHECK(pthread_create(&threads[i], NULL, run_loop, &loops[i]) == 0);
    }
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    burble_pool_destroy(&pool);
    for (int i = 0; i < FAIL_N_RESOURCES; i++)
        CHECK(report->live[i] == 0);
    CHECK(account.written == account.released);
}

static void print_account(void)
{
    printf("%llu streams, %llu readers; readers heard: end %llu, failure %llu, death %llu, "
           "cancellation %llu, that they were dropped %llu; left %llu\n",
           (unsigned long long)account.streams, (unsigned long long)account.readers,
           (unsigned long long)account.ended, (unsigned long long)account.failed,
           (unsigned long long)account.died, (unsigned long long)account.cut,
           (unsigned long long)account.lagged, (unsigned long long)account.gone);
    printf("bytes written %llu = released %llu; read %llu; missed by the dropped %llu, and by who "
           "left "
           "%llu\n",
           (unsigned long long)account.written, (unsigned long long)account.released,
           (unsigned long long)account.read, (unsigned long long)account.missed,
           (unsigned long long)account.left);
}

/* Whether each way to end was seen, and by how many readers. */
static void check_account(void)
{
    CHECK(account.ended > 0 && account.failed > 0 && account.died > 0 && account.cut > 0);
    CHECK(account.lagged > 0 && account.missed > 0 && account.gone > 0);
    CHECK(account.readers
          == account.ended + account.failed + account.died + account.cut + account.lagged
                 + account.gone);
}

int main(int argc, char **argv)
{
    static struct fail_report report;
    const unsigned long seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 20;
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    fail_report_to(&report);
    uint64_t random = seed;
    const uint64_t begin = now_ms(), warm = begin + seconds * 250, end = begin + seconds * 1000;
    struct level first;
    unsigned rounds = 0;
    do {
        run_round(&report, &random);
        rounds++;
        first = measure();
    } while (now_ms() < warm);
    while (now_ms() < end) {
        run_round(&report, &random);
        rounds++;
    }
    const struct level last = measure();
    print_account();
    printf("%u rounds; after the warm-up and at the end: %zu and %zu KiB resident, %zu and %zu "
           "descriptors, %zu and %zu threads\n",
           rounds, first.resident >> 10, last.resident >> 10, first.descriptors - 2,
           last.descriptors - 2, first.threads - 2, last.threads - 2);
    check_account();
    CHECK(last.resident <= first.resident + RESIDENT_SLACK);
    CHECK(last.descriptors == first.descriptors && last.threads == first.threads);
    return 0;
}
