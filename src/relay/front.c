/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/little_endian.h"
#include "base/thread.h"

#define MS UINT64_C(1000000)

/* The period of the timer in ms; and while answers wait to be fetched again. */
#define PERIOD 1000u
#define SHORT_PERIOD 50u

/* The time in ms, after which what Redis has not is asked for again. */
#define RETRY_PERIOD 200u

uint64_t burble__front_patience(const burble_relay *relay)
{
    return relay->options.lease + 2000 * MS;
}

static burble_relay *relay_of(const struct burble__shown *shown)
{
    return shown->front->relay;
}

/* ---- what is shown --------------------------------------------------------------------------------------- */

static void set_period(struct burble__front *front)
{
    const bool fast = front->n_retries > 0;
    if (fast == front->fast || front->stopping)
        return;
    front->fast = fast;
    uv_timer_set_repeat(&front->timer, fast ? SHORT_PERIOD : PERIOD);
    uv_timer_again(&front->timer);
}

static void set_retry(struct burble__shown *shown, bool retry)
{
    if (shown->retry == retry)
        return;
    shown->retry = retry;
    shown->front->n_retries += retry ? 1 : UINT64_MAX;
    set_period(shown->front);
}

void burble__front_show(struct burble__front *front, struct burble__shown *shown)
{
    burble__directory_add(&front->directory, &shown->entry);
    BURBLE__RELAY_SET(front->relay, showing, front->directory.n);
}

static void free_shown(struct burble__shown *shown)
{
    burble__call_finish(&shown->call);
    burble__front_forget_kept(shown);
    burble__held_drop(shown->entry.of.held);
    burble_stream_unref(&shown->entry.of.stream);
    burble__free(shown);
}

static void unqueue(struct burble__front *front, struct burble__shown *shown)
{
    struct burble__shown *before = shown->fetch_before, *behind = shown->fetch_behind;
    if (!shown->queued)
        return;
    *(before == NULL ? &front->fetch_first : &before->fetch_behind) = behind;
    *(behind == NULL ? &front->fetch_last : &behind->fetch_before) = before;
    shown->queued = false;
}

static bool is_in_flight(const struct burble__shown *shown)
{
    return shown->call.in_flight || (shown->kept != NULL && shown->kept->call.in_flight);
}

void burble__front_drop(struct burble__shown *shown)
{
    struct burble__front *front = shown->front;
    const struct burble__subscription *of = &shown->entry.of;
    set_retry(shown, false);
    unqueue(front, shown);
    if (front->cursor == &shown->entry)
        front->cursor = shown->entry.newer;
    burble__directory_remove(&front->directory, &shown->entry);
    BURBLE__RELAY_SET(front->relay, showing, front->directory.n);
    if (shown->waiter != NULL) {
        burble_status status;
        burble_stream_status(of->stream, &status);
        /* The answer may have ended already: its frames and the confirmation of its request come over two connections. */
        burble__front_tell(shown,
                           status.state == BURBLE_ENDED       ? BURBLE_OK
                           : status.state == BURBLE_FAILED    ? status.code
                           : status.state == BURBLE_CANCELLED ? BURBLE_ECANCELED
                                                              : BURBLE_ECLOSED,
                           status.message);
    }
    shown->gone = true;
    if (!is_in_flight(shown))
        free_shown(shown);
}

bool burble__front_is_gone(struct burble__shown *shown)
{
    const bool gone = shown->gone;
    if (gone && !is_in_flight(shown))
        free_shown(shown);
    return gone;
}

/* The stream was cancelled, or has failed, here: so is the answer. False: without memory, it is not. */
static bool cut(struct burble__shown *shown)
{
    return !shown->of_server || burble__front_cancel(shown->front, &shown->entry.of.id);
}

void burble__front_leave(struct burble__shown *shown)
{
    struct burble__front *front = shown->front;
    const struct burble__stream_id id = shown->entry.of.id;
    const bool over = shown->entry.of.over;
    if (shown->kept != NULL && !over) {
        shown->left_at = shown->left_at == 0 ? burble__now() : shown->left_at;
        return;
    }
    burble__front_drop(shown);
    if (!over && burble__directory_find(&front->directory, id.hex) == NULL)
        burble__front_detach(front, &id);
}

