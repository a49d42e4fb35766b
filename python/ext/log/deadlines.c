/* SPDX-License-Identifier: MIT */
#include "log/deadlines.h"

#include "waiting/loop_hub.h"

/* Notes the clock of the loop that runs here, if one does. 0, or -1 with an exception. */
static int note_clock(struct deadlines *deadlines, struct core *core)
{
    bool trio;
    PyObject *loop = hub_running_loop(core, &trio);
    const int rc = loop == NULL ? -1 : clock_set_mark(&deadlines->clock, loop);
    Py_XDECREF(loop);
    return rc;
}

int deadlines_set(struct deadlines *deadlines, struct core *core, PyObject *args)
{
    PyObject *first, *token, *total;
    uint64_t first_for, token_for, total_for;
    if (!PyArg_ParseTuple(args, "OOO", &first, &token, &total)
        || core_nanoseconds(first, "first_token_timeout", &first_for) < 0
        || core_nanoseconds(token, "token_timeout", &token_for) < 0
        || core_nanoseconds(total, "total_timeout", &total_for) < 0)
        return -1;
    if ((first_for != 0 || token_for != 0 || total_for != 0) && note_clock(deadlines, core) < 0)
        return -1;
    const uint64_t now = burble_now();
    deadlines->began = now;
    deadlines->first_at = first_for == 0 ? 0 : now + first_for;
    deadlines->token_for = token_for;
    deadlines->total_at = total_for == 0 ? 0 : now + total_for;
    return 0;
}

bool deadlines_need_state(const struct deadlines *deadlines)
{
    return deadlines->first_at != 0 || deadlines->token_for != 0;
}

uint64_t deadlines_due(const struct deadlines *deadlines, const struct writing_state *state,
                       const struct loop_clock *clock)
{
    const int64_t ahead = clock_ahead(clock, &deadlines->clock);
    uint64_t due = clock_earlier_by(deadlines->total_at, ahead);
    const uint64_t first_at = clock_earlier_by(deadlines->first_at, ahead);
    if (!state->begun && first_at != 0 && (due == 0 || first_at < due))
        due = first_at;
    if (deadlines->token_for != 0) {
        /* Before the first token, and while the writer waits for a reader, this time does not run: it
         * begins at some later moment, which the waiting consumer must notice. */
        const bool runs = state->begun && !state->full;
        const uint64_t at = runs ? clock_earlier_by(state->active_at + deadlines->token_for,
                                                    clock_ahead(clock, NULL))
                                 : burble_now() + deadlines->token_for;
        if (due == 0 || at < due)
            due = at;
    }
    return due;
}

struct passed_deadline deadlines_total(const struct deadlines *deadlines, const struct core *core)
{
    return (struct passed_deadline){
        core->total_timeout, "timed out after %S s: the generation has not ended (total_timeout)",
        deadlines->total_at - deadlines->began};
}

struct passed_deadline deadlines_passed(const struct deadlines *deadlines, const struct core *core,
                                        const struct writing_state *state,
                                        const struct loop_clock *clock)
{
    const uint64_t now = burble_now();
    const int64_t since_set = clock == NULL ? 0 : clock_ahead(clock, &deadlines->clock);
    const int64_t since_park = clock == NULL ? 0 : clock_ahead(clock, NULL);
    if (deadlines->total_at != 0 && now >= clock_earlier_by(deadlines->total_at, since_set))
        return deadlines_total(deadlines, core);
    if (!state->begun && deadlines->first_at != 0
        && now >= clock_earlier_by(deadlines->first_at, since_set))
        return (struct passed_deadline){
            core->first_token_timeout,
            "timed out after %S s waiting for the first token (first_token_timeout)",
            deadlines->first_at - deadlines->began};
    if (state->begun && deadlines->token_for != 0 && !state->full
        && now >= clock_earlier_by(state->active_at + deadlines->token_for, since_park))
        return (struct passed_deadline){
            core->token_timeout, "timed out after %S s waiting for the next token (token_timeout)",
            deadlines->token_for};
    return (struct passed_deadline){NULL, NULL, 0};
}

PyObject *deadline_error(const struct passed_deadline *passed)
{
    const uint64_t length = passed->length;
    PyObject *seconds = PyFloat_FromDouble(length == 1 ? 0.0 : (double)length / 1e9);
    PyObject *message = seconds == NULL ? NULL : PyUnicode_FromFormat(passed->message, seconds);
    PyObject *error =
        message == NULL ? NULL : PyObject_CallFunctionObjArgs(passed->type, message, NULL);
    Py_XDECREF(seconds);
    Py_XDECREF(message);
    return error;
}
