/* SPDX-License-Identifier: MIT
 *
 * A server of numbers (numbers.h), for tests and benchmarks. It has the models "numbers", which writes frames, and
 * "plain", which writes text. It prints its port, and ends when its standard input ends, or drains at SIGTERM: answers to !hold go on then.
 *
 *     numbers_server [--rate N] [--grace-ms N] [--key KEY]... [--origin ORIGIN]... [--OPTION N]...
 *
 * --chat 0: the models have no chat template.
 * OPTION is a member of burble_server_options, with - for _; times are in ms.
 */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <burble/clock.h>
#include <burble/serve.h>

#include "numbers.h"

#define MOST 64
#define NS_PER_MS UINT64_C(1000000)

/* X(member, type, unit) */
#define NUMBERS(X)                                                                                 \
    X(port, uint16_t, 1)                                                                           \
    X(listen_fd, int, 1)                                                                           \
    X(loops, uint32_t, 1)                                                                          \
    X(backlog, uint32_t, 1)                                                                        \
    X(backend_threads, uint32_t, 1)                                                                \
    X(page, bool, 1)                                                                               \
    X(expected_models, uint32_t, 1)                                                                \
    X(max_connections, uint32_t, 1)                                                                \
    X(max_connections_key, uint32_t, 1)                                                            \
    X(max_header, uint32_t, 1)                                                                     \
    X(max_body, uint64_t, 1)                                                                       \
    X(max_bodies, uint64_t, 1)                                                                     \
    X(max_output, uint32_t, 1)                                                                     \
    X(socket_buffer, uint32_t, 1)                                                                  \
    X(max_answer, uint64_t, 1)                                                                     \
    X(max_lag, uint64_t, 1)                                                                        \
    X(retain, uint64_t, 1)                                                                         \
    X(max_ignored, uint64_t, 1)                                                                    \
    X(max_json_depth, uint32_t, 1)                                                                 \
    X(header_timeout, uint64_t, NS_PER_MS)                                                         \
    X(body_timeout, uint64_t, NS_PER_MS)                                                           \
    X(body_rate, uint64_t, 1)                                                                      \
    X(idle_timeout, uint64_t, NS_PER_MS)                                                           \
    X(stall_timeout, uint64_t, NS_PER_MS)                                                          \
    X(output_rate, uint64_t, 1)                                                                    \
    X(first_timeout, uint64_t, NS_PER_MS)                                                          \
    X(ping_interval, uint64_t, NS_PER_MS)                                                          \
    X(resume_time, uint64_t, NS_PER_MS)                                                            \
    X(drain_delay, uint64_t, NS_PER_MS)

struct settings {
    burble_server_options options;
    const char *keys[MOST], *origins[MOST], *hosts[MOST];
    double rate;
    uint64_t grace;
    bool log, no_chat;
};

static int drain_pipe[2];

static void on_signal(int signal)
{
    (void)signal;
    if (write(drain_pipe[1], "", 1) < 0)
        _exit(1);
}

static bool is_option(const char *given, const char *member)
{
    for (; *given != '\0' && *member != '\0'; given++, member++)
        if (*given != *member && !(*given == '-' && *member == '_'))
            return false;
    return *given == *member;
}

static bool set(struct settings *settings, const char *name, const char *value)
{
    burble_server_options *options = &settings->options;
#define SET(member, type, unit)                                                                    \
    if (is_option(name, #member)) {                                                                \
        const unsigned long long number = strtoull(value, NULL, 10) * unit;                        \
        options->member = (type)number;                                                            \
        return true;                                                                               \
    }
    NUMBERS(SET)
#undef SET
    if (is_option(name, "host"))
        options->host = value;
    else if (is_option(name, "key") && options->n_keys < MOST)
        settings->keys[options->n_keys++] = value;
    else if (is_option(name, "origin") && options->n_origins < MOST)
        settings->origins[options->n_origins++] = value;
    else if (is_option(name, "allowed_hosts") && options->n_allowed_hosts < MOST)
        settings->hosts[options->n_allowed_hosts++] = value;
    else if (is_option(name, "rate"))
        settings->rate = strtod(value, NULL);
    else if (is_option(name, "grace_ms"))
        settings->grace = strtoull(value, NULL, 10) * NS_PER_MS;
    else if (is_option(name, "log"))
        settings->log = strtoull(value, NULL, 10) != 0;
    else if (is_option(name, "chat"))
        settings->no_chat = strtoull(value, NULL, 10) == 0;
    else
        return false;
    return true;
}

static void write_log(const burble_serve_log *line, void *arg)
{
    (void)arg;
    fprintf(stderr, "%s %s %s %u %s %s %s %llu\n", line->request_id, line->method, line->path,
            (unsigned)line->status, line->result, line->model, line->id,
            (unsigned long long)line->tokens);
}

/* Until the input ends (returns false) or the server is to be drained. */
static bool wait_for_drain(void)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = drain_pipe[0], .events = POLLIN}};
        char byte;
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents != 0)
            return read(drain_pipe[0], &byte, 1) == 1;
        if (fds[0].revents != 0 && read(STDIN_FILENO, &byte, 1) <= 0)
            return false;
    }
}

static void drain(burble_server *server, struct numbers *numbers, uint64_t grace)
{
    struct pollfd fd = {.fd = drain_pipe[0], .events = POLLIN};
    burble_server_drain(server, grace);
    numbers_let_go(numbers);
    while (burble_server_wait(server, burble_now() + 20 * NS_PER_MS) != BURBLE_OK)
        if (poll(&fd, 1, 0) > 0)
            burble_server_drain(server, 0);
}

static int fail(const burble_error *error)
{
    fprintf(stderr, "numbers_server: %s\n", error->message);
    return 1;
}

int main(int argc, char **argv)
{
    static struct settings settings = {.grace = 30000 * NS_PER_MS};
    burble_server_options *options = &settings.options;
    burble_error error = {.code = BURBLE_OK};
    burble_serve_model model;
    burble_server *server;
    burble_server_options_init(options);
    options->port = 0;
    options->drain_delay = 0;
    options->keys = settings.keys;
    options->origins = settings.origins;
    options->allowed_hosts = settings.hosts;
    for (int i = 1; i + 1 < argc; i += 2)
        if (strncmp(argv[i], "--", 2) != 0 || !set(&settings, argv[i] + 2, argv[i + 1])) {
            fprintf(stderr, "numbers_server: unknown option %s\n", argv[i]);
            return 2;
        }
    if (settings.log)
        options->log = write_log;
    if (pipe(drain_pipe) != 0)
        return 1;
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    struct numbers *numbers = numbers_create(settings.rate);
    if (burble_server_create(options, &server, &error) != BURBLE_OK)
        return fail(&error);
    numbers_model(numbers, "numbers", 0, &model);
    model.chat = !settings.no_chat;
    if (burble_server_add_model(server, &model, &error) != BURBLE_OK)
        return fail(&error);
    numbers_model(numbers, "plain", 1, &model);
    model.chat = !settings.no_chat;
    if (burble_server_add_model(server, &model, &error) != BURBLE_OK)
        return fail(&error);
    if (burble_server_start(server, &error) != BURBLE_OK)
        return fail(&error);
    printf("%u\n", (unsigned)burble_server_port(server));
    fflush(stdout);
    if (wait_for_drain())
        drain(server, numbers, settings.grace);
    burble_server_destroy(&server);
    numbers_destroy(numbers);
    return 0;
}
