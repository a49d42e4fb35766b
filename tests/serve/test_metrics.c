/* SPDX-License-Identifier: MIT
 *
 * The text of GET /metrics.
 */
#include "protocol.h"

#include "serve/metrics.h"

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    (void)arg, (void)request, (void)stream, (void)error;
    return BURBLE_OK;
}

static void load(void *arg, burble_serve_load *load)
{
    (void)arg;
    *load = (burble_serve_load){.slots = 8, .running = 3, .waiting = 2, .tokens = 77};
}

static struct burble__models *models_with(const burble_serve_model *model)
{
    struct burble__models *models;
    assert_result(burble__models_create(&models), BURBLE_OK);
    assert_result(burble__models_add(models, model, 1, NULL), BURBLE_OK);
    return models;
}

/* Whether the page has this line. */
static void expect_line_at(struct place at, const char *page, const char *line)
{
    char whole[300];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (strstr(page, whole) == NULL)
        fail_at(at, "expected the line %s, found\n%s", line, page);
}
#define LINE(line) expect_line_at(HERE, out.bytes, line)

static void test_loops_are_added_up(void **state)
{
    (void)state;
    static struct burble__metrics loops[2];
    struct burble__metrics *const all[] = {&loops[0], &loops[1]};
    for (size_t i = 0; i < 2; i++) {
        burble__metrics_init(&loops[i]);
        burble__metrics_request(&loops[i], BURBLE__ROUTE_CHAT, 200);
        burble__metrics_request(&loops[i], BURBLE__ROUTE_CHAT, 418);
        burble__metrics_request(&loops[i], BURBLE__ROUTE_OTHER, 599);
        burble__metrics_count(&loops[i], BURBLE__COUNT_TOKENS, 20 + i);
        burble__metrics_time(&loops[i], BURBLE__TIME_FIRST_TOKEN, 2500000 + i);
    }
    burble__metrics_time(&loops[0], BURBLE__TIME_FIRST_TOKEN, UINT64_C(200000000000));
    burble__metrics_move(&loops[0], BURBLE__GAUGE_CONNECTIONS, 5);
    burble__metrics_move(&loops[1], BURBLE__GAUGE_CONNECTIONS, -3);
    burble__metrics_set(&loops[1], BURBLE__GAUGE_READY, 1);
    assert_true(burble__metrics_counter(all, 2, BURBLE__COUNT_TOKENS) == 41);
    assert_true(burble__metrics_gauge(all, 2, BURBLE__GAUGE_CONNECTIONS) == 2);
    const burble_serve_model model = {.name = "a\"b", .submit = submit, .load = load};
    struct burble__models *models = models_with(&model);
    struct burble__workers workers;
    assert_result(burble__workers_init(&workers, 2), BURBLE_OK);
    assert_result(burble__models_ask_loads(models, &workers), BURBLE_OK);
    burble__workers_finish(&workers);
    NEW_BUFFER(out);
    assert_result(burble__metrics_write(all, 2, models, &out), BURBLE_OK);
    assert_result(burble__buffer_append(&out, "", 1), BURBLE_OK);
    LINE("# TYPE burble_requests_total counter");
    LINE("burble_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 2");
    LINE("burble_requests_total{route=\"/v1/chat/completions\",status=\"400\"} 2");
    LINE("burble_requests_total{route=\"other\",status=\"500\"} 2");
    LINE("# TYPE burble_generation_tokens_total counter");
    LINE("burble_generation_tokens_total 41");
    LINE("burble_connections 2");
    LINE("burble_ready 1");
    LINE("# TYPE burble_time_to_first_token_seconds histogram");
    LINE("burble_time_to_first_token_seconds_bucket{le=\"0.001\"} 0");
    LINE("burble_time_to_first_token_seconds_bucket{le=\"0.0025\"} 1");
    LINE("burble_time_to_first_token_seconds_bucket{le=\"0.005\"} 2");
    LINE("burble_time_to_first_token_seconds_bucket{le=\"160\"} 2");
    LINE("burble_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3");
    LINE("burble_time_to_first_token_seconds_sum 200.005000001");
    LINE("burble_time_to_first_token_seconds_count 3");
    LINE("burble_num_requests_running{model_name=\"a\\\"b\"} 3");
    LINE("burble_num_requests_waiting{model_name=\"a\\\"b\"} 2");
    LINE("burble_num_slots{model_name=\"a\\\"b\"} 8");
    LINE("burble_backend_generation_tokens_total{model_name=\"a\\\"b\"} 77");
    burble__buffer_finish(&out);
    burble__models_destroy(&models);
}

/* Each line is a comment, or a name that was described before, maybe labels, and a number. */
static void test_every_line_is_well_formed(void **state)
{
    (void)state;
    static struct burble__metrics loop;
    struct burble__metrics *const all[] = {&loop};
    const burble_serve_model model = {.name = "m", .submit = submit};
    struct burble__models *models = models_with(&model);
    NEW_BUFFER(out);
    burble__metrics_init(&loop);
    assert_result(burble__metrics_write(all, 1, models, &out), BURBLE_OK);
    assert_result(burble__buffer_append(&out, "", 1), BURBLE_OK);
    char described[80] = "";
    for (char *line = strtok(out.bytes, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (sscanf(line, "# HELP %79s", described) == 1)
            continue;
        char name[80], type[20];
        if (sscanf(line, "# TYPE %79s %19s", name, type) == 2) {
            assert_string_equal(name, described);
            continue;
        }
        assert_memory_equal(line, described, strlen(described));
        const char *number = strrchr(line, ' ');
        assert_non_null(number);
        char *end;
        strtod(number + 1, &end);
        assert_true(*end == '\0' && end > number + 1);
    }
    burble__buffer_finish(&out);
    burble__models_destroy(&models);
}

static void test_full_buffer_is_out_of_memory(void **state)
{
    (void)state;
    static struct burble__metrics loop;
    struct burble__metrics *const all[] = {&loop};
    const burble_serve_model model = {.name = "m", .submit = submit, .load = load};
    struct burble__models *models = models_with(&model);
    for (size_t room = 0; room < 8192; room += 64) {
        struct burble__buffer out;
        burble__buffer_init(&out, room);
        assert_result(burble__metrics_write(all, 1, models, &out), BURBLE_ENOMEM);
        burble__buffer_finish(&out);
    }
    burble__models_destroy(&models);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loops_are_added_up),
        cmocka_unit_test(test_every_line_is_well_formed),
        cmocka_unit_test(test_full_buffer_is_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
