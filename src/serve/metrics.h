/* SPDX-License-Identifier: MIT
 *
 * Counts of a server for GET /metrics, in Prometheus' text format. The names are vLLM's, with burble_ in place of vllm:,
 * wherever the meaning is the same. All functions may be called in any thread; counting takes no lock.
 */
#ifndef BURBLE_SERVE_METRICS_H
#define BURBLE_SERVE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/buffer.h"
#include "serve/models.h"

/* X(NAME, label): the routes that requests are counted by. */
#define BURBLE__METRIC_ROUTES(X)                                                                   \
    X(CHAT, "/v1/chat/completions")                                                                \
    X(COMPLETIONS, "/v1/completions")                                                              \
    X(MODELS, "/v1/models")                                                                        \
    X(STREAMS, "/v1/streams")                                                                      \
    X(TOKENIZE, "/tokenize")                                                                       \
    X(DETOKENIZE, "/detokenize")                                                                   \
    X(HEALTH, "/health")                                                                           \
    X(READY, "/ready")                                                                             \
    X(METRICS, "/metrics")                                                                         \
    X(PAGE, "/")                                                                                   \
    X(OTHER, "other")

/* X(NAME, name, help): counters. */
#define BURBLE__METRIC_COUNTERS(X)                                                                 \
    X(PROMPT_TOKENS, "prompt_tokens_total", "Tokens of prompts.")                                  \
    X(REUSED_TOKENS, "prompt_tokens_cached_total",                                                 \
      "Tokens of prompts that were not computed again.")                                           \
    X(TOKENS, "generation_tokens_total", "Tokens generated.")                                      \
    X(STOPPED, "request_stopped_total", "Choices that ended with the reason stop.")                \
    X(CUT, "request_length_total", "Choices that ended with the reason length.")                   \
    X(ANSWERED, "answers_total", "Answers that ended as they should.")                             \
    X(FAILED, "answers_failed_total", "Answers that failed.")                                      \
    X(CANCELLED, "answers_cancelled_total", "Answers whose client left, or that were cancelled.")  \
    X(RESUMED, "resumed_total", "Clients that came back to an answer.")                            \
    X(REPEATED, "repeated_total", "Requests that were attached to an answer by Idempotency-Key.")  \
    X(STALLED, "stalled_total", "Clients that were cut since they took nothing.")                  \
    X(DROPPED, "dropped_total", "Connections that were cut at another bound.")                     \
    X(ACCEPTED, "connections_total", "Connections accepted.")                                      \
    X(REFUSED, "connections_refused_total", "Connections refused at a bound.")                     \
    X(SENT, "sent_bytes_total", "Bytes sent to clients.")                                          \
    X(RECEIVED, "received_bytes_total", "Bytes received from clients.")

/* X(NAME, name, help): values of the present; what the server sets or adds to. */
#define BURBLE__METRIC_GAUGES(X)                                                                   \
    X(CONNECTIONS, "connections", "Connections open.")                                             \
    X(STREAMING, "clients_streaming", "Clients that read an answer.")                              \
    X(QUEUED_BYTES, "queued_bytes", "Bytes that wait for clients' sockets.")                       \
    X(BODY_BYTES, "body_bytes", "Bytes of bodies that are received or parsed.")                    \
    X(ANSWERS, "answers_running", "Answers that have not ended.")                                  \
    X(RETAINED, "retained_bytes", "Bytes of the logs of answers that have ended.")                 \
    X(READY, "ready", "1 if GET /ready says 200.")

/* X(NAME, name, help): histograms of times, in seconds. */
#define BURBLE__METRIC_TIMES(X)                                                                    \
    X(FIRST_TOKEN, "time_to_first_token_seconds", "From the request to its first text.")           \
    X(BETWEEN_TOKENS, "inter_token_latency_seconds", "Between the texts of a client.")             \
    X(REQUEST, "e2e_request_latency_seconds", "From the request to the end of its answer.")        \
    X(QUEUE, "request_queue_time_seconds", "In the backend's queue.")                              \
    X(PREFILL, "request_prefill_time_seconds", "From a slot to the first token.")                  \
    X(DECODE, "request_decode_time_seconds", "From the first token to the end.")

