/* SPDX-License-Identifier: MIT */
/** @file
 *
 * A stream is an append-only log of text records, with one writer and any number of readers, each
 * at a position of its own.
 *
 *     writer's thread                              reader's thread
 *     burble_stream_append(s, "Hello", 5, 1);      while (burble_reader_next(r, &rec) == BURBLE_OK)
 *     burble_stream_end(s, BURBLE_REASON_STOP);        fwrite(rec.text, 1, rec.len, stdout);
 *
 * The writer never waits for a reader without a limit. A limit (burble_reader_limit) says how far a
 * reader may fall behind, and whether the writer then waits for it or drops it. Only such limits bound
 * the memory of a stream: it keeps the text that `keep` asks for, all text that a reader without a limit
 * has not read, and, before its first reader exists, all text.
 *
 * A reader that has read everything either blocks (burble_reader_wait) or parks: then its event loop
 * calls its function when there is more (burble_reader_attach, burble_reader_next_or_park).
 *
 * A stream is open until it ends, fails or is cancelled, and then stays so. A reader reports this only
 * after it has returned every record.
 *
 * Forks. In a forked child, every function may be called for the parent's objects, and returns, whatever
 * the parent's other threads were doing at the fork. A stream that one of those threads writes has failed
 * in the child with BURBLE_EDIED, after the records that were appended before the fork. A stream that the
 * forking thread has written goes on in both processes independently; so does a stream that no thread has
 * written yet (but see burble_stream_hand_over). Readers created before the fork keep their positions in
 * the child, but are attached to no hub and have no limit. Do not use an object that another thread was
 * creating or destroying at the fork.
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

/** The longest record, in bytes. */
#define BURBLE_RECORD_MAX ((size_t)1 << 30)

/** The longest message of a failure, in bytes; a longer one is cut at a character boundary. */
#define BURBLE_MESSAGE_MAX 1023

/** Retention: keep everything. */
#define BURBLE_KEEP_ALL UINT64_MAX

/** Positions for burble_reader_create, in addition to sequence numbers. */
#define BURBLE_FROM_OLDEST UINT64_MAX
#define BURBLE_FROM_TAIL (UINT64_MAX - 1)

/** A deadline for burble_stream_append_until: do not wait at all. */
#define BURBLE_NO_WAIT ((uint64_t)1)

/** One chunk of text. */
typedef struct burble_record {
    const char *text;     /**< the bytes as they were appended; not terminated by NUL; never NULL */
    size_t len;           /**< bytes; never 0 */
    uint64_t seq;         /**< its sequence number in the stream: 0, 1, 2 … */
    uint32_t tokens;      /**< the number of tokens that the record represents */
    uint32_t reserved[3]; /**< 0: see burble.h */
} burble_record;

/** What a limit counts of the records that a reader has not read. */
typedef enum burble_lag_unit {
    BURBLE_LAG_BYTES = 0,      /**< its `len` */
    BURBLE_LAG_CHARACTERS = 1, /**< the number of characters that begin in it, read as UTF-8 */
    BURBLE_LAG_TOKENS = 2      /**< its `tokens`; a record of 0 tokens weighs nothing */
} burble_lag_unit;

/** Called when the memory of a record is freed; the text is valid until the function returns. */
typedef void burble_release_fn(const burble_record *record, void *arg);

typedef struct burble_stream_options {
    /** How many bytes of text the stream keeps for later readers after every present reader has read
     * them. 0 (the default): none, as in a queue; before the first reader exists, all text is kept.
     * BURBLE_KEEP_ALL: everything. Memory is freed in blocks, so somewhat more may be kept. */
    uint64_t keep;
    /** Cancel the stream when its last reader is destroyed, so that generation stops when no reader is
     * left. Default: false. */
    bool cancel_when_unread;
    /** The thread that appends may exit before the stream has ended; the owner of the stream then ends
     * it. Default: false: a stream whose producer has exited fails with BURBLE_EDIED. */
    bool producer_may_exit;
    /** The unit of its readers' limits. Default: bytes. */
    burble_lag_unit lag_unit;
    /** For records that own something: called with `release_arg`, once for each appended record,
     * read or not, when its memory is freed. It runs in the thread that frees the memory (in the
     * writer's append, a call on a reader, or the last unref), and never while burble holds a lock.
     * It must not use this stream or its readers, and must not fork. Default: NULL. */
    burble_release_fn *release;
    void *release_arg;
    uint64_t reserved[6]; /**< 0: see burble.h */
} burble_stream_options;

