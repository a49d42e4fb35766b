/* SPDX-License-Identifier: MIT
 *
 * Answers as frames: what these say of the tokens, several choices on one stream, and answers that are continued
 * from any of their frames.
 */
#include "engine_support.h"

#include <math.h>

#include <burble/clock.h>

enum { PROMPT = 400, MOST = 128, FRAMES = 1024, CHOICES = 6 };

/* What the frames of one choice say. */
struct choice {
    char text[2048];
    size_t len;
    int32_t ids[MOST];
    uint32_t n_ids;
    uint32_t reason; /* 0: not finished */
    char stop[64];
    float logprobs[MOST]; /* of the tokens that have some */
    int32_t of[MOST];     /* ids of these */
    uint32_t n_logprobs;
    char pieces[2048]; /* the texts of these */
};

struct framed {
    struct choice choices[CHOICES];
    burble_frame usage;
    uint32_t frames, texts;
    struct {
        uint32_t n_ids; /* of choice 0, up to this frame */
        size_t len;
        burble_frame_kind kind;
    } at[FRAMES];
    uint64_t tokens; /* of the records */
    int end;
    burble_reason reason;
};

static void take_logprobs(struct place at, struct choice *choice, burble_text rest)
{
    burble_logprob entry;
    while (burble_logprob_read(&rest, false, &entry)) {
        float before = INFINITY;
        choice->of[choice->n_logprobs] = entry.id;
        choice->logprobs[choice->n_logprobs++] = entry.logprob;
        memcpy(choice->pieces + strlen(choice->pieces), entry.text.bytes, entry.text.len);
        for (uint32_t i = 0; i < entry.n_top; i++) {
            burble_logprob top;
            assert_true_at(at, burble_logprob_read(&rest, true, &top));
            assert_true_at(at, top.logprob <= before);
            before = top.logprob;
        }
    }
}

static void take_frame(struct place at, struct framed *framed, const burble_record *record)
{
    burble_frame frame;
    assert_result_at(at, burble_frame_read(record->text, record->len, &frame), BURBLE_OK);
    assert_true_at(at, framed->usage.kind == 0); /* it is the last one */
    if (frame.kind == BURBLE_FRAME_BEGIN) {
        assert_int_equal_at(at, record->seq, 0);
        return;
    }
    framed->tokens += record->tokens;
    if (frame.kind == BURBLE_FRAME_USAGE) {
        framed->usage = frame;
    } else {
        assert_true_at(at, frame.choice < CHOICES);
        struct choice *choice = &framed->choices[frame.choice];
        assert_true_at(at, choice->n_ids + frame.u.text.n_ids <= MOST && choice->reason == 0);
        assert_int_equal_at(at, record->tokens, frame.u.text.n_ids);
        burble_frame_ids(&frame, choice->ids + choice->n_ids);
        choice->n_ids += frame.u.text.n_ids;
        if (frame.kind == BURBLE_FRAME_FINISH) {
            choice->reason = frame.u.text.reason;
            memcpy(choice->stop, frame.u.text.text.bytes, frame.u.text.text.len);
        } else {
            assert_int_equal_at(at, frame.kind, BURBLE_FRAME_TEXT);
            assert_true_at(at, frame.u.text.text.len > 0 || frame.u.text.n_ids > 0);
            memcpy(choice->text + choice->len, frame.u.text.text.bytes, frame.u.text.text.len);
            choice->len += frame.u.text.text.len;
            take_logprobs(at, choice, frame.u.text.logprobs);
            framed->texts++;
        }
    }
    framed->at[framed->frames].n_ids = framed->choices[0].n_ids;
    framed->at[framed->frames].len = framed->choices[0].len;
    framed->at[framed->frames++].kind = frame.kind;
}

