/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/connection.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "serve/exchange.h"
#include "serve/loop.h"
#include "serve/routes.h"
#include "serve/server.h"

/* How long, in ms, a connection is still read after its last answer: since its client last sent something, and in all.
 * Whoever closes a socket with unread bytes resets it, and a reset takes the answer from a client that has yet to read
 * it. So what counts is the time, not the bytes: a client in the midst of a large body has to be read until it looks. */
#define LINGER_QUIET 2000u
#define LINGER_WHOLE 30000u

/* Bytes that wait for the socket: memory of this write, and of libuv's request. */
struct output {
    uv_write_t request;
    char *given; /* from burble__malloc; NULL: the bytes are behind this struct */
};

static void on_due(struct burble__timer *timer);

static struct burble__connection *of_timer(struct burble__timer *timer)
{
    return (struct burble__connection *)(void *)((char *)timer
                                                 - offsetof(struct burble__connection, timer));
}

static const burble_server_options *options_of(const struct burble__connection *connection)
{
    return &connection->loop->server->options;
}

/* ---- the phases ------------------------------------------------------------------------------------ */

static void enter(struct burble__connection *connection, enum burble__phase phase)
{
    connection->phase = (uint8_t)phase;
    connection->since = burble__loop_now(connection->loop);
    if (phase == BURBLE__HEAD)
        connection->head_bytes = 0;
}

void burble__connection_answers(struct burble__connection *connection, bool last)
{
    connection->last |= last;
    if (connection->phase == BURBLE__HEAD || connection->phase == BURBLE__BODY) {
        connection->last = true; /* the rest of the request is not read */
        enter(connection, BURBLE__ANSWER);
    }
    if (connection->last)
        connection->head_bytes = 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct burble__connection *connection = (struct burble__connection *)(void *)handle;
    burble__free(connection->waiting);
    burble__free(connection);
}

static void drop_kept(struct burble__connection *connection)
{
    struct burble__kept *kept = connection->kept;
    if (kept == NULL)
        return;
    connection->kept = NULL;
    burble__server_uncharge(connection->loop->server, kept->bytes.capacity);
    burble__buffer_finish(&kept->bytes);
    burble__free(kept);
}

void burble__connection_close(struct burble__connection *connection)
{
    if (connection->phase == BURBLE__CLOSED)
        return;
    struct burble__loop *loop = connection->loop;
    connection->phase = BURBLE__CLOSED;
    burble__loop_clear(loop, &connection->timer);
    *connection->at = connection->next;
    if (connection->next != NULL)
        connection->next->at = connection->at;
    if (connection->exchange != NULL) {
        struct burble__exchange *exchange = connection->exchange;
        connection->exchange = NULL;
        burble__exchange_on_left(exchange);
    }
    drop_kept(connection);
    uv_os_fd_t socket;
    if (uv_fileno((uv_handle_t *)&connection->tcp, &socket) == 0)
        burble__server_forget_socket(loop->server, socket);
    burble__server_leave(loop->server, connection->key);
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    (void)status; /* what comes of it, the reading finds out */
    burble__free(request);
}

/* No further request is read. What is written still goes out. */
static void linger(struct burble__connection *connection)
{
    uv_shutdown_t *request = burble__malloc(sizeof *request);
    if (request == NULL
        || uv_shutdown(request, (uv_stream_t *)&connection->tcp, on_shutdown) != 0) {
        burble__free(request);
        burble__connection_close(connection);
        return;
    }
    enter(connection, BURBLE__LINGER);
    connection->heard_after = 0;
    burble__connection_watch(connection);
}

/* When a client that takes too little is cut, in ms; UINT64_MAX: nothing waits for it. */
static uint64_t stalled_at(const struct burble__connection *connection)
{
    const burble_server_options *options = options_of(connection);
    const struct burble__waiting *waiting = connection->waiting;
    if (waiting == NULL || burble__connection_queued(connection) == 0)
        return UINT64_MAX;
    const uint64_t slow = waiting->since + waiting->taken * 1000 / options->output_rate;
    return (slow < waiting->progress ? slow : waiting->progress)
           + burble__in_ms(options->stall_timeout);
}

