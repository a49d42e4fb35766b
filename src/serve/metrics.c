/* SPDX-License-Identifier: MIT */
#include "serve/metrics.h"

#include <string.h>

#include <burble/error.h>

#include "serve/json.h"

static const unsigned statuses[BURBLE__N_STATUSES] = BURBLE__METRIC_STATUSES;

/* Upper limits of the buckets, in ns. */
static const uint64_t limits[BURBLE__N_BUCKETS] = {
    1000000,    2500000,    5000000,     10000000,    20000000,    40000000,     60000000,
    80000000,   100000000,  250000000,   500000000,   750000000,   1000000000,   2500000000,
    5000000000, 7500000000, 10000000000, 20000000000, 40000000000, 160000000000,
};

void burble__metrics_init(struct burble__metrics *metrics)
{
    memset(metrics, 0, sizeof *metrics);
}

/* Where requests with this status are counted. */
static unsigned slot_of(unsigned status)
{
    unsigned of_class = 0;
    for (unsigned i = 0; i < BURBLE__N_STATUSES; i++) {
        if (statuses[i] == status)
            return i;
        if (statuses[i] == status / 100 * 100)
            of_class = i;
    }
    return of_class;
}

void burble__metrics_request(struct burble__metrics *metrics, enum burble__metric_route route,
                             unsigned status)
{
    burble__add_relaxed(&metrics->requests[route][slot_of(status)], 1);
}

void burble__metrics_time(struct burble__metrics *metrics, enum burble__metric_time time,
                          uint64_t ns)
{
    struct burble__metric_histogram *histogram = &metrics->times[time];
    unsigned bucket = 0;
    while (bucket < BURBLE__N_BUCKETS && ns > limits[bucket])
        bucket++;
    burble__add_relaxed(&histogram->buckets[bucket], 1);
    burble__add_relaxed(&histogram->sum, ns);
}

uint64_t burble__metrics_counter(struct burble__metrics *const *metrics, size_t n,
                                 enum burble__metric_counter counter)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += burble__load_relaxed(&metrics[i]->counters[counter]);
    return sum;
}

uint64_t burble__metrics_gauge(struct burble__metrics *const *metrics, size_t n,
                               enum burble__metric_gauge gauge)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += burble__load_relaxed(&metrics[i]->gauges[gauge]);
    return sum;
}

/* ---- the text ----------------------------------------------------------------------------------------- */

static void put_seconds(struct burble__output *out, uint64_t ns)
{
    burble__put_integer(out, ns / 1000000000);
    uint64_t rest = ns % 1000000000, one = 1000000000;
    if (rest > 0)
        burble__put_raw(out, ".");
    while (rest > 0) {
        one /= 10;
        /* cppcheck-suppress zerodivcond ; the rest is 0 before `one` is */
        const char digit[] = {(char)('0' + rest / one), '\0'};
        burble__put_raw(out, digit);
        rest %= one;
    }
}

static void put_head(struct burble__output *out, const char *name, const char *help,
                     const char *type)
{
    burble__put_raw(out, "# HELP burble_");
    burble__put_raw(out, name);
    burble__put_raw(out, " ");
    burble__put_raw(out, help);
    burble__put_raw(out, "\n# TYPE burble_");
    burble__put_raw(out, name);
    burble__put_raw(out, " ");
    burble__put_raw(out, type);
    burble__put_raw(out, "\n");
}

static void put_value(struct burble__output *out, const char *name, uint64_t value)
{
    burble__put_raw(out, "burble_");
    burble__put_raw(out, name);
    burble__put_raw(out, " ");
    burble__put_integer(out, value);
    burble__put_raw(out, "\n");
}

static void put_requests(struct burble__output *out, struct burble__metrics *const *metrics,
                         size_t n)
{
    static const char *const labels[] = {
#define LABEL(name, label) label,
        BURBLE__METRIC_ROUTES(LABEL)
#undef LABEL
    };
    put_head(out, "requests_total", "Requests that are over, by route and status.", "counter");
    for (unsigned route = 0; route < BURBLE__N_ROUTES; route++)
        for (unsigned status = 0; status < BURBLE__N_STATUSES; status++) {
            uint64_t sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += burble__load_relaxed(&metrics[i]->requests[route][status]);
            if (sum == 0)
                continue;
            burble__put_raw(out, "burble_requests_total{route=\"");
            burble__put_raw(out, labels[route]);
            burble__put_raw(out, "\",status=\"");
            burble__put_integer(out, statuses[status]);
            burble__put_raw(out, "\"} ");
            burble__put_integer(out, sum);
            burble__put_raw(out, "\n");
        }
}

