/* SPDX-License-Identifier: MIT
 *
 * The least that a server of streams can do, which serve.py holds libburble-serve against: a thread makes a piece of text
 * for each client (serve_pace.h) and hands it over through an array under a lock and one eventfd a step; a loop on
 * bare epoll writes OpenAI's JSON around it, which was formatted when the client came, and sends each client all of
 * its waiting text by one call. Requests are not parsed, nothing is bounded, no answer can be resumed, and a client that
 * stalls loses text.
 *
 *     serve_floor RATE        pieces a second for each client
 *
 * Prints its port, and ends with standard input.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve_pace.h"

enum { CLIENTS = 16384, ENVELOPE = 256, QUEUE = 1 << 20, CHUNK = 512, OUTPUT = 1 << 14 };

#define NONE UINT32_MAX

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "serve_floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

struct client {
    int socket;
    bool answering;
    unsigned matched; /* bytes of the blank line that ends the headers */
    size_t len;
    char envelope[ENVELOPE]; /* what stands before the text */
};

static struct client *clients[CLIENTS]; /* by the number of the socket */

/* A piece of text that the thread hands to the loop. */
struct piece {
    int socket;
    unsigned len;
    uint32_t next; /* of the same client, or NONE; the loop's */
    bool first;    /* of its client; the loop's */
    char text[PIECE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct piece buffers[2][QUEUE];
static struct piece *handed = buffers[0]; /* under the lock: n_handed of them */
static size_t n_handed;
static int served[CLIENTS]; /* under the lock: the sockets of the clients that are answered */
static unsigned n_served;
static int events, wake;

/* ---- the thread that makes text -------------------------------------------------------------------- */

static void *produce(void *arg)
{
    const double *rate = arg;
    struct pace pace;
    static uint64_t numbers[CLIENTS];
    pthread_setname_np(pthread_self(), "producer");
    for (pace_begin(&pace, *rate);;) {
        pace_wait(&pace);
        pthread_mutex_lock(&lock);
        const size_t before = n_handed;
        for (unsigned i = pace_first(&pace); i < n_served && n_handed < QUEUE; i += pace.period) {
            struct piece *piece = &handed[n_handed++];
            piece->socket = served[i];
            piece->len = (unsigned)pace_piece(numbers[i]++, piece->text);
        }
        const bool more = n_handed > before;
        pthread_mutex_unlock(&lock);
        if (more && write(wake, &(uint64_t){1}, 8) != 8)
            die("eventfd");
    }
    return NULL;
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void leave(struct client *client)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; client->answering && i < n_served; i++)
        if (served[i] == client->socket)
            served[i] = served[--n_served];
    pthread_mutex_unlock(&lock);
    clients[client->socket] = NULL;
    close(client->socket);
    free(client);
}

static void arrive(int listener)
{
    const int on = 1;
    const int buffer = 16384;
    for (;;) {
        /* cppcheck-suppress nullPointer ; the address is optional */
        const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct client *client = fd < CLIENTS ? calloc(1, sizeof *client) : NULL;
        if (client == NULL) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        client->socket = fd;
        clients[fd] = client;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(events, EPOLL_CTL_ADD, fd, &event);
    }
}

static void begin_answer(struct client *client)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    client->len = (size_t)snprintf(
        client->envelope, ENVELOPE,
        "data: {\"id\":\"chatcmpl-%032x\",\"object\":\"chat.completion.chunk\",\"created\":%lld,"
        "\"model\":\"numbers\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
        (unsigned)client->socket, (long long)time(NULL));
    if (send(client->socket, head, sizeof head - 1, MSG_NOSIGNAL) < 0)
        return;
    client->answering = true;
    pthread_mutex_lock(&lock);
    served[n_served++] = client->socket;
    pthread_mutex_unlock(&lock);
}

