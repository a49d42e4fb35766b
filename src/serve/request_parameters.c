/* SPDX-License-Identifier: MIT
 *
 * The parameters of a request: types and ranges, from the table in serve.h.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "serve/request_parts.h"
#include "serve/schema.h"

enum type { INTEGER, NUMBER, BOOLEAN, STRINGS, STRING, BIAS, FORMAT };

static const struct parameter {
    const char *name;
    enum type type;
    double least, most;
} parameters[] = {
#define PARAMETER(name, json, type, least, most) {json, type, least, most},
    BURBLE_SERVE_PARAMETERS(PARAMETER)
#undef PARAMETER
};

static const struct alias {
    const char *name;
    burble_serve_parameter parameter;
} aliases[] = {
    {"max_completion_tokens", BURBLE_SERVE_MAX_TOKENS},
    {"n_predict", BURBLE_SERVE_MAX_TOKENS},
};

/* The most bytes of a stop string or a sequence breaker. */
#define STRING_MAX 1024

/* The parameter of this name; BURBLE_SERVE_N_PARAMETERS: there is none. */
static burble_serve_parameter find(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcmp(aliases[i].name, name) == 0)
            return aliases[i].parameter;
    size_t i = 0;
    while (i < BURBLE_SERVE_N_PARAMETERS && strcmp(parameters[i].name, name) != 0)
        i++;
    return (burble_serve_parameter)i;
}

static bool set_number(struct burble__request *request, burble_serve_parameter parameter,
                       const char *path, double number, struct burble__problem *problem)
{
    const uint64_t bit = BURBLE_SERVE_BIT(parameter);
    /* Only where it has several names. */
    if (request->wanted.given & bit && request->wanted.numbers[parameter] < number + 0.5
        && request->wanted.numbers[parameter] > number - 0.5) {
        return true;
    }
    if (request->wanted.given & bit)
        return burble__problem_set(
            problem, 400, NULL, path,
            "%s: expected the same number as in %s, which means the same, found %.0f", path,
            parameters[parameter].name, number);
    request->wanted.given |= bit;
    request->wanted.numbers[parameter] = number;
    return true;
}

/* A string, or a list of strings. */
static bool read_strings(struct burble__request *request, burble_serve_parameter parameter,
                         const char *path, json_t *value, const burble_text **out, size_t *n,
                         struct burble__problem *problem)
{
    const size_t most = (size_t)parameters[parameter].most;
    if (!json_is_string(value) && !json_is_array(value))
        return burble__body_expected(problem, path, "a string or a list of strings", value);
    *n = json_is_array(value) ? json_array_size(value) : 1;
    if (*n > most)
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected at most %zu strings, found %zu", path, most, *n);
    if (*n == 0)
        return true;
    burble_text *texts = burble__body_alloc(&request->body, *n, sizeof *texts, problem);
    if (texts == NULL)
        return false;
    for (size_t i = 0; i < *n; i++) {
        const struct burble__body_path at = json_is_array(value)
                                                ? burble__body_path_item(path, i)
                                                : burble__body_path_member("", path);
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!burble__body_text(item, at.text, &texts[i], problem))
            return false;
        if (texts[i].len == 0 || texts[i].len > STRING_MAX)
            return burble__problem_set(problem, 400, NULL, at.text,
                                       "%s: expected 1 to %d bytes, found %zu", at.text, STRING_MAX,
                                       texts[i].len);
    }
    *out = texts;
    request->wanted.given |= BURBLE_SERVE_BIT(parameter);
    return true;
}

/* The bias of one token: a number, or `false` for never. */
static bool read_bias(const json_t *value, const char *path, float *out,
                      struct burble__problem *problem)
{
    double bias;
    if (json_is_false(value)) {
        *out = -INFINITY;
        return true;
    }
    if (!json_is_number(value))
        return burble__body_expected(problem, path, "a number or false", value);
    if (!burble__body_number(value, path, -100, 100, &bias, problem))
        return false;
    *out = (float)bias;
    return true;
}

/* An id that is the key of an object. */
static bool read_key(const char *key, const char *path, int32_t *id,
                     struct burble__problem *problem)
{
    char *end;
    errno = 0;
    const long number = strtol(key, &end, 10);
    if (*key < '0' || *key > '9' || *end != '\0' || errno != 0 || number > INT32_MAX)
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected ids of tokens as keys, found \"%.32s\"", path,
                                   key);
    *id = (int32_t)number;
    return true;
}

