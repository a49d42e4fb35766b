/* SPDX-License-Identifier: MIT
 *
 * `burble run` where llama.cpp was not there when burble was built.
 */
#include <string.h>

#include "command.h"

static const char help[] = //
    "usage: burble run -m MODEL [-p PROMPT] [OPTION]...\n"
    "\n"
    "Continues a text with a language model, by llama.cpp. This burble was built\n"
    "without it. To have it, install llama.cpp with its llama.pc, and build burble\n"
    "with\n"
    "\n"
    "  meson setup -Dllama=enabled build\n";

int run_main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_only(help);
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0)
            return print_version();
    }
    return complain("this burble was built without llama.cpp; to use this verb, install "
                    "llama.cpp and build burble with -Dllama=enabled");
}
