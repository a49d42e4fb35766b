/* SPDX-License-Identifier: MIT
 *
 * One table has all options: getopt's are made of it, the configuration file has the same names.
 */
#define _POSIX_C_SOURCE 200809L

#include "serve_options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <burble/frame.h>

#include "command.h"
#include "llama_words.h"
#include "quantity.h"
#include "utf8.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- the table ----------------------------------------------------------------------------------------------- */

enum kind {
    MODEL,
    ORIGIN,
    HOST,
    CONFIG,
    HELP,
    VERSION,
    TEXT,
    SWITCH, /* true if it is there */
    OFF,    /* false if it is there */
    NUMBER,
    SIZE,
    TIME,
    FLASH,
    CACHE,
    LOG_FORMAT,
};

/* The value of a number, size or time is an unsigned integer of `width` bytes. */
struct serve_option {
    const char *name;
    enum kind kind;
    char letter; /* 0: none */
    size_t at, width;
    uint64_t least, most;
    unsigned verbs; /* bits; 0: all */
};

#define AT(member) offsetof(struct serve_options, member), sizeof((struct serve_options *)0)->member
#define SERVE SERVE_VERB_SERVE
#define WORK SERVE_VERB_WORK
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define MS(n) ((uint64_t)(n) * 1000000)
#define HOURS(n) ((uint64_t)(n) * 3600000 * 1000000)

