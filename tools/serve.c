/* SPDX-License-Identifier: MIT
 *
 * `burble serve`: serves models over HTTP. This thread loads the models while the server listens, then waits for
 * signals; the server and the engines have threads of their own.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <burble/clock.h>

#include "command.h"
#include "daemon.h"
#include "notify.h"
#include "quantity.h"
#include "serve_keys.h"
#include "serve_log.h"
#include "serve_options.h"
#include "serve_relay.h"
#include "signals.h"

#define MS(n) ((uint64_t)(n) * 1000000)

/* How often the end of a drain is looked for. */
enum { DRAIN_STEP = 50 }; /* ms */

struct serve {
    struct daemon daemon;
    const struct serve_options *options;
    burble_server *server;
    burble_relay *relay; /* NULL without --redis */
    char url[128];
};

/* ---- keys ---------------------------------------------------------------------------------------------------------- */

static const char open_to_all_text[] =
    "%s: every user of this machine can read the keys; forbid it by chmod o= on the file";

/* SIGHUP: the keys that were there stay where the file cannot be read, or has an error. */
static void reload_keys(struct serve *serve)
{
    const char *const path = serve->options->key_file;
    struct serve_keys keys;
    burble_error error;
    bool open_to_all;
    serve->daemon.reload = false;
    if (path == NULL) {
        log_say(&serve->daemon.log, LOG_INFO, "SIGHUP: there is no file of API keys to read again");
        return;
    }
    notify_reloading();
    int result = serve_keys_read(path, &keys, &open_to_all, &error);
    if (result == BURBLE_OK && open_to_all)
        log_say(&serve->daemon.log, LOG_WARNING, open_to_all_text, path);
    if (result == BURBLE_OK) {
        result = burble_server_set_keys(serve->server, keys.list, keys.n);
        if (result == BURBLE_OK)
            log_say(&serve->daemon.log, LOG_INFO, "SIGHUP: read %zu API keys from %s", keys.n,
                    path);
        else
            snprintf(error.message, sizeof error.message, "%s", burble_result_text(result));
        serve_keys_free(&keys);
    }
    if (result != BURBLE_OK)
        log_say(&serve->daemon.log, LOG_ERROR, "SIGHUP: the API keys stay as they were: %s",
                error.message);
    notify("READY=1");
}

/* ---- listening ------------------------------------------------------------------------------------------------------- */

/* The address of a passed socket, as --host would have it. */
static void name_socket(int descriptor, char *host, size_t size)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t len = sizeof address;
    host[0] = '\0';
    if (getsockname(descriptor, &address.any, &len) != 0)
        return;
    if (address.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &address.v4.sin_addr, host, (socklen_t)size);
    else if (address.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &address.v6.sin6_addr, host, (socklen_t)size);
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0
           || strcmp(host, "localhost") == 0;
}

/* An address that a browser on this machine can use. */
static void make_url(struct serve *serve, const char *host)
{
    const char *const shown = strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1"
                              : strcmp(host, "::") == 0    ? "::1"
                                                           : host;
    const bool v6 = strchr(shown, ':') != NULL;
    snprintf(serve->url, sizeof serve->url, "http://%s%s%s:%u", v6 ? "[" : "", shown, v6 ? "]" : "",
             (unsigned)burble_server_port(serve->server));
}

static int complain_of_start(const struct serve_options *options, int result, int reason,
                             const burble_error *error)
{
    const char *const host = options->server.host;
    const unsigned port = options->server.port;
    if (result == BURBLE_ESYSTEM && reason == EADDRINUSE) {
        return complain("cannot listen on %s, port %u: another program has this port (ss -ltnp "
                        "shows which); choose another one with --port, or 0 for any free one",
                        host, port);
    }
    if (result == BURBLE_ESYSTEM && reason == EACCES) {
        return complain("cannot listen on %s, port %u: ports below 1024 need a privilege; choose "
                        "another one with --port, and put a proxy in front",
                        host, port);
    }
    if (result == BURBLE_ESYSTEM && reason == EADDRNOTAVAIL)
        return complain("cannot listen on %s: this machine does not have this address", host);
    return complain("%s", error->message[0] != '\0' ? error->message : burble_result_text(result));
}

