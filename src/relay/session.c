/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/session.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

/* How long, in ns, a command waits that Redis has refused. */
#define RETRY (100 * MS)

/* ---- the answers that it holds --------------------------------------------------------------------------- */

static struct burble__publication **bucket_of(struct burble__session *session, const char *id)
{
    uint32_t hash = 0;
    for (unsigned i = 0; i < 8; i++) /* ids are random */
        hash = hash * 16 + (unsigned char)id[i] % 39u % 16u;
    return &session->table[hash % BURBLE__BUCKETS];
}

struct burble__publication *burble__session_find(struct burble__session *session, const char *id)
{
    struct burble__publication *one = *bucket_of(session, id);
    while (one != NULL && memcmp(one->id.hex, id, BURBLE__STREAM_ID_LEN) != 0)
        one = one->next_of_table;
    return one;
}

void burble__session_hold(struct burble__session *session, struct burble__publication *one)
{
    struct burble__publication **bucket = bucket_of(session, one->id.hex);
    one->next_of_table = *bucket;
    *bucket = one;
    one->has_slot = true;
    one->model->used++;
    burble__publications_add(&session->running, one);
}

static void free_slot(struct burble__publication *one)
{
    if (!one->has_slot)
        return;
    one->has_slot = false;
    one->model->used--;
    one->model->wanted = true;
}

static void take_out(struct burble__session *session, struct burble__publication *one)
{
    struct burble__publication **at = bucket_of(session, one->id.hex);
    while (*at != one)
        at = &(*at)->next_of_table;
    *at = one->next_of_table;
    if (one->list == &session->finished)
        session->retained -= one->bytes;
    burble__publication_leave(one);
    if (session->adopted == one)
        session->adopted = NULL;
    for (struct burble__publication **link = &session->dirty; one->dirty;
         link = &(*link)->next_dirty) {
        if (*link != one)
            continue;
        *link = one->next_dirty;
        if (session->last_dirty == &one->next_dirty)
            session->last_dirty = link;
        one->dirty = false;
        break;
    }
}

void burble__session_drop(struct burble__session *session, struct burble__publication *one)
{
    take_out(session, one);
    free_slot(one);
    burble__publication_cut(one, 0, NULL);
    if (one->submitting)
        one->unwanted = true;
    else
        burble__publication_destroy(one);
}

/* Its writer has stalled: another worker goes on with it. A model with such an answer gets no others until there is a sign of
 * this writer. */
static void give_up(struct burble__session *session, struct burble__publication *one)
{
    burble__relay_log(session->relay, "the answer %s has had no text for too long: %s is stuck",
                      one->id.hex, one->model->model->name);
    take_out(session, one);
    free_slot(one);
    one->given_up = true;
    one->model->hung++;
    burble__publications_add(&session->hung, one);
    /* What was written before is no sign of it, and its reader, which may have been on its way to a step, waits from now on. */
    burble__publication_rewind(one, burble_stream_position(one->stream));
    if (burble_reader_park(one->reader) != BURBLE_AGAIN && !one->submitting)
        burble__session_revive(session, one);
}

void burble__session_revive(struct burble__session *session, struct burble__publication *one)
{
    burble__relay_log(session->relay, "%s goes on after the stuck answer %s",
                      one->model->model->name, one->id.hex);
    one->model->hung--;
    one->model->wanted = true;
    burble__publication_leave(one);
    burble__publication_cut(one, 0, NULL);
    burble__publication_destroy(one);
}

void burble__session_mark(struct burble__session *session, struct burble__publication *one)
{
    if (one->dirty || one->list != &session->running)
        return;
    one->dirty = true;
    one->next_dirty = NULL;
    *session->last_dirty = one;
    session->last_dirty = &one->next_dirty;
}

void burble__session_finish(struct burble__session *session, struct burble__publication *one)
{
    one->finished = true;
    if (one->until == 0)
        one->until = session->stepped + session->relay->options.ttl; /* not after Redis's copy */
    free_slot(one);
    burble__publications_add(&session->finished, one);
    session->retained += one->bytes;
}

/* Frees the logs of finished answers that are too old, or too many. */
static void forget_old(struct burble__session *session)
{
    const uint64_t now = burble__now();
    struct burble__publication *one;
    while ((one = session->finished.first) != NULL
           && (session->retained > session->relay->options.retain || now >= one->until))
        burble__session_drop(session, one);
}

