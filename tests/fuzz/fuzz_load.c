/* SPDX-License-Identifier: MIT
 *
 * A loader with any bytes for a file: it says what is wrong with them, or makes a vocabulary that
 * turns its ids into text. FORMAT, a burble_vocab_format, comes from the build.
 */
#include "fuzz.h"

#include <string.h>

#include <burble/detok.h>
#include <burble/vocab.h>

#include "base/utf8.h"

/* How many ids are decoded; more would only take time. */
#define DECODED_MAX 512

static void decode(burble_vocab *vocab)
{
    const size_t size = burble_vocab_size(vocab);
    const size_t n = size < DECODED_MAX ? size : DECODED_MAX;
    burble_detok *detok;
    burble_text text;
    if (burble_detok_create(vocab, NULL, &detok) != BURBLE_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        const int32_t id = (int32_t)i;
        const int result = burble_detok_push(detok, &id, 1, &text);
        CHECK(result == BURBLE_OK || result == BURBLE_ENOMEM);
        CHECK(burble__utf8_valid(text.bytes, text.len));
    }
    burble_detok_finish(detok, &text);
    CHECK(burble__utf8_valid(text.bytes, text.len));
    burble_detok_destroy(&detok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    burble_error error = {.code = BURBLE_OK};
    burble_vocab *vocab = NULL;
    const int result = burble_vocab_parse(data, size, FORMAT, "input", &vocab, &error);
    if (result == BURBLE_OK) {
        CHECK(vocab != NULL);
        decode(vocab);
        burble_vocab_unref(&vocab);
        return 0;
    }
    CHECK(vocab == NULL);
    CHECK(result == BURBLE_EFORMAT || result == BURBLE_EUNSUPPORTED || result == BURBLE_ENOMEM);
    CHECK(error.code == result);
    CHECK(strncmp(error.message, "input: ", 7) == 0 && error.message[7] != '\0');
    CHECK(burble__utf8_valid(error.message, strlen(error.message)));
    return 0;
}
