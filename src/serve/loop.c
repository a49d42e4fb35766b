/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <burble/clock.h>
#include <burble/loop_uv.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/thread.h"
#include "serve/connection.h"
#include "serve/registry.h"
#include "serve/server.h"

/* Connections that are accepted in one turn of the loop, so that others get theirs. */
#define ACCEPTED_AT_ONCE 64

/* How often, in ms, the first loop looks after the server: usually, and during a drain. */
#define WATCH 1000u
#define WATCH_DRAIN 50u

/* Descriptors that a loop of libuv opens: its own, and once in a process a pipe for signals. */
#define UV_DESCRIPTORS 8

/* The most bytes of one batch, whatever is in it. */
#define MAX_OUTPUT ((size_t)1 << 30)

/* ---- time ---------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

static void turn_later(struct burble__loop *loop)
{
    const uint64_t now = burble__loop_now(loop);
    loop->turn_at = loop->stopping ? UINT64_MAX : burble__wheel_next(&loop->wheel);
    if (loop->turn_at == UINT64_MAX)
        uv_timer_stop(&loop->timer);
    else
        uv_timer_start(&loop->timer, on_timer, loop->turn_at > now ? loop->turn_at - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct burble__loop *loop = timer->data;
    burble__wheel_turn(&loop->wheel, burble__loop_now(loop));
    turn_later(loop);
}

void burble__loop_set(struct burble__loop *loop, struct burble__timer *timer, uint64_t due)
{
    burble__wheel_set(&loop->wheel, timer, due);
    if (loop->turn_at > BURBLE__WHEEL_TICK && due < loop->turn_at - BURBLE__WHEEL_TICK)
        turn_later(loop);
}

void burble__loop_clear(struct burble__loop *loop, struct burble__timer *timer)
{
    burble__wheel_clear(&loop->wheel, timer);
}

const char *burble__loop_date(struct burble__loop *loop)
{
    const time_t now = time(NULL);
    if ((uint64_t)now != loop->date_at) {
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        struct tm tm;
        char format[32];
        gmtime_r(&now, &tm);
        /* Not strftime's names: they depend on the locale. */
        strftime(format, sizeof format, "___, %d ___ %Y %H:%M:%S GMT", &tm);
        memcpy(format, days[tm.tm_wday], 3);
        memcpy(format + 8, months[tm.tm_mon], 3);
        memcpy(loop->date, format, sizeof loop->date);
        loop->date_at = (uint64_t)now;
    }
    return loop->date;
}