/* What `--host` and the keys leave open. */
static void warn_of_strangers(struct serve *serve, const char *host)
{
    if (!is_loopback(host) && serve->options->key_file == NULL) {
        log_say(&serve->daemon.log, LOG_WARNING,
                "no --api-key-file: all who can reach %s may use the models", host);
    }
}

static int start_server(struct serve *serve, int descriptor, const struct serve_keys *keys)
{
    char host[INET6_ADDRSTRLEN];
    burble_error error = {.message = ""};
    burble_server_options options = serve->options->server;
    options.keys = keys->list;
    options.n_keys = keys->n;
    options.listen_fd = descriptor;
    options.log = log_request;
    options.log_arg = &serve->daemon.log;
    if (serve->options->n_models > 0) /* with --redis: the first one that a worker has */
        options.expected_models = (uint32_t)serve->options->n_models;
    if (!serve->options->drain_delay_given && isatty(STDERR_FILENO) == 1)
        options.drain_delay = 0; /* no proxy has to see /ready first */
    if (descriptor >= 0)
        name_socket(descriptor, host, sizeof host);
    int result = burble_server_create(&options, &serve->server, &error);
    if (result == BURBLE_OK && serve->options->relay.url != NULL
        && serve_relay_open(serve->options, &serve->daemon.log, serve->server, &serve->relay)
               != EXIT_DONE)
        return EXIT_ERROR;
    if (result == BURBLE_OK) {
        errno = 0;
        result = burble_server_start(serve->server, &error);
    }
    if (result != BURBLE_OK)
        return complain_of_start(serve->options, result, errno, &error);
    make_url(serve, descriptor >= 0 ? host : options.host);
    log_say(&serve->daemon.log, LOG_INFO, "listening on %s", serve->url);
    warn_of_strangers(serve, descriptor >= 0 ? host : options.host);
    return EXIT_DONE;
}

/* ---- what to do with it ------------------------------------------------------------------------------------------------ */

static int add_model(void *arg, const burble_serve_model *model, burble_error *error)
{
    const struct serve *serve = arg;
    return burble_server_add_model(serve->server, model, error);
}

static void put_models(struct bytes *text, const struct serve *serve)
{
    if (serve->relay != NULL) {
        char place[SERVE_RELAY_PLACE];
        bytes_print(text, "  models   of the workers at %s; /v1/models lists them\n",
                    serve_relay_place(serve->options->relay.url, place));
    }
    for (size_t i = 0; i < serve->daemon.n_models; i++) {
        const struct serve_model *model = &serve->daemon.models[i];
        bytes_print(text, "  %-8s %s: %" PRIu32 " slots of %" PRIu32 " tokens%s\n",
                    i == 0 ? "models" : "", model->name, serve->options->engine.slots,
                    model->backend.context,
                    model->backend.chat ? "" : "; no chat template: it continues text");
    }
}

/* A line for a shell. A name with a ' in it is left for the reader to quote. */
static void put_curl(struct bytes *text, const struct serve *serve)
{
    const struct serve_model *const model = &serve->daemon.models[0];
    const bool chat = model->backend.chat;
    bytes_print(text, "\n  curl -N %s/v1/%s \\\n", serve->url,
                chat ? "chat/completions" : "completions");
    if (serve->options->key_file != NULL)
        bytes_print(text, "      -H \"Authorization: Bearer $KEY\" \\\n");
    bytes_print(text, "      -H 'Content-Type: application/json' -d '{\"model\": ");
    bytes_put_json(text, model->name, strlen(model->name));
    bytes_print(text, ", \"stream\": true, %s}'\n",
                chat ? "\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]"
                     : "\"max_tokens\": 100, \"prompt\": \"ROMEO:\"");
}

