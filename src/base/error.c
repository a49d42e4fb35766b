/* SPDX-License-Identifier: MIT */
#include <burble/error.h>

const char *burble_result_text(int result)
{
    switch (result) {
#define TEXT_OF(name, value, text)                                                                 \
    case (value):                                                                                  \
        return text;
        BURBLE_RESULTS(TEXT_OF)
#undef TEXT_OF
    default:
        return "unknown result";
    }
}

const char *burble_result_name(int result)
{
    switch (result) {
#define NAME_OF(name, value, text)                                                                 \
    case (value):                                                                                  \
        return "BURBLE_" #name;
        BURBLE_RESULTS(NAME_OF)
#undef NAME_OF
    default:
        return "BURBLE_?";
    }
}

const char *burble_version(void)
{
    return BURBLE_VERSION;
}
