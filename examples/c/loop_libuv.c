/* SPDX-License-Identifier: MIT
 *
 * A text, read in a loop of libuv.
 *
 *     loop_libuv MODEL.gguf "ROMEO:"
 *
 * cc loop_libuv.c $(pkg-config --cflags --libs burble-llama libuv) -o loop_libuv
 */
#include <burble/loop_uv.h>

#include "text.h"

static void close_poll(void *poll)
{
    uv_close(poll, NULL); /* the loop has nothing left, and returns */
}

int main(int argc, char **argv)
{
    struct text text;
    uv_poll_t poll;
    text_begin(&text, argc, argv);
    burble_uv_poll_init(uv_default_loop(), &poll, text.hub);
    text_read(&text, close_poll, &poll);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    uv_loop_close(uv_default_loop());
    text_end(&text);
    return 0;
}