/* Reads all frames of a stream, and drops both. */
static void read_frames_at(struct place at, burble_stream *stream, burble_reader *reader,
                           struct framed *framed)
{
    burble_record record;
    burble_status status;
    memset(framed, 0, sizeof *framed);
    while ((framed->end = burble_reader_next(reader, &record)) == BURBLE_OK
           || framed->end == BURBLE_AGAIN) {
        if (framed->end == BURBLE_AGAIN)
            burble_reader_wait(reader, 0);
        else
            take_frame(at, framed, &record);
    }
    burble_stream_status(stream, &status);
    framed->reason = status.reason;
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
}
#define read_frames(...) read_frames_at(HERE, __VA_ARGS__)

static void answer_at(struct place at, burble_llama_engine *engine, burble_llama_request request,
                      struct framed *framed)
{
    burble_reader *reader;
    burble_error error = {0};
    burble_stream *stream = stream_and_reader_at(at, &reader);
    request.frames = true;
    if (burble_llama_engine_submit(engine, &request, stream, &error) != BURBLE_OK)
        fail_at(at, "%s", error.message);
    read_frames_at(at, stream, reader, framed);
}
#define answer(...) answer_at(HERE, __VA_ARGS__)

static size_t tokenize(const char *prompt, int32_t *ids)
{
    size_t n;
    assert_result(
        burble_llama_model_tokenize(model, prompt, strlen(prompt), false, ids, PROMPT, &n),
        BURBLE_OK);
    return n;
}

/* ---- frames and text -------------------------------------------------------------------------------- */

/* The answer is that without frames, token by token. */
static void frames_hold_text_and_ids(void **state)
{
    static struct framed framed;
    static struct output plain;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 4);
    for (size_t i = 0; i < PROMPTS; i++) {
        burble_llama_request request = request_for(prompts[i], 40);
        request.chunking = i % 2 == 0 ? BURBLE_CHUNK_TOKEN : BURBLE_CHUNK_WORD;
        request.reuse = false;
        generate(engine, &request, &plain);
        answer(engine, request, &framed);
        const struct choice *choice = &framed.choices[0];
        assert_result(framed.end, BURBLE_END);
        assert_int_equal(choice->len, plain.len);
        assert_memory_equal(choice->text, plain.text, plain.len);
        assert_int_equal(choice->n_ids, framed.tokens);
        assert_int_equal(framed.usage.kind, BURBLE_FRAME_USAGE);
        assert_int_equal(framed.usage.u.usage.completion, choice->n_ids);
        int32_t ids[PROMPT];
        assert_int_equal(framed.usage.u.usage.prompt, tokenize(prompts[i], ids));
        assert_int_equal(framed.usage.u.usage.reused, 0);
        assert_true(framed.usage.u.usage.prompt_ns > 0 && framed.usage.u.usage.answer_ns > 0);
        assert_int_equal(choice->reason,
                         choice->n_ids == 40 ? BURBLE_FRAME_LENGTH : BURBLE_FRAME_STOP);
        assert_int_equal(framed.reason, choice->reason);
    }
    burble_llama_engine_destroy(&engine);
}

/* Words make fewer frames, with the ids of all their tokens; a text without any still makes some. */
static void frame_has_ids_of_held_text(void **state)
{
    static struct framed tokens;
    static struct framed words;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 4);
    burble_llama_request request = request_for(prompts[0], 40);
    answer(engine, request, &tokens);
    request.chunking = BURBLE_CHUNK_WORD;
    answer(engine, request, &words);
    assert_true(words.texts < tokens.texts);
    assert_int_equal(words.choices[0].n_ids, tokens.choices[0].n_ids);
    assert_memory_equal(words.choices[0].ids, tokens.choices[0].ids,
                        tokens.choices[0].n_ids * sizeof(int32_t));
    /* A bias makes one token come again and again: the first byte of a character, which is never whole. */
    int32_t ids[PROMPT];
    tokenize("\xE2\x82\xAC", ids);
    const burble_llama_bias only = {ids[0], 1000};
    request = request_for(prompts[0], 100);
    request.logit_bias = &only;
    request.n_logit_bias = 1;
    request.ignore_end = true;
    const burble_text stop = {"~", 1};
    request.stop = &stop;
    request.n_stop = 1;
    answer(engine, request, &words);
    assert_int_equal(words.choices[0].n_ids, 100);
    /* Special tokens have no text at all. */
    const burble_llama_bias special = {0, 1000};
    request.logit_bias = &special;
    answer(engine, request, &words);
    assert_int_equal(words.choices[0].n_ids, 100);
    if (words.choices[0].len == 0) {
        assert_int_equal(words.texts, 1);
        assert_int_equal(words.at[0].n_ids, 64);
    }
    burble_llama_engine_destroy(&engine);
}

