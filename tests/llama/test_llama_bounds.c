/* SPDX-License-Identifier: MIT
 *
 * What an engine refuses: requests and options out of their range, and more than there is.
 */
#define _GNU_SOURCE /* sched_setaffinity */
#define _POSIX_C_SOURCE 200809L

#include "engine_support.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void refuses(burble_llama_engine *engine, const burble_llama_request *request,
                    const char *message)
{
    burble_error error = {0};
    assert_result(try_to_submit(engine, request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, message);
}

static void is_too_long(burble_llama_engine *engine, const burble_llama_request *request,
                        const char *message)
{
    burble_error error = {0};
    assert_result(try_to_submit(engine, request, &error), BURBLE_ETOOLONG);
    assert_string_equal(error.message, message);
}

static void request_out_of_range_is_refused(void **state)
{
    int32_t ids[600] = {0};
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 0);
    burble_llama_request request = request_for("", 1);
    request.ids = ids;
    refuses(engine, &request, "prompt: expected at least 1 token, found none");
    request.ids = NULL;
    request.prompt = NULL;
    request.prompt_len = 3;
    refuses(engine, &request, "prompt: expected at most 1 GiB of text, found NULL");
    request.ids = ids;
    request.n_ids = 512;
    is_too_long(engine, &request,
                "prompt: expected at most 511 tokens, as the context is 512, found 512");
    request.n_ids = 3;
    ids[2] = 2048;
    refuses(engine, &request, "prompt: token 2: expected an id from 0 to 2047, found 2048");
    ids[2] = -1;
    refuses(engine, &request, "prompt: token 2: expected an id from 0 to 2047, found -1");

    request = request_for("caf\xC3\xA9 \xF4\x90\x80\x80", 1);
    refuses(engine, &request, "prompt: expected UTF-8, found byte 0xf4 at 6");

    char long_text[4001];
    memset(long_text, 'z', 4000);
    long_text[4000] = '\0';
    request = request_for(long_text, 1);
    burble_error error;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_ETOOLONG);
    assert_non_null(strstr(error.message, "prompt: expected at most 511 tokens"));

    request = request_for("a", 1);
    request.reserved[4] = 1;
    refuses(engine, &request,
            "request: expected 0 in `reserved`, found a member of a later version");
    request = request_for("a", 1);
    request.temperature = -1;
    refuses(engine, &request, "temperature: expected 0 to 100, found -1");
    request = request_for("a", 1);
    request.top_p = 0;
    refuses(engine, &request, "top_p: expected above 0, at most 1, found 0");
    request = request_for("a", 1);
    request.min_p = 2;
    refuses(engine, &request, "min_p: expected 0 to 1, found 2");
    request = request_for("a", 1);
    request.typical_p = 1.5f;
    refuses(engine, &request, "typical_p: expected above 0, at most 1, found 1.5");
    request = request_for("a", 1);
    request.repeat_penalty = 0;
    refuses(engine, &request, "repeat_penalty: expected above 0, at most 100, found 0");
    request = request_for("a", 1);
    request.presence_penalty = NAN;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    request = request_for("a", 1);
    request.frequency_penalty = 101;
    refuses(engine, &request, "frequency_penalty: expected -100 to 100, found 101");
    request = request_for("a", 1);
    request.dry_base = 0.5f;
    refuses(engine, &request, "dry_base: expected 1 to 100, found 0.5");
    request = request_for("a", 1);
    request.mirostat = 3;
    refuses(engine, &request, "mirostat: expected 0 to 2, found 3");
    request.mirostat = 2;
    refuses(engine, &request, "mirostat: expected a temperature above 0, found 0");
    request = request_for("a", 1);
    burble_llama_bias bias = {2048, 1};
    request.logit_bias = &bias;
    request.n_logit_bias = 1;
    refuses(engine, &request, "logit_bias 0: expected an id from 0 to 2047, found 2048");
    bias = (burble_llama_bias){7, INFINITY};
    refuses(engine, &request, "logit_bias 0: expected a number or -INFINITY, found inf");
    const burble_text breakers[65] = {{"", 0}};
    request = request_for("a", 1);
    request.dry_breakers = breakers;
    request.n_dry_breakers = 65;
    refuses(engine, &request, "dry_breakers: expected at most 64, found 65");
    request.n_dry_breakers = 1;
    refuses(engine, &request, "dry_breakers 0: expected text without NUL, found none");
    request = request_for("a", 1);
    request.chunking = (burble_chunking)99;
    refuses(engine, &request, "chunking: expected a known rule, found 99");
    request = request_for("a", 1);
    request.stop = &(burble_text){"", 0};
    request.n_stop = 1;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_int_equal(stats_of(engine).requests, 0);
    burble_llama_engine_destroy(&engine);
}

