# SPDX-License-Identifier: MIT
"""The samples with llama.cpp in docs/ print what stands under them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_run import command, environment

ROOT = Path(__file__).resolve().parents[2]
LLAMA = ROOT / "build" / "llama"  # where `make test-llama` has put it
sys.path[:0] = [str(ROOT / "tests" / "python")]

from samples import run_samples, samples_of  # noqa: E402

pytestmark = pytest.mark.timeout(120)


def test_program_in_c_prints_what_page_shows(tmp_path: Path) -> None:
    (sample,) = samples_of(ROOT / "docs" / "c" / "llama-cpp.md", "c")
    (tmp_path / "page.c").write_text(sample.code)
    build = ROOT / "build" / "llama-plain"  # without a sanitizer
    if not build.is_dir():
        pytest.skip("needs build/llama-plain, which `make test-llama` makes")
    packages = (build / "meson-uninstalled", LLAMA / "lib" / "pkgconfig")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "burble-llama", "burble"],
        env=environment(PKG_CONFIG_PATH=os.pathsep.join(map(str, packages))),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    rpath = f"-Wl,-rpath,{build / 'src'},-rpath,{LLAMA / 'lib'}"
    subprocess.run(
        [
            *("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", tmp_path / "page.c"),
            *(*flags, rpath, "-pthread", "-o", tmp_path / "page"),
        ],
        check=True,
        timeout=60,
    )
    done = subprocess.run([tmp_path / "page"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == sample.printed


def test_llama_cpp_python_sample_prints_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diskcache")
    monkeypatch.syspath_prepend(str(LLAMA))
    with run_samples(ROOT / "docs" / "python" / "llama-cpp.md"):
        pass


def test_engine_sample_prints_what_page_shows() -> None:
    """In a separate process, where the package that was built with llama.cpp comes first."""
    package = ROOT / "build" / "llama-package"
    if not package.is_dir():
        pytest.skip("needs build/llama-package, which `make test-llama` makes")
    page = ROOT / "docs" / "python" / "llama-engine.md"
    script = (
        "import pathlib, sys, samples\nwith samples.run_samples(pathlib.Path(sys.argv[1])): pass"
    )
    path = os.pathsep.join((str(package), str(ROOT / "tests" / "python")))
    done = subprocess.run(
        [sys.executable, "-c", script, page],
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_samples_of_command_print_text() -> None:
    """Those with the shipped model; MODEL.gguf stands for one of the reader's own."""
    lines = [
        line
        for sample in samples_of(ROOT / "docs" / "command-line.md", "sh")
        for line in sample.code.splitlines()
        if "models/shakespeare.gguf" in line
    ]
    assert lines
    for line in lines:
        found = re.sub(r"build/llama-release/tools/burble", command(), line)
        done = subprocess.run(
            found, shell=True, cwd=ROOT, env=environment(), capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) > 20
