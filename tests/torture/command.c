/* SPDX-License-Identifier: MIT
 *
 * `burble tokens` with each kind of source: it does its work, or says what is wrong, with the text up to
 * there written. Its main function is called here, with files in place of its standard streams.
 */
#define _POSIX_C_SOURCE 200809L

#include "burble_main.h"
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARGUMENTS = 12, TEXT = 1 << 14 };

/* What goes in, and what came of it. */
struct command {
    const char *arguments[ARGUMENTS];
    const void *input;
    size_t input_len;
};

struct outcome {
    int status;
    size_t len;
    char text[TEXT], complaint[TEXT];
};

/* A file without a name, for one of the standard descriptors. */
static FILE *put_file(int descriptor)
{
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK(dup2(fileno(file), descriptor) == descriptor);
    return file;
}

static size_t take(FILE *file, char *text)
{
    const off_t end = lseek(fileno(file), 0, SEEK_END);
    CHECK(end >= 0 && end < TEXT);
    CHECK(pread(fileno(file), text, TEXT - 1, 0) == end);
    text[end] = '\0';
    fclose(file);
    return (size_t)end;
}

static void call(const struct command *command, bool armed, struct outcome *outcome)
{
    char *argv[ARGUMENTS + 1] = {NULL};
    int argc = 0;
    for (; command->arguments[argc] != NULL; argc++)
        argv[argc] = (char *)command->arguments[argc];
    FILE *in = put_file(STDIN_FILENO), *out = put_file(STDOUT_FILENO);
    fflush(stderr);
    const int stderr_before = dup(STDERR_FILENO);
    fail_count(FAIL_descriptors, 1);
    FILE *err = put_file(STDERR_FILENO);
    CHECK(write(STDIN_FILENO, command->input, command->input_len) == (ssize_t)command->input_len);
    CHECK(lseek(STDIN_FILENO, 0, SEEK_SET) == 0);
    optind = 1;
    if (armed)
        torture_begin();
    outcome->status = burble_main(argc, argv);
    torture_end();
    fail_count(FAIL_descriptors, fcntl(STDOUT_FILENO, F_GETFD) < 0); /* it has closed it */
    fflush(stderr);
    CHECK(dup2(stderr_before, STDERR_FILENO) == STDERR_FILENO);
    close(stderr_before);
    fclose(in);
    outcome->len = take(out, outcome->text);
    take(err, outcome->complaint);
}

static void run(const struct command *command)
{
    static struct outcome clean, found;
    call(command, false, &clean);
    call(command, true, &found);
    if (found.status == clean.status) {
        CHECK(found.len == clean.len);
        CHECK(memcmp(found.text, clean.text, clean.len) == 0);
        CHECK(strcmp(found.complaint, clean.complaint) == 0);
        return;
    }
    CHECK(torture_failed() > 0);
    CHECK(found.status == 1);
    CHECK(strncmp(found.complaint, "burble", 6) == 0);
    CHECK(found.len <= clean.len);
    CHECK(memcmp(found.text, clean.text, found.len) == 0);
}

static void run_tokens(const char *name, const char *const *options, const char *input)
{
    char path[200];
    struct command command = {.arguments = {"burble", "tokens"}};
    snprintf(path, sizeof path, "%s/%s", torture_corpus(), name);
    size_t n = 2;
    for (; options != NULL && *options != NULL; options++)
        command.arguments[n++] = *options;
    command.arguments[n] = path;
    command.input = input;
    command.input_len = strlen(input);
    run(&command);
}

#define SOME_IDS "0 1 2 3 4\n5 6 7 99 1 1 0 3\n2 4"

void torture_command(void)
{
    static const char *const options[] = {"--clean-up", "--skip-special", NULL};
#ifdef TORTURE_JSON
    run_tokens("hf/fallback.json", options, SOME_IDS);
#else
    (void)options;
#endif
}

void torture_command_binary(void)
{
    static const unsigned char ids[] = {0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0};
    char path[200];
    struct command command = {.arguments = {"burble", "tokens", "-b", path}};
    snprintf(path, sizeof path, "%s/gguf/gpt2", torture_corpus());
    command.input = ids;
    command.input_len = sizeof ids;
    run(&command);
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
#ifdef TORTURE_JSON
    run_tokens("tekken/special.json", NULL, SOME_IDS);
#endif
}

void torture_command_help(void)
{
    const struct command command = {{"burble", "tokens", "--help"}, "", 0};
    run(&command);
}

/* Wrong in itself: the status is that of the command line, or of the failure. */
void torture_command_usage(void)
{
    const struct command command = {{"burble", "tokens", "--format=yaml", "x"}, "", 0};
    run(&command);
}