/* Text that is too long by far is not tokenized: a context of 64 tokens of 64 bytes each, and 4096 bytes
 * more, is what may yet fit, although all that is said of it then is how many tokens it has. */
static void prompt_longer_than_context_is_refused(void **state)
{
    enum { MOST = 64 * 64 + 4096, FAR = 64 << 20 };
    burble_llama_engine *engine;
    burble_llama_engine_options options;
    burble_error error;
    int32_t ids[1];
    size_t n;
    char expected[200];
    (void)state;
    char *text = malloc(FAR);
    assert_non_null(text);
    memset(text, 'z', FAR);
    burble_llama_engine_options_init(&options);
    options.slots = 1;
    options.context = 64;
    options.threads = 1;
    assert_result(burble_llama_engine_create(model, &options, &engine, NULL), BURBLE_OK);
    burble_llama_request request = request_for("", 1);
    request.prompt = text;

    request.prompt_len = MOST;
    assert_result(burble_llama_model_tokenize(model, text, MOST, false, ids, 0, &n), BURBLE_EFULL);
    snprintf(expected, sizeof expected,
             "prompt: expected at most 63 tokens, as the context is 64, found %zu", n);
    assert_result(try_to_submit(engine, &request, &error), BURBLE_ETOOLONG);
    assert_string_equal(error.message, expected);
    request.prompt_len = MOST + 1;
    is_too_long(
        engine, &request,
        "prompt: expected at most 63 tokens, as the context is 64, found more: 8193 bytes of "
        "text");
    request.prompt_len = FAR;
    is_too_long(
        engine, &request,
        "prompt: expected at most 63 tokens, as the context is 64, found more: 67108864 bytes "
        "of text");
    burble_llama_engine_destroy(&engine);
    free(text);
}

static void engine_refuses(const burble_llama_engine_options *options, const char *message)
{
    burble_llama_engine *engine = (burble_llama_engine *)&message;
    burble_error error = {0};
    assert_result(burble_llama_engine_create(model, options, &engine, &error), BURBLE_EINVAL);
    assert_null(engine);
    assert_string_equal(error.message, message);
}

static void engine_options_out_of_range_are_refused(void **state)
{
    burble_llama_engine_options options;
    (void)state;
    burble_llama_engine_options_init(&options);
    options.slots = 257;
    engine_refuses(&options, "slots: expected 1 to 256, found 257");
    burble_llama_engine_options_init(&options);
    options.context = 1;
    engine_refuses(&options,
                   "context: expected 2 to 512, what the model was trained with, found 1");
    options.context = 513;
    engine_refuses(&options,
                   "context: expected 2 to 512, what the model was trained with, found 513");
    burble_llama_engine_options_init(&options);
    options.batch = 0;
    engine_refuses(&options, "batch: expected 1 to 65536, found 0");
    burble_llama_engine_options_init(&options);
    options.threads = 513;
    engine_refuses(&options, "threads: expected 1 to 512, found 513");
    burble_llama_engine_options_init(&options);
    options.reserved[3] = 1;
    engine_refuses(&options,
                   "options: expected 0 in `reserved`, found a member of a later version");
}

/* ---- more than there is -------------------------------------------------------------------------- */

/* Whether it holds in a separate process, which has one thread and may be given bounds. Sanitizers take
 * their memory from the same, and TSan allows such a process no threads. */
static void assert_in_a_child(bool (*holds)(void))
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)holds;
    skip();
#else
    int status;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(holds() ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
#endif
}

#ifdef __linux__
static int threads(void)
{
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return -1;
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;)
        n += task->d_name[0] != '.';
    closedir(tasks);
    return n;
}

/* Besides the only one, which opens the engine. */
static bool an_engine_adds_threads(int expected)
{
    burble_llama_engine *engine;
    return threads() == 1 && burble_llama_engine_create(model, NULL, &engine, NULL) == BURBLE_OK
           && threads() - 1 == expected;
}