static const struct serve_option table[] = {
    {"model", MODEL, 'm', 0, 0, 0, 0, 0},
    {"host", TEXT, 0, AT(server.host), 0, 0, SERVE},
    {"port", NUMBER, 0, AT(server.port), 0, 65535, SERVE},
    {"allowed-hosts", HOST, 0, 0, 0, 0, 0, SERVE},
    {"api-key-file", TEXT, 0, AT(key_file), 0, 0, SERVE},
    {"cors", ORIGIN, 0, 0, 0, 0, 0, SERVE},
    {"no-page", OFF, 0, AT(server.page), 0, 0, SERVE},
    {"config", CONFIG, 0, 0, 0, 0, 0, 0},

    {"slots", NUMBER, 0, AT(engine.slots), 1, BURBLE_LLAMA_MAX_SLOTS, 0},
    {"context", NUMBER, 0, AT(engine.context), 2, INT32_MAX, 0},
    {"queue", NUMBER, 0, AT(engine.queue), 0, 1000000, SERVE},
    {"threads", NUMBER, 0, AT(engine.threads), 1, 512, 0},
    {"prompt-threads", NUMBER, 0, AT(engine.prompt_threads), 1, 512, 0},
    {"batch", NUMBER, 0, AT(engine.batch), 1, 65536, 0},
    {"prompt-ms", NUMBER, 0, AT(engine.prompt_ms), 1, 60000, 0},
    {"flash", FLASH, 0, AT(engine.flash), 0, 0, 0},
    {"cache-k", CACHE, 0, AT(engine.cache_k), 0, 0, 0},
    {"cache-v", CACHE, 0, AT(engine.cache_v), 0, 0, 0},
    {"unified", SWITCH, 0, AT(engine.unified), 0, 0, 0},
    {"gpu-layers", NUMBER, 0, AT(gpu_layers), 0, INT32_MAX, 0},
    {"overcommit", SWITCH, 0, AT(overcommit), 0, 0, 0},

    {"redis", TEXT, 0, AT(relay.url), 0, 0, 0},
    {"redis-prefix", TEXT, 0, AT(relay.prefix), 0, 0, 0},
    {"name", TEXT, 0, AT(relay.name), 0, 0, 0},
    {"lease", TIME, 0, AT(relay.lease), MS(200), MS(60000), 0},
    {"away", TIME, 0, AT(relay.away), MS(1), HOURS(24), 0},
    {"attempts", NUMBER, 0, AT(relay.attempts), 1, 1000, 0},
    {"idle-attempts", NUMBER, 0, AT(relay.idle_attempts), 1, 1000, 0},
    {"max-pending", SIZE, 0, AT(relay.max_pending), KIB(1), GIB(1), WORK},
    {"retain", SIZE, 0, AT(relay.retain), 0, GIB(1024), WORK},
    {"stall", TIME, 0, AT(relay.stall), MS(1), HOURS(24), WORK},
    {"resume-time", TIME, 0, AT(relay.ttl), MS(1), HOURS(24 * 7), WORK},

    {"max-connections", NUMBER, 0, AT(server.max_connections), 1, 1 << 24, SERVE},
    {"max-connections-key", NUMBER, 0, AT(server.max_connections_key), 0, 1 << 24, SERVE},
    {"max-header", SIZE, 0, AT(server.max_header), 256, MIB(1), SERVE},
    {"max-body", SIZE, 0, AT(server.max_body), KIB(1), GIB(1), SERVE},
    {"max-bodies", SIZE, 0, AT(server.max_bodies), KIB(1), GIB(1024), SERVE},
    {"max-json-depth", NUMBER, 0, AT(server.max_json_depth), 4, 1024, SERVE},
    {"max-output", SIZE, 0, AT(server.max_output), 256, GIB(1), SERVE},
    {"socket-buffer", SIZE, 0, AT(server.socket_buffer), 0, MIB(64), SERVE},
    {"max-ignored", SIZE, 0, AT(server.max_ignored), 0, GIB(1), SERVE},
    {"max-answer", SIZE, 0, AT(server.max_answer), KIB(1), GIB(1), SERVE},
    {"max-lag", SIZE, 0, AT(server.max_lag), 256, GIB(1), SERVE},
    {"retain", SIZE, 0, AT(server.retain), 0, GIB(1024), SERVE},
    {"loops", NUMBER, 0, AT(server.loops), 1, 64, SERVE},
    {"backlog", NUMBER, 0, AT(server.backlog), 1, 65535, SERVE},
    {"backend-threads", NUMBER, 0, AT(server.backend_threads), 2, 1024, SERVE},

    {"header-timeout", TIME, 0, AT(server.header_timeout), MS(1), HOURS(24), SERVE},
    {"body-timeout", TIME, 0, AT(server.body_timeout), MS(1), HOURS(24), SERVE},
    {"body-rate", SIZE, 0, AT(server.body_rate), 1, GIB(16), SERVE},
    {"idle-timeout", TIME, 0, AT(server.idle_timeout), MS(1), HOURS(24), SERVE},
    {"stall-timeout", TIME, 0, AT(server.stall_timeout), MS(1), HOURS(24), SERVE},
    {"output-rate", SIZE, 0, AT(server.output_rate), 1, GIB(16), SERVE},
    {"first-timeout", TIME, 0, AT(server.first_timeout), MS(1), HOURS(24), SERVE},
    {"ping-interval", TIME, 0, AT(server.ping_interval), MS(1), HOURS(24), SERVE},
    {"resume-time", TIME, 0, AT(server.resume_time), MS(1), HOURS(24 * 7), SERVE},
    {"drain-delay", TIME, 0, AT(server.drain_delay), 0, HOURS(24), SERVE},
    {"grace", TIME, 0, AT(grace), 0, HOURS(24), 0},

    {"log-format", LOG_FORMAT, 0, AT(json_log), 0, 0, 0},
    {"log-prompts", SWITCH, 0, AT(log_prompts), 0, 0, 0},
    {"quiet", SWITCH, 'q', AT(quiet), 0, 0, 0},
    {"help", HELP, 'h', AT(help), 0, 0, 0},
    {"version", VERSION, 'V', AT(version), 0, 0, 0},
};

static bool is_of_verb(const struct serve_option *option, enum serve_verb verb)
{
    return option->verbs == 0 || (option->verbs & (unsigned)verb) != 0;
}

static bool has_value(enum kind kind)
{
    return kind != SWITCH && kind != OFF && kind != HELP && kind != VERSION;
}

/* ---- one option ---------------------------------------------------------------------------------------------- */

/* An option that is wrong: says what, and where it is. */
static int wrong(const struct serve_source *source, const char *name, const char *format, ...)
    PRINTF_LIKE(3, 4);

