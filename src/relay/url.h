/* SPDX-License-Identifier: MIT
 *
 * Where Redis is: redis://[[user]:password@]host[:port][/database], or unix://[[user]:password@]/path/of/socket[?db=N]. User, password and
 * path may be percent-encoded; an IPv6 address stands in brackets.
 */
#ifndef BURBLE_RELAY_URL_H
#define BURBLE_RELAY_URL_H

#include <stdbool.h>
#include <stdint.h>

#include <burble/error.h>

struct burble__url {
    bool local; /* a socket of the file system, at `host` */
    uint16_t port;
    uint32_t database;
    /* Strings within `text`. "": none. */
    const char *host, *user, *password;
    char text[1024];
};

/* Reads one. BURBLE_OK, or BURBLE_EINVAL with *error, which names no password. The struct must not be moved. */
int burble__url_parse(const char *text, struct burble__url *out, burble_error *error);

#endif
