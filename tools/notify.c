/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* SOCK_CLOEXEC */

#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

/* The descriptor of the first passed socket. */
enum { FIRST_SOCKET = 3 };

static void send_state(const char *state, int flags)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *const path = getenv("NOTIFY_SOCKET");
    const size_t len = path == NULL ? 0 : strlen(path);
    if (len < 2 || len >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') /* a name of Linux's abstract ones */
        address.sun_path[0] = '\0';
    const int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (out < 0)
        return;
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    const struct timeval most = {.tv_sec = 5};
    setsockopt(out, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    const ssize_t sent = sendto(out, state, strlen(state), MSG_NOSIGNAL | flags,
                                (const struct sockaddr *)&address, size);
    (void)sent;
    close(out);
}

void notify(const char *state)
{
    send_state(state, 0);
}

void notify_loading(const char *text)
{
    char state[512];
    snprintf(state, sizeof state, "STATUS=%s\nEXTEND_TIMEOUT_USEC=60000000", text);
    send_state(state, MSG_DONTWAIT);
}

void notify_reloading(void)
{
    char state[96];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    notify(state);
}

/* A number in the environment; 0 if there is none. */
static uint64_t number_of(const char *name)
{
    const char *const text = getenv(name);
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0 ? number : 0;
}

/* Whether the process that the variable names is this one. */
static bool is_mine(const char *name)
{
    return number_of(name) == (uint64_t)getpid();
}

uint64_t notify_watchdog(void)
{
    const uint64_t microseconds = number_of("WATCHDOG_USEC");
    if (microseconds > UINT64_MAX / 1000
        || (getenv("WATCHDOG_PID") != NULL && !is_mine("WATCHDOG_PID")))
        return 0;
    return microseconds * 1000;
}

/* A number that the socket has; 0 if it is no socket. */
static int option_of(int descriptor, int option)
{
    int value = 0;
    socklen_t len = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, option, &value, &len) == 0 ? value : 0;
}

static bool is_listening(int descriptor)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof address;
    return option_of(descriptor, SO_TYPE) == SOCK_STREAM
           && option_of(descriptor, SO_ACCEPTCONN) != 0
           && getsockname(descriptor, (struct sockaddr *)&address, &len) == 0
           && (address.ss_family == AF_INET || address.ss_family == AF_INET6);
}

int notify_socket(int *descriptor)
{
    const uint64_t n = is_mine("LISTEN_PID") ? number_of("LISTEN_FDS") : 0;
    *descriptor = -1;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (n == 0)
        return EXIT_DONE;
    if (n > 1)
        return complain("LISTEN_FDS: expected one socket, found %" PRIu64, n);
    if (!is_listening(FIRST_SOCKET)) {
        return complain("LISTEN_FDS: expected a listening TCP socket as descriptor %d, found "
                        "another one",
                        FIRST_SOCKET);
    }
    if (fcntl(FIRST_SOCKET, F_SETFD, FD_CLOEXEC) != 0)
        return complain("LISTEN_FDS: %s", strerror(errno));
    *descriptor = FIRST_SOCKET;
    return EXIT_DONE;
}
