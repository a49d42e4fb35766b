/* SPDX-License-Identifier: MIT
 *
 * loop_libevent.h: all text arrives, and the base can be freed.
 */
#define _GNU_SOURCE

#include <burble/loop_libevent.h>

#include "words.h"

static void leave(void *base)
{
    event_base_loopbreak(base);
}

int main(void)
{
    struct event_base *base = event_base_new();
    struct words words = {.at_end = leave, .arg = base};
    CHECK(base != NULL);
    CHECK(burble_hub_create(NULL, &words.hub) == BURBLE_OK);
    struct event *event = burble_libevent_new(base, words.hub);
    CHECK(event != NULL);
    words_begin(&words);
    CHECK(event_base_dispatch(base) == 0);
    event_free(event);
    words_finish(&words);
    event_base_free(base);
    return EXIT_SUCCESS;
}
