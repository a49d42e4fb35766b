# SPDX-License-Identifier: MIT
"""burble.openai: answers to the real client of OpenAI's API, through servers of Starlette and
aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Callable

import pytest
from helpers import SOON, run, until_in_loop
from test_sse import cancelled, new_client, serving

import burble
import burble.openai

httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

PIECES = ["Once", " upon\n", "a time \u2603", " ", "😀"]
MESSAGES = [{"role": "user", "content": "Tell me."}]


class Batch:
    """Channels cannot be rows of a batch: a generate of two sequences."""

    def __call__(self, streamer: Any, input_ids: Any = None, rows: int = 2) -> None:
        for token in (1, 2):
            streamer.put([token] * rows)


def batch_of_two() -> burble.BatchStream:
    return burble.stream(Batch(), tokenizer=[b"", b"one", b" two"], batch=2)


class Served:
    """Makes a stream for each request, and keeps it."""

    def __init__(self) -> None:
        self.begin: Callable[[Any], Any] = lambda body: None
        self.options: dict[str, Any] = {}
        self.streams: list[Any] = []
        self.url = ""

    def stream(self, body: Any) -> Any:
        self.streams.append(self.begin(body))
        return self.streams[-1]


@contextlib.asynccontextmanager
async def starlette_server(served: Served) -> AsyncIterator[Served]:
    fastapi = pytest.importorskip("fastapi")
    from burble.starlette import openai_response

    app = fastapi.FastAPI()

    async def answer(request: Any) -> Any:
        body = await request.json()
        return openai_response(request, served.stream(body), body, **served.options)

    answer.__annotations__["request"] = fastapi.Request
    app.post("/v1/chat/completions", response_model=None)(answer)
    app.post("/v1/completions", response_model=None)(answer)
    async with serving(app) as url:
        served.url = f"{url}/v1"
        yield served


@contextlib.asynccontextmanager
async def aiohttp_server(served: Served) -> AsyncIterator[Served]:
    pytest.importorskip("aiohttp")
    from aiohttp import web

    from burble.aiohttp import openai_response

    async def answer(request: Any) -> Any:
        body = await request.json()
        return await openai_response(request, served.stream(body), body, **served.options)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    app.router.add_post("/v1/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield served
    finally:
        await runner.cleanup()


both = pytest.mark.parametrize("server", [starlette_server, aiohttp_server])


def asked(
    server: Any,
    main: Callable[[Any, Served], Any],
    begin: Callable[[Any], Any],
    **options: Any,
) -> Any:
    """What ``main`` makes of a client and a server."""

    async def run_all() -> Any:
        served = Served()
        served.begin, served.options = begin, options
        async with server(served), new_client() as http_client:
            client = openai.AsyncOpenAI(
                base_url=served.url,
                api_key="none",
                max_retries=0,
                timeout=SOON,
                http_client=http_client,
            )
            return await main(client, served)

    return asyncio.run(run_all())


def written(pieces: list[str] = PIECES, reason: str = "stop") -> Callable[[Any], Any]:
    def begin(body: Any) -> Any:
        writer, stream = burble.channel()
        for piece in pieces:
            writer.put_text(piece)
        writer.end(reason)
        return stream

    return begin


def failing(error: BaseException, pieces: list[str]) -> Callable[[Any], Any]:
    def begin(body: Any) -> Any:
        writer, stream = burble.channel()
        for piece in pieces:
            writer.put_text(piece)
        writer.fail(error)
        return stream

    return begin


class Open:
    """Begins streams that do not end by themselves, and keeps their writers."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.writers: list[Any] = []

    def __call__(self, body: Any) -> Any:
        writer, stream = burble.channel()
        self.writers.append(writer)
        for piece in self.pieces:
            writer.put_text(piece)
        return stream


# ---- what clients get --------------------------------------------------------------------------


@both
def test_client_streams_chat(server: Any) -> None:
    async def main(client: Any, served: Served) -> Any:
        stream = await client.chat.completions.create(
            model="m",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
        return [chunk async for chunk in stream]

    chunks = asked(server, main, written(), prompt_tokens=7)
    *texts, finish, usage = chunks
    assert (texts[0].choices[0].delta.role, texts[0].choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in texts[1:]] == PIECES
    assert {chunk.choices[0].finish_reason for chunk in texts} == {None}
    assert finish.choices[0].finish_reason == "stop"
    assert finish.choices[0].delta.content is None
    assert usage.choices == []
    assert usage.usage.prompt_tokens == 7
    assert usage.usage.total_tokens == 7 + usage.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", "m")}
    assert len({chunk.created for chunk in chunks}) == 1


@both
def test_client_gets_whole_chat(server: Any) -> None:
    async def main(client: Any, served: Served) -> Any:
        return await client.chat.completions.create(model="m", messages=MESSAGES)

    answer = asked(server, main, written(reason="length"), prompt_tokens=7, model="mine")
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "".join(PIECES))
    assert (choice.finish_reason, answer.model) == ("length", "mine")
    assert (answer.object, answer.usage.prompt_tokens) == ("chat.completion", 7)


