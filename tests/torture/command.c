/* SPDX-License-Identifier: MIT
 *
 * `burble tokens` with each kind of source: it does its work, or says what is wrong, with the text up to
 * there written.
 */
#include "call.h"
#include "torture.h"

#include <stdio.h>
#include <string.h>

static void run_tokens(const char *name, const char *const *options, const char *input)
{
    char path[200];
    struct call call = {.arguments = {"burble", "tokens"}};
    snprintf(path, sizeof path, "%s/%s", torture_corpus(), name);
    size_t n = 2;
    for (; options != NULL && *options != NULL; options++)
        call.arguments[n++] = *options;
    call.arguments[n] = path;
    call.input = input;
    call.input_len = strlen(input);
    torture_call(&call);
}

#define SOME_IDS "0 1 2 3 4\n5 6 7 99 1 1 0 3\n2 4"

void torture_command(void)
{
    static const char *const options[] = {"--clean-up", "--skip-special", NULL};
    run_tokens("hf/fallback.json", options, SOME_IDS);
}

void torture_command_binary(void)
{
    static const unsigned char ids[] = {0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0};
    char path[200];
    struct call call = {.arguments = {"burble", "tokens", "-b", path}};
    snprintf(path, sizeof path, "%s/gguf/gpt2", torture_corpus());
    call.input = ids;
    call.input_len = sizeof ids;
    torture_call(&call);
}

void torture_command_stop(void)
{
    static const char *const options[] = {"--stop", "nowhere", "-s", "neither", NULL};
    run_tokens("gguf/gpt2", options, SOME_IDS);
}

void torture_command_gguf(void)
{
    run_tokens("gguf/llama", NULL, SOME_IDS);
}

void torture_command_tiktoken(void)
{
    static const char *const options[] = {"--format=tiktoken", NULL};
    run_tokens("tiktoken/ranks", options, SOME_IDS);
}

void torture_command_sentencepiece(void)
{
    run_tokens("sentencepiece/plain", NULL, SOME_IDS);
}

void torture_command_tekken(void)
{
    run_tokens("tekken/special.json", NULL, SOME_IDS);
}

void torture_command_help(void)
{
    const struct call call = {{"burble", "tokens", "--help"}, "", 0, false};
    torture_call(&call);
}

/* Wrong in itself: the status is that of the command line, or of the failure. */
void torture_command_usage(void)
{
    const struct call call = {{"burble", "tokens", "--format=yaml", "x"}, "", 0, false};
    torture_call(&call);
}