/* [[id, bias], …], as in llama.cpp. */
static bool read_pairs(const json_t *list, const char *path, burble_serve_bias *out,
                       struct burble__problem *problem)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        const struct burble__body_path at = burble__body_path_item(path, i);
        double id;
        if (!json_is_array(pair) || json_array_size(pair) != 2)
            return burble__body_expected(problem, at.text, "a list of an id and a number", pair);
        if (!burble__body_integer(json_array_get(pair, 0), burble__body_path_item(at.text, 0).text,
                                  0, INT32_MAX, &id, problem)
            || !read_bias(json_array_get(pair, 1), burble__body_path_item(at.text, 1).text,
                          &out[i].bias, problem)) {
            return false;
        }
        out[i].id = (int32_t)id;
    }
    return true;
}

/* {"id": bias, …}, as in OpenAI's protocol. */
static bool read_members(json_t *object, const char *path, burble_serve_bias *out,
                         struct burble__problem *problem)
{
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach(object, key, value)
    {
        if (!read_key(key, path, &out[i].id, problem)
            || !read_bias(value, burble__body_path_member(path, key).text, &out[i].bias, problem)) {
            return false;
        }
        i++;
    }
    return true;
}

static bool read_biases(struct burble__request *request, const char *path, json_t *value,
                        struct burble__problem *problem)
{
    if (!json_is_object(value) && !json_is_array(value))
        return burble__body_expected(problem, path, "an object or a list", value);
    const size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    const size_t most = (size_t)parameters[BURBLE_SERVE_LOGIT_BIAS].most;
    if (n > most)
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected at most %zu ids, found %zu", path, most, n);
    if (n == 0)
        return true;
    burble_serve_bias *bias = burble__body_alloc(&request->body, n, sizeof *bias, problem);
    if (bias == NULL)
        return false;
    if (!(json_is_object(value) ? read_members(value, path, bias, problem)
                                : read_pairs(value, path, bias, problem))) {
        return false;
    }
    request->wanted.bias = bias;
    request->wanted.n_bias = n;
    request->wanted.given |= BURBLE_SERVE_BIT(BURBLE_SERVE_LOGIT_BIAS);
    return true;
}

bool burble__request_schema(struct burble__request *request, json_t *schema, const char *param,
                            const char *path, struct burble__problem *problem)
{
    if (request->schema != NULL)
        return burble__problem_set(problem, 400, NULL, param, "%s: expected one schema, found two",
                                   param);
    request->schema = schema;
    request->schema_param = param;
    request->schema_path = path;
    return true;
}

/* {"name": …, "schema": …} */
static bool read_named_schema(struct burble__request *request, const char *path, json_t *value,
                              struct burble__problem *problem)
{
    const char *key;
    json_t *member;
    if (!json_is_object(value))
        return burble__body_expected(problem, path, "an object", value);
    json_object_foreach(value, key, member)
    {
        const struct burble__body_path at = burble__body_path_member(path, key);
        burble_text text;
        bool flag;
        if (burble__is_absent(member) || strcmp(key, "schema") == 0)
            continue;
        if (strcmp(key, "strict") == 0) {
            if (!burble__body_boolean(member, at.text, &flag, problem))
                return false;
        } else if (strcmp(key, "name") == 0 || strcmp(key, "description") == 0) {
            if (!burble__body_text(member, at.text, &text, problem))
                return false;
        } else {
            burble__request_unknown(request, at.text, "not supported");
        }
    }
    static const char schema_path[] = "response_format.json_schema.schema";
    json_t *schema = json_object_get(value, "schema");
    return burble__is_absent(schema)
               ? burble__body_expected(problem, schema_path, "a schema: an object", schema)
               : burble__request_schema(request, schema, "response_format", schema_path, problem);
}

/* llama.cpp's {"type": "json_object", "schema": …}, too. */
static bool read_format(struct burble__request *request, const char *path, json_t *value,
                        struct burble__problem *problem)
{
    if (!json_is_object(value))
        return burble__body_expected(problem, path, "an object", value);
    const char *type, *key;
    json_t *member;
    const struct burble__body_path at = burble__body_path_member(path, "type");
    if (!burble__body_name(json_object_get(value, "type"), at.text, &type, problem))
        return false;
    const bool object = strcmp(type, "json_object") == 0;
    const bool named = strcmp(type, "json_schema") == 0;
    if (!object && !named && strcmp(type, "text") != 0)
        return burble__request_unknown(
            request, at.text,
            "expected \"text\", \"json_object\" or \"json_schema\", found \"%.64s\"", type);
    json_t *schema = object ? json_object_get(value, "schema") : NULL;
    const bool has_schema =
        !burble__is_absent(schema) && !(json_is_object(schema) && json_object_size(schema) == 0);
    request->wanted.json_object = object && !has_schema;
    request->wanted.given |= BURBLE_SERVE_BIT(BURBLE_SERVE_RESPONSE_FORMAT);
    json_object_foreach(value, key, member)
    {
        if (strcmp(key, "type") != 0 && !burble__is_absent(member)
            && !(named && strcmp(key, "json_schema") == 0)
            && !(object && strcmp(key, "schema") == 0)) {
            burble__request_unknown(request, burble__body_path_member(path, key).text,
                                    "not supported");
        }
    }
    if (named)
        return read_named_schema(request, "response_format.json_schema",
                                 json_object_get(value, "json_schema"), problem);
    return !has_schema
           || burble__request_schema(request, schema, "response_format", "response_format.schema",
                                     problem);
}

