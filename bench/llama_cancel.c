/* SPDX-License-Identifier: MIT
 *
 * Measures what becomes of cancelled requests, for llama_cancel.py:
 *
 *     llama_cancel MODEL
 *
 * Each line of the output is a scenario with its figures, "SCENARIO: NAME=VALUE …". Times are milliseconds:
 *
 *     cancelled STAGE, N others   from a cancel to the free slot (to the call of `watch` with `over`)
 *     dead in the queue           1,000 requests that are cancelled there, 500 tokens each: what is computed
 *                                 of them, the first token of a live one behind them, and the gaps between the
 *                                 tokens of three running answers before and meanwhile
 *     abandoned                   what the process has before and after 5,000 requests that are cancelled
 *                                 at random
 */
#define _GNU_SOURCE /* mallinfo2 */

#include <glob.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/llama.h>

enum {
    SLOTS = 4,
    OTHERS = 3,
    PROMPT = 500,
    TIMES = 200,
    DEAD = 1000,
    ABANDONED = 5000,
    AT_ONCE = 50
};
enum { MOST_GAPS = 1 << 20, IDS = 2000 };

static burble_llama_engine *engine;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static void pause_for(double ms)
{
    const struct timespec time = {.tv_nsec = (long)(1e6 * ms)};
    nanosleep(&time, NULL);
}

static void check(int result, const char *what)
{
    if (result != BURBLE_OK) {
        fprintf(stderr, "llama_cancel: %s: %s\n", what, burble_result_name(result));
        exit(1);
    }
}

/* A number for any thread; the order does not matter. */
static uint32_t below(uint32_t bound)
{
    static _Atomic(uint64_t) state = 1;
    const uint64_t next = atomic_fetch_add(&state, 0x9E3779B97F4A7C15u) * 6364136223846793005u;
    return (uint32_t)(next >> 33) % bound;
}

static double at_random(double most)
{
    return most * below(1000) / 1000;
}

static burble_llama_stats stats(void)
{
    burble_llama_stats found;
    burble_llama_engine_stats(engine, &found);
    return found;
}

/* ---- requests -------------------------------------------------------------------------------------- */

struct client {
    burble_stream *stream;
    burble_reader *reader;
    _Atomic(double) over; /* when its slot, or its place in the queue, was free again */
    _Atomic(unsigned) tokens;
    _Atomic(bool) waits;
};

static void watch(const burble_llama_progress *progress, void *arg)
{
    struct client *client = arg;
    atomic_store(&client->tokens, progress->tokens);
    atomic_store(&client->waits, progress->waits);
    if (progress->over)
        atomic_store(&client->over, now());
}

/* Submits a request for random ids, so that no prompt is like another. If `limited`, its reader, who reads
 * nothing, holds it back. */
static void submit(struct client *client, size_t prompt, uint32_t max_tokens, bool limited)
{
    int32_t ids[PROMPT];
    burble_llama_request request;
    burble_error error;
    memset(client, 0, sizeof *client);
    for (size_t i = 0; i < prompt; i++)
        ids[i] = (int32_t)(1 + below(IDS));
    burble_llama_request_init(&request);
    request.ids = ids;
    request.n_ids = prompt;
    request.max_tokens = max_tokens;
    request.ignore_end = true;
    request.watch = watch;
    request.watch_arg = client;
    check(burble_stream_create(NULL, &client->stream), "a stream");
    check(burble_reader_create(client->stream, 0, &client->reader, NULL), "a reader");
    if (limited)
        check(burble_reader_limit(client->reader, 1, BURBLE_LAG_BLOCK), "a limit");
    if (burble_llama_engine_submit(engine, &request, client->stream, &error) != BURBLE_OK) {
        fprintf(stderr, "llama_cancel: %s\n", error.message);
        exit(1);
    }
}

static void wait_until_over(struct client *client)
{
    while (atomic_load(&client->over) == 0)
        pause_for(0.02);
}

static void wait_for_tokens(struct client *client, unsigned tokens)
{
    while (atomic_load(&client->tokens) < tokens)
        pause_for(0.02);
}

static void forget(struct client *client)
{
    burble_reader_destroy(&client->reader);
    burble_stream_unref(&client->stream);
}

