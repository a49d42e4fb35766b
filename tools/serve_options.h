/* SPDX-License-Identifier: MIT
 *
 * The options of `burble serve` and `burble work`: of the command line, and of the configuration file.
 */
#ifndef BURBLE_TOOLS_SERVE_OPTIONS_H
#define BURBLE_TOOLS_SERVE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/llama.h>
#include <burble/relay.h>
#include <burble/serve.h>

enum { SERVE_MAX_MODELS = 64, SERVE_MAX_ORIGINS = 64, SERVE_MAX_HOSTS = 64 };

/* The bits of the verbs in the table of options. */
enum serve_verb { SERVE_VERB_SERVE = 1, SERVE_VERB_WORK = 2 };

/* One -m. */
struct serve_model_option {
    char *name; /* as clients call it; to be freed */
    const char *path;
};

struct serve_options {
    enum serve_verb verb;
    struct serve_model_option models[SERVE_MAX_MODELS];
    size_t n_models;
    const char *origins[SERVE_MAX_ORIGINS]; /* server.origins points there */
    const char *hosts[SERVE_MAX_HOSTS];     /* server.allowed_hosts points there */
    const char *key_file;                   /* NULL: no keys */
    const char *config;                     /* NULL: no file */
    char *config_text;                      /* to be freed; values of other members point into it */

    burble_server_options server; /* all but keys, log and listen_fd */
    burble_llama_engine_options engine;
    burble_relay_options relay; /* all but log; `url` is NULL without --redis */
    int32_t gpu_layers;         /* -1: all */
    bool overcommit;            /* for both the model and the engine */

    uint64_t grace;         /* nanoseconds */
    bool drain_delay_given; /* or the default, which is none on a terminal */
    bool json_log, log_prompts, quiet;
    bool help, version;
};

/* The text of --help, on standard output; an exit code. */
int print_serve_help(enum serve_verb verb);

/* Fills in the defaults, what the configuration file says, and what the arguments say, which count more. EXIT_DONE,
 * or EXIT_USAGE or EXIT_ERROR after a message. `options` are to be freed in any case. */
int read_serve_options(int argc, char **argv, enum serve_verb verb, struct serve_options *options);

void free_serve_options(struct serve_options *options);

/* Where the value of an option is: for messages. */
struct serve_source {
    const char *file; /* NULL: the command line */
    size_t line;
};

/* Takes one option, by its long name. `value` is NULL if there is none, which only switches may lack. What `list`
 * options had from a configuration file is dropped at the first one of the command line. */
int take_serve_option(struct serve_options *options, const char *name, const char *value,
                      const struct serve_source *source);

/* Reads a configuration file and takes its options (serve_config.c). Results as above. */
int read_serve_config(const char *path, struct serve_options *options);

#endif
