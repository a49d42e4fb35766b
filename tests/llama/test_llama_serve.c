/* SPDX-License-Identifier: MIT
 *
 * The engine as a backend: what the server's parameters are for it, and what it refuses, by which names.
 */
#include "engine_support.h"

#include <math.h>

#include <burble/llama_serve.h>

#undef submit /* the backend's */

enum { ROOM = 512 };

static burble_llama_engine *engine;
static burble_serve_model backend;

static int open_backend(void **state)
{
    burble_error error = {0};
    (void)state;
    model = load_model();
    engine = open_engine(model, 2, 3);
    return burble_llama_serve_model(engine, model, "small", &backend, &error);
}

static int close_backend(void **state)
{
    (void)state;
    backend.release(backend.arg);
    burble_llama_engine_destroy(&engine);
    burble_llama_model_unref(&model);
    return 0;
}

static burble_text text_of(const char *string)
{
    return (burble_text){string, strlen(string)};
}

/* A completion of 12 tokens, greedy. */
static burble_serve_request completion(const char *prompt)
{
    burble_serve_request request = {
        .id = "cmpl-0", .route = BURBLE_SERVE_COMPLETION, .model = "small", .choices = 1};
    request.prompt = text_of(prompt);
    request.given =
        BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS) | BURBLE_SERVE_BIT(BURBLE_SERVE_TEMPERATURE);
    request.numbers[BURBLE_SERVE_MAX_TOKENS] = 12;
    return request;
}

static void set(burble_serve_request *request, burble_serve_parameter parameter, double number)
{
    request->given |= BURBLE_SERVE_BIT(parameter);
    request->numbers[parameter] = number;
}

struct result {
    char text[1024];
    size_t len;
    uint32_t choices, ids, logprobs, top, reason;
    int end;
    burble_frame usage;
};

static void take(struct result *result, const burble_record *record)
{
    burble_frame frame;
    burble_logprob entry;
    assert_result(burble_frame_read(record->text, record->len, &frame), BURBLE_OK);
    if (frame.kind == BURBLE_FRAME_USAGE) {
        result->usage = frame;
        return;
    }
    result->ids += frame.u.text.n_ids;
    if (frame.kind == BURBLE_FRAME_FINISH) {
        result->choices++;
        result->reason = frame.u.text.reason;
        return;
    }
    if (frame.choice == 0) {
        memcpy(result->text + result->len, frame.u.text.text.bytes, frame.u.text.text.len);
        result->len += frame.u.text.text.len;
    }
    burble_text rest = frame.u.text.logprobs;
    while (burble_logprob_read(&rest, false, &entry)) {
        result->logprobs++;
        result->top = entry.n_top;
        for (uint32_t i = 0; i < result->top; i++)
            assert_true(burble_logprob_read(&rest, true, &entry));
    }
}

