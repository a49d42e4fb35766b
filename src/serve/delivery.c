/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/delivery.h"

#include <assert.h>
#include <string.h>

#include <burble/clock.h>

#include "base/alloc.h"
#include "serve/answer.h"
#include "serve/connection.h"
#include "serve/exchange.h"
#include "serve/loop.h"
#include "serve/metrics.h"
#include "serve/registry.h"
#include "serve/server.h"
#include "serve/whole.h"

/* In front of a chunk: its length in hexadecimal digits, and the end of that line. */
#define CHUNK_HEAD 10

/* The loop's buffer is not kept above this, in bytes. */
#define USUAL_OUTPUT 131072u

struct burble__delivery {
    struct burble__exchange *exchange; /* of which it is a part */
    struct burble__answer *answer;
    burble_reader *reader;
    struct burble__whole *whole;    /* of a reply that is not streamed */
    struct burble__position *after; /* the client's, which the answer has not reached; NULL: none */
    struct burble__buffer *held;    /* events from before the head is sent; NULL: none */
    uint64_t last_sent;             /* ms: the last event or ping; it began, if there was none */
    uint64_t bytes;                 /* of the frames so far */
    uint64_t tokens;                /* in them */
    uint8_t form;                   /* a burble__delivery_form */
    bool primary;
    bool started; /* the head was sent */
    bool over;    /* everything was read */
    bool limited; /* the reader has its limit */
    bool had_text;
    struct burble__tally tally; /* of what is streamed */
};

static const burble_server_options *options_of(const struct burble__delivery *delivery)
{
    return &delivery->exchange->loop->server->options;
}

static const struct burble__tally *tally_of(const struct burble__delivery *delivery)
{
    return delivery->whole != NULL ? burble__whole_tally(delivery->whole) : &delivery->tally;
}

static enum burble__form event_form(const struct burble__delivery *delivery)
{
    return delivery->form == BURBLE__DELIVER_OWN ? BURBLE__FORM_OWN : BURBLE__FORM_OPENAI;
}

/* ---- the end ------------------------------------------------------------------------------------------- */

/* The counts and times of the answer; of one that broke off, the tokens that were read. */
static struct burble__usage usage_of(const struct burble__delivery *delivery)
{
    const struct burble__tally *tally = tally_of(delivery);
    return tally->usage != NULL ? *tally->usage
                                : (struct burble__usage){.completion = delivery->tokens};
}

/* Counts the answer, once, if it has ended: before the last bytes are written, so that whoever has read them finds it in
 * the metrics. */
static void count_end(struct burble__delivery *delivery)
{
    struct burble__metrics *metrics = burble__loop_metrics(delivery->exchange->loop);
    const struct burble__tally *tally = tally_of(delivery);
    const struct burble__usage usage = usage_of(delivery);
    burble_status status;
    burble_stream_status(delivery->answer->stream, &status);
    if (status.state == BURBLE_OPEN || burble__exchange_acq_rel(&delivery->answer->counted, true))
        return;
    burble__metrics_count(metrics,
                          status.state == BURBLE_ENDED    ? BURBLE__COUNT_ANSWERED
                          : status.state == BURBLE_FAILED ? BURBLE__COUNT_FAILED
                                                          : BURBLE__COUNT_CANCELLED,
                          1);
    for (uint32_t i = 0; i < delivery->answer->envelope->choices; i++) {
        const unsigned reason = burble__tally_reason(tally, i);
        if (reason == BURBLE_FRAME_STOP)
            burble__metrics_count(metrics, BURBLE__COUNT_STOPPED, 1);
        else if (reason == BURBLE_FRAME_LENGTH)
            burble__metrics_count(metrics, BURBLE__COUNT_CUT, 1);
    }
    burble__metrics_time(metrics, BURBLE__TIME_REQUEST, burble_now() - delivery->answer->began);
    burble__metrics_count(metrics, BURBLE__COUNT_PROMPT_TOKENS, usage.prompt);
    burble__metrics_count(metrics, BURBLE__COUNT_REUSED_TOKENS, usage.reused);
    burble__metrics_count(metrics, BURBLE__COUNT_TOKENS, usage.completion);
    if (tally->usage == NULL)
        return;
    burble__metrics_time(metrics, BURBLE__TIME_QUEUE, usage.queue_ns);
    burble__metrics_time(metrics, BURBLE__TIME_PREFILL, usage.prompt_ns);
    burble__metrics_time(metrics, BURBLE__TIME_DECODE, usage.answer_ns);
}

