/* SPDX-License-Identifier: MIT
 *
 * Parking, publishing and the hub, step by step: one writer, one who cancels, an event loop with one
 * reader at its hub, and a thread that blocks with another. Each step is one atomic operation of the
 * source, whose function stands beside it; all interleavings of them are gone through. (What memory
 * may do beyond interleaving is checked by checker.cpp.)
 *
 * Checked: whoever sleeps is woken by what is published and by the end (no invalid end state); a waiter
 * is on one stack at a time; nothing is touched that has been freed; all is freed in the end.
 *
 * With CANCEL, the canceller is there in place of the thread that blocks; all four at once are more than
 * a small machine's memory holds.
 *
 * Each macro NO_… and …_FIRST breaks one step, and must make a check fail: mutations.py.
 */

#define NONE 2 /* no waiter */
#define RECORDS 1

/* Waiter 0 is the reader's at the hub, waiter 1 the one's that blocks. Both park on one stream. */
mtype = { IDLE, ARMED, FIRED };
mtype state[2] = IDLE;
byte next[2] = NONE;
byte refs[2] = 1;
bool retired[2];
bool signalled; /* waiter 1's parker */

/* Where a waiter is: on no stack, on one, or taken from one and not yet passed on. */
mtype = { NOWHERE, ON_STREAM, TAKEN, ON_HUB };
mtype place[2] = NOWHERE;

byte parked = NONE; /* the stream's stack */
byte committed;
bool closed; /* the stream's terminal state */

byte ready = NONE; /* the hub's stack */
bool hub_closed, held, readable, wake_lock;
byte hub_refs = 2; /* the owner's and waiter 0's */

#define alive(w) assert(refs[w] > 0)
#define hub_alive() assert(hub_refs > 0)

/* The inlines below are the bodies of functions; `w`, `after`, `top` and `taken` are local variables of
 * the process that calls them. */

/* burble__waiter_unref */
inline unref(it)
{
    atomic {
        alive(it);
        refs[it] = refs[it] - 1;
        if
        :: refs[it] == 0 && it == 0 -> hub_alive(); hub_refs = hub_refs - 1
        :: else
        fi
    }
}

/* signal_hub */
inline signal_hub()
{
    atomic { hub_alive(); !wake_lock -> wake_lock = true };
    if
    :: !hub_closed -> readable = true
    :: else
    fi;
    atomic { hub_alive(); wake_lock = false }
}

/* drop in hub.c: of a chain that is ours; waiter 0 is the only one there. */
inline drop_taken()
{
    if
    :: taken != NONE ->
        alive(taken);
        place[taken] = NOWHERE;
        state[taken] = IDLE;
        unref(taken)
    :: else
    fi
}

/* The exchange of the ready stack with NULL. */
inline take_ready()
{
    atomic {
        hub_alive();
        taken = ready;
        ready = NONE;
        if
        :: taken != NONE -> place[taken] = TAKEN
        :: else
        fi
    }
}

/* burble__hub_push */
inline hub_push(it)
{
    atomic {
        hub_alive();
#ifndef NO_HUB_REF
        hub_refs = hub_refs + 1
#endif
    };
#ifdef SIGNAL_FIRST
    signal_hub();
#endif
    do
    :: atomic { hub_alive(); alive(it); top = ready; next[it] = top };
        atomic {
            hub_alive();
            if
            :: ready == top ->
                assert(place[it] == TAKEN);
                place[it] = ON_HUB;
                ready = it;
                break
            :: else
            fi
        }
    od;
    if
#ifndef NO_LOOK_WHETHER_CLOSED
    :: hub_closed -> take_ready(); drop_taken()
#endif
    :: else ->
#ifndef SIGNAL_FIRST
        if
        :: top == NONE && !held -> signal_hub()
        :: else
        fi
#endif
    fi;
#ifndef NO_HUB_REF
    atomic { hub_alive(); hub_refs = hub_refs - 1 }
#endif
}

/* burble__waiter_wake, with fire() */
inline wake()
{
    if
    :: parked == NONE
    :: else ->
        atomic { /* the exchange, and burble__waiter_reverse of what is then ours */
            w = parked;
            parked = NONE;
            after = NONE;
            do
            :: w != NONE ->
                alive(w);
                assert(place[w] == ON_STREAM);
                place[w] = TAKEN;
                top = next[w];
                next[w] = after;
                after = w;
                w = top
            :: else -> break
            od;
            w = after
        };
        do
        :: w != NONE ->
            atomic {
                alive(w);
                assert(state[w] == ARMED);
                after = next[w];
#ifndef FIRED_LAST
                state[w] = FIRED
#endif
            };
            if
            :: w == 0 -> hub_push(w)
            :: else ->
#ifdef UNREF_FIRST
                unref(w);
                atomic { alive(w); place[w] = NOWHERE; signalled = true }
#else
                atomic { alive(w); place[w] = NOWHERE; signalled = true };
                unref(w)
#endif
            fi;
#ifdef FIRED_LAST
            atomic { alive(w); state[w] = FIRED };
#endif
            w = after
        :: else -> break
        od;
        top = NONE /* what is left in a variable counts as another state */
    fi
}

