/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_TOOLS_UTF8_H
#define BURBLE_TOOLS_UTF8_H

#include <stddef.h>

/* How many bytes from the beginning on are UTF-8: `len` where all are. */
size_t utf8_prefix(const char *text, size_t len);

#endif
