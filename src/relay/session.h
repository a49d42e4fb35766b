/* SPDX-License-Identifier: MIT
 *
 * A worker: its session in Redis, and the answers that it computes.
 *
 * The session's commands (claim, step, adopt, close) are numbered. One is in flight at a time, and kept until Redis has
 * confirmed it: it is sent again on a new connection, and Redis does it once. A step is sent whenever something waits and
 * nothing is in flight, so that the busier Redis is, the more frames a step has.
 *
 * Redis says `gone` to a session that was fenced, and `want` if it has lost commands that it had confirmed. Then the worker opens
 * another session, and takes back each log that it holds, unless a live session has it: Redis gets the frames that it
 * lacks. Until that is done, and for one lease after another process of Redis has begun, nothing is claimed.
 *
 * Everything is called in the relay's thread.
 */
#ifndef BURBLE_RELAY_SESSION_H
#define BURBLE_RELAY_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "relay/publication.h"
#include "relay/relay.h"

/* The most slots of a model. */
#define BURBLE__MAX_SLOTS 65536u

/* A model that the worker computes. */
struct burble__worker_model {
    struct burble__worker_model *next;
    struct burble__session *session;
    struct burble__model *model; /* a reference */
    uint32_t slots, used;        /* answers at once */
    uint32_t hung; /* answers that have stalled: nothing is claimed while there are such */
    bool wanted;   /* there may be answers to claim */
    struct burble__buffer description;
};

enum burble__command {
    BURBLE__COMMAND_OPEN,
    BURBLE__COMMAND_CLAIM,
    BURBLE__COMMAND_STEP,
    BURBLE__COMMAND_ADOPT,
    BURBLE__COMMAND_CLOSE,
};

#define BURBLE__BUCKETS 1024u

/* The most former sessions that are remembered. */
#define BURBLE__MAX_FORMERS 16u

struct burble__session {
    struct burble__role role;
    burble_relay *relay;
    struct burble__worker_model *models;
    struct burble__models *known; /* the same by name */
    uv_timer_t tick;
    uv_check_t check;     /* after all events of a turn of the loop: goes on */
    uint32_t submissions; /* in flight */
    bool stopping;

    /* The session in Redis; its name is relay->session. */
    enum { BURBLE__SESSION_NONE, BURBLE__SESSION_OPEN, BURBLE__SESSION_CLOSED } state;
    /* Those before, the last one first, with spaces between: a Redis that has lost its tail may bring back any of them. */
    char formers[BURBLE__MAX_FORMERS * (BURBLE__STREAM_ID_LEN + 1) + 1];
    uint64_t n;                   /* of the last command that was confirmed */
    enum burble__command command; /* that is in flight, or to be sent again */
    struct burble__call call;
    struct burble__step step; /* of the present or last step */
    bool busy;                /* there is one */
    uint64_t retry;           /* burble__now: when it is sent again after an error; 0: none */
    struct burble__publication *adopted; /* by it */
    struct burble__worker_model *asked;  /* the model of the claim */

    uint64_t stepped;     /* burble__now: when the present or last step was made */
    uint64_t renewed;     /* when the last one was that renews the lease */
    uint64_t complained;  /* when an error of Redis was last told */
    bool stalled;         /* an answer has had no text for too long: the lease is not renewed */
    uint64_t claim_after; /* before that, nothing is claimed */
    uint64_t asked_all;   /* when all models were last set to `wanted` */
    uint64_t away_since;  /* the connections are lost; 0: they are not */
    size_t told; /* entries of its list of orders that are done, which the next step takes away */
    uint64_t frames; /* of the step */

    struct burble__publication *table[BURBLE__BUCKETS];
    struct burble__publications running;  /* computed, and in Redis */
    struct burble__publications to_adopt; /* first those that run */
    struct burble__publications finished; /* the oldest first */
    struct burble__publications hung;     /* given up; not in the table any more */
    struct burble__publication *dirty, **last_dirty;
    uint64_t retained; /* bytes of those that are finished */

    /* Answers that Redis has given to this session, and that it does not hold: they go back ('r'), or fail ('x').
     * Each is that letter and its id. */
    struct burble__buffer orphans;
    size_t n_orphans_sent;

    bool draining;
    bool quit,
        quits; /* Redis knows that it takes no answers any more; it does with the present step */
    uint64_t grace; /* burble__now: when the answers that still run fail */
};

/* A role of the relay, without models; it is destroyed with the relay. BURBLE_OK or BURBLE_ENOMEM. */
int burble__session_create(burble_relay *relay, struct burble__session **out);

/* The answer of this id that the session holds, or NULL. `id` has 32 characters. */
struct burble__publication *burble__session_find(struct burble__session *session, const char *id);

void burble__session_hold(struct burble__session *session, struct burble__publication *one);

/* Gives it up: what is computed here is cancelled, and nothing of it is sent any more. */
void burble__session_drop(struct burble__session *session, struct burble__publication *one);

/* There is a sign of the writer of an answer that was given up. */
void burble__session_revive(struct burble__session *session, struct burble__publication *one);

/* Redis has its end: its log is kept for a while. */
void burble__session_finish(struct burble__session *session, struct burble__publication *one);

/* It has something to send. */
void burble__session_mark(struct burble__session *session, struct burble__publication *one);

/* Sends the next command, if there is one to send and none in flight. */
void burble__session_go_on(struct burble__session *session);

/* Opens another session before anything else. */
void burble__session_reopen(struct burble__session *session);

/* ---- what its commands have (commands.c) ------------------------------------------------------------------- */

/* Each makes the session's call. */
void burble__session_make_open(struct burble__session *session);
void burble__session_make_claim(struct burble__session *session, struct burble__worker_model *of);
void burble__session_make_step(struct burble__session *session);
void burble__session_make_adopt(struct burble__session *session, struct burble__publication *one);
void burble__session_make_close(struct burble__session *session);

/* What a reply of each means, which is neither an error nor `gone` or `want`. */
void burble__session_opened(struct burble__session *session, const redisReply *reply);
void burble__session_claimed(struct burble__session *session, const redisReply *reply);
void burble__session_stepped(struct burble__session *session, const redisReply *reply);
void burble__session_adopted(struct burble__session *session, const redisReply *reply);

/* A step could not be made: what it has, is sent again. */
void burble__session_abandon_step(struct burble__session *session);

/* ---- submission.c -------------------------------------------------------------------------------------------- */

/* Gives the answer to its backend, in another thread. Without memory, the answer fails. */
void burble__submission_begin(struct burble__session *session, struct burble__publication *one);

/* ---- description.c ------------------------------------------------------------------------------------------- */

/* What fronts have to know of a model, as JSON. BURBLE_OK or BURBLE_ENOMEM. */
int burble__model_describe(const burble_serve_model *model, uint32_t slots,
                           struct burble__buffer *out);

#endif
