/* SPDX-License-Identifier: MIT
 *
 * What a forked child may do with its parent's streams, readers, hubs and pools (base/fork.h), one thing at
 * a time. stress_fork.c forks while all of it is in use.
 */
#define _POSIX_C_SOURCE 200809L

#include "stream_support.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <burble/pool.h>
#include <burble/stream.h>

#include "forked.h"
#include "stream/reader.h"
#include "stream/stream.h"

/* The parent's objects, and a thread of the parent's that is not in the child. */
struct parent {
    burble_stream *stream;
    burble_reader *reader;
    burble_hub *hub;
    burble_pool *pool;
    pthread_t thread;
    unsigned called;
};

static struct parent setting(uint64_t keep)
{
    struct parent parent = {.called = 0};
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.keep = keep;
    assert_result(burble_stream_create(&options, &parent.stream), BURBLE_OK);
    assert_result(burble_reader_create(parent.stream, 0, &parent.reader, NULL), BURBLE_OK);
    assert_result(burble_hub_create(NULL, &parent.hub), BURBLE_OK);
    return parent;
}

static void clear(struct parent *parent)
{
    burble_reader_destroy(&parent->reader);
    burble_stream_unref(&parent->stream);
    burble_hub_destroy(&parent->hub);
    burble_pool_destroy(&parent->pool);
}

static void add(burble_stream *stream, const char *text)
{
    assert_result(burble_stream_append(stream, text, strlen(text), 1), BURBLE_OK);
}

static void count(burble_reader *reader, void *arg)
{
    struct parent *parent = arg;
    (void)reader;
    parent->called++;
}

