# SPDX-License-Identifier: MIT
"""The cost of a start: a vocabulary of 128,000 tokens (Llama 3's, or the shipped model's), and the
import of the package.

Measured are the vocabulary's creation from a ``tokenizers.Tokenizer``, a new one each time, so that
burble's cache does not have it, and beside it its floor: that tokenizer's ``id_to_token`` of each
id; its loading in C from tokenizer.json (17 MB, which the system has in memory); its memory,
compared with the bytes of its pieces; and ``import burble`` in a new process that has asyncio.
Times are CPU times of the one thread that works.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from time import thread_time

import tokenizers
from benchmark import MODEL, SHARED, Measured, Options, Report, Table, collect, millis
from detokenize import Native
from goals import at_most, known, ratios

import burble

# Seconds, and bytes for each byte of `2 * pieces + 8 * ids`.
GOAL_OBJECT, GOAL_FILE, GOAL_IMPORT, GOAL_MEMORY = 0.040, 0.040, 0.015, 1.0
# The same from an object, over its floor.
GOAL_OVER_FLOOR = 1.5
WHY_OBJECT = (
    "the tokenizers library gives a token's text for its id, and nothing quicker for all of them:"
    " to ask for each takes most of the time"
)
WHY_FILE = (
    "reading the file and its JSON takes two thirds of it; the goal was set on a processor that is"
    " twice as fast as some"
)
_IMPORT = """
import asyncio, time
begin = time.thread_time()
import burble
print(time.thread_time() - begin)
"""


def _import() -> float:
    """Return the seconds of the import."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], stdout=subprocess.PIPE, check=True, timeout=120
    )
    return float(done.stdout)


def _piece_bytes(backend: tokenizers.Tokenizer) -> int:
    """Return the number of bytes of a byte-level tokenizer's tokens."""
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    # In the byte-level alphabet, a character is a byte.
    return sum(
        len(token.encode()) if token in added else len(token)
        for token in backend.get_vocab(with_added_tokens=True)
    )


def measure(options: Options) -> Measured:
    """Measure."""
    path = SHARED / "tokenizers" / "llama3" / "tokenizer.json"
    if not path.is_file():
        path = MODEL / "tokenizer.json"
    with Native(options.program("detokenize"), [(path, [0])]) as native:

        def one_round() -> dict[str, float]:
            backend = tokenizers.Tokenizer.from_file(str(path))
            begin = thread_time()
            burble.Detokenizer(backend)
            created = thread_time() - begin
            begin = thread_time()
            deque(map(backend.id_to_token, range(backend.get_vocab_size())), maxlen=0)
            return {
                "from an object": created,
                "the text of each id, from the object": thread_time() - begin,
                "from a file": native.load(0)[0],
                "import burble, after asyncio": _import(),
            }

        samples = collect("vocabulary", options.choose(full=7, quick=3, smoke=1), one_round)
        _, size, memory = native.load(0)
    facts = {
        "name": path.parent.name,
        "tokens": size,
        "pieces": _piece_bytes(tokenizers.Tokenizer.from_file(str(path))),
        "file": path.stat().st_size,
    }
    return Measured({**samples, "bytes of memory": [float(memory)]}, facts)


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples, facts = measured
    report = Report("vocabulary", "CPU milliseconds; median [quartiles]")
    report.notes.append(
        f"{facts['name']}: {facts['tokens']:,} tokens of {facts['pieces']:,} bytes, a file of"
        f" {facts['file'] / 1e6:.1f} MB; {len(samples['from a file'])} rounds"
    )
    (memory,) = samples["bytes of memory"]
    report.notes.append(f"memory: {memory:,.0f} bytes")
    names = (
        "from an object",
        "the text of each id, from the object",
        "from a file",
        "import burble, after asyncio",
    )
    report.tables.append(Table(["", "ms"], [[name, millis(samples[name])] for name in names]))
    report.goals = [
        known(
            at_most("made from a tokenizer", GOAL_OBJECT, samples[names[0]], "ms"),
            WHY_OBJECT,
            0.100,
        ),
        at_most(
            "made from a tokenizer, over asking it for the text of each id",
            GOAL_OVER_FLOOR,
            ratios(samples[names[0]], samples[names[1]]),
        ),
        known(
            at_most("loaded from tokenizer.json in C", GOAL_FILE, samples["from a file"], "ms"),
            WHY_FILE,
            0.070,
        ),
        at_most("import burble, after asyncio", GOAL_IMPORT, samples[names[3]], "ms"),
        at_most(
            "memory over 2 bytes for each byte of a piece and 8 for each id",
            GOAL_MEMORY,
            [memory / (2 * facts["pieces"] + 8 * facts["tokens"])],
        ),
    ]
    return report
