/* SPDX-License-Identifier: MIT
 *
 * Clients of a server, for serve.py: many at once in one thread, on bare epoll, so that they cost little themselves. Each
 * sends a request, reads the events of its answer, and looks only for what it counts; it allocates nothing for a token.
 * Prints one line of JSON: tokens, times to the first token, gaps between tokens as the client sees them (tokens that one
 * recv brings have a gap of 0), the time since they were put, if they say when, the processor time of this process and of the server's.
 *
 * `serve_load --help` says what it can be told.
 */
#define _GNU_SOURCE /* memmem */

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

enum { LINE = 1024, PROMPTS = 256, HEADERS = 1024, STATUSES = 600 };

/* ---- what is asked for ----------------------------------------------------------------------------- */

static struct {
    unsigned port, clients, requests, stalled, slow, max_tokens, receive_buffer, prompts;
    double rate, pause, warm, seconds, patience;
    const char *get, *model, *body, *path;
    const char *prompt[PROMPTS];
    char headers[HEADERS];
    bool chat, hold, ignore_eos, lenient, usage;
    long pid;
} wanted = {.clients = 1, .requests = 1, .max_tokens = 64, .patience = 600};

/* The requests as bytes: one for each prompt. */
static char *requests[PROMPTS];
static size_t request_len[PROMPTS];

/* ---- what is measured ------------------------------------------------------------------------------ */

static struct {
    uint64_t began, cpu, server_cpu;
    uint64_t tokens, completion, events, bytes;
    uint64_t whole, broken; /* answers that ended as they should, and that did not */
    uint64_t statuses[STATUSES];
    struct histogram first, gap, total, delay;
} measured;

static uint64_t all_tokens; /* also those of the time before it was measured */

static bool measuring;

struct client {
    int socket;
    bool stalled, slow;
    bool text, done; /* of this answer: its first text has come, its last event */
    unsigned status; /* of this answer; 0: not yet */
    unsigned number, left;
    size_t sent; /* bytes of the request */
    uint64_t began, last;
    uint64_t resume_at; /* when it begins its next request; 0: it has one */
    size_t len;         /* of a line that has come in part */
    char line[LINE];
};

static struct client *clients;
static int events;
static unsigned started, running, pausing, answering;

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "serve_load: %s: %s\n", what, detail);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        return 0;
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t server_cpu(void)
{
    clockid_t clock;
    if (wanted.pid == 0 || clock_getcpuclockid((pid_t)wanted.pid, &clock) != 0)
        return 0;
    return clock_ns(clock);
}

static void begin_measuring(void)
{
    memset(&measured, 0, sizeof measured);
    measured.began = now();
    measured.cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    measured.server_cpu = server_cpu();
    measuring = true;
}

static void print(void)
{
    const double seconds = 1e-9 * (double)(now() - measured.began);
    const double cpu = 1e-3 * (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - measured.cpu);
    const double server = 1e-3 * (double)(server_cpu() - measured.server_cpu);
    const double tokens = measured.tokens > 0 ? (double)measured.tokens : 1;
    printf("{\"clients\":%u,\"seconds\":%.3f,\"answers\":%llu,\"broken\":%llu,\"tokens\":%llu,"
           "\"all_tokens\":%llu,"
           "\"completion_tokens\":%llu,\"events\":%llu,\"bytes\":%llu,\"tokens_per_second\":%.1f,"
           "\"client_us\":%.4f,\"server_us\":%.4f,\"server_cpu_s\":%.4f,\"client_cpu_s\":%.4f",
           wanted.clients, seconds, (unsigned long long)measured.whole,
           (unsigned long long)measured.broken, (unsigned long long)measured.tokens,
           (unsigned long long)all_tokens, (unsigned long long)measured.completion,
           (unsigned long long)measured.events, (unsigned long long)measured.bytes,
           (double)measured.tokens / seconds, cpu / tokens, server / tokens, 1e-6 * server,
           1e-6 * cpu);
    printf(",\"statuses\":{");
    for (unsigned i = 0, n = 0; i < STATUSES; i++)
        if (measured.statuses[i] > 0)
            printf("%s\"%u\":%llu", n++ > 0 ? "," : "", i,
                   (unsigned long long)measured.statuses[i]);
    printf("},\"first_ms\":");
    histogram_print(&measured.first, stdout);
    printf(",\"gap_ms\":");
    histogram_print(&measured.gap, stdout);
    printf(",\"total_ms\":");
    histogram_print(&measured.total, stdout);
    printf(",\"delay_ms\":");
    histogram_print(&measured.delay, stdout);
    printf("}\n");
    fflush(stdout);
}

