/* SPDX-License-Identifier: MIT
 *
 * The table of models.
 */
#include "protocol.h"

#include "serve/models.h"

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    (void)arg, (void)request, (void)stream, (void)error;
    return BURBLE_OK;
}

static void release(void *arg)
{
    ++*(unsigned *)arg;
}

static struct burble__models *new_models(void)
{
    struct burble__models *models;
    assert_result(burble__models_create(&models), BURBLE_OK);
    return models;
}

static void test_models_are_found_in_their_order(void **state)
{
    (void)state;
    struct burble__models *models = new_models();
    unsigned released = 0;
    assert_null(burble__models_find(models, NULL, 0));
    static const char *const names[] = {"b", "a", "ab"};
    for (size_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "%s", names[i]); /* it is copied */
        const burble_serve_model model = {
            .name = name, .submit = submit, .release = release, .arg = &released, .context = 7};
        assert_result(burble__models_add(models, &model, 1000 + i, NULL), BURBLE_OK);
    }
    assert_int_equal(burble__models_count(models), 3);
    struct burble__model *model = burble__models_find(models, NULL, 0);
    assert_string_equal(model->name, "b");
    assert_true(model->backend.created == 1000);
    burble__model_drop(&model);
    model = burble__models_find(models, "abc", 2);
    assert_string_equal(model->name, "ab");
    assert_string_equal(model->backend.name, "ab");
    burble__model_drop(&model);
    assert_null(burble__models_find(models, "abc", 3));
    assert_null(burble__models_find(models, "", 0));
    burble__models_destroy(&models);
    assert_null(models);
    assert_int_equal(released, 3);
}

static void test_digest_of_model_is_copied(void **state)
{
    (void)state;
    struct burble__models *models = new_models();
    char digest[BURBLE_SERVE_MAX_DIGEST + 1];
    memset(digest, '~', sizeof digest - 1);
    digest[sizeof digest - 1] = '\0';
    const burble_serve_model given = {.name = "m", .submit = submit, .digest = digest};
    assert_result(burble__models_add(models, &given, 1, NULL), BURBLE_OK);
    struct burble__model *model = burble__models_find(models, "m", 1);
    assert_string_equal(model->backend.digest, digest);
    memset(digest, '-', sizeof digest - 1);
    assert_string_not_equal(model->backend.digest, digest);
    burble__model_drop(&model);
    burble__models_destroy(&models);
}

static void test_removed_model_is_released_by_its_last_answer(void **state)
{
    (void)state;
    struct burble__models *models = new_models();
    unsigned released = 0;
    const burble_serve_model given = {
        .name = "m", .submit = submit, .release = release, .arg = &released};
    assert_result(burble__models_add(models, &given, 1, NULL), BURBLE_OK);
    struct burble__model *model = burble__models_find(models, "m", 1);
    assert_result(burble__models_remove(models, "n"), BURBLE_EINVAL);
    assert_result(burble__models_remove(models, "m"), BURBLE_OK);
    assert_result(burble__models_remove(models, "m"), BURBLE_EINVAL);
    assert_null(burble__models_find(models, "m", 1));
    assert_int_equal(released, 0);
    /* The name is free meanwhile. */
    assert_result(burble__models_add(models, &given, 1, NULL), BURBLE_OK);
    burble__model_drop(&model);
    burble__model_drop(&model);
    burble__model_drop(NULL);
    assert_int_equal(released, 1);
    burble__models_destroy(&models);
    assert_int_equal(released, 2);
    burble__models_destroy(&models);
    burble__models_destroy(NULL);
}

#define DIGEST "digest: expected 1 to 64 visible ASCII characters but \"-\" alone"

