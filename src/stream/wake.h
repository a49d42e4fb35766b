/* SPDX-License-Identifier: MIT
 *
 * A wake-up that a file descriptor carries: one small file per kind behind this interface.
 */
#ifndef BURBLE_STREAM_WAKE_H
#define BURBLE_STREAM_WAKE_H

struct burble__wake {
    const struct burble__wake_kind *kind;
    int read_fd;
    int write_fd; /* the same as read_fd where the kind has one descriptor */
};

struct burble__wake_kind {
    /* Makes the descriptors, close-on-exec and non-blocking. 0, or -1 with errno set. */
    int (*open)(struct burble__wake *wake);
    /* Makes read_fd readable. Any thread; never fails and never blocks. */
    void (*signal)(const struct burble__wake *wake);
    /* Makes read_fd unreadable until the next signal. */
    void (*clear)(const struct burble__wake *wake);
    void (*close)(struct burble__wake *wake);
};

extern const struct burble__wake_kind burble__wake_eventfd; /* Linux */
extern const struct burble__wake_kind burble__wake_pipe;    /* POSIX */

#endif
