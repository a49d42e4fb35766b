/* SPDX-License-Identifier: MIT
 *
 * Streams, their readers and hubs, and generators on a pool.
 */
#define _POSIX_C_SOURCE 200809L

#include "torture.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

static uint64_t after_seconds(uint64_t n)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec + n) * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The record number `i`: from one letter to more than a block. */
enum { RECORDS = 40, LONGEST = 6000 };

static size_t length_of(uint64_t i)
{
    return i % 13 == 12 ? LONGEST : 1 + i % 7 * 40;
}

static char letters[26 + LONGEST];

__attribute__((constructor)) static void fill_letters(void)
{
    for (size_t i = 0; i < sizeof letters; i++)
        letters[i] = (char)('a' + i % 26);
}

static const char *text_of(uint64_t i)
{
    return letters + i % 26;
}

static void check_record(const burble_record *record, uint64_t seq)
{
    CHECK(record->seq == seq);
    CHECK(record->len == length_of(seq));
    CHECK(record->tokens == (uint32_t)seq);
    CHECK(memcmp(record->text, text_of(seq), record->len) == 0);
}

static void release(const burble_record *record, void *arg)
{
    unsigned *released = arg;
    check_record(record, record->seq);
    released[record->seq]++;
}

/* Each record that was appended has been released once, no other at all. */
static void check_released(const unsigned *released, uint64_t written)
{
    for (uint64_t i = 0; i < RECORDS; i++)
        CHECK(released[i] == (i < written));
}

static int append(burble_stream *stream, uint64_t i)
{
    return burble_stream_append(stream, text_of(i), length_of(i), (uint32_t)i);
}

/* Reads from `seq` to the last of `written`. */
static void read_up_to(burble_reader *reader, uint64_t seq, uint64_t written)
{
    burble_record record;
    for (; seq < written; seq++) {
        CHECK(burble_reader_next(reader, &record) == BURBLE_OK);
        check_record(&record, seq);
    }
}

/* ---- one stream, its readers, its end -------------------------------------------------------- */

void torture_stream(void)
{
    unsigned released[RECORDS] = {0};
    burble_stream *stream = NULL;
    burble_reader *first = NULL, *late = NULL, *tail = NULL;
    burble_stream_options options;
    burble_record record;
    burble_status status;
    uint64_t written = 0;

    burble_stream_options_init(&options);
    options.keep = BURBLE_KEEP_ALL;
    options.release = release;
    options.release_arg = released;
    torture_begin();
    TRY(burble_stream_create(&options, &stream));
    TRY(burble_reader_create(stream, 0, &first, NULL));
    for (; written < RECORDS; written++) {
        TRY(append(stream, written));
        /* What has failed has left no trace. */
        CHECK(burble_stream_position(stream) == written + 1);
    }
    TRY(burble_reader_create(stream, RECORDS / 2, &late, NULL));
    TRY(burble_reader_create(stream, BURBLE_FROM_TAIL, &tail, NULL));
out:
    if (stream != NULL) {
        burble_stream_status(stream, &status);
        CHECK(status.state == BURBLE_OPEN);
        CHECK(burble_stream_position(stream) == written);
        CHECK(burble_stream_fail(stream, -100, "the words") == BURBLE_OK);
        burble_stream_status(stream, &status);
        CHECK(status.state == BURBLE_FAILED && status.code == -100);
        /* Without memory a failure has no words. */
        CHECK(strcmp(status.message, "the words") == 0
              || (status.message[0] == '\0' && torture_failed() > 0));
    }
    if (first != NULL) {
        read_up_to(first, 0, written);
        CHECK(burble_reader_next(first, &record) == -100);
    }
    if (late != NULL) {
        read_up_to(late, RECORDS / 2, written);
        CHECK(burble_reader_next(late, &record) == -100);
    }
    if (tail != NULL)
        CHECK(burble_reader_next(tail, &record) == -100);
    burble_reader_destroy(&first);
    burble_reader_destroy(&late);
    burble_reader_destroy(&tail);
    burble_stream_unref(&stream);
    torture_end();
    check_released(released, written);
}

