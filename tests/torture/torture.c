/* SPDX-License-Identifier: MIT
 *
 * Each call of the system that can fail, failed in turn: the first, the second, … until a run has none
 * left to fail. The runs of a scenario are in a separate process, each in a separate thread; it
 * ends well where the scenario's checks hold and all that was taken has been given back. One that
 * crashes or hangs is a finding, and the next process goes on behind it.
 *
 *     torture CORPUS MODELS [SCENARIO [MODE N]]
 *
 * Prints TAP: a line for each scenario, with how many failures of each kind it has survived.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef TORTURE_JANSSON
#include <jansson.h>
#endif

#include "base/fork.h"

/* How long one run may take, in seconds: a hang is a finding. And how many findings of one kind are
 * enough. */
#define TIME_LIMIT 30
#define ENOUGH 5

#ifdef TORTURE_COVERAGE
void __gcov_dump(void);
#endif

static const char *const mode_names[] = {
#define MODE_NAME(mode, name) name,
    FAIL_MODES(MODE_NAME)
#undef MODE_NAME
};
static const char *const resource_names[] = {
#define RESOURCE_NAME(resource) #resource,
    FAIL_RESOURCES(RESOURCE_NAME)
#undef RESOURCE_NAME
};

struct scenario {
    const char *name;
    void (*run)(void);
    enum torture_kinds kinds;
};
static const struct scenario scenarios[] = {
#define SCENARIO(name, kinds) {#name, torture_##name, kinds},
    TORTURE_SCENARIOS(SCENARIO)
#undef SCENARIO
};

/* What a process can do only once (the key of its threads' lists, the handler of forks) can fail only in its
 * first run. */
static bool needs_new_process(const struct scenario *scenario)
{
    return strcmp(scenario->name, "producer") == 0 || strcmp(scenario->name, "first_objects") == 0;
}

static const char *corpus, *models;

/* Shared with the processes that run. */
static struct shared {
    struct fail_report report;
    unsigned nth; /* the run */
} *shared;
static struct fail_report *report;

static enum fail_mode mode;

const char *torture_corpus(void)
{
    return corpus;
}

const char *torture_models(void)
{
    return models;
}

void torture_begin(void)
{
    fail_arm(mode, shared->nth);
}

void torture_end(void)
{
    fail_disarm();
}

unsigned torture_failed(void)
{
    return report->failed;
}

unsigned torture_before(void)
{
    fail_forget();
    return report->failed;
}

bool torture_for_good(void)
{
    return mode == FAIL_ON && report->failed > 0;
}

void torture_broken(const char *file, int line, const char *condition)
{
    const char *called = report->called;
    fprintf(stderr, "%s:%d: expected %s, where %s has failed\n", file, line, condition,
            called == NULL ? "nothing" : called);
    abort();
}

void torture_check_error(const char *file, int line, const char *call, int result, unsigned before)
{
    const int found = errno;
    const struct fail_errors errors = fail_errors();
    if (mode == FAIL_EINTR || mode == FAIL_SHORT || report->failed == before) {
        fprintf(stderr, "%s:%d: %s: %s although nothing has failed\n", file, line, call,
                burble_result_name(result));
        abort();
    }
    if (result == BURBLE_ENOMEM && errors.no_memory)
        return;
    if (result == BURBLE_ESYSTEM && found == errors.first)
        return;
    fprintf(stderr, "%s:%d: %s: %s, errno %d, where %s has failed (errno %d)\n", file, line, call,
            burble_result_name(result), found, report->called, errors.first);
    abort();
}

#ifdef TORTURE_JANSSON
/* Where its buffer for one string cannot grow, jansson 2.14 goes on without some of the text: it then
 * writes beyond a block, unless the next allocation fails as well (lex_save in its load.c ignores that
 * there was no memory). So this alone, told by its size, fails only where all does. */
static void *allocate_for_json(size_t size)
{
    const bool grows = size >= 32 && (size & (size - 1)) == 0;
    return grows && mode == FAIL_ONCE ? fail_never_malloc(size) : malloc(size);
}
#endif

/* ---- a run ----------------------------------------------------------------------------------- */

static void *run(void *arg)
{
    const struct scenario *scenario = arg;
    scenario->run();
    fail_disarm();
    return NULL;
}

static bool all_given_back(void)
{
    bool all = true;
    for (size_t i = 0; i < FAIL_N_RESOURCES; i++) {
        if (report->live[i] != 0) {
            fprintf(stderr, "%d %s not given back\n", report->live[i], resource_names[i]);
            all = false;
        }
    }
    return all;
}

