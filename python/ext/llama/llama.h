/* SPDX-License-Identifier: MIT
 *
 * _core.LlamaEngine: libburble-llama's engine, whose thread writes the streams of logs without Python.
 * Only in a build with -Dllama=enabled.
 */
#ifndef BURBLE_PYTHON_LLAMA_H
#define BURBLE_PYTHON_LLAMA_H

#include "common/core.h"

extern PyType_Spec llama_spec;

#endif
