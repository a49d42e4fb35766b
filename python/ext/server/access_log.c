/* SPDX-License-Identifier: MIT */
#include "server/access_log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"

/* What stands between two fields, and is in none. */
#define BETWEEN "\x1f"

struct access_log {
    burble_stream *stream;
    pthread_mutex_t lock; /* several loops, one writer */
};

struct access_log *access_log_create(burble_stream *stream)
{
    struct access_log *log = burble__calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->stream = burble_stream_ref(stream);
    pthread_mutex_init(&log->lock, NULL);
    return log;
}

/* Copies a field, as far as there is room. It may be anything, such as a path, and is ASCII here. */
static void copy_field(const char *field, char *out, size_t room)
{
    size_t n = 0;
    for (; field[n] != '\0' && n + 1 < room; n++)
        out[n] = (char)(field[n] < ' ' || field[n] > '~' ? '?' : field[n]);
    out[n] = '\0';
}

void access_log_write(const burble_serve_log *line, void *access_log)
{
    struct access_log *log = access_log;
    char text[4096], path[1001], model[261];
    copy_field(line->path, path, sizeof path);
    copy_field(line->model, model, sizeof model);
    const int len = snprintf(
        text, sizeof text,
        "%.200s" BETWEEN "%.100s" BETWEEN "%.20s" BETWEEN "%s" BETWEEN "%s" BETWEEN "%.100s" BETWEEN
        "%" PRIu32 BETWEEN "%.50s" BETWEEN "%" PRIu64 BETWEEN "%" PRIu64 BETWEEN "%" PRIu64 BETWEEN
        "%" PRIu64 BETWEEN "%" PRIu64 BETWEEN "%" PRIu64 BETWEEN "%" PRIu64 BETWEEN "%" PRIu64,
        line->request_id, line->client, line->method, path, model, line->id, line->status,
        line->result, line->prompt_tokens, line->reused_tokens, line->tokens, line->queue_ns,
        line->prompt_ns, line->answer_ns, line->total_ns, line->sent);
    if (len <= 0)
        return;
    const size_t n = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    pthread_mutex_lock(&log->lock);
    burble_stream_append_until(log->stream, text, n, 0, BURBLE_NO_WAIT);
    pthread_mutex_unlock(&log->lock);
}

void access_log_destroy(struct access_log **handle)
{
    struct access_log *log = *handle;
    *handle = NULL;
    if (log == NULL)
        return;
    burble_stream_end(log->stream, BURBLE_REASON_NONE);
    burble_stream_unref(&log->stream);
    pthread_mutex_destroy(&log->lock);
    burble__free(log);
}
