/* SPDX-License-Identifier: MIT */
/** @file
 *
 * Frames: the records of an answer that goes over a network. An answer is one stream with one writer, also
 * if it has several choices. Each record of the stream is one frame: a piece of text with the ids
 * that it was made of, the end of a choice, or the counts of the whole answer.
 *
 *     begin, text, text, … finish, usage         one choice
 *     begin, text 0, text 1, … finish 1, text 0, … finish 0, usage
 *
 * The first frame is `begin`, and no other one is. Each choice has one `finish`, and no text after it. `usage`, if
 * there is one, is last. The stream then ends; if the answer fails, the stream fails, with its code and message.
 *
 *     writer's thread                                     reader's thread
 *     n = burble_frame_write(&frame, bytes, sizeof bytes) while (burble_reader_next(r, &record) == BURBLE_OK)
 *     burble_stream_append(s, bytes, n, frame.n_ids);         burble_frame_read(record.text, record.len, &frame);
 *
 * The bytes for a client are a function of `begin` and the later frames alone. So a client that reconnects gets the
 * same bytes again, and another process can go on with an answer: the frames hold all ids, also those
 * whose text is still held back.
 *
 * The bytes. The first one is the kind. Numbers are unsigned, in groups of 7 bits, the lowest first (LEB128); a
 * string is its length, and its bytes.
 *
 *     BEGIN     version, route, flags, created, id, model
 *     TEXT      choice, n_ids, ids, length of logprobs, logprobs, the text up to the end of the frame
 *     FINISH    choice, reason, n_ids, ids, the stop string up to the end of the frame
 *     USAGE     prompt, reused, completion, queue, prompt time, answer time
 *     logprobs  for each token: its entry; the number of alternatives; their entries
 *     entry     id + 1, or 0 if there is none; 4 bytes of float, little-endian; the token's text as a string
 *
 * A reader ignores frames of a kind that it does not know, and what follows the known parts of BEGIN and USAGE.
 *
 * All functions may be called in any thread; none allocates memory.
 */
#ifndef BURBLE_FRAME_H
#define BURBLE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>
#include <burble/error.h>
#include <burble/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the bytes. */
#define BURBLE_FRAME_VERSION 1

/** The most choices of an answer. */
#define BURBLE_FRAME_MAX_CHOICES 128

/** The longest `id` and `model` of a begin frame, in bytes. */
#define BURBLE_FRAME_MAX_NAME 255

/** The largest time, and number of tokens, of a frame: readers of JSON take it, and the sum of two, exactly. */
#define BURBLE_FRAME_MAX_NUMBER (UINT64_C(1) << 52)

typedef enum burble_frame_kind {
    BURBLE_FRAME_BEGIN = 1,
    BURBLE_FRAME_TEXT = 2,
    BURBLE_FRAME_FINISH = 3,
    BURBLE_FRAME_USAGE = 4,
    BURBLE_FRAME_REASONING =
        5, /**< text of the model's reasoning; the members of TEXT. Not written yet */
    BURBLE_FRAME_TOOL = 6, /**< text of a tool call; the members of TEXT. Not written yet */
} burble_frame_kind;

/** Why a choice ended. */
typedef enum burble_frame_reason {
    BURBLE_FRAME_STOP = 1,   /**< the model ended its text, or a stop string was found */
    BURBLE_FRAME_LENGTH = 2, /**< max_tokens, or the context is full */
} burble_frame_reason;

