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
    uint64_t n, most;    /* pieces: so far, and in all (0: no end) */
    bool choice_is_over; /* its frame was written */
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

/* Without waiting, which would hold up the other answers. */
static int append(burble_stream *stream, const burble_frame *frame)
{
    char bytes[FRAME];
    const size_t len = burble_frame_write(frame, bytes, sizeof bytes);
    return burble_stream_append_until(stream, bytes, len, frame->kind == BURBLE_FRAME_TEXT,
                                      BURBLE_NO_WAIT);
}

/* BURBLE_OK, or as append(): then it is to be called again if there was no room. */
static int finish(struct answer *answer)
{
    const burble_frame end = {
        .kind = BURBLE_FRAME_FINISH,
        .u.text = {
            .text = {"", 0}, .ids = {"", 0}, .reason = BURBLE_FRAME_LENGTH, .logprobs = {"", 0}}};
    const burble_frame usage = {.kind = BURBLE_FRAME_USAGE,
                                .u.usage = {.prompt = 1, .completion = answer->n}};
    int result = answer->choice_is_over ? BURBLE_OK : append(answer->stream, &end);
    if (result != BURBLE_OK)
        return result;
    answer->choice_is_over = true;
    result = append(answer->stream, &usage);
    if (result == BURBLE_OK)
        burble_stream_end(answer->stream, BURBLE_REASON_LENGTH);
    return result;
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

static int append_piece(const struct answer *answer)
{
    char text[PIECE], ids[8];
    const int32_t id = (int32_t)(answer->n % 2048);
    const burble_frame frame = {
        .kind = BURBLE_FRAME_TEXT,
        .u.text.text = {text, stamped ? stamp(text) : pace_piece(answer->n, text)},
        .u.text.ids = {ids, burble_frame_write_ids(&id, 1, ids, sizeof ids)},
        .u.text.n_ids = 1,
        .u.text.logprobs = {"", 0},
    };
    return append(answer->stream, &frame);
}

/* Appends the next piece, if there is room for it, and the end behind the last one. Returns whether more follows. */
static bool go_on(struct answer *answer)
{
    const bool is_over = answer->most > 0 && answer->n == answer->most;
    const int result = is_over ? BURBLE_OK : append_piece(answer);
    if (result != BURBLE_OK)
        return result == BURBLE_EFULL;
    if (!is_over && ++answer->n != answer->most)
        return true;
    return finish(answer) == BURBLE_EFULL;
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
