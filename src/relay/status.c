/* SPDX-License-Identifier: MIT
 *
 * What Redis knows of workers and queues: the caller waits while the relay's thread asks. If the caller gives up, the
 * thread still has its half of the question, and frees it.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/thread.h"
#include "relay/relay.h"

struct question {
    struct burble__relay_post post;
    struct burble__call call; /* the script, then INFO */
    burble_relay *relay;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t answered;
    unsigned refs; /* the caller, and the thread */
    bool done;
    burble_relay_status *status;
    burble_error error;
};

/* ---- the status ----------------------------------------------------------------------------------------- */

/* What is constant for the readers of a status alone. */
static void free_constant(const void *memory)
{
    burble__free((void *)(uintptr_t)memory); /* NOLINT(performance-no-int-to-ptr) */
}

void burble_relay_status_destroy(burble_relay_status **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_relay_status *status = *handle;
    *handle = NULL;
    for (size_t i = 0; i < status->n_workers; i++) {
        free_constant(status->workers[i].session);
        free_constant(status->workers[i].name);
        free_constant(status->workers[i].models);
    }
    for (size_t i = 0; i < status->n_models; i++)
        free_constant(status->models[i].name);
    free_constant(status->workers);
    free_constant(status->models);
    free_constant(status->redis_version);
    burble__free(status);
}

/* A copy, in which each line feed is a comma and a space. NULL: no memory. */
static const char *copy(const char *bytes, size_t len)
{
    char *made = burble__malloc(2 * len + 1), *to = made;
    for (size_t i = 0; made != NULL && i < len; i++) {
        if (bytes[i] == '\n') {
            *to++ = ',';
            *to++ = ' ';
        } else {
            *to++ = bytes[i];
        }
    }
    if (made != NULL)
        *to = '\0';
    return made;
}

static const char *copy_at(const redisReply *row, size_t i)
{
    const redisReply *text = burble__reply_at(row, i);
    return text != NULL && text->str != NULL ? copy(text->str, text->len) : copy("", 0);
}

static int64_t number_at(const redisReply *row, size_t i)
{
    const redisReply *number = burble__reply_at(row, i);
    return number == NULL                        ? 0
           : number->type == REDIS_REPLY_INTEGER ? number->integer
           : number->str != NULL                 ? strtoll(number->str, NULL, 10)
                                                 : 0;
}

static int take_workers(burble_relay_status *status, const redisReply *rows)
{
    burble_relay_worker *workers = burble__calloc(rows->elements + 1, sizeof *workers);
    status->workers = workers;
    if (workers == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < rows->elements; i++) {
        const redisReply *row = rows->element[i];
        workers[i] = (burble_relay_worker){
            .session = copy_at(row, 0),
            .name = copy_at(row, 1),
            .models = copy_at(row, 2),
            .lease_ms = number_at(row, 3),
            .answers = (uint64_t)number_at(row, 4),
            .commands = (uint64_t)number_at(row, 5),
        };
        status->n_workers++;
        if (workers[i].session == NULL || workers[i].name == NULL || workers[i].models == NULL)
            return BURBLE_ENOMEM;
    }
    return BURBLE_OK;
}

static int take_models(burble_relay_status *status, const redisReply *rows)
{
    burble_relay_model *models = burble__calloc(rows->elements + 1, sizeof *models);
    status->models = models;
    if (models == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < rows->elements; i++) {
        const redisReply *row = rows->element[i];
        models[i] = (burble_relay_model){.name = copy_at(row, 0),
                                         .waiting = (uint64_t)number_at(row, 1),
                                         .workers = (uint64_t)number_at(row, 2)};
        status->n_models++;
        if (models[i].name == NULL)
            return BURBLE_ENOMEM;
    }
    return BURBLE_OK;
}

/* The value of a line "name:value" of INFO; "" if there is none. It goes up to the end of the line. */
static const char *field(const redisReply *info, const char *name)
{
    const size_t len = strlen(name);
    for (const char *line = info->str; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1;
    }
    return "";
}

static int take_info(burble_relay_status *status, const redisReply *info)
{
    const char *const version = field(info, "redis_version");
    status->redis_version = copy(version, strcspn(version, "\r\n"));
    status->redis_uptime = strtoull(field(info, "uptime_in_seconds"), NULL, 10);
    status->memory = strtoull(field(info, "used_memory"), NULL, 10);
    status->max_memory = strtoull(field(info, "maxmemory"), NULL, 10);
    status->persistent = field(info, "aof_enabled")[0] == '1';
    return status->redis_version != NULL ? BURBLE_OK : BURBLE_ENOMEM;
}

