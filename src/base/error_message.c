/* SPDX-License-Identifier: MIT */
#include "base/error_message.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

int burble__error_set(burble_error *error, int code, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        *error = (burble_error){.code = code};
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        burble__error_mend(error);
    }
    return code;
}

void burble__error_mend(burble_error *error)
{
    error->message[burble__utf8_mend(error->message, strlen(error->message))] = '\0';
}