void burble__front_handle(struct burble__shown *shown, enum burble__next next)
{
    const struct burble__subscription *of = &shown->entry.of;
    if (shown->kept != NULL && of->shown > 1)
        burble__front_forget_kept(shown);
    if (shown->left_at != 0 && shown->kept == NULL && next != BURBLE__NEXT_OVER) {
        burble__front_leave(shown);
        return;
    }
    switch (next) {
    case BURBLE__NEXT_NOTHING:
        break;
    case BURBLE__NEXT_FETCH:
        burble__front_fetch(shown);
        break;
    case BURBLE__NEXT_RETRY:
        burble__front_retry(shown, of->full);
        break;
    case BURBLE__NEXT_OVER:
        if (of->cut && shown->of_server)
            break; /* the server says next whether the answer is cancelled, too */
        if (of->diverged)
            burble__relay_log(relay_of(shown), "answer %s failed: another text follows",
                              of->id.hex);
        burble__front_drop(shown);
        break;
    }
}

/* ---- fetching -------------------------------------------------------------------------------------------- */

static void on_attached(struct burble__call *call, const redisReply *reply);

static bool send_attach(struct burble__shown *shown)
{
    burble_relay *relay = relay_of(shown);
    struct burble__subscription *of = &shown->entry.of;
    struct burble__call *call = &shown->call;
    char hash[4];
    burble__put_le32(of->hash, hash);
    burble__call_restart(call, BURBLE__SCRIPT_ATTACH);
    call->done = on_attached;
    call->arg = shown;
    shown->fetched_from = of->shown;
    burble__call_add_text(call, relay->front.hex);
    burble__call_add_text(call, of->id.hex);
    burble__call_add_number(call, of->shown);
    burble__call_add(call, hash, sizeof hash);
    burble__call_add_number(call, BURBLE__FETCH_FRAMES);
    return burble__redis_send(&relay->redis, call);
}

void burble__front_pump(struct burble__front *front)
{
    while (front->fetch_first != NULL && front->fetches < BURBLE__FETCHES
           && front->relay->redis.connected) {
        struct burble__shown *shown = front->fetch_first;
        const bool submits = shown->kept != NULL && !shown->submitted;
        unqueue(front, shown);
        if (submits ? burble__redis_send(&front->relay->redis, &shown->kept->call)
                    : send_attach(shown))
            front->fetches++;
        else
            burble__front_retry(shown, false);
    }
}

void burble__front_fetch(struct burble__shown *shown)
{
    struct burble__front *front = shown->front;
    set_retry(shown, false);
    if (shown->queued || is_in_flight(shown))
        return; /* its reply shows whether more is missing */
    shown->queued = true;
    shown->fetch_before = front->fetch_last;
    shown->fetch_behind = NULL;
    *(front->fetch_last == NULL ? &front->fetch_first : &front->fetch_last->fetch_behind) = shown;
    front->fetch_last = shown;
    burble__front_pump(front);
}

void burble__front_retry(struct burble__shown *shown, bool soon)
{
    if (shown->queued || is_in_flight(shown))
        return; /* its reply shows whether more is missing */
    set_retry(shown, true);
    shown->retry_at = burble__now() + (soon ? SHORT_PERIOD : RETRY_PERIOD) * MS;
}

/* Takes the frames of a reply: {'ok', state, code, message, model, key, number of frames, frames…} */
static enum burble__next take_frames(struct burble__shown *shown, const redisReply *reply,
                                     uint64_t first)
{
    struct burble__subscription *of = &shown->entry.of;
    const uint64_t before = of->shown;
    const char *state = reply->element[1]->str;
    const struct burble__ending ending = {state, reply->element[2]->str, reply->element[3]->str};
    const uint64_t n = (uint64_t)reply->element[6]->integer;
    for (size_t i = 7; i < reply->elements; i++) {
        const redisReply *frame = reply->element[i];
        if (frame->type != REDIS_REPLY_STRING
            || burble__subscription_take(of, (uint32_t)(first + i - 7), frame->str, frame->len)
                   == BURBLE__NEXT_OVER)
            return BURBLE__NEXT_OVER;
    }
    BURBLE__RELAY_ADD(relay_of(shown), frames_received, of->shown - before);
    if (shown->gap)
        BURBLE__RELAY_ADD(relay_of(shown), gaps, of->shown - before);
    shown->gap = false;
    if (shown->waiter != NULL && of->shown > 0)
        burble__front_tell(shown, BURBLE_OK, reply->element[5]->str);
    const bool goes_on = strcmp(state, "queued") == 0 || strcmp(state, "running") == 0;
    return burble__subscription_attached(of, n, goes_on ? NULL : &ending, of->shown > before);
}

