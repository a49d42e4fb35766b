# SPDX-License-Identifier: MIT
"""Streams as server-sent events, through real servers to real clients that leave and reconnect."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import threading
from collections.abc import AsyncIterator
from typing import Any, Callable

import pytest
from helpers import SOON, until_in_loop

import burble

httpx = pytest.importorskip("httpx")
httpx_sse = pytest.importorskip("httpx_sse")

PIECES = ["Once", " upon\n", "a\r\ntime", ", \u2603 ", "data: x", " ", "😀"]


def parse(body: bytes) -> list[Any]:
    """The events of a body, as httpx-sse reads them."""
    decoder = httpx_sse._decoders.SSEDecoder()
    lines = body.decode().split("\n")[:-1]
    return [event for line in lines if (event := decoder.decode(line)) is not None]


def texts(events: list[Any]) -> list[str]:
    return [json.loads(event.data)["text"] for event in events if event.event == "message"]


def ended_channel(pieces: list[str], **options: Any) -> burble.Stream[str]:
    writer, stream = burble.channel(**options)
    for piece in pieces:
        writer.put_text(piece)
    writer.end("stop")
    return stream


async def until_blocked(stream: burble.Stream[str]) -> None:
    """Until nothing is read any more: the position stays where it is."""
    position = -1
    while stream.position != position or stream.stats.blocked == 0.0:
        position = stream.position
        await asyncio.sleep(0.1)


async def body_of(events: Any) -> bytes:
    return b"".join([part async for part in events])


# ---- the format ----------------------------------------------------------------------------------


def test_text_of_any_kind_arrives_unchanged() -> None:
    stream = ended_channel(PIECES)
    events = parse(asyncio.run(body_of(burble.sse(stream))))
    assert texts(events) == PIECES
    ids = [f"{stream.id}:{i:010}" for i in range(len(PIECES))]
    assert [event.id for event in events] == [*ids, f"{stream.id}:end"]
    assert events[-1].event == "end"
    assert json.loads(events[-1].data) == {"finish_reason": "stop"}


def test_error_event_hides_its_message() -> None:
    async def main(fail: Callable[[Any], None]) -> Any:
        writer, stream = burble.channel()
        writer.put_text("so far")
        fail(writer)
        return parse(await body_of(burble.sse(stream)))

    events = asyncio.run(main(lambda writer: writer.fail(RuntimeError("password: 1234"))))
    assert texts(events) == ["so far"]
    assert events[-1].event == "failed"
    assert json.loads(events[-1].data) == {
        "type": "RuntimeError",
        "message": "the generation failed",
    }
    events = asyncio.run(main(lambda writer: writer.fail(burble.TotalTimeout("after 3 s"))))
    assert json.loads(events[-1].data) == {"type": "TotalTimeout", "message": "after 3 s"}


def test_error_hidden_from_client_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def items() -> Any:
        yield 1
        raise OSError("no space left")

    async def main(source: Any) -> None:
        async with source:
            await body_of(burble.sse(source))

    asyncio.run(main(burble.iterate(items())))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("burble", "ERROR")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no space left"
    caplog.clear()
    asyncio.run(main(burble.iterate(iter(lambda: 1, 0), total_timeout=0.05)))
    assert not caplog.records


def test_items_are_encoded_as_json_or_by_encode() -> None:
    stream = burble.iterate([1, {"a": "\n"}, "b"])
    events = parse(asyncio.run(body_of(burble.sse(stream))))
    assert [json.loads(event.data) for event in events[:-1]] == [
        {"item": 1},
        {"item": {"a": "\n"}},
        {"text": "b"},
    ]
    stream = ended_channel(["a\nb\r\nc"])
    events = parse(asyncio.run(body_of(burble.sse(stream, encode=str))))
    assert events[0].data == "a\nb\nc"


def test_invalid_sse_options_are_refused() -> None:
    stream = ended_channel(["a"], keep="all")
    with pytest.raises(TypeError, match=r"source: expected a stream, .*, found str"):
        burble.sse("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="last_event_id: expected a str or None, found 3"):
        burble.sse(stream, last_event_id=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="keep_alive: expected seconds, found '1'"):
        burble.sse(stream, keep_alive="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keep_alive: expected seconds, more than 0, found 0"):
        burble.sse(stream, keep_alive=0)


def test_keep_alive_comment_is_sent_while_no_text_arrives() -> None:
    async def main() -> None:
        writer, stream = burble.channel()
        events = burble.sse(stream, keep_alive=0.01)
        assert await events.__anext__() == b": keep-alive\n"
        assert await events.__anext__() == b": keep-alive\n"
        waiting = asyncio.ensure_future(events.__anext__())
        writer.put_text("a")
        writer.put_text("b")
        got = await waiting
        while got.startswith(b":"):
            got = await events.__anext__()
        assert texts(parse(got)) in (["a"], ["a", "b"])
        await events.aclose()
        assert stream.state == "cancelled"

    asyncio.run(main())


def test_cancelled_wait_loses_no_event() -> None:
    async def main() -> None:
        writer, stream = burble.channel()
        events = burble.sse(stream)
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(events.__anext__(), 0.01)
        writer.put_text("a")
        writer.end()
        assert texts(parse(await body_of(events))) == ["a"]

    asyncio.run(main())


def test_wait_cancelled_as_text_arrives_loses_no_event() -> None:
    async def main() -> None:
        writer, stream = burble.channel()
        events = burble.sse(stream)
        for text in "abc":
            waiting = asyncio.ensure_future(events.__anext__())
            await until_in_loop(lambda: events._waiting is not None)
            writer.put_text(text)
            await until_in_loop(lambda: events._waiting.done())
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert texts(parse(await events.__anext__())) == [text]
        writer.end()
        assert texts(parse(await body_of(events))) == []

    asyncio.run(main())


def test_available_text_yields_to_other_tasks() -> None:
    async def main() -> None:
        turns = 0
        while turns <= 20:  # however fast this machine is
            events = burble.sse(ended_channel(["some text"] * 20_000, keep="all"))
            read = asyncio.ensure_future(body_of(events))
            await asyncio.sleep(0)  # in which it begins
            while not read.done():
                await asyncio.sleep(0)
                turns += 1
            assert len(texts(parse(read.result()))) == 20_000

    asyncio.run(main())


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), SystemExit(), GeneratorExit()]
)
def test_text_before_error_is_sent_before_it(error: BaseException) -> None:
    writer, stream = burble.channel()
    writer.put_text("one ")
    writer.put_text("two")
    writer.fail(error)
    events = parse(asyncio.run(body_of(burble.sse(stream))))
    assert texts(events) == ["one ", "two"]
    assert [event.event for event in events[2:]] == ["failed"]


def test_unicode_line_ends_are_escaped() -> None:
    body = asyncio.run(body_of(burble.sse(ended_channel(["a\x85b\u2028c\u2029d\u2603"]))))
    assert "\u2603" in body.decode()
    assert len(body.decode().splitlines()) == len(body.decode().split("\n")[:-1])
    assert texts(parse(body)) == ["a\x85b\u2028c\u2029d\u2603"]


def test_unreferenced_events_that_wait_take_no_more_text() -> None:
    async def main() -> None:
        writer, stream = burble.channel()
        events = burble.sse(stream, keep_alive=0.001, close=False)
        assert await events.__anext__() == b": keep-alive\n"
        del events
        writer.put_text("one")
        writer.end()
        assert [text async for text in stream] == ["one"]
        await until_in_loop(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())


def test_client_without_reading_retains_at_most_keep() -> None:
    async def main() -> None:
        writer, stream = burble.channel(keep=1000, max_lag=1000)
        rude, good = burble.sse(stream), burble.sse(stream)
        for _ in range(1000):
            writer.put_text("x" * 100)
            assert b"xxx" in await good.__anext__()
        writer.end()
        events = parse(await body_of(rude))
        assert json.loads(events[-1].data)["type"] == "Lagged"
        assert [event.event for event in parse(await body_of(good))] == ["end"]

    asyncio.run(main())


def test_first_client_of_fast_generation_gets_all_text() -> None:
    """Although that is more than is kept: it has not been read yet."""
    stream = ended_channel(["0123456789"] * 2000, keep=10)
    assert texts(parse(asyncio.run(body_of(burble.sse(stream))))) == ["0123456789"] * 2000


def test_batch_events_name_their_rows() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from conftest import SHAKESPEARE

    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(SHAKESPEARE)
    model = transformers.AutoModelForCausalLM.from_pretrained(SHAKESPEARE)
    ids = tokenizer("ROMEO:", return_tensors="pt")["input_ids"]
    torch.manual_seed(1)
    batch = burble.stream(
        model.generate,
        torch.cat([ids, ids]),
        tokenizer=tokenizer,
        max_new_tokens=8,
        do_sample=True,
        pad_token_id=0,
    )
    events = parse(asyncio.run(body_of(burble.sse(batch))))
    rows = ["", ""]
    for event in events[:-1]:
        data = json.loads(event.data)
        rows[data["row"]] += data["text"]
    assert events[-1].event == "end"
    assert json.loads(events[-1].data) == {"finish_reason": list(batch.finish_reason)}
    assert set(batch.finish_reason) <= {"eos", "length"}
    expected = tokenizer.batch_decode(batch.result[:, ids.shape[1] :], skip_special_tokens=True)
    assert rows == expected


def test_trio_gets_events_and_keep_alive() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        writer, stream = burble.channel()
        events = burble.sse(stream, keep_alive=0.01)
        assert await events.__anext__() == b": keep-alive\n"
        thread = threading.Thread(target=lambda: (writer.put_text("a"), writer.end()))
        thread.start()
        assert texts(parse(await body_of(events))) == ["a"]
        thread.join()

    trio.run(main)


# ---- servers -------------------------------------------------------------------------------------


class Server:
    """Streams by name, so that clients can reconnect to them."""

    def __init__(self) -> None:
        self.streams: dict[str, burble.Stream[str]] = {}
        self.writers: dict[str, Any] = {}
        self.once = False  # a stream is the answer to one request, and nobody else's
        self.url = ""

    def stream_of(self, name: str) -> burble.Stream[str]:
        return self.streams.pop(name) if self.once else self.streams[name]

    def open(self, name: str, **options: Any) -> Any:
        self.writers[name], self.streams[name] = burble.channel(**options)
        return self.writers[name]


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application, at this URL."""
    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def starlette_server() -> AsyncIterator[Server]:
    fastapi = pytest.importorskip("fastapi")
    from burble.starlette import sse_response

    served = Server()
    app = fastapi.FastAPI()

    async def events(request: Any, name: str) -> Any:
        return sse_response(request, served.stream_of(name), keep_alive=5)

    events.__annotations__["request"] = fastapi.Request
    events.__annotations__["name"] = str
    app.api_route("/{name}", methods=["GET", "HEAD"], response_model=None)(events)

    async with serving(app) as served.url:
        yield served


