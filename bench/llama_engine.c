/* SPDX-License-Identifier: MIT
 *
 * Requests through burble's engine, all at once, each into a separate stream, from prompt to text:
 *
 *     llama_engine MODEL REQUESTS TOKENS THREADS
 *
 * One thread reads all streams through a hub. Each character that comes in begins a round, and what
 * comes out is tokens per second, and per second of all its threads' time on a processor.
 */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/llama.h>

static const char prompt[] = "ROMEO:";
enum { MOST = 64 };

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void check(int result, const char *what)
{
    if (result != BURBLE_OK) {
        fprintf(stderr, "llama_engine: %s: %s\n", what, burble_result_name(result));
        exit(1);
    }
}

/* What all streams have brought. */
struct figures {
    uint64_t tokens;
    int open;
};

static void read_on(burble_reader *reader, void *arg)
{
    struct figures *figures = arg;
    burble_record record;
    int result;
    while ((result = burble_reader_next_or_park(reader, &record)) == BURBLE_OK)
        figures->tokens += record.tokens;
    figures->open -= result != BURBLE_AGAIN;
}

static void one_round(burble_llama_engine *engine, burble_hub *hub, int requests, uint32_t tokens)
{
    struct figures figures = {0, requests};
    burble_reader *readers[MOST];
    const double begin = now(CLOCK_MONOTONIC);
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < requests; i++) {
        burble_llama_request request;
        burble_stream *stream;
        burble_llama_request_init(&request);
        request.prompt = prompt;
        request.prompt_len = sizeof prompt - 1;
        request.max_tokens = tokens;
        request.ignore_end = true;
        request.skip_special = false; /* so that each token has text to be counted by */
        check(burble_stream_create(NULL, &stream), "a stream");
        check(burble_reader_create(stream, 0, &readers[i], NULL), "a reader");
        check(burble_reader_attach(readers[i], hub, read_on, &figures), "attaching");
        check(burble_llama_engine_submit(engine, &request, stream, NULL), "handing in");
        burble_stream_unref(&stream);
        read_on(readers[i], &figures);
    }
    struct pollfd ready = {.fd = burble_hub_fd(hub), .events = POLLIN};
    while (figures.open > 0) {
        poll(&ready, 1, -1);
        burble_hub_dispatch(hub, 0);
    }
    const double seconds = now(CLOCK_MONOTONIC) - begin;
    const double cpu_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    for (int i = 0; i < requests; i++)
        burble_reader_destroy(&readers[i]);
    if (figures.tokens != (uint64_t)requests * tokens) {
        fprintf(stderr, "llama_engine: expected %d times %u tokens, found %llu\n", requests,
                (unsigned)tokens, (unsigned long long)figures.tokens);
        exit(1);
    }
    printf("%.1f %.1f\n", (double)figures.tokens / seconds, (double)figures.tokens / cpu_seconds);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    burble_llama_model *model;
    burble_llama_engine *engine;
    burble_hub *hub;
    burble_llama_engine_options options;
    if (argc != 5) {
        fputs("usage: llama_engine MODEL REQUESTS TOKENS THREADS\n", stderr);
        return 2;
    }
    const int requests = (int)strtol(argv[2], NULL, 10);
    burble_llama_engine_options_init(&options);
    options.slots = (uint32_t)requests;
    options.flash = BURBLE_LLAMA_FLASH_ON; /* as in llama_loop */
    options.threads = (uint32_t)strtoul(argv[4], NULL, 10);
    if (requests < 1 || requests > MOST) {
        fputs("llama_engine: REQUESTS: expected 1 to 64\n", stderr);
        return 2;
    }
    check(burble_llama_model_load(argv[1], NULL, &model, NULL), "the model");
    check(burble_llama_engine_create(model, &options, &engine, NULL), "the engine");
    check(burble_hub_create(NULL, &hub), "a hub");
    while (getchar() != EOF)
        one_round(engine, hub, requests, (uint32_t)strtoul(argv[3], NULL, 10));
    burble_llama_engine_destroy(&engine);
    burble_hub_destroy(&hub);
    burble_llama_model_unref(&model);
    return 0;
}
