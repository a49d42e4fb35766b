/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "command.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <burble/version.h>

#ifdef BURBLE_WITH_LLAMA
#define LLAMA_VERSION "llama.cpp " BURBLE_WITH_LLAMA "\n"
#else
#define LLAMA_VERSION ""
#endif

static const char *command_name = "burble";

void set_command_name(const char *name)
{
    command_name = name;
}

static void vcomplain(const char *format, va_list args)
{
    fprintf(stderr, "%s: ", command_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vcomplain(format, args);
    va_end(args);
    return EXIT_ERROR;
}

int complain_of_usage(const char *format, ...)
{
    if (format != NULL) {
        va_list args;
        va_start(args, format);
        vcomplain(format, args);
        va_end(args);
    }
    fprintf(stderr, "Try '%s --help'.\n", command_name);
    return EXIT_USAGE;
}

void say_reading(const char *what, const char *it)
{
    if (isatty(STDIN_FILENO) == 1) {
        complain("reading %s from the terminal; to end %s, press Ctrl-D on an empty line", what,
                 it);
    }
}

/* A reader that has gone wants to hear of nothing any more. (Mostly SIGPIPE has ended us before.) */
void complain_of_output(void)
{
    if (errno != EPIPE)
        complain("standard output: %s", strerror(errno));
}

/* Somebody else may have made the descriptor non-blocking: it is shared. */
static void wait_for_room(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    poll(&out, 1, -1);
}

bool write_out(const char *bytes, size_t len)
{
    while (len > 0) {
        const ssize_t written = write(STDOUT_FILENO, bytes, len);
        if (written >= 0) {
            bytes += written;
            len -= (size_t)written;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            wait_for_room();
        } else if (errno != EINTR) {
            complain_of_output();
            return false;
        }
    }
    return true;
}

bool may_colour(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return (no_color == NULL || no_color[0] == '\0') && terminal != NULL
           && strcmp(terminal, "dumb") != 0;
}

bool close_out(void)
{
    /* After EINTR the descriptor is closed on Linux, and may not be closed again. */
    if (close(STDOUT_FILENO) != 0 && errno != EINTR) {
        complain_of_output();
        return false;
    }
    return true;
}

int print_only(const char *text)
{
    return write_out(text, strlen(text)) && close_out() ? EXIT_DONE : EXIT_ERROR;
}

int print_version(void)
{
    char text[128];
    snprintf(text, sizeof text, "burble %s\n%s", burble_version(), LLAMA_VERSION);
    return print_only(text);
}

int absent_verb(int argc, char **argv, const char *help, const char *why)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_only(help);
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0)
            return print_version();
    }
    return complain("%s", why);
}
