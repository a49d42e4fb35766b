/* SPDX-License-Identifier: MIT
 *
 * A stream is an append-only log of text records, with one writer and any number of readers, each
 * at a position of its own.
 *
 *     writer's thread                              reader's thread
 *     burble_stream_append(s, "Hello", 5, 1);      while (burble_reader_next(r, &rec) == BURBLE_OK)
 *     burble_stream_end(s, BURBLE_REASON_STOP);        fwrite(rec.text, 1, rec.len, stdout);
 *
 * The writer never waits for a reader, unless that reader has a limit (burble_reader_limit): how far
 * it may fall behind, and whether the writer then waits for it or goes on without it. Memory is bounded
 * only by such limits: a stream keeps what `keep` says, all that a reader without a limit has not read,
 * however much that is, and, before its first reader, everything.
 *
 * A reader that has read everything either blocks (burble_reader_wait) or parks, to be called by its
 * event loop (burble_reader_attach, _park).
 *
 * A stream is open until it has ended, failed or been cancelled, once and for all. A reader reports
 * that only after it has handed out every record before it.
 *
 * Forks. In a forked child, each function may be called for the parent's objects, and returns, whatever
 * the parent's other threads were doing. A stream that one of those threads writes has failed there, with
 * BURBLE_EDIED, after what was appended before the fork. One that the forking thread has written goes on
 * in both processes, each for itself; so does one that nobody has written (burble_stream_hand_over). Readers
 * of before the fork are at their positions, attached to no hub, and without a limit. An object that
 * another thread was making or destroying at the fork is not to be used.
 */
#ifndef BURBLE_STREAM_H
#define BURBLE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_stream burble_stream;
typedef struct burble_reader burble_reader;

/* The longest record, in bytes. */
#define BURBLE_RECORD_MAX ((size_t)1 << 30)

/* The longest message that a failure keeps, in bytes; a longer one is cut at a character. */
#define BURBLE_MESSAGE_MAX 1023

/* Retention: keep everything. */
#define BURBLE_KEEP_ALL UINT64_MAX

/* Positions for burble_reader_create, beside sequence numbers. */
#define BURBLE_FROM_OLDEST UINT64_MAX
#define BURBLE_FROM_TAIL (UINT64_MAX - 1)

/* A deadline for burble_stream_append_until: do not wait at all. */
#define BURBLE_NO_WAIT ((uint64_t)1)

/* One chunk of text. */
typedef struct burble_record {
    const char *text; /* the bytes as they were appended; not ended by NUL; never NULL */
    size_t len;       /* bytes; never 0 */
    uint32_t tokens;  /* how many tokens stand behind it */
    uint64_t seq;     /* its sequence number: 0, 1, 2 … in the stream */
} burble_record;

/* What a record weighs, where a limit says how much a reader may leave unread. */
typedef enum burble_lag_unit {
    BURBLE_LAG_BYTES = 0,      /* its `len` */
    BURBLE_LAG_CHARACTERS = 1, /* how many characters begin in it; its text is taken for UTF-8 */
    BURBLE_LAG_TOKENS = 2      /* its `tokens`; a record of no tokens weighs nothing */
} burble_lag_unit;

/* Called when a record's memory goes; its text is valid until the function returns. */
typedef void burble_release_fn(const burble_record *record, void *arg);

typedef struct burble_stream_options {
    /* How many bytes of text stay readable for readers that come later, after every reader has read
     * them. 0 (the default): none on purpose, as in a queue, where nothing goes before there was a
     * first reader. BURBLE_KEEP_ALL: everything. Memory is given back in blocks, so that somewhat
     * more may be left. */
    uint64_t keep;
    /* Cancel the stream when its last reader is destroyed, so that nobody generates for nobody.
     * Default: false. */
    bool cancel_when_unread;
    /* The thread that appends may exit before the stream has ended: whoever made it ends it. Default:
     * false: a stream whose producer has exited fails with BURBLE_EDIED. */
    bool producer_may_exit;
    /* The unit of its readers' limits. Default: bytes. */
    burble_lag_unit lag_unit;
    /* For records that own something: called with `release_arg`, once for each record that was
     * appended, read or not, when its memory goes. It runs in whatever thread lets go of that memory
     * (the writer's append, a call on a reader, the last unref), never while a lock of burble's is
     * held, and must not use this stream or its readers, nor fork. Default: NULL. */
    burble_release_fn *release;
    void *release_arg;
} burble_stream_options;

typedef enum burble_state {
    BURBLE_OPEN = 0,
    BURBLE_ENDED = 1,
    BURBLE_FAILED = 2,
    BURBLE_CANCELLED = 3
} burble_state;

/* Why a stream ended. */
typedef enum burble_reason {
    BURBLE_REASON_NONE = 0,   /* not said */
    BURBLE_REASON_STOP = 1,   /* the model ended its text, or a stop string was met */
    BURBLE_REASON_LENGTH = 2, /* the limit on the number of tokens */
    BURBLE_REASON_OTHER = 3
} burble_reason;

