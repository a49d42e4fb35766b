/* SPDX-License-Identifier: MIT
 *
 * _core.Server: libburble-serve's server, a host whose backends are functions of Python. Only in a build with the
 * libraries of libburble-serve (Meson's option `serve`).
 */
#ifndef BURBLE_PYTHON_SERVER_H
#define BURBLE_PYTHON_SERVER_H

#include "server/host.h"

typedef struct ServerObject {
    HostObject host; /* first */
    burble_server *server;
    struct access_log *access_log; /* NULL: none is kept */
} ServerObject;

extern PyType_Spec server_spec;

#endif
