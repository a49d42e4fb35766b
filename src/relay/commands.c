/* SPDX-License-Identifier: MIT
 *
 * The commands of a worker's session: what each has, and what its reply means. The scripts of the same names say the rest.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "relay/session.h"

#define MS UINT64_C(1000000)

/* The most answers that are given back, or whose end is told, in one step. */
#define MAX_ORPHANS 256u
#define MAX_ENDS 512u

/* ---- open --------------------------------------------------------------------------------------------------- */

void burble__session_make_open(struct burble__session *session)
{
    burble_relay *relay = session->relay;
    struct burble__call *call = &session->call;
    burble__call_restart(call, BURBLE__SCRIPT_OPEN);
    if (burble__stream_id_create(&relay->session) != BURBLE_OK) {
        relay->session.hex[0] = '\0';
        call->result = BURBLE_ENOMEM; /* once more later */
        return;
    }
    burble__call_add_text(call, relay->session.hex);
    burble__call_add_text(call, relay->options.name);
    burble__call_add_number(call, relay->options.lease / MS);
    burble__call_add_text(call, session->formers);
    session->quit = session->draining;
    for (const struct burble__worker_model *at = session->models; at != NULL && !session->draining;
         at = at->next) {
        burble__call_add_text(call, at->model->name);
        burble__call_add(call, at->description.bytes, at->description.len);
    }
}

/* `kind`: 'r', back into the queue; 'x', it fails. */
static void add_orphan(struct burble__session *session, char kind, const char *id)
{
    char orphan[1 + BURBLE__STREAM_ID_LEN];
    orphan[0] = kind;
    memcpy(orphan + 1, id, BURBLE__STREAM_ID_LEN);
    /* Without memory, it stays this session's until that ends. */
    burble__buffer_append(&session->orphans, orphan, sizeof orphan);
}

static const char *id_of(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len == BURBLE__STREAM_ID_LEN
               ? reply->str
               : NULL;
}

void burble__session_opened(struct burble__session *session, const redisReply *reply)
{
    session->state = BURBLE__SESSION_OPEN;
    session->n = 0;
    session->stepped = session->renewed = burble__now();
    burble__relay_log(session->relay, "session %.8s is open, with %zu answers to take back",
                      session->relay->session.hex, session->to_adopt.n);
    for (size_t i = 1; i < reply->elements; i++) {
        const char *id = id_of(reply->element[i]);
        if (id != NULL && burble__session_find(session, id) == NULL)
            add_orphan(session, 'r', id);
    }
}

/* ---- claim -------------------------------------------------------------------------------------------------- */

static void add_numbered(struct burble__session *session, enum burble__script script)
{
    burble__call_restart(&session->call, script);
    burble__call_add_text(&session->call, session->relay->session.hex);
    burble__call_add_number(&session->call, session->n + 1);
}

void burble__session_make_claim(struct burble__session *session, struct burble__worker_model *of)
{
    session->asked = of;
    of->wanted = false; /* until the doorbell rings again */
    add_numbered(session, BURBLE__SCRIPT_CLAIM);
    burble__call_add_number(&session->call, of->slots - of->used);
    burble__call_add_number(&session->call, session->relay->options.ttl / MS);
    burble__call_add_text(&session->call, of->model->name);
}

static burble_text text_of(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_STRING
               ? (burble_text){reply->str, reply->len}
               : (burble_text){"", 0};
}

static void on_ready(burble_reader *reader, void *arg)
{
    struct burble__publication *one = arg;
    struct burble__session *session = one->model->session;
    (void)reader;
    if (one->given_up && !one->submitting)
        burble__session_revive(session, one);
    else
        burble__session_mark(session, one);
}