typedef struct burble_status {
    burble_state state;
    burble_reason reason; /* where ENDED, else BURBLE_REASON_NONE */
    int code;             /* where FAILED, its negative code, else 0 */
    const char *message;  /* where FAILED, else ""; valid while the stream is referenced */
} burble_status;

/* ---- making one ------------------------------------------------------------------------------ */

/* Fills in the defaults. */
BURBLE_API void burble_stream_options_init(burble_stream_options *options);

/* Makes an open, empty stream. `options` may be NULL for the defaults.
 *
 * BURBLE_OK      *out is the stream, with one reference, which the caller owns
 * BURBLE_EINVAL  there is no such `lag_unit`
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL. */
BURBLE_API int burble_stream_create(const burble_stream_options *options, burble_stream **out);

/* One more reference; returns `stream`. Any thread. */
BURBLE_API burble_stream *burble_stream_ref(burble_stream *stream);

/* Gives a reference back and sets *stream to NULL; the last one frees it. Every reader holds one.
 * NULL and a pointer to NULL are fine. Any thread. */
BURBLE_API void burble_stream_unref(burble_stream **stream);

/* ---- writing: one thread at a time ----------------------------------------------------------- */

/* Appends one record of `len` bytes that stands for `tokens` tokens, and wakes who waits. The bytes
 * are copied. With `len` 0 no record is made, and nothing is waited for, but the results are the
 * same. Where a reader is at its limit, see burble_reader_limit, this waits for it; what ends the
 * stream ends the waiting.
 *
 * The thread that appends is the stream's producer from then on: if it exits while the stream is
 * open, the stream fails with BURBLE_EDIED, unless its options say that it may.
 *
 * BURBLE_OK         done
 * BURBLE_ECANCELED  the stream was cancelled: stop generating. Nothing was appended.
 * BURBLE_ECLOSED    the stream has ended or failed already. Nothing was appended.
 * BURBLE_EINVAL     `len` is above BURBLE_RECORD_MAX, or `text` is NULL and `len` is not 0
 * BURBLE_ENOMEM     nothing was appended; the stream is still open */
BURBLE_API int burble_stream_append(burble_stream *stream, const char *text, size_t len,
                                    uint32_t tokens);

/* The same, waiting no longer than until `deadline`, in nanoseconds of CLOCK_MONOTONIC; 0: none;
 * BURBLE_NO_WAIT: not at all. A record for which there is room is appended whatever the deadline.
 *
 * Results as for burble_stream_append, and
 * BURBLE_EFULL      it would have had to wait, and was told not to. Nothing was appended.
 * BURBLE_ETIMEDOUT  the deadline passed while it waited. Nothing was appended. */
BURBLE_API int burble_stream_append_until(burble_stream *stream, const char *text, size_t len,
                                          uint32_t tokens, uint64_t deadline);

/* Waits as burble_stream_append_until would for a record of `weight`, in the stream's unit, and
 * appends nothing. For a writer that holds something while it appends which it must not hold while it
 * waits: it appends with BURBLE_NO_WAIT, and after BURBLE_EFULL waits here and tries again.
 *
 * BURBLE_OK  there is room, until a reader's limit is set or lowered
 * BURBLE_ECANCELED, BURBLE_ECLOSED, BURBLE_EFULL, BURBLE_ETIMEDOUT  as above */
BURBLE_API int burble_stream_wait_for_room(burble_stream *stream, uint64_t weight,
                                           uint64_t deadline);

/* Says that another thread will write the stream from now on, which counts as the producer until it appends:
 * the one that has written the stream so far may exit. A forked child does not have the new thread either:
 * its readers get BURBLE_EDIED, where they would otherwise wait for a first append that never comes.
 * burble_pool_run and burble_llama_engine_submit call it themselves. Not while a thread appends. */
BURBLE_API void burble_stream_hand_over(burble_stream *stream);

/* ---- ending: any thread ---------------------------------------------------------------------- */

/* Ends the stream. Of several calls of end, fail and cancel the first decides.
 *
 * BURBLE_OK         it has ended
 * BURBLE_ECANCELED  it had been cancelled before
 * BURBLE_ECLOSED    it had ended or failed before */
BURBLE_API int burble_stream_end(burble_stream *stream, burble_reason reason);

/* Fails the stream: its readers get `code` after what was written. `code` must be negative (one of
 * burble's or one of the caller's own); `message` (may be NULL) is copied. Results as for
 * burble_stream_end, and BURBLE_EINVAL where `code` is not negative. */
BURBLE_API int burble_stream_fail(burble_stream *stream, int code, const char *message);

/* Cancels the stream: the writer learns of it at its next append, readers after what was written.
 * Idempotent. Returns whether this call was the one that ended the stream. */
BURBLE_API bool burble_stream_cancel(burble_stream *stream);

/* How the stream stands. Any thread. */
BURBLE_API void burble_stream_status(const burble_stream *stream, burble_status *status);

/* The sequence number of the record to be appended next. A reader can be made there at once. Any
 * thread. */
BURBLE_API uint64_t burble_stream_position(const burble_stream *stream);

