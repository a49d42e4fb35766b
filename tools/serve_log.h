/* SPDX-License-Identifier: MIT
 *
 * The log of `burble serve`: lines on standard error, of text or JSON. A thread of its own writes them, so that no
 * event loop waits for a terminal or a pipe: lines that do not fit into 256 KiB are lost, and counted.
 *
 * In text, a line is the time, and either a message or
 *
 *     STATUS METHOD PATH RESULT name=value ...
 *
 * What clients choose, such as a path, stands in quotes, as in JSON, unless it is of visible ASCII characters.
 */
#ifndef BURBLE_TOOLS_SERVE_LOG_H
#define BURBLE_TOOLS_SERVE_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <burble/serve.h>

#include "bytes.h"
#include "command.h"

enum log_level { LOG_INFO, LOG_WARNING, LOG_ERROR };

struct serve_log {
    bool json, quiet;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    struct bytes waiting;
    uint64_t lost;
    bool closing;
};

/* Starts the thread. With `quiet`, only warnings and errors are logged. EXIT_DONE or, after a message, EXIT_ERROR. */
int log_open(struct serve_log *log, bool json, bool quiet);

/* Writes what waits, if that can be written within a second, and ends the thread. */
void log_close(struct serve_log *log);

/* A message of one line. Any thread may call it, and those below. */
void log_say(struct serve_log *log, enum log_level level, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Lines of text for a person at the start; nothing in JSON. */
void log_banner(struct serve_log *log, const char *text);

/* A request that is over: for burble_server_options.log. `arg` is the log. */
void log_request(const burble_serve_log *line, void *arg);

/* The prompt or the messages of a request, up to 64 KiB. */
void log_prompt(struct serve_log *log, const burble_serve_request *request);

#endif
