/* SPDX-License-Identifier: MIT
 *
 * The parts of the server that have no sockets: requests, answers with their registry, events and whole replies, keys,
 * models and metrics.
 */
#include "torture.h"

#ifdef TORTURE_PROTOCOL
#include <string.h>

#include "base/buffer.h"
#include "serve/event.h"
#include "serve/keys.h"
#include "serve/metrics.h"
#include "serve/registry.h"
#include "serve/request.h"
#include "serve/tokenize.h"
#include "serve/whole.h"

/* ---- requests ------------------------------------------------------------------------------------------ */

/* The result of a function that fills in a problem if it fails: here, that is only without memory. */
static int result_of(bool ok, const struct burble__problem *problem)
{
    CHECK(ok || (problem->status == 503 && problem->retry_after > 0));
    return ok ? BURBLE_OK : BURBLE_ENOMEM;
}

static int parse(burble_serve_route route, const char *body, struct burble__request **out)
{
    struct burble__problem problem = {0};
    return result_of(burble__request_parse(route, body, strlen(body), 64, out, &problem), &problem);
}

static int tokenize(const char *body, struct burble__tokenize *out)
{
    struct burble__problem problem = {0};
    return result_of(burble__tokenize_parse(body, strlen(body), 64, out, &problem), &problem);
}

static int detokenize(const char *body, struct burble__detokenize *out)
{
    struct burble__problem problem = {0};
    return result_of(burble__detokenize_parse(body, strlen(body), 64, out, &problem), &problem);
}

void torture_requests(void)
{
    static const char chat[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":"
        "\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":\"c\"}],"
        "\"stop\":[\"x\",\"y\"],\"logit_bias\":{\"1\":-1,\"2\":false},\"n\":2}";
    static const char completion[] = "{\"prompt\":[1,2,3],\"logprobs\":2}";
    struct burble__request *requests[2] = {NULL, NULL};
    struct burble__tokenize text = {0};
    struct burble__detokenize ids = {0};

    torture_begin();
    TRY(parse(BURBLE_SERVE_CHAT, chat, &requests[0]));
    CHECK(requests[0]->wanted.n_messages == 2 && requests[0]->wanted.n_stop == 2);
    CHECK(requests[0]->wanted.n_bias == 2 && requests[0]->wanted.messages[0].content.len == 3);
    TRY(parse(BURBLE_SERVE_COMPLETION, completion, &requests[1]));
    CHECK(requests[1]->wanted.n_ids == 3 && requests[1]->wanted.ids[2] == 3);
    TRY(tokenize("{\"content\":\"some text\"}", &text));
    CHECK(text.content.len == 9);
    TRY(detokenize("{\"tokens\":[1,2]}", &ids));
    CHECK(ids.n_ids == 2);
out:
    burble__request_destroy(&requests[0]);
    burble__request_destroy(&requests[1]);
    burble__tokenize_finish(&text);
    burble__detokenize_finish(&ids);
    torture_end();
}

/* ---- answers ------------------------------------------------------------------------------------------- */

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    (void)arg, (void)request, (void)stream, (void)error;
    return BURBLE_OK;
}

static const burble_serve_model backend = {.name = "m", .submit = submit};

/* Everything that an answer is made of; NULL where there was no memory. */
struct parts {
    struct burble__models *models;
    struct burble__model *model;
    struct burble__keys *keys;
    struct burble__registry *registry;
    struct burble__answer *answer;
    struct burble__whole *whole;
    struct burble__tally tally;
    struct burble__buffer out;
    burble_reader *reader;
};

static void give_back(struct parts *parts)
{
    burble_reader_destroy(&parts->reader);
    burble__whole_destroy(&parts->whole);
    burble__tally_finish(&parts->tally);
    burble__buffer_finish(&parts->out);
    burble__answer_drop(&parts->answer);
    burble__registry_destroy(&parts->registry);
    burble__keys_destroy(&parts->keys);
    burble__model_drop(&parts->model);
    burble__models_destroy(&parts->models);
}

