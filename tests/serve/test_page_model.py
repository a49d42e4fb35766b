# SPDX-License-Identifier: MIT
"""The page at / with the shipped model, which continues texts: in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from chromium import PROGRAM, Chromium
from resuming import fetch, request_bytes
from servers import model_server, needs_command
from test_page import ANSWER, IDLE, READY, answer, ask

pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium, which `make chromium` installs"),
    needs_command,
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium") / "profile") as chromium:
        yield chromium
        assert chromium.faults == []


def test_text_longer_than_the_context_is_continued_from_its_end(browser: Chromium) -> None:
    """The context has 512 tokens; this text has more, so that no chance decides when it is full."""
    note = f"{ANSWER}?.querySelector('.note')?.textContent.includes('was shown the last')"
    with model_server("--threads", 1) as port:
        page = browser.page(f"http://127.0.0.1:{port}/")
        page.until(READY)
        assert page.evaluate("document.body.dataset.mode") == "text"
        ask(page, "Enter the KING, and all his lords with him. " * 60)
        for turn in (1, 2):
            page.until(f"{IDLE} && document.querySelectorAll('.answer').length === {turn}")
            assert page.evaluate(f"{ANSWER}.dataset.state") == "done", page.text(".last .note")
            assert page.evaluate(note), page.text(".last .note")
            page.press("Enter")
        page.until(f"{IDLE} && document.querySelectorAll('.answer').length === 3")
        assert page.evaluate("document.querySelectorAll('.user').length") == 1
        page.close()


def test_place_in_queue_is_shown(browser: Chromium) -> None:
    """Other clients keep the one slot and the queue filled until the page has said so."""
    enough = threading.Event()
    body = {"prompt": "Enter the KING", "max_tokens": 400}

    def ask_again(port: int) -> None:
        while not enough.is_set():
            answered = fetch(port, request_bytes("POST", "/v1/completions", {}, body))
            assert answered.status == 200

    with (
        model_server("--threads", 1, "--slots", 1, "--context", 512) as port,
        ThreadPoolExecutor(12) as others,
    ):
        asking = [others.submit(ask_again, port) for _ in range(12)]
        try:
            page = browser.page(f"http://127.0.0.1:{port}/")
            page.until(READY)
            page.evaluate(
                "globalThis.seen = ''; new MutationObserver(() => seen += "
                "document.querySelector('.waiting-text')?.textContent ?? '')"
                ".observe(document.body, {subtree: true, childList: true, characterData: true}); 1"
            )
            for _ in range(20):
                ask(page, "Enter the KING")
                page.until(f"{IDLE} && {ANSWER}?.dataset.state === 'done'")
                if page.evaluate("seen.includes('queue')"):
                    break
            else:
                pytest.fail("expected the place in the queue, found none in 20 answers")
            assert answer(page)
            page.close()
        finally:
            enough.set()
        for each in asking:
            each.result()
