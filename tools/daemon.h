/* SPDX-License-Identifier: MIT
 *
 * What `burble serve` and `burble work` share: the log, signals, and models that are loaded while signals are heeded.
 */
#ifndef BURBLE_TOOLS_DAEMON_H
#define BURBLE_TOOLS_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve_log.h"
#include "serve_model.h"
#include "serve_options.h"

struct daemon {
    const struct serve_options *options;
    struct serve_log log;
    struct serve_model models[SERVE_MAX_MODELS];
    size_t n_models;
    bool terminal;     /* progress is shown */
    int signals;       /* descriptor */
    int signal;        /* SIGINT or SIGTERM, which came last; 0: none */
    bool reload;       /* SIGHUP came */
    uint64_t watchdog; /* nanoseconds; 0: none */
};

/* Raises the limit of descriptors, listens to signals, and opens the log. EXIT_DONE or, after a message, EXIT_ERROR. */
int daemon_open(struct daemon *daemon, const struct serve_options *options);

/* Destroys the models, and closes the log. Whoever calls them has been destroyed. */
void daemon_close(struct daemon *daemon);

/* Notes the signals that have come. */
void daemon_take_signals(struct daemon *daemon);

/* Waits for signals, not longer than the watchdog may, which is told. */
void daemon_wait(struct daemon *daemon);

const char *daemon_signal_name(int signal);

/* Whether the files of the models can be read, and begin as models do. EXIT_DONE or, after a message, EXIT_ERROR. */
int daemon_check_models(const struct serve_options *options);

/* Loads the models of the options, and hands each to `add` as soon as it is there (serve_model_add). EXIT_DONE, also
 * if a signal came; or, after a message, EXIT_ERROR. */
int daemon_load_models(struct daemon *daemon, serve_model_add_fn *add, void *arg);

/* After daemon_load_models: the exit code if SIGINT or SIGTERM has come meanwhile, after a message; else EXIT_DONE. */
int daemon_interrupted(struct daemon *daemon, const char *what);

#endif
