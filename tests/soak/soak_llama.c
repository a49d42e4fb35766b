/* SPDX-License-Identifier: MIT
 *
 * Engines by the hundred, and requests of all kinds by the thousand: of several choices, seeded, by a grammar, with
 * stop strings, log-probabilities and deadlines; read at once, slowly, with a limit, in part or not at all, cancelled
 * at random; and engines that are destroyed meanwhile. Beside them an embedder whose calls are interrupted. After each
 * round all is given back: memory, descriptors, threads. A greedy text is what it is alone, unless two tokens tie.
 *
 *     soak_llama MODEL SECONDS [SEED]
 */
#define _GNU_SOURCE

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <burble/clock.h>
#include <burble/frame.h>
#include <burble/llama.h>

#include "../torture/fail.h"

enum { CLIENTS = 12, ROUND_MS = 1000, TOKENS = 32, CHOICES = 3, TEXT = 2048, PATIENCE = 60 };

/* How many bytes more may be allocated than after the warm-up. (Resident memory says little: the allocator keeps what
 * contexts of other sizes have left.) */
#define SLACK ((size_t)1 << 20)

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

static bool one_in(uint64_t *state, unsigned n)
{
    return below(state, n) == 0;
}

/* ---- prompts, and the greedy text of each ------------------------------------------------------- */

#define BEGINNING                                                                                  \
    "SICINIUS:\nWhat is the city but the people?\n\nCitizens:\nTrue,\nThe people are the "         \
    "city.\n\nBRUTUS:\nBy the consent of all, we were establish'd\n"

static const char *const prompts[] = {
    "ROMEO:",
    "JULIET:\nO Romeo, ",
    BEGINNING "ROMEO:",
    BEGINNING "We",
    BEGINNING BEGINNING BEGINNING BEGINNING "First Citizen:\n",
    "caf\xC3\xA9 na\xC3\xAFve",
    "\n",
};
enum { PROMPTS = sizeof prompts / sizeof prompts[0] };

struct text {
    char bytes[TEXT];
    size_t len;
};
static struct text greedy[PROMPTS];

static struct {
    atomic_ullong requests, whole, stopped, cancelled, late, refused, closed, left, parted,
        embedded, interrupted;
} account;

/* ---- a request ------------------------------------------------------------------------------------ */

struct world {
    burble_llama_engine *engine;
    pthread_rwlock_t lock; /* for reading while the engine is used; NULL once it is destroyed */
    burble_llama_embedder *embedder;
    uint64_t until;
};

struct plan {
    size_t prompt;
    bool plain;    /* greedy, with nothing that changes the text */
    bool leaves;   /* reads a part, and destroys its reader */
    bool cancels;  /* reads a part, and cancels */
    unsigned part; /* records */
    bool slow;
    uint32_t choices; /* 0: text */
};

static const burble_text stops[] = {{"\n\n", 2}, {"the", 3}};

static burble_llama_request make(uint64_t *random, struct plan *plan)
{
    burble_llama_request request;
    *plan = (struct plan){.prompt = below(random, PROMPTS)};
    burble_llama_request_init(&request);
    request.prompt = prompts[plan->prompt];
    request.prompt_len = strlen(request.prompt);
    request.max_tokens = 1 + below(random, TOKENS);
    request.priority = (int32_t)below(random, 3);
    request.reuse = !one_in(random, 4);
    request.frames = one_in(random, 2);
    plan->choices = request.frames ? 1 + below(random, CHOICES) : 0;
    request.choices = plan->choices;
    request.chunking = one_in(random, 2) ? BURBLE_CHUNK_WORD : BURBLE_CHUNK_TOKEN;
    request.logprobs = one_in(random, 3);
    request.top_logprobs = request.logprobs ? below(random, 4) : 0;
    if (one_in(random, 6))
        request.deadline = burble_now() + 1 + below(random, 20000000);
    switch (below(random, 6)) {
    case 0:
        request.temperature = 0.9f;
        request.seed = below(random, 1000);
        request.mirostat = below(random, 3);
        break;
    case 1:
        request.json = true;
        break;
    case 2:
        request.stop = stops;
        request.n_stop = 2;
        request.include_stop = one_in(random, 2);
        break;
    case 3:
        request.repeat_penalty = 1.2f;
        request.dry_multiplier = 0.8f;
        break;
    default:
        plan->plain = true;
    }
    plan->slow = one_in(random, 8);
    plan->leaves = one_in(random, 8);
    plan->cancels = one_in(random, 5);
    plan->part = below(random, TOKENS);
    return request;
}