/* When the timer has to fire, in ms. */
static uint64_t due(const struct burble__connection *connection)
{
    const burble_server_options *options = options_of(connection);
    uint64_t at = UINT64_MAX;
    switch ((enum burble__phase)connection->phase) {
    case BURBLE__IDLE:
        at = connection->since
             + burble__in_ms(connection->served ? options->idle_timeout : options->header_timeout);
        break;
    case BURBLE__HEAD:
        at = connection->since + burble__in_ms(options->header_timeout);
        break;
    case BURBLE__BODY:
        at = connection->since + burble__in_ms(options->body_timeout)
             + connection->exchange->body_seen * 1000 / options->body_rate;
        break;
    case BURBLE__ANSWER:
        at = burble__exchange_due(connection->exchange);
        break;
    case BURBLE__LINGER:
        at = connection->heard_after + LINGER_QUIET;
        at = connection->since + (at < LINGER_WHOLE ? at : LINGER_WHOLE);
        break;
    case BURBLE__CLOSED:
        break;
    }
    const uint64_t stalled = stalled_at(connection);
    return at < stalled ? at : stalled;
}

void burble__connection_watch(struct burble__connection *connection)
{
    const uint64_t at = due(connection);
    if (connection->phase == BURBLE__CLOSED || at == UINT64_MAX)
        burble__loop_clear(connection->loop, &connection->timer);
    else
        burble__loop_set(connection->loop, &connection->timer, at);
}

/* ---- writing --------------------------------------------------------------------------------------- */

size_t burble__connection_queued(const struct burble__connection *connection)
{
    return connection->tcp.write_queue_size;
}

static void set_queued(struct burble__connection *connection, size_t queued)
{
    struct burble__waiting *waiting = connection->waiting;
    burble__metrics_move(burble__loop_metrics(connection->loop), BURBLE__GAUGE_QUEUED_BYTES,
                         (int64_t)queued - (int64_t)waiting->queued);
    waiting->queued = queued;
}

/* Notes what the client has taken since the last time. */
static void look_at_progress(struct burble__connection *connection)
{
    struct burble__waiting *waiting = connection->waiting;
    const size_t queued = burble__connection_queued(connection);
    if (waiting == NULL)
        return;
    if (queued < waiting->queued) {
        waiting->progress = burble__loop_now(connection->loop);
        waiting->taken += waiting->queued - queued;
    }
    set_queued(connection, queued);
}

/* Bytes are going to wait. False: no memory. */
static bool begin_waiting(struct burble__connection *connection)
{
    const uint64_t now = burble__loop_now(connection->loop);
    look_at_progress(connection);
    if (connection->waiting == NULL) {
        connection->waiting = burble__malloc(sizeof *connection->waiting);
        if (connection->waiting != NULL)
            *connection->waiting = (struct burble__waiting){.since = now, .progress = now};
    }
    return connection->waiting != NULL;
}

static void on_written(uv_write_t *request, int status)
{
    struct output *output = (struct output *)(void *)request;
    struct burble__connection *connection = (struct burble__connection *)(void *)request->handle;
    burble__free(output->given);
    burble__free(output);
    look_at_progress(connection);
    if (connection->phase == BURBLE__CLOSED)
        return;
    if (status != 0) {
        burble__connection_close(connection);
        return;
    }
    if (burble__connection_queued(connection) > 0)
        return;
    if (connection->exchange != NULL)
        burble__exchange_on_drained(connection->exchange);
    /* A client that is behind has the next bytes waiting at once: then it is still the same wait. */
    if (burble__connection_queued(connection) == 0) {
        burble__free(connection->waiting);
        connection->waiting = NULL;
    }
}

/* Queues bytes: `given`, or a copy. False: no memory, and the connection is closed. */
static bool queue(struct burble__connection *connection, const uv_buf_t *bufs, unsigned n,
                  size_t skip, char *given, size_t given_len)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += bufs[i].len;
    assert(skip <= len + given_len);
    const size_t copied = skip < len ? len - skip : 0;
    const bool first = burble__connection_queued(connection) == 0;
    struct output *output =
        begin_waiting(connection) ? burble__malloc(sizeof *output + copied) : NULL;
    if (output == NULL) {
        burble__free(given);
        burble__connection_close(connection);
        return false;
    }
    output->given = given;
    char *to = (char *)(output + 1);
    uv_buf_t parts[2];
    unsigned n_parts = 0;
    if (copied > 0)
        parts[n_parts++] = uv_buf_init(to, (unsigned)copied);
    for (unsigned i = 0; i < n; i++) {
        const size_t left_out = skip < bufs[i].len ? skip : bufs[i].len;
        memcpy(to, bufs[i].base + left_out, bufs[i].len - left_out);
        to += bufs[i].len - left_out;
        skip -= left_out;
    }
    if (given_len > skip)
        parts[n_parts++] = uv_buf_init(given + skip, (unsigned)(given_len - skip));
    if (uv_write(&output->request, (uv_stream_t *)&connection->tcp, parts, n_parts, on_written)
        != 0) {
        burble__free(given);
        burble__free(output);
        burble__connection_close(connection);
        return false;
    }
    set_queued(connection, burble__connection_queued(connection));
    if (first)
        burble__connection_watch(connection);
    return true;
}