static int wrong(const struct serve_source *source, const char *name, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (source->file == NULL)
        return complain_of_usage("--%s: %s", name, message);
    complain("%s:%zu: %s: %s", source->file, source->line, name, message);
    return EXIT_USAGE;
}

static void set_number(struct serve_options *options, const struct serve_option *option,
                       uint64_t value)
{
    char *const at = (char *)options + option->at;
    if (option->width == sizeof(uint16_t))
        *(uint16_t *)(void *)at = (uint16_t)value;
    else if (option->width == sizeof(uint32_t))
        *(uint32_t *)(void *)at = (uint32_t)value; /* an int32_t has a range that fits */
    else
        *(uint64_t *)(void *)at = value;
}

static int take_number(struct serve_options *options, const struct serve_option *option,
                       const char *text, const struct serve_source *source)
{
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < option->least
        || number > option->most) {
        return wrong(source, option->name,
                     "expected a number from %" PRIu64 " to %" PRIu64 ", found '%s'", option->least,
                     option->most, text);
    }
    set_number(options, option, number);
    return EXIT_DONE;
}

static int take_quantity(struct serve_options *options, const struct serve_option *option,
                         const char *text, const struct serve_source *source)
{
    uint64_t value;
    const bool is_size = option->kind == SIZE;
    const bool good = is_size ? read_size(text, &value) : read_time(text, &value);
    if (!good || value < option->least || value > option->most) {
        char least[QUANTITY_TEXT], most[QUANTITY_TEXT];
        return is_size
                   ? wrong(source, option->name,
                           "expected a size from %s to %s, such as 512K or 8M, found '%s'",
                           size_text(option->least, least), size_text(option->most, most), text)
                   : wrong(source, option->name,
                           "expected a time from %s to %s, such as 500ms or 30s, found '%s'",
                           time_text(option->least, least), time_text(option->most, most), text);
    }
    set_number(options, option, value);
    return EXIT_DONE;
}

/* The switches of a configuration file may have a value. */
static int take_switch(struct serve_options *options, const struct serve_option *option,
                       const char *text, const struct serve_source *source)
{
    static const char *const words[][2] = {{"no", "yes"}, {"false", "true"}, {"off", "on"}};
    bool *const at = (bool *)(void *)((char *)options + option->at);
    bool on = text == NULL;
    bool good = on;
    for (size_t i = 0; !good && i < COUNT(words); i++) {
        for (int value = 0; value < 2; value++) {
            if (strcasecmp(text, words[i][value]) == 0) {
                good = true;
                on = value == 1;
            }
        }
    }
    if (!good)
        return wrong(source, option->name, "expected yes or no, or nothing, found '%s'", text);
    *at = option->kind == OFF ? !on : on;
    return EXIT_DONE;
}

/* NULL: no memory. */
static char *copy(const char *text, size_t len)
{
    char *const made = malloc(len + 1);
    if (made != NULL) {
        memcpy(made, text, len);
        made[len] = '\0';
    }
    return made;
}

/* The name of a model that has none is its file's, without its folder and .gguf. */
static char *name_of_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *const base = slash == NULL ? path : slash + 1;
    size_t len = strlen(base);
    if (len > 5 && strcasecmp(base + len - 5, ".gguf") == 0)
        len -= 5;
    return copy(base, len);
}

static int take_model(struct serve_options *options, const char *text,
                      const struct serve_source *source)
{
    /* A path that begins as one may have = in it; a name may have slashes. */
    const size_t len = text[strspn(text, ".")] == '/' ? strlen(text) : strcspn(text, "=");
    const bool named = text[len] == '=';
    const char *const path = named ? text + len + 1 : text;
    if (options->n_models == SERVE_MAX_MODELS)
        return wrong(source, "model", "expected at most %d models", SERVE_MAX_MODELS);
    if (path[0] == '\0' || (named && len == 0))
        return wrong(source, "model", "expected FILE or NAME=FILE, found '%s'", text);
    char *const name = named ? copy(text, len) : name_of_file(path);
    if (name == NULL)
        return complain("%s", strerror(ENOMEM));
    options->models[options->n_models++] = (struct serve_model_option){name, path};
    const size_t bytes = strlen(name);
    if (bytes > BURBLE_FRAME_MAX_NAME || utf8_prefix(name, bytes) != bytes) {
        return wrong(source, "model", "expected a name of at most %d bytes of UTF-8, found '%s'",
                     (int)BURBLE_FRAME_MAX_NAME, name);
    }
    for (size_t i = 0; i + 1 < options->n_models; i++) {
        if (strcmp(options->models[i].name, name) == 0) {
            return wrong(source, "model",
                         "there is another model with the name '%s'; give one of them another name "
                         "by NAME=FILE",
                         name);
        }
    }
    return EXIT_DONE;
}

