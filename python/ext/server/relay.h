/* SPDX-License-Identifier: MIT
 *
 * _core.Relay: libburble-relay's relay. It is a worker, a host whose backends are functions of Python, and it reads answers
 * from elsewhere as text. Only in a build with hiredis (Meson's option `relay`).
 */
#ifndef BURBLE_PYTHON_RELAY_H
#define BURBLE_PYTHON_RELAY_H

#include "server/host.h"

extern PyType_Spec relay_spec;

#endif
