/* SPDX-License-Identifier: MIT
 *
 * `burble serve --redis`: the server as a front, whose models are those of workers on other machines.
 */
#ifndef BURBLE_TOOLS_SERVE_RELAY_H
#define BURBLE_TOOLS_SERVE_RELAY_H

#include <burble/relay.h>
#include <burble/serve.h>

#include "serve_log.h"
#include "serve_options.h"

/* The longest text of serve_relay_place, with its NUL. */
enum { SERVE_RELAY_PLACE = 256 };

/* Connects a server that has not started yet to Redis. EXIT_DONE or, after a message, EXIT_ERROR. */
int serve_relay_open(const struct serve_options *options, struct serve_log *log,
                     burble_server *server, burble_relay **out);

/* The server has been destroyed. NULL is allowed. */
void serve_relay_close(burble_relay **relay);

/* Creates a relay by the options of the command. Results as above. */
int serve_relay_create(const struct serve_options *options, struct serve_log *log,
                       burble_relay **out);

/* Connects to Redis and leaves it again: before models are loaded, which may take minutes. Results as above. */
int serve_relay_check(const struct serve_options *options, struct serve_log *log);

/* Says in the log why a function of the relay failed. Returns EXIT_ERROR. */
int serve_relay_complain(const struct serve_options *options, struct serve_log *log, int result,
                         const burble_error *error);

/* The URL of Redis without user and password. */
const char *serve_relay_place(const char *url, char place[SERVE_RELAY_PLACE]);

#endif
