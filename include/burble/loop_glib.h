/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A hub in a main context of GLib. This header needs GLib's; include it, or copy it. It is not compiled into
 * the library.
 *
 *     GSource *source = burble_glib_source_new(hub);
 *     g_source_attach(source, NULL);
 *     burble_reader_attach(reader, hub, on_ready, arg);
 *     on_ready(reader, arg);                          // what is available already
 *     g_main_loop_run(loop);
 */
#ifndef BURBLE_LOOP_GLIB_H
#define BURBLE_LOOP_GLIB_H

#include <glib-unix.h>

#include <burble/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most functions that are called in one turn of the context, so that others get theirs. */
#define BURBLE_GLIB_DISPATCH 256

static inline gboolean burble_glib_dispatch(gint fd, GIOCondition condition, gpointer hub)
{
    (void)fd;
    (void)condition;
    burble_hub_dispatch((burble_hub *)hub, BURBLE_GLIB_DISPATCH);
    return G_SOURCE_CONTINUE;
}

/** A source that dispatches `hub`, with one reference, which the caller owns. Attach it to a context
 * (g_source_attach), whose thread is the hub's. Call g_source_destroy and g_source_unref for it before
 * burble_hub_destroy. */
static inline GSource *burble_glib_source_new(burble_hub *hub)
{
    GSource *source = g_unix_fd_source_new(burble_hub_fd(hub), G_IO_IN);
    g_source_set_callback(source, G_SOURCE_FUNC(burble_glib_dispatch), hub, NULL);
    return source;
}

#ifdef __cplusplus
}
#endif

#endif
