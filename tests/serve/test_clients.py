# SPDX-License-Identifier: MIT
"""Clients of OpenAI's protocol as they are published, against the real server.

openai-python, LangChain and curl are skipped where they are not installed; openai for Node is
installed by npm into .cache/, and skipped where npm, Node or its registry is not there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from resuming import fetch, request_bytes
from servers import (
    ROOT,
    model_server,
    needs_command,
    needs_numbers,
    numbers_server,
    without_number,
)
from wire import numbered

pytestmark = [pytest.mark.timeout(180)]

KEY = "sk-test-of-clients"
MESSAGES: Any = [{"role": "user", "content": "who asks"}]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with numbers_server("--rate", 2000, "--key", KEY) as (port, _):
        yield port


@pytest.fixture(scope="module")
def base(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="module")
def shakespeare() -> Iterator[str]:
    with model_server("--slots", 4, "--context", 512, "--threads", 1) as port:
        yield f"http://127.0.0.1:{port}/v1"


def text_after_number(text: str) -> str:
    return without_number(text)[1]


def running(port: int) -> float:
    """The answers that run now, as the server's metrics say."""
    headers = {"Authorization": f"Bearer {KEY}"}
    body = fetch(port, request_bytes("GET", "/metrics", headers)).body.decode()
    values = [line.split()[-1] for line in body.splitlines() if "requests_running" in line[:60]]
    numbers = [float(value) for value in values if value.replace(".", "").isdigit()]
    assert numbers, body
    return numbers[0]


def wait_until_nothing_runs(port: int) -> None:
    while running(port) > 0:
        pass


# ---- openai-python -------------------------------------------------------------------------------


def openai_client(base: str, **options: Any) -> Any:
    openai = pytest.importorskip("openai")
    options = {"api_key": KEY, "max_retries": 0, **options}
    return openai.OpenAI(base_url=base, **options)


@needs_numbers
def test_openai_lists_models(base: str) -> None:
    with openai_client(base) as client:
        assert [model.id for model in client.models.list()][:1] == ["numbers"]
        assert client.models.retrieve("numbers").id == "numbers"


@needs_numbers
def test_openai_chat_whole(base: str) -> None:
    with openai_client(base) as client:
        answer = client.chat.completions.create(model="numbers", messages=MESSAGES, max_tokens=8)
    (choice,) = answer.choices
    assert text_after_number(choice.message.content) == numbered("who asks", 8)
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@needs_numbers
@pytest.mark.parametrize("with_usage", [False, True])
def test_openai_chat_streamed(base: str, with_usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if with_usage else {}
    with openai_client(base) as client:
        chunks = list(
            client.chat.completions.create(
                model="numbers", messages=MESSAGES, max_tokens=8, stream=True, **options
            )
        )
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert text_after_number(text) == numbered("who asks", 8)
    reasons = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert reasons == ["length"]
    assert (chunks[-1].usage is not None) == with_usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


@needs_numbers
def test_openai_stream_helper_collects_events(base: str) -> None:
    openai = pytest.importorskip("openai")
    with openai_client(base) as client:
        stream = client.chat.completions.stream(model="numbers", messages=MESSAGES, max_tokens=8)
        with stream as events:
            delta = "".join(event.delta for event in events if event.type == "content.delta")
            # (The helper raises that for each answer that reached its limit.)
            with pytest.raises(openai.LengthFinishReasonError) as caught:
                events.get_final_completion()
    assert text_after_number(delta) == numbered("who asks", 8)
    assert caught.value.completion.choices[0].message.content == delta


@needs_numbers
def test_openai_completions_whole_and_streamed(base: str) -> None:
    with openai_client(base) as client:
        whole = client.completions.create(model="numbers", prompt="a prompt", max_tokens=4)
        chunks = client.completions.create(
            model="numbers", prompt="a prompt", max_tokens=4, stream=True
        )
        streamed = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert text_after_number(whole.choices[0].text) == numbered("a prompt", 4)
    assert text_after_number(streamed) == numbered("a prompt", 4)


@needs_numbers
def test_openai_with_base_url_of_llama_server(port: int) -> None:
    with openai_client(f"http://127.0.0.1:{port}") as client:
        assert [model.id for model in client.models.list()][:1] == ["numbers"]
        answer = client.chat.completions.create(model="numbers", messages=MESSAGES, max_tokens=2)
    assert text_after_number(answer.choices[0].message.content) == numbered("who asks", 2)


@needs_numbers
def test_openai_raises_its_own_errors(base: str) -> None:
    openai = pytest.importorskip("openai")
    asked: dict[str, Any] = {"model": "numbers", "messages": MESSAGES}
    with openai_client(base) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(**{**asked, "model": "none"})
        assert "none" in caught.value.message
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                **{**asked, "messages": [{"role": "user", "content": 3}]}
            )
        assert caught.value.param == "messages[0].content"
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**asked, temperature=-1)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("none")
    with openai_client(base, api_key="wrong") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**asked)


@needs_numbers
def test_openai_leaving_cancels_answer(port: int, base: str) -> None:
    with openai_client(base) as client:
        stream = client.chat.completions.create(
            model="numbers", messages=MESSAGES, max_tokens=1_000_000, stream=True
        )
        next(iter(stream))
        stream.close()
    wait_until_nothing_runs(port)


