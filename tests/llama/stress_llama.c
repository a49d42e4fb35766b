/* SPDX-License-Identifier: MIT
 *
 * Stress: 32 clients hand in requests of different priorities and deadlines, for prompts of which several have
 * the same beginning. Some have a limit on what they may leave unread, some stop for so long that they lose
 * their slots, and some cancel at random places; some want frames, of one or several choices; all choices are seeded. What is left whole must be the
 * text that it is alone; afterwards the engine holds no slot and no request, and (in the build with
 * sanitizers) there is no byte that nobody freed.
 */
#define _POSIX_C_SOURCE 200809L

#include "llama_support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include <burble/clock.h>
#include <burble/frame.h>

enum { CLIENTS = 32, REQUESTS = 8, SLOTS = 6, QUEUE = 16, TOKENS = 24, CHOICES = 4 };

struct world {
    burble_llama_engine *engine;
    struct output expected[PROMPTS];
    atomic_uint whole, cancelled, late, refused, wrong;
};

/* Longer than a request may stand still before it loses its slot. */
static const struct timespec long_pause = {0, 120000000};

/* The prompts, each behind the same beginning, which is worth being reused. */
static char texts[PROMPTS][512];

static void make_texts(void)
{
    for (size_t i = 0; i < PROMPTS; i++)
        snprintf(texts[i], sizeof texts[i], "%s%s",
                 i % 3 == 0 ? ""
                            : "SICINIUS:\nWhat is the city but the people?\n\nCitizens:\n"
                              "True,\nThe people are the city.\n\nBRUTUS:\nBy the consent of "
                              "all, we were establish'd\nThe people's magistrates.\n\n",
                 prompts[i]);
}

struct client {
    struct world *world;
    uint64_t random;
    pthread_t thread;
};

/* Takes the text of a record, which is a frame if `choices` is not 0, and behind the `lens` of its choice. Returns
 * whether it is the expected one. (Greedy choices are all alike.) */
static bool take_record(const burble_record *record, uint32_t choices,
                        const struct output *expected, size_t lens[CHOICES])
{
    burble_text text = {record->text, record->len};
    size_t *len = lens;
    if (choices > 0) {
        burble_frame frame;
        if (burble_frame_read(record->text, record->len, &frame) != BURBLE_OK)
            return false;
        if (frame.kind == BURBLE_FRAME_USAGE)
            return true;
        if (frame.choice >= choices)
            return false;
        len += frame.choice;
        text = frame.kind == BURBLE_FRAME_TEXT ? frame.u.text.text : (burble_text){"", 0};
    }
    if (text.len > expected->len - *len || memcmp(text.bytes, expected->text + *len, text.len) != 0)
        return false;
    *len += text.len;
    return true;
}

/* Reads up to `limit` records, then cancels, or leaves at once where there are no more. */
static void consume(struct world *world, burble_stream *stream, burble_reader *reader,
                    uint64_t limit, uint64_t pause_at, uint32_t choices,
                    const struct output *expected)
{
    burble_record record;
    size_t lens[CHOICES] = {0};
    int result = BURBLE_AGAIN;
    for (uint64_t n = 0; n < limit || limit == 0;) {
        if (n == pause_at) {
            nanosleep(&long_pause, NULL); /* this is what a slow reader does */
            pause_at = 0;
        }
        result = burble_reader_next(reader, &record);
        if (result == BURBLE_AGAIN) {
            burble_reader_wait(reader, 0);
            continue;
        }
        if (result != BURBLE_OK)
            break;
        if (!take_record(&record, choices, expected, lens)) {
            atomic_fetch_add(&world->wrong, 1);
            break;
        }
        n++;
    }
    if (result == BURBLE_END) {
        atomic_fetch_add(&world->whole, 1);
        for (uint32_t i = 0; i < (choices > 0 ? choices : 1); i++)
            atomic_fetch_add(&world->wrong, lens[i] != expected->len);
    } else if (result == BURBLE_ETIMEDOUT) {
        atomic_fetch_add(&world->late, 1);
    } else {
        burble_stream_cancel(stream);
        atomic_fetch_add(&world->cancelled, 1);
    }
}