/* ---- requests -------------------------------------------------------------------------------------- */

static void append_json(char **out, const char *text)
{
    char *at = *out;
    *at++ = '"';
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ') {
            at += sprintf(at, "\\u%04x", (unsigned)*text);
        } else {
            if (*text == '"' || *text == '\\')
                *at++ = '\\';
            *at++ = *text;
        }
    }
    *at++ = '"';
    *at = '\0';
    *out = at;
}

static char *body_for(const char *prompt)
{
    if (wanted.body != NULL)
        return strdup(wanted.body);
    char *body = malloc(6 * strlen(prompt) + 1024);
    if (body == NULL)
        die("a request", "no memory");
    char *at = body;
    at += sprintf(at, "{\"model\":\"%.255s\",\"stream\":true,\"temperature\":0,",
                  wanted.model != NULL ? wanted.model : "default");
    if (wanted.max_tokens > 0)
        at += sprintf(at, "\"max_tokens\":%u,", wanted.max_tokens);
    if (wanted.ignore_eos)
        at += sprintf(at, "\"ignore_eos\":true,");
    if (wanted.usage)
        at += sprintf(at, "\"stream_options\":{\"include_usage\":true},");
    at +=
        sprintf(at, wanted.chat ? "\"messages\":[{\"role\":\"user\",\"content\":" : "\"prompt\":");
    append_json(&at, prompt);
    sprintf(at, wanted.chat ? "}]}" : "}");
    return body;
}

static void make_request(unsigned i)
{
    char head[HEADERS + 512];
    char *body = wanted.get != NULL ? strdup("") : body_for(wanted.prompt[i]);
    if (body == NULL)
        die("a request", "no memory");
    const char *path = wanted.get    ? wanted.get
                       : wanted.path ? wanted.path
                       : wanted.chat ? "/v1/chat/completions"
                                     : "/v1/completions";
    int len = snprintf(head, sizeof head,
                       "%s %.255s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s",
                       wanted.get != NULL ? "GET" : "POST", path, wanted.headers);
    if (wanted.get == NULL)
        len += snprintf(head + len, sizeof head - (size_t)len,
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    request_len[i] = (size_t)len + 2 + strlen(body);
    requests[i] = malloc(request_len[i] + 1);
    if (requests[i] == NULL)
        die("a request", "no memory");
    snprintf(requests[i], request_len[i] + 1, "%s\r\n%s", head, body);
    free(body);
}

/* ---- one client ------------------------------------------------------------------------------------ */

static void watch(struct client *client, int operation, uint32_t what)
{
    struct epoll_event event = {.events = what, .data.ptr = client};
    if (epoll_ctl(events, operation, client->socket, &event) != 0)
        die("epoll_ctl", strerror(errno));
}

/* The events of epoll that a client waits for after its request. A stalled client notices only the end of its connection. */
static uint32_t reading(const struct client *client)
{
    return client->stalled || client->slow ? EPOLLRDHUP : EPOLLIN;
}

static void begin_request(struct client *client)
{
    struct sockaddr_in server = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)wanted.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    const int on = 1;
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client->socket < 0)
        die("socket", strerror(errno));
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (wanted.receive_buffer > 0)
        setsockopt(client->socket, SOL_SOCKET, SO_RCVBUF, &wanted.receive_buffer,
                   sizeof wanted.receive_buffer);
    if (connect(client->socket, (struct sockaddr *)&server, sizeof server) != 0
        && errno != EINPROGRESS)
        die("connect", strerror(errno));
    client->text = client->done = false;
    client->status = 0;
    client->sent = client->len = 0;
    client->resume_at = 0;
    client->began = now();
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void end_request(struct client *client)
{
    const uint64_t when = now();
    close(client->socket);
    client->socket = -1;
    const bool whole =
        wanted.get != NULL ? client->status >= 200 && client->status < 300 : client->done;
    if (measuring) {
        measured.statuses[client->status < STATUSES ? client->status : 0]++;
        measured.whole += whole;
        measured.broken += !whole;
        histogram_add(&measured.total, when - client->began);
    }
    if (client->status != 0)
        answering--;
    if (--client->left == 0) {
        running--;
    } else if (wanted.pause > 0) {
        client->resume_at = when + (uint64_t)(1e9 * wanted.pause);
        pausing++;
    } else {
        begin_request(client);
    }
}

