# SPDX-License-Identifier: MIT
"""Clients that return with the id of an event, and requests that get no events: by real servers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import string
import threading
from collections.abc import AsyncIterator
from typing import Any, Callable

import pytest
from helpers import SOON, until_in_loop
from test_sse import (
    Server,
    body_of,
    cancelled,
    ended_channel,
    new_client,
    parse,
    servers,
    serving,
    texts,
)

import burble

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("aiohttp")

from burble.starlette import sse_response  # noqa: E402

ANOTHER = "0" * 32


def last_of(stream: Any, number: int | str) -> str:
    return f"{stream.id}:{number:010}" if isinstance(number, int) else f"{stream.id}:{number}"


# ---- ids ---------------------------------------------------------------------------------------


def test_ids_of_streams_differ_and_have_128_bits() -> None:
    streams = [ended_channel([]) for _ in range(100)]
    ids = {stream.id for stream in streams}
    assert len(ids) == 100
    assert all(len(id_) == 32 and set(id_) <= set("0123456789abcdef") for id_ in ids)
    assert [stream.id for stream in streams] == [stream.id for stream in streams]
    assert streams[0].reader().id == streams[0].id


def test_id_of_stream_asked_by_many_threads_is_one() -> None:
    for _ in range(50):
        stream = ended_channel([])
        gate = threading.Barrier(4)
        found: list[str] = []

        def ask(
            stream: Any = stream, gate: threading.Barrier = gate, found: list[str] = found
        ) -> None:
            gate.wait(SOON)
            found.append(stream.id)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
        assert found == [stream.id] * 4


def test_event_ids_of_stream_sort_as_its_events() -> None:
    stream = ended_channel(["x"] * 120)
    ids = [event.id for event in parse(asyncio.run(body_of(burble.sse(stream))))]
    assert ids == sorted(ids)
    assert len(set(ids)) == 121


def test_batch_numbers_its_events_and_has_its_own_id() -> None:
    def generate(streamer: Any) -> None:
        for i in range(3):
            streamer.put([65 + i, 65 + i])

    pieces = [bytes([i]) for i in range(128)]
    batch = burble.stream(generate, tokenizer=pieces, batch=2)
    ids = [event.id for event in parse(asyncio.run(body_of(burble.sse(batch))))]
    assert ids == [*(last_of(batch, i) for i in range(6)), last_of(batch, "end")]
    assert len({batch.id, batch[0].id, batch[1].id}) == 3


def test_reader_names_its_stream_and_position() -> None:
    stream = ended_channel(list("abcd"), keep="all")
    events = parse(asyncio.run(body_of(burble.sse(stream.reader(2)))))
    assert [event.id for event in events] == [last_of(stream, n) for n in (2, 3, "end")]
    events = parse(asyncio.run(body_of(burble.sse(stream, last_event_id=events[0].id))))
    assert texts(events) == ["d"]


# ---- going on ----------------------------------------------------------------------------------


def test_client_that_reconnects_gets_events_after_its_last() -> None:
    stream = ended_channel(list("abcdef"), keep="all")

    def after(last: str | None) -> list[str]:
        events = parse(asyncio.run(body_of(burble.sse(stream, last_event_id=last))))
        assert events[-1].event == "end"
        return texts(events)

    assert after(last_of(stream, 2)) == list("def")
    assert after(last_of(stream, 5)) == []
    assert after("") == list("abcdef")
    assert after(None) == list("abcdef")


def malformed() -> list[str]:
    rng = random.Random(1)
    found = [
        *("x", "-1", "1", "1.5", "9" * 40, "٣", "1\n2", " ", ":", "end", ":end"),
        *(f"{ANOTHER}", f"{ANOTHER}:", f"{ANOTHER}:1", f"{ANOTHER}:+000000001"),
        *(f"{ANOTHER}:{'1' * 19}", f"{ANOTHER}:0000000001 ", f" {ANOTHER}:0000000001"),
        *(f"{ANOTHER}:0000000001\n", f"{ANOTHER}:END", f"{ANOTHER}:end ", f"{ANOTHER}:ends"),
        *(f"{ANOTHER[1:]}:0000000001", f"0{ANOTHER}:0000000001", f"{'F' * 32}:0000000001"),
        *(f"{ANOTHER}:٠٠٠٠٠٠٠٠٠٠", f"{ANOTHER}:0x00000001", "\udcff", "\x00" * 43, "é" * 50),
    ]
    alphabet = string.printable + ":0123456789abcdef" * 5
    for _ in range(2000):
        found.append("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 50))))
    return found


@pytest.mark.parametrize("keep", [None, "all", 100])
def test_event_id_malformed_is_refused(keep: Any) -> None:
    stream = ended_channel(list("abc"), keep=keep)
    for last in malformed():
        with pytest.raises(ValueError, match=r"^Last-Event-ID: expected an event id"):
            burble.sse(stream, last_event_id=last)


@pytest.mark.parametrize("keep", [None, "all", 100])
def test_event_id_of_another_stream_is_refused(keep: Any) -> None:
    stream, other = ended_channel(list("abc"), keep=keep), ended_channel(list("xyz"), keep=keep)
    for number in (0, 1, 2, 3, 10**10, 10**18 - 1):
        with pytest.raises(ValueError, match="of this stream, found one of another"):
            burble.sse(stream, last_event_id=last_of(other, number))


def test_event_id_not_yet_sent_is_refused() -> None:
    stream = ended_channel(list("abc"), keep="all")
    for number in (3, 4, 10**10, 2**32, 10**18 - 1):
        with pytest.raises(ValueError, match="an event number below 3"):
            burble.sse(stream, last_event_id=last_of(stream, number))


def test_reconnect_to_stream_without_keep_is_gone() -> None:
    stream = ended_channel(list("abc"))
    for number in range(3):
        with pytest.raises(burble.Gone, match="keeps nothing") as raised:
            burble.sse(stream, last_event_id=last_of(stream, number))
        assert raised.value.oldest == 3
    assert list(stream) == list("abc")


def test_stream_that_no_longer_keeps_the_rest_is_gone() -> None:
    stream = ended_channel(["0123456789"] * 2000, keep=10)
    for _ in stream:
        pass
    with pytest.raises(burble.Gone) as raised:
        burble.sse(stream, last_event_id=last_of(stream, 0))
    assert raised.value.oldest is not None
    assert raised.value.oldest > 1
    assert "start" not in str(raised.value)


@pytest.mark.parametrize("number", [0, "end"])
def test_event_id_for_batch_or_reader_is_400_except_end(number: int | str) -> None:
    def generate(streamer: Any) -> None:
        streamer.put([65, 65])

    batch = burble.stream(generate, tokenizer=[b""] * 65 + [b"A"], batch=2)
    reader = ended_channel(["a"], keep="all").reader()
    for source, kind in ((batch, "a batch"), (reader, "a reader")):
        last = last_of(source, number)
        if number == "end":
            assert burble.sse(source, last_event_id=last).over
        else:
            with pytest.raises(ValueError, match=f"none, because {kind} cannot be resumed"):
                burble.sse(source, last_event_id=last)


def test_client_with_last_event_gets_204() -> None:
    stream = ended_channel(["a"], keep="all")
    first = burble.sse(stream)
    assert not first.over
    last = parse(asyncio.run(body_of(first)))[-1].id
    assert first.over
    again = burble.sse(stream, last_event_id=last)
    assert again.over
    assert asyncio.run(body_of(again)) == b""


def test_client_with_last_event_does_not_block_generation() -> None:
    """Other readers read the stream, and it is not iterated itself."""

    async def main() -> None:
        events = burble.sse(stream)
        assert burble.sse(stream, last_event_id=last_of(stream, "end")).over
        written = asyncio.get_running_loop().run_in_executor(None, write)
        assert len(texts(parse(await body_of(events)))) == 1000
        await written

    def write() -> None:
        for _ in range(1000):
            writer.put_text("x" * 10)
        writer.end()

    writer, stream = burble.channel(keep="all", max_lag=100, total_timeout=SOON)
    asyncio.run(main())


# ---- answers -----------------------------------------------------------------------------------


async def answer(server: Server, last: str, method: str = "GET") -> Any:
    async with new_client() as client:
        return await client.request(method, f"{server.url}/a", headers={"Last-Event-ID": last})


def requests_of(stream: Any) -> list[tuple[str, int]]:
    """What a client may say that it has got last, and the status of the answer."""
    return [
        (last_of(stream, 5), 400),
        (f"{ANOTHER}:0000000000", 400),
        ("1", 400),
        ("nonsense", 400),
        (last_of(stream, "end"), 204),
        (f"{ANOTHER}:end", 204),
    ]


@servers
@pytest.mark.parametrize("which", range(7))
def test_refused_request_cancels_stream_that_keeps_nothing(server: Any, which: int) -> None:
    async def main() -> None:
        async with server() as served:
            writer = served.open("a")
            stream = served.streams["a"]
            writer.put_text("one")
            last, status = [*requests_of(stream), (last_of(stream, 0), 410)][which]
            response = await answer(served, last)
            assert response.status_code == status
            assert (response.text != "") == (status != 204)
            assert "start" not in response.text
            assert stream.state == "cancelled"

    asyncio.run(main())


@servers
def test_refused_request_does_not_cancel_stream_that_keeps_text(server: Any) -> None:
    async def main() -> None:
        async with server() as served:
            writer = served.open("a", keep="all")
            stream = served.streams["a"]
            writer.put_text("one")
            for last, status in requests_of(stream):
                assert (await answer(served, last)).status_code == status
            assert (await answer(served, "", "HEAD")).status_code == 200
            writer.end()
            assert texts(parse((await answer(served, "")).content)) == ["one"]
            assert texts(parse((await answer(served, last_of(stream, 0))).content)) == []

    asyncio.run(main())


@servers
def test_head_request_generates_nothing(server: Any) -> None:
    async def main() -> None:
        async with server() as served:
            served.open("a")
            response = await answer(served, "", "HEAD")
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert response.content == b""
            assert served.streams["a"].state == "cancelled"

    asyncio.run(main())


def failing(streamer: Any) -> None:
    raise RuntimeError("out of memory")


@servers
def test_client_that_reconnects_after_failure_gets_204(server: Any) -> None:
    """Although each request gets a separate generation, and no text came before the failure."""

    async def main() -> None:
        async with server() as served:
            served.streams["a"] = burble.stream(failing, tokenizer=[b"a"])
            (event,) = parse((await answer(served, "")).content)
            assert event.event == "failed"
            assert json.loads(event.data)["type"] == "RuntimeError"
            served.open("a")
            assert (await answer(served, event.id)).status_code == 204
            assert served.streams["a"].state == "cancelled"

    asyncio.run(main())


# ---- Starlette ---------------------------------------------------------------------------------


def app_of(handler: Callable[..., Any], *methods: str) -> Any:
    app = fastapi.FastAPI()
    handler.__annotations__.update(request=fastapi.Request)
    app.api_route("/a", methods=[*methods] or ["GET"], response_model=None)(handler)
    return app


@contextlib.asynccontextmanager
async def asking(app: Any) -> AsyncIterator[Callable[..., Any]]:
    """A function that asks a server of the application, by real connections."""
    async with serving(app) as url, new_client() as client:

        async def ask(method: str = "GET", **headers: str) -> Any:
            return await client.request(method, f"{url}/a", headers=headers)

        yield ask


def test_background_task_runs_after_every_answer() -> None:
    from starlette.background import BackgroundTask

    ran: list[str] = []

    async def given(request: Any) -> Any:
        task = BackgroundTask(ran.append, f"given {request.method}")
        return sse_response(request, ended_channel(["a"]), background=task)

    async def set_later(request: Any) -> Any:
        response = sse_response(request, ended_channel(["a"]))
        response.background = BackgroundTask(ran.append, f"set {request.method}")
        return response

    async def injected(request: Any, tasks: Any) -> Any:
        tasks.add_task(ran.append, f"injected {request.method}")
        return sse_response(request, ended_channel(["a"]))

    injected.__annotations__.update(tasks=fastapi.BackgroundTasks)

    async def main() -> None:
        for handler in (given, set_later, injected):
            async with asking(app_of(handler, "GET", "HEAD")) as ask:
                name = handler.__name__.removesuffix("_later")
                for method, last in (
                    ("GET", ""),
                    ("HEAD", ""),
                    ("GET", "x"),
                    ("GET", f"{ANOTHER}:end"),
                ):
                    ran.clear()
                    await ask(method, **{"Last-Event-ID": last})
                    await until_in_loop(lambda: bool(ran))
                    assert ran == [f"{name} {method}"]

    asyncio.run(main())


def test_background_task_runs_after_client_has_left() -> None:
    from starlette.background import BackgroundTask

    ran: list[str] = []
    writer, stream = burble.channel()

    async def handler(request: Any) -> Any:
        return sse_response(request, stream, background=BackgroundTask(ran.append, "ran"))

    async def main() -> None:
        async with serving(app_of(handler)) as url, new_client() as client:
            async with client.stream("GET", f"{url}/a") as response:
                writer.put_text("one")
                async for _ in response.aiter_raw():
                    break
            await cancelled(stream)
            await until_in_loop(lambda: bool(ran))

    asyncio.run(main())


@pytest.mark.parametrize("options", [{"keep_alive": 0}, {"nonsense": 1}, {"keep_alive": "x"}])
@pytest.mark.parametrize("last", [None, "x"])
def test_wrong_option_cancels_generation_and_is_a_server_error(
    options: dict[str, Any], last: str | None
) -> None:
    from starlette.requests import Request

    _, stream = burble.channel()
    headers = [] if last is None else [(b"last-event-id", last.encode())]
    request = Request({"type": "http", "method": "GET", "headers": headers})
    with pytest.raises((TypeError, ValueError), match=r"keep_alive|nonsense"):
        sse_response(request, stream, **options)
    assert stream.state == "cancelled"


def test_exception_before_response_begins_cancels_generation() -> None:
    """As where a middleware raises, with what the handler has returned in its frames."""
    _, stream = burble.channel()
    kept: list[BaseException] = []

    async def handler(request: Any) -> Any:
        return sse_response(request, stream)

    app = app_of(handler)

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        async def refuse(message: Any) -> None:
            raise ValueError("no")

        try:
            await app(scope, receive, refuse)
        except ValueError as error:
            kept.append(error)
            await fastapi.Response("no", 500)(scope, receive, send)

    async def main() -> None:
        async with asking(middleware) as ask:
            assert (await ask()).status_code == 500
            await cancelled(stream)

    asyncio.run(main())
    assert isinstance(kept[0], ValueError)


def test_response_lost_to_exception_cancels_generation() -> None:
    writers: list[Any] = []

    async def handler(request: Any) -> Any:
        writer, stream = burble.channel()
        writers.append(writer)
        response = sse_response(request, stream)
        del stream
        error = fastapi.HTTPException(503)  # its traceback has this frame, which has it
        try:
            raise error
        finally:
            assert response is not None

    async def main() -> None:
        async with asking(app_of(handler)) as ask:
            assert (await ask()).status_code == 503
            await until_in_loop(lambda: writers[0].cancelled)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_response_sent_by_another_task_is_sent() -> None:
    stream = ended_channel(list("abc"))

    async def handler(request: Any) -> Any:
        async def make() -> Any:
            return sse_response(request, stream)

        response = await asyncio.ensure_future(make())
        await asyncio.sleep(0.1)  # as long as the collection takes, at least
        return response

    async def main() -> None:
        async with asking(app_of(handler)) as ask:
            assert texts(parse((await ask()).content)) == list("abc")

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_starlette_in_asyncio_and_trio_answers_alike(backend: Any) -> None:
    pytest.importorskip("trio")
    from starlette.testclient import TestClient

    stream = ended_channel(list("abc"), keep="all")

    async def handler(request: Any) -> Any:
        return sse_response(request, stream)

    with TestClient(app_of(handler, "GET", "HEAD"), backend=backend) as client:
        events = parse(client.get("/a").content)
        assert texts(events) == list("abc")
        for last, status in [(events[1].id, 200), *requests_of(stream)]:
            assert client.get("/a", headers={"Last-Event-ID": last}).status_code == status
        assert client.head("/a").status_code == 200


# ---- StreamingResponse -------------------------------------------------------------------------


def direct(stream: Any) -> Any:
    return stream


def by_a_reader(stream: Any) -> Any:
    return stream.reader()


def as_events(stream: Any) -> Any:
    return burble.sse(stream)


async def by_a_generator(stream: Any) -> AsyncIterator[str]:
    async for text in stream:
        yield text


@pytest.mark.parametrize("way", [direct, by_a_reader, as_events, by_a_generator])
@pytest.mark.parametrize("waiting", [True, False])
def test_streaming_response_left_by_client_cancels_stream(
    way: Callable[[Any], Any], waiting: bool
) -> None:
    """While it waits for text, and while it waits for a client that does not read."""
    from starlette.responses import StreamingResponse

    writers: list[Any] = []

    async def handler(request: Any) -> Any:
        writer, stream = burble.channel(max_lag=1000)
        writers.append(writer)
        return StreamingResponse(way(stream), media_type="text/plain")

    async def main() -> None:
        async with serving(app_of(handler)) as url:
            host, port = url.removeprefix("http://").split(":")
            reader, connection = await asyncio.open_connection(host, int(port), limit=1000)
            connection.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await until_in_loop(lambda: bool(writers))
            (writer,) = writers
            if waiting:
                writer.put_text("some text")
                await asyncio.wait_for(reader.readuntil(b"some"), SOON)
            else:
                loop = asyncio.get_running_loop()
                writing = loop.run_in_executor(None, write_until_cancelled, writer)
                await asyncio.wait_for(reader.readuntil(b"xxx"), SOON)
            connection.transport.abort()
            await until_in_loop(lambda: bool(writer.cancelled))
            if not waiting:
                await asyncio.wait_for(writing, SOON)

    gc.collect()
    gc.disable()  # nothing but the end of the response may end it
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def write_until_cancelled(writer: Any) -> None:
    with contextlib.suppress(burble.Cancelled):
        while True:
            writer.put_text("x" * 500)


def test_stream_read_by_cancelled_task_lives_on() -> None:
    """It was not deleted: another task goes on."""

    async def main() -> None:
        writer, stream = burble.channel()
        got: list[str] = []

        async def read() -> None:
            async for text in stream:
                got.append(text)

        writer.put_text("a")
        task = asyncio.ensure_future(read())
        await until_in_loop(lambda: got == ["a"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)  # as long as the collection takes, at least
        writer.put_text("b")
        writer.end()
        await read()
        assert got == ["a", "b"]

    asyncio.run(main())
