/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/front.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/little_endian.h"
#include "base/thread.h"
#include "serve/json.h"

#define MS UINT64_C(1000000)

/* How long a server's thread waits for Redis's reply. */
#define WAIT (2000 * MS)

/* The longest time that an answer which is not kept goes on without a front that shows it. */
#define ORDINARY_LINGER (30000 * MS)

/* The most answers that are to be cancelled once Redis is there. */
#define CANCELS 65536u

/* ---- waiting --------------------------------------------------------------------------------------------- */

static struct burble__waiter *new_waiter(void)
{
    struct burble__waiter *waiter = burble__calloc(1, sizeof *waiter);
    if (waiter != NULL)
        waiter->references = 2;
    return waiter;
}

/* With the lock held. */
static void drop_waiter(struct burble__waiter *waiter)
{
    if (--waiter->references == 0)
        burble__free(waiter);
}

/* As burble__front_tell. Takes over the reference to the waiter. */
static bool tell(struct burble__front *front, struct burble__waiter *waiter, int result,
                 const char *message)
{
    pthread_mutex_lock(&front->lock);
    waiter->done = true;
    waiter->result = result;
    if (result == BURBLE_OK)
        snprintf(waiter->key, sizeof waiter->key, "%s", message);
    else
        burble__error_set(&waiter->error, result, "%s", message);
    const bool heard = waiter->references > 1;
    drop_waiter(waiter);
    pthread_cond_broadcast(&front->changed);
    pthread_mutex_unlock(&front->lock);
    return heard;
}

bool burble__front_tell(struct burble__shown *shown, int result, const char *message)
{
    struct burble__waiter *waiter = shown->waiter;
    shown->waiter = NULL;
    return tell(shown->front, waiter, result, message);
}

/* Waits until the waiter is done: *result. False: `deadline` has passed. Drops the waiter, of which *copy is a copy. */
static bool wait_for(struct burble__front *front, struct burble__waiter *waiter, uint64_t deadline,
                     struct burble__waiter *copy)
{
    int late = 0;
    pthread_mutex_lock(&front->lock);
    while (!waiter->done && late == 0)
        late = burble__condition_wait(&front->changed, &front->lock, deadline);
    *copy = *waiter;
    drop_waiter(waiter);
    pthread_mutex_unlock(&front->lock);
    return copy->done;
}

static int refuse_id(const char *name, burble_error *error)
{
    return burble__error_set(error, BURBLE_EINVAL,
                             "id: expected 32 hexadecimal digits, found '%.64s'", name);
}

/* ---- posts ----------------------------------------------------------------------------------------------- */

struct ask {
    struct burble__relay_post post; /* first */
    struct burble__front *front;
    struct burble__shown *shown;
    burble_stream *stream;
    bool cancels;
};

static void run_show(burble_relay *relay, struct burble__relay_post *post)
{
    struct ask *ask = (struct ask *)post;
    struct burble__shown *shown = ask->shown;
    (void)relay;
    burble__front_show(shown->front, shown);
    burble__front_fetch(shown);
    burble__free(ask);
}

static void run_part(burble_relay *relay, struct burble__relay_post *post)
{
    struct ask *ask = (struct ask *)post;
    struct burble__entry *entry = burble__directory_of_stream(&ask->front->directory, ask->stream);
    (void)relay;
    if (entry != NULL && ask->cancels) {
        /* (Without memory for that, the timer finds the stream, which was cancelled.) */
        if (burble__front_cancel(ask->front, &entry->of.id))
            burble__front_drop((struct burble__shown *)entry);
    } else if (entry != NULL) {
        burble__front_leave((struct burble__shown *)entry);
    }
    burble_stream_unref(&ask->stream);
    burble__free(ask);
}

static struct ask *new_ask(struct burble__front *front,
                           void (*run)(burble_relay *, struct burble__relay_post *))
{
    struct ask *ask = burble__calloc(1, sizeof *ask);
    if (ask == NULL)
        return NULL;
    ask->front = front;
    ask->post.run = run;
    return ask;
}

/* Has the front show the answer, and takes it over. BURBLE_OK; BURBLE_ECLOSED: the relay does not run. */
static int show(struct burble__front *front, struct burble__shown *shown)
{
    struct ask *ask = new_ask(front, run_show);
    if (ask == NULL)
        return BURBLE_ENOMEM;
    ask->shown = shown;
    if (burble__relay_post(front->relay, &ask->post))
        return BURBLE_OK;
    burble__free(ask);
    return BURBLE_ECLOSED;
}