static bool is_attachment(const redisReply *reply)
{
    if (!burble__reply_is(burble__reply_at(reply, 0), "ok") || reply->elements < 7
        || reply->element[6]->type != REDIS_REPLY_INTEGER)
        return false;
    for (size_t i = 1; i < 6; i++)
        if (reply->element[i]->type != REDIS_REPLY_STRING)
            return false;
    return true;
}

/* Whether an answer that Redis does not have may come to it yet: it was away a moment ago, so another front may have accepted the
 * request without its reply, or a worker may be about to write the answer again. */
static bool is_unsure(const struct burble__front *front, uint64_t now)
{
    const uint64_t patience = burble__front_patience(front->relay),
                   stalled_at = front->relay->redis.stalled_at;
    return (front->back_at != 0 && now - front->back_at < patience)
           || (stalled_at != 0 && now - stalled_at < patience);
}

static enum burble__next refuse(struct burble__shown *shown, enum burble__refusal refusal)
{
    struct burble__front *front = shown->front;
    const uint64_t now = burble__now();
    if (refusal == BURBLE__REFUSED_NONE && shown->kept != NULL) {
        shown->submitted = false; /* Redis has lost the request, which is here */
        return BURBLE__NEXT_FETCH;
    }
    if (refusal == BURBLE__REFUSED_NONE && shown->sought && shown->waiter != NULL) {
        const bool unsure = is_unsure(front, now);
        burble__front_tell(shown, unsure ? BURBLE_ECLOSED : BURBLE_EGONE,
                           unsure ? "Redis was away a moment ago: ask again" : "");
        burble__subscription_fail(&shown->entry.of, BURBLE_EGONE, NULL);
        return BURBLE__NEXT_OVER;
    }
    return burble__subscription_refused(&shown->entry.of, refusal, now,
                                        burble__front_patience(front->relay));
}

static void on_attached(struct burble__call *call, const redisReply *reply)
{
    struct burble__shown *shown = call->arg;
    struct burble__front *front = shown->front;
    const redisReply *what = burble__reply_at(reply, 0);
    front->fetches--;
    const bool wanted = !burble__front_is_gone(shown);
    if (!wanted || reply == NULL) {
        /* Nobody wants it any more; or the connection was lost: all are fetched anew once it is there. */
    } else if (is_attachment(reply)) {
        if (shown->model == NULL)
            shown->model =
                burble__front_find_model(front, reply->element[4]->str, reply->element[4]->len);
        burble__front_handle(shown, take_frames(shown, reply, shown->fetched_from));
    } else if (burble__reply_is(what, "none")) {
        burble__front_handle(shown, refuse(shown, BURBLE__REFUSED_NONE));
    } else if (burble__reply_is(what, "beyond")) {
        burble__front_handle(shown, refuse(shown, BURBLE__REFUSED_BEYOND));
    } else if (burble__reply_is(what, "diverged")) {
        burble__front_handle(shown, refuse(shown, BURBLE__REFUSED_DIVERGED));
    } else {
        if (reply->type == REDIS_REPLY_ERROR)
            burble__relay_log(front->relay, "Redis refused to attach: %s", reply->str);
        burble__front_retry(shown, false);
    }
    burble__front_pump(front);
}

/* ---- messages -------------------------------------------------------------------------------------------- */

/* The number of a frame, from the id of its entry: "<number + 1>-0"; of "0-0", BURBLE__FRAMES_ENDED. False if it is none. */
static bool read_entry(const char *bytes, size_t len, uint32_t *k)
{
    uint64_t n = 0;
    if (len < 3 || len > 12 || memcmp(bytes + len - 2, "-0", 2) != 0)
        return false;
    for (size_t i = 0; i < len - 2; i++) {
        if (bytes[i] < '0' || bytes[i] > '9')
            return false;
        n = 10 * n + (uint64_t)(bytes[i] - '0');
    }
    *k = (uint32_t)n - 1;
    return n <= UINT32_MAX;
}

