/* SPDX-License-Identifier: MIT
 *
 * The scenarios of the memory model check: few threads, few steps, all that the protocols do. Thread 0
 * writes. Each thread has a reference to the stream, so that the last one of them frees it. More is
 * checked than they say: the checker finds deadlocks, races and uses of freed memory by itself.
 */
#include <string.h>

#include <burble/hub.h>
#include <burble/stream.h>

#include "model.h"
#include "stream/stream.h"

enum { READERS = 2, LARGE = 240, /* a record that needs a separate block */ WHY = -99 };

static burble_stream *stream;
static burble_hub *hubs[READERS];
static burble_reader *readers[READERS];
static bool parked[READERS];
static int ends[READERS];   /* what each reader has reported in the end */
static int ended, canceled; /* the result of ending the stream */
static unsigned appended, released;

/* ---- the producer's death is not part of this: one producer, that lives ------------------------- */

uint64_t burble__thread_number(void)
{
    return 1;
}

int burble__producer_adopt(burble_stream *adopted)
{
    burble__store_relaxed(&adopted->producer.thread, 1);
    return BURBLE_OK;
}

void burble__producer_hand_over(burble_stream *handed)
{
    (void)handed;
}

bool burble__producer_is_here(const burble_stream *renewed)
{
    (void)renewed;
    return true;
}

void burble__producer_release(burble_stream *over)
{
    (void)over;
}

/* ---- nor are forks: one process (BURBLE__NO_FORK) -------------------------------------------------- */

int burble__fork_watch(void)
{
    return BURBLE_OK;
}

void burble__fork_lock(void)
{
}

void burble__fork_unlock(void)
{
}

/* ---- parts ---------------------------------------------------------------------------------------- */

static void check_record(const burble_record *record, uint64_t seq)
{
    model_check(record->seq == seq);
    model_check(record->text[0] == (char)('a' + seq));
    model_check(record->text[record->len - 1] == (char)('a' + seq));
}

static void on_release(const burble_record *record, void *arg)
{
    (void)arg;
    check_record(record, record->seq);
    released++;
}

static void make_stream(unsigned threads)
{
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.release = on_release;
    appended = released = 0;
    ended = canceled = BURBLE_AGAIN;
    model_check(burble_stream_create(&options, &stream) == BURBLE_OK);
    for (unsigned i = 1; i < threads; i++)
        burble_stream_ref(stream);
}

static void let_go(void)
{
    burble_stream *mine = stream;
    burble_stream_unref(&mine);
}

static void make_reader(int i)
{
    model_check(burble_reader_create(stream, BURBLE_FROM_OLDEST, &readers[i], NULL) == BURBLE_OK);
    ends[i] = BURBLE_AGAIN;
}

static void on_ready(burble_reader *reader, void *arg)
{
    burble_reader_position(reader); /* it must still be there */
    *(bool *)arg = false;
}

static void attach(int i, int hub)
{
    parked[i] = false;
    model_check(burble_reader_attach(readers[i], hubs[hub], on_ready, &parked[i]) == BURBLE_OK);
}

static void make_hub(int i)
{
    model_check(burble_hub_create(NULL, &hubs[i]) == BURBLE_OK);
}

static int append(size_t len)
{
    char text[LARGE];
    memset(text, (int)('a' + appended), len);
    const int rc = burble_stream_append(stream, text, len, 1);
    if (rc == BURBLE_OK)
        appended++;
    return rc;
}

typedef int next_fn(burble_reader *reader, burble_record *record);

/* Reads what there is. BURBLE_AGAIN, or the end. */
static int read_by(burble_reader *reader, next_fn *next)
{
    burble_record record;
    int rc;
    uint64_t seq = burble_reader_position(reader);
    while ((rc = next(reader, &record)) == BURBLE_OK)
        check_record(&record, seq++);
    if (rc == BURBLE_END || rc == WHY)
        model_check(seq == appended);
    return rc;
}

static int read_all(burble_reader *reader)
{
    return read_by(reader, burble_reader_next);
}

