/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "serve_log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "utf8.h"

enum {
    MOST = 256 << 10,       /* bytes of lines that wait */
    MOST_PROMPT = 64 << 10, /* bytes of a prompt */
    AT_ONCE = 4096,         /* a pipe that has room takes so much without a wait */
    LAST_WAIT = 1000,       /* ms */
};

static const char *const level_names[] = {"info", "warning", "error"};

/* ---- the thread that writes ------------------------------------------------------------------------------------ */

static bool is_closing(struct serve_log *log)
{
    pthread_mutex_lock(&log->lock);
    const bool closing = log->closing;
    pthread_mutex_unlock(&log->lock);
    return closing;
}

/* Returns false if there is nobody to read it, or nobody who reads it in time. */
static bool write_lines(struct serve_log *log, const char *bytes, size_t len)
{
    while (len > 0) {
        struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
        const int ready = poll(&out, 1, LAST_WAIT);
        if (ready == 0 && is_closing(log))
            return false;
        if (ready <= 0)
            continue;
        const ssize_t n = write(STDERR_FILENO, bytes, len < AT_ONCE ? len : AT_ONCE);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void put_time(const struct serve_log *log, struct bytes *line, enum log_level level)
{
    struct timespec now;
    struct tm utc;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    if (log->json)
        bytes_print(line, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\"", text, now.tv_nsec / 1000000,
                    level_names[level]);
    else
        bytes_print(line, "%s.%03ldZ ", text, now.tv_nsec / 1000000);
}

static void put_lost(const struct serve_log *log, struct bytes *line, uint64_t lost)
{
    put_time(log, line, LOG_WARNING);
    bytes_print(line,
                log->json ? ",\"message\":\"lost %" PRIu64 " lines of the log\"}\n"
                          : "lost %" PRIu64 " lines of the log\n",
                lost);
}

static void *write_all(void *arg)
{
    struct serve_log *log = arg;
    bool reader = true;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        while (log->waiting.len == 0 && log->lost == 0 && !log->closing)
            pthread_cond_wait(&log->more, &log->lock);
        if (log->waiting.len == 0 && log->lost == 0)
            break;
        struct bytes lines = log->waiting;
        const uint64_t lost = log->lost;
        log->waiting = (struct bytes){0};
        log->lost = 0;
        pthread_mutex_unlock(&log->lock);
        if (lost > 0)
            put_lost(log, &lines, lost);
        reader = reader && write_lines(log, lines.data, lines.len);
        bytes_free(&lines);
        pthread_mutex_lock(&log->lock);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

int log_open(struct serve_log *log, bool json, bool quiet)
{
    sigset_t all, before;
    *log = (struct serve_log){.json = json, .quiet = quiet};
    sigfillset(&all);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->more, NULL);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the main thread */
    const int result = pthread_create(&log->thread, NULL, write_all, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result == 0 ? EXIT_DONE : complain("cannot start a thread: %s", strerror(result));
}

void log_close(struct serve_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->more);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    bytes_free(&log->waiting);
    pthread_cond_destroy(&log->more);
    pthread_mutex_destroy(&log->lock);
}

/* Takes a line, or several ones, and frees it. */
static void pass_on(struct serve_log *log, struct bytes *line)
{
    pthread_mutex_lock(&log->lock);
    if (line->failed || line->len > MOST - log->waiting.len
        || !bytes_reserve(&log->waiting, line->len)) {
        log->lost++;
        log->waiting.failed = false;
    } else {
        bytes_put(&log->waiting, line->data, line->len);
    }
    pthread_cond_signal(&log->more);
    pthread_mutex_unlock(&log->lock);
    bytes_free(line);
}

/* ---- what is in a line ----------------------------------------------------------------------------------------- */

/* Any bytes as a string of JSON: those that are not UTF-8 become U+FFFD. */
static void put_json(struct bytes *line, const char *text, size_t len)
{
    static const char replacement[] = "\xef\xbf\xbd";
    struct bytes good = {0};
    for (size_t done = 0; done < len;) {
        const size_t n = utf8_prefix(text + done, len - done);
        bytes_put(&good, text + done, n);
        done += n;
        if (done < len) {
            bytes_put(&good, replacement, strlen(replacement));
            done++;
        }
    }
    bytes_put_json(line, good.data, good.len);
    line->failed = line->failed || good.failed;
    bytes_free(&good);
}

/* Whether a text is one word of a line as it is, which means the same for a terminal and for a reader. */
static bool is_word(const char *text)
{
    for (const char *at = text; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~' || *at == '"')
            return false;
    return text[0] != '\0';
}

/* Text of JSON without the characters above ASCII that a terminal obeys: DEL, and those up to U+009F. */
static void put_shown(struct bytes *line, const struct bytes *json)
{
    for (size_t i = 0; i < json->len; i++) {
        const unsigned char *const at = (const unsigned char *)json->data + i;
        if (*at == 0x7f) {
            bytes_print(line, "\\u007f");
        } else if (*at == 0xc2 && at[1] < 0xa0) {
            bytes_print(line, "\\u%04x", at[1]);
            i++;
        } else {
            bytes_put(line, json->data + i, 1);
        }
    }
    line->failed = line->failed || json->failed;
}

static void put_word(struct bytes *line, const char *text)
{
    struct bytes json = {0};
    if (is_word(text)) {
        bytes_put(line, text, strlen(text));
        return;
    }
    put_json(&json, text, strlen(text));
    put_shown(line, &json);
    bytes_free(&json);
}

static void put_text(const struct serve_log *log, struct bytes *line, const char *name,
                     const char *text)
{
    if (text[0] == '\0')
        return;
    if (log->json) {
        bytes_print(line, ",\"%s\":", name);
        put_json(line, text, strlen(text));
    } else {
        bytes_print(line, " %s=", name);
        put_word(line, text);
    }
}

static void put_number(const struct serve_log *log, struct bytes *line, const char *name,
                       uint64_t number)
{
    bytes_print(line, log->json ? ",\"%s\":%" PRIu64 : " %s=%" PRIu64, name, number);
}

/* Seconds, to the microsecond. */
static void put_seconds(const struct serve_log *log, struct bytes *line, const char *name,
                        uint64_t nanoseconds)
{
    const uint64_t microseconds = nanoseconds / 1000;
    bytes_print(line, log->json ? ",\"%s\":%" PRIu64 ".%06" PRIu64 : " %s=%" PRIu64 ".%06" PRIu64,
                name, microseconds / 1000000, microseconds % 1000000);
}

static void end_line(const struct serve_log *log, struct bytes *line)
{
    bytes_print(line, log->json ? "}\n" : "\n");
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

void log_say(struct serve_log *log, enum log_level level, const char *format, ...)
{
    if (log->quiet && level == LOG_INFO)
        return;
    struct bytes line = {0};
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    put_time(log, &line, level);
    if (log->json)
        put_text(log, &line, "message", message);
    else
        bytes_print(&line, "%s%s%s", level == LOG_INFO ? "" : level_names[level],
                    level == LOG_INFO ? "" : ": ", message);
    end_line(log, &line);
    pass_on(log, &line);
}

void log_banner(struct serve_log *log, const char *text)
{
    if (log->quiet || log->json)
        return;
    struct bytes line = {0};
    bytes_put(&line, text, strlen(text));
    pass_on(log, &line);
}

/* What a line about an answer has beside. */
static void put_answer(const struct serve_log *log, struct bytes *out, const burble_serve_log *line)
{
    put_text(log, out, "model", line->model);
    put_text(log, out, "answer", line->id);
    put_number(log, out, "prompt_tokens", line->prompt_tokens);
    put_number(log, out, "reused_tokens", line->reused_tokens);
    put_number(log, out, "tokens", line->tokens);
    put_seconds(log, out, "queue_s", line->queue_ns);
    put_seconds(log, out, "prompt_s", line->prompt_ns);
    put_seconds(log, out, "answer_s", line->answer_ns);
}

void log_request(const burble_serve_log *line, void *arg)
{
    struct serve_log *log = arg;
    struct bytes out = {0};
    if (log->quiet)
        return;
    put_time(log, &out, LOG_INFO);
    if (log->json) {
        put_number(log, &out, "status", line->status);
        put_text(log, &out, "method", line->method);
        put_text(log, &out, "path", line->path);
        put_text(log, &out, "result", line->result);
    } else {
        const char *const words[] = {line->method, line->path, line->result};
        bytes_print(&out, "%" PRIu32, line->status);
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            bytes_print(&out, " ");
            put_word(&out, words[i]);
        }
    }
    put_text(log, &out, "client", line->client);
    put_text(log, &out, "request_id", line->request_id);
    if (line->id[0] != '\0' || line->model[0] != '\0')
        put_answer(log, &out, line);
    put_seconds(log, &out, "total_s", line->total_ns);
    put_number(log, &out, "sent", line->sent);
    end_line(log, &out);
    pass_on(log, &out);
}

/* The beginning of a text, cut at a character. Returns false if that is not all. */
static bool cut(burble_text *text, size_t *room)
{
    const bool whole = text->len <= *room;
    if (!whole)
        text->len = utf8_prefix(text->bytes, *room);
    *room -= text->len;
    return whole;
}

static void put_messages(struct bytes *line, const burble_serve_request *request, bool *whole)
{
    size_t room = MOST_PROMPT;
    bytes_print(line, "[");
    for (size_t i = 0; i < request->n_messages && *whole; i++) {
        const burble_serve_message *message = &request->messages[i];
        burble_text role = message->role, content = message->content;
        *whole = cut(&role, &room) && cut(&content, &room);
        bytes_print(line, i > 0 ? ",{\"role\":" : "{\"role\":");
        bytes_put_json(line, role.bytes, role.len);
        bytes_print(line, ",\"content\":");
        bytes_put_json(line, content.bytes, content.len);
        bytes_print(line, "}");
    }
    bytes_print(line, "]");
}

static void put_ids(struct bytes *line, const burble_serve_prompt *prompt, bool *whole)
{
    bytes_print(line, "[");
    for (size_t i = 0; i < prompt->n_ids && *whole; i++) {
        bytes_print(line, i > 0 ? ",%" PRId32 : "%" PRId32, prompt->ids[i]);
        *whole = line->len < MOST_PROMPT;
    }
    bytes_print(line, "]");
}

static void put_prompts(struct bytes *line, const burble_serve_request *request, bool *whole)
{
    size_t room = MOST_PROMPT;
    bytes_print(line, request->n_prompts > 1 ? "[" : "");
    for (size_t i = 0; i < request->n_prompts && *whole; i++) {
        burble_text text = request->prompts[i].text;
        bytes_print(line, i > 0 ? "," : "");
        if (request->prompts[i].ids != NULL) {
            put_ids(line, &request->prompts[i], whole);
        } else {
            *whole = cut(&text, &room);
            bytes_put_json(line, text.bytes, text.len);
        }
    }
    bytes_print(line, request->n_prompts > 1 ? "]" : "");
}

void log_prompt(struct serve_log *log, const burble_serve_request *request)
{
    struct bytes line = {0}, text = {0};
    bool whole = true;
    const bool chat = request->route == BURBLE_SERVE_CHAT;
    put_time(log, &line, LOG_INFO);
    bytes_print(&line, log->json ? ",\"%s\":" : "%s ", chat ? "messages" : "prompt");
    if (chat)
        put_messages(&text, request, &whole);
    else
        put_prompts(&text, request, &whole);
    put_shown(&line, &text);
    bytes_free(&text);
    if (!whole)
        put_text(log, &line, "cut", "true");
    put_text(log, &line, "request_id", request->request_id);
    put_text(log, &line, "model", request->model);
    end_line(log, &line);
    pass_on(log, &line);
}
