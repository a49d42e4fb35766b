# SPDX-License-Identifier: MIT
"""What a token costs the detokenizer, in C and called from Python.

In C (detokenize.c, on the public API), a million ids of a real text are pushed one at a time;
beside it the same texts are only copied. (burble can be below that: where a token's
text is whole, it hands out the vocabulary's own.) From Python, the first 20,000 of them go through
``burble.Detokenizer.push`` and the tokenizers library's ``DecodeStream.step``, one call for each
id, and through its ``Tokenizer.decode`` all at once; where tiktoken can have the vocabulary, also
through its ``decode_single_token_bytes`` and an incremental UTF-8 decoder, which is how one streams
with it, and its ``decode`` all at once. All of them take turns in each round. Times are CPU times
of the one thread that works.
"""

from __future__ import annotations

import codecs
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any

import goal
from contest import Contest
from families import Family, families, tiktoken_of
from native import Native
from progress import rounds
from report import Measured, Outcome, Table, micros
from spread import ratios, spread
from tokenizers.decoders import DecodeStream

import burble

IN_C, FROM_PYTHON = 1 << 20, 20_000
# Tokens a second; how many times less than DecodeStream in C, and from Python.
GOAL_RATE, GOAL_LESS_C, GOAL_LESS = 30e6, 20.0, 6.0
# One id at a time, in C and from Python; all at once.
WAYS = (
    "memcpy",
    "burble in C",
    "burble",
    "DecodeStream",
    "tiktoken",
    "tokenizers.decode",
    "tiktoken.decode",
)


@dataclass(frozen=True)
class Case:
    """A family, with what is measured from Python."""

    family: Family
    ids: list[int]
    tiktoken: Any


def _push(case: Case) -> float:
    detokenizer = burble.Detokenizer(case.family.backend)
    begin = thread_time()
    for i in case.ids:
        detokenizer.push(i)
    detokenizer.finish()
    return thread_time() - begin


def _step(case: Case) -> float:
    stream, backend = DecodeStream(skip_special_tokens=False), case.family.backend
    begin = thread_time()
    for i in case.ids:
        stream.step(backend, i)
    return thread_time() - begin


def _single(case: Case) -> float:
    bytes_of = case.tiktoken.decode_single_token_bytes
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begin = thread_time()
    for i in case.ids:
        decoder.decode(bytes_of(i))
    decoder.decode(b"", final=True)
    return thread_time() - begin


def _decode(case: Case) -> float:
    begin = thread_time()
    case.family.backend.decode(case.ids, skip_special_tokens=False)
    return thread_time() - begin


def _decode_with_tiktoken(case: Case) -> float:
    begin = thread_time()
    case.tiktoken.decode(case.ids)
    return thread_time() - begin


def _calls(case: Case) -> dict[str, Callable[[Case], float]]:
    """Return what can be measured from Python."""
    calls: dict[str, Callable[[Case], float]] = {"burble": _push, "tokenizers.decode": _decode}
    try:
        _step(case)
        calls["DecodeStream"] = _step
    except Exception:
        pass  # it gives up where a token changes what came before
    if case.tiktoken is not None:
        calls["tiktoken"] = _single
        calls["tiktoken.decode"] = _decode_with_tiktoken
    return calls


def measure(n_rounds: int, in_c: int = IN_C, from_python: int = FROM_PYTHON) -> Measured:
    """Measure, in ``n_rounds`` rounds after one that does not count."""
    with TemporaryDirectory() as folder:
        found = families(Path(folder))
        cases = [
            Case(
                family,
                list(islice(cycle(family.ids), from_python)),
                tiktoken_of(family) if family.ranks else None,
            )
            for family in found
        ]
        pairs = [(family.path, list(islice(cycle(family.ids), in_c))) for family in found]
        with Native(pairs) as native:
            samples = _collect(cases, native, n_rounds, in_c)
    return Measured(samples, {"families": [family.name for family in found]})


def _collect(cases: list[Case], native: Native, n_rounds: int, in_c: int) -> dict[str, list[float]]:
    """Seconds a token, for each family and way."""
    calls = [_calls(case) for case in cases]
    samples: dict[str, list[float]] = {}
    order = random.Random(1)
    for n in rounds(n_rounds + 1, "detokenize"):
        for index, case in enumerate(cases):
            seconds = {
                "burble in C": native.push(index)[0] / in_c,
                "memcpy": native.copy(index) / in_c,
            }
            for way in order.sample(list(calls[index]), k=len(calls[index])):
                seconds[way] = calls[index][way](case) / len(case.ids)
            if n > 0:
                for way, value in seconds.items():
                    samples.setdefault(f"{case.family.name}, {way}", []).append(value)
    return samples


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""
    samples, names = found.samples, found.facts["families"]
    outcome = Outcome(
        "detokenize",
        "5. detokenize: CPU microseconds a token; median [quartiles]",
    )
    outcome.notes.append(
        f"{len(samples[f'{names[0]}, burble'])} rounds; memcpy: copies the texts, in C; the two"
        " decode: all ids in one call, the others: one id at a time"
    )
    rows = []
    for name in names:
        rate = f"{1e-6 / spread(samples[f'{name}, burble in C']).median:.0f}"
        cells = [samples.get(f"{name}, {way}", []) for way in WAYS]
        times = [
            micros(spread(values)) if values else "gives up" if way == "DecodeStream" else ""
            for way, values in zip(WAYS, cells, strict=True)
        ]
        rows.append([name, rate, *times])
    outcome.tables.append(Table(["", "M tokens/s in C", *WAYS], rows))
    for name in names:
        if name.startswith("byte level"):
            rates = [1 / seconds for seconds in samples[f"{name}, burble in C"]]
            outcome.goals.append(goal.rate(f"{name}, tokens a second in C", GOAL_RATE, rates))
    for name in names:
        if name.startswith("byte "):
            theirs = samples[f"{name}, DecodeStream"]
            outcome.goals += [
                goal.less(
                    f"{name}, DecodeStream over C",
                    GOAL_LESS_C,
                    ratios(theirs, samples[f"{name}, burble in C"]),
                ),
                goal.less(
                    f"{name}, DecodeStream over burble from Python",
                    GOAL_LESS,
                    ratios(theirs, samples[f"{name}, burble"]),
                ),
            ]
    for name in names:
        rivals = {way: samples.get(f"{name}, {way}") for way in WAYS if "burble" not in way}
        peers = {way: values for way, values in rivals.items() if values and way != "memcpy"}
        outcome.contests.append(
            Contest(f"a token of {name} from Python", samples[f"{name}, burble"], peers)
        )
    return outcome
