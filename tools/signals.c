/* SPDX-License-Identifier: MIT */
#define _XOPEN_SOURCE 700

#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t ends[2] = {-1, -1};

/* A byte for each signal. What the pipe has no room for says nothing new. */
static void pass_on(int signal)
{
    const int before = errno;
    const unsigned char byte = (unsigned char)signal;
    const ssize_t written = write(ends[1], &byte, 1);
    (void)written;
    errno = before;
}

/* No SA_RESTART: a call that would wait for ever, such as to open a pipe that nobody writes, ends. */
static int listen_to(int signal, unsigned flags)
{
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = (int)flags};
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, NULL);
}

static bool is_ignored(int signal)
{
    struct sigaction action;
    return sigaction(signal, NULL, &action) != 0 || action.sa_handler == SIG_IGN;
}

int signals_open(void)
{
    int made[2];
    if (pipe(made) != 0)
        return -1;
    ends[0] = made[0];
    ends[1] = made[1];
    for (int i = 0; i < 2; i++)
        if (fcntl(ends[i], F_SETFD, FD_CLOEXEC) != 0 || fcntl(ends[i], F_SETFL, O_NONBLOCK) != 0)
            return -1;
    return signals_again() == 0 ? ends[0] : -1;
}

int signals_again(void)
{
    static const int ending[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++)
        if (!is_ignored(ending[i]) && listen_to(ending[i], SA_RESETHAND) != 0)
            return -1;
    return 0;
}

int signals_add(int signal)
{
    return listen_to(signal, 0);
}

void signals_close(void)
{
    for (int i = 0; i < 2; i++) {
        const int end = ends[i];
        ends[i] = -1;
        if (end >= 0)
            close(end);
    }
}

int signals_take(void)
{
    unsigned char byte;
    return read(ends[0], &byte, 1) == 1 ? byte : 0;
}
