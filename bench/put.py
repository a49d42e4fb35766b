# SPDX-License-Identifier: MIT
"""The cost of one ``put``, by the number of tokens since the last newline.

Ids are put one at a time, each a tensor of shape [1] as ``generate`` makes it: up to 4,096 of a
text with spaces and without a newline. The cost at a depth is the mean over the 32 puts that lead
up to it, in CPU time of the thread. The streamers take turns in each round. Each first gets 256
ids that do not count, so that the processor's caches are as warm at the first depth as at the
last:

* a ``TextStreamer`` of each library, whose ``on_finalized_text`` drops the text, so that decoding
  is measured and printing is not;
* a ``TextIteratorStreamer`` and an ``AsyncTextIteratorStreamer`` of each library, with their
  queues;
* the ``DirectStreamer`` and the ``CBStreamer`` of transformers' server, with its tokenizer and its
  queue. The second is called in the loop's thread, with the list of all ids so far: it hands
  nothing over to another thread.

Nobody reads meanwhile, and the loop of those that need one is busy with the puts. transformers'
class for asyncio and the ``DirectStreamer`` wake it at each put all the same; burble's does not
where no task waits. ``handoff`` and ``streams`` measure texts that a task waits for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from time import thread_time
from typing import Any

import torch
import transformers
from benchmark import Measured, Options, Report, Table, collect, micros, shuffled
from goals import Comparison, at_least, at_most, ratios
from transformers.cli.serving.utils import CBStreamer, DirectStreamer
from transformers.generation.continuous_batching.requests import GenerationOutput

import burble

DEPTHS = (64, 256, 1024, 4096)
WINDOW = 32
WARM_UP = 256
# The depth of the first goal; and how much a constant cost may grow up to the last depth, by noise.
GOAL_DEPTH, GOAL_LESS, GOAL_FLAT = 1024, 100.0, 1.25

VOCABULARY = """
the a of and to in that it was he for on are with as his they at be this from had by but some what
there we can out other were all your when up use word how said each which she their time will way
about many then them would write like these her long make thing see him two has look more day could
go come did number sound no most people over know water than call first considerable understanding,
representation; nevertheless particular? extraordinary!
"""


class TransformersText(transformers.TextStreamer):
    """transformers' streamer; it drops the text."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        pass


class BurbleText(burble.TextStreamer):
    """burble's streamer; it drops the text."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        pass


class Batched(CBStreamer):  # type: ignore[misc]
    """transformers' streamer for continuous batching, which gets the list of all ids each time."""

    def __init__(self, tokenizer: Any) -> None:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue()
        super().__init__(None, "", tokenizer.backend_tokenizer, loop, queue)
        output, put = GenerationOutput(""), super().put
        append = output.generated_tokens.append

        def put_one(value: int) -> None:
            append(value)
            put(output)

        self.put = put_one


def _direct(tokenizer: Any) -> DirectStreamer:
    loop, queue = asyncio.get_running_loop(), asyncio.Queue()
    return DirectStreamer(tokenizer.backend_tokenizer, loop, queue)


# The classes of transformers that burble replaces, and what becomes of the text.
KINDS = {
    "TextStreamer": "text dropped",
    "TextIteratorStreamer": "iterator",
    "AsyncTextIteratorStreamer": "async",
}
MAKERS: dict[str, Callable[[Any], Any]] = {
    "burble, TextStreamer": BurbleText,
    "burble, TextIteratorStreamer": burble.TextIteratorStreamer,
    "burble, AsyncTextIteratorStreamer": burble.AsyncTextIteratorStreamer,
    "TextStreamer": TransformersText,
    "TextIteratorStreamer": transformers.TextIteratorStreamer,
    "AsyncTextIteratorStreamer": transformers.AsyncTextIteratorStreamer,
    "DirectStreamer": _direct,
    "CBStreamer": Batched,
}


