/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <burble/clock.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/fork.h"
#include "base/reserved.h"
#include "base/thread.h"
#include "serve/connection.h"
#include "serve/exchange.h"
#include "serve/hosts.h"
#include "serve/keys.h"
#include "serve/listen.h"
#include "serve/models.h"
#include "serve/registry.h"
#include "serve/routes.h"

/* Descriptors that are left to the rest of the process. */
#define OTHER_DESCRIPTORS 64

/* The most descriptors whose sockets are noted for a forked child. */
#define MAX_NOTED ((size_t)1 << 20)

/* How long, in ns, clients have to take the last events of answers that failed at the end of a drain. */
#define LAST_WORDS UINT64_C(1000000000)

/* Connections of one key. */
struct burble__per_key {
    uint64_t key;
    uint32_t n;
};

/* ---- options ------------------------------------------------------------------------------------------- */

static char *copy_string(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = burble__malloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

static void free_list(const char *const *list, size_t n)
{
    for (size_t i = 0; list != NULL && i < n; i++)
        burble__free((char *)list[i]);
    burble__free((void *)list);
}

static void free_options(burble_server_options *options)
{
    free_list(options->origins, options->n_origins);
    free_list(options->allowed_hosts, options->n_allowed_hosts);
    burble__free((char *)options->host);
}

/* Copies `n` strings. What was copied is *to's also if memory runs out. */
static int copy_list(const char *const *list, size_t n, const char *const **to)
{
    *to = NULL;
    if (n == 0)
        return BURBLE_OK;
    char **copies = (char **)burble__calloc(n, sizeof *copies);
    if (copies == NULL)
        return BURBLE_ENOMEM;
    *to = (const char *const *)copies;
    for (size_t i = 0; i < n; i++)
        if ((copies[i] = copy_string(list[i])) == NULL)
            return BURBLE_ENOMEM;
    return BURBLE_OK;
}

/* Copies the strings; the keys go to the set of keys. */
static int copy_options(burble_server_options *to, const burble_server_options *from)
{
    *to = *from;
    to->keys = NULL;
    to->n_keys = 0;
    to->origins = NULL;
    to->allowed_hosts = NULL;
    to->host = from->host == NULL ? NULL : copy_string(from->host);
    if (from->host != NULL && to->host == NULL)
        return BURBLE_ENOMEM;
    const int result = copy_list(from->origins, from->n_origins, &to->origins);
    return result == BURBLE_OK
               ? copy_list(from->allowed_hosts, from->n_allowed_hosts, &to->allowed_hosts)
               : result;
}

static void forget_own_hosts(burble_server *server)
{
    while (server->n_own_hosts > 0)
        burble__free(server->own_hosts[--server->n_own_hosts]);
}

/* ---- creating ------------------------------------------------------------------------------------------ */

static void free_server(burble_server *server)
{
    for (unsigned i = 0; i < server->n_loops; i++)
        burble__loop_destroy(&server->loops[i]);
    burble__workers_finish(&server->workers);
    burble__registry_destroy(&server->registry);
    burble__models_destroy(&server->models);
    burble__keys_destroy(&server->keys);
    free_options(&server->options);
    forget_own_hosts(server);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    burble__free(server->per_key);
    burble__free((void *)server->sockets);
    burble__free(server->loops);
    burble__free(server->metrics);
    pthread_cond_destroy(&server->stopped);
    pthread_mutex_destroy(&server->lock);
    burble__free(server);
}

static int make_parts(burble_server *server, const burble_server_options *options,
                      burble_error *error)
{
    const struct burble__registry_options registry = {
        .retain = options->retain,
        .resume_time = options->resume_time,
        .max_answer = options->max_answer,
    };
    server->loops = burble__calloc(options->loops, sizeof *server->loops);
    server->metrics = burble__calloc(options->loops, sizeof *server->metrics);
    if (server->loops == NULL || server->metrics == NULL
        || copy_options(&server->options, options) != BURBLE_OK
        || burble__workers_init(&server->workers, options->backend_threads) != BURBLE_OK
        || burble__models_create(&server->models) != BURBLE_OK
        || burble__registry_create(&registry, &server->registry) != BURBLE_OK)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < options->loops; i++)
        burble__metrics_init(&server->metrics[i]);
    const int result = burble__keys_create(&server->keys);
    if (result != BURBLE_OK)
        return burble__error_set(error, result, "cannot make the set of API keys");
    return burble__keys_set(server->keys, options->keys, options->n_keys, error);
}

