/* SPDX-License-Identifier: MIT
 *
 * A worker whose text is known, for the tests of libburble-relay: piece k of an answer is a function of its seed and k, as
 * fake_text.py computes it, too. One thread writes all answers.
 *
 *     fake_engine --redis URL [--OPTION N]...
 *
 *     --slots N      answers at once; default: 64
 *     --rate N       pieces of an answer a second; default: 200; 0: as fast as they are taken
 *     --others 1     the text depends on this process, too, as that of other hardware may
 *     --digest 0     answers cannot be continued by another worker
 *     --stall-at N   answers stop at this piece, and do not end
 *     --prefix TEXT, --name TEXT, and times in ms: --lease, --stall, --away, --ttl, --linger, --grace (of SIGTERM; default: 30000)
 *
 * An answer has `max_tokens` pieces. It prints "ready", and its counts once it has been drained.
 */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <burble/clock.h>
#include <burble/frame.h>
#include <burble/relay.h>
#include <burble/serve.h>

#define MS UINT64_C(1000000)
#define AGAIN MS /* how soon an answer without room is tried again */

struct answer {
    struct answer *next;
    burble_stream *stream;
    uint64_t seed, due;
    uint32_t at, pieces; /* frames after `begin`: the pieces, the finish, the usage */
};

static struct engine {
    pthread_mutex_t lock;
    pthread_cond_t work;
    uint64_t step, others;
    uint32_t stall_at;
    bool closing;
    struct answer *arrived; /* under the lock */
} engine = {.lock = PTHREAD_MUTEX_INITIALIZER, .step = 5 * MS, .stall_at = UINT32_MAX};

/* ---- text --------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static size_t write_piece(uint64_t seed, uint32_t k, char *text, size_t room)
{
    static const char *const ends[] = {" ", " é ", "€ ", "😀 ", "\n", " - "};
    const uint64_t h = mix(mix(seed + engine.others) + k);
    const size_t n = (size_t)snprintf(text, room, "%" PRIu32 ":%08" PRIx32 "%s", k, (uint32_t)h,
                                      ends[(h >> 32) % 6]);
    const size_t more = (h >> 40) % 48;
    memset(text + n, 'x', more);
    return n + more;
}

/* ---- the thread --------------------------------------------------------------------------------------- */

static int append(const struct answer *answer)
{
    char text[256], ids[8], bytes[512];
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
    frame.u.text.text = frame.u.text.ids = frame.u.text.logprobs =
        (burble_text){.bytes = "", .len = 0};
    if (answer->at < answer->pieces) {
        const int32_t id = (int32_t)answer->at;
        const size_t len = write_piece(answer->seed, answer->at, text, sizeof text);
        frame.u.text.text = (burble_text){.bytes = text, .len = len};
        frame.u.text.n_ids = 1;
        frame.u.text.ids =
            (burble_text){.bytes = ids, .len = burble_frame_write_ids(&id, 1, ids, sizeof ids)};
    } else if (answer->at == answer->pieces) {
        frame.kind = BURBLE_FRAME_FINISH;
        frame.u.text.reason = BURBLE_FRAME_LENGTH;
    } else {
        frame = (burble_frame){.kind = BURBLE_FRAME_USAGE};
        frame.u.usage.completion = answer->pieces;
    }
    const size_t n = burble_frame_write(&frame, bytes, sizeof bytes);
    return burble_stream_append_until(answer->stream, bytes, n, answer->at < answer->pieces,
                                      BURBLE_NO_WAIT);
}

/* BURBLE_OK: there is more; BURBLE_EFULL: no room; or it is over. */
static int step(struct answer *answer)
{
    burble_status status;
    burble_stream_status(answer->stream, &status);
    if (status.state != BURBLE_OPEN)
        return BURBLE_ECLOSED;
    if (answer->at == engine.stall_at)
        return BURBLE_EFULL;
    if (answer->at > answer->pieces + 1) {
        burble_stream_end(answer->stream, BURBLE_REASON_NONE);
        return BURBLE_ECLOSED;
    }
    const int result = append(answer);
    answer->at += result == BURBLE_OK;
    return result;
}

