/* SPDX-License-Identifier: MIT */
#include "serve/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "serve/event.h"
#include "serve/request_parts.h"

bool burble__request_unknown(struct burble__request *request, const char *path, const char *format,
                             ...)
{
    if (request->unknown.status != 0)
        return true;
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    burble__problem_set(&request->unknown, 400, "unsupported_parameter", path, "%s: %s", path,
                        message);
    return true;
}

/* ---- what any server can do, since it asks for nothing --------------------------------------------------- */

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0)
           || (json_is_object(value) && json_object_size(value) == 0)
           || (json_is_string(value) && json_string_length(value) == 0);
}

enum nothing {
    ANY_STRING,
    ANY_BOOLEAN,
    ANY_OBJECT,
    ONLY_FALSE,
    ONLY_EMPTY,
    ONLY_AUTO, /* "auto", "default" or "none" */
    ONLY_MEDIUM,
    ONLY_TEXT_MODALITY,
    ONLY_MINUS_ONE,
};

static const struct idle {
    const char *name;
    enum nothing nothing;
} idle[] = {
    {"user", ANY_STRING},
    {"safety_identifier", ANY_STRING},
    {"prompt_cache_key", ANY_STRING},
    {"metadata", ANY_OBJECT},
    {"parallel_tool_calls", ANY_BOOLEAN},
    {"store", ONLY_FALSE},
    {"return_progress", ONLY_FALSE},
    {"timings_per_token", ONLY_FALSE},
    {"tools", ONLY_EMPTY},
    {"functions", ONLY_EMPTY},
    {"suffix", ONLY_EMPTY},
    {"tool_choice", ONLY_AUTO},
    {"function_call", ONLY_AUTO},
    {"service_tier", ONLY_AUTO},
    {"verbosity", ONLY_MEDIUM},
    {"modalities", ONLY_TEXT_MODALITY},
    {"id_slot", ONLY_MINUS_ONE},
};

static bool asks_for_nothing(enum nothing nothing, const json_t *value)
{
    switch (nothing) {
    case ANY_STRING:
        return json_is_string(value);
    case ANY_BOOLEAN:
        return json_is_boolean(value);
    case ANY_OBJECT:
        return json_is_object(value);
    case ONLY_FALSE:
        return json_is_false(value);
    case ONLY_EMPTY:
        return is_empty(value);
    case ONLY_AUTO:
        return is_text(value, "auto") || is_text(value, "default") || is_text(value, "none");
    case ONLY_MEDIUM:
        return is_text(value, "medium");
    case ONLY_TEXT_MODALITY:
        return json_array_size(value) == 1 && is_text(json_array_get(value, 0), "text");
    case ONLY_MINUS_ONE:
        return json_is_integer(value) && json_integer_value(value) == -1;
    }
    return false;
}

/* A member that is neither a parameter nor one of those below. */
static bool read_other(struct burble__request *request, const char *name, const json_t *value)
{
    for (size_t i = 0; i < sizeof idle / sizeof idle[0]; i++)
        if (strcmp(idle[i].name, name) == 0)
            return asks_for_nothing(idle[i].nothing, value)
                   || burble__request_unknown(request, name, "not supported");
    return burble__request_unknown(
        request, burble__body_path_member("", name).text, "not a parameter of %s",
        request->wanted.route == BURBLE_SERVE_CHAT ? "/v1/chat/completions" : "/v1/completions");
}

/* ---- members ------------------------------------------------------------------------------------------- */

static bool read_stream_options(struct burble__request *request, json_t *value,
                                struct burble__problem *problem)
{
    static const char path[] = "stream_options";
    const char *key;
    json_t *member;
    if (!json_is_object(value))
        return burble__body_expected(problem, path, "an object", value);
    json_object_foreach(value, key, member)
    {
        const struct burble__body_path at = burble__body_path_member(path, key);
        if (burble__is_absent(member))
            continue;
        if (strcmp(key, "include_usage") == 0) {
            if (!burble__body_boolean(member, at.text, &request->include_usage, problem))
                return false;
        } else if (!json_is_false(member)) {
            burble__request_unknown(request, at.text, "not supported");
        }
    }
    return true;
}

/* What the prompts that are repeated take in memory is bounded, since nothing else bounds it in an answer that nobody reads. */
static bool check_echo(const struct burble__request *request, struct burble__problem *problem)
{
    static const char name[] = "echo";
    const burble_serve_request *wanted = &request->wanted;
    size_t len = 0;
    if (!request->echo)
        return true;
    if (burble_serve_number(wanted, BURBLE_SERVE_LOGPROBS, 0) > 0)
        return burble__problem_set(problem, 400, "unsupported_parameter", name,
                                   "%s: not supported beside logprobs", name);
    for (size_t i = 0; i < wanted->n_prompts; i++)
        len += wanted->prompts[i].text.len + wanted->prompts[i].n_ids * sizeof(int32_t);
    len *= wanted->choices;
    return len <= BURBLE__ECHO_MAX
           || burble__problem_set(
               problem, 400, NULL, name,
               "%s: expected at most %u bytes of prompts, in all choices, found %zu", name,
               BURBLE__ECHO_MAX, len);
}

static bool read_prompt(struct burble__request *request, const json_t *value, const char *path,
                        burble_serve_prompt *out, struct burble__problem *problem)
{
    *out = (burble_serve_prompt){.text = {"", 0}};
    if (json_is_string(value))
        return burble__body_text(value, path, &out->text, problem);
    if (json_is_array(value))
        return burble__body_ids(&request->body, value, path, &out->ids, &out->n_ids, problem);
    return burble__body_expected(problem, path, "a string or a list of ids", value);
}

