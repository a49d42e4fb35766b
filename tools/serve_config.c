/* SPDX-License-Identifier: MIT
 *
 * The configuration file of `burble serve` and `burble work`: an option a line, by its long name, then white space or =, and its
 * value. From a # on, at the beginning or after white space, a line is a comment. A value that begins
 * with " goes up to the next one: it may have # and spaces at its ends; \" and \\ are " and \ there.
 */
#include "serve_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "command.h"

enum { MOST = 1 << 20, AT_ONCE = 4096 };

static int read_file(const char *path, struct bytes *bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return complain("%s: %s", path, strerror(errno));
    while (bytes->len <= MOST && bytes_reserve(bytes, AT_ONCE)) {
        const size_t n = fread(bytes->data + bytes->len, 1, AT_ONCE, file);
        bytes->len += n;
        if (n < AT_ONCE)
            break;
    }
    const int reason = bytes->failed ? ENOMEM : ferror(file) ? errno : 0;
    fclose(file);
    if (reason != 0)
        return complain("%s: %s", path, strerror(reason));
    if (bytes->len > MOST)
        return complain("%s: expected at most %d bytes, found more", path, MOST);
    if (bytes->len > 0 && memchr(bytes->data, '\0', bytes->len) != NULL)
        return complain("%s: expected text, found a NUL byte", path);
    bytes_put(bytes, "", 1);
    return bytes->failed ? complain("%s: %s", path, strerror(ENOMEM)) : EXIT_DONE;
}

static const char blank[] = " \t\r\v\f";

static int complain_at(const struct serve_source *source, const char *message)
{
    complain("%s:%zu: %s", source->file, source->line, message);
    return EXIT_USAGE;
}

/* The value in quotes, in place. *rest is what stands behind it; NULL if it does not end. */
static void unquote(char *text, char **rest)
{
    char *to = text;
    char *from = text + 1;
    while (*from != '\0' && *from != '"') {
        if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
            from++;
        *to++ = *from++;
    }
    *rest = *from == '"' ? from + 1 : NULL;
    *to = '\0';
}

/* Ends the value in front of a comment, and of the white space at its end. */
static void trim(char *text)
{
    size_t len = 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        const bool is_blank = strchr(blank, text[i]) != NULL;
        if (text[i] == '#' && (i == 0 || strchr(blank, text[i - 1]) != NULL))
            break;
        if (!is_blank)
            len = i + 1;
    }
    text[len] = '\0';
}

static int take_line(char *line, struct serve_options *options, const struct serve_source *source)
{
    char *const name = line + strspn(line, blank);
    if (*name == '\0' || *name == '#')
        return EXIT_DONE;
    char *value = name + strcspn(name, " \t\r\v\f=#");
    char *const end = value;
    if (end == name)
        return complain_at(source, "expected the name of an option, found none");
    value += strspn(value, blank);
    const bool equals = *value == '=';
    if (equals)
        value += 1 + strspn(value + 1, blank);
    if (*value == '"') {
        char *rest;
        unquote(value, &rest);
        if (rest == NULL)
            return complain_at(source, "expected a \" at the end of the value, found none");
        rest += strspn(rest, blank);
        if (*rest != '\0' && *rest != '#')
            return complain_at(source, "expected nothing after the value in quotes, found more");
        *end = '\0';
        return take_serve_option(options, name, value, source);
    }
    trim(value);
    *end = '\0';
    return take_serve_option(options, name, *value != '\0' || equals ? value : NULL, source);
}

int read_serve_config(const char *path, struct serve_options *options)
{
    struct bytes bytes = {0};
    struct serve_source source = {path, 0};
    int result = read_file(path, &bytes);
    options->config_text = bytes.data;
    char *line = bytes.data;
    while (result == EXIT_DONE && line != NULL) {
        char *const end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        source.line++;
        result = take_line(line, options, &source);
        line = end == NULL ? NULL : end + 1;
    }
    return result;
}
