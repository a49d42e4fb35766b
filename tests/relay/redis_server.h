/* SPDX-License-Identifier: MIT
 *
 * A Redis of one's own: a process, at a socket in a temporary folder.
 */
#ifndef BURBLE_TESTS_RELAY_REDIS_SERVER_H
#define BURBLE_TESTS_RELAY_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid;       /* 0: it does not run */
    char folder[64]; /* has its socket and its data */
    char url[128];
};

/* Makes the folder and starts it, with a log of everything that is written if `keeps`. Returns false, and says why, if there is
 * no redis-server on this machine. */
bool redis_start(struct redis_server *server, bool keeps);

/* Starts it once more after redis_kill, with the data that it has kept. */
void redis_start_again(struct redis_server *server);

/* Ends it at once, as a crash does. */
void redis_kill(struct redis_server *server);

/* Its data as of now, as redis_restore brings it back: a Redis that loses what came later. Only with `keeps`. */
void redis_save(struct redis_server *server);
void redis_restore(struct redis_server *server); /* between redis_kill and redis_start_again */

/* Stops it, so that it does nothing, and lets it go on. */
void redis_freeze(struct redis_server *server);
void redis_thaw(struct redis_server *server);

/* Ends it and removes the folder. */
void redis_stop(struct redis_server *server);

/* The reply of a command, as redis-cli prints it, without the last line feed. Valid until the next call. */
const char *redis_ask(struct redis_server *server, const char *format, ...);

/* The same for a command in parts. */
const char *redis_call(struct redis_server *server, int n, const char *const *parts,
                       const size_t *lens);

#endif
