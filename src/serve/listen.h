/* SPDX-License-Identifier: MIT
 *
 * The socket that a server listens on: one that it is given, or one for a host and a port.
 */
#ifndef BURBLE_SERVE_LISTEN_H
#define BURBLE_SERVE_LISTEN_H

#include <burble/serve.h>

/* Takes over `listen_fd`, or listens on `host` and `port`. *fd, which is -1 before, is the socket; it does not block. Results
 * as burble_server_start. */
int burble__listen(const burble_server_options *options, int *fd, burble_error *error);

#endif
