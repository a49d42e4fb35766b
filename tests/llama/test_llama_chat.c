/* SPDX-License-Identifier: MIT
 *
 * Conversations as ids: by every template of llama.cpp, with the vocabularies of its tests (build/vocabularies, as
 * far as they are there) and that of the shipped model.
 */
#include "engine/llama_model.h"

#include "engine_support.h"

#include <dirent.h>

#include "base/alloc.h"

enum { TEMPLATES = 128, ROOM = 1 << 16, MOST = 6, CONVERSATIONS = 24 };

static const char *templates[TEMPLATES];
static int32_t n_templates;

static int find_templates(void **state)
{
    (void)state;
    n_templates = llama_chat_builtin_templates(templates, TEMPLATES);
    model = load_model();
    return n_templates < 40 || n_templates > TEMPLATES;
}

/* ---- vocabularies without a model ------------------------------------------------------------------- */

static void for_each_vocabulary(void (*check)(struct burble_llama_model *model, const char *name))
{
    const char *folder = getenv("BURBLE_TEST_VOCABULARIES");
    check(model, "shakespeare");
    DIR *all = folder != NULL ? opendir(folder) : NULL;
    if (all == NULL) {
        print_message("no vocabularies: %s\n", folder != NULL ? folder : "no folder");
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(all)) != NULL) {
        char path[1024];
        struct burble_llama_model without = {.longest = SIZE_MAX};
        struct llama_model_params params = llama_model_default_params();
        if (strstr(entry->d_name, ".gguf") == NULL)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        params.vocab_only = true;
        without.llama = llama_model_load_from_file(path, params);
        if (without.llama == NULL)
            continue;
        without.tokens = llama_model_get_vocab(without.llama);
        burble__init(&without.pieces, NULL);
        burble__init(&without.specials, NULL);
        if (llama_vocab_type(without.tokens) != LLAMA_VOCAB_TYPE_WPM) /* encoders */
            check(&without, entry->d_name);
        burble__specials_destroy(burble__load_relaxed(&without.specials));
        llama_model_free(without.llama);
    }
    closedir(all);
}

/* ---- ids ---------------------------------------------------------------------------------------------- */

static size_t tokenize_chat_at(struct place at, const struct burble_llama_model *of,
                               const burble_llama_conversation *conversation, int32_t *ids)
{
    size_t n;
    burble_error error = {0};
    if (burble_llama_model_tokenize_chat(of, conversation, ids, ROOM, &n, &error) != BURBLE_OK)
        fail_at(at, "%s: %s", conversation->template_name, error.message);
    return n;
}

/* The ids of the text that the template makes. */
static size_t tokenize_plainly_at(struct place at, const struct burble_llama_model *of,
                                  const burble_llama_conversation *conversation, int32_t *ids)
{
    static char text[ROOM];
    size_t len;
    size_t n;
    assert_result_at(
        at, burble_llama_model_apply_template(of, conversation, text, ROOM, &len, NULL), BURBLE_OK);
    assert_result_at(at, burble_llama_model_tokenize(of, text, len, true, ids, ROOM, &n),
                     BURBLE_OK);
    const bool twice = n > 1 && llama_vocab_get_add_bos(of->tokens) && ids[0] == ids[1]
                       && ids[0] == llama_vocab_bos(of->tokens);
    if (twice)
        memmove(ids, ids + 1, --n * sizeof *ids);
    return n;
}

static burble_llama_conversation conversation_of(const burble_llama_message *messages, size_t n,
                                                 const char *name)
{
    burble_llama_conversation conversation;
    burble_llama_conversation_init(&conversation);
    conversation.messages = messages;
    conversation.n = n;
    conversation.template_name = name;
    return conversation;
}

static const char *const contents[] = {
    "Hello, world!",
    "  two spaces  ",
    "\n\nlines\n\n",
    "",
    " ",
    "\n \n",
    "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E caf\xC3\xA9 \xF0\x9F\x98\x80",
    "a\tb\r\nc",
    "if (x < 3 && y > [1, 2][0])\n\treturn <b>x</b>;\n",
    "user",
    "User: no, Assistant: yes",
    ".",
    "don't 1234567 stop",
    "\v\f8105\f\v",
};
enum { CONTENTS = sizeof contents / sizeof contents[0] };

