/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <burble/clock.h>

#include "notify.h"
#include "quantity.h"
#include "signals.h"

#define MS(n) ((uint64_t)(n) * 1000000)

/* ---- signals ----------------------------------------------------------------------------------------------------- */

void daemon_take_signals(struct daemon *daemon)
{
    int signal;
    while ((signal = signals_take()) != 0)
        if (signal == SIGHUP)
            daemon->reload = true;
        else
            daemon->signal = signal;
}

const char *daemon_signal_name(int signal)
{
    return signal == SIGINT ? "SIGINT" : "SIGTERM";
}

void daemon_wait(struct daemon *daemon)
{
    struct pollfd fd = {.fd = daemon->signals, .events = POLLIN};
    const uint64_t half = daemon->watchdog / 2 / MS(1);
    const int timeout = daemon->watchdog == 0 ? -1 : half > 60000 ? 60000 : (int)half;
    poll(&fd, 1, timeout);
    daemon_take_signals(daemon);
    if (daemon->watchdog != 0)
        notify("WATCHDOG=1");
}

/* ---- models ---------------------------------------------------------------------------------------------------------- */

struct loading {
    struct daemon *daemon;
    const char *name;
    int percent;
};

static bool on_progress(float done, void *arg)
{
    struct loading *loading = arg;
    struct daemon *daemon = loading->daemon;
    const int percent = (int)(done * 100);
    if (percent != loading->percent) {
        char status[BURBLE_FRAME_MAX_NAME + 64];
        loading->percent = percent;
        snprintf(status, sizeof status, "loading %s: %d %%", loading->name, percent);
        if (daemon->terminal)
            fprintf(stderr, "\r%s", status);
        notify_loading(status);
    }
    daemon_take_signals(daemon);
    return daemon->signal == 0;
}

static int load_model(struct daemon *daemon, const struct serve_model_option *option,
                      serve_model_add_fn *add, void *arg)
{
    char took[QUANTITY_TEXT];
    burble_error error = {.message = ""};
    const uint64_t begun = burble_now();
    struct loading loading = {.daemon = daemon, .name = option->name, .percent = -1};
    struct serve_model *const model = &daemon->models[daemon->n_models++];
    model->prompts = daemon->options->log_prompts && !daemon->options->quiet ? &daemon->log : NULL;
    int result = serve_model_load(model, daemon->options, option, on_progress, &loading, &error);
    if (daemon->terminal && loading.percent >= 0)
        fputs("\r\033[K", stderr);
    if (result == BURBLE_OK)
        result = serve_model_add(model, add, arg, &error);
    daemon_take_signals(daemon);
    if (daemon->signal != 0)
        return EXIT_DONE;
    if (result != BURBLE_OK) {
        log_say(&daemon->log, LOG_ERROR, "%s: %s", option->name,
                error.message[0] != '\0' ? error.message : burble_result_text(result));
        return EXIT_ERROR;
    }
    const uint64_t ms = (burble_now() - begun) / MS(1);
    log_say(&daemon->log, LOG_INFO, "loaded %s in %s: %" PRIu32 " slots of %" PRIu32 " tokens%s",
            option->name, time_text(MS(ms), took), daemon->options->engine.slots,
            model->backend.context, model->backend.chat ? "" : ", no chat template");
    return EXIT_DONE;
}

int daemon_load_models(struct daemon *daemon, serve_model_add_fn *add, void *arg)
{
    int result = EXIT_DONE;
    for (size_t i = 0; i < daemon->options->n_models && result == EXIT_DONE && daemon->signal == 0;
         i++)
        result = load_model(daemon, &daemon->options->models[i], add, arg);
    return result;
}

int daemon_interrupted(struct daemon *daemon, const char *what)
{
    if (daemon->signal == 0)
        return EXIT_DONE;
    log_say(&daemon->log, LOG_INFO, "%s before %s was ready", daemon_signal_name(daemon->signal),
            what);
    return 128 + daemon->signal;
}

int daemon_check_models(const struct serve_options *options)
{
    int result = EXIT_DONE;
    for (size_t i = 0; i < options->n_models && result == EXIT_DONE; i++)
        result = serve_model_check(options->models[i].path);
    return result;
}

/* ---- begin and end ------------------------------------------------------------------------------------------------------ */

/* Each client needs a descriptor: as many as this process may have. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int daemon_open(struct daemon *daemon, const struct serve_options *options)
{
    daemon->options = options;
    daemon->terminal = !options->quiet && !options->json_log && isatty(STDERR_FILENO) == 1;
    daemon->watchdog = notify_watchdog();
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    daemon->signals = signals_open();
    if (daemon->signals < 0 || signals_add(SIGHUP) != 0) {
        signals_close();
        return complain("cannot listen to signals: %s", strerror(errno));
    }
    const int result = log_open(&daemon->log, options->json_log, options->quiet);
    if (result != EXIT_DONE)
        signals_close();
    return result;
}

void daemon_close(struct daemon *daemon)
{
    while (daemon->n_models > 0)
        serve_model_destroy(&daemon->models[--daemon->n_models]);
    log_close(&daemon->log);
    signals_close();
}
