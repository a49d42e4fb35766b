/* SPDX-License-Identifier: MIT
 *
 * A server whose allocations fail in turn, those of its loops and of the threads that parse requests: clients get a
 * response or a closed connection, and once there is memory again, everything works. (libuv's own
 * allocations do not fail: it ends the process then.)
 */
#define _GNU_SOURCE

#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <burble/serve.h>

#include "failing_memory.h"
#include "numbers.h"

/* ---- the allocator --------------------------------------------------------------------------------------- */

enum mode { NEVER, ONCE, FROM_THEN_ON };

static _Atomic(int) mode;
static _Atomic(long) before; /* allocations that still succeed */
static _Atomic(long) failed;

/* Whether this thread's allocations fail: it is the server's, and not in the backend. */
static _Thread_local bool in_backend;

static bool is_servers(void)
{
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    return strncmp(name, "burble-", 7) == 0;
}

static bool fails(void)
{
    const int how = atomic_load(&mode);
    if (how == NEVER || in_backend || !is_servers())
        return false;
    const long left = atomic_fetch_sub(&before, 1);
    if (left > 0 || (how == ONCE && left < 0))
        return false;
    atomic_fetch_add(&failed, 1);
    errno = ENOMEM;
    return true;
}

/* ---- a backend that has memory --------------------------------------------------------------------------- */

static burble_serve_model inner;

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    in_backend = true;
    const int result = inner.submit(arg, request, stream, error);
    in_backend = false;
    return result;
}

/* ---- clients ----------------------------------------------------------------------------------------------- */

static uint16_t port;

/* Sends bytes, and reads until the server closes, or the end of a response. Returns the status; 0: closed before. */
static int ask(const char *request, char *reply, size_t room)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    const struct timeval patience = {.tv_sec = 20};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t len = 0;
    ssize_t got = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0
        && send(fd, request, strlen(request), MSG_NOSIGNAL) > 0)
        while (len + 1 < room && (got = recv(fd, reply + len, room - len - 1, 0)) > 0)
            len += (size_t)got;
    assert_false(got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)); /* the server forgot it */
    close(fd);
    reply[len] = '\0';
    return len > 12 ? atoi(reply + 9) : 0;
}

#define REQUEST(start, headers, body)                                                              \
    start " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" headers "\r\n" body
#define POST(path, headers, length, body)                                                          \
    REQUEST("POST " path, headers "Content-Length: " #length "\r\n", body)

static char reply[65536];

/* Everything that a client does; `sound`: all of it must work. */
static void visit(bool sound)
{
    static const struct {
        const char *request;
        int status;
        const char *end; /* of a sound response */
    } visits[] = {
        {REQUEST("GET /health", "X-Request-Id: a\r\nOrigin: http://o\r\n", ""), 200, "}\n"},
        {REQUEST("GET /v1/models", "", ""), 200, "}]}"},
        {REQUEST("GET /", "", ""), 200, ">\n"},
        {REQUEST("GET /nowhere", "", ""), 404, "}}"},
        {REQUEST("GET /metrics", "", ""), 200, "\n"},
        {"nonsense\r\n\r\n", 400, "}}"},
        {POST("/tokenize", "", 17, "{\"content\":\"abc\"}"), 200, "}"},
        {POST("/detokenize", "", 18, "{\"tokens\":[97,98]}"), 200, "}"},
        {POST("/v1/completions", "", 16, "{\"prompt\":\"abc\"}"), 200, "}}"},
        {POST("/v1/completions", "Idempotency-Key: KEY\r\n", 30,
              "{\"prompt\":\"abc\",\"stream\":true}"),
         200, "0\r\n\r\n"},
        {POST("/v1/completions", "Burble-Resumable: 1\r\n", 46,
              "{\"prompt\":\"abc\",\"stream\":true,\"model\":\"plain\"}"),
         200, NULL},
        {POST("/v1/completions", "", 33, "{\"prompt\":\"!break\",\"stream\":true}"), 0, NULL},
    };
    for (size_t i = 0; i < sizeof visits / sizeof visits[0]; i++) {
        const int status = ask(visits[i].request, reply, sizeof reply);
        if (!sound || visits[i].end == NULL)
            continue;
        const size_t len = strlen(reply), end = strlen(visits[i].end);
        if (status != visits[i].status || len < end
            || strcmp(reply + len - end, visits[i].end) != 0)
            fail_msg("%s\n\n%s", visits[i].request, reply);
    }
}

static void fail_in_turn(enum mode how)
{
    long n = 0;
    do {
        atomic_store(&failed, 0);
        atomic_store(&before, n++);
        atomic_store(&mode, how);
        visit(false);
        atomic_store(&mode, NEVER);
        if (n % 16 == 0)
            visit(true);
    } while (atomic_load(&failed) > 0);
    assert_true(n > 100);
    visit(true);
}

static void server_without_memory_answers_or_closes_and_works_again(void **state)
{
    (void)state;
    const long at_first = atomic_load(&blocks);
    struct numbers *numbers = numbers_create(0);
    burble_server_options options;
    burble_server *server;
    const char *origins[] = {"http://o"};
    burble_server_options_init(&options);
    options.port = 0;
    options.origins = origins;
    options.n_origins = 1;
    options.retain = 65536;
    assert_result(burble_server_create(&options, &server, NULL), BURBLE_OK);
    for (int plain = 0; plain < 2; plain++) {
        numbers_model(numbers, plain ? "plain" : "numbers", plain, &inner);
        burble_serve_model model = inner;
        model.submit = submit;
        assert_result(burble_server_add_model(server, &model, NULL), BURBLE_OK);
    }
    assert_result(burble_server_start(server, NULL), BURBLE_OK);
    port = burble_server_port(server);
    visit(true);
    fail_in_turn(ONCE);
    fail_in_turn(FROM_THEN_ON);
    burble_server_destroy(&server);
    numbers_destroy(numbers);
    assert_int_equal(atomic_load(&blocks), at_first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_without_memory_answers_or_closes_and_works_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