enum burble__metric_route {
#define BURBLE__METRIC_ENUM(name, label) BURBLE__ROUTE_##name,
    BURBLE__METRIC_ROUTES(BURBLE__METRIC_ENUM)
#undef BURBLE__METRIC_ENUM
        BURBLE__N_ROUTES
};

enum burble__metric_counter {
#define BURBLE__METRIC_ENUM(name, label, help) BURBLE__COUNT_##name,
    BURBLE__METRIC_COUNTERS(BURBLE__METRIC_ENUM)
#undef BURBLE__METRIC_ENUM
        BURBLE__N_COUNTERS
};

enum burble__metric_gauge {
#define BURBLE__METRIC_ENUM(name, label, help) BURBLE__GAUGE_##name,
    BURBLE__METRIC_GAUGES(BURBLE__METRIC_ENUM)
#undef BURBLE__METRIC_ENUM
        BURBLE__N_GAUGES
};

enum burble__metric_time {
#define BURBLE__METRIC_ENUM(name, label, help) BURBLE__TIME_##name,
    BURBLE__METRIC_TIMES(BURBLE__METRIC_ENUM)
#undef BURBLE__METRIC_ENUM
        BURBLE__N_TIMES
};

/* Statuses that are counted by themselves; all others are counted as that of their class. */
#define BURBLE__METRIC_STATUSES                                                                    \
    {200, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 429, 431, 499, 500, 503, 504}
#define BURBLE__N_STATUSES 18

/* Upper limits of the buckets of times, without the last one, which has none. */
#define BURBLE__N_BUCKETS 20

/* Zeros at the beginning. A server with several loops has one for each, and adds them up. */
struct burble__metrics {
    _Atomic(uint64_t) requests[BURBLE__N_ROUTES][BURBLE__N_STATUSES];
    _Atomic(uint64_t) counters[BURBLE__N_COUNTERS];
    _Atomic(uint64_t) gauges[BURBLE__N_GAUGES]; /* modulo 2^64: -1 is added as UINT64_MAX */
    struct burble__metric_histogram {
        _Atomic(uint64_t) buckets[BURBLE__N_BUCKETS + 1];
        _Atomic(uint64_t) sum; /* ns */
    } times[BURBLE__N_TIMES];
};

void burble__metrics_init(struct burble__metrics *metrics);

/* Counts a request that is over. */
void burble__metrics_request(struct burble__metrics *metrics, enum burble__metric_route route,
                             unsigned status);

static inline void burble__metrics_count(struct burble__metrics *metrics,
                                         enum burble__metric_counter counter, uint64_t n)
{
    burble__add_relaxed(&metrics->counters[counter], n);
}

/* Adds to a gauge; `n` may be negative. */
static inline void burble__metrics_move(struct burble__metrics *metrics,
                                        enum burble__metric_gauge gauge, int64_t n)
{
    burble__add_relaxed(&metrics->gauges[gauge], (uint64_t)n);
}

static inline void burble__metrics_set(struct burble__metrics *metrics,
                                       enum burble__metric_gauge gauge, uint64_t n)
{
    burble__store_relaxed(&metrics->gauges[gauge], n);
}

void burble__metrics_time(struct burble__metrics *metrics, enum burble__metric_time time,
                          uint64_t ns);

/* The sums over several. */
uint64_t burble__metrics_counter(struct burble__metrics *const *metrics, size_t n,
                                 enum burble__metric_counter counter);
uint64_t burble__metrics_gauge(struct burble__metrics *const *metrics, size_t n,
                               enum burble__metric_gauge gauge);

/* Appends the text of GET /metrics: the sums of `n`, and the backends' loads (burble__models_ask_loads), by model.
 * BURBLE_OK or BURBLE_ENOMEM. */
int burble__metrics_write(struct burble__metrics *const *metrics, size_t n,
                          struct burble__models *models, struct burble__buffer *buffer);

#endif
