/* SPDX-License-Identifier: MIT */
#include "serve/tokenize.h"

#include <string.h>

#include <burble/error.h>

#include "base/utf8.h"
#include "serve/echo.h"
#include "serve/json.h"

/* Refuses members that none of `names` is. */
static bool check_names(json_t *root, const char *const *names, size_t n,
                        struct burble__problem *problem)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        size_t i = 0;
        while (i < n && strcmp(names[i], key) != 0)
            i++;
        if (i == n && !burble__is_absent(value)) {
            const struct burble__body_path path = burble__body_path_member("", key);
            return burble__problem_set(problem, 400, "unsupported_parameter", path.text,
                                       "%s: not a parameter of this route", path.text);
        }
    }
    return true;
}

static bool read_flag(const json_t *root, const char *name, bool *out,
                      struct burble__problem *problem)
{
    const json_t *value = json_object_get(root, name);
    return burble__is_absent(value) || burble__body_boolean(value, name, out, problem);
}

static bool read_model(const json_t *root, const char **out, struct burble__problem *problem)
{
    const json_t *value = json_object_get(root, "model");
    return burble__is_absent(value) || burble__body_name(value, "model", out, problem);
}

bool burble__tokenize_parse(const char *body, size_t len, unsigned max_depth,
                            struct burble__tokenize *out, struct burble__problem *problem)
{
    static const char *const names[] = {"content", "model", "add_special", "parse_special",
                                        "with_pieces"};
    *out = (struct burble__tokenize){.parse_special = true};
    bool ok = burble__body_parse(&out->body, body, len, max_depth, problem)
              && check_names(out->body.root, names, sizeof names / sizeof names[0], problem)
              && read_model(out->body.root, &out->model, problem)
              && read_flag(out->body.root, "add_special", &out->add_special, problem)
              && read_flag(out->body.root, "parse_special", &out->parse_special, problem)
              && read_flag(out->body.root, "with_pieces", &out->with_pieces, problem)
              && burble__body_text(json_object_get(out->body.root, "content"), "content",
                                   &out->content, problem);
    if (!ok)
        burble__tokenize_finish(out);
    return ok;
}

bool burble__detokenize_parse(const char *body, size_t len, unsigned max_depth,
                              struct burble__detokenize *out, struct burble__problem *problem)
{
    static const char *const names[] = {"tokens", "model"};
    *out = (struct burble__detokenize){0};
    bool ok = burble__body_parse(&out->body, body, len, max_depth, problem)
              && check_names(out->body.root, names, sizeof names / sizeof names[0], problem)
              && read_model(out->body.root, &out->model, problem);
    if (ok) {
        const json_t *tokens = json_object_get(out->body.root, "tokens");
        if (!json_is_array(tokens) || json_array_size(tokens) > 0)
            ok = burble__body_ids(&out->body, tokens, "tokens", &out->ids, &out->n_ids, problem);
    }
    if (!ok)
        burble__detokenize_finish(out);
    return ok;
}

void burble__tokenize_finish(struct burble__tokenize *tokenize)
{
    burble__body_finish(&tokenize->body);
}

void burble__detokenize_finish(struct burble__detokenize *detokenize)
{
    burble__body_finish(&detokenize->body);
}

int burble__tokenize_write(const int32_t *ids, size_t n, struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    burble__put_raw(&out, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++) {
        burble__put_raw(&out, i > 0 ? "," : "");
        burble__put_integer(&out, (uint32_t)ids[i]);
    }
    burble__put_raw(&out, "]}");
    return out.result;
}

static void put_piece(struct burble__output *out, const char *bytes, size_t n)
{
    if (burble__utf8_valid(bytes, n)) {
        burble__put_string(out, bytes, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        burble__put_raw(out, i == 0 ? "[" : ",");
        burble__put_integer(out, (unsigned char)bytes[i]);
    }
    burble__put_raw(out, "]");
}

int burble__tokenize_write_pieces(const burble_serve_model *backend, const int32_t *ids, size_t n,
                                  struct burble__buffer *buffer, burble_error *error)
{
    struct burble__output out = {buffer, BURBLE_OK};
    struct burble__buffer text;
    burble__buffer_init(&text, (size_t)2 * BURBLE__MAX_PIECE);
    burble__put_raw(&out, "{\"tokens\":[");
    for (size_t i = 0; i < n && out.result == BURBLE_OK; i++) {
        text.len = 0;
        out.result = burble__put_pieces(backend, "tokens", &ids[i], 1, &text, error);
        burble__put_raw(&out, i > 0 ? ",{\"id\":" : "{\"id\":");
        burble__put_integer(&out, (uint32_t)ids[i]);
        burble__put_raw(&out, ",\"piece\":");
        if (text.len > 0)
            put_piece(&out, text.bytes, text.len);
        else
            burble__put_raw(&out, "\"\"");
        burble__put_raw(&out, "}");
    }
    burble__put_raw(&out, "]}");
    burble__buffer_finish(&text);
    return out.result;
}

int burble__detokenize_write(const char *text, size_t len, struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    burble__put_raw(&out, "{\"content\":");
    burble__put_string(&out, text, len);
    burble__put_raw(&out, "}");
    return out.result;
}