/* A queue whose reader keeps up: blocks go as they are read. */
void torture_retention(void)
{
    unsigned released[RECORDS] = {0};
    burble_stream *stream = NULL;
    burble_reader *reader = NULL, *gone = NULL;
    burble_stream_options options;
    uint64_t written = 0, oldest = 0;

    burble_stream_options_init(&options);
    options.keep = 100;
    options.cancel_when_unread = true;
    options.release = release;
    options.release_arg = released;
    torture_begin();
    TRY(burble_stream_create(&options, &stream));
    TRY(burble_reader_create(stream, 0, &reader, NULL));
    for (; written < RECORDS; written++) {
        TRY(append(stream, written));
        read_up_to(reader, written, written + 1);
    }
    int rc = burble_reader_create(stream, 0, &gone, &oldest);
    if (rc == BURBLE_ENOMEM)
        rc = burble_reader_create(stream, 0, &gone, &oldest);
    CHECK(gone == NULL);
    CHECK(rc == BURBLE_EGONE || (rc == BURBLE_ENOMEM && torture_for_good()));
    CHECK(rc == BURBLE_ENOMEM || oldest == burble_stream_oldest(stream));
out:
    burble_reader_destroy(&reader);
    if (written > 0)
        CHECK(append(stream, written) == BURBLE_ECANCELED);
    burble_stream_unref(&stream);
    torture_end();
    check_released(released, written);
}

/* ---- limits ---------------------------------------------------------------------------------- */