static void stream_may_have_begin_frame(void **state)
{
    static struct framed framed;
    burble_reader *reader;
    char bytes[64];
    burble_frame begin = {.kind = BURBLE_FRAME_BEGIN};
    (void)state;
    begin.u.begin.version = BURBLE_FRAME_VERSION;
    begin.u.begin.id = (burble_text){"chatcmpl-0", 10};
    begin.u.begin.model = (burble_text){"small", 5};
    const size_t len = burble_frame_write(&begin, bytes, sizeof bytes);
    burble_llama_engine *engine = open_engine(model, 1, 4);
    burble_stream *stream = stream_and_reader(&reader);
    assert_result(burble_stream_append(stream, bytes, len, 0), BURBLE_OK);
    burble_llama_request request = request_for(prompts[0], 8);
    request.frames = true;
    assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
    read_frames(stream, reader, &framed);
    assert_result(framed.end, BURBLE_END);
    assert_int_equal(framed.choices[0].n_ids, 8);
    burble_llama_engine_destroy(&engine);
}

static void finish_names_stop_string(void **state)
{
    static struct framed whole;
    static struct framed framed;
    char end[8] = {0};
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 4);
    burble_llama_request request = request_for(prompts[0], 30);
    answer(engine, request, &whole);
    const struct choice *choice = &framed.choices[0];
    memcpy(end, whole.choices[0].text + whole.choices[0].len - 9, 7);
    const burble_text stop[] = {{"never in it", 11}, {end, 7}};
    request.stop = stop;
    request.n_stop = 2;
    request.logprobs = true;
    for (int include = 0; include < 2; include++) {
        request.include_stop = include;
        answer(engine, request, &framed);
        assert_int_equal(choice->reason, BURBLE_FRAME_STOP);
        assert_string_equal(choice->stop, end);
        const size_t found = (size_t)(strstr(whole.choices[0].text, end) - whole.choices[0].text);
        assert_int_equal(choice->len, found + (include ? 7 : 0));
        assert_memory_equal(choice->text, whole.choices[0].text, choice->len);
        /* The tokens of the stop string are in the ids. Those of its text alone have no log-probabilities. */
        assert_true(choice->n_ids <= 30 && choice->n_ids > 1);
        assert_true(strlen(choice->pieces) >= choice->len);
        assert_memory_equal(choice->pieces, whole.choices[0].text, strlen(choice->pieces));
        assert_true(include ? choice->n_logprobs == choice->n_ids
                            : choice->n_logprobs < choice->n_ids);
    }
    burble_llama_engine_destroy(&engine);
}

