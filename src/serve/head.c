/* SPDX-License-Identifier: MIT */
#include "serve/head.h"

#include <string.h>

#include <burble/error.h>

void burble__head_init(struct burble__head *head, size_t max)
{
    *head = (struct burble__head){.n = 0};
    burble__buffer_init(&head->text, max);
}

void burble__head_finish(struct burble__head *head)
{
    burble__buffer_finish(&head->text);
    head->n = 0;
}

int burble__head_add(struct burble__head *head, const char *bytes, size_t n)
{
    return burble__buffer_append(&head->text, bytes, n);
}

static int end(struct burble__head *head)
{
    return burble__buffer_append(&head->text, "", 1);
}

int burble__head_end_target(struct burble__head *head)
{
    head->target_len = head->text.len;
    head->name = head->text.len + 1;
    return end(head);
}

int burble__head_end_name(struct burble__head *head)
{
    for (size_t i = head->name; i < head->text.len; i++) {
        const char c = head->text.bytes[i];
        if (c >= 'A' && c <= 'Z')
            head->text.bytes[i] = (char)(c + ('a' - 'A'));
    }
    return end(head);
}

int burble__head_end_value(struct burble__head *head)
{
    /* What is behind a value is not a part of it; the parser takes off only what is in front of it. */
    while (head->text.len > 0
           && (head->text.bytes[head->text.len - 1] == ' '
               || head->text.bytes[head->text.len - 1] == '\t'))
        head->text.len--;
    const int result = end(head);
    if (result == BURBLE_OK) {
        head->name = head->text.len;
        head->n++;
    }
    return result;
}

const char *burble__head_target(const struct burble__head *head)
{
    return head->text.bytes;
}

static burble_text text_at(const struct burble__head *head, size_t *at)
{
    const char *bytes = head->text.bytes + *at;
    const size_t len = strlen(bytes);
    *at += len + 1;
    return (burble_text){.bytes = bytes, .len = len};
}

bool burble__head_next(const struct burble__head *head, size_t *at, burble_text *name,
                       burble_text *value)
{
    if (*at == 0)
        *at = head->target_len + 1;
    if (*at >= head->name)
        return false;
    *name = text_at(head, at);
    *value = text_at(head, at);
    return true;
}

const char *burble__head_find(const struct burble__head *head, const char *name, unsigned *count)
{
    const size_t len = strlen(name);
    const char *found = NULL;
    unsigned n = 0;
    size_t at = 0;
    burble_text its_name, value;
    while (burble__head_next(head, &at, &its_name, &value))
        if (its_name.len == len && memcmp(its_name.bytes, name, len) == 0 && n++ == 0)
            found = value.bytes;
    if (count != NULL)
        *count = n;
    return found;
}
