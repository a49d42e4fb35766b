/* SPDX-License-Identifier: MIT */
#include "serve/echo.h"

#include <burble/frame.h>

#include "base/error_message.h"
#include "serve/models.h"

/* Appends the text of one id. */
static int put_piece(const burble_serve_model *backend, int32_t id, struct burble__buffer *text)
{
    size_t need = 64, len = 0;
    do {
        if (burble__buffer_reserve(text, need) != BURBLE_OK)
            return BURBLE_ENOMEM;
        const size_t room = text->capacity - text->len;
        const int result = backend->piece(backend->arg, id, text->bytes + text->len, room, &len);
        if (len <= room) {
            text->len += result == BURBLE_OK ? len : 0;
            return result;
        }
        need = len;
    } while (len <= BURBLE__MAX_PIECE);
    return BURBLE_EFULL;
}

int burble__put_pieces(const burble_serve_model *backend, const char *name, const int32_t *ids,
                       size_t n, struct burble__buffer *text, burble_error *error)
{
    int result = BURBLE_OK;
    for (size_t i = 0; i < n && result == BURBLE_OK; i++) {
        result = put_piece(backend, ids[i], text);
        if (result == BURBLE_EINVAL)
            burble__error_set(error, result, "%s[%zu]: expected an id of the model, found %d", name,
                              i, (int)ids[i]);
    }
    return result;
}

static int write_frame(struct burble__answer *answer, uint32_t choice, burble_text text)
{
    struct burble__buffer bytes;
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT, .choice = choice};
    frame.u.text.text = text;
    burble__buffer_init(&bytes, SIZE_MAX / 2);
    int result = burble__buffer_reserve(&bytes, burble_frame_write(&frame, NULL, 0));
    if (result == BURBLE_OK) {
        bytes.len = burble_frame_write(&frame, bytes.bytes, bytes.capacity);
        result = burble_stream_append(answer->stream, bytes.bytes, bytes.len, 0);
    }
    burble__buffer_finish(&bytes);
    return result;
}

/* The text of a prompt. */
static int find_text(const burble_serve_model *backend, const burble_serve_prompt *prompt,
                     struct burble__buffer *buffer, burble_text *text, burble_error *error)
{
    *text = prompt->text;
    if (prompt->ids == NULL)
        return BURBLE_OK;
    if (backend->piece == NULL)
        return burble__error_set(
            error, BURBLE_EUNSUPPORTED,
            "echo: expected prompts of text, as the model has no tokenizer, found ids");
    buffer->len = 0;
    const int result =
        burble__put_pieces(backend, "prompt", prompt->ids, prompt->n_ids, buffer, error);
    *text = (burble_text){buffer->bytes, buffer->len};
    return result;
}

int burble__echo(const struct burble__request *request, struct burble__answer *answer,
                 burble_error *error)
{
    const burble_serve_request *wanted = &request->wanted;
    const burble_serve_model *backend = &answer->model->backend;
    struct burble__buffer buffer;
    int result = BURBLE_OK;
    if (backend->left != NULL) /* its log is elsewhere, and would lack these frames */
        return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                 "echo: the model %s does not support it", answer->model->name);
    burble__buffer_init(&buffer, SIZE_MAX / 2);
    for (size_t i = 0; i < wanted->n_prompts && result == BURBLE_OK; i++) {
        burble_text text;
        result = find_text(backend, &wanted->prompts[i], &buffer, &text, error);
        for (uint32_t k = 0; k < wanted->choices && result == BURBLE_OK && text.len > 0; k++)
            result = write_frame(answer, (uint32_t)i * wanted->choices + k, text);
    }
    burble__buffer_finish(&buffer);
    return result;
}
