/* SPDX-License-Identifier: MIT
 *
 * loop_glib.h: all text arrives, and the context has no source left.
 */
#include <burble/loop_glib.h>

#include "words.h"

static void quit(void *loop)
{
    g_main_loop_quit(loop);
}

int main(void)
{
    GMainContext *context = g_main_context_new();
    GMainLoop *loop = g_main_loop_new(context, FALSE);
    struct words words = {.at_end = quit, .arg = loop};
    CHECK(burble_hub_create(NULL, &words.hub) == BURBLE_OK);
    GSource *source = burble_glib_source_new(words.hub);
    CHECK(g_source_attach(source, context) != 0);
    words_begin(&words);
    g_main_loop_run(loop);
    g_source_destroy(source);
    g_source_unref(source);
    words_finish(&words);
    g_main_loop_unref(loop);
    g_main_context_unref(context);
    return EXIT_SUCCESS;
}
