# SPDX-License-Identifier: MIT
"""What the pages on servers claim: docs/python/in-production.md, chat.md and websocket.md.

test_docs.py runs their Python samples, and the samples of all other pages."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import burble

pytest.importorskip("torch")
pytest.importorskip("transformers")
httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
fastapi = pytest.importorskip("fastapi")

import test_browser  # noqa: E402
from helpers import SOON, until  # noqa: E402
from samples import ROOT, masked, run_samples, samples_of  # noqa: E402
from test_docs import ENV, client_of, never_end, served  # noqa: E402

pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.slow,
]

PAGES = ROOT / "docs" / "python"
CHAT = PAGES / "chat.md"
OPENAI = PAGES / "openai.md"
SERVE = PAGES / "serve.md"
PRODUCTION = PAGES / "in-production.md"
WEBSOCKET = PAGES / "websocket.md"

ENDLESS = """
_generate = model.generate


def _endless(**options):
    while True:
        _generate(**options)


model.generate = _endless
"""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


# ---- chat.md -----------------------------------------------------------------------------------

PAGE = """<!doctype html><meta charset=utf-8><pre></pre><script>%s
const pre = document.querySelector("pre");
let reason = "none";
ask(%s, (text) => pre.append(text)).then((found) => { reason = found; },
                                         (error) => { reason = String(error); });
setInterval(() => fetch("/seen", {method: "POST",
  body: JSON.stringify({text: pre.textContent, reason})}), 100);
