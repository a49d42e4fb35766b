/* SPDX-License-Identifier: MIT
 *
 * Conversations as prompts, by the templates that llama.cpp recognises.
 *
 * burble_llama_model_tokenize_chat knows what of a prompt is the template's and what is the messages': it applies the
 * template to marks in place of the contents, and finds these in the result. Special tokens are found only in the
 * template's own text. All else is tokenized together, up to the next special token, as llama.cpp does it,
 * since the words of a template and those of a message can touch.
 *
 * Some templates take away the white space around a content. So a mark is between two kinds of white space that
 * no template has; where it is gone, the content's is taken away, too. A content of white space alone is
 * left to the template.
 */
#include "engine/llama_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/error_message.h"
#include "base/reserved.h"

/* A mark: its beginning, which is in no template; the number of the message in eight digits; and one digit for
 * what it stands for. Digits, since a template may change letters. */
#define MARK "8105270469313725"
enum { MARK_LEN = sizeof MARK - 1, WHOLE_MARK = MARK_LEN + 8 + 1, MARK_ROOM = WHOLE_MARK + 8 };
static const char before[] = "\v\f";
static const char after[] = "\f\v";

void burble_llama_conversation_init(burble_llama_conversation *conversation)
{
    *conversation = (burble_llama_conversation){.answer = true};
}

/* ---- what is given -------------------------------------------------------------------------------- */

static burble_text content_of(const burble_llama_message *message)
{
    const size_t len = message->content_len;
    return (burble_text){message->content, len > 0 ? len : strlen(message->content)};
}

static int check_message(const burble_llama_message *message, size_t i, size_t *total,
                         burble_error *error)
{
    char what[48];
    if (!BURBLE__UNUSED(message))
        return burble__error_set(error, BURBLE_EINVAL, "message %zu: " BURBLE__RESERVED, i);
    if (message->role == NULL || message->content == NULL) {
        return burble__error_set(error, BURBLE_EINVAL, "message %zu: expected a %s, found NULL", i,
                                 message->role == NULL ? "role" : "content");
    }
    const size_t role = strlen(message->role);
    const burble_text content = content_of(message);
    if (content.len > BURBLE__LLAMA_MAX_TEXT - *total
        || role > BURBLE__LLAMA_MAX_TEXT - *total - content.len) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "message %zu: expected at most %zu bytes so far, found more", i,
                                 BURBLE__LLAMA_MAX_TEXT);
    }
    *total += role + content.len;
    snprintf(what, sizeof what, "message %zu: role", i);
    if (burble__llama_check_text(what, message->role, role, error) != BURBLE_OK)
        return BURBLE_EINVAL;
    snprintf(what, sizeof what, "message %zu: content", i);
    return burble__llama_check_text(what, content.bytes, content.len, error);
}

/* Checks a conversation; *total is the bytes of its texts, and *form its template. */
static int check(const burble_llama_model *model, const burble_llama_conversation *conversation,
                 size_t *total, const char **form, burble_error *error)
{
    *total = 0;
    if (!BURBLE__UNUSED(conversation))
        return burble__error_set(error, BURBLE_EINVAL, "conversation: " BURBLE__RESERVED);
    *form = conversation->template_name;
    if (*form == NULL)
        *form = llama_model_chat_template(model->llama, NULL);
    if (*form == NULL)
        return burble__error_set(error, BURBLE_EUNSUPPORTED, "the model has no chat template");
    int result = BURBLE_OK;
    for (size_t i = 0; i < conversation->n && result == BURBLE_OK; i++)
        result = check_message(&conversation->messages[i], i, total, error);
    return result;
}

static int unknown(const char *form, burble_error *error)
{
    return burble__error_set(error, BURBLE_EUNSUPPORTED,
                             "expected a chat template that llama.cpp knows, found: %.160s", form);
}

/* ---- one text ------------------------------------------------------------------------------------- */

