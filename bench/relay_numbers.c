/* SPDX-License-Identifier: MIT
 *
 * The processes that relay.py loads: text at a fixed rate (numbers_backend.c), each piece of which is the time when it was
 * put.
 *
 *     relay_numbers alone RATE        a server with the text in its process
 *     relay_numbers front URL         a server whose workers are behind the Redis of this URL
 *     relay_numbers work URL RATE     such a worker
 *
 * Prints its port (a worker: 0), and ends with standard input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <burble/relay.h>
#include <burble/serve.h>

#include "numbers_backend.h"

enum { SLOTS = 4096 };

static burble_error error;

static void check(int result)
{
    if (result == BURBLE_OK)
        return;
    fprintf(stderr, "relay_numbers: %s\n", error.message);
    exit(1);
}

static burble_relay *create_relay(const char *url)
{
    burble_relay_options options;
    burble_relay *relay = NULL;
    burble_relay_options_init(&options);
    options.url = url;
    check(burble_relay_create(&options, &relay, &error));
    return relay;
}

static burble_server *create_server(void)
{
    burble_server_options options;
    burble_server *server = NULL;
    burble_server_options_init(&options);
    options.port = 0;
    options.backlog = 4096;
    check(burble_server_create(&options, &server, &error));
    return server;
}

static unsigned alone(void)
{
    const burble_serve_model model = numbers_model();
    burble_server *server = create_server();
    check(burble_server_add_model(server, &model, &error));
    check(burble_server_start(server, &error));
    return burble_server_port(server);
}

static unsigned front(const char *url)
{
    burble_server *server = create_server();
    burble_relay *relay = create_relay(url);
    check(burble_relay_serve(relay, server, &error));
    check(burble_relay_start(relay, &error));
    check(burble_server_start(server, &error));
    return burble_server_port(server);
}

static void work(const char *url)
{
    const burble_serve_model model = numbers_model();
    burble_relay *relay = create_relay(url);
    check(burble_relay_add_model(relay, &model, SLOTS, &error));
    check(burble_relay_start(relay, &error));
}

static int complain(void)
{
    fputs("usage: relay_numbers alone RATE | front URL | work URL RATE\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const char *const role = argc > 1 ? argv[1] : "";
    const double rate = strtod(argc == 3 ? argv[2] : argc == 4 ? argv[3] : "", NULL);
    unsigned port = 0;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (strcmp(role, "front") == 0 && argc == 3)
        port = front(argv[2]);
    else if (strcmp(role, "alone") == 0 && argc == 3 && rate > 0)
        port = alone();
    else if (strcmp(role, "work") == 0 && argc == 4 && rate > 0)
        work(argv[2]);
    else
        return complain();
    if (rate > 0 && !numbers_start(rate, true))
        return 1;
    printf("%u\n", port);
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    _exit(0); /* (the threads go on) */
}
