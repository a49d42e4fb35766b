/* SPDX-License-Identifier: MIT
 *
 * The internal interface of a hub, for waiters.
 *
 * The protocol
 *
 *   pushing (any thread)                dispatching (the loop's thread)
 *     push onto the ready stack           clear the descriptor
 *     it was empty: signal                take the whole stack
 *
 *   The descriptor is cleared *before* the stack is taken. A push that the dispatch misses has found the
 *   stack empty, and so signals after the clearing. In the other order, the clearing could remove the
 *   signal of a push that was not taken, and its reader would never be called.
 *
 *   While the hub is held, no thread signals; the loop dispatches by itself. Releasing the hub is one more
 *   instance of "write, fence, look": see burble__hub_push.
 *
 *   A push onto a stack that is not empty needs no signal: the one that made it non-empty has
 *   signalled, or is about to, and whoever answers that signal takes both.
 */
#ifndef BURBLE_STREAM_HUB_H
#define BURBLE_STREAM_HUB_H

#include <burble/hub.h>

#include "stream/waiter.h"

void burble__hub_ref(burble_hub *hub);
void burble__hub_unref(burble_hub *hub);

/* Takes over a FIRED waiter with its stack's reference. Any thread. */
void burble__hub_push(burble_hub *hub, struct burble__waiter *waiter);

/* Whether the hub was destroyed, or made before the last fork (base/fork.h); only in its thread. */
bool burble__hub_closed(const burble_hub *hub);

#endif