@both
def test_client_streams_completion(server: Any) -> None:
    async def main(client: Any, served: Served) -> Any:
        stream = await client.completions.create(model="m", prompt="Tell me.", stream=True)
        return [chunk async for chunk in stream]

    chunks = asked(server, main, written(reason="eos"))
    assert [chunk.choices[0].text for chunk in chunks] == [*PIECES, ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "stop"]
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert chunks[0].id.startswith("cmpl-")


@both
def test_client_gets_whole_completion(server: Any) -> None:
    async def main(client: Any, served: Served) -> Any:
        return await client.completions.create(model="m", prompt="Tell me.")

    answer = asked(server, main, written())
    assert (answer.choices[0].text, answer.object) == ("".join(PIECES), "text_completion")


def test_blocking_client_streams_chat() -> None:
    async def main(client: Any, served: Served) -> Any:
        def ask() -> list[Any]:
            with httpx.Client(trust_env=False, timeout=SOON) as http_client:
                blocking = openai.OpenAI(
                    base_url=served.url, api_key="none", max_retries=0, http_client=http_client
                )
                with blocking.chat.completions.create(
                    model="m", messages=MESSAGES, stream=True
                ) as stream:
                    return list(stream)

        return await asyncio.to_thread(ask)

    chunks = asked(starlette_server, main, written())
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "".join(PIECES)


@both
@pytest.mark.parametrize("streamed", [True, False])
def test_rows_of_batch_are_choices(server: Any, streamed: bool) -> None:
    async def main(client: Any, served: Served) -> Any:
        answer = await client.chat.completions.create(
            model="m", messages=MESSAGES, n=2, stream=streamed
        )
        if not streamed:
            return [(c.index, c.message.content, c.finish_reason) for c in answer.choices]
        texts, reasons = ["", ""], ["", ""]
        roles = [0, 0]
        async for chunk in answer:
            (choice,) = chunk.choices
            roles[choice.index] += choice.delta.role == "assistant"
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason
        assert roles == [1, 1]
        return [(i, texts[i], reasons[i]) for i in range(2)]

    found = asked(server, main, lambda body: batch_of_two())
    assert found == [(0, "one two", "stop"), (1, "one two", "stop")]


# ---- errors --------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (OSError("secret"), 500, "the generation failed: OSError"),
        (burble.FirstTokenTimeout("after 2 s"), 504, "after 2 s"),
        (burble.ProducerDied("it died"), 500, "it died"),
    ],
)
def test_error_before_text_is_status(
    server: Any, streamed: bool, error: BaseException, status: int, message: str
) -> None:
    async def main(client: Any, served: Served) -> Any:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES, stream=streamed)
        return caught.value

    raised = asked(server, main, failing(error, []))
    assert raised.status_code == status
    assert raised.body["message"] == message
    assert raised.body["type"] == "server_error"
    assert "secret" not in str(raised)


@both
def test_cancelled_stream_is_503_with_retry_after(server: Any) -> None:
    def begin(body: Any) -> Any:
        _, stream = burble.channel()
        stream.cancel()
        return stream

    async def main(client: Any, served: Served) -> Any:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return caught.value.response

    response = asked(server, main, begin)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


@both
def test_error_in_mid_stream_is_raised_by_client_and_no_done_follows(server: Any) -> None:
    async def main(client: Any, served: Served) -> Any:
        got = ""
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="the generation failed: OSError"):  # noqa: PT012
            async for chunk in stream:
                got += chunk.choices[0].delta.content or ""
        body = {"model": "m", "messages": MESSAGES, "stream": True}
        response = await client._client.post(f"{served.url}/chat/completions", json=body)
        return got, response

    got, response = asked(server, main, failing(OSError("secret"), ["so", " far"]))
    assert got == "so far"
    assert response.status_code == 200
    assert "[DONE]" not in response.text
    assert response.text.endswith("\n\n")


@both
@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ([], None, "the body of the request: expected an object, found a list"),
        ({"messages": []}, "model", "model: expected a string, found null"),
        ({"model": 3, "messages": []}, "model", "model: expected a string, found 3"),
        ({"model": "m", "stream": "yes"}, "stream", "stream: expected true or false, found a str"),
        ({"model": "m", "n": 3}, "n", "n: expected 1, found 3"),
        ({"model": "m", "n": True}, "n", "n: expected 1, found a boolean"),
        ({"model": "m", "stream_options": 1.5}, "stream_options", "expected an object, found a nu"),
        (
            {"model": "m", "stream_options": {"include_usage": {}}},
            "stream_options.include_usage",
            "expected true or false, found an object",
        ),
    ],
)
def test_wrong_request_is_refused_and_its_stream_cancelled(
    server: Any, body: Any, param: str | None, message: str
) -> None:
    async def main(client: Any, served: Served) -> None:
        response = await client._client.post(f"{served.url}/chat/completions", json=body)
        told = response.json()["error"]
        assert response.status_code == 400
        assert message in told["message"]
        assert (told["param"], told["type"]) == (param, "invalid_request_error")
        await cancelled(served.streams[0])

    asked(server, main, Open())


