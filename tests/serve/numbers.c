/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "numbers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/clock.h>

#define SECOND 1000000000.0
#define AGAIN 1000000u /* ns: how soon an answer without room is tried again */
#define BIG 4000u

struct answer {
    struct answer *next;
    burble_stream *stream;   /* the answer; NULL: the server makes it of `sources` */
    burble_stream **sources; /* of a plain one: one for each choice */
    char *prompt;
    uint64_t number, due, step;
    uint32_t choices, choice; /* the one whose turn it is */
    uint32_t piece;           /* 0: the number; then the pieces */
    uint32_t pieces;
    uint64_t began, first;
};

struct numbers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    double rate;
    bool closing;
    bool let_go;            /* under the lock */
    bool goes_on;           /* `let_go`, as the thread has seen it last */
    struct answer *arrived; /* under the lock */
    struct numbers_counts counts;
};

struct model {
    struct numbers *numbers;
    bool plain;
};

/* ---- the thread ------------------------------------------------------------------------------------- */

static bool is_asked(const struct answer *answer, const char *what)
{
    return strncmp(answer->prompt, what, strlen(what)) == 0;
}

static size_t write_piece(const struct answer *answer, char *text, size_t room)
{
    if (answer->piece == 0)
        return (size_t)snprintf(text, room, "#%llu ", (unsigned long long)answer->number);
    const size_t len =
        (size_t)snprintf(text, room, "%s·%u é€😀 ", answer->prompt, (unsigned)answer->piece - 1);
    if (!is_asked(answer, "!big"))
        return len;
    memset(text + len, 'x', BIG - len);
    return BIG;
}

static int append(const struct answer *answer, const char *text, size_t len)
{
    static char bytes[70000];
    char ids[8];
    if (answer->sources != NULL)
        return burble_stream_append_until(answer->sources[answer->choice], text, len,
                                          answer->piece > 0, BURBLE_NO_WAIT);
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT, .choice = answer->choice};
    const int32_t id = (int32_t)answer->piece;
    frame.u.text.text = (burble_text){.bytes = text, .len = len};
    frame.u.text.n_ids = answer->piece > 0;
    frame.u.text.ids = (burble_text){
        .bytes = ids, .len = burble_frame_write_ids(&id, frame.u.text.n_ids, ids, sizeof ids)};
    frame.u.text.logprobs = (burble_text){.bytes = "", .len = 0};
    const size_t n = burble_frame_write(&frame, bytes, sizeof bytes);
    return burble_stream_append_until(answer->stream, bytes, n, frame.u.text.n_ids, BURBLE_NO_WAIT);
}

static int append_frame(burble_stream *stream, const burble_frame *frame)
{
    char bytes[128];
    const size_t n = burble_frame_write(frame, bytes, sizeof bytes);
    return burble_stream_append_until(stream, bytes, n, 0, BURBLE_NO_WAIT);
}

static int finish_choice(const struct answer *answer)
{
    const bool stop = is_asked(answer, "!stop");
    if (answer->sources != NULL)
        return burble_stream_end(answer->sources[answer->choice],
                                 stop ? BURBLE_REASON_STOP : BURBLE_REASON_LENGTH);
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH, .choice = answer->choice};
    frame.u.text.text = frame.u.text.ids = frame.u.text.logprobs =
        (burble_text){.bytes = "", .len = 0};
    frame.u.text.reason = stop ? BURBLE_FRAME_STOP : BURBLE_FRAME_LENGTH;
    return append_frame(answer->stream, &frame);
}

static int finish(const struct answer *answer)
{
    if (answer->sources != NULL)
        return BURBLE_ECLOSED; /* all have ended */
    burble_frame frame = {.kind = BURBLE_FRAME_USAGE};
    frame.u.usage.prompt = strlen(answer->prompt);
    frame.u.usage.completion = (uint64_t)answer->pieces * answer->choices;
    frame.u.usage.prompt_ns = answer->first - answer->began;
    frame.u.usage.answer_ns = burble_now() - answer->first;
    const int result = append_frame(answer->stream, &frame);
    if (result == BURBLE_OK)
        burble_stream_end(answer->stream, BURBLE_REASON_NONE);
    return result == BURBLE_OK ? BURBLE_ECLOSED : result;
}

static void fail(const struct answer *answer)
{
    burble_stream_fail(answer->sources != NULL ? answer->sources[0] : answer->stream, -1000,
                       "as the prompt asked");
}

