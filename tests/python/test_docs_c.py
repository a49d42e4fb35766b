# SPDX-License-Identifier: MIT
"""The C programs of README.md and docs/c print what stands under them. (The one with llama.cpp:
tests/llama/test_docs_llama.py.)"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted((ROOT / "docs" / "c").glob("*.md"))
        if page.stem not in ("README", "llama-cpp")
    ),
]
PROGRAM = re.compile(r"^```c\n(.*?)^```\n\s*^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = [(page.stem, *found) for page in PAGES for found in PROGRAM.findall(page.read_text())]

pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static library, by itself."""
    build = tmp_path_factory.mktemp("docs")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    meson = (sys.executable, "-m", "mesonbuild.mesonmain")
    options = [f"-D{option}=disabled" for option in ("llama", "python", "serve", "tests")]
    for command in (
        (*meson, "setup", build, ROOT, "-Dbuildtype=debug", *options),
        (*meson, "compile", "-C", build),
    ):
        subprocess.run(
            [str(part) for part in command],
            env={**os.environ, "PATH": path},
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=300,
        )
    return build / "src" / "libburble.a"


def test_task_page_has_a_program() -> None:
    assert {name for name, _, _ in PROGRAMS} == {page.stem for page in PAGES}


@pytest.mark.parametrize(
    ("code", "printed"), [program[1:] for program in PROGRAMS], ids=[p[0] for p in PROGRAMS]
)
def test_program_of_page_prints_what_page_shows(
    library: Path, tmp_path: Path, code: str, printed: str
) -> None:
    (tmp_path / "page.c").write_text(code)
    subprocess.run(
        [
            "cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror",
            f"-I{ROOT / 'include'}", tmp_path / "page.c", library, "-pthread", "-lm",
            "-o", tmp_path / "page",
        ],
        check=True,
        timeout=60,
    )  # fmt: skip
    done = subprocess.run(
        [tmp_path / "page"], stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    assert done.stdout.rstrip() == printed.rstrip()