/** One frame. Pointers are borrowed: of a frame that was read, they point into the bytes. */
typedef struct burble_frame {
    burble_frame_kind kind;
    uint32_t choice; /**< TEXT, FINISH: from 0 */
    union {
        struct {
            burble_text id;    /**< 1 to BURBLE_FRAME_MAX_NAME bytes */
            burble_text model; /**< 1 to BURBLE_FRAME_MAX_NAME bytes */
            uint64_t created;  /**< seconds since 1970, at most BURBLE_FRAME_MAX_NUMBER */
            /** Read: BURBLE_FRAME_VERSION or above; written: BURBLE_FRAME_VERSION. */
            uint32_t version;
            uint32_t route; /**< of whoever writes it: which form the answer has */
            uint64_t flags; /**< of whoever writes it: what else all events need */
        } begin;
        struct {
            burble_text text; /**< UTF-8: whole characters; may be empty if there are ids */
            /** The ids that were generated since the last frame of this choice: `n_ids` of them, encoded.
             * Read them with burble_frame_ids. */
            burble_text ids;
            uint32_t n_ids;
            uint32_t reason; /**< FINISH: a burble_frame_reason */
            /** TEXT: encoded: read them with burble_logprob_read; may be empty. */
            burble_text logprobs;
        } text; /**< TEXT, REASONING, TOOL; and FINISH, whose text is the stop string found */
        struct {
            /* Numbers of tokens: each at most BURBLE_FRAME_MAX_NUMBER. */
            uint64_t prompt;     /**< tokens of the prompt */
            uint64_t reused;     /**< of these, not computed again */
            uint64_t completion; /**< tokens generated, of all choices */
            uint64_t queue_ns;   /**< time that the request waited for a slot */
            uint64_t prompt_ns;  /**< time until the first token, from then on */
            uint64_t answer_ns;  /**< time from then on until the end */
        } usage;
    } u;
} burble_frame;

/** The log-probability of one token (natural logarithm), or of an alternative to it. */
typedef struct burble_logprob {
    int32_t id; /**< -1: unknown */
    float logprob;
    burble_text text; /**< the token's text: bytes, which may be a part of a character */
    /** Of a token: the number of alternatives, which follow it; of an alternative: 0. */
    uint32_t n_top;
} burble_logprob;

/** Writes a frame to `bytes`. Returns its length. If that is above `capacity`, nothing useful was written: call it
 * again with as much room. The frame must be valid: it is not checked. */
BURBLE_API size_t burble_frame_write(const burble_frame *frame, char *bytes, size_t capacity);

/** Reads a frame and checks it: lengths, numbers, ids, and log-probabilities.
 *
 * @retval BURBLE_OK           *frame is the frame
 * @retval BURBLE_EUNSUPPORTED its kind, or the version of a begin frame, is of a later version of burble: ignore it.
 *                             *frame has only its kind
 * @retval BURBLE_EFORMAT      the bytes are no frame */
BURBLE_API int burble_frame_read(const char *bytes, size_t len, burble_frame *frame);

/** Encodes `n` ids, each 0 or above, for burble_frame.u.text.ids. Returns the length, as burble_frame_write: at most
 * 5 bytes for each id. */
BURBLE_API size_t burble_frame_write_ids(const int32_t *ids, size_t n, char *bytes,
                                         size_t capacity);

/** Decodes the ids of a TEXT or FINISH frame that was read: `n_ids` of them, for which `ids` has room. */
BURBLE_API void burble_frame_ids(const burble_frame *frame, int32_t *ids);

/** Encodes one entry of the log-probabilities, for burble_frame.u.text.logprobs: a token, with `n_top`; or, if `top`,
 * an alternative. Returns the length, as burble_frame_write. */
BURBLE_API size_t burble_logprob_write(const burble_logprob *entry, bool top, char *bytes,
                                       size_t capacity);

/** Reads the first entry of *rest, of log-probabilities that burble_frame_read has checked, and takes it off.
 * `top`: it is an alternative. Returns false if there is none. */
BURBLE_API bool burble_logprob_read(burble_text *rest, bool top, burble_logprob *entry);

/** The hash of a stream's frames before the first one. */
#define BURBLE_FRAME_HASH 2166136261u

/** The hash of all frames up to this one, from that up to the one before it. Two streams with the same hash at the
 * same position hold the same frames; by chance alone, once in four thousand million times. (FNV-1a, of the length
 * and the bytes.) */
BURBLE_API uint32_t burble_frame_hash(uint32_t before, const char *bytes, size_t len);

#ifdef __cplusplus
}
#endif

#endif