/* Begins to compute an answer. BURBLE_OK, BURBLE_ENOMEM or BURBLE_EFORMAT. */
static int begin(struct burble__session *session, const char *id, const redisReply *entry)
{
    burble_relay *relay = session->relay;
    struct burble__publication *one;
    const redisReply *list = burble__reply_at(entry, 8);
    burble_text texts[BURBLE__N_ANSWER_TEXTS];
    texts[BURBLE__ANSWER_REQUEST] = text_of(burble__reply_at(entry, 2));
    texts[BURBLE__ANSWER_DIGEST] = text_of(burble__reply_at(entry, 3));
    texts[BURBLE__ANSWER_KEY] = text_of(burble__reply_at(entry, 4));
    texts[BURBLE__ANSWER_IDEMPOTENCY] = text_of(burble__reply_at(entry, 5));
    texts[BURBLE__ANSWER_BODY] = text_of(burble__reply_at(entry, 6));
    texts[BURBLE__ANSWER_LINGER] = text_of(burble__reply_at(entry, 7));
    if (list == NULL || list->type != REDIS_REPLY_ARRAY || list->elements == 0)
        return BURBLE_EFORMAT;
    burble_text *frames = burble__calloc(list->elements, sizeof *frames);
    if (frames == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < list->elements; i++)
        frames[i] = text_of(list->element[i]);
    int result = burble__publication_create(id, texts, frames, list->elements,
                                            relay->options.max_pending, relay->hub, on_ready, &one);
    burble__free(frames);
    if (result != BURBLE_OK)
        return result;
    one->model = session->asked;
    one->handing = session->draining;
    burble__session_hold(session, one);
    burble__session_mark(session, one); /* it parks then */
    if (one->found > 1) {
        BURBLE__RELAY_ADD(relay, resumed, 1);
        burble__relay_log(relay,
                          "goes on with the answer %s of another worker after %" PRIu64 " frames",
                          one->id.hex, one->found);
    }
    burble__submission_begin(session, one);
    return BURBLE_OK;
}

/* It is given an answer that it holds: after all that happened, nobody else has gone on with it. */
static bool take_back(struct burble__session *session, struct burble__publication *one,
                      const redisReply *entry)
{
    const redisReply *list = burble__reply_at(entry, 8);
    if (list == NULL || list->elements == 0)
        return false;
    const burble_text last = text_of(list->element[list->elements - 1]);
    if (last.len < 4 || !burble__publication_has(one, list->elements, last.bytes))
        return false;
    if (one->list == &session->finished)
        session->retained -= one->bytes;
    burble__publications_add(&session->running, one);
    if (burble__publication_rewind(one, list->elements) != BURBLE_OK)
        return false;
    burble__session_mark(session, one);
    return true;
}

void burble__session_claimed(struct burble__session *session, const redisReply *reply)
{
    for (size_t i = 1; i < reply->elements; i++) {
        const char *id = id_of(burble__reply_at(reply->element[i], 0));
        if (id == NULL)
            continue;
        struct burble__publication *held = burble__session_find(session, id);
        if (held != NULL && take_back(session, held, reply->element[i]))
            continue;
        if (held != NULL)
            burble__session_drop(session, held);
        const int result = begin(session, id, reply->element[i]);
        if (result != BURBLE_OK)
            add_orphan(session, result == BURBLE_ENOMEM ? 'r' : 'x', id);
    }
}

/* ---- step --------------------------------------------------------------------------------------------------- */

static void add_end(struct burble__call *call, const struct burble__publication *one)
{
    static const char *const states[] = {
        [BURBLE_ENDED] = "ended", [BURBLE_FAILED] = "failed", [BURBLE_CANCELLED] = "cancelled"};
    const burble_status *end = &one->end;
    char code[16];
    snprintf(code, sizeof code, "%d", end->state == BURBLE_ENDED ? (int)end->reason : end->code);
    burble__call_add_text(call, "e");
    burble__call_add_text(call, one->id.hex);
    burble__call_add_text(call, states[end->state]);
    burble__call_add_text(call, code);
    burble__call_add_text(call, end->message);
}

/* Whether another worker can go on with it: with any text, if the model has a digest. */
static bool can_go_on(const struct burble__publication *one)
{
    return (one->model->model->backend.digest != NULL && !one->bound)
           || burble_stream_position(one->stream) <= 1;
}

/* What one answer has to send. Returns whether there may be more. */
static bool add_answer(struct burble__session *session, struct burble__publication *one,
                       unsigned *ends)
{
    struct burble__call *call = &session->call;
    const uint64_t before = one->sent;
    if (one->bound && !one->bound_sent) {
        burble__call_add_text(call, "d");
        burble__call_add_text(call, one->id.hex);
        burble__call_add_text(call, "-");
        one->bound_sent = true;
    }
    const bool more = burble__publication_put(one, &session->step);
    session->frames += one->sent - before;
    if (one->over && !one->end_sent) {
        --*ends;
        one->end_sent = true;
        add_end(call, one);
    } else if (one->handing && !one->over && !one->submitting && can_go_on(one)) {
        --*ends;
        one->handed = true;
        one->handing = false;
        burble__call_add_text(call, "h");
        burble__call_add_text(call, one->id.hex);
        return false;
    }
    return more;
}