/* Looks for the end of the headers; the body is not looked at. */
static void read_request(struct client *client)
{
    static const char blank[] = "\r\n\r\n";
    char data[4096];
    const ssize_t n = recv(client->socket, data, sizeof data, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        leave(client);
        return;
    }
    for (ssize_t i = 0; i < n && !client->answering; i++) {
        client->matched = data[i] == blank[client->matched] ? client->matched + 1 : data[i] == '\r';
        if (client->matched == 4)
            begin_answer(client);
    }
}

/* Writes text as JSON does. */
static size_t escape(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            out[n++] = '\\';
        if ((unsigned char)text[i] < ' ')
            n += (size_t)sprintf(out + n, "\\u%04x", (unsigned)text[i]);
        else
            out[n++] = text[i];
    }
    return n;
}

/* Writes a piece as a chunk: its length with three digits, and the event. Returns its length. */
static size_t write_chunk(const struct client *client, const struct piece *piece, char *out)
{
    static const char after[] = "\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
    static const char digits[] = "0123456789abcdef";
    size_t len = 5;
    memcpy(out + len, client->envelope, client->len);
    len += client->len;
    len += escape(piece->text, piece->len, out + len);
    memcpy(out + len, after, sizeof after - 1);
    len += sizeof after - 1;
    const size_t chunk = len - 5;
    out[0] = digits[chunk >> 8 & 15];
    out[1] = digits[chunk >> 4 & 15];
    out[2] = digits[chunk & 15];
    memcpy(out + 3, "\r\n", 2);
    memcpy(out + len, "\r\n", 2);
    return len + 2;
}

/* Sends a client all of its pieces: `pieces[at]`, and those that follow it by `next`. */
static void send_pieces(const struct piece *pieces, uint32_t at)
{
    static char out[OUTPUT];
    const struct client *client = clients[pieces[at].socket];
    if (client == NULL || !client->answering)
        return;
    size_t len = 0;
    for (; at != NONE && len < OUTPUT - CHUNK; at = pieces[at].next)
        len += write_chunk(client, &pieces[at], out + len);
    /* (What does not fit is lost: this is no server.) */
    (void)!send(client->socket, out, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void take_pieces(struct piece **spare)
{
    static uint32_t latest[CLIENTS]; /* of each socket, the last piece of this batch, plus 1 */
    uint64_t count;
    (void)!read(wake, &count, sizeof count);
    pthread_mutex_lock(&lock);
    struct piece *pieces = handed;
    const size_t n = n_handed;
    handed = *spare;
    n_handed = 0;
    pthread_mutex_unlock(&lock);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t before = latest[pieces[i].socket];
        pieces[i].next = NONE;
        pieces[i].first = before == 0;
        if (before > 0)
            pieces[before - 1].next = i;
        latest[pieces[i].socket] = i + 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        latest[pieces[i].socket] = 0;
        if (pieces[i].first)
            send_pieces(pieces, i);
    }
    *spare = pieces;
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) != 0
        || listen(listener, 4096) != 0
        || getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        die("listening");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    static double rate;
    char *end = NULL;
    rate = argc == 2 ? strtod(argv[1], &end) : -1;
    if (rate < 0 || end == argv[1]) {
        fprintf(stderr, "usage: serve_floor RATE\n");
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    struct piece *spare = buffers[1];
    events = epoll_create1(EPOLL_CLOEXEC);
    wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_t thread;
    if (events < 0 || wake < 0)
        die("starting");
    const int listener = listen_somewhere();
    const int watched[] = {listener, wake, STDIN_FILENO};
    for (int i = 0; i < 3; i++)
        epoll_ctl(events, EPOLL_CTL_ADD, watched[i],
                  &(struct epoll_event){.events = EPOLLIN, .data.fd = watched[i]});
    if (rate > 0 && pthread_create(&thread, NULL, produce, &rate) != 0)
        die("a thread");
    for (;;) {
        struct epoll_event ready[256];
        const int n = epoll_wait(events, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            const int fd = ready[i].data.fd;
            if (fd == listener)
                arrive(listener);
            else if (fd == wake)
                take_pieces(&spare);
            else if (fd == STDIN_FILENO)
                return 0;
            else if (clients[fd] != NULL)
                read_request(clients[fd]);
        }
    }
}
