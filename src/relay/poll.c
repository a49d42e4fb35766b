/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/poll.h"

#include <async.h>

#include "base/alloc.h"

struct attachment {
    uv_poll_t poll;
    struct redisAsyncContext *context; /* NULL: it was freed */
    int wanted;                        /* events */
};

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct attachment *attachment = poll->data;
    if (status != 0) /* its functions find out what is wrong */
        events = UV_READABLE | UV_WRITABLE;
    if (attachment->context != NULL && (events & UV_READABLE) != 0)
        redisAsyncHandleRead(attachment->context);
    if (attachment->context != NULL && (events & UV_WRITABLE) != 0)
        redisAsyncHandleWrite(attachment->context);
}

static void want(struct attachment *attachment, int wanted)
{
    if (wanted == attachment->wanted)
        return;
    attachment->wanted = wanted;
    if (wanted == 0)
        uv_poll_stop(&attachment->poll);
    else
        uv_poll_start(&attachment->poll, wanted, on_poll);
}

static void add_read(void *data)
{
    struct attachment *attachment = data;
    want(attachment, attachment->wanted | UV_READABLE);
}

static void del_read(void *data)
{
    struct attachment *attachment = data;
    want(attachment, attachment->wanted & ~UV_READABLE);
}

static void add_write(void *data)
{
    struct attachment *attachment = data;
    want(attachment, attachment->wanted | UV_WRITABLE);
}

static void del_write(void *data)
{
    struct attachment *attachment = data;
    want(attachment, attachment->wanted & ~UV_WRITABLE);
}

static void on_close(uv_handle_t *handle)
{
    burble__free(handle->data);
}

static void cleanup(void *data)
{
    struct attachment *attachment = data;
    attachment->context = NULL;
    uv_close((uv_handle_t *)&attachment->poll, on_close);
}

bool burble__poll_attach(struct redisAsyncContext *context, uv_loop_t *loop)
{
    struct attachment *attachment = burble__calloc(1, sizeof *attachment);
    if (attachment == NULL)
        return false;
    if (uv_poll_init(loop, &attachment->poll, context->c.fd) != 0) {
        burble__free(attachment);
        return false;
    }
    attachment->poll.data = attachment;
    attachment->context = context;
    context->ev.data = attachment;
    context->ev.addRead = add_read;
    context->ev.delRead = del_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.cleanup = cleanup;
    return true;
}
