/* SPDX-License-Identifier: MIT
 *
 * What a stream takes: an idle one little, one whose readers are limited no more than their limits
 * say, however far they stall; and what happens where memory is short.
 */
#include "counting_alloc.h"
#include "stream_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <burble/stream.h>

#include "stream/reader.h"
#include "stream/stream.h"

/* ---- an allocator that counts ---------------------------------------------------------------- */

static atomic_size_t live;            /* bytes asked for and not yet freed */
static size_t allocations = SIZE_MAX; /* still to succeed */

/* Each allocation has its size before it. */
union prefix {
    size_t size;
    max_align_t aligned;
};

void *burble__malloc(size_t size)
{
    if (allocations == 0)
        return NULL;
    allocations--;
    union prefix *prefix = malloc(sizeof *prefix + size);
    assert_non_null(prefix);
    prefix->size = size;
    atomic_fetch_add(&live, size);
    return prefix + 1;
}

void *burble__calloc(size_t n, size_t size)
{
    void *p = burble__malloc(n * size);
    return p == NULL ? NULL : memset(p, 0, n * size);
}

void burble__free(void *p)
{
    if (p == NULL)
        return;
    union prefix *prefix = (union prefix *)p - 1;
    atomic_fetch_sub(&live, prefix->size);
    free(prefix);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void memory_of_idle_stream_and_reader_is_below_a_kibibyte(void **state)
{
    (void)state;
    burble_stream *stream;
    burble_reader *reader;
    const size_t before = live;
    assert_result(burble_stream_create(NULL, &stream), BURBLE_OK);
    assert_result(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
    const size_t idle = live - before;
    assert_result(burble_reader_limit(reader, 1, BURBLE_LAG_BLOCK), BURBLE_OK);
    const size_t limited = live - before;
    assert_result(burble_reader_limit(reader, 0, BURBLE_LAG_BLOCK), BURBLE_OK);
    printf("bytes: stream %zu, reader %zu, idle %zu, limited %zu, lifted %zu\n",
           sizeof(burble_stream), sizeof(burble_reader), idle, limited, live - before);
    assert_true(limited < 1024);
    assert_true(live - before < limited);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    assert_int_equal(live, before);
}

enum { BOUND = 1 << 16, RECORDS = 300000, READ = 3000, BLOCK = 4096 };

struct stall {
    burble_stream *stream;
    burble_reader *reader; /* reads a little before it stalls */
    size_t most;           /* bytes live at once */
    bool right;
};

static void *write_beside_stalled_readers(void *arg)
{
    struct stall *stall = arg;
    burble_record record;
    stall->right = true;
    for (int i = 0; i < RECORDS; i++) {
        stall->right &= burble_stream_append(stall->stream, "12345678", 8, 1) == BURBLE_OK;
        if (i < READ)
            stall->right &= burble_reader_next(stall->reader, &record) == BURBLE_OK;
        if (live > stall->most)
            stall->most = live;
    }
    return NULL;
}

/* Stalled for ever, one before its first record and one after; both are dropped. */
static void memory_with_stalled_droppable_readers_is_bounded(void **state)
{
    (void)state;
    struct stall stall = {0};
    burble_reader *readers[2];
    burble_record record;
    pthread_t writer; /* a separate thread, whose own list of streams goes with it */
    const size_t before = live;
    assert_result(burble_stream_create(NULL, &stall.stream), BURBLE_OK);
    for (int i = 0; i < 2; i++) {
        assert_result(burble_reader_create(stall.stream, 0, &readers[i], NULL), BURBLE_OK);
        assert_result(burble_reader_limit(readers[i], BOUND, BURBLE_LAG_DROP), BURBLE_OK);
    }
    stall.reader = readers[1];
    assert_int_equal(pthread_create(&writer, NULL, write_beside_stalled_readers, &stall), 0);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_true(stall.right);
    /* A record of 8 bytes takes 12; blocks have some of their own. */
    const size_t most = stall.most - before;
    printf("bytes at most %zu, at the end %zu\n", most, live - before);
    assert_true(most > BOUND);
    assert_true(most < BOUND + BOUND / 2 + BOUND / 16 + 4 * BLOCK);
    assert_true(live - before < 1024 + 3 * BLOCK); /* a pinned block for each, and the last one */
    for (int i = 0; i < 2; i++) {
        assert_result(burble_reader_next(readers[i], &record), BURBLE_ELAGGED);
        assert_int_equal(burble_reader_position(readers[i]), i == 0 ? 0 : READ);
    }
    assert_true(live - before < 1024 + BLOCK);
    for (int i = 0; i < 2; i++)
        burble_reader_destroy(&readers[i]);
    burble_stream_unref(&stall.stream);
    assert_int_equal(live, before);
}

static void limit_without_memory_is_unchanged(void **state)
{
    (void)state;
    for (size_t n = 0;; n++) {
        burble_stream *stream;
        burble_reader *reader;
        assert_result(burble_stream_create(NULL, &stream), BURBLE_OK);
        assert_result(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
        put(stream, "12345678");
        allocations = n;
        const int rc = burble_reader_limit(reader, 8, BURBLE_LAG_BLOCK);
        allocations = SIZE_MAX;
        const int full = burble_stream_append_until(stream, "x", 1, 1, BURBLE_NO_WAIT);
        assert_result(full, rc == BURBLE_OK ? BURBLE_EFULL : BURBLE_OK);
        assert_result(burble_reader_limit(reader, 64, BURBLE_LAG_BLOCK), BURBLE_OK);
        put(stream, "12345678");
        burble_reader_destroy(&reader);
        burble_stream_unref(&stream);
        if (rc == BURBLE_OK) {
            assert_int_equal(n, 2);
            break;
        }
        assert_result(rc, BURBLE_ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_idle_stream_and_reader_is_below_a_kibibyte),
        cmocka_unit_test(memory_with_stalled_droppable_readers_is_bounded),
        cmocka_unit_test(limit_without_memory_is_unchanged),
    };
    return cmocka_run_group_tests_name("stream_memory", tests, NULL, NULL);
}
