# SPDX-License-Identifier: MIT
"""The page at / in a real browser: answers that stream, stop, and go on after whatever happens.

Needs Chromium (`make chromium` installs Debian's), and is skipped without.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PROGRAM, Chromium, Page
from wire import numbered

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(
    os.environ.get("BURBLE_TEST_NUMBERS", ROOT / "build/plain/tests/serve/numbers_server")
)
pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium, which `make chromium` installs"),
    pytest.mark.skipif(not SERVER.exists(), reason=f"needs {SERVER}"),
]

ANSWER = "document.querySelector('.answer:last-child')"
IDLE = "!document.body.classList.contains('running') && !document.getElementById('send').hidden"
READY = "document.getElementById('state-text').textContent === 'Ready'"
DONE = f"{IDLE} && {ANSWER}?.dataset.state === 'done'"


class Server:
    """A server whose answers are numbered pieces of the question."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self._options = options
        self.process = self._start(port)

    def _start(self, port: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [SERVER, "--port", str(port), *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        self.port = int(process.stdout.readline())
        return process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def restart(self, *options: str) -> None:
        """With options that count more than the first ones."""
        self._options += options
        self.process = self._start(self.port)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        response = connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        try:
            body = response.read()
        except http.client.IncompleteRead as cut:  # a failed answer does not end cleanly
            body = cut.partial
        connection.close()
        return response.status, got, body


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Server]:
    server = Server(*options)
    try:
        yield server
    finally:
        server.close()


class Wire:
    """A proxy whose connections can be cut, and that can be away for a time."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port = 0
        self.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def join(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.port = self._listener.getsockname()[1]
        self._away = False
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def part(self) -> None:
        """Refuse connections from now on."""
        self._away = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections, as where a telephone changes its network."""
        with self._lock:
            cut, self._open = self._open, set()
        for end in cut:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def wired(server: Server) -> Iterator[Wire]:
    wire = Wire(server.port)
    try:
        yield wire
    finally:
        wire.part()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium") / "profile") as chromium:
        yield chromium


@pytest.fixture(autouse=True)
def no_faults(browser: Chromium) -> Iterator[None]:
    """No exception in a page, and nothing that its policy refuses."""
    browser.faults.clear()
    yield
    assert browser.faults == []


def opened(browser: Chromium, url: str, **settings: Any) -> Page:
    """The page, with settings as a user has left them."""
    page = browser.page(url)
    page.until(READY)
    if settings:
        page.evaluate(
            f"localStorage.setItem('burble:settings', {json.dumps(json.dumps(settings))})"
        )
        page.reload()
        page.until(f"document.querySelector('#settings form').elements.max_tokens.value && {READY}")
    return page


def ask(page: Page, text: str) -> None:
    page.click("#prompt")
    page.write(text)
    page.press("Enter")


def pieces(prompt: str, n: int, number: int = 1) -> str:
    return f"#{number} " + numbered(prompt, n)


def answer(page: Page) -> str:
    return str(page.evaluate(f"{ANSWER}.querySelector('.text').textContent"))


def grown(n: int) -> str:
    """The answer has come as far as piece n."""
    return f"{ANSWER}?.querySelector('.text').textContent.includes('·{n} ')"


def test_answer_streams_and_is_shown_whole(browser: Chromium) -> None:
    with serving("--rate", "100") as server:
        page = opened(browser, server.url, max_tokens="40")
        ask(page, "hello")
        page.until(f"document.body.classList.contains('running') && {grown(3)}")
        page.until(DONE)
        assert answer(page).strip() == pieces("hello", 40).strip()
        assert page.text(".user .text") == "hello"
        assert page.evaluate("document.activeElement.id") == "prompt"
        assert "41 tokens" in page.text(".answer .meta") or "40 tokens" in page.text(
            ".answer .meta"
        )
        assert "tok/s" in page.text("#speed")
        assert page.text("#first").startswith("first ")
        assert (
            page.evaluate("document.querySelector('#spark .line').getAttribute('d').length") > 100
        )
        page.close()


def test_shift_enter_makes_a_line_and_sends_nothing(browser: Chromium) -> None:
    with serving() as server:
        page = opened(browser, server.url)
        page.click("#prompt")
        page.write("one")
        page.press("Enter", shift=True)
        page.write("two")
        assert page.evaluate("document.getElementById('prompt').value") == "one\ntwo"
        assert page.evaluate("document.querySelectorAll('.turn').length") == 0
        page.press("Enter")
        page.until(DONE)
        assert page.evaluate("document.querySelector('.user .text').textContent") == "one\ntwo"
        page.close()


@pytest.mark.parametrize("how", ["Escape", "button"])
def test_stop_keeps_text_and_ends_generation(browser: Chromium, how: str) -> None:
    with serving("--rate", "50") as server:
        page = opened(browser, server.url, max_tokens="100000")
        ask(page, "on and on")
        page.until(grown(5))
        stream = stream_of(page)
        if how == "Escape":
            page.press("Escape")
        else:
            page.click("#send")
        page.until(f"{IDLE} && {ANSWER}.dataset.state === 'stopped'")
        text = answer(page)
        assert pieces("on and on", 1000).startswith(text)
        assert "stopped" in page.text(".answer .meta")
        until_ended(server, stream)
        page.reload()
        page.until(READY)
        assert answer(page) == text
        page.close()


def stream_of(page: Page) -> str:
    return str(
        page.until(
            "Object.entries(localStorage).filter(([key]) => key.startsWith('burble:conversation:'))"
            ".map(([, value]) => JSON.parse(value).turns.at(-1).versions.at(-1).stream)[0]"
        )
    )


def until_ended(server: Server, stream: str) -> None:
    """A reader is told of the stream's end, which without the stop would come in half an hour."""
    _status, _headers, body = server.ask(f"/v1/streams/{stream}")
    assert b"event: failed" in body
    assert b"event: end" not in body


def test_full_storage_drops_oldest_conversations(browser: Chromium) -> None:
    with serving() as server:
        page = opened(browser, server.url, max_tokens="3")
        page.evaluate(
            "for (let i = 0; i < 60; i++) { const id = String(i); try { localStorage.setItem("
            "'burble:conversation:' + id, JSON.stringify({id, changed: i, turns:"
            " [{text: 'x'.repeat(80_000)}]})) } catch { break } }"
        )
        ask(page, "kept")
        page.until(DONE)
        kept = page.evaluate(
            "Object.keys(localStorage).filter(key => key.startsWith('burble:conversation:'))"
        )
        assert 2 <= len(kept) <= 50
        assert "burble:conversation:0" not in kept
        page.reload()
        page.until(READY)
        assert answer(page).strip() == pieces("kept", 3).strip()
        page.close()


def test_regenerate_keeps_versions(browser: Chromium) -> None:
    with serving() as server:
        page = opened(browser, server.url, max_tokens="3")
        ask(page, "again")
        page.until(DONE)
        page.click(".answer [aria-label='Regenerate']")
        page.until(f"{DONE} && {ANSWER}.querySelector('.which').textContent === '2/2'")
        assert answer(page).strip() == pieces("again", 3, 2).strip()
        page.click(".answer [aria-label='Earlier version']")
        assert answer(page).strip() == pieces("again", 3, 1).strip()
        page.reload()
        page.until(READY)
        assert page.text(".answer .which") == "1/2"
        page.close()


def test_reload_in_mid_answer_goes_on(browser: Chromium) -> None:
    with serving("--rate", "60") as server:
        page = opened(browser, server.url, max_tokens="300")
        ask(page, "reloaded")
        for n in (20, 90, 160):
            page.until(f"document.body.classList.contains('running') && {grown(n)}")
            page.reload()
        page.until(DONE)
        assert answer(page).strip() == pieces("reloaded", 300).strip()
        page.close()


def test_closed_tab_is_taken_up_in_another_one(browser: Chromium) -> None:
    with serving("--rate", "60") as server:
        page = opened(browser, server.url, max_tokens="200")
        ask(page, "moved")
        page.until(grown(20))
        other = browser.page(server.url, like=page)
        page.close()
        other.until(READY)
        assert other.evaluate("document.querySelectorAll('.turn').length") == 0
        other.click("#open-earlier")
        other.click("#conversations .row")
        other.until(DONE)
        assert answer(other).strip() == pieces("moved", 200).strip()
        other.close()


def test_two_tabs_show_the_same_answer(browser: Chromium) -> None:
    with serving("--rate", "60") as server:
        page = opened(browser, server.url, max_tokens="150")
        ask(page, "shared")
        page.until(grown(20))
        other = browser.page(server.url, like=page)
        other.until(READY)
        other.click("#open-earlier")
        other.click("#conversations .row")
        for each in (page, other):
            each.until(DONE)
        ask(page, "more")
        for each in (page, other):
            each.until(f"document.querySelectorAll('.answer').length === 2 && {DONE}")
            assert answer(each).strip() == pieces("more", 150, 2).strip()
            assert (
                each.evaluate("document.querySelector('.answer .text').textContent.trim()")
                == pieces("shared", 150).strip()
            )
        other.close()
        page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_follow_system_until_they_are_chosen(browser: Chromium, theme: str) -> None:
    with serving() as server:
        page = opened(browser, server.url)
        paper = "getComputedStyle(document.body).backgroundColor"
        page.media(prefers_color_scheme="light")
        light = page.evaluate(paper)
        page.media(prefers_color_scheme="dark")
        dark = page.evaluate(paper)
        assert light != dark
        page.click("#open-settings")
        page.click(f"#settings [value={theme}]")
        page.press("Escape")
        page.reload()
        page.until(READY)
        for system in ("light", "dark"):
            page.media(prefers_color_scheme=system)
            assert page.evaluate(paper) == (light if theme == "light" else dark)
        page.close()


def test_reduced_motion_moves_nothing(browser: Chromium) -> None:
    with serving() as server:
        page = opened(browser, server.url)
        moving = "document.getAnimations().filter(each => each.playState === 'running').length"
        assert page.evaluate(moving) > 0
        page.media(prefers_reduced_motion="reduce")
        ask(page, "!hang")
        page.until("document.body.classList.contains('running')")
        assert page.evaluate(moving) == 0
        page.close()


def test_cut_connections_lose_and_double_nothing(browser: Chromium) -> None:
    with serving("--rate", "60") as server, wired(server) as wire:
        page = opened(browser, wire.url, max_tokens="300")
        ask(page, "cut")
        for n in (10, 80, 150, 220):
            page.until(grown(n))
            wire.cut()
        page.until(DONE)
        assert answer(page).strip() == pieces("cut", 300).strip()
        page.close()


def test_network_away_is_said_and_answer_goes_on(browser: Chromium) -> None:
    with serving("--rate", "20") as server, wired(server) as wire:
        page = opened(browser, wire.url, max_tokens="200")
        ask(page, "away")
        page.until(grown(5))
        wire.part()
        page.until("!document.getElementById('notice').hidden")
        assert "cannot be reached" in page.text("#notice-text")
        wire.join()
        page.click("#notice-action")
        page.until(DONE)
        assert answer(page).strip() == pieces("away", 200).strip()
        assert "cannot be reached" not in page.text("#notice")
        page.close()


def test_first_post_that_is_cut_generates_once(browser: Chromium) -> None:
    """The request goes out, and the connection is gone before its reply."""
    with serving("--rate", "100") as server, wired(server) as wire:
        page = opened(browser, wire.url, max_tokens="30")
        ask(page, "once")
        wire.cut()
        page.until(DONE)
        assert answer(page).strip() == pieces("once", 30).strip()
        page.close()


def test_killed_server_is_said_and_asked_again(browser: Chromium) -> None:
    with serving("--rate", "5") as server:
        page = opened(browser, server.url, max_tokens="100")
        ask(page, "killed")
        page.until(grown(5))
        server.kill()
        page.until("!document.getElementById('notice').hidden")
        assert "cannot be reached" in page.text("#notice-text")
        server.restart("--rate", "60")
        page.click("#notice-action")
        page.until("document.getElementById('notice-text').textContent.includes('restarted')")
        page.until(DONE)
        assert page.text(".answer .which") == "2/2"
        assert answer(page).strip() == pieces("killed", 100).strip()
        page.click(".answer [aria-label='Earlier version']")
        assert pieces("killed", 100).startswith(answer(page).strip())
        assert "restarted" in page.text(".answer .note")
        page.close()


def test_server_that_shuts_down_is_taken_for_a_restart(browser: Chromium) -> None:
    """The answer ends with an error event, after the grace period."""
    with serving("--rate", "5", "--grace-ms", "200") as server:
        page = opened(browser, server.url, max_tokens="100")
        ask(page, "drained")
        page.until(grown(5))
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate()
        page.until("!document.getElementById('notice').hidden")
        server.restart("--rate", "60")
        page.click("#notice-action")
        page.until(DONE)
        assert page.text(".answer .which") == "2/2"
        assert answer(page).strip() == pieces("drained", 100).strip()
        page.close()


def test_text_is_continued_after_server_was_killed(browser: Chromium) -> None:
    """A model without a chat template continues texts: also one that a killed server has left."""
    with serving("--rate", "5", "--chat", "0") as server:
        page = opened(browser, server.url, max_tokens="100")
        assert page.evaluate("document.body.dataset.mode") == "text"
        ask(page, "told")
        page.until(grown(5))
        server.kill()
        page.until("!document.getElementById('notice').hidden")
        seen = answer(page)
        assert pieces("told", 100).startswith(seen)
        server.restart("--rate", "60")
        page.click("#notice-action")
        page.until(DONE)
        text = answer(page)
        rest = text[len(seen) :]
        assert text.startswith(seen)
        assert rest.startswith(f"#1 told{seen}·0 ")  # the new request's prompt has the old text
        assert "continued" in page.text(".answer .note")
        page.close()


def test_server_that_is_away_at_first_is_waited_for(browser: Chromium) -> None:
    with serving() as server, wired(server) as wire:
        page = opened(browser, wire.url)
        wire.part()
        ask(page, "later")
        page.until("!document.getElementById('notice').hidden")
        wire.join()
        page.until(DONE)
        assert answer(page).strip() == pieces("later", 16).strip()
        page.close()


def test_key_is_asked_for_and_kept_for_the_tab(browser: Chromium) -> None:
    with serving("--key", "sesame") as server:
        page = browser.page(server.url)
        page.until("document.querySelector('#unlock[open]')")
        page.write("wrong")
        page.press("Enter")
        page.until("document.getElementById('unlock-text').textContent.includes('does not know')")
        page.write("sesame")
        page.press("Enter")
        page.until(READY)
        ask(page, "open")
        page.until(DONE)
        assert answer(page).strip() == pieces("open", 16).strip()
        page.reload()
        page.until(READY)
        assert page.evaluate("localStorage.getItem('burble:key')") is None
        other = browser.page(server.url, like=page)
        other.until("document.querySelector('#unlock[open]')")
        other.press("Escape")
        other.until("!document.getElementById('notice').hidden")
        assert "API key" in other.text("#notice-text")
        other.close()
        page.close()


@pytest.mark.parametrize(
    "attack",
    [
        '<img src=x onerror="globalThis.owned=1">',
        "<script>globalThis.owned=1</script>",
        "[x](javascript:globalThis.owned=1) ![x](https://example.com/x.png)",
        '```html\n<svg onload="globalThis.owned=1">\n```',
        "| a<b> | <i>b</i> |\n|---|---|\n| <u>c</u> | **<s>d</s>** |",
        "**<iframe srcdoc='<script>parent.owned=1</script>'>**",
    ],
)
def test_answer_with_markup_is_shown_as_text(browser: Chromium, attack: str) -> None:
    with serving() as server:
        page = opened(browser, server.url, max_tokens="2")
        ask(page, attack)
        page.until(DONE)
        allowed = (
            "['P','H3','STRONG','EM','CODE','PRE','DIV','SPAN','BUTTON','UL','OL','LI','TABLE',"
            "'THEAD','TBODY','TR','TH','TD','HR','BLOCKQUOTE','H4','H5','H6']"
        )
        found = page.evaluate(
            f"[...{ANSWER}.querySelectorAll('.text *')].map(each => each.tagName)"
            f".filter(name => !{allowed}.includes(name))"
        )
        assert found == []
        assert page.evaluate("globalThis.owned") is None
        assert (
            page.evaluate(
                "document.querySelectorAll('#log :is(img, script, a, iframe, i, u, s)').length"
            )
            == 0
        )
        page.close()


def test_refused_request_is_shown_with_its_reason(browser: Chromium) -> None:
    with serving() as server:
        page = opened(browser, server.url)
        ask(page, "!refuse")
        page.until(f"{ANSWER}?.dataset.state === 'failed'")
        assert "prompt" in page.text(".answer .note")
        assert page.text("#state-text") == "Ready"
        page.close()


def test_answer_that_fails_keeps_its_text_and_says_why(browser: Chromium) -> None:
    with serving("--rate", "20") as server:
        page = opened(browser, server.url)
        ask(page, "!break")
        page.until(f"{ANSWER}?.dataset.state === 'failed'")
        assert answer(page).startswith("#1 !break·0 ")
        assert page.text(".answer .note")
        page.close()


def test_screen_reader_hears_sentences_and_not_tokens(browser: Chromium) -> None:
    with serving("--rate", "200") as server:
        page = opened(browser, server.url, max_tokens="60")
        page.evaluate(
            "globalThis.said = []; new MutationObserver(changes => changes.forEach(change =>"
            " change.addedNodes.forEach(node => said.push(node.textContent))))"
            ".observe(document.getElementById('spoken'), {childList: true}); 1"
        )
        ask(page, "aloud")
        page.until(DONE)
        said = page.until("said.length > 1 && said.at(-1).startsWith('The answer') && said")
        assert len(said) <= 4
        assert "aloud·59" in "".join(said)
        assert (
            page.evaluate("document.getElementById('spoken').getAttribute('aria-live')") == "polite"
        )
        assert page.evaluate("document.querySelectorAll('#turns [aria-live]').length") == 0
        page.close()


def test_every_control_has_a_name_and_can_be_reached_by_keys(browser: Chromium) -> None:
    with serving() as server:
        page = opened(browser, server.url, max_tokens="3")
        ask(page, "names")
        page.until(DONE)
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select, textarea')].filter(each =>"
            " !each.hidden && !(each.textContent.trim() || each.ariaLabel || each.title ||"
            " each.labels?.length)).map(each => each.outerHTML)"
        )
        assert nameless == []
        page.evaluate("document.querySelector('.skip').focus()")
        assert page.evaluate("document.querySelector('.skip').getBoundingClientRect().top") >= 0
        reached = set()
        for _ in range(16):
            page.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.title"))
        assert reached >= {"model", "new", "open-earlier", "open-settings", "prompt", "Copy"}
        page.close()


