/* SPDX-License-Identifier: MIT
 *
 * The relay's cancelling: a client cancels an answer that is queued, running, or on its way from one worker to another. An
 * answer may never end by itself, so that a lost cancellation shows.
 *
 * Rules of the protocol, with the race that each prevents (a macro breaks it):
 *
 * - Cancelling a queued answer takes it out of the queue and writes its last frame. For a running one it leaves a message
 *   in the list of the owner's session, and the owner writes the last frame. So there is one writer, and one end.
 *   CANCEL_WRITES: an answer ends twice.
 * - A step returns the whole list, and the next step removes as many messages from its front as the worker was given.
 *   TRIM_AT_ONCE: the reply is lost, and the cancellation with it. TRIM_ALL: a message that came after the reply is lost.
 *   TRIM_NEVER: the worker is given the same messages for ever.
 * - Cancelling also marks the answer, since the list ends with the session. Reaping and releasing write the last frame of a
 *   marked answer, instead of queueing it. REAP_FORGETS, RELEASE_FORGETS: the successor goes on for ever.
 *
 * Checked: one end (assertion); a cancelled answer ends (no invalid end state, no cycle), as long as one worker is left.
 *
 * Left out: what relay_session.pml and relay_rollback.pml have. Sessions have the number of their worker.
 */

#define NOBODY 2
#define ROOM 3

mtype = { queued, running, done };    /* the answer */
mtype = { claim, step, last, release }; /* scripts; `last` is a step with the last frame */
mtype = { cancel, attach };           /* messages to a worker */

/* Redis */
mtype answer = queued;
byte owner = NOBODY;
bool cancelled;
bool exists[2];
byte number[2];
mtype list[6]; /* of worker 0, then of worker 1 */
byte listed[2];

/* Workers */
bool alive[2] = true;
bool frozen[2];
bool open[2];
byte sent[2];
mtype lost[2]; /* the last script, if its reply was lost */
bool holds[2], told[2];
byte given[2]; /* messages in the last reply */

bool ends_itself;
bool asked; /* the client has cancelled */
byte attaches = 1;
byte breaks = 1;
byte freezes = 1;
byte leaves = 1;

#define runs(w) (alive[w] && !frozen[w])
#define message(w, i) list[ROOM * w + i]

inline finish()
{
    assert(answer != done); /* one end */
    answer = done;
    owner = NOBODY
}

inline send_message(w, what)
{
    if
    :: listed[w] < ROOM -> message(w, listed[w]) = what; listed[w]++
    :: else -> assert(false)
    fi
}

inline trim(w, count)
{
    do
    :: count > 0 ->
        message(w, 0) = message(w, 1);
        message(w, 1) = message(w, 2);
        message(w, 2) = 0;
        listed[w]--;
        count--
    :: else -> break
    od
}

inline close_session(w)
{
    exists[w] = false;
    number[w] = 0;
    i = listed[w];
    trim(w, i)
}

inline hand_on(ends)
{
    if
    :: ends -> finish()
    :: else -> answer = queued; owner = NOBODY
    fi
}

#ifdef REAP_FORGETS
#define reap_ends false
#else
#define reap_ends cancelled
#endif
#ifdef RELEASE_FORGETS
#define release_ends false
#else
#define release_ends cancelled
#endif

/* Redis runs the script of worker w, and it hears of it: or not, then it sends it again. */
inline run_script()
{
    gone = !exists[w];
    seen = 0;
    if
    :: exists[w] && sent[w] > number[w] ->
        number[w] = sent[w];
#ifdef TRIM_ALL
        i = (given[w] > 0 -> listed[w] : 0);
#else
        i = given[w];
#endif
#if !defined(TRIM_AT_ONCE) && !defined(TRIM_NEVER)
        trim(w, i);
#endif
        if
        :: kind == claim && answer == queued -> answer = running; owner = w
        :: kind == last && owner == w -> finish()
        :: kind == release && owner == w -> hand_on(release_ends)
        :: else
        fi
    :: else
    fi;
    i = 0;
    if
    :: exists[w] ->
        seen = listed[w];
        do
        :: i < listed[w] && message(w, i) == cancel -> cancel_seen = true; i++
        :: i < listed[w] && message(w, i) != cancel -> i++
        :: else -> i = 0; break
        od
    :: else
    fi;
#ifdef TRIM_AT_ONCE
    i = seen;
    trim(w, i);
    i = 0;
#endif
    if
    :: breaks > 0 -> breaks--; lost[w] = kind
    :: true ->
        lost[w] = 0;
        given[w] = seen;
        if
        :: gone -> open[w] = false; sent[w] = 0; given[w] = 0; holds[w] = false; told[w] = false
        :: else ->
            holds[w] = (owner == w);
            told[w] = holds[w] && (told[w] || cancel_seen);
            if
            :: kind == release -> leaves_now = true
            :: else
            fi
        fi
    fi;
    gone = false;
    cancel_seen = false;
    seen = 0;
    if
    :: leaves_now -> leaves_now = false; die()
    :: else
    fi
}

inline die()
{
    alive[w] = false;
    frozen[w] = false;
    open[w] = false;
    sent[w] = 0;
    lost[w] = 0;
    holds[w] = false;
    told[w] = false;
    given[w] = 0
}

#define free(w) (runs(w) && open[w] && lost[w] == 0)

proctype worker(byte w)
{
    mtype kind;
    bool gone, cancel_seen, leaves_now;
    byte seen, i;
end:
    do
    :: atomic { answer != done && runs(w) && !open[w] && !exists[w] -> open[w] = true; exists[w] = true }
    :: atomic {
        if
        :: free(w) && !holds[w] && answer == queued -> sent[w]++; kind = claim
        :: free(w) && holds[w] && (told[w] || ends_itself) -> sent[w]++; kind = last
        /* to renew: modelled where it changes something */
        :: free(w) && !told[w] && (!exists[w] || listed[w] != 0 || given[w] != 0) -> sent[w]++; kind = step
        :: free(w) && leaves > 0 && holds[w] -> leaves--; sent[w]++; kind = release
        :: runs(w) && lost[w] != 0 -> kind = lost[w]
        fi;
        run_script();
        kind = 0
      }
    :: atomic { answer != done && leaves > 0 && alive[w] -> leaves--; die() }
    :: atomic { answer != done && freezes > 0 && runs(w) -> freezes--; frozen[w] = true }
    :: atomic { answer != done && frozen[w] -> frozen[w] = false }
    /* the reaper */
    :: atomic { answer != done && exists[w] && !runs(w) ->
        close_session(w);
        if
        :: owner == w -> hand_on(reap_ends)
        :: else
        fi
      }
    od
}

proctype front()
{
end:
    do
    :: atomic { attaches > 0 && answer == running -> attaches--; send_message(owner, attach) }
    :: atomic { !asked ->
        asked = true;
        cancelled = true;
        if
        :: answer == queued -> finish()
#ifdef CANCEL_WRITES
        :: answer == running -> assert(answer != done); answer = done
#else
        :: answer == running -> send_message(owner, cancel)
#endif
        :: answer == done
        fi
      }
    od
}

init {
    atomic {
        if
        :: ends_itself = true
        :: skip
        fi;
        run worker(0);
        run worker(1);
        run front()
    };
    answer == done
}
