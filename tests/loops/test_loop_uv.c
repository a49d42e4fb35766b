/* SPDX-License-Identifier: MIT
 *
 * loop_uv.h: all text arrives, and the loop can be closed.
 */
#define _GNU_SOURCE

#include <burble/loop_uv.h>

#include "words.h"

static void close_poll(void *poll)
{
    uv_close(poll, NULL);
}

int main(void)
{
    uv_loop_t loop;
    uv_poll_t poll;
    struct words words = {.at_end = close_poll, .arg = &poll};
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(burble_hub_create(NULL, &words.hub) == BURBLE_OK);
    CHECK(burble_uv_poll_init(&loop, &poll, words.hub) == 0);
    words_begin(&words);
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    words_finish(&words);
    return EXIT_SUCCESS;
}
