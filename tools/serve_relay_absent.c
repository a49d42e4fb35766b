/* SPDX-License-Identifier: MIT
 *
 * `burble serve --redis` where hiredis was not there when burble was built: the options refuse --redis.
 */
#include "serve_relay.h"

int serve_relay_open(const struct serve_options *options, struct serve_log *log,
                     burble_server *server, burble_relay **out)
{
    (void)options;
    (void)log;
    (void)server;
    *out = NULL;
    return EXIT_ERROR;
}

void serve_relay_close(burble_relay **relay)
{
    *relay = NULL;
}

const char *serve_relay_place(const char *url, char place[SERVE_RELAY_PLACE])
{
    (void)url;
    place[0] = '\0';
    return place;
}