/* ---- commands ----------------------------------------------------------------------------------------------- */

static void send_command(struct burble__session *session)
{
    session->retry = 0;
    if (burble__redis_send(&session->relay->redis, &session->call))
        return;
    if (session->relay->redis.connected) /* no memory */
        session->retry = burble__now() + RETRY;
}

static void begin(struct burble__session *session, enum burble__command command)
{
    if (session->call.result != BURBLE_OK) { /* no memory: once more at the next tick */
        if (command == BURBLE__COMMAND_STEP)
            burble__session_abandon_step(session);
        session->retry = burble__now() + RETRY;
        return;
    }
    session->command = command;
    session->busy = true;
    send_command(session);
}

/* Puts the present session before the former ones. */
static void remember(struct burble__session *session)
{
    const size_t one = BURBLE__STREAM_ID_LEN + 1;
    memmove(session->formers + one, session->formers, sizeof session->formers - 1 - one);
    memcpy(session->formers, session->relay->session.hex, one - 1);
    session->formers[one - 1] = ' ';
}

void burble__session_reopen(struct burble__session *session)
{
    struct burble__publication *one;
    const uint64_t now = burble__now();
    remember(session);
    session->relay->session.hex[0] = '\0';
    session->state = BURBLE__SESSION_NONE;
    session->n = session->told = 0;
    session->busy = false;
    session->retry = 0;
    session->adopted = NULL;
    session->orphans.len = 0;
    while ((one = session->running.first) != NULL)
        if (!one->over && now - one->progress >= session->relay->options.stall)
            give_up(session, one);
        else
            burble__publications_add(&session->to_adopt, one);
    forget_old(session);
    while ((one = session->finished.first) != NULL) {
        session->retained -= one->bytes;
        burble__publications_add(&session->to_adopt, one);
    }
}

static bool is_word(const redisReply *reply, const char *word)
{
    return burble__reply_is(reply, word) || burble__reply_is(burble__reply_at(reply, 0), word);
}

static void on_fenced(struct burble__session *session, const char *why)
{
    burble_relay *relay = session->relay;
    BURBLE__RELAY_ADD(relay, fenced, 1);
    burble__relay_log(relay, "session %.8s was %s: another one takes its %zu answers back",
                      relay->session.hex, why, session->running.n + session->to_adopt.n);
    burble__session_reopen(session);
}

static void on_confirmed(struct burble__session *session, const redisReply *reply)
{
    const enum burble__command command = session->command;
    session->busy = false;
    if (command != BURBLE__COMMAND_OPEN)
        session->n++;
    switch (command) {
    case BURBLE__COMMAND_OPEN:
        burble__session_opened(session, reply);
        break;
    case BURBLE__COMMAND_CLAIM:
        burble__session_claimed(session, reply);
        break;
    case BURBLE__COMMAND_STEP:
        burble__session_stepped(session, reply);
        forget_old(session);
        break;
    case BURBLE__COMMAND_ADOPT:
        burble__session_adopted(session, reply);
        break;
    case BURBLE__COMMAND_CLOSE:
        session->state = BURBLE__SESSION_CLOSED;
        session->relay->session.hex[0] = '\0';
        burble__relay_set_drained(session->relay);
        break;
    }
}

/* Whether a script has failed half-way, at a key that another program has written. The other errors come at the first write of a
 * script, which has then done nothing: Redis has no memory, cannot write its file, or is a replica. */
static bool is_half_done(const char *error)
{
    static const char *const refusals[] = {"OOM ", "MISCONF ", "READONLY ", "NOREPLICAS "};
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (strstr(error, refusals[i]) != NULL)
            return false;
    return strstr(error, "user_script") != NULL;
}

/* The command is sent again, after a while. But a script that has failed half-way has stored the command's number, so Redis would
 * confirm the repetition without doing it: a new session takes the answers back, as they are in Redis. */
static void on_refused(struct burble__session *session, const char *error)
{
    const uint64_t now = burble__now();
    if (now - session->complained > 5 * SECOND) {
        burble__relay_log(session->relay, "Redis refuses: %s", error);
        session->complained = now;
    }
    if (is_half_done(error)) {
        if (session->command == BURBLE__COMMAND_OPEN)
            session->busy = false; /* opens again, with another id: it has inherited nothing */
        else
            burble__session_reopen(session);
    }
    session->retry = now + RETRY;
}

