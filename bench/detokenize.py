# SPDX-License-Identifier: MIT
"""The cost of a token in the detokenizer, in C and from Python.

In C (detokenize.c, on the public API), a million ids of a real text are pushed one at a time;
"memcpy" only copies the same texts. (burble can be quicker: it hands out the vocabulary's own
bytes where a token's text is whole.) From Python, the first 20,000 ids go through
``burble.Detokenizer.push`` and the tokenizers library's ``DecodeStream.step``, one call for each
id; and through ``push`` (as a list and as an array of NumPy) and its ``Tokenizer.decode`` all at
once. tiktoken, for the vocabularies that it can have, gets them in both ways:
``decode_single_token_bytes`` with an incremental UTF-8 decoder, which is how one streams with it,
and ``decode``. All of them take turns in each round. Times are
CPU times of the one thread that works. DecodeStream "gives up" where a token changes text that it
has handed out.
"""

from __future__ import annotations

import array
import codecs
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any

import numpy as np
from benchmark import Measured, Options, Report, Table, collect, micros, shuffled
from goals import Comparison, at_least, median, ratios
from tokenizers.decoders import DecodeStream
from workload import Vocabulary, corpus, tiktoken_of, vocabularies

import burble

# Tokens a second in C; how many times less than DecodeStream in C, and from Python.
GOAL_RATE, GOAL_LESS_C, GOAL_LESS = 30e6, 20.0, 6.0
# One id at a time, in C and from Python; all at once, from Python.
ONE_BY_ONE = ("memcpy", "burble in C", "burble", "DecodeStream", "tiktoken")
AT_ONCE = ("burble, list", "burble, array", "tokenizers.decode", "tiktoken.decode")
WAYS = ONE_BY_ONE + AT_ONCE


