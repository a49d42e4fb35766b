#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs llama.cpp's own tests of its server (tools/server/tests) with `burble serve`. Prints a table
with a row for each file: how many tests passed, failed, and are not applicable, and why.

    python llama_tests.py TESTS COMMAND LLAMA_SERVER MODEL [FILE]...

TESTS is that folder of the sources in the package llama-cpp-python; COMMAND the command burble;
LLAMA_SERVER llama-server, or "-": then failures are not compared with its; MODEL a GGUF file with
a chat template, which stands for the models of the tests. A test that fails with llama-server and
this model, too, needs another model, and is not applicable; so is one that asks for an option, a
route or a parameter that burble does not have, or for what only llama-server's answers have. The
tests need the packages of requirements/llama_tests.txt, and openai.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
# The routes that burble has.
ROUTES = {"/", "/health", "/ready", "/metrics", "/tokenize", "/detokenize"}
ROUTES |= {"/chat/completions", "/completions", "/models"}
ROUTES |= {"/v1/chat/completions", "/v1/completions", "/v1/models"}


QUOTES = "\"'("
# What only llama-server's answers have, and tests look for, by the words of their failures.
DIFFERENCES = {
    "KeyError: 'system_fingerprint'": "looks for llama-server's system_fingerprint",
    "'exceed_context_size_error'": "looks for an error's type and members of llama-server's own",
    'assert "content" in res.body': "/completions has OpenAI's form",
    "KeyError: 'models'": "looks for llama-server's list in /models",
    "assert 204 == 200": "OPTIONS is answered with 204",
    "assert 200 == 501": "/metrics is always there",
    'found "image_url"': "images",
    "FileNotFoundError": "needs a file that is on a hub",
    "huggingface.co": "needs a file that is on a hub",
    "Template file ": "needs a template of llama.cpp's sources",
}


class Result(NamedTuple):
    """A test's result."""

    passed: bool
    skipped: bool
    message: str
    out: str

    def why_not(self) -> str:
        """The option or route that burble lacks and the test needs, if there is one."""
        text = self.message + self.out
        if option := re.search(r"as_llama_server: no option like (\S+)", text):
            return f"option {option[1]}"
        for path in re.findall(r'"path": ?"([^"]*)"', text):
            if path not in ROUTES:
                return f"route {re.sub(r'/[0-9]+', '/N', path)}"
        if parameter := re.search(r"(\S+): (?:not supported|not a parameter of)", text):
            return f"parameter {parameter[1].lstrip(QUOTES)}"
        if "lists those that do" in text:
            return "names a model that is not there, which is 404"
        for name, reason in DIFFERENCES.items():
            if name in text:
                return reason
        return ""


def run(tests: Path, file: str, environment: dict[str, str]) -> dict[str, Result]:
    """Run a file's tests."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "llama_plugin",
        ]
        command += [f"--junitxml={report}", "-o", "junit_logging=all", "--timeout=60"]
        command.append(f"unit/{file}")
        subprocess.run(
            command,
            cwd=tests,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if not report.exists():
            return {file: Result(False, False, "pytest did not run", "")}
        root = ElementTree.parse(report).getroot()
        return {test.get("name", ""): _result(test) for test in root.iter("testcase")}


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def _result(test: ElementTree.Element) -> Result:
    out = "".join(
        part.text or "" for part in (*test.findall("system-out"), *test.findall("system-err"))
    )
    skipped = test.find("skipped") is not None
    for problem in (*test.findall("failure"), *test.findall("error")):
        message = " ".join(problem.get("message", "").split())[:160]
        return Result(False, skipped, message, out + (problem.text or ""))
    return Result(not skipped, skipped, "", out)


def main(given: list[str]) -> int:
    """Run them."""
    tests, command, llama_server, model, *files = given
    environment = {
        "BURBLE_COMMAND": str(Path(command).resolve()),
        "BURBLE_TEST_MODEL": str(Path(model).resolve()),
        "LLAMA_SERVER_BIN_PATH": str(HERE / "as_llama_server.py"),
        "PYTHONPATH": str(HERE),
        "PORT": str(free_port()),
    }
    peer = {**environment, "LLAMA_SERVER": str(Path(llama_server).resolve())}
    names = files or sorted(path.name for path in Path(tests).glob("unit/test_*.py"))
    print("| file | passed | failed | not applicable | why |\n| --- | --: | --: | --: | --- |")
    for file in names:
        passed, open_ones = 0, []
        not_applicable: Counter[str] = Counter()
        for name, result in run(Path(tests), file, environment).items():
            if result.passed:
                passed += 1
            elif why := "skipped there, too" if result.skipped else result.why_not():
                not_applicable[why] += 1
            else:
                open_ones.append((name, result.message))
        theirs = run(Path(tests), file, peer) if open_ones and llama_server != "-" else {}
        failed = [
            (name, message)
            for name, message in open_ones
            if name not in theirs or theirs[name].passed
        ]
        if len(failed) < len(open_ones):
            too = "fails with llama-server and this model, too"
            not_applicable[too] = len(open_ones) - len(failed)
        why = "; ".join(f"{reason} ({n})" for reason, n in not_applicable.most_common())
        print(
            f"| {file} | {passed} | {len(failed)} | {not_applicable.total()} | {why} |", flush=True
        )
        for name, message in failed:
            print(f"{file}: {name}: {message}", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
