/* SPDX-License-Identifier: MIT
 *
 * A program with every struct that burble's callers allocate. It is compiled with today's headers and with
 * those of a later version (later.py), and linked with the library of both: see meson.build.
 *
 *   - The library writes no byte beside a struct of the other version, and 0 into reserved room.
 *   - What is not 0 in reserved room is refused, unless the library knows a member there.
 *   - No struct has another size than it had in 0.1, wherever pointers have 64 bits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <burble/burble.h>
#include <burble/llama.h>

/* A struct in the middle of bytes that nobody may change. */
#define GUARD UINT64_C(0xA5A5A5A5A5A5A5A5)
#define GUARDED(type)                                                                              \
    struct {                                                                                       \
        uint64_t before;                                                                           \
        type it;                                                                                   \
        uint64_t after;                                                                            \
    }
#define FILL(guarded)                                                                              \
    do {                                                                                           \
        memset(&(guarded), 0xA5, sizeof(guarded));                                                 \
    } while (0)
#define CHECK_GUARDS(guarded)                                                                      \
    do {                                                                                           \
        CHECK((guarded).before, GUARD);                                                            \
        CHECK((guarded).after, GUARD);                                                             \
    } while (0)

/* The first word of what is reserved in 0.1, and the last. */
#ifdef PROGRAM_IS_LATER
#define FIRST(object) ((object).later)
#else
#define FIRST(object) ((object).reserved[0])
#endif
#define LAST(object) ((object).reserved[sizeof(object).reserved / sizeof(object).reserved[0] - 1])
#ifdef LIBRARY_IS_LATER
#define ASKED_FOR_MORE BURBLE_OK
#else
#define ASKED_FOR_MORE BURBLE_EINVAL
#endif

#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(burble_error) == 288, "burble_error");
_Static_assert(sizeof(burble_text) == 16, "burble_text");
_Static_assert(sizeof(burble_token) == 16, "burble_token");
_Static_assert(sizeof(burble_span) == 32, "burble_span");
_Static_assert(sizeof(burble_stop_token) == 16, "burble_stop_token");
_Static_assert(sizeof(burble_record) == 40, "burble_record");
_Static_assert(sizeof(burble_status) == 48, "burble_status");
_Static_assert(sizeof(burble_stream_options) == 80, "burble_stream_options");
_Static_assert(sizeof(burble_hub_options) == 32, "burble_hub_options");
_Static_assert(sizeof(burble_pool_options) == 48, "burble_pool_options");
_Static_assert(sizeof(burble_pool_run_options) == 120, "burble_pool_run_options");
_Static_assert(sizeof(burble_step) == 56, "burble_step");
_Static_assert(sizeof(burble_vocab_options) == 56, "burble_vocab_options");
_Static_assert(sizeof(burble_detok_options) == 40, "burble_detok_options");
_Static_assert(sizeof(burble_stop_match) == 40, "burble_stop_match");
_Static_assert(sizeof(burble_llama_model_options) == 56, "burble_llama_model_options");
_Static_assert(sizeof(burble_llama_message) == 32, "burble_llama_message");
_Static_assert(sizeof(burble_llama_conversation) == 64, "burble_llama_conversation");
_Static_assert(sizeof(burble_llama_engine_options) == 80, "burble_llama_engine_options");
_Static_assert(sizeof(burble_llama_embedder_options) == 48, "burble_llama_embedder_options");
_Static_assert(sizeof(burble_llama_memory) == 64, "burble_llama_memory");
_Static_assert(sizeof(burble_llama_request) == 312, "burble_llama_request");
_Static_assert(sizeof(burble_llama_place) == 48, "burble_llama_place");
_Static_assert(sizeof(burble_llama_stats) == 104, "burble_llama_stats");
#endif

static void check(int line, const char *what, uint64_t found, uint64_t expected)
{
    if (found == expected)
        return;
    fprintf(stderr, "%s:%d: %s: expected %lld, found %lld\n", __FILE__, line, what,
            (long long)expected, (long long)found);
    exit(EXIT_FAILURE);
}
#define CHECK(found, expected) check(__LINE__, #found, (uint64_t)(found), (uint64_t)(expected))