/* Appends the text of a choice with the probability of one token. */
static int append_text(burble_stream *stream, uint32_t choice)
{
    char entry[32], bytes[64];
    const burble_logprob token = {.id = 1, .logprob = -1, .text = {"ab", 2}};
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT, .choice = choice};
    frame.u.text.text = token.text;
    frame.u.text.logprobs =
        (burble_text){entry, burble_logprob_write(&token, false, entry, sizeof entry)};
    return burble_stream_append(stream, bytes, burble_frame_write(&frame, bytes, sizeof bytes), 1);
}

static int append_finish(burble_stream *stream, uint32_t choice)
{
    char bytes[32];
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH, .choice = choice};
    frame.u.text.reason = BURBLE_FRAME_STOP;
    return burble_stream_append(stream, bytes, burble_frame_write(&frame, bytes, sizeof bytes), 0);
}

/* The next record of the answer, as a client gets it. */
static burble_frame next_frame(struct parts *parts, burble_record *record)
{
    burble_frame frame;
    CHECK(burble_reader_next(parts->reader, record) == BURBLE_OK);
    CHECK(burble_frame_read(record->text, record->len, &frame) == BURBLE_OK);
    return frame;
}

void torture_answers(void)
{
    static const char *const keys[] = {"one", "two"};
    static const struct burble__registry_options options = {.retain = 0, .resume_time = 1};
    struct parts parts = {.models = NULL};
    struct burble__answer *earlier;
    burble_error error;
    burble__buffer_init(&parts.out, 1 << 20);
    burble__tally_init(&parts.tally, true);

    torture_begin();
    TRY(burble__models_create(&parts.models));
    TRY(burble__models_add(parts.models, &backend, 1, &error));
    parts.model = burble__models_find(parts.models, "m", 1);
    CHECK(parts.model != NULL);
    TRY(burble__keys_create(&parts.keys));
    TRY(burble__keys_set(parts.keys, keys, COUNT(keys), &error));
    TRY(burble__registry_create(&options, &parts.registry));
    const struct burble__answer_options answer = {
        .route = BURBLE_SERVE_COMPLETION,
        .flags = BURBLE__ANSWER_LOGPROBS | (uint64_t)2 << BURBLE__ANSWER_CHOICES_SHIFT,
        .model = parts.model,
        .resumable = true,
        .idempotency = "again",
        .idempotency_len = 5,
        .now = 1,
    };
    TRY(burble__answer_create(&answer, &parts.answer));
    CHECK(burble__registry_add(parts.registry, parts.answer, &earlier) == BURBLE__NOT_FOUND);
    for (uint32_t choice = 0; choice < 2; choice++)
        TRY(append_text(parts.answer->stream, choice));
    for (uint32_t choice = 0; choice < 2; choice++)
        TRY(append_finish(parts.answer->stream, choice));
    CHECK(burble_stream_end(parts.answer->stream, BURBLE_REASON_STOP) == BURBLE_OK);

    TRY(burble_reader_create(parts.answer->stream, 0, &parts.reader, NULL));
    TRY(burble__whole_create(parts.answer->envelope, 1 << 20, &parts.whole));
    for (unsigned i = 0; i < 5; i++) {
        burble_record record;
        const burble_frame frame = next_frame(&parts, &record);
        const struct burble__envelope *envelope = parts.answer->envelope;
        const char *bytes = record.text;
        TRY(burble__tally_add(&parts.tally, envelope, bytes, record.len, &frame));
        TRY(burble__event_write(envelope, BURBLE__FORM_OPENAI, &frame, &parts.tally, &parts.out));
        /* What was not added for lack of memory must not be added again: the answer has failed. */
        if (burble__whole_add(parts.whole, bytes, record.len, &frame) != BURBLE_OK)
            goto out;
    }
    parts.out.len = 0;
    if (burble__whole_write(parts.whole, &parts.out) != BURBLE_OK)
        goto out;
    CHECK(parts.out.len > 100 && parts.out.bytes[parts.out.len - 1] == '}');
    /* It has ended, and is above the bytes that are retained. */
    burble__registry_tick(parts.registry, 1);
    struct burble__registry_stats stats;
    burble__registry_stats(parts.registry, &stats);
    CHECK(stats.evicted == 1 && stats.retained == 0);
out:
    give_back(&parts);
    torture_end();
}

#else

void torture_requests(void)
{
}

void torture_answers(void)
{
}

#endif