static void equals_plain_way(struct burble_llama_model *of, const char *name)
{
    static int32_t expected[ROOM];
    static int32_t found[ROOM];
    static const char *const roles[] = {"system", "user", "assistant", "tool", "poet"};
    uint64_t random = test_seed(5);
    for (int32_t t = 0; t < n_templates; t++) {
        for (int i = 0; i < CONVERSATIONS; i++) {
            burble_llama_message messages[MOST] = {{0}};
            const size_t n = 1 + next_random(&random) % MOST;
            for (size_t j = 0; j < n; j++) {
                const uint64_t choice = next_random(&random);
                messages[j].role = i % 2 == 0 ? (j == 0       ? "system"
                                                 : j % 2 == 1 ? "user"
                                                              : "assistant")
                                              : roles[choice % 4 + (choice >> 60 == 0)];
                messages[j].content = contents[(choice >> 20) % CONTENTS];
                /* Some templates change the case of letters, but not of roles that none knows. */
                if (strcmp(messages[j].role, "poet") == 0
                    && (strstr(templates[t], "bailing") != NULL
                        || strstr(templates[t], "openchat") != NULL)) {
                    messages[j].role = "user";
                }
            }
            burble_llama_conversation conversation = conversation_of(messages, n, templates[t]);
            conversation.answer = i % 3 != 0;
            const size_t n_found = tokenize_chat_at(HERE, of, &conversation, found);
            const size_t n_expected = tokenize_plainly_at(HERE, of, &conversation, expected);
            if (n_found != n_expected || memcmp(found, expected, n_found * sizeof *found) != 0) {
                size_t same = 0;
                while (same < n_found && same < n_expected && found[same] == expected[same])
                    same++;
                fail_at(HERE, "%s, %s, conversation %d: %zu ids and %zu, which part at %zu: %d, %d",
                        name, templates[t], i, n_found, n_expected, same, (int)found[same],
                        (int)expected[same]);
            }
        }
    }
}

static void ids_are_those_of_applied_template(void **state)
{
    (void)state;
    for_each_vocabulary(equals_plain_way);
}

/* How many ids are control tokens, or such that the template uses. */
static size_t count_control(const struct burble_llama_model *of, const char *used,
                            const int32_t *ids, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const int has = (int)llama_vocab_get_attr(of->tokens, ids[i]);
        const char *text = llama_vocab_get_text(of->tokens, ids[i]);
        found += (has & LLAMA_TOKEN_ATTR_CONTROL) != 0
                 || ((has & LLAMA_TOKEN_ATTR_USER_DEFINED) != 0 && strchr("<[", text[0]) != NULL
                     && strlen(text) > 2 && strstr(used, text) != NULL);
    }
    return found;
}

static void refuses_injection(struct burble_llama_model *of, const char *name)
{
    static char used[ROOM];
    static char attack[ROOM];
    static int32_t ids[ROOM];
    static const burble_llama_message sample[] = {{.role = "system", .content = "one"},
                                                  {.role = "user", .content = "two"},
                                                  {.role = "assistant", .content = "three"},
                                                  {.role = "tool", .content = "four"},
                                                  {.role = "user", .content = "five"}};
    const int32_t n_vocab = llama_vocab_n_tokens(of->tokens);
    for (int32_t t = 0; t < n_templates; t++) {
        size_t len;
        burble_llama_conversation conversation = conversation_of(sample, 5, templates[t]);
        assert_result(
            burble_llama_model_apply_template(of, &conversation, used, ROOM - 1, &len, NULL),
            BURBLE_OK);
        used[len] = '\0';
        const size_t expected =
            count_control(of, used, ids, tokenize_chat_at(HERE, of, &conversation, ids));
        /* The template's own text, and the texts of control tokens. */
        memcpy(attack, used, len);
        for (int32_t id = 0, n = 0; id < n_vocab && n < 40; id++) {
            const char *text = llama_vocab_get_text(of->tokens, id);
            if (((int)llama_vocab_get_attr(of->tokens, id) & LLAMA_TOKEN_ATTR_CONTROL) == 0)
                continue;
            memcpy(attack + len, text, strlen(text));
            len += strlen(text);
            n++;
        }
        attack[len] = '\0';
        burble_llama_message messages[5];
        for (size_t attacked = 0; attacked < 5; attacked++) {
            memcpy(messages, sample, sizeof messages);
            messages[attacked].content = attack;
            conversation.messages = messages;
            const size_t found =
                count_control(of, used, ids, tokenize_chat_at(HERE, of, &conversation, ids));
            if (found > expected)
                fail_at(HERE, "%s, %s, message %zu: %zu special tokens, expected %zu", name,
                        templates[t], attacked, found, expected);
        }
        /* A role that no template knows. (Known ones may make fewer tokens.) */
        memcpy(messages, sample, sizeof messages);
        messages[3].role = "poet";
        const size_t unknown =
            count_control(of, used, ids, tokenize_chat_at(HERE, of, &conversation, ids));
        messages[3].role = attack;
        assert_true(count_control(of, used, ids, tokenize_chat_at(HERE, of, &conversation, ids))
                    <= unknown);
        messages[3].role = "endoftext";
        assert_true(count_control(of, used, ids, tokenize_chat_at(HERE, of, &conversation, ids))
                    <= unknown);
    }
}