/* An event loop: its readers from..to - 1 until each has reached the end. */
static void loop(int from, int to, int hub)
{
    for (;;) {
        bool all_over = true;
        bool sleep = true;
        for (int i = from; i < to; i++) {
            if (ends[i] == BURBLE_AGAIN && !parked[i]) {
                ends[i] = read_all(readers[i]);
                if (ends[i] == BURBLE_AGAIN)
                    parked[i] = burble_reader_park(readers[i]) == BURBLE_AGAIN;
                sleep = sleep && parked[i];
            }
            all_over = all_over && ends[i] != BURBLE_AGAIN;
        }
        if (all_over)
            return;
        if (sleep)
            model_poll(burble_hub_fd(hubs[hub]));
        burble_hub_dispatch(hubs[hub], 1);
    }
}

static void block(int i, uint64_t deadline)
{
    while ((ends[i] = read_all(readers[i])) == BURBLE_AGAIN) {
        const int rc = burble_reader_wait(readers[i], deadline);
        model_check(rc == BURBLE_OK || (deadline != 0 && rc == BURBLE_ETIMEDOUT));
    }
}

static void nothing(void)
{
}

/* ---- writers -------------------------------------------------------------------------------------- */

static void end(void)
{
    ended = burble_stream_end(stream, BURBLE_REASON_STOP);
    let_go();
}

static void write_one(void)
{
    model_check(append(1) == BURBLE_OK);
    end();
}

static void write_two(void)
{
    model_check(append(1) == BURBLE_OK);
    model_check(append(1) == BURBLE_OK);
    end();
}

static void write_three(void)
{
    model_check(append(1) == BURBLE_OK);
    write_two();
}

static void write_large(void)
{
    for (int i = 0; i < 3; i++)
        model_check(append(LARGE) == BURBLE_OK);
    end();
}

static void cancel(void)
{
    canceled = burble_stream_cancel(stream) ? BURBLE_OK : BURBLE_ECANCELED;
    let_go();
}

/* ---- parking at a hub ----------------------------------------------------------------------------- */

static void finish_readers(int from, int to, int hub)
{
    loop(from, to, hub);
    for (int i = from; i < to; i++)
        burble_reader_destroy(&readers[i]);
    burble_hub_destroy(&hubs[hub]);
    let_go();
}

static void before_loop(void)
{
    make_stream(2);
    make_hub(0);
    make_reader(0);
    attach(0, 0);
}

static void loop_0(void)
{
    finish_readers(0, 1, 0);
}

static void loop_1(void)
{
    finish_readers(1, 2, 1);
}

static void after_end(void)
{
    model_check(ended == BURBLE_OK && ends[0] == BURBLE_END);
    model_check(released == appended);
}

static void after_both_end(void)
{
    after_end();
    model_check(ends[1] == BURBLE_END);
}

static void before_loops(void)
{
    make_stream(3);
    for (int i = 0; i < READERS; i++) {
        make_hub(i);
        make_reader(i);
        attach(i, i);
    }
}

static void before_shared(void)
{
    make_stream(2);
    make_hub(0);
    for (int i = 0; i < READERS; i++) {
        make_reader(i);
        attach(i, 0);
    }
}

static void loop_both(void)
{
    finish_readers(0, 2, 0);
}

/* Reads and parks within the function that the hub calls. */
static void on_ready_read(burble_reader *reader, void *arg)
{
    int *end_of_it = arg;
    *end_of_it = read_by(reader, burble_reader_next_or_park);
}

static void loop_of_calls(void)
{
    model_check(burble_reader_attach(readers[0], hubs[0], on_ready_read, &ends[0]) == BURBLE_OK);
    on_ready_read(readers[0], &ends[0]);
    while (ends[0] == BURBLE_AGAIN) {
        model_poll(burble_hub_fd(hubs[0]));
        burble_hub_dispatch(hubs[0], 0);
    }
    finish_readers(0, 1, 0);
}

/* Two streams, so that two threads push onto one hub at once. */
static burble_stream *other;

static void before_streams(void)
{
    make_stream(2);
    other = stream;
    make_hub(0);
    make_reader(0);
    attach(0, 0);
    make_stream(2);
    make_reader(1);
    attach(1, 0);
}

