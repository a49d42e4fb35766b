/* SPDX-License-Identifier: MIT
 *
 * llama_load.c's workloads with llama-server: one connection a request, whose server-sent events are
 * looked through for what a client needs, no more. So this side costs little.
 */
#define _GNU_SOURCE /* memmem */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "llama_load.h"

const char transport_usage[] = "llama_load_server PORT PID";

/* The last event repeats the prompt, which may be long. */
enum { LINE = 1 << 17 };

static struct sockaddr_in server;
static clockid_t server_clock;
static int events = -1;

struct connection {
    int socket;
    bool accepted; /* the status line has come */
    size_t len;    /* of the line that has come so far */
    char line[LINE];
};

void transport_open(int argc, char **argv)
{
    if (argc != 3)
        die("usage", transport_usage);
    server = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (clock_getcpuclockid((pid_t)strtol(argv[2], NULL, 10), &server_clock) != 0)
        die("PID: expected that of llama-server, found", argv[2]);
    events = (int)checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
}

void transport_close(void)
{
    close(events);
}

double transport_cpu(void)
{
    return seconds_of(server_clock);
}

/* ---- requests -------------------------------------------------------------------------------------- */

/* Writes the prompt as JSON; returns its length. */
static size_t write_prompt(char *out, size_t size, const struct answer *answer)
{
    size_t len = 0;
    if (answer->ids != NULL) {
        for (size_t i = 0; i < answer->n_ids && len + 16 < size; i++)
            len += (size_t)sprintf(out + len, "%c%d", i == 0 ? '[' : ',', (int)answer->ids[i]);
        out[len++] = ']';
        return len;
    }
    out[len++] = '"';
    for (const char *at = answer->prompt; *at != '\0' && len + 4 < size; at++) {
        if (*at == '\n' || *at == '"' || *at == '\\')
            out[len++] = '\\';
        out[len++] = *at == '\n' ? 'n' : *at;
    }
    out[len++] = '"';
    return len;
}

static void send_all(int socket, const char *data, size_t len)
{
    while (len > 0) {
        const size_t sent = (size_t)checked(send(socket, data, len, MSG_NOSIGNAL), "sending");
        data += sent;
        len -= sent;
    }
}

/* Greedy by the shortest way that the server has. */
static void send_request(int socket, const struct answer *answer)
{
    static char body[LINE];
    char head[128];
    size_t len = (size_t)sprintf(body, "{\"prompt\":");
    len += write_prompt(body + len, sizeof body - 256, answer);
    len += (size_t)sprintf(body + len,
                           ",\"n_predict\":%u,\"stream\":true,\"samplers\":[\"top_k\"],\"top_k\":1,"
                           "\"ignore_eos\":true}",
                           answer->max_tokens);
    const int head_len =
        snprintf(head, sizeof head,
                 "POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                 len);
    send_all(socket, head, (size_t)head_len);
    send_all(socket, body, len);
}

void transport_submit(struct answer *answer)
{
    struct connection *connection = allocate(sizeof *connection);
    const int on = 1;
    const int fd = (int)checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "a socket");
    checked(connect(fd, (struct sockaddr *)&server, sizeof server), "connecting");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = answer};
    checked(epoll_ctl(events, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    connection->socket = fd;
    answer->own = connection;
    send_request(connection->socket, answer);
}

void transport_cancel(struct answer *answer)
{
    struct connection *connection = answer->own;
    close(connection->socket);
    free(connection);
    answer->own = NULL;
    answer->over = true;
}

/* ---- answers --------------------------------------------------------------------------------------- */

/* Decodes a JSON string from behind its opening quote, in place; returns its length. Other escapes than the
 * ones that the server writes are not known. */
static size_t unescape(char *text)
{
    static const char escapes[] = "nrtbf";
    static const char meant[] = "\n\r\t\b\f";
    char *out = text;
    for (const char *in = text; *in != '"' && *in != '\0'; in++) {
        char c = *in;
        if (c == '\\') {
            c = *++in;
            const char *found = strchr(escapes, c);
            if (c == 'u') { /* a control character */
                c = (char)strtol((char[]){in[3], in[4], '\0'}, NULL, 16);
                in += 4;
            } else if (found != NULL) {
                c = meant[found - escapes];
            }
        }
        *out++ = c;
    }
    return (size_t)(out - text);
}

static void take_line(struct answer *answer)
{
    static const char content[] = "\"content\":\"";
    struct connection *connection = answer->own;
    char *line = connection->line;
    if (!connection->accepted) {
        if (strncmp(line, "HTTP/1.1 200 ", 13) != 0)
            die("llama-server: expected HTTP/1.1 200, found", line);
        connection->accepted = true;
    }
    if (strncmp(line, "data: ", 6) != 0)
        return; /* a header, or the length of a chunk */
    char *text = strstr(line, content);
    if (text == NULL)
        die("llama-server: expected content, found", line);
    if (strstr(line, "\"stop\":true") == NULL || text[sizeof content - 1] != '"') {
        text += sizeof content - 1;
        arrive(answer, text, unescape(text), 1);
    }
}

/* Reads what has come. Its socket is readable. */
static void read_on(struct answer *answer)
{
    static char data[1 << 16];
    struct connection *connection = answer->own;
    const size_t n = (size_t)checked(recv(connection->socket, data, sizeof data, 0), "receiving");
    if (n == 0) {
        transport_cancel(answer);
        return;
    }
    const char *at = data;
    const char *const end = data + n;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const size_t len = (size_t)((newline == NULL ? end : newline) - at);
        if (len >= LINE - connection->len)
            die("llama-server", "a line is too long");
        memcpy(connection->line + connection->len, at, len);
        connection->len += len;
        if (newline == NULL)
            break;
        connection->line[connection->len] = '\0';
        take_line(answer);
        connection->len = 0;
        at = newline + 1;
    }
}

void transport_wait(double deadline)
{
    struct epoll_event ready[64];
    const double left = deadline - seconds_of(CLOCK_MONOTONIC);
    const int ms = left > 0 ? (int)(1e3 * left) + 1 : 0;
    const int n = epoll_wait(events, ready, 64, ms);
    for (int i = 0; i < n; i++)
        read_on(ready[i].data.ptr);
}
