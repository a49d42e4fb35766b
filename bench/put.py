# SPDX-License-Identifier: MIT
"""What one ``put`` costs, by how many tokens came since the last newline.

As generate does it, ids are put one at a time, each in a tensor of its own of shape [1], up to
4,096 of a text with spaces and without a newline. The cost at a depth is the mean over the 32 puts
that lead up to it. Four streamers take turns in each round, and each first has 256 ids that do not
count, so that the caches of the processor are as warm at the first depth as at the last:

* a ``TextStreamer`` of each library whose ``on_finalized_text`` is overridden to drop the text, so
  that decoding and cutting are measured, not printing;
* a ``TextIteratorStreamer`` of each library as it comes, so that handing over is in it, too. Nobody
  reads meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter
from typing import Any

import goal
import torch
import transformers
from progress import rounds
from report import Outcome, micros
from spread import ratios, spread

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


def token_ids(tokenizer: Any, n: int) -> list[int]:
    """Return the first ``n`` ids of a text of random words, the same in each run."""
    rng = random.Random(1)
    text = " ".join(rng.choices(VOCABULARY.split(), k=n))  # no word is less than a token
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:n]
    if len(ids) < n or "\n" in tokenizer.decode(ids):
        raise RuntimeError(f"expected {n} ids without a newline, found {len(ids)}")
    return list(ids)


def cost_by_depth(streamer: Any, tensors: list[torch.Tensor]) -> list[float]:
    """Put all tensors; return the mean seconds of a put at each depth."""
    put = streamer.put
    for tensor in tensors[:WARM_UP]:
        put(tensor)
    streamer.end()
    costs, done = [], 0
    for depth in DEPTHS:
        for tensor in tensors[done : depth - WINDOW]:
            put(tensor)
        window = tensors[depth - WINDOW : depth]
        begin = perf_counter()
        for tensor in window:
            put(tensor)
        costs.append((perf_counter() - begin) / WINDOW)
        done = depth
    streamer.end()
    return costs


def measure(tokenizer: Any, n_rounds: int) -> Outcome:
    """Measure, in ``n_rounds`` rounds after one that does not count."""
    tensors = [torch.tensor([i]) for i in token_ids(tokenizer, DEPTHS[-1])]
    makers: dict[str, Callable[[], Any]] = {
        "burble, text dropped": lambda: BurbleText(tokenizer),
        "transformers, text dropped": lambda: HeldText(tokenizer),
        "burble, iterator": lambda: burble.TextIteratorStreamer(tokenizer),
        "transformers, iterator": lambda: transformers.TextIteratorStreamer(tokenizer),
    }
    costs: dict[str, list[list[float]]] = {name: [[] for _ in DEPTHS] for name in makers}
    for n in rounds(n_rounds + 1, "put"):
        for name, make in makers.items():
            for column, cost in zip(costs[name], cost_by_depth(make(), tensors), strict=True):
                if n > 0:
                    column.append(cost)
    return _outcome(costs, burble.TextStreamer(tokenizer).path)


def _outcome(costs: dict[str, list[list[float]]], path: str) -> Outcome:
    outcome = Outcome(
        "put",
        "1. put: microseconds a token, by the number of tokens since a newline; median [quartiles]",
    )
    outcome.lines.append(f"  burble's path for this tokenizer: {path}")
    outcome.table(
        ["", *[f"{depth:,} tokens" for depth in DEPTHS]],
        [[name, *[micros(spread(column)) for column in costs[name]]] for name in costs],
    )
    at = DEPTHS.index(GOAL_DEPTH)
    for kind in ("text dropped", "iterator"):
        ours, theirs = costs[f"burble, {kind}"], costs[f"transformers, {kind}"]
        outcome.goals += [
            goal.less(
                f"{kind}, transformers' cost over burble's at {GOAL_DEPTH:,}",
                GOAL_LESS,
                ratios(theirs[at], ours[at]),
            ),
            goal.flat(
                f"{kind}, burble's cost at {DEPTHS[-1]:,} over that at {DEPTHS[0]}",
                GOAL_FLAT,
                ratios(ours[-1], ours[0]),
            ),
        ]
    for name, columns in costs.items():
        for depth, column in zip(DEPTHS, columns, strict=True):
            outcome.samples[f"{name}, {depth}"] = column
    return outcome
