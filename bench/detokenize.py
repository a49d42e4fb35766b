# SPDX-License-Identifier: MIT
"""What a token costs the detokenizer, in C and called from Python.

In C (detokenize.c, on the public API), a million ids of a real text are pushed one at a time. From
Python, the first 20,000 of them go through ``burble.Detokenizer.push``, the tokenizers library's
``DecodeStream.step``, one call for each id, and through its ``Tokenizer.decode`` all at once. All
of them take turns in each round. Times are CPU times of the one thread that works.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time

import goal
from families import Family, families
from native import Native
from progress import rounds
from report import Outcome, micros
from spread import ratios, spread
from tokenizers.decoders import DecodeStream

import burble

IN_C, FROM_PYTHON = 1 << 20, 20_000
# Tokens a second; how many times less than DecodeStream in C, and from Python.
GOAL_RATE, GOAL_LESS_C, GOAL_LESS = 30e6, 20.0, 6.0
WAYS = ("C", "burble", "DecodeStream", "decode")


def _push(family: Family, ids: list[int]) -> float:
    detokenizer = burble.Detokenizer(family.backend)
    begin = thread_time()
    for i in ids:
        detokenizer.push(i)
    detokenizer.finish()
    return thread_time() - begin


def _step(family: Family, ids: list[int]) -> float:
    stream, backend = DecodeStream(skip_special_tokens=False), family.backend
    begin = thread_time()
    for i in ids:
        stream.step(backend, i)
    return thread_time() - begin


def _decode(family: Family, ids: list[int]) -> float:
    begin = thread_time()
    family.backend.decode(ids, skip_special_tokens=False)
    return thread_time() - begin


def _can_stream(family: Family, ids: list[int]) -> bool:
    """Whether DecodeStream takes these ids: it gives up where a token changes what came before."""
    try:
        _step(family, ids)
    except Exception:
        return False
    return True


def measure(n_rounds: int) -> Outcome:
    """Measure, in ``n_rounds`` rounds after one that does not count."""
    with TemporaryDirectory() as folder:
        found = families(Path(folder))
        pairs = [(family.path, list(islice(cycle(family.ids), IN_C))) for family in found]
        with Native(pairs) as native:
            costs = _collect(found, native, n_rounds)
    return _outcome(costs, n_rounds)


def _collect(
    found: list[Family], native: Native, n_rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds a token, for each family and way."""
    calls: dict[str, Callable[[Family, list[int]], float]] = {
        "burble": _push,
        "DecodeStream": _step,
        "decode": _decode,
    }
    ids_of = {family.name: list(islice(cycle(family.ids), FROM_PYTHON)) for family in found}
    streams = {family.name for family in found if _can_stream(family, ids_of[family.name])}
    costs: dict[str, dict[str, list[float]]] = {
        family.name: {way: [] for way in WAYS} for family in found
    }
    for n in rounds(n_rounds + 1, "detokenize"):
        for index, family in enumerate(found):
            row, ids = costs[family.name], ids_of[family.name]
            seconds = {"C": native.push(index)[0] / IN_C}
            for way, call in calls.items():
                if way != "DecodeStream" or family.name in streams:
                    seconds[way] = call(family, ids) / len(ids)
            if n > 0:
                for way, value in seconds.items():
                    row[way].append(value)
    return costs


def _outcome(costs: dict[str, dict[str, list[float]]], n_rounds: int) -> Outcome:
    outcome = Outcome(
        "detokenize",
        "5. detokenize: CPU microseconds a token, one id at a time; median [quartiles]",
    )
    outcome.lines.append(f"  {n_rounds} rounds; decode: all ids in one call")
    rows = []
    for name, row in costs.items():
        rate = f"{1e-6 / spread(row['C']).median:.0f}"
        times = [micros(spread(row[way])) if row[way] else "gives up" for way in WAYS]
        rows.append([name, rate, *times])
        outcome.samples.update({f"{name}, {way}": row[way] for way in WAYS})
    outcome.table(["", "M tokens/s in C", "C", "burble", "DecodeStream", "decode"], rows)
    for name, row in costs.items():
        if name.startswith("byte level"):
            rates = [1 / seconds for seconds in row["C"]]
            outcome.goals.append(goal.rate(f"{name}, tokens a second in C", GOAL_RATE, rates))
    for name, row in costs.items():
        if name.startswith("byte "):
            theirs = row["DecodeStream"]
            outcome.goals += [
                goal.less(f"{name}, DecodeStream over C", GOAL_LESS_C, ratios(theirs, row["C"])),
                goal.less(
                    f"{name}, DecodeStream over burble from Python",
                    GOAL_LESS,
                    ratios(theirs, row["burble"]),
                ),
            ]
    return outcome