def token_ids(tokenizer: Any, n: int) -> list[int]:
    """Return the first ``n`` ids of a text of random words, the same in each run."""
    rng = random.Random(1)
    text = " ".join(rng.choices(VOCABULARY.split(), k=n))  # at least a token each
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:n]
    if len(ids) < n or "\n" in tokenizer.decode(ids):
        raise RuntimeError(f"expected {n} ids without a newline, found {len(ids)}")
    return list(ids)


def cost_by_depth(streamer: Any, values: list[Any], depths: Sequence[int]) -> list[float]:
    """Put all values; return the mean seconds of a put at each depth."""
    put = streamer.put
    for value in values[:WARM_UP]:
        put(value)
    streamer.end()
    costs, done = [], 0
    for depth in depths:
        for value in values[done : depth - WINDOW]:
            put(value)
        window = values[depth - WINDOW : depth]
        begin = thread_time()
        for value in window:
            put(value)
        costs.append((thread_time() - begin) / WINDOW)
        done = depth
    streamer.end()
    return costs


async def _on_loop(make: Callable[[Any], Any], tokenizer: Any, *how: Any) -> list[float]:
    return cost_by_depth(make(tokenizer), *how)


def measure(options: Options) -> Measured:
    """Measure."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer, local_files_only=True)
    depths = options.choose(full=DEPTHS, quick=DEPTHS, smoke=(64, GOAL_DEPTH))
    ids = token_ids(tokenizer, depths[-1])
    tensors = [torch.tensor([i]) for i in ids]

    def one_round() -> dict[str, float]:
        found = {}
        for name in shuffled(MAKERS):
            values = ids if name == "CBStreamer" else tensors
            costs = asyncio.run(_on_loop(MAKERS[name], tokenizer, values, depths))
            found.update({f"{name}, {d}": cost for d, cost in zip(depths, costs, strict=True)})
        return found

    samples = collect("put", options.choose(full=9, quick=3, smoke=1), one_round)
    return Measured(samples, {"path": burble.TextStreamer(tokenizer).path, "depths": list(depths)})


def depths_of(measured: Measured) -> Sequence[int]:
    """Return the depths that were measured."""
    depths: Sequence[int] = measured.facts.get("depths", DEPTHS)
    return depths


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples, depths = measured.samples, depths_of(measured)
    report = Report(
        "put", "CPU microseconds a token, by the tokens since a newline; median [quartiles]"
    )
    report.notes.append(f"burble's path for this tokenizer: {measured.facts['path']}")
    report.tables.append(
        Table(
            ["", *[f"{depth:,} tokens" for depth in depths]],
            [[name, *[micros(samples[f"{name}, {d}"]) for d in depths]] for name in MAKERS],
        )
    )
    for kind, what in KINDS.items():
        ours, theirs = f"burble, {kind}", kind
        report.goals += [
            at_least(
                f"{what}, transformers' cost over burble's at {GOAL_DEPTH:,}",
                GOAL_LESS,
                ratios(samples[f"{theirs}, {GOAL_DEPTH}"], samples[f"{ours}, {GOAL_DEPTH}"]),
            ),
            at_most(
                f"{what}, burble's cost at {depths[-1]:,} over that at {depths[0]}",
                GOAL_FLAT,
                ratios(samples[f"{ours}, {depths[-1]}"], samples[f"{ours}, {depths[0]}"]),
            ),
        ]
    peers = [name for name in MAKERS if not name.startswith("burble")]
    for depth in depths:
        for kind in KINDS:
            # Classes that hand nothing over are compared with each other only.
            alone = ("TextStreamer", "CBStreamer")
            same = [peer for peer in peers if (peer in alone) == (kind in alone)]
            report.comparisons.append(
                Comparison(
                    f"a put of {kind} at {depth:,} tokens",
                    samples[f"burble, {kind}, {depth}"],
                    {peer: samples[f"{peer}, {depth}"] for peer in same},
                )
            )
    return report
