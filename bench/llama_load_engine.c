/* SPDX-License-Identifier: MIT
 *
 * llama_load.c's workloads with burble's engine, which runs in the same process. This thread reads all
 * streams through a hub.
 */
#define _GNU_SOURCE /* ppoll */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/llama.h>

#include "llama_load.h"

const char transport_usage[] =
    "llama_load_engine MODEL SLOTS CONTEXT BATCH THREADS [flash|frames|sampled|logprobs]...";

static burble_llama_model *model;
static burble_llama_engine *engine;
static burble_hub *hub;

/* Each request asks for these. */
static bool wants_frames, wants_sampling, wants_logprobs;

/* burble's objects of one answer. */
struct connection {
    burble_stream *stream;
    burble_reader *reader;
};

static void check(int result, const char *what)
{
    if (result != BURBLE_OK)
        die(what, burble_result_name(result));
}

void transport_open(int argc, char **argv)
{
    burble_llama_engine_options options;
    burble_error error;
    if (argc < 6)
        die("usage", transport_usage);
    burble_llama_engine_options_init(&options);
    for (int i = 6; i < argc; i++)
        if (strcmp(argv[i], "flash") == 0)
            options.flash = BURBLE_LLAMA_FLASH_ON;
        else if (strcmp(argv[i], "frames") == 0)
            wants_frames = true;
        else if (strcmp(argv[i], "sampled") == 0)
            wants_sampling = true;
        else if (strcmp(argv[i], "logprobs") == 0)
            wants_logprobs = true;
        else
            die("usage", transport_usage);
    options.slots = (uint32_t)strtoul(argv[2], NULL, 10);
    options.context = (uint32_t)strtoul(argv[3], NULL, 10);
    options.batch = (uint32_t)strtoul(argv[4], NULL, 10);
    options.threads = (uint32_t)strtoul(argv[5], NULL, 10);
    if (burble_llama_model_load(argv[1], NULL, &model, &error) != BURBLE_OK)
        die("the model", error.message);
    if (burble_llama_engine_create(model, &options, &engine, &error) != BURBLE_OK)
        die("the engine", error.message);
    check(burble_hub_create(NULL, &hub), "a hub");
}

void transport_close(void)
{
    burble_llama_engine_destroy(&engine);
    burble_hub_destroy(&hub);
    burble_llama_model_unref(&model);
}

static void read_on(burble_reader *reader, void *arg)
{
    struct answer *answer = arg;
    struct connection *connection = answer->own;
    burble_record record;
    int result;
    while ((result = burble_reader_next_or_park(reader, &record)) == BURBLE_OK)
        arrive(answer, record.text, record.len, record.tokens);
    if (result == BURBLE_AGAIN)
        return;
    if (result != BURBLE_END && result != BURBLE_ECANCELED)
        die("an answer", burble_result_name(result));
    answer->own = NULL;
    burble_reader_destroy(&connection->reader);
    burble_stream_unref(&connection->stream);
    free(connection);
    answer->over = true;
}

void transport_submit(struct answer *answer)
{
    burble_llama_request request;
    burble_error error;
    struct connection *connection = allocate(sizeof *connection);
    burble_llama_request_init(&request);
    request.ids = answer->ids;
    request.n_ids = answer->n_ids;
    request.prompt = answer->prompt;
    request.prompt_len = answer->prompt == NULL ? 0 : strlen(answer->prompt);
    request.max_tokens = answer->max_tokens;
    request.ignore_end = true;
    request.frames = wants_frames;
    request.logprobs = wants_logprobs;
    if (wants_sampling) {
        request.temperature = 0.8f;
        request.top_k = 40;
        request.top_p = 0.95f;
    }
    check(burble_stream_create(NULL, &connection->stream), "a stream");
    check(burble_reader_create(connection->stream, 0, &connection->reader, NULL), "a reader");
    check(burble_reader_attach(connection->reader, hub, read_on, answer), "attaching");
    answer->own = connection;
    if (burble_llama_engine_submit(engine, &request, connection->stream, &error) != BURBLE_OK)
        die("submitting", error.message);
    read_on(connection->reader, answer);
}

void transport_cancel(struct answer *answer)
{
    const struct connection *connection = answer->own;
    burble_stream_cancel(connection->stream);
}

void transport_wait(double deadline)
{
    const double left = deadline - seconds_of(CLOCK_MONOTONIC);
    const double most = left > 0 ? left : 0;
    const struct timespec timeout = {
        .tv_sec = (time_t)most,
        .tv_nsec = (long)(1e9 * (most - (double)(time_t)most)),
    };
    struct pollfd ready = {.fd = burble_hub_fd(hub), .events = POLLIN};
    ppoll(&ready, 1, &timeout, NULL);
    burble_hub_dispatch(hub, 0);
}

double transport_cpu(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID) - seconds_of(CLOCK_THREAD_CPUTIME_ID);
}
