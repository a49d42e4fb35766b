/* SPDX-License-Identifier: MIT
 *
 * The library's version, and the mark of what is public.
 *
 * This is the one place where the version stands; meson.build reads it here.
 */
#ifndef BURBLE_VERSION_H
#define BURBLE_VERSION_H

#define BURBLE_VERSION_MAJOR 0
#define BURBLE_VERSION_MINOR 1
#define BURBLE_VERSION_PATCH 0
#define BURBLE_VERSION                                                                             \
    BURBLE_VERSION_TEXT_(BURBLE_VERSION_MAJOR, BURBLE_VERSION_MINOR, BURBLE_VERSION_PATCH)
#define BURBLE_VERSION_TEXT_(major, minor, patch) BURBLE_VERSION_JOIN_(major, minor, patch)
#define BURBLE_VERSION_JOIN_(major, minor, patch) #major "." #minor "." #patch

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
