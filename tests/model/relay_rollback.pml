/* SPDX-License-Identifier: MIT
 *
 * The relay when Redis forgets: a client on one of two fronts, two workers, one answer, and Redis that may come back in
 * any earlier state (the tail of its file is lost, or a replica takes over).
 *
 * The invariant: a client that was shown frame k is next shown frame k + 1 only if all frames before that are, byte for
 * byte, what it was shown. Otherwise it gets a typed error and nothing more.
 *
 * Rules of the protocol, with the race that each prevents (a macro breaks it):
 *
 * - A front shows a frame if its number is the next one and its hash is the hash of what was shown, continued over the
 *   frame. NO_HASH: after a rollback another worker writes the same numbers with other text.
 * - A number above the stored one + 1 tells a worker that Redis has forgotten something, so it opens a new session and
 *   rejoins. NO_SESSION_NUMBER: it does not notice, and writes what it does not own any more.
 * - A worker that rejoins replaces the log of Redis with its own if its own begins with it. REJOIN_ANY_LOG: it appends to
 *   the log of another worker.
 * - It takes the answer unless that is owned by a session that exists and that another worker opened. REJOIN_OWNED: two
 *   writers. OWN_SESSION_IS_LIVE: it gives up its answer to a session of its own (after two rollbacks, that is one before
 *   the last, so a session has its worker's name).
 * - A repeated rejoin is answered with what holds now. (The first one may have been refused, and its reply lost.)
 * - Rejoining takes the answer out of the queue, and the reaper queues only answers that the fenced session owns, not all
 *   in its set. REJOIN_LEAVES_QUEUED, REAP_ANY_OWNER: the answer is claimed by another worker, too.
 * - The names of sessions are random. COUNTED_SESSIONS: a counter that was rolled back names two sessions alike.
 * - A worker that connects to another run of Redis claims nothing for one lease, and gives up a session whose claim is
 *   still to be repeated. NO_GRACE: an answer that is running is in the queue again, and is claimed before its worker has
 *   rejoined, so that its clients get an error although the worker lives.
 * - A front that finds no answer, or a shorter log than it has shown, waits for one lease. NO_WAIT: it fails its client,
 *   although the worker lives and is about to rejoin.
 * - A front polls its answers once a second, since messages get lost. NO_POLL: it waits for ever. It compares the hash,
 *   too. POLL_BY_NUMBER: another log ends with the number that was shown, and it waits for ever.
 * - A front keeps the request until the first frame, and submits it again. NO_RESUBMIT: it is lost with the tail.
 * - Fronts reap as well, and end an answer for which no worker is left. ONLY_WORKERS_REAP: the last worker dies, and
 *   nobody fences its session.
 *
 * Checked by assertions: the invariant; only the owner writes, and a log has no hole; without a rollback the client is
 * shown the whole log; a client gets an error only if a worker died or was frozen, and only after a rollback or if no
 * worker is left. Each client gets the end or an error (no invalid end state, no cycle).
 *
 * Left out: what relay_session.pml has (lost requests, late copies, the reaper's passes). "One lease" is over when each
 * worker that runs has rejoined; the session of a worker that died or is frozen, or that its worker has given up, may
 * lapse at any time. A poll that would change nothing is not taken. A reply is read at once or lost; what is late is
 * modelled by messages to the front, which may be older than a rollback.
 */

#define SESSIONS 8 /* names; 0: none */

/* What may go wrong, in one check each: together it would be too much. */
#if defined(WORKER_FREEZES)
#define ROLLBACKS 1
#define DEATHS 0
#define FREEZES 1
#define BREAKS 0
#define FRONT_DEATHS 0
#elif defined(FRONT_DIES)
#define ROLLBACKS 1
#define DEATHS 1
#define FREEZES 0
#define BREAKS 0
#define FRONT_DEATHS 1
#elif defined(NOBODY_LEFT)
#define ROLLBACKS 1
#define DEATHS 2
#define FREEZES 0
#define BREAKS 0
#define FRONT_DEATHS 0
#elif defined(NO_ROLLBACK)
#define ROLLBACKS 0
#define DEATHS 2
#define FREEZES 1
#define BREAKS 1
#define FRONT_DEATHS 1
#elif defined(TWICE)
#define ROLLBACKS 2
#define DEATHS 1
#define FREEZES 0
#define BREAKS 0
#define FRONT_DEATHS 0
#define FRAMES 2
#else
#define ROLLBACKS 1
#define DEATHS 1
#define FREEZES 0
#define BREAKS 1
#define FRONT_DEATHS 0
#endif
#ifndef FRAMES
#define FRAMES 3 /* at most */
#endif

