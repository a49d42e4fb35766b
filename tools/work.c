/* SPDX-License-Identifier: MIT
 *
 * `burble work`: computes answers for fronts (`burble serve --redis`) on any machine. This thread loads the models and
 * waits for signals; the relay and the engines have threads of their own.
 */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <burble/clock.h>
#include <burble/relay.h>

#include "command.h"
#include "daemon.h"
#include "notify.h"
#include "quantity.h"
#include "serve_relay.h"
#include "signals.h"

#define MS(n) ((uint64_t)(n) * 1000000)

/* How often the end of a drain is looked for, and how long after the grace Redis may take to hear of it. */
enum { DRAIN_STEP = 50, LATE = 5000 }; /* ms */

struct work {
    struct daemon daemon;
    const struct serve_options *options;
    burble_relay *relay;
};

static int add_model(void *arg, const burble_serve_model *model, burble_error *error)
{
    const struct work *work = arg;
    return burble_relay_add_model(work->relay, model, work->options->engine.slots, error);
}

static int start(struct work *work)
{
    char place[SERVE_RELAY_PLACE], state[SERVE_RELAY_PLACE + 32];
    burble_error error = {.message = ""};
    const int result = burble_relay_start(work->relay, &error);
    if (result != BURBLE_OK)
        return serve_relay_complain(work->options, &work->daemon.log, result, &error);
    serve_relay_place(work->options->relay.url, place);
    log_say(&work->daemon.log, LOG_INFO, "ready: computing for the fronts at %s", place);
    snprintf(state, sizeof state, "READY=1\nSTATUS=%s", place);
    notify(state);
    return EXIT_DONE;
}

/* Hands the answers on, or lets them end. The exit status. */
static int drain(struct work *work)
{
    struct daemon *const daemon = &work->daemon;
    char grace[QUANTITY_TEXT];
    burble_relay_stats stats;
    int result = EXIT_DONE;
    notify("STOPPING=1");
    signals_again();
    burble_relay_stats_now(work->relay, &stats);
    burble_relay_drain(work->relay, work->options->grace); /* what the line says, is so */
    log_say(&daemon->log, LOG_INFO,
            "%s: draining; %" PRIu64
            " answers go on elsewhere, or may end here within %s; a second "
            "signal ends them",
            daemon_signal_name(daemon->signal), stats.computing,
            time_text(work->options->grace, grace));
    daemon->signal = 0;
    const uint64_t deadline = burble_now() + work->options->grace + MS(LATE);
    while (burble_relay_wait(work->relay, burble_now() + MS(DRAIN_STEP)) == BURBLE_ETIMEDOUT) {
        daemon_take_signals(daemon);
        if (daemon->watchdog != 0)
            notify("WATCHDOG=1");
        burble_relay_stats_now(work->relay, &stats);
        if (!stats.connected && (stats.computing == 0 || burble_now() >= deadline)) {
            log_say(&daemon->log, LOG_WARNING,
                    "Redis is away: its lease tells that this worker ended");
            break;
        }
        if (daemon->signal != 0) {
            log_say(&daemon->log, LOG_WARNING,
                    "%s: leaving %" PRIu64 " answers to other workers, once the lease is over",
                    daemon_signal_name(daemon->signal), stats.computing);
            result = 128 + daemon->signal;
            break;
        }
    }
    log_say(&daemon->log, LOG_INFO, "stopped");
    return result;
}

static int run(struct work *work)
{
    struct daemon *const daemon = &work->daemon;
    int result = serve_relay_check(work->options, &daemon->log);
    if (result == EXIT_DONE)
        result = serve_relay_create(work->options, &daemon->log, &work->relay);
    if (result == EXIT_DONE)
        result = daemon_load_models(daemon, add_model, work);
    if (result == EXIT_DONE)
        result = daemon_interrupted(daemon, "the worker");
    if (result == EXIT_DONE)
        result = start(work);
    if (result != EXIT_DONE)
        return result;
    while (daemon->signal == 0) {
        daemon_wait(daemon);
        if (daemon->reload)
            log_say(&daemon->log, LOG_INFO, "SIGHUP: a worker has no file to read again");
        daemon->reload = false;
    }
    return drain(work);
}

static int work_on(const struct serve_options *options)
{
    struct work work = {.options = options};
    int result = daemon_check_models(options);
    if (result == EXIT_DONE)
        result = daemon_open(&work.daemon, options);
    if (result != EXIT_DONE)
        return result;
    result = run(&work);
    burble_relay_destroy(&work.relay);
    daemon_close(&work.daemon);
    return result;
}

int work_main(int argc, char **argv)
{
    struct serve_options options;
    int result = read_serve_options(argc, argv, SERVE_VERB_WORK, &options);
    if (result == EXIT_DONE) {
        result = options.help      ? print_serve_help(SERVE_VERB_WORK)
                 : options.version ? print_version()
                                   : work_on(&options);
    }
    free_serve_options(&options);
    return result;
}
