# SPDX-License-Identifier: MIT
"""Through ``model.generate`` itself, with the model that ships with burble."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import burble

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.no_asan

PROMPTS = ["ROMEO:", "First Citizen:\nWe are", " ", "Café 中文 👍"]
TOKENS = 40

GREEDY = {"do_sample": False}
SAMPLING = {"do_sample": True, "temperature": 1.5, "top_k": 0, "top_p": 1.0}
MODES = pytest.mark.parametrize("mode", [GREEDY, SAMPLING], ids=["greedy", "sampling"])
SKIP_PROMPT = pytest.mark.parametrize("skip_prompt", [False, True], ids=["prompt", "no-prompt"])
CHUNK = pytest.mark.parametrize("chunk", ["word", "token"])


def settings(tokenizer: Any, prompt: str, mode: dict[str, Any]) -> dict[str, Any]:
    """What generate is given, beside the streamer."""
    return {
        **tokenizer(prompt, return_tensors="pt"),
        **mode,
        "max_new_tokens": TOKENS,
        "pad_token_id": tokenizer.eos_token_id,
    }


def decoded(
    tokenizer: Any, prompt: str, output: Any, skip_prompt: bool, **decode_kwargs: Any
) -> str:
    """What a streamer has to say of ``output``."""
    start = len(tokenizer(prompt)["input_ids"]) if skip_prompt else 0
    return str(tokenizer.decode(output[0, start:], **decode_kwargs))


@MODES
@SKIP_PROMPT
@CHUNK
@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_of_generate_in_thread_equals_decode(
    shakespeare: Any,
    shakespeare_model: Any,
    prompt: str,
    mode: dict[str, Any],
    skip_prompt: bool,
    chunk: burble.streamers.Chunk,
) -> None:
    torch.manual_seed(23)
    streamer = burble.TextIteratorStreamer(
        shakespeare, skip_prompt, 60, chunk=chunk, skip_special_tokens=True
    )
    output = []

    def generate() -> None:
        inputs = settings(shakespeare, prompt, mode)
        output.append(shakespeare_model.generate(**inputs, streamer=streamer))

    thread = threading.Thread(target=generate)
    thread.start()
    chunks = list(streamer)
    thread.join()
    assert "" not in chunks
    assert "".join(chunks) == decoded(
        shakespeare, prompt, output[0], skip_prompt, skip_special_tokens=True
    )


@MODES
@SKIP_PROMPT
@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_streamer_prints_as_that_of_transformers(
    shakespeare: Any,
    shakespeare_model: Any,
    capsys: pytest.CaptureFixture[str],
    prompt: str,
    mode: dict[str, Any],
    skip_prompt: bool,
) -> None:
    printed = []
    for streamer_class in (transformers.TextStreamer, burble.TextStreamer):
        torch.manual_seed(7)
        streamer = streamer_class(shakespeare, skip_prompt=skip_prompt)
        inputs = settings(shakespeare, prompt, mode)
        output = shakespeare_model.generate(**inputs, streamer=streamer)
        printed.append(capsys.readouterr().out)
        assert printed[-1] == decoded(shakespeare, prompt, output, skip_prompt) + "\n"
    theirs, ours = printed
    assert ours == theirs


@MODES
@SKIP_PROMPT
@CHUNK
def test_run_returns_output_of_generate(
    shakespeare: Any,
    shakespeare_model: Any,
    mode: dict[str, Any],
    skip_prompt: bool,
    chunk: burble.streamers.Chunk,
) -> None:
    prompt = "JULIET:\n"
    inputs = settings(shakespeare, prompt, mode)
    torch.manual_seed(99)
    alone = shakespeare_model.generate(**inputs)

    async def consume() -> tuple[list[str], Any]:
        streamer = burble.AsyncTextIteratorStreamer(shakespeare, skip_prompt, 60, chunk=chunk)
        torch.manual_seed(99)
        task = asyncio.create_task(streamer.run(shakespeare_model.generate, **inputs))
        chunks = [text async for text in streamer]
        return chunks, await task

    chunks, output = asyncio.run(consume())
    assert torch.equal(output, alone)
    assert "".join(chunks) == decoded(shakespeare, prompt, output, skip_prompt)
    if chunk == "token":
        assert len(chunks) > TOKENS // 2


def test_generations_at_once_do_not_mix(shakespeare: Any, shakespeare_model: Any) -> None:
    prompts = [f"{name}:" for name in ("ROMEO", "JULIET", "HAMLET", "KING", "First Citizen")]

    async def one(prompt: str) -> tuple[str, Any]:
        streamer = burble.AsyncTextIteratorStreamer(shakespeare, timeout=60)
        inputs = settings(shakespeare, prompt, GREEDY)
        task = asyncio.create_task(streamer.run(shakespeare_model.generate, **inputs))
        return "".join([text async for text in streamer]), await task

    async def everything() -> list[tuple[str, Any]]:
        return await asyncio.gather(*map(one, prompts))

    for prompt, (text, output) in zip(prompts, asyncio.run(everything())):
        assert text == decoded(shakespeare, prompt, output, False)
        assert text.startswith(prompt)


def test_streamer_serves_successive_generations(shakespeare: Any, shakespeare_model: Any) -> None:
    streamer = burble.TextIteratorStreamer(shakespeare, skip_prompt=True, timeout=60)
    for prompt in PROMPTS:
        inputs = settings(shakespeare, prompt, GREEDY)
        output = shakespeare_model.generate(**inputs, streamer=streamer)
        assert "".join(streamer) == decoded(shakespeare, prompt, output, True)


def test_assisted_decoding_with_several_ids_per_put_is_streamed(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    """Prompt lookup puts [1, n] at every step."""
    prompt = "To be, or not to be: that is the question. To be, or not to be"
    inputs = settings(shakespeare, prompt, GREEDY)
    chunks = []
    for streamer_class in (transformers.TextIteratorStreamer, burble.TextIteratorStreamer):
        streamer = streamer_class(shakespeare, skip_prompt=True, timeout=60)
        output = shakespeare_model.generate(**inputs, streamer=streamer, prompt_lookup_num_tokens=5)
        chunks.append([text for text in streamer if text])
        assert "".join(chunks[-1]) == decoded(shakespeare, prompt, output, True)
    theirs, ours = chunks
    assert ours == theirs
