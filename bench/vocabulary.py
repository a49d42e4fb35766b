# SPDX-License-Identifier: MIT
"""The cost of a vocabulary of 128,000 tokens: Llama 3's, or the shipped model's.

Measured are its creation from a ``tokenizers.Tokenizer``, a new one each time, so that burble's
cache does not have it; its loading in C from tokenizer.json (17 MB, which the system has in
memory); and its memory, compared with the bytes of its pieces. Times are CPU times of the one
thread that works.
"""

from __future__ import annotations

from time import thread_time

import tokenizers
from benchmark import MODEL, SHARED, Measured, Options, Report, Table, collect, millis
from detokenize import Native
from goals import at_most

import burble

# Seconds, and bytes for each byte of `2 * pieces + 8 * ids`.
GOAL_OBJECT, GOAL_FILE, GOAL_MEMORY = 0.100, 0.250, 1.0


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
            return {"from an object": created, "from a file": native.load(0)[0]}

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
    names = ("from an object", "from a file")
    report.tables.append(Table(["", "ms"], [[name, millis(samples[name])] for name in names]))
    report.goals = [
        at_most("made from a tokenizer", GOAL_OBJECT, samples["from an object"], "ms"),
        at_most("loaded from tokenizer.json in C", GOAL_FILE, samples["from a file"], "ms"),
        at_most(
            "memory over 2 bytes for each byte of a piece and 8 for each id",
            GOAL_MEMORY,
            [memory / (2 * facts["pieces"] + 8 * facts["tokens"])],
        ),
    ]
    return report
