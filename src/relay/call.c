/* SPDX-License-Identifier: MIT */
#include "relay/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <burble/error.h>

/* Room for "*N EVALSHA sha 1 prefix". */
#define HEAD 256

void burble__call_init(struct burble__call *call, enum burble__script script,
                       void (*done)(struct burble__call *, const struct redisReply *), void *arg)
{
    *call = (struct burble__call){.script = script, .done = done, .arg = arg};
    burble__buffer_init(&call->bytes, BURBLE__CALL_MAX);
}

void burble__call_finish(struct burble__call *call)
{
    burble__buffer_finish(&call->bytes);
}

void burble__call_restart(struct burble__call *call, enum burble__script script)
{
    call->script = script;
    call->n = 0;
    call->result = BURBLE_OK;
    call->bytes.len = 0;
}

void burble__call_add2(struct burble__call *call, const void *first, size_t n, const void *second,
                       size_t len)
{
    char head[32];
    struct burble__buffer *bytes = &call->bytes;
    const size_t head_len = (size_t)snprintf(head, sizeof head, "$%zu\r\n", n + len);
    if (bytes->len == 0 && call->result == BURBLE_OK) {
        call->result = burble__buffer_reserve(bytes, HEAD);
        bytes->len = call->result == BURBLE_OK ? HEAD : 0;
    }
    if (call->result == BURBLE_OK)
        call->result = burble__buffer_reserve(bytes, head_len + n + len + 2);
    if (call->result != BURBLE_OK)
        return;
    burble__buffer_append(bytes, head, head_len);
    burble__buffer_append(bytes, (const char *)first, n);
    burble__buffer_append(bytes, (const char *)second, len);
    burble__buffer_append(bytes, "\r\n", 2);
    call->n++;
}

void burble__call_add(struct burble__call *call, const void *bytes, size_t len)
{
    burble__call_add2(call, bytes, len, "", 0);
}

void burble__call_add_text(struct burble__call *call, const char *text)
{
    burble__call_add(call, text, strlen(text));
}

void burble__call_add_number(struct burble__call *call, uint64_t number)
{
    char text[24];
    burble__call_add(call, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, number));
}

int burble__call_encode(struct burble__call *call, const char *prefix, bool whole,
                        struct burble__buffer *out, const char **bytes, size_t *len)
{
    char head[HEAD];
    size_t n;
    if (call->result != BURBLE_OK)
        return call->result;
    if (call->bytes.len == 0) {
        call->result = burble__buffer_reserve(&call->bytes, HEAD);
        if (call->result != BURBLE_OK)
            return call->result;
        call->bytes.len = HEAD;
    }
    if (whole) {
        const struct burble__script_text *script = &burble__scripts[call->script];
        char keys[128];
        n = (size_t)snprintf(head, sizeof head, "*%u\r\n$4\r\nEVAL\r\n$%zu\r\n", call->n + 4,
                             script->len);
        const size_t n_keys = (size_t)snprintf(keys, sizeof keys, "\r\n$1\r\n1\r\n$%zu\r\n%s\r\n",
                                               strlen(prefix), prefix);
        out->len = 0;
        const int result = burble__buffer_reserve(out, n + script->len + n_keys + call->bytes.len);
        if (result != BURBLE_OK)
            return result;
        burble__buffer_append(out, head, n);
        burble__buffer_append(out, (const char *)script->text, script->len);
        burble__buffer_append(out, keys, n_keys);
        burble__buffer_append(out, call->bytes.bytes + HEAD, call->bytes.len - HEAD);
        *bytes = out->bytes;
        *len = out->len;
        return BURBLE_OK;
    }
    if (call->script == BURBLE__COMMAND)
        n = (size_t)snprintf(head, sizeof head, "*%u\r\n", call->n);
    else
        n = (size_t)snprintf(
            head, sizeof head, "*%u\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n$%zu\r\n%s\r\n",
            call->n + 4, burble__scripts[call->script].sha, strlen(prefix), prefix);
    memcpy(call->bytes.bytes + HEAD - n, head, n);
    *bytes = call->bytes.bytes + HEAD - n;
    *len = call->bytes.len - (HEAD - n);
    return BURBLE_OK;
}