static void run_at(struct place at, const burble_serve_request *request, struct result *result)
{
    burble_reader *reader;
    burble_record record;
    burble_error error = {0};
    memset(result, 0, sizeof *result);
    burble_stream *stream = stream_and_reader_at(at, &reader);
    if (backend.submit(backend.arg, request, stream, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    while ((result->end = burble_reader_next(reader, &record)) == BURBLE_OK
           || result->end == BURBLE_AGAIN) {
        if (result->end == BURBLE_AGAIN)
            burble_reader_wait(reader, 0);
        else
            take(result, &record);
    }
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    assert_result_at(at, result->end, BURBLE_END);
}
#define run(...) run_at(HERE, __VA_ARGS__)

static void refuses_at(struct place at, const burble_serve_request *request, int code,
                       const char *message)
{
    burble_reader *reader;
    burble_error error = {0};
    burble_stream *stream = stream_and_reader_at(at, &reader);
    assert_result_at(at, backend.submit(backend.arg, request, stream, &error), code);
    if (strcmp(error.message, message) != 0)
        fail_at(at, "expected: %s, found: %s", message, error.message);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}
#define refuses(...) refuses_at(HERE, __VA_ARGS__)

/* The engine's own text for a request. */
static void assert_same_text_at(struct place at, const burble_serve_request *given,
                                burble_llama_request wanted)
{
    static struct output expected;
    static struct result found;
    wanted.reuse = false;
    generate_at(at, engine, &wanted, &expected);
    burble_serve_request request = *given;
    set(&request, BURBLE_SERVE_CACHE_PROMPT, 0);
    run_at(at, &request, &found);
    assert_int_equal_at(at, found.len, expected.len);
    assert_memory_equal_at(at, found.text, expected.text, expected.len);
}
#define assert_same_text(...) assert_same_text_at(HERE, __VA_ARGS__)

/* ---- parameters -------------------------------------------------------------------------------------- */

static void model_says_what_it_can(void **state)
{
    (void)state;
    assert_string_equal(backend.name, "small");
    assert_int_equal(backend.context, 512);
    assert_false(backend.chat); /* the shipped model has no template */
    for (unsigned i = 0; i < BURBLE_SERVE_N_PARAMETERS; i++)
        assert_true(backend.parameters & BURBLE_SERVE_BIT(i));
    assert_false(backend.parameters & BURBLE_SERVE_ANY);
}

static void parameters_are_those_of_engine(void **state)
{
    (void)state;
    burble_serve_request request = completion(prompts[0]);
    burble_llama_request wanted = request_for(prompts[0], 12);
    assert_same_text(&request, wanted);
    set(&request, BURBLE_SERVE_TEMPERATURE, 1.2);
    set(&request, BURBLE_SERVE_SEED, 7);
    wanted.temperature = 1.2f;
    wanted.seed = 7;
    assert_same_text(&request, wanted);
    const struct {
        burble_serve_parameter parameter;
        double value;
        size_t offset;
        bool is_float;
    } each[] = {
        {BURBLE_SERVE_TOP_P, 0.5, offsetof(burble_llama_request, top_p), true},
        {BURBLE_SERVE_TOP_K, 3, offsetof(burble_llama_request, top_k), false},
        {BURBLE_SERVE_MIN_P, 0.3, offsetof(burble_llama_request, min_p), true},
        {BURBLE_SERVE_TYPICAL_P, 0.4, offsetof(burble_llama_request, typical_p), true},
        {BURBLE_SERVE_PRESENCE_PENALTY, 2, offsetof(burble_llama_request, presence_penalty), true},
        {BURBLE_SERVE_FREQUENCY_PENALTY, 2, offsetof(burble_llama_request, frequency_penalty),
         true},
        {BURBLE_SERVE_REPEAT_PENALTY, 2, offsetof(burble_llama_request, repeat_penalty), true},
        {BURBLE_SERVE_DRY_MULTIPLIER, 3, offsetof(burble_llama_request, dry_multiplier), true},
        {BURBLE_SERVE_MIROSTAT, 2, offsetof(burble_llama_request, mirostat), false},
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        burble_serve_request one = request;
        burble_llama_request same = wanted;
        set(&one, each[i].parameter, each[i].value);
        char *at = (char *)&same + each[i].offset;
        const float number = (float)each[i].value;
        const uint32_t whole = (uint32_t)each[i].value;
        memcpy(at, each[i].is_float ? (const void *)&number : (const void *)&whole, 4);
        assert_same_text(&one, same);
    }
    set(&request, BURBLE_SERVE_REPEAT_PENALTY, 2);
    wanted.repeat_penalty = 2;
    set(&request, BURBLE_SERVE_REPEAT_LAST_N, -1);
    wanted.penalty_last_n = UINT32_MAX;
    assert_same_text(&request, wanted);
    set(&request, BURBLE_SERVE_TOP_P, 0); /* the likeliest token alone */
    wanted.top_p = 1e-6f;
    assert_same_text(&request, wanted);
}

static void ids_grammars_biases_and_stops_arrive(void **state)
{
    static struct result found;
    int32_t ids[ROOM];
    size_t n;
    (void)state;
    burble_serve_request request = completion(prompts[1]);
    burble_llama_request wanted = request_for(prompts[1], 12);
    assert_result(
        burble_llama_model_tokenize(model, prompts[1], strlen(prompts[1]), false, ids, ROOM, &n),
        BURBLE_OK);
    request.prompt = (burble_text){NULL, 0};
    request.ids = ids;
    request.n_ids = n;
    assert_same_text(&request, wanted);
    request.given |= BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR);
    request.grammar = text_of("root ::= \"yes\"");
    run(&request, &found);
    assert_memory_equal(found.text, "yes", 3);
    assert_int_equal(found.reason, BURBLE_FRAME_STOP);
    const burble_text stop = {"e", 1};
    request.stop = &stop;
    request.n_stop = 1;
    run(&request, &found);
    assert_int_equal(found.len, 1);
    request = completion(prompts[1]);
    run(&request, &found);
    const burble_serve_bias bias = {ids[n - 1], 100.0f};
    request.bias = &bias;
    request.n_bias = 1;
    set(&request, BURBLE_SERVE_IGNORE_EOS, 1);
    run(&request, &found);
    const burble_llama_bias same = {ids[n - 1], 100.0f};
    wanted.logit_bias = &same;
    wanted.n_logit_bias = 1;
    wanted.ignore_end = true;
    assert_same_text(&request, wanted);
    /* Special tokens may be written in the prompt of a completion. */
    request = completion("<s>ROMEO:");
    wanted = request_for("<s>ROMEO:", 12);
    wanted.specials = true;
    assert_same_text(&request, wanted);
}

static void choices_and_logprobs_arrive(void **state)
{
    static struct result found;
    (void)state;
    burble_serve_request request = completion(prompts[0]);
    request.choices = 4;
    set(&request, BURBLE_SERVE_CHOICES, 4);
    set(&request, BURBLE_SERVE_LOGPROBS, 1);
    set(&request, BURBLE_SERVE_TOP_LOGPROBS, 3);
    run(&request, &found);
    assert_int_equal(found.choices, 4);
    assert_int_equal(found.top, 3);
    assert_true(found.logprobs > 40);
    assert_int_equal(found.usage.u.usage.completion, found.ids);
    set(&request, BURBLE_SERVE_LOGPROBS, 0);
    run(&request, &found);
    assert_int_equal(found.logprobs, 0);
}

static void what_cannot_be_is_refused_by_its_name(void **state)
{
    static char long_text[6000];
    (void)state;
    burble_serve_request request = completion(prompts[0]);
    request.given |= BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR);
    request.grammar = text_of("root ::= \"yes\"");
    request.json_object = true;
    refuses(&request, BURBLE_EINVAL,
            "response_format: expected \"text\" beside a grammar, found \"json_object\"");
    request.json_object = false;
    set(&request, BURBLE_SERVE_IGNORE_EOS, 1);
    refuses(&request, BURBLE_EINVAL,
            "ignore_eos: expected false, as a grammar ends the text, found true");
    request = completion(prompts[0]);
    request.choices = 6;
    refuses(&request, BURBLE_EINVAL, "n: expected at most 5, found 6");
    request = completion(prompts[0]);
    const burble_serve_bias bias = {2048, 1.0f};
    request.bias = &bias;
    request.n_bias = 1;
    refuses(&request, BURBLE_EINVAL, "logit_bias: expected ids from 0 to 2047, found 2048");
    request = completion(prompts[0]);
    set(&request, BURBLE_SERVE_MIROSTAT, 1);
    refuses(&request, BURBLE_EINVAL, "mirostat: expected a temperature above 0, found 0");
    memset(long_text, 'z', sizeof long_text - 1);
    request = completion(long_text);
    burble_reader *reader;
    burble_error error = {0};
    burble_stream *stream = stream_and_reader(&reader);
    assert_result(backend.submit(backend.arg, &request, stream, &error), BURBLE_ETOOLONG);
    assert_non_null(strstr(error.message, "prompt: expected at most 511 tokens"));
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}

