# SPDX-License-Identifier: MIT
"""The samples of a page of the documentation, and how they are run.

The Python samples of a page build on one another, as if typed one after the other into
``python -m asyncio``, where one may ``await`` without a function around it. What a sample prints
stands in a block of text right under it.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "models" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

BLOCK = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$(?:\n\s*^\1```text\n(.*?)^\1```$)?", re.M | re.S)


class Sample(NamedTuple):
    language: str
    line: int  # of its first line in the page
    code: str
    printed: str | None  # what stands under it; None: nothing does


def samples_of(page: Path, language: str = "python") -> list[Sample]:
    text = page.read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        indent, tongue, code, printed = block.groups()
        if tongue == language:
            line = text.count("\n", 0, block.start(3)) + 1
            code = "".join(part.removeprefix(indent) for part in code.splitlines(keepends=True))
            found.append(Sample(tongue, line, code, printed))
    return found


def masked(printed: str) -> str:
    """Without what differs each time: the ids of streams, and when an answer began."""
    printed = re.sub(r"\b[0-9a-f]{32}\b", "STREAM", printed)
    return re.sub(r'"created":[0-9]+', '"created":0', printed).rstrip()


@contextlib.contextmanager
def run_samples(page: Path) -> Iterator[dict[str, Any]]:
    """Run the Python samples of a page, in the root of the tree; their names, with a loop that is
    still theirs, until the block is left."""
    names: dict[str, Any] = {"__name__": f"page_{page.stem}"}
    with contextlib.chdir(ROOT), asyncio.Runner() as runner:
        for sample in samples_of(page):
            run_sample(page, sample, names, runner)
        yield names
        names.clear()  # streams that are let go end their generations while there is a loop


def run_sample(page: Path, sample: Sample, names: dict[str, Any], runner: asyncio.Runner) -> None:
    # With the page's own lines, for tracebacks.
    code = compile(
        "\n" * (sample.line - 1) + sample.code,
        str(page),
        "exec",
        ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(_step(code, names))
        else:
            exec(code, names)
    if sample.printed is not None:
        assert masked(out.getvalue()) == masked(sample.printed), f"{page.name}:{sample.line}"


async def _step(code: Any, names: dict[str, Any]) -> None:
    await eval(code, names)