/* Cancels a request and forgets it; returns how long its slot was not free. */
static double cancel(struct client *client)
{
    const double begin = now();
    burble_stream_cancel(client->stream);
    wait_until_over(client);
    const double took = atomic_load(&client->over) - begin;
    forget(client);
    return took;
}

/* ---- the others: answers that run all the time ----------------------------------------------------- */

static struct client others[SLOTS];
static int n_others;
static atomic_bool stopping;
static pthread_t others_thread;
static double gaps[MOST_GAPS];
static atomic_size_t n_gaps;

/* Reads what an answer has; starts another one after its end. */
static void follow(struct client *other, double *last)
{
    burble_record record;
    int result;
    while ((result = burble_reader_next(other->reader, &record)) == BURBLE_OK) {
        const double time = now();
        const size_t n = atomic_load(&n_gaps);
        if (*last > 0 && n < MOST_GAPS) {
            gaps[n] = time - *last;
            atomic_store(&n_gaps, n + 1);
        }
        *last = time;
    }
    if (result != BURBLE_AGAIN) {
        wait_until_over(other);
        forget(other);
        submit(other, 2, 480, false);
        *last = 0;
    }
}

static void *keep_running(void *unused)
{
    double last[SLOTS] = {0};
    for (int i = 0; i < n_others; i++)
        submit(&others[i], 2, 480, false);
    while (!atomic_load(&stopping)) {
        for (int i = 0; i < n_others; i++)
            follow(&others[i], &last[i]);
        pause_for(0.1);
    }
    for (int i = 0; i < n_others; i++)
        cancel(&others[i]);
    return unused;
}

static void begin_others(int n)
{
    n_others = n;
    atomic_store(&stopping, false);
    atomic_store(&n_gaps, 0);
    if (n > 0 && pthread_create(&others_thread, NULL, keep_running, NULL) != 0)
        check(BURBLE_ESYSTEM, "a thread");
    while (n > 0 && stats().active < (uint32_t)n)
        pause_for(1);
}

static void end_others(void)
{
    atomic_store(&stopping, true);
    if (n_others > 0)
        pthread_join(others_thread, NULL);
}

/* ---- figures --------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Prints the quantiles of values, which it sorts. */
static void print(const char *prefix, double *values, size_t n)
{
    if (n == 0)
        return;
    qsort(values, n, sizeof *values, compare);
    printf(" %sp50=%.3f %sp99=%.3f %smax=%.3f", prefix, values[n / 2], prefix,
           values[(size_t)(0.99 * (double)(n - 1))], prefix, values[n - 1]);
}

static void print_stage(const char *stage, double *values)
{
    printf("cancelled %s, %d others:", stage, n_others);
    print("", values, TIMES);
    putchar('\n');
    fflush(stdout);
}

/* ---- scenarios ------------------------------------------------------------------------------------- */

static void cancel_in_slots(int n)
{
    double took[TIMES];
    struct client client;
    begin_others(n);
    for (int i = 0; i < TIMES; i++) {
        submit(&client, PROMPT, 4, false);
        pause_for(at_random(50));
        took[i] = cancel(&client);
    }
    print_stage("in the prompt", took);
    for (int i = 0; i < TIMES; i++) {
        submit(&client, 2, 480, false);
        wait_for_tokens(&client, 2);
        pause_for(at_random(10));
        took[i] = cancel(&client);
    }
    print_stage("in the answer", took);
    for (int i = 0; i < TIMES; i++) {
        submit(&client, 2, 480, true);
        while (!atomic_load(&client.waits))
            pause_for(0.02);
        pause_for(at_random(5));
        took[i] = cancel(&client);
    }
    print_stage("held back", took);
    end_others();
}

static void cancel_in_queue(void)
{
    static struct client clients[TIMES];
    double took[TIMES];
    double begin[TIMES];
    begin_others(SLOTS);
    for (int i = 0; i < TIMES; i++)
        submit(&clients[i], 100, 4, false);
    for (int i = 0; i < TIMES; i++) {
        begin[i] = now();
        burble_stream_cancel(clients[i].stream);
    }
    for (int i = 0; i < TIMES; i++) {
        wait_until_over(&clients[i]);
        took[i] = atomic_load(&clients[i].over) - begin[i];
        forget(&clients[i]);
    }
    print_stage("in the queue", took);
    end_others();
}