int burble_server_create(const burble_server_options *options, burble_server **out,
                         burble_error *error)
{
    burble_server_options defaults;
    *out = NULL;
    if (options == NULL) {
        burble_server_options_init(&defaults);
        options = &defaults;
    }
    int result = burble__server_check_options(options, error);
    if (result != BURBLE_OK)
        return result;
    if (burble__fork_watch() != BURBLE_OK)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    burble_server *server = burble__calloc(1, sizeof *server);
    if (server == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    if (!burble__condition_init(&server->stopped)) {
        burble__free(server);
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    }
    pthread_mutex_init(&server->lock, NULL);
    server->listen_fd = -1;
    server->forks = burble__forks();
    burble__init(&server->state, BURBLE__SERVER_CREATED);
    burble__init(&server->started, false);
    burble__init(&server->port, 0);
    result = make_parts(server, options, error);
    if (result != BURBLE_OK) {
        free_server(server);
        return result;
    }
    *out = server;
    return BURBLE_OK;
}

static bool is_here(const burble_server *server)
{
    return server->forks == burble__forks();
}

int burble_server_add_model(burble_server *server, const burble_serve_model *model,
                            burble_error *error)
{
    if (!is_here(server))
        return burble__error_set(error, BURBLE_EINVAL, "the server belongs to a parent process");
    return burble__models_add(server->models, model, (uint64_t)time(NULL), error);
}

int burble_server_remove_model(burble_server *server, const char *name)
{
    return is_here(server) ? burble__models_remove(server->models, name) : BURBLE_EINVAL;
}

int burble_server_set_finder(burble_server *server, const burble_serve_finder *finder,
                             burble_error *error)
{
    if (!BURBLE__UNUSED(finder))
        return burble__error_set(error, BURBLE_EINVAL, "burble_serve_finder: " BURBLE__RESERVED);
    if (finder->find == NULL || finder->cancelled == NULL || finder->left == NULL)
        return burble__error_set(error, BURBLE_EINVAL,
                                 "find, cancelled, left: expected functions, found NULL");
    if (!is_here(server) || burble__server_state(server) != BURBLE__SERVER_CREATED
        || server->n_loops > 0 || server->finder.find != NULL)
        return burble__error_set(error, BURBLE_EINVAL,
                                 "the server was started before, or has a finder");
    server->finder = *finder;
    burble__keys_share_identities(server->keys);
    return BURBLE_OK;
}

int burble_server_set_keys(burble_server *server, const char *const *keys, size_t n)
{
    return is_here(server) ? burble__keys_set(server->keys, keys, n, NULL) : BURBLE_OK;
}

/* ---- hosts and limits ---------------------------------------------------------------------------------- */

/* The hosts that requests to a loopback address may be for. */
static int note_own_hosts(burble_server *server)
{
    const char *host = server->options.host;
    const char *const known[BURBLE__OWN_HOSTS] = {"localhost", "127.0.0.1", "[::1]", host};
    forget_own_hosts(server); /* of a start that failed */
    for (size_t i = 0; i < BURBLE__OWN_HOSTS && known[i] != NULL; i++) {
        const bool is_ipv6 = known[i] == host && strchr(host, ':') != NULL;
        const size_t size = strlen(known[i]) + sizeof "[]";
        char *copy = burble__malloc(size);
        if (copy == NULL)
            return BURBLE_ENOMEM;
        snprintf(copy, size, is_ipv6 ? "[%s]" : "%s", known[i]);
        server->own_hosts[server->n_own_hosts++] = copy;
    }
    return BURBLE_OK;
}

/* What the address is that it listens on. */
static int note_address(burble_server *server, burble_error *error)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof address;
    if (server->listen_fd < 0
        || getsockname(server->listen_fd, (struct sockaddr *)&address, &len) != 0)
        return BURBLE_OK;
    if (address.ss_family == AF_INET)
        burble__store_relaxed(
            &server->port, ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port));
    else if (address.ss_family == AF_INET6)
        burble__store_relaxed(
            &server->port, ntohs(((const struct sockaddr_in6 *)(const void *)&address)->sin6_port));
    if (burble__is_loopback((const struct sockaddr *)&address)
        && note_own_hosts(server) != BURBLE_OK) {
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    }
    return BURBLE_OK;
}

