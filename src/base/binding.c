/* SPDX-License-Identifier: MIT
 *
 * What burble itself uses of src/base, for others.
 */
#include <burble/binding.h>
#include <burble/clock.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/utf8.h"

uint64_t burble_now(void)
{
    return burble__now();
}

int burble_forks_watch(void)
{
    return burble__fork_watch();
}

uint64_t burble_forks(void)
{
    return burble__forks();
}

uint64_t burble_utf8_count(const char *bytes, size_t len)
{
    return burble__utf8_count(bytes, len);
}
