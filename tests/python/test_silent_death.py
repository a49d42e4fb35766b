# SPDX-License-Identifier: MIT
"""A generation that dies in a thread which lives on: nothing calls the streamer any more, and yet
no consumer waits for ever."""

from __future__ import annotations

import asyncio
import gc
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import burble

transformers = pytest.importorskip("transformers")

MODEL = str(Path(__file__).parents[2] / "models" / "shakespeare")
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def model() -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(MODEL)


class OutOfMemoryAt:
    """Stands where a device's memory ends: raises at one step of a real generation."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of memory, as it were")
        return scores


def generate(model: Any, tokenizer: Any, streamer: Any, dies_at: int) -> Any:
    return model.generate(
        **tokenizer("ROMEO:", return_tensors="pt"),
        streamer=streamer,
        max_new_tokens=40,
        min_new_tokens=40,
        do_sample=False,
        logits_processor=transformers.LogitsProcessorList([OutOfMemoryAt(dies_at)]),
    )


@pytest.mark.parametrize("dies_at", [0, 10])
@pytest.mark.parametrize("skip_prompt", [False, True])
def test_async_reader_of_dead_pool_job_raises_producer_died(
    model: Any, tokenizer: Any, dies_at: int, skip_prompt: bool
) -> None:
    async def main(future: Future[Any]) -> str:
        text = ""
        try:
            async for new_text in streamer:
                text += new_text
        except burble.ProducerDied:
            with pytest.raises(RuntimeError, match="out of memory"):
                await asyncio.wrap_future(future)
            return text
        pytest.fail("the consumer was not told")

    streamer = burble.AsyncTextIteratorStreamer(tokenizer, skip_prompt)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(generate, model, tokenizer, streamer, dies_at)
        text = asyncio.run(main(future))
        alive = pool.submit(lambda: "the thread lives on").result()
    assert alive
    assert text.startswith("" if skip_prompt else "ROMEO:")
    assert bool(text) == (dies_at > 0 or not skip_prompt)


def test_blocked_reader_of_dead_pool_job_raises_producer_died(model: Any, tokenizer: Any) -> None:
    streamer = burble.TextIteratorStreamer(tokenizer, chunk="token")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(generate, model, tokenizer, streamer, 5)
        text = next(streamer)
        with pytest.raises(burble.ProducerDied):
            text += "".join(streamer)
        assert text.startswith("ROMEO:")
        assert isinstance(future.exception(), RuntimeError)


def test_generation_after_silent_death_is_read(model: Any, tokenizer: Any) -> None:
    streamer = burble.TextIteratorStreamer(tokenizer, skip_prompt=True)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(generate, model, tokenizer, streamer, 5)
        with pytest.raises(burble.ProducerDied):
            list(streamer)
        future = pool.submit(generate, model, tokenizer, streamer, 1000)
        text = "".join(streamer)
        prompt = len(tokenizer("ROMEO:").input_ids)
        assert text == tokenizer.decode(future.result()[0][prompt:])


def test_objects_of_dead_generate_are_freed(model: Any, tokenizer: Any) -> None:
    streamer = burble.TextIteratorStreamer(tokenizer)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(generate, model, tokenizer, streamer, 1000).result()
    list(streamer)
    gone = weakref.ref(streamer)
    del streamer
    gc.collect()
    assert gone() is None
