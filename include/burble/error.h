/* SPDX-License-Identifier: MIT
 *
 * Results. Every function of burble that can end in more than one way returns one of these.
 *
 *   0          progress: what was asked for is done
 *   positive   no error, but nothing to hand out: nothing yet, or the end
 *   negative   an error, and nothing was changed unless the function says otherwise
 */
#ifndef BURBLE_ERROR_H
#define BURBLE_ERROR_H

#include <burble/version.h>

/* X(name, value, text) */
#define BURBLE_RESULTS(X)                                                                          \
    X(OK, 0, "ok")                                                                                 \
    X(AGAIN, 1, "nothing there yet")                                                               \
    X(END, 2, "the stream has ended")                                                              \
    X(ENOMEM, -1, "out of memory")                                                                 \
    X(EINVAL, -2, "an argument is out of its range")                                               \
    X(ECANCELED, -3, "the stream was cancelled")                                                   \
    X(EFAILED, -4, "the producer reported an error")                                               \
    X(EDIED, -5, "the thread that wrote the stream exited without ending it")                      \
    X(ETIMEDOUT, -6, "the deadline passed")                                                        \
    X(EGONE, -7, "the position is no longer retained")                                             \
    X(ECLOSED, -8, "the stream has already ended")                                                 \
    X(EDETACHED, -9, "the reader is attached to no hub that is open")                              \
    X(ESYSTEM, -10, "a system call failed (errno says why)")                                       \
    X(EFORMAT, -11, "the data is malformed")                                                       \
    X(EUNSUPPORTED, -12, "this kind is not supported")                                             \
    X(EFULL, -13, "there is no room")                                                              \
    X(ELAGGED, -14, "the reader fell behind its limit and was dropped")

typedef enum burble_result {
#define BURBLE_RESULT_ENUM(name, value, text) BURBLE_##name = (value),
    BURBLE_RESULTS(BURBLE_RESULT_ENUM)
#undef BURBLE_RESULT_ENUM
} burble_result;

/* What went wrong, for a person, where a function takes an `error` to fill in. The message says what
 * was expected, what was found, and where; it is UTF-8, ends in NUL and is cut, at a character, where it
 * is too long. In a name, or what else it quotes, that is not UTF-8, '?' stands for what is not. */
typedef struct burble_error {
    int code; /* the result that the function returned */
    char message[256];
} burble_error;

#ifdef __cplusplus
extern "C" {
#endif

/* What a result means, in words, for a person; for an unknown one, "unknown result". A static
 * string. Any thread. */
BURBLE_API const char *burble_result_text(int result);

/* A result's name, "BURBLE_EGONE"; for an unknown one, "BURBLE_?". A static string. Any thread. */
BURBLE_API const char *burble_result_name(int result);

#ifdef __cplusplus
}
#endif

#endif