/* Takes a record; the text of a choice is behind that of the one before. */
static void take(const struct plan *plan, const burble_record *record, struct text texts[CHOICES])
{
    burble_text text = {record->text, record->len};
    struct text *to = texts;
    if (plan->choices > 0) {
        burble_frame frame;
        CHECK(burble_frame_read(record->text, record->len, &frame) == BURBLE_OK);
        if (frame.kind == BURBLE_FRAME_USAGE)
            return;
        CHECK(frame.choice < plan->choices);
        to += frame.choice;
        if (frame.kind != BURBLE_FRAME_TEXT)
            return;
        text = frame.u.text.text;
    }
    CHECK(text.len <= TEXT - to->len);
    if (text.len > 0)
        memcpy(to->bytes + to->len, text.bytes, text.len);
    to->len += text.len;
}

/* A greedy text is a beginning of what the prompt alone has, and all choices are alike. */
static void compare(const struct plan *plan, const struct text texts[CHOICES])
{
    const struct text *expected = &greedy[plan->prompt];
    for (uint32_t i = 0; i < (plan->choices > 0 ? plan->choices : 1); i++) {
        const bool same = texts[i].len <= expected->len
                          && memcmp(texts[i].bytes, expected->bytes, texts[i].len) == 0;
        atomic_fetch_add(&account.parted, !same);
    }
}

/* Reads as the plan says. What the reader heard last; BURBLE_OK: it has left. */
static int consume(const struct plan *plan, burble_reader *reader, struct text texts[CHOICES])
{
    static const struct timespec pause = {0, 3000000};
    burble_record record;
    for (unsigned n = 0; !(plan->leaves || plan->cancels) || n < plan->part;) {
        int result = burble_reader_next(reader, &record);
        if (result == BURBLE_AGAIN) {
            result = burble_reader_wait(reader, burble_now() + (uint64_t)PATIENCE * 1000000000u);
            CHECK(result == BURBLE_OK);
            continue;
        }
        if (result != BURBLE_OK)
            return result;
        take(plan, &record, texts);
        n++;
        if (plan->slow)
            nanosleep(&pause, NULL); /* this is what a slow reader does */
    }
    return BURBLE_OK;
}

static void settle(const struct plan *plan, int heard, const burble_status *status,
                   const struct text texts[CHOICES])
{
    switch (heard) {
    case BURBLE_END:
        atomic_fetch_add(&account.whole, 1);
        atomic_fetch_add(&account.stopped, status->reason == BURBLE_REASON_STOP);
        break;
    case BURBLE_ETIMEDOUT:
        atomic_fetch_add(&account.late, 1);
        break;
    case BURBLE_ECANCELED: /* by closing the engine */
    case BURBLE_ECLOSED:
        atomic_fetch_add(&account.closed, 1);
        break;
    case BURBLE_OK:
        atomic_fetch_add(plan->cancels ? &account.cancelled : &account.left, 1);
        break;
    default: /* what a grammar found no token for */
        CHECK(heard == BURBLE_EFAILED && !plan->plain);
    }
    if (plan->plain)
        compare(plan, texts);
}

/* Whether the engine was there. */
static bool submit(struct world *world, const burble_llama_request *request, burble_stream *stream)
{
    int result = BURBLE_EFULL;
    while (result == BURBLE_EFULL) {
        pthread_rwlock_rdlock(&world->lock);
        result = world->engine == NULL
                     ? BURBLE_ECLOSED
                     : burble_llama_engine_submit(world->engine, request, stream, NULL);
        pthread_rwlock_unlock(&world->lock);
        if (result == BURBLE_EFULL) {
            atomic_fetch_add(&account.refused, 1);
            sched_yield();
        }
    }
    CHECK(result == BURBLE_OK || result == BURBLE_ECLOSED);
    return result == BURBLE_OK;
}

