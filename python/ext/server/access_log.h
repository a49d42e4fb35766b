/* SPDX-License-Identifier: MIT
 *
 * The lines of a server's log, for Python: its loops, which never take the GIL, append them to a stream, which a
 * thread of Python reads.
 */
#ifndef BURBLE_PYTHON_ACCESS_LOG_H
#define BURBLE_PYTHON_ACCESS_LOG_H

#include <burble/serve.h>

struct access_log;

/* Takes a reference to the stream. NULL: no memory. */
struct access_log *access_log_create(burble_stream *stream);

/* For burble_server_options.log. A line for which the stream has no room is left out. */
void access_log_write(const burble_serve_log *line, void *access_log);

/* Ends the stream, once no loop writes any more. A pointer to NULL is fine. */
void access_log_destroy(struct access_log **handle);

#endif
