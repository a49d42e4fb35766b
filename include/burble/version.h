/* SPDX-License-Identifier: MIT */
/** @file
 *
 * The version of the library, and the macro that marks public functions.
 *
 * This is the only place that defines the version; meson.build reads it from here.
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

/** The version of the linked library, as "major.minor.patch"; compare it with BURBLE_VERSION, the version
 * of the headers. A static string. Any thread may call it. */
BURBLE_API const char *burble_version(void);

#ifdef __cplusplus
}
#endif

#endif
