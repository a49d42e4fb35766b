/* SPDX-License-Identifier: MIT
 *
 * The command line of `burble run`.
 */
#ifndef BURBLE_TOOLS_RUN_OPTIONS_H
#define BURBLE_TOOLS_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/llama.h>

struct run_options {
    const char *model;
    const char *prompt;  /* NULL: from standard input */
    const char *prompts; /* NULL: just one prompt */
    const char *system, *template_name;
    bool chat;
    bool json, stats, quiet;
    bool help, version;
    burble_llama_request request;       /* all but the prompt */
    burble_llama_engine_options engine; /* `slots` is what --parallel says, or its default */
    char *grammar;                      /* the text of --grammar-file; to be freed */
    burble_text *stops; /* the arguments'; room for as many as there are arguments */
};

/* EXIT_DONE or EXIT_ERROR. */
int print_run_help(void);

/* Fills in the defaults and what the arguments say; `options->stops` has been made. EXIT_DONE, or
 * EXIT_USAGE after a message. */
int read_run_options(int argc, char **argv, struct run_options *options);

#endif
