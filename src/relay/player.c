/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/player.h"

#include <inttypes.h>

#include <burble/frame.h>

#include "base/alloc.h"
#include "relay/relay.h"

static const char CLOSED[] = "the relay was closed";

struct burble__player {
    struct burble__retry retry; /* first */
    burble_relay *relay;
    struct burble__player *next, **at; /* of the relay's; NULL: it has not begun */
    struct burble__relay_post post;
    burble_stream *frames, *text; /* references */
    burble_reader *reader;        /* of the frames */
    uint32_t choice;
    bool kept; /* there is a frame whose text found no room: `frame`, in the reader's record */
    burble_frame frame;
};

/* ---- the end -------------------------------------------------------------------------------------------- */

static void destroy(struct burble__player *player)
{
    burble__retry_never(&player->retry);
    if (player->at != NULL) {
        *player->at = player->next;
        if (player->next != NULL)
            player->next->at = player->at;
    }
    burble_reader_destroy(&player->reader);
    if (player->frames != NULL)
        burble_stream_cancel(player->frames); /* ends the reading; the answer goes on */
    burble_stream_unref(&player->frames);
    burble_stream_unref(&player->text);
    burble__free(player);
}

static void fail(struct burble__player *player, int code, const char *message)
{
    burble_stream_fail(player->text, code, message);
    destroy(player);
}

void burble__players_stop(burble_relay *relay)
{
    while (relay->players != NULL)
        /* One that fails leaves the list. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        fail(relay->players, BURBLE_ECLOSED, CLOSED);
}

/* There are no more frames, and no `finish` of the choice was among them. */
static void end_without_finish(struct burble__player *player)
{
    burble_status status;
    burble_stream_status(player->frames, &status);
    if (status.state == BURBLE_FAILED) {
        fail(player, status.code, status.message);
    } else if (status.state == BURBLE_CANCELLED) {
        burble_stream_cancel(player->text);
        destroy(player);
    } else {
        burble_error error;
        burble__error_set(&error, BURBLE_EINVAL,
                          "choice: expected a choice of the answer, found %" PRIu32,
                          player->choice);
        fail(player, BURBLE_EINVAL, error.message);
    }
}

/* ---- text ----------------------------------------------------------------------------------------------- */

static burble_reason reason_of(const burble_frame *finish)
{
    return finish->u.text.reason == BURBLE_FRAME_LENGTH ? BURBLE_REASON_LENGTH : BURBLE_REASON_STOP;
}

/* Appends the frame's text, or ends with it. False: the player is gone, or has to wait for room. */
static bool put(struct burble__player *player)
{
    const burble_frame *frame = &player->frame;
    player->kept = false;
    if ((frame->kind != BURBLE_FRAME_TEXT && frame->kind != BURBLE_FRAME_FINISH)
        || frame->choice != player->choice)
        return true;
    if (frame->kind == BURBLE_FRAME_FINISH) {
        burble_stream_end(player->text, reason_of(frame));
        destroy(player);
        return false;
    }
    const burble_text text = frame->u.text.text;
    const int result = burble_stream_append_until(player->text, text.bytes, text.len,
                                                  frame->u.text.n_ids, BURBLE_NO_WAIT);
    if (result == BURBLE_OK)
        return true;
    if (result == BURBLE_EFULL) {
        player->kept = true;
        burble__retry_later(&player->relay->retries, &player->retry);
    } else if (result == BURBLE_ENOMEM) {
        fail(player, result, "out of memory");
    } else {
        destroy(player); /* the text has no reader any more */
    }
    return false;
}

static void play(struct burble__player *player)
{
    burble_record record;
    int result;
    if (player->kept) {
        if (!put(player))
            return;
        player->retry.doubled = 0;
    }
    while ((result = burble_reader_next_or_park(player->reader, &record)) == BURBLE_OK) {
        result = burble_frame_read(record.text, record.len, &player->frame);
        if (result != BURBLE_OK && result != BURBLE_EUNSUPPORTED) {
            fail(player, result, "a record of the answer is no frame");
            return;
        }
        if (result == BURBLE_OK && !put(player))
            return;
    }
    if (result != BURBLE_AGAIN)
        end_without_finish(player);
}

static void on_ready(burble_reader *reader, void *arg)
{
    struct burble__player *player = arg;
    (void)reader;
    if (!player->kept)
        play(player);
}

static void on_retry(struct burble__retry *retry)
{
    play((struct burble__player *)(void *)retry);
}

/* ---- the beginning -------------------------------------------------------------------------------------- */

static void begin(burble_relay *relay, struct burble__relay_post *post)
{
    struct burble__player *player =
        (struct burble__player *)(void *)((char *)post - offsetof(struct burble__player, post));
    player->next = relay->players;
    player->at = &relay->players;
    if (player->next != NULL)
        player->next->at = &player->next;
    relay->players = player;
    if (relay->state == BURBLE__RELAY_STOPPED)
        fail(player, BURBLE_ECLOSED, CLOSED);
    else if (burble_reader_attach(player->reader, relay->hub, on_ready, player) != BURBLE_OK)
        fail(player, BURBLE_ENOMEM, "out of memory");
    else
        play(player);
}

int burble_relay_play(burble_relay *relay, const char *id, uint32_t choice, uint64_t deadline,
                      burble_stream *text, burble_error *error)
{
    struct burble__player *player = burble__calloc(1, sizeof *player);
    if (player == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    player->relay = relay;
    player->text = burble_stream_ref(text);
    player->choice = choice;
    player->retry.run = on_retry;
    player->post.run = begin;
    int result = burble_relay_attach(relay, id, 0, 0, deadline, &player->frames, error);
    if (result == BURBLE_OK) {
        result = burble_reader_create(player->frames, 0, &player->reader, NULL);
        if (result != BURBLE_OK)
            burble__error_set(error, result, "out of memory");
    }
    if (result != BURBLE_OK) {
        destroy(player);
        return result;
    }
    burble_stream_hand_over(text);
    if (!burble__relay_post(relay, &player->post))
        fail(player, BURBLE_ECLOSED, CLOSED);
    return BURBLE_OK;
}