static bool read_grammar(struct burble__request *request, const char *path, json_t *value,
                         struct burble__problem *problem)
{
    const size_t most = (size_t)parameters[BURBLE_SERVE_GRAMMAR].most;
    const char *grammar;
    if (!burble__body_name(value, path, &grammar, problem))
        return false;
    request->wanted.grammar = (burble_text){grammar, strlen(grammar)};
    if (request->wanted.grammar.len > most)
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected at most %zu bytes, found %zu", path, most,
                                   request->wanted.grammar.len);
    if (request->wanted.grammar.len > 0)
        request->wanted.given |= BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR);
    return true;
}

/* `logprobs` of completions is the number of alternatives. */
static bool read_logprobs(struct burble__request *request, const char *path, json_t *value,
                          struct burble__problem *problem)
{
    double n;
    const double most = parameters[BURBLE_SERVE_TOP_LOGPROBS].most;
    return burble__body_integer(value, path, 0, most, &n, problem)
           && set_number(request, BURBLE_SERVE_LOGPROBS, path, 1, problem)
           && set_number(request, BURBLE_SERVE_TOP_LOGPROBS, path, n, problem);
}

/* Whether a number says the same as none: llama.cpp's -1 for no bound. */
static bool is_no_bound(burble_serve_parameter parameter, const json_t *value)
{
    return parameter == BURBLE_SERVE_MAX_TOKENS && json_is_integer(value)
           && json_integer_value(value) == -1;
}

bool burble__request_parameter(struct burble__request *request, const char *name,
                               const json_t *given, bool *known, struct burble__problem *problem)
{
    json_t *value = (json_t *)given; /* to iterate changes nothing */
    const burble_serve_parameter parameter = find(name);
    const bool completion = request->wanted.route == BURBLE_SERVE_COMPLETION;
    *known = parameter < BURBLE_SERVE_N_PARAMETERS
             && !(completion && parameter == BURBLE_SERVE_TOP_LOGPROBS);
    if (!*known)
        return true;
    if (completion && parameter == BURBLE_SERVE_LOGPROBS)
        return read_logprobs(request, name, value, problem);
    const struct parameter *entry = &parameters[parameter];
    double number;
    bool flag;
    switch (entry->type) {
    case INTEGER:
        return is_no_bound(parameter, value)
               || (burble__body_integer(value, name, entry->least, entry->most, &number, problem)
                   && set_number(request, parameter, name, number, problem));
    case NUMBER:
        return burble__body_number(value, name, entry->least, entry->most, &number, problem)
               && set_number(request, parameter, name, number, problem);
    case BOOLEAN:
        return burble__body_boolean(value, name, &flag, problem)
               && set_number(request, parameter, name, flag, problem);
    case STRINGS:
        return parameter == BURBLE_SERVE_STOP
                   ? read_strings(request, parameter, name, value, &request->wanted.stop,
                                  &request->wanted.n_stop, problem)
                   : read_strings(request, parameter, name, value, &request->wanted.breakers,
                                  &request->wanted.n_breakers, problem);
    case STRING:
        return read_grammar(request, name, value, problem);
    case BIAS:
        return read_biases(request, name, value, problem);
    case FORMAT:
        return read_format(request, name, value, problem);
    }
    return true;
}

/* Makes the grammar of the schema. One that cannot be made is refused, unless the backend reads the body itself. */
static bool convert_schema(struct burble__request *request, struct burble__problem *problem)
{
    burble_serve_request *wanted = &request->wanted;
    struct burble__problem wrong = {0};
    struct burble__buffer text;
    wanted->json_schema = true;
    wanted->given |= BURBLE_SERVE_BIT(BURBLE_SERVE_RESPONSE_FORMAT);
    burble__buffer_init(&text, SIZE_MAX / 2);
    bool ok = burble__schema_write(request->schema, request->schema_path, &text, &wrong);
    if (ok) {
        char *copy = burble__body_alloc(&request->body, text.len + 1, 1, problem);
        ok = copy != NULL;
        if (ok) {
            memcpy(copy, text.bytes, text.len);
            wanted->grammar = (burble_text){copy, text.len};
            wanted->given |= BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR);
        }
    } else if (wrong.status == 503) {
        *problem = wrong;
    } else {
        ok = true;
        if (request->unknown.status == 0)
            request->unknown = wrong;
    }
    burble__buffer_finish(&text);
    return ok;
}

