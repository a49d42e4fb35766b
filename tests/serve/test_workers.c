/* SPDX-License-Identifier: MIT
 *
 * A backend whose calls do not return holds up its own requests, and nothing else; and what becomes of those.
 */
#define _POSIX_C_SOURCE 200809L

#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <burble/serve.h>

#include "numbers.h"
#include "serve/workers.h"

/* ---- a backend that stands at a gate ---------------------------------------------------------------------- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned waiting; /* calls */
    struct numbers *numbers;
    burble_serve_model behind;
};

static void pass(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    gate->waiting--;
    pthread_mutex_unlock(&gate->lock);
}

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    struct gate *gate = arg;
    pass(gate);
    return gate->behind.submit(gate->behind.arg, request, stream, error);
}

static int tokenize(void *arg, burble_text text, bool add_special, bool parse_special, int32_t *ids,
                    size_t capacity, size_t *n, burble_error *error)
{
    struct gate *gate = arg;
    pass(gate);
    return gate->behind.tokenize(gate->behind.arg, text, add_special, parse_special, ids, capacity,
                                 n, error);
}

static void load(void *arg, burble_serve_load *found)
{
    struct gate *gate = arg;
    pass(gate);
    gate->behind.load(gate->behind.arg, found);
}

static void release(void *arg)
{
    struct gate *gate = arg;
    gate->behind.release(gate->behind.arg);
}

static void wait_for(struct gate *gate, unsigned calls)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->waiting < calls)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

/* ---- a server of it, and of another one -------------------------------------------------------------------- */

struct fixture {
    struct gate gate;
    burble_server *server;
    uint16_t port;
};

static void add(burble_server *server, const burble_serve_model *model)
{
    assert_result(burble_server_add_model(server, model, NULL), BURBLE_OK);
}

static void set_up(struct fixture *fixture)
{
    struct gate *gate = &fixture->gate;
    burble_server_options options;
    burble_serve_model model;
    *fixture = (struct fixture){.server = NULL};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
    gate->numbers = numbers_create(0);
    burble_server_options_init(&options);
    options.port = 0;
    assert_result(burble_server_create(&options, &fixture->server, NULL), BURBLE_OK);
    numbers_model(gate->numbers, "numbers", 0, &model);
    add(fixture->server, &model);
    numbers_model(gate->numbers, "stuck", 0, &gate->behind);
    model = gate->behind;
    model.arg = gate;
    model.submit = submit;
    model.tokenize = tokenize;
    model.load = load;
    model.release = release;
    model.piece = NULL;
    model.place = NULL;
    model.cancelled = NULL;
    add(fixture->server, &model);
    assert_result(burble_server_start(fixture->server, NULL), BURBLE_OK);
    fixture->port = burble_server_port(fixture->server);
}

static void tear_down(struct fixture *fixture)
{
    burble_server_destroy(&fixture->server);
    numbers_destroy(fixture->gate.numbers);
    pthread_cond_destroy(&fixture->gate.changed);
    pthread_mutex_destroy(&fixture->gate.lock);
}

/* Sends a request. */
static int begin(const struct fixture *fixture, const char *method, const char *path,
                 const char *body)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(fixture->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char request[1024];
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int n = snprintf(request, sizeof request,
                           "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                           "Content-Length: %zu\r\n\r\n%s",
                           method, path, strlen(body), body);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(write(fd, request, (size_t)n), n);
    return fd;
}

static char reply[65536];

/* Reads the response, until the server closes. Returns its status. */
static int end(int fd)
{
    size_t len = 0;
    ssize_t got;
    while (len + 1 < sizeof reply && (got = read(fd, reply + len, sizeof reply - len - 1)) > 0)
        len += (size_t)got;
    close(fd);
    reply[len] = '\0';
    return len > 12 ? atoi(reply + 9) : 0;
}

#define COMPLETION(model) "{\"prompt\":\"x\",\"model\":\"" model "\"}"
#define CONTENT(model) "{\"content\":\"abc\",\"model\":\"" model "\"}"

