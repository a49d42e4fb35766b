/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "serve_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

enum { MOST = 1 << 20 };

static int fail(burble_error *error, int result, const char *format, ...) PRINTF_LIKE(3, 4);

static int fail(burble_error *error, int result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return result;
}

/* Up to `capacity` bytes of a file; -1 with errno. */
static ssize_t read_all(int file, char *bytes, size_t capacity)
{
    size_t len = 0;
    while (len < capacity) {
        const ssize_t n = read(file, bytes + len, capacity - len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n == 0)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)len;
}

static int read_text(const char *path, struct serve_keys *keys, bool *open_to_all,
                     burble_error *error)
{
    struct stat about;
    keys->text = calloc(1, MOST + 1);
    if (keys->text == NULL)
        return fail(error, BURBLE_ENOMEM, "%s: %s", path, strerror(ENOMEM));
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    const bool found = file >= 0 && fstat(file, &about) == 0;
    const ssize_t len = found ? read_all(file, keys->text, MOST + 1) : -1;
    const int reason = errno;
    *open_to_all = found && (about.st_mode & S_IROTH) != 0;
    if (file >= 0)
        close(file);
    if (len < 0)
        return fail(error, BURBLE_ESYSTEM, "%s: %s", path, strerror(reason));
    if (len > MOST)
        return fail(error, BURBLE_EINVAL, "%s: expected at most %d bytes, found more", path, MOST);
    if (strlen(keys->text) != (size_t)len)
        return fail(error, BURBLE_EINVAL, "%s: expected text, found a NUL byte", path);
    return BURBLE_OK;
}

/* A key goes into a header: visible ASCII characters alone. */
static bool is_key(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < '!' || *text > '~')
            return false;
    return true;
}

static void trim(char **line)
{
    static const char blank[] = " \t\r\v\f";
    *line += strspn(*line, blank);
    size_t len = strlen(*line);
    while (len > 0 && strchr(blank, (*line)[len - 1]) != NULL)
        len--;
    (*line)[len] = '\0';
}

/* Makes room for as many keys as there are lines. */
static size_t make_list(struct serve_keys *keys)
{
    size_t lines = 1;
    for (const char *at = keys->text; *at != '\0'; at++)
        lines += *at == '\n';
    keys->list = (const char **)calloc(lines, sizeof *keys->list);
    return keys->list == NULL ? 0 : lines;
}

static int take_lines(const char *path, struct serve_keys *keys, burble_error *error)
{
    const size_t lines = make_list(keys);
    size_t number = 0;
    char *line = keys->text;
    if (lines == 0)
        return fail(error, BURBLE_ENOMEM, "%s: %s", path, strerror(ENOMEM));
    while (line != NULL && keys->n < lines) {
        char *const end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        number++;
        trim(&line);
        if (*line != '\0' && *line != '#') {
            if (!is_key(line))
                return fail(error, BURBLE_EINVAL,
                            "%s:%zu: expected a key of visible ASCII characters, found another "
                            "character in it",
                            path, number);
            keys->list[keys->n++] = line;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return keys->n > 0 ? BURBLE_OK
                       : fail(error, BURBLE_EINVAL, "%s: expected a key a line, found none", path);
}

int serve_keys_read(const char *path, struct serve_keys *keys, bool *open_to_all,
                    burble_error *error)
{
    *keys = (struct serve_keys){0};
    *open_to_all = false;
    int result = read_text(path, keys, open_to_all, error);
    if (result == BURBLE_OK)
        result = take_lines(path, keys, error);
    if (result != BURBLE_OK)
        serve_keys_free(keys);
    return result;
}

void serve_keys_free(struct serve_keys *keys)
{
    free((void *)keys->list);
    free(keys->text);
    *keys = (struct serve_keys){0};
}