static uint64_t write_all(struct answer **running)
{
    uint64_t next = UINT64_MAX;
    const uint64_t now = burble_now();
    for (struct answer **at = running; *at != NULL;) {
        struct answer *answer = *at;
        int result = BURBLE_OK;
        if (answer->due <= now) {
            result = step(answer);
            /* A process that was stopped does not catch up. */
            answer->due = now + (result == BURBLE_EFULL ? AGAIN : engine.step);
        }
        if (result != BURBLE_OK && result != BURBLE_EFULL) {
            *at = answer->next;
            burble_stream_unref(&answer->stream);
            free(answer);
            continue;
        }
        next = next < answer->due ? next : answer->due;
        at = &answer->next;
    }
    return next;
}

static void *run(void *arg)
{
    struct answer *running = NULL;
    uint64_t next = UINT64_MAX;
    bool closing = false;
    (void)arg;
    while (!closing) {
        pthread_mutex_lock(&engine.lock);
        while (engine.arrived == NULL && !engine.closing && next > burble_now()) {
            const struct timespec until = {.tv_sec = (time_t)(next / 1000000000),
                                           .tv_nsec = (long)(next % 1000000000)};
            if (next == UINT64_MAX)
                pthread_cond_wait(&engine.work, &engine.lock);
            else
                pthread_cond_timedwait(&engine.work, &engine.lock, &until);
        }
        while (engine.arrived != NULL) {
            struct answer *answer = engine.arrived;
            engine.arrived = answer->next;
            answer->next = running;
            running = answer;
        }
        closing = engine.closing;
        pthread_mutex_unlock(&engine.lock);
        next = write_all(&running);
    }
    while (running != NULL) {
        struct answer *answer = running;
        running = answer->next;
        burble_stream_fail(answer->stream, BURBLE_ECLOSED, "the worker ends");
        burble_stream_unref(&answer->stream);
        free(answer);
    }
    return NULL;
}

/* ---- the backend -------------------------------------------------------------------------------------- */

/* What another worker has written must be what this one would have. */
static bool is_own_text(const struct answer *answer, const burble_serve_request *request)
{
    char text[256];
    burble_frame frame;
    for (uint32_t k = 0; k < request->n_written; k++) {
        const burble_text bytes = request->written[k];
        if (burble_frame_read(bytes.bytes, bytes.len, &frame) != BURBLE_OK)
            return false;
        if (engine.others != 0 || k >= answer->pieces)
            continue;
        const size_t len = write_piece(answer->seed, k, text, sizeof text);
        if (frame.u.text.text.len != len || memcmp(frame.u.text.text.bytes, text, len) != 0)
            return false;
    }
    return true;
}

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    (void)arg;
    struct answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL)
        return BURBLE_ENOMEM;
    answer->seed = (uint64_t)burble_serve_number(request, BURBLE_SERVE_SEED, 0);
    answer->pieces = (uint32_t)burble_serve_number(request, BURBLE_SERVE_MAX_TOKENS, 16);
    answer->at = (uint32_t)request->n_written;
    answer->due = burble_now();
    if (!is_own_text(answer, request)) {
        free(answer);
        error->code = BURBLE_EINVAL;
        snprintf(error->message, sizeof error->message,
                 "expected the text of the seed to go on with");
        return BURBLE_EINVAL;
    }
    burble_stream_hand_over(stream);
    answer->stream = burble_stream_ref(stream);
    pthread_mutex_lock(&engine.lock);
    answer->next = engine.arrived;
    engine.arrived = answer;
    pthread_cond_signal(&engine.work);
    pthread_mutex_unlock(&engine.lock);
    return BURBLE_OK;
}

/* ---- the program -------------------------------------------------------------------------------------- */

static void write_log(const char *line, void *arg)
{
    fprintf(stderr, "%s: %s\n", (const char *)arg, line);
}

struct settings {
    burble_relay_options relay;
    uint64_t grace;
    uint32_t slots;
    bool digest;
};

