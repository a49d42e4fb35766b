/* SPDX-License-Identifier: MIT
 *
 * Base64: the vectors of RFC 4648, section 10, and invalid input.
 */
#include "support.h"

#include <string.h>

#include "base/base64.h"

static void base64_vectors_of_rfc_are_decoded(void **state)
{
    static const char *const vectors[][2] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zm8=", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYmE=", "fooba"},
        {"Zm9vYmFy", "foobar"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        char out[8];
        size_t len;
        assert_true(burble__base64_decode(vectors[i][0], strlen(vectors[i][0]), out, &len));
        assert_int_equal(len, strlen(vectors[i][1]));
        assert_memory_equal(out, vectors[i][1], len);
    }
}

static void base64_of_every_byte_is_decoded(void **state)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        const char in[4] = {alphabet[byte >> 2], alphabet[byte << 4 & 0x30], '=', '='};
        char out[3];
        size_t len;
        assert_true(burble__base64_decode(in, 4, out, &len));
        assert_int_equal(len, 1);
        assert_int_equal((unsigned char)out[0], byte);
    }
}

static void base64_invalid_text_is_refused(void **state)
{
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",      "====",   "Z===", "Zg==Zg==",
                                      "Zh==", "Zm9=", "Zm 9",     "Zm\n9",  "=m9v", "Z=9v",
                                      "Zm-_", "Zg=v", "Zm9vYg=a", "\x80m9v"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char out[8];
        size_t len;
        assert_false(burble__base64_decode(bad[i], strlen(bad[i]), out, &len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_vectors_of_rfc_are_decoded),
        cmocka_unit_test(base64_of_every_byte_is_decoded),
        cmocka_unit_test(base64_invalid_text_is_refused),
    };
    return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