/* The texts of the tokens that have log-probabilities make the whole text. */
static void logprobs_line_up_with_text(void **state)
{
    static struct framed framed;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 4);
    for (uint32_t top = 0; top <= BURBLE_LLAMA_MAX_LOGPROBS; top += 5) {
        burble_llama_request request = request_for(prompts[1], 40);
        request.logprobs = true;
        request.top_logprobs = top;
        request.temperature = 0.8f;
        request.seed = top;
        request.chunking = top == 5 ? BURBLE_CHUNK_WORD : BURBLE_CHUNK_TOKEN;
        answer(engine, request, &framed);
        const struct choice *choice = &framed.choices[0];
        assert_true(choice->n_logprobs + 1 >= choice->n_ids);
        assert_memory_equal(choice->of, choice->ids, choice->n_logprobs * sizeof(int32_t));
        assert_int_equal(strlen(choice->pieces), choice->len);
        assert_memory_equal(choice->pieces, choice->text, choice->len);
        for (uint32_t i = 0; i < choice->n_logprobs; i++)
            assert_true(choice->logprobs[i] <= 0.0f);
    }
    burble_llama_engine_destroy(&engine);
}

/* ---- choices ---------------------------------------------------------------------------------------- */

/* Long enough to be shared. */
#define SHARED                                                                                     \
    "SICINIUS:\nWhat is the city but the people?\n\nCitizens:\nTrue,\nThe people are the "         \
    "city.\n\nBRUTUS:\nBy the consent of all, we were establish'd\nThe people's magistrates.\n\n"

/* Choice i is the answer of the seed + i; the prompt is computed once. `slots` fewer than choices: they wait. */
static void check_choices(struct place at, uint32_t slots, bool reuse, uint64_t limit)
{
    static struct framed framed;
    static struct framed alone;
    burble_llama_stats before;
    burble_llama_stats after;
    burble_reader *reader;
    int32_t ids[PROMPT];
    burble_llama_engine *engine = open_engine_at(at, model, slots, CHOICES);
    burble_stream *stream = stream_and_reader_at(at, &reader);
    burble_llama_request request = request_for(SHARED "ROMEO:", 24);
    request.temperature = 1.0f;
    request.seed = UINT32_MAX - 2; /* after which 0 comes, and not the one that means any */
    request.reuse = reuse;
    request.frames = true;
    request.choices = CHOICES;
    if (limit > 0)
        assert_result_at(at, burble_reader_limit(reader, limit, BURBLE_LAG_BLOCK), BURBLE_OK);
    before = stats_of(engine);
    assert_result_at(at, burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
    read_frames_at(at, stream, reader, &framed);
    after = stats_of(engine);
    const uint64_t n = tokenize(SHARED "ROMEO:", ids);
    assert_result_at(at, framed.end, BURBLE_END);
    assert_int_equal_at(at, framed.usage.u.usage.prompt, n);
    assert_int_equal_at(at, framed.usage.u.usage.completion, framed.tokens);
    if (slots >= CHOICES && limit == 0)
        assert_true_at(at, after.prompt_tokens - before.prompt_tokens < 2 * n);
    request.choices = 1;
    for (uint32_t i = 0; i < CHOICES; i++) {
        request.seed = i < 2 ? UINT32_MAX - 2 + i : i - 2;
        answer_at(at, engine, request, &alone);
        /* (What is reused was summed up in another order.) */
        const struct choice *choice = &framed.choices[i];
        uint32_t same = 0;
        while (same < choice->n_ids && choice->ids[same] == alone.choices[0].ids[same])
            same++;
        assert_true_at(at, same > 0 && choice->reason != 0);
        if (same == choice->n_ids)
            assert_memory_equal_at(at, choice->text, alone.choices[0].text, choice->len);
        else
            print_message("choice %u parts at token %u\n", i, same);
    }
    wait_until_active(engine, 0);
    burble_llama_engine_destroy(&engine);
}

static void choices_share_prompt_and_stream(void **state)
{
    (void)state;
    check_choices(HERE, CHOICES, true, 0);
    check_choices(HERE, CHOICES, false, 0);
    check_choices(HERE, 2, true, 0);
    check_choices(HERE, 1, false, 0);
}

/* Each prompt's answers are those that it has alone. */
static void several_prompts_have_their_own_answers(void **state)
{
    (void)state;
    static struct framed framed;
    static struct framed alone;
    burble_reader *reader;
    int32_t ids[PROMPT];
    burble_llama_engine *engine = open_engine(model, 2, CHOICES);
    burble_stream *stream = stream_and_reader(&reader);
    const size_t n = tokenize("JULIET:", ids);
    const burble_llama_prompt several[] = {{.text = "ROMEO:", .len = 6}, {.ids = ids, .n_ids = n}};
    burble_llama_request request = request_for("", 12);
    request.temperature = 1.0f;
    request.seed = 7;
    request.frames = true;
    request.choices = 2;
    request.prompts = several;
    request.n_prompts = 2;
    assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
    read_frames(stream, reader, &framed);
    assert_result(framed.end, BURBLE_END);
    uint64_t prompt = 0;
    for (uint32_t i = 0; i < 2; i++) {
        request = request_for(i == 0 ? "ROMEO:" : "JULIET:", 12);
        request.temperature = 1.0f;
        request.choices = 2;
        request.seed = 7;
        answer(engine, request, &alone);
        prompt += alone.usage.u.usage.prompt;
        for (uint32_t k = 0; k < 2; k++) {
            assert_true(alone.choices[k].len > 0);
            assert_int_equal(framed.choices[2 * i + k].len, alone.choices[k].len);
            assert_memory_equal(framed.choices[2 * i + k].text, alone.choices[k].text,
                                alone.choices[k].len);
        }
    }
    assert_int_equal(framed.usage.u.usage.prompt, prompt);
    assert_int_equal(framed.usage.u.usage.completion, framed.tokens);
    burble_llama_engine_destroy(&engine);
}

static void prompts_that_are_wrong_are_named(void **state)
{
    (void)state;
    static const int32_t wrong[] = {1, 1 << 20};
    burble_error error = {0};
    burble_llama_engine *engine = open_engine(model, 2, 3);
    burble_llama_prompt several[] = {{.text = "a", .len = 1}, {.ids = wrong, .n_ids = 2}};
    burble_llama_request request = request_for("", 8);
    request.prompts = several;
    request.n_prompts = 2;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "n_prompts: expected 0 without `frames`, found 2");
    request.frames = true;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_memory_equal(error.message, "prompt[1]: token 1: expected an id from 0 to ", 45);
    several[0] = (burble_llama_prompt){.ids = wrong, .n_ids = 0};
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "prompt[0]: expected at least 1 token, found none");
    request.choices = 100;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message,
                        "n_prompts: expected at most 1, with 100 choices each, found 2");
    request.choices = 3;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message,
                        "choices: expected at most 5, the slots and the places in the queue, "
                        "found 6");
    burble_llama_engine_destroy(&engine);
}

