/* SPDX-License-Identifier: MIT */
#include "log/account.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/fork.h"

struct account *account_create(void)
{
    struct account *account = burble__calloc(1, sizeof *account);
    if (account == NULL)
        return NULL;
    account->forks = burble__forks();
    pthread_mutex_init(&account->lock, NULL);
    burble__init(&account->owners, 2);
    stats_init(&account->stats);
    return account;
}

void account_unref(struct account **handle)
{
    struct account *account = *handle;
    *handle = NULL;
    /* Acquire and release: whoever frees it comes after all that the other owner did. */
    if (account == NULL || burble__sub_acq_rel(&account->owners, 1) != 1)
        return;
    if (account->forks == burble__forks()) /* else somebody may have it who is not here */
        pthread_mutex_destroy(&account->lock);
    stats_clear(&account->stats);
    burble__free(account);
}

void account_lock(struct account *account)
{
    if (account->forks == burble__forks())
        pthread_mutex_lock(&account->lock);
}

void account_unlock(struct account *account)
{
    if (account->forks == burble__forks())
        pthread_mutex_unlock(&account->lock);
}

struct account_state account_look(struct account *account)
{
    account_lock(account);
    const struct account_state state = {
        .begun = account->stats.tokens > 0,
        .full = account->full,
        .stopped = account->stopped,
        .stop = account->stop,
        .stop_begin = account->stop_begin,
        .active_at = account->active_at,
        .blocked = account->blocked,
    };
    account_unlock(account);
    return state;
}
