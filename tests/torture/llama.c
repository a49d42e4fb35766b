/* SPDX-License-Identifier: MIT
 *
 * libburble-llama, `burble run` and the options of `burble serve`. What they call themselves fails; llama.cpp
 * is not let fail.
 */
#define _POSIX_C_SOURCE 200809L

#include "call.h"
#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <burble/frame.h>
#include <burble/llama.h>

enum { REQUESTS = 3, TOKENS = 12, LENGTH = 512, CHOICES = 2, FRAMED = 1 };

static const char *model_path(void)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/shakespeare.gguf", torture_models());
    return path;
}

static burble_llama_model *load(void)
{
    burble_llama_model *model = NULL;
    CHECK(burble_llama_model_load(model_path(), NULL, &model, NULL) == BURBLE_OK);
    return model;
}

/* ---- a model ----------------------------------------------------------------------------------- */

void torture_model(void)
{
    static const char text[] = "To be, or not to be";
    static int32_t expected[sizeof text], ids[sizeof text];
    size_t n_expected = 0, n = 0;
    burble_llama_model *model = load();
    CHECK(burble_llama_model_tokenize(model, text, sizeof text - 1, false, expected, sizeof text,
                                      &n_expected)
          == BURBLE_OK);
    burble_llama_model_unref(&model);
    torture_begin();
    TRY(burble_llama_model_load(model_path(), NULL, &model, NULL));
    TRY(burble_llama_model_tokenize(model, text, sizeof text - 1, false, ids, sizeof text, &n));
    CHECK(n == n_expected && memcmp(ids, expected, n * sizeof *ids) == 0);
out:
    torture_end();
    burble_llama_model_unref(&model);
}

/* ---- an engine --------------------------------------------------------------------------------- */

/* Two have the same beginning, which is computed once, and copied. */
#define BEGINNING                                                                                  \
    "SICINIUS:\nWhat is the city but the people?\n\nCitizens:\nTrue,\nThe people are the "         \
    "city.\n\nBRUTUS:\nBy the consent of all, we were establish'd\n"
static const char *const prompts[REQUESTS] = {BEGINNING "ROMEO:", BEGINNING "We", "\n"};

/* What else a request may ask for, each of the kinds that need memory. */
static void ask_for_more(burble_llama_request *request, int which)
{
    static const burble_llama_bias bias[] = {{3, -1.0f}, {4, 1.0f}};
    request->json = which == 2; /* which ends the text */
    request->ignore_end = which != 2;
    request->logprobs = which == 1;
    request->top_logprobs = which == 1 ? 3 : 0;
    request->frames = which == FRAMED;
    request->choices = which == FRAMED ? CHOICES : 0;
    request->logit_bias = which == 0 ? bias : NULL;
    request->n_logit_bias = which == 0 ? COUNT(bias) : 0;
    request->presence_penalty = which == 0 ? 0.5f : 0.0f;
    request->dry_multiplier = which == 0 ? 0.8f : 0.0f;
}

struct text {
    char bytes[LENGTH];
    size_t len;
};

/* The text of a frame, behind those of its choice. */
static void take_frame(const burble_record *record, size_t lengths[CHOICES], struct text *text)
{
    burble_frame frame;
    CHECK(burble_frame_read(record->text, record->len, &frame) == BURBLE_OK);
    if (frame.kind != BURBLE_FRAME_TEXT)
        return;
    const size_t room = LENGTH / CHOICES;
    CHECK(frame.choice < CHOICES && lengths[frame.choice] + frame.u.text.text.len <= room);
    memcpy(text->bytes + frame.choice * room + lengths[frame.choice], frame.u.text.text.bytes,
           frame.u.text.text.len);
    lengths[frame.choice] += frame.u.text.text.len;
}

/* All that comes. Whether it ended well; where not, memory was short. */
static bool read_to_the_end(burble_stream *stream, burble_reader *reader, bool framed,
                            struct text *text)
{
    size_t lengths[CHOICES] = {0};
    burble_status status;
    burble_record record;
    memset(text, 0, sizeof *text);
    do
        burble_stream_status(stream, &status);
    while (status.state == BURBLE_OPEN);
    while (burble_reader_next(reader, &record) == BURBLE_OK) {
        if (framed) {
            take_frame(&record, lengths, text);
            text->len = lengths[0] + lengths[1];
            continue;
        }
        CHECK(text->len + record.len <= LENGTH);
        memcpy(text->bytes + text->len, record.text, record.len);
        text->len += record.len;
    }
    CHECK(
        status.state == BURBLE_ENDED
        || (status.state == BURBLE_FAILED && status.code == BURBLE_ENOMEM && torture_failed() > 0));
    return status.state == BURBLE_ENDED;
}