enum { MANY = 8 };

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void blocked_backend_holds_up_no_other(void **state)
{
    (void)state;
    struct fixture fixture;
    int stuck[MANY];
    set_up(&fixture);
    for (int i = 0; i < MANY; i++)
        stuck[i] = i % 2 == 0 ? begin(&fixture, "POST", "/v1/completions", COMPLETION("stuck"))
                              : begin(&fixture, "POST", "/tokenize", CONTENT("stuck"));
    wait_for(&fixture.gate, 2); /* half of the threads */
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(end(begin(&fixture, "POST", "/v1/completions", COMPLETION("numbers"))),
                         200);
        assert_int_equal(end(begin(&fixture, "POST", "/tokenize", CONTENT("numbers"))), 200);
        assert_int_equal(end(begin(&fixture, "POST", "/v1/completions", "nonsense")), 400);
        assert_int_equal(end(begin(&fixture, "GET", "/metrics", "")), 200);
        assert_non_null(strstr(reply, "burble_num_slots{model_name=\"stuck\"} "));
    }
    assert_int_equal(fixture.gate.waiting, 2);
    open_gate(&fixture.gate);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(end(stuck[i]), 200);
    tear_down(&fixture);
}

static void metrics_wait_for_no_more_than_half_of_the_threads(void **state)
{
    (void)state;
    struct fixture fixture;
    int scrapes[2];
    set_up(&fixture);
    for (int i = 0; i < 2; i++) {
        scrapes[i] = begin(&fixture, "GET", "/metrics", "");
        wait_for(&fixture.gate, (unsigned)i + 1);
    }
    assert_int_equal(end(begin(&fixture, "GET", "/metrics", "")), 200);
    assert_int_equal(end(begin(&fixture, "POST", "/v1/completions", COMPLETION("numbers"))), 200);
    assert_int_equal(end(begin(&fixture, "GET", "/ready", "")), 200);
    open_gate(&fixture.gate);
    for (int i = 0; i < 2; i++)
        assert_int_equal(end(scrapes[i]), 200);
    tear_down(&fixture);
}

/* Clients leave whose requests wait: nothing of them is kept, and the backend never sees them. */
static void abandoned_requests_of_blocked_backend_are_dropped(void **state)
{
    (void)state;
    struct fixture fixture;
    int stuck[MANY];
    set_up(&fixture);
    for (int i = 0; i < MANY; i++) {
        stuck[i] = begin(&fixture, "POST", "/v1/completions", COMPLETION("stuck"));
        if (i < 2)
            wait_for(&fixture.gate, (unsigned)i + 1);
    }
    for (int i = 2; i < MANY; i++)
        close(stuck[i]);
    burble_server_stats stats;
    do { /* two connections are left */
        burble_server_stats_now(fixture.server, &stats);
    } while (stats.connections > 2 || stats.requests < MANY - 2);
    open_gate(&fixture.gate);
    for (int i = 0; i < 2; i++)
        assert_int_equal(end(stuck[i]), 200);
    assert_int_equal(numbers_counts(fixture.gate.numbers).submitted, 2);
    tear_down(&fixture);
}

static void *destroy(void *arg)
{
    burble_server_destroy(arg);
    return NULL;
}

/* It waits for the calls, which use it, and drops what waits for a turn. */
static void server_is_destroyed_while_its_backend_is_blocked(void **state)
{
    (void)state;
    struct fixture fixture;
    pthread_t thread;
    int stuck[MANY];
    set_up(&fixture);
    for (int i = 0; i < MANY; i++)
        stuck[i] = begin(&fixture, "POST", "/v1/completions", COMPLETION("stuck"));
    wait_for(&fixture.gate, 2);
    assert_int_equal(pthread_create(&thread, NULL, destroy, &fixture.server), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_not_equal(end(stuck[i]),
                             200); /* 503: it was read after the server began to close */
    open_gate(&fixture.gate);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_null(fixture.server);
    assert_int_equal(numbers_counts(fixture.gate.numbers).submitted, 2);
    tear_down(&fixture);
}

/* ---- jobs ---------------------------------------------------------------------------------------------------- */

struct task {
    struct burble__job job;
    struct burble__workers *workers;
    struct burble__lane *lane;
    atomic_int *inside, *most, *done;
};

static void run_task(struct burble__job *job)
{
    struct task *task = (struct task *)(void *)job;
    if (!burble__workers_enter(task->workers, task->lane, job))
        return;
    const int inside = atomic_fetch_add(task->inside, 1) + 1;
    int most = atomic_load(task->most);
    while (most < inside && !atomic_compare_exchange_weak(task->most, &most, inside))
        ;
    for (int i = 0; i < 100; i++)
        sched_yield();
    atomic_fetch_sub(task->inside, 1);
    burble__workers_leave(task->workers, task->lane, job);
    atomic_fetch_add(task->done, 1);
}

static void lane_is_never_entered_by_more_than_half_of_the_threads(void **state)
{
    (void)state;
    enum { TASKS = 2000 };
    static struct task tasks[TASKS];
    struct burble__workers workers;
    struct burble__lane lane = {.entered = 0};
    atomic_int inside, most, done;
    atomic_init(&inside, 0);
    atomic_init(&most, 0);
    atomic_init(&done, 0);
    assert_result(burble__workers_init(&workers, 6), BURBLE_OK);
    assert_result(burble__workers_start(&workers, NULL), BURBLE_OK);
    int removed = 0;
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (struct task){.job.run = run_task,
                                 .workers = &workers,
                                 .lane = &lane,
                                 .inside = &inside,
                                 .most = &most,
                                 .done = &done};
        burble__workers_add(&workers, &tasks[i].job);
        if (i % 7 == 6)
            removed += burble__workers_remove(&workers, &tasks[i - 3].job);
    }
    while (atomic_load(&done) + removed < TASKS)
        sched_yield();
    burble__workers_stop(&workers);
    assert_in_range(atomic_load(&most), 1, 3);
    assert_int_equal(lane.entered, 0);
    assert_null(lane.waiting.first);
    burble__workers_finish(&workers);
}

