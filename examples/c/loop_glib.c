/* SPDX-License-Identifier: MIT
 *
 * A text, read in a main loop of GLib.
 *
 *     loop_glib MODEL.gguf "ROMEO:"
 *
 * cc loop_glib.c $(pkg-config --cflags --libs burble-llama glib-2.0) -o loop_glib
 */
#include <burble/loop_glib.h>

#include "text.h"

static void set_done(void *done)
{
    *(gboolean *)done = TRUE;
}

int main(int argc, char **argv)
{
    struct text text;
    gboolean done = FALSE;
    text_begin(&text, argc, argv);
    GSource *source = burble_glib_source_new(text.hub);
    g_source_attach(source, NULL);
    text_read(&text, set_done, &done);
    while (!done)
        g_main_context_iteration(NULL, TRUE);
    g_source_destroy(source);
    g_source_unref(source);
    text_end(&text);
    return 0;
}