/* One engine and its requests. How many texts were accepted and read. */
static int generate(burble_llama_model *model, bool good[REQUESTS], struct text texts[REQUESTS])
{
    static const burble_text stop[] = {{"nowhere", 7}, {"neither", 7}};
    burble_llama_engine *engine = NULL;
    burble_stream *streams[REQUESTS] = {NULL};
    burble_reader *readers[REQUESTS] = {NULL};
    burble_llama_engine_options options;
    burble_llama_request request;
    int n = 0, n_read = 0;
    burble_llama_engine_options_init(&options);
    options.slots = 2;
    options.context = 128;
    options.threads = 1;
    burble_llama_request_init(&request);
    request.max_tokens = TOKENS;
    request.stop = stop;
    request.n_stop = COUNT(stop);
    TRY(burble_llama_engine_create(model, &options, &engine, NULL));
    for (; n < REQUESTS; n++) {
        request.prompt = prompts[n];
        request.prompt_len = strlen(prompts[n]);
        ask_for_more(&request, n);
        request.chunking = n == 0 ? BURBLE_CHUNK_WORD : BURBLE_CHUNK_TOKEN;
        TRY(burble_stream_create(NULL, &streams[n]));
        TRY(burble_reader_create(streams[n], 0, &readers[n], NULL));
        TRY(burble_llama_engine_submit(engine, &request, streams[n], NULL));
    }
out:
    for (; n_read < n; n_read++)
        good[n_read] =
            read_to_the_end(streams[n_read], readers[n_read], n_read == FRAMED, &texts[n_read]);
    burble_llama_engine_destroy(&engine);
    for (int i = 0; i < REQUESTS; i++) {
        burble_reader_destroy(&readers[i]);
        burble_stream_unref(&streams[i]);
    }
    return n_read;
}

void torture_engine(void)
{
    static struct text expected[REQUESTS], found[REQUESTS];
    bool good[REQUESTS];
    burble_llama_model *model = load();
    CHECK(generate(model, good, expected) == REQUESTS);
    torture_begin();
    const int n = generate(model, good, found);
    torture_end();
    CHECK(n == REQUESTS || torture_for_good());
    for (int i = 0; i < n; i++) {
        CHECK(good[i] ? found[i].len == expected[i].len : found[i].len <= expected[i].len);
        CHECK((i == FRAMED && !good[i])
              || memcmp(found[i].bytes, expected[i].bytes, i == FRAMED ? LENGTH : found[i].len)
                     == 0);
    }
    burble_llama_model_unref(&model);
}

/* An engine whose threads cannot all be made; it computes nothing. */
void torture_threads(void)
{
    burble_llama_engine *engine = NULL;
    burble_llama_engine_options options;
    burble_llama_model *model = load();
    burble_llama_engine_options_init(&options);
    options.slots = 1;
    options.context = 64;
    options.threads = 4;
    torture_begin();
    TRY(burble_llama_engine_create(model, &options, &engine, NULL));
out:
    burble_llama_engine_destroy(&engine);
    torture_end();
    burble_llama_model_unref(&model);
}

/* ---- embeddings ---------------------------------------------------------------------------------- */

static int embed(burble_llama_model *model, float *vectors)
{
    static const burble_text texts[] = {{"ROMEO:", 6}, {"First Citizen:\nWe", 17}};
    burble_llama_embedder *embedder = NULL;
    burble_llama_embedder_options options;
    int result = -1;
    burble_llama_embedder_options_init(&options);
    options.context = 64;
    options.threads = 1;
    TRY(burble_llama_embedder_create(model, &options, &embedder, NULL));
    TRY(burble_llama_embedder_embed(embedder, texts, COUNT(texts), vectors, NULL));
    result = 0;
out:
    burble_llama_embedder_destroy(&embedder);
    return result;
}

void torture_embedder(void)
{
    static float expected[2 * 2048], found[2 * 2048];
    burble_llama_model *model = load();
    CHECK(embed(model, expected) == 0);
    torture_begin();
    const int result = embed(model, found);
    torture_end();
    CHECK(result != 0 || memcmp(found, expected, sizeof found) == 0);
    burble_llama_model_unref(&model);
}

/* ---- the command ------------------------------------------------------------------------------- */

void torture_command_run(void)
{
    const struct call call = {{"burble", "run", "-m", model_path(), "-p", "ROMEO:", "-n", "8",
                               "--stop", "nowhere", "--threads", "1", "--context", "64"},
                              "",
                              0,
                              false};
    torture_call(&call);
}

void torture_command_prompts(void)
{
    static const char input[] = "ROMEO:\nJULIET:\nFirst Citizen:\n";
    const struct call call = {{"burble", "run", "-m", model_path(), "--prompts=-", "--context=64",
                               "--parallel", "2", "-n", "6", "--threads", "1"},
                              input,
                              sizeof input - 1,
                              true};
    torture_call(&call);
}

void torture_command_chat(void)
{
    static const char input[] = "Who is there?";
    const struct call call = {{"burble", "run", "-m", model_path(), "--chat", "--template",
                               "chatml", "--system", "Be brief.", "-n", "4", "--threads=1",
                               "--context=64"},
                              input,
                              sizeof input - 1,
                              false};
    torture_call(&call);
}

/* Up to the last line of its configuration file, which is wrong. */
void torture_command_serve(void)
{
#ifdef TORTURE_SERVE
    static const char text[] = "model one=/nowhere\nmodel = /nowhere/two.gguf\ncors \"*\"\n"
                               "api-key-file /nowhere\nslots = 2\nport = x\n";
    char path[] = "/tmp/burble-torture-XXXXXX";
    const int descriptor = mkstemp(path);
    FILE *const file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    const struct call call = {
        {"burble", "serve", "-m", "three=/nowhere", "--config", path}, "", 0, false};
    torture_call(&call);
    unlink(path);
#endif
}