/* One piece of one choice. BURBLE_OK: there is more; BURBLE_EFULL: no room; or it is over. */
static int step(const struct numbers *numbers, struct answer *answer)
{
    char text[65536];
    if (answer->choice == answer->choices)
        return finish(answer);
    burble_stream *stream =
        answer->sources != NULL ? answer->sources[answer->choice] : answer->stream;
    burble_status status;
    burble_stream_status(stream, &status);
    if (status.state != BURBLE_OPEN)
        return status.state == BURBLE_CANCELLED ? BURBLE_ECANCELED : BURBLE_ECLOSED;
    if (is_asked(answer, "!hang")
        || (is_asked(answer, "!hold") && answer->piece == 2 && !numbers->goes_on))
        return BURBLE_EFULL;
    if (is_asked(answer, "!fail") || (is_asked(answer, "!break") && answer->piece == 2)) {
        fail(answer);
        return BURBLE_ECLOSED;
    }
    if (answer->first == 0)
        answer->first = burble_now();
    const int result = answer->piece <= answer->pieces
                           ? append(answer, text, write_piece(answer, text, sizeof text))
                           : finish_choice(answer);
    if (result != BURBLE_OK)
        return result;
    if (++answer->piece > answer->pieces + 1) {
        answer->piece = 0;
        answer->choice++;
    }
    return BURBLE_OK;
}

static void free_answer(struct answer *answer)
{
    burble_stream_unref(&answer->stream);
    for (uint32_t i = 0; answer->sources != NULL && i < answer->choices; i++)
        burble_stream_unref(&answer->sources[i]);
    free(answer->sources);
    free(answer->prompt);
    free(answer);
}

/* Writes what is due of all answers; returns when the next one is. */
static uint64_t write_all(struct numbers *numbers, struct answer **running)
{
    uint64_t next = UINT64_MAX, ended = 0, cancelled = 0;
    const uint64_t now = burble_now();
    for (struct answer **at = running; *at != NULL;) {
        struct answer *answer = *at;
        int result = BURBLE_OK;
        if (answer->due <= now) {
            result = step(numbers, answer);
            answer->due = result == BURBLE_EFULL ? now + AGAIN : answer->due + answer->step;
        }
        if (result != BURBLE_OK && result != BURBLE_EFULL) {
            *at = answer->next;
            ended++;
            cancelled += result == BURBLE_ECANCELED;
            free_answer(answer);
            continue;
        }
        next = next < answer->due ? next : answer->due;
        at = &answer->next;
    }
    pthread_mutex_lock(&numbers->lock);
    numbers->counts.ended += ended;
    numbers->counts.cancelled += cancelled;
    numbers->counts.running -= ended;
    pthread_mutex_unlock(&numbers->lock);
    return next;
}

static void *run(void *arg)
{
    struct numbers *numbers = arg;
    struct answer *running = NULL;
    bool closing = false;
    uint64_t next = UINT64_MAX;
    while (!closing || running != NULL) {
        pthread_mutex_lock(&numbers->lock);
        while (numbers->arrived == NULL && !numbers->closing && next > burble_now()) {
            const struct timespec until = {.tv_sec = (time_t)(next / 1000000000),
                                           .tv_nsec = (long)(next % 1000000000)};
            if (next == UINT64_MAX)
                pthread_cond_wait(&numbers->work, &numbers->lock);
            else
                pthread_cond_timedwait(&numbers->work, &numbers->lock, &until);
        }
        while (numbers->arrived != NULL) {
            struct answer *answer = numbers->arrived;
            numbers->arrived = answer->next;
            answer->next = running;
            running = answer;
        }
        closing = numbers->closing;
        numbers->goes_on = numbers->let_go;
        pthread_mutex_unlock(&numbers->lock);
        next = write_all(numbers, &running);
        while (closing && running != NULL) {
            struct answer *answer = running;
            running = answer->next;
            fail(answer);
            free_answer(answer);
        }
    }
    return NULL;
}

/* ---- the backend ------------------------------------------------------------------------------------ */

static char *copy(burble_text text)
{
    char *bytes = malloc(text.len + 1);
    if (bytes == NULL)
        abort();
    memcpy(bytes, text.bytes, text.len);
    bytes[text.len] = '\0';
    return bytes;
}

static int refuse(const char *prompt, burble_error *error)
{
    static const struct {
        const char *prompt;
        int code;
    } refusals[] = {
        {"!refuse", BURBLE_EINVAL}, {"!full", BURBLE_EFULL}, {"!closed", BURBLE_ECLOSED}};
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (strcmp(prompt, refusals[i].prompt) == 0) {
            error->code = refusals[i].code;
            snprintf(error->message, sizeof error->message, "prompt: %s was asked for", prompt);
            return refusals[i].code;
        }
    return BURBLE_OK;
}

static void put_in(struct numbers *numbers, struct answer *answer)
{
    pthread_mutex_lock(&numbers->lock);
    answer->number = ++numbers->counts.submitted;
    numbers->counts.running++;
    answer->next = numbers->arrived;
    numbers->arrived = answer;
    pthread_cond_signal(&numbers->work);
    pthread_mutex_unlock(&numbers->lock);
}

