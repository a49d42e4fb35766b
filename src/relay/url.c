/* SPDX-License-Identifier: MIT */
#include "relay/url.h"

#include <string.h>

#include "base/error_message.h"

#define DEFAULT_PORT 6379
#define MAX_DATABASE 65535

static int refuse(burble_error *error, const char *what)
{
    return burble__error_set(error, BURBLE_EINVAL,
                             "url: expected redis://[[user]:password@]host[:port][/database] or "
                             "unix://[[user]:password@]/path[?db=N]: %s",
                             what);
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Resolves percent signs in place. False: one is wrong, or stands for NUL. */
static bool decode(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from == '%') {
            const int high = digit_of(from[1]);
            const int low = high < 0 ? -1 : digit_of(from[2]);
            if (low < 0 || high + low == 0)
                return false;
            *to++ = (char)(high * 16 + low);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return true;
}

/* A whole string of digits. */
static bool read_number(const char *text, uint32_t least, uint32_t most, uint32_t *number)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
        if (value > most)
            return false;
    }
    *number = (uint32_t)value;
    return value >= least;
}

static int parse_user(char *user, struct burble__url *out, burble_error *error)
{
    char *colon = strchr(user, ':');
    if (colon == NULL)
        return refuse(error, "a colon stands before the password");
    *colon = '\0';
    if (!decode(user) || !decode(colon + 1))
        return refuse(error, "% stands before two hexadecimal digits");
    out->user = user;
    out->password = colon + 1;
    return BURBLE_OK;
}

static int parse_local(char *path, struct burble__url *out, burble_error *error)
{
    char *const at = *path != '/' ? strchr(path, '@') : NULL;
    if (at != NULL) {
        *at = '\0';
        const int result = parse_user(path, out, error);
        if (result != BURBLE_OK)
            return result;
        path = at + 1;
    }
    char *query = strchr(path, '?');
    if (query != NULL) {
        *query++ = '\0';
        if (strncmp(query, "db=", 3) != 0
            || !read_number(query + 3, 0, MAX_DATABASE, &out->database))
            return refuse(error, "the database is a number, as in ?db=1");
    }
    if (*path != '/' || !decode(path))
        return refuse(error, "the path begins with /");
    out->local = true;
    out->host = path;
    return BURBLE_OK;
}

static int parse_host(char *host, struct burble__url *out, burble_error *error)
{
    uint32_t port = DEFAULT_PORT;
    char *rest;
    if (*host == '[') {
        out->host = host + 1;
        rest = strchr(host, ']');
        if (rest == NULL)
            return refuse(error, "] ends an IPv6 address");
        *rest++ = '\0';
    } else {
        out->host = host;
        rest = host + strcspn(host, ":");
    }
    if (*rest == ':' && !read_number(rest + 1, 1, 65535, &port))
        return refuse(error, "the port is a number from 1 to 65535");
    if (*rest != '\0' && *rest != ':')
        return refuse(error, "a port stands behind the host");
    *rest = '\0';
    out->port = (uint16_t)port;
    return *out->host == '\0' ? refuse(error, "the host is missing") : BURBLE_OK;
}

int burble__url_parse(const char *text, struct burble__url *out, burble_error *error)
{
    static const char tcp[] = "redis://", local[] = "unix://";
    *out = (struct burble__url){.host = "", .user = "", .password = ""};
    if (strlen(text) >= sizeof out->text)
        return refuse(error, "it is longer than 1,023 bytes");
    memcpy(out->text, text, strlen(text) + 1);
    if (strncmp(out->text, local, strlen(local)) == 0)
        return parse_local(out->text + strlen(local), out, error);
    if (strncmp(out->text, tcp, strlen(tcp)) != 0)
        return refuse(error, strncmp(text, "rediss://", 9) == 0
                                 ? "TLS is for a tunnel, such as stunnel"
                                 : "it has another scheme");
    char *host = out->text + strlen(tcp);
    char *database = strchr(host, '/');
    char *at = strrchr(host, '@');
    if (database != NULL && at != NULL && database < at)
        return refuse(error, "/ in a password is %2F");
    if (database != NULL) {
        *database++ = '\0';
        if (*database != '\0' && !read_number(database, 0, MAX_DATABASE, &out->database))
            return refuse(error, "the database is a number");
    }
    if (at != NULL) {
        *at = '\0';
        const int result = parse_user(host, out, error);
        if (result != BURBLE_OK)
            return result;
        host = at + 1;
    }
    return parse_host(host, out, error);
}