static int take_origin(struct serve_options *options, const char *text,
                       const struct serve_source *source)
{
    const char *const host = strstr(text, "://");
    const bool any = strcmp(text, "*") == 0;
    if (!any
        && (host == NULL || host == text || host[3] == '\0'
            || host[3 + strcspn(host + 3, "/?# ,")] != '\0')) {
        return wrong(source, "cors",
                     "expected * or an origin without a path, such as https://example.com, found "
                     "'%s'",
                     text);
    }
    if (options->server.n_origins == SERVE_MAX_ORIGINS)
        return wrong(source, "cors", "expected at most %d origins", SERVE_MAX_ORIGINS);
    options->origins[options->server.n_origins++] = text;
    return EXIT_DONE;
}

static int take_host(struct serve_options *options, const char *text,
                     const struct serve_source *source)
{
    const char *const end = text[0] == '[' ? strchr(text, ']') : NULL;
    const size_t len = end != NULL ? (size_t)(end + 1 - text) : strcspn(text, ":");
    if (len == 0 || text[len] != '\0' || text[strcspn(text, " \t/?#@,")] != '\0')
        return wrong(source, "allowed-hosts",
                     "expected *, or a name or address without a port, such as example.com or "
                     "[::1], found '%s'",
                     text);
    if (options->server.n_allowed_hosts == SERVE_MAX_HOSTS)
        return wrong(source, "allowed-hosts", "expected at most %d hosts", SERVE_MAX_HOSTS);
    options->hosts[options->server.n_allowed_hosts++] = text;
    return EXIT_DONE;
}

static int take_word(struct serve_options *options, const struct serve_option *option,
                     const char *text, const struct serve_source *source)
{
    void *const at = (char *)options + option->at;
    switch (option->kind) {
    case FLASH:
        return read_flash_word(text, at)
                   ? EXIT_DONE
                   : wrong(source, option->name, "expected auto, on or off, found '%s'", text);
    case CACHE:
        return read_cache_word(text, at)
                   ? EXIT_DONE
                   : wrong(source, option->name, "expected a type that --help names, found '%s'",
                           text);
    case LOG_FORMAT:
        options->json_log = strcmp(text, "json") == 0;
        return options->json_log || strcmp(text, "text") == 0
                   ? EXIT_DONE
                   : wrong(source, option->name, "expected text or json, found '%s'", text);
    default: /* TEXT */
        *(const char **)at = text;
        return text[0] != '\0'
                   ? EXIT_DONE
                   : wrong(source, option->name, "expected a value, found an empty one");
    }
}

static int take(struct serve_options *options, const struct serve_option *option, const char *value,
                const struct serve_source *source)
{
    switch (option->kind) {
    case MODEL:
        return take_model(options, value, source);
    case ORIGIN:
        return take_origin(options, value, source);
    case HOST:
        return take_host(options, value, source);
    case NUMBER:
        return take_number(options, option, value, source);
    case SIZE:
        return take_quantity(options, option, value, source);
    case TIME:
        if (option->at == offsetof(struct serve_options, server.drain_delay))
            options->drain_delay_given = true;
        return take_quantity(options, option, value, source);
    case SWITCH:
    case OFF:
        return take_switch(options, option, value, source);
    case FLASH:
    case CACHE:
    case LOG_FORMAT:
    case TEXT:
        return take_word(options, option, value, source);
    default:
        return EXIT_DONE; /* seen before: find_config */
    }
}

