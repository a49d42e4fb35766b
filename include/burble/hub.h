/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A hub wakes one event loop for any number of readers, through one file descriptor.
 *
 *     burble_hub *hub;
 *     burble_hub_create(NULL, &hub);
 *     epoll_ctl(loop, EPOLL_CTL_ADD, burble_hub_fd(hub), &event);   // EPOLLIN, level-triggered
 *     ...
 *     burble_hub_dispatch(hub, 256);                                // when it is readable
 *
 * Writers make the descriptor readable; burble_hub_dispatch calls the function of each ready reader.
 * However many streams get text between two dispatches, the descriptor is signalled once.
 *
 * Threads: writers in any thread may signal a hub at any time. Only one thread, that of the event loop,
 * may dispatch, attach readers and destroy the hub.
 *
 * Forks: a forked child shares the descriptor with the event loop of its parent, so the hub counts as
 * destroyed in the child. There, the descriptor is neither signalled nor cleared, burble_hub_dispatch
 * calls no function, and readers cannot park at the hub. burble_hub_destroy closes the child's copy of
 * the descriptor. Create a new hub in the child.
 */
#ifndef BURBLE_HUB_H
#define BURBLE_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_hub burble_hub;

/** The kind of the descriptor. */
typedef enum burble_wake {
    BURBLE_WAKE_BEST = 0,    /**< the best kind that the system has */
    BURBLE_WAKE_EVENTFD = 1, /**< Linux: one descriptor */
    BURBLE_WAKE_PIPE = 2     /**< POSIX: two descriptors */
} burble_wake;

typedef struct burble_hub_options {
    burble_wake wake;
    uint64_t reserved[3]; /**< 0: see burble.h */
} burble_hub_options;

/** Fills in the defaults. */
BURBLE_API void burble_hub_options_init(burble_hub_options *options);

/** Creates a hub. If `options` is NULL, the defaults apply.
 *
 * @retval BURBLE_OK       *out is the hub, which the caller owns
 * @retval BURBLE_EINVAL   this system does not have that kind of descriptor, or `reserved` is not 0; *out is NULL
 * @retval BURBLE_ENOMEM   *out is NULL
 * @retval BURBLE_ESYSTEM  the descriptor could not be created (errno says why); *out is NULL */
BURBLE_API int burble_hub_create(const burble_hub_options *options, burble_hub **out);

/** Destroys the hub, closes its descriptor, and sets *hub to NULL. Remove the descriptor from the event
 * loop before. Readers that are attached to the hub are detached: their functions are no longer called,
 * and they may be attached to another hub. NULL and a pointer to NULL are allowed. Do not call it from a
 * function that burble_hub_dispatch calls. */
BURBLE_API void burble_hub_destroy(burble_hub **hub);

/** The descriptor to watch for reading. It belongs to the hub: do not read, write or close it. */
BURBLE_API int burble_hub_fd(const burble_hub *hub);

/** Calls the function of each reader that has become ready, in the order in which the readers became
 * ready, at most `max` functions (0: those of all readers that are ready now). If ready readers are
 * left, the descriptor stays readable, so the event loop can serve other events and then dispatch
 * again. A reader's function may read, park and destroy its own reader and any other.
 *
 * Returns the number of functions called. A nested call, from a reader's function, does nothing and
 * returns 0. */
BURBLE_API size_t burble_hub_dispatch(burble_hub *hub, size_t max);

/** Stops signalling the descriptor: readers that become ready are called by the next dispatch. The event
 * loop must make that dispatch without a signal, soon, for example by a timer of a few milliseconds.
 * Waking a sleeping thread costs the writer and the loop much more than a dispatch that was due anyway.
 * So a loop that expects more text holds its hub, and releases it when a dispatch has found no ready
 * reader. Idempotent. Only the hub's thread may call it. */
BURBLE_API void burble_hub_hold(burble_hub *hub);

/** Ends the hold. If readers have become ready in the meantime, the descriptor is signalled now.
 * Idempotent. Only the hub's thread may call it. */
BURBLE_API void burble_hub_release(burble_hub *hub);

/** Whether a reader that becomes ready now would signal the descriptor, and so wake the loop. Another thread
 * may change that at any moment, so it serves only to decide what is faster: for example, whether a writer
 * lets go of a lock that the loop will want. Any thread may call it. */
BURBLE_API bool burble_hub_would_signal(const burble_hub *hub);

/** The number of times the descriptor has been signalled, for measurements. Any thread may call it. */
BURBLE_API uint64_t burble_hub_signals(const burble_hub *hub);

#ifdef __cplusplus
}
#endif

#endif