mtype = { absent, queued, running, done }; /* the answer */
mtype = { claim, step, rejoin };           /* scripts; a step without frames renews */
mtype = { watching, ended, failed };       /* the client */

#define bit(i) (1 << (i))
/* A log is its length and its frames, one bit each: the worker that wrote it. So it is its own hash. */
#define joins(a, b, length) ((((a) ^ (b)) & (bit(length) - 1)) == 0)
/* Its last frame ends the answer: worker 1 says less. */
#define ends(length, frames) ((length) == FRAMES || ((length) == FRAMES - 1 && ((frames) & bit(FRAMES - 2)) != 0))

/* Redis, and what it comes back with */
mtype answer = absent, old_answer;
byte session, old_session;  /* of the answer */
byte own, old_own;          /* sessions that have the answer in their set */
byte length, old_length;
byte frames, old_frames;
byte fronts, old_fronts;    /* whom frames are published to */
byte exist, old_exist;      /* sessions */
byte number[SESSIONS], old_number[SESSIONS];
bool opener[SESSIONS];      /* the session's worker */
byte names = 1, old_names;  /* next name of a session */
bool saved;

/* Workers */
bool alive[2] = true;
bool frozen[2];
byte mine[2];               /* sessions */
byte sent[2];               /* number of the last script */
mtype lost[2];              /* the last script, if its reply was lost: it is to be sent again */
bool holds[2];              /* its log; also after the end, since it may have to be brought back */
bool must_rejoin[2], must_renew[2];
byte has[2], text[2];

/* The client, and its front */
mtype client = watching;
byte front;
byte shown, shown_frames;
chan live = [1] of { byte, byte }; /* published to its front: a frame's number, and the log up to it */

byte rollbacks = ROLLBACKS;
byte deaths = DEATHS;
byte freezes = FREEZES;
byte breaks = BREAKS;
byte front_deaths = FRONT_DEATHS;
bool rolled_back, disturbed;

#define runs(w) (alive[w] && !frozen[w])
#define in_order(w) (mine[w] != 0 && (exist & bit(mine[w])) != 0 && sent[w] == number[mine[w]])
/* A worker that has yet to find out that Redis has forgotten what it did */
#define behind(w) (runs(w) && holds[w] && (must_rejoin[w] || !in_order(w)))

#if defined(REJOIN_OWNED)
#define owned_by_another(w) false
#elif defined(OWN_SESSION_IS_LIVE)
#define owned_by_another(w) true
#else
#define owned_by_another(w) (opener[session] != w)
#endif
#ifdef REJOIN_ANY_LOG
#define contradicts(w) false
#else
#define contradicts(w) !joins(text[w], frames, length)
#endif
#ifdef NO_GRACE
#define grace_is_over(w) true
#else
#define grace_is_over(w) (!must_renew[w] && !behind(1 - w))
#endif
#ifdef ONLY_WORKERS_REAP
#define somebody_reaps (runs(0) || runs(1))
#else
#define somebody_reaps true
#endif
#ifdef REAP_ANY_OWNER
#define owns(i) true
#else
#define owns(i) (session == i)
#endif
#ifdef NO_RESUBMIT
#define submits !rolled_back
#else
#define submits true
#endif
#ifdef NO_POLL
#define news false
#elif defined(POLL_BY_NUMBER)
#define news (length > shown)
#else
#define news (length > shown || (length == shown && frames != shown_frames))
#endif
#ifdef NO_WAIT
#define lease_is_over true
#else
#define lease_is_over (!behind(0) && !behind(1))
#endif

/* Redis has changed: it may come back in this state. */
inline changed()
{
    if
    :: rollbacks > 0 && !saved ->
        saved = true;
        old_answer = answer;
        old_session = session;
        old_own = own;
        old_length = length;
        old_frames = frames;
        old_fronts = fronts;
        old_exist = exist;
        old_names = names;
        do
        :: i < SESSIONS -> old_number[i] = number[i]; i++
        :: else -> i = 0; break
        od
    :: skip
    fi
}

