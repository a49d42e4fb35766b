/* SPDX-License-Identifier: MIT
 *
 * The relay's sessions: two workers that die, freeze, drain and lose connections take turns at writing one answer.
 *
 * Redis runs each script as one step. Its state here: whether the answer is queued, running or done, who owns it, its
 * log, and for each worker's session whether it exists, its number, its lease and the reaper's mark.
 *
 * Rules of the protocol, with the race that each prevents (a macro breaks it):
 *
 * - A script of a session carries the session's next number, and is sent again, unchanged, on a new connection until its
 *   reply has come. Redis may have run it already (the reply was lost), or run the first copy after the second (it was
 *   left in the buffer of the broken connection). A number that is not above the stored one changes nothing.
 *   NO_SESSION_NUMBER: a frame is written twice.
 * - That holds for claims, too. NO_NUMBER_ON_CLAIM: the reply of a claim is lost, so that the answer is owned by a session
 *   that renews its lease for ever, and nobody writes it.
 * - It holds for rejoining, too. NO_NUMBER_ON_REJOIN: a late copy takes back an answer that was released since.
 * - A claim takes the answer and reads its log in one script. LOG_BEFORE_CLAIM: the former owner appends a frame in
 *   between, and the successor continues an incomplete log.
 * - The reaper marks a lapsed session, and fences it a second later if it is still lapsed. ONE_PASS: Redis itself was
 *   frozen, so that every lease has lapsed, and live workers are fenced before Redis reads what waits in its sockets.
 * - A fence deletes the session, and scripts of a session that does not exist do nothing, claims included. NO_FENCE: a
 *   worker that was frozen writes beside its successor, or a late claim makes it own what it will not write.
 * - A worker that was fenced takes its answer back only if nobody owns it, and if its log begins with that of Redis.
 *   REJOIN_OWNED: two writers. REJOIN_ANY_LOG: frames that do not continue the log.
 *
 * Checked: only the owner writes, each frame continues all frames before it and none is refused, no worker is fenced that
 * was neither dead nor frozen (assertions); the answer ends (no invalid end state, no cycle) if one worker is left.
 *
 * Left out: rollbacks of Redis (relay_rollback.pml) and cancelling (relay_cancel.pml). Opening a session is one step: its
 * name is random, so that repeating it is harmless. A live worker renews in time, so its lease lapses only while it or
 * Redis is frozen; a partition is a freeze. Redis freezes once: a mark that is older than some seconds must not count.
 */

#define WORKERS 2
#define FRAMES 3 /* the last one ends the answer */
#define NOBODY 2
/* What may go wrong, in one check each: together it would be too much. */
#if defined(LEASES)
#define BREAKS 0
#define FREEZES 1
#define REDIS_FREEZES true
#define LEAVES true
#elif defined(CONNECTIONS)
#define BREAKS 3
#define FREEZES 0
#define REDIS_FREEZES false
#define LEAVES true
#else
#define BREAKS 1
#define FREEZES 1
#define REDIS_FREEZES false
#define LEAVES true
#endif

mtype = { queued, running, done };                 /* the answer */
mtype = { claim, step, renew, release, rejoin };   /* scripts; `renew` is a step without frames */
mtype = { idle, sent, executed, broken };          /* what a worker knows of its last script */
mtype = { accepted, gone, refused };               /* replies */

/* A log is its length and its frames, one bit each: the worker that wrote it. So it is its own hash. */
typedef Script { mtype kind; byte session, number, length, frames }
#define same_prefix(a, b, length) (((a) ^ (b)) & ((1 << (length)) - 1)) == 0

/* Redis */
mtype answer = queued;
byte owner = NOBODY;
byte length, frames;
byte session[WORKERS];      /* 0: none. Names are never used again */
byte number[WORKERS];
bool lapsed[WORKERS];
byte mark[WORKERS];         /* 0, 1: by the first pass, 2: a second ago */
bool redis_frozen;

/* Workers */
bool alive[WORKERS] = true;
bool frozen[WORKERS], was_frozen[WORKERS];
bool draining[WORKERS];
byte opened[WORKERS];
byte mine[WORKERS];         /* its session; 0: none */
mtype connection[WORKERS] = idle;
mtype reply[WORKERS] = gone;
Script script[WORKERS];     /* the last one sent */
Script copy[WORKERS];       /* one more, in the buffer of a broken connection; number 0: none */
bool holds[WORKERS];        /* its log */
bool must_rejoin[WORKERS];
byte has[WORKERS], text[WORKERS];
byte claimed_length[WORKERS], claimed_frames[WORKERS]; /* in the reply of a claim */

byte breaks = BREAKS;
byte freezes = FREEZES;
bool redis_freezes = REDIS_FREEZES;
bool leaves = LEAVES;            /* one worker may die or drain */

