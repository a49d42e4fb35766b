/* SPDX-License-Identifier: MIT
 *
 * The options of a server: their defaults and their ranges.
 */
#define _GNU_SOURCE

#include <burble/serve.h>

#include "base/error_message.h"
#include "base/reserved.h"
#include "serve/hosts.h"
#include "serve/server.h"

#define KIB(n) ((uint32_t)((n) * 1024u))
#define MIB(n) ((n) * ((uint64_t)1 << 20))
#define SECONDS(n) ((n) * UINT64_C(1000000000))

void burble_server_options_init(burble_server_options *options)
{
    *options = (burble_server_options){
        .host = "127.0.0.1",
        .port = 8080,
        .listen_fd = -1,
        .loops = 1,
        .backlog = 1024,
        .backend_threads = 4,
        .page = true,
        .expected_models = 1,
        .max_connections = 16384,
        .max_header = KIB(16),
        .max_body = MIB(8),
        .max_bodies = MIB(256),
        .max_output = KIB(16),
        .socket_buffer = KIB(16),
        .max_answer = MIB(1),
        .max_lag = KIB(6),
        .retain = MIB(64),
        .max_ignored = KIB(64),
        .max_json_depth = 64,
        .header_timeout = SECONDS(10),
        .body_timeout = SECONDS(10),
        .body_rate = KIB(16),
        .idle_timeout = SECONDS(75),
        .stall_timeout = SECONDS(30),
        .output_rate = KIB(1),
        .first_timeout = SECONDS(10),
        .ping_interval = SECONDS(15),
        .resume_time = SECONDS(600),
        .drain_delay = SECONDS(5),
    };
}

static int expect(burble_error *error, const char *name, const char *range, uint64_t found)
{
    return burble__error_set(error, BURBLE_EINVAL, "%s: expected %s, found %llu", name, range,
                             (unsigned long long)found);
}

int burble__server_check_options(const burble_server_options *options, burble_error *error)
{
    if (!BURBLE__UNUSED(options))
        return burble__error_set(error, BURBLE_EINVAL, "burble_server_options: " BURBLE__RESERVED);
    if (options->host == NULL && options->listen_fd < 0)
        return burble__error_set(error, BURBLE_EINVAL, "host: expected an address, found NULL");
    if (options->loops < 1 || options->loops > BURBLE__MAX_LOOPS)
        return expect(error, "loops", "1 to 64", options->loops);
    if (options->backlog < 1 || options->backlog > 65535)
        return expect(error, "backlog", "1 to 65535", options->backlog);
    if (options->backend_threads < 2 || options->backend_threads > 1024)
        return expect(error, "backend_threads", "2 to 1024", options->backend_threads);
    if (options->max_connections < 1 || options->max_connections > 1u << 24)
        return expect(error, "max_connections", "1 to 16777216", options->max_connections);
    if (options->max_header < 256 || options->max_header > 1u << 20)
        return expect(error, "max_header", "256 to 1048576", options->max_header);
    if (options->max_body < 1 || options->max_body > UINT64_C(1) << 30)
        return expect(error, "max_body", "1 to 1073741824", options->max_body);
    if (options->max_output < 256 || options->max_output > 1u << 30)
        return expect(error, "max_output", "256 to 1073741824", options->max_output);
    if (options->max_answer < 1024 || options->max_answer > UINT64_C(1) << 30)
        return expect(error, "max_answer", "1024 to 1073741824", options->max_answer);
    if (options->max_lag < 256 || options->max_lag > UINT64_C(1) << 30)
        return expect(error, "max_lag", "256 to 1073741824", options->max_lag);
    if (options->max_ignored > UINT64_C(1) << 30)
        return expect(error, "max_ignored", "0 to 1073741824", options->max_ignored);
    if (options->max_json_depth < 4 || options->max_json_depth > 1024)
        return expect(error, "max_json_depth", "4 to 1024", options->max_json_depth);
    if (options->body_rate < 1)
        return expect(error, "body_rate", "1 or more", options->body_rate);
    if (options->output_rate < 1)
        return expect(error, "output_rate", "1 or more", options->output_rate);
    return burble__hosts_check(options->allowed_hosts, options->n_allowed_hosts, error);
}
