# SPDX-License-Identifier: MIT
"""What a part of the sources may include: the table of layers in docs/design.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^# *include [<"]([^>"]+)[>"]', re.MULTILINE)
# Files in these folders are included by a path that begins with the name of the folder. Those of
# the extension are in the order of the table.
EXTENSION = ["common", "detokenize", "waiting", "log", "streamers", "llama", "server"]
FOLDERS = ["burble", "base", "stream", "text", "frame", "engine", "serve", "relay", *EXTENSION]
# What each part may include of those, beside its own files.
MAY = {
    "include": {"burble"},
    "src/base": {"burble", "base"},
    "src/stream": {"burble", "base", "stream"},
    "src/text": {"burble", "base", "text"},
    "src/frame": {"burble"},
    "src/engine": {"burble", "base", "engine"},
    "src/serve": {"burble", "base", "serve"},
    "src/relay": {"burble", "base", "serve", "relay"},
    "tools": {"burble"},
    **{
        f"python/ext/{folder}": {"burble", "base", *EXTENSION[: at + 1]}
        for at, folder in enumerate(EXTENSION)
    },
    "examples": {"burble"},
    "bench": {"burble"},
}


def sources(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.[ch]"))


def included(path: Path) -> set[str]:
    """Of the project's own headers in FOLDERS."""
    names = INCLUDE.findall(path.read_text(encoding="utf-8"))
    return {name for name in names if name.split("/")[0] in FOLDERS and "/" in name}


@pytest.mark.parametrize("part", MAY)
def test_part_includes_only_layers_above_it(part: str) -> None:
    assert sources(part)
    wrong = {
        f"{path.relative_to(ROOT)} includes {name}"
        for path in sources(part)
        for name in included(path)
        if name not in MAY[part] and name.split("/")[0] not in MAY[part]
    }
    assert wrong == set()


def assert_no_circle(graph: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_headers_have_no_include_cycle() -> None:
    assert_no_circle(
        {
            path.relative_to(ROOT / folder).as_posix(): included(path)
            for folder in ("include", "src", "python/ext")
            for path in (ROOT / folder).rglob("*.h")
        }
    )


def test_modules_have_no_import_cycle() -> None:
    """Imports within functions, and those for type checkers alone, included."""
    graph: dict[str, set[str]] = {}
    for path in (ROOT / "python" / "burble").glob("*.py"):
        imports = graph.setdefault(path.stem, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                imports |= {node.module} if node.module else {name.name for name in node.names}
    assert_no_circle(graph)
