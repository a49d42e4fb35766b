/* SPDX-License-Identifier: MIT
 *
 * An engine of one's own becomes a server: any function that generates text and blocks while it does. It needs
 * libburble-serve alone. Then:
 *
 *     curl -N http://127.0.0.1:8080/v1/completions -d '{"model": "counter", "prompt": "", "stream": true}'
 *
 * Ctrl-C or SIGTERM ends it.
 */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <burble/burble.h>
#include <burble/serve.h>

/* The engine: runs in a thread of the pool, once for each request. */
static int count(burble_stream *text, void *arg)
{
    const unsigned *const last = (const unsigned *)arg; /* (C++ wants the cast) */
    char word[16];
    int result = BURBLE_OK;
    for (unsigned i = 1; i <= *last && result == BURBLE_OK; i++)
        result = burble_stream_append(text, word, (size_t)snprintf(word, sizeof word, "%u ", i), 1);
    if (result == BURBLE_OK)
        burble_stream_end(text, BURBLE_REASON_LENGTH); /* else the client is told "stop" */
    return result;                                     /* BURBLE_ECANCELED if the client has gone */
}

static int submit(void *pool, const burble_serve_request *request, burble_stream *answer,
                  burble_error *error)
{
    burble_pool_run_options options;
    burble_serve_source source;
    unsigned *const last = (unsigned *)malloc(sizeof *last);
    (void)error;
    if (last == NULL)
        return BURBLE_ENOMEM;
    *last = (unsigned)burble_serve_number(request, BURBLE_SERVE_MAX_TOKENS, 100);
    memset(&source, 0, sizeof source);
    burble_pool_run_options_init(&options);
    options.release = free;
    int result = burble_pool_run((burble_pool *)pool, count, last, &options, &source.stream);
    if (result != BURBLE_OK) {
        free(last);
        return result; /* BURBLE_EFULL: the client gets status 429 */
    }
    result = burble_server_read_text(request->server, answer, &source, 1);
    burble_stream_unref(&source.stream);
    return result;
}

int main(int argc, char **argv)
{
    burble_error error;
    burble_server_options options;
    burble_serve_model model;
    burble_server *server;
    burble_pool *pool;
    sigset_t ends;
    int found;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends,
                NULL); /* in all threads, which are made below: sigwait takes them */
    if (burble_pool_create(NULL, &pool) != BURBLE_OK)
        errx(1, "no pool");
    memset(&error, 0, sizeof error);
    memset(&model, 0, sizeof model);
    model.name = "counter";
    model.parameters = BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS); /* others are refused */
    model.arg = pool;
    model.submit = submit;
    burble_server_options_init(&options);
    options.port = argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 8080;
    if (burble_server_create(&options, &server, &error) != BURBLE_OK
        || burble_server_add_model(server, &model, &error) != BURBLE_OK
        || burble_server_start(server, &error) != BURBLE_OK)
        errx(1, "%s", error.message);
    printf("http://127.0.0.1:%u\n", (unsigned)burble_server_port(server));
    fflush(stdout);
    sigwait(&ends, &found);
    burble_server_destroy(&server);
    burble_pool_destroy(&pool);
    return 0;
}
