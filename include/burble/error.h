/* SPDX-License-Identifier: MIT */
/** @file
 *
 * Results. A function of burble that can fail in more than one way returns one of these; the others return
 * a bool, or nothing.
 *
 *   0          success
 *   positive   no error, but nothing to return: nothing available yet, or the end
 *   negative   an error; nothing was changed, unless the function's comment says otherwise
 */
#ifndef BURBLE_ERROR_H
#define BURBLE_ERROR_H

#include <stdint.h>

#include <burble/version.h>

/** X(name, value, text) */
#define BURBLE_RESULTS(X)                                                                          \
    X(OK, 0, "ok")                                                                                 \
    X(AGAIN, 1, "nothing available yet")                                                           \
    X(END, 2, "the stream has ended")                                                              \
    X(ENOMEM, -1, "out of memory")                                                                 \
    X(EINVAL, -2, "an argument is out of its range")                                               \
    X(ECANCELED, -3, "the stream was cancelled")                                                   \
    X(EFAILED, -4, "the producer reported an error")                                               \
    X(EDIED, -5, "the thread that wrote the stream exited without ending it")                      \
    X(ETIMEDOUT, -6, "the deadline passed")                                                        \
    X(EGONE, -7, "the position is no longer retained")                                             \
    X(ECLOSED, -8, "the stream has already ended")                                                 \
    X(EDETACHED, -9, "the reader is not attached to an open hub")                                  \
    X(ESYSTEM, -10, "a system call failed (errno says why)")                                       \
    X(EFORMAT, -11, "the data is malformed")                                                       \
    X(EUNSUPPORTED, -12, "not supported")                                                          \
    X(EFULL, -13, "no room")                                                                       \
    X(ELAGGED, -14, "the reader fell behind its limit and was dropped")                            \
    X(ETOOLONG, -15, "longer than the limit")

typedef enum burble_result {
#define BURBLE_RESULT_ENUM(name, value, text) BURBLE_##name = (value),
    BURBLE_RESULTS(BURBLE_RESULT_ENUM)
#undef BURBLE_RESULT_ENUM
} burble_result;

/** An error message for people, filled in by functions that take an `error` parameter. The message says
 * what was expected, what was found, and where. It is UTF-8 and terminated by NUL. If it is too long, it
 * is cut at a character boundary. Invalid UTF-8 in a name or other quoted text is replaced by '?'. */
typedef struct burble_error {
    int code; /**< the result of the function */
    char message[256];
    uint32_t reserved[7]; /**< 0: see burble.h */
} burble_error;

#ifdef __cplusplus
extern "C" {
#endif

/** The meaning of a result, as text for people; "unknown result" for an unknown one. A static string.
 * Any thread may call it. */
BURBLE_API const char *burble_result_text(int result);

/** The name of a result, such as "BURBLE_EGONE"; "BURBLE_?" for an unknown one. A static string. Any
 * thread may call it. */
BURBLE_API const char *burble_result_name(int result);

#ifdef __cplusplus
}
#endif

#endif
