/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "prompts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "signals.h"
#include "utf8.h"

/* The most that is read: what the library turns into tokens at once. */
#define INPUT_MAX ((size_t)1 << 30)

#define READ_SIZE 65536

/* Standard input's name in messages, or the file's. */
static const char *name_of(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* Reads what is there; waits for that, or a signal. Returns as read(2) does, or 0 after a signal. */
static ssize_t read_some(int fd, struct bytes *input, int signals, int *signal)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = signals, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return -1;
        *signal = signals_take();
        if (*signal != 0)
            return 0;
        const ssize_t n = fds[1].revents == 0 ? 0 : read(fd, input->data + input->len, READ_SIZE);
        if (fds[1].revents != 0 && (n >= 0 || (errno != EINTR && errno != EAGAIN)))
            return n;
    }
}

static int read_all(struct bytes *input, int fd, const char *name, int signals, int *signal)
{
    for (;;) {
        if (!bytes_reserve(input, READ_SIZE))
            return complain("%s: %s", name, strerror(ENOMEM));
        const ssize_t n = read_some(fd, input, signals, signal);
        if (n < 0)
            return complain("%s: %s", name, strerror(errno));
        if (n == 0)
            return EXIT_DONE;
        input->len += (size_t)n;
        if (input->len > INPUT_MAX)
            return complain("%s: expected at most 1 GiB, found more", name);
    }
}

int prompts_read(struct prompts *prompts, const char *path, int signals, int *signal)
{
    const bool is_input = strcmp(path, "-") == 0;
    /* Of a pipe that nobody writes, a writer is waited for where signals are, too: in reading it. */
    const int fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return complain("%s: %s", path, strerror(errno));
    const int result = read_all(&prompts->input, fd, name_of(path), signals, signal);
    if (!is_input)
        close(fd);
    return result;
}

static int add(struct prompts *prompts, struct prompt prompt, const char *name, bool in_lines)
{
    if (prompts->n == prompts->capacity) {
        const size_t capacity = prompts->capacity == 0 ? 1 : 2 * prompts->capacity;
        struct prompt *larger = realloc(prompts->list, capacity * sizeof *larger);
        if (larger == NULL)
            return complain("%s", strerror(ENOMEM));
        prompts->list = larger;
        prompts->capacity = capacity;
    }
    prompts->list[prompts->n++] = prompt;
    const size_t good = utf8_prefix(prompt.text, prompt.len);
    if (good == prompt.len)
        return EXIT_DONE;
    const unsigned found = (unsigned char)prompt.text[good];
    return in_lines ? complain("%s:%zu: expected UTF-8, found the byte 0x%02x at byte %zu", name,
                               prompt.line, found, good + 1)
                    : complain("%s: expected UTF-8, found the byte 0x%02x at byte %zu", name, found,
                               good + 1);
}

/* How long a line or a text is without the newline at its end, which may be CR LF. */
static size_t without_newline(const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '\n') {
        len--;
        if (len > 0 && text[len - 1] == '\r')
            len--;
    }
    return len;
}

int prompts_whole(struct prompts *prompts)
{
    const struct bytes *input = &prompts->input;
    const size_t len = without_newline(input->data, input->len);
    return add(prompts, (struct prompt){input->data, len, 1}, "standard input", false);
}

int prompts_argument(struct prompts *prompts, const char *argument)
{
    return add(prompts, (struct prompt){argument, strlen(argument), 1}, "--prompt", false);
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (strchr(" \t\v\f\r", text[i]) == NULL || text[i] == '\0')
            return false;
    return true;
}

int prompts_lines(struct prompts *prompts, const char *name)
{
    const struct bytes *input = &prompts->input;
    int result = EXIT_DONE;
    size_t line = 1;
    for (size_t at = 0; at < input->len && result == EXIT_DONE; line++) {
        const char *text = input->data + at;
        const char *newline = memchr(text, '\n', input->len - at);
        const size_t all = newline == NULL ? input->len - at : (size_t)(newline - text) + 1;
        const size_t len = without_newline(text, all);
        if (!is_blank(text, len))
            result = add(prompts, (struct prompt){text, len, line}, name_of(name), true);
        at += all;
    }
    if (result == EXIT_DONE && prompts->n == 0)
        return complain("%s: expected a prompt, found only blank lines", name_of(name));
    return result;
}

void prompts_free(struct prompts *prompts)
{
    free(prompts->list);
    bytes_free(&prompts->input);
}
