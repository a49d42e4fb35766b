/* SPDX-License-Identifier: MIT
 *
 * A relay whose allocations fail in turn, those of its thread: what it does then is reported, or done later. (The linker puts the
 * functions below between the libraries and the allocator. The allocations of hiredis, libuv and jansson do not fail.)
 */
#define _GNU_SOURCE
#include "front_support.h"

#include <errno.h>
#include <pthread.h>

#include "relay/relay.h"

/* ---- the allocator ------------------------------------------------------------------------------------------ */

enum mode { NEVER, ONCE, FROM_THEN_ON };

static _Atomic(int) mode;
static _Atomic(long) before; /* allocations that still succeed */
static _Atomic(long) failed;
static _Atomic(long) blocks;
static burble_relay
    *_Atomic tortured[2]; /* the relays whose threads' allocations fail; NULL: none */

static bool is_tortured(void)
{
    for (unsigned i = 0; i < 2; i++) {
        const burble_relay *relay = tortured[i];
        if (relay != NULL && pthread_equal(relay->thread, pthread_self()))
            return true;
    }
    return false;
}

static bool fails(void)
{
    const int how = mode;
    if (how == NEVER || !is_tortured())
        return false;
    const long left = before--;
    if (left > 0 || (how == ONCE && left < 0))
        return false;
    failed++;
    errno = ENOMEM;
    return true;
}

static void *counted(void *p)
{
    blocks += p != NULL;
    return p;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    if (fails())
        return NULL;
    return p == NULL ? counted(__real_malloc(size)) : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *p)
{
    blocks -= p != NULL;
    __real_free(p);
}

/* From now on the n-th allocation of the relays' threads fails, or all from that one on. */
static void arm(enum mode how, long n)
{
    failed = 0;
    before = n;
    mode = how;
}

/* Nothing fails any more. Returns whether something has. */
static bool disarm(void)
{
    mode = NEVER;
    return failed > 0;
}

/* ---- cancelling --------------------------------------------------------------------------------------------- */

static void test_cancel_without_memory_is_refused_or_done(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    burble_error error;
    bool more = true;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    tortured[0] = front.relay;
    for (long n = 0; more; n++) {
        begin(&client, &front, &hand);
        arm(ONCE, n);
        const int result =
            burble_relay_cancel(front.relay, hand.id, burble_now() + PATIENCE, &error);
        more = disarm();
        if (result == BURBLE_ENOMEM && more)
            assert_result(burble_relay_cancel(front.relay, hand.id, 0, &error), BURBLE_OK);
        else
            assert_result(result, BURBLE_OK);
        assert_true(hand_is_cancelled(&hand));
        hand_end(&hand);
        expect_text(&client, NULL);
        client_close(&client);
    }
    tortured[0] = NULL;
    front_stop(&front);
    hand_close(&hand);
}

static void test_answer_whose_client_left_is_cancelled_also_without_memory(void **state)
{
    SKIP_WITHOUT_REDIS();
    struct hand hand;
    struct client client;
    bool more = true;
    hand_open(&hand);
    struct front front = front_start(2 * SECOND);
    tortured[0] = front.relay;
    for (long n = 0; more; n++) {
        client_send(&client, &front, POST, BODY);
        hand_claim(&hand);
        hand_write(&hand, "one ");
        expect_text(&client, "one ");
        arm(ONCE, n);
        client_close(&client);
        UNTIL(hand_is_cancelled(&hand));
        more = disarm();
        hand_end(&hand);
        UNTIL(showing(&front) == 0);
    }
    tortured[0] = NULL;
    front_stop(&front);
    hand_close(&hand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancel_without_memory_is_refused_or_done),
        TEST(test_answer_whose_client_left_is_cancelled_also_without_memory),
    };
    RUN_ALL(tests);
}