class Native:
    """A process of detokenize.c, with a vocabulary file and ids for each number."""

    def __init__(self, program: Path, pairs: Sequence[tuple[Path, Sequence[int]]]) -> None:
        self._folder = TemporaryDirectory()
        arguments: list[str] = []
        for n, (vocabulary, ids) in enumerate(pairs):
            path = Path(self._folder.name) / str(n)
            path.write_bytes(array.array("i", ids).tobytes())
            arguments += [str(vocabulary), str(path)]
        self._process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Native:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def push(self, n: int) -> float:
        """Push all ids of pair ``n``; return the CPU seconds."""
        return float(self._ask(f"push {n}")[0])

    def copy(self, n: int) -> float:
        """Copy the text of each id of pair ``n``; return the CPU seconds."""
        return float(self._ask(f"copy {n}")[0])

    def load(self, n: int) -> tuple[float, int, int]:
        """Load the vocabulary of pair ``n``; return CPU seconds, number of ids, bytes of memory."""
        seconds, size, memory = self._ask(f"load {n}")
        return float(seconds), int(size), int(memory)

    def _ask(self, what: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(what, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"detokenize ended at {what!r}")
        return answer.split()


# ---- the ways from Python: CPU seconds for all ids -----------------------------------------------


@dataclass(frozen=True)
class Case:
    """A vocabulary, and what is measured of it from Python."""

    vocabulary: Vocabulary
    ids: list[int]
    tiktoken: Any


def _push(case: Case) -> float:
    detokenizer = burble.Detokenizer(case.vocabulary.tokenizer)
    begin = thread_time()
    for i in case.ids:
        detokenizer.push(i)
    detokenizer.finish()
    return thread_time() - begin


def _push_all(ids: Any, case: Case) -> float:
    detokenizer = burble.Detokenizer(case.vocabulary.tokenizer)
    begin = thread_time()
    detokenizer.push(ids)
    detokenizer.finish()
    return thread_time() - begin


def _step(case: Case) -> float:
    stream, backend = DecodeStream(skip_special_tokens=False), case.vocabulary.tokenizer
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
    case.vocabulary.tokenizer.decode(case.ids, skip_special_tokens=False)
    return thread_time() - begin


def _decode_with_tiktoken(case: Case) -> float:
    begin = thread_time()
    case.tiktoken.decode(case.ids)
    return thread_time() - begin


def _calls(case: Case) -> dict[str, Callable[[Case], float]]:
    """Return the ways that this vocabulary has."""
    calls: dict[str, Callable[[Case], float]] = {
        "burble": _push,
        "burble, list": partial(_push_all, case.ids),
        "burble, array": partial(_push_all, np.array(case.ids)),
        "tokenizers.decode": _decode,
    }
    try:
        _step(case)
        calls["DecodeStream"] = _step
    except Exception:
        pass  # it gives up where a token changes earlier text
    if case.tiktoken is not None:
        calls["tiktoken"] = _single
        calls["tiktoken.decode"] = _decode_with_tiktoken
    return calls


def measure(options: Options) -> Measured:
    """Measure."""
    text = corpus()[: options.choose(full=None, quick=None, smoke=20_000)]
    in_c = options.choose(full=1 << 20, quick=1 << 20, smoke=1000)
    from_python = options.choose(full=20_000, quick=20_000, smoke=100)
    with TemporaryDirectory() as folder:
        found = vocabularies(Path(folder), text)
        cases = [
            Case(
                vocabulary,
                list(islice(cycle(vocabulary.ids), from_python)),
                tiktoken_of(vocabulary) if vocabulary.ranks else None,
            )
            for vocabulary in found
        ]
        calls = [_calls(case) for case in cases]
        pairs = [(v.path, list(islice(cycle(v.ids), in_c))) for v in found]
        with Native(options.program("detokenize"), pairs) as native:

            def one_round() -> dict[str, float]:
                seconds = {}
                for n, case in enumerate(cases):
                    name = case.vocabulary.name
                    seconds[f"{name}, burble in C"] = native.push(n) / in_c
                    seconds[f"{name}, memcpy"] = native.copy(n) / in_c
                    for way in shuffled(calls[n]):
                        seconds[f"{name}, {way}"] = calls[n][way](case) / len(case.ids)
                return seconds

            samples = collect("detokenize", options.choose(full=11, quick=3, smoke=1), one_round)
    return Measured(samples, {"families": [vocabulary.name for vocabulary in found]})


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples, names = measured.samples, measured.facts["families"]
    report = Report("detokenize", "CPU microseconds a token; median [quartiles]")
    ways = [way for way in WAYS if any(f"{name}, {way}" in samples for name in names)]
    at_once = "; ".join(way for way in ways if way in AT_ONCE)
    report.notes.append(
        f"{len(samples[f'{names[0]}, burble'])} rounds; memcpy: copies the texts, in C; all ids in"
        f" one call: {at_once}; the others: one id at a time"
    )
    rows = []
    for name in names:
        rate = f"{1e-6 / median(samples[f'{name}, burble in C']):.0f}"
        cells = [samples.get(f"{name}, {way}", []) for way in ways]
        times = [
            micros(values) if values else "gives up" if way == "DecodeStream" else ""
            for way, values in zip(ways, cells, strict=True)
        ]
        rows.append([name, rate, *times])
    report.tables.append(Table(["", "M tokens/s in C", *ways], rows))
    for name in names:
        if name.startswith("byte level"):
            rates = [1 / seconds for seconds in samples[f"{name}, burble in C"]]
            what = f"{name}, tokens a second in C"
            report.goals.append(at_least(what, GOAL_RATE, rates, "million"))
    for name in names:
        if name.startswith("byte "):
            theirs = samples[f"{name}, DecodeStream"]
            in_c, own = samples[f"{name}, burble in C"], samples[f"{name}, burble"]
            what = f"{name}, DecodeStream over"
            report.goals += [
                at_least(f"{what} C", GOAL_LESS_C, ratios(theirs, in_c)),
                at_least(f"{what} burble from Python", GOAL_LESS, ratios(theirs, own)),
            ]
    # (Older results have no list of ours: there, one id at a time is compared with everything.)
    one_by_one = ONE_BY_ONE if "burble, list" in ways else WAYS
    for name in names:
        for what, ours, group in (
            (f"a token of {name} from Python", "burble", one_by_one),
            (f"a token of {name} in a list, from Python", "burble, list", AT_ONCE),
        ):
            others = {way: samples.get(f"{name}, {way}") for way in group if "burble" not in way}
            peers = {way: values for way, values in others.items() if values and way != "memcpy"}
            if ours in ways:
                report.comparisons.append(Comparison(what, samples[f"{name}, {ours}"], peers))
    return report
