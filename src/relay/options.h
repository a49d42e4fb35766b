/* SPDX-License-Identifier: MIT
 *
 * The options of a relay: their ranges, and copies of their strings.
 */
#ifndef BURBLE_RELAY_OPTIONS_H
#define BURBLE_RELAY_OPTIONS_H

#include <burble/relay.h>

/* BURBLE_OK; or BURBLE_EINVAL, and *error says what is wrong. */
int burble__relay_check_options(const burble_relay_options *options, burble_error *error);

/* Copies them; a name is made up where there is none. BURBLE_OK or BURBLE_ENOMEM; in any case, *to is to be freed by
 * burble__relay_free_options. */
int burble__relay_copy_options(burble_relay_options *to, const burble_relay_options *from);
void burble__relay_free_options(burble_relay_options *options);

#endif
