/* SPDX-License-Identifier: MIT
 *
 * Filling in a burble_error.
 */
#ifndef BURBLE_BASE_FAIL_H
#define BURBLE_BASE_FAIL_H

#include <burble/error.h>

#if defined(__GNUC__)
#define BURBLE__PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define BURBLE__PRINTF(at, first)
#endif

/* Writes the code and the message, as printf does, to *error, which may be NULL; returns `code`. */
int burble__fail(burble_error *error, int code, const char *format, ...) BURBLE__PRINTF(3, 4);

#endif
