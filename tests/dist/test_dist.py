# SPDX-License-Identifier: MIT
"""The distributions in dist/, as `make dist` has made them: what is in them, and what an empty
environment makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
CONSUMER = Path(__file__).with_name("consumer.py")

# What git has and a source distribution has not (.gitattributes).
ONLY_GIT = (".ci/", ".editorconfig", ".gitattributes", ".gitignore")


def run(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


def the_only(pattern: str) -> Path:
    found = list(DIST.glob(pattern))
    assert len(found) == 1, f"{pattern}: {found}"
    return found[0]


@pytest.fixture(scope="session")
def wheel() -> Path:
    return the_only("burble-*.whl")


@pytest.fixture(scope="session")
def sdist() -> Path:
    return the_only("burble-*.tar.gz")


@pytest.fixture(scope="session")
def version(sdist: Path) -> str:
    return sdist.name.removeprefix("burble-").removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def tracked() -> set[str]:
    """What is committed."""
    return set(run("git", "ls-tree", "-r", "--name-only", "HEAD").splitlines())


def empty_environment(path: Path, *install: object) -> Path:
    """The Python of a new environment in which nothing is installed but what is named."""
    venv.create(path, with_pip=True)
    python = path / "bin" / "python"
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "-q", *install)
    listed = run(python, "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze")
    names = {line.split("==")[0].split(" ")[0] for line in listed.splitlines()}
    assert names <= {"burble", "pip", "setuptools"}
    return python


# ---- what is in them -------------------------------------------------------------------------


def test_wheel_has_package_and_nothing_else(wheel: Path, version: str, tracked: set[str]) -> None:
    package = {
        name.removeprefix("python/") for name in tracked if name.startswith("python/burble/")
    }
    about = {
        f"burble-{version}.dist-info/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")
    }
    with zipfile.ZipFile(wheel) as file:
        found = {name for name in file.namelist() if not name.endswith("/")}
    extension = {name for name in found if name.endswith(".so")}
    assert found - extension == package | about
    assert [name.split(".")[0] for name in extension] == ["burble/_core"]
    assert {"burble/py.typed", "burble/_core.pyi"} <= found


def test_sdist_has_committed_files_and_nothing_else(
    sdist: Path, version: str, tracked: set[str]
) -> None:
    with tarfile.open(sdist) as file:
        found = {member.name for member in file.getmembers() if not member.isdir()}
    expected = {name for name in tracked if not name.startswith(ONLY_GIT)} | {"PKG-INFO"}
    assert found == {f"burble-{version}/{name}" for name in expected}


def test_changelog_begins_with_this_version(version: str) -> None:
    headings = [
        line.removeprefix("## ")
        for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert headings[0].split(" ")[0] == version


def test_metadata_is_accepted_by_index(wheel: Path, sdist: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)


def test_wheel_needs_only_c_library(wheel: Path) -> None:
    shown = json.loads(run(sys.executable, "-m", "auditwheel", "show", "--json", wheel))
    assert shown["external_libs"] == {}
    assert shown["overall_tag"].startswith("manylinux_2_")
    assert wheel.name.endswith(f"-{shown['overall_tag']}.whl")
    assert set(shown["versioned_symbols"]) == {"libc.so.6"}


# ---- what they do ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_wheel_in_empty_environment_streams(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    offline = ["--no-index"] if kind == "wheel" else []  # building fetches meson-python
    python = empty_environment(tmp_path / "env", *offline, request.getfixturevalue(kind))
    said = run(python, "-I", CONSUMER, cwd=tmp_path)
    assert said == f"{request.getfixturevalue('version')}: once upon a time\n"
    if kind == "wheel":
        run(
            *(sys.executable, "-m", "mypy", "--strict", "--config-file="),
            *(f"--python-executable={python}", f"--cache-dir={tmp_path}", CONSUMER),
            cwd=tmp_path,
        )


def test_sdist_builds_and_tests_c_library(sdist: Path, version: str, tmp_path: Path) -> None:
    with tarfile.open(sdist) as file:
        # Debian 12's Python knows no filters; the archive is our own.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        file.extractall(tmp_path, **safely)
    tree = tmp_path / f"burble-{version}"
    options = ("-Dpython=disabled", "-Dtests=enabled", "-Dbench=true")
    run(sys.executable, "-m", "mesonbuild.mesonmain", "setup", "build", *options, cwd=tree)
    run(sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/python", cwd=tree)
