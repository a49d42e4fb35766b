/* SPDX-License-Identifier: MIT
 *
 * SIGINT and SIGTERM as something to wait for: the first of each can be read out of a descriptor, so
 * that the program ends as it should. The second one finds the system's own action, and kills.
 * Calls that wait are not gone on with: they fail with EINTR.
 */
#ifndef BURBLE_TOOLS_SIGNALS_H
#define BURBLE_TOOLS_SIGNALS_H

/* From now on. SIGINT or SIGTERM that is ignored (by a shell for what it starts in the background, say) stays so. Returns the descriptor to poll for
 * reading, or -1 with errno. */
int signals_open(void);

/* Takes the next one of each, too, before the system's own action. 0, or -1 with errno. */
int signals_again(void);

/* Takes another signal, each time that it comes, even if it was ignored (as nohup does with SIGHUP). Results as above. */
int signals_add(int signal);

/* Gives the descriptor back; a signal that comes from now on is ignored. */
void signals_close(void);

/* The signal that has come, or 0. Never waits. */
int signals_take(void);

#endif
