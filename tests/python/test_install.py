# SPDX-License-Identifier: MIT
"""The installed C library: what a program outside of the tree gets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = ROOT / "tests" / "install" / "consumer.c"

pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("cc", "nm", "pkg-config", "readelf")),
        reason="needs a C compiler, binutils and pkg-config",
    ),
]


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `meson install` has put it: the library alone, which needs nothing else."""
    build = tmp_path_factory.mktemp("build")
    prefix = tmp_path_factory.mktemp("prefix")
    meson = (sys.executable, "-m", "mesonbuild.mesonmain")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    options = ("llama", "python", "relay", "serve", "tests")
    run(
        *meson, "setup", build, ROOT, f"--prefix={prefix}", "--libdir=lib", "--buildtype=release",
        *(f"-D{option}=disabled" for option in options), PATH=path,
    )  # fmt: skip
    run(*meson, "install", "-C", build, "--quiet", PATH=path)
    return prefix


def flags(prefix: Path, *options: str) -> list[str]:
    return run(
        "pkg-config", *options, "burble", PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig")
    ).split()


@pytest.mark.parametrize("language", [("cc", "c", "c11"), ("c++", "c++", "c++17")])
@pytest.mark.parametrize("kind", ["shared", "static"])
def test_program_linked_with_installed_library_runs(
    prefix: Path, tmp_path: Path, language: tuple[str, str, str], kind: str
) -> None:
    compiler, name, standard = language
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    program = tmp_path / "consumer"
    libraries = flags(prefix, "--libs")
    if kind == "static":
        libraries = [str(prefix / "lib" / "libburble.a"), "-lm"]
    run(
        compiler, "-x", name, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
        *(["-D_POSIX_C_SOURCE=200809L"] if name == "c" else []),
        *flags(prefix, "--cflags"), CONSUMER, "-x", "none", "-pthread", *libraries, "-o", program,
    )  # fmt: skip
    assert run(program, LD_LIBRARY_PATH=str(prefix / "lib")) == "once upon a time.\n"


def test_exported_symbols_equal_headers(prefix: Path) -> None:
    exported = set()
    for line in run("nm", "-D", "--defined-only", prefix / "lib" / "libburble.so").splitlines():
        symbol = line.split()[-1]
        if "@" in symbol and not symbol.startswith("BURBLE_"):
            exported.add(symbol.split("@")[0])
        else:
            assert symbol.startswith("BURBLE_"), f"without a version: {symbol}"
    declared = set()
    headers = sorted((prefix / "include" / "burble").glob("*.h"))
    public = {header.name for header in (ROOT / "include" / "burble").glob("*.h")}
    others = {"llama.h", "llama_serve.h", "relay.h", "serve.h"}  # of separate libraries
    assert {header.name for header in headers} == public - others
    for header in headers:
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for declaration in re.findall(r"^BURBLE_API\b([^;]*);", text, re.MULTILINE):
            found = re.search(r"\b(burble_\w+)\s*\(", declaration)
            assert found, declaration
            declared.add(found[1])
    assert exported == declared
    assert len(declared) > 50


def test_soname_is_that_of_minor_version(prefix: Path) -> None:
    version = flags(prefix, "--modversion")[0]
    minor = ".".join(version.split(".")[:2])
    dynamic = run("readelf", "-d", prefix / "lib" / "libburble.so")
    assert f"Library soname: [libburble.so.{minor}]" in dynamic
    assert (prefix / "lib" / f"libburble.so.{version}").is_file()
