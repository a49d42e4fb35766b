/* SPDX-License-Identifier: MIT
 *
 * A grammar of the integers from one to another, without leading zeros.
 */
#ifndef BURBLE_SERVE_SCHEMA_RANGE_H
#define BURBLE_SERVE_SCHEMA_RANGE_H

#include <stdint.h>

#include "serve/json.h"

/* The largest one: 16 digits. */
#define BURBLE__RANGE_MAX INT64_C(9999999999999999)

/* Writes an item of GBNF. -BURBLE__RANGE_MAX <= low <= high <= BURBLE__RANGE_MAX. */
void burble__range_write(int64_t low, int64_t high, struct burble__output *out);

#endif