static void put_histogram(struct burble__output *out, const char *name, const char *help,
                          struct burble__metrics *const *metrics, size_t n, unsigned time)
{
    uint64_t total = 0, sum = 0;
    put_head(out, name, help, "histogram");
    for (unsigned bucket = 0; bucket <= BURBLE__N_BUCKETS; bucket++) {
        for (size_t i = 0; i < n; i++)
            total += burble__load_relaxed(&metrics[i]->times[time].buckets[bucket]);
        burble__put_raw(out, "burble_");
        burble__put_raw(out, name);
        burble__put_raw(out, "_bucket{le=\"");
        if (bucket < BURBLE__N_BUCKETS)
            put_seconds(out, limits[bucket]);
        else
            burble__put_raw(out, "+Inf");
        burble__put_raw(out, "\"} ");
        burble__put_integer(out, total);
        burble__put_raw(out, "\n");
    }
    for (size_t i = 0; i < n; i++)
        sum += burble__load_relaxed(&metrics[i]->times[time].sum);
    burble__put_raw(out, "burble_");
    burble__put_raw(out, name);
    burble__put_raw(out, "_sum ");
    put_seconds(out, sum);
    burble__put_raw(out, "\nburble_");
    burble__put_raw(out, name);
    burble__put_raw(out, "_count ");
    burble__put_integer(out, total);
    burble__put_raw(out, "\n");
}

/* ---- backends' loads, with the model as a label --------------------------------------------------------- */

/* X(name, type, help, member) */
#define LOADS(X)                                                                                   \
    X("num_requests_running", "gauge", "Requests that have a slot.", running)                      \
    X("num_requests_waiting", "gauge", "Requests that wait for a slot.", waiting)                  \
    X("num_slots", "gauge", "Requests that can be computed at once; 0: unknown.", slots)           \
    X("backend_prompt_tokens_total", "counter", "Tokens of prompts, of the backend.",              \
      prompt_tokens)                                                                               \
    X("backend_prompt_tokens_cached_total", "counter",                                             \
      "Tokens of prompts that were not computed again, of the backend.", reused_tokens)            \
    X("backend_generation_tokens_total", "counter", "Tokens generated, of the backend.", tokens)   \
    X("backend_steps_total", "counter", "Steps of the backend.", steps)

struct load_line {
    struct burble__output *out;
    const char *name;
    size_t offset; /* of the member in burble_serve_load */
};

static void put_load(const struct burble__model *model, void *arg)
{
    const struct load_line *line = arg;
    if (model->backend.load == NULL)
        return;
    uint64_t value;
    memcpy(&value, (const char *)&model->load + line->offset, sizeof value);
    burble__put_raw(line->out, "burble_");
    burble__put_raw(line->out, line->name);
    burble__put_raw(line->out, "{model_name=");
    /* Prometheus' escapes are \\, \" and \n; JSON's others are of control characters, which no name has a use for. */
    burble__put_name(line->out, model->name);
    burble__put_raw(line->out, "} ");
    burble__put_integer(line->out, value);
    burble__put_raw(line->out, "\n");
}

int burble__metrics_write(struct burble__metrics *const *metrics, size_t n,
                          struct burble__models *models, struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    put_requests(&out, metrics, n);
#define COUNTER(id, name, help)                                                                    \
    put_head(&out, name, help, "counter");                                                         \
    put_value(&out, name, burble__metrics_counter(metrics, n, BURBLE__COUNT_##id));
    BURBLE__METRIC_COUNTERS(COUNTER)
#undef COUNTER
#define GAUGE(id, name, help)                                                                      \
    put_head(&out, name, help, "gauge");                                                           \
    put_value(&out, name, burble__metrics_gauge(metrics, n, BURBLE__GAUGE_##id));
    BURBLE__METRIC_GAUGES(GAUGE)
#undef GAUGE
#define TIME(id, name, help) put_histogram(&out, name, help, metrics, n, BURBLE__TIME_##id);
    BURBLE__METRIC_TIMES(TIME)
#undef TIME
#define LOAD(name, type, help, member)                                                             \
    put_head(&out, name, help, type);                                                              \
    burble__models_each(models, put_load,                                                          \
                        &(struct load_line){&out, name, offsetof(burble_serve_load, member)});
    LOADS(LOAD)
#undef LOAD
    return out.result;
}
