/* SPDX-License-Identifier: MIT */
#include "serve/problem.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "serve/json.h"

/* How long a client is asked to wait, in seconds, before it tries again. */
#define RETRY_AFTER 1

static const struct status {
    unsigned status;
    const char *phrase;
    const char *type;
} statuses[] = {
    {100, "Continue", ""},
    {200, "OK", ""},
    {204, "No Content", ""},
    {304, "Not Modified", ""},
    {400, "Bad Request", "invalid_request_error"},
    {401, "Unauthorized", "authentication_error"},
    {403, "Forbidden", "permission_error"},
    {404, "Not Found", "not_found_error"},
    {405, "Method Not Allowed", "invalid_request_error"},
    {408, "Request Timeout", "invalid_request_error"},
    {409, "Conflict", "conflict_error"},
    {410, "Gone", "gone_error"},
    {411, "Length Required", "invalid_request_error"},
    {413, "Content Too Large", "invalid_request_error"},
    {414, "URI Too Long", "invalid_request_error"},
    {415, "Unsupported Media Type", "invalid_request_error"},
    {417, "Expectation Failed", "invalid_request_error"},
    {421, "Misdirected Request", "invalid_request_error"},
    {422, "Unprocessable Content", "invalid_request_error"},
    {429, "Too Many Requests", "rate_limit_error"},
    {431, "Request Header Fields Too Large", "invalid_request_error"},
    {499, "Client Closed Request", "cancelled_error"},
    {500, "Internal Server Error", "server_error"},
    {501, "Not Implemented", "not_supported_error"},
    {503, "Service Unavailable", "unavailable_error"},
    {504, "Gateway Timeout", "timeout_error"},
    {505, "HTTP Version Not Supported", "invalid_request_error"},
};

static const struct status *find(unsigned status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].status == status)
            return &statuses[i];
    return NULL;
}

const char *burble__status_phrase(unsigned status)
{
    const struct status *found = find(status);
    return found == NULL ? "Unknown" : found->phrase;
}

/* Copies a string and makes it UTF-8, whatever it is made of. */
static void copy(char *out, size_t room, const char *text, size_t len)
{
    const size_t n = len < room ? len : room - 1;
    memcpy(out, text, n);
    out[n] = '\0';
    out[burble__utf8_mend(out, n)] = '\0';
}

bool burble__problem_set(struct burble__problem *problem, unsigned status, const char *code,
                         const char *param, const char *format, ...)
{
    const struct status *found = find(status);
    *problem = (struct burble__problem){
        .status = status,
        .retry_after = status == 429 || status == 503 ? RETRY_AFTER : 0,
        .type = found == NULL ? "server_error" : found->type,
        .code = code,
    };
    if (param != NULL)
        copy(problem->param, sizeof problem->param, param, strlen(param));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->message, sizeof problem->message, format, arguments);
    va_end(arguments);
    problem->message[burble__utf8_mend(problem->message, strlen(problem->message))] = '\0';
    return false;
}

bool burble__problem_memory(struct burble__problem *problem)
{
    return burble__problem_set(problem, 503, "out_of_memory", NULL, "out of memory");
}

/* How long the name of a parameter is at the beginning of "NAME: …", such as messages[2].content; 0: there is none. */
static size_t name_length(const char *message)
{
    size_t n = 0;
    while (isalnum((unsigned char)message[n])
           || (message[n] != '\0' && strchr("_.[]", message[n]) != NULL)) {
        n++;
    }
    const bool is_name = n > 0 && n < sizeof((struct burble__problem *)0)->param
                         && islower((unsigned char)message[0]) && message[n] == ':'
                         && message[n + 1] == ' ';
    return is_name ? n : 0;
}

void burble__problem_of_result(struct burble__problem *problem, int result,
                               const burble_error *error)
{
    const char *message =
        error != NULL && error->message[0] != '\0' ? error->message : burble_result_text(result);
    switch (result) {
    case BURBLE_EINVAL:
    case BURBLE_EUNSUPPORTED:
    case BURBLE_ETOOLONG:
        burble__problem_set(problem, 400,
                            result == BURBLE_ETOOLONG ? "context_length_exceeded" : NULL, NULL,
                            "%s", message);
        copy(problem->param, sizeof problem->param, message, name_length(message));
        break;
    case BURBLE_EFULL:
        burble__problem_set(problem, 429, "queue_full", NULL, "%s", message);
        break;
    case BURBLE_ECLOSED:
        burble__problem_set(problem, 503, "closed", NULL, "%s", message);
        break;
    case BURBLE_ENOMEM:
        burble__problem_set(problem, 503, "out_of_memory", NULL, "%s", message);
        break;
    default:
        burble__problem_set(problem, 500, NULL, NULL, "%s", message);
        break;
    }
}

void burble__problem_of_status(struct burble__problem *problem, const burble_status *status)
{
    burble_error error = {0};
    if (status->state != BURBLE_FAILED) {
        burble__problem_set(problem, 499, "cancelled", NULL, "the answer was cancelled");
        return;
    }
    copy(error.message, sizeof error.message, status->message, strlen(status->message));
    const char *message =
        error.message[0] != '\0' ? error.message : burble_result_text(status->code);
    if (status->code == BURBLE_ETIMEDOUT)
        burble__problem_set(problem, 504, "timeout", NULL, "%s", message);
    else if (status->code == BURBLE_EFORMAT)
        burble__problem_set(problem, 410, "diverged", NULL, "%s", message);
    else
        burble__problem_of_result(problem, status->code, &error);
}

int burble__problem_write(const struct burble__problem *problem, struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    burble__put_raw(&out, "{\"error\":{\"message\":");
    burble__put_name(&out, problem->message);
    burble__put_raw(&out, ",\"type\":");
    burble__put_name(&out, problem->type);
    burble__put_raw(&out, ",\"param\":");
    burble__put_name(&out, problem->param[0] == '\0' ? NULL : problem->param);
    burble__put_raw(&out, ",\"code\":");
    burble__put_name(&out, problem->code);
    burble__put_raw(&out, "}}");
    return out.result;
}
