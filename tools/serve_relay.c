/* SPDX-License-Identifier: MIT */
#include "serve_relay.h"

#include <stdio.h>
#include <string.h>

const char *serve_relay_place(const char *url, char place[SERVE_RELAY_PLACE])
{
    const char *const scheme = strstr(url, "://");
    const char *rest = scheme == NULL ? url : scheme + 3;
    const char *const at = strrchr(rest, '@');
    const size_t len = (size_t)(rest - url);
    if (at != NULL)
        rest = at + 1;
    snprintf(place, SERVE_RELAY_PLACE, "%.*s%s", (int)len, url, rest);
    return place;
}

int serve_relay_complain(const struct serve_options *options, struct serve_log *log, int result,
                         const burble_error *error)
{
    char place[SERVE_RELAY_PLACE];
    log_say(log, LOG_ERROR, "%s: %s", serve_relay_place(options->relay.url, place),
            error->message[0] != '\0' ? error->message : burble_result_text(result));
    return EXIT_ERROR;
}

static void say(const char *line, void *arg)
{
    log_say(arg, LOG_INFO, "%s", line);
}

int serve_relay_create(const struct serve_options *options, struct serve_log *log,
                       burble_relay **out)
{
    burble_error error = {.message = ""};
    burble_relay_options wanted = options->relay;
    wanted.log = say;
    wanted.log_arg = log;
    const int result = burble_relay_create(&wanted, out, &error);
    return result == BURBLE_OK ? EXIT_DONE : serve_relay_complain(options, log, result, &error);
}

int serve_relay_check(const struct serve_options *options, struct serve_log *log)
{
    burble_error error = {.message = ""};
    burble_relay *relay = NULL;
    int result = burble_relay_create(&options->relay, &relay, &error);
    if (result == BURBLE_OK)
        result = burble_relay_start(relay, &error);
    burble_relay_destroy(&relay);
    return result == BURBLE_OK ? EXIT_DONE : serve_relay_complain(options, log, result, &error);
}

int serve_relay_open(const struct serve_options *options, struct serve_log *log,
                     burble_server *server, burble_relay **out)
{
    burble_error error = {.message = ""};
    if (serve_relay_create(options, log, out) != EXIT_DONE)
        return EXIT_ERROR;
    int result = burble_relay_serve(*out, server, &error);
    if (result == BURBLE_OK)
        result = burble_relay_start(*out, &error);
    return result == BURBLE_OK ? EXIT_DONE : serve_relay_complain(options, log, result, &error);
}

void serve_relay_close(burble_relay **relay)
{
    burble_relay_destroy(relay);
}