/* The number after `name`, 0 if the line has none. */
static uint64_t number_after(const char *line, size_t len, const char *name)
{
    const char *found = memmem(line, len, name, strlen(name));
    uint64_t value = 0;
    if (found == NULL)
        return 0;
    for (found += strlen(name);
         found < line + len && (*found == ' ' || (*found >= '0' && *found <= '9')); found++)
        if (*found != ' ')
            value = 10 * value + (uint64_t)(*found - '0');
    return value;
}

/* Whether an event has text that is not empty. */
static bool has_text(const char *line, size_t len)
{
    static const char content[] = "\"content\":";
    static const char text[] = "\"text\":";
    size_t name = sizeof content - 1;
    const char *found = wanted.chat ? memmem(line, len, content, name) : NULL;
    if (found == NULL) {
        name = sizeof text - 1;
        found = memmem(line, len, text, name);
    }
    if (found == NULL)
        return false;
    const char *const end = line + len;
    for (found += name; found < end && *found == ' '; found++)
        ;
    return end - found > 1 && found[0] == '"' && found[1] != '"';
}

/* The time since a piece was put that says when: " @" and microseconds, modulo 10 seconds (numbers_backend.h). */
static void take_stamp(const char *line, size_t len, uint64_t when)
{
    enum { TURN = 10000000 };
    const char *found = memmem(line, len, "\" @", 3);
    if (found == NULL)
        return;
    const uint64_t put = strtoull(found + 3, NULL, 10); /* (ends at the quotation mark) */
    histogram_add(&measured.delay, (when / 1000 % TURN + TURN - put) % TURN * 1000);
}

static void take_line(struct client *client, const char *line, size_t len, uint64_t when)
{
    if (client->status == 0) {
        client->status =
            len > 12 && memcmp(line, "HTTP/1.", 7) == 0
                ? (unsigned)strtoul((char[]){line[9], line[10], line[11], '\0'}, NULL, 10)
                : 1;
        answering++;
        return;
    }
    if (len < 8 || memcmp(line, "data: ", 6) != 0)
        return; /* a header, the length of a chunk, the end of an event */
    measured.events++;
    if (line[6] == '[') {
        client->done = true;
        return;
    }
    if (wanted.lenient && memmem(line, len, "\"finish_reason\":\"", 17) != NULL)
        client->done = true;
    if (!has_text(line, len)) {
        measured.completion += number_after(line, len, "\"completion_tokens\":");
        return;
    }
    measured.tokens++;
    all_tokens++;
    if (!client->text)
        histogram_add(&measured.first, when - client->began);
    else
        histogram_add(&measured.gap, when - client->last);
    client->text = true;
    client->last = when;
    take_stamp(line, len, when);
}

static void take(struct client *client, const char *data, size_t n, uint64_t when)
{
    const char *const end = data + n;
    measured.bytes += n;
    while (data < end) {
        const char *newline = memchr(data, '\n', (size_t)(end - data));
        const size_t len = (size_t)((newline != NULL ? newline : end) - data);
        if (newline == NULL || client->len > 0) {
            const size_t room = LINE - client->len;
            const size_t kept = len < room ? len : room;
            memcpy(client->line + client->len, data, kept);
            client->len += kept;
        }
        if (newline == NULL)
            return;
        if (client->len > 0)
            take_line(client, client->line, client->len, when);
        else
            take_line(client, data, len, when);
        client->len = 0;
        data = newline + 1;
    }
}

static void read_some(struct client *client, size_t most)
{
    static char data[1 << 16];
    const ssize_t n = recv(client->socket, data, most < sizeof data ? most : sizeof data, 0);
    if (n > 0)
        take(client, data, (size_t)n, now());
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        end_request(client);
}

static void write_some(struct client *client)
{
    const unsigned i = client->number % wanted.prompts;
    const ssize_t n = send(client->socket, requests[i] + client->sent,
                           request_len[i] - client->sent, MSG_NOSIGNAL);
    if (n > 0)
        client->sent += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        end_request(client);
        return;
    }
    if (client->sent == request_len[i])
        watch(client, EPOLL_CTL_MOD, reading(client));
}

/* ---- all of them ----------------------------------------------------------------------------------- */

static void start_due(uint64_t begin)
{
    const double due =
        wanted.rate > 0 ? 1e-9 * (double)(now() - begin) * wanted.rate + 1 : wanted.clients;
    /* Without a rate, some at a time, so that those who are answered are read meanwhile. */
    for (unsigned n = 0; n < 64 && started < wanted.clients && started < due; n++) {
        struct client *client = &clients[started];
        client->number = started;
        client->left = wanted.requests;
        client->stalled = started < wanted.stalled;
        client->slow = !client->stalled && started < wanted.stalled + wanted.slow;
        started++;
        running++;
        begin_request(client);
    }
}

