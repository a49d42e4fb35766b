/* SPDX-License-Identifier: MIT
 *
 * Filling in a burble_error.
 */
#ifndef BURBLE_BASE_ERROR_MESSAGE_H
#define BURBLE_BASE_ERROR_MESSAGE_H

#include <burble/error.h>

#if defined(__GNUC__)
#define BURBLE__PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define BURBLE__PRINTF(at, first)
#endif

/* Writes the code and the message, as printf does, to *error, which may be NULL; returns `code`. The
 * message is UTF-8, whatever it is made of: paths, what is in files, other libraries' words. */
int burble__error_set(burble_error *error, int code, const char *format, ...) BURBLE__PRINTF(3, 4);

/* The last step of burble__error_set, for messages that are written in another way: makes it UTF-8. */
void burble__error_mend(burble_error *error);

#endif