#define empty(script) script.number = 0; script.kind = 0; script.session = 0; script.length = 0; script.frames = 0
#define copied(to, from) to.number = from.number; to.kind = from.kind; to.session = from.session; \
    to.length = from.length; to.frames = from.frames

inline append(w, s)
{
    if
    :: s.length > length ->
        assert(answer == running && owner == w);
        assert(s.length == length + 1 || s.kind == rejoin);
        assert(same_prefix(s.frames, frames, length));
        length = s.length;
        frames = s.frames;
        if
        :: length == FRAMES -> answer = done; owner = NOBODY
        :: else
        fi
    :: else -> assert(s.length == length && s.kind != step) /* a frame of the owner is never refused */
    fi
}

/* Redis runs the script `s` of worker `w`. */
inline execute(w, s, result)
{
    result = accepted;
    if
#ifndef NO_FENCE
    :: session[w] != s.session -> result = gone
#endif
#if defined(NO_NUMBER_ON_REJOIN)
    :: session[w] == s.session && s.number <= number[w] && s.kind != rejoin
#elif !defined(NO_SESSION_NUMBER)
    :: session[w] == s.session && s.number <= number[w] /* it was done */
#endif
    :: else ->
        lapsed[w] = false;
        mark[w] = 0;
#if defined(NO_NUMBER_ON_REJOIN)
        if
        :: s.number > number[w] -> number[w] = s.number
        :: else
        fi;
#else
#ifndef NO_SESSION_NUMBER
        assert(s.number == number[w] + 1);
#endif
        number[w] = s.number;
#endif
        if
        :: s.kind == claim && answer == queued -> answer = running; owner = w
        :: s.kind == claim && answer != queued
        :: s.kind == step -> append(w, s)
        :: s.kind == renew
        :: s.kind == release ->
            append(w, s);
            if
            :: answer == running -> answer = queued; owner = NOBODY
            :: else
            fi
        :: s.kind == rejoin ->
            if
#ifdef REJOIN_OWNED
            :: answer != done &&
#else
            :: answer == queued &&
#endif
#ifndef REJOIN_ANY_LOG
                s.length >= length && same_prefix(s.frames, frames, length) ->
#else
                true ->
#endif
                answer = running;
                owner = w;
                append(w, s)
            :: else
            fi
        fi
    fi;
    if
    :: result == accepted && s.kind == rejoin && owner != w -> result = refused
    :: else
    fi
}

inline send(what, size, bits)
{
    script[w].kind = what;
    script[w].number++;
    script[w].session = mine[w];
    script[w].length = size;
    script[w].frames = bits;
    connection[w] = sent
}

inline forget()
{
    holds[w] = false;
    must_rejoin[w] = false;
    has[w] = 0;
    text[w] = 0
}

inline understand()
{
    connection[w] = idle;
    stops = false;
    if
    :: reply[w] == gone ->
        mine[w] = 0;
        script[w].number = 0;
        must_rejoin[w] = holds[w]
    :: reply[w] == refused -> forget()
    :: else ->
        if
        :: script[w].kind == claim && claimed_length[w] != FRAMES + 1 ->
            holds[w] = true;
            has[w] = claimed_length[w];
            text[w] = claimed_frames[w]
        :: script[w].kind == release -> stops = true
        :: script[w].kind == rejoin -> must_rejoin[w] = false
        :: else
        fi;
        if
        :: has[w] == FRAMES -> forget()
        :: else
        fi
    fi;
    claimed_length[w] = 0;
    claimed_frames[w] = 0;
    reply[w] = gone;
    nothing_sent();
    if
    :: stops -> stops = false; die()
    :: else
    fi
}

inline nothing_sent()
{
    script[w].kind = 0;
    script[w].session = 0;
    script[w].length = 0;
    script[w].frames = 0
}

/* Also of what nobody will ask any more: fewer states. */
inline die()
{
    alive[w] = false;
    frozen[w] = false;
    draining[w] = false;
    forget();
    mine[w] = 0;
    if
    :: connection[w] == sent && copy[w].number == 0 -> copied(copy[w], script[w])
    :: else
    fi;
    connection[w] = idle;
    reply[w] = gone;
    claimed_length[w] = 0;
    claimed_frames[w] = 0;
    nothing_sent();
    script[w].number = 0
}

#define runs(w) (alive[w] && !frozen[w])