static bool all_processors_have_a_thread(void)
{
    cpu_set_t all;
    return sched_getaffinity(0, sizeof all, &all) == 0 && an_engine_adds_threads(CPU_COUNT(&all));
}

static bool one_processor_has_a_thread(void)
{
    cpu_set_t all;
    cpu_set_t one;
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return false;
    CPU_ZERO(&one);
    for (size_t i = 0; CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0 && an_engine_adds_threads(1);
}
#endif

static void engine_default_threads_equal_allowed_processors(void **state)
{
    (void)state;
#ifdef __linux__
    assert_in_a_child(all_processors_have_a_thread);
    assert_in_a_child(one_processor_has_a_thread);
#else
    skip();
#endif
}

static void bound_memory(rlim_t bytes)
{
    const struct rlimit limit = {bytes, bytes};
    setrlimit(RLIMIT_AS, &limit);
}

static bool memory_is_too_short(void)
{
    burble_llama_engine_options options;
    burble_llama_engine *engine;
    burble_error error = {0};
    const char *expected = "no memory for 256 slots of 512 tokens: ";
    burble_llama_engine_options_init(&options);
    options.slots = 256; /* which take 1 GB */
    options.cache_k = options.cache_v = BURBLE_LLAMA_CACHE_F32;
    bound_memory((rlim_t)800 << 20);
    const bool found = burble_llama_engine_create(model, &options, &engine, &error) == BURBLE_ENOMEM
                       && engine == NULL && strncmp(error.message, expected, strlen(expected)) == 0
                       && strstr(error.message, "expected 1.0 GiB available, found 0.") != NULL;
    options.overcommit = true; /* then llama.cpp finds out */
    return found && burble_llama_engine_create(model, &options, &engine, &error) == BURBLE_ENOMEM
           && engine == NULL && strncmp(error.message, expected, strlen(expected)) == 0
           && strstr(error.message, "available") == NULL;
}

/* 1 MiB is left for a file of 5. */
static bool weights_do_not_fit(void)
{
    burble_llama_model_options options;
    burble_llama_model *other;
    burble_error error = {0};
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        return false;
    fclose(file);
    bound_memory(pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)1 << 20));
    burble_llama_model_options_init(&options);
    return burble_llama_model_load(model_path(), &options, &other, &error) == BURBLE_ENOMEM
           && other == NULL
           && strstr(error.message, ": no memory for the weights: expected 0.0 GiB available")
                  != NULL;
}

static void model_without_memory_is_refused(void **state)
{
    (void)state;
#ifdef __linux__
    assert_in_a_child(weights_do_not_fit);
#else
    skip();
#endif
}

static void engine_without_memory_is_refused(void **state)
{
    (void)state;
    assert_in_a_child(memory_is_too_short);
}

/* There is memory for the engine, not for as many stacks. */
static bool threads_cannot_be_made(void)
{
    enum { THREADS = 512, POSSIBLE = 200 };
    size_t stack;
    pthread_attr_t usual;
    burble_llama_engine_options options;
    burble_llama_engine *engine;
    burble_error error = {0};
    if (pthread_attr_init(&usual) != 0 || pthread_attr_getstacksize(&usual, &stack) != 0)
        return false;
    pthread_attr_destroy(&usual);
    burble_llama_engine_options_init(&options);
    options.slots = 1;
    options.threads = THREADS;
    bound_memory(((rlim_t)1 << 30) + POSSIBLE * (rlim_t)stack);
    const int result = burble_llama_engine_create(model, &options, &engine, &error);
    const int reason = errno;
    const bool refused =
        result == BURBLE_ESYSTEM && engine == NULL && reason == EAGAIN
        && strncmp(error.message, "cannot start 512 threads for the engine: ", 41) == 0;
    options.threads = 2; /* nothing is left of those that were made */
    return refused && burble_llama_engine_create(model, &options, &engine, &error) == BURBLE_OK;
}

static void engine_without_threads_is_refused(void **state)
{
    (void)state;
    assert_in_a_child(threads_cannot_be_made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_out_of_range_is_refused),
        cmocka_unit_test(prompt_longer_than_context_is_refused),
        cmocka_unit_test(engine_options_out_of_range_are_refused),
        cmocka_unit_test(engine_default_threads_equal_allowed_processors),
        cmocka_unit_test(engine_without_memory_is_refused),
        cmocka_unit_test(model_without_memory_is_refused),
        cmocka_unit_test(engine_without_threads_is_refused),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