static void chat_without_template_is_refused(void **state)
{
    burble_serve_message messages[] = {{.role = {"user", 4}, .content = {"Hello", 5}}};
    (void)state;
    burble_serve_request request = completion("");
    request.route = BURBLE_SERVE_CHAT;
    request.messages = messages;
    request.n_messages = 1;
    refuses(&request, BURBLE_EUNSUPPORTED, "the model has no chat template");
    messages[0].name = text_of("Jane");
    refuses(&request, BURBLE_EUNSUPPORTED,
            "messages[0].name: expected none, as chat templates have no names, found one");
    static char long_text[1 << 20];
    memset(long_text, 'z', sizeof long_text);
    messages[0].content = (burble_text){long_text, sizeof long_text};
    refuses(&request, BURBLE_ETOOLONG,
            "messages: expected at most 511 tokens, as the context is 512, found 1048576 bytes of "
            "text");
}

/* ---- the other functions ------------------------------------------------------------------------------ */

static void tokens_and_places_are_those_of_engine(void **state)
{
    int32_t ids[ROOM];
    int32_t same[ROOM];
    size_t n;
    size_t n_same;
    char text[64];
    size_t len;
    burble_serve_load load;
    burble_serve_place place;
    burble_error error = {0};
    (void)state;
    const burble_text romeo = text_of("ROMEO: hear");
    assert_result(backend.tokenize(backend.arg, romeo, true, false, ids, ROOM, &n, &error),
                  BURBLE_OK);
    assert_result(
        burble_llama_model_tokenize(model, romeo.bytes, romeo.len, false, same, ROOM, &n_same),
        BURBLE_OK);
    assert_int_equal(n, n_same);
    assert_memory_equal(ids, same, n * sizeof *ids);
    assert_result(backend.tokenize(backend.arg, romeo, false, false, ids, ROOM, &n, &error),
                  BURBLE_OK);
    assert_true(n <= n_same);
    assert_memory_equal(ids, same + (n_same - n), n * sizeof *ids);
    assert_result(backend.tokenize(backend.arg, romeo, false, false, NULL, 0, &n, &error),
                  BURBLE_EFULL);
    assert_true(n > 0);
    assert_result(
        backend.tokenize(backend.arg, text_of("\xFF"), true, false, ids, ROOM, &n, &error),
        BURBLE_EINVAL);
    assert_string_equal(error.message, "content: expected UTF-8, found byte 0xff at 0");
    assert_result(backend.piece(backend.arg, same[n_same - 1], text, sizeof text, &len), BURBLE_OK);
    assert_true(len > 0);
    assert_result(backend.piece(backend.arg, 1 << 20, text, sizeof text, &len), BURBLE_EINVAL);
    backend.load(backend.arg, &load);
    assert_int_equal(load.slots, 2);
    assert_true(load.tokens > 0 && load.steps > 0);
    burble_reader *reader;
    burble_stream *stream = stream_and_reader(&reader);
    burble_serve_request request = completion(prompts[0]);
    set(&request, BURBLE_SERVE_MAX_TOKENS, 400);
    set(&request, BURBLE_SERVE_IGNORE_EOS, 1);
    assert_result(backend.submit(backend.arg, &request, stream, NULL), BURBLE_OK);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    backend.place(backend.arg, stream, &place);
    assert_false(place.waits);
    assert_true(place.prompt_done == place.prompt_tokens);
    burble_stream_cancel(stream);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    wait_until_active(engine, 0);
}