/* Notes when it runs, in its lane if it has one, behind its gate if it has one. */
struct note {
    struct burble__job job;
    struct burble__workers *workers;
    struct burble__lane *lane;
    struct gate *gate;
    atomic_int *clock;
    atomic_int ran; /* the time; 0: not yet */
};

static void run_note(struct burble__job *job)
{
    struct note *note = (struct note *)(void *)job;
    if (note->lane != NULL && !burble__workers_enter(note->workers, note->lane, job))
        return;
    if (note->gate != NULL)
        pass(note->gate);
    if (note->lane != NULL)
        burble__workers_leave(note->workers, note->lane, job);
    atomic_store(&note->ran, atomic_fetch_add(note->clock, 1) + 1);
}

static void job_that_gets_its_place_runs_before_those_that_have_not_begun(void **state)
{
    (void)state;
    enum { HOLDER, WAITER, OTHER, NEW, JOBS = NEW + 3 };
    struct gate gates[2];
    struct burble__workers workers;
    struct burble__lane lane = {.entered = 0};
    struct note notes[JOBS];
    atomic_int clock;
    atomic_init(&clock, 0);
    for (int i = 0; i < 2; i++) {
        gates[i] = (struct gate){.open = false};
        pthread_mutex_init(&gates[i].lock, NULL);
        pthread_cond_init(&gates[i].changed, NULL);
    }
    assert_result(burble__workers_init(&workers, 2), BURBLE_OK); /* one of them in the lane */
    assert_result(burble__workers_start(&workers, NULL), BURBLE_OK);
    for (int i = 0; i < JOBS; i++) {
        notes[i] = (struct note){.job.run = run_note, .workers = &workers, .clock = &clock};
        atomic_init(&notes[i].ran, 0);
        notes[i].lane = i == HOLDER || i == WAITER ? &lane : NULL;
        notes[i].gate = i == HOLDER ? &gates[0] : i == OTHER ? &gates[1] : NULL;
        burble__workers_add(&workers, &notes[i].job);
        if (i == HOLDER)
            wait_for(&gates[0], 1);
        else if (i == OTHER)
            wait_for(&gates[1], 1); /* so the other thread has been with WAITER, too */
    }
    open_gate(&gates[0]);
    while (atomic_load(&notes[JOBS - 1].ran) == 0)
        sched_yield();
    for (int i = NEW; i < JOBS; i++)
        assert_true(atomic_load(&notes[WAITER].ran) < atomic_load(&notes[i].ran));
    open_gate(&gates[1]);
    burble__workers_stop(&workers);
    assert_int_equal(lane.entered, 0);
    burble__workers_finish(&workers);
    for (int i = 0; i < 2; i++) {
        pthread_cond_destroy(&gates[i].changed);
        pthread_mutex_destroy(&gates[i].lock);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocked_backend_holds_up_no_other),
        cmocka_unit_test(metrics_wait_for_no_more_than_half_of_the_threads),
        cmocka_unit_test(abandoned_requests_of_blocked_backend_are_dropped),
        cmocka_unit_test(server_is_destroyed_while_its_backend_is_blocked),
        cmocka_unit_test(lane_is_never_entered_by_more_than_half_of_the_threads),
        cmocka_unit_test(job_that_gets_its_place_runs_before_those_that_have_not_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
