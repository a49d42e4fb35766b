/* SPDX-License-Identifier: MIT
 *
 * What the tests of engines share: the model of the file's tests, and what they ask of an engine.
 */
#ifndef BURBLE_TESTS_ENGINE_SUPPORT_H
#define BURBLE_TESTS_ENGINE_SUPPORT_H

#include "llama_support.h"

#include <sched.h>

static burble_llama_model *model;

static inline int load_once(void **state)
{
    (void)state;
    model = load_model();
    return 0;
}

static inline int unload(void **state)
{
    (void)state;
    burble_llama_model_unref(&model);
    return model != NULL;
}

static inline burble_llama_stats stats_of(burble_llama_engine *engine)
{
    burble_llama_stats stats;
    burble_llama_engine_stats(engine, &stats);
    return stats;
}

/* Until the engine's thread has noticed what happened. The test's time limit is the bound. */
static inline burble_llama_stats wait_until_active(burble_llama_engine *engine, uint32_t active)
{
    while (stats_of(engine).active != active)
        sched_yield();
    return stats_of(engine);
}

static inline void assert_same_at(struct place at, const struct output *found,
                                  const struct output *expected)
{
    assert_result_at(at, found->end, expected->end);
    assert_int_equal_at(at, found->len, expected->len);
    assert_memory_equal_at(at, found->text, expected->text, expected->len);
}
#define assert_same(...) assert_same_at(HERE, __VA_ARGS__)

static inline burble_reason reason_of_at(struct place at, burble_llama_engine *engine,
                                         const burble_llama_request *request, struct output *output)
{
    burble_reader *reader;
    burble_status status;
    burble_error error = {0};
    burble_stream *stream = stream_and_reader(&reader);
    if (burble_llama_engine_submit(engine, request, stream, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    read_all(reader, output);
    burble_stream_status(stream, &status);
    burble_stream_unref(&stream);
    assert_result_at(at, output->end, BURBLE_END);
    return status.reason;
}
#define reason_of(...) reason_of_at(HERE, __VA_ARGS__)

/* Hands a request in and drops it. One that was refused has left its stream as it was. */
static inline int try_to_submit_at(struct place at, burble_llama_engine *engine,
                                   const burble_llama_request *request, burble_error *error)
{
    burble_reader *reader;
    burble_status status;
    burble_stream *stream = stream_and_reader(&reader);
    const int result = burble_llama_engine_submit(engine, request, stream, error);
    burble_stream_status(stream, &status);
    if (result != BURBLE_OK)
        assert_int_equal_at(at, status.state, BURBLE_OPEN);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    return result;
}
#define try_to_submit(...) try_to_submit_at(HERE, __VA_ARGS__)

#endif
