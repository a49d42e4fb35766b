/* SPDX-License-Identifier: MIT
 *
 * Some streams that are written in threads, for a loop to read through a hub.
 */
#ifndef BURBLE_TESTS_WORDS_H
#define BURBLE_TESTS_WORDS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/burble.h>

#define WORDS_STREAMS 8
#define WORDS_EACH 200

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);               \
            exit(EXIT_FAILURE);                                                                    \
        }                                                                                          \
    } while (0)

struct words {
    burble_pool *pool;
    burble_hub *hub;
    int open;
    size_t bytes;
    void (*at_end)(void *arg); /* in the loop's thread, when all have ended */
    void *arg;
};

static int words_write(burble_stream *stream, void *arg)
{
    const struct timespec pause = {.tv_nsec = 50000};
    int rc = BURBLE_OK;
    (void)arg;
    for (int i = 0; i < WORDS_EACH && rc == BURBLE_OK; i++) {
        rc = burble_stream_append(stream, "word", 4, 1);
        nanosleep(&pause, NULL);
    }
    return rc;
}

static void words_ready(burble_reader *reader, void *arg)
{
    struct words *words = arg;
    burble_record record;
    int rc;
    while ((rc = burble_reader_next_or_park(reader, &record)) == BURBLE_OK)
        words->bytes += record.len;
    if (rc == BURBLE_AGAIN)
        return;
    CHECK(rc == BURBLE_END);
    burble_reader_destroy(&reader);
    if (--words->open == 0)
        words->at_end(words->arg);
}

/* Begins to write. The hub is the loop's already. */
static void words_begin(struct words *words)
{
    CHECK(burble_pool_create(NULL, &words->pool) == BURBLE_OK);
    words->open = WORDS_STREAMS;
    for (int i = 0; i < WORDS_STREAMS; i++) {
        burble_stream *stream;
        burble_reader *reader;
        CHECK(burble_pool_run(words->pool, words_write, NULL, NULL, &stream) == BURBLE_OK);
        CHECK(burble_reader_create(stream, 0, &reader, NULL) == BURBLE_OK);
        CHECK(burble_reader_attach(reader, words->hub, words_ready, words) == BURBLE_OK);
        burble_stream_unref(&stream);
        words_ready(reader, words);
    }
}

/* The loop has returned. */
static void words_finish(struct words *words)
{
    CHECK(words->open == 0);
    CHECK(words->bytes == (size_t)WORDS_STREAMS * WORDS_EACH * 4);
    CHECK(burble_hub_signals(words->hub) > 0);
    burble_hub_destroy(&words->hub);
    burble_pool_destroy(&words->pool);
}

#endif