</script>"""


@pytest.mark.skipif(test_browser.CHROMIUM is None, reason="needs Chromium")
def test_chat_script_of_the_page_shows_an_answer_in_a_browser(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    messages = [{"role": "romeo", "content": "Good morrow, fair maid."}]
    (script,) = samples_of(CHAT, "js")

    async def show() -> Any:
        page = PAGE % (script.code, json.dumps(messages))
        return fastapi.Response(page, media_type="text/html")

    async def see(request: Any) -> None:
        seen.update(json.loads(await request.body()))

    see.__annotations__.update(request=fastapi.Request)
    with run_samples(CHAT) as names:
        names["app"].get("/", response_model=None)(show)
        names["app"].post("/seen")(see)
        with served(names["app"]) as url, test_browser.browser(url, tmp_path / "profile"):
            until(lambda: seen.get("reason", "none") != "none")
    shown = samples_of(CHAT)[0].printed
    assert shown is not None
    assert (seen["text"].rstrip(), seen["reason"]) == (shown.rstrip(), "stop")


def test_openai_client_reads_the_completions_of_the_chat_page() -> None:
    openai = pytest.importorskip("openai")
    messages = [{"role": "romeo", "content": "Good morrow, fair maid."}]
    with run_samples(CHAT) as names, served(names["app"]) as url:
        client = openai.OpenAI(
            base_url=f"{url}/v1",
            api_key="none",
            max_retries=0,
            timeout=SOON,
            http_client=httpx.Client(trust_env=False, timeout=SOON),
        )
        chunks = list(client.chat.completions.create(model="m", messages=messages, stream=True))
    shown = samples_of(CHAT)[0].printed
    assert shown is not None
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.rstrip() == shown.rstrip()
    assert chunks[-1].choices[0].finish_reason == "stop"


# ---- openai.md ---------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_openai_page_answers_as_it_shows() -> None:
    with run_samples(OPENAI) as names, served(names["app"]) as url:
        asked = samples_of(OPENAI, "sh")
        assert len(asked) == 2
        for sample in asked:
            command = sample.code.replace("http://127.0.0.1:8000", url)
            done = subprocess.run(
                ["sh", "-c", command], env=ENV, capture_output=True, text=True, timeout=60
            )
            assert masked(done.stdout) == masked(sample.printed or ""), done.stderr
        told = httpx.get(f"{url}/v1/models/x", trust_env=False).json()
        assert told["error"]["code"] == "model_not_found"


def test_openai_page_client_prints_answer_and_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("NO_PROXY", "*")
    with run_samples(OPENAI) as names, served(names["app"]) as url:
        names["ask"](url, max_tokens=3)
    assert capsys.readouterr().out == "I'll tell 3 tokens\n"


# ---- serve.md ----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(burble._core, "Server"), reason="built without a server")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_serve_page_answers_as_it_shows() -> None:
    (sample,) = samples_of(SERVE, "sh")
    with run_samples(SERVE) as names:
        options = {"parameters": ["max_tokens", "stop"], "port": 0}
        with burble.Server(names["handler"], **options) as server:
            command = sample.code.replace("http://127.0.0.1:8000", server.url)
            done = subprocess.run(
                ["sh", "-c", command], env=ENV, capture_output=True, text=True, timeout=60
            )
            assert masked(done.stdout) == masked(sample.printed or ""), done.stderr
            for prompt, status in (("ROMEO:", 200), ("", 400), ([1, 2], 400)):
                body = {"model": "default", "prompt": prompt, "max_tokens": 3}
                answer = httpx.post(
                    f"{server.url}/v1/completions", json=body, timeout=60, trust_env=False
                )
                assert answer.status_code == status, answer.text


# ---- websocket.md ------------------------------------------------------------------------------


def test_websocket_client_stops_an_answer_and_asks_again() -> None:
    testclient = pytest.importorskip("starlette.testclient")
    with run_samples(WEBSOCKET) as names:
        generate = names["model"].generate
        never_end(names["model"])
        client = testclient.TestClient(names["app"])
        with client.websocket_connect("/answers") as connection:
            connection.send_json({"prompt": "ROMEO:"})
            assert "text" in connection.receive_json()
            connection.send_json({"stop": True})
            message: dict[str, Any] = {}
            while "end" not in message:
                message = connection.receive_json()
            assert message == {"end": "cancelled"}
            until(lambda: names["pool"].running == 0)
            names["model"].generate = generate
            connection.send_json({"prompt": "ROMEO:"})
            while message.get("end") != "length":
                message = connection.receive_json()


def test_websocket_client_that_disconnects_ends_the_generation() -> None:
    testclient = pytest.importorskip("starlette.testclient")
    with run_samples(WEBSOCKET) as names:
        never_end(names["model"])
        with testclient.TestClient(names["app"]).websocket_connect("/answers") as connection:
            connection.send_json({"prompt": "ROMEO:"})
            assert "text" in connection.receive_json()
            assert names["pool"].running == 1
        until(lambda: names["pool"].running == 0)


# ---- in-production.md --------------------------------------------------------------------------


def test_production_page_metrics_count_streams_and_tokens() -> None:
    with run_samples(PRODUCTION) as names, served(names["app"]) as url, client_of(url) as client:
        client.get("/generate", params={"prompt": "ROMEO:"})

        def counted() -> str:
            text: str = client.get("/metrics").text
            return text

        until(lambda: 'streams_total{state="ended"} 1' in counted())
        assert "tokens_total 20" in counted()
        assert "generations_running 0" in counted()
        never_end(names["model"])
        with client.stream("GET", "/generate", params={"prompt": "ROMEO:"}) as answer:
            pieces = answer.iter_bytes()  # kept: without it, the connection is closed
            assert next(pieces)
            assert "generations_running 1" in counted()
        until(lambda: 'streams_total{state="cancelled"} 1' in counted())


def test_production_page_refuses_requests_while_too_many_wait() -> None:
    with run_samples(PRODUCTION) as names, served(names["app"]) as url, client_of(url) as client:
        never_end(names["model"])
        held = [names["begin"]("ROMEO:") for _ in range(22)]
        until(lambda: names["pool"].waiting == 20)
        refused = client.get("/generate", params={"prompt": "ROMEO:"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        for stream in held:
            stream.cancel()


def test_production_page_evicts_kept_stream_after_its_readers() -> None:
    with run_samples(PRODUCTION) as names, served(names["app"]) as url, client_of(url) as client:
        names["KEPT_FOR"] = 0.5
        generate = names["model"].generate

        def slow(**options: Any) -> Any:
            until(lambda: not names["answers"])  # it is removed meanwhile
            return generate(**options)

        names["model"].generate = slow
        name = client.post("/answers", params={"prompt": "ROMEO:"}).json()
        with client.stream("GET", f"/answers/{name}") as answer:
            until(lambda: not names["answers"])
            text = "".join(answer.iter_text())
        assert text.count("\ndata: ") == 21
        assert client.get(f"/answers/{name}").status_code == 404


def serve(folder: Path, *options: str, **changes: str) -> tuple[Any, str]:
    """The app of the page, whose model never stops, in a process of uvicorn."""
    code = "\n\n".join(sample.code for sample in samples_of(PRODUCTION)) + ENDLESS
    for old, new in changes.items():
        code = re.sub(rf"{old}=\d+", f"{old}={new}", code)
    (folder / "app.py").write_text(code.replace('"models/', f'"{ROOT}/models/'))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=folder, env=ENV, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    with client_of(url) as client:

        def answers() -> bool:
            try:
                return bool(client.get("/metrics").is_success)
            except httpx.ConnectError:
                assert process.poll() is None
                time.sleep(0.1)
                return False

        until(answers, 60.0)  # it loads PyTorch first
    return process, url


def test_sigterm_breaks_streams_after_the_graceful_timeout(tmp_path: Path) -> None:
    process, url = serve(tmp_path, "--timeout-graceful-shutdown", "1")
    try:
        with client_of(url) as client:
            with client.stream("GET", "/generate", params={"prompt": "ROMEO:"}) as answer:
                pieces = answer.iter_bytes()
                assert next(pieces)
                process.send_signal(signal.SIGTERM)
                with pytest.raises(httpx.RemoteProtocolError):
                    list(pieces)
        assert process.wait(SOON) == -signal.SIGTERM
        assert "Cancel 1 running task(s)" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_sigterm_waits_for_streams_until_their_total_timeout(tmp_path: Path) -> None:
    process, url = serve(tmp_path, total_timeout="3")
    try:
        with client_of(url) as client:
            with client.stream("GET", "/generate", params={"prompt": "ROMEO:"}) as answer:
                text = ""
                for piece in answer.iter_text():
                    if not text:
                        process.send_signal(signal.SIGTERM)
                    text += piece
        assert "event: failed" in text
        assert "TotalTimeout" in text
        assert process.wait(SOON) == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


def test_failed_generation_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def broken(streamer: Any) -> None:
        raise OSError("secret")

    async def main() -> bytes:
        stream = burble.stream(broken, tokenizer=[b"a"])
        return b"".join([data async for data in burble.sse(stream)])

    assert b"secret" not in asyncio.run(main())
    (record,) = caplog.records
    assert (record.name, record.exc_info is not None) == ("burble", True)
