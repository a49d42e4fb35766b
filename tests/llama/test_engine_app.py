# SPDX-License-Identifier: MIT
"""examples/llama_app.py, asked by a real client, which also goes away."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
httpx_sse = pytest.importorskip("httpx_sse")
llama = pytest.importorskip("burble.llama", exc_type=ImportError)

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "python")]

from test_examples import Server  # noqa: E402
from test_llama import SHIPPED  # noqa: E402

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("app") / "log"
    server = Server(log, "examples/llama_app.py", PORT="0", SLOTS="2")
    yield server
    server.stop()


def test_app_streams_text_of_engine(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        query = {"prompt": "ROMEO:", "max_new_tokens": 20}
        with httpx_sse.connect_sse(client, "GET", "/generate", params=query) as source:
            *events, end = source.iter_sse()
    with llama.Engine(SHIPPED, threads=1) as engine:
        expected = "".join(engine.generate("ROMEO:", max_new_tokens=20))
    assert "".join(json.loads(event.data)["text"] for event in events) == expected
    assert (end.event, json.loads(end.data)["finish_reason"]) == ("end", "length")


def test_client_that_leaves_frees_slot(server: Server) -> None:
    def stats() -> dict[str, int]:
        found: dict[str, int] = server.get("/stats").json()
        return found

    def go_away() -> int:
        """How many tokens were generated for clients that go after the first."""
        before = stats()["tokens"]
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            for _ in range(3):  # one more than there are slots
                query = {"prompt": "ROMEO:", "max_new_tokens": 200}
                with httpx_sse.connect_sse(client, "GET", "/generate", params=query) as source:
                    next(source.iter_sse())
        while (now := stats())["active"] + now["waiting"] > 0:
            time.sleep(0.01)  # it comes by another connection
        return now["tokens"] - before

    # To their ends they have 600. A busy machine may let one come that far, but not each time.
    while go_away() >= 100:
        pass
    assert stats()["requests"] >= 3


def test_prompt_that_does_not_fit_is_refused(server: Server) -> None:
    refused = server.get("/generate", prompt="ROMEO: " * 1000)
    assert refused.status_code == 422
    assert "context" in refused.text
