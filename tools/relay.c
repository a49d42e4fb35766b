/* SPDX-License-Identifier: MIT
 *
 * `burble relay status`: what a Redis knows of workers and queues, for a person in trouble.
 */
#define _POSIX_C_SOURCE 200809L

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <burble/clock.h>
#include <burble/relay.h>

#include "bytes.h"
#include "command.h"
#include "utf8.h"

static const char help[] = //
    "usage: burble relay status URL [OPTION]...\n"
    "\n"
    "Shows the workers that a Redis knows, and what waits for each model. URL is that\n"
    "of `burble serve --redis`.\n"
    "\n"
    "  --prefix=TEXT            that of --redis-prefix; default: burble\n"
    "  --json                   one JSON object\n"
    "  -h, --help               this text\n"
    "  -V, --version            the version\n"
    "\n"
    "Exit status: 0 if there is a worker whose lease is not over; 1 if there is none,\n"
    "or Redis cannot be used; 2 if the command line is wrong.\n";

struct options {
    const char *url, *prefix;
    bool json;
};

/* ---- a table ---------------------------------------------------------------------------------------------------- */

static void put_workers(struct bytes *text, const burble_relay_status *status)
{
    bytes_print(text, "%-32s  %7s  %9s  %s\n", "WORKER", "ANSWERS", "LEASE", "MODELS");
    for (size_t i = 0; i < status->n_workers; i++) {
        const burble_relay_worker *worker = &status->workers[i];
        bytes_print(text, "%-32s  %7" PRIu64 "  %7" PRId64 "ms  %s%s\n", worker->name,
                    worker->answers, worker->lease_ms, worker->models,
                    worker->lease_ms < 0 ? "  (lapsed: its answers go to others)" : "");
    }
    if (status->n_workers == 0)
        bytes_print(text, "(none: start one by burble work --redis=URL -m MODEL)\n");
}

static void put_models(struct bytes *text, const burble_relay_status *status)
{
    bytes_print(text, "\n%-32s  %7s  %9s\n", "MODEL", "WORKERS", "WAITING");
    for (size_t i = 0; i < status->n_models; i++) {
        const burble_relay_model *model = &status->models[i];
        bytes_print(text, "%-32s  %7" PRIu64 "  %9" PRIu64 "\n", model->name, model->workers,
                    model->waiting);
    }
    if (status->n_models == 0)
        bytes_print(text, "(none)\n");
}

static void put_redis(struct bytes *text, const burble_relay_status *status)
{
    bytes_print(text, "\nRedis %s, up %" PRIu64 " s, %.1f MiB used", status->redis_version,
                status->redis_uptime, (double)status->memory / (1 << 20));
    if (status->max_memory > 0)
        bytes_print(text, " of %.1f MiB", (double)status->max_memory / (1 << 20));
    bytes_print(text, "%s\n", status->max_memory > 0 ? "" : " (no maxmemory: set one)");
    if (!status->persistent)
        bytes_print(text, "No append-only file: what Redis has is lost with its process, but for "
                          "answers whose workers live.\n");
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void put_string(struct bytes *text, const char *name, const char *value)
{
    bytes_print(text, "\"%s\": ", name);
    /* (A name from another program may be anything.) */
    bytes_put_json(text, value, utf8_prefix(value, strlen(value)));
}

static void put_json(struct bytes *text, const burble_relay_status *status)
{
    bytes_print(text, "{\"workers\": [");
    for (size_t i = 0; i < status->n_workers; i++) {
        const burble_relay_worker *worker = &status->workers[i];
        bytes_print(text, i > 0 ? ", {" : "{");
        put_string(text, "name", worker->name);
        bytes_print(text, ", ");
        put_string(text, "session", worker->session);
        bytes_print(text, ", ");
        put_string(text, "models", worker->models);
        bytes_print(text,
                    ", \"answers\": %" PRIu64 ", \"lease_ms\": %" PRId64 ", \"commands\": %" PRIu64
                    "}",
                    worker->answers, worker->lease_ms, worker->commands);
    }
    bytes_print(text, "], \"models\": [");
    for (size_t i = 0; i < status->n_models; i++) {
        const burble_relay_model *model = &status->models[i];
        bytes_print(text, i > 0 ? ", {" : "{");
        put_string(text, "name", model->name);
        bytes_print(text, ", \"workers\": %" PRIu64 ", \"waiting\": %" PRIu64 "}", model->workers,
                    model->waiting);
    }
    bytes_print(text, "], \"redis\": {");
    put_string(text, "version", status->redis_version);
    bytes_print(text,
                ", \"uptime\": %" PRIu64 ", \"memory\": %" PRIu64 ", \"max_memory\": %" PRIu64
                ", \"persistent\": %s}}\n",
                status->redis_uptime, status->memory, status->max_memory,
                status->persistent ? "true" : "false");
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static bool has_living_worker(const burble_relay_status *status)
{
    for (size_t i = 0; i < status->n_workers; i++)
        if (status->workers[i].lease_ms >= 0)
            return true;
    return false;
}

static int show(const struct options *options, const burble_relay_status *status)
{
    struct bytes text = {0};
    if (options->json) {
        put_json(&text, status);
    } else {
        put_workers(&text, status);
        put_models(&text, status);
        put_redis(&text, status);
    }
    const bool written = !text.failed && write_out(text.data, text.len) && close_out();
    bytes_free(&text);
    return written && has_living_worker(status) ? EXIT_DONE : EXIT_ERROR;
}

static int ask(const struct options *options)
{
    burble_error error = {.message = ""};
    burble_relay_options wanted;
    burble_relay *relay = NULL;
    burble_relay_status *status = NULL;
    burble_relay_options_init(&wanted);
    wanted.url = options->url;
    if (options->prefix != NULL)
        wanted.prefix = options->prefix;
    int result = burble_relay_create(&wanted, &relay, &error);
    const int code = result == BURBLE_EINVAL ? EXIT_USAGE : EXIT_ERROR;
    if (result == BURBLE_OK)
        result = burble_relay_start(relay, &error);
    if (result == BURBLE_OK)
        result =
            burble_relay_status_read(relay, burble_now() + UINT64_C(10000000000), &status, &error);
    const int shown = result == BURBLE_OK
                          ? show(options, status)
                          : (complain("%s", error.message[0] != '\0' ? error.message
                                                                     : burble_result_text(result)),
                             code);
    burble_relay_status_destroy(&status);
    burble_relay_destroy(&relay);
    return shown;
}

int relay_main(int argc, char **argv)
{
    static const struct option names[] = {{"prefix", required_argument, NULL, 'p'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    struct options options = {0};
    int found;
    while ((found = getopt_long(argc, argv, "hV", names, NULL)) != -1) {
        switch (found) {
        case 'p':
            options.prefix = optarg;
            break;
        case 'j':
            options.json = true;
            break;
        case 'h':
            return print_only(help);
        case 'V':
            return print_version();
        default:
            return complain_of_usage(NULL);
        }
    }
    if (optind == argc || strcmp(argv[optind], "status") != 0)
        return optind == argc ? complain_of_usage("expected 'status', found nothing")
                              : complain_of_usage("expected 'status', found '%s'", argv[optind]);
    if (argc - optind != 2)
        return complain_of_usage("expected one URL after 'status', found %d", argc - optind - 1);
    options.url = argv[optind + 1];
    return ask(&options);
}