static void *be_a_client(void *arg)
{
    struct client *client = arg;
    struct world *world = client->world;
    for (int i = 0; i < REQUESTS; i++) {
        const uint64_t choice = next_random(&client->random);
        const size_t which = choice % PROMPTS;
        burble_llama_request request = request_for(texts[which], TOKENS);
        request.priority = (int32_t)(choice >> 20 & 3);
        request.reuse = (choice >> 22 & 3) != 0;
        if ((choice >> 24 & 7) == 0)
            request.deadline = burble_now() + 1 + (choice >> 27 & 0xFFFF) * 1000;
        request.frames = (choice >> 52 & 3) == 0;
        request.choices = request.frames ? 1 + (uint32_t)(choice >> 54 & 3) : 0;
        burble_stream *stream;
        burble_reader *reader;
        if (burble_stream_create(NULL, &stream) != BURBLE_OK
            || burble_reader_create(stream, 0, &reader, NULL) != BURBLE_OK) {
            atomic_fetch_add(&world->wrong, 1);
            return NULL;
        }
        if (choice >> 58 & 1)
            burble_reader_limit(reader, 1 + (choice >> 48) % 16, BURBLE_LAG_BLOCK);
        int result;
        while ((result = burble_llama_engine_submit(world->engine, &request, stream, NULL))
               == BURBLE_EFULL) {
            atomic_fetch_add(&world->refused, 1);
            sched_yield();
        }
        atomic_fetch_add(&world->wrong, result != BURBLE_OK);
        if (choice >> 60 == 0)
            burble_stream_cancel(stream); /* maybe before it has a slot */
        consume(world, stream, reader, choice >> 32 & 1 ? 0 : 1 + (choice >> 40) % TOKENS,
                choice >> 44 & 1 ? 1 + (choice >> 45 & 7) : UINT64_MAX, request.choices,
                &world->expected[which]);
        burble_reader_destroy(&reader);
        burble_stream_unref(&stream);
    }
    return NULL;
}

static void clients_that_cancel_at_random_leave_nothing_behind(void **state)
{
    static struct world world;
    struct client clients[CLIENTS];
    uint64_t seed = test_seed(20);
    (void)state;
    burble_llama_model *model = load_model();
    make_texts();
    world.engine = open_engine(model, 1, 0);
    for (size_t i = 0; i < PROMPTS; i++) {
        burble_llama_request request = request_for(texts[i], TOKENS);
        request.reuse = false;
        generate(world.engine, &request, &world.expected[i]);
    }
    burble_llama_engine_destroy(&world.engine);

    world.engine = open_engine(model, SLOTS, QUEUE);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.world = &world, .random = next_random(&seed)};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, be_a_client, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    print_message("%u whole, %u cancelled, %u late, %u times refused\n", atomic_load(&world.whole),
                  atomic_load(&world.cancelled), atomic_load(&world.late),
                  atomic_load(&world.refused));
    assert_int_equal(atomic_load(&world.wrong), 0);
    assert_true(atomic_load(&world.whole) > 0);
    assert_true(atomic_load(&world.cancelled) > 0);

    /* The engine's thread lives, and notices what is over. */
    burble_llama_stats stats;
    do {
        sched_yield();
        burble_llama_engine_stats(world.engine, &stats);
    } while (stats.active + stats.waiting + stats.paused > 0);
    assert_true(stats.reused_tokens > 0);
    static struct output output;
    const burble_llama_request request = request_for(texts[0], TOKENS);
    generate(world.engine, &request, &output);
    assert_result(output.end, BURBLE_END);
    assert_int_equal(output.len, world.expected[0].len);
    assert_memory_equal(output.text, world.expected[0].text, output.len);
    burble_llama_engine_destroy(&world.engine);
    burble_llama_model_unref(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_that_cancel_at_random_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