int take_serve_option(struct serve_options *options, const char *name, const char *value,
                      const struct serve_source *source)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        const struct serve_option *const option = &table[i];
        if (strcmp(option->name, name) != 0 || option->kind == CONFIG || option->kind == HELP
            || option->kind == VERSION || !is_of_verb(option, options->verb))
            continue;
        if (value == NULL && has_value(option->kind))
            return wrong(source, name, "expected a value, found nothing");
        return take(options, option, value, source);
    }
    complain("%s:%zu: expected an option that 'burble %s --help' names, found '%s'", source->file,
             source->line, options->verb == SERVE_VERB_WORK ? "work" : "serve", name);
    return EXIT_USAGE;
}

/* ---- the command line ---------------------------------------------------------------------------------------- */

/* getopt's view of the table: an option is its index, above all letters. */
enum { FIRST = 256 };

/* What llama-server calls it, for those who come from there. */
static const struct {
    const char *theirs, *ours;
} others[] = {
    {"-c", "--context, for each slot"},
    {"--ctx-size", "--context, for each slot"},
    {"-np", "--slots"},
    {"--parallel", "--slots"},
    {"-ngl", "--gpu-layers"},
    {"--n-gpu-layers", "--gpu-layers"},
    {"-t", "--threads"},
    {"-tb", "--prompt-threads"},
    {"--threads-batch", "--prompt-threads"},
    {"-b", "--batch"},
    {"--batch-size", "--batch"},
    {"-fa", "--flash"},
    {"--flash-attn", "--flash"},
    {"-ctk", "--cache-k"},
    {"--cache-type-k", "--cache-k"},
    {"-ctv", "--cache-v"},
    {"--cache-type-v", "--cache-v"},
    {"-kvu", "--unified"},
    {"--kv-unified", "--unified"},
    {"-a", "--model NAME=FILE"},
    {"--alias", "--model NAME=FILE"},
    {"--api-key", "--api-key-file, because all users of a machine see command lines"},
    {"--no-ui", "--no-page"},
    {"--no-webui", "--no-page"},
    {"--metrics", "always on"},
};

/* Says what an unknown option, in the arguments up to the `end`, is called here. */
static void hint(char *const *argument, char *const *end)
{
    while (argument < end && (*argument)[0] != '-')
        argument++;
    const size_t len = argument < end ? strcspn(*argument, "=") : 0;
    for (size_t i = 0; i < COUNT(others); i++)
        if (strlen(others[i].theirs) == len && memcmp(others[i].theirs, *argument, len) == 0)
            complain("llama-server's %s is here: %s", others[i].theirs, others[i].ours);
}

static void make_names(enum serve_verb verb, struct option *names, char *letters)
{
    size_t n = 0;
    for (size_t i = 0; i < COUNT(table); i++) {
        const bool value = has_value(table[i].kind);
        if (!is_of_verb(&table[i], verb))
            continue;
        names[n++] = (struct option){table[i].name, value ? required_argument : no_argument, NULL,
                                     (int)(FIRST + i)};
        if (table[i].letter != 0) {
            *letters++ = table[i].letter;
            if (value)
                *letters++ = ':';
        }
    }
    /* Else it would be short for --api-key-file, and a message would have the key. */
    names[n++] = (struct option){"api-key", optional_argument, NULL, '?'};
    names[n] = (struct option){NULL, 0, NULL, 0};
    *letters = '\0';
}

static const struct serve_option *option_of(int found)
{
    if (found >= FIRST)
        return &table[found - FIRST];
    for (size_t i = 0; i < COUNT(table); i++)
        if (table[i].letter == found)
            return &table[i];
    return NULL;
}

static void drop_models(struct serve_options *options)
{
    while (options->n_models > 0)
        free(options->models[--options->n_models].name);
}

