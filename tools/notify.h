/* SPDX-License-Identifier: MIT
 *
 * What systemd and a service say to each other: a datagram to the socket $NOTIFY_SOCKET (sd_notify), and sockets that
 * the service gets as descriptors (LISTEN_FDS). Without systemd, nothing is said.
 */
#ifndef BURBLE_TOOLS_NOTIFY_H
#define BURBLE_TOOLS_NOTIFY_H

#include <stdint.h>

/* Says `state`, such as "READY=1": lines of NAME=VALUE. May wait for systemd, 5 seconds at most. */
void notify(const char *state);

/* How far loading is, for people, and that it may take another minute. Does not wait: it may be lost. */
void notify_loading(const char *text);

/* "RELOADING=1"; "READY=1" is to follow. */
void notify_reloading(void);

/* How often systemd wants to hear "WATCHDOG=1", in nanoseconds; 0: never. */
uint64_t notify_watchdog(void);

/* The listening socket that was passed, in *descriptor; -1 if there is none. EXIT_DONE or, after a message,
 * EXIT_ERROR. */
int notify_socket(int *descriptor);

#endif