def test_page_fits_a_telephone(browser: Chromium) -> None:
    with serving() as server:
        page = opened(browser, server.url, max_tokens="30")
        page.size(360, 640, mobile=True)
        ask(page, "narrow " * 20 + "a" * 200)
        page.until(DONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.getElementById('log').scrollWidth") <= 360
        small = page.evaluate(
            "[...document.querySelectorAll('header button, #send')]"
            ".filter(each => each.getBoundingClientRect().height < 40).length"
        )
        assert small == 0
        page.close()


def test_browser_has_page_already(browser: Chromium) -> None:
    """Types, policy, and 304 for a page that has not changed."""
    with serving() as server:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/page/page.css", "text/css; charset=utf-8"),
            ("/page/page.js", "text/javascript; charset=utf-8"),
            ("/page/icon.svg", "image/svg+xml"),
        ):
            status, headers, body = server.ask(path)
            assert status == 200
            assert headers["content-type"] == kind
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            name = path.rsplit("/", 1)[1] or "index.html"
            assert body == (ROOT / "src/serve/page" / name).read_bytes()
            again = server.ask(path, if_none_match=headers["etag"])
            assert (again[0], again[2]) == (304, b"")
            assert server.ask(path, method="HEAD")[2] == b""
        assert server.ask("/page/embed.py")[0] == 404
        assert server.ask("/page/../page.js")[0] in (400, 404)


