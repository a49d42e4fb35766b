/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error_message.h"

static int listen_at(const struct addrinfo *address, uint32_t backlog)
{
    const int on = 1, off = 0;
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, (int)backlog) == 0)
        return fd;
    const int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

/* If the name has several addresses, tries those of IPv4 first, as clients do. */
static int bind_host(const burble_server_options *options, int *fd, burble_error *error)
{
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *found;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)options->port);
    const int result = getaddrinfo(options->host, port, &hints, &found);
    if (result != 0)
        return burble__error_set(error, BURBLE_EINVAL,
                                 "host: expected an address of this machine, found \"%s\": %s",
                                 options->host, gai_strerror(result));
    int reason = EADDRNOTAVAIL;
    for (int pass = 0; pass < 2 && *fd < 0; pass++)
        for (const struct addrinfo *at = found; at != NULL && *fd < 0; at = at->ai_next)
            if ((at->ai_family == AF_INET) == (pass == 0)) {
                *fd = listen_at(at, options->backlog);
                if (*fd < 0)
                    reason = errno;
            }
    freeaddrinfo(found);
    if (*fd >= 0)
        return BURBLE_OK;
    errno = reason;
    return burble__error_set(error, BURBLE_ESYSTEM, "cannot listen on %s, port %u: %s",
                             options->host, (unsigned)options->port, strerror(reason));
}

static int take_listening(int given, int *fd, burble_error *error)
{
    const int flags = fcntl(given, F_GETFL);
    int listens = 0;
    socklen_t len = sizeof listens;
    if (flags < 0 || getsockopt(given, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 || !listens)
        return burble__error_set(error, BURBLE_EINVAL,
                                 "listen_fd: expected a listening socket, found %d", given);
    if (fcntl(given, F_SETFL, flags | O_NONBLOCK) != 0)
        return burble__error_set(error, BURBLE_ESYSTEM, "listen_fd: %s", strerror(errno));
    *fd = given;
    return BURBLE_OK;
}

int burble__listen(const burble_server_options *options, int *fd, burble_error *error)
{
    return options->listen_fd >= 0 ? take_listening(options->listen_fd, fd, error)
                                   : bind_host(options, fd, error);
}
