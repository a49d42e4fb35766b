/* SPDX-License-Identifier: MIT
 *
 * Work that may block, for one exchange, in a worker thread (workers.h): a request's body is parsed there and given to the
 * backend, and backends are asked there. The result is taken back to the loop, which answers.
 *
 * The thread reads the exchange's head, body and key, which nobody changes meanwhile; everything else of the
 * exchange is the loop's.
 */
#ifndef BURBLE_SERVE_WORK_H
#define BURBLE_SERVE_WORK_H

struct burble__answer;
struct burble__exchange;
struct burble__work;

enum burble__work_kind {
    BURBLE__WORK_CHAT,
    BURBLE__WORK_COMPLETION,
    BURBLE__WORK_TOKENIZE,
    BURBLE__WORK_DETOKENIZE,
    BURBLE__WORK_METRICS,
    BURBLE__WORK_PLACE,
    BURBLE__WORK_FIND, /* the finder looks for the stream that the path names; then the route runs again */
};

/* Begins the work that answers the exchange. PLACE: `answer` is what it is about; takes over the caller's reference to it,
 * and its attachment in the registry. NULL for the others. In the loop's thread. */
void burble__work_begin(struct burble__exchange *exchange, enum burble__work_kind kind,
                        struct burble__answer *answer);

/* The client has left: work that has not begun is left out, and its result dropped. The exchange is destroyed, at once
 * or when the thread is done with it. In the loop's thread. */
void burble__work_abandon(struct burble__work *work);

#endif