/* Converts the messages to llama.cpp's form; *copies has those that do not end with NUL. */
static int convert(const burble_llama_conversation *conversation, size_t total,
                   struct llama_chat_message **chat, char **copies, burble_error *error)
{
    const size_t n = conversation->n;
    *chat = burble__calloc(n + 1, sizeof **chat);
    *copies = burble__malloc(total + n + 1);
    if (*chat == NULL || *copies == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for %zu messages", n);
    char *at = *copies;
    for (size_t i = 0; i < n; i++) {
        const burble_llama_message *message = &conversation->messages[i];
        (*chat)[i] = (struct llama_chat_message){message->role, message->content};
        if (message->content_len == 0)
            continue;
        if (memchr(message->content, '\0', message->content_len) != NULL) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "message %zu: content: expected text without NUL, found one",
                                     i);
        }
        (*chat)[i].content = at;
        memcpy(at, message->content, message->content_len);
        at += message->content_len;
        *at++ = '\0';
    }
    return BURBLE_OK;
}

int burble_llama_model_apply_template(const burble_llama_model *model,
                                      const burble_llama_conversation *conversation, char *text,
                                      size_t capacity, size_t *len, burble_error *error)
{
    struct llama_chat_message *chat;
    const char *form = "";
    char *copies;
    size_t total;
    *len = 0;
    int result = check(model, conversation, &total, &form, error);
    if (result != BURBLE_OK)
        return result;
    const int32_t room = capacity < INT32_MAX ? (int32_t)capacity : INT32_MAX;
    int32_t size = 0;
    result = convert(conversation, total, &chat, &copies, error);
    if (result == BURBLE_OK) {
        size = llama_chat_apply_template(form, chat, conversation->n, conversation->answer, text,
                                         room);
    }
    burble__free(chat);
    burble__free(copies);
    if (result != BURBLE_OK)
        return result;
    if (size < 0)
        return unknown(form, error);
    *len = (size_t)size;
    if (size > room) {
        return burble__error_set(error, BURBLE_EFULL, "expected room for %zu bytes, found %zu",
                                 *len, capacity);
    }
    return BURBLE_OK;
}

/* ---- ids ------------------------------------------------------------------------------------------ */

/* A prompt while its ids are made. */
struct prompt {
    const burble_llama_model *model;
    const struct burble__specials *specials;
    bool *marks; /* for each of specials->defined: the template uses it */
    int32_t *ids;
    size_t capacity;
    size_t n;
    struct burble__buffer raw; /* text since the last special token */
    struct burble__buffer own; /* for each of its bytes: 1 if it is the template's, else 0 */
    bool strips;               /* the special token before it takes white space */
    int32_t bos;               /* the one id that the model begins with; -1: none, or several */
};

static bool is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool is_mark_like(const struct burble__special *special)
{
    const char first = special->text[0];
    const char last = special->text[special->len - 1];
    static const char punctuation[] = "!#$%&()*+-./:;<=>?@[]^_{|}~";
    return special->len > 2 && strchr(punctuation, first) != NULL
           && strchr(punctuation, last) != NULL;
}

/* llama.cpp finds the tokens that a vocabulary defines beside the control tokens in any text. Those that the template
 * uses are control tokens in all but name. */
static void find_marks(struct prompt *prompt, const char *text, size_t len)
{
    const struct burble__special_set *defined = &prompt->specials->defined;
    for (size_t i = 0; i < len; i++) {
        const struct burble__special *found = burble__special_at(defined, text + i, len - i);
        if (found != NULL && is_mark_like(found))
            prompt->marks[found - defined->items] = true;
    }
}

