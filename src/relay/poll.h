/* SPDX-License-Identifier: MIT
 *
 * A connection of hiredis on a loop of libuv. (The adapter of hiredis does not look at a descriptor that reports an error:
 * a connection that was refused would be waited for.)
 */
#ifndef BURBLE_RELAY_POLL_H
#define BURBLE_RELAY_POLL_H

#include <stdbool.h>

#include <uv.h>

struct redisAsyncContext;

/* Has the loop serve the connection until it is freed. False: out of memory or descriptors. */
bool burble__poll_attach(struct redisAsyncContext *context, uv_loop_t *loop);

#endif
