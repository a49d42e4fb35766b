/* SPDX-License-Identifier: MIT
 *
 * burble_server_read_text: gives an answer its sources, and one of the loops a recorder for it. The answer has its sources
 * (answer.h), so that whoever cancels it cancels them at once.
 */
#define _GNU_SOURCE

#include <burble/serve.h>

#include "base/alloc.h"
#include "base/fork.h"
#include "serve/answer.h"
#include "serve/loop.h"
#include "serve/recorder.h"
#include "serve/registry.h"
#include "serve/server.h"

static const char SHUTTING_DOWN[] = "the server is shutting down";

struct beginning {
    struct burble__post post; /* first */
    struct burble__recorder *recorder;
};

static void begin(struct burble__loop *loop, struct burble__post *post)
{
    struct beginning *beginning = (struct beginning *)(void *)post;
    if (loop->stopping)
        burble__recorder_fail(beginning->recorder, BURBLE_ECLOSED, SHUTTING_DOWN);
    else
        burble__recorder_begin(&loop->recorders, beginning->recorder);
    burble__free(beginning);
}

/* Takes the sources over. */
static int read_text(burble_server *server, struct burble__answer *answer,
                     const burble_serve_source *sources, size_t n)
{
    burble_stream *streams[BURBLE_FRAME_MAX_CHOICES];
    for (size_t i = 0; i < n; i++)
        streams[i] = sources[i].stream;
    struct beginning *beginning = burble__calloc(1, sizeof *beginning);
    struct burble__recorder *recorder =
        beginning == NULL ? NULL
                          : burble__recorder_create(answer->stream, answer->began, sources, n);
    const int result =
        recorder == NULL ? BURBLE_ENOMEM : burble__answer_set_sources(answer, streams, n);
    if (result != BURBLE_OK) {
        if (result == BURBLE_ENOMEM) { /* else it has some already */
            burble_stream_fail(answer->stream, result, "out of memory");
            for (size_t i = 0; i < n; i++)
                burble_stream_cancel(streams[i]);
        }
        burble__recorder_destroy_but_for_given(recorder, sources);
        burble__free(beginning);
        return result;
    }
    burble_stream_hand_over(answer->stream);
    beginning->post.run = begin;
    beginning->recorder = recorder;
    struct burble__loop *loop =
        &server->loops[burble__add_relaxed(&server->next_loop, 1) % server->n_loops];
    if (!burble__loop_post(loop, &beginning->post)) {
        burble__recorder_fail(recorder, BURBLE_ECLOSED, SHUTTING_DOWN);
        burble__free(beginning);
    }
    return BURBLE_OK;
}

int burble_server_read_text(burble_server *server, burble_stream *stream,
                            const burble_serve_source *sources, size_t n)
{
    if (server->forks != burble__forks() || !burble__sources_are_valid(sources, n))
        return BURBLE_EINVAL;
    struct burble__answer *answer = burble__registry_of_stream(server->registry, stream);
    if (answer == NULL) {
        burble_status status;
        burble_stream_status(stream, &status);
        if (status.state != BURBLE_CANCELLED && status.state != BURBLE_FAILED)
            return BURBLE_EINVAL;
        burble__sources_discard(sources, n);
        return BURBLE_OK;
    }
    const int result =
        n == answer->envelope->choices ? read_text(server, answer, sources, n) : BURBLE_EINVAL;
    burble__answer_drop(&answer);
    return result;
}
