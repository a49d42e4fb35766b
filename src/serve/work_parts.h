/* SPDX-License-Identifier: MIT
 *
 * The parts of a work: its way to a worker and back is in work.c, what it does there in work_calls.c, in two stages. The
 * first one reads the request, and finds the model whose backend is to be called; the second one calls it (or the finder).
 */
#ifndef BURBLE_SERVE_WORK_PARTS_H
#define BURBLE_SERVE_WORK_PARTS_H

#include "base/atomic.h"
#include "base/buffer.h"
#include "serve/loop.h"
#include "serve/problem.h"
#include "serve/request.h"
#include "serve/tokenize.h"
#include "serve/work.h"
#include "serve/workers.h"

/* The most bytes of a reply that is made by a work, such as that of /detokenize. */
#define BURBLE__MAX_REPLY ((size_t)64 << 20)

struct burble__work {
    struct burble__job job;   /* first */
    struct burble__post post; /* of the result */
    struct burble__exchange *exchange;
    struct burble__loop *loop;
    burble_server *server;
    enum burble__work_kind kind;
    _Atomic(bool) abandoned;
    bool parsed;                 /* the first stage is over */
    struct burble__lane *lane;   /* of the second stage; NULL: there is none */
    struct burble__model *model; /* whose backend is called; NULL: none */
    union {
        struct burble__request *request;
        struct burble__tokenize tokenize;
        struct burble__detokenize detokenize;
    } wanted; /* of the second stage */
    /* The result: a problem (its status is not 0), an answer, or a reply. */
    struct burble__problem problem;
    struct burble__answer *answer;
    bool streamed;
    bool repeated; /* the answer is that of an earlier request with the same Idempotency-Key */
    struct burble__buffer reply;
};

/* The first stage: sets the problem, the result, or `lane`, `model` and `wanted`. */
void burble__work_parse(struct burble__work *work);

/* The second stage, in its lane. */
void burble__work_call(struct burble__work *work);

/* Frees what the stages have left. */
void burble__work_finish(struct burble__work *work);

#endif
