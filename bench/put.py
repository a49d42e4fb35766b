# SPDX-License-Identifier: MIT
"""What one ``put`` costs, by how many tokens came since the last newline.

As generate does it, ids are put one at a time, each in a tensor of its own of shape [1], up to
4,096 of a text with spaces and without a newline. The cost at a depth is the mean over the 32 puts
that lead up to it, in CPU time of the thread. The streamers take turns in each round, and each
first has 256 ids that do not count, so that the caches of the processor are as warm at the first
depth as at the last:

* a ``TextStreamer`` of each library whose ``on_finalized_text`` is overridden to drop the text, so
  that decoding and cutting are measured, not printing;
* a ``TextIteratorStreamer`` and an ``AsyncTextIteratorStreamer`` of each library as they come, so
  that handing over is in it, too;
* the ``DirectStreamer`` and the ``CBStreamer`` of transformers' server, with its tokenizer and its
  queue. The second is called in the loop's thread, with the list of all ids so far: it hands
  nothing over.

Nobody reads meanwhile; the loop of those that need one is busy with the puts. transformers' class
for asyncio and the ``DirectStreamer`` wake it for each put all the same, burble's does not where
nobody waits: what a text costs that somebody waits for is in ``handoff`` and ``streams``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import thread_time
from typing import Any

import goal
import torch
import transformers
from contest import Contest
from progress import rounds
from report import Measured, Outcome, Table, micros
from spread import ratios, spread
from transformers.cli.serving.utils import CBStreamer, DirectStreamer
from transformers.generation.continuous_batching.requests import GenerationOutput

import burble

DEPTHS = (64, 256, 1024, 4096)
WINDOW = 32
WARM_UP = 256
# The depth of the goal, and how much a flat cost may seem to grow up to the last depth.
GOAL_DEPTH, GOAL_LESS, GOAL_FLAT = 1024, 100.0, 1.25

VOCABULARY = """
the a of and to in that it was he for on are with as his they at be this from had by but some what
there we can out other were all your when up use word how said each which she their time will way
about many then them would write like these her long make thing see him two has look more day could
go come did number sound no most people over know water than call first considerable understanding,
representation; nevertheless particular? extraordinary!
"""


class HeldText(transformers.TextStreamer):
    """transformers' streamer, dropping the text."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        pass


class BurbleText(burble.TextStreamer):
    """burble's streamer, dropping the text."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        pass


class Batched(CBStreamer):  # type: ignore[misc]
    """transformers' streamer for continuous batching. Its engine gives it the list of all ids, one
    more each time."""

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


# The classes of transformers that burble stands in for, and how the text goes there.
KINDS = {
    "TextStreamer": "text dropped",
    "TextIteratorStreamer": "iterator",
    "AsyncTextIteratorStreamer": "async",
}
MAKERS: dict[str, Callable[[Any], Any]] = {
    "burble, TextStreamer": BurbleText,
    "burble, TextIteratorStreamer": burble.TextIteratorStreamer,
    "burble, AsyncTextIteratorStreamer": burble.AsyncTextIteratorStreamer,
    "TextStreamer": HeldText,
    "TextIteratorStreamer": transformers.TextIteratorStreamer,
    "AsyncTextIteratorStreamer": transformers.AsyncTextIteratorStreamer,
    "DirectStreamer": _direct,
    "CBStreamer": Batched,
}


def token_ids(tokenizer: Any, n: int) -> list[int]:
    """Return the first ``n`` ids of a text of random words, the same in each run."""
    rng = random.Random(1)
    text = " ".join(rng.choices(VOCABULARY.split(), k=n))  # no word is less than a token
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:n]
    if len(ids) < n or "\n" in tokenizer.decode(ids):
        raise RuntimeError(f"expected {n} ids without a newline, found {len(ids)}")
    return list(ids)


def cost_by_depth(streamer: Any, values: list[Any]) -> list[float]:
    """Put all values; return the mean seconds of a put at each depth."""
    put = streamer.put
    for value in values[:WARM_UP]:
        put(value)
    streamer.end()
    costs, done = [], 0
    for depth in DEPTHS:
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


async def _cost(make: Callable[[Any], Any], tokenizer: Any, values: list[Any]) -> list[float]:
    return cost_by_depth(make(tokenizer), values)


def measure(tokenizer: Any, n_rounds: int) -> Measured:
    """Measure, in ``n_rounds`` rounds after one that does not count."""
    ids = token_ids(tokenizer, DEPTHS[-1])
    tensors = [torch.tensor([i]) for i in ids]
    samples: dict[str, list[float]] = {f"{name}, {d}": [] for name in MAKERS for d in DEPTHS}
    order = random.Random(1)
    for n in rounds(n_rounds + 1, "put"):
        for name in order.sample(list(MAKERS), k=len(MAKERS)):
            make = MAKERS[name]
            values = ids if make is Batched else tensors
            costs = asyncio.run(_cost(make, tokenizer, values))
            for depth, cost in zip(DEPTHS, costs, strict=True):
                if n > 0:
                    samples[f"{name}, {depth}"].append(cost)
    return Measured(samples, {"path": burble.TextStreamer(tokenizer).path})


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""
    samples = found.samples
    outcome = Outcome(
        "put",
        "1. put: CPU microseconds a token, by the tokens since a newline; median [quartiles]",
    )
    outcome.notes.append(f"burble's path for this tokenizer: {found.facts['path']}")
    outcome.tables.append(
        Table(
            ["", *[f"{depth:,} tokens" for depth in DEPTHS]],
            [[name, *[micros(spread(samples[f"{name}, {d}"])) for d in DEPTHS]] for name in MAKERS],
        )
    )
    for kind, what in KINDS.items():
        ours, theirs = f"burble, {kind}", kind
        outcome.goals += [
            goal.less(
                f"{what}, transformers' cost over burble's at {GOAL_DEPTH:,}",
                GOAL_LESS,
                ratios(samples[f"{theirs}, {GOAL_DEPTH}"], samples[f"{ours}, {GOAL_DEPTH}"]),
            ),
            goal.flat(
                f"{what}, burble's cost at {DEPTHS[-1]:,} over that at {DEPTHS[0]}",
                GOAL_FLAT,
                ratios(samples[f"{ours}, {DEPTHS[-1]}"], samples[f"{ours}, {DEPTHS[0]}"]),
            ),
        ]
    peers = [name for name in MAKERS if not name.startswith("burble")]
    for depth in DEPTHS:
        for kind in KINDS:
            # What hands nothing over is compared with what does not, either.
            alone = ("TextStreamer", "CBStreamer")
            same = [peer for peer in peers if (peer in alone) == (kind in alone)]
            outcome.contests.append(
                Contest(
                    f"a put of {kind} at {depth:,} tokens",
                    samples[f"burble, {kind}, {depth}"],
                    {peer: samples[f"{peer}, {depth}"] for peer in same},
                )
            )
    return outcome
