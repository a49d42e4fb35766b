/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/hosts.h"

#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "base/error_message.h"

/* The longest name of the DNS. */
#define MAX_HOST 255

/* The length of the host at the beginning of a Host header: up to the port, if there is one. */
static size_t host_length(const char *text)
{
    const char *end = *text == '[' ? strchr(text, ']') : NULL;
    return end != NULL ? (size_t)(end + 1 - text) : strcspn(text, ":");
}

int burble__hosts_check(const char *const *hosts, size_t n, burble_error *error)
{
    for (size_t i = 0; i < n; i++) {
        const char *host = hosts[i] == NULL ? "" : hosts[i];
        const size_t len = strnlen(host, MAX_HOST + 1);
        if (len == 0 || len > MAX_HOST || host_length(host) != len
            || strcspn(host, " \t/?#@,") != len) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "allowed_hosts[%zu]: expected *, a name or an address "
                                     "([::1] in brackets), without a port, found \"%.64s\"",
                                     i, host);
        }
    }
    return BURBLE_OK;
}

bool burble__hosts_have(const char *const *hosts, size_t n, const char *header)
{
    size_t len = host_length(header);
    if (len > 1 && header[len - 1] == '.') /* the root of the DNS: the same name */
        len--;
    for (size_t i = 0; i < n; i++)
        if (strcmp(hosts[i], "*") == 0
            || (strlen(hosts[i]) == len && strncasecmp(hosts[i], header, len) == 0)) {
            return true;
        }
    return false;
}

bool burble__is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_UNIX)
        return true;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *in =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(in) || (IN6_IS_ADDR_V4MAPPED(in) && in->s6_addr[12] == 127);
    }
    return false;
}