/* Adds the ids of text without special tokens. */
static int add_ids(struct prompt *prompt, const char *text, size_t len)
{
    const size_t left = prompt->capacity > prompt->n ? prompt->capacity - prompt->n : 0;
    const int32_t room = left < INT32_MAX ? (int32_t)left : INT32_MAX;
    const int32_t n = llama_tokenize(prompt->model->tokens, text, (int32_t)len,
                                     left > 0 ? prompt->ids + prompt->n : NULL, room, false, false);
    if (n == INT32_MIN)
        return BURBLE_EINVAL;
    prompt->n += (size_t)(n < 0 ? -n : n);
    return BURBLE_OK;
}

static void add_id(struct prompt *prompt, int32_t id)
{
    if (prompt->n < prompt->capacity)
        prompt->ids[prompt->n] = id;
    prompt->n++;
}

/* Whether one of the template's tokens is at this byte, of which some bytes are a message's. */
static bool is_forged(const struct prompt *prompt, size_t at)
{
    const struct burble__special_set *defined = &prompt->specials->defined;
    const char *text = prompt->raw.bytes + at;
    const struct burble__special *found = burble__special_at(defined, text, prompt->raw.len - at);
    return found != NULL && prompt->marks[found - defined->items]
           && memchr(prompt->own.bytes + at, 0, found->len) != NULL;
}

/* Adds the ids of the text so far. A forged token is split after its first character, which is an ASCII one. */
static int flush(struct prompt *prompt)
{
    size_t begin = 0;
    while (prompt->strips && begin < prompt->raw.len && is_space(prompt->raw.bytes[begin]))
        begin++;
    prompt->strips = false;
    int result = BURBLE_OK;
    for (size_t i = begin; i < prompt->raw.len && result == BURBLE_OK; i++) {
        if (i + 1 == prompt->raw.len || is_forged(prompt, i)) {
            result = add_ids(prompt, prompt->raw.bytes + begin, i + 1 - begin);
            begin = i + 1;
        }
    }
    prompt->raw.len = 0;
    prompt->own.len = 0;
    return result;
}

static int add_special(struct prompt *prompt, const struct burble__special *special)
{
    while (special->left && prompt->raw.len > 0 && is_space(prompt->raw.bytes[prompt->raw.len - 1]))
        prompt->raw.len--;
    const int result = flush(prompt);
    prompt->strips = special->right;
    /* Some templates begin with BOS, too. */
    const bool again = prompt->n == 1 && special->id == prompt->bos;
    if (result == BURBLE_OK && !again)
        add_id(prompt, special->id);
    return result;
}

static int add_text(struct prompt *prompt, const char *text, size_t len, bool own)
{
    if (len == 0)
        return BURBLE_OK;
    if (burble__buffer_append(&prompt->raw, text, len) != BURBLE_OK
        || burble__buffer_reserve(&prompt->own, len) != BURBLE_OK)
        return BURBLE_ENOMEM;
    memset(prompt->own.bytes + prompt->own.len, own, len);
    prompt->own.len += len;
    return BURBLE_OK;
}

/* Adds the template's own text, with its special tokens. */
static int add_own(struct prompt *prompt, const char *text, size_t len)
{
    size_t begin = 0;
    int result = BURBLE_OK;
    for (size_t i = 0; i < len && result == BURBLE_OK;) {
        const struct burble__special *found =
            burble__special_at(&prompt->specials->control, text + i, len - i);
        if (found == NULL) {
            i++;
            continue;
        }
        result = add_text(prompt, text + begin, i - begin, true);
        if (result == BURBLE_OK)
            result = add_special(prompt, found);
        i += found->len;
        begin = i;
    }
    return result == BURBLE_OK ? add_text(prompt, text + begin, len - begin, true) : result;
}

/* ---- marks ---------------------------------------------------------------------------------------- */

/* The roles that templates know. What a template makes of them is its own text. */
static bool is_known_role(const char *role)
{
    static const char *const known[] = {
        "system",   "user",  "assistant", "tool",        "developer",
        "function", "model", "ipython",   "observation", "assistant_tool_call"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(role, known[i]) == 0)
            return true;
    return false;
}