static int read_plain(const burble_serve_request *request, struct answer *answer,
                      burble_stream *stream)
{
    burble_serve_source sources[BURBLE_FRAME_MAX_CHOICES] = {{.stream = NULL}};
    answer->sources = calloc(answer->choices, sizeof *answer->sources);
    for (uint32_t i = 0; i < answer->choices; i++) {
        if (burble_stream_create(NULL, &answer->sources[i]) != BURBLE_OK)
            abort();
        sources[i].stream = answer->sources[i];
    }
    sources[0].prompt_tokens = strlen(answer->prompt);
    return burble_server_read_text(request->server, stream, sources, answer->choices);
}

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    const struct model *model = arg;
    struct numbers *numbers = model->numbers;
    char *prompt = copy(request->route == BURBLE_SERVE_CHAT
                            ? request->messages[request->n_messages - 1].content
                            : request->prompt);
    const int refused = refuse(prompt, error);
    if (refused != BURBLE_OK || strlen(prompt) > 60000) {
        free(prompt);
        return refused != BURBLE_OK ? refused : BURBLE_EINVAL;
    }
    struct answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL)
        abort();
    answer->prompt = prompt;
    answer->choices = request->choices;
    answer->pieces = (uint32_t)burble_serve_number(request, BURBLE_SERVE_MAX_TOKENS, 16);
    answer->began = burble_now();
    answer->step = numbers->rate > 0 ? (uint64_t)(SECOND / numbers->rate) : 0;
    answer->due = answer->began + answer->step;
    if (model->plain) {
        const int result = read_plain(request, answer, stream);
        if (result != BURBLE_OK) {
            free_answer(answer);
            return result;
        }
    } else {
        burble_stream_hand_over(stream);
        answer->stream = burble_stream_ref(stream);
    }
    put_in(numbers, answer);
    return BURBLE_OK;
}

static void on_cancelled(void *arg, burble_stream *stream)
{
    const struct model *model = arg;
    (void)stream;
    pthread_mutex_lock(&model->numbers->lock);
    model->numbers->counts.called++;
    pthread_mutex_unlock(&model->numbers->lock);
}

/* A byte is a token. */
static int tokenize(void *arg, burble_text text, bool add_special, bool parse_special, int32_t *ids,
                    size_t capacity, size_t *n, burble_error *error)
{
    (void)arg;
    (void)parse_special;
    (void)error;
    *n = 0;
    if (add_special && capacity > 0)
        ids[(*n)++] = 256;
    for (size_t i = 0; i < text.len && *n < capacity; i++)
        ids[(*n)++] = (unsigned char)text.bytes[i];
    return BURBLE_OK;
}

static int piece(void *arg, int32_t id, char *text, size_t capacity, size_t *len)
{
    (void)arg;
    *len = id < 256;
    if (id < 0 || id > 256)
        return BURBLE_EINVAL;
    if (*len > 0 && capacity > 0)
        *text = (char)(unsigned char)id;
    return BURBLE_OK;
}

static void load(void *arg, burble_serve_load *out)
{
    const struct model *model = arg;
    const struct numbers_counts counts = numbers_counts(model->numbers);
    out->slots = 1 << 20;
    out->running = counts.running;
}

void numbers_model(struct numbers *numbers, const char *name, int plain, burble_serve_model *model)
{
    struct model *arg = malloc(sizeof *arg);
    if (arg == NULL)
        abort();
    *arg = (struct model){.numbers = numbers, .plain = plain != 0};
    *model = (burble_serve_model){
        .name = name,
        .parameters = BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS)
                      | BURBLE_SERVE_BIT(BURBLE_SERVE_CHOICES) | BURBLE_SERVE_BIT(BURBLE_SERVE_SEED)
                      | BURBLE_SERVE_BIT(BURBLE_SERVE_TEMPERATURE),
        .context = 1 << 20,
        .chat = true,
        .arg = arg,
        .submit = submit,
        .cancelled = on_cancelled,
        .tokenize = tokenize,
        .piece = piece,
        .load = load,
        .release = free,
    };
}

struct numbers_counts numbers_counts(struct numbers *numbers)
{
    pthread_mutex_lock(&numbers->lock);
    const struct numbers_counts counts = numbers->counts;
    pthread_mutex_unlock(&numbers->lock);
    return counts;
}

struct numbers *numbers_create(double rate)
{
    struct numbers *numbers = calloc(1, sizeof *numbers);
    pthread_condattr_t attributes;
    if (numbers == NULL)
        abort();
    numbers->rate = rate;
    pthread_mutex_init(&numbers->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&numbers->work, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&numbers->thread, NULL, run, numbers) != 0)
        abort();
    return numbers;
}

void numbers_let_go(struct numbers *numbers)
{
    pthread_mutex_lock(&numbers->lock);
    numbers->let_go = true;
    pthread_mutex_unlock(&numbers->lock);
}

void numbers_destroy(struct numbers *numbers)
{
    pthread_mutex_lock(&numbers->lock);
    numbers->closing = true;
    pthread_cond_signal(&numbers->work);
    pthread_mutex_unlock(&numbers->lock);
    pthread_join(numbers->thread, NULL);
    pthread_cond_destroy(&numbers->work);
    pthread_mutex_destroy(&numbers->lock);
    free(numbers);
}