static size_t try_write(struct burble__connection *connection, const uv_buf_t *bufs, unsigned n)
{
    if (burble__connection_queued(connection) > 0)
        return 0;
    uv_os_fd_t socket = -1;
    (void)uv_fileno((uv_handle_t *)&connection->tcp, &socket);
    /* Most writes have one buffer: send is the shortest way to the socket. An error shows again when the rest is written, or
     * when the socket is read. */
    const ssize_t written = n == 1
                                ? send(socket, bufs->base, bufs->len, MSG_DONTWAIT | MSG_NOSIGNAL)
                                : uv_try_write((uv_stream_t *)&connection->tcp, bufs, n);
    if (written <= 0)
        return 0;
    if (connection->waiting != NULL)
        connection->waiting->taken += (size_t)written;
    return (size_t)written;
}

bool burble__connection_write(struct burble__connection *connection, const uv_buf_t *bufs,
                              unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += bufs[i].len;
    const size_t written = try_write(connection, bufs, n);
    return written == len || queue(connection, bufs, n, written, NULL, 0);
}

bool burble__connection_give(struct burble__connection *connection, const uv_buf_t *head,
                             char *bytes, size_t len)
{
    const uv_buf_t bufs[2] = {*head, uv_buf_init(bytes, (unsigned)len)};
    const size_t written = try_write(connection, bufs, 2);
    if (written < head->len + len)
        return queue(connection, head, 1, written, bytes, len);
    burble__free(bytes);
    return true;
}

/* ---- reading: the parser's callbacks ----------------------------------------------------------------- */

static struct burble__exchange *exchange_of(llhttp_t *parser)
{
    return ((struct burble__connection *)parser->data)->exchange;
}

/* Has the request refused as soon as the parser has returned: a response may end the exchange, and the parser with it. */
static int refuse_head(struct burble__exchange *exchange, unsigned status, const char *message)
{
    if (exchange->in->problem == NULL) {
        struct burble__problem *problem = burble__exchange_new_problem(exchange);
        if (problem != NULL)
            burble__problem_set(problem, status, NULL, NULL, "%s", message);
    }
    exchange->in->refused = true;
    return HPE_USER;
}

static int too_large(struct burble__exchange *exchange)
{
    if (exchange->in->head.n == 0 && exchange->in->head.name == 0)
        return refuse_head(exchange, 414, "the request's target is too long");
    return refuse_head(exchange, 431, "the request's headers are too large");
}

static int on_text(llhttp_t *parser, const char *at, size_t len)
{
    struct burble__exchange *exchange = exchange_of(parser);
    if (exchange->headers_over || burble__head_add(&exchange->in->head, at, len) == BURBLE_OK)
        return 0;
    return too_large(exchange);
}

static int on_url_complete(llhttp_t *parser)
{
    struct burble__exchange *exchange = exchange_of(parser);
    return burble__head_end_target(&exchange->in->head) == BURBLE_OK ? 0 : too_large(exchange);
}

static int on_name_complete(llhttp_t *parser)
{
    struct burble__exchange *exchange = exchange_of(parser);
    if (exchange->headers_over || burble__head_end_name(&exchange->in->head) == BURBLE_OK)
        return 0;
    return too_large(exchange);
}

static int on_value_complete(llhttp_t *parser)
{
    struct burble__exchange *exchange = exchange_of(parser);
    if (exchange->headers_over)
        return 0;
    if (burble__head_end_value(&exchange->in->head) != BURBLE_OK
        || exchange->in->head.n > BURBLE__MAX_HEADERS)
        return too_large(exchange);
    return 0;
}