/* The reader of the stream has gone. */
static void part(struct burble__front *front, burble_stream *stream, bool cancels)
{
    struct ask *ask = new_ask(front, run_part);
    if (ask == NULL)
        return; /* a stream that was cancelled is found by the timer; another one ends with its answer */
    ask->stream = burble_stream_ref(stream);
    ask->cancels = cancels;
    if (burble__relay_post(front->relay, &ask->post))
        return;
    burble_stream_unref(&ask->stream);
    burble__free(ask);
}

void burble__front_on_cancelled(struct burble__front *front, burble_stream *stream)
{
    part(front, stream, true);
}

void burble__front_on_left(struct burble__front *front, burble_stream *stream)
{
    part(front, stream, false);
}

static struct burble__shown *new_shown(struct burble__front *front,
                                       const struct burble__stream_id *id, burble_stream *stream,
                                       uint64_t frames, uint32_t hash)
{
    struct burble__shown *shown = burble__calloc(1, sizeof *shown);
    struct burble__waiter *waiter = new_waiter();
    if (shown == NULL || waiter == NULL) {
        burble__free(shown);
        burble__free(waiter);
        return NULL;
    }
    shown->front = front;
    shown->waiter = waiter;
    burble__call_init(&shown->call, BURBLE__SCRIPT_ATTACH, NULL, shown);
    burble__subscription_init(&shown->entry.of, id, burble_stream_ref(stream), frames, hash);
    shown->entry.of.n_diverged = &front->relay->counts.diverged;
    return shown;
}

/* Frees what was not shown. */
static void free_new(struct burble__shown *shown)
{
    burble__free(shown->waiter);
    burble__front_forget_kept(shown);
    burble__held_drop(shown->entry.of.held);
    burble_stream_unref(&shown->entry.of.stream);
    burble__free(shown);
}

/* ---- submitting ------------------------------------------------------------------------------------------ */

void burble__front_forget_kept(struct burble__shown *shown)
{
    struct burble__kept_request *kept = shown->kept;
    if (kept == NULL || kept->call.in_flight)
        return; /* (its reply forgets it) */
    shown->kept = NULL;
    burble__add_relaxed(&shown->front->kept, UINT64_MAX - kept->charged + 1);
    burble__call_finish(&kept->call);
    burble__free(kept);
}

static void on_submitted(struct burble__call *call, const redisReply *reply)
{
    struct burble__shown *shown = call->arg;
    burble__front_submitted(shown, reply);
}

/* The request, for the worker: submission.c describes it. */
static int write_request(const burble_serve_request *request, struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    uint32_t seed = 0;
    const double given = burble_serve_number(request, BURBLE_SERVE_SEED, -1);
    if (given >= 0)
        seed = (uint32_t)given;
    else if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return BURBLE_ESYSTEM;
    burble__put_raw(&out, "{\"v\":1,\"route\":");
    burble__put_integer(&out, request->route);
    burble__put_raw(&out, ",\"id\":");
    burble__put_name(&out, request->id);
    burble__put_raw(&out, ",\"seed\":");
    burble__put_integer(&out, seed);
    burble__put_raw(&out, request->resumable ? ",\"resumable\":true" : ",\"resumable\":false");
    burble__put_raw(&out, ",\"request_id\":");
    burble__put_name(&out, request->request_id);
    burble__put_raw(&out, ",\"body\":");
    burble__put_string(&out, request->body.bytes, request->body.len);
    burble__put_raw(&out, "}");
    return out.result;
}

