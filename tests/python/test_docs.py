# SPDX-License-Identifier: MIT
"""The samples in README.md and docs/ do what the pages say: Python and what it prints, shell, and
servers that real clients ask. (The programs in docs/c: test_docs_c.py; what needs llama.cpp:
tests/llama/test_docs_llama.py.)"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import burble

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
httpx = pytest.importorskip("httpx")
httpx_sse = pytest.importorskip("httpx_sse")
uvicorn = pytest.importorskip("uvicorn")

from command import command  # noqa: E402
from helpers import SOON, in_thread, until  # noqa: E402
from samples import PAGES, ROOT, masked, run_samples, samples_of  # noqa: E402

pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.slow,
]

DOCS = ROOT / "docs"
VOCABULARY = ROOT / "models" / "shakespeare" / "tokenizer.json"
FASTAPI = DOCS / "python" / "fastapi.md"
GRADIO = DOCS / "python" / "gradio.md"
LLAMA = (DOCS / "python" / "llama-cpp.md", DOCS / "python" / "llama-engine.md")
SSE = DOCS / "python" / "server-sent-events.md"

# Those that need more than running have tests of their own below.
OTHERS = [FASTAPI, GRADIO, SSE, *LLAMA, DOCS / "relay.md"]  # the last one's: tests/relay
if not hasattr(burble._core, "Server"):  # this burble was built without a server
    OTHERS.append(DOCS / "python" / "serve.md")
PLAIN = [page for page in PAGES if samples_of(page) and page not in OTHERS]

ENV = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "*", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MODEL", "models/shakespeare")  # in place of one from a hub
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize("page", PLAIN, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_samples_run_and_print_what_page_shows(page: Path) -> None:
    with run_samples(page):
        pass


def test_samples_of_all_pages_are_tested() -> None:
    """Neither by its language's name nor by what looks for them."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^ *```(\S*)$", text, re.MULTILINE)
        assert fences.count("python") == len(samples_of(page)), page
        assert not {"py", "python3", "pycon", "bash", "shell"} & set(fences), page


def test_reference_has_every_public_name() -> None:
    text = (DOCS / "python" / "reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\.\. (?:auto|py:)\w+:: burble\.(\w+)", text, re.MULTILINE))
    assert set(burble.__all__) - {"__version__"} <= named