/* What llhttp accepts and this server does not. NULL: the head is fine. */
static const char *fault_of_head(const llhttp_t *parser, const struct burble__head *head)
{
    unsigned hosts, lengths, codings, keys;
    burble__head_find(head, "host", &hosts);
    burble__head_find(head, "content-length", &lengths);
    burble__head_find(head, "authorization", &keys);
    const char *coding = burble__head_find(head, "transfer-encoding", &codings);
    if (hosts > 1 || (hosts == 0 && parser->http_minor > 0))
        return "expected one Host header";
    if (lengths > 1)
        return "expected one Content-Length header at most";
    if (keys > 1)
        return "expected one Authorization header at most";
    if (codings > 0 && (lengths > 0 || parser->http_minor == 0))
        return "found Transfer-Encoding with Content-Length or in HTTP/1.0";
    if (codings > 1 || (codings == 1 && strcasecmp(coding, "chunked") != 0))
        return "expected no Transfer-Encoding but chunked";
    return NULL;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct burble__connection *connection = parser->data;
    struct burble__exchange *exchange = connection->exchange;
    const burble_server_options *options = options_of(connection);
    exchange->headers_over = true;
    burble__server_count_begin(connection->loop->server);
    exchange->method = parser->method;
    exchange->only_head = parser->method == HTTP_HEAD;
    if (parser->method == HTTP_CONNECT)
        return refuse_head(exchange, 405, "expected no CONNECT: this server is no proxy");
    if (parser->http_major != 1 || parser->http_minor > 1)
        return refuse_head(exchange, 505, "expected HTTP/1.1 or HTTP/1.0");
    exchange->old = parser->http_minor == 0;
    const char *fault = fault_of_head(parser, &exchange->in->head);
    if (fault != NULL)
        return refuse_head(exchange, 400, fault);
    parser->upgrade = 0; /* offers of another protocol are left */
    exchange->keep_alive = llhttp_should_keep_alive(parser) != 0;
    const char *expect = burble__head_find(&exchange->in->head, "expect", NULL);
    exchange->in->wants_continue = expect != NULL && !exchange->old;
    if (expect != NULL && strcasecmp(expect, "100-continue") != 0)
        return refuse_head(exchange, 417, "expected no Expect but 100-continue");
    const bool has_body = (parser->flags & F_CHUNKED) != 0 || parser->content_length > 0;
    burble__route_look(exchange);
    if (exchange->in->problem == NULL && parser->content_length > options->max_body
        && (parser->flags & F_CHUNKED) == 0)
        return refuse_head(exchange, 413, "the request's body is too large");
    if (exchange->in->problem != NULL && has_body
        && (exchange->in->wants_continue || (parser->flags & F_CHUNKED) != 0
            || parser->content_length > options->max_ignored))
        return refuse_head(exchange, 0, NULL);
    exchange->in->wants_continue &= has_body;
    enter(connection, BURBLE__BODY);
    burble__connection_watch(connection);
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct burble__exchange *exchange = exchange_of(parser);
    const unsigned status = burble__exchange_take_body(exchange, at, len);
    if (status == 0)
        return 0;
    return refuse_head(exchange, status,
                       status == 413 ? "the request's body is too large"
                                     : "the server has no memory for this body at present");
}

static int on_message_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED; /* the next request is read when this one is answered */
}

static const llhttp_settings_t settings = {
    .on_url = on_text,
    .on_header_field = on_text,
    .on_header_value = on_text,
    .on_body = on_body,
    .on_url_complete = on_url_complete,
    .on_header_field_complete = on_name_complete,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_message_complete = on_message_complete,
};

/* ---- reading ------------------------------------------------------------------------------------------ */

static bool begin_request(struct burble__connection *connection)
{
    connection->exchange = burble__exchange_create(connection);
    if (connection->exchange == NULL) {
        burble__connection_close(connection);
        return false;
    }
    llhttp_init(&connection->exchange->in->parser, HTTP_REQUEST, &settings);
    connection->exchange->in->parser.data = connection;
    enter(connection, BURBLE__HEAD);
    burble__connection_watch(connection);
    return true;
}

/* HTTP that is none. */
static void refuse_bytes(struct burble__connection *connection)
{
    struct burble__exchange *exchange = connection->exchange;
    const char *reason = llhttp_get_error_reason(&exchange->in->parser);
    burble__exchange_refuse(exchange, 400, NULL, NULL, "the request is not valid HTTP: %s",
                            reason == NULL || *reason == '\0' ? "unknown error" : reason);
}