/* ---- going on with an answer that another engine has begun ------------------------------------------------ */

enum { MOST_FRAMES = 96 };

struct frames {
    burble_text list[MOST_FRAMES];
    size_t n;
    char bytes[16384];
    size_t len;
    int end;
    burble_status status;
};

/* All frames that the backend writes behind those of `request->written`. */
static void collect_at(struct place at, burble_serve_model *of, const burble_serve_request *request,
                       struct frames *out)
{
    burble_reader *reader;
    burble_record record;
    burble_error error = {0};
    *out = (struct frames){.n = 0};
    burble_stream *stream = stream_and_reader_at(at, &reader);
    for (size_t i = 0; i < request->n_written; i++) {
        burble_stream_append(stream, request->written[i].bytes, request->written[i].len, 0);
        burble_reader_next(reader, &record);
    }
    if (of->submit(of->arg, request, stream, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    while ((out->end = burble_reader_next(reader, &record)) == BURBLE_OK
           || out->end == BURBLE_AGAIN) {
        if (out->end == BURBLE_AGAIN) {
            burble_reader_wait(reader, 0);
            continue;
        }
        assert_true_at(at, out->n < MOST_FRAMES && out->len + record.len <= sizeof out->bytes);
        out->list[out->n++] =
            (burble_text){memcpy(out->bytes + out->len, record.text, record.len), record.len};
        out->len += record.len;
    }
    burble_stream_status(stream, &out->status);
    out->status.message = "";
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    assert_result_at(at, out->end, BURBLE_END);
}

/* Times are those of whoever wrote the rest, and so are the number of reused tokens and the last bits of
 * log-probabilities. */
static void assert_same_frame_at(struct place at, burble_text found, burble_text expected)
{
    burble_frame a;
    burble_frame b;
    assert_result_at(at, burble_frame_read(expected.bytes, expected.len, &a), BURBLE_OK);
    assert_result_at(at, burble_frame_read(found.bytes, found.len, &b), BURBLE_OK);
    if (a.kind == BURBLE_FRAME_USAGE && b.kind == a.kind) {
        assert_int_equal_at(at, b.u.usage.prompt, a.u.usage.prompt);
        assert_int_equal_at(at, b.u.usage.completion, a.u.usage.completion);
        return;
    }
    assert_int_equal_at(at, found.len, expected.len);
    if (a.kind != BURBLE_FRAME_TEXT || a.u.text.logprobs.len == 0) {
        assert_memory_equal_at(at, found.bytes, expected.bytes, expected.len);
        return;
    }
    assert_int_equal_at(at, b.u.text.n_ids, a.u.text.n_ids);
    assert_int_equal_at(at, b.u.text.logprobs.len, a.u.text.logprobs.len);
    assert_memory_equal_at(at, b.u.text.ids.bytes, a.u.text.ids.bytes, a.u.text.ids.len);
    assert_memory_equal_at(at, b.u.text.text.bytes, a.u.text.text.bytes, a.u.text.text.len);
}

static void assert_continues_at(struct place at, burble_serve_model *other,
                                const burble_serve_request *given)
{
    static struct frames whole;
    static struct frames rest;
    collect_at(at, &backend, given, &whole);
    assert_true_at(at, whole.n >= 2);
    for (size_t cut = 1; cut <= whole.n; cut++) {
        burble_serve_request request = *given;
        request.written = whole.list;
        request.n_written = cut;
        collect_at(at, other, &request, &rest);
        assert_int_equal_at(at, cut + rest.n, whole.n);
        for (size_t i = 0; i < rest.n; i++)
            assert_same_frame_at(at, rest.list[i], whole.list[cut + i]);
        assert_int_equal_at(at, rest.status.reason, whole.status.reason);
    }
}
#define assert_continues(...) assert_continues_at(HERE, __VA_ARGS__)

static void answer_cut_at_any_frame_goes_on_elsewhere(void **state)
{
    burble_serve_model other;
    burble_error error;
    (void)state;
    burble_llama_engine *second = open_engine(model, 2, 3);
    assert_result(burble_llama_serve_model(second, model, "other", &other, &error), BURBLE_OK);
    assert_string_equal(other.digest, backend.digest);
    assert_int_equal(strlen(other.digest), 32);
    burble_serve_request request = completion(prompts[0]);
    set(&request, BURBLE_SERVE_MAX_TOKENS, 24);
    assert_continues(&other, &request);
    set(&request, BURBLE_SERVE_TEMPERATURE, 1.3);
    set(&request, BURBLE_SERVE_SEED, 11);
    assert_continues(&other, &request);
    set(&request, BURBLE_SERVE_LOGPROBS, 1);
    set(&request, BURBLE_SERVE_TOP_LOGPROBS, 2);
    set(&request, BURBLE_SERVE_REPEAT_PENALTY, 1.5);
    set(&request, BURBLE_SERVE_DRY_MULTIPLIER, 2);
    assert_continues(&other, &request);
    const burble_text stop[] = {text_of("e h"), text_of("zzzz")};
    request.stop = stop;
    request.n_stop = 2;
    assert_continues(&other, &request);
    request = completion(prompts[2]);
    set(&request, BURBLE_SERVE_TEMPERATURE, 1);
    set(&request, BURBLE_SERVE_SEED, 5);
    set(&request, BURBLE_SERVE_MIROSTAT, 2);
    assert_continues(&other, &request);
    request = completion(prompts[1]);
    request.given |= BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR);
    request.grammar = text_of("root ::= \"yes, \" [a-z]+ \" no\"");
    set(&request, BURBLE_SERVE_MAX_TOKENS, 20);
    assert_continues(&other, &request);
    /* Until the context is full. */
    static int32_t ids[ROOM];
    size_t n;
    burble_llama_model_tokenize(model, prompts[0], strlen(prompts[0]), false, ids, ROOM, &n);
    for (size_t i = n; i < 490; i++)
        ids[i] = ids[i - n + 1];
    request = completion("");
    request.ids = ids;
    request.n_ids = 490;
    request.given &= ~BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS);
    set(&request, BURBLE_SERVE_IGNORE_EOS, 1);
    assert_continues(&other, &request);
    other.release(other.arg);
    burble_llama_engine_destroy(&second);
}

