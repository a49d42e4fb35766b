# SPDX-License-Identifier: MIT
"""The Python tests with other interpreters, and with other builds of the extension. Each session
is the target of the Makefile that has its name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
BUILD = ROOT / "build"
VENV = Path(sys.prefix)

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True


def works(python: Path) -> bool:
    """Whether it is an interpreter: a shim of pyenv's may stand for none."""
    try:
        return subprocess.run([python, "-VV"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def interpreters() -> list[str]:
    """$PYTHONS or, of each version from 3.9 on, the first one on the PATH or in pyenv."""
    if named := os.environ.get("PYTHONS"):
        return named.split()
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    found: dict[str, str] = {}
    for folder in folders:
        for python in sorted(folder.glob("python3.*")):
            of_3 = re.fullmatch(r"python3\.(\d+)t?", python.name)
            if not of_3 or int(of_3[1]) < 9 or folder == VENV / "bin" or python.name in found:
                continue
            if works(python):
                found[python.name] = str(python)
    return sorted(found.values(), key=age)


def age(python: str) -> tuple[int, str]:
    """What sorts interpreters from the oldest version on."""
    return int(re.findall(r"\d+", Path(python).name)[1]), python


INTERPRETERS = interpreters()


@nox.session(name="test-pythons", python=INTERPRETERS)
def pythons(session: nox.Session) -> None:
    """The tests that need no PyTorch, in an environment of their own."""
    test_in_environment(session)


@nox.session(name="test-oldest-python", python=INTERPRETERS[:1])
def oldest(session: nox.Session) -> None:
    """The same with the oldest one alone, but for the slow ones."""
    test_in_environment(session, "-m", "not slow")


def test_in_environment(session: nox.Session, *chosen: str) -> None:
    session.install("-r", "requirements/build.txt", "-r", "requirements/pythons.txt")
    options = ["--no-build-isolation", "--no-deps", "--force-reinstall"]
    build = f"--config-settings=build-dir={session.virtualenv.location}/build"
    session.install(*options, build, ".", env={"MAKEFLAGS": ""})
    cache = f"cache_dir={session.virtualenv.location}/cache"
    tests = session.posargs or [*chosen, "tests/python"]
    session.run("python", "-m", "pytest", "--quiet", "-o", cache, *tests)


def install(session: nox.Session, kind: str, *options: str) -> dict[str, str]:
    """Installs build/KIND, as builds/KIND.ini has it, below build/KIND/site, and gives the
    environment in which Python finds burble there, and the rest in .venv."""
    build = BUILD / kind
    meson = [sys.executable, "-m", "mesonbuild.mesonmain"]
    if not (build / "build.ninja").exists():
        session.run(
            *meson, "setup", f"--native-file=builds/{kind}.ini", *options, str(build), silent=True
        )
    session.run("ninja", "--quiet", "-C", str(build))
    shutil.rmtree(build / "site", ignore_errors=True)  # with modules that are no longer there
    session.run(
        *meson, "install", "-C", str(build), "--quiet", "--no-rebuild", "--tags", "python-runtime"
    )
    packages = next(VENV.glob("lib/python*/site-packages"))
    return {"PYTHONPATH": f"{build}/site:{packages}", "BURBLE_TEST_TIMEOUT": "600"}


@nox.session(name="test-python-asan", python=False)
def asan(session: nox.Session) -> None:
    """With the extension under ASan + UBSan. Leaks are left to test_references.py: CPython and
    PyTorch keep too much until the end."""
    env = install(session, "python-asan")
    log = BUILD / "python-asan" / "report"
    for old in log.parent.glob(f"{log.name}.*"):
        old.unlink()
    libraries = [
        subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    env |= {
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={log}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={log}",
        "LD_PRELOAD": " ".join(libraries),
    }
    tests = session.posargs or ["-m", "not no_asan", "tests/python"]
    try:
        session.run(
            sys.executable, "-X", "faulthandler", "-m", "pytest", "--quiet", *tests, env=env
        )
    finally:
        reports = sorted(log.parent.glob(f"{log.name}.*"))
        for report in reports:
            print(report.read_text(errors="replace"))
    if reports:  # of a child, say, whose status no test looks at
        session.error(f"{len(reports)} reports of the sanitizers")


@nox.session(name="test-python-debug", python=False)
def debug(session: nox.Session) -> None:
    """The tests of the extension in a debug build of CPython, which checks itself and counts
    references: Debian's, of the version that .venv has."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}d"
    native = BUILD / "debug-python.ini"
    native.write_text(f"[binaries]\npython = '{python}'\n")
    env = install(session, "python-debug", f"--native-file={native}")
    tests = session.posargs or ["-m", "extension", "tests/python"]
    session.run(python, "-X", "dev", "-m", "pytest", "--quiet", *tests, env=env)
