/* SPDX-License-Identifier: MIT */
#include "engine/llama_queue.h"

/* Puts a request behind another one; NULL: in front of all. */
static void insert(struct burble__queue *queue, struct burble__request *behind,
                   struct burble__request *request)
{
    struct burble__request *next = behind == NULL ? queue->first : behind->next;
    request->previous = behind;
    request->next = next;
    *(behind == NULL ? &queue->first : &behind->next) = request;
    *(next == NULL ? &queue->last : &next->previous) = request;
    queue->n++;
}

void burble__queue_push(struct burble__queue *queue, struct burble__request *request)
{
    struct burble__request *behind = queue->last;
    while (behind != NULL
           && (behind->priority < request->priority
               || (behind->priority == request->priority && behind->turn > request->turn)))
        behind = behind->previous;
    insert(queue, behind, request);
}

void burble__queue_remove(struct burble__queue *queue, struct burble__request *request)
{
    if (queue->looked_at == request)
        queue->looked_at = request->previous;
    *(request->previous == NULL ? &queue->first : &request->previous->next) = request->next;
    *(request->next == NULL ? &queue->last : &request->next->previous) = request->previous;
    request->previous = NULL;
    request->next = NULL;
    queue->n--;
}

static void move(struct burble__queue *queue, struct burble__request *request,
                 struct burble__request **over)
{
    burble__queue_remove(queue, request);
    request->next = *over;
    *over = request;
}

static bool is_wanted(const struct burble__request *request, uint64_t now)
{
    return !burble__request_is_over(request) && !burble__request_is_late(request, now);
}

void burble__queue_sweep(struct burble__queue *queue, uint32_t most, uint64_t now,
                         struct burble__request **over)
{
    for (uint32_t i = queue->n < most ? queue->n : most; i > 0; i--) {
        struct burble__request *at = queue->looked_at;
        at = at == NULL || at->next == NULL ? queue->first : at->next;
        if (at == NULL)
            return;
        queue->looked_at = at;
        if (!is_wanted(at, now))
            move(queue, at, over);
    }
}

struct burble__request *burble__queue_take(struct burble__queue *queue, uint64_t now,
                                           struct burble__request **over)
{
    while (queue->first != NULL) {
        struct burble__request *request = queue->first;
        if (is_wanted(request, now)) {
            burble__queue_remove(queue, request);
            return request;
        }
        move(queue, request, over);
    }
    return NULL;
}