static void choices_wait_for_slow_reader(void **state)
{
    (void)state;
    check_choices(HERE, CHOICES, true, 1);
    check_choices(HERE, 2, true, 40);
}

static void choices_out_of_bounds_are_refused(void **state)
{
    burble_error error = {0};
    int32_t ids[PROMPT];
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 3);
    burble_llama_request request = request_for(prompts[0], 8);
    request.choices = 2;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "choices: expected 1 without `frames`, found 2");
    request.frames = true;
    request.choices = 129;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "choices: expected 0 to 128, found 129");
    request.choices = 6;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message,
                        "choices: expected at most 5, the slots and the places in the queue, "
                        "found 6");
    request.choices = 2;
    request.ids = ids;
    request.n_ids = tokenize("ROMEO: hear", ids);
    request.answered = 1;
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EINVAL);
    assert_string_equal(error.message, "choices: expected 1, as an answer is continued, found 2");
    burble_llama_engine_destroy(&engine);
}

/* All choices of a request find a place, or none does; also after one was refused. */
static void choices_are_accepted_together(void **state)
{
    burble_reader *reader;
    burble_error error = {0};
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 3);
    burble_stream *stream = stream_and_reader(&reader);
    burble_llama_request request = request_for(prompts[0], 0);
    request.frames = true;
    request.ignore_end = true;
    request.choices = 3;
    assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
    assert_result(try_to_submit(engine, &request, &error), BURBLE_EFULL);
    assert_int_equal(stats_of(engine).requests, 3);
    /* Cancelling frees all their places. */
    burble_stream_cancel(stream);
    request.choices = 5;
    while (try_to_submit(engine, &request, &error) == BURBLE_EFULL)
        sched_yield();
    assert_int_equal(stats_of(engine).requests, 8);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

