/* SPDX-License-Identifier: MIT
 *
 * Two texts at once, from one engine, each of its steps computing a token of both:
 *     two_prompts MODEL.gguf "ROMEO:" "JULIET:"
 */
#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <burble/llama.h>

static void check(int result, const char *what)
{
    if (result != BURBLE_OK)
        errx(1, "%s: %s", what, burble_result_text(result));
}

static burble_error error;
static int open_texts = 2;
static struct text {
    size_t len; /* of the line that has begun */
    char line[1024];
} texts[2];

static void print_line(struct text *text)
{
    printf("%d| %.*s\n", (int)(text - texts) + 1, (int)text->len, text->line);
    text->len = 0;
}

/* Prints the lines that are there, and asks to be called again. */
static void on_ready(burble_reader *reader, void *arg)
{
    struct text *text = arg;
    burble_record record;
    int result;
    while ((result = burble_reader_next_or_park(reader, &record)) == BURBLE_OK) {
        for (size_t i = 0; i < record.len; i++) {
            if (record.text[i] == '\n' || text->len == sizeof text->line)
                print_line(text);
            text->line[text->len] = record.text[i];
            text->len += record.text[i] != '\n';
        }
    }
    if (result != BURBLE_AGAIN) {
        check(result == BURBLE_END ? BURBLE_OK : result, "a text");
        print_line(text);
        burble_reader_destroy(&reader); /* it is not called again */
        open_texts--;
    }
}

static void begin(struct text *text, const char *prompt, burble_llama_engine *engine,
                  burble_hub *hub)
{
    burble_stream *stream;
    burble_reader *reader;
    burble_llama_request request;
    burble_llama_request_init(&request);
    request.prompt = prompt;
    request.prompt_len = strlen(prompt);
    request.max_tokens = 64;
    check(burble_stream_create(NULL, &stream), "a stream");
    check(burble_reader_create(stream, 0, &reader, NULL), "a reader");
    check(burble_reader_attach(reader, hub, on_ready, text), "a place in the loop");
    check(burble_llama_engine_submit(engine, &request, stream, &error), error.message);
    burble_stream_unref(&stream); /* engine and reader have theirs */
    on_ready(reader, text);
}

int main(int argc, char **argv)
{
    burble_llama_model *model;
    burble_llama_engine *engine;
    burble_llama_engine_options options;
    burble_hub *hub;
    if (argc != 4)
        errx(2, "expected MODEL PROMPT PROMPT");
    burble_llama_engine_options_init(&options);
    options.threads = 1;
    check(burble_llama_model_load(argv[1], NULL, &model, &error), error.message);
    check(burble_llama_engine_create(model, &options, &engine, &error), error.message);
    check(burble_hub_create(NULL, &hub), "a hub");
    begin(&texts[0], argv[2], engine, hub);
    begin(&texts[1], argv[3], engine, hub);
    struct pollfd readable = {.fd = burble_hub_fd(hub), .events = POLLIN};
    while (open_texts > 0) {
        poll(&readable, 1, -1);
        burble_hub_dispatch(hub, 0);
    }
    burble_hub_destroy(&hub);
    burble_llama_engine_destroy(&engine);
    burble_llama_model_unref(&model);
    return 0;
}
