/* SPDX-License-Identifier: MIT
 *
 * From a file to a vocabulary: reads the file, detects its format and calls the loader.
 *
 * A file is read from its beginning until the loader has what it needs: for most formats the whole file,
 * for a GGUF file the part before the tensors. A GGUF file or a very large one is read in parts, twice as
 * much each time, any other one in two. The file is not mapped into memory, because a mapped file that
 * becomes shorter would crash the process.
 */
#define _POSIX_C_SOURCE 200809L

#include "text/load.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/large_pages.h"

/* How much is read at first, in bytes. */
#define FIRST_READ ((size_t)1 << 20)

/* The rest of a file of less than this, in bytes, is read at once, unless it is GGUF. Its memory then grows once, before
 * most of it is used: large pages that are moved become small ones. */
#define ALL_AT_ONCE ((uint64_t)64 << 20)

/* ---- telling the format -------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool ends_with(const char *name, const char *end)
{
    const size_t n = name == NULL ? 0 : strlen(name);
    return n >= strlen(end) && strcmp(name + n - strlen(end), end) == 0;
}

/* Whether the first line is Base64, a space and a number. */
static bool looks_like_ranks(const char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size && bytes[at] > ' ' && bytes[at] < 0x7F)
        at++;
    if (at == 0 || at % 4 != 0 || at + 1 >= size || bytes[at] != ' ')
        return false;
    for (at++; at < size && bytes[at] >= '0' && bytes[at] <= '9'; at++) {
    }
    return bytes[at - 1] != ' ' && (at == size || is_space(bytes[at]));
}

static bool is_gguf(const struct burble__source *source)
{
    return source->size >= 4 && memcmp(source->bytes, "GGUF", 4) == 0;
}

/* The format, where the source shows it; else BURBLE_VOCAB_AUTO. HF_JSON stands for all JSON. */
static burble_vocab_format tell(const struct burble__source *source)
{
    const char *bytes = source->bytes;
    const size_t size = source->size;
    size_t first = 0;
    while (first < size && is_space(bytes[first]))
        first++;
    if (is_gguf(source))
        return BURBLE_VOCAB_GGUF;
    if (first < size && bytes[first] == '{')
        return BURBLE_VOCAB_HF_JSON;
    if (ends_with(source->name, ".tiktoken") || looks_like_ranks(bytes, size))
        return BURBLE_VOCAB_TIKTOKEN;
    /* Field 1 of a ModelProto, the pieces, comes first: a length, then field 1 of the piece. */
    if (size >= 3 && bytes[0] == 0x0A && bytes[2] == 0x0A)
        return BURBLE_VOCAB_SENTENCEPIECE;
    return BURBLE_VOCAB_AUTO;
}

/* ---- parsing ------------------------------------------------------------------------------------- */

/* For formats that need the whole file, of at most `most` bytes. BURBLE_OK if the whole file was read,
 * BURBLE_AGAIN if not yet, or BURBLE_EFORMAT. */
static int want_all(const struct burble__source *source, size_t most)
{
    if (source->size <= most && (source->total == UINT64_MAX || source->total <= most))
        return source->size < source->total ? BURBLE_AGAIN : BURBLE_OK;
    return source->total == UINT64_MAX
               ? burble__load_fail(source, BURBLE_EFORMAT,
                                   "expected a file of at most %zu MiB, found more", most >> 20)
               : burble__load_fail(source, BURBLE_EFORMAT,
                                   "expected a file of at most %zu MiB, found %" PRIu64 " bytes",
                                   most >> 20, source->total);
}

static int parse(const struct burble__source *source, burble_vocab_format format,
                 burble_vocab **out)
{
    const burble_vocab_format told = format == BURBLE_VOCAB_AUTO ? tell(source) : format;
    const bool json = told == BURBLE_VOCAB_HF_JSON || told == BURBLE_VOCAB_TEKKEN;
    const int result = told == BURBLE_VOCAB_GGUF
                           ? BURBLE_OK
                           : want_all(source, json ? BURBLE__LOAD_JSON_MAX : BURBLE__LOAD_MAX);
    if (result != BURBLE_OK)
        return result;
    switch (told) {
    case BURBLE_VOCAB_HF_JSON:
    case BURBLE_VOCAB_TEKKEN:
        return burble__load_json(source, format, out);
    case BURBLE_VOCAB_GGUF:
        return burble__load_gguf(source, out);
    case BURBLE_VOCAB_TIKTOKEN:
        return burble__load_tiktoken(source, out);
    case BURBLE_VOCAB_SENTENCEPIECE:
        return burble__load_sentencepiece(source, out);
    case BURBLE_VOCAB_AUTO:
        break;
    }
    const size_t shown = source->size < 8 ? source->size : 8;
    return burble__load_fail(source, BURBLE_EFORMAT,
                             "expected tokenizer.json, GGUF, tiktoken ranks, a SentencePiece model "
                             "or Tekken JSON, found a file of %zu bytes that begins with %s",
                             source->size, burble__quote(source->bytes, shown).text);
}