static void end_other(void)
{
    model_check(burble_stream_end(other, BURBLE_REASON_NONE) == BURBLE_OK);
    burble_stream *mine = other;
    burble_stream_unref(&mine);
}

static void loop_streams(void)
{
    burble_stream *mine = other;
    finish_readers(0, 2, 0);
    burble_stream_unref(&mine);
}

/* ---- ends ----------------------------------------------------------------------------------------- */

static void before_ends(void)
{
    make_stream(3);
    make_hub(0);
    make_reader(0);
    attach(0, 0);
}

static void write_and_fail(void)
{
    const int rc = append(1);
    model_check(rc == BURBLE_OK || rc == BURBLE_ECANCELED);
    ended = burble_stream_fail(stream, WHY, "why");
    let_go();
}

static void loop_to_status(void)
{
    burble_status status;
    loop(0, 1, 0);
    burble_stream_status(stream, &status);
    if (ends[0] == WHY)
        model_check(status.state == BURBLE_FAILED && status.code == WHY
                    && memcmp(status.message, "why", 4) == 0);
    else
        model_check(status.state == BURBLE_CANCELLED && ends[0] == BURBLE_ECANCELED);
    finish_readers(0, 1, 0);
}

static void after_ends(void)
{
    model_check((ended == BURBLE_OK) != (canceled == BURBLE_OK));
    model_check(ends[0] == (ended == BURBLE_OK ? WHY : BURBLE_ECANCELED));
    model_check(ended == BURBLE_OK || ended == BURBLE_ECANCELED);
}

/* ---- leaving -------------------------------------------------------------------------------------- */

/* Parks, and goes while others may be about to wake it. */
static void park_and_leave(void)
{
    if (read_all(readers[0]) == BURBLE_AGAIN)
        burble_reader_park(readers[0]);
    burble_reader_destroy(&readers[0]);
    burble_hub_dispatch(hubs[0], 0);
    burble_hub_destroy(&hubs[0]);
    let_go();
}

static void after_left(void)
{
    model_check(ended == BURBLE_OK && ends[1] == BURBLE_END);
    model_check(released == appended);
}

static void after_left_alone(void)
{
    model_check(ended == BURBLE_OK && released == appended);
}

/* Its hub goes first; then it blocks. */
static void lose_hub(void)
{
    if (read_all(readers[0]) == BURBLE_AGAIN)
        burble_reader_park(readers[0]);
    burble_hub_destroy(&hubs[0]);
    model_check(burble_reader_park(readers[0]) == BURBLE_EDETACHED);
    block(0, 0);
    burble_reader_destroy(&readers[0]);
    let_go();
}

/* Moves to another hub of its thread. */
static void before_move(void)
{
    before_loop();
    make_hub(1);
}

static void move(void)
{
    if (read_all(readers[0]) == BURBLE_AGAIN)
        burble_reader_park(readers[0]);
    attach(0, 1);
    loop(0, 1, 1);
    burble_hub_destroy(&hubs[0]);
    finish_readers(0, 1, 1);
}

/* ---- holding -------------------------------------------------------------------------------------- */

static void hold_and_release(void)
{
    burble_hub_hold(hubs[0]);
    ends[0] = read_all(readers[0]);
    if (ends[0] == BURBLE_AGAIN)
        parked[0] = burble_reader_park(readers[0]) == BURBLE_AGAIN;
    burble_hub_release(hubs[0]);
    finish_readers(0, 1, 0);
}

static void hold_and_dispatch(void)
{
    burble_hub_hold(hubs[0]);
    ends[0] = read_all(readers[0]);
    if (ends[0] == BURBLE_AGAIN)
        parked[0] = burble_reader_park(readers[0]) == BURBLE_AGAIN;
    burble_hub_dispatch(hubs[0], 1);
    burble_hub_release(hubs[0]);
    finish_readers(0, 1, 0);
}

/* ---- blocking ------------------------------------------------------------------------------------- */

static void before_block(void)
{
    make_stream(3);
    make_reader(0);
    make_reader(1);
}