static bool readable(const burble_hub *hub)
{
    struct pollfd fd = {.fd = burble_hub_fd(hub), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* Whether the reader hands out this text next. */
static bool reads(burble_reader *reader, const char *text)
{
    burble_record record;
    return burble_reader_next(reader, &record) == BURBLE_OK && record.len == strlen(text)
           && memcmp(record.text, text, record.len) == 0;
}

/* Whether it hands out nothing more than this end, also after waiting. */
static bool ends(burble_reader *reader, int end)
{
    burble_record record;
    return burble_reader_next(reader, &record) == end && burble_reader_wait(reader, 0) == BURBLE_OK
           && burble_reader_next(reader, &record) == end;
}

/* ---- a thread that is not in the child ------------------------------------------------------- */

static int gate[2]; /* a byte for each thread that may end */

static void *write_one(void *arg)
{
    struct parent *parent = arg;
    char byte;
    add(parent->stream, "one");
    assert_int_equal(write(gate[1], "w", 1), 1); /* written */
    while (read(gate[0], &byte, 1) == 1 && byte == 'w')
        assert_int_equal(write(gate[1], "w", 1), 1);
    burble_stream_end(parent->stream, BURBLE_REASON_STOP);
    return NULL;
}

/* Its stream has "one", of a thread that lives until leave(). */
static struct parent written_by_a_thread(uint64_t keep)
{
    struct parent parent = setting(keep);
    assert_int_equal(pipe(gate), 0);
    return parent;
}

static void start(struct parent *parent)
{
    assert_int_equal(pthread_create(&parent->thread, NULL, write_one, parent), 0);
    assert_result(burble_reader_wait(parent->reader, 0), BURBLE_OK);
}

static void leave(struct parent *parent)
{
    assert_int_equal(write(gate[1], "e", 1), 1);
    pthread_join(parent->thread, NULL);
    close(gate[0]);
    close(gate[1]);
}

static int read_of_a_dead_producer(void *arg)
{
    struct parent *parent = arg;
    burble_reader *another;
    burble_status status;
    burble_stream_status(parent->stream, &status);
    bool well = status.state == BURBLE_FAILED && status.code == BURBLE_EDIED
                && strstr(status.message, "forked") != NULL;
    well = well && reads(parent->reader, "one") && ends(parent->reader, BURBLE_EDIED);
    well = well && burble_reader_create(parent->stream, 0, &another, NULL) == BURBLE_OK
           && reads(another, "one") && ends(another, BURBLE_EDIED);
    well = well && burble_stream_append(parent->stream, "two", 3, 1) == BURBLE_ECLOSED
           && burble_stream_end(parent->stream, BURBLE_REASON_STOP) == BURBLE_ECLOSED
           && burble_stream_fail(parent->stream, BURBLE_EFAILED, NULL) == BURBLE_ECLOSED
           && !burble_stream_cancel(parent->stream) && burble_stream_position(parent->stream) == 1
           && burble_stream_oldest(parent->stream) == 0;
    burble_reader_destroy(&another);
    clear(parent);
    return well ? 0 : 1;
}

static void child_reads_stream_of_other_thread_then_its_death(void **state)
{
    (void)state;
    struct parent parent = written_by_a_thread(BURBLE_KEEP_ALL);
    start(&parent);
    assert_int_equal(in_child(read_of_a_dead_producer, &parent), 0);
    leave(&parent);
    assert_true(reads(parent.reader, "one"));
    assert_true(ends(parent.reader, BURBLE_END)); /* the parent has not noticed */
    clear(&parent);
}

static int read_in_a_grandchild(void *arg)
{
    return in_child(read_of_a_dead_producer, arg);
}

static void grandchild_has_dead_stream_of_other_thread(void **state)
{
    (void)state;
    struct parent parent = written_by_a_thread(BURBLE_KEEP_ALL);
    start(&parent);
    assert_int_equal(in_child(read_in_a_grandchild, &parent), 0);
    leave(&parent);
    clear(&parent);
}

/* As the parent's threads may have left it: every lock is taken, the writer is about to end the stream, and
 * waits, the list of limited readers is amid a change, and a waiter was taken off its stack to be fired. */
static int arrive_amid_everything(void *arg)
{
    struct parent *parent = arg;
    burble_stream *stream = parent->stream;
    burble_reader *reader = parent->reader;
    struct burble__lag *lag = burble__load_relaxed(&stream->lag);
    pthread_mutex_lock(&stream->head_lock);
    pthread_mutex_lock(&lag->lock);
    pthread_mutex_lock(&lag->room.lock);
    pthread_mutex_lock(&reader->limit->place);
    pthread_mutex_lock(&reader->waiter->to.parker->lock);
    burble__store_relaxed(&reader->waiter->state, BURBLE__FIRED);
    burble__store_relaxed(&stream->state, BURBLE__CLOSING);
    burble__store_relaxed(&stream->writer_waits, true);
    lag->first->prev = lag->first;
    lag->first->next = lag->first;
    return read_of_a_dead_producer(parent);
}

static void child_takes_no_lock_held_at_fork(void **state)
{
    (void)state;
    struct parent parent = written_by_a_thread(BURBLE_KEEP_ALL);
    /* So that it has a waiter, of a thread that blocks. */
    assert_result(burble_reader_wait(parent.reader, 1), BURBLE_ETIMEDOUT);
    assert_result(burble_reader_limit(parent.reader, 100, BURBLE_LAG_DROP), BURBLE_OK);
    start(&parent);
    assert_int_equal(in_child(arrive_amid_everything, &parent), 0);
    leave(&parent);
    clear(&parent);
}

static int arrive_amid_a_move(void *arg)
{
    struct parent *parent = arg;
    burble_reader *reader = parent->reader;
    struct burble__block *next = burble__load_relaxed(&reader->block->next);
    burble_record record;
    int rc;
    uint64_t seq = reader->seq;
    burble__block_ref(next);
    reader->block = next; /* and its offset is that of the block before */
    while ((rc = burble_reader_next(reader, &record)) == BURBLE_OK)
        if (record.seq != seq++ || record.len != 8 || memcmp(record.text, "12345678", 8) != 0)
            return 1;
    return rc == BURBLE_AGAIN && seq == 100 ? 0 : 2;
}

static void child_has_intact_reader_moved_at_fork(void **state)
{
    (void)state;
    burble_record record;
    struct parent parent = setting(0);
    for (int i = 0; i < 100; i++)
        add(parent.stream, "12345678");
    do /* to the end of its block */
        assert_result(burble_reader_next(parent.reader, &record), BURBLE_OK);
    while (parent.reader->offset < burble__load_relaxed(&parent.reader->block->committed));
    assert_int_equal(in_child(arrive_amid_a_move, &parent), 0);
    clear(&parent);
}

static int read_last_record(void *arg)
{
    struct parent *parent = arg;
    burble_record record;
    const bool well = reads(parent->reader, "12345678")
                      && burble_reader_next(parent->reader, &record) == BURBLE_AGAIN;
    clear(parent);
    return well ? 0 : 1;
}

/* It is renewed into the next block, which has fewer records than the one that it has read. */
static void child_has_reader_at_end_of_block(void **state)
{
    (void)state;
    burble_record record;
    struct parent parent = setting(0);
    const struct burble__block *first = parent.stream->tail;
    unsigned records = 0;
    for (; parent.stream->tail == first; records++)
        add(parent.stream, "12345678");
    assert_true(records > 2);
    for (unsigned i = 1; i < records; i++)
        assert_result(burble_reader_next(parent.reader, &record), BURBLE_OK);
    assert_int_equal(in_child(read_last_record, &parent), 0);
    clear(&parent);
}

/* ---- streams of the thread that forks -------------------------------------------------------- */

static int go_on_writing(void *arg)
{
    struct parent *parent = arg;
    burble_hub *hub;
    bool well = reads(parent->reader, "one");
    /* Beyond the limit of the parent's reader, which delays nothing here. */
    for (int i = 0; i < 100; i++)
        well = well && burble_stream_append(parent->stream, "two", 3, 1) == BURBLE_OK;
    for (int i = 0; i < 100; i++)
        well = well && reads(parent->reader, "two");
    well =
        well && burble_reader_limit(parent->reader, 3, BURBLE_LAG_BLOCK) == BURBLE_OK
        && burble_stream_append_until(parent->stream, "three", 5, 1, BURBLE_NO_WAIT) == BURBLE_OK
        && burble_stream_append_until(parent->stream, "four", 4, 1, BURBLE_NO_WAIT) == BURBLE_EFULL
        && reads(parent->reader, "three");
    well = well && burble_hub_create(NULL, &hub) == BURBLE_OK
           && burble_reader_attach(parent->reader, hub, count, parent) == BURBLE_OK
           && burble_reader_park(parent->reader) == BURBLE_AGAIN
           && burble_stream_end(parent->stream, BURBLE_REASON_STOP) == BURBLE_OK && readable(hub)
           && burble_hub_dispatch(hub, 0) == 1 && parent->called == 1;
    well = well && ends(parent->reader, BURBLE_END);
    burble_hub_destroy(&hub);
    clear(parent);
    return well ? 0 : 1;
}

static void child_and_parent_both_write_stream_of_forking_thread(void **state)
{
    (void)state;
    struct parent parent = setting(0);
    assert_result(burble_reader_limit(parent.reader, 3, BURBLE_LAG_BLOCK), BURBLE_OK);
    add(parent.stream, "one");
    assert_int_equal(in_child(go_on_writing, &parent), 0);
    assert_true(reads(parent.reader, "one"));
    add(parent.stream, "two");
    assert_result(burble_stream_end(parent.stream, BURBLE_REASON_STOP), BURBLE_OK);
    assert_true(reads(parent.reader, "two"));
    assert_true(ends(parent.reader, BURBLE_END));
    clear(&parent);
}

static int write_first(void *arg)
{
    struct parent *parent = arg;
    burble_record record;
    return burble_reader_next(parent->reader, &record) == BURBLE_AGAIN
                   && burble_stream_append(parent->stream, "one", 3, 1) == BURBLE_OK
                   && burble_stream_end(parent->stream, BURBLE_REASON_STOP) == BURBLE_OK
                   && reads(parent->reader, "one") && ends(parent->reader, BURBLE_END)
               ? 0
               : 1;
}

static void child_has_open_stream_if_nobody_has_written(void **state)
{
    (void)state;
    struct parent parent = setting(0);
    assert_int_equal(in_child(write_first, &parent), 0);
    clear(&parent);
}

static int expect_dead(void *arg)
{
    struct parent *parent = arg;
    return ends(parent->reader, BURBLE_EDIED) ? 0 : 1;
}

static void child_has_dead_stream_if_handed_over(void **state)
{
    (void)state;
    struct parent parent = setting(0);
    burble_stream_hand_over(parent.stream);
    assert_int_equal(in_child(expect_dead, &parent), 0);
    add(parent.stream, "one"); /* by the other thread, which happens to be this one */
    assert_true(reads(parent.reader, "one"));
    assert_int_equal(in_child(write_first, &parent), 0);
    burble_stream_hand_over(parent.stream);
    assert_int_equal(in_child(expect_dead, &parent), 0);
    clear(&parent);
}

static void *append_and_exit(void *stream)
{
    add(stream, "one");
    return NULL;
}

static void child_has_dead_stream_if_producer_may_exit(void **state)
{
    (void)state;
    struct parent parent = setting(0);
    burble_stream_options options;
    pthread_t thread;
    clear(&parent);
    burble_stream_options_init(&options);
    options.producer_may_exit = true;
    assert_result(burble_stream_create(&options, &parent.stream), BURBLE_OK);
    assert_result(burble_reader_create(parent.stream, 0, &parent.reader, NULL), BURBLE_OK);
    assert_int_equal(pthread_create(&thread, NULL, append_and_exit, parent.stream), 0);
    pthread_join(thread, NULL);
    assert_true(reads(parent.reader, "one"));
    assert_int_equal(in_child(expect_dead, &parent), 0);
    add(parent.stream, "two");
    assert_true(reads(parent.reader, "two"));
    clear(&parent);
}

static int expect_lagged(void *arg)
{
    struct parent *parent = arg;
    const bool well = ends(parent->reader, BURBLE_ELAGGED);
    clear(parent);
    return well ? 0 : 1;
}

static void child_has_dropped_reader_still_dropped(void **state)
{
    (void)state;
    struct parent parent = setting(0);
    assert_result(burble_reader_limit(parent.reader, 3, BURBLE_LAG_DROP), BURBLE_OK);
    add(parent.stream, "one");
    add(parent.stream, "two");
    assert_int_equal(in_child(expect_lagged, &parent), 0);
    assert_true(ends(parent.reader, BURBLE_ELAGGED));
    clear(&parent);
}

static void *renew(void *arg)
{
    struct parent *parent = arg;
    burble_reader *reader;
    const bool well = burble_reader_create(parent->stream, 0, &reader, NULL) == BURBLE_OK
                      && reads(reader, "one") && ends(reader, BURBLE_EDIED);
    burble_reader_destroy(&reader);
    return well ? NULL : parent;
}

static int arrive_in_threads(void *arg)
{
    pthread_t threads[8];
    bool well = true;
    for (int i = 0; i < 8; i++)
        well = well && pthread_create(&threads[i], NULL, renew, arg) == 0;
    for (int i = 0; i < 8; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        well = well && wrong == NULL;
    }
    return well ? read_of_a_dead_producer(arg) : 1;
}

static void child_threads_use_stream_at_once(void **state)
{
#ifdef __SANITIZE_THREAD__ /* which lets no threads begin in such a child */
    (void)state;
    skip();
#else
    (void)state;
    struct parent parent = written_by_a_thread(BURBLE_KEEP_ALL);
    start(&parent);
    for (int i = 0; i < 100; i++)
        assert_int_equal(in_child(arrive_in_threads, &parent), 0);
    leave(&parent);
    clear(&parent);
#endif
}

/* ---- hubs ------------------------------------------------------------------------------------ */

static int use_the_parents_hub(void *arg)
{
    struct parent *parent = arg;
    const int fd = burble_hub_fd(parent->hub);
    const bool dispatched = burble_hub_dispatch(parent->hub, 0) != 0;
    burble_hub_hold(parent->hub);
    burble_hub_release(parent->hub);
    const int parked = burble_reader_park(parent->reader);
    const int attached = burble_reader_attach(parent->reader, parent->hub, count, parent);
    const int again = burble_reader_park(parent->reader);
    add(parent->stream, "two");
    burble_stream_end(parent->stream, BURBLE_REASON_STOP);
    burble_hub_destroy(&parent->hub);
    const bool closed = close(fd) != 0;
    return !dispatched && parked == BURBLE_EDETACHED && attached == BURBLE_OK
                   && again == BURBLE_EDETACHED && closed && parent->called == 0
               ? 0
               : 1;
}

static void child_neither_signals_nor_clears_hub_of_parent(void **state)
{
    static const burble_wake kinds[] = {BURBLE_WAKE_BEST, BURBLE_WAKE_PIPE};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        burble_hub_options options;
        struct parent parent = setting(0);
        burble_hub_options_init(&options);
        options.wake = kinds[i];
        burble_hub_destroy(&parent.hub);
        assert_result(burble_hub_create(&options, &parent.hub), BURBLE_OK);
        assert_result(burble_reader_attach(parent.reader, parent.hub, count, &parent), BURBLE_OK);
        assert_result(burble_reader_park(parent.reader), BURBLE_AGAIN);
        assert_int_equal(in_child(use_the_parents_hub, &parent), 0);
        assert_false(readable(parent.hub));
        add(parent.stream, "one");
        assert_true(readable(parent.hub));
        assert_int_equal(in_child(use_the_parents_hub, &parent), 0);
        assert_true(readable(parent.hub));
        assert_int_equal(burble_hub_dispatch(parent.hub, 0), 1);
        assert_int_equal(parent.called, 1);
        clear(&parent);
    }
}

/* The child of a fork within a function that its hub calls, or nothing in the parent. */
static pid_t forked;

static void fork_here(burble_reader *reader, void *arg)
{
    struct parent *parent = arg;
    (void)reader;
    parent->called++;
    forked = fork();
    if (forked == 0) {
        alarm(CHILD_MS / 1000);
        clear(parent); /* all but the reader that is to be called next, below */
    }
}

static void child_may_be_forked_by_function_of_hub(void **state)
{
    (void)state;
    int status;
    struct parent parent = setting(0), next = setting(0);
    burble_hub_destroy(&next.hub);
    assert_int_equal(burble_reader_attach(parent.reader, parent.hub, fork_here, &parent), 0);
    assert_result(burble_reader_attach(next.reader, parent.hub, count, &next), BURBLE_OK);
    assert_result(burble_reader_park(parent.reader), BURBLE_AGAIN);
    assert_result(burble_reader_park(next.reader), BURBLE_AGAIN);
    add(parent.stream, "one");
    add(next.stream, "one");
    burble_hub_dispatch(parent.hub, 0);
    if (forked == 0)
        _exit(parent.called == 1 && reads(next.reader, "one") ? 0 : 1);
    assert_int_equal(waitpid(forked, &status, 0), forked);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(parent.called, 1);
    assert_int_equal(next.called, 1);
    clear(&parent);
    clear(&next);
}

/* ---- pools ----------------------------------------------------------------------------------- */

static int say_one(burble_stream *stream, void *arg)
{
    (void)arg;
    return burble_stream_append(stream, "one", 3, 1);
}

static int wait_for_the_gate(burble_stream *stream, void *arg)
{
    char byte;
    (void)arg;
    return read(gate[0], &byte, 1) == 1 ? say_one(stream, NULL) : BURBLE_EFAILED;
}

static int use_the_parents_pool(void *arg)
{
    struct parent *parent = arg;
    unsigned running = 1;
    size_t waiting = 1;
    burble_stream *stream;
    burble_reader *reader;
    bool well = ends(parent->reader, BURBLE_EDIED);
    burble_pool_counts(parent->pool, &running, &waiting);
    well = well && running == 0 && waiting == 0;
    well = well && burble_pool_run(parent->pool, say_one, NULL, NULL, &stream) == BURBLE_OK
           && burble_reader_create(stream, 0, &reader, NULL) == BURBLE_OK
           && burble_reader_wait(reader, 0) == BURBLE_OK && reads(reader, "one")
           && burble_reader_wait(reader, 0) == BURBLE_OK && ends(reader, BURBLE_END);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    clear(parent);
    return well ? 0 : 1;
}

/* One generator runs and has written nothing, one waits. */
static void child_has_pool_without_jobs_and_dead_streams(void **state)
{
#ifdef __SANITIZE_THREAD__ /* which lets no threads begin in such a child */
    (void)state;
    skip();
#else
    (void)state;
    burble_pool_options options;
    burble_stream *streams[2];
    struct parent parent = setting(0);
    assert_int_equal(pipe(gate), 0);
    burble_pool_options_init(&options);
    options.workers = 1;
    assert_result(burble_pool_create(&options, &parent.pool), BURBLE_OK);
    for (int i = 0; i < 2; i++)
        assert_result(burble_pool_run(parent.pool, wait_for_the_gate, NULL, NULL, &streams[i]),
                      BURBLE_OK);
    for (int i = 0; i < 2; i++) {
        burble_reader_destroy(&parent.reader);
        assert_result(burble_reader_create(streams[i], 0, &parent.reader, NULL), BURBLE_OK);
        assert_int_equal(in_child(use_the_parents_pool, &parent), 0);
        assert_int_equal(write(gate[1], "e", 1), 1);
        assert_result(burble_reader_wait(parent.reader, 0), BURBLE_OK);
        assert_true(reads(parent.reader, "one"));
        burble_stream_unref(&streams[i]);
    }
    clear(&parent);
    close(gate[0]);
    close(gate[1]);
#endif
}

#ifndef __SANITIZE_ADDRESS__ /* which takes for lost, at the child's exit, what the parent's threads had */
static int fork_and_return(burble_stream *stream, void *arg)
{
    pid_t *child = arg;
    *child = fork();
    return burble_stream_append(stream, "one", 3, 1);
}

static void child_forked_by_generator_exits_with_it(void **state)
{
    (void)state;
    pid_t child = -1;
    int status;
    burble_stream *stream;
    struct parent parent = setting(0);
    assert_result(burble_pool_create(NULL, &parent.pool), BURBLE_OK);
    assert_result(burble_pool_run(parent.pool, fork_and_return, &child, NULL, &stream), BURBLE_OK);
    burble_reader_destroy(&parent.reader);
    assert_result(burble_reader_create(stream, 0, &parent.reader, NULL), BURBLE_OK);
    assert_result(burble_reader_wait(parent.reader, 0), BURBLE_OK);
    assert_true(reads(parent.reader, "one"));
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    burble_stream_unref(&stream);
    clear(&parent);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_reads_stream_of_other_thread_then_its_death),
        cmocka_unit_test(grandchild_has_dead_stream_of_other_thread),
        cmocka_unit_test(child_takes_no_lock_held_at_fork),
        cmocka_unit_test(child_has_intact_reader_moved_at_fork),
        cmocka_unit_test(child_has_reader_at_end_of_block),
        cmocka_unit_test(child_and_parent_both_write_stream_of_forking_thread),
        cmocka_unit_test(child_has_open_stream_if_nobody_has_written),
        cmocka_unit_test(child_has_dead_stream_if_handed_over),
        cmocka_unit_test(child_has_dead_stream_if_producer_may_exit),
        cmocka_unit_test(child_has_dropped_reader_still_dropped),
        cmocka_unit_test(child_threads_use_stream_at_once),
        cmocka_unit_test(child_neither_signals_nor_clears_hub_of_parent),
        cmocka_unit_test(child_may_be_forked_by_function_of_hub),
        cmocka_unit_test(child_has_pool_without_jobs_and_dead_streams),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(child_forked_by_generator_exits_with_it),
#endif
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