/* The sequence number of the oldest record that is retained; where none is, of the next one. Any
 * thread. */
BURBLE_API uint64_t burble_stream_oldest(burble_stream *stream);

/* ---- reading: one thread at a time for each reader ------------------------------------------- */

/* Makes a reader at `from`: a sequence number, BURBLE_FROM_OLDEST (the oldest record that is left) or
 * BURBLE_FROM_TAIL (whatever is appended from now on). It takes a reference to the stream. Any
 * thread.
 *
 * BURBLE_OK      *out is the reader, which the caller owns
 * BURBLE_EGONE   that record is no longer retained; *oldest (may be NULL) is the oldest that is left
 * BURBLE_EINVAL  beyond the next record to be written, whose sequence number is put into *oldest
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL. */
BURBLE_API int burble_reader_create(burble_stream *stream, uint64_t from, burble_reader **out,
                                    uint64_t *oldest);

/* Frees a reader and sets *reader to NULL; its function is not called again. NULL and a pointer to
 * NULL are fine. A reader that is attached to a hub: only in the hub's thread. */
BURBLE_API void burble_reader_destroy(burble_reader **reader);

/* What becomes of a reader that has reached its limit. */
typedef enum burble_on_lag {
    BURBLE_LAG_BLOCK = 0, /* the writer waits for it */
    BURBLE_LAG_DROP = 1   /* the writer goes on, and the reader loses its place */
} burble_on_lag;

/* Limits how far the reader may fall behind: what was appended and it has not yet been handed weighs
 * at most `max_lag`, in the stream's unit. 0: no limit (as it is from the beginning). A record that
 * weighs more than `max_lag` passes once the reader has read everything before it. Where the reader is
 * beyond its new limit already, the next append finds it there. Any number of times.
 *
 * A writer that waits goes on when a quarter of the limit has become free, so that it and a slow
 * reader do not wake each other for every record.
 *
 * A reader that was dropped keeps no memory of the stream's alive but the last record that it was
 * handed, until the next call on it. It still counts as a reader until it is destroyed.
 *
 * BURBLE_OK       from the next append on
 * BURBLE_EINVAL   there is no such `on_lag`
 * BURBLE_ELAGGED  the reader was dropped before
 * BURBLE_ENOMEM   the limit is what it was */
BURBLE_API int burble_reader_limit(burble_reader *reader, uint64_t max_lag, burble_on_lag on_lag);

/* The next record. Never waits.
 *
 * BURBLE_OK         *record is it; its text is valid until the next call on this reader
 * BURBLE_AGAIN      nothing there yet; the stream is open
 * BURBLE_END        the stream has ended, and all of it was read
 * BURBLE_ECANCELED  the stream was cancelled, and all of it was read
 * BURBLE_ELAGGED    the reader fell behind its limit and was dropped; burble_reader_position says where
 * another error     the stream has failed with this code, and all of it was read
 * Once it has reported an end it reports the same for ever. */
BURBLE_API int burble_reader_next(burble_reader *reader, burble_record *record);

/* The sequence number of the record that burble_reader_next would hand out next, or would have, had
 * the reader not been dropped. */
BURBLE_API uint64_t burble_reader_position(const burble_reader *reader);

/* Blocks the calling thread until there may be something to read, or an end. `deadline` is in
 * nanoseconds of CLOCK_MONOTONIC; 0: none. Detaches the reader from a hub.
 *
 * BURBLE_OK         look: burble_reader_next (which may, rarely, still say BURBLE_AGAIN)
 * BURBLE_ETIMEDOUT  the deadline passed
 * BURBLE_ENOMEM     it could not wait */
BURBLE_API int burble_reader_wait(burble_reader *reader, uint64_t deadline);

/* Called by burble_hub_dispatch when a parked reader has something to read, or, rarely, nothing. */
typedef void burble_ready_fn(burble_reader *reader, void *arg);

/* Attaches the reader to a hub, and so to the hub's thread; detaches it from where it was. A hub of
 * NULL only detaches. Only in the hub's thread; after a move from another hub, that one's functions
 * are no longer called for this reader.
 *
 * BURBLE_OK
 * BURBLE_ENOMEM  the reader is attached to nothing */
BURBLE_API int burble_reader_attach(burble_reader *reader, burble_hub *hub, burble_ready_fn *ready,
                                    void *arg);

/* Parks an attached reader: its function is called, once, when there is something to read.
 *
 * BURBLE_AGAIN      parked
 * BURBLE_OK         do not wait: something is there already (its function may be called all the same)
 * BURBLE_EDETACHED  it is attached to no hub, or to one that was destroyed or made before a fork */
BURBLE_API int burble_reader_park(burble_reader *reader);

/* Ends the reader's waiting, for good: burble_reader_wait returns BURBLE_OK, where a thread is in it
 * and whenever it is called again; a parked reader's function is called; burble_reader_park says
 * BURBLE_OK. Reading goes on as before. Any thread, while nobody destroys the reader. */
BURBLE_API void burble_reader_interrupt(burble_reader *reader);

#ifdef __cplusplus
}
#endif

#endif
