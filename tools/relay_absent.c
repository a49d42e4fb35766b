/* SPDX-License-Identifier: MIT
 *
 * `burble relay` where hiredis was not there when burble was built.
 */
#include "command.h"

static const char help[] = //
    "usage: burble relay status URL [OPTION]...\n"
    "\n"
    "Shows the workers and queues of a Redis. This burble was built without hiredis, or\n"
    "without the libraries of the server. To have it, install libuv, llhttp, jansson\n"
    "and hiredis, and build burble with\n"
    "\n"
    "  meson setup -Dserve=enabled -Drelay=enabled build\n";

int relay_main(int argc, char **argv)
{
    return absent_verb(
        argc, argv, help,
        "this burble was built without hiredis or the libraries of the server; to use "
        "this verb, install them and build burble with -Dserve=enabled "
        "-Drelay=enabled");
}