static void add_orphans(struct burble__session *session)
{
    const size_t size = 1 + BURBLE__STREAM_ID_LEN;
    struct burble__call *call = &session->call;
    session->n_orphans_sent = session->orphans.len / size;
    if (session->n_orphans_sent > MAX_ORPHANS)
        session->n_orphans_sent = MAX_ORPHANS;
    for (size_t i = 0; i < session->n_orphans_sent; i++) {
        const char *orphan = session->orphans.bytes + i * size;
        burble__call_add_text(call, orphan[0] == 'r' ? "r" : "e");
        burble__call_add(call, orphan + 1, BURBLE__STREAM_ID_LEN);
        if (orphan[0] == 'r')
            continue;
        char code[16];
        snprintf(code, sizeof code, "%d", BURBLE_EFORMAT);
        burble__call_add_text(call, "failed");
        burble__call_add_text(call, code);
        burble__call_add_text(call, "the answer's frames in Redis are malformed");
    }
}

void burble__session_make_step(struct burble__session *session)
{
    const burble_relay_options *options = &session->relay->options;
    struct burble__step *step = &session->step;
    unsigned ends = MAX_ENDS;
    struct burble__publication *again = NULL, **last_again = &again;
    add_numbered(session, BURBLE__SCRIPT_STEP);
    /* A lease that was just renewed is left as it is, which saves Redis work. */
    const bool renews =
        !session->stalled && session->stepped - session->renewed >= options->lease / 8;
    if (renews)
        session->renewed = session->stepped;
    burble__call_add_number(&session->call, renews ? options->lease / MS : 0);
    burble__call_add_number(&session->call, session->told);
    burble__call_add_number(&session->call, options->ttl / MS);
    step->records.len = 0;
    step->frames = BURBLE__STEP_FRAMES;
    step->bytes = BURBLE__STEP_BYTES;
    session->frames = 0;
    session->quits = session->draining && !session->quit;
    if (session->quits)
        burble__call_add_text(&session->call, "q");
    add_orphans(session);
    while (session->dirty != NULL && step->frames > 0 && step->bytes > 0 && ends > 0
           && session->call.result == BURBLE_OK) {
        struct burble__publication *one = session->dirty;
        session->dirty = one->next_dirty;
        if (session->dirty == NULL)
            session->last_dirty = &session->dirty;
        one->dirty = false;
        if (one->list != &session->running)
            continue;
        if (add_answer(session, one, &ends)) {
            one->dirty = true;
            one->next_dirty = NULL;
            *last_again = one;
            last_again = &one->next_dirty;
        }
    }
    if (again != NULL) { /* behind the others, so that all get their turn */
        *session->last_dirty = again;
        session->last_dirty = last_again;
    }
    burble__call_add(&session->call, step->records.bytes, step->records.len);
}

void burble__session_abandon_step(struct burble__session *session)
{
    struct burble__publication *one = session->running.first;
    session->n_orphans_sent = 0;
    session->renewed = 0;
    for (; one != NULL; one = one->next) {
        if (one->sent == one->confirmed && !one->end_sent && !one->handed && !one->bound_sent)
            continue;
        one->handing = one->handing || one->handed;
        /* Without memory for that, Redis will refuse what comes next, and the answer is adopted. */
        burble__publication_rewind(one, one->confirmed);
        burble__session_mark(session, one);
    }
}

/* "cancel <id>"; "keep <id>": nobody else can go on with it. */
static void obey(struct burble__session *session, const redisReply *order)
{
    static const char cancel[] = "cancel ", keep[] = "keep ";
    const burble_text text = text_of(order);
    const bool is_cancel = text.len == strlen(cancel) + BURBLE__STREAM_ID_LEN
                           && memcmp(text.bytes, cancel, strlen(cancel)) == 0;
    const bool is_keep = text.len == strlen(keep) + BURBLE__STREAM_ID_LEN
                         && memcmp(text.bytes, keep, strlen(keep)) == 0;
    if (!is_cancel && !is_keep)
        return;
    struct burble__publication *one =
        burble__session_find(session, text.bytes + text.len - BURBLE__STREAM_ID_LEN);
    if (one == NULL)
        return;
    if (is_cancel) {
        burble__publication_cut(one, 0, NULL);
    } else if (one->handed) {
        one->handed = false;
        burble__session_mark(session, one);
    }
}