/* Whether it is one that the caller may ask for. */
static bool is_format(burble_vocab_format format)
{
    return (unsigned)format <= (unsigned)BURBLE_VOCAB_TEKKEN;
}

static int refuse_format(const struct burble__source *source, burble_vocab_format format)
{
    return burble__load_fail(source, BURBLE_EINVAL, "expected a format from 0 to %d, found %d",
                             BURBLE_VOCAB_TEKKEN, (int)format);
}

int burble__load_bytes(struct burble__source *source, burble_vocab_format format,
                       burble_vocab **out)
{
    *out = NULL;
    source->total = source->size;
    return is_format(format) ? parse(source, format, out) : refuse_format(source, format);
}

int burble_vocab_parse(const void *data, size_t size, burble_vocab_format format, const char *name,
                       burble_vocab **out, burble_error *error)
{
    struct burble__source source = {
        .name = name,
        .bytes = size == 0 ? "" : data,
        .size = size,
        .error = error,
    };
    return burble__load_bytes(&source, format, out);
}

/* ---- reading ------------------------------------------------------------------------------------- */

/* Reports errno and leaves it as it is. */
static int fail_system(const struct burble__source *source)
{
    const int saved = errno;
    char text[128];
    if (strerror_r(saved, text, sizeof text) != 0)
        snprintf(text, sizeof text, "error %d", saved);
    burble__load_fail(source, BURBLE_ESYSTEM, "%s", text);
    errno = saved;
    return BURBLE_ESYSTEM;
}

/* Reads until the buffer has `want` bytes or the file ends. BURBLE_OK, BURBLE_END, BURBLE_ENOMEM or
 * BURBLE_ESYSTEM. */
static int fill(int fd, struct burble__buffer *buffer, size_t want)
{
    if (burble__buffer_reserve(buffer, want - buffer->len) != BURBLE_OK)
        return BURBLE_ENOMEM;
    burble__prefer_large_pages(buffer->bytes, want);
    while (buffer->len < want) {
        const ssize_t n = read(fd, buffer->bytes + buffer->len, want - buffer->len);
        if (n == 0)
            return BURBLE_END;
        if (n > 0)
            buffer->len += (size_t)n;
        else if (errno != EINTR)
            return BURBLE_ESYSTEM;
    }
    return BURBLE_OK;
}

/* How large the file is in all, where only `len` bytes of it have been read. */
static uint64_t total_of(int fd, size_t len)
{
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0
        && (uint64_t)status.st_size > len) {
        return (uint64_t)status.st_size;
    }
    return UINT64_MAX; /* a pipe, or a file that grows */
}

/* How much is read next, where `want` bytes were not enough. */
static size_t more(const struct burble__source *source, size_t want)
{
    return source->total < ALL_AT_ONCE && !is_gguf(source) ? (size_t)source->total + 1 : 2 * want;
}

static int read_and_parse(int fd, struct burble__source *source, burble_vocab_format format,
                          burble_vocab **out)
{
    struct burble__buffer buffer;
    burble__buffer_init(&buffer, BURBLE__LOAD_MAX);
    int result = BURBLE_AGAIN;
    for (size_t want = FIRST_READ; result == BURBLE_AGAIN; want = more(source, want)) {
        if (want > BURBLE__LOAD_MAX) {
            result = burble__load_fail(source, BURBLE_EFORMAT,
                                       "expected a vocabulary in the first %zu MiB, found more",
                                       BURBLE__LOAD_MAX >> 20);
            break;
        }
        result = fill(fd, &buffer, want);
        if (result == BURBLE_ESYSTEM) {
            fail_system(source);
            break;
        }
        if (result < 0) {
            burble__load_fail(source, result, "%s", burble_result_text(result));
            break;
        }
        source->bytes = buffer.bytes;
        source->size = buffer.len;
        source->total = result == BURBLE_END ? buffer.len : total_of(fd, buffer.len);
        result = parse(source, format, out);
    }
    burble__buffer_finish(&buffer);
    return result;
}

int burble__load_file(struct burble__source *source, burble_vocab_format format, burble_vocab **out)
{
    assert(source->name != NULL);
    *out = NULL;
    if (!is_format(format))
        return refuse_format(source, format);
    const int fd = open(source->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_system(source);
    const int result = read_and_parse(fd, source, format, out);
    const int saved = errno;
    close(fd);
    errno = saved;
    return result;
}

int burble_vocab_load(const char *path, burble_vocab_format format, burble_vocab **out,
                      burble_error *error)
{
    struct burble__source source = {.name = path, .error = error};
    return burble__load_file(&source, format, out);
}
