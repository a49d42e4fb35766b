/* SPDX-License-Identifier: MIT
 *
 * The routes: which request is answered by what.
 */
#ifndef BURBLE_SERVE_ROUTES_H
#define BURBLE_SERVE_ROUTES_H

#include <stdbool.h>

#include "serve/metrics.h"

struct burble__exchange;

/* Looks at the head of a request, which is complete: finds its route, checks the method, the key and the origin. What is
 * wrong with it becomes the exchange's problem. */
void burble__route_look(struct burble__exchange *exchange);

/* Answers a request, which is complete. The exchange may be gone afterwards. */
void burble__route_run(struct burble__exchange *exchange);

/* Whether the client asked for an answer that outlives its connection. */
bool burble__route_wants_resumable(const struct burble__exchange *exchange);

/* Gives the exchange its request id: the client's, if it is short and plain (and there is memory), or a new one. */
void burble__route_name_request(struct burble__exchange *exchange);

/* For logs and metrics. */
const char *burble__route_path(const struct burble__exchange *exchange);
enum burble__metric_route burble__route_metric(const struct burble__exchange *exchange);

#endif