static void test_wrong_models_are_refused(void **state)
{
    (void)state;
    struct burble__models *models = new_models();
    char longest[BURBLE_FRAME_MAX_NAME + 2];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    unsigned released = 0;
    const struct {
        burble_serve_model model;
        const char *message;
    } cases[] = {
        {{.submit = submit}, "name: expected 1 to 255 bytes, found none"},
        {{.name = "", .submit = submit}, "name: expected 1 to 255 bytes, found none"},
        {{.name = longest, .submit = submit}, "name: expected 1 to 255 bytes, found more"},
        {{.name = "\xff", .submit = submit}, "name: expected UTF-8, found other bytes"},
        {{.name = "x"}, "submit: expected a function, found NULL"},
        {{.name = "x", .submit = submit, .reserved = {1}},
         "burble_serve_model: expected 0 in `reserved`, found a member of a later version"},
        {{.name = "x", .submit = submit, .digest = ""}, DIGEST},
        {{.name = "x", .submit = submit, .digest = "-"}, DIGEST},
        {{.name = "x", .submit = submit, .digest = "a b"}, DIGEST},
        {{.name = "x", .submit = submit, .digest = longest + BURBLE_FRAME_MAX_NAME - 64}, DIGEST},
        {{.name = "m", .submit = submit, .release = release, .arg = &released},
         "name: expected a new name, found m, which is a model already"},
    };
    const burble_serve_model first = {.name = "m", .submit = submit};
    assert_result(burble__models_add(models, &first, 1, NULL), BURBLE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        burble_error error;
        assert_result(burble__models_add(models, &cases[i].model, 1, &error), BURBLE_EINVAL);
        assert_string_equal(error.message, cases[i].message);
    }
    assert_int_equal(released, 0);
    assert_result(burble__models_add(models,
                                     &(burble_serve_model){.name = longest + 1, .submit = submit},
                                     1, NULL),
                  BURBLE_OK);
    burble__models_destroy(&models);
}

#define ONE                                                                                        \
    "{\"id\":\"a\",\"object\":\"model\",\"created\":5,\"owned_by\":\"burble\",\"meta\":{"          \
    "\"context\":null,\"chat\":false,\"parameters\":[]}}"
#define TWO                                                                                        \
    "{\"id\":\"b\\\"\",\"object\":\"model\",\"created\":9,\"owned_by\":\"burble\",\"meta\":{"      \
    "\"context\":4096,\"chat\":true,\"parameters\":[\"max_tokens\",\"stop\"]}}"

static void test_models_as_json(void **state)
{
    (void)state;
    struct burble__models *models = new_models();
    NEW_BUFFER(out);
    assert_result(burble__models_write(models, &out), BURBLE_OK);
    EXPECT(&out, "{\"object\":\"list\",\"data\":[]}");
    const burble_serve_model one = {.name = "a", .submit = submit};
    const burble_serve_model two = {
        .name = "b\"",
        .submit = submit,
        .created = 9,
        .context = 4096,
        .chat = true,
        .parameters = BURBLE_SERVE_BIT(BURBLE_SERVE_MAX_TOKENS)
                      | BURBLE_SERVE_BIT(BURBLE_SERVE_STOP) | BURBLE_SERVE_ANY,
    };
    assert_result(burble__models_add(models, &one, 5, NULL), BURBLE_OK);
    assert_result(burble__models_add(models, &two, 5, NULL), BURBLE_OK);
    assert_result(burble__models_write(models, &out), BURBLE_OK);
    EXPECT(&out, "{\"object\":\"list\",\"data\":[" ONE "," TWO "]}");
    struct burble__model *model = burble__models_find(models, "a", 1);
    assert_result(burble__model_write(model, &out), BURBLE_OK);
    EXPECT(&out, ONE);
    burble__model_drop(&model);
    burble__models_destroy(&models);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_are_found_in_their_order),
        cmocka_unit_test(test_digest_of_model_is_copied),
        cmocka_unit_test(test_removed_model_is_released_by_its_last_answer),
        cmocka_unit_test(test_wrong_models_are_refused),
        cmocka_unit_test(test_models_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