static void add_submission(struct burble__call *call, const burble_relay *relay,
                           const burble_serve_request *request, const struct burble__stream_id *id,
                           uint32_t hash, const struct burble__buffer *text)
{
    const bool kept = request->resumable || request->idempotency.len > 0;
    const uint64_t linger = relay->options.linger;
    char key[80], name[20], frame_hash[4];
    burble__put_le32(hash, frame_hash);
    snprintf(key, sizeof key, "%016" PRIx64 " %s %c", request->key,
             request->token[0] == '\0' ? "-" : request->token, kept ? 'k' : 'o');
    snprintf(name, sizeof name, "%016" PRIx64 ":", request->key);
    burble__call_add_text(call, relay->front.hex);
    burble__call_add_text(call, id->hex);
    burble__call_add_text(call, request->model);
    burble__call_add(call, text->bytes, text->len);
    burble__call_add2(call, frame_hash, sizeof frame_hash, request->begin.bytes,
                      request->begin.len);
    burble__call_add_text(call, key);
    if (request->idempotency.len > 0)
        burble__call_add2(call, name, strlen(name), request->idempotency.bytes,
                          request->idempotency.len);
    else
        burble__call_add_text(call, "");
    burble__call_add_number(call, request->body_hash);
    burble__call_add_number(call, relay->options.queue);
    burble__call_add_number(call,
                            (kept || linger < ORDINARY_LINGER ? linger : ORDINARY_LINGER) / MS);
}

/* Keeps the request in *shown. */
static int keep(struct burble__shown *shown, const burble_serve_request *request)
{
    struct burble__front *front = shown->front;
    struct burble__buffer text;
    burble__buffer_init(&text, BURBLE__CALL_MAX);
    int result = write_request(request, &text);
    struct burble__kept_request *kept =
        result == BURBLE_OK ? burble__calloc(1, sizeof *kept) : NULL;
    if (kept == NULL) {
        burble__buffer_finish(&text);
        return result == BURBLE_OK ? BURBLE_ENOMEM : result;
    }
    burble__call_init(&kept->call, BURBLE__SCRIPT_SUBMIT, on_submitted, shown);
    add_submission(&kept->call, front->relay, request, &shown->entry.of.id, shown->entry.of.hash,
                   &text);
    burble__buffer_finish(&text);
    kept->charged = kept->call.bytes.capacity;
    shown->kept = kept;
    if (burble__add_relaxed(&front->kept, kept->charged) + kept->charged > BURBLE__KEPT_MAX)
        return BURBLE_EFULL;
    return kept->call.result;
}

