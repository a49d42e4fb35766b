/* SPDX-License-Identifier: MIT */
/** @file
 *
 * All of burble's public API: streams, the conversion of token ids to text, and the common parts.
 *
 *     error.h    results of functions, and error messages
 *     stream.h   a log of text with one writer and any number of readers
 *     hub.h      wakes one event loop for any number of readers, through one file descriptor
 *     decoder.h  the steps by which a tokenizer converts tokens to text
 *     vocab.h    the text of each token id, made from a tokenizer or read from its file
 *     detok.h    converts token ids to text as soon as the text is final
 *     stop.h     finds stop strings, also across token boundaries
 *     chunk.h    cuts text into records
 *     frame.h    the records of an answer that goes over a network
 *     pool.h     runs a blocking generator on a thread of a pool
 *     clock.h    the clock of deadlines
 *     binding.h  for bindings to other languages
 *     version.h  the version of the library
 *
 * Three headers, to include or to copy, watch a hub in an event loop: loop_uv.h, loop_glib.h and
 * loop_libevent.h. They need the headers of that loop.
 *
 * Three separate libraries have headers of their own:
 *
 *     llama.h        the engine for llama.cpp: libburble-llama
 *     serve.h        the server: libburble-serve
 *     llama_serve.h  such an engine as a model of such a server: libburble-llama
 *     relay.h        answers across machines, over Redis: libburble-relay
 *
 * Conventions:
 *
 * Results: a function that can fail in more than one way returns BURBLE_OK, which is 0, a positive code if
 * there is nothing to return, or a negative code if it failed (error.h).
 *
 * Parameters: first the object, then the inputs, then the outputs. If a function takes a burble_error, it
 * is the last parameter, and may be NULL.
 *
 * Lifetimes: an object that `create` makes belongs to the caller alone, and `destroy` frees it. An object
 * that can be shared has `ref` and `unref` instead of `destroy`, and the function that makes it (create,
 * load, parse) gives the caller one reference. `copy` makes an independent object. `destroy` and `unref`
 * take the address of a handle and set the handle to NULL; NULL and a pointer to NULL are allowed.
 *
 * Getters are named by the value that they give, without "get", and take a pointer to const. A single number, boolean
 * or handle is returned; several values, or a struct, are stored through pointers. A returned handle is borrowed: it
 * is valid as long as the object.
 *
 * Compatibility: a struct that the caller allocates has a member `reserved`, from which later versions take
 * room for new members; its size does not change within a SONAME. `reserved` must be 0 in a struct that is passed to a
 * function, else the result is BURBLE_EINVAL: the program then asks for a member that this version does not
 * have. The functions that fill in defaults set it to 0; structs without such a function are to be
 * initialized with {0}. The library sets it to 0 in the structs that it fills in. A struct that only the library
 * allocates may get members at its end. These have no `reserved` and never change: the small structs that make up
 * arrays (burble_text, burble_token, burble_span, burble_stop_token, burble_llama_bias, burble_llama_prompt),
 * burble_frame and burble_logprob (frame.h), and burble_serve_counts.
 *
 * Strings are UTF-8, lengths are in bytes, times are nanoseconds of CLOCK_MONOTONIC. Only one thread at a
 * time may use an object, unless its comment says otherwise.
 */
#ifndef BURBLE_BURBLE_H
#define BURBLE_BURBLE_H

#include <burble/binding.h>
#include <burble/chunk.h>
#include <burble/clock.h>
#include <burble/decoder.h>
#include <burble/detok.h>
#include <burble/error.h>
#include <burble/frame.h>
#include <burble/hub.h>
#include <burble/pool.h>
#include <burble/stop.h>
#include <burble/stream.h>
#include <burble/version.h>
#include <burble/vocab.h>

#endif