def test_source_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="source: expected a stream or a batch"):
        burble.openai.answer("text", {})  # type: ignore[arg-type]


def test_stream_of_items_fails() -> None:
    async def main() -> Any:
        answer = burble.openai.answer(burble.iterate([1]), {"model": "m", "messages": []})
        await answer.begin()
        return answer.status, b"".join([data async for data in answer])

    status, body = asyncio.run(main())
    assert status == 500
    assert json.loads(body)["error"]["message"] == "the generation failed: TypeError"


# ---- times ---------------------------------------------------------------------------------------


@both
def test_client_that_leaves_before_first_text_cancels_generation(server: Any) -> None:
    async def main(client: Any, served: Served) -> None:
        asking = asyncio.ensure_future(
            client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        )
        await until_in_loop(lambda: served.streams)
        asking.cancel()
        await asyncio.wait({asking})
        await cancelled(served.streams[0])

    asked(server, main, Open())


@both
def test_client_that_leaves_whole_answer_cancels_generation(server: Any) -> None:
    async def main(client: Any, served: Served) -> None:
        asking = asyncio.ensure_future(client.chat.completions.create(model="m", messages=MESSAGES))
        await until_in_loop(lambda: served.streams)
        asking.cancel()
        await asyncio.wait({asking})
        await cancelled(served.streams[0])

    asked(server, main, Open())


@both
def test_client_that_leaves_in_mid_stream_cancels_generation(server: Any) -> None:
    async def main(client: Any, served: Served) -> None:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        await cancelled(served.streams[0])

    asked(server, main, Open("one"))


@both
def test_headers_and_keep_alive_come_without_text_after_first_timeout(server: Any) -> None:
    begin = Open()

    async def main(client: Any, served: Served) -> None:
        body = {"model": "m", "messages": MESSAGES, "stream": True}
        url = f"{served.url}/chat/completions"
        async with client._client.stream("POST", url, json=body) as response:
            assert response.status_code == 200
            lines = response.aiter_lines()
            assert json.loads((await lines.__anext__())[6:])["choices"][0]["delta"] == {
                "role": "assistant",
                "content": "",
            }
            assert await lines.__anext__() == ""
            assert (await lines.__anext__()).startswith(":")
            begin.writers[0].fail(OSError("secret"))
            rest = [line async for line in lines if line.startswith("data: ")]
        assert "error" in json.loads(rest[-1][6:])

    asked(server, main, begin, first_timeout=0.01, keep_alive=0.01)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_answer_for_other_frameworks(loop: str) -> None:
    async def main() -> Any:
        writer, stream = burble.channel()
        answer = burble.openai.answer(stream, {"model": "m", "prompt": "", "stream": True})
        with pytest.raises(RuntimeError, match=r"await begin\(\)"):
            _ = answer.status
        assert not await answer.begin(0.01)
        assert await answer.next(0.01) is None
        writer.put_text("a")
        writer.end("stop")
        assert await answer.begin()
        assert not answer.over
        body = b"".join([data async for data in answer])
        await answer.aclose()
        assert answer.over
        return answer.status, answer.headers, body

    status, headers, body = run(loop, main)
    assert (status, headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert body.endswith(b"data: [DONE]\n\n")


# ---- usage ---------------------------------------------------------------------------------------


def test_usage_counts_prompt_that_generate_was_given() -> None:
    np = pytest.importorskip("numpy")

    def generate(streamer: Any, input_ids: Any) -> None:
        streamer.put(input_ids)
        streamer.put([1])

    async def main() -> Any:
        stream = burble.stream(
            generate, input_ids=np.array([[1, 2, 1]]), tokenizer=[b"", b"one", b"two"]
        )
        answer = burble.openai.answer(stream, {"model": "m", "prompt": ""})
        await answer.begin()
        assert stream.stats.prompt_tokens == 3
        return json.loads(b"".join([data async for data in answer]))

    assert asyncio.run(main())["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "total_tokens": 4,
    }


def test_rows_of_batch_count_prompts_without_padding() -> None:
    np = pytest.importorskip("numpy")

    def generate(streamer: Any, input_ids: Any, attention_mask: Any) -> None:
        streamer.put(input_ids)

    batch = burble.stream(
        generate,
        input_ids=np.array([[0, 1, 2], [2, 2, 2]]),
        attention_mask=np.array([[0, 1, 1], [1, 1, 1]]),
        tokenizer=[b"", b"one", b"two"],
        batch=2,
    )
    batch.join()
    assert [stats.prompt_tokens for stats in batch.stats] == [2, 3]
