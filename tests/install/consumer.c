/* SPDX-License-Identifier: MIT
 *
 * A program outside of burble's tree, built against an installed libburble: text goes from a thread
 * through a hub to a loop that polls. It compiles as C11 and as C++17.
 */
#include <burble/burble.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char *const words[] = {"once ", "upon ", "a ", "time"};

static void *write_words(void *arg)
{
    burble_stream *stream = (burble_stream *)arg;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (burble_stream_append(stream, words[i], strlen(words[i]), 1) != BURBLE_OK)
            return NULL;
    burble_stream_end(stream, BURBLE_REASON_STOP);
    return NULL;
}

/* Prints what there is, and parks again; at the end says so. */
static void on_ready(burble_reader *reader, void *arg)
{
    int *result = (int *)arg;
    burble_record record;
    while ((*result = burble_reader_next_or_park(reader, &record)) == BURBLE_OK)
        fwrite(record.text, 1, record.len, stdout);
}

int main(void)
{
    burble_stream *stream;
    burble_reader *reader;
    burble_hub *hub;
    pthread_t writer;
    int result = BURBLE_AGAIN;

    if (strcmp(burble_version(), BURBLE_VERSION) != 0
        || burble_stream_create(NULL, &stream) != BURBLE_OK
        || burble_reader_create(stream, 0, &reader, NULL) != BURBLE_OK
        || burble_hub_create(NULL, &hub) != BURBLE_OK
        || burble_reader_attach(reader, hub, on_ready, &result) != BURBLE_OK)
        return 1;
    if (pthread_create(&writer, NULL, write_words, stream) != 0)
        return 1;
    on_ready(reader, &result);
    while (result == BURBLE_AGAIN) {
        struct pollfd descriptor = {burble_hub_fd(hub), POLLIN, 0};
        if (poll(&descriptor, 1, 10000) != 1)
            return 1;
        burble_hub_dispatch(hub, 0);
    }
    pthread_join(writer, NULL);
    burble_reader_destroy(&reader);
    burble_hub_destroy(&hub);
    burble_stream_unref(&stream);
    printf(".\n");
    return result == BURBLE_END ? 0 : 1;
}
