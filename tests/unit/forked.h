/* SPDX-License-Identifier: MIT
 *
 * A forked child with a deadline, for tests: it runs one function and exits, and the parent kills it where
 * it does not come to that.
 */
#ifndef BURBLE_TESTS_FORKED_H
#define BURBLE_TESTS_FORKED_H

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_MS = 20000, CHILD_HUNG = -1, CHILD_CRASHED = -2 };

/* What `act(arg)` has returned in a child, 0 to 255; or CHILD_HUNG or CHILD_CRASHED. The child is the only
 * one that has the pipe's other end: so the parent sees, without a clock, that it has gone. */
static inline int in_child(int (*act)(void *arg), void *arg)
{
    int fds[2];
    int status = 0;
    if (pipe(fds) != 0)
        return CHILD_CRASHED;
    const pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        _exit(act(arg));
    }
    close(fds[1]);
    struct pollfd gone = {.fd = fds[0], .events = POLLIN};
    const int n = child < 0 ? 1 : poll(&gone, 1, CHILD_MS);
    close(fds[0]);
    if (child < 0)
        return CHILD_CRASHED;
    if (n == 0)
        kill(child, SIGKILL);
    waitpid(child, &status, 0);
    if (n == 0)
        return CHILD_HUNG;
    return WIFEXITED(status) ? WEXITSTATUS(status) : CHILD_CRASHED;
}

#endif
