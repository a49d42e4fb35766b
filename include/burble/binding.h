/* SPDX-License-Identifier: MIT */
/** @file
 *
 * Functions for bindings to other languages: docs/c/write-a-binding.md.
 */
#ifndef BURBLE_BINDING_H
#define BURBLE_BINDING_H

#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Makes burble_forks count from now on. Call it once, before the first object is created. Any thread may
 * call it.
 *
 * @retval BURBLE_OK      forks are counted
 * @retval BURBLE_ENOMEM  out of memory; another call may succeed */
BURBLE_API int burble_forks_watch(void);

/** The number of forks between the first process that called burble_forks_watch, or created an object, and
 * this process. A binding that stores it in an object can tell in a forked child that the object is the
 * parent's, and that the threads that used it do not exist here. Takes no lock. Any thread may call it. */
BURBLE_API uint64_t burble_forks(void);

/** The number of characters that begin in `len` bytes of UTF-8, for languages that count in characters.
 * Bytes that are not UTF-8 are counted like those of a character. Any thread may call it. */
BURBLE_API uint64_t burble_utf8_count(const char *bytes, size_t len);

#ifdef __cplusplus
}
#endif

#endif
