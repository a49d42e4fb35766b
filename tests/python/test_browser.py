# SPDX-License-Identifier: MIT
"""Pages in a real browser: what its EventSource does with burble's events, and when it stops.

Needs Chromium (`make chromium` installs Debian's), and is skipped without.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from samples import ROOT, samples_of

import burble

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from test_sse import serving  # noqa: E402

from burble.starlette import sse_response  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which `make chromium` installs"),
]

# What bounds a wait; a browser reconnects after three seconds, and starts slowly on a busy machine.
LONG = 120.0

# What a reader of the page sees, told to its server whenever it may have changed.
TELL = """<script>
setInterval(() => fetch("/seen", {method: "POST", body: JSON.stringify(
  {text: (document.querySelector("pre") ?? document.body).innerText,
   state: typeof events === "undefined" ? null : events.readyState})}), 100);
</script>"""
CONNECTING, OPEN, CLOSED = range(3)


@contextlib.contextmanager
def browser(url: str, profile: Path) -> Iterator[None]:
    """A browser without a window that shows a page."""
    options = (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--no-proxy-server", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
    )
    log = profile.with_suffix(".log").open("wb")
    process = subprocess.Popen([str(CHROMIUM), *options, url], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


class Site:
    """A page, the events that it asks for, and what is to be seen of it."""

    def __init__(self, page: str) -> None:
        self.asked: list[str | None] = []  # with which Last-Event-ID, one for each request
        self.seen: dict[str, Any] = {"text": "", "state": None}
        self.app = fastapi.FastAPI()

        async def show() -> Any:
            return fastapi.Response(page + TELL, media_type="text/html; charset=utf-8")

        async def see(request: Any) -> None:
            self.seen = json.loads(await request.body())

        see.__annotations__.update(request=fastapi.Request)
        self.app.get("/", response_model=None)(show)
        self.app.post("/seen")(see)

    def answer(self, handler: Callable[[Any], Any]) -> None:
        """Answer GET /events."""

        async def events(request: Any) -> Any:
            self.asked.append(request.headers.get("last-event-id"))
            return handler(request)

        events.__annotations__.update(request=fastapi.Request)
        self.app.get("/events", response_model=None)(events)

    async def until(self, condition: Callable[[], object]) -> None:
        end = asyncio.get_running_loop().time() + LONG
        while not condition():
            assert asyncio.get_running_loop().time() < end, (self.asked, self.seen)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def shown(site: Site, profile: Path) -> AsyncIterator[None]:
    async with serving(site.app) as url:
        with browser(url, profile):
            yield


def page_of_the_manual() -> str:
    (sample,) = samples_of(ROOT / "docs" / "python" / "fastapi.md", "js")
    return f"<!doctype html><meta charset=utf-8><body><script>{sample.code}</script>"


# Knows nothing of `end` and `failed`, as a page in a hurry.
CARELESS = """<!doctype html><meta charset=utf-8><body><script>
const events = new EventSource("/events");
events.onmessage = (event) => document.body.append(JSON.parse(event.data).text);
</script>"""


def text_of(*pieces: str, **options: Any) -> burble.Stream[str]:
    return burble.iterate(pieces, **options)


def failing(streamer: Any) -> None:
    raise RuntimeError("secret")


@pytest.mark.parametrize("page", ["of the manual", "careless"])
def test_page_shows_text_once_and_browser_stops(page: str, tmp_path: Path) -> None:
    site = Site(page_of_the_manual() if page == "of the manual" else CARELESS)
    answered = text_of("Oh ", "\ud83d", "\ude00", " so\n", "be it")
    _writer, asked_again = burble.channel()  # does not end by itself

    def handler(request: Any) -> Any:
        return sse_response(request, answered if len(site.asked) == 1 else asked_again)

    site.answer(handler)

    async def main() -> None:
        async with shown(site, tmp_path / "profile"):
            await site.until(lambda: site.seen["state"] == CLOSED)
            assert site.seen["text"] == "Oh 😀 so be it"

    asyncio.run(main())
    if page == "of the manual":
        assert site.asked == [None]
    else:  # it reconnects, and is told that there is no more
        assert site.asked == [None, f"{answered.id}:end"]
        assert asked_again.state == "cancelled"


@pytest.mark.parametrize("page", ["of the manual", "careless"])
def test_failed_generation_is_not_restarted_by_browser(page: str, tmp_path: Path) -> None:
    """Before its first token: there is no other event than that of the failure."""
    site = Site(page_of_the_manual() if page == "of the manual" else CARELESS)
    begun: list[int] = []

    def generate(streamer: Any, **options: Any) -> None:
        begun.append(1)
        failing(streamer)

    def handler(request: Any) -> Any:
        stream = burble.stream(generate, tokenizer=[b"a"])
        return sse_response(request, stream)

    site.answer(handler)

    async def main() -> None:
        async with shown(site, tmp_path / "profile"):
            await site.until(lambda: site.seen["state"] == CLOSED)

    asyncio.run(main())
    assert len(site.asked) == (1 if page == "of the manual" else 2)
    assert len(begun) <= len(site.asked)
    if page == "of the manual":
        assert site.seen["text"] == "the generation failed"
    else:
        assert str(site.asked[1]).endswith(":end")


def test_cut_answer_is_resumed_by_browser(tmp_path: Path) -> None:
    """What the connection broke off after comes once, and all that follows."""
    site = Site(CARELESS)
    kept = text_of(*(f"<{i}>" for i in range(50)), keep="all")

    async def cut() -> AsyncIterator[bytes]:
        """The first events alone, as where the connection breaks."""
        events = burble.sse(kept)
        try:
            body = b""
            while body.count(b"\n\n") < 7:
                body += await events.__anext__()
            yield b"\n\n".join(body.split(b"\n\n")[:7]) + b"\n\n"
        finally:
            await events.aclose()

    def handler(request: Any) -> Any:
        if len(site.asked) == 1:
            return fastapi.responses.StreamingResponse(cut(), headers=burble.SSE_HEADERS)
        return sse_response(request, kept)

    site.answer(handler)

    async def main() -> None:
        async with shown(site, tmp_path / "profile"):
            await site.until(lambda: site.seen["state"] == CLOSED)

    asyncio.run(main())
    assert site.seen["text"] == "".join(f"<{i}>" for i in range(50))
    assert site.asked == [None, f"{kept.id}:0000000006", f"{kept.id}:end"]


def test_browser_does_not_restart_answer_of_evicted_stream(tmp_path: Path) -> None:
    """Each request has a separate stream, as on the page of the manual."""
    site = Site(CARELESS)
    streams: list[Any] = []

    async def cut(stream: Any) -> AsyncIterator[bytes]:
        events = burble.sse(stream)
        try:
            yield await events.__anext__()
        finally:
            await events.aclose()

    def handler(request: Any) -> Any:
        writer, stream = burble.channel()
        streams.append((writer, stream))
        writer.put_text("first")
        if len(site.asked) == 1:
            return fastapi.responses.StreamingResponse(cut(stream), headers=burble.SSE_HEADERS)
        return sse_response(request, stream)

    site.answer(handler)

    async def main() -> None:
        async with shown(site, tmp_path / "profile"):
            await site.until(lambda: site.seen["state"] == CLOSED)

    asyncio.run(main())
    assert site.seen["text"] == "first"
    assert site.asked == [None, f"{streams[0][1].id}:0000000000"]
    assert streams[1][1].state == "cancelled"


def test_example_page_shows_its_answer(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    name = "examples.sse_app"
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "sse_app.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    site = Site(example.PAGE + "<script>form.requestSubmit()</script>")
    site.app.mount("/", example.app)

    async def main() -> None:
        async with shown(site, tmp_path / "profile"):
            await site.until(lambda: example.answers)
            (stream,) = example.answers.values()
            text = "".join([piece async for piece in stream.reader()])
            assert text.strip()
            await site.until(lambda: site.seen["text"].split() == text.split())

    asyncio.run(main())


def test_keep_alive_comment_is_no_browser_event(tmp_path: Path) -> None:
    """In the midst of an answer, where there has been an id."""
    site = Site(CARELESS)
    writer, stream = burble.channel()
    sent: list[bytes] = []

    async def counted() -> AsyncIterator[bytes]:
        async for data in burble.sse(stream, keep_alive=0.02):
            sent.append(data)
            yield data

    site.answer(
        lambda request: fastapi.responses.StreamingResponse(counted(), headers=burble.SSE_HEADERS)
    )

    async def main() -> None:
        async with shown(site, tmp_path / "profile"):
            writer.put_text("a")
            await site.until(lambda: sent.count(b": keep-alive\n") >= 3)
            writer.put_text("b")
            await site.until(lambda: site.seen["text"] == "ab")
            assert site.seen["state"] == OPEN
            writer.end()

    asyncio.run(main())
