/* SPDX-License-Identifier: MIT
 *
 * `burble serve` where a library that it needs was not there when burble was built.
 */
#include "command.h"

static const char help[] = //
    "usage: burble serve -m MODEL [OPTION]...\n"
    "\n"
    "Serves language models over HTTP, by llama.cpp. This burble was built without\n"
    "llama.cpp, or without the libraries of the server. To have it, install llama.cpp\n"
    "with its llama.pc, libuv, llhttp and jansson, and build burble with\n"
    "\n"
    "  meson setup -Dllama=enabled -Dserve=enabled build\n";

int serve_main(int argc, char **argv)
{
    return absent_verb(
        argc, argv, help,
        "this burble was built without llama.cpp or the libraries of the server; to use "
        "this verb, install them and build burble with -Dllama=enabled -Dserve=enabled");
}