@contextlib.asynccontextmanager
async def aiohttp_server() -> AsyncIterator[Server]:
    pytest.importorskip("aiohttp")
    from aiohttp import web

    from burble.aiohttp import sse_response

    served = Server()

    async def events(request: Any) -> Any:
        return await sse_response(request, served.stream_of(request.match_info["name"]))

    app = web.Application()
    app.router.add_get("/{name}", events)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()


def new_client() -> Any:
    """One that asks no proxy."""
    return httpx.AsyncClient(trust_env=False, timeout=SOON)


servers = pytest.mark.parametrize("server", [starlette_server, aiohttp_server])


async def cancelled(stream: burble.Stream[str]) -> None:
    """Wait until it is: a reader of a cancelled stream gets Cancelled."""
    with contextlib.suppress(burble.Cancelled):
        await asyncio.wait_for(stream.wait(), SOON)
    assert stream.state == "cancelled"


@servers
def test_client_gets_all_events(server: Any) -> None:
    async def main() -> None:
        async with server() as served, new_client() as client:
            writer = served.open("a")
            async with httpx_sse.aconnect_sse(client, "GET", f"{served.url}/a") as source:
                assert source.response.headers["content-type"].startswith("text/event-stream")
                assert source.response.headers["cache-control"] == "no-cache"
                got = []
                left = iter(PIECES)
                writer.put_text(next(left))
                async for event in source.aiter_sse():
                    if event.event == "end":
                        break
                    got.append(json.loads(event.data)["text"])
                    piece = next(left, None)  # each only when the last one has arrived
                    if piece is None:
                        writer.end("stop")
                    else:
                        writer.put_text(piece)
            assert got == PIECES
            assert json.loads(event.data) == {"finish_reason": "stop"}

    asyncio.run(main())


