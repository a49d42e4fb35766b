#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`burble serve` under the options of llama-server, for llama.cpp's own tests (llama_tests.py).

An option that burble lacks ends it, with a line that names the option. BURBLE_COMMAND is the
command, BURBLE_TEST_MODEL the model, whichever the tests ask for: theirs are on a hub. If
LLAMA_SERVER is set, it is llama-server itself, with that model.
"""

from __future__ import annotations

import os
import sys
import tempfile

# The context that the shipped model was trained with: llama-server only warns of a longer one.
LONGEST = 512
# llama-server's options and burble's.
OPTIONS = {
    "--host": "--host",
    "--port": "--port",
    "--parallel": "--slots",
    "--threads": "--threads",
    "--batch-size": "--batch",
    "-fa": "--flash",
    "-ctk": "--cache-k",
    "-ctv": "--cache-v",
}
SWITCHES = {"--kv-unified": "--unified", "--no-ui": "--no-page"}
# What changes nothing that the tests look at, or is always so.
IGNORED = {"--cont-batching", "--metrics", "--no-slots", "--jinja", "--no-jinja", "--offline"}
IGNORED |= {"--verbose", "--swa-full", "--no-mmproj"}
IGNORED_WITH_VALUE = {"--hf-repo", "--hf-file", "--model-url", "--model", "--temp", "--seed"}
IGNORED_WITH_VALUE |= {"--n-predict", "--ubatch-size", "--n-gpu-layers", "--cache-ram"}


def become_llama_server(given: list[str]) -> None:
    """Become llama-server, with the model replaced."""
    command = [os.environ["LLAMA_SERVER"], "--model", os.environ["BURBLE_TEST_MODEL"]]
    words = iter(given)
    for word in words:
        if word in ("--hf-repo", "--hf-file", "--model-url", "--model"):
            next(words)
        else:
            command.append(word)
    os.execv(command[0], command)


def main(given: list[str]) -> None:
    """Become the server."""
    if "LLAMA_SERVER" in os.environ:
        become_llama_server(given)
    command = [os.environ["BURBLE_COMMAND"], "serve", "--log-format=json", "--drain-delay=0"]
    name, context, slots = "model", 0, 1
    words = iter(given)
    for word in words:
        if word in OPTIONS:
            value = next(words)
            slots = int(value) if word == "--parallel" else slots
            command.append(f"{OPTIONS[word]}={value}")
        elif word in SWITCHES:
            command.append(SWITCHES[word])
        elif word == "--alias":
            name = next(words)
        elif word == "--ctx-size":
            context = int(next(words))
        elif word == "--api-key":
            with tempfile.NamedTemporaryFile("w", delete=False) as file:
                file.write(next(words) + "\n")
            command.append(f"--api-key-file={file.name}")
        elif word == "--cors-origins":
            origin = next(words)
            if origin == "localhost":
                sys.exit("as_llama_server: no option like --cors-origins=localhost")
            command.append(f"--cors={origin}")
        elif word in IGNORED_WITH_VALUE:
            next(words)
        elif word not in IGNORED:
            sys.exit(f"as_llama_server: no option like {word}")
    if context:
        command.append(f"--context={min(context // slots, LONGEST)}")
    command.append(f"--model={name}={os.environ['BURBLE_TEST_MODEL']}")
    os.execv(command[0], command)


main(sys.argv[1:])
