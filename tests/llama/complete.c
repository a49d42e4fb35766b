/* SPDX-License-Identifier: MIT
 *
 * Greedy continuations, for tests in other languages:
 *
 *     complete MODEL TOKENS [TEMPLATE] <prompts >texts
 *
 * Prompts and texts end in NUL, and all are computed at once; after each text comes the reason for its
 * end, "stop" or "length". With a TEMPLATE ("model": the model's own) each prompt is a user's message,
 * and what comes out is the prompt that it makes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <burble/llama.h>

enum { MOST = 64, SIZE = 1 << 16 };

static void check(int result, const burble_error *error)
{
    if (result != BURBLE_OK) {
        fprintf(stderr, "complete: %s: %s\n", burble_result_name(result), error->message);
        exit(1);
    }
}

static void print_text(burble_stream *stream)
{
    burble_reader *reader;
    burble_record record;
    burble_error none = {0};
    check(burble_reader_create(stream, 0, &reader, NULL), &none);
    int result;
    while ((result = burble_reader_next(reader, &record)) != BURBLE_END)
        if (result == BURBLE_OK)
            fwrite(record.text, 1, record.len, stdout);
        else if (result == BURBLE_AGAIN)
            check(burble_reader_wait(reader, 0), &none);
        else
            check(result, &none);
    burble_status status;
    burble_stream_status(stream, &status);
    printf("%c%s%c", '\0', status.reason == BURBLE_REASON_STOP ? "stop" : "length", '\0');
    burble_reader_destroy(&reader);
}

static void complete(burble_llama_model *model, char *const *prompts, uint32_t n,
                     uint32_t max_tokens)
{
    burble_llama_engine *engine;
    burble_llama_engine_options options;
    burble_stream_options keep;
    burble_stream *streams[MOST];
    burble_error error;
    burble_stream_options_init(&keep);
    keep.keep = BURBLE_KEEP_ALL;
    burble_llama_engine_options_init(&options);
    options.slots = n;
    options.threads =
        1; /* several threads wait for each other by turning, which a busy machine punishes */
    options.cache_k = options.cache_v = BURBLE_LLAMA_CACHE_F32;
    check(burble_llama_engine_create(model, &options, &engine, &error), &error);
    for (uint32_t i = 0; i < n; i++) {
        burble_llama_request request;
        burble_llama_request_init(&request);
        request.prompt = prompts[i];
        request.prompt_len = strlen(prompts[i]);
        request.max_tokens = max_tokens;
        check(burble_stream_create(&keep, &streams[i]), &(burble_error){0});
        check(burble_llama_engine_submit(engine, &request, streams[i], &error), &error);
    }
    for (uint32_t i = 0; i < n; i++) {
        print_text(streams[i]);
        burble_stream_unref(&streams[i]);
    }
    burble_llama_engine_destroy(&engine);
}

static void chat(burble_llama_model *model, char *const *prompts, uint32_t n, const char *name)
{
    static char text[SIZE];
    burble_error error;
    for (uint32_t i = 0; i < n; i++) {
        const burble_llama_message message = {.role = "user", .content = prompts[i]};
        burble_llama_conversation conversation;
        burble_llama_conversation_init(&conversation);
        conversation.messages = &message;
        conversation.n = 1;
        conversation.template_name = strcmp(name, "model") == 0 ? NULL : name;
        size_t len;
        check(burble_llama_model_apply_template(model, &conversation, text, sizeof text, &len,
                                                &error),
              &error);
        fwrite(text, 1, len, stdout);
        putchar('\0');
    }
}

int main(int argc, char **argv)
{
    static char input[SIZE];
    char *prompts[MOST];
    uint32_t n = 0;
    burble_llama_model *model;
    burble_error error;
    if (argc < 3) {
        fputs("usage: complete MODEL TOKENS [TEMPLATE] <prompts >texts\n", stderr);
        return 2;
    }
    const size_t size = fread(input, 1, sizeof input - 1, stdin);
    for (char *at = input; at < input + size && n < MOST; at += strlen(at) + 1)
        prompts[n++] = at;
    check(burble_llama_model_load(argv[1], NULL, &model, &error), &error);
    if (argc > 3)
        chat(model, prompts, n, argv[3]);
    else
        complete(model, prompts, n, (uint32_t)strtoul(argv[2], NULL, 10));
    burble_llama_model_unref(&model);
    return 0;
}