/* ---- the relay's thread ------------------------------------------------------------------------------------ */

static void let_go(struct question *question, unsigned refs)
{
    pthread_mutex_lock(&question->lock);
    question->refs -= refs;
    const bool last = question->refs == 0;
    pthread_mutex_unlock(&question->lock);
    if (!last)
        return;
    burble_relay_status_destroy(&question->status);
    burble__call_finish(&question->call);
    pthread_cond_destroy(&question->answered);
    pthread_mutex_destroy(&question->lock);
    burble__free(question);
}

/* The thread has the answer, or a reason why there is none. */
static void answer(struct question *question, int result, const char *why)
{
    pthread_mutex_lock(&question->lock);
    if (result != BURBLE_OK)
        burble__error_set(&question->error, result, "%s", why);
    question->done = true;
    pthread_cond_signal(&question->answered);
    pthread_mutex_unlock(&question->lock);
    let_go(question, 1);
}

static void ask(struct question *question)
{
    if (!burble__redis_send(&question->relay->redis, &question->call))
        answer(question, BURBLE_ESYSTEM, "Redis is away");
}

/* Whether a reply is of this type; otherwise, that is the answer. */
static bool is_good(struct question *question, const redisReply *reply, int type)
{
    if (reply != NULL && reply->type == type)
        return true;
    answer(question, BURBLE_ESYSTEM,
           reply == NULL                      ? "Redis is away"
           : reply->type == REDIS_REPLY_ERROR ? reply->str
                                              : "Redis has answered something else");
    return false;
}

static void on_info(struct burble__call *call, const redisReply *reply)
{
    struct question *question = call->arg;
    if (is_good(question, reply, REDIS_REPLY_STRING))
        answer(question, take_info(question->status, reply), "out of memory");
}

static void on_script(struct burble__call *call, const redisReply *reply)
{
    struct question *question = call->arg;
    if (!is_good(question, reply, REDIS_REPLY_ARRAY))
        return;
    const redisReply *workers = burble__reply_at(reply, 0), *models = burble__reply_at(reply, 1);
    int result = workers != NULL && models != NULL ? BURBLE_OK : BURBLE_ESYSTEM;
    if (result == BURBLE_OK)
        result = take_workers(question->status, workers);
    if (result == BURBLE_OK)
        result = take_models(question->status, models);
    if (result != BURBLE_OK) {
        answer(question, result, burble_result_text(result));
        return;
    }
    burble__call_restart(call, BURBLE__COMMAND);
    burble__call_add_text(call, "INFO");
    call->done = on_info;
    ask(question);
}

static void run(burble_relay *relay, struct burble__relay_post *post)
{
    struct question *question = (struct question *)(void *)post; /* its first member */
    (void)relay;
    ask(question);
}

/* ---- the caller ---------------------------------------------------------------------------------------------- */

static struct question *make_question(burble_relay *relay)
{
    struct question *question = burble__calloc(1, sizeof *question);
    burble_relay_status *status = burble__calloc(1, sizeof *status);
    if (question == NULL || status == NULL || !burble__condition_init(&question->answered)) {
        burble__free(status);
        burble__free(question);
        return NULL;
    }
    pthread_mutex_init(&question->lock, NULL);
    question->post.run = run;
    question->relay = relay;
    question->refs = 2;
    question->status = status;
    burble__call_init(&question->call, BURBLE__SCRIPT_STATUS, on_script, question);
    return question;
}

static void wait_for_answer(struct question *question, uint64_t deadline)
{
    int result = 0;
    pthread_mutex_lock(&question->lock);
    while (!question->done && result != ETIMEDOUT)
        result = burble__condition_wait(&question->answered, &question->lock, deadline);
    if (!question->done)
        burble__error_set(&question->error, BURBLE_ETIMEDOUT, "Redis has not answered in time");
    pthread_mutex_unlock(&question->lock);
}

int burble_relay_status_read(burble_relay *relay, uint64_t deadline, burble_relay_status **out,
                             burble_error *error)
{
    *out = NULL;
    struct question *question = make_question(relay);
    if (question == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    if (!burble__relay_post(relay, &question->post)) {
        let_go(question, 2);
        return burble__error_set(error, BURBLE_ECLOSED, "the relay does not run");
    }
    wait_for_answer(question, deadline);
    pthread_mutex_lock(&question->lock);
    const burble_error found = question->error;
    if (question->done && found.code == BURBLE_OK) {
        *out = question->status;
        question->status = NULL;
    }
    pthread_mutex_unlock(&question->lock);
    let_go(question, 1);
    return found.code == BURBLE_OK ? BURBLE_OK
                                   : burble__error_set(error, found.code, "%s", found.message);
}
