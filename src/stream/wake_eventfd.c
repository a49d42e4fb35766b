/* SPDX-License-Identifier: MIT
 *
 * Wake-ups by eventfd: a counter in the kernel, one descriptor, Linux.
 */
#include "stream/wake.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int open_eventfd(struct burble__wake *wake)
{
    wake->read_fd = wake->write_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return wake->read_fd < 0 ? -1 : 0;
}

static void signal_eventfd(const struct burble__wake *wake)
{
    const uint64_t one = 1;
    /* EAGAIN means that the counter is at its limit: readable, which is all we want. */
    while (write(wake->write_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void clear_eventfd(const struct burble__wake *wake)
{
    uint64_t count;
    while (read(wake->read_fd, &count, sizeof count) < 0 && errno == EINTR)
        continue;
}

static void close_eventfd(struct burble__wake *wake)
{
    close(wake->read_fd);
    wake->read_fd = wake->write_fd = -1;
}

const struct burble__wake_kind burble__wake_eventfd = {
    open_eventfd,
    signal_eventfd,
    clear_eventfd,
    close_eventfd,
};