void torture_limits(void)
{
    unsigned released[RECORDS] = {0};
    burble_stream *stream = NULL;
    burble_reader *blocking = NULL, *dropped = NULL;
    burble_stream_options options;
    burble_record record;
    uint64_t written = 0;

    burble_stream_options_init(&options);
    options.lag_unit = BURBLE_LAG_TOKENS;
    options.release = release;
    options.release_arg = released;
    torture_begin();
    TRY(burble_stream_create(&options, &stream));
    TRY(burble_reader_create(stream, 0, &blocking, NULL));
    TRY(burble_reader_create(stream, 0, &dropped, NULL));
    TRY(append(stream, 0));
    TRY(append(stream, 1));
    TRY(burble_reader_limit(dropped, 2, BURBLE_LAG_DROP));
    TRY(burble_reader_limit(blocking, 3, BURBLE_LAG_BLOCK));
    TRY(burble_reader_limit(blocking, 4, BURBLE_LAG_BLOCK)); /* needs nothing */
    TRY(append(stream, 2));                                  /* the other is dropped */
    CHECK(burble_reader_next(dropped, &record) == BURBLE_ELAGGED);
    CHECK(burble_stream_append_until(stream, text_of(3), length_of(3), 3, BURBLE_NO_WAIT)
          == BURBLE_EFULL);
    CHECK(burble_stream_append_until(stream, text_of(3), length_of(3), 3, 2) == BURBLE_ETIMEDOUT);
    CHECK(burble_stream_wait_for_room(stream, 3, BURBLE_NO_WAIT) == BURBLE_EFULL);
    read_up_to(blocking, 0, 3);
    TRY(append(stream, 3));
    TRY(burble_reader_limit(blocking, 0, BURBLE_LAG_BLOCK));
    TRY(append(stream, 4));
    TRY(append(stream, 5));
    CHECK(burble_stream_position(stream) == 6);
out:
    if (stream != NULL) {
        written = burble_stream_position(stream);
        CHECK(burble_stream_end(stream, BURBLE_REASON_STOP) == BURBLE_OK);
    }
    burble_reader_destroy(&dropped);
    if (blocking != NULL) {
        read_up_to(blocking, burble_reader_position(blocking), written);
        CHECK(burble_reader_next(blocking, &record) == BURBLE_END);
    }
    burble_reader_destroy(&blocking);
    burble_stream_unref(&stream);
    torture_end();
    check_released(released, written);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Appends all, or fails the stream. */
static void *write_all(void *arg)
{
    burble_stream *stream = arg;
    for (uint64_t i = 0; i < RECORDS; i++)
        TRY(append(stream, i));
    CHECK(burble_stream_end(stream, BURBLE_REASON_STOP) == BURBLE_OK);
    return NULL;
out:
    CHECK(burble_stream_fail(stream, BURBLE_ENOMEM, "no memory") == BURBLE_OK);
    return NULL;
}

/* A reader at a limit, which blocks, and its writer, which waits for it. */
void torture_blocking(void)
{
    unsigned released[RECORDS] = {0};
    burble_stream *stream = NULL;
    burble_reader *reader = NULL;
    burble_stream_options options;
    burble_record record;
    pthread_t writer;
    bool has_writer = false;
    int rc = BURBLE_AGAIN;
    uint64_t seq = 0;

    burble_stream_options_init(&options);
    options.release = release;
    options.release_arg = released;
    torture_begin();
    TRY(burble_stream_create(&options, &stream));
    TRY(burble_reader_create(stream, 0, &reader, NULL));
    TRY(burble_reader_limit(reader, 500, BURBLE_LAG_BLOCK));
    rc = burble_reader_wait(reader, 2);
    if (rc == BURBLE_ENOMEM && !torture_for_good())
        rc = burble_reader_wait(reader, 2);
    CHECK(rc == BURBLE_ETIMEDOUT || (rc == BURBLE_ENOMEM && torture_failed() > 0));
    has_writer = fail_thread_create(&writer, write_all, stream) == 0;
    CHECK(has_writer);
    while ((rc = burble_reader_next(reader, &record)) >= 0 && rc != BURBLE_END)
        if (rc == BURBLE_OK)
            check_record(&record, seq++);
        else
            TRY(burble_reader_wait(reader, after_seconds(20)));
    CHECK(rc == BURBLE_END ? seq == RECORDS : rc == BURBLE_ENOMEM && torture_for_good());
out:
    burble_reader_destroy(&reader); /* no thread waits for it any more */
    if (has_writer)
        fail_thread_join(writer);
    seq = stream == NULL ? 0 : burble_stream_position(stream);
    burble_stream_unref(&stream);
    torture_end();
    check_released(released, seq);
}

/* ---- hubs ------------------------------------------------------------------------------------ */

struct parked {
    burble_reader *reader;
    uint64_t seq;
    bool over;
};

static void on_ready(burble_reader *reader, void *arg)
{
    struct parked *parked = arg;
    burble_record record;
    int rc;
    while ((rc = burble_reader_next_or_park(reader, &record)) == BURBLE_OK)
        check_record(&record, parked->seq++);
    parked->over = rc != BURBLE_AGAIN;
}

static bool readable(const burble_hub *hub)
{
    struct pollfd fd = {.fd = burble_hub_fd(hub), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* What a loop does that was woken: a signal may have got lost, but what it was for never is. */
static void dispatch(burble_hub *hub)
{
    CHECK(readable(hub) || torture_failed() > 0);
    burble_hub_dispatch(hub, 0);
}

static void run_hub(burble_wake wake)
{
    burble_hub_options options = {.wake = wake};
    burble_hub *hub = NULL, *other = NULL;
    burble_stream *stream = NULL;
    struct parked parked[2] = {{NULL, 0, false}, {NULL, 0, false}};
    uint64_t written = 0;

    torture_begin();
    TRY(burble_hub_create(&options, &hub));
    TRY(burble_hub_create(&options, &other));
    TRY(burble_stream_create(NULL, &stream));
    for (int i = 0; i < 2; i++) {
        TRY(burble_reader_create(stream, 0, &parked[i].reader, NULL));
        TRY(burble_reader_attach(parked[i].reader, hub, on_ready, &parked[i]));
        CHECK(burble_reader_park(parked[i].reader) == BURBLE_AGAIN);
    }
    for (; written < RECORDS; written++) {
        TRY(append(stream, written));
        dispatch(hub);
        CHECK(parked[0].seq == written + 1);
        CHECK(parked[1].seq == written + 1);
    }
    /* One moves to another loop; the first is held meanwhile. */
    burble_hub_hold(hub);
    TRY(burble_reader_attach(parked[1].reader, other, on_ready, &parked[1]));
    CHECK(burble_reader_park(parked[1].reader) == BURBLE_AGAIN);
    CHECK(burble_stream_end(stream, BURBLE_REASON_STOP) == BURBLE_OK);
    burble_hub_release(hub);
    dispatch(hub);
    dispatch(other);
    CHECK(parked[0].over && parked[1].over);
    burble_hub_destroy(&other);
    CHECK(burble_reader_park(parked[1].reader) == BURBLE_EDETACHED);
out:
    if (stream != NULL)
        burble_stream_cancel(stream);
    if (hub != NULL)
        burble_hub_dispatch(hub, 0);
    burble_hub_destroy(&other);
    for (int i = 0; i < 2; i++) {
        CHECK(parked[i].seq == written || parked[i].reader == NULL || written < RECORDS);
        burble_reader_destroy(&parked[i].reader);
    }
    burble_hub_destroy(&hub);
    burble_stream_unref(&stream);
    torture_end();
}

void torture_hub_eventfd(void)
{
    run_hub(BURBLE_WAKE_EVENTFD);
}

void torture_hub_pipe(void)
{
    run_hub(BURBLE_WAKE_PIPE);
}

/* ---- the first objects of a process ----------------------------------------------------------- */

void torture_first_objects(void)
{
    burble_stream *stream = NULL;
    burble_hub *hub = NULL;
    burble_pool *pool = NULL;
    torture_begin();
    TRY(burble_stream_create(NULL, &stream));
    TRY(burble_hub_create(NULL, &hub));
    TRY(burble_pool_create(NULL, &pool));
out:
    burble_pool_destroy(&pool);
    burble_hub_destroy(&hub);
    burble_stream_unref(&stream);
    torture_end();
}

/* ---- a producer that exits ------------------------------------------------------------------- */

enum { PRODUCED = 20 }; /* more than a thread's list has before it is tidied */

static void *write_and_exit(void *arg)
{
    burble_stream **streams = arg;
    for (int i = 0; i < PRODUCED; i++) {
        TRY(append(streams[i], 0));
        if (i % 3 == 0)
            burble_stream_cancel(streams[i]);
    }
out:
    return NULL;
}

void torture_producer(void)
{
    burble_stream *streams[PRODUCED] = {NULL};
    burble_status status;
    pthread_t writer;
    for (int i = 0; i < PRODUCED; i++)
        CHECK(burble_stream_create(NULL, &streams[i]) == BURBLE_OK);
    torture_begin();
    CHECK(fail_thread_create(&writer, write_and_exit, streams) == 0);
    fail_thread_join(writer);
    torture_end();
    for (int i = 0; i < PRODUCED; i++) {
        burble_stream_status(streams[i], &status);
        if (burble_stream_position(streams[i]) == 0)
            CHECK(status.state == BURBLE_OPEN); /* no thread has written to it */
        else if (i % 3 == 0)
            CHECK(status.state == BURBLE_CANCELLED);
        else
            CHECK(status.state == BURBLE_FAILED && status.code == BURBLE_EDIED);
        burble_stream_unref(&streams[i]);
    }
}

/* ---- a pool ---------------------------------------------------------------------------------- */

enum { JOBS = 6 };

static _Atomic(int) generated, let_go;
static _Atomic(bool) closing;

/* As far as it gets: a pool that is destroyed cancels what still runs. */
static int generate(burble_stream *stream, void *arg)
{
    (void)arg;
    atomic_fetch_add(&generated, 1);
    for (uint64_t i = 0; i < RECORDS; i++) {
        const unsigned before = torture_before();
        int result = append(stream, i);
        if (result < 0 && result != BURBLE_ECANCELED) {
            torture_check_error(__FILE__, __LINE__, "append(stream, i)", result, before);
            if (torture_for_good())
                goto out;
            result = append(stream, i);
        }
        if (result < 0) {
            CHECK(result == BURBLE_ECANCELED && closing);
            return result;
        }
    }
    return BURBLE_OK;
out:
    return BURBLE_ENOMEM;
}

static void let_go_of(void *arg)
{
    (void)arg;
    atomic_fetch_add(&let_go, 1);
}

/* To the end, without waiting in the reader: that has a separate scenario. */
static void read_to_the_end(burble_stream *stream, burble_reader *reader)
{
    burble_status status;
    do
        burble_stream_status(stream, &status);
    while (status.state == BURBLE_OPEN);
    if (status.state == BURBLE_ENDED) {
        read_up_to(reader, 0, RECORDS);
    } else {
        CHECK(status.state == BURBLE_FAILED && status.code == BURBLE_ENOMEM);
        CHECK(torture_for_good());
        read_up_to(reader, 0, burble_stream_position(stream));
    }
}

void torture_pool(void)
{
    const burble_pool_options pool_options = {.workers = 2, .queue = 8};
    burble_pool_run_options options;
    burble_pool *pool = NULL;
    burble_stream *streams[JOBS] = {NULL};
    burble_reader *readers[JOBS] = {NULL};
    int accepted = 0;

    generated = let_go = 0;
    closing = false;
    burble_pool_run_options_init(&options);
    options.release = let_go_of;
    torture_begin();
    TRY(burble_pool_create(&pool_options, &pool));
    for (int i = 0; i < JOBS; i++) {
        TRY(burble_pool_run(pool, generate, NULL, &options, &streams[i]));
        accepted++;
        TRY(burble_reader_create(streams[i], 0, &readers[i], NULL));
    }
    for (int i = 0; i < JOBS; i++)
        read_to_the_end(streams[i], readers[i]);
out:
    closing = true;
    burble_pool_destroy(&pool);
    /* What was taken has been let go of, whether it ran or not; what was not taken never is. */
    CHECK(let_go == accepted);
    CHECK(generated <= accepted);
    for (int i = 0; i < JOBS; i++) {
        burble_status status = {.state = BURBLE_CANCELLED};
        if (streams[i] != NULL)
            burble_stream_status(streams[i], &status);
        CHECK(status.state != BURBLE_OPEN);
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    torture_end();
}
