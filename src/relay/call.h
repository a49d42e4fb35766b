/* SPDX-License-Identifier: MIT
 *
 * A call: a script with its arguments, or another command, as the bytes that Redis gets. Its owner keeps it until it
 * is answered, and may send it again. Arguments are bytes of any kind.
 */
#ifndef BURBLE_RELAY_CALL_H
#define BURBLE_RELAY_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "relay/scripts.h"

/* In place of a script: the first argument is the command. */
#define BURBLE__COMMAND BURBLE__N_SCRIPTS

/* The most bytes of the arguments of one call. */
#define BURBLE__CALL_MAX ((size_t)1 << 28)

struct redisReply;

struct burble__call {
    struct burble__call *next; /* of those that are in flight */
    enum burble__script script;
    unsigned n; /* arguments */
    int result; /* BURBLE_OK, or BURBLE_ENOMEM: an argument is missing */
    bool in_flight;
    uint64_t sent_at;            /* burble__now */
    struct burble__buffer bytes; /* room for what stands before the arguments, and these */
    /* Called once for each time that the call was sent: with Redis's reply, which may be an error, and is valid until it
     * returns; or with NULL, if the connection was lost before it came. It may send the call again, or free it. */
    void (*done)(struct burble__call *call, const struct redisReply *reply);
    void *arg; /* its owner's */
};

/* Makes a call without arguments; nothing is allocated. */
void burble__call_init(struct burble__call *call, enum burble__script script,
                       void (*done)(struct burble__call *, const struct redisReply *), void *arg);

/* Frees its memory. It must not be in flight. */
void burble__call_finish(struct burble__call *call);

/* Makes it one of another script, without arguments; keeps its memory. */
void burble__call_restart(struct burble__call *call, enum burble__script script);

/* Add an argument. Without memory, `result` says so, and the call cannot be sent. */
void burble__call_add(struct burble__call *call, const void *bytes, size_t len);
void burble__call_add2(struct burble__call *call, const void *first, size_t n, const void *second,
                       size_t len); /* one, of two parts */
void burble__call_add_text(struct burble__call *call, const char *text);
void burble__call_add_number(struct burble__call *call, uint64_t number);

/* The bytes for Redis: EVALSHA with the script's name, or, if `whole`, EVAL with its text. `prefix` is KEYS[1]. *bytes are valid
 * until the call is changed; those of a whole one are in `out`. BURBLE_OK or BURBLE_ENOMEM. */
int burble__call_encode(struct burble__call *call, const char *prefix, bool whole,
                        struct burble__buffer *out, const char **bytes, size_t *len);

#endif