uint64_t burble__loop_random(struct burble__loop *loop)
{
    /* splitmix64 */
    uint64_t z = loop->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- accepting ----------------------------------------------------------------------------------------- */

static void note_address(const struct sockaddr_storage *from, unsigned char address[16])
{
    memset(address, 0, 16);
    if (from->ss_family == AF_INET6) {
        memcpy(address, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
    } else if (from->ss_family == AF_INET) {
        address[10] = address[11] = 0xff;
        memcpy(address + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    }
}

/* There is no descriptor left: takes one client off the queue, which would otherwise wake the loop for ever. */
static void accept_and_close(struct burble__loop *loop)
{
    if (loop->spare_fd >= 0)
        close(loop->spare_fd);
    /* cppcheck-suppress nullPointer ; the address is optional */
    const int socket = accept4(loop->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (socket >= 0)
        close(socket);
    loop->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    burble__metrics_count(burble__loop_metrics(loop), BURBLE__COUNT_REFUSED, 1);
}

static void refuse_connection(struct burble__loop *loop, int socket)
{
    static const char reply[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                                "Retry-After: 1\r\nContent-Type: application/json\r\n"
                                "Content-Length: 105\r\n\r\n"
                                "{\"error\":{\"message\":\"too many connections\",\"type\":"
                                "\"server_error\",\"param\":null,\"code\":\"too_many_clients\"}}";
    (void)send(socket, reply, sizeof reply - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(socket);
    burble__metrics_count(burble__loop_metrics(loop), BURBLE__COUNT_REFUSED, 1);
}

static void on_client(uv_poll_t *poll, int status, int events)
{
    struct burble__loop *loop = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTED_AT_ONCE; i++) {
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof from;
        unsigned char address[16];
        const int socket =
            accept4(loop->listen_fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket < 0) {
            const int reason = errno;
            if (reason == EAGAIN || reason == EWOULDBLOCK)
                return;
            if (reason == EMFILE || reason == ENFILE || reason == ENOBUFS || reason == ENOMEM)
                accept_and_close(loop);
            continue;
        }
        if (!burble__server_admit(loop->server, socket)) {
            refuse_connection(loop, socket);
            continue;
        }
        burble__metrics_count(burble__loop_metrics(loop), BURBLE__COUNT_ACCEPTED, 1);
        note_address(&from, address);
        burble__connection_create(loop, socket, address);
    }
}

static void on_listen_closed(uv_handle_t *handle)
{
    struct burble__loop *loop = handle->data;
    close(loop->listen_fd);
    loop->listen_fd = -1;
}

static void stop_accepting(struct burble__loop *loop)
{
    if (!loop->accepting)
        return;
    loop->accepting = false;
    uv_close((uv_handle_t *)&loop->listen_poll, on_listen_closed);
}

/* ---- the server's state, and posts --------------------------------------------------------------------- */

static void close_idle(struct burble__loop *loop)
{
    struct burble__connection *next;
    for (struct burble__connection *at = loop->connections; at != NULL; at = next) {
        next = at->next;
        if (at->phase == BURBLE__IDLE)
            burble__connection_close(at);
    }
}

/* The last handle: without it, the loop's thread ends. */
static void end_without_works(struct burble__loop *loop)
{
    if (loop->stopping && loop->works == 0 && !uv_is_closing((uv_handle_t *)&loop->wake))
        uv_close((uv_handle_t *)&loop->wake, NULL);
}

void burble__loop_work_begins(struct burble__loop *loop)
{
    loop->works++;
}

void burble__loop_work_ended(struct burble__loop *loop)
{
    loop->works--;
    end_without_works(loop);
}

static void stop(struct burble__loop *loop)
{
    if (loop->stopping)
        return;
    stop_accepting(loop);
    while (loop->connections != NULL)
        burble__connection_close(loop->connections);
    burble__recorders_stop(&loop->recorders, BURBLE_ECLOSED, "the server is shutting down");
    burble__retries_close(&loop->retries);
    loop->stopping = true;
    burble__loop_clear(loop, &loop->watch_timer);
    uv_close((uv_handle_t *)&loop->hub_poll, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    end_without_works(loop);
}

static void run_posts(struct burble__loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct burble__post *posts = loop->posts;
    loop->posts = NULL;
    loop->last_post = &loop->posts;
    pthread_mutex_unlock(&loop->lock);
    while (posts != NULL) {
        struct burble__post *post = posts;
        posts = post->next;
        post->run(loop, post);
    }
}

static void on_watch(struct burble__timer *timer)
{
    struct burble__loop *loop =
        (struct burble__loop *)(void *)((char *)timer - offsetof(struct burble__loop, watch_timer));
    burble_server *server = loop->server;
    burble__registry_tick(server->registry, burble_now());
    burble__server_watch_drain(server);
    const bool drains = burble__server_state(server) >= BURBLE__SERVER_DRAINING;
    burble__loop_set(loop, timer, burble__loop_now(loop) + (drains ? WATCH_DRAIN : WATCH));
}

static void on_wake(uv_async_t *async)
{
    struct burble__loop *loop = async->data;
    const enum burble__state state = burble__server_state(loop->server);
    run_posts(loop);
    if (state >= BURBLE__SERVER_DRAINING && loop->index == 0 && !loop->stopping)
        burble__loop_set(loop, &loop->watch_timer, burble__loop_now(loop));
    if (state >= BURBLE__SERVER_CLOSING) {
        stop_accepting(loop);
        close_idle(loop);
    }
    if (state >= BURBLE__SERVER_STOPPING)
        stop(loop);
}

void burble__loop_wake(struct burble__loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    if (!loop->closed)
        uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
}

bool burble__loop_post(struct burble__loop *loop, struct burble__post *post)
{
    pthread_mutex_lock(&loop->lock);
    const bool open = !loop->closed;
    if (open) {
        post->next = NULL;
        *loop->last_post = post;
        loop->last_post = &post->next;
        uv_async_send(&loop->wake);
    }
    pthread_mutex_unlock(&loop->lock);
    return open;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void *run(void *arg)
{
    struct burble__loop *loop = arg;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    pthread_mutex_lock(&loop->lock);
    loop->closed = true;
    pthread_mutex_unlock(&loop->lock);
    run_posts(loop); /* they find that the loop stops */
    burble__server_loop_ended(loop->server);
    return NULL;
}

int burble__loop_start(struct burble__loop *loop, burble_error *error)
{
    const int result = burble__thread_start(&loop->thread, run, loop);
    if (result != 0) {
        errno = result;
        return burble__error_set(error, BURBLE_ESYSTEM, "cannot start a thread: %s",
                                 strerror(result));
    }
    loop->started = true;
#ifdef __linux__
    pthread_setname_np(loop->thread, BURBLE__LOOP_NAME);
#endif
    return BURBLE_OK;
}

static int fail_uv(burble_error *error, int result)
{
    errno = -result;
    if (result == UV_ENOMEM)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    return burble__error_set(error, BURBLE_ESYSTEM, "cannot make an event loop: %s",
                             uv_strerror(result));
}

/* The handles: those that were initialized are closed by burble__loop_destroy. */
static int open_handles(struct burble__loop *loop)
{
    int result = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (result == 0)
        result = uv_timer_init(&loop->uv, &loop->timer);
    if (result == 0)
        result = burble__retries_init(&loop->retries, &loop->uv);
    if (result == 0)
        result = burble_uv_poll_init(&loop->uv, &loop->hub_poll, loop->hub);
    if (result == 0)
        result = uv_poll_init(&loop->uv, &loop->listen_poll, loop->listen_fd);
    if (result != 0)
        return result;
    loop->recorders = (struct burble__recorders){.hub = loop->hub, .retries = &loop->retries};
    loop->wake.data = loop;
    loop->timer.data = loop;
    loop->listen_poll.data = loop;
    loop->accepting = true;
    return uv_poll_start(&loop->listen_poll, UV_READABLE, on_client);
}

/* Whether there are as many descriptors as libuv's first loop needs: without them, it aborts the process. */
static bool has_descriptors(int fd)
{
    int fds[UV_DESCRIPTORS];
    int n = 0;
    while (n < UV_DESCRIPTORS && (fds[n] = fcntl(fd, F_DUPFD_CLOEXEC, 0)) >= 0)
        n++;
    const int reason = errno;
    const bool enough = n == UV_DESCRIPTORS;
    while (n > 0)
        close(fds[--n]);
    errno = reason;
    return enough;
}

int burble__loop_create(struct burble__loop *loop, burble_server *server, unsigned index,
                        int listen_fd, burble_error *error)
{
    *loop = (struct burble__loop){
        .server = server,
        .index = index,
        .turn_at = UINT64_MAX,
        .listen_fd = -1,
        .spare_fd = -1,
        .last_post = &loop->posts,
        .watch_timer.fire = on_watch,
    };
    pthread_mutex_init(&loop->lock, NULL);
    burble__buffer_init(&loop->output, MAX_OUTPUT);
    if (getrandom(&loop->random, sizeof loop->random, 0) != (ssize_t)sizeof loop->random)
        loop->random = burble_now() + index;
    loop->input = burble__malloc(BURBLE__INPUT);
    if (loop->input == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    int result = burble_hub_create(NULL, &loop->hub);
    if (result != BURBLE_OK)
        return burble__error_set(error, result, "cannot make an event loop");
    loop->listen_fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0);
    loop->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (loop->listen_fd < 0 || loop->spare_fd < 0 || !has_descriptors(loop->spare_fd))
        return fail_uv(error, -errno);
    result = uv_loop_init(&loop->uv);
    if (result != 0)
        return fail_uv(error, result);
    loop->created = true;
    result = open_handles(loop);
    if (result != 0)
        return fail_uv(error, result);
    burble__wheel_init(&loop->wheel, burble__loop_now(loop));
    if (index == 0)
        burble__loop_set(loop, &loop->watch_timer, burble__loop_now(loop) + WATCH);
    return BURBLE_OK;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void burble__loop_destroy(struct burble__loop *loop)
{
    if (loop->created) {
        uv_walk(&loop->uv, close_handle, NULL); /* of a loop that never ran */
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        uv_loop_close(&loop->uv);
    }
    burble_hub_destroy(&loop->hub);
    if (loop->listen_fd >= 0)
        close(loop->listen_fd);
    if (loop->spare_fd >= 0)
        close(loop->spare_fd);
    burble__buffer_finish(&loop->output);
    burble__free(loop->input);
    pthread_mutex_destroy(&loop->lock);
}