/* In a separate thread, with whose exit goes what the library keeps for it. */
static bool run_once(const struct scenario *scenario)
{
    pthread_t thread;
    memset(report, 0, sizeof *report);
    alarm(TIME_LIMIT);
    if (fail_thread_create(&thread, run, (void *)scenario) != 0 || fail_thread_join(thread) != 0)
        abort();
    return all_given_back();
}

static void tell(const struct scenario *scenario, int status)
{
    const char *called = report->called;
    fprintf(stderr, "%s, %s, %u: %s failed: ", scenario->name, mode_names[mode], shared->nth,
            called == NULL ? "nothing" : called);
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s\n",
                WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
    else
        fprintf(stderr, "exit %d\n", WEXITSTATUS(status));
}

/* The runs from shared->nth on, in a new process, until one has no failure or is bad, or `most` of
 * them. Whether all were good. */
static bool run_in_child(const struct scenario *scenario, unsigned most)
{
    int status = 0;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGPIPE, SIG_IGN);
        if (!needs_new_process(scenario) && burble__fork_watch() != BURBLE_OK)
            _exit(1);
        bool good = run_once(scenario);
        for (unsigned n = 1; good && report->failed > 0 && n < most; n++) {
            shared->nth++;
            good = run_once(scenario);
        }
#ifdef TORTURE_COVERAGE
        __gcov_dump(); /* _exit does not */
#endif
        _exit(!good);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("torture");
        exit(2);
    }
    if (status != 0)
        tell(scenario, status);
    return status == 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Each failure of one kind. Returns how many there were; adds to *bad those that were not survived. */
static unsigned run_mode(const struct scenario *scenario, unsigned *bad)
{
    const unsigned most = needs_new_process(scenario) ? 1 : UINT_MAX;
    unsigned found = 0;
    for (shared->nth = 1;; shared->nth++) {
        found += !run_in_child(scenario, most);
        if (report->failed == 0 || found == ENOUGH) {
            *bad += found;
            return shared->nth - 1;
        }
    }
}

/* Whether calls were let fail where the scenario has some. */
static bool has_failed_enough(const struct scenario *scenario, unsigned n)
{
    if (n > 0 || ((unsigned)scenario->kinds >> mode & 1) == 0)
        return true;
    fprintf(stderr, "%s, %s: nothing was let fail\n", scenario->name, mode_names[mode]);
    return false;
}

static bool run_scenario(const struct scenario *scenario, unsigned *total)
{
    char line[128] = "";
    size_t len = 0;
    unsigned bad = 0;
    for (mode = FAIL_ONCE; mode <= FAIL_SHORT; mode++) {
        const unsigned n = run_mode(scenario, &bad);
        bad += !has_failed_enough(scenario, n);
        len += (size_t)snprintf(line + len, sizeof line - len, "  %s %4u", mode_names[mode], n);
        *total += n;
    }
    printf("%sok %zu - %-22s%s\n", bad > 0 ? "not " : "", (size_t)(scenario - scenarios) + 1,
           scenario->name, line);
    return bad == 0;
}

static const struct scenario *find(const char *name)
{
    for (size_t i = 0; i < COUNT(scenarios); i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    fprintf(stderr, "no scenario is called '%s'\n", name);
    exit(2);
}

static enum fail_mode find_mode(const char *name)
{
    for (size_t i = 0; i < COUNT(mode_names); i++)
        if (strcmp(mode_names[i], name) == 0)
            return (enum fail_mode)i;
    fprintf(stderr, "no mode is called '%s'\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: torture CORPUS MODELS [SCENARIO [MODE N]]\n");
        return 2;
    }
    corpus = argv[1];
    models = argv[2];
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("torture");
        return 2;
    }
    report = &shared->report;
    fail_report_to(report);
#ifdef TORTURE_JANSSON
    json_set_alloc_funcs(allocate_for_json, free);
#endif
    unsigned total = 0;
    if (argc == 6) {
        mode = find_mode(argv[4]);
        shared->nth = (unsigned)strtoul(argv[5], NULL, 10);
        return !run_in_child(find(argv[3]), 1);
    }
    if (argc > 3)
        return !run_scenario(find(argv[3]), &total);
    bool good = true;
    for (size_t i = 0; i < COUNT(scenarios); i++)
        good &= run_scenario(&scenarios[i], &total);
    printf("1..%zu\n# %u failures, one at a time\n", COUNT(scenarios), total);
    return !good;
}
