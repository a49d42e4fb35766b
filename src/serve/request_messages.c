/* SPDX-License-Identifier: MIT
 *
 * The messages of a chat.
 */
#include <string.h>

#include "serve/request_parts.h"

/* One part of a content that is a list: the text of {"type": "text", "text": "…"}. */
static bool read_part(struct burble__request *request, const json_t *part, const char *path,
                      burble_text *out, struct burble__problem *problem)
{
    *out = (burble_text){"", 0};
    if (!json_is_object(part))
        return burble__body_expected(problem, path, "an object", part);
    const char *type;
    const struct burble__body_path at = burble__body_path_member(path, "type");
    if (!burble__body_name(json_object_get(part, "type"), at.text, &type, problem))
        return false;
    if (strcmp(type, "text") != 0)
        return burble__request_unknown(request, at.text, "expected \"text\", found \"%.64s\"",
                                       type);
    return burble__body_text(json_object_get(part, "text"),
                             burble__body_path_member(path, "text").text, out, problem);
}

/* Joins the parts of a content by line feeds, as other servers do. */
static bool join(struct burble__request *request, const json_t *list, const char *path,
                 burble_text *out, struct burble__problem *problem)
{
    const size_t n = json_array_size(list);
    size_t len = 0;
    burble_text text;
    for (size_t i = 0; i < n; i++) {
        if (!read_part(request, json_array_get(list, i), burble__body_path_item(path, i).text,
                       &text, problem)) {
            return false;
        }
        len += text.len + 1;
    }
    char *bytes = burble__body_alloc(&request->body, len + 1, 1, problem);
    if (bytes == NULL)
        return false;
    out->bytes = bytes;
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            *bytes++ = '\n';
        read_part(request, json_array_get(list, i), path, &text, problem);
        memcpy(bytes, text.bytes, text.len);
        bytes += text.len;
    }
    out->len = (size_t)(bytes - out->bytes);
    return true;
}

static bool read_content(struct burble__request *request, const json_t *value, const char *role,
                         const char *path, burble_text *out, struct burble__problem *problem)
{
    *out = (burble_text){"", 0};
    /* An assistant's message that was a call of a tool, or a refusal. */
    if (burble__is_absent(value) && strcmp(role, "assistant") == 0)
        return true;
    if (json_is_string(value))
        return burble__body_text(value, path, out, problem);
    if (json_is_array(value))
        return join(request, value, path, out, problem);
    return burble__body_expected(problem, path, "a string or a list", value);
}

/* Whether a member of a message asks for nothing: empty, as clients send answers back. */
static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0)
           || (json_is_string(value) && json_string_length(value) == 0);
}

static bool read_message(struct burble__request *request, json_t *value, const char *path,
                         burble_serve_message *out, struct burble__problem *problem)
{
    if (!json_is_object(value))
        return burble__body_expected(problem, path, "an object", value);
    const char *role, *key;
    struct burble__body_path at = burble__body_path_member(path, "role");
    if (!burble__body_name(json_object_get(value, "role"), at.text, &role, problem))
        return false;
    if (*role == '\0')
        return burble__problem_set(problem, 400, NULL, at.text,
                                   "%s: expected the name of a role, found an empty string",
                                   at.text);
    /* OpenAI's newer name of the same. */
    if (strcmp(role, "developer") == 0)
        role = "system";
    out->role = (burble_text){role, strlen(role)};
    if (!read_content(request, json_object_get(value, "content"), role,
                      burble__body_path_member(path, "content").text, &out->content, problem)) {
        return false;
    }
    json_t *member;
    json_object_foreach(value, key, member)
    {
        if (strcmp(key, "role") == 0 || strcmp(key, "content") == 0 || burble__is_absent(member))
            continue;
        at = burble__body_path_member(path, key);
        if (strcmp(key, "name") == 0) {
            const char *name;
            if (!burble__body_name(member, at.text, &name, problem))
                return false;
            out->name = (burble_text){name, strlen(name)};
        } else if (!is_empty(member)) {
            burble__request_unknown(request, at.text, "not supported");
        }
    }
    return true;
}

bool burble__request_messages(struct burble__request *request, const json_t *value,
                              struct burble__problem *problem)
{
    static const char path[] = "messages";
    if (!json_is_array(value))
        return burble__body_expected(problem, path, "a list of messages", value);
    const size_t n = json_array_size(value);
    if (n == 0)
        return burble__problem_set(problem, 400, NULL, path,
                                   "%s: expected at least one message, found none", path);
    burble_serve_message *messages =
        burble__body_alloc(&request->body, n, sizeof *messages, problem);
    if (messages == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!read_message(request, json_array_get(value, i), burble__body_path_item(path, i).text,
                          &messages[i], problem)) {
            return false;
        }
    request->wanted.messages = messages;
    request->wanted.n_messages = n;
    return true;
}
