/* SPDX-License-Identifier: MIT
 *
 * SIGINT and SIGTERM as something to wait for: the first of each can be read out of a descriptor, so
 * that the program ends as it should. The second one finds the system's own action, and kills.
 * Calls that wait are not gone on with: they fail with EINTR.
 */
#ifndef BURBLE_TOOLS_SIGNALS_H
#define BURBLE_TOOLS_SIGNALS_H

/* From now on. A signal that is ignored (by nohup, say) stays so. Returns the descriptor to poll for
 * reading, or -1 with errno. */
int signals_open(void);

/* Gives the descriptor back; a signal that comes from now on is ignored. */
void signals_close(void);

/* The signal that has come, or 0. Never waits. */
int signals_take(void);

#endif
