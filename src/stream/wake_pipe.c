/* SPDX-License-Identifier: MIT
 *
 * Wake-ups by a pipe: two descriptors, every POSIX system.
 */
#define _POSIX_C_SOURCE 200809L

#include "stream/wake.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int prepare(int fd)
{
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -1;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : 0;
}

static int open_pipe(struct burble__wake *wake)
{
    int fds[2];
    if (pipe(fds) < 0)
        return -1;
    if (prepare(fds[0]) < 0 || prepare(fds[1]) < 0) {
        const int saved = errno;
        close(fds[0]);
        close(fds[1]);
        errno = saved;
        return -1;
    }
    wake->read_fd = fds[0];
    wake->write_fd = fds[1];
    return 0;
}

static void signal_pipe(const struct burble__wake *wake)
{
    /* EAGAIN means that the pipe is full: readable, which is all we want. */
    while (write(wake->write_fd, "", 1) < 0 && errno == EINTR)
        continue;
}

static void clear_pipe(const struct burble__wake *wake)
{
    /* Until it is empty: bounded by what the pipe holds, since a hub signals only once between two
     * drains. */
    char sink[64];
    for (;;) {
        const ssize_t n = read(wake->read_fd, sink, sizeof sink);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < (ssize_t)sizeof sink)
            return;
    }
}

static void close_pipe(struct burble__wake *wake)
{
    close(wake->read_fd);
    close(wake->write_fd);
    wake->read_fd = wake->write_fd = -1;
}

const struct burble__wake_kind burble__wake_pipe = {
    open_pipe,
    signal_pipe,
    clear_pipe,
    close_pipe,
};