static void count_ends(const burble_llama_progress *progress, void *arg)
{
    uint32_t *ends = arg;
    if (progress->over)
        ends[progress->choice]++;
}

static void cancelled_or_late_choices_all_end(void **state)
{
    static struct framed framed;
    (void)state;
    for (int late = 0; late < 2; late++) {
        uint32_t ends[CHOICES] = {0};
        burble_llama_engine *engine = open_engine(model, 2, 8);
        burble_reader *reader;
        burble_record record;
        burble_stream *stream = stream_and_reader(&reader);
        burble_llama_request request = request_for(prompts[0], 0);
        request.frames = true;
        request.ignore_end = true;
        request.choices = CHOICES;
        request.watch = count_ends;
        request.watch_arg = ends;
        request.deadline = late ? burble_now() + 20000000 : 0;
        assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
        for (int n = 0; n < 5; n++) {
            assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
            if (burble_reader_next(reader, &record) < 0)
                break;
        }
        if (!late)
            burble_stream_cancel(stream);
        read_frames(stream, reader, &framed);
        assert_result(framed.end, late ? BURBLE_ETIMEDOUT : BURBLE_ECANCELED);
        while (stats_of(engine).active + stats_of(engine).waiting + stats_of(engine).paused > 0)
            sched_yield();
        burble_llama_engine_destroy(&engine);
        for (uint32_t i = 0; i < CHOICES; i++)
            assert_int_equal(ends[i], 1);
    }
}

/* One choice has a grammar's dead end: the stream fails, and no slot stays taken. */
static void failed_choice_fails_stream(void **state)
{
    static struct framed framed;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 2, 8);
    burble_llama_request request = request_for(prompts[0], 20);
    request.choices = 4;
    request.grammar = "root ::= \"a\" []";
    request.grammar_len = strlen(request.grammar);
    answer(engine, request, &framed);
    assert_result(framed.end, BURBLE_EFAILED);
    assert_int_equal(framed.usage.kind, 0);
    wait_until_active(engine, 0);
    burble_llama_engine_destroy(&engine);
}

/* A place is that of the choice which has come farthest. */
static void place_is_that_of_first_choice(void **state)
{
    burble_reader *reader;
    burble_record record;
    burble_llama_place place;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 8);
    burble_stream *stream = stream_and_reader(&reader);
    burble_llama_request request = request_for(prompts[2], 0);
    request.frames = true;
    request.ignore_end = true;
    request.choices = 3;
    assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
    assert_result(burble_reader_wait(reader, 0), BURBLE_OK);
    assert_result(burble_reader_next(reader, &record), BURBLE_OK);
    burble_llama_engine_find(engine, stream, &place);
    assert_int_equal(place.stage, BURBLE_LLAMA_STAGE_ANSWER);
    assert_int_equal(place.prompt_done, place.prompt_tokens);
    burble_stream_cancel(stream);
    burble_reader_destroy(&reader);
    burble_stream_unref(&stream);
    burble_llama_engine_destroy(&engine);
}

/* ---- back-pressure ---------------------------------------------------------------------------------- */

