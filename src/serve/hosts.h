/* SPDX-License-Identifier: MIT
 *
 * The hosts that a server answers to, by the header Host of a request. A page on the Internet can let its own name lead to
 * 127.0.0.1 (DNS rebinding); for the browser, a server there then has the page's origin, and CORS does not stop it. But
 * such a request has the page's name in its Host.
 *
 * A list has names ("example.com"), addresses ("127.0.0.1", "[::1]") or "*", which is any host, without ports.
 */
#ifndef BURBLE_SERVE_HOSTS_H
#define BURBLE_SERVE_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

#include <sys/socket.h>

#include <burble/error.h>

/* BURBLE_OK, or BURBLE_EINVAL with an error. */
int burble__hosts_check(const char *const *hosts, size_t n, burble_error *error);

/* Whether a list has the host of this Host header, whose port does not count. */
bool burble__hosts_have(const char *const *hosts, size_t n, const char *header);

/* Whether this is an address of the machine itself: 127.0.0.0/8, ::1, or a socket of the file system. */
bool burble__is_loopback(const struct sockaddr *address);

#endif