static bool ask(struct world *world, uint64_t *random)
{
    struct plan plan;
    struct text texts[CHOICES] = {{.len = 0}};
    burble_status status;
    burble_stream *stream;
    burble_reader *reader;
    const burble_llama_request request = make(random, &plan);
    CHECK(burble_stream_create(NULL, &stream) == BURBLE_OK);
    CHECK(burble_reader_create(stream, 0, &reader, NULL) == BURBLE_OK);
    if (one_in(random, 3))
        burble_reader_limit(reader, 1 + below(random, 400), BURBLE_LAG_BLOCK);
    const bool submitted = submit(world, &request, stream);
    if (submitted) {
        atomic_fetch_add(&account.requests, 1);
        const int heard = consume(&plan, reader, texts);
        if (heard == BURBLE_OK && plan.cancels)
            burble_stream_cancel(stream);
        burble_stream_status(stream, &status);
        settle(&plan, heard, &status, texts);
    }
    burble_reader_destroy(&reader);
    /* Without a reader, an answer runs to its end, which is not far. */
    burble_stream_unref(&stream);
    return submitted;
}

struct client {
    struct world *world;
    uint64_t random;
    pthread_t thread;
};

static void *be_a_client(void *arg)
{
    struct client *client = arg;
    while (burble_now() < client->world->until && ask(client->world, &client->random))
        continue;
    return NULL;
}

static void *embed(void *arg)
{
    struct client *client = arg;
    const size_t length = burble_llama_embedder_length(client->world->embedder);
    float *vectors = malloc(4 * length * sizeof *vectors);
    CHECK(vectors != NULL);
    while (burble_now() < client->world->until) {
        burble_text texts[4];
        for (int i = 0; i < 4; i++) {
            const char *text = prompts[below(&client->random, PROMPTS)];
            texts[i] = (burble_text){text, strlen(text)};
        }
        const int result =
            burble_llama_embedder_embed(client->world->embedder, texts, 4, vectors, NULL);
        CHECK(result == BURBLE_OK || result == BURBLE_ECANCELED);
        atomic_fetch_add(result == BURBLE_OK ? &account.embedded : &account.interrupted, 1);
    }
    free(vectors);
    return NULL;
}

/* ---- rounds ------------------------------------------------------------------------------------- */