static void resume_due(void)
{
    const uint64_t when = now();
    for (unsigned i = 0; i < started && pausing > 0; i++) {
        if (clients[i].resume_at != 0 && clients[i].resume_at <= when) {
            pausing--;
            begin_request(&clients[i]);
        }
    }
}

/* A byte a second for each slow client. */
static void feed_slow(uint64_t *next)
{
    if (wanted.slow == 0 || now() < *next)
        return;
    *next += 1000000000u;
    for (unsigned i = wanted.stalled; i < started && i < wanted.stalled + wanted.slow; i++)
        if (clients[i].socket >= 0 && clients[i].sent > 0)
            read_some(&clients[i], 1);
}

static void wait_some(void)
{
    struct epoll_event ready[256];
    const bool timers = started < wanted.clients || pausing > 0;
    const bool backlog = started < wanted.clients && wanted.rate <= 0;
    const int n = epoll_wait(events, ready, 256, backlog ? 0 : timers ? 1 : 50);
    for (int i = 0; i < n; i++) {
        struct client *client = ready[i].data.ptr;
        if (client->socket < 0)
            continue;
        if (client->sent < request_len[client->number % wanted.prompts])
            write_some(client);
        else if ((client->stalled || client->slow)
                 && ready[i].events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP))
            end_request(client);
        else
            read_some(client, SIZE_MAX);
    }
}

/* Whether standard input has come to its end, or has a line. */
static bool released(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

static void run(void)
{
    const uint64_t begin = now();
    const uint64_t warm = begin + (uint64_t)(1e9 * wanted.warm);
    const uint64_t end = wanted.seconds > 0 ? warm + (uint64_t)(1e9 * wanted.seconds)
                                            : begin + (uint64_t)(1e9 * wanted.patience);
    uint64_t feed = begin + 1000000000u;
    bool said = false;
    begin_measuring();
    measuring = wanted.warm <= 0;
    while (running > 0 || started < wanted.clients) {
        start_due(begin);
        resume_due();
        feed_slow(&feed);
        wait_some();
        const uint64_t when = now();
        if (!measuring && when >= warm)
            begin_measuring();
        if (wanted.hold && !said && answering == wanted.clients) {
            printf("held\n");
            fflush(stdout);
            said = true;
        }
        if (when >= end || (wanted.hold && released()))
            break;
    }
}

/* ---- options --------------------------------------------------------------------------------------- */

enum option_id {
    PORT = 256,
    CLIENTS,
    REQUESTS,
    RATE,
    PAUSE,
    PROMPT,
    MAX_TOKENS,
    MODEL,
    KEY,
    HEADER,
    BODY,
    PATH,
    GET,
    CHAT,
    STALLED,
    SLOW,
    RECEIVE_BUFFER,
    PID,
    WARM,
    SECONDS,
    PATIENCE,
    HOLD,
    IGNORE_EOS,
    LENIENT,
    USAGE,
    HELP,
};

static const struct option options[] = {
    {"port", required_argument, NULL, PORT},
    {"clients", required_argument, NULL, CLIENTS},
    {"requests", required_argument, NULL, REQUESTS},
    {"rate", required_argument, NULL, RATE},
    {"pause", required_argument, NULL, PAUSE},
    {"prompt", required_argument, NULL, PROMPT},
    {"max-tokens", required_argument, NULL, MAX_TOKENS},
    {"model", required_argument, NULL, MODEL},
    {"key", required_argument, NULL, KEY},
    {"header", required_argument, NULL, HEADER},
    {"body", required_argument, NULL, BODY},
    {"path", required_argument, NULL, PATH},
    {"get", required_argument, NULL, GET},
    {"chat", no_argument, NULL, CHAT},
    {"stalled", required_argument, NULL, STALLED},
    {"slow", required_argument, NULL, SLOW},
    {"receive-buffer", required_argument, NULL, RECEIVE_BUFFER},
    {"pid", required_argument, NULL, PID},
    {"warm", required_argument, NULL, WARM},
    {"seconds", required_argument, NULL, SECONDS},
    {"patience", required_argument, NULL, PATIENCE},
    {"hold", no_argument, NULL, HOLD},
    {"ignore-eos", no_argument, NULL, IGNORE_EOS},
    {"lenient", no_argument, NULL, LENIENT},
    {"usage", no_argument, NULL, USAGE},
    {"help", no_argument, NULL, HELP},
    {0},
};

static const char usage[] =
    "usage: serve_load --port PORT [OPTION]...\n"
    "\n"
    "  --clients N         clients at once (1)\n"
    "  --requests N        of each client, one after another, each on a connection of its own (1)\n"
    "  --rate N            clients that start in a second (all at once)\n"
    "  --pause SECONDS     between a client's requests (0)\n"
    "  --prompt TEXT       may be given again: clients take them in turn\n"
    "  --max-tokens N      0: none is named (64)\n"
    "  --chat              chat completions rather than completions\n"
    "  --ignore-eos        asks for ignore_eos\n"
    "  --lenient           a reason to finish ends an answer, too, for servers that send no "
    "[DONE]\n"
    "  --usage             asks for stream_options.include_usage\n"
    "  --model NAME, --key KEY, --header 'NAME: VALUE' (may be given again)\n"
    "  --body JSON, --path PATH, --get PATH\n"
    "                      another body, another route; a GET request\n"
    "  --stalled N         the first N clients never read\n"
    "  --slow N            the next N read a byte a second\n"
    "  --receive-buffer N  SO_RCVBUF\n"
    "  --pid PID           the server's, for its processor time\n"
    "  --warm SECONDS      what comes before is not counted\n"
    "  --seconds SECONDS   ends after that (when all requests are answered)\n"
    "  --patience SECONDS  ends after that at last (600)\n"
    "  --hold              says \"held\" once all clients have headers; ends with standard input\n";

static void add_header(const char *name, const char *value)
{
    const size_t len = strlen(wanted.headers);
    const int n = snprintf(wanted.headers + len, HEADERS - len, "%s%s\r\n", name, value);
    if (n < 0 || (size_t)n >= HEADERS - len)
        die("--header", "the headers are too long");
}

static double number(const char *name, const char *text)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || value < 0 || value > 1e9)
        die(name, "expected a number of 0 or above");
    return value;
}

