/* SPDX-License-Identifier: MIT
 *
 * Replays a corpus where there is no libFuzzer: runs the target with each file of a folder, and with
 * the empty input. Prints TAP.
 */
#define _POSIX_C_SOURCE 200809L

#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No input is larger. */
#define INPUT_MAX ((size_t)1 << 20)

/* Runs one file; returns whether it could be read. */
static int replay(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    char *read = malloc(INPUT_MAX);
    const size_t size = read == NULL ? 0 : fread(read, 1, INPUT_MAX, file);
    fclose(file);
    /* A block of its very size, so that a read beyond it is seen. */
    uint8_t *data = malloc(size == 0 ? 1 : size);
    if (data != NULL && size > 0)
        memcpy(data, read, size);
    free(read);
    if (data == NULL)
        return 0;
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (folder == NULL) {
        fprintf(stderr, "expected the name of a folder, found %s\n", argc < 2 ? "none" : argv[1]);
        return 2;
    }
    unsigned n = 0, failed = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        const int ok = replay(argv[1], entry->d_name);
        failed += !ok;
        printf("%sok %u - %s\n", ok ? "" : "not ", ++n, entry->d_name);
        fflush(stdout);
    }
    closedir(folder);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    printf("ok %u - the empty input\n", ++n);
    printf("1..%u\n", n);
    return failed > 0;
}