typedef enum burble_state {
    BURBLE_OPEN = 0,
    BURBLE_ENDED = 1,
    BURBLE_FAILED = 2,
    BURBLE_CANCELLED = 3
} burble_state;

/** Why a stream ended. */
typedef enum burble_reason {
    BURBLE_REASON_NONE = 0,   /**< no reason was given */
    BURBLE_REASON_STOP = 1,   /**< the model ended its text, or a stop string was found */
    BURBLE_REASON_LENGTH = 2, /**< the limit on the number of tokens was reached */
    BURBLE_REASON_OTHER = 3
} burble_reason;

typedef struct burble_status {
    burble_state state;
    burble_reason reason; /**< if ENDED; else BURBLE_REASON_NONE */
    int code;             /**< if FAILED, its negative code; else 0 */
    const char *message;  /**< if FAILED; else "". Valid while you hold a reference to the stream */
    uint64_t reserved[3]; /**< 0: see burble.h */
} burble_status;

/* ---- creating -------------------------------------------------------------------------------- */

/** Fills in the defaults. */
BURBLE_API void burble_stream_options_init(burble_stream_options *options);

/** Creates an open, empty stream. If `options` is NULL, the defaults apply.
 *
 * @retval BURBLE_OK      *out is the stream, with one reference, which the caller owns
 * @retval BURBLE_EINVAL  `lag_unit` is not valid, or `reserved` is not 0
 * @retval BURBLE_ENOMEM  out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL. */
BURBLE_API int burble_stream_create(const burble_stream_options *options, burble_stream **out);

/** Takes one more reference; returns `stream`. Any thread may call it. */
BURBLE_API burble_stream *burble_stream_ref(burble_stream *stream);

/** Drops a reference and sets *stream to NULL. Dropping the last reference frees the stream. Every reader
 * holds a reference. NULL and a pointer to NULL are allowed. Any thread may call it. */
BURBLE_API void burble_stream_unref(burble_stream **stream);

/* ---- writing: one thread at a time ----------------------------------------------------------- */

/** Appends one record of `len` bytes that represents `tokens` tokens, and wakes the waiting readers. The
 * bytes are copied. If `len` is 0, no record is created and the call does not wait, but it returns
 * the same codes. If a reader is at its limit with BURBLE_LAG_BLOCK (burble_reader_limit), the call waits for
 * that reader, or until the stream ends, fails or is cancelled.
 *
 * The thread that appends is the stream's producer from then on: if it exits while the stream is open,
 * the stream fails with BURBLE_EDIED, unless the option producer_may_exit is true.
 *
 * @retval BURBLE_OK         the record was appended
 * @retval BURBLE_ECANCELED  the stream was cancelled: stop generating. Nothing was appended.
 * @retval BURBLE_ECLOSED    the stream has already ended or failed. Nothing was appended.
 * @retval BURBLE_EINVAL     `len` is above BURBLE_RECORD_MAX, or `text` is NULL and `len` is not 0
 * @retval BURBLE_ENOMEM     nothing was appended; the stream is still open */
BURBLE_API int burble_stream_append(burble_stream *stream, const char *text, size_t len,
                                    uint32_t tokens);

