/* SPDX-License-Identifier: MIT
 *
 * `burble work` where a library that it needs was not there when burble was built.
 */
#include <string.h>

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
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_only(help);
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0)
            return print_version();
    }
    return complain("this burble was built without llama.cpp, hiredis or the libraries of the "
                    "server; to use this verb, install them and build burble with -Dllama=enabled "
                    "-Dserve=enabled -Drelay=enabled");
}