static void take_option(int option, const char *name, const char *value)
{
    switch (option) {
    case PORT:
        wanted.port = (unsigned)number(name, value);
        break;
    case CLIENTS:
        wanted.clients = (unsigned)number(name, value);
        break;
    case REQUESTS:
        wanted.requests = (unsigned)number(name, value);
        break;
    case RATE:
        wanted.rate = number(name, value);
        break;
    case PAUSE:
        wanted.pause = number(name, value);
        break;
    case PROMPT:
        if (wanted.prompts == PROMPTS)
            die(name, "too many");
        wanted.prompt[wanted.prompts++] = value;
        break;
    case MAX_TOKENS:
        wanted.max_tokens = (unsigned)number(name, value);
        break;
    case MODEL:
        wanted.model = value;
        break;
    case KEY:
        add_header("Authorization: Bearer ", value);
        break;
    case HEADER:
        add_header("", value);
        break;
    case BODY:
        wanted.body = value;
        break;
    case PATH:
        wanted.path = value;
        break;
    case GET:
        wanted.get = value;
        break;
    case CHAT:
        wanted.chat = true;
        break;
    case STALLED:
        wanted.stalled = (unsigned)number(name, value);
        break;
    case SLOW:
        wanted.slow = (unsigned)number(name, value);
        break;
    case RECEIVE_BUFFER:
        wanted.receive_buffer = (unsigned)number(name, value);
        break;
    case PID:
        wanted.pid = (long)number(name, value);
        break;
    case WARM:
        wanted.warm = number(name, value);
        break;
    case SECONDS:
        wanted.seconds = number(name, value);
        break;
    case PATIENCE:
        wanted.patience = number(name, value);
        break;
    case HOLD:
        wanted.hold = true;
        break;
    case IGNORE_EOS:
        wanted.ignore_eos = true;
        break;
    case LENIENT:
        wanted.lenient = true;
        break;
    case USAGE:
        wanted.usage = true;
        break;
    case HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

static void read_options(int argc, char **argv)
{
    int option;
    int index = 0;
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1)
        take_option(option, option == '?' ? "" : options[index].name, optarg);
    if (wanted.port == 0 || wanted.clients == 0 || wanted.requests == 0 || optind < argc) {
        fputs(usage, stderr);
        exit(2);
    }
    if (wanted.prompts == 0)
        wanted.prompt[wanted.prompts++] = "ROMEO:";
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    for (unsigned i = 0; i < wanted.prompts; i++)
        make_request(i);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    clients = calloc(wanted.clients, sizeof *clients);
    events = epoll_create1(EPOLL_CLOEXEC);
    if (clients == NULL || events < 0)
        die("starting", strerror(errno));
    run();
    print();
    return 0;
}