static void before_block_one(void)
{
    make_stream(2);
    make_reader(0);
}

static void block_0(void)
{
    block(0, 0);
    burble_reader_destroy(&readers[0]);
    let_go();
}

static void block_1(void)
{
    block(1, 0);
    burble_reader_destroy(&readers[1]);
    let_go();
}

static void block_until(void)
{
    block(0, 1);
    burble_reader_destroy(&readers[0]);
    let_go();
}

static void interrupt(void)
{
    burble_reader_interrupt(readers[0]);
    let_go();
}

static void wait_once(void)
{
    model_check(burble_reader_wait(readers[0], 0) == BURBLE_OK);
    model_check(read_all(readers[0]) == BURBLE_AGAIN);
    let_go();
}

static void destroy_reader(void)
{
    burble_reader *reader = readers[0];
    burble_reader_destroy(&reader);
}

static void park_once(void)
{
    if (burble_reader_park(readers[0]) == BURBLE_AGAIN)
        parked[0] = true;
    while (parked[0]) {
        model_poll(burble_hub_fd(hubs[0]));
        burble_hub_dispatch(hubs[0], 0);
    }
    let_go();
}

static void destroy_loop(void)
{
    burble_reader_destroy(&readers[0]);
    burble_hub_destroy(&hubs[0]);
}

/* ---- retention ------------------------------------------------------------------------------------ */

/* A reader that is destroyed at once: the unread records are freed, too. */
static void had_reader(void)
{
    make_reader(0);
    burble_reader_destroy(&readers[0]);
}

static void before_retention(void)
{
    make_stream(3);
    had_reader();
}

static void before_retention_of_one(void)
{
    make_stream(2);
    had_reader();
}

static void read_from_oldest(void)
{
    burble_reader *reader;
    model_check(burble_reader_create(stream, BURBLE_FROM_OLDEST, &reader, NULL) == BURBLE_OK);
    read_all(reader);
    burble_reader_destroy(&reader);
    let_go();
}

static void read_from_position(void)
{
    burble_reader *reader;
    uint64_t oldest = 0;
    const uint64_t position = burble_stream_position(stream);
    const int rc = burble_reader_create(stream, position, &reader, &oldest);
    if (rc == BURBLE_OK) {
        read_all(reader);
        burble_reader_destroy(&reader);
    } else {
        model_check(rc == BURBLE_EGONE && oldest > position);
    }
    let_go();
}

/* Walks along the chain while the writer frees it. */
static void read_from_tail(void)
{
    burble_reader *reader;
    model_check(burble_reader_create(stream, BURBLE_FROM_TAIL, &reader, NULL) == BURBLE_OK);
    read_all(reader);
    burble_reader_destroy(&reader);
    let_go();
}

/* Nobody has read yet, so that all of it is kept. */
static void before_first_reader(void)
{
    make_stream(2);
}

static void first_reader(void)
{
    make_reader(0);
    model_check(burble_reader_position(readers[0]) == 0);
    block_0();
}

static void read_all_blocks(void)
{
    block(0, 0);
    burble_reader_destroy(&readers[0]);
    let_go();
}

/* Both look at the stream's end without a reference but the weak one. */
static void before_weak(void)
{
    make_stream(1);
    burble__add_relaxed(&stream->weak, 1);
}

static void use_weakly(void)
{
    burble_stream *mine = stream;
    if (burble__stream_try_ref(stream)) {
        burble_stream_cancel(stream);
        burble_stream_unref(&mine);
    }
    burble__stream_unref_weak(stream);
}

/* ---- limits --------------------------------------------------------------------------------------- */

static void limit(int i, uint64_t max, burble_on_lag on_lag)
{
    model_check(burble_reader_limit(readers[i], max, on_lag) == BURBLE_OK);
}

static void before_limit(void)
{
    before_block_one();
    limit(0, 1, BURBLE_LAG_BLOCK);
}

/* A limit that a quarter can be free of. */
static void before_quarter(void)
{
    before_block_one();
    limit(0, 8, BURBLE_LAG_BLOCK);
}