@servers
def test_client_that_leaves_cancels_generation(server: Any) -> None:
    """While nothing is sent, so that no write can fail."""

    async def main() -> None:
        async with server() as served, new_client() as client:
            writer = served.open("a")
            async with httpx_sse.aconnect_sse(client, "GET", f"{served.url}/a") as source:
                writer.put_text("one")
                async for event in source.aiter_sse():
                    assert json.loads(event.data) == {"text": "one"}
                    break
            await cancelled(served.streams["a"])
            with pytest.raises(burble.Cancelled):
                writer.put_text("two")

    asyncio.run(main())


@servers
def test_client_that_reconnects_gets_the_rest(server: Any) -> None:
    async def main() -> None:
        async with server() as served, new_client() as client:
            writer = served.open("a", keep="all")
            got: list[str] = []
            last = None
            for letter in "abcdefgh":
                writer.put_text(letter)
            while len(got) < 8:  # three events for each connection
                headers = {"Last-Event-ID": last or ""}
                async with httpx_sse.aconnect_sse(
                    client, "GET", f"{served.url}/a", headers=headers
                ) as source:
                    n = 0
                    async for event in source.aiter_sse():
                        got.append(json.loads(event.data)["text"])
                        last = event.id
                        n += 1
                        if n == 3 or len(got) == 8:
                            break
            assert got == list("abcdefgh")
            assert served.streams["a"].state == "open"
            writer.end()
            headers = {"Last-Event-ID": last or ""}
            response = await client.get(f"{served.url}/a", headers=headers)
            assert [event.event for event in parse(response.content)] == ["end"]

    asyncio.run(main())


