/* SPDX-License-Identifier: MIT
 *
 * The `burble` command: finds the verb and leaves the rest to it.
 */
#include <string.h>

#include "command.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char help[] = //
    "usage: burble VERB [OPTION]...\n"
    "\n"
    "Streams the text of language models.\n"
    "\n"
    "verbs:\n"
    "  run -m MODEL   continue a text with a language model, as it comes\n"
    "  serve -m MODEL serve language models over HTTP\n"
    "  work -m MODEL  compute answers for servers on other machines, over Redis\n"
    "  relay status URL  show the workers and queues of a Redis\n"
    "  tokens VOCAB   turn token ids on standard input into text on standard output\n"
    "\n"
    "  burble VERB --help  what a verb does, and its options\n"
    "  burble --version    the version\n";

static struct verb {
    const char *name;
    char full_name[16]; /* what its messages begin with, getopt's as well: its argv[0] */
    int (*main)(int argc, char **argv);
} verbs[] = {
    {"relay", "burble relay", relay_main}, {"run", "burble run", run_main},
    {"serve", "burble serve", serve_main}, {"tokens", "burble tokens", tokens_main},
    {"work", "burble work", work_main},
};

static struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < COUNT(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* Calls a verb whose arguments begin with argv[0], which is its name. */
static int call(struct verb *verb, int argc, char **argv)
{
    set_command_name(verb->full_name);
    argv[0] = verb->full_name;
    return verb->main(argc, argv);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return complain_of_usage("expected a verb, found nothing");
    const char *const name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        return print_version();
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0
        || (strcmp(name, "help") == 0 && argc == 2)) {
        return print_only(help);
    }
    if (strcmp(name, "help") == 0) {
        static char option[] = "--help";
        struct verb *const about = find_verb(argv[2]);
        char *arguments[] = {argv[2], option, NULL};
        return about == NULL ? complain_of_usage("unknown verb '%s'", argv[2])
                             : call(about, 2, arguments);
    }
    struct verb *const verb = find_verb(name);
    if (verb == NULL) {
        return name[0] == '-' ? complain_of_usage("expected a verb, found the option '%s'", name)
                              : complain_of_usage("unknown verb '%s'", name);
    }
    return call(verb, argc - 1, argv + 1);
}
