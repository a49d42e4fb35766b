/* SPDX-License-Identifier: MIT
 *
 * All of burble: the streams, the way from token ids to text, and what they share.
 *
 *     error.h    results of functions, and messages for people
 *     stream.h   a log of text with one writer and any number of readers
 *     hub.h      the wake-ups of one event loop, behind one descriptor
 *     vocab.h    what each token id stands for, made from a tokenizer or read from its file
 *     detok.h    token ids to text, as early as it is final
 *     stop.h     stop strings, matched across the borders of tokens
 *     chunk.h    how text is cut into records
 *     engine.h   running a blocking generator on a thread of a pool
 *     version.h  versions
 *
 * The ready engine for llama.cpp is a library of its own, with a header of its own: llama.h.
 *
 * Conventions. Functions that can fail return BURBLE_OK, which is 0, or a negative code (error.h);
 * what they make goes to a pointer that is their last parameter, and belongs to the caller. A function
 * that destroys takes the address of a handle and sets it to NULL. Strings are UTF-8, lengths are
 * bytes, times are nanoseconds of CLOCK_MONOTONIC. Unless its comment says otherwise, an object is used by
 * one thread at a time.
 */
#ifndef BURBLE_BURBLE_H
#define BURBLE_BURBLE_H

#include <burble/chunk.h>
#include <burble/detok.h>
#include <burble/engine.h>
#include <burble/error.h>
#include <burble/hub.h>
#include <burble/stop.h>
#include <burble/stream.h>
#include <burble/version.h>
#include <burble/vocab.h>

#endif