/** As burble_stream_append, but waits no longer than until `deadline`, in nanoseconds of CLOCK_MONOTONIC.
 * 0: no deadline. BURBLE_NO_WAIT: do not wait. If there is room, the record is appended even if the
 * deadline has passed.
 *
 * Results as for burble_stream_append, and
 * @retval BURBLE_EFULL      `deadline` is BURBLE_NO_WAIT, and there is no room. Nothing was appended.
 * @retval BURBLE_ETIMEDOUT  the deadline passed while the call waited. Nothing was appended. */
BURBLE_API int burble_stream_append_until(burble_stream *stream, const char *text, size_t len,
                                          uint32_t tokens, uint64_t deadline);

/** Waits for room as burble_stream_append_until does for a record of `weight` (in the stream's unit), but
 * appends nothing. For a writer that holds a lock while it appends and must not hold it while it waits:
 * append with BURBLE_NO_WAIT; after BURBLE_EFULL, release the lock, call this function, and append again.
 *
 * @retval BURBLE_OK  there is room. (Setting or lowering a limit may take it away.)
 *
 * BURBLE_ECANCELED, BURBLE_ECLOSED, BURBLE_EFULL, BURBLE_ETIMEDOUT  as above */
BURBLE_API int burble_stream_wait_for_room(burble_stream *stream, uint64_t weight,
                                           uint64_t deadline);

/** Announces that another thread will write the stream from now on; the thread that has written it so far
 * may then exit. A forked child does not have the announced thread: if the fork happens before that
 * thread's first append, the stream fails in the child with BURBLE_EDIED. Without this call, readers in
 * the child would wait for an append that never comes. burble_pool_run and burble_llama_engine_submit make
 * this call themselves. Do not call it while a thread appends. */
BURBLE_API void burble_stream_hand_over(burble_stream *stream);

/* ---- ending: any thread ---------------------------------------------------------------------- */

/** Ends the stream. If end, fail and cancel are called several times, only the first call has an effect.
 *
 * @retval BURBLE_OK         the stream has ended
 * @retval BURBLE_ECANCELED  the stream was cancelled before
 * @retval BURBLE_ECLOSED    the stream ended or failed before */
BURBLE_API int burble_stream_end(burble_stream *stream, burble_reason reason);

/** Fails the stream: its readers get `code` after all records. `code` must be negative: one of burble's
 * results, or an error code of the caller. `message` (may be NULL) is copied. Results as for
 * burble_stream_end, and BURBLE_EINVAL if `code` is not negative. */
BURBLE_API int burble_stream_fail(burble_stream *stream, int code, const char *message);

/** Cancels the stream: the writer's next append returns BURBLE_ECANCELED, and so does each reader after
 * all records. Idempotent. Returns true if this call cancelled the stream, and false if the stream had
 * ended, failed or been cancelled before. */
BURBLE_API bool burble_stream_cancel(burble_stream *stream);

/** The state of the stream. Any thread may call it. */
BURBLE_API void burble_stream_status(const burble_stream *stream, burble_status *status);

/** The sequence number of the next record to be appended. A reader can be created at this position. Any
 * thread may call it. */
BURBLE_API uint64_t burble_stream_position(const burble_stream *stream);

/** The sequence number of the oldest record that the stream keeps; if it keeps none, of the next record.
 * Any thread may call it. */
BURBLE_API uint64_t burble_stream_oldest(const burble_stream *stream);

/* ---- reading: one thread at a time for each reader ------------------------------------------- */

/** Creates a reader at `from`: a sequence number, BURBLE_FROM_OLDEST (the oldest record that the stream
 * keeps) or BURBLE_FROM_TAIL (the next record to be appended). The reader takes a reference to the
 * stream. Any thread may call it.
 *
 * @retval BURBLE_OK      *out is the reader, which the caller owns
 * @retval BURBLE_EGONE   the stream no longer keeps that record; *oldest (may be NULL) is the oldest that it keeps
 * @retval BURBLE_EINVAL  `from` is above the number of the next record to be appended, which is put into *oldest
 * @retval BURBLE_ENOMEM  out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL. */