static void write_quarter(void)
{
    for (int i = 0; i < 4; i++)
        model_check(append(4) == BURBLE_OK);
    end();
}

static void before_limits(void)
{
    before_block();
    limit(0, 1, BURBLE_LAG_BLOCK);
    limit(1, 1, BURBLE_LAG_BLOCK);
}

/* Until there is no room; then room is made by a call that is not a read. */
static void write_to_limit(void)
{
    const int rc = append(1) == BURBLE_OK ? append(1) : BURBLE_ECANCELED;
    model_check(rc == BURBLE_OK || rc == BURBLE_ECANCELED);
    ended = burble_stream_end(stream, BURBLE_REASON_STOP);
    let_go();
}

static void before_block_first(void)
{
    make_stream(3);
    make_reader(0);
}

/* The limit is the first one, and the cancelling thread does not know it yet. */
static void limit_and_stay(void)
{
    limit(0, 1, BURBLE_LAG_BLOCK);
    let_go();
}

static void after_first_cancel(void)
{
    destroy_reader();
    model_check(canceled == BURBLE_OK || ended == BURBLE_OK);
}

static void after_limit_cancel(void)
{
    destroy_reader();
    model_check(appended <= 1 && canceled == BURBLE_OK);
}

static void leave(void)
{
    burble_reader_destroy(&readers[0]);
    let_go();
}

static void lift_limit(void)
{
    model_check(burble_reader_limit(readers[0], 0, BURBLE_LAG_BLOCK) == BURBLE_OK);
    let_go();
}

static void raise_limit(void)
{
    limit(0, 2, BURBLE_LAG_BLOCK);
    let_go();
}

static void after_limit_changed(void)
{
    destroy_reader();
    model_check(appended == 2 && released == appended);
}

static void after_limit_left(void)
{
    model_check(appended == 2 && released == appended);
}

static void before_unread(void)
{
    burble_stream_options options;
    burble_stream_options_init(&options);
    options.cancel_when_unread = true;
    model_check(burble_stream_create(&options, &stream) == BURBLE_OK);
    burble_stream_ref(stream);
    appended = 0;
    make_reader(0);
    limit(0, 1, BURBLE_LAG_BLOCK);
}

/* The last reader. A writer that waits for it must not go on when it leaves. */
static bool writer_waited;

static void leave_unread(void)
{
    writer_waited = burble__load_acquire(&stream->writer_waits);
    leave();
}

static void after_unread(void)
{
    model_check(appended < 2 || !writer_waited);
}

static void write_until(void)
{
    for (int i = 0; i < 2; i++) {
        const int rc = burble_stream_append_until(stream, appended == 0 ? "a" : "b", 1, 1, 2);
        model_check(rc == BURBLE_OK || rc == BURBLE_ETIMEDOUT);
        if (rc == BURBLE_OK)
            appended++;
    }
    end();
}

/* Nobody reads, and the limit is set to what it was: it must hold. */
static void write_no_wait(void)
{
    model_check(append(1) == BURBLE_OK);
    model_check(burble_stream_append_until(stream, "b", 1, 1, BURBLE_NO_WAIT) == BURBLE_EFULL);
    let_go();
}

static void limit_0_and_block(void)
{
    limit(0, 1, BURBLE_LAG_BLOCK);
    block_0();
}

static void limit_1_and_block(void)
{
    limit(1, 1, BURBLE_LAG_BLOCK);
    block_1();
}

/* ---- dropping ------------------------------------------------------------------------------------- */

static void before_drop(void)
{
    before_block_one();
    limit(0, LARGE, BURBLE_LAG_DROP);
}

/* What it was handed stays readable until the next call, also when it has lost its place since. */
static void read_or_drop(void)
{
    burble_record record;
    int rc;
    for (;;) {
        const uint64_t seq = burble_reader_position(readers[0]);
        rc = burble_reader_next(readers[0], &record);
        if (rc == BURBLE_AGAIN)
            burble_reader_wait(readers[0], 0);
        else if (rc != BURBLE_OK)
            break;
        else if (burble_stream_position(stream) > seq) /* the writer may go on in the meantime */
            check_record(&record, seq);
    }
    ends[0] = rc;
    burble_reader_destroy(&readers[0]);
    let_go();
}

