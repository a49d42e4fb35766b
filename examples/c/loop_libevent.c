/* SPDX-License-Identifier: MIT
 *
 * A text, read in a loop of libevent.
 *
 *     loop_libevent MODEL.gguf "ROMEO:"
 *
 * cc loop_libevent.c $(pkg-config --cflags --libs burble-llama libevent) -o loop_libevent
 */
#include <burble/loop_libevent.h>

#include "text.h"

static void delete_event(void *event)
{
    event_del(event); /* the loop has nothing left, and returns */
}

int main(int argc, char **argv)
{
    struct text text;
    text_begin(&text, argc, argv);
    struct event_base *base = event_base_new();
    struct event *event = burble_libevent_new(base, text.hub);
    text_read(&text, delete_event, event);
    event_base_dispatch(base);
    event_free(event);
    event_base_free(base);
    text_end(&text);
    return 0;
}