static void say_ready(struct serve *serve)
{
    char state[sizeof serve->url + 32];
    struct bytes text = {0};
    bytes_print(&text, "\n");
    if (serve->options->server.page)
        bytes_print(&text, "  page     %s/\n", serve->url);
    bytes_print(&text, "  API      %s/v1, as OpenAI's; figures: %s/metrics\n", serve->url,
                serve->url);
    put_models(&text, serve);
    if (serve->daemon.n_models > 0)
        put_curl(&text, serve);
    bytes_print(&text, "\n");
    bytes_put(&text, "", 1);
    log_say(&serve->daemon.log, LOG_INFO, "ready");
    if (!text.failed)
        log_banner(&serve->daemon.log, text.data);
    bytes_free(&text);
    snprintf(state, sizeof state, "READY=1\nSTATUS=%s", serve->url);
    notify(state);
}

/* ---- the end ------------------------------------------------------------------------------------------------------------- */

/* Lets the answers end. The exit status. */
static int drain(struct serve *serve)
{
    char grace[QUANTITY_TEXT];
    burble_server_stats stats;
    int result = EXIT_DONE;
    notify("STOPPING=1");
    signals_again();
    burble_server_stats_now(serve->server, &stats);
    burble_server_drain(serve->server, serve->options->grace); /* what the line says, is so */
    log_say(&serve->daemon.log, LOG_INFO,
            "%s: draining; %" PRIu64 " answers may go on for %s; a second signal ends them",
            daemon_signal_name(serve->daemon.signal), stats.running,
            time_text(serve->options->grace, grace));
    serve->daemon.signal = 0;
    while (burble_server_wait(serve->server, burble_now() + MS(DRAIN_STEP)) == BURBLE_ETIMEDOUT) {
        daemon_take_signals(&serve->daemon);
        if (serve->daemon.watchdog != 0)
            notify("WATCHDOG=1");
        if (serve->daemon.signal != 0 && result == EXIT_DONE) {
            burble_server_stats_now(serve->server, &stats);
            result = 128 + serve->daemon.signal;
            log_say(&serve->daemon.log, LOG_WARNING, "%s: ending %" PRIu64 " answers",
                    daemon_signal_name(serve->daemon.signal), stats.running);
            burble_server_drain(serve->server, 0);
        }
    }
    log_say(&serve->daemon.log, LOG_INFO, "stopped");
    return result;
}

/* With the server listening, until it has stopped. */
static int run(struct serve *serve)
{
    int result = daemon_load_models(&serve->daemon, add_model, serve);
    if (result == EXIT_DONE)
        result = daemon_interrupted(&serve->daemon, "the server");
    if (result != EXIT_DONE)
        return result;
    say_ready(serve);
    for (;;) {
        if (serve->daemon.reload)
            reload_keys(serve);
        if (serve->daemon.signal != 0)
            return drain(serve);
        daemon_wait(&serve->daemon);
    }
}

static int with_daemon(struct serve *serve, int descriptor, const struct serve_keys *keys,
                       bool open_to_all)
{
    if (open_to_all)
        log_say(&serve->daemon.log, LOG_WARNING, open_to_all_text, serve->options->key_file);
    int result = start_server(serve, descriptor, keys);
    if (result == EXIT_DONE)
        result = run(serve);
    burble_server_destroy(&serve->server);
    serve_relay_close(&serve->relay);
    return result;
}

static int serve_all(const struct serve_options *options)
{
    struct serve_keys keys = {0};
    burble_error error;
    bool open_to_all = false;
    int descriptor = -1;
    struct serve serve = {.options = options};
    int result = notify_socket(&descriptor);
    if (result == EXIT_DONE)
        result = daemon_check_models(options);
    if (result == EXIT_DONE && options->key_file != NULL
        && serve_keys_read(options->key_file, &keys, &open_to_all, &error) != BURBLE_OK)
        result = complain("%s", error.message);
    if (result == EXIT_DONE)
        result = daemon_open(&serve.daemon, options);
    if (result == EXIT_DONE) {
        result = with_daemon(&serve, descriptor, &keys, open_to_all);
        daemon_close(&serve.daemon);
    }
    serve_keys_free(&keys);
    return result;
}

int serve_main(int argc, char **argv)
{
    struct serve_options options;
    int result = read_serve_options(argc, argv, SERVE_VERB_SERVE, &options);
    if (result == EXIT_DONE) {
        result = options.help      ? print_serve_help(SERVE_VERB_SERVE)
                 : options.version ? print_version()
                                   : serve_all(&options);
    }
    free_serve_options(&options);
    return result;
}
