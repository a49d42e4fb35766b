/* SPDX-License-Identifier: MIT
 *
 * The library's version, and the mark of what is public.
 */
#ifndef BURBLE_VERSION_H
#define BURBLE_VERSION_H

#define BURBLE_VERSION_MAJOR 0
#define BURBLE_VERSION_MINOR 1
#define BURBLE_VERSION_PATCH 0
#define BURBLE_VERSION "0.1.0"

#if defined(__GNUC__)
#define BURBLE_API __attribute__((visibility("default")))
#else
#define BURBLE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is linked, "major.minor.patch"; compare it with BURBLE_VERSION,
 * the version of the headers. A static string. Any thread. */
BURBLE_API const char *burble_version(void);

#ifdef __cplusplus
}
#endif

#endif
