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
unsigned torture_before(void); /* how many; those that come are another call's */
void torture_check_error(const char *file, int line, const char *call, int result, unsigned before);

/* Files to read: the corpora of the fuzz targets, and the models. */
const char *torture_corpus(void);
const char *torture_models(void);

/* X(scenario): what runs, in an order of no meaning. */
#ifdef TORTURE_LLAMA
#define TORTURE_SCENARIOS(X)                                                                       \
    X(model)                                                                                       \
    X(engine)                                                                                      \
    X(threads)                                                                                     \
    X(command_run)                                                                                 \
    X(command_prompts)                                                                             \
    X(command_chat)
#else
#define TORTURE_SCENARIOS(X)                                                                       \
    X(stream)                                                                                      \
    X(retention)                                                                                   \
    X(limits)                                                                                      \
    X(blocking)                                                                                    \
    X(hub_eventfd)                                                                                 \
    X(hub_pipe)                                                                                    \
    X(producer)                                                                                    \
    X(pool)                                                                                        \
    X(vocab)                                                                                       \
    X(detok)                                                                                       \
    X(stop)                                                                                        \
    X(chunk)                                                                                       \
    X(load_hf)                                                                                     \
    X(load_gguf)                                                                                   \
    X(load_tiktoken)                                                                               \
    X(load_sentencepiece)                                                                          \
    X(load_tekken)                                                                                 \
    X(load_large)                                                                                  \
    X(command)                                                                                     \
    X(command_binary)                                                                              \
    X(command_stop)                                                                                \
    X(command_gguf)                                                                                \
    X(command_tiktoken)                                                                            \
    X(command_sentencepiece)                                                                       \
    X(command_tekken)                                                                              \
    X(command_help)                                                                                \
    X(command_usage)
#endif

#define TORTURE_DECLARE(name) void torture_##name(void);
TORTURE_SCENARIOS(TORTURE_DECLARE)
#undef TORTURE_DECLARE

#endif
