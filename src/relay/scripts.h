/* SPDX-License-Identifier: MIT
 *
 * The scripts of the protocol, which Redis runs: src/relay/scripts. Each one's arguments and reply are in its first
 * comment; prelude.lua describes the keys.
 */
#ifndef BURBLE_RELAY_SCRIPTS_H
#define BURBLE_RELAY_SCRIPTS_H

#include <stddef.h>

/* In the order of src/relay/meson.build. */
enum burble__script {
    BURBLE__SCRIPT_ADOPT,
    BURBLE__SCRIPT_ATTACH,
    BURBLE__SCRIPT_CANCEL,
    BURBLE__SCRIPT_CLAIM,
    BURBLE__SCRIPT_CLOSE,
    BURBLE__SCRIPT_DETACH,
    BURBLE__SCRIPT_LOOK,
    BURBLE__SCRIPT_MODELS,
    BURBLE__SCRIPT_OPEN,
    BURBLE__SCRIPT_REAP,
    BURBLE__SCRIPT_STATUS,
    BURBLE__SCRIPT_STEP,
    BURBLE__SCRIPT_SUBMIT,
    BURBLE__N_SCRIPTS,
};

struct burble__script_text {
    const char *name;
    const char *sha; /* what EVALSHA calls it */
    const unsigned char *text;
    size_t len;
};

extern const struct burble__script_text burble__scripts[BURBLE__N_SCRIPTS];

#endif
