/* SPDX-License-Identifier: MIT
 *
 * Earlier states of a detokenizer's sequence: the one before the last call, in case that call fails, and, in a
 * ring, those before each of the last ids, for rewinding.
 */
#include "text/detok.h"

#include <string.h>

#include <burble/stream.h>

#include "base/alloc.h"

/* The ring, whose states lie behind it. */
int burble__past_make_ring(burble_detok *detok)
{
    const size_t n = detok->options.rewind;
    if (n == 0)
        return BURBLE_OK;
    const size_t each = sizeof(struct burble__past) + detok->state_size;
    struct burble__past *pasts = n > SIZE_MAX / each ? NULL : burble__malloc(n * each);
    if (pasts == NULL)
        return BURBLE_ENOMEM;
    char *states = (void *)(pasts + n);
    for (size_t i = 0; i < n; i++) {
        pasts[i].state = (void *)(states + i * detok->state_size);
        burble__buffer_init(&pasts[i].held, BURBLE_RECORD_MAX);
    }
    detok->pasts = pasts;
    return BURBLE_OK;
}

void burble__past_free_ring(burble_detok *detok)
{
    for (size_t i = 0; detok->pasts != NULL && i < detok->options.rewind; i++)
        burble__buffer_finish(&detok->pasts[i].held);
    burble__free(detok->pasts);
}

int burble__past_copy_ring(const burble_detok *detok, burble_detok *copy)
{
    int result = BURBLE_OK;
    for (size_t i = 0; i < detok->options.rewind && result == BURBLE_OK; i++) {
        const struct burble__past *past = &detok->pasts[i];
        memcpy(copy->pasts[i].state, past->state, detok->state_size);
        result = burble__buffer_append(&copy->pasts[i].held, past->held.bytes, past->held.len);
    }
    copy->past = detok->past;
    copy->n_pasts = detok->n_pasts;
    return result;
}

int burble__past_save(const burble_detok *detok, struct burble__past *past)
{
    past->held.len = 0;
    memcpy(past->state, detok->state, detok->state_size);
    return burble__buffer_append(&past->held, detok->held.bytes, detok->held.len);
}

void burble__past_restore(burble_detok *detok, struct burble__past *past)
{
    const struct burble__buffer held = detok->held;
    memcpy(detok->state, past->state, detok->state_size);
    detok->held = past->held;
    past->held = held;
}

int burble__past_remember(burble_detok *detok)
{
    const size_t all = detok->options.rewind;
    const int result = burble__past_save(detok, &detok->pasts[detok->past]);
    if (result == BURBLE_OK) {
        detok->past = detok->past + 1 == all ? 0 : detok->past + 1;
        detok->n_pasts += detok->n_pasts < all;
    }
    return result;
}

/* Takes the last `n` out of the ring again, as many as there are, which have overwritten others. */
void burble__past_forget(burble_detok *detok, size_t n, size_t n_pasts)
{
    const size_t all = detok->options.rewind;
    detok->past = (detok->past + all - n % all) % all;
    detok->n_pasts = n >= all ? 0 : n_pasts < all - n ? n_pasts : all - n;
}

int burble_detok_rewind(burble_detok *detok, size_t n, uint64_t *bytes)
{
    const uint64_t handed = detok->state->handed;
    if (n > detok->n_pasts)
        return BURBLE_EINVAL;
    if (n > 0) {
        const size_t all = detok->options.rewind;
        detok->past = (detok->past + all - n) % all;
        detok->n_pasts -= n;
        burble__past_restore(detok, &detok->pasts[detok->past]);
    }
    detok->spans.len = 0;
    if (bytes != NULL)
        *bytes = handed - detok->state->handed;
    return BURBLE_OK;
}
