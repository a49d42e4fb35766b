/* SPDX-License-Identifier: MIT
 *
 * What the examples of event loops have in common: an engine on llama.cpp generates a text, and the hub calls
 * text_print with it. The loop has to dispatch the hub.
 */
#ifndef BURBLE_EXAMPLES_TEXT_H
#define BURBLE_EXAMPLES_TEXT_H

#include <err.h>
#include <stdio.h>
#include <string.h>

#include <burble/llama.h>

struct text {
    burble_llama_engine *engine;
    burble_stream *stream;
    burble_reader *reader;
    burble_hub *hub;
    void (*at_end)(void *arg); /* leaves the loop */
    void *arg;
};

static void check(int result, const char *what)
{
    if (result != BURBLE_OK)
        errx(1, "%s: %s", what, burble_result_text(result));
}

/* Makes an engine, whose thread generates, the stream that it writes, and a hub. */
static void text_begin(struct text *text, int argc, char **argv)
{
    burble_error error = {.message = ""};
    burble_llama_model *model;
    burble_llama_engine_options options;
    burble_llama_request request;
    if (argc != 3)
        errx(2, "expected MODEL PROMPT");
    burble_llama_engine_options_init(&options);
    options.slots = 1;
    options.threads = 1;
    check(burble_llama_model_load(argv[1], NULL, &model, &error), error.message);
    check(burble_llama_engine_create(model, &options, &text->engine, &error), error.message);
    burble_llama_model_unref(&model); /* the engine has its own reference */
    burble_llama_request_init(&request);
    request.prompt = argv[2];
    request.prompt_len = strlen(argv[2]);
    request.max_tokens = 64;
    check(burble_stream_create(NULL, &text->stream), "a stream");
    check(burble_llama_engine_submit(text->engine, &request, text->stream, &error), error.message);
    check(burble_hub_create(NULL, &text->hub), "a hub");
}

/* Prints the available text; the hub calls it again when there is more. */
static void text_print(burble_reader *reader, void *arg)
{
    struct text *text = arg;
    burble_record record;
    int result;
    while ((result = burble_reader_next_or_park(reader, &record)) == BURBLE_OK) {
        fwrite(record.text, 1, record.len, stdout);
        fflush(stdout);
    }
    if (result != BURBLE_AGAIN) {
        check(result == BURBLE_END ? BURBLE_OK : result, "the text");
        text->at_end(text->arg);
    }
}

/* Reads in the thread of the loop, until `at_end` is called. */
static void text_read(struct text *text, void (*at_end)(void *arg), void *arg)
{
    text->at_end = at_end;
    text->arg = arg;
    check(burble_reader_create(text->stream, 0, &text->reader, NULL), "a reader");
    check(burble_reader_attach(text->reader, text->hub, text_print, text), "a place in the loop");
    text_print(text->reader, text); /* what is available already; the rest comes through the hub */
}

/* The loop has returned, and does not watch the hub any more. */
static void text_end(struct text *text)
{
    burble_reader_destroy(&text->reader);
    burble_hub_destroy(&text->hub);
    burble_stream_unref(&text->stream);
    burble_llama_engine_destroy(&text->engine);
}

#endif