BURBLE_API int burble_reader_create(burble_stream *stream, uint64_t from, burble_reader **out,
                                    uint64_t *oldest);

/** Creates a reader at the sequence number `from`, starting at the position of `other`. This works even if
 * the stream itself no longer retains that record, because `other` has not read it yet. Only the thread of
 * `other` may call it.
 *
 * @retval BURBLE_OK      *out is the reader, which the caller owns
 * @retval BURBLE_EGONE   `other` has read that record already, or was dropped
 * @retval BURBLE_EINVAL  `from` is beyond the next record to be written
 * @retval BURBLE_ENOMEM  out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL. */
BURBLE_API int burble_reader_create_from(burble_reader *other, uint64_t from, burble_reader **out);

/** Frees a reader and sets *reader to NULL; its function is not called again. NULL and a pointer to NULL
 * are allowed. If the reader is attached to a hub, only the hub's thread may call this. */
BURBLE_API void burble_reader_destroy(burble_reader **reader);

/** What happens when a reader has reached its limit. */
typedef enum burble_on_lag {
    BURBLE_LAG_BLOCK = 0, /**< the writer waits for the reader */
    BURBLE_LAG_DROP = 1   /**< the writer drops the reader and goes on */
} burble_on_lag;

/** Limits how far the reader may fall behind: the records that it has not read weigh at most `max_lag`,
 * in the stream's unit. 0: no limit, as in a new reader. A record that weighs more than `max_lag` is
 * appended once the reader has read everything before it. If the reader is already beyond the new limit,
 * `on_lag` takes effect at the next append. The limit may be changed any number of times.
 *
 * A waiting writer goes on when a quarter of the limit has become free, so that the writer and a slow
 * reader do not wake each other for every record.
 *
 * A dropped reader keeps in memory only the last record that it returned, until the next call on this
 * reader. It still counts as a reader until it is destroyed.
 *
 * @retval BURBLE_OK       the limit applies from the next append on
 * @retval BURBLE_EINVAL   `on_lag` is not valid
 * @retval BURBLE_ELAGGED  the reader was dropped before
 * @retval BURBLE_ENOMEM   the limit is unchanged */
BURBLE_API int burble_reader_limit(burble_reader *reader, uint64_t max_lag, burble_on_lag on_lag);

/** The next record. Never waits.
 *
 * @retval BURBLE_OK         *record is the record; its text is valid until the next call on this reader
 * @retval BURBLE_AGAIN      nothing available yet; the stream is open
 * @retval BURBLE_END        the stream has ended, and all records were read
 * @retval BURBLE_ECANCELED  the stream was cancelled, and all records were read
 * @retval BURBLE_ELAGGED    the reader fell behind its limit and was dropped; burble_reader_position says where
 * @retval other             the stream has failed with this code, and all records were read
 *
 * After any result but BURBLE_OK and BURBLE_AGAIN, every later call returns the same result. */
BURBLE_API int burble_reader_next(burble_reader *reader, burble_record *record);

/** The sequence number of the next record for burble_reader_next. For a dropped reader: of the first
 * record that it missed. */
BURBLE_API uint64_t burble_reader_position(const burble_reader *reader);

/** Sets the reader's interval, in nanoseconds. The reader gets records in deliveries, and each delivery begins at
 * least one interval after the beginning of the one before it. 0: no interval, as in a new reader.
 *
 * A delivery is all that burble_reader_next returns until BURBLE_AGAIN. The first delivery begins with the first
 * record. While the next delivery is not due, burble_reader_next returns BURBLE_AGAIN, and a new record neither wakes
 * burble_reader_wait nor makes a hub call the reader's function: a writer that is much faster than the interval wakes
 * nobody. If there is no record when a delivery is due, it begins as soon as one is appended. A delivery begins early
 * when the stream is no longer open, and when a writer waits for room (burble_reader_limit).
 *
 * A hub has no clock: an event loop needs a timer, as burble_reader_due says.
 *
 * @retval BURBLE_OK      the interval applies from the next delivery on
 * @retval BURBLE_ENOMEM  the interval is unchanged */
