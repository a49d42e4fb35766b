/* SPDX-License-Identifier: MIT
 *
 * `burble run` where llama.cpp was not there when burble was built.
 */
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
    return absent_verb(argc, argv, help,
                       "this burble was built without llama.cpp; to use this verb, install "
                       "llama.cpp and build burble with -Dllama=enabled");
}