static bool set(struct settings *settings, const char *name, const char *value)
{
    const uint64_t number = strtoull(value, NULL, 10);
    burble_relay_options *const relay = &settings->relay;
    const struct {
        const char *name;
        uint64_t *at;
    } times[] = {{"lease", &relay->lease}, {"stall", &relay->stall},   {"away", &relay->away},
                 {"ttl", &relay->ttl},     {"linger", &relay->linger}, {"grace", &settings->grace}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (strcmp(name, times[i].name) == 0) {
            *times[i].at = number * MS;
            return true;
        }
    if (strcmp(name, "redis") == 0)
        relay->url = value;
    else if (strcmp(name, "prefix") == 0)
        relay->prefix = value;
    else if (strcmp(name, "name") == 0)
        relay->name = value;
    else if (strcmp(name, "slots") == 0)
        settings->slots = (uint32_t)number;
    else if (strcmp(name, "rate") == 0)
        engine.step = number == 0 ? 0 : 1000 * MS / number;
    else if (strcmp(name, "others") == 0)
        engine.others = number == 0 ? 0 : mix((uint64_t)getpid());
    else if (strcmp(name, "digest") == 0)
        settings->digest = number != 0;
    else if (strcmp(name, "stall-at") == 0)
        engine.stall_at = (uint32_t)number;
    else
        return false;
    return true;
}

static int fail(int result, const burble_error *error)
{
    fprintf(stderr, "fake_engine: %s\n",
            error->message[0] != '\0' ? error->message : burble_result_text(result));
    return 1;
}

static int work(const struct settings *settings, const sigset_t *ends)
{
    static const burble_error none;
    const burble_serve_model model = {
        .name = "fake",
        .parameters =
            BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS) | BURBLE_SERVE_BIT(BURBLE_SERVE_SEED),
        .context = 1 << 20,
        .chat = true,
        .submit = submit,
        .digest = settings->digest ? "fake" : NULL,
    };
    burble_error error = none;
    burble_relay *relay = NULL;
    burble_relay_stats stats;
    int result = burble_relay_create(&settings->relay, &relay, &error);
    if (result == BURBLE_OK)
        result = burble_relay_add_model(relay, &model, settings->slots, &error);
    if (result == BURBLE_OK)
        result = burble_relay_start(relay, &error);
    if (result == BURBLE_OK) {
        int signal;
        puts("ready");
        fflush(stdout);
        sigwait(ends, &signal);
        burble_relay_drain(relay, settings->grace);
        result = burble_relay_wait(relay, burble_now() + settings->grace + 10000 * MS);
        burble_relay_stats_now(relay, &stats);
        printf("{\"sent\": %" PRIu64 ", \"resumed\": %" PRIu64 ", \"rejoined\": %" PRIu64
               ", \"fenced\": %" PRIu64 ", \"reaped\": %" PRIu64 ", \"computing\": %" PRIu64 "}\n",
               stats.frames_sent, stats.resumed, stats.rejoined, stats.fenced, stats.reaped,
               stats.computing);
    }
    burble_relay_destroy(&relay);
    return result == BURBLE_OK ? 0 : fail(result, &error);
}

int main(int argc, char **argv)
{
    static char name[32];
    struct settings settings = {.grace = 30000 * MS, .slots = 64, .digest = true};
    sigset_t ends;
    pthread_t thread;
    pthread_condattr_t attributes;
    burble_relay_options_init(&settings.relay);
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || strncmp(argv[i], "--", 2) != 0
            || !set(&settings, argv[i] + 2, argv[i + 1])) {
            fprintf(stderr, "fake_engine: unknown option %s, or no value\n", argv[i]);
            return 2;
        }
    snprintf(name, sizeof name, "worker %ld", (long)getpid());
    settings.relay.log = write_log;
    settings.relay.log_arg = name;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* in all threads: sigwait takes it */
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&engine.work, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&thread, NULL, run, NULL) != 0)
        return 1;
    const int result = work(&settings, &ends);
    pthread_mutex_lock(&engine.lock);
    engine.closing = true;
    pthread_cond_signal(&engine.work);
    pthread_mutex_unlock(&engine.lock);
    pthread_join(thread, NULL);
    return result;
}