@needs_numbers
def test_openai_async_many_at_once(base: str) -> None:
    openai = pytest.importorskip("openai")

    async def one(client: Any, i: int) -> str:
        stream = await client.chat.completions.create(
            model="numbers",
            messages=[{"role": "user", "content": f"client {i}"}],
            max_tokens=20,
            stream=True,
        )
        return "".join([c.delta.content or "" async for chunk in stream for c in chunk.choices])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(*[one(client, i) for i in range(50)])

    for i, text in enumerate(asyncio.run(all_of_them())):
        assert text_after_number(text) == numbered(f"client {i}", 20)


@needs_numbers
def test_openai_async_task_cancelled(port: int, base: str) -> None:
    openai = pytest.importorskip("openai")

    async def read_for_ever(client: Any, began: asyncio.Event) -> None:
        stream = await client.chat.completions.create(
            model="numbers", messages=MESSAGES, max_tokens=1_000_000, stream=True
        )
        async for _ in stream:
            began.set()

    async def cancel_it() -> None:
        async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0) as client:
            began = asyncio.Event()
            task = asyncio.create_task(read_for_ever(client, began))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(wait_until_nothing_runs, port)

    asyncio.run(cancel_it())


@needs_command
def test_openai_with_shipped_model(shakespeare: str) -> None:
    with openai_client(shakespeare) as client:
        asked: dict[str, Any] = {"model": "shakespeare", "prompt": "ROMEO:", "max_tokens": 24}
        whole = client.completions.create(**asked, temperature=0)
        chunks = list(
            client.completions.create(
                **asked, temperature=0, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(c.text for chunk in chunks for c in chunk.choices) == whole.choices[0].text
        assert chunks[-1].usage.completion_tokens == 24
        several = client.completions.create(**asked, n=3, seed=1, temperature=1, logprobs=2)
        assert [choice.index for choice in several.choices] == [0, 1, 2]
        for choice in several.choices:
            assert "".join(choice.logprobs.tokens) == choice.text
            assert all(len(top) >= 2 for top in choice.logprobs.top_logprobs)
        stopped = client.completions.create(**{**asked, "max_tokens": 200}, stop=["\n"], seed=3)
        assert stopped.choices[0].finish_reason in ("stop", "length")
        assert "\n" not in stopped.choices[0].text


# ---- LangChain -----------------------------------------------------------------------------------


@needs_numbers
def test_langchain_chat(base: str) -> None:
    chat = pytest.importorskip("langchain_openai").ChatOpenAI
    model = chat(model="numbers", base_url=base, api_key=KEY, max_retries=0, max_tokens=8)
    answer = model.invoke("who asks")
    assert text_after_number(answer.content) == numbered("who asks", 8)
    assert answer.response_metadata["finish_reason"] == "length"
    assert answer.usage_metadata["output_tokens"] > 0
    streamed = "".join(str(chunk.content) for chunk in model.stream("who asks"))
    assert text_after_number(streamed) == numbered("who asks", 8)
    for i, answer in enumerate(model.batch([f"client {i}" for i in range(8)])):
        assert text_after_number(answer.content) == numbered(f"client {i}", 8)


@needs_numbers
def test_langchain_chat_async(base: str) -> None:
    chat = pytest.importorskip("langchain_openai").ChatOpenAI
    model = chat(model="numbers", base_url=base, api_key=KEY, max_retries=0, max_tokens=8)

    async def read() -> str:
        return "".join([str(chunk.content) async for chunk in model.astream("who asks")])

    assert text_after_number(asyncio.run(read())) == numbered("who asks", 8)


# ---- curl ----------------------------------------------------------------------------------------


@needs_numbers
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_shows_events(base: str) -> None:
    body = {"model": "numbers", "messages": MESSAGES, "max_tokens": 4, "stream": True}
    command = ["curl", "--no-progress-meter", "-N", f"{base}/chat/completions"]
    command += ["-H", f"Authorization: Bearer {KEY}", "--json", json.dumps(body)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert shown.stderr == ""
    data = [line.removeprefix("data: ") for line in shown.stdout.split("\n\n") if line]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(line) for line in data[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    assert text_after_number(text) == numbered("who asks", 4)


# ---- openai for Node -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of the packages of node/package.json, installed once."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs Node and npm")
    folder = ROOT / ".cache" / "serve-node"
    wanted = (HERE / "node" / "package.json").read_text()
    installed = folder / "package.json"
    if not (folder / "node_modules" / "openai").is_dir() or installed.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        installed.write_text(wanted)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150)
        if done.returncode != 0:
            installed.unlink()
            pytest.skip(f"npm has not found openai: {done.stderr.strip().splitlines()[-1:]}")
    return folder / "node_modules"


@needs_numbers
def test_openai_for_node(port: int, base: str, node_modules: Path) -> None:
    done = subprocess.run(
        ["node", HERE / "node" / "client.cjs", base, KEY],
        env={**os.environ, "NODE_PATH": str(node_modules)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["models"][0] == "numbers"
    for name in ("whole", "streamed", "collected"):
        assert text_after_number(got[name]) == numbered("from Node", 8), name
    assert got["same"]
    assert got["reasons"] == ["length"]
    assert got["streamed_usage"] == got["usage"]
    assert text_after_number(got["completion"]) == numbered("a prompt", 4)
    assert got["before_leaving"] > 5
    wait_until_nothing_runs(port)
    found = {name: (error["class"], error["status"]) for name, error in got["errors"].items()}
    assert found == {
        "model": ("NotFoundError", 404),
        "type": ("BadRequestError", 400),
        "key": ("AuthenticationError", 401),
    }
    assert got["errors"]["type"]["param"] == "messages[0].content"
