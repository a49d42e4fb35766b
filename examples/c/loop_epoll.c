/* SPDX-License-Identifier: MIT
 *
 * A text, read in a loop of epoll.
 *
 *     loop_epoll MODEL.gguf "ROMEO:"
 *
 * cc loop_epoll.c $(pkg-config --cflags --libs burble-llama) -o loop_epoll
 */
#include <sys/epoll.h>
#include <unistd.h>

#include "text.h"

static void set_done(void *done)
{
    *(bool *)done = true;
}

int main(int argc, char **argv)
{
    struct text text;
    bool done = false;
    text_begin(&text, argc, argv);
    const int loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = text.hub};
    epoll_ctl(loop, EPOLL_CTL_ADD, burble_hub_fd(text.hub), &event);
    text_read(&text, set_done, &done);
    while (!done) {
        if (epoll_wait(loop, &event, 1, -1) == 1) {
            burble_hub_dispatch(event.data.ptr,
                                256); /* at most so many, then it is the others' turn */
        }
    }
    close(loop);
    text_end(&text);
    return 0;
}