static void hubs(void)
{
    GUARDED(burble_hub_options) options;
    burble_hub *hub;
    FILL(options);
    burble_hub_options_init(&options.it);
    CHECK_GUARDS(options);
    CHECK(burble_hub_create(&options.it, &hub), BURBLE_OK);
    burble_hub_destroy(&hub);
    FIRST(options.it) = 1;
    CHECK(burble_hub_create(&options.it, &hub), ASKED_FOR_MORE);
    burble_hub_destroy(&hub);
    FIRST(options.it) = 0;
    LAST(options.it) = 1;
    CHECK(burble_hub_create(&options.it, &hub), BURBLE_EINVAL);
}

static void records(burble_stream *stream)
{
    GUARDED(burble_record) record;
    GUARDED(burble_status) status;
    burble_reader *reader;
    CHECK(burble_reader_create(stream, 0, &reader, NULL), BURBLE_OK);
    CHECK(burble_stream_append(stream, "text", 4, 2), BURBLE_OK);
    FILL(record);
    CHECK(burble_reader_next(reader, &record.it), BURBLE_OK);
    CHECK_GUARDS(record);
    CHECK(record.it.len, 4);
    CHECK(record.it.tokens, 2);
    CHECK(record.it.seq, 0);
    CHECK(memcmp(record.it.text, "text", 4), 0);
    CHECK(FIRST(record.it), 0);
    CHECK(LAST(record.it), 0);
    CHECK(burble_stream_fail(stream, -100, "why"), BURBLE_OK);
    FILL(status);
    burble_stream_status(stream, &status.it);
    CHECK_GUARDS(status);
    CHECK(status.it.state, BURBLE_FAILED);
    CHECK(status.it.code, -100);
    CHECK(strcmp(status.it.message, "why"), 0);
    CHECK(FIRST(status.it), 0);
    CHECK(LAST(status.it), 0);
    burble_reader_destroy(&reader);
}

static void streams(void)
{
    GUARDED(burble_stream_options) options;
    burble_stream *stream;
    FILL(options);
    burble_stream_options_init(&options.it);
    CHECK_GUARDS(options);
    CHECK(burble_stream_create(&options.it, &stream), BURBLE_OK);
    records(stream);
    burble_stream_unref(&stream);
    FIRST(options.it) = 1;
    CHECK(burble_stream_create(&options.it, &stream), ASKED_FOR_MORE);
    burble_stream_unref(&stream);
    FIRST(options.it) = 0;
    LAST(options.it) = 1;
    CHECK(burble_stream_create(&options.it, &stream), BURBLE_EINVAL);
}

static int generate(burble_stream *stream, void *arg)
{
    return burble_stream_append(stream, arg, 4, 1);
}

static void runs(burble_pool *pool)
{
    static char text[] = "text";
    GUARDED(burble_pool_run_options) options;
    burble_stream *stream;
    FILL(options);
    burble_pool_run_options_init(&options.it);
    CHECK_GUARDS(options);
    CHECK(burble_pool_run(pool, generate, text, &options.it, &stream), BURBLE_OK);
    burble_stream_unref(&stream);
    FIRST(options.it) = FIRST(options.it.stream) = 1;
    CHECK(burble_pool_run(pool, generate, text, &options.it, &stream), ASKED_FOR_MORE);
    burble_stream_unref(&stream);
    FIRST(options.it) = FIRST(options.it.stream) = 0;
    LAST(options.it) = 1;
    CHECK(burble_pool_run(pool, generate, text, &options.it, &stream), BURBLE_EINVAL);
    LAST(options.it) = 0;
    LAST(options.it.stream) = 1;
    CHECK(burble_pool_run(pool, generate, text, &options.it, &stream), BURBLE_EINVAL);
}

static void pools(void)
{
    GUARDED(burble_pool_options) options;
    burble_pool *pool;
    FILL(options);
    burble_pool_options_init(&options.it);
    CHECK_GUARDS(options);
    CHECK(burble_pool_create(&options.it, &pool), BURBLE_OK);
    runs(pool);
    burble_pool_destroy(&pool);
    FIRST(options.it) = 1;
    CHECK(burble_pool_create(&options.it, &pool), ASKED_FOR_MORE);
    burble_pool_destroy(&pool);
    FIRST(options.it) = 0;
    LAST(options.it) = 1;
    CHECK(burble_pool_create(&options.it, &pool), BURBLE_EINVAL);
}