ALL = sorted({*ROOT.glob("*.md"), *PAGES, ROOT / "bench" / "README.md"})


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_on_page_exist(page: Path) -> None:
    rules = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    targets = set(re.findall(r"^([a-z-]+):.*## ", rules, re.MULTILINE))
    for target in re.findall(r"(?:`|^ *)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE):
        assert target in targets, target


def without_code(page: Path) -> str:
    """A page's text, but for its fences."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The names of its headings, as GitHub makes them. (Sphinx also takes others.)"""
    titles = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    texts = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_on_page_exist(page: Path) -> None:
    """In the tree, headings included."""
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", without_code(page)):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not heading or target.suffix != ".md" or heading in anchors(target), link


# ---- README.md -------------------------------------------------------------------------------


def test_readme_channel_sample_runs_as_file_anywhere(tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    (sample,) = (s for s in samples_of(ROOT / "README.md") if "burble.channel" in s.code)
    program.write_text(sample.code)
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert (done.stdout.rstrip(), done.stderr) == ((sample.printed or "").rstrip(), "")


def test_shell_samples_of_command_print_text() -> None:
    """Those that need no model of one's own and no llama.cpp (tests/llama has those)."""
    tokens = [
        line
        for sample in samples_of(DOCS / "command-line.md", "sh")
        for line in sample.code.splitlines()
        if " tokens " in line
    ]
    assert len(tokens) == 1
    line = tokens[0].replace("build/release/tools/burble", command())
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    ids = [int(word) for word in line.split() if word.isdigit()]
    assert done.stdout == burble.Detokenizer(VOCABULARY).push(ids)


# ---- servers ---------------------------------------------------------------------------------


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of a server of ``app``, in a separate thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    with in_thread(server.run):
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True


def client_of(url: str) -> Any:
    return httpx.Client(base_url=url, trust_env=False, timeout=SOON)


def never_end(model: Any) -> None:
    """Let ``generate`` begin again and again, so that only its streamer can end it."""
    generate = model.generate

    def endless(**options: Any) -> None:
        while True:
            generate(**options)

    model.generate = endless


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_fastapi_sample_answers_as_page_shows() -> None:
    with run_samples(FASTAPI) as names, served(names["app"]) as url:
        asked = [sample for sample in samples_of(FASTAPI, "sh") if "curl" in sample.code]
        assert len(asked) == 3
        for sample in asked:
            command = sample.code.replace("http://127.0.0.1:8000", url)
            assert command != sample.code
            done = subprocess.run(
                ["sh", "-c", command], env=ENV, capture_output=True, text=True, timeout=60
            )
            assert masked(done.stdout) == masked(sample.printed or ""), done.stderr


@pytest.mark.parametrize("path", ["/events", "/text"])
def test_fastapi_client_that_leaves_cancels_generation(path: str) -> None:
    with run_samples(FASTAPI) as names, served(names["app"]) as url, client_of(url) as client:
        never_end(names["model"])
        with client.stream("GET", path, params={"prompt": "ROMEO:"}) as answer:
            pieces = answer.iter_bytes()  # kept: without it, the connection is closed
            assert next(pieces)
            assert names["pool"].running == 1
        until(lambda: names["pool"].running == 0)


def test_readme_server_sends_events() -> None:
    with run_samples(ROOT / "README.md") as names, served(names["app"]) as url:
        with client_of(url) as client:
            query = {"prompt": "ROMEO:"}
            with httpx_sse.connect_sse(client, "GET", "/generate", params=query) as source:
                events = [event.event for event in source.iter_sse()]
    assert len(events) > 1
    assert set(events[:-1]) == {"message"}
    assert events[-1] == "end"


def test_client_that_reconnects_resumes_where_it_was() -> None:
    with run_samples(SSE) as names, served(names["app"]) as url, client_of(url) as client:
        name = client.post("/answers", params={"prompt": "ROMEO:"}).json()

        def events(**headers: str) -> list[tuple[str, str, str]]:
            path = f"/answers/{name}"
            with httpx_sse.connect_sse(client, "GET", path, headers=headers) as source:
                return [(event.event, event.id, event.data) for event in source.iter_sse()]

        all_of_them = events()
        assert [event for event, _, _ in all_of_them] == ["message"] * 5 + ["end"]
        assert events(**{"Last-Event-ID": all_of_them[2][1]}) == all_of_them[3:]
        assert client.get("/answers/another").status_code == 404
        nonsense = client.get(f"/answers/{name}", headers={"Last-Event-ID": "x"})
        assert nonsense.status_code == 400


def test_aiohttp_sends_same_events() -> None:
    aiohttp = pytest.importorskip("aiohttp")
    test_utils = pytest.importorskip("aiohttp.test_utils")

    async def ask(app: Any) -> str:
        async with test_utils.TestServer(app) as server, aiohttp.ClientSession() as session:
            url = server.make_url("/generate").with_query(prompt="ROMEO:")
            async with session.get(url) as answer:
                text: str = await answer.text()
                return text

    with run_samples(SSE) as names:
        shown = samples_of(SSE)[0].printed
        assert shown is not None
        assert masked(asyncio.run(ask(names["server"]))) == masked(shown)


GRADIO_CLIENT = """
import sys
from gradio_client import Client

for text in Client(sys.argv[1], verbose=False).submit("ROMEO:"):
    print(len(text), flush=True)
"""


def test_gradio_shows_growing_text_and_stops_on_button(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "*")
    pytest.importorskip("gradio", reason="needs gradio, which `make docs` installs")
    gradio_client = pytest.importorskip("gradio_client")
    with run_samples(GRADIO) as names:
        demo = names["demo"]
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, inbrowser=False)
        try:
            client = gradio_client.Client(url, verbose=False)
            job = client.submit("ROMEO:", api_name="/answer")
            text = job.result(timeout=SOON)
            shown = job.outputs()
            assert len(shown) > 1
            assert all(later.startswith(earlier) for earlier, later in zip(shown, shown[1:]))
            assert text == shown[-1]
            assert "I'll tell thee" in text

            never_end(names["model"])
            job = client.submit("ROMEO:", api_name="/answer")
            until(job.outputs)
            job.cancel()
            until(lambda: names["pool"].running == 0)

            with subprocess.Popen(
                [sys.executable, "-c", GRADIO_CLIENT, url], env=ENV, stdout=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline()  # some of the text
                process.kill()
            until(lambda: names["pool"].running == 0)
        finally:
            demo.close(verbose=False)
