/* SPDX-License-Identifier: MIT
 *
 * A text, read in a loop of libuv.
 *
 *     loop_libuv MODEL.gguf "ROMEO:"
 *
 * cc loop_libuv.c $(pkg-config --cflags --libs burble-llama libuv) -o loop_libuv
 */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include <uv.h>

#include <burble/llama.h>

static void check(int result, const char *what)
{
    if (result != BURBLE_OK) {
        errx(1, "%s: %s", what, burble_result_text(result));
    }
}

/* Makes an engine, whose thread generates, and the stream that it writes. */
static burble_llama_engine *begin(const char *path, const char *prompt, burble_stream **stream)
{
    burble_error error = {.message = ""};
    burble_llama_model *model;
    burble_llama_engine_options options;
    burble_llama_engine *engine;
    burble_llama_engine_options_init(&options);
    options.slots = 1;
    options.threads = 1;
    check(burble_llama_model_load(path, NULL, &model, &error), error.message);
    check(burble_llama_engine_create(model, &options, &engine, &error), error.message);
    burble_llama_model_unref(&model); /* the engine has its own reference */
    burble_llama_request request;
    burble_llama_request_init(&request);
    request.prompt = prompt;
    request.prompt_len = strlen(prompt);
    request.max_tokens = 64;
    check(burble_stream_create(NULL, stream), "a stream");
    check(burble_llama_engine_submit(engine, &request, *stream, &error), error.message);
    return engine;
}

/* Prints what is there, and asks to be called again. */
static void on_ready(burble_reader *reader, void *arg)
{
    burble_record record;
    int result;
    while ((result = burble_reader_next(reader, &record)) == BURBLE_OK
           || (result == BURBLE_AGAIN && burble_reader_park(reader) == BURBLE_OK)) {
        if (result == BURBLE_OK) {
            fwrite(record.text, 1, record.len, stdout);
            fflush(stdout);
        }
    }
    if (result != BURBLE_AGAIN) {
        check(result == BURBLE_END ? BURBLE_OK : result, "the text");
        burble_reader_destroy(&reader); /* it is not called again */
        uv_close(arg, NULL);            /* the loop has nothing left, and ends */
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    burble_hub_dispatch(poll->data, 0);
}

int main(int argc, char **argv)
{
    burble_stream *stream;
    burble_reader *reader;
    burble_hub *hub;
    if (argc != 3) {
        errx(2, "expected MODEL PROMPT");
    }
    burble_llama_engine *engine = begin(argv[1], argv[2], &stream);
    check(burble_hub_create(NULL, &hub), "a hub");
    check(burble_reader_create(stream, 0, &reader, NULL), "a reader");

    uv_poll_t poll;
    uv_poll_init(uv_default_loop(), &poll, burble_hub_fd(hub));
    poll.data = hub;
    uv_poll_start(&poll, UV_READABLE, on_readable);
    check(burble_reader_attach(reader, hub, on_ready, &poll), "a place in the loop");
    on_ready(reader, &poll); /* what is there already; the rest comes through the hub */
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    uv_loop_close(uv_default_loop());

    burble_hub_destroy(&hub);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
    return 0;
}