bool burble__server_is_host(const burble_server *server, const char *host)
{
    const burble_server_options *options = &server->options;
    if (options->n_allowed_hosts > 0)
        return burble__hosts_have(options->allowed_hosts, options->n_allowed_hosts, host);
    return server->n_own_hosts == 0 || burble__keys_exist(server->keys)
           || burble__hosts_have((const char *const *)server->own_hosts, server->n_own_hosts, host);
}

/* As many connections as there can be descriptors. */
static int note_limits(burble_server *server, burble_error *error)
{
    struct rlimit limit = {.rlim_cur = 1024};
    getrlimit(RLIMIT_NOFILE, &limit);
    const size_t most = limit.rlim_cur < MAX_NOTED ? (size_t)limit.rlim_cur : MAX_NOTED;
    server->max_connections = server->options.max_connections;
    if (most <= OTHER_DESCRIPTORS)
        server->max_connections = 1;
    else if (server->max_connections > most - OTHER_DESCRIPTORS)
        server->max_connections = (uint32_t)(most - OTHER_DESCRIPTORS);
    server->n_sockets = (most + 63) / 64 * 64;
    burble__free((void *)server->sockets); /* of a start that has failed */
    server->sockets = burble__calloc(server->n_sockets / 64, sizeof *server->sockets);
    if (server->sockets == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    return BURBLE_OK;
}

/* ---- starting and stopping ----------------------------------------------------------------------------- */

static int start_loops(burble_server *server, burble_error *error)
{
    for (unsigned i = 0; i < server->options.loops; i++) {
        const int result =
            burble__loop_create(&server->loops[i], server, i, server->listen_fd, error);
        if (result != BURBLE_OK) {
            const int reason = errno;
            burble__loop_destroy(&server->loops[i]); /* nobody may wake it */
            errno = reason;
            return result;
        }
        server->n_loops = i + 1;
    }
    pthread_mutex_lock(&server->lock);
    server->live = server->n_loops;
    pthread_mutex_unlock(&server->lock);
    /* From now on, other threads may use the loops. */
    int created = BURBLE__SERVER_CREATED;
    burble__cas_acq_rel(&server->state, &created, BURBLE__SERVER_RUNNING);
    /* The loops have duplicates, and a listening socket is closed with its last descriptor. */
    close(server->listen_fd);
    server->listen_fd = -1;
    int result = burble__workers_start(&server->workers, error);
    for (unsigned i = 0; i < server->n_loops; i++) {
        if (result == BURBLE_OK)
            result = burble__loop_start(&server->loops[i], error);
        if (result != BURBLE_OK)
            burble__server_loop_ended(server);
    }
    return result;
}

static void join_threads(burble_server *server)
{
    for (unsigned i = 0; i < server->n_loops; i++)
        if (server->loops[i].started) {
            pthread_join(server->loops[i].thread, NULL);
            server->loops[i].started = false;
        }
    burble__workers_stop(&server->workers); /* the loops have waited for their works */
}

static int start(burble_server *server, burble_error *error)
{
    int result = burble__listen(&server->options, &server->listen_fd, error);
    if (result == BURBLE_OK)
        result = note_limits(server, error);
    if (result == BURBLE_OK)
        result = note_address(server, error);
    if (result != BURBLE_OK)
        return result;
    result = start_loops(server, error);
    if (result != BURBLE_OK) {
        const int reason = errno;
        burble__server_move(server, BURBLE__SERVER_STOPPING);
        join_threads(server);
        errno = reason;
    }
    return result;
}

int burble_server_start(burble_server *server, burble_error *error)
{
    bool started = false;
    if (!is_here(server) || !burble__cas_acq_rel(&server->started, &started, true))
        return burble__error_set(error, BURBLE_EINVAL, "the server was started before");
    const int result = start(server, error);
    if (result != BURBLE_OK && server->n_loops == 0)
        burble__store_release(&server->started, false); /* such as for another port */
    return result;
}

uint16_t burble_server_port(const burble_server *server)
{
    return burble__load_relaxed(&server->port);
}

void burble__server_move(burble_server *server, enum burble__state to)
{
    int now = burble__load_acquire(&server->state);
    while (now < (int)to && !burble__cas_weak_acq_rel(&server->state, &now, (int)to))
        ;
    for (unsigned i = 0; i < server->n_loops; i++)
        burble__loop_wake(&server->loops[i]);
}

void burble__server_loop_ended(burble_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->live--;
    if (server->live == 0) {
        burble__store_release(&server->state, BURBLE__SERVER_STOPPED);
        pthread_cond_broadcast(&server->stopped);
    }
    pthread_mutex_unlock(&server->lock);
}

static uint64_t later(uint64_t now, uint64_t by)
{
    return by > UINT64_MAX - now ? UINT64_MAX : now + by;
}

void burble_server_drain(burble_server *server, uint64_t grace)
{
    if (!is_here(server))
        return;
    const enum burble__state state = burble__server_state(server);
    if (state == BURBLE__SERVER_CREATED)
        return;
    if (state >= BURBLE__SERVER_DRAINING) {
        burble__server_move(server, BURBLE__SERVER_STOPPING);
        return;
    }
    const uint64_t now = burble_now();
    burble__store_relaxed(&server->drain_at, later(now, server->options.drain_delay));
    burble__store_relaxed(&server->grace_at, later(now, grace));
    burble__server_move(server, BURBLE__SERVER_DRAINING);
}

static bool is_idle(burble_server *server)
{
    struct burble__registry_stats stats;
    burble__registry_stats(server->registry, &stats);
    return stats.running == 0 && burble__load_relaxed(&server->busy) == 0;
}

void burble__server_watch_drain(burble_server *server)
{
    const enum burble__state state = burble__server_state(server);
    const uint64_t now = burble_now();
    const uint64_t grace_at = burble__load_relaxed(&server->grace_at);
    if (state == BURBLE__SERVER_DRAINING
        && (now >= burble__load_relaxed(&server->drain_at) || now >= grace_at))
        burble__server_move(server, BURBLE__SERVER_CLOSING);
    if (burble__server_state(server) != BURBLE__SERVER_CLOSING)
        return;
    if (now >= grace_at)
        burble__registry_fail_all(server->registry, BURBLE_ECLOSED, "the server is shutting down",
                                  now);
    if (is_idle(server) || (now >= grace_at && now - grace_at >= LAST_WORDS))
        burble__server_move(server, BURBLE__SERVER_STOPPING);
}

int burble_server_wait(burble_server *server, uint64_t deadline)
{
    if (!is_here(server) || burble__server_state(server) == BURBLE__SERVER_CREATED)
        return BURBLE_OK;
    int result = 0;
    pthread_mutex_lock(&server->lock);
    while (server->live > 0 && result != ETIMEDOUT)
        result = burble__condition_wait(&server->stopped, &server->lock, deadline);
    const bool stopped = server->live == 0;
    pthread_mutex_unlock(&server->lock);
    return stopped ? BURBLE_OK : BURBLE_ETIMEDOUT;
}

/* In a forked child: nothing but descriptors is touched, since threads of the parent may have changed the rest. */
static void close_copies(burble_server *server)
{
    for (size_t i = 0; i < server->n_sockets / 64; i++) {
        const uint64_t bits = burble__load_relaxed(&server->sockets[i]);
        for (unsigned j = 0; j < 64; j++)
            if (bits >> j & 1)
                close((int)(i * 64 + j));
    }
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    for (unsigned i = 0; i < server->n_loops; i++) {
        struct burble__loop *loop = &server->loops[i];
        burble_hub_destroy(&loop->hub);
        if (loop->created)
            close(uv_backend_fd(&loop->uv));
        if (loop->listen_fd >= 0)
            close(loop->listen_fd);
        if (loop->spare_fd >= 0)
            close(loop->spare_fd);
    }
}

void burble_server_destroy(burble_server **server)
{
    if (server == NULL || *server == NULL)
        return;
    burble_server *gone = *server;
    *server = NULL;
    if (!is_here(gone)) {
        close_copies(gone);
        return;
    }
    if (gone->finder.closed != NULL)
        gone->finder.closed(gone->finder.arg);
    burble__server_move(gone, BURBLE__SERVER_STOPPING);
    join_threads(gone);
    free_server(gone);
}

/* ---- bounds -------------------------------------------------------------------------------------------- */

bool burble__server_charge(burble_server *server, size_t bytes)
{
    return burble__add_relaxed(&server->bodies, bytes) + bytes <= server->options.max_bodies;
}

void burble__server_uncharge(burble_server *server, size_t bytes)
{
    burble__add_relaxed(&server->bodies, UINT64_MAX - bytes + 1);
}

static void note_socket(burble_server *server, int socket, bool open)
{
    const size_t at = (size_t)socket;
    if (at >= server->n_sockets)
        return;
    const uint64_t bit = (uint64_t)1 << at % 64;
    /* Each bit is changed by the one thread that has the socket, so adding sets it and takes it off. */
    burble__add_relaxed(&server->sockets[at / 64], open ? bit : UINT64_MAX - bit + 1);
}

bool burble__server_admit(burble_server *server, int socket)
{
    if (burble__add_relaxed(&server->open, 1) >= server->max_connections) {
        burble__add_relaxed(&server->open, UINT32_MAX);
        return false;
    }
    note_socket(server, socket, true);
    return true;
}

void burble__server_forget_socket(burble_server *server, int socket)
{
    note_socket(server, socket, false);
}

static struct burble__per_key *find_key(burble_server *server, uint64_t key)
{
    for (size_t i = 0; i < server->n_per_key; i++)
        if (server->per_key[i].key == key)
            return &server->per_key[i];
    return NULL;
}

static struct burble__per_key *add_key(burble_server *server, uint64_t key)
{
    if (server->n_per_key == server->room_per_key) {
        const size_t room = server->room_per_key == 0 ? 8 : 2 * server->room_per_key;
        struct burble__per_key *more =
            burble__realloc(server->per_key, room * sizeof *server->per_key);
        if (more == NULL)
            return NULL;
        server->per_key = more;
        server->room_per_key = room;
    }
    server->per_key[server->n_per_key] = (struct burble__per_key){.key = key};
    return &server->per_key[server->n_per_key++];
}

static void leave_key(burble_server *server, uint64_t key)
{
    struct burble__per_key *entry = find_key(server, key);
    if (entry != NULL && --entry->n == 0)
        *entry = server->per_key[--server->n_per_key];
}

static bool counts(const burble_server *server, uint64_t key)
{
    return server->options.max_connections_key > 0 && key != 0 && key != BURBLE__NO_KEY;
}

bool burble__server_enter(burble_server *server, struct burble__connection *connection,
                          uint64_t key)
{
    if (!counts(server, key) || connection->key == key)
        return true;
    pthread_mutex_lock(&server->lock);
    struct burble__per_key *entry = find_key(server, key);
    if (entry == NULL)
        entry = add_key(server, key);
    const bool fits = entry != NULL && entry->n < server->options.max_connections_key;
    if (fits) {
        entry->n++;
        if (counts(server, connection->key))
            leave_key(server, connection->key);
        connection->key = key;
    } else if (entry != NULL && entry->n == 0) {
        server->n_per_key--;
    }
    pthread_mutex_unlock(&server->lock);
    return fits;
}

void burble__server_leave(burble_server *server, uint64_t key)
{
    burble__add_relaxed(&server->open, UINT32_MAX);
    if (!counts(server, key))
        return;
    pthread_mutex_lock(&server->lock);
    leave_key(server, key);
    pthread_mutex_unlock(&server->lock);
}

/* ---- exchanges ----------------------------------------------------------------------------------------- */

void burble__server_count_begin(burble_server *server)
{
    burble__add_relaxed(&server->busy, 1);
}

void burble__server_count_request(const struct burble__exchange *exchange)
{
    burble__metrics_request(burble__loop_metrics(exchange->loop), burble__route_metric(exchange),
                            exchange->status == 0 ? 499 : exchange->status);
}

void burble__server_count_end(burble_server *server, const struct burble__exchange *exchange)
{
    burble__add_relaxed(&server->busy, UINT32_MAX);
    burble__metrics_count(burble__loop_metrics(exchange->loop), BURBLE__COUNT_SENT, exchange->sent);
    burble__metrics_count(burble__loop_metrics(exchange->loop), BURBLE__COUNT_RECEIVED,
                          exchange->body_seen);
}

void burble__server_look_at_drain(struct burble__exchange *exchange)
{
    if (burble__server_state(exchange->loop->server) >= BURBLE__SERVER_CLOSING)
        exchange->keep_alive = false;
}

/* ---- counts -------------------------------------------------------------------------------------------- */

static size_t all_metrics(const burble_server *server, struct burble__metrics **all)
{
    for (uint32_t i = 0; i < server->options.loops; i++)
        all[i] = &server->metrics[i];
    return server->options.loops;
}

bool burble__server_is_connected(const burble_server *server)
{
    return server->finder.ready == NULL || server->finder.ready(server->finder.arg);
}

const char *burble__server_missing(const burble_server *server)
{
    return server->finder.missing == NULL ? NULL : server->finder.missing(server->finder.arg);
}

bool burble__server_has_models(burble_server *server)
{
    return burble__models_count(server->models) > 0
           && burble__models_added(server->models) >= server->options.expected_models;
}

static void put_text(void *to, const char *text, size_t len)
{
    burble__put_bytes(to, text, len);
}

int burble__server_write_metrics(burble_server *server, struct burble__buffer *out)
{
    struct burble__metrics *all[BURBLE__MAX_LOOPS];
    struct burble__registry_stats stats;
    const size_t n = all_metrics(server, all);
    const int result = burble__models_ask_loads(server->models, &server->workers);
    if (result != BURBLE_OK)
        return result;
    burble__registry_stats(server->registry, &stats);
    burble__metrics_set(all[0], BURBLE__GAUGE_CONNECTIONS, burble__load_relaxed(&server->open));
    burble__metrics_set(all[0], BURBLE__GAUGE_BODY_BYTES, burble__load_relaxed(&server->bodies));
    burble__metrics_set(all[0], BURBLE__GAUGE_ANSWERS, stats.running);
    burble__metrics_set(all[0], BURBLE__GAUGE_RETAINED, stats.bytes);
    burble__metrics_set(
        all[0], BURBLE__GAUGE_READY,
        burble__server_state(server) == BURBLE__SERVER_RUNNING && burble__server_has_models(server)
            && burble__server_is_connected(server) && burble__server_missing(server) == NULL);
    struct burble__output more = {out, burble__metrics_write(all, n, server->models, out)};
    if (server->finder.metrics != NULL)
        server->finder.metrics(server->finder.arg, put_text, &more);
    return more.result;
}

static uint64_t count_requests(const burble_server *server)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < server->options.loops; i++)
        for (size_t route = 0; route < BURBLE__N_ROUTES; route++)
            for (size_t status = 0; status < BURBLE__N_STATUSES; status++)
                n += burble__load_relaxed(&server->metrics[i].requests[route][status]);
    return n;
}

void burble_server_stats_now(const burble_server *server, burble_server_stats *stats)
{
    struct burble__metrics *all[BURBLE__MAX_LOOPS];
    struct burble__registry_stats registry;
    const size_t n = all_metrics(server, all);
    *stats = (burble_server_stats){.connections = 0};
    if (!is_here(server))
        return;
    burble__registry_stats(server->registry, &registry);
    stats->connections = burble__load_relaxed(&server->open);
    stats->accepted = burble__metrics_counter(all, n, BURBLE__COUNT_ACCEPTED);
    stats->refused = burble__metrics_counter(all, n, BURBLE__COUNT_REFUSED);
    stats->requests = count_requests(server);
    stats->running = registry.running;
    stats->streaming = burble__metrics_gauge(all, n, BURBLE__GAUGE_STREAMING);
    stats->queued_bytes = burble__metrics_gauge(all, n, BURBLE__GAUGE_QUEUED_BYTES);
    stats->retained = registry.bytes;
    stats->resumed = burble__metrics_counter(all, n, BURBLE__COUNT_RESUMED);
    stats->stalled = burble__metrics_counter(all, n, BURBLE__COUNT_STALLED);
}