static burble_llama_model *load(const char *path)
{
    burble_llama_model *model;
    burble_error error = {.message = ""};
    if (burble_llama_model_load(path, NULL, &model, &error) != BURBLE_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    return model;
}

static burble_llama_engine *open_engine(burble_llama_model *model, uint32_t slots, uint32_t queue,
                                        uint32_t batch)
{
    burble_llama_engine *engine;
    burble_llama_engine_options options;
    burble_llama_engine_options_init(&options);
    options.slots = slots;
    options.queue = queue;
    options.batch = batch;
    options.threads = 1; /* several wait for each other by turning */
    CHECK(burble_llama_engine_create(model, &options, &engine, NULL) == BURBLE_OK);
    return engine;
}

static void make_greedy(const char *path)
{
    burble_llama_model *model = load(path);
    struct world world = {.lock = PTHREAD_RWLOCK_INITIALIZER};
    world.engine = open_engine(model, 1, 0, 512);
    for (size_t i = 0; i < PROMPTS; i++) {
        const struct plan plan = {.prompt = i};
        struct text texts[CHOICES] = {{.len = 0}};
        burble_llama_request request;
        burble_stream *stream;
        burble_reader *reader;
        burble_llama_request_init(&request);
        request.prompt = prompts[i];
        request.prompt_len = strlen(prompts[i]);
        request.max_tokens = TOKENS;
        request.reuse = false;
        CHECK(burble_stream_create(NULL, &stream) == BURBLE_OK);
        CHECK(burble_reader_create(stream, 0, &reader, NULL) == BURBLE_OK);
        CHECK(submit(&world, &request, stream));
        CHECK(consume(&plan, reader, texts) == BURBLE_END);
        greedy[i] = texts[0];
        burble_reader_destroy(&reader);
        burble_stream_unref(&stream);
    }
    burble_llama_engine_destroy(&world.engine);
    burble_llama_model_unref(&model);
}

static void destroy_engine(struct world *world)
{
    pthread_rwlock_wrlock(&world->lock);
    burble_llama_engine_destroy(&world->engine);
    pthread_rwlock_unlock(&world->lock);
}

static void run_round(const char *path, struct fail_report *report, uint64_t *random)
{
    static const uint32_t batches[] = {16, 64, 512};
    struct client clients[CLIENTS + 1];
    struct world world = {.lock = PTHREAD_RWLOCK_INITIALIZER};
    burble_llama_model *model = load(path);
    burble_llama_embedder_options options;
    burble_llama_embedder_options_init(&options);
    options.threads = 1;
    CHECK(burble_llama_embedder_create(model, &options, &world.embedder, NULL) == BURBLE_OK);
    world.engine = open_engine(model, 1 + below(random, 8), CHOICES + below(random, 16),
                               batches[below(random, 3)]);
    world.until = burble_now() + ROUND_MS * UINT64_C(1000000);
    for (int i = 0; i <= CLIENTS; i++) {
        clients[i] = (struct client){.world = &world, .random = next_random(random)};
        CHECK(fail_thread_create(&clients[i].thread, i < CLIENTS ? be_a_client : embed, &clients[i])
              == 0);
    }
    const bool early = one_in(random, 3);
    const struct timespec step = {0, 50000000};
    for (int i = 0; i < ROUND_MS / 50 / (early ? 2 : 1); i++) {
        nanosleep(&step, NULL); /* the round's length, and how often calls are interrupted */
        burble_llama_embedder_interrupt(world.embedder);
    }
    if (early)
        destroy_engine(&world);
    for (int i = 0; i <= CLIENTS; i++)
        fail_thread_join(clients[i].thread);
    destroy_engine(&world);
    burble_llama_embedder_destroy(&world.embedder);
    burble_llama_model_unref(&model);
    pthread_rwlock_destroy(&world.lock);
    for (int i = 0; i < FAIL_N_RESOURCES; i++)
        CHECK(report->live[i] == 0);
}

struct level {
    size_t allocated, descriptors, threads;
};

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

static struct level measure(void)
{
    const uint64_t bound = burble_now() + (uint64_t)PATIENCE * 1000000000u;
    /* A thread that was joined may have some way to go. */
    while (entries("/proc/self/task") > 2 + 1 && burble_now() < bound)
        sched_yield();
    const struct mallinfo2 heap = mallinfo2();
    return (struct level){heap.uordblks + heap.hblkhd, entries("/proc/self/fd"),
                          entries("/proc/self/task")};
}

static void print_account(void)
{
    printf(
        "%llu requests: whole %llu (of these, %llu stopped), cancelled %llu, late %llu, left "
        "%llu, closed %llu; refused %llu times; parted from the greedy text %llu; embedded %llu, "
        "interrupted %llu\n",
        account.requests, account.whole, account.stopped, account.cancelled, account.late,
        account.left, account.closed, account.refused, account.parted, account.embedded,
        account.interrupted);
}

int main(int argc, char **argv)
{
    static struct fail_report report;
    if (argc < 3) {
        fputs("usage: soak_llama MODEL SECONDS [SEED]\n", stderr);
        return 2;
    }
    const unsigned long seconds = strtoul(argv[2], NULL, 10);
    seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    fail_report_to(&report);
    make_greedy(argv[1]);
    uint64_t random = seed;
    const uint64_t begin = burble_now();
    const uint64_t warm = begin + seconds * 250000000u;
    struct level first;
    unsigned rounds = 0;
    do {
        run_round(argv[1], &report, &random);
        rounds++;
        first = measure();
    } while (burble_now() < warm);
    while (burble_now() < begin + seconds * 1000000000u) {
        run_round(argv[1], &report, &random);
        rounds++;
    }
    const struct level last = measure();
    print_account();
    printf("%u rounds; after the warm-up and at the end: %zu and %zu KiB allocated, %zu and %zu "
           "descriptors, %zu and %zu threads\n",
           rounds, first.allocated >> 10, last.allocated >> 10, first.descriptors - 2,
           last.descriptors - 2, first.threads - 2, last.threads - 2);
    fflush(stdout);
    CHECK(account.whole > 0 && account.stopped > 0 && account.cancelled > 0 && account.left > 0);
    CHECK(account.late > 0 && account.refused > 0 && account.embedded > 0);
    CHECK(account.parted <= account.whole / 50);
    CHECK(last.allocated <= first.allocated + SLACK);
    CHECK(last.descriptors == first.descriptors && last.threads == first.threads);
    return 0;
}
