/* SPDX-License-Identifier: MIT
 *
 * A server: what its loops share.
 *
 *     CREATED → RUNNING → DRAINING → CLOSING → STOPPING → STOPPED
 *
 *     DRAINING  after burble_server_drain: everything goes on, but GET /ready says 503
 *     CLOSING   after `drain_delay`: no connection is accepted, new POST requests get 503, idle connections are closed
 *     STOPPING  no answer runs any more, or the time of grace is over: connections are closed, loops end
 *
 * The state only moves on. Whoever moves it wakes all loops; the first loop watches the times of a drain.
 */
#ifndef BURBLE_SERVE_SERVER_H
#define BURBLE_SERVE_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/serve.h>

#include "base/atomic.h"
#include "base/buffer.h"
#include "serve/loop.h"
#include "serve/metrics.h"
#include "serve/workers.h"

struct burble__connection;
struct burble__exchange;
struct burble__keys;
struct burble__models;
struct burble__per_key;
struct burble__registry;

/* The most loops of a server. */
#define BURBLE__MAX_LOOPS 64

/* localhost, 127.0.0.1, [::1], and what was asked for. */
#define BURBLE__OWN_HOSTS 4

/* The identity of a client without a key where keys are asked for: it has only a token. */
#define BURBLE__NO_KEY UINT64_MAX

enum burble__state {
    BURBLE__SERVER_CREATED,
    BURBLE__SERVER_RUNNING,
    BURBLE__SERVER_DRAINING,
    BURBLE__SERVER_CLOSING,
    BURBLE__SERVER_STOPPING,
    BURBLE__SERVER_STOPPED,
};

struct burble_server {
    burble_server_options options; /* its strings are copies */
    uint64_t forks;                /* of the process that created it: base/fork.h */
    struct burble__keys *keys;
    struct burble__models *models;
    struct burble__registry *registry;
    burble_serve_finder finder; /* `find` NULL: none. Constant once the server runs */
    struct burble__workers workers;
    struct burble__lane finder_lane; /* of the calls of `find` */
    _Atomic(bool) started;           /* burble_server_start runs, or has started it */
    _Atomic(int) state;              /* a burble__state */
    _Atomic(uint64_t) drain_at;      /* ns: when it is CLOSING */
    _Atomic(uint64_t) grace_at;      /* ns: when the answers that run fail */
    _Atomic(uint64_t) bodies;        /* bytes of bodies, and of what clients sent during answers */
    _Atomic(uint32_t) open;          /* connections */
    _Atomic(uint32_t) busy;          /* requests that are not over */
    _Atomic(uint32_t) next_loop;     /* for what belongs to no loop */
    int listen_fd;                   /* -1: none, or the loops have it */
    _Atomic(uint16_t) port;
    char *own_hosts
        [BURBLE__OWN_HOSTS]; /* the hosts that requests may be for, if it listens on a loopback address */
    size_t n_own_hosts;
    uint32_t max_connections; /* that of the options, or less */

    pthread_mutex_t lock;
    pthread_cond_t stopped;
    unsigned live;                   /* loops whose threads run; under the lock */
    struct burble__per_key *per_key; /* connections of each key; under the lock */
    size_t n_per_key, room_per_key;

    /* One bit for each descriptor that is a client's socket, for a forked child. */
    _Atomic(uint64_t) *sockets;
    size_t n_sockets; /* bits */

    unsigned n_loops; /* that were created */
    struct burble__loop *loops;
    struct burble__metrics *metrics; /* one for each loop */
};

static inline enum burble__state burble__server_state(const burble_server *server)
{
    return (enum burble__state)burble__load_acquire(&server->state);
}

static inline struct burble__metrics *burble__loop_metrics(const struct burble__loop *loop)
{
    return &loop->server->metrics[loop->index];
}

/* Whether the options are in their ranges: as burble_server_create. */
int burble__server_check_options(const burble_server_options *options, burble_error *error);

/* Moves the state on, and wakes all loops. Any thread. */
void burble__server_move(burble_server *server, enum burble__state to);

/* Whether requests may be for this host, by their Host header. Any thread. */
bool burble__server_is_host(const burble_server *server, const char *host);

/* ---- bounds: any thread -------------------------------------------------------------------------------- */

/* Counts memory for bodies. False: above the bound; it counts nevertheless. */
bool burble__server_charge(burble_server *server, size_t bytes);
void burble__server_uncharge(burble_server *server, size_t bytes);

/* Counts a new connection, whose socket a forked child has to close. False: too many, and it does not count. */
bool burble__server_admit(burble_server *server, int socket);

/* A socket is closed next. */
void burble__server_forget_socket(burble_server *server, int socket);

/* Counts a connection for a key. False: too many. 0 and BURBLE__NO_KEY are not counted. */
bool burble__server_enter(burble_server *server, struct burble__connection *connection,
                          uint64_t key);

/* A connection has gone, which counted for this key. */
void burble__server_leave(burble_server *server, uint64_t key);

/* ---- for exchanges ------------------------------------------------------------------------------------- */

/* A request's head is complete; its response is about to be; the exchange is over. */
void burble__server_count_begin(burble_server *server);
void burble__server_count_request(const struct burble__exchange *exchange);
void burble__server_count_end(burble_server *server, const struct burble__exchange *exchange);

/* A response begins: no request follows it if the server closes. */
void burble__server_look_at_drain(struct burble__exchange *exchange);

/* Whether what is behind the server can be reached: that is the finder's answer. */
bool burble__server_is_connected(const burble_server *server);

/* What is missing before a request can be answered, as the finder says: a text for a person; NULL: nothing. */
const char *burble__server_missing(const burble_server *server);

/* Whether all the models that it waits for were added, and there is one. */
bool burble__server_has_models(burble_server *server);

int burble__server_write_metrics(burble_server *server, struct burble__buffer *out);

/* ---- for loops ------------------------------------------------------------------------------------------- */

/* Called every second by the first loop, and more often during a drain. */
void burble__server_watch_drain(burble_server *server);

/* A loop's thread ends. */
void burble__server_loop_ended(burble_server *server);

#endif