@servers
def test_last_event_id_malformed_or_gone_is_refused(server: Any) -> None:
    async def main() -> None:
        async with server() as served, new_client() as client:
            writer = served.open("a", keep=10)
            for _ in range(2000):
                writer.put_text("0123456789")
                next(served.streams["a"])
            response = await client.get(f"{served.url}/a", headers={"Last-Event-ID": "nonsense"})
            assert response.status_code == 400
            assert "Last-Event-ID" in response.text
            headers = {"Last-Event-ID": f"{served.streams['a'].id}:{3:010}"}
            response = await client.get(f"{served.url}/a", headers=headers)
            assert response.status_code == 410
            writer.end()

    asyncio.run(main())


@servers
def test_refused_request_cancels_generation(server: Any) -> None:
    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            async with server() as served, new_client() as client:
                writer = served.open("a")
                served.once = True
                response = await client.get(f"{served.url}/a", headers={"Last-Event-ID": "-"})
                assert response.status_code == 400
                await until_in_loop(lambda: writer.cancelled)
        finally:
            gc.enable()

    asyncio.run(main())


def test_aiohttp_client_leaving_unread_response_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with aiohttp_server() as served:
            writer = served.open("a", max_lag=1000)
            host, port = served.url[len("http://") :].split(":")
            _, rude = await asyncio.open_connection(host, int(port))
            rude.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")

            def write() -> None:
                with contextlib.suppress(burble.Cancelled):
                    while True:
                        writer.put_text("x" * 1000)

            writing = asyncio.get_running_loop().run_in_executor(None, write)
            await until_blocked(served.streams["a"])
            rude.transport.abort()
            await asyncio.wait_for(writing, SOON)

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == []


