/* SPDX-License-Identifier: MIT
 *
 * What a worker tells the fronts of a model:
 *
 *     {"v":1,"context":4096,"chat":true,"parameters":"00000000000fffff","created":1700000000,"slots":8,"digest":"…"}
 *
 * `parameters` are the bits of burble_serve_model.parameters, in hexadecimal; `digest` is null if the model has none.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>

#include "relay/session.h"
#include "serve/json.h"

int burble__model_describe(const burble_serve_model *model, uint32_t slots,
                           struct burble__buffer *out)
{
    struct burble__output json = {out, BURBLE_OK};
    char bits[20];
    snprintf(bits, sizeof bits, "%016" PRIx64, model->parameters);
    burble__put_raw(&json, "{\"v\":1,\"context\":");
    burble__put_integer(&json, model->context);
    burble__put_raw(&json, model->chat ? ",\"chat\":true" : ",\"chat\":false");
    burble__put_raw(&json, ",\"parameters\":");
    burble__put_name(&json, bits);
    burble__put_raw(&json, ",\"created\":");
    burble__put_integer(&json, model->created);
    burble__put_raw(&json, ",\"slots\":");
    burble__put_integer(&json, slots);
    burble__put_raw(&json, ",\"digest\":");
    burble__put_name(&json, model->digest);
    burble__put_raw(&json, "}");
    return json.result;
}