static bool is_blank(burble_text text)
{
    size_t i = 0;
    while (i < text.len && is_space(text.bytes[i]))
        i++;
    return i == text.len;
}

/* The messages, with marks; *room has their texts. */
static int mark(const burble_llama_conversation *conversation, struct llama_chat_message **chat,
                char **room)
{
    size_t blank = 0;
    for (size_t i = 0; i < conversation->n; i++)
        blank += content_of(&conversation->messages[i]).len + 1;
    *chat = burble__calloc(conversation->n + 1, sizeof **chat);
    *room = burble__malloc(2 * conversation->n * MARK_ROOM + blank + 1);
    if (*chat == NULL || *room == NULL)
        return BURBLE_ENOMEM;
    char *at = *room;
    for (size_t i = 0; i < conversation->n; i++) {
        const burble_llama_message *message = &conversation->messages[i];
        const burble_text content = content_of(message);
        (*chat)[i] = (struct llama_chat_message){message->role, at};
        if (is_blank(content)) {
            if (content.len > 0)
                memcpy(at, content.bytes, content.len);
            at[content.len] = '\0';
            at += content.len + 1;
        } else {
            at += snprintf(at, MARK_ROOM, "%s" MARK "%08zu0%s", before, i, after) + 1;
        }
        if (!is_known_role(message->role)) {
            (*chat)[i].role = at;
            at += snprintf(at, MARK_ROOM, MARK "%08zu1", i) + 1;
        }
    }
    return BURBLE_OK;
}

/* A mark in the template's result. */
struct found {
    size_t begin, end; /* with what belongs to it */
    burble_text text;  /* what it stands for */
};

/* Looks for the next mark from `from` on. Returns false if there is none. */
static bool find_next(const burble_llama_conversation *conversation, burble_text result,
                      size_t from, struct found *found)
{
    size_t at = from;
    while (at + WHOLE_MARK <= result.len && memcmp(result.bytes + at, MARK, MARK_LEN) != 0) {
        const char *next = memchr(result.bytes + at + 1, MARK[0], result.len - at - 1);
        at = next == NULL ? result.len : (size_t)(next - result.bytes);
    }
    if (at + WHOLE_MARK > result.len)
        return false;
    size_t i = 0;
    for (size_t digit = 0; digit < 8; digit++)
        i = 10 * i + (size_t)(result.bytes[at + MARK_LEN + digit] - '0');
    const bool is_role = result.bytes[at + WHOLE_MARK - 1] == '1';
    found->begin = at;
    found->end = at + WHOLE_MARK;
    if (i >= conversation->n)
        return false;
    const burble_llama_message *message = &conversation->messages[i];
    if (is_role) {
        found->text = (burble_text){message->role, strlen(message->role)};
        return true;
    }
    burble_text text = content_of(message);
    if (at - from >= 2 && memcmp(result.bytes + at - 2, before, 2) == 0) {
        found->begin -= 2;
    } else {
        while (text.len > 0 && is_space(text.bytes[0])) {
            text.bytes++;
            text.len--;
        }
    }
    if (result.len - found->end >= 2 && memcmp(result.bytes + found->end, after, 2) == 0)
        found->end += 2;
    else
        while (text.len > 0 && is_space(text.bytes[text.len - 1]))
            text.len--;
    found->text = text;
    return true;
}

/* Adds what the template has made of the marked messages. */
static int add_all(struct prompt *prompt, const burble_llama_conversation *conversation,
                   burble_text made)
{
    struct found found;
    size_t from = 0;
    int result = BURBLE_OK;
    while (result == BURBLE_OK && find_next(conversation, made, from, &found)) {
        result = add_own(prompt, made.bytes + from, found.begin - from);
        if (result == BURBLE_OK)
            result = add_text(prompt, found.text.bytes, found.text.len, false);
        from = found.end;
    }
    if (result == BURBLE_OK)
        result = add_own(prompt, made.bytes + from, made.len - from);
    return result == BURBLE_OK ? flush(prompt) : result;
}