@servers
def test_many_clients_of_one_stream_get_all_events(server: Any) -> None:
    async def main() -> None:
        async with server() as served, new_client() as client:
            writer = served.open("a", keep="all")
            requests = [asyncio.ensure_future(client.get(f"{served.url}/a")) for _ in range(20)]
            for piece in PIECES:
                writer.put_text(piece)
                await asyncio.sleep(0)
            writer.end()
            for request in requests:
                assert texts(parse((await request).content)) == PIECES

    asyncio.run(main())


# ---- the other way round: a client that blocks ---------------------------------------------------


def openai_chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    kind = "chat.completion.chunk"
    return {"id": "1", "object": kind, "created": 0, "model": "m", "choices": [choice]}


def test_openai_client_ignores_keep_alive() -> None:
    """Although there has been an id."""
    fastapi = pytest.importorskip("fastapi")
    openai = pytest.importorskip("openai")

    writer, stream = burble.channel()
    sent: list[bytes] = []
    app = fastapi.FastAPI()

    async def counted() -> AsyncIterator[bytes]:
        async for data in burble.sse(stream, encode=openai_chunk, keep_alive=0.01):
            sent.append(data)
            yield data

    @app.post("/chat/completions", response_model=None)
    async def completions() -> Any:
        return fastapi.responses.StreamingResponse(counted(), headers=burble.SSE_HEADERS)

    async def main() -> None:
        async with serving(app) as url:
            http_client = httpx.AsyncClient(trust_env=False, timeout=SOON)
            async with openai.AsyncOpenAI(
                base_url=url, api_key="none", max_retries=0, timeout=SOON, http_client=http_client
            ) as client:
                answer = await client.chat.completions.create(model="m", messages=[], stream=True)
                for piece in ("Once", " upon", " a time"):
                    quiet = len(sent)
                    await until_in_loop(lambda quiet=quiet: len(sent) > quiet + 2)
                    writer.put_text(piece)
                    found = await answer.__anext__()
                    assert found.choices[0].delta.content == piece
                writer.end()
                await answer.close()

    asyncio.run(main())


@pytest.mark.parametrize("made", [True, False])
def test_blocking_openai_client_closed_early_ends_its_server(made: bool) -> None:
    fastapi = pytest.importorskip("fastapi")
    openai = pytest.importorskip("openai")
    from burble.starlette import sse_response

    writer, stream = burble.channel()
    app = fastapi.FastAPI()

    async def completions(request: Any) -> Any:
        return sse_response(request, stream, encode=openai_chunk)

    completions.__annotations__["request"] = fastapi.Request
    app.post("/chat/completions", response_model=None)(completions)

    async def main() -> None:
        async with serving(app) as url:
            http_client = httpx.Client(trust_env=False, timeout=SOON)
            client = openai.OpenAI(
                base_url=url, api_key="none", max_retries=0, timeout=SOON, http_client=http_client
            )

            def ask() -> Any:
                return client.chat.completions.create(model="m", messages=[], stream=True)

            source = ask if made else await asyncio.to_thread(ask)
            async with burble.iterate(source, join_timeout=0) as answer:
                for piece in ("Once", " upon"):
                    writer.put_text(piece)
                    found = await answer.__anext__()
                    assert found.choices[0].delta.content == piece
            writer.put_text(" a time")  # at which the client's thread sees that nobody wants it
            await cancelled(stream)

    asyncio.run(main())
