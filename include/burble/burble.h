/* SPDX-License-Identifier: MIT
 *
 * All of burble: the streams, the way from token ids to text, and what they share.
 *
 *     error.h    results of functions, and messages for people
 *     stream.h   a log of text with one writer and any number of readers
 *     hub.h      the wake-ups of one event loop, behind one descriptor
 *     decoder.h  how a tokenizer turns tokens into text, step by step
 *     vocab.h    what each token id stands for, made from a tokenizer or read from its file
 *     detok.h    token ids to text, as early as it is final
 *     stop.h     stop strings, matched across the borders of tokens
 *     chunk.h    how text is cut into records
 *     pool.h     running a blocking generator on a thread of a pool
 *     version.h  versions
 *
 * The ready engine for llama.cpp is a library of its own, with a header of its own: llama.h.
 *
 * Conventions, which hold without exception.
 *
 * Results: a function that can end in more than one way returns BURBLE_OK, which is 0, a positive code
 * where there is nothing to hand out, or a negative one where it failed (error.h).
 *
 * Parameters: first the object, then what goes in, then what comes out; a burble_error, where a function
 * takes one, is the last parameter, and may be NULL.
 *
 * Lifetimes: what create makes belongs to the caller alone, and destroy ends it. What can be shared has
 * ref and unref instead of destroy, and whatever makes it (create, load, parse) gives one reference. copy
 * makes an independent object. destroy and unref take the address of a handle and set it to NULL; NULL and
 * a pointer to NULL are fine.
 *
 * Getters: named by what they give, without "get". One number, truth or handle is returned; several
 * values, or a struct, go to pointers. A handle that is returned is borrowed: it lives as long as the
 * object.
 *
 * Strings are UTF-8, lengths are bytes, times are nanoseconds of CLOCK_MONOTONIC. Unless its comment says
 * otherwise, an object is used by one thread at a time.
 */
#ifndef BURBLE_BURBLE_H
#define BURBLE_BURBLE_H

#include <burble/chunk.h>
#include <burble/decoder.h>
#include <burble/detok.h>
#include <burble/error.h>
#include <burble/hub.h>
#include <burble/pool.h>
#include <burble/stop.h>
#include <burble/stream.h>
#include <burble/version.h>
#include <burble/vocab.h>

#endif
