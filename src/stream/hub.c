/* SPDX-License-Identifier: MIT */
#include "stream/hub.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/fork.h"
#include "base/reserved.h"
#include "stream/wake.h"

struct burble_hub {
    burble__waiter_stack ready;
    _Atomic(bool) closed;
    _Atomic(bool) held;
    _Atomic(uint32_t) refs; /* the owner's and each waiter's */
    _Atomic(uint64_t) signals;
    _Atomic(uint64_t) forks; /* of the process that made it; never changes */

    /* Guards `wake` between signalling and closing: a descriptor's number is given to the next one
     * that asks, so a late signal would write into somebody else's file. The loop's thread takes it
     * only to close. */
    pthread_mutex_t wake_lock;
    struct burble__wake wake;

    /* The loop's thread only: taken from the stack, not yet called. */
    struct burble__waiter *first, *last;
    bool dispatching;
};

void burble_hub_options_init(burble_hub_options *options)
{
    *options = (burble_hub_options){.wake = BURBLE_WAKE_BEST};
}

static const struct burble__wake_kind *wake_kind(burble_wake wake)
{
    switch (wake) {
#ifdef __linux__
    case BURBLE_WAKE_BEST:
    case BURBLE_WAKE_EVENTFD:
        return &burble__wake_eventfd;
#else
    case BURBLE_WAKE_BEST:
#endif
    case BURBLE_WAKE_PIPE:
        return &burble__wake_pipe;
    default:
        return NULL;
    }
}

int burble_hub_create(const burble_hub_options *options, burble_hub **out)
{
    burble_hub_options defaults;
    int rc = BURBLE_ENOMEM;

    *out = NULL;
    if (options == NULL) {
        burble_hub_options_init(&defaults);
        options = &defaults;
    }
    const struct burble__wake_kind *kind = wake_kind(options->wake);
    if (kind == NULL || !BURBLE__UNUSED(options))
        return BURBLE_EINVAL;

    if (burble__fork_watch() != BURBLE_OK)
        return BURBLE_ENOMEM;
    burble_hub *hub = burble__calloc(1, sizeof *hub);
    if (hub == NULL)
        return BURBLE_ENOMEM;
    burble__init(&hub->forks, burble__forks());
    burble__init(&hub->ready, NULL);
    burble__init(&hub->closed, false);
    burble__init(&hub->held, false);
    burble__init(&hub->refs, 1);
    burble__init(&hub->signals, 0);
    hub->wake.kind = kind;
    if (pthread_mutex_init(&hub->wake_lock, NULL) != 0)
        goto fail_memory;
    if (kind->open(&hub->wake) != 0) {
        rc = BURBLE_ESYSTEM;
        goto fail_mutex;
    }
    *out = hub;
    return BURBLE_OK;

fail_mutex:
    pthread_mutex_destroy(&hub->wake_lock);
fail_memory:
    burble__free(hub);
    return rc;
}

void burble__hub_ref(burble_hub *hub)
{
    burble__add_relaxed(&hub->refs, 1); /* the caller has one already */
}

