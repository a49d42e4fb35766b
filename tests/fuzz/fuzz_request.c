/* SPDX-License-Identifier: MIT
 *
 * Any body of a request: it is refused with an error that can be sent, or what the backend gets is as serve.h promises.
 *
 * The first byte says which route it is for; the rest is the body.
 */
#include "fuzz.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include <burble/serve.h>

#include "base/utf8.h"
#include "engine/grammar_rules.h"
#include "serve/event.h"
#include "serve/request.h"
#include "serve/tokenize.h"

static const struct {
    double least, most;
} ranges[] = {
#define RANGE(name, json, type, least, most) {least, most},
    BURBLE_SERVE_PARAMETERS(RANGE)
#undef RANGE
};

static void check_text(burble_text text)
{
    CHECK(text.bytes != NULL);
    CHECK(burble__utf8_valid(text.bytes, text.len));
}

static void check_problem(const struct burble__problem *problem)
{
    struct burble__buffer out;
    CHECK(problem->status == 400 || problem->status == 413 || problem->status == 503);
    CHECK(problem->message[0] != '\0');
    burble__buffer_init(&out, 1 << 16);
    CHECK(burble__problem_write(problem, &out) == BURBLE_OK);
    json_t *json = json_loadb(out.bytes, out.len, JSON_REJECT_DUPLICATES, NULL);
    CHECK(json != NULL);
    json_decref(json);
    burble__buffer_finish(&out);
}

static void check_prompt(const burble_serve_request *wanted)
{
    if (wanted->route == BURBLE_SERVE_COMPLETION) {
        check_text(wanted->prompt);
        CHECK(wanted->n_prompts >= 1
              && wanted->n_prompts * wanted->choices <= BURBLE_FRAME_MAX_CHOICES);
        CHECK(wanted->ids == wanted->prompts[0].ids);
        for (size_t k = 0; k < wanted->n_prompts; k++) {
            const burble_serve_prompt *prompt = &wanted->prompts[k];
            check_text(prompt->text);
            CHECK((prompt->ids == NULL) == (prompt->n_ids == 0));
            for (size_t i = 0; i < prompt->n_ids; i++)
                CHECK(prompt->ids[i] >= 0);
        }
        return;
    }
    CHECK(wanted->n_messages > 0);
    for (size_t i = 0; i < wanted->n_messages; i++) {
        const burble_serve_message *message = &wanted->messages[i];
        check_text(message->role);
        check_text(message->content);
        CHECK(message->role.len > 0 && memchr(message->role.bytes, 0, message->role.len) == NULL);
        CHECK(message->name.len == 0 || burble__utf8_valid(message->name.bytes, message->name.len));
    }
}

/* The grammar of a schema is one that the engine takes. */
static void check_grammar(burble_text text)
{
    struct burble__grammar_rules rules;
    CHECK(burble__grammar_rules_parse(text.bytes, text.len, &rules, NULL) == BURBLE_OK);
    burble__grammar_rules_finish(&rules);
}

static void check_parameters(const burble_serve_request *wanted)
{
    CHECK(wanted->given >> BURBLE_SERVE_N_PARAMETERS == 0);
    for (unsigned i = 0; i < BURBLE_SERVE_STOP; i++)
        if (wanted->given & BURBLE_SERVE_BIT(i))
            CHECK(wanted->numbers[i] >= ranges[i].least && wanted->numbers[i] <= ranges[i].most);
    CHECK(wanted->choices >= 1 && wanted->choices <= BURBLE_FRAME_MAX_CHOICES);
    CHECK(wanted->n_stop <= 64 && wanted->n_breakers <= 64 && wanted->n_bias <= 4096);
    CHECK((wanted->given & BURBLE_SERVE_BIT(BURBLE_SERVE_STOP)) != 0 ? wanted->n_stop > 0
                                                                     : wanted->n_stop == 0);
    for (size_t i = 0; i < wanted->n_stop; i++) {
        check_text(wanted->stop[i]);
        CHECK(wanted->stop[i].len > 0);
    }
    for (size_t i = 0; i < wanted->n_breakers; i++)
        check_text(wanted->breakers[i]);
    for (size_t i = 0; i < wanted->n_bias; i++) {
        const float bias = wanted->bias[i].bias;
        CHECK(wanted->bias[i].id >= 0);
        CHECK((bias >= -100 && bias <= 100) || (isinf(bias) && bias < 0));
    }
    check_text(wanted->grammar);
    if (wanted->json_schema && wanted->grammar.len > 0)
        check_grammar(wanted->grammar);
}

static void run_request(burble_serve_route route, const char *body, size_t len)
{
    static const burble_serve_model able = {.name = "m", .chat = true, .parameters = UINT64_MAX};
    static const burble_serve_model unable = {.name = "m"};
    struct burble__request *request;
    struct burble__problem problem = {0};
    if (!burble__request_parse(route, body, len, 16, &request, &problem)) {
        CHECK(request == NULL);
        check_problem(&problem);
        return;
    }
    CHECK(problem.status == 0);
    check_prompt(&request->wanted);
    check_parameters(&request->wanted);
    CHECK(request->model == NULL || burble__utf8_valid(request->model, strlen(request->model)));
    CHECK(burble__request_check(request, &able, &problem));
    if (!burble__request_check(request, &unable, &problem))
        check_problem(&problem);
    CHECK((burble__request_flags(request) >> BURBLE__ANSWER_CHOICES_SHIFT)
          == burble__request_choices(request));
    burble__request_destroy(&request);
}

static void run_tokenize(const char *body, size_t len)
{
    struct burble__tokenize tokenize;
    struct burble__problem problem;
    if (!burble__tokenize_parse(body, len, 16, &tokenize, &problem)) {
        check_problem(&problem);
        return;
    }
    check_text(tokenize.content);
    burble__tokenize_finish(&tokenize);
}

static void run_detokenize(const char *body, size_t len)
{
    struct burble__detokenize detokenize;
    struct burble__problem problem;
    if (!burble__detokenize_parse(body, len, 16, &detokenize, &problem)) {
        check_problem(&problem);
        return;
    }
    for (size_t i = 0; i < detokenize.n_ids; i++)
        CHECK(detokenize.ids[i] >= 0);
    burble__detokenize_finish(&detokenize);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *body = (const char *)data + 1;
    const size_t len = size - 1;
    switch (data[0] % 4) {
    case 0:
        run_request(BURBLE_SERVE_CHAT, body, len);
        break;
    case 1:
        run_request(BURBLE_SERVE_COMPLETION, body, len);
        break;
    case 2:
        run_tokenize(body, len);
        break;
    default:
        run_detokenize(body, len);
        break;
    }
    return 0;
}