/* A message: records, which scripts/prelude.lua describes. What follows one that is malformed is ignored. */
static void on_message(const char *bytes, size_t len, void *arg)
{
    struct burble__front *front = arg;
    const size_t id_len = BURBLE__STREAM_ID_LEN;
    while (len > id_len) {
        const size_t entry_len = (unsigned char)bytes[id_len];
        const size_t head = id_len + 1 + entry_len + 4;
        uint32_t k;
        if (head > len || !read_entry(bytes + id_len + 1, entry_len, &k))
            return;
        const char *value = bytes + head;
        const size_t n = burble__get_le32(value - 4);
        if (n > len - head)
            return;
        struct burble__entry *entry = burble__directory_find(&front->directory, bytes), *next;
        for (; entry != NULL; entry = next) {
            struct burble__shown *shown = (struct burble__shown *)entry;
            const uint64_t before = entry->of.shown;
            next = burble__directory_next(entry);
            const enum burble__next then = burble__subscription_take(&entry->of, k, value, n);
            BURBLE__RELAY_ADD(front->relay, frames_received, entry->of.shown - before);
            shown->gap |= then == BURBLE__NEXT_FETCH && k != BURBLE__FRAMES_ENDED;
            burble__front_handle(shown, then);
        }
        bytes += head + n;
        len -= head + n;
    }
}

/* ---- looks ------------------------------------------------------------------------------------------------ */

static void send_look(struct burble__front *front)
{
    burble_relay *relay = front->relay;
    struct burble__call *call = &front->look;
    if (call->in_flight || front->cursor == NULL || !relay->redis.connected)
        return;
    burble__call_restart(call, BURBLE__SCRIPT_LOOK);
    burble__call_add_text(call, relay->front.hex);
    front->n_looked = 0;
    while (front->cursor != NULL && front->n_looked < BURBLE__LOOK_IDS) {
        struct burble__subscription *of = &front->cursor->of;
        front->cursor = front->cursor->newer;
        of->asked = of->shown;
        front->looked[front->n_looked++] = of->id;
        burble__call_add_text(call, of->id.hex);
    }
    burble__redis_send(&relay->redis, call);
}

static void on_looked(struct burble__call *call, const redisReply *reply)
{
    struct burble__front *front = call->arg;
    for (size_t i = 0; i < front->n_looked; i++) {
        const redisReply *n = burble__reply_at(reply, 3 * i),
                         *hash = burble__reply_at(reply, 3 * i + 1),
                         *state = burble__reply_at(reply, 3 * i + 2);
        if (n == NULL || hash == NULL || state == NULL || n->type != REDIS_REPLY_INTEGER
            || hash->type != REDIS_REPLY_STRING || (n->integer > 0 && hash->len < 4))
            break;
        const bool goes_on =
            burble__reply_is(state, "queued") || burble__reply_is(state, "running");
        struct burble__entry *entry =
                                 burble__directory_find(&front->directory, front->looked[i].hex),
                             *next;
        for (; entry != NULL; entry = next) {
            struct burble__shown *shown = (struct burble__shown *)entry;
            next = burble__directory_next(entry);
            const enum burble__next then =
                burble__subscription_looked(&entry->of, n->integer, hash->str, goes_on);
            shown->gap |= then == BURBLE__NEXT_FETCH;
            burble__front_handle(shown, then);
        }
    }
    send_look(front);
}

/* ---- time ------------------------------------------------------------------------------------------------- */

/* The reader may have cut the stream, though nothing was appended since. */
static bool was_cut(const struct burble__shown *shown)
{
    burble_status status;
    burble_stream_status(shown->entry.of.stream, &status);
    return status.state != BURBLE_OPEN;
}

