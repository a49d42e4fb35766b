/* SPDX-License-Identifier: MIT */
#include "stream/producer.h"

#include <pthread.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/fork.h"
#include "stream/stream.h"

struct burble__production {
    struct burble__production *prev, *next;
    burble_stream *stream; /* a weak reference */
    uint64_t ticket;
};

/* The streams that a thread produces. Freed by the thread's own exit. */
struct productions {
    struct burble__production head; /* of a ring; its other fields are unused */
    size_t count;
    size_t released; /* how many of these at least are no longer valid */
    size_t tidy_at;  /* the count at which entries that are no longer valid are looked for */
};

#define TIDY_AT_LEAST 16

static _Thread_local struct productions *mine;

static pthread_key_t at_exit;
static bool have_key; /* needs the lock of base/fork.h */

static _Atomic(uint64_t) tickets;

static void forget(struct burble__production *entry)
{
    burble__stream_unref_weak(entry->stream);
    burble__free(entry);
}

static void drop(struct productions *list, struct burble__production *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    list->count--;
    forget(entry);
}

/* Takes the first one out of a list that has one. */
static struct burble__production *take_first(struct productions *list)
{
    struct burble__production *entry = list->head.next;
    list->head.next = entry->next;
    entry->next->prev = &list->head;
    list->count--;
    return entry;
}

static bool valid(const struct burble__production *entry)
{
    const burble_stream *stream = entry->stream;
    return burble__load_relaxed(&stream->producer.ticket) == entry->ticket
           && burble__load_relaxed(&stream->refs) != 0 && !burble__stream_closed(stream);
}

/* Runs in a thread that exits. */
static void fail_all(void *arg)
{
    struct productions *list = arg;
    while (list->head.next != &list->head) {
        /* Out of the list before anything else: where our reference is the last one in the end, giving
         * it back calls the stream's release function, which may append elsewhere, and so change and
         * tidy the list. */
        struct burble__production *entry = take_first(list);
        burble_stream *stream = entry->stream;
        /* The order matters: a stream that another thread has taken over must not be failed, and a
         * stream that has just been freed must not be used. */
        const bool is_ours = valid(entry) && burble__stream_try_ref(stream);
        forget(entry);
        if (is_ours) {
            burble_stream_fail(stream, BURBLE_EDIED, burble_result_text(BURBLE_EDIED));
            burble_stream_unref(&stream);
        }
    }
    mine = NULL;
    burble__free(list);
}

/* The process's key, made by the first who asks. (Not by pthread_once: where there was none to be had,
 * there may be the next time.) */
static bool make_key(void)
{
    burble__fork_lock();
    if (!have_key)
        have_key = pthread_key_create(&at_exit, fail_all) == 0;
    const bool made = have_key;
    burble__fork_unlock();
    return made;
}

static struct productions *list_of_this_thread(void)
{
    if (mine != NULL)
        return mine;
    if (!make_key())
        return NULL;
    struct productions *list = burble__calloc(1, sizeof *list);
    if (list == NULL)
        return NULL;
    if (pthread_setspecific(at_exit, list) != 0) {
        burble__free(list);
        return NULL;
    }
    list->head.prev = list->head.next = &list->head;
    list->tidy_at = TIDY_AT_LEAST;
    mine = list;
    return list;
}

static void tidy(struct productions *list)
{
    for (struct burble__production *entry = list->head.next; entry != &list->head;) {
        struct burble__production *next = entry->next;
        if (!valid(entry))
            drop(list, entry);
        entry = next;
    }
    list->released = 0;
    list->tidy_at = list->count < TIDY_AT_LEAST / 2 ? TIDY_AT_LEAST : 2 * list->count;
}

/* The calling thread writes the stream from now on. */
static void become(burble_stream *stream)
{
    burble__store_relaxed(&stream->producer.thread, burble__thread_give_number());
    /* A fork that comes amid our first append finds our number where it finds what we have written. */
    burble__fence_seq_cst();
}

int burble__producer_adopt(burble_stream *stream)
{
    if (stream->producer_may_exit) {
        become(stream);
        return BURBLE_OK;
    }
    struct productions *list = list_of_this_thread();
    if (list == NULL)
        return BURBLE_ENOMEM;
    struct burble__production *entry = burble__malloc(sizeof *entry);
    if (entry == NULL)
        return BURBLE_ENOMEM;
    /* Each time the list has doubled, so that an entry costs a constant on average. */
    if (list->count >= list->tidy_at)
        tidy(list);
    burble__add_relaxed(&stream->weak, 1);
    entry->stream = stream;
    entry->ticket = burble__add_relaxed(&tickets, 1) + 1;
    entry->next = &list->head;
    entry->prev = list->head.prev;
    entry->prev->next = entry->next->prev = entry;
    list->count++;
    become(stream);
    burble__store_relaxed(&stream->producer.ticket, entry->ticket);
    return BURBLE_OK;
}

void burble__producer_hand_over(burble_stream *stream)
{
    /* The entry of a thread that has written it is no longer valid. */
    burble__store_relaxed(&stream->producer.ticket, burble__add_relaxed(&tickets, 1) + 1);
    burble__store_relaxed(&stream->producer.thread, BURBLE__ANOTHER_THREAD);
}

bool burble__producer_is_here(const burble_stream *stream)
{
    const uint64_t thread = burble__load_relaxed(&stream->producer.thread);
    return thread == 0 || burble__thread_has_forked(thread);
}

void burble__producer_release(burble_stream *stream)
{
    /* Another thread may be about to take over the writing, if it is not the writer who ends the
     * stream: so nothing is concluded from here on but that one entry of ours, whichever it is, is
     * no longer valid. */
    uint64_t thread = burble__thread_number();
    if (thread == 0 || !burble__cas_acq_rel(&stream->producer.thread, &thread, 0)
        || stream->producer_may_exit || mine == NULL)
        return;
    mine->released++;
    if (mine->released >= TIDY_AT_LEAST && 2 * mine->released >= mine->count)
        tidy(mine);
}
