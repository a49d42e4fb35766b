/* SPDX-License-Identifier: MIT
 *
 * The functions of burble/serve.h, and what has no other test: a server in the process of its backend. (What clients
 * see of HTTP: test_http.py, test_bounds.py and test_streams.py.)
 */
#define _POSIX_C_SOURCE 200809L

#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <burble/clock.h>
#include <burble/serve.h>

#include "forked.h"
#include "numbers.h"

#define SECOND UINT64_C(1000000000)

static burble_server_options quick_options(void)
{
    burble_server_options options;
    burble_server_options_init(&options);
    options.port = 0;
    options.drain_delay = 0;
    return options;
}

static burble_server *create_at(struct place at, const burble_server_options *options)
{
    burble_server *server;
    burble_error error = {.code = BURBLE_OK};
    if (burble_server_create(options, &server, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    return server;
}

/* A server of numbers that runs. */
static burble_server *start_at(struct place at, struct numbers *numbers,
                               const burble_server_options *options)
{
    burble_error error = {.code = BURBLE_OK};
    burble_serve_model model;
    burble_server *server = create_at(at, options);
    numbers_model(numbers, "numbers", 0, &model);
    assert_result_at(at, burble_server_add_model(server, &model, &error), BURBLE_OK);
    numbers_model(numbers, "plain", 1, &model);
    assert_result_at(at, burble_server_add_model(server, &model, &error), BURBLE_OK);
    if (burble_server_start(server, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    return server;
}
#define start(...) start_at(HERE, __VA_ARGS__)

static int connect_to(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Sends a request and reads until the server closes. Returns the status; 0: none. */
static int ask(uint16_t port, const char *method, const char *path, const char *body, char *reply,
               size_t room)
{
    char request[1024];
    const int fd = connect_to(port);
    const int n = snprintf(request, sizeof request,
                           "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                           "Content-Length: %zu\r\n\r\n%s",
                           method, path, strlen(body), body);
    size_t len = 0;
    ssize_t got = 0;
    if (fd >= 0 && write(fd, request, (size_t)n) == n)
        while (len + 1 < room && (got = read(fd, reply + len, room - len - 1)) > 0)
            len += (size_t)got;
    if (fd >= 0)
        close(fd);
    reply[len] = '\0';
    return len > 12 ? atoi(reply + 9) : 0;
}

static void stop(burble_server **server, struct numbers *numbers)
{
    burble_server_destroy(server);
    assert_null(*server);
    numbers_destroy(numbers);
}

/* ---- creating ------------------------------------------------------------------------------------------ */

static void options_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        burble_server_options options;
    } cases[] = {
#define CASE(member, value) {#member, {.member = (value)}},
        CASE(loops, 65) CASE(backlog, 65536) CASE(max_connections, (1u << 24) + 1)
            CASE(max_header, 100) CASE(max_body, (UINT64_C(1) << 30) + 1) CASE(max_output, 10)
                CASE(max_answer, 10) CASE(max_lag, 10) CASE(max_ignored, (UINT64_C(1) << 30) + 1)
                    CASE(max_json_depth, 2000)
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        burble_server_options options = quick_options();
        burble_error error = {.code = BURBLE_OK};
        burble_server *server;
        const burble_server_options *given = &cases[i].options;
#define TAKE(member)                                                                               \
    if (given->member != 0)                                                                        \
        options.member = given->member;
        TAKE(loops)
        TAKE(backlog)
        TAKE(max_connections)
        TAKE(max_header)
        TAKE(max_body)
        TAKE(max_output)
        TAKE(max_answer)
        TAKE(max_lag)
        TAKE(max_ignored)
        TAKE(max_json_depth)
#undef TAKE
        assert_result(burble_server_create(&options, &server, &error), BURBLE_EINVAL);
        assert_null(server);
        assert_memory_equal(error.message, cases[i].name, strlen(cases[i].name));
    }
}

static void reserved_members_are_refused(void **state)
{
    (void)state;
    burble_server_options options = quick_options();
    burble_server *server;
    options.reserved[3] = 1;
    assert_result(burble_server_create(&options, &server, NULL), BURBLE_EINVAL);
}

static void destroy_of_null_and_of_a_server_that_never_started(void **state)
{
    (void)state;
    burble_server *server = NULL;
    burble_server_destroy(NULL);
    burble_server_destroy(&server);
    server = create_at(HERE, NULL);
    assert_int_equal(burble_server_port(server), 0);
    burble_server_drain(server, 0);
    assert_result(burble_server_wait(server, 0), BURBLE_OK);
    burble_server_destroy(&server);
}

static void port_in_use_is_an_error_with_its_number(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    burble_server *server = start(numbers, &options);
    options.port = burble_server_port(server);
    burble_server *other = create_at(HERE, &options);
    burble_error error = {.code = BURBLE_OK};
    char port[32];
    assert_result(burble_server_start(other, &error), BURBLE_ESYSTEM);
    snprintf(port, sizeof port, "port %u", (unsigned)options.port);
    assert_non_null(strstr(error.message, port));
    burble_server_destroy(&other);
    stop(&server, numbers);
}

static void host_that_is_none_and_second_start_are_refused(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    burble_error error = {.code = BURBLE_OK};
    burble_server *server = start(numbers, &options);
    assert_result(burble_server_start(server, &error), BURBLE_EINVAL);
    stop(&server, numbers);
    options.host = "256.0.0.1 ";
    server = create_at(HERE, &options);
    assert_result(burble_server_start(server, &error), BURBLE_EINVAL);
    burble_server_destroy(&server);
    options.host = NULL;
    options.listen_fd = STDIN_FILENO;
    server = create_at(HERE, &options);
    assert_result(burble_server_start(server, &error), BURBLE_EINVAL);
    burble_server_destroy(&server);
}

struct starting {
    burble_server *server;
    _Atomic(unsigned) begun, started;
};

static void *start_in_thread(void *arg)
{
    struct starting *starting = arg;
    burble_error error;
    atomic_fetch_add(&starting->begun, 1);
    while (atomic_load(&starting->begun) < 3)
        sched_yield();
    const int result = burble_server_start(starting->server, &error);
    if (result == BURBLE_OK)
        atomic_fetch_add(&starting->started, 1);
    else if (result != BURBLE_EINVAL)
        atomic_fetch_add(&starting->started, 100);
    return NULL;
}

static void *drain_and_wait_in_thread(void *arg)
{
    struct starting *starting = arg;
    atomic_fetch_add(&starting->begun, 1);
    while (burble_server_port(starting->server) == 0)
        sched_yield();
    burble_server_drain(starting->server, 0);
    burble_server_drain(starting->server, 0);
    burble_server_wait(starting->server, burble_now() + SECOND / 1000);
    return NULL;
}

static void start_from_many_threads_starts_once(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct numbers *numbers = numbers_create(0);
        burble_server_options options = quick_options();
        struct starting starting = {.begun = 0};
        pthread_t threads[3];
        options.loops = 2;
        starting.server = create_at(HERE, &options);
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(pthread_create(&threads[j], NULL,
                                            j == 2 ? drain_and_wait_in_thread : start_in_thread,
                                            &starting),
                             0);
        for (size_t j = 0; j < 3; j++)
            pthread_join(threads[j], NULL);
        assert_int_equal(atomic_load(&starting.started), 1);
        stop(&starting.server, numbers);
    }
}

static void listening_socket_is_taken_over(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    char reply[4096];
    burble_server_options options = quick_options();
    options.listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(options.listen_fd, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(options.listen_fd, 8), 0);
    assert_int_equal(getsockname(options.listen_fd, (struct sockaddr *)&address, &len), 0);
    burble_server *server = start(numbers, &options);
    assert_int_equal(burble_server_port(server), ntohs(address.sin_port));
    assert_int_equal(ask(burble_server_port(server), "GET", "/health", "", reply, sizeof reply),
                     200);
    stop(&server, numbers);
    assert_int_equal(connect_to(ntohs(address.sin_port)), -1);
}

/* ---- models -------------------------------------------------------------------------------------------- */

static void models_come_and_go_while_the_server_runs(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    burble_server *server = create_at(HERE, &options);
    burble_error error = {.code = BURBLE_OK};
    burble_serve_model model;
    char reply[8192];
    static const char body[] = "{\"model\":\"late\",\"prompt\":\"x\"}";
    assert_result(burble_server_start(server, &error), BURBLE_OK);
    const uint16_t port = burble_server_port(server);
    assert_int_equal(ask(port, "GET", "/ready", "", reply, sizeof reply), 503);
    assert_int_equal(ask(port, "POST", "/v1/completions", body, reply, sizeof reply), 503);
    numbers_model(numbers, "late", 0, &model);
    assert_result(burble_server_add_model(server, &model, &error), BURBLE_OK);
    assert_int_equal(ask(port, "GET", "/ready", "", reply, sizeof reply), 200);
    assert_int_equal(ask(port, "POST", "/v1/completions", body, reply, sizeof reply), 200);
    assert_result(burble_server_remove_model(server, "late"), BURBLE_OK);
    assert_result(burble_server_remove_model(server, "late"), BURBLE_EINVAL);
    assert_int_equal(ask(port, "POST", "/v1/completions", body, reply, sizeof reply), 503);
    stop(&server, numbers);
}

static void server_is_ready_once_all_expected_models_were_added(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    options.expected_models = 2;
    burble_server *server = create_at(HERE, &options);
    burble_error error = {.code = BURBLE_OK};
    burble_serve_model model;
    char reply[8192];
    static const char body[] = "{\"model\":\"first\",\"prompt\":\"x\"}";
    assert_result(burble_server_start(server, &error), BURBLE_OK);
    const uint16_t port = burble_server_port(server);
    numbers_model(numbers, "first", 0, &model);
    assert_result(burble_server_add_model(server, &model, &error), BURBLE_OK);
    assert_int_equal(ask(port, "GET", "/ready", "", reply, sizeof reply), 503);
    assert_int_equal(ask(port, "POST", "/v1/completions", body, reply, sizeof reply), 200);
    numbers_model(numbers, "second", 0, &model);
    assert_result(burble_server_add_model(server, &model, &error), BURBLE_OK);
    assert_int_equal(ask(port, "GET", "/ready", "", reply, sizeof reply), 200);
    /* One that is removed later was added nevertheless. */
    assert_result(burble_server_remove_model(server, "first"), BURBLE_OK);
    assert_int_equal(ask(port, "GET", "/ready", "", reply, sizeof reply), 200);
    stop(&server, numbers);
}

static void keys_are_replaced_while_the_server_runs(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    burble_server *server = start(numbers, &options);
    const uint16_t port = burble_server_port(server);
    const char *keys[] = {"one"};
    char reply[8192];
    assert_int_equal(ask(port, "GET", "/v1/models", "", reply, sizeof reply), 200);
    assert_result(burble_server_set_keys(server, keys, 1), BURBLE_OK);
    assert_int_equal(ask(port, "GET", "/v1/models", "", reply, sizeof reply), 401);
    assert_result(burble_server_set_keys(server, NULL, 0), BURBLE_OK);
    assert_int_equal(ask(port, "GET", "/v1/models", "", reply, sizeof reply), 200);
    stop(&server, numbers);
}

static void keys_that_no_header_can_carry_are_refused_and_the_old_ones_stay(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    burble_server *server = start(numbers, &options);
    const uint16_t port = burble_server_port(server);
    const char *keys[] = {"one", "with a space"};
    char reply[8192];
    assert_result(burble_server_set_keys(server, keys, 2), BURBLE_EINVAL);
    assert_int_equal(ask(port, "GET", "/v1/models", "", reply, sizeof reply), 200);
    stop(&server, numbers);
}

static void text_of_a_stream_that_is_no_answer_is_refused(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    burble_server *server = start(numbers, &options);
    burble_stream *stream;
    assert_result(burble_stream_create(NULL, &stream), BURBLE_OK);
    burble_serve_source source = {.stream = stream};
    assert_result(burble_server_read_text(server, stream, &source, 1), BURBLE_EINVAL);
    assert_result(burble_server_read_text(server, stream, &source, 0), BURBLE_EINVAL);
    source.reserved[0] = 1;
    assert_result(burble_server_read_text(server, stream, &source, 1), BURBLE_EINVAL);
    burble_stream_unref(&stream);
    stop(&server, numbers);
}

/* ---- counts -------------------------------------------------------------------------------------------- */

struct counted {
    burble_serve_counts base; /* first */
    _Atomic(unsigned) read, released;
};

static void read_counts(burble_serve_counts *base, uint64_t *prompt_tokens, uint64_t *reused_tokens)
{
    atomic_fetch_add(&((struct counted *)(void *)base)->read, 1);
    *prompt_tokens += 10;
    *reused_tokens = 3;
}

static void release_counts(burble_serve_counts *base)
{
    atomic_fetch_add(&((struct counted *)(void *)base)->released, 1);
}

static int submit_counted(void *arg, const burble_serve_request *request, burble_stream *stream,
                          burble_error *error)
{
    (void)error;
    struct counted *counted = arg;
    burble_serve_source source = {.counts = &counted->base};
    burble_stream *text;
    if (burble_stream_create(NULL, &text) != BURBLE_OK
        || burble_reader_create(text, BURBLE_FROM_OLDEST, &source.reader, NULL) != BURBLE_OK
        || burble_stream_append(text, "x", 1, 1) != BURBLE_OK)
        abort();
    if (request->prompt.len == 0) /* else the client leaves before its end */
        burble_stream_end(text, BURBLE_REASON_STOP);
    source.stream = text;
    source.prompt_tokens = BURBLE_FRAME_MAX_NUMBER + 1; /* of which no frame can be read */
    if (burble_server_read_text(request->server, stream, &source, 1) != BURBLE_EINVAL)
        abort();
    source.prompt_tokens = 2;
    const int result = burble_server_read_text(request->server, stream, &source, 1);
    burble_stream_unref(&text);
    return result;
}

/* All that the server sends to a completion of this prompt; or, with `leave`, its first byte. */
static void complete(uint16_t port, const char *prompt, bool leave, char *answer, size_t size)
{
    char request[512], body[128];
    size_t len = 0;
    const int fd = connect_to(port);
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"stream\":%s}", prompt,
             leave ? "true" : "false");
    const int n =
        snprintf(request, sizeof request,
                 "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                 "Content-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
    assert_int_equal(write(fd, request, (size_t)n), n);
    for (ssize_t got = 1; got > 0 && len < size - 1 && !(leave && len > 0); len += (size_t)got)
        got = read(fd, answer + len, leave ? 1 : size - 1 - len);
    answer[len] = '\0';
    close(fd);
}

static void counts_of_source_are_read_at_its_end_and_released_once(void **state)
{
    (void)state;
    struct counted counted = {.base = {read_counts, release_counts}};
    burble_serve_model model = {.name = "counted", .submit = submit_counted, .arg = &counted};
    burble_server_options options = quick_options();
    burble_error error = {.code = BURBLE_OK};
    char answer[4096];
    burble_server *server = create_at(HERE, &options);
    assert_result(burble_server_add_model(server, &model, &error), BURBLE_OK);
    assert_result(burble_server_start(server, &error), BURBLE_OK);
    complete(burble_server_port(server), "", false, answer, sizeof answer);
    assert_non_null(strstr(answer, "\"prompt_tokens\":12,"));
    assert_non_null(strstr(answer, "\"cached_tokens\":3"));
    complete(burble_server_port(server), "x", true, answer, sizeof answer);
    burble_server_destroy(&server);
    assert_int_equal(atomic_load(&counted.read), 1);
    assert_int_equal(atomic_load(&counted.released), 2);
}

/* ---- sources that are ahead of their client -------------------------------------------------------------- */

static int submit_source(void *arg, const burble_serve_request *request, burble_stream *stream,
                         burble_error *error)
{
    (void)error;
    burble_serve_source source = {.stream = arg};
    return burble_server_read_text(request->server, stream, &source, 1);
}

/* Beyond the source itself, text is in the answer's log, waits for the socket, and is in the kernel's buffers of both ends. */
static void source_of_client_that_does_not_read_is_full_from_64_KiB_on(void **state)
{
    enum { SOURCE = 65536, BEHIND = 7 * 65536, TRIES = 10000 };
    static const char asked[] =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 28\r\n\r\n"
        "{\"prompt\":\"x\",\"stream\":true}";
    static char text[256];
    char status[sizeof "HTTP/1.1 200" - 1];
    burble_stream *source;
    burble_error error = {.code = BURBLE_OK};
    burble_server_options options = quick_options();
    (void)state;
    memset(text, 'x', sizeof text);
    assert_result(burble_stream_create(NULL, &source), BURBLE_OK);
    assert_result(burble_stream_append(source, text, sizeof text, 1), BURBLE_OK);
    burble_server *server = create_at(HERE, &options);
    burble_serve_model model = {.name = "source", .submit = submit_source, .arg = source};
    assert_result(burble_server_add_model(server, &model, &error), BURBLE_OK);
    assert_result(burble_server_start(server, &error), BURBLE_OK);
    const int fd = connect_to(burble_server_port(server));
    assert_int_equal(write(fd, asked, sizeof asked - 1), sizeof asked - 1);
    assert_int_equal(recv(fd, status, sizeof status, MSG_WAITALL), sizeof status);
    assert_memory_equal(status, "HTTP/1.1 200", sizeof status); /* so the source has its reader */
    size_t taken = sizeof text;
    for (int full = 0; full < TRIES;) {
        const int result = burble_stream_append_until(source, text, sizeof text, 1, BURBLE_NO_WAIT);
        if (result == BURBLE_OK) {
            taken += sizeof text;
            assert_true(taken <= SOURCE + BEHIND);
        } else {
            assert_result(result, BURBLE_EFULL);
            assert_true(taken > SOURCE - sizeof text);
            full++;
            sched_yield();
        }
    }
    close(fd);
    while (burble_stream_append_until(source, text, sizeof text, 1, BURBLE_NO_WAIT)
           != BURBLE_ECANCELED) {
    }
    burble_server_destroy(&server);
    burble_stream_unref(&source);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void begin_stream(int fd, const char *model)
{
    char request[512], byte;
    char body[128];
    snprintf(body, sizeof body,
             "{\"model\":\"%s\",\"prompt\":\"x\",\"max_tokens\":100000,\"stream\":true}", model);
    const int n = snprintf(
        request, sizeof request,
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);
    assert_int_equal(write(fd, request, (size_t)n), n);
    assert_int_equal(read(fd, &byte, 1), 1);
}

static void destroy_ends_running_answers(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 3; loops++) {
        struct numbers *numbers = numbers_create(100);
        burble_server_options options = quick_options();
        options.loops = loops;
        burble_server *server = start(numbers, &options);
        int fds[8];
        for (size_t i = 0; i < 8; i++) {
            fds[i] = connect_to(burble_server_port(server));
            begin_stream(fds[i], i % 2 == 0 ? "numbers" : "plain");
        }
        burble_server_destroy(&server);
        while (numbers_counts(numbers).running > 0)
            ;
        for (size_t i = 0; i < 8; i++)
            close(fds[i]);
        numbers_destroy(numbers);
    }
}

static void wait_has_a_deadline_and_drain_ends_it(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(0);
    burble_server_options options = quick_options();
    burble_server *server = start(numbers, &options);
    burble_server_stats stats;
    assert_result(burble_server_wait(server, burble_now() + SECOND / 100), BURBLE_ETIMEDOUT);
    burble_server_drain(server, SECOND);
    assert_result(burble_server_wait(server, 0), BURBLE_OK);
    assert_int_equal(connect_to(burble_server_port(server)), -1);
    burble_server_stats_now(server, &stats);
    assert_int_equal(stats.connections, 0);
    stop(&server, numbers);
}

static void stats_count(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(50);
    burble_server_options options = quick_options();
    burble_server *server = start(numbers, &options);
    burble_server_stats stats;
    char reply[8192];
    const int fd = connect_to(burble_server_port(server));
    begin_stream(fd, "numbers");
    assert_int_equal(ask(burble_server_port(server), "GET", "/health", "", reply, sizeof reply),
                     200);
    burble_server_stats_now(server, &stats);
    assert_int_equal(stats.accepted, 2);
    assert_int_equal(stats.running, 1);
    assert_int_equal(stats.streaming, 1);
    assert_int_equal(stats.requests, 1); /* that is over */
    close(fd);
    do
        burble_server_stats_now(server, &stats);
    while (stats.running > 0 || stats.connections > 0);
    stop(&server, numbers);
}

/* ---- forks --------------------------------------------------------------------------------------------- */

struct forking {
    burble_server *server;
    int client;
};

/* In the child: nothing runs there, and destroying closes the copies of the sockets. */
static int destroy_in_child(void *arg)
{
    struct forking *forking = arg;
    burble_server *server = forking->server;
    burble_server_stats stats;
    burble_server_drain(server, 0);
    burble_server_stats_now(server, &stats);
    if (burble_server_wait(server, 0) != BURBLE_OK || stats.connections != 0)
        return 1;
    burble_server_destroy(&server);
    return server == NULL ? 0 : 2;
}

static void forked_child_closes_its_copies(void **state)
{
    (void)state;
    struct numbers *numbers = numbers_create(100);
    burble_server_options options = quick_options();
    burble_server *server = start(numbers, &options);
    struct forking forking = {.server = server, .client = connect_to(burble_server_port(server))};
    char reply[4096];
    begin_stream(forking.client, "numbers");
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    /* This child lives on, so that a socket that it still had would stay open. */
    const pid_t child = fork();
    if (child == 0) {
        char byte;
        close(gate[1]);
        const int failed = destroy_in_child(&forking);
        _exit(read(gate[0], &byte, 1) == 0 ? failed : 3);
    }
    close(gate[0]);
    assert_int_equal(in_child(destroy_in_child, &forking), 0);
    assert_int_equal(ask(burble_server_port(server), "GET", "/health", "", reply, sizeof reply),
                     200);
    burble_server_destroy(&server);
    while (read(forking.client, reply, sizeof reply) > 0)
        ; /* until the connection is closed: the child does not hold it */
    close(gate[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(forking.client);
    numbers_destroy(numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_out_of_range_are_refused_by_name),
        cmocka_unit_test(reserved_members_are_refused),
        cmocka_unit_test(destroy_of_null_and_of_a_server_that_never_started),
        cmocka_unit_test(port_in_use_is_an_error_with_its_number),
        cmocka_unit_test(host_that_is_none_and_second_start_are_refused),
        cmocka_unit_test(start_from_many_threads_starts_once),
        cmocka_unit_test(listening_socket_is_taken_over),
        cmocka_unit_test(models_come_and_go_while_the_server_runs),
        cmocka_unit_test(server_is_ready_once_all_expected_models_were_added),
        cmocka_unit_test(keys_are_replaced_while_the_server_runs),
        cmocka_unit_test(keys_that_no_header_can_carry_are_refused_and_the_old_ones_stay),
        cmocka_unit_test(text_of_a_stream_that_is_no_answer_is_refused),
        cmocka_unit_test(counts_of_source_are_read_at_its_end_and_released_once),
        cmocka_unit_test(source_of_client_that_does_not_read_is_full_from_64_KiB_on),
        cmocka_unit_test(destroy_ends_running_answers),
        cmocka_unit_test(wait_has_a_deadline_and_drain_ends_it),
        cmocka_unit_test(stats_count),
        cmocka_unit_test(forked_child_closes_its_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