def test_event_source_resumes_by_itself_and_stops_at_the_end(browser: Chromium) -> None:
    """Not of the page: what a page of anybody does with GET /v1/streams/{id}."""
    with serving("--rate", "200") as server, wired(server) as wire:
        page = opened(browser, wire.url)
        page.evaluate(
            """(async () => {
              const reply = await fetch("v1/chat/completions", {
                method: "POST",
                headers: {"Content-Type": "application/json", "Burble-Resumable": "true"},
                body: JSON.stringify({model: "numbers", stream: true, max_tokens: 1500,
                                      messages: [{role: "user", content: "source"}]}),
              });
              const stream = reply.headers.get("Burble-Stream");
              globalThis.source = new EventSource(`v1/streams/${stream}`);
              globalThis.text = "";
              globalThis.ends = [];
              globalThis.opens = 0;
              source.onopen = () => opens++;
              source.onmessage = (event) => { text += JSON.parse(event.data).text; };
              source.addEventListener("end", (event) => ends.push(event.data));
              reply.body.cancel();
            })()"""
        )
        for n in (10, 800):
            page.until(f"text.includes('·{n} ')")
            wire.cut()
        page.until("source.readyState === EventSource.CLOSED")
        assert page.evaluate("text") == pieces("source", 1500)
        ends = page.evaluate("ends")
        assert len(ends) == 1
        assert json.loads(ends[0])["reasons"] == ["length"]
        assert page.evaluate("opens") == 3
        page.close()