/* Finds the template's tokens, also those of roles that the conversation has not. */
static void find_all_marks(struct prompt *prompt, const char *form, burble_text made)
{
    static const struct llama_chat_message sample[] = {
        {"system", "0"}, {"user", "0"}, {"assistant", "0"}, {"tool", "0"}, {"user", "0"}};
    char text[4096];
    if (prompt->specials->defined.n == 0)
        return;
    const int32_t n = llama_chat_apply_template(form, sample, sizeof sample / sizeof sample[0],
                                                true, text, (int32_t)sizeof text);
    find_marks(prompt, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text);
    find_marks(prompt, form, strlen(form));
    find_marks(prompt, made.bytes, made.len);
}

/* Applies the template to the marked messages; *made is the caller's. */
static int make(const burble_llama_conversation *conversation, const char *form, burble_text *made,
                burble_error *error)
{
    struct llama_chat_message *chat;
    char *room;
    char *text = NULL;
    int32_t size = 0;
    int result = mark(conversation, &chat, &room);
    if (result == BURBLE_OK) {
        size =
            llama_chat_apply_template(form, chat, conversation->n, conversation->answer, NULL, 0);
        if (size < 0)
            result = unknown(form, error);
    }
    if (result == BURBLE_OK) {
        text = burble__malloc((size_t)size + 1);
        if (text == NULL)
            result = BURBLE_ENOMEM;
        else
            llama_chat_apply_template(form, chat, conversation->n, conversation->answer, text,
                                      size);
    }
    burble__free(chat);
    burble__free(room);
    *made = (burble_text){text, (size_t)(size > 0 ? size : 0)};
    return result;
}

/* Adds what the model begins each prompt with. */
static int add_beginning(struct prompt *prompt)
{
    int32_t ids[8];
    size_t n;
    const int result = burble_llama_model_tokenize(prompt->model, "", 0, true, ids, 8, &n);
    prompt->bos = n == 1 ? ids[0] : -1;
    for (size_t i = 0; i < n && result == BURBLE_OK; i++)
        add_id(prompt, ids[i]);
    return result;
}

int burble_llama_model_tokenize_chat(const burble_llama_model *model,
                                     const burble_llama_conversation *conversation, int32_t *ids,
                                     size_t capacity, size_t *n, burble_error *error)
{
    struct prompt prompt = {.model = model, .ids = ids, .capacity = capacity};
    const char *form = "";
    burble_text made = {NULL, 0};
    size_t total;
    *n = 0;
    int result = check(model, conversation, &total, &form, error);
    if (result != BURBLE_OK)
        return result;
    burble__buffer_init(&prompt.raw, SIZE_MAX);
    burble__buffer_init(&prompt.own, SIZE_MAX);
    prompt.specials = burble__llama_specials(model);
    if (prompt.specials == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for special tokens");
    prompt.marks = burble__calloc(prompt.specials->defined.n + 1, sizeof *prompt.marks);
    result = prompt.marks == NULL ? BURBLE_ENOMEM : make(conversation, form, &made, error);
    if (result == BURBLE_OK) {
        find_all_marks(&prompt, form, made);
        result = add_beginning(&prompt);
    }
    if (result == BURBLE_OK)
        result = add_all(&prompt, conversation, made);
    if (result == BURBLE_ENOMEM)
        burble__error_set(error, result, "no memory for %zu messages", conversation->n);
    burble__buffer_finish(&prompt.raw);
    burble__buffer_finish(&prompt.own);
    burble__free(prompt.marks);
    burble__free((char *)made.bytes);
    if (result != BURBLE_OK)
        return result;
    *n = prompt.n;
    if (prompt.n > capacity) {
        return burble__error_set(error, BURBLE_EFULL, "expected room for %zu ids, found %zu",
                                 prompt.n, capacity);
    }
    return BURBLE_OK;
}
