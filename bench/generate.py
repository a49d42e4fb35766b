# SPDX-License-Identifier: MIT
"""What streaming adds to ``model.generate``.

The shipped model generates a fixed number of tokens greedily, in a thread, while an event loop runs
in the main thread: without a streamer, with burble's ``AsyncTextIteratorStreamer``, and with
transformers'; a task of the loop joins the text. The clock runs around ``generate`` alone.

Each round runs all of them in an order of its own, and a streamer's time is divided by that of the
run without one in the same round. The run without one happens twice in each round: the second over
the first has to be 1, and how far it is from that is what the machine's noise does to the others.
Torch computes in one thread, so that the consumer has a core to itself.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import goal
import torch
import transformers
from progress import rounds
from report import Outcome, micros
from spread import median_interval, ratios, spread

import burble
import models

PROMPT = "ROMEO:"
GOAL_ADDS = 1.02
WITHOUT, AGAIN = "without", "without, again"


@dataclass(frozen=True)
class Run:
    """One generation: seconds of generate, CPU seconds of the process, the text and its chunks."""

    wall: float
    cpu: float
    text: str
    chunks: int


class Generator:
    """The model, its prompt, and the one thread in which it generates."""

    def __init__(self, tokens: int) -> None:
        torch.set_num_threads(1)
        self.tokenizer = models.load_tokenizer(models.SHAKESPEARE)
        self.model = models.load_model()
        self.options = {
            **self.tokenizer(PROMPT, return_tensors="pt"),
            "do_sample": False,
            "max_new_tokens": tokens,
            "min_new_tokens": tokens,
        }
        self.pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))

    def timed(self, streamer: Any) -> tuple[float, Any]:
        """Generate; return the seconds that took, and the ids."""
        begin = perf_counter()
        ids = self.model.generate(**self.options, streamer=streamer)
        return perf_counter() - begin, ids

    async def run(self, make: Callable[[], Any] | None) -> Run:
        """Generate in the thread, reading the streamer that ``make`` gives, if any."""
        streamer = None if make is None else make()
        gc.collect()
        cpu = process_time()
        future = asyncio.get_running_loop().run_in_executor(self.pool, self.timed, streamer)
        chunks = []
        if streamer is not None:
            async for text in streamer:
                chunks.append(text)
        wall, ids = await future
        cpu = process_time() - cpu
        text = "".join(chunks)
        if streamer is not None and text != self.tokenizer.decode(ids[0], skip_special_tokens=True):
            raise RuntimeError("the text that arrived is not the text that was generated")
        return Run(wall, cpu, text, sum(1 for chunk in chunks if chunk))


async def _collect(generator: Generator, n_rounds: int) -> dict[str, list[Run]]:
    tokenizer = generator.tokenizer
    makers: dict[str, Callable[[], Any] | None] = {
        WITHOUT: None,
        AGAIN: None,
        "burble": lambda: burble.AsyncTextIteratorStreamer(tokenizer, skip_special_tokens=True),
        "transformers": lambda: transformers.AsyncTextIteratorStreamer(
            tokenizer, skip_special_tokens=True
        ),
    }
    rng = random.Random(1)
    runs: dict[str, list[Run]] = {name: [] for name in makers}
    for n in rounds(n_rounds + 1, "generate"):
        for name in rng.sample(list(makers), k=len(makers)):
            run = await generator.run(makers[name])
            if n > 0:
                runs[name].append(run)
    return runs


def measure(n_rounds: int, tokens: int) -> Outcome:
    """Measure ``n_rounds`` rounds of ``tokens`` new tokens, after one that does not count."""
    generator = Generator(tokens)
    runs = asyncio.run(_collect(generator, n_rounds))
    generator.pool.shutdown()

    outcome = Outcome(
        "generate",
        f"3. generate: what streaming adds to {tokens} tokens of models/shakespeare;"
        " median [quartiles]",
    )
    outcome.lines.append(
        f"  {n_rounds} rounds, torch on one thread; added: paired in each round, with its 95 %"
        " interval"
    )
    for name, each in runs.items():
        outcome.samples[f"{name}, wall"] = [run.wall for run in each]
        outcome.samples[f"{name}, CPU"] = [run.cpu for run in each]
    rows = []
    for name, each in runs.items():
        row = [name, f"{spread([run.chunks for run in each]).median:.0f}" if each[0].chunks else ""]
        for clock in ("wall", "CPU"):
            values = outcome.samples[f"{name}, {clock}"]
            row.append(micros(spread([value / tokens for value in values])))
            row.append("" if name == WITHOUT else _added(outcome, name, clock))
        rows.append(row)
    outcome.table(["", "chunks", "wall us/token", "added", "CPU us/token", "added"], rows)
    outcome.goals.append(
        goal.adds("burble, time added to generate", GOAL_ADDS, _paired(outcome, "burble", "wall"))
    )
    return outcome


def _paired(outcome: Outcome, name: str, clock: str) -> list[float]:
    return ratios(outcome.samples[f"{name}, {clock}"], outcome.samples[f"{WITHOUT}, {clock}"])


def _added(outcome: Outcome, name: str, clock: str) -> str:
    paired = _paired(outcome, name, clock)
    values = [100 * (ratio - 1) for ratio in (spread(paired).median, *median_interval(paired))]
    return "{:+.1f} % [{:+.1f} to {:+.1f}]".format(*values)
