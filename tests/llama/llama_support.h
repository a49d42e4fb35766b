/* SPDX-License-Identifier: MIT
 *
 * What the tests of libburble-llama share: the shipped model, and reading a stream to its end.
 */
#ifndef BURBLE_TESTS_LLAMA_SUPPORT_H
#define BURBLE_TESTS_LLAMA_SUPPORT_H

#include "../unit/stream_support.h"

#include <string.h>

#include <burble/llama.h>

/* Prompts of different lengths and contents; what the model makes of them is noise here and there. */
static const char *const prompts[] = {
    "ROMEO:",
    "JULIET:\nO Romeo, ",
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\n",
    "To be, or not to be, that is the question",
    "\n",
    "a",
    "  two spaces before and after  ",
    "caf\xC3\xA9 na\xC3\xAFve \xE2\x82\xAC",
    "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E",
    "KING RICHARD III:\nNow is the winter of our discontent\nMade glorious summer by this sun of "
    "York;\nAnd all the clouds that lour'd upon our house\nIn the deep bosom of the ocean "
    "buried.\n",
};
enum { PROMPTS = sizeof prompts / sizeof prompts[0] };

/* A text as it came out of a stream. */
struct output {
    char text[4096];
    size_t len;
    uint64_t tokens; /* that the records say they stand for */
    uint64_t records;
    int end; /* what the reader said last */
};

static inline const char *model_path(void)
{
    const char *path = getenv("BURBLE_TEST_MODEL");
    return path != NULL ? path : "models/shakespeare.gguf";
}

static inline burble_llama_model *load_model_at(struct place at)
{
    burble_llama_model *model;
    burble_error error = {0};
    if (burble_llama_model_load(model_path(), NULL, &model, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    return model;
}
#define load_model() load_model_at(HERE)

/* An engine that computes in one thread: several wait for each other by turning, which takes for ever
 * where others want the processor, too. */
static inline burble_llama_engine *open_engine_at(struct place at, burble_llama_model *model,
                                                  uint32_t slots, uint32_t queue)
{
    burble_llama_engine *engine;
    burble_llama_engine_options options;
    burble_error error = {0};
    burble_llama_engine_options_init(&options);
    options.slots = slots;
    options.queue = queue;
    options.threads = 1;
    if (burble_llama_engine_create(model, &options, &engine, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    return engine;
}
#define open_engine(...) open_engine_at(HERE, __VA_ARGS__)

static inline burble_llama_request request_for(const char *prompt, uint32_t max_tokens)
{
    burble_llama_request request;
    burble_llama_request_init(&request);
    request.prompt = prompt;
    request.prompt_len = strlen(prompt);
    request.max_tokens = max_tokens;
    return request;
}

/* A stream, and a reader at its beginning, which the caller owns. */
static inline burble_stream *stream_and_reader_at(struct place at, burble_reader **reader)
{
    burble_stream *stream;
    assert_result_at(at, burble_stream_create(NULL, &stream), BURBLE_OK);
    assert_result_at(at, burble_reader_create(stream, 0, reader, NULL), BURBLE_OK);
    return stream;
}
#define stream_and_reader(...) stream_and_reader_at(HERE, __VA_ARGS__)

/* Hands a request in and returns the reader of its text. */
static inline burble_reader *submit_at(struct place at, burble_llama_engine *engine,
                                       const burble_llama_request *request)
{
    burble_reader *reader;
    burble_error error = {0};
    burble_stream *stream = stream_and_reader_at(at, &reader);
    if (burble_llama_engine_submit(engine, request, stream, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    burble_stream_unref(&stream);
    return reader;
}
#define submit(...) submit_at(HERE, __VA_ARGS__)

/* Reads on to the end, and destroys the reader. */
static inline void read_all_at(struct place at, burble_reader *reader, struct output *output)
{
    burble_record record;
    memset(output, 0, sizeof *output);
    while ((output->end = burble_reader_next(reader, &record)) == BURBLE_OK
           || output->end == BURBLE_AGAIN) {
        if (output->end == BURBLE_AGAIN) {
            assert_result_at(at, burble_reader_wait(reader, 0), BURBLE_OK);
            continue;
        }
        assert_true_at(at, record.len < sizeof output->text - output->len);
        memcpy(output->text + output->len, record.text, record.len);
        output->len += record.len;
        output->tokens += record.tokens;
        output->records++;
    }
    burble_reader_destroy(&reader);
}
#define read_all(...) read_all_at(HERE, __VA_ARGS__)

/* The whole text of one request. */
static inline void generate_at(struct place at, burble_llama_engine *engine,
                               const burble_llama_request *request, struct output *output)
{
    read_all_at(at, submit_at(at, engine, request), output);
}
#define generate(...) generate_at(HERE, __VA_ARGS__)

#endif
