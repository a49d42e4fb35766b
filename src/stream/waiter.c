/* SPDX-License-Identifier: MIT */
#include "stream/waiter.h"

#include <assert.h>

#include "base/alloc.h"
#include "stream/hub.h"

static struct burble__waiter *create(burble_hub *hub)
{
    struct burble__waiter *waiter = burble__calloc(1, sizeof *waiter);
    if (waiter == NULL)
        return NULL;
    burble__init(&waiter->state, BURBLE__IDLE);
    burble__init(&waiter->refs, 1);
    burble__init(&waiter->retired, false);
    waiter->hub = hub;
    return waiter;
}

struct burble__waiter *burble__waiter_create(burble_hub *hub, burble_reader *reader,
                                             burble_ready_fn *ready, void *arg)
{
    struct burble__waiter *waiter = create(hub);
    if (waiter == NULL)
        return NULL;
    burble__hub_ref(hub);
    waiter->to.call.reader = reader;
    waiter->to.call.ready = ready;
    waiter->to.call.arg = arg;
    return waiter;
}

struct burble__waiter *burble__waiter_create_blocking(void)
{
    struct burble__waiter *waiter = create(NULL);
    if (waiter == NULL)
        return NULL;
    waiter->to.parker = burble__malloc(sizeof *waiter->to.parker);
    if (waiter->to.parker == NULL || burble__parker_init(waiter->to.parker) != 0) {
        burble__free(waiter->to.parker);
        burble__free(waiter);
        return NULL;
    }
    return waiter;
}

struct burble__waiter *burble__waiter_create_beside(struct burble__waiter *lender)
{
    struct burble__waiter *waiter = create(NULL);
    if (waiter == NULL)
        return NULL;
    burble__add_relaxed(&lender->refs, 1);
    waiter->lender = lender;
    waiter->to.parker = lender->to.parker;
    return waiter;
}

/* Drops a reference. Returns the waiter's lender, if it was freed and had one. */
static struct burble__waiter *drop_one(struct burble__waiter *waiter)
{
    /* As with blocks: release what we did with it, acquire what the others did, before the end. */
    if (burble__sub_acq_rel(&waiter->refs, 1) != 1)
        return NULL;
    struct burble__waiter *lender = waiter->lender;
    if (waiter->hub != NULL) {
        burble__hub_unref(waiter->hub);
    } else if (lender == NULL) {
        burble__parker_finish(waiter->to.parker);
        burble__free(waiter->to.parker);
    }
    burble__free(waiter);
    return lender;
}

void burble__waiter_unref(struct burble__waiter *waiter)
{
    struct burble__waiter *lender = drop_one(waiter);
    if (lender != NULL)
        drop_one(lender); /* a lender has no lender */
}

void burble__waiter_arm(struct burble__waiter *waiter, burble__waiter_stack *parked)
{
    /* Acquire: it pairs with the release that made the waiter IDLE (by a hub's dispatch), so that we
     * do not write `next` while somebody still reads it. Only this thread leaves IDLE, so a load and
     * a store do. */
    if (burble__load_acquire(&waiter->state) == BURBLE__IDLE) {
        burble__store_relaxed(&waiter->state, BURBLE__ARMED);
        burble__add_relaxed(&waiter->refs, 1);
        struct burble__waiter *top = burble__load_relaxed(parked);
        /* Release: whoever takes the stack sees ARMED and `next`. Without it the taker could walk
         * into whatever `next` was before. The stack is only ever taken whole, so there is no ABA. */
        do {
            waiter->next = top;
        } while (!burble__cas_weak_acq_rel(parked, &top, waiter));
    }
    burble__fence_seq_cst(); /* F1, pairs with F2 in burble__waiter_wake */
}

/* Passes the stack's reference on to the hub, or gives it back. */
static void fire(struct burble__waiter *waiter)
{
    burble__store_release(&waiter->state, BURBLE__FIRED);
    if (waiter->hub != NULL) {
        burble__hub_push(waiter->hub, waiter);
    } else {
        burble__parker_signal(waiter->to.parker);
        burble__waiter_unref(waiter);
    }
}

void burble__waiter_wake(burble__waiter_stack *parked)
{
    burble__fence_seq_cst(); /* F2, pairs with F1 in burble__waiter_arm */
    if (burble__load_relaxed(parked) == NULL)
        return;
    /* Acquire: pairs with the release of each push. */
    struct burble__waiter *waiter = burble__exchange_acq_rel(parked, NULL);
    waiter = burble__waiter_reverse(waiter);
    while (waiter != NULL) {
        /* Before it is fired: from then on `next` is the hub's. */
        struct burble__waiter *next = waiter->next;
        assert(burble__load_relaxed(&waiter->state) == BURBLE__ARMED);
        fire(waiter);
        waiter = next;
    }
}

void burble__waiter_retire(struct burble__waiter *waiter, burble__waiter_stack *parked)
{
    burble__store_release(&waiter->retired, true);
    /* Where it is on the stream's stack, take it off, so that readers which come and go on a silent
     * stream do not pile up there. A stack cannot give one waiter out of its middle: all are fired.
     * The others wake for nothing and park again; but then they are no longer ARMED, so that many
     * readers which leave together cost one round. */
    if (burble__load_acquire(&waiter->state) == BURBLE__ARMED)
        burble__waiter_wake(parked);
    burble__waiter_unref(waiter);
}

struct burble__waiter *burble__waiter_reverse(struct burble__waiter *top)
{
    struct burble__waiter *first = NULL;
    while (top != NULL) {
        struct burble__waiter *next = top->next;
        top->next = first;
        first = top;
        top = next;
    }
    return first;
}