bool burble__request_parameters_end(struct burble__request *request,
                                    struct burble__problem *problem)
{
    burble_serve_request *wanted = &request->wanted;
    wanted->choices = (uint32_t)burble_serve_number(wanted, BURBLE_SERVE_CHOICES, 1);
    if (burble_serve_number(wanted, BURBLE_SERVE_TOP_LOGPROBS, 0) > 0
        && burble_serve_number(wanted, BURBLE_SERVE_LOGPROBS, 0) < 1) {
        return burble__problem_set(problem, 400, NULL, "top_logprobs",
                                   "top_logprobs: needs \"logprobs\": true");
    }
    if ((wanted->json_object || request->schema != NULL)
        && wanted->given & BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR)) {
        return burble__problem_set(
            problem, 400, NULL, "grammar", "grammar: expected none with %s, found one",
            request->schema != NULL ? request->schema_param : "response_format \"json_object\"");
    }
    return request->schema == NULL || convert_schema(request, problem);
}

/* Whether a parameter has the value that is the same as none, so that any backend can do it. */
static bool is_neutral(const burble_serve_request *wanted, burble_serve_parameter parameter)
{
    switch (parameter) {
    case BURBLE_SERVE_TOP_P:
    case BURBLE_SERVE_TYPICAL_P:
    case BURBLE_SERVE_REPEAT_PENALTY:
    case BURBLE_SERVE_CHOICES:
        return wanted->numbers[parameter] <= 1 && wanted->numbers[parameter] >= 1;
    case BURBLE_SERVE_SEED:
        return wanted->numbers[parameter] < 0;
    case BURBLE_SERVE_TOP_K:
    case BURBLE_SERVE_MIN_P:
    case BURBLE_SERVE_PRESENCE_PENALTY:
    case BURBLE_SERVE_FREQUENCY_PENALTY:
    case BURBLE_SERVE_DRY_MULTIPLIER:
    case BURBLE_SERVE_MIROSTAT:
    case BURBLE_SERVE_IGNORE_EOS:
    case BURBLE_SERVE_CACHE_PROMPT:
    case BURBLE_SERVE_PRIORITY:
    case BURBLE_SERVE_TOP_LOGPROBS:
    case BURBLE_SERVE_LOGPROBS:
        return wanted->numbers[parameter] <= 0 && wanted->numbers[parameter] >= 0;
    case BURBLE_SERVE_RESPONSE_FORMAT:
        return !wanted->json_object && !wanted->json_schema;
    default:
        return false;
    }
}

/* The parameter as the client named it. */
static const char *name_in(const struct burble__request *request, burble_serve_parameter parameter)
{
    if (request->schema != NULL
        && (parameter == BURBLE_SERVE_RESPONSE_FORMAT || parameter == BURBLE_SERVE_GRAMMAR))
        return request->schema_param;
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (aliases[i].parameter == parameter
            && !burble__is_absent(json_object_get(request->body.root, aliases[i].name))) {
            return aliases[i].name;
        }
    return request->wanted.route == BURBLE_SERVE_COMPLETION
                   && parameter == BURBLE_SERVE_TOP_LOGPROBS
               ? "logprobs"
               : parameters[parameter].name;
}

bool burble__request_check(const struct burble__request *request, const burble_serve_model *model,
                           struct burble__problem *problem)
{
    if (request->wanted.route == BURBLE_SERVE_CHAT && !model->chat)
        return burble__problem_set(
            problem, 400, "no_chat_template", "messages",
            "messages: the model %s has no chat template; use /v1/completions", model->name);
    if (request->unknown.status != 0 && (model->parameters & BURBLE_SERVE_ANY) == 0) {
        *problem = request->unknown;
        return false;
    }
    if (request->wanted.n_prompts > 1 && (model->parameters & BURBLE_SERVE_PROMPTS) == 0)
        return burble__problem_set(
            problem, 400, "unsupported_parameter", "prompt",
            "prompt: expected one prompt for the model %s, found a list of %zu", model->name,
            request->wanted.n_prompts);
    const uint64_t lacks = request->wanted.given & ~model->parameters;
    for (unsigned i = 0; i < BURBLE_SERVE_N_PARAMETERS; i++)
        if (lacks & BURBLE_SERVE_BIT(i)
            && !is_neutral(&request->wanted, (burble_serve_parameter)i)) {
            const char *name = name_in(request, (burble_serve_parameter)i);
            return burble__problem_set(problem, 400, "unsupported_parameter", name,
                                       "%s: the model %s does not support it", name, model->name);
        }
    return true;
}