static void several_choices_are_not_continued(void **state)
{
    char bytes[64];
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
    (void)state;
    frame.u.text.text = text_of("x");
    frame.u.text.ids = frame.u.text.logprobs = (burble_text){"", 0};
    const burble_text written = {bytes, burble_frame_write(&frame, bytes, sizeof bytes)};
    burble_serve_request request = completion(prompts[0]);
    request.written = &written;
    request.n_written = 1;
    request.choices = 2;
    refuses(&request, BURBLE_EUNSUPPORTED, "n: an answer of several choices cannot be continued");
    request.choices = 1;
    const burble_text malformed = {"\x02", 1};
    request.written = &malformed;
    refuses(&request, BURBLE_EFORMAT, "written[0]: expected a frame");
}

static void digest_depends_on_model_and_context(void **state)
{
    burble_llama_engine_options options;
    burble_serve_model other;
    burble_llama_engine *second;
    burble_error error;
    (void)state;
    burble_llama_engine_options_init(&options);
    options.slots = 1;
    options.context = 256;
    assert_result(burble_llama_engine_create(model, &options, &second, &error), BURBLE_OK);
    assert_result(burble_llama_serve_model(second, model, "other", &other, &error), BURBLE_OK);
    assert_string_not_equal(other.digest, backend.digest);
    other.release(other.arg);
    burble_llama_engine_destroy(&second);
}