static void confirm(struct burble__session *session)
{
    struct burble__publication *next;
    for (struct burble__publication *one = session->running.first; one != NULL; one = next) {
        next = one->next;
        one->confirmed = one->sent;
        if (one->end_sent)
            burble__session_finish(session, one);
        else if (one->handed)
            burble__session_drop(session, one);
    }
    BURBLE__RELAY_ADD(session->relay, frames_sent, session->frames);
    burble__buffer_drop(&session->orphans, session->n_orphans_sent * (1 + BURBLE__STREAM_ID_LEN));
    session->n_orphans_sent = 0;
}

void burble__session_stepped(struct burble__session *session, const redisReply *reply)
{
    const redisReply *refused = burble__reply_at(reply, 1);
    session->told = reply->elements > 2 ? reply->elements - 2 : 0;
    session->quit = session->quit || session->quits;
    for (size_t i = 2; i < reply->elements; i++)
        obey(session, reply->element[i]);
    for (size_t i = 0; refused != NULL && i < refused->elements; i++) {
        const char *id = id_of(refused->element[i]);
        struct burble__publication *one = id == NULL ? NULL : burble__session_find(session, id);
        if (one != NULL && one->list == &session->running) {
            one->handed = false;
            burble__publications_add(&session->to_adopt, one);
        }
    }
    confirm(session);
}

/* ---- adopt, close ------------------------------------------------------------------------------------------- */

void burble__session_make_adopt(struct burble__session *session, struct burble__publication *one)
{
    struct burble__call *call = &session->call;
    burble_reader *reader;
    burble_record frame;
    add_numbered(session, BURBLE__SCRIPT_ADOPT);
    burble__call_add_text(call, one->id.hex);
    burble__call_add_text(call, one->model->model->name);
    for (unsigned i = 0; i < BURBLE__N_ANSWER_TEXTS; i++) {
        const bool bound = one->bound && i == BURBLE__ANSWER_DIGEST;
        burble__call_add(call, bound ? "-" : one->texts[i].bytes, bound ? 1 : one->texts[i].len);
    }
    burble__call_add_number(call, session->relay->options.ttl / MS);
    burble__call_add(call, one->hashes.bytes, one->hashes.len);
    if (burble_reader_create(one->stream, 0, &reader, NULL) != BURBLE_OK) {
        call->result = BURBLE_ENOMEM;
        return;
    }
    burble_reader_next(reader, &frame); /* begin */
    burble__call_add2(call, one->hashes.bytes, 4, frame.text, frame.len);
    burble_reader_destroy(&reader);
}

void burble__session_adopted(struct burble__session *session, const redisReply *reply)
{
    struct burble__publication *one = session->adopted;
    const redisReply *what = burble__reply_at(reply, 1);
    session->adopted = NULL;
    if (one == NULL || what == NULL)
        return;
    const bool was_finished = one->finished;
    if (burble__reply_is(reply->element[0], "ok")) {
        if (burble__publication_rewind(one, (uint64_t)what->integer) != BURBLE_OK)
            return; /* no memory: it is adopted once more */
        one->handing = session->draining;
        one->progress = burble__now();
        burble__publications_add(&session->running, one);
        burble__session_mark(session, one);
        BURBLE__RELAY_ADD(session->relay, rejoined, 1);
        burble__relay_log(session->relay, "the answer %s goes on after frame %lld", one->id.hex,
                          what->integer);
    } else if (was_finished && burble__reply_is(what, "over")) {
        burble__session_finish(session, one);
    } else {
        burble__relay_log(session->relay, "the answer %s is dropped: %.20s", one->id.hex,
                          what->str);
        burble__session_drop(session, one);
    }
}

void burble__session_make_close(struct burble__session *session)
{
    add_numbered(session, BURBLE__SCRIPT_CLOSE);
}