/* `prompt` of a completion: a string, ids, or a list of these. */
static bool read_prompts(struct burble__request *request, const json_t *value,
                         struct burble__problem *problem)
{
    static const char name[] = "prompt";
    burble_serve_request *wanted = &request->wanted;
    const json_t *first = json_array_get(value, 0);
    const bool several = json_is_string(first) || json_is_array(first);
    const size_t n = several ? json_array_size(value) : 1;
    if (n * wanted->choices > BURBLE_FRAME_MAX_CHOICES) {
        return burble__problem_set(
            problem, 400, NULL, name,
            "%s: expected at most %d choices in all, found %zu prompts with %u each", name,
            BURBLE_FRAME_MAX_CHOICES, n, (unsigned)wanted->choices);
    }
    burble_serve_prompt *prompts = burble__body_alloc(&request->body, n, sizeof *prompts, problem);
    if (prompts == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct burble__body_path path =
            several ? burble__body_path_item(name, i) : burble__body_path_member("", name);
        if (!read_prompt(request, several ? json_array_get(value, i) : value, path.text,
                         &prompts[i], problem)) {
            return false;
        }
    }
    wanted->prompts = prompts;
    wanted->n_prompts = n;
    wanted->prompt = prompts[0].text;
    wanted->ids = prompts[0].ids;
    wanted->n_ids = prompts[0].n_ids;
    return check_echo(request, problem);
}

static bool read_model(struct burble__request *request, const json_t *value,
                       struct burble__problem *problem)
{
    return burble__body_name(value, "model", &request->model, problem);
}

/* `best_of` of completions: as many as are asked for. */
static bool check_best_of(struct burble__request *request, const json_t *value,
                          struct burble__problem *problem)
{
    double n;
    if (burble__is_absent(value))
        return true;
    if (!burble__body_integer(value, "best_of", 1, BURBLE_FRAME_MAX_CHOICES, &n, problem))
        return false;
    return n <= request->wanted.choices && n >= request->wanted.choices
               ? true
               : burble__request_unknown(request, "best_of", "expected the same as n, found %.0f",
                                         n);
}

static bool read_member(struct burble__request *request, const char *name, json_t *value,
                        struct burble__problem *problem)
{
    const bool chat = request->wanted.route == BURBLE_SERVE_CHAT;
    bool known;
    if (strcmp(name, "model") == 0)
        return read_model(request, value, problem);
    if (strcmp(name, "stream") == 0)
        return burble__body_boolean(value, name, &request->wanted.streamed, problem);
    if (strcmp(name, "stream_options") == 0)
        return read_stream_options(request, value, problem);
    if (strcmp(name, chat ? "messages" : "prompt") == 0)
        return true; /* at the end: it must be there */
    if (!chat && strcmp(name, "best_of") == 0)
        return true; /* at the end: it needs n */
    if (!chat && strcmp(name, "echo") == 0)
        return burble__body_boolean(value, name, &request->echo, problem);
    if (strcmp(name, "json_schema") == 0) /* as llama-server's */
        return burble__request_schema(request, value, "json_schema", "json_schema", problem);
    if (!burble__request_parameter(request, name, value, &known, problem))
        return false;
    return known || read_other(request, name, value);
}

static bool read_all(struct burble__request *request, struct burble__problem *problem)
{
    json_t *const root = request->body.root;
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        if (!burble__is_absent(value) && !read_member(request, name, value, problem))
            return false;
    }
    if (!burble__request_parameters_end(request, problem)
        || (request->wanted.route == BURBLE_SERVE_COMPLETION
            && !check_best_of(request, json_object_get(root, "best_of"), problem))) {
        return false;
    }
    if (!burble__is_absent(json_object_get(root, "stream_options")) && !request->wanted.streamed)
        return burble__problem_set(problem, 400, NULL, "stream_options",
                                   "stream_options: needs \"stream\": true");
    return request->wanted.route == BURBLE_SERVE_CHAT
               ? burble__request_messages(request, json_object_get(root, "messages"), problem)
               : read_prompts(request, json_object_get(root, "prompt"), problem);
}

bool burble__request_parse(burble_serve_route route, const char *body, size_t len,
                           unsigned max_depth, struct burble__request **out,
                           struct burble__problem *problem)
{
    *out = NULL;
    struct burble__request *request = burble__calloc(1, sizeof *request);
    if (request == NULL)
        return burble__problem_memory(problem);
    request->wanted.route = route;
    request->wanted.body = (burble_text){body, len};
    request->wanted.prompt = (burble_text){"", 0};
    request->wanted.grammar = (burble_text){"", 0};
    const bool ok = burble__body_parse(&request->body, body, len, max_depth, problem)
                    && read_all(request, problem);
    if (ok)
        *out = request;
    else
        burble__request_destroy(&request);
    return ok;
}

void burble__request_destroy(struct burble__request **request)
{
    if (request == NULL || *request == NULL)
        return;
    burble__body_finish(&(*request)->body);
    burble__free(*request);
    *request = NULL;
}

uint32_t burble__request_choices(const struct burble__request *request)
{
    const size_t prompts = request->wanted.n_prompts;
    return request->wanted.choices * (prompts > 1 ? (uint32_t)prompts : 1);
}

uint64_t burble__request_flags(const struct burble__request *request)
{
    const burble_serve_request *wanted = &request->wanted;
    return (request->include_usage ? BURBLE__ANSWER_INCLUDE_USAGE : 0)
           | (burble_serve_number(wanted, BURBLE_SERVE_LOGPROBS, 0) > 0 ? BURBLE__ANSWER_LOGPROBS
                                                                        : 0)
           | (uint64_t)burble__request_choices(request) << BURBLE__ANSWER_CHOICES_SHIFT;
}