/* Looks at one answer. It may be gone afterwards. */
static void check(struct burble__shown *shown, uint64_t now, bool whole)
{
    const struct burble__front *front = shown->front;
    struct burble__subscription *of = &shown->entry.of;
    const uint64_t away = front->relay->options.away;
    if (whole && was_cut(shown)) {
        of->cut = of->over = true;
        if (shown->of_server && !shown->cut)
            shown->cut = true;
        else if (cut(shown)) /* without memory, the server could not say so */
            burble__front_drop(shown);
    } else if (shown->left_at != 0
               && (shown->kept == NULL || now - shown->left_at >= front->relay->options.linger)) {
        burble__front_drop(shown);
    } else if (front->lost_at != 0 && now - front->lost_at >= away) {
        burble__subscription_fail(of, BURBLE_ETIMEDOUT, "Redis was away for too long");
        burble__front_drop(shown);
    } else if (shown->model != NULL && shown->model->absent_since != 0
               && now - shown->model->absent_since >= away) {
        char message[128 + BURBLE_FRAME_MAX_NAME];
        snprintf(message, sizeof message, "no worker computes the model `%s` any more",
                 shown->model->name);
        burble__subscription_fail(of, BURBLE_ECLOSED, message);
        if (cut(shown))
            burble__front_drop(shown);
    } else if (shown->retry && now >= shown->retry_at
               && (!of->full || burble__subscription_has_room(of))) {
        burble__front_fetch(shown);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct burble__front *front = timer->data;
    const uint64_t now = burble__now();
    const bool whole = now - front->ticked_at >= (PERIOD - SHORT_PERIOD) * MS;
    struct burble__entry *entry = front->directory.oldest, *next;
    for (; entry != NULL; entry = next) {
        next = entry->newer;
        check((struct burble__shown *)entry, now, whole);
    }
    if (!whole)
        return;
    front->ticked_at = now;
    if (front->cursor == NULL)
        front->cursor = front->directory.oldest;
    send_look(front);
    burble__front_ask_models(front);
    if (front->relay->redis.connected)
        burble__front_send_cancels(front);
}

/* ---- the role --------------------------------------------------------------------------------------------- */

static void on_connected(struct burble__role *role, bool restarted)
{
    struct burble__front *front = (struct burble__front *)role;
    const uint64_t now = burble__now();
    if (restarted || front->lost_at != 0)
        front->back_at = now;
    front->lost_at = 0;
    burble__store_release(&front->there, true);
    /* Messages were lost, and Redis may be another one. */
    for (struct burble__entry *entry = front->directory.oldest; entry != NULL;
         entry = entry->newer) {
        struct burble__shown *shown = (struct burble__shown *)entry;
        if (shown->kept != NULL)
            shown->submitted = false;
        shown->gap = true;
        burble__front_fetch(shown);
    }
    burble__front_send_cancels(front);
    if (front->ticked_at == 0)
        uv_timer_start(&front->timer, on_timer, PERIOD, PERIOD);
    front->ticked_at = now;
    burble__front_ask_models(front);
}

static void on_lost(struct burble__role *role)
{
    struct burble__front *front = (struct burble__front *)role;
    burble__store_release(&front->there, false);
    if (front->lost_at == 0)
        front->lost_at = burble__now();
}

static void on_stop(struct burble__role *role)
{
    struct burble__front *front = (struct burble__front *)role;
    front->stopping = true;
    burble__store_release(&front->there, false);
    while (front->directory.oldest != NULL) {
        struct burble__shown *shown = (struct burble__shown *)front->directory.oldest;
        /* One that is dropped leaves the directory. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        burble__subscription_fail(&shown->entry.of, BURBLE_ECLOSED, "the relay was closed");
        burble__front_drop(shown);
    }
    burble__front_free_cancels(front);
    uv_close((uv_handle_t *)&front->timer, NULL);
}

static void on_destroy(struct burble__role *role, bool forked)
{
    struct burble__front *front = (struct burble__front *)role;
    if (forked)
        return; /* the parent's threads may have it half changed */
    burble__front_free_cancels(front);
    burble__front_free_models(front);
    burble__directory_finish(&front->directory);
    burble__call_finish(&front->look);
    burble__call_finish(&front->list);
    burble__call_finish(&front->memory);
    pthread_cond_destroy(&front->changed);
    pthread_mutex_destroy(&front->server_lock);
    pthread_mutex_destroy(&front->lock);
    burble__free(front);
}

int burble__front_create(burble_relay *relay)
{
    struct burble__front *front = burble__calloc(1, sizeof *front);
    if (front == NULL)
        return BURBLE_ENOMEM;
    front->role = (struct burble__role){
        .connected = on_connected, .lost = on_lost, .stop = on_stop, .destroy = on_destroy};
    front->relay = relay;
    front->timer.data = front;
    burble__call_init(&front->look, BURBLE__SCRIPT_LOOK, on_looked, front);
    burble__front_init_models(front);
    if (burble__directory_init(&front->directory) != BURBLE_OK) {
        burble__free(front);
        return BURBLE_ENOMEM;
    }
    if (!burble__condition_init(&front->changed)) {
        burble__directory_finish(&front->directory);
        burble__free(front);
        return BURBLE_ENOMEM;
    }
    pthread_mutex_init(&front->lock, NULL);
    pthread_mutex_init(&front->server_lock, NULL);
    relay->shown = front;
    burble__relay_add_role(relay, &front->role);
    if (uv_timer_init(&relay->uv, &front->timer) != 0)
        return BURBLE_ESYSTEM;
    return burble__redis_subscribe(&relay->redis, relay->front.hex, on_message, front);
}