static void refuse(struct burble__connection *connection)
{
    if (connection->exchange->in->refused)
        burble__exchange_problem(connection->exchange, connection->exchange->in->problem);
    else
        refuse_bytes(connection);
}

static void go_on(struct burble__connection *connection)
{
    static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const uv_buf_t buf = uv_buf_init(text, sizeof text - 1);
    connection->exchange->in->wants_continue = false;
    (void)burble__connection_write(connection, &buf, 1);
}

/* Reads a part of a request. Returns how many bytes of it. */
static size_t feed(struct burble__connection *connection, const char *bytes, size_t n)
{
    struct burble__incoming *in = connection->exchange->in;
    const uint32_t max_head = options_of(connection)->max_header;
    if (connection->phase == BURBLE__HEAD) {
        if (connection->head_bytes >= max_head) {
            too_large(connection->exchange);
            refuse(connection);
            return n;
        }
        if (n > max_head - connection->head_bytes)
            n = max_head - connection->head_bytes;
        connection->head_bytes += (uint32_t)n;
    }
    const llhttp_errno_t error = llhttp_execute(&in->parser, bytes, n);
    if (error == HPE_PAUSED) {
        n = (size_t)(llhttp_get_error_pos(&in->parser) - bytes);
        enter(connection, BURBLE__ANSWER);
        burble__connection_watch(connection);
        burble__route_run(connection->exchange);
    } else if (error != HPE_OK) {
        refuse(connection); /* what follows is dropped */
    } else if (connection->phase == BURBLE__BODY && in->wants_continue) {
        go_on(connection);
    }
    return n;
}

/* Reads requests until one is under way. Returns how many bytes of them. */
static size_t pump(struct burble__connection *connection, const char *bytes, size_t n)
{
    size_t at = 0;
    connection->pumping = true;
    while (at < n) {
        if (connection->phase == BURBLE__IDLE && !begin_request(connection))
            break;
        if (connection->phase == BURBLE__HEAD || connection->phase == BURBLE__BODY)
            at += feed(connection, bytes + at, n - at);
        else
            break;
    }
    connection->pumping = false;
    return at;
}

/* Keeps what came during an answer. False: above the bound, and the connection is closed. */
static bool keep(struct burble__connection *connection, const char *bytes, size_t n)
{
    struct burble__kept *kept = connection->kept;
    if (kept == NULL) {
        kept = connection->kept = burble__calloc(1, sizeof *kept);
        if (kept == NULL) {
            burble__connection_close(connection);
            return false;
        }
        burble__buffer_init(&kept->bytes, (size_t)options_of(connection)->max_ignored);
    }
    burble__buffer_drop(&kept->bytes, kept->from);
    kept->from = 0;
    const size_t before = kept->bytes.capacity;
    if (burble__buffer_append(&kept->bytes, bytes, n) == BURBLE_OK
        && burble__server_charge(connection->loop->server, kept->bytes.capacity - before))
        return true;
    burble__metrics_count(burble__loop_metrics(connection->loop), BURBLE__COUNT_DROPPED, 1);
    burble__connection_close(connection);
    return false;
}

static void read_kept(struct burble__connection *connection)
{
    struct burble__kept *kept = connection->kept;
    if (kept == NULL)
        return;
    const size_t taken =
        pump(connection, kept->bytes.bytes + kept->from, kept->bytes.len - kept->from);
    if (connection->kept == NULL) /* it was closed */
        return;
    kept->from += taken;
    if (kept->from == kept->bytes.len)
        drop_kept(connection);
}

static void on_bytes(struct burble__connection *connection, const char *bytes, size_t n)
{
    if (connection->phase == BURBLE__LINGER) {
        connection->heard_after =
            (uint32_t)(burble__loop_now(connection->loop) - connection->since);
        return;
    }
    if (connection->phase == BURBLE__ANSWER && connection->last) {
        connection->head_bytes += (uint32_t)n;
        if (connection->head_bytes > options_of(connection)->max_ignored)
            burble__connection_close(connection);
        return;
    }
    if (connection->kept != NULL) { /* they come first */
        if (keep(connection, bytes, n) && connection->phase != BURBLE__ANSWER)
            read_kept(connection);
        return;
    }
    const size_t taken = pump(connection, bytes, n);
    if (taken < n && connection->phase == BURBLE__ANSWER)
        keep(connection, bytes + taken, n - taken);
}