static void slow_reader_gets_same_frames(void **state)
{
    static struct framed fast;
    static struct framed slow;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 4);
    for (uint64_t limit = 1; limit <= 64; limit *= 4) {
        burble_reader *reader;
        burble_llama_request request = request_for(prompts[0], 30);
        request.frames = true;
        request.logprobs = limit == 4;
        request.top_logprobs = 3;
        answer(engine, request, &fast);
        burble_stream *stream = stream_and_reader(&reader);
        assert_result(burble_reader_limit(reader, limit, BURBLE_LAG_BLOCK), BURBLE_OK);
        assert_result(burble_llama_engine_submit(engine, &request, stream, NULL), BURBLE_OK);
        /* Another one takes the slot meanwhile. */
        static struct output other;
        const burble_llama_request short_one = request_for(prompts[1], 5);
        generate(engine, &short_one, &other);
        read_frames(stream, reader, &slow);
        assert_result(slow.end, BURBLE_END);
        assert_int_equal(slow.frames, fast.frames);
        assert_int_equal(slow.choices[0].n_ids, fast.choices[0].n_ids);
        assert_memory_equal(slow.choices[0].ids, fast.choices[0].ids,
                            fast.choices[0].n_ids * sizeof(int32_t));
        assert_string_equal(slow.choices[0].text, fast.choices[0].text);
        assert_int_equal(slow.choices[0].n_logprobs, fast.choices[0].n_logprobs);
    }
    burble_llama_engine_destroy(&engine);
}

/* ---- continuing ------------------------------------------------------------------------------------- */

/* Cuts an answer after each of its frames, and continues it from the ids of those before. Returns how many parted
 * (see test_llama_answer.c). */
static int continue_from_each_frame_at(struct place at, burble_llama_engine *engine,
                                       burble_llama_request request, int *tried)
{
    static struct framed whole;
    static struct framed rest;
    int32_t ids[PROMPT + MOST];
    int parted = 0;
    const size_t n = request.ids == NULL ? tokenize(request.prompt, ids) : request.n_ids;
    if (request.ids != NULL)
        memcpy(ids, request.ids, n * sizeof *ids);
    request.ids = ids;
    request.n_ids = n;
    answer_at(at, engine, request, &whole);
    const struct choice *all = &whole.choices[0];
    const struct choice *found = &rest.choices[0];
    const uint32_t most = request.max_tokens;
    memcpy(ids + n, all->ids, all->n_ids * sizeof *ids);
    for (uint32_t k = 0; k < whole.frames; k++) {
        const uint32_t before = whole.at[k].n_ids;
        const size_t len = whole.at[k].len;
        if (whole.at[k].kind != BURBLE_FRAME_TEXT || (most > 0 && before == most))
            continue;
        request.n_ids = n + before;
        request.answered = before;
        request.max_tokens = most > 0 ? most - before : 0;
        answer_at(at, engine, request, &rest);
        ++*tried;
        uint32_t same = 0;
        while (same < found->n_ids && before + same < all->n_ids
               && found->ids[same] == all->ids[before + same])
            same++;
        if (same < found->n_ids && before + same < all->n_ids) {
            parted++;
            continue;
        }
        assert_result_at(at, rest.end, BURBLE_END);
        assert_int_equal_at(at, before + found->n_ids, all->n_ids);
        assert_int_equal_at(at, len + found->len, all->len);
        assert_memory_equal_at(at, found->text, all->text + len, found->len);
        assert_int_equal_at(at, found->reason, all->reason);
        assert_true_at(at, strcmp(found->stop, all->stop) == 0);
        assert_int_equal_at(at, rest.frames, whole.frames - k - 1);
        assert_int_equal_at(at, rest.usage.u.usage.completion, all->n_ids);
        assert_int_equal_at(at, rest.usage.u.usage.prompt, n);
    }
    return parted;
}
#define continue_from_each_frame(...) continue_from_each_frame_at(HERE, __VA_ARGS__)