int burble__front_submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                         burble_error *error)
{
    struct burble__front_model *model = arg;
    struct burble__front *front = model->front;
    struct burble__stream_id id;
    struct burble__waiter outcome;
    if (!burble__load_acquire(&front->there))
        return burble__error_set(error, BURBLE_ECLOSED, "Redis is away");
    if (burble__load_relaxed(&front->crowded))
        return burble__error_set(error, BURBLE_ECLOSED, "Redis has too little memory left");
    if (!burble__stream_id_parse(request->id, strlen(request->id), &id))
        return burble__error_set(error, BURBLE_EINVAL, "id: expected a name of a stream");
    const uint32_t hash =
        burble_frame_hash(BURBLE_FRAME_HASH, request->begin.bytes, request->begin.len);
    struct burble__shown *shown = new_shown(front, &id, stream, 1, hash);
    if (shown == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    struct burble__waiter *waiter = shown->waiter;
    shown->model = model;
    shown->of_server = true;
    burble_stream_hand_over(stream);
    int result = keep(shown, request);
    if (result == BURBLE_OK)
        result = show(front, shown);
    if (result != BURBLE_OK) {
        free_new(shown);
        return burble__error_set(error, result, "%s",
                                 result == BURBLE_EFULL ? "too many requests wait for Redis"
                                                        : burble_result_text(result));
    }
    if (!wait_for(front, waiter, burble__now() + WAIT, &outcome)) {
        /* It is submitted as soon as Redis answers. A client that has repeated it at another front may be the first there. */
        if (request->idempotency.len > 0)
            return burble__error_set(error, BURBLE_AGAIN,
                                     "Redis does not answer: repeat the request with the same "
                                     "Idempotency-Key");
        return BURBLE_OK; /* if Redis refuses it, the stream fails */
    }
    if (outcome.result != BURBLE_OK && error != NULL)
        *error = outcome.error;
    return outcome.result;
}

/* Redis has refused the request. */
static void refuse(struct burble__shown *shown, int code, const char *message)
{
    const char *told = code != BURBLE_EGONE ? message
                       : message[0] == '\0'
                           ? "this Idempotency-Key was used for a request with another body"
                           : "another server has this answer: repeat the request with the same "
                             "Idempotency-Key";
    /* The server fails the stream if it waits for the reply. */
    if (shown->waiter == NULL || !burble__front_tell(shown, code, message))
        burble__subscription_fail(&shown->entry.of, code == BURBLE_EGONE ? BURBLE_ECLOSED : code,
                                  told);
    burble__front_drop(shown);
}

/* It cannot be submitted at present. A request that was accepted before goes on waiting; so does one whose server has waited no
 * longer for the reply. */
static void wait_or_refuse(struct burble__shown *shown, int code, const char *message)
{
    const uint64_t now = burble__now();
    if (shown->submitted_at == 0)
        shown->submitted_at = now;
    if (shown->waiter != NULL && burble__front_tell(shown, code, message))
        burble__front_drop(shown); /* the server fails the stream */
    else if (now - shown->submitted_at >= shown->front->relay->options.away)
        refuse(shown, code, message);
    else
        burble__front_retry(shown, false);
}

void burble__front_submitted(struct burble__shown *shown, const redisReply *reply)
{
    struct burble__front *front = shown->front;
    const redisReply *what = burble__reply_at(reply, 0), *other = burble__reply_at(reply, 1);
    front->fetches--;
    const bool wanted = !burble__front_is_gone(shown);
    if (!wanted || reply == NULL) {
        /* Nobody wants it any more; or the connection was lost: it is submitted again once it is there. */
    } else if (burble__reply_is(what, "ok") || burble__reply_is(what, "there")) {
        shown->submitted = true;
        shown->submitted_at = 0;
        if (shown->waiter != NULL)
            burble__front_tell(shown, BURBLE_OK, "");
        if (shown->entry.of.shown > 1)
            burble__front_forget_kept(shown);
        if (burble__reply_is(what, "there"))
            burble__front_fetch(shown);
    } else if (burble__reply_is(what, "other") && other != NULL
               && other->type == REDIS_REPLY_STRING) {
        refuse(shown, BURBLE_EGONE, other->str);
    } else if (burble__reply_is(what, "conflict")) {
        refuse(shown, BURBLE_EGONE, "");
    } else if (burble__reply_is(what, "absent")) {
        char message[128 + BURBLE_FRAME_MAX_NAME];
        snprintf(message, sizeof message, "no worker computes the model `%s` at present",
                 shown->model->name);
        wait_or_refuse(shown, BURBLE_ECLOSED, message);
    } else if (burble__reply_is(what, "full")) {
        wait_or_refuse(shown, BURBLE_EFULL, "the queue of this model is full");
    } else {
        burble__relay_log(front->relay, "Redis refused a request: %s",
                          reply->type == REDIS_REPLY_ERROR ? reply->str : "unknown reply");
        wait_or_refuse(shown, BURBLE_ECLOSED, "Redis refused the request");
    }
    burble__front_pump(front);
}

/* ---- cancelling ------------------------------------------------------------------------------------------ */

struct burble__cancel {
    struct burble__call call; /* first */
    struct burble__cancel *next;
    struct burble__front *front;
    struct burble__stream_id id;
    struct burble__waiter *waiter; /* NULL: nobody waits for it */
};

/* It is over. */
static void finish_cancel(struct burble__cancel *cancel, int result, const char *message)
{
    if (cancel->waiter != NULL)
        tell(cancel->front, cancel->waiter, result, message);
    cancel->front->n_cancels--;
    burble__call_finish(&cancel->call);
    burble__free(cancel);
}

/* It is sent by the next tick at which Redis is there. */
static void put_off(struct burble__cancel *cancel)
{
    cancel->next = cancel->front->cancels;
    cancel->front->cancels = cancel;
}

static void send_cancel(struct burble__cancel *cancel)
{
    const burble_relay *relay = cancel->front->relay;
    burble__call_restart(&cancel->call, BURBLE__SCRIPT_CANCEL);
    burble__call_add_text(&cancel->call, cancel->id.hex);
    burble__call_add_number(&cancel->call, relay->options.ttl / MS);
    if (!burble__redis_send(&cancel->front->relay->redis, &cancel->call))
        put_off(cancel);
}

static void on_cancel_done(struct burble__call *call, const redisReply *reply)
{
    struct burble__cancel *cancel = call->arg;
    const struct burble__front *front = cancel->front;
    if (reply == NULL && front->stopping) {
        finish_cancel(cancel, BURBLE_ECLOSED, "the relay was closed");
    } else if (reply == NULL
               || (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0)) {
        put_off(cancel); /* (without memory, the script's text was not sent) */
    } else if (burble__reply_is(reply, "ok")) {
        finish_cancel(cancel, BURBLE_OK, "");
    } else if (burble__reply_is(reply, "none")) {
        finish_cancel(cancel, BURBLE_EGONE, "");
    } else {
        finish_cancel(cancel, BURBLE_ESYSTEM,
                      reply->type == REDIS_REPLY_ERROR ? reply->str : "unknown reply of Redis");
    }
}

/* `waiter`: NULL, or of a thread that waits for it; its reference is taken over. False: no memory, or too many. */
static bool cancel_for(struct burble__front *front, const struct burble__stream_id *id,
                       struct burble__waiter *waiter)
{
    struct burble__cancel *cancel =
        front->n_cancels < CANCELS ? burble__calloc(1, sizeof *cancel) : NULL;
    if (cancel == NULL) {
        if (waiter != NULL)
            tell(front, waiter, BURBLE_ENOMEM, burble_result_text(BURBLE_ENOMEM));
        return false;
    }
    cancel->front = front;
    cancel->id = *id;
    cancel->waiter = waiter;
    burble__call_init(&cancel->call, BURBLE__SCRIPT_CANCEL, on_cancel_done, cancel);
    front->n_cancels++;
    send_cancel(cancel);
    return true;
}

bool burble__front_cancel(struct burble__front *front, const struct burble__stream_id *id)
{
    return cancel_for(front, id, NULL);
}

void burble__front_send_cancels(struct burble__front *front)
{
    struct burble__cancel *cancel = front->cancels;
    front->cancels = NULL;
    while (cancel != NULL) {
        struct burble__cancel *next = cancel->next;
        send_cancel(cancel);
        cancel = next;
    }
}

void burble__front_free_cancels(struct burble__front *front)
{
    while (front->cancels != NULL) {
        struct burble__cancel *cancel = front->cancels;
        front->cancels = cancel->next;
        finish_cancel(cancel, BURBLE_ECLOSED, "the relay was closed");
    }
}

static void on_detached(struct burble__call *call, const redisReply *reply)
{
    (void)reply; /* if it was lost, this front gets frames that it does not show */
    burble__call_finish(call);
    burble__free(call);
}

void burble__front_detach(struct burble__front *front, const struct burble__stream_id *id)
{
    struct burble__call *call = burble__calloc(1, sizeof *call);
    if (call == NULL)
        return;
    burble__call_init(call, BURBLE__SCRIPT_DETACH, on_detached, front);
    burble__call_add_text(call, front->relay->front.hex);
    burble__call_add_text(call, id->hex);
    if (!burble__redis_send(&front->relay->redis, call))
        on_detached(call, NULL);
}

struct ask_cancel {
    struct burble__relay_post post; /* first */
    struct burble__stream_id id;
    struct burble__waiter *waiter;
};

static void run_cancel(burble_relay *relay, struct burble__relay_post *post)
{
    const struct ask_cancel *ask = (struct ask_cancel *)post;
    cancel_for(relay->shown, &ask->id, ask->waiter);
    burble__free(post);
}

int burble_relay_cancel(burble_relay *relay, const char *name, uint64_t deadline,
                        burble_error *error)
{
    struct burble__stream_id id;
    struct burble__waiter outcome;
    if (!burble__stream_id_parse(name, strlen(name), &id))
        return refuse_id(name, error);
    struct ask_cancel *ask = burble__calloc(1, sizeof *ask);
    struct burble__waiter *waiter = new_waiter();
    if (ask == NULL || waiter == NULL) {
        burble__free(ask);
        burble__free(waiter);
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    }
    *ask = (struct ask_cancel){.post.run = run_cancel, .id = id, .waiter = waiter};
    if (!burble__relay_post(relay, &ask->post)) {
        burble__free(ask);
        burble__free(waiter);
        return burble__error_set(error, BURBLE_ECLOSED, "the relay does not run");
    }
    if (!wait_for(relay->shown, waiter, deadline, &outcome))
        return burble__error_set(error, BURBLE_ETIMEDOUT, "Redis has not answered in time");
    if (outcome.result == BURBLE_EGONE)
        return burble__error_set(error, BURBLE_EGONE, "no answer %.32s runs or waits", name);
    return outcome.result == BURBLE_OK
               ? BURBLE_OK
               : burble__error_set(error, outcome.result, "%s", outcome.error.message);
}

/* ---- finding --------------------------------------------------------------------------------------------- */

/* "<identity of the API key> <token or -> <k or o>" */
static bool read_key(const char *text, burble_serve_found *found)
{
    char *end;
    found->key = strtoull(text, &end, 16);
    if (end != text + 16 || *end != ' ')
        return false;
    const char *token = end + 1;
    const size_t len = strcspn(token, " ");
    if (len == 0 || len >= sizeof found->token || token[len] != ' ')
        return false;
    if (*token != '-') {
        memcpy(found->token, token, len);
        found->token[len] = '\0';
    }
    found->kept = token[len + 1] == 'k';
    return true;
}

int burble__front_find(void *arg, const char *name, burble_serve_found *found, burble_error *error)
{
    struct burble__front *front = arg;
    struct burble__stream_id id;
    struct burble__waiter outcome;
    burble_stream_options options;
    burble_stream *stream;
    if (!burble__load_acquire(&front->there))
        return burble__error_set(error, BURBLE_ECLOSED, "Redis is away");
    if (!burble__stream_id_parse(name, strlen(name), &id))
        return BURBLE_EGONE;
    burble_stream_options_init(&options);
    options.keep = BURBLE_KEEP_ALL;
    if (burble_stream_create(&options, &stream) != BURBLE_OK)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    burble_stream_hand_over(stream);
    struct burble__shown *shown = new_shown(front, &id, stream, 0, BURBLE_FRAME_HASH);
    int result = BURBLE_ENOMEM;
    if (shown != NULL) {
        struct burble__waiter *waiter = shown->waiter;
        shown->sought = true;
        shown->of_server = true;
        result = show(front, shown);
        if (result != BURBLE_OK) {
            free_new(shown);
        } else if (wait_for(front, waiter, burble__now() + WAIT, &outcome)) {
            result = outcome.result;
            if (result == BURBLE_OK && !read_key(outcome.key, found))
                result = BURBLE_EFORMAT;
            if (result != BURBLE_OK)
                *error = outcome.error;
        } else {
            result = burble__error_set(error, BURBLE_ECLOSED, "Redis does not answer");
        }
    }
    if (result == BURBLE_OK) {
        found->stream = stream;
        return BURBLE_OK;
    }
    part(front, stream, false);
    burble_stream_unref(&stream);
    return result;
}

int burble_relay_attach(burble_relay *relay, const char *name, uint64_t frames, uint32_t hash,
                        uint64_t deadline, burble_stream **out, burble_error *error)
{
    struct burble__front *front = relay->shown;
    struct burble__stream_id id;
    struct burble__waiter outcome = {.done = false};
    struct burble__held *held;
    burble_stream *stream;
    *out = NULL;
    if (!burble__stream_id_parse(name, strlen(name), &id))
        return refuse_id(name, error);
    if (burble__held_stream_create(&stream, &held) != BURBLE_OK)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    struct burble__shown *shown =
        new_shown(front, &id, stream, frames, frames == 0 ? BURBLE_FRAME_HASH : hash);
    if (shown == NULL) {
        burble__held_drop(held);
        burble_stream_unref(&stream);
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    }
    struct burble__waiter *waiter = shown->waiter;
    shown->entry.of.held = held;
    shown->sought = frames == 0; /* else its worker may write again what Redis has lost */
    int result = show(front, shown);
    if (result != BURBLE_OK)
        free_new(shown);
    else if (wait_for(front, waiter, deadline, &outcome))
        result = outcome.result;
    else
        result = BURBLE_ETIMEDOUT;
    if (result == BURBLE_OK) {
        *out = stream;
        return BURBLE_OK;
    }
    part(front, stream, false);
    burble_stream_unref(&stream);
    if (result == BURBLE_EGONE)
        return burble__error_set(error, result, "there is no answer %.32s (any more)", name);
    return burble__error_set(error, result, "%s",
                             result == outcome.result && outcome.error.message[0] != '\0'
                                 ? outcome.error.message
                                 : burble_result_text(result));
}
