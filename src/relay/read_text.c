/* SPDX-License-Identifier: MIT
 *
 * burble_relay_read_text: gives the relay's thread a recorder for an answer that this worker computes.
 */
#define _GNU_SOURCE
#include <burble/frame.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fork.h"
#include "relay/relay.h"
#include "serve/envelope.h"
#include "serve/recorder.h"

static const char CLOSED[] = "the relay was closed";

struct beginning {
    struct burble__relay_post post; /* first */
    struct burble__recorder *recorder;
};

static void begin(burble_relay *relay, struct burble__relay_post *post)
{
    struct beginning *beginning = (struct beginning *)(void *)post;
    if (relay->state == BURBLE__RELAY_STOPPED)
        burble__recorder_fail(beginning->recorder, BURBLE_ECLOSED, CLOSED);
    else
        burble__recorder_begin(&relay->recorders, beginning->recorder);
    burble__free(beginning);
}

/* How many choices the answer has, as its begin frame says; 0: it has none. */
static size_t choices_of(burble_stream *stream)
{
    burble_reader *reader;
    burble_record record;
    burble_frame frame;
    size_t choices = 0;
    if (burble_reader_create(stream, 0, &reader, NULL) != BURBLE_OK)
        return 0;
    if (burble_reader_next(reader, &record) == BURBLE_OK
        && burble_frame_read(record.text, record.len, &frame) == BURBLE_OK
        && frame.kind == BURBLE_FRAME_BEGIN) {
        choices = frame.u.begin.flags >> BURBLE__ANSWER_CHOICES_SHIFT & 0xff;
        choices = choices == 0 ? 1 : choices;
    }
    burble_reader_destroy(&reader);
    return choices;
}

int burble_relay_read_text(burble_relay *relay, burble_stream *stream,
                           const burble_serve_source *sources, size_t n)
{
    if (relay->forks != burble__forks() || !burble__sources_are_valid(sources, n)
        || choices_of(stream) != n)
        return BURBLE_EINVAL;
    struct beginning *beginning = burble__calloc(1, sizeof *beginning);
    struct burble__recorder *recorder =
        beginning == NULL ? NULL : burble__recorder_create(stream, burble__now(), sources, n);
    if (recorder == NULL) {
        burble__free(beginning);
        burble_stream_fail(stream, BURBLE_ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++)
            burble_stream_cancel(sources[i].stream);
        return BURBLE_ENOMEM;
    }
    burble_stream_hand_over(stream);
    beginning->post.run = begin;
    beginning->recorder = recorder;
    if (!burble__relay_post(relay, &beginning->post)) {
        burble__recorder_fail(recorder, BURBLE_ECLOSED, CLOSED);
        burble__free(beginning);
    }
    return BURBLE_OK;
}