inline append(to, all)
{
    do
    :: length < to ->
        frames = frames | (all & bit(length));
        if
        :: (fronts & bit(front)) != 0 && len(live) == 0 -> live ! length, (all & (bit(length + 1) - 1))
        :: skip /* lost, or nobody listens */
        fi;
        length++
    :: else -> break
    od;
    if
    :: ends(length, frames) -> answer = done; session = 0; own = 0
    :: else
    fi
}

inline forget()
{
    holds[w] = false;
    must_rejoin[w] = false;
    has[w] = 0;
    text[w] = 0
}

/* Redis runs the script of worker w, and it hears of it: or not, then it sends it again. */
inline run_script()
{
    s = mine[w];
    must_renew[w] = false;
    if
    :: (exist & bit(s)) == 0 -> reply = unknown /* gone */
#ifndef NO_SESSION_NUMBER
    :: (exist & bit(s)) != 0 && sent[w] > number[s] + 1 -> reply = unknown /* want */
    :: (exist & bit(s)) != 0 && sent[w] <= number[s] -> /* it was done */
        reply = accepted;
        if
        :: kind == rejoin && session != s && !(answer == done && length == has[w] && joins(text[w], frames, length)) ->
            reply = refused
        :: else
        fi
#endif
    :: else ->
        number[s] = sent[w];
        reply = accepted;
        if
        :: kind == claim && answer == queued -> answer = running; session = s; own = own | bit(s)
        :: kind == claim && answer != queued
        :: kind == step && has[w] > length && holds[w] ->
            assert(answer == running && session == s); /* only the owner writes */
            assert(has[w] == length + 1);              /* no hole */
            assert(joins(text[w], frames, length));
            append(has[w], text[w])
        :: kind == step && !(has[w] > length && holds[w])
        :: kind == rejoin ->
            if
            :: answer == running && (exist & bit(session)) != 0 && owned_by_another(w) -> reply = refused
            :: length > has[w] || contradicts(w) -> reply = refused
            :: else ->
                assert(joins(text[w], frames, length));
#ifdef REJOIN_LEAVES_QUEUED
                if
                :: answer != queued -> answer = running
                :: else
                fi;
#else
                answer = running;
#endif
                own = own | bit(s);
                session = s;
                append(has[w], text[w])
            fi
        fi;
        changed()
    fi;
    if
    :: breaks > 0 -> breaks--; lost[w] = kind
    :: true ->
        lost[w] = 0;
        if
        :: reply == unknown ->
            mine[w] = 0;
            sent[w] = 0;
            must_rejoin[w] = holds[w]
        :: reply == refused -> forget()
        :: else ->
            if
            :: kind == claim && answer == running && session == s ->
                holds[w] = true;
                has[w] = length;
                text[w] = frames
            :: kind == rejoin -> must_rejoin[w] = false
            :: else
            fi
        fi
    fi;
    reply = 0;
    s = 0
}

mtype = { accepted, unknown, refused };

#define free(w) (client == watching && runs(w) && mine[w] != 0 && lost[w] == 0)

proctype worker(byte w)
{
    mtype kind, reply;
    byte s, i;
end:
    do
    :: atomic { client == watching && runs(w) && mine[w] == 0 ->
        mine[w] = names;
        names++;
        exist = exist | bit(mine[w]);
        number[mine[w]] = 0;
        opener[mine[w]] = w;
        changed()
      }
    :: atomic {
        if
        :: free(w) && answer == queued && !holds[w] && grace_is_over(w) -> sent[w]++; kind = claim
        :: free(w) && must_rejoin[w] -> sent[w]++; kind = rejoin
        :: free(w) && holds[w] && !must_rejoin[w] && !ends(has[w], text[w]) ->
            text[w] = text[w] | (w << has[w]);
            has[w]++;
            sent[w]++;
            kind = step
        /* to renew: modelled where it changes something */
        :: free(w) && must_renew[w] && !must_rejoin[w] && (!holds[w] || ends(has[w], text[w])) -> sent[w]++; kind = step
        :: client == watching && runs(w) && lost[w] != 0 -> kind = lost[w]
        fi;
        run_script();
        kind = 0
      }
    :: atomic { client == watching && deaths > 0 && alive[w] ->
        deaths--;
        disturbed = true;
        alive[w] = false;
        frozen[w] = false;
        must_renew[w] = false;
        mine[w] = 0;
        sent[w] = 0;
        lost[w] = 0;
        forget()
      }
    :: atomic { client == watching && freezes > 0 && runs(w) -> freezes--; disturbed = true; frozen[w] = true }
    :: atomic { client == watching && frozen[w] -> frozen[w] = false; must_renew[w] = true }
    od
}

