/* SPDX-License-Identifier: MIT
 *
 * What a scenario is made of: calls of the public API, each of which may fail, and what must be true
 * whether it does or not.
 */
#ifndef BURBLE_TESTS_TORTURE_H
#define BURBLE_TESTS_TORTURE_H

#include <stdbool.h>
#include <stddef.h>

#include <burble/burble.h>

#include "fail.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Ends the scenario's process where a promise does not hold. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            torture_broken(__FILE__, __LINE__, #condition);                                        \
    } while (0)
_Noreturn void torture_broken(const char *file, int line, const char *condition);

/* A call that may fail, with a result that says so. Where it does, its result and errno are those of the
 * failure; where that was the only one, the call can be repeated and does its work; where there is no
 * more of anything, the scenario goes to `out`, which gives back what it has. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        const unsigned before_ = torture_before();                                                 \
        int result_ = (call);                                                                      \
        if (result_ < 0) {                                                                         \
            torture_check_error(__FILE__, __LINE__, #call, result_, before_);                      \
            if (torture_for_good())                                                                \
                goto out;                                                                          \
            result_ = (call);                                                                      \
        }                                                                                          \
        if (result_ < 0)                                                                           \
            torture_broken(__FILE__, __LINE__, #call " works where nothing fails");                \
    } while (0)

/* From here on calls fail; a scenario says when, once. */
void torture_begin(void);
/* Nothing fails any more. What follows looks at what is left. */
void torture_end(void);

/* How many calls have failed so far; and whether each one will, from now on. */
unsigned torture_failed(void);
bool torture_for_good(void);
/* How many; the errors from here on are those of the call that follows. */
unsigned torture_before(void);
void torture_check_error(const char *file, int line, const char *call, int result, unsigned before);

/* Files to read: the corpora of the fuzz targets, and the models. */
const char *torture_corpus(void);
const char *torture_models(void);

/* How a scenario must fail at least once, or nothing was let fail: a wrapper that does not take, say.
 * (What it does besides may be interrupted, too.) */
enum torture_kinds {
    TORTURE_NOTHING = 0,
    TORTURE_CALLS = 1 << FAIL_ONCE | 1 << FAIL_ON,
    TORTURE_WAKES = TORTURE_CALLS | 1 << FAIL_EINTR, /* reads, writes: of 8 bytes, perhaps */
    TORTURE_READS = TORTURE_WAKES | 1 << FAIL_SHORT,
#ifdef TORTURE_JSON
    TORTURE_JSON_READS = TORTURE_READS,
#else
    TORTURE_JSON_READS = TORTURE_NOTHING, /* such a file cannot be read in this build */
#endif
#ifdef TORTURE_PROTOCOL
    TORTURE_PROTOCOL_CALLS = TORTURE_CALLS,
#else
    TORTURE_PROTOCOL_CALLS = TORTURE_NOTHING, /* there is no libburble-serve in this build */
#endif
#ifdef TORTURE_SERVE
    TORTURE_SERVE_CALLS = TORTURE_CALLS
#else
    TORTURE_SERVE_CALLS = TORTURE_NOTHING /* there is no server in this build */
#endif
};

/* X(scenario, kinds): what runs, in an order of no meaning, and how it must be seen to fail. */
#ifdef TORTURE_LLAMA
#define TORTURE_SCENARIOS(X)                                                                       \
    X(model, TORTURE_READS)                                                                        \
    X(engine, TORTURE_CALLS)                                                                       \
    X(embedder, TORTURE_CALLS)                                                                     \
    X(threads, TORTURE_CALLS)                                                                      \
    X(command_run, TORTURE_WAKES)                                                                  \
    X(command_prompts, TORTURE_READS)                                                              \
    X(command_chat, TORTURE_READS)                                                                 \
    X(command_serve, TORTURE_SERVE_CALLS)
#else
#define TORTURE_SCENARIOS(X)                                                                       \
    X(stream, TORTURE_CALLS)                                                                       \
    X(retention, TORTURE_CALLS)                                                                    \
    X(limits, TORTURE_CALLS)                                                                       \
    X(blocking, TORTURE_CALLS)                                                                     \
    X(hub_eventfd, TORTURE_WAKES)                                                                  \
    X(hub_pipe, TORTURE_READS)                                                                     \
    X(first_objects, TORTURE_CALLS)                                                                \
    X(producer, TORTURE_CALLS)                                                                     \
    X(pool, TORTURE_CALLS)                                                                         \
    X(vocab, TORTURE_CALLS)                                                                        \
    X(detok, TORTURE_CALLS)                                                                        \
    X(stop, TORTURE_CALLS)                                                                         \
    X(chunk, TORTURE_CALLS)                                                                        \
    X(requests, TORTURE_PROTOCOL_CALLS)                                                            \
    X(answers, TORTURE_PROTOCOL_CALLS)                                                             \
    X(load_hf, TORTURE_JSON_READS)                                                                 \
    X(load_gguf, TORTURE_READS)                                                                    \
    X(load_tiktoken, TORTURE_READS)                                                                \
    X(load_sentencepiece, TORTURE_READS)                                                           \
    X(load_tekken, TORTURE_JSON_READS)                                                             \
    X(load_large, TORTURE_READS)                                                                   \
    X(command, TORTURE_JSON_READS)                                                                 \
    X(command_binary, TORTURE_READS)                                                               \
    X(command_stop, TORTURE_READS)                                                                 \
    X(command_gguf, TORTURE_READS)                                                                 \
    X(command_tiktoken, TORTURE_READS)                                                             \
    X(command_sentencepiece, TORTURE_READS)                                                        \
    X(command_tekken, TORTURE_JSON_READS)                                                          \
    X(command_help, TORTURE_READS)                                                                 \
    X(command_usage, TORTURE_CALLS)
#endif

#define TORTURE_DECLARE(name, kinds) void torture_##name(void);
TORTURE_SCENARIOS(TORTURE_DECLARE)
#undef TORTURE_DECLARE

#endif
