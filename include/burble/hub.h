/* SPDX-License-Identifier: MIT
 *
 * A hub gathers the wake-ups of one event loop: any number of readers, one file descriptor.
 *
 *     burble_hub *hub;
 *     burble_hub_create(NULL, &hub);
 *     epoll_ctl(loop, EPOLL_CTL_ADD, burble_hub_fd(hub), &event);   // EPOLLIN, level-triggered
 *     ...
 *     burble_hub_dispatch(hub, 256);                                // when it is readable
 *
 * Writers make the descriptor readable; dispatching calls each ready reader's function. However many
 * streams move between two dispatches, the descriptor is signalled once.
 *
 * Threads: any thread's writers may wake through a hub at any time. Dispatching, attaching a reader
 * and destroying the hub belong to one thread, the loop's.
 *
 * Forks: a hub's descriptor is its parent's event loop's, too, so in a forked child the hub counts as
 * destroyed. It is neither signalled nor cleared there, dispatching calls nobody, readers cannot park at it;
 * burble_hub_destroy closes the child's copy of the descriptor. Make a new hub.
 */
#ifndef BURBLE_HUB_H
#define BURBLE_HUB_H

#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_hub burble_hub;

/* What the descriptor is made of. */
typedef enum burble_wake {
    BURBLE_WAKE_BEST = 0,    /* the best that the system has */
    BURBLE_WAKE_EVENTFD = 1, /* Linux: one descriptor */
    BURBLE_WAKE_PIPE = 2     /* POSIX: two descriptors */
} burble_wake;

typedef struct burble_hub_options {
    burble_wake wake;
} burble_hub_options;

/* Fills in the defaults. */
BURBLE_API void burble_hub_options_init(burble_hub_options *options);

/* Makes a hub. `options` may be NULL for the defaults.
 *
 * BURBLE_OK       *out is the hub, which the caller owns
 * BURBLE_EINVAL   a kind of descriptor that this system does not have; *out is NULL
 * BURBLE_ENOMEM   *out is NULL
 * BURBLE_ESYSTEM  the descriptor could not be made (errno says why); *out is NULL */
BURBLE_API int burble_hub_create(const burble_hub_options *options, burble_hub **out);

/* Closes the hub and sets *hub to NULL. Readers that are attached are detached: their functions are
 * not called any more, and they may be attached elsewhere. Its descriptor is closed now; take it out
 * of the event loop before. NULL and a pointer to NULL are fine. Not from within a dispatch. */
BURBLE_API void burble_hub_destroy(burble_hub **hub);

/* The descriptor to watch for reading. It stays the hub's own: do not read, write or close it. */
BURBLE_API int burble_hub_fd(const burble_hub *hub);

/* Calls the function of each reader that has become ready, in the order in which they did, at most
 * `max` of them (0: all that are ready now). Where some are left, the descriptor stays readable, so
 * that the loop comes back after it has looked after others. A function may read, park and destroy
 * its own reader or any other.
 *
 * Returns how many functions it called. Called from within itself, it does nothing and returns 0. */
BURBLE_API size_t burble_hub_dispatch(burble_hub *hub, size_t max);

/* Keeps the descriptor quiet: readers that become ready are kept for the next dispatch, which the
 * loop promises to make by itself, soon (a timer of a few milliseconds, say). Waking a thread that
 * sleeps costs writer and loop far more than a dispatch that was due anyway, so a loop that expects
 * more to come holds its hub, and releases it when a dispatch has found nothing. Idempotent; only in
 * the hub's thread. */
BURBLE_API void burble_hub_hold(burble_hub *hub);

/* Ends the hold. Where readers have become ready meanwhile, the descriptor is signalled now.
 * Idempotent; only in the hub's thread. */
BURBLE_API void burble_hub_release(burble_hub *hub);

/* How many times the descriptor has been signalled, for measuring. Any thread. */
BURBLE_API uint64_t burble_hub_signals(const burble_hub *hub);

#ifdef __cplusplus
}
#endif

#endif