static void die_in_queue(void)
{
    static struct client dead[DEAD];
    struct client blocks;
    struct client lives;
    begin_others(OTHERS);
    submit(&blocks, 2, 480, false);
    wait_for_tokens(&blocks, 2);
    atomic_store(&n_gaps, 0);
    pause_for(500);
    printf("dead in the queue:");
    print("before_", gaps, atomic_load(&n_gaps));

    for (int i = 0; i < DEAD; i++)
        submit(&dead[i], PROMPT, 4, false);
    for (int i = 0; i < DEAD; i++)
        burble_stream_cancel(dead[i].stream);
    submit(&lives, 2, 4, false);
    /* The step in progress may have begun when some were alive: one whose slot was free just then. */
    const uint64_t steps = stats().steps;
    while (stats().steps < steps + 2)
        pause_for(0.02);
    const burble_llama_stats before = stats();
    const double begin = now();
    atomic_store(&n_gaps, 0);
    cancel(&blocks);
    wait_for_tokens(&lives, 1);
    const double first = now() - begin;
    const burble_llama_stats after = stats();
    pause_for(50);
    print("", gaps, atomic_load(&n_gaps));
    /* The others' own prompts, if they start anew, have two tokens each, as the live one. */
    printf(" first=%.3f computed=%llu\n", first,
           (unsigned long long)(after.prompt_tokens - before.prompt_tokens));
    fflush(stdout);
    for (int i = 0; i < DEAD; i++) {
        wait_until_over(&dead[i]);
        forget(&dead[i]);
    }
    wait_until_over(&lives);
    forget(&lives);
    end_others();
}

static size_t count_files(const char *pattern)
{
    glob_t found;
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
        return 0;
    const size_t n = found.gl_pathc;
    globfree(&found);
    return n;
}

/* The second number of the file. */
static long resident_pages(void)
{
    char line[128];
    char *end = line;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        exit(1);
    fclose(file);
    (void)strtol(line, &end, 10);
    return strtol(end, NULL, 10);
}

static void print_holdings(const char *prefix)
{
    printf(" %sallocated=%zu %sresident=%ld %sthreads=%zu %sdescriptors=%zu", prefix,
           mallinfo2().uordblks, prefix, 4 * resident_pages(), prefix,
           count_files("/proc/self/task/*"), prefix, count_files("/proc/self/fd/*"));
}

static void abandon(int n)
{
    static struct client clients[AT_ONCE];
    for (int done = 0; done < n; done += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++)
            submit(&clients[i], 1 + below(64), 16, below(4) == 0);
        pause_for(at_random(20));
        for (int i = 0; i < AT_ONCE; i++)
            cancel(&clients[i]);
    }
}

static void abandon_many(void)
{
    abandon(ABANDONED / 10);
    printf("abandoned:");
    print_holdings("before_");
    abandon(ABANDONED);
    print_holdings("");
    const burble_llama_stats left = stats();
    printf(" active=%u waiting=%u\n", (unsigned)left.active, (unsigned)left.waiting);
}

int main(int argc, char **argv)
{
    burble_llama_model *model;
    burble_llama_engine_options options;
    burble_error error;
    if (argc != 2) {
        fputs("usage: llama_cancel MODEL\n", stderr);
        return 2;
    }
    if (burble_llama_model_load(argv[1], NULL, &model, &error) != BURBLE_OK) {
        fprintf(stderr, "llama_cancel: %s\n", error.message);
        return 1;
    }
    burble_llama_engine_options_init(&options);
    options.slots = SLOTS;
    options.threads = 1;
    options.queue = 2 * DEAD;
    check(burble_llama_engine_create(model, &options, &engine, &error), "the engine");
    cancel_in_slots(0);
    cancel_in_slots(OTHERS);
    cancel_in_queue();
    die_in_queue();
    abandon_many();
    const double begin = now();
    burble_llama_engine_destroy(&engine);
    printf("closed: took=%.3f\n", now() - begin);
    burble_llama_model_unref(&model);
    return 0;
}
