/* SPDX-License-Identifier: MIT
 *
 * What the files of the `burble` command share: its verbs, its exit codes and how it speaks.
 */
#ifndef BURBLE_TOOLS_COMMAND_H
#define BURBLE_TOOLS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

enum {
    EXIT_DONE = 0,
    EXIT_ERROR = 1, /* the input, the vocabulary or the system */
    EXIT_USAGE = 2  /* the command line */
};

#if defined(__GNUC__)
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))
#else
#define PRINTF_LIKE(at, first)
#endif

/* The verbs: each takes its own arguments, the first being what messages begin with ("burble
 * tokens"), and returns an exit code. */
int relay_main(int argc, char **argv);
int run_main(int argc, char **argv);
int serve_main(int argc, char **argv);
int tokens_main(int argc, char **argv);
int work_main(int argc, char **argv);

/* Sets the name that messages begin with. */
void set_command_name(const char *name);

/* Writes a message to standard error: the command's name, ": ", the message, a newline. Returns
 * EXIT_ERROR. */
int complain(const char *format, ...) PRINTF_LIKE(1, 2);

/* The same for a command line that is not understood: says, too, where the help is. Without a
 * message (NULL) only that. Returns EXIT_USAGE. */
int complain_of_usage(const char *format, ...) PRINTF_LIKE(1, 2);

/* If standard input is a terminal, says that `what` is read from it and how to end `it`: a program that
 * waits for a person to type looks as if it did nothing. */
void say_reading(const char *what, const char *it);

/* Writes all of it to standard output, at once. Where that fails it says so on standard error, but
 * for a reader that has gone. Returns whether it worked. */
bool write_out(const char *bytes, size_t len);

/* Says why the last write to standard output failed (errno), but for a reader that has gone. */
void complain_of_output(void);

/* Whether what goes to a terminal may have colours: NO_COLOR (no-color.org) and a dumb terminal have
 * none. */
bool may_colour(void);

/* Closes standard output. Reports a late error as write_out does. Returns whether it worked. */
bool close_out(void);

/* Writes a text to standard output and closes it; returns an exit code. */
int print_only(const char *text);

/* The same with the version, and that of llama.cpp where it is built in. */
int print_version(void);

/* A verb that this burble was built without: --help and --version are answered; for all else, says `why`. Returns an
 * exit code. */
int absent_verb(int argc, char **argv, const char *help, const char *why);

#endif