static void on_reply(struct burble__call *call, const redisReply *reply)
{
    struct burble__session *session = call->arg;
    burble_relay *relay = session->relay;
    BURBLE__RELAY_SET(relay, pending, 0);
    if (reply == NULL)
        return; /* it is sent again */
    if (reply->type == REDIS_REPLY_ERROR)
        on_refused(session, reply->str);
    else if (is_word(reply, "gone"))
        on_fenced(session, "fenced");
    else if (is_word(reply, "want"))
        on_fenced(session, "rolled back");
    else
        on_confirmed(session, reply);
    BURBLE__RELAY_SET(relay, computing, session->running.n + session->to_adopt.n);
}

/* ---- which one is next ------------------------------------------------------------------------------------------ */

static bool is_due(const struct burble__session *session, uint64_t now)
{
    return now - session->stepped >= session->relay->options.lease / 4;
}

static bool has_step(const struct burble__session *session, uint64_t now)
{
    return session->dirty != NULL || session->told > 0 || session->orphans.len > 0
           || (session->draining && !session->quit) || is_due(session, now);
}

/* The next model that there may be answers of, and room for: in turn. */
static struct burble__worker_model *find_claim(struct burble__session *session, uint64_t now)
{
    struct burble__worker_model *const first =
        session->asked == NULL ? session->models : session->asked->next;
    if (session->draining || now < session->claim_after)
        return NULL;
    for (unsigned pass = 0; pass < 2; pass++)
        for (struct burble__worker_model *at = pass == 0 ? first : session->models; at != NULL;
             at = at->next)
            if (at->wanted && at->used < at->slots && at->hung == 0)
                return at;
    return NULL;
}

static bool is_drained(const struct burble__session *session)
{
    return session->draining && session->running.n == 0 && session->submissions == 0
           && (session->to_adopt.first == NULL || session->to_adopt.first->finished);
}

void burble__session_go_on(struct burble__session *session)
{
    const uint64_t now = burble__now();
    if (session->busy || session->retry != 0 || session->stopping
        || !session->relay->redis.connected || session->state == BURBLE__SESSION_CLOSED)
        return;
    if (session->state == BURBLE__SESSION_NONE) {
        burble__session_make_open(session);
        begin(session, BURBLE__COMMAND_OPEN);
        return;
    }
    struct burble__worker_model *claim = find_claim(session, now);
    const bool was_claim = session->command == BURBLE__COMMAND_CLAIM;
    if (session->to_adopt.first != NULL && !is_due(session, now)) {
        session->adopted = session->to_adopt.first;
        burble__session_make_adopt(session, session->adopted);
        begin(session, BURBLE__COMMAND_ADOPT);
    } else if (claim != NULL && session->to_adopt.first == NULL
               && (!was_claim || !has_step(session, now))) {
        burble__session_make_claim(session, claim);
        begin(session, BURBLE__COMMAND_CLAIM);
    } else if (is_drained(session) && session->orphans.len == 0) {
        burble__session_make_close(session);
        begin(session, BURBLE__COMMAND_CLOSE);
    } else if (has_step(session, now)) {
        session->stepped = now;
        burble__session_make_step(session);
        begin(session, BURBLE__COMMAND_STEP);
    }
    if (session->busy)
        BURBLE__RELAY_SET(session->relay, pending, session->call.bytes.len);
}