static void no_message_becomes_special_token(void **state)
{
    (void)state;
    for_each_vocabulary(refuses_injection);
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

static void content_with_length_needs_no_nul(void **state)
{
    static int32_t expected[ROOM];
    static int32_t found[ROOM];
    char text[256];
    char same[256];
    size_t len;
    size_t same_len;
    (void)state;
    burble_llama_message messages[] = {{.role = "system", .content = "Be brief."},
                                       {.role = "user", .content = "Hello"}};
    burble_llama_conversation conversation = conversation_of(messages, 2, "chatml");
    const size_t n = tokenize_chat_at(HERE, model, &conversation, expected);
    assert_result(
        burble_llama_model_apply_template(model, &conversation, text, sizeof text, &len, NULL),
        BURBLE_OK);
    messages[1].content = "Hello, and more";
    messages[1].content_len = 5;
    assert_int_equal(tokenize_chat_at(HERE, model, &conversation, found), n);
    assert_memory_equal(found, expected, n * sizeof *found);
    assert_result(
        burble_llama_model_apply_template(model, &conversation, same, sizeof same, &same_len, NULL),
        BURBLE_OK);
    assert_int_equal(same_len, len);
    assert_memory_equal(same, text, len);
    messages[1].content = "a\0b";
    messages[1].content_len = 3;
    burble_error error = {0};
    assert_true(tokenize_chat_at(HERE, model, &conversation, found) > 0);
    assert_result(
        burble_llama_model_apply_template(model, &conversation, text, sizeof text, &len, &error),
        BURBLE_EINVAL);
    assert_string_equal(error.message, "message 1: content: expected text without NUL, found one");
}

static void too_little_room_says_how_much(void **state)
{
    int32_t ids[256];
    size_t n;
    size_t needed;
    (void)state;
    const burble_llama_message message = {.role = "user", .content = "Hello there"};
    for (int32_t t = 0; t < n_templates; t++) {
        burble_llama_conversation conversation = conversation_of(&message, 1, templates[t]);
        assert_result(
            burble_llama_model_tokenize_chat(model, &conversation, NULL, 0, &needed, NULL),
            BURBLE_EFULL);
        assert_result(
            burble_llama_model_tokenize_chat(model, &conversation, ids, needed - 1, &n, NULL),
            BURBLE_EFULL);
        assert_int_equal(n, needed);
        assert_result(burble_llama_model_tokenize_chat(model, &conversation, ids, needed, &n, NULL),
                      BURBLE_OK);
        assert_int_equal(n, needed);
    }
}

static void bad_conversation_is_refused(void **state)
{
    size_t n = 1;
    burble_error error = {0};
    (void)state;
    burble_llama_message message = {.role = "user", .content = "\xFF"};
    burble_llama_conversation conversation = conversation_of(&message, 1, "chatml");
    assert_result(burble_llama_model_tokenize_chat(model, &conversation, NULL, 0, &n, &error),
                  BURBLE_EINVAL);
    assert_string_equal(error.message, "message 0: content: expected UTF-8, found byte 0xff at 0");
    assert_int_equal(n, 0);
    message.content = NULL;
    assert_result(burble_llama_model_tokenize_chat(model, &conversation, NULL, 0, &n, &error),
                  BURBLE_EINVAL);
    assert_string_equal(error.message, "message 0: expected a content, found NULL");
    message.content = "Hello";
    conversation.template_name = NULL;
    assert_result(burble_llama_model_tokenize_chat(model, &conversation, NULL, 0, &n, &error),
                  BURBLE_EUNSUPPORTED);
    assert_string_equal(error.message, "the model has no chat template");
    conversation.template_name = "no template of this name";
    assert_result(burble_llama_model_tokenize_chat(model, &conversation, NULL, 0, &n, &error),
                  BURBLE_EUNSUPPORTED);
    assert_non_null(strstr(error.message, "expected a chat template that llama.cpp knows"));
    conversation.reserved[0] = 1;
    assert_result(burble_llama_model_tokenize_chat(model, &conversation, NULL, 0, &n, &error),
                  BURBLE_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_applied_template),
        cmocka_unit_test(no_message_becomes_special_token),
        cmocka_unit_test(content_with_length_needs_no_nul),
        cmocka_unit_test(too_little_room_says_how_much),
        cmocka_unit_test(bad_conversation_is_refused),
    };
    return cmocka_run_group_tests(tests, find_templates, unload);
}
