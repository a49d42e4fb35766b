# SPDX-License-Identifier: MIT
"""What a vocabulary of 128,000 tokens costs: Llama 3's, where it is at hand.

Its making from a ``tokenizers.Tokenizer``, a new one each time, so that burble's cache does not
have it; its loading in C from tokenizer.json (17 MB); and the memory that it takes, beside the
bytes of its pieces. Times are CPU times of the one thread that works.
"""

from __future__ import annotations

from time import thread_time

import goal
import tokenizers
from families import SHARED
from native import Native
from progress import rounds
from report import Measured, Outcome, Table, millis
from spread import spread

import burble
import models

# Seconds, and bytes for each byte of `2 * pieces + 8 * ids`.
GOAL_OBJECT, GOAL_FILE, GOAL_MEMORY = 0.100, 0.250, 1.0


def _piece_bytes(backend: tokenizers.Tokenizer) -> int:
    """How many bytes the tokens of a byte-level tokenizer stand for."""
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    # Spelled in the byte-level alphabet, a character is a byte.
    return sum(
        len(token.encode()) if token in added else len(token)
        for token in backend.get_vocab(with_added_tokens=True)
    )


def measure(n_rounds: int) -> Measured:
    """Measure, in ``n_rounds`` rounds after one that does not count."""
    path = SHARED / "tokenizers" / "llama3" / "tokenizer.json"
    if not path.is_file():
        path = models.SHAKESPEARE / "tokenizer.json"
    samples: dict[str, list[float]] = {"from an object": [], "from a file": []}
    with Native([(path, [0])]) as native:
        for n in rounds(n_rounds + 1, "vocabulary"):
            backend = tokenizers.Tokenizer.from_file(str(path))
            begin = thread_time()
            burble.Detokenizer(backend)
            made = thread_time() - begin
            loaded, size, memory = native.load(0)
            if n > 0:
                samples["from an object"].append(made)
                samples["from a file"].append(loaded)
    facts = {
        "name": path.parent.name,
        "tokens": size,
        "pieces": _piece_bytes(backend),
        "file": path.stat().st_size,
    }
    samples["bytes of memory"] = [float(memory)]
    return Measured(samples, facts)


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""
    samples, facts = found
    outcome = Outcome("vocabulary", "6. vocabulary: CPU milliseconds; median [quartiles]")
    outcome.notes.append(
        f"{facts['name']}: {facts['tokens']:,} tokens of {facts['pieces']:,} bytes, a file of"
        f" {facts['file'] / 1e6:.1f} MB; {len(samples['from a file'])} rounds"
    )
    (memory,) = samples["bytes of memory"]
    outcome.notes.append(f"memory: {memory:,.0f} bytes")
    names = ("from an object", "from a file")
    rows = [[name, millis(spread(samples[name]))] for name in names]
    outcome.tables.append(Table(["", "ms"], rows))
    outcome.goals = [
        goal.within("made from a tokenizer", GOAL_OBJECT, samples["from an object"]),
        goal.within("loaded from tokenizer.json in C", GOAL_FILE, samples["from a file"]),
        goal.flat(
            "memory over 2 bytes for each byte of a piece and 8 for each id",
            GOAL_MEMORY,
            [memory / (2 * facts["pieces"] + 8 * facts["tokens"])],
        ),
    ]
    return outcome