static void drop_held(struct burble__delivery *delivery)
{
    if (delivery->held != NULL)
        burble__buffer_finish(delivery->held);
    burble__free(delivery->held);
    delivery->held = NULL;
}

/* Holds the events of the batch until the head is sent. What was held before is in the batch, too. */
static bool hold(struct burble__delivery *delivery)
{
    const struct burble__buffer *out = &delivery->exchange->loop->output;
    if (delivery->held == NULL) {
        delivery->held = burble__malloc(sizeof *delivery->held);
        if (delivery->held == NULL)
            return false;
        burble__buffer_init(delivery->held, SIZE_MAX / 2);
    }
    delivery->held->len = 0;
    return burble__buffer_append(delivery->held, out->bytes + CHUNK_HEAD, out->len - CHUNK_HEAD)
           == BURBLE_OK;
}

void burble__delivery_destroy(struct burble__delivery **delivery)
{
    struct burble__delivery *gone = *delivery;
    if (gone == NULL)
        return;
    *delivery = NULL;
    struct burble__registry *registry = gone->exchange->loop->server->registry;
    burble__metrics_move(burble__loop_metrics(gone->exchange->loop), BURBLE__GAUGE_STREAMING, -1);
    burble_reader_destroy(&gone->reader);
    if (gone->over)
        burble__registry_ended(registry, gone->answer, burble_now());
    if (burble__registry_detach(registry, gone->answer, burble_now()))
        burble__answer_cancel(gone->answer);
    count_end(gone);
    burble__whole_destroy(&gone->whole);
    burble__tally_finish(&gone->tally);
    drop_held(gone);
    burble__free(gone->after);
    burble__answer_drop(&gone->answer);
    burble__free(gone);
}