static void answer_continues_from_each_frame(void **state)
{
    static struct framed whole;
    int parted = 0;
    int tried = 0;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 4);
    for (uint32_t how = 0; how < 16; how++) {
        char end[8] = {0};
        burble_llama_request request = request_for(prompts[how % PROMPTS], 24);
        request.temperature = how % 2 == 0 ? 0.0f : 0.9f;
        request.seed = how;
        request.chunking = how % 3 == 0 ? BURBLE_CHUNK_WORD : BURBLE_CHUNK_TOKEN;
        request.repeat_penalty = how % 5 == 0 ? 1.2f : 1.0f;
        answer(engine, request, &whole);
        const struct choice *choice = &whole.choices[0];
        assert_true(choice->len > 12);
        size_t begin = choice->len - 9;
        while ((choice->text[begin] & 0xC0) == 0x80)
            begin--;
        size_t len = 5;
        while ((choice->text[begin + len] & 0xC0) == 0x80)
            len--;
        memcpy(end, choice->text + begin, len);
        char longer[16] = {0}; /* holds text back, but does not match */
        memcpy(longer, choice->text, 1);
        longer[1] = '~';
        const burble_text stop[] = {{longer, 2}, {end, len}};
        request.n_stop = how % 4 < 2 && (choice->text[0] & 0x80) == 0 ? 2 : 0;
        request.stop = stop;
        request.include_stop = how % 4 == 1;
        parted += continue_from_each_frame(engine, request, &tried);
    }
    print_message("%d of %d parted\n", parted, tried);
    assert_true(tried > 100 && parted <= tried / 10);
    burble_llama_engine_destroy(&engine);
}

/* A bias makes the bytes of characters likely, so that frames end within them; and the end of the text. */
static void answer_with_cut_characters_continues_from_each_frame(void **state)
{
    burble_llama_bias bias[8];
    int32_t ids[PROMPT];
    int parted = 0;
    int tried = 0;
    (void)state;
    burble_llama_engine *engine = open_engine(model, 1, 4);
    size_t n = tokenize("\xE2\x82\xAC\xC3\xA9", ids);
    n = n > 8 ? 8 : n;
    for (size_t i = 0; i < n; i++)
        bias[i] = (burble_llama_bias){ids[i], 14.0f};
    for (uint32_t seed = 0; seed < 8; seed++) {
        burble_llama_request request = request_for(prompts[2], 24);
        request.logit_bias = bias;
        request.n_logit_bias = n;
        request.temperature = 1.0f;
        request.seed = seed;
        const burble_text stop = {"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 9};
        request.stop = &stop;
        request.n_stop = seed % 2;
        parted += continue_from_each_frame(engine, request, &tried);
    }
    print_message("%d of %d parted\n", parted, tried);
    assert_true(tried > 20 && parted <= tried / 10);
    burble_llama_engine_destroy(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_hold_text_and_ids),
        cmocka_unit_test(frame_has_ids_of_held_text),
        cmocka_unit_test(stream_may_have_begin_frame),
        cmocka_unit_test(finish_names_stop_string),
        cmocka_unit_test(logprobs_line_up_with_text),
        cmocka_unit_test(choices_share_prompt_and_stream),
        cmocka_unit_test(several_prompts_have_their_own_answers),
        cmocka_unit_test(prompts_that_are_wrong_are_named),
        cmocka_unit_test(choices_wait_for_slow_reader),
        cmocka_unit_test(choices_out_of_bounds_are_refused),
        cmocka_unit_test(choices_are_accepted_together),
        cmocka_unit_test(cancelled_or_late_choices_all_end),
        cmocka_unit_test(failed_choice_fails_stream),
        cmocka_unit_test(place_is_that_of_first_choice),
        cmocka_unit_test(slow_reader_gets_same_frames),
        cmocka_unit_test(answer_continues_from_each_frame),
        cmocka_unit_test(answer_with_cut_characters_continues_from_each_frame),
    };
    return cmocka_run_group_tests(tests, load_once, unload);
}
