/* SPDX-License-Identifier: MIT */
#include "serve/cors.h"

#include <string.h>

#include <burble/error.h>

#include "serve/json.h"

/* What requests may have beside the headers that always may; those of OpenAI's clients begin with x-stainless-. */
#define ALLOWED_HEADERS                                                                            \
    "Authorization, Content-Type, Last-Event-ID, Idempotency-Key, Burble-Resumable, X-Request-Id"
#define EXPOSED_HEADERS "Burble-Stream, Burble-Token, Retry-After, X-Request-Id"

static bool is_any(const char *origin)
{
    return strcmp(origin, "*") == 0;
}

bool burble__cors_allows(const char *const *origins, size_t n, const char *origin, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (is_any(origins[i])
            || (strlen(origins[i]) == len && memcmp(origins[i], origin, len) == 0)) {
            return true;
        }
    return false;
}

static void put_origin(const char *const *origins, size_t n, const char *origin, size_t len,
                       struct burble__output *out)
{
    burble__put_raw(out, "Access-Control-Allow-Origin: ");
    for (size_t i = 0; i < n; i++)
        if (is_any(origins[i])) {
            burble__put_raw(out, "*\r\n");
            return;
        }
    burble__put_bytes(out, origin, len);
    burble__put_raw(out, "\r\nVary: Origin\r\n");
}

int burble__cors_write(const char *const *origins, size_t n, const char *origin, size_t len,
                       struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    put_origin(origins, n, origin, len, &out);
    burble__put_raw(&out, "Access-Control-Expose-Headers: " EXPOSED_HEADERS "\r\n");
    return out.result;
}

/* Whether it is a list of names of headers, so that it can be sent back. */
static bool is_list(const char *names, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char c = names[i];
        const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
                        || c == '-' || c == '_' || c == ',' || c == ' ';
        if (!ok)
            return false;
    }
    return len > 0 && len <= 2048;
}

int burble__cors_write_preflight(const char *const *origins, size_t n, const char *origin,
                                 size_t len, const char *requested, size_t requested_len,
                                 struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    put_origin(origins, n, origin, len, &out);
    burble__put_raw(
        &out, "Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\n"
              "Access-Control-Max-Age: 600\r\nAccess-Control-Allow-Headers: " ALLOWED_HEADERS);
    /* A header has no effect unless the server knows it, so each that is asked for is allowed. */
    if (requested != NULL && is_list(requested, requested_len)) {
        burble__put_raw(&out, ", ");
        burble__put_bytes(&out, requested, requested_len);
    }
    burble__put_raw(&out, "\r\n");
    return out.result;
}