static void leave_dropped(void)
{
    burble_record record;
    const int rc = burble_reader_next(readers[0], &record);
    if (rc == BURBLE_OK)
        check_record(&record, 0);
    ends[0] = BURBLE_ELAGGED;
    burble_reader_destroy(&readers[0]);
    let_go();
}

static void after_drop(void)
{
    model_check(ended == BURBLE_OK && (ends[0] == BURBLE_END || ends[0] == BURBLE_ELAGGED));
    model_check(appended == 3 && released == appended);
}

static void before_drop_and_block(void)
{
    before_block();
    limit(0, 1, BURBLE_LAG_DROP);
    limit(1, 1, BURBLE_LAG_BLOCK);
}

static void after_drop_and_block(void)
{
    model_check(ends[0] == BURBLE_END || ends[0] == BURBLE_ELAGGED);
    model_check(ends[1] == BURBLE_END);
    model_check(appended == 2 && released == appended);
}

/* ---- intervals ------------------------------------------------------------------------------------ */

/* The reader's clock, which moves by `step` with each look. */
static uint64_t now, step;

uint64_t burble__now(void)
{
    return now += step;
}

static void interval(uint64_t length, uint64_t moves_by)
{
    now = 1;
    step = moves_by;
    model_check(burble_reader_interval(readers[0], length) == BURBLE_OK);
}

static void before_rest(void)
{
    before_loop();
    interval(1, 0);
}

static void before_rest_at_limit(void)
{
    before_rest();
    limit(0, 1, BURBLE_LAG_BLOCK);
}

static void before_rest_of_two(void)
{
    before_loops();
    interval(1, 0);
}

static void before_block_and_rest(void)
{
    before_block_one();
    interval(2, 1);
}

/* A delivery has begun, so that the reader rests from now on. */
static void before_long_rest(void)
{
    before_rest();
    model_check(append(1) == BURBLE_OK);
    model_check(read_all(readers[0]) == BURBLE_AGAIN && burble_reader_due(readers[0]) != 0);
}

/* The same of a thread, which then may go while the writer wakes it. */
static void before_block_in_rest(void)
{
    before_block_one();
    interval(1, 0);
    model_check(append(1) == BURBLE_OK);
    model_check(read_all(readers[0]) == BURBLE_AGAIN && burble_reader_due(readers[0]) != 0);
}

static void wait_and_leave(void)
{
    const int rc = burble_reader_wait(readers[0], 1);
    model_check(rc == BURBLE_OK || rc == BURBLE_ETIMEDOUT);
    leave();
}

/* An event loop: of a reader that rests, its timer may come or not; then something else has to wake it. */
static void loop_with_timer(void)
{
    while ((ends[0] = read_all(readers[0])) == BURBLE_AGAIN) {
        const uint64_t due = burble_reader_due(readers[0]);
        if (due != 0 && model_choose(2) == 0) {
            now = due;
            continue;
        }
        parked[0] = burble_reader_park(readers[0]) == BURBLE_AGAIN;
        while (parked[0]) {
            model_poll(burble_hub_fd(hubs[0]));
            burble_hub_dispatch(hubs[0], 1);
        }
    }
    finish_readers(0, 1, 0);
}

