/* SPDX-License-Identifier: MIT
 *
 * `burble work` where a library that it needs was not there when burble was built.
 */
#include "command.h"

static const char help[] = //
    "usage: burble work --redis=URL -m MODEL [OPTION]...\n"
    "\n"
    "Computes answers for `burble serve --redis`, by llama.cpp. This burble was built\n"
    "without llama.cpp, or without hiredis or the libraries of the server. To have it,\n"
    "install llama.cpp with its llama.pc, libuv, llhttp, jansson and hiredis, and build\n"
    "burble with\n"
    "\n"
    "  meson setup -Dllama=enabled -Dserve=enabled -Drelay=enabled build\n";

int work_main(int argc, char **argv)
{
    return absent_verb(
        argc, argv, help,
        "this burble was built without llama.cpp, hiredis or the libraries of the "
        "server; to use this verb, install them and build burble with -Dllama=enabled "
        "-Dserve=enabled -Drelay=enabled");
}