#define lapses(i) ((exist & bit(i)) != 0 && (mine[0] != i || !runs(0)) && (mine[1] != i || !runs(1)))

proctype reaper()
{
    byte reaped, i;
end:
    do
    :: atomic { client == watching && somebody_reaps &&
                (lapses(1) || lapses(2) || lapses(3) || lapses(4) || lapses(5) || lapses(6) || lapses(7)) ->
        if
        :: lapses(1) -> reaped = 1
        :: lapses(2) -> reaped = 2
        :: lapses(3) -> reaped = 3
        :: lapses(4) -> reaped = 4
        :: lapses(5) -> reaped = 5
        :: lapses(6) -> reaped = 6
        :: lapses(7) -> reaped = 7
        fi;
        exist = exist & ~bit(reaped);
        number[reaped] = 0;
        if
        :: (own & bit(reaped)) != 0 && answer == running && owns(reaped) -> answer = queued; session = 0
        :: else
        fi;
        own = own & ~bit(reaped);
        reaped = 0;
        changed()
      }
    od
}

/* A claim that is to be sent again would have to wait for the grace. */
inline reconnects(w)
{
    must_renew[w] = alive[w];
    if
    :: lost[w] == claim -> lost[w] = 0; mine[w] = 0; sent[w] = 0
    :: else
    fi
}

proctype rollback()
{
    byte i;
end:
    do
    :: atomic { client == watching && saved ->
        saved = false;
        rollbacks--;
        rolled_back = true;
        answer = old_answer; old_answer = 0;
        session = old_session; old_session = 0;
        own = old_own; old_own = 0;
        length = old_length; old_length = 0;
        frames = old_frames; old_frames = 0;
        fronts = old_fronts; old_fronts = 0;
        exist = old_exist; old_exist = 0;
#ifdef COUNTED_SESSIONS
        names = old_names;
#endif
        old_names = 0;
        do
        :: i < SESSIONS -> number[i] = old_number[i]; old_number[i] = 0; i++
        :: else -> i = 0; break
        od;
        reconnects(0);
        reconnects(1)
      }
    od
}

inline present(k, all)
{
    if
#ifndef NO_HASH
    :: !joins(all, shown_frames, k) -> fail() /* diverged */
#endif
    :: else ->
        assert(joins(all, shown_frames, k)); /* the invariant */
        shown_frames = shown_frames | (all & bit(k));
        shown++;
        if
        :: ends(shown, shown_frames) ->
            client = ended;
            assert(rolled_back || (length == shown && shown_frames == frames))
        :: else
        fi
    fi
}

inline fail()
{
    client = failed;
    assert(rolled_back || !(alive[0] || alive[1]));
    assert(disturbed)
}

proctype watcher()
{
    byte k, all, i;
end:
    do
    :: atomic { client == watching && answer == absent && shown == 0 && submits ->
        answer = queued;
        fronts = bit(front);
        changed()
      }
    :: atomic { client == watching && len(live) > 0 ->
        live ? k, all;
        if
        :: k == shown -> present(k, all)
        :: else /* known, or there is a gap, and the poll finds it */
        fi;
        k = 0;
        all = 0
      }
    /* once a second, and at the beginning */
    :: atomic { client == watching && answer != absent && ((fronts & bit(front)) == 0 || news) ->
        fronts = fronts | bit(front);
        if
#ifndef NO_HASH
        :: length >= shown && !joins(frames, shown_frames, shown) -> fail() /* diverged */
#endif
        :: else ->
            do
            :: client == watching && shown < length -> present(shown, frames)
            :: else -> break
            od
        fi;
        changed()
      }
    /* a lease has passed: lost */
    :: atomic { client == watching && length < shown && lease_is_over -> fail() }
    /* nobody is left who could write it */
    :: atomic { client == watching && answer == queued && !alive[0] && !alive[1] && !news -> fail() }
    :: atomic { client == watching && front_deaths > 0 ->
        front_deaths--;
        front = 1 - front;
        if
        :: len(live) > 0 -> live ? k, all; k = 0; all = 0
        :: else
        fi
      }
    od
}

init {
    byte i;
    atomic {
        changed();
        run worker(0);
        run worker(1);
        run reaper();
        run rollback();
        run watcher()
    };
    client != watching
}