static void on_check(uv_check_t *check)
{
    burble__session_go_on(check->data);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void fail_all(struct burble__session *session, int code, const char *message)
{
    struct burble__publications *const lists[] = {&session->running, &session->to_adopt};
    for (unsigned i = 0; i < 2; i++)
        for (struct burble__publication *one = lists[i]->first; one != NULL; one = one->next)
            if (!one->over)
                burble__publication_cut(one, code, message);
}

static bool has_stalled(const struct burble__session *session, uint64_t now)
{
    for (const struct burble__publication *one = session->running.first; one != NULL;
         one = one->next)
        if (!one->over && now - one->progress >= session->relay->options.stall)
            return true;
    return false;
}

static void on_tick(uv_timer_t *timer)
{
    struct burble__session *session = timer->data;
    const burble_relay_options *options = &session->relay->options;
    const uint64_t now = burble__now();
    if (session->away_since != 0 || session->retry != 0)
        /* What waits for Redis does not stall. */
        for (struct burble__publication *one = session->running.first; one != NULL; one = one->next)
            one->progress = now;
    if (session->away_since != 0 && now - session->away_since >= options->away)
        fail_all(session, BURBLE_ETIMEDOUT, "Redis was away for too long");
    if (session->draining && now >= session->grace)
        fail_all(session, BURBLE_ETIMEDOUT, "the worker was stopped");
    session->stalled = has_stalled(session, now);
    if (now - session->asked_all >= SECOND) {
        session->asked_all = now;
        for (struct burble__worker_model *at = session->models; at != NULL; at = at->next)
            at->wanted = true;
    }
    if (session->retry != 0 && now >= session->retry) {
        session->retry = 0;
        if (session->busy && !session->call.in_flight)
            send_command(session);
    }
    forget_old(session);
    burble__session_go_on(session);
}

/* ---- the role ---------------------------------------------------------------------------------------------------- */

static struct burble__session *session_of(struct burble__role *role)
{
    return (struct burble__session *)(void *)role;
}

static void on_connected(struct burble__role *role, bool restarted)
{
    struct burble__session *session = session_of(role);
    const uint64_t tick = session->relay->options.lease / MS / 8;
    if (!uv_is_active((uv_handle_t *)&session->tick)) {
        uv_check_start(&session->check, on_check);
        uv_timer_start(&session->tick, on_tick, 0, tick < 250 ? tick : 250);
    }
    session->away_since = 0;
    session->stepped = session->renewed = 0;
    session->retry = 0;
    /* Workers whose answers it has lost take them back first. */
    if (restarted)
        session->claim_after = burble__now() + session->relay->options.lease;
    for (struct burble__worker_model *at = session->models; at != NULL; at = at->next)
        at->wanted = true;
    /* What it has claimed comes with the next session: a claim must not be made before that time. */
    if (restarted && session->busy && session->command == BURBLE__COMMAND_CLAIM)
        burble__session_reopen(session);
    else if (session->busy)
        send_command(session);
}

static void on_lost(struct burble__role *role)
{
    struct burble__session *session = session_of(role);
    if (session->away_since == 0)
        session->away_since = burble__now();
}

static void on_stop(struct burble__role *role)
{
    struct burble__session *session = session_of(role);
    struct burble__publication *one;
    session->stopping = true;
    struct burble__publications *const lists[] = {&session->running, &session->to_adopt,
                                                  &session->finished};
    for (unsigned i = 0; i < 3; i++)
        while ((one = lists[i]->first) != NULL)
            burble__session_drop(session, one);
    while ((one = session->hung.first) != NULL) {
        burble__publication_leave(one);
        burble__publication_cut(one, 0, NULL);
        one->unwanted = one->submitting;
        if (!one->submitting)
            burble__publication_destroy(one);
    }
    uv_close((uv_handle_t *)&session->tick, NULL);
    uv_close((uv_handle_t *)&session->check, NULL);
}

static void on_destroy(struct burble__role *role, bool forked)
{
    struct burble__session *session = session_of(role);
    if (forked)
        return;
    while (session->models != NULL) {
        struct burble__worker_model *model = session->models;
        session->models = model->next;
        burble__model_drop(&model->model);
        burble__buffer_finish(&model->description);
        burble__free(model);
    }
    burble__models_destroy(&session->known);
    burble__call_finish(&session->call);
    burble__buffer_finish(&session->step.records);
    burble__buffer_finish(&session->orphans);
    burble__free(session);
}

int burble__session_create(burble_relay *relay, struct burble__session **out)
{
    struct burble__session *session = burble__calloc(1, sizeof *session);
    *out = NULL;
    if (session == NULL || burble__models_create(&session->known) != BURBLE_OK) {
        burble__free(session);
        return BURBLE_ENOMEM;
    }
    session->role = (struct burble__role){
        .connected = on_connected,
        .lost = on_lost,
        .stop = on_stop,
        .destroy = on_destroy,
    };
    session->relay = relay;
    session->last_dirty = &session->dirty;
    burble__call_init(&session->call, BURBLE__SCRIPT_OPEN, on_reply, session);
    session->step.call = &session->call;
    burble__buffer_init(&session->step.records, BURBLE__CALL_MAX);
    burble__buffer_init(&session->orphans, SIZE_MAX / 2);
    uv_timer_init(&relay->uv, &session->tick);
    uv_check_init(&relay->uv, &session->check);
    session->tick.data = session->check.data = session;
    *out = session;
    return BURBLE_OK;
}