void burble__hub_unref(burble_hub *hub)
{
    if (burble__sub_acq_rel(&hub->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&hub->wake_lock);
    burble__free(hub);
}

static void signal_hub(burble_hub *hub)
{
    if (!burble__is_here(&hub->forks))
        return; /* the descriptor is the parent's */
    pthread_mutex_lock(&hub->wake_lock);
    if (!burble__load_relaxed(&hub->closed)) {
        hub->wake.kind->signal(&hub->wake);
        burble__add_relaxed(&hub->signals, 1);
    }
    pthread_mutex_unlock(&hub->wake_lock);
}

/* Drops a chain of waiters without calling them; they are as if they had never been armed. */
static void drop(struct burble__waiter *waiter)
{
    while (waiter != NULL) {
        struct burble__waiter *next = waiter->next;
        burble__store_release(&waiter->state, BURBLE__IDLE);
        burble__waiter_unref(waiter);
        waiter = next;
    }
}

void burble__hub_push(burble_hub *hub, struct burble__waiter *waiter)
{
    /* The waiter's own reference to the hub goes with the waiter, which the loop's thread may free as
     * soon as it is on the stack. */
    burble__hub_ref(hub);
    struct burble__waiter *top = burble__load_relaxed(&hub->ready);
    /* Release: the taker sees `next`. Acquire: where it finds the stack empty, it pairs with the
     * taking that emptied it, so that our signal comes after the clearing before that taking. */
    do {
        waiter->next = top;
    } while (!burble__cas_weak_acq_rel(&hub->ready, &top, waiter));
    const bool was_empty = top == NULL; /* the waiter itself is no longer ours to look at */

    /* Pairs with the fence in burble_hub_destroy: either we see that the hub is closed, or the
     * closing thread sees our waiter. Without them a waiter could stay on a stack that nobody takes,
     * and it and the hub would keep each other for ever. And with the fence in burble_hub_release:
     * either we see that the hub is no longer held, and signal, or the releasing thread sees our
     * waiter, and does. */
    burble__fence_seq_cst();
    if (burble__load_relaxed(&hub->closed))
        drop(burble__exchange_acq_rel(&hub->ready, NULL));
    else if (was_empty && !burble__load_relaxed(&hub->held))
        signal_hub(hub);
    burble__hub_unref(hub);
}

bool burble_hub_would_signal(const burble_hub *hub)
{
    return burble__load_relaxed(&hub->ready) == NULL && !burble__load_relaxed(&hub->held);
}

bool burble__hub_closed(const burble_hub *hub)
{
    return burble__load_relaxed(&hub->closed) || !burble__is_here(&hub->forks);
}

void burble_hub_destroy(burble_hub **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_hub *hub = *handle;
    *handle = NULL;
    if (!burble__is_here(&hub->forks)) {
        /* This process's copies of the descriptors, which the parent does not notice. */
        hub->wake.kind->close(&hub->wake);
        return;
    }
    assert(!hub->dispatching && "a hub must not be destroyed by a function that it calls");

    pthread_mutex_lock(&hub->wake_lock);
    burble__store_relaxed(&hub->closed, true);
    hub->wake.kind->close(&hub->wake);
    pthread_mutex_unlock(&hub->wake_lock);

    burble__fence_seq_cst(); /* pairs with the fence in burble__hub_push */
    drop(burble__exchange_acq_rel(&hub->ready, NULL));
    drop(hub->first);
    hub->first = hub->last = NULL;
    burble__hub_unref(hub);
}

int burble_hub_fd(const burble_hub *hub)
{
    return hub->wake.read_fd;
}

void burble_hub_hold(burble_hub *hub)
{
    burble__store_relaxed(&hub->held, true);
}

void burble_hub_release(burble_hub *hub)
{
    if (!burble__load_relaxed(&hub->held))
        return;
    burble__store_relaxed(&hub->held, false);
    burble__fence_seq_cst(); /* pairs with the fence in burble__hub_push */
    if (burble__load_relaxed(&hub->ready) != NULL)
        signal_hub(hub);
}

uint64_t burble_hub_signals(const burble_hub *hub)
{
    return burble__load_relaxed(&hub->signals);
}

/* Moves what is ready behind what is still to be called. */
static void take_ready(burble_hub *hub)
{
    hub->wake.kind->clear(&hub->wake); /* first: see hub.h */
    /* Acquire: pairs with each push. Release: pairs with the push that finds the stack empty next. */
    struct burble__waiter *top = burble__exchange_acq_rel(&hub->ready, NULL);
    if (top == NULL)
        return;
    struct burble__waiter *first = burble__waiter_reverse(top);
    if (hub->first == NULL)
        hub->first = first;
    else
        hub->last->next = first;
    hub->last = top; /* the top of the stack was pushed last */
}

/* Prefetches the memory that this waiter's call will read, while another is called: of many streams that move
 * at once, most are out of the cache by then. */
static void fetch(const struct burble__waiter *waiter)
{
    if (waiter == NULL)
        return;
    __builtin_prefetch(waiter->next);
    __builtin_prefetch(waiter->to.call.reader);
    __builtin_prefetch(waiter->to.call.arg);
}

size_t burble_hub_dispatch(burble_hub *hub, size_t max)
{
    size_t called = 0;

    if (hub->dispatching || !burble__is_here(&hub->forks))
        return 0;
    hub->dispatching = true;
    take_ready(hub);
    while (hub->first != NULL && (max == 0 || called < max)) {
        struct burble__waiter *waiter = hub->first;
        hub->first = waiter->next;
        fetch(hub->first);
        /* Release: pairs with the acquire in burble__waiter_arm; we are done with `next`. From here
         * on the function may park its reader again. */
        burble__store_release(&waiter->state, BURBLE__IDLE);
        if (!burble__load_acquire(&waiter->retired)) {
            waiter->to.call.ready(waiter->to.call.reader, waiter->to.call.arg);
            called++;
        }
        burble__waiter_unref(waiter);
    }
    if (hub->first != NULL)
        signal_hub(hub); /* so that the loop comes back for the rest */
    hub->dispatching = false;
    return called;
}
