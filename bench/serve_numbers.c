/* SPDX-License-Identifier: MIT
 *
 * libburble-serve at a fixed rate: a server whose backend is numbers_backend.c. serve.py holds it against serve_floor.c, which does the same work with nothing around it.
 *
 *     serve_numbers RATE [LOOPS [OUTPUT]]    pieces a second for each answer, 0: none ever; loops; most bytes that wait
 *                                            for a client
 *
 * Prints its port, and ends with standard input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <burble/serve.h>

#include "numbers_backend.h"

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "serve_numbers: %s: %s\n", what, detail);
    exit(1);
}

static burble_server *start(unsigned loops, unsigned output)
{
    burble_server_options options;
    burble_server *server = NULL;
    burble_error error;
    const burble_serve_model model = numbers_model();
    burble_server_options_init(&options);
    options.port = 0;
    options.loops = loops;
    options.max_output = output > 0 ? output : options.max_output;
    options.backlog = 4096;
    /* Clients that never read are measured while they are there. */
    options.stall_timeout = 600 * 1000000000ull;
    if (burble_server_create(&options, &server, &error) != BURBLE_OK
        || burble_server_add_model(server, &model, &error) != BURBLE_OK
        || burble_server_start(server, &error) != BURBLE_OK)
        die("starting", error.message);
    return server;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    const double rate = argc >= 2 ? strtod(argv[1], &end) : -1;
    const long loops = argc >= 3 ? strtol(argv[2], NULL, 10) : 1;
    const long output = argc >= 4 ? strtol(argv[3], NULL, 10) : 0;
    if (argc > 4 || rate < 0 || end == argv[1] || loops < 1 || loops > 64 || output < 0) {
        fprintf(stderr, "usage: serve_numbers RATE [LOOPS [OUTPUT]]\n");
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    burble_server *server = start((unsigned)loops, (unsigned)output);
    if (rate > 0 && !numbers_start(rate, false))
        die("starting", "no thread");
    printf("%u\n", burble_server_port(server));
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    _exit(0); /* (the thread goes on writing) */
}
