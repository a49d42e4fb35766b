/* SPDX-License-Identifier: MIT
 *
 * Calls the command's main function, with files in place of its standard streams.
 */
#define _POSIX_C_SOURCE 200809L

#include "call.h"

#include "burble_main.h"
#include "torture.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT = 1 << 14 };

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

static void run(const struct call *call, bool armed, struct outcome *outcome)
{
    char *argv[CALL_ARGUMENTS + 1] = {NULL};
    int argc = 0;
    for (; call->arguments[argc] != NULL; argc++)
        argv[argc] = (char *)call->arguments[argc];
    FILE *in = put_file(STDIN_FILENO), *out = put_file(STDOUT_FILENO);
    fflush(stderr);
    const int stderr_before = dup(STDERR_FILENO);
    fail_count(FAIL_descriptors, 1);
    FILE *err = put_file(STDERR_FILENO);
    CHECK(write(STDIN_FILENO, call->input, call->input_len) == (ssize_t)call->input_len);
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

void torture_call(const struct call *call)
{
    static struct outcome clean, found;
    run(call, false, &clean);
    run(call, true, &found);
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
    CHECK(call->several || memcmp(found.text, clean.text, found.len) == 0);
}