proctype worker(byte w)
{
    bool stops;
end:
    do
    :: atomic { runs(w) && connection[w] == idle && mine[w] == 0 ->
        opened[w]++;
        mine[w] = opened[w];
        session[w] = opened[w];
        number[w] = 0;
        lapsed[w] = false;
        mark[w] = 0
      }
    :: atomic { runs(w) && connection[w] == idle && mine[w] != 0 && !holds[w] && answer == queued && !draining[w] ->
        send(claim, 0, 0);
#ifdef LOG_BEFORE_CLAIM
        claimed_length[w] = length;
        claimed_frames[w] = frames
#endif
      }
    :: atomic { runs(w) && connection[w] == idle && mine[w] != 0 && must_rejoin[w] -> send(rejoin, has[w], text[w]) }
    :: atomic { runs(w) && connection[w] == idle && mine[w] != 0 && holds[w] && !must_rejoin[w] && !draining[w] ->
        text[w] = text[w] | (w << has[w]);
        has[w]++;
        send(step, has[w], text[w])
      }
    :: atomic { runs(w) && connection[w] == idle && mine[w] != 0 && holds[w] && !must_rejoin[w] && draining[w] ->
        if
        :: text[w] = text[w] | (w << has[w]); has[w]++
        :: skip
        fi;
        send(release, has[w], text[w])
      }
    :: atomic { runs(w) && connection[w] == idle && draining[w] && !holds[w] -> die() }
    /* to renew: modelled where it changes something */
    :: atomic { runs(w) && connection[w] == idle && mine[w] != 0 && !must_rejoin[w] &&
                (lapsed[w] || session[w] != mine[w]) ->
        send(renew, has[w], text[w])
      }
#ifdef NO_NUMBER_ON_CLAIM
    :: atomic { runs(w) && connection[w] == broken ->
        if
        :: script[w].kind == claim ->
            connection[w] = idle; /* it cannot be sent again */
            claimed_length[w] = 0;
            claimed_frames[w] = 0;
            script[w].number = number[w]
        :: else -> connection[w] = sent
        fi
      }
#else
    :: atomic { runs(w) && connection[w] == broken -> connection[w] = sent }
#endif
    :: atomic { runs(w) && connection[w] == executed -> understand() }
    od
}

proctype redis(byte w)
{
    mtype ignored;
end:
    do
    :: atomic { !redis_frozen && connection[w] == sent ->
        execute(w, script[w], reply[w]);
        if
        :: script[w].kind == claim && reply[w] == accepted && owner == w ->
#ifndef LOG_BEFORE_CLAIM
            claimed_length[w] = length;
            claimed_frames[w] = frames
#endif
            skip
        :: script[w].kind == claim && !(reply[w] == accepted && owner == w) -> claimed_length[w] = FRAMES + 1 /* nothing */
        :: else
        fi;
        connection[w] = executed
      }
    :: atomic { !redis_frozen && copy[w].number != 0 -> execute(w, copy[w], ignored); ignored = 0; empty(copy[w]) }
    od
}

proctype faults(byte w)
{
end:
    do
    :: atomic { answer != done && breaks > 0 && connection[w] == sent ->
        breaks--;
        connection[w] = broken;
        if
        :: copy[w].number == 0 -> copied(copy[w], script[w])
        :: skip
        fi
      }
    :: atomic { answer != done && breaks > 0 && connection[w] == executed -> breaks--; connection[w] = broken; reply[w] = gone }
    :: atomic { answer != done && freezes > 0 && runs(w) -> freezes--; frozen[w] = true; was_frozen[w] = true }
    :: atomic { frozen[w] -> frozen[w] = false }
    :: atomic { answer != done && leaves && alive[w] -> leaves = false; die() }
    :: atomic { answer != done && leaves && runs(w) && !draining[w] -> leaves = false; draining[w] = true }
    /* time passes for the session of a worker that does not renew it */
    :: atomic { answer != done && session[w] != 0 && !lapsed[w] && (!runs(w) || redis_frozen) -> lapsed[w] = true }
    :: atomic { answer != done && mark[w] == 1 && (!runs(w) || redis_frozen) -> mark[w] = 2 }
    od
}

proctype clock()
{
end:
    do
    :: atomic { answer != done && redis_freezes && !redis_frozen -> redis_freezes = false; redis_frozen = true }
    :: atomic { redis_frozen -> redis_frozen = false }
    od
}

proctype reaper(byte w)
{
end:
    do
    :: atomic { answer != done && !redis_frozen && lapsed[w] && mark[w] == 0 -> mark[w] = 1 }
#ifdef ONE_PASS
    :: atomic { answer != done && !redis_frozen && lapsed[w] ->
#else
    :: atomic { answer != done && !redis_frozen && lapsed[w] && mark[w] == 2 ->
#endif
        assert(!alive[w] || was_frozen[w]);
        session[w] = 0;
        number[w] = 0;
        lapsed[w] = false;
        mark[w] = 0;
        if
        :: owner == w -> owner = NOBODY; answer = queued
        :: else
        fi
      }
    od
}

init {
    atomic {
        byte i = 0;
        do
        :: i < WORKERS -> run worker(i); run redis(i); run faults(i); run reaper(i); i++
        :: else -> break
        od;
        i = 0;
        run clock()
    };
    answer == done
}