static void detokenizers(burble_vocab *vocab)
{
    GUARDED(burble_detok_options) options;
    burble_detok *detok;
    burble_text text;
    const int32_t id = 0;
    FILL(options);
    burble_detok_options_init(&options.it);
    CHECK_GUARDS(options);
    CHECK(burble_detok_create(vocab, &options.it, &detok), BURBLE_OK);
    CHECK(burble_detok_push(detok, &id, 1, &text), BURBLE_OK);
    CHECK(text.len, 3);
    CHECK(memcmp(text.bytes, "bcd", 3), 0);
    burble_detok_destroy(&detok);
    FIRST(options.it) = 1;
    CHECK(burble_detok_create(vocab, &options.it, &detok), ASKED_FOR_MORE);
    burble_detok_destroy(&detok);
    FIRST(options.it) = 0;
    LAST(options.it) = 1;
    CHECK(burble_detok_create(vocab, &options.it, &detok), BURBLE_EINVAL);
}

static void vocabularies(void)
{
    GUARDED(burble_vocab_options) options;
    GUARDED(burble_error) error;
    const burble_token token = {.text = "acd", .len = 3};
    burble_step steps[2] = {{.kind = BURBLE_STEP_REPLACE, .text = "a", .with = "b"},
                            {.kind = BURBLE_STEP_FUSE}};
    burble_vocab *vocab;
    FILL(options);
    burble_vocab_options_init(&options.it);
    CHECK_GUARDS(options);
    options.it.steps = steps;
    options.it.n_steps = 2;
    CHECK(burble_vocab_create(&options.it, &token, 1, &vocab, NULL), BURBLE_OK);
    detokenizers(vocab);
    burble_vocab_unref(&vocab);
    FIRST(options.it) = FIRST(steps[1]) = 1;
    CHECK(burble_vocab_create(&options.it, &token, 1, &vocab, NULL), ASKED_FOR_MORE);
    burble_vocab_unref(&vocab);
    FIRST(options.it) = FIRST(steps[1]) = 0;
    LAST(steps[1]) = 1;
    FILL(error);
    CHECK(burble_vocab_create(&options.it, &token, 1, &vocab, &error.it), BURBLE_EINVAL);
    CHECK_GUARDS(error);
    CHECK(error.it.code, BURBLE_EINVAL);
    CHECK(strncmp(error.it.message, "step 1 (Fuse): ", 15), 0);
    CHECK(FIRST(error.it), 0);
    CHECK(LAST(error.it), 0);
    LAST(steps[1]) = 0;
    LAST(options.it) = 1;
    CHECK(burble_vocab_create(&options.it, &token, 1, &vocab, NULL), BURBLE_EINVAL);
    FILL(error);
    CHECK(burble_vocab_parse("", 0, BURBLE_VOCAB_GGUF, NULL, &vocab, &error.it), BURBLE_EFORMAT);
    CHECK_GUARDS(error);
    CHECK(FIRST(error.it), 0);
    CHECK(LAST(error.it), 0);
}

static void stops(void)
{
    const burble_text string = {"end", 3};
    GUARDED(burble_stop_match) match;
    burble_stop *stop;
    burble_text text;
    CHECK(burble_stop_create(&string, 1, false, &stop, NULL), BURBLE_OK);
    FILL(match);
    CHECK(burble_stop_push(stop, "the end", 7, &text, &match.it), BURBLE_END);
    CHECK_GUARDS(match);
    CHECK(match.it.begin, 4);
    CHECK(match.it.end, 7);
    CHECK(FIRST(match.it), 0);
    CHECK(LAST(match.it), 0);
    burble_stop_destroy(&stop);
}

int main(void)
{
    hubs();
    streams();
    pools();
    vocabularies();
    stops();
    return EXIT_SUCCESS;
}