static void give_input(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct burble__connection *connection = (struct burble__connection *)(void *)handle;
    *buf = uv_buf_init(connection->loop->input, BURBLE__INPUT);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct burble__connection *connection = (struct burble__connection *)(void *)stream;
    if (connection->phase == BURBLE__CLOSED || n == 0)
        return;
    if (n < 0)
        burble__connection_close(connection); /* the end, too: whoever closes its side has left */
    else
        on_bytes(connection, buf->base, (size_t)n);
}

void burble__connection_next(struct burble__connection *connection)
{
    assert(connection->exchange == NULL);
    if (connection->phase == BURBLE__CLOSED)
        return;
    connection->served = true;
    if (connection->last || connection->loop->stopping) {
        linger(connection);
        return;
    }
    enter(connection, BURBLE__IDLE);
    burble__connection_watch(connection);
    if (!connection->pumping)
        read_kept(connection);
}

/* ---- time --------------------------------------------------------------------------------------------- */

static void on_due(struct burble__timer *timer)
{
    struct burble__connection *connection = of_timer(timer);
    const uint64_t now = burble__loop_now(connection->loop);
    look_at_progress(connection);
    if (due(connection) > now) {
        burble__connection_watch(connection);
        return;
    }
    if (stalled_at(connection) <= now) {
        burble__metrics_count(burble__loop_metrics(connection->loop), BURBLE__COUNT_STALLED, 1);
        if (connection->exchange != NULL)
            connection->exchange->result = "stalled";
        burble__connection_close(connection);
        return;
    }
    switch ((enum burble__phase)connection->phase) {
    case BURBLE__HEAD:
    case BURBLE__BODY:
        burble__exchange_refuse(connection->exchange, 408, NULL, NULL,
                                "timed out waiting for the request's %s",
                                connection->phase == BURBLE__HEAD ? "headers" : "body");
        break;
    case BURBLE__ANSWER:
        burble__exchange_on_due(connection->exchange, now);
        break;
    default:
        burble__connection_close(connection);
        break;
    }
}

/* ---- the beginning -------------------------------------------------------------------------------------- */

static void set_options(int socket, const burble_server_options *options)
{
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options->socket_buffer > 0) {
        const int size = options->socket_buffer < 1u << 30 ? (int)options->socket_buffer : 1 << 30;
        setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
#ifdef TCP_USER_TIMEOUT
    const uint64_t ms = burble__in_ms(options->stall_timeout);
    const unsigned timeout = ms < UINT32_MAX ? (unsigned)ms : UINT32_MAX;
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
#endif
}

void burble__connection_create(struct burble__loop *loop, int socket,
                               const unsigned char address[16])
{
    struct burble__connection *connection = burble__calloc(1, sizeof *connection);
    if (connection == NULL || uv_tcp_init(&loop->uv, &connection->tcp) != 0) {
        burble__free(connection);
        burble__server_forget_socket(loop->server, socket);
        burble__server_leave(loop->server, 0);
        close(socket);
        return;
    }
    connection->loop = loop;
    connection->timer.fire = on_due;
    memcpy(connection->address, address, sizeof connection->address);
    connection->next = loop->connections;
    connection->at = &loop->connections;
    if (connection->next != NULL)
        connection->next->at = &connection->next;
    loop->connections = connection;
    enter(connection, BURBLE__IDLE);
    set_options(socket, options_of(connection));
    if (uv_tcp_open(&connection->tcp, socket) != 0) {
        burble__server_forget_socket(loop->server, socket);
        close(socket);
        burble__connection_close(connection);
        return;
    }
    if (uv_read_start((uv_stream_t *)&connection->tcp, give_input, on_read) != 0)
        burble__connection_close(connection);
    else
        burble__connection_watch(connection);
}

void burble__address_write(const unsigned char address[16], char *text, size_t room)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    const bool is_4 = memcmp(address, mapped, sizeof mapped) == 0;
    if (inet_ntop(is_4 ? AF_INET : AF_INET6, is_4 ? address + sizeof mapped : address, text,
                  (socklen_t)room)
        == NULL)
        text[0] = '\0';
}
