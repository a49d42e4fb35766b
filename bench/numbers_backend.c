/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* pthread_setname_np */
#include "numbers_backend.h"

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "serve_pace.h"

enum { ANSWERS = 1 << 16, FRAME = 128 };

struct answer {
    burble_stream *stream;
    uint64_t n, most; /* pieces: so far, and in all (0: no end) */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct answer answers[ANSWERS]; /* under the lock: n_answers of them */
static unsigned n_answers;
static double rate;
static bool stamped;

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    (void)arg, (void)error;
    int result = BURBLE_EFULL;
    pthread_mutex_lock(&lock);
    if (n_answers < ANSWERS) {
        const double most = burble_serve_number(request, BURBLE_SERVE_MAX_TOKENS, 0);
        answers[n_answers++] =
            (struct answer){.stream = burble_stream_ref(stream), .most = (uint64_t)most};
        burble_stream_hand_over(stream);
        result = BURBLE_OK;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static void append(burble_stream *stream, const burble_frame *frame)
{
    char bytes[FRAME];
    const size_t len = burble_frame_write(frame, bytes, sizeof bytes);
    burble_stream_append(stream, bytes, len, frame->kind == BURBLE_FRAME_TEXT);
}

static void finish(const struct answer *answer)
{
    burble_frame frame = {
        .kind = BURBLE_FRAME_FINISH,
        .u.text = {
            .text = {"", 0}, .ids = {"", 0}, .reason = BURBLE_FRAME_LENGTH, .logprobs = {"", 0}}};
    append(answer->stream, &frame);
    frame = (burble_frame){.kind = BURBLE_FRAME_USAGE,
                           .u.usage = {.prompt = 1, .completion = answer->n}};
    append(answer->stream, &frame);
    burble_stream_end(answer->stream, BURBLE_REASON_LENGTH);
}

/* Writes the time; returns its length. */
static size_t stamp(char *piece)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t rest = (uint64_t)now.tv_sec % 10 * 1000000 + (uint64_t)now.tv_nsec / 1000;
    piece[0] = ' ';
    piece[1] = '@';
    for (size_t i = 8; i > 1; i--, rest /= 10)
        piece[i] = (char)('0' + rest % 10);
    return 9;
}

/* Appends the next piece. Returns whether another one follows. */
static bool go_on(struct answer *answer)
{
    char text[PIECE], ids[8], bytes[FRAME];
    const int32_t id = (int32_t)(answer->n % 2048);
    const burble_frame frame = {
        .kind = BURBLE_FRAME_TEXT,
        .u.text.text = {text, stamped ? stamp(text) : pace_piece(answer->n, text)},
        .u.text.ids = {ids, burble_frame_write_ids(&id, 1, ids, sizeof ids)},
        .u.text.n_ids = 1,
        .u.text.logprobs = {"", 0},
    };
    const size_t len = burble_frame_write(&frame, bytes, sizeof bytes);
    if (burble_stream_append(answer->stream, bytes, len, 1) != BURBLE_OK)
        return false;
    if (++answer->n != answer->most)
        return true;
    finish(answer);
    return false;
}

static void *produce(void *arg)
{
    struct pace pace;
    (void)arg;
    pthread_setname_np(pthread_self(), "producer");
    for (pace_begin(&pace, rate);;) {
        pace_wait(&pace);
        pthread_mutex_lock(&lock);
        for (unsigned i = pace_first(&pace); i < n_answers; i += pace.period) {
            if (go_on(&answers[i]))
                continue;
            burble_stream_unref(&answers[i].stream);
            answers[i] = answers[--n_answers];
        }
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

burble_serve_model numbers_model(void)
{
    return (burble_serve_model){
        .name = "numbers",
        .parameters = BURBLE_SERVE_ANY | BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS)
                      | BURBLE_SERVE_BIT(BURBLE_SERVE_TEMPERATURE)
                      | BURBLE_SERVE_BIT(BURBLE_SERVE_IGNORE_EOS),
        .chat = true,
        .submit = submit,
    };
}

bool numbers_start(double pieces, bool stamps)
{
    pthread_t thread;
    rate = pieces;
    stamped = stamps;
    return pthread_create(&thread, NULL, produce, NULL) == 0;
}
