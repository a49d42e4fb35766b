/* SPDX-License-Identifier: MIT
 *
 * Stand-ins, until the functions that include/burble/stream.h declares are there.
 */
#include "stream/stream.h"

__attribute__((weak)) int burble_stream_append_until(burble_stream *stream, const char *text,
                                                     size_t len, uint32_t tokens, uint64_t deadline)
{
    (void)deadline;
    return burble_stream_append(stream, text, len, tokens);
}

__attribute__((weak)) int burble_stream_wait(burble_stream *stream, uint64_t weight,
                                             uint64_t deadline)
{
    (void)stream;
    (void)weight;
    (void)deadline;
    return BURBLE_OK;
}

__attribute__((weak)) uint64_t burble_stream_position(const burble_stream *stream)
{
    return stream->next_seq;
}

__attribute__((weak)) uint64_t burble_stream_oldest(burble_stream *stream)
{
    return stream->head->first_seq;
}

__attribute__((weak)) int burble_reader_limit(burble_reader *reader, uint64_t max_lag,
                                              burble_on_lag on_lag)
{
    (void)reader;
    (void)max_lag;
    (void)on_lag;
    return BURBLE_OK;
}