BURBLE_API int burble_reader_interval(burble_reader *reader, uint64_t nanoseconds);

/** When the next delivery of a reader with an interval is due, in nanoseconds of CLOCK_MONOTONIC. 0: at once.
 *
 * If burble_reader_park (or burble_reader_next_or_park) has returned BURBLE_AGAIN, and this is not 0, set a timer of
 * the event loop for this time, and call the reader's function then. Until then, the hub calls that function only
 * when the stream is no longer open, or when a writer waits for room. */
BURBLE_API uint64_t burble_reader_due(const burble_reader *reader);

/** Blocks the calling thread until there may be a record to read, or the stream is no longer open.
 * `deadline` is in nanoseconds of CLOCK_MONOTONIC; 0: none. Detaches the reader from its hub.
 *
 * @retval BURBLE_OK         call burble_reader_next, which may, rarely, still return BURBLE_AGAIN
 * @retval BURBLE_ETIMEDOUT  the deadline passed
 * @retval BURBLE_ENOMEM     no memory to wait with */
BURBLE_API int burble_reader_wait(burble_reader *reader, uint64_t deadline);

/** Called by burble_hub_dispatch when a parked reader has a record to read, or the stream is no longer
 * open. Rarely, there is still nothing to read. */
typedef void burble_ready_fn(burble_reader *reader, void *arg);

/** Attaches the reader to a hub, and so to the hub's thread; detaches it from its former hub. If `hub` is
 * NULL, the call only detaches. Only the thread of `hub` may call it. After a move, the former hub no
 * longer calls this reader's function.
 *
 * @retval BURBLE_OK      the reader is attached (detached, if `hub` is NULL)
 * @retval BURBLE_ENOMEM  the reader is attached to no hub */
BURBLE_API int burble_reader_attach(burble_reader *reader, burble_hub *hub, burble_ready_fn *ready,
                                    void *arg);

/** Parks an attached reader: its function is called, once, when there is a record to read or the stream is
 * no longer open.
 *
 * @retval BURBLE_AGAIN      the reader is parked
 * @retval BURBLE_OK         do not wait, but call burble_reader_next: a record may already be available. The
 *                           reader's function may be called, too.
 * @retval BURBLE_EDETACHED  the reader is attached to no hub, or its hub was destroyed or created before a fork
 * @retval BURBLE_ENOMEM     only with an interval: the reader is not parked */
BURBLE_API int burble_reader_park(burble_reader *reader);

/** Returns the next record or, if there is none, parks an attached reader. This is all that a reader's
 * function needs, and it has to be called once when the reader is attached:
 *
 *     static void on_ready(burble_reader *reader, void *arg)
 *     {
 *         while ((rc = burble_reader_next_or_park(reader, &record)) == BURBLE_OK)
 *             fwrite(record.text, 1, record.len, stdout);
 *         if (rc != BURBLE_AGAIN)
 *             ...                        // the end, or an error: on_ready is not called again
 *     }
 *
 * @retval BURBLE_OK         *record is the record; its text is valid until the next call on this reader
 * @retval BURBLE_AGAIN      nothing available yet; the reader is parked
 * @retval BURBLE_EDETACHED  nothing available yet, and the reader cannot wait: it is attached to no hub, its hub
 *                           was destroyed or created before a fork, or it was interrupted
 * @retval other             as burble_reader_next */
BURBLE_API int burble_reader_next_or_park(burble_reader *reader, burble_record *record);

/** Ends the waiting of a reader permanently. A thread that is in burble_reader_wait returns BURBLE_OK, and
 * so does every later call; the function of a parked reader is called; burble_reader_park returns
 * BURBLE_OK. burble_reader_next works as before. Any thread may call it, but not while another thread
 * destroys the reader. */
BURBLE_API void burble_reader_interrupt(burble_reader *reader);

#ifdef __cplusplus
}
#endif

#endif