const struct model_scenario model_scenarios[] = {
    {"park", 2, before_loop, {write_one, loop_0}, after_end},
    {"park_end", 2, before_loop, {end, loop_0}, after_end},
    {"park_twice", 2, before_loop, {write_two, loop_0}, after_end},
    {"park_in_call", 2, before_loop, {write_two, loop_of_calls}, after_end},
    {"two_hubs", 3, before_loops, {write_one, loop_0, loop_1}, after_both_end},
    {"one_hub", 2, before_shared, {write_one, loop_both}, after_both_end},
    {"two_streams", 3, before_streams, {end, end_other, loop_streams}, after_both_end},
    {"end_or_cancel", 3, before_ends, {write_and_fail, cancel, loop_to_status}, after_ends},
    {"leave_parked", 2, before_loop, {write_one, park_and_leave}, after_left_alone},
    {"leave_others", 3, before_loops, {write_one, park_and_leave, loop_1}, after_left},
    {"hub_goes", 2, before_loop, {write_one, lose_hub}, after_end},
    {"move", 2, before_move, {write_one, move}, after_end},
    {"hold_release", 2, before_loop, {write_one, hold_and_release}, after_end},
    {"hold_dispatch", 2, before_loop, {write_two, hold_and_dispatch}, after_end},
    {"block", 2, before_block_one, {write_one, block_0}, after_end},
    {"block_two", 3, before_block, {write_one, block_0, block_1}, after_both_end},
    {"block_until", 2, before_block_one, {write_one, block_until}, after_end},
    {"interrupt_blocked", 2, before_block_one, {interrupt, wait_once}, destroy_reader},
    {"interrupt_parked", 2, before_loop, {interrupt, park_once}, destroy_loop},
    {"many_blocks", 2, before_block_one, {write_large, read_all_blocks}, after_end},
    {"retain",
     3,
     before_retention,
     {write_large, read_from_oldest, read_from_position},
     after_left_alone},
    {"position", 2, before_retention_of_one, {write_two, read_from_position}, after_left_alone},
    {"tail", 2, before_retention_of_one, {write_large, read_from_tail}, after_left_alone},
    {"first_reader", 2, before_first_reader, {write_large, first_reader}, after_end},
    {"weak", 2, before_weak, {let_go, use_weakly}, nothing},
    {"limit", 2, before_limit, {write_two, block_0}, after_end},
    {"limit_thrice", 2, before_limit, {write_three, block_0}, after_end},
    {"limit_quarter", 2, before_quarter, {write_quarter, block_0}, after_end},
    {"limit_two", 3, before_limits, {write_two, block_0, block_1}, after_both_end},
    {"limit_cancel", 2, before_limit, {write_to_limit, cancel}, after_limit_cancel},
    {"limit_first_cancel",
     3,
     before_block_first,
     {write_to_limit, cancel, limit_and_stay},
     after_first_cancel},
    {"limit_leave", 2, before_limit, {write_to_limit, leave}, after_limit_left},
    {"limit_unread", 2, before_unread, {write_to_limit, leave_unread}, after_unread},
    {"limit_lift", 2, before_limit, {write_to_limit, lift_limit}, after_limit_changed},
    {"limit_raise", 2, before_limit, {write_to_limit, raise_limit}, after_limit_changed},
    {"limit_until", 2, before_limit, {write_until, block_0}, after_end},
    {"limit_kept", 2, before_limit, {write_no_wait, limit_and_stay}, destroy_reader},
    {"limit_first",
     3,
     before_block,
     {write_two, limit_0_and_block, limit_1_and_block},
     after_both_end},
    {"drop", 2, before_drop, {write_large, read_or_drop}, after_drop},
    {"drop_leave", 2, before_drop, {write_large, leave_dropped}, after_drop},
    {"drop_and_block",
     3,
     before_drop_and_block,
     {write_two, read_or_drop, block_1},
     after_drop_and_block},
    {"rest", 2, before_rest, {write_two, loop_with_timer}, after_end},
    {"rest_end", 2, before_long_rest, {end, loop_with_timer}, after_end},
    {"rest_cancel", 2, before_long_rest, {cancel, loop_with_timer}, nothing},
    {"rest_leave", 2, before_long_rest, {end, park_and_leave}, after_left_alone},
    {"rest_leave_others", 3, before_rest_of_two, {write_one, park_and_leave, loop_1}, after_left},
    {"rest_interrupt", 2, before_long_rest, {interrupt, park_once}, destroy_loop},
    {"rest_limit", 2, before_rest_at_limit, {write_three, loop_with_timer}, after_end},
    {"rest_block_leave", 2, before_block_in_rest, {end, wait_and_leave}, after_left_alone},
    {"rest_block", 2, before_block_and_rest, {write_two, block_0}, after_end},
    {NULL, 0, NULL, {NULL, NULL, NULL}, NULL},
};
