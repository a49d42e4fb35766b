/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A hub on an event base of libevent. This header needs libevent's; include it, or copy it. It is not
 * compiled into the library.
 *
 *     struct event *event = burble_libevent_new(base, hub);
 *     burble_reader_attach(reader, hub, on_ready, arg);
 *     on_ready(reader, arg);                          // what is available already
 *     event_base_dispatch(base);
 */
#ifndef BURBLE_LOOP_LIBEVENT_H
#define BURBLE_LOOP_LIBEVENT_H

#include <event2/event.h>

#include <burble/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most functions that are called in one turn of the loop, so that others get theirs. */
#define BURBLE_LIBEVENT_DISPATCH 256

static inline void burble_libevent_dispatch(evutil_socket_t fd, short events, void *hub)
{
    (void)fd;
    (void)events;
    burble_hub_dispatch((burble_hub *)hub, BURBLE_LIBEVENT_DISPATCH);
}

/** An event that is added to `base` and dispatches `hub`; NULL if memory is short. Call event_free for it
 * before burble_hub_destroy. Only the thread of the base may call it. */
static inline struct event *burble_libevent_new(struct event_base *base, burble_hub *hub)
{
    struct event *event =
        event_new(base, burble_hub_fd(hub), EV_READ | EV_PERSIST, burble_libevent_dispatch, hub);
    if (event != NULL && event_add(event, NULL) != 0) {
        event_free(event);
        event = NULL;
    }
    return event;
}

#ifdef __cplusplus
}
#endif

#endif