/* burble__waiter_arm */
inline arm(it)
{
    if
#ifdef ARM_WHILE_ARMED
    :: true ->
#else
    :: state[it] == IDLE ->
#endif
        atomic { /* nobody else looks at an idle waiter */
            alive(it);
            state[it] = ARMED;
#ifndef NO_STACK_REF
            refs[it] = refs[it] + 1
#endif
        };
        do
        :: atomic { top = parked; next[it] = top };
            atomic {
                if
                :: parked == top ->
                    assert(place[it] == NOWHERE);
                    place[it] = ON_STREAM;
                    parked = it;
                    break
                :: else
                fi
            }
        od
    :: else
    fi
}

/* burble__waiter_retire */
inline retire(it)
{
    retired[it] = true;
#ifndef NO_WAKE_AT_RETIRING
    if
    :: state[it] == ARMED -> wake()
    :: else
    fi;
#endif
    unref(it)
}

/* burble_stream_append_until, burble_stream_end */
proctype writer()
{
    byte w, after, top, taken;
    do
    :: committed < RECORDS && !closed ->
        committed++;
        wake()
    :: else -> break
    od;
#ifdef WAKE_FIRST
    wake();
#endif
    atomic {
        if
        :: !closed -> closed = true; top = 1
        :: else -> top = 0
        fi
    };
    if
#ifndef WAKE_FIRST
    :: top == 1 -> wake()
#endif
    :: else
    fi
}

/* burble_stream_cancel */
proctype canceller()
{
    byte w, after, top, taken;
    atomic {
        if
        :: !closed -> closed = true; top = 1
        :: else -> top = 0
        fi
    };
    if
    :: top == 1 -> wake()
    :: else
    fi
}

#define NEWS(seen) (seen < committed || closed)

/* burble_hub_dispatch, for the one waiter that may be there: whether it was called. */
inline dispatch()
{
#ifdef CLEAR_LAST
    take_ready();
    readable = false;
#else
    readable = false;
    take_ready();
#endif
    called = false;
    if
    :: taken != NONE ->
        atomic { alive(taken); place[taken] = NOWHERE; state[taken] = IDLE; called = !retired[taken] };
        unref(taken)
    :: else
    fi
}

/* The loop: reads, parks, may hold its hub, may leave at any time; then the hub goes. */
proctype loop()
{
    byte w, after, top, taken, seen;
    bool called;
read:
    if
    :: seen < committed -> seen++; goto read
    :: closed && seen == committed -> goto leave /* the look after it saw the end */
    :: seen == committed && !closed -> skip
    fi;
    if
    :: held = true /* burble_hub_hold */
    :: skip
    fi;
    arm(0); /* burble_reader_park */
#ifndef NO_SECOND_LOOK
    if
    :: NEWS(seen) -> goto read
    :: else
    fi;
#endif
    if
    :: goto leave /* parked, or fired already */
    :: skip
    fi;
sleep:
    if
    :: held -> /* the loop's timer */
        if
        :: dispatch()
        :: held = false; /* burble_hub_release */
#ifndef NO_LOOK_AT_RELEASE
            if
            :: ready != NONE -> signal_hub()
            :: else
            fi;
#endif
            goto sleep
        fi
    :: !held && readable -> dispatch()
    fi;
    if
    :: called -> goto read
    :: else -> goto sleep
    fi;
leave: /* burble_reader_destroy */
    retire(0);
    /* burble_hub_destroy */
    atomic { !wake_lock -> wake_lock = true };
    hub_closed = true;
    wake_lock = false;
    take_ready();
    drop_taken();
    atomic { hub_alive(); hub_refs = hub_refs - 1 }
}

/* burble_reader_wait, with or without a deadline */
proctype blocker()
{
    byte w, after, top, taken, seen;
read:
    if
    :: seen < committed -> seen++; goto read
    :: closed && seen == committed -> goto leave
    :: seen == committed && !closed -> skip
    fi;
    arm(1);
#ifndef NO_SECOND_LOOK
    if
    :: NEWS(seen) -> goto read
    :: else
    fi;
#endif
    if
    :: goto leave /* the deadline will have passed; it gives up */
    :: skip
    fi;
    atomic { signalled -> signalled = false }; /* burble__parker_wait */
#ifndef NO_IDLE
    state[1] = IDLE;
#endif
    goto read;
leave:
    retire(1)
}

init {
    atomic {
        run writer();
        run loop();
#ifdef CANCEL
        run canceller();
        refs[1] = 0
#else
        run blocker()
#endif
    };
    _nr_pr == 1;
    assert(parked == NONE && ready == NONE);
    assert(refs[0] == 0 && refs[1] == 0 && hub_refs == 0)
}
