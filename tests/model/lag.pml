/* SPDX-License-Identifier: MIT
 *
 * The writer that waits for limited readers (lag.h), step by step: a writer, two readers with limits of
 * their own, of which one may leave at any time, and one who cancels. Each step is one atomic operation
 * of the source, or what is done with the lag's lock held and touches nothing that others touch without.
 *
 * Checked: the writer never sleeps beside room or an end (no invalid end state), and never goes further
 * than a limit allows.
 */

#define READERS 2
#define RECORDS 5
#define NEVER 255

byte max[READERS];
byte consumed[READERS];
byte wake_at[READERS] = NEVER;
byte goal[READERS];     /* with `lock`; 0: none */
bool listed[READERS];   /* with `lock` */
byte written;           /* the writer's own; also what readers may read */
byte admit_to;          /* 0: look */
bool closed, writer_waits, signalled, lock;

#define acquire() atomic { !lock -> lock = true }
#define release() lock = false
#define lag(i) (written - consumed[i])
#define reached(i) (!listed[i] || goal[i] == 0)
#define full(i) (listed[i] && lag(i) != 0 && lag(i) + 1 > max[i])

/* goal_of, for a record that weighs 1 */
#define room(i) (max[i] / 4 > 1 -> max[i] / 4 : 1)
#define goal_of(i) (room(i) < max[i] -> written - (max[i] - room(i)) : written)

/* set_goals, for one reader: with the lock held */
inline set_goal(i)
{
    if
    :: listed[i] && goal[i] != 0 ->
#ifndef NO_WAKE_AT_AGAIN
        wake_at[i] = goal[i]
#endif
    :: listed[i] && goal[i] == 0 ->
        if
        :: full(i) -> goal[i] = goal_of(i); wake_at[i] = goal[i]
        :: else
        fi
    :: else
    fi
}

/* goals_reached, for one reader */
inline look_at_goal(i)
{
    if
    :: listed[i] && goal[i] != 0 && consumed[i] >= goal[i] -> goal[i] = 0; wake_at[i] = NEVER
    :: else
    fi
}

inline forget_goal(i)
{
    goal[i] = 0;
    wake_at[i] = NEVER
}

/* wait_for_room: with the lock held */
inline wait_for_room()
{
    if
    :: full(0) || full(1) ->
#ifndef NO_WRITER_WAITS
        writer_waits = true;
#endif
        do
        ::
#ifdef LOOK_FIRST
            look_at_goal(0);
            look_at_goal(1);
            if
            :: closed -> break
            :: else
            fi;
            set_goal(0);
            set_goal(1);
            if
            :: reached(0) && reached(1) -> break
            :: else
            fi;
#else
            set_goal(0);
            set_goal(1);
#ifndef NO_LOOK_AT_THE_END
            if
            :: closed -> break
            :: else
            fi;
#endif
#ifndef NO_LOOK_AT_ROOM
            look_at_goal(0);
            look_at_goal(1);
#endif
            if
            :: reached(0) && reached(1) -> break
            :: else
            fi;
#endif
            release();
            atomic { signalled -> signalled = false }; /* burble__parker_wait */
            acquire()
        od;
        writer_waits = false;
        forget_goal(0);
        forget_goal(1)
    :: else
    fi
}

/* burble_stream_append_until, burble__lag_admit, burble_stream_end */
proctype writer()
{
    byte i, least;
    do
    :: closed || written == RECORDS -> break
    :: else ->
        if
        :: written + 1 > admit_to ->
            acquire();
            wait_for_room();
            if
            :: closed -> release(); break
            :: else
            fi;
            atomic { /* admitted_by_all: a reader only goes forward, so each may be too little */
                least = NEVER;
                i = 0;
                do
                :: i < READERS ->
                    if
                    :: listed[i] && consumed[i] + max[i] < least -> least = consumed[i] + max[i]
                    :: else
                    fi;
                    i++
                :: else -> break
                od
            };
            admit_to = least;
            release()
        :: else
        fi;
        atomic {
            assert(!full(0) && !full(1));
            written++
        }
    od;
    closed = true
}

/* make_writer_look */
inline make_writer_look()
{
    admit_to = 0;
#ifndef NO_SIGNAL_OF_CHANGE
    if
    :: writer_waits -> signalled = true
    :: else
    fi
#endif
}

/* burble_reader_next, burble__limit_consumed; reader 1 may leave: burble_reader_destroy */
proctype reader(byte i)
{
    do
    :: consumed[i] < written ->
#ifdef LOOK_AT_WAKE_AT_FIRST
        if
        :: consumed[i] + 1 >= wake_at[i] ->
            consumed[i]++;
            wake_at[i] = NEVER;
            signalled = true
        :: else -> consumed[i]++
        fi
#else
        consumed[i]++;
        if
        :: consumed[i] >= wake_at[i] -> wake_at[i] = NEVER; signalled = true
        :: else
        fi
#endif
    :: closed -> goto stop /* need not read on, nor go */
    :: i == 1 -> break
    od;
    acquire(); /* take_out */
    listed[i] = false;
    make_writer_look();
    release();
stop:
    skip
}

/* burble_stream_cancel, burble__lag_closed */
proctype canceller()
{
    if
    :: closed = true;
#ifndef NO_SIGNAL_OF_END
        if
        :: writer_waits -> signalled = true
        :: else
        fi
#endif
    :: skip
    fi
}

init {
    atomic {
        max[0] = 1;
        max[1] = 4; /* a quarter is as much as a record */
        listed[0] = true;
        listed[1] = true;
        run writer();
        run reader(0);
        run reader(1);
        run canceller()
    }
}