/* The first one of a list on the command line takes the place of the configuration file's list. */
static void drop_list(struct serve_options *options, enum kind kind, bool seen[3])
{
    if (kind == MODEL && !seen[0])
        drop_models(options);
    if (kind == ORIGIN && !seen[1])
        options->server.n_origins = 0;
    if (kind == HOST && !seen[2])
        options->server.n_allowed_hosts = 0;
    seen[0] = seen[0] || kind == MODEL;
    seen[1] = seen[1] || kind == ORIGIN;
    seen[2] = seen[2] || kind == HOST;
}

/* Goes through the arguments: with `only_first`, for what comes before all others. */
static int read_arguments(int argc, char **argv, struct serve_options *options, bool only_first)
{
    static const struct serve_source command_line = {NULL, 0};
    struct option names[COUNT(table) + 2];
    char letters[16];
    bool seen[3] = {false, false, false};
    int found, before = 1;
    make_names(options->verb, names, letters);
    optind = 1;
    while ((found = getopt_long(argc, argv, letters, names, NULL)) != -1) {
        const struct serve_option *const option = option_of(found);
        int result = EXIT_DONE;
        if (option == NULL) { /* getopt has said what is wrong */
            hint(argv + before, argv + argc);
            return complain_of_usage(NULL);
        }
        before = optind;
        if (only_first) {
            options->help |= option->kind == HELP;
            options->version |= option->kind == VERSION;
            if (options->help || options->version)
                return EXIT_DONE;
            if (option->kind == CONFIG && options->config != NULL)
                return complain_of_usage("expected one --config, found two");
            if (option->kind == CONFIG)
                options->config = optarg;
        } else {
            drop_list(options, option->kind, seen);
            result = take(options, option, optarg, &command_line);
        }
        if (result != EXIT_DONE)
            return result;
    }
    if (optind < argc) {
        return complain_of_usage("expected only options, found '%s' (give a model with -m)",
                                 argv[optind]);
    }
    return EXIT_DONE;
}

#ifdef BURBLE_WITH_RELAY
enum { WITH_RELAY = true };
#else
enum { WITH_RELAY = false };
#endif

static void set_defaults(struct serve_options *options, enum serve_verb verb)
{
    *options =
        (struct serve_options){.verb = verb, .gpu_layers = -1, .grace = UINT64_C(30000000000)};
    burble_server_options_init(&options->server);
    burble_llama_engine_options_init(&options->engine);
#ifdef BURBLE_WITH_RELAY
    burble_relay_options_init(&options->relay);
#endif
    options->relay.url = NULL;
}

/* What the options are together. */
static int check(const struct serve_options *options)
{
    const bool redis = options->relay.url != NULL;
    if (redis && !WITH_RELAY)
        return complain("--redis: this burble was built without hiredis; install it and build "
                        "burble with -Drelay=enabled");
    if (options->verb == SERVE_VERB_WORK && !redis)
        return complain_of_usage("expected a Redis (--redis), found none");
    if (options->verb == SERVE_VERB_SERVE && redis && options->n_models > 0)
        return complain_of_usage("expected no model with --redis, found '%s': workers have the "
                                 "models (burble work --redis=URL -m MODEL)",
                                 options->models[0].name);
    if (options->n_models == 0 && (options->verb == SERVE_VERB_WORK || !redis))
        return complain_of_usage("expected a model (--model), found none");
    return EXIT_DONE;
}

int read_serve_options(int argc, char **argv, enum serve_verb verb, struct serve_options *options)
{
    set_defaults(options, verb);
    int result = read_arguments(argc, argv, options, true);
    if (result != EXIT_DONE || options->help || options->version)
        return result;
    if (options->config != NULL)
        result = read_serve_config(options->config, options);
    if (result == EXIT_DONE)
        result = read_arguments(argc, argv, options, false);
    if (result == EXIT_DONE)
        result = check(options);
    options->engine.overcommit = options->overcommit;
    options->server.origins = options->origins;
    options->server.allowed_hosts = options->hosts;
    if (verb == SERVE_VERB_SERVE) {
        options->relay.queue = options->engine.queue;
        options->relay.ttl = options->relay.linger = options->server.resume_time;
    }
    return result;
}

void free_serve_options(struct serve_options *options)
{
    drop_models(options);
    free(options->config_text);
    options->config_text = NULL;
}