void burble__delivery_note(const struct burble__delivery *delivery, burble_serve_log *line)
{
    const struct burble__usage usage = usage_of(delivery);
    line->model = delivery->answer->model->name;
    line->id = delivery->answer->name;
    line->prompt_tokens = usage.prompt;
    line->reused_tokens = usage.reused;
    line->tokens = usage.completion;
    line->queue_ns = usage.queue_ns;
    line->prompt_ns = usage.prompt_ns;
    line->answer_ns = usage.answer_ns;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

/* Writes the first line of a chunk of `len` bytes in front of `end`. Returns its length. */
static size_t write_chunk_head(char *end, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *at = end;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = digits[len & 15];
    while ((len >>= 4) > 0);
    return (size_t)(end - at);
}

/* Makes a chunk of what is in the buffer behind CHUNK_HEAD bytes, in place, so that it goes out by one call; the last
 * chunk, too, if `last`. `from`: where it begins. False: no memory. */
static bool make_chunk(struct burble__buffer *out, bool last, size_t *from)
{
    static const char ends[] = "\r\n0\r\n\r\n"; /* of a chunk, and the last chunk */
    const size_t len = out->len - CHUNK_HEAD;
    const size_t skipped = len > 0 ? 0 : 2;
    const size_t n = (last ? sizeof ends - 1 : 2) - skipped;
    if (burble__buffer_append(out, ends + skipped, n) != BURBLE_OK)
        return false;
    if (len > 0)
        *from -= write_chunk_head(out->bytes + CHUNK_HEAD, len);
    return true;
}

/* Sends what is in the loop's buffer behind CHUNK_HEAD bytes, with the head of the response in front if that was not sent
 * yet, and as the last part of the response, if `last`. False: the delivery is gone. */
static bool flush(struct burble__delivery *delivery, bool last)
{
    struct burble__exchange *exchange = delivery->exchange;
    struct burble__connection *connection = exchange->connection;
    struct burble__buffer *out = &delivery->exchange->loop->output;
    struct burble__buffer head;
    size_t from = CHUNK_HEAD;
    uv_buf_t bufs[2];
    unsigned n = 0;
    burble__buffer_init(&head, 32768);
    if (!delivery->started) {
        if (!burble__exchange_begin_events(exchange, &head)) {
            burble__buffer_finish(&head);
            burble__connection_close(connection);
            return false;
        }
        delivery->started = true;
        bufs[n++] = uv_buf_init(head.bytes, (unsigned)head.len);
    }
    if (exchange->chunked && !make_chunk(out, last, &from)) {
        burble__buffer_finish(&head);
        burble__connection_close(connection);
        return false;
    }
    if (out->len > from)
        bufs[n++] = uv_buf_init(out->bytes + from, (unsigned)(out->len - from));
    for (unsigned i = 0; i < n; i++)
        exchange->sent += bufs[i].len;
    const bool alive = n == 0 || burble__connection_write(connection, bufs, n);
    burble__buffer_finish(&head);
    if (alive)
        delivery->last_sent = burble__loop_now(delivery->exchange->loop);
    return alive;
}

/* Empties the loop's buffer, but for the room in front, and puts what was held into it. False: no memory. */
static bool begin_batch(struct burble__delivery *delivery)
{
    struct burble__buffer *out = &delivery->exchange->loop->output;
    if (out->capacity > USUAL_OUTPUT) /* after an event that was huge */
        burble__buffer_finish(out);
    out->len = 0;
    if (burble__buffer_reserve(out, CHUNK_HEAD) != BURBLE_OK)
        return false;
    out->len = CHUNK_HEAD;
    return delivery->held == NULL
           || burble__buffer_append(out, delivery->held->bytes, delivery->held->len) == BURBLE_OK;
}

/* The head, and the events that waited for it. False: the delivery is gone. */
static bool start(struct burble__delivery *delivery)
{
    if (!begin_batch(delivery)) {
        burble__connection_close(delivery->exchange->connection);
        return false;
    }
    drop_held(delivery);
    if (!flush(delivery, false))
        return false;
    burble__connection_watch(delivery->exchange->connection);
    return true;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* Answers with an error, or, if the head was sent, with an event of it. */
static void fail(struct burble__delivery *delivery, const struct burble__problem *problem)
{
    struct burble__exchange *exchange = delivery->exchange;
    delivery->over = true;
    count_end(delivery);
    if (!delivery->started) {
        burble__exchange_problem(exchange, problem);
        return;
    }
    struct burble__buffer *out = &delivery->exchange->loop->output;
    if (burble__event_error(delivery->answer->envelope, event_form(delivery), &delivery->tally,
                            problem, out)
        != BURBLE_OK) {
        burble__connection_close(exchange->connection);
        return;
    }
    burble__exchange_count(exchange);
    if (flush(delivery, false))
        burble__exchange_break(exchange, "error");
}

/* A frame could not be read, counted or written. */
static void fail_at_frame(struct burble__delivery *delivery, int result)
{
    struct burble__problem problem;
    if (result == BURBLE_ENOMEM)
        burble__problem_memory(&problem);
    else if (result == BURBLE_EFULL)
        burble__problem_set(&problem, 500, NULL, NULL, "the answer is longer than %llu bytes",
                            (unsigned long long)options_of(delivery)->max_answer);
    else
        burble__problem_set(&problem, 500, NULL, NULL, "the backend wrote frames in a wrong order");
    burble__answer_fail(delivery->answer, result == BURBLE_EFORMAT ? BURBLE_EFAILED : result,
                        problem.message);
    fail(delivery, &problem);
}

static void end_whole(struct burble__delivery *delivery, const burble_status *status)
{
    struct burble__exchange *exchange = delivery->exchange;
    const struct burble__envelope *envelope = delivery->answer->envelope;
    struct burble__problem problem;
    struct burble__buffer body;
    burble__buffer_init(&body, SIZE_MAX / 2);
    if (status->state != BURBLE_ENDED) {
        burble__problem_of_status(&problem, status);
        burble__exchange_problem(exchange, &problem);
    } else if (!burble__tally_is_complete(tally_of(delivery), envelope)) {
        burble__exchange_refuse(exchange, 500, NULL, NULL,
                                "the answer ended before all its choices did");
    } else if (burble__whole_write(delivery->whole, &body) != BURBLE_OK) {
        burble__buffer_finish(&body);
        burble__problem_memory(&problem);
        burble__exchange_problem(exchange, &problem);
    } else {
        burble__exchange_reply_buffer(exchange, 200, "application/json", &body);
    }
}

static void end_events(struct burble__delivery *delivery, const burble_status *status)
{
    struct burble__exchange *exchange = delivery->exchange;
    bool clean = false;
    if (!delivery->started && status->state != BURBLE_ENDED
        && delivery->form == BURBLE__DELIVER_EVENTS) {
        struct burble__problem problem;
        burble__problem_of_status(&problem, status);
        burble__exchange_problem(exchange, &problem);
        return;
    }
    if (delivery->started && burble__load_acquire(&delivery->answer->moved)) {
        burble__exchange_break(exchange, "moved"); /* the client finds it at another server */
        return;
    }
    if (burble__event_end(delivery->answer->envelope, event_form(delivery), &delivery->tally,
                          status, &delivery->exchange->loop->output, &clean)
        != BURBLE_OK) {
        burble__connection_close(exchange->connection);
        return;
    }
    burble__exchange_count(exchange);
    if (!flush(delivery, clean))
        return;
    else if (clean)
        burble__exchange_end(exchange);
    else
        burble__exchange_break(exchange, "error");
}

static void end(struct burble__delivery *delivery)
{
    burble_status status;
    burble_stream_status(delivery->answer->stream, &status);
    delivery->over = true;
    count_end(delivery);
    if (delivery->whole != NULL)
        end_whole(delivery, &status);
    else
        end_events(delivery, &status);
}

static bool has_text(const burble_frame *frame)
{
    return frame->kind == BURBLE_FRAME_FINISH
           || (frame->kind == BURBLE_FRAME_TEXT && frame->u.text.text.len > 0);
}

static void count_text(struct burble__delivery *delivery)
{
    struct burble__metrics *metrics = burble__loop_metrics(delivery->exchange->loop);
    const uint64_t now = burble__loop_now(delivery->exchange->loop);
    if (!delivery->had_text && delivery->primary)
        burble__metrics_time(metrics, BURBLE__TIME_FIRST_TOKEN,
                             burble_now() - delivery->answer->began);
    else if (delivery->had_text && delivery->primary)
        burble__metrics_time(metrics, BURBLE__TIME_BETWEEN_TOKENS,
                             (now - delivery->last_sent) * 1000000);
    delivery->had_text = true;
}

/* One frame: counted, and its event in `out`. */
static int take(struct burble__delivery *delivery, const burble_record *record,
                struct burble__buffer *out, bool *text)
{
    burble_frame frame;
    int result = burble_frame_read(record->text, record->len, &frame);
    if (result != BURBLE_OK && result != BURBLE_EUNSUPPORTED)
        return result;
    delivery->bytes += record->len;
    delivery->tokens += record->tokens;
    if (burble__answer_is_kept(delivery->answer)
        && delivery->bytes > options_of(delivery)->max_answer)
        return BURBLE_EFULL;
    *text |= result == BURBLE_OK && has_text(&frame);
    if (delivery->whole != NULL)
        return burble__whole_add(delivery->whole, record->text, record->len, &frame);
    result = burble__tally_add(&delivery->tally, delivery->answer->envelope, record->text,
                               record->len, &frame);
    return result != BURBLE_OK
               ? result
               : burble__event_write(delivery->answer->envelope, event_form(delivery), &frame,
                                     &delivery->tally, out);
}

/* The client is behind: from now on its reader has a limit. A log that is kept goes on without its client up to
 * `max_answer`, where the answer fails anyway. What another server computes is fetched in pieces that are larger than `max_lag`. (A limit
 * takes 300 bytes, and most readers never need one.) */
static void limit(struct burble__delivery *delivery)
{
    const burble_server_options *options = options_of(delivery);
    const struct burble__answer *answer = delivery->answer;
    if (delivery->limited)
        return;
    const bool ordinary = !burble__answer_is_kept(answer) && !burble__answer_is_shared(answer);
    const uint64_t most = ordinary ? options->max_lag : options->max_answer;
    /* Without memory, it is tried again at the next time. */
    delivery->limited = burble_reader_limit(delivery->reader, most, BURBLE_LAG_BLOCK) == BURBLE_OK;
}

/* Reads what there is, and sends it. The delivery may be gone afterwards. */
static void pull(struct burble__delivery *delivery)
{
    struct burble__buffer *out = &delivery->exchange->loop->output;
    const size_t enough = CHUNK_HEAD + options_of(delivery)->max_output / 2;
    burble_record record;
    int result;
    do {
        bool text = false;
        if (!begin_batch(delivery)) {
            burble__connection_close(delivery->exchange->connection);
            return;
        }
        while ((result = burble_reader_next_or_park(delivery->reader, &record)) == BURBLE_OK) {
            result = take(delivery, &record, out, &text);
            if (result != BURBLE_OK) {
                fail_at_frame(delivery, result);
                return;
            }
            if (out->len >= enough)
                break;
        }
        if (text)
            count_text(delivery);
        if (result != BURBLE_OK && result != BURBLE_AGAIN) {
            end(delivery);
            return;
        }
        if (delivery->whole != NULL)
            continue;
        if (!delivery->started && !text) {
            if (!hold(delivery)) {
                burble__connection_close(delivery->exchange->connection);
                return;
            }
            continue;
        }
        const bool begins = !delivery->started;
        drop_held(delivery);
        if (out->len > CHUNK_HEAD && !flush(delivery, false))
            return;
        if (begins)
            burble__connection_watch(delivery->exchange->connection);
        if (burble__connection_queued(delivery->exchange->connection) > 0) {
            limit(delivery); /* the rest once the socket has taken this */
            return;
        }
    } while (result == BURBLE_OK);
}

/* ---- where a client that returns goes on --------------------------------------------------------------- */

enum place { HERE, AT_THE_END, NOT_YET, NOWHERE };

/* Reads the frames up to the position, so that the tally is that of the client, and says whether the answer has this
 * position. */
static enum place read_up_to(struct burble__delivery *delivery,
                             const struct burble__position *after)
{
    struct burble__tally *tally = &delivery->tally;
    burble_record record;
    burble_frame frame;
    int result = BURBLE_OK;
    while (tally->frames <= after->seq
           && (result = burble_reader_next_or_park(delivery->reader, &record)) == BURBLE_OK) {
        const int kind = burble_frame_read(record.text, record.len, &frame);
        delivery->bytes += record.len;
        delivery->tokens += record.tokens;
        if ((kind != BURBLE_OK && kind != BURBLE_EUNSUPPORTED)
            || burble__tally_add(tally, delivery->answer->envelope, record.text, record.len, &frame)
                   != BURBLE_OK)
            return NOWHERE;
    }
    if (result == BURBLE_AGAIN)
        return NOT_YET;
    const bool at_end = result != BURBLE_OK && tally->frames == after->seq;
    if (tally->hash != after->hash || !(at_end || tally->frames == after->seq + 1))
        return NOWHERE;
    return at_end ? AT_THE_END : HERE;
}

static void refuse_position(struct burble__delivery *delivery)
{
    const uint64_t oldest = burble_stream_oldest(delivery->answer->stream);
    burble_reader_destroy(&delivery->reader); /* nothing is to be read any more */
    burble__exchange_refuse(delivery->exchange, 410, NULL, NULL,
                            "this stream has no such position; its oldest one is %llu",
                            (unsigned long long)oldest);
}

static void begin_reply(struct burble__delivery *delivery);

/* The answer may have reached the position of its client. Another server's answer may still be on its way here. The delivery
 * may be gone afterwards. */
static void catch_up(struct burble__delivery *delivery)
{
    const enum place place = read_up_to(delivery, delivery->after);
    if (place == NOT_YET && burble__answer_is_shared(delivery->answer)) {
        burble__connection_watch(delivery->exchange->connection);
        return;
    }
    burble__free(delivery->after);
    delivery->after = NULL;
    if (place == AT_THE_END) {
        burble_reader_destroy(&delivery->reader);
        burble__exchange_reply(delivery->exchange, 204, NULL, "", 0);
    } else if (place == HERE) {
        begin_reply(delivery);
    } else {
        refuse_position(delivery);
    }
}

static void on_ready(burble_reader *reader, void *arg)
{
    (void)reader;
    struct burble__delivery *delivery = arg;
    if (delivery->after != NULL) {
        catch_up(delivery);
        return;
    }
    /* With bytes queued, it is not parked; it may be called once nevertheless. */
    if (!delivery->over
        && (!delivery->started || burble__connection_queued(delivery->exchange->connection) == 0))
        pull(delivery);
}

void burble__delivery_on_drained(struct burble__delivery *delivery)
{
    if (!delivery->over)
        pull(delivery);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

uint64_t burble__delivery_due(const struct burble__delivery *delivery)
{
    const burble_server_options *options = options_of(delivery);
    if (delivery->after != NULL)
        return delivery->last_sent
               + burble__in_ms(delivery->exchange->loop->server->finder.patience);
    if (delivery->whole != NULL)
        return UINT64_MAX;
    return delivery->started ? delivery->last_sent + burble__in_ms(options->ping_interval)
                             : delivery->last_sent + burble__in_ms(options->first_timeout);
}

void burble__delivery_on_due(struct burble__delivery *delivery, uint64_t now)
{
    struct burble__connection *connection = delivery->exchange->connection;
    struct burble__buffer *out = &delivery->exchange->loop->output;
    if (delivery->after != NULL) {
        refuse_position(delivery);
        return;
    }
    if (!delivery->started) {
        start(delivery);
        return;
    }
    delivery->last_sent = now;
    if (burble__connection_queued(connection) == 0) {
        if (!begin_batch(delivery)
            || burble__buffer_append(out, BURBLE__PING, sizeof BURBLE__PING - 1) != BURBLE_OK) {
            burble__connection_close(connection);
            return;
        }
        if (!flush(delivery, false))
            return;
    }
    burble__connection_watch(connection);
}

/* ---- the beginning ------------------------------------------------------------------------------------- */

static int prepare(struct burble__delivery *delivery)
{
    const burble_server_options *options = options_of(delivery);
    struct burble__answer *answer = delivery->answer;
    int result = burble_reader_create(answer->stream, BURBLE_FROM_OLDEST, &delivery->reader, NULL);
    if (result == BURBLE_OK)
        result = burble_reader_attach(delivery->reader, delivery->exchange->loop->hub, on_ready,
                                      delivery);
    if (result == BURBLE_OK && delivery->form == BURBLE__DELIVER_WHOLE)
        result = burble__whole_create(answer->envelope, options->max_answer, &delivery->whole);
    return result;
}

static void name_stream(struct burble__exchange *exchange, const struct burble__answer *answer)
{
    burble__exchange_header(exchange, "Burble-Stream: %s\r\n", burble__answer_stream(answer));
    if (burble__answer_token(answer)[0] != '\0')
        burble__exchange_header(exchange, "Burble-Token: %s\r\n", burble__answer_token(answer));
}

static void begin_reply(struct burble__delivery *delivery)
{
    const struct burble__answer *answer = delivery->answer;
    name_stream(delivery->exchange, answer);
    if (delivery->whole == NULL && (answer->resumable || delivery->form == BURBLE__DELIVER_OWN)
        && !start(delivery))
        return;
    burble__connection_watch(delivery->exchange->connection);
    pull(delivery);
}

void burble__delivery_begin(struct burble__exchange *exchange, struct burble__answer *answer,
                            enum burble__delivery_form form, bool primary,
                            const struct burble__position *after)
{
    struct burble__loop *loop = exchange->loop;
    struct burble__problem problem;
    struct burble__delivery *delivery = burble__calloc(1, sizeof *delivery);
    if (delivery == NULL) {
        if (burble__registry_detach(loop->server->registry, answer, burble_now()))
            burble__answer_cancel(answer);
        burble__answer_drop(&answer);
        burble__problem_memory(&problem);
        burble__exchange_problem(exchange, &problem);
        return;
    }
    *delivery = (struct burble__delivery){
        .exchange = exchange,
        .answer = answer,
        .last_sent = burble__loop_now(loop),
        .form = (uint8_t)form,
        .primary = primary,
    };
    burble__tally_init(&delivery->tally,
                       burble__answer_is_kept(answer) || form == BURBLE__DELIVER_OWN);
    exchange->delivery = delivery;
    burble__exchange_forget_request(exchange);
    burble__metrics_move(burble__loop_metrics(loop), BURBLE__GAUGE_STREAMING, 1);
    if (prepare(delivery) != BURBLE_OK) {
        burble__problem_memory(&problem);
        burble__exchange_problem(exchange, &problem);
        return;
    }
    if (after == NULL) {
        begin_reply(delivery);
        return;
    }
    delivery->after = burble__malloc(sizeof *after);
    if (delivery->after == NULL) {
        burble__problem_memory(&problem);
        burble__exchange_problem(exchange, &problem);
        return;
    }
    *delivery->after = *after;
    catch_up(delivery);
}
