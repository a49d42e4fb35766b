/* SPDX-License-Identifier: MIT
 *
 * Measures the C detokenizer and the loaders, for detokenize.py and vocabulary.py.
 *
 *     detokenize VOCABULARY IDS [VOCABULARY IDS]…
 *
 * IDS is a file of ids, each 32 bits in the byte order of this machine. For each line on standard
 * input there is one on standard output:
 *
 *     push I   pushes all ids of pair I, counted from 0, one at a time, and ends the sequence:
 *              "SECONDS BYTES", of text
 *     copy I   copies the text that each of these ids gives, and does nothing else: "SECONDS BYTES"
 *     load I   loads the vocabulary of pair I anew: "SECONDS IDS BYTES", of memory
 *
 * Seconds are CPU time of the process, which has one thread: another's turn on the core is not in
 * them.
 */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <burble/detok.h>
#include <burble/vocab.h>

#define PAIRS_MAX 32

struct pair {
    const char *path;
    burble_vocab *vocab;
    int32_t *ids;
    size_t n;
};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "detokenize: %s: %s\n", what, why);
    return 1;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- what is measured ---------------------------------------------------------------------------- */

static int push(const struct pair *pair)
{
    burble_detok *detok;
    burble_text text;
    size_t bytes = 0;
    if (burble_detok_create(pair->vocab, NULL, &detok) != BURBLE_OK)
        return fail(pair->path, burble_result_text(BURBLE_ENOMEM));
    int result = BURBLE_OK;
    const double begin = seconds();
    for (size_t i = 0; i < pair->n && result == BURBLE_OK; i++) {
        result = burble_detok_push(detok, &pair->ids[i], 1, &text);
        bytes += text.len;
    }
    burble_detok_finish(detok, &text);
    bytes += text.len;
    const double end = seconds();
    burble_detok_destroy(&detok);
    if (result != BURBLE_OK)
        return fail(pair->path, burble_result_text(result));
    printf("%.9f %zu\n", end - begin, bytes);
    return 0;
}

enum { POOL = 32 << 20, PAGE = 4096 }; /* bytes: of all text, and what it is copied to */

/* Pushes all ids, and notes the text that each gives in `pool` and its length in `sizes`; another
 * result than BURBLE_OK where that fails. */
static int note(const struct pair *pair, size_t *sizes, char *pool)
{
    burble_detok *detok;
    burble_text text;
    size_t room = POOL;
    int result = burble_detok_create(pair->vocab, NULL, &detok);
    for (size_t i = 0; i < pair->n && result == BURBLE_OK; i++) {
        result = burble_detok_push(detok, &pair->ids[i], 1, &text);
        if (result == BURBLE_OK && (text.len > room || text.len > PAGE))
            result = BURBLE_ENOMEM;
        if (result == BURBLE_OK) {
            memcpy(pool, text.bytes, text.len);
            pool += text.len;
            room -= text.len;
            sizes[i] = text.len;
        }
    }
    burble_detok_destroy(&detok);
    return result;
}

static int copy(const struct pair *pair)
{
    size_t *sizes = calloc(pair->n, sizeof *sizes);
    char *pool = malloc(POOL);
    const int result = sizes == NULL || pool == NULL ? BURBLE_ENOMEM : note(pair, sizes, pool);
    if (result == BURBLE_OK) {
        static char page[PAGE];
        const char *text = pool;
        size_t at = 0;
        const double begin = seconds();
        for (size_t i = 0; i < pair->n; i++) {
            if (sizes[i] > PAGE - at)
                at = 0; /* somebody has read the page */
            memcpy(page + at, text, sizes[i]);
            text += sizes[i];
            at += sizes[i];
        }
        const double end = seconds();
        printf("%.9f %zu\n", end - begin, (size_t)(text - pool));
    }
    free(sizes);
    free(pool);
    return result == BURBLE_OK ? 0 : fail(pair->path, burble_result_text(result));
}

static int load(const struct pair *pair)
{
    burble_vocab *vocab;
    burble_error error;
    const double begin = seconds();
    const int result = burble_vocab_load(pair->path, BURBLE_VOCAB_AUTO, &vocab, &error);
    const double end = seconds();
    if (result != BURBLE_OK)
        return fail("load", error.message);
    printf("%.9f %zu %zu\n", end - begin, burble_vocab_size(vocab), burble_vocab_memory(vocab));
    burble_vocab_unref(&vocab);
    return 0;
}

/* ---- what it is measured with -------------------------------------------------------------------- */

/* How many bytes the file has; it is then at its beginning again. */
static size_t size_of(FILE *file)
{
    const long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    return fseek(file, 0, SEEK_SET) == 0 && size > 0 ? (size_t)size : 0;
}

static int read_ids(const char *path, struct pair *pair)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return fail(path, "cannot be opened");
    const size_t size = size_of(file);
    pair->ids = size == 0 ? NULL : malloc(size);
    pair->n =
        pair->ids == NULL ? 0 : fread(pair->ids, sizeof *pair->ids, size / sizeof *pair->ids, file);
    fclose(file);
    return pair->n > 0 && pair->n == size / sizeof *pair->ids
               ? 0
               : fail(path, "expected ids of 32 bits");
}

static int read_pair(char **names, struct pair *pair)
{
    burble_error error;
    pair->path = names[0];
    if (burble_vocab_load(pair->path, BURBLE_VOCAB_AUTO, &pair->vocab, &error) != BURBLE_OK)
        return fail("load", error.message);
    return read_ids(names[1], pair);
}

static int obey(const struct pair *pairs, size_t n)
{
    char line[32];
    int result = 0;
    while (result == 0 && fgets(line, sizeof line, stdin) != NULL) {
        const size_t i = strlen(line) < 6 ? n : strtoul(line + 5, NULL, 10);
        if (i < n && strncmp(line, "push ", 5) == 0)
            result = push(&pairs[i]);
        else if (i < n && strncmp(line, "copy ", 5) == 0)
            result = copy(&pairs[i]);
        else if (i < n && strncmp(line, "load ", 5) == 0)
            result = load(&pairs[i]);
        else
            result = fail(line, "expected push, copy or load, and the number of a pair");
        fflush(stdout);
    }
    return result;
}

int main(int argc, char **argv)
{
    static struct pair pairs[PAIRS_MAX];
    const size_t n = (size_t)(argc - 1) / 2;
    if (argc < 3 || argc % 2 == 0 || n > PAIRS_MAX)
        return fail("arguments", "expected VOCABULARY IDS, up to 32 times");
    int result = 0;
    for (size_t i = 0; i < n && result == 0; i++)
        result = read_pair(argv + 1 + 2 * i, &pairs[i]);
    if (result == 0)
        result = obey(pairs, n);
    for (size_t i = 0; i < n; i++) {
        burble_vocab_unref(&pairs[i].vocab);
        free(pairs[i].ids);
    }
    return result;
}
