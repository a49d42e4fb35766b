# SPDX-License-Identifier: MIT
"""One cell of the table: one situation, one bridge, one process, and a limit to its time."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection

# Each process begins with these imported, which takes longer than most situations do.
PRELOAD = (
    "transformers.cli.serving.utils",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.auto.tokenization_auto",
    "trio",
)
# Seconds for a cell. A situation bounds its own waits; this is for what blocks its event loop.
LIMIT = 60.0

SEEN, ABSENT, FAILED = "seen", "absent", "failed"


@dataclass(frozen=True)
class Outcome:
    """What was seen; or that the peer is absent; or that the cell itself failed, and why."""

    kind: str
    text: str


# A server that forks, not this process: its threads would not survive a fork.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(list(PRELOAD))


def run(situation: str, bridge: str) -> Outcome:
    """Run one cell; ``bridge`` is ``module:class``. Thread-safe: several may run at once."""
    ours, theirs = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_child, args=(theirs, situation, bridge))
    process.start()
    theirs.close()
    try:
        if not ours.poll(LIMIT):
            return Outcome(SEEN, f"blocks its event loop for ever ({LIMIT:.0f} s)")
        return Outcome(*ours.recv())
    except EOFError:
        process.join()
        return Outcome(FAILED, f"the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()
        ours.close()


def _child(connection: Connection, situation: str, bridge: str) -> None:
    # What threads and libraries complain about is part of the situation. What this cell has to say
    # goes through the connection.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    threading.excepthook = lambda _: None
    try:
        module, _, name = bridge.partition(":")
        made = getattr(importlib.import_module(module), name)
        outcome = (SEEN, importlib.import_module("situations").see(situation, made))
    except ImportError as error:
        outcome = (ABSENT, str(error))
    except BaseException:
        outcome = (FAILED, traceback.format_exc())
    connection.send(outcome)
    connection.close()
    os._exit(0)  # whatever still waits