static void bad_name_is_refused(void **state)
{
    static char name[BURBLE_FRAME_MAX_NAME + 2];
    burble_serve_model none;
    burble_error error = {0};
    (void)state;
    memset(name, 'a', sizeof name - 1);
    assert_result(burble_llama_serve_model(engine, model, name, &none, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "name: expected 1 to 255 bytes, found 256");
    assert_result(burble_llama_serve_model(engine, model, "", &none, &error), BURBLE_EINVAL);
    assert_result(burble_llama_serve_model(engine, model, NULL, &none, &error), BURBLE_EINVAL);
    assert_null(none.submit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_says_what_it_can),
        cmocka_unit_test(parameters_are_those_of_engine),
        cmocka_unit_test(ids_grammars_biases_and_stops_arrive),
        cmocka_unit_test(choices_and_logprobs_arrive),
        cmocka_unit_test(what_cannot_be_is_refused_by_its_name),
        cmocka_unit_test(chat_without_template_is_refused),
        cmocka_unit_test(tokens_and_places_are_those_of_engine),
        cmocka_unit_test(answer_cut_at_any_frame_goes_on_elsewhere),
        cmocka_unit_test(several_choices_are_not_continued),
        cmocka_unit_test(digest_depends_on_model_and_context),
        cmocka_unit_test(bad_name_is_refused),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
