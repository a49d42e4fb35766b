/* SPDX-License-Identifier: MIT
 *
 * A player makes plain text of the frames of an answer, for burble_relay_play: the reverse of a recorder (serve/recorder.h).
 * It has a reader of the frames on the relay's hub, and appends to the stream of the text in the relay's thread.
 *
 * The thread must not wait. If the reader of the text is so far behind that its stream has no room, the player keeps its
 * frame and tries again soon; the stream of the frames then takes no more of them from Redis than its bound.
 */
#ifndef BURBLE_RELAY_PLAYER_H
#define BURBLE_RELAY_PLAYER_H

struct burble__player;
struct burble_relay;

/* The relay ends: fails all texts. In the relay's thread. */
void burble__players_stop(struct burble_relay *relay);

#endif
