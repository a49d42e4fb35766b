/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A hub on a loop of libuv. This header needs libuv's; include it, or copy it. It is not compiled into the
 * library.
 *
 *     burble_uv_poll_init(uv_default_loop(), &poll, hub);
 *     burble_reader_attach(reader, hub, on_ready, arg);
 *     on_ready(reader, arg);                          // what is available already
 *     uv_run(uv_default_loop(), UV_RUN_DEFAULT);
 */
#ifndef BURBLE_LOOP_UV_H
#define BURBLE_LOOP_UV_H

#include <uv.h>

#include <burble/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most functions that are called in one turn of the loop, so that others get theirs. */
#define BURBLE_UV_DISPATCH 256

static inline void burble_uv_dispatch(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    burble_hub_dispatch((burble_hub *)poll->data, BURBLE_UV_DISPATCH);
}

/** Initializes *poll and starts it: `loop` dispatches `hub` from now on. poll->data is used. Call uv_close
 * for *poll before burble_hub_destroy. Only the thread of the loop may call it. Returns 0, or an error of
 * libuv's; if uv_poll_start fails, *poll still has to be closed. */
static inline int burble_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, burble_hub *hub)
{
    const int result = uv_poll_init(loop, poll, burble_hub_fd(hub));
    if (result != 0)
        return result;
    poll->data = hub;
    return uv_poll_start(poll, UV_READABLE, burble_uv_dispatch);
}

#ifdef __cplusplus
}
#endif

#endif
