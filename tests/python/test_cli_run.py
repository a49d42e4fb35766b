# SPDX-License-Identifier: MIT
"""`burble run` where llama.cpp is missing, and the completions. (With llama.cpp: tests/llama.)"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command import burble

pytestmark = [pytest.mark.no_asan, pytest.mark.timeout(60)]

ROOT = Path(__file__).parents[2]
BASH = ROOT / "tools" / "completions" / "burble.bash"
ZSH = ROOT / "tools" / "completions" / "_burble"
FISH = ROOT / "tools" / "completions" / "burble.fish"


def outcome(*args: str) -> tuple[int, str, str]:
    done = burble(*args)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_run_without_llama_cpp_says_how_to_get_it() -> None:
    if "llama.cpp" in outcome("--version")[1]:
        pytest.skip("this burble has llama.cpp")
    code, out, err = outcome("run", "-m", "model.gguf", "-p", "Once")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"burble run: .*llama\.cpp.*-Dllama=enabled\n", err)
    for args in (("run", "--help"), ("help", "run"), ("run", "-h")):
        code, out, err = outcome(*args)
        assert (code, err) == (0, "")
        assert "meson setup -Dllama=enabled" in out
    assert outcome("run", "--version") == outcome("--version")


# ---- completions ---------------------------------------------------------------------------------


def complete(*words: str, directory: Path = ROOT) -> set[str]:
    """What bash offers for the last word."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _burble; '
    done = subprocess.run(
        ["bash", "-uc", script + 'printf "%s\\n" "${COMPREPLY[@]}"', "-", BASH, "burble", *words],
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def options_of(verb: str) -> set[str]:
    """The long options in the sources of a verb's help, which is not there without llama.cpp."""
    source = ROOT / "tools" / {"run": "run_options.c", "tokens": "tokens.c"}[verb]
    help_text = source.read_text().partition('"usage: ')[2].partition(";\n\n")[0]
    # The first of the columns is what there is; the other ones speak of it.
    return set(re.findall(r'^ *"  (?:-\w, )?(--[a-z][a-z-]+)', help_text, re.MULTILINE))


@pytest.mark.parametrize("verb", ["run", "tokens"])
def test_bash_completes_every_option(verb: str) -> None:
    options = options_of(verb) | ({"--greedy"} if verb == "run" else set())
    assert len(options) > 5
    assert complete(verb, "--") == options
    assert complete(verb, "--sto") == {"--stop"}


@pytest.mark.parametrize("verb", ["run", "tokens"])
def test_zsh_knows_every_option(verb: str) -> None:
    text = ZSH.read_text()
    for option in options_of(verb):
        assert option in text, option
    zsh = shutil.which("zsh")
    if zsh is not None:
        subprocess.run([zsh, "-n", ZSH], check=True, timeout=30)


@pytest.mark.parametrize("verb", ["run", "tokens"])
def test_fish_knows_every_option(verb: str) -> None:
    lines = FISH.read_text().splitlines()
    lines = [line for line in lines if " -n " not in line or f"'__burble_verb {verb}'" in line]
    for option in options_of(verb):
        assert any(f"-l {option[2:]} " in line for line in lines), option
    fish = shutil.which("fish")
    if fish is not None:
        done = subprocess.run(
            [
                fish,
                "--no-config",
                "-c",
                f'source {FISH}; complete --do-complete "burble {verb} --"',
            ],
            capture_output=True,
            text=True,
            timeout=30,
        )
        offered = {line.partition("\t")[0] for line in done.stdout.splitlines()}
        assert (options_of(verb) - offered, done.stderr) == (set(), "")


def test_bash_completes_verbs_and_values(tmp_path: Path) -> None:
    for name in ("model.gguf", "model.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    assert complete("") == {"run", "tokens", "help", "--help", "--version"}
    assert complete("r") == {"run"}
    assert complete("help", "") == {"run", "tokens"}
    for words in (("-m", "mo"), ("--model", "mo"), ("--model", "=", "mo")):
        assert complete("run", *words, directory=tmp_path) == {"model.gguf", "more/"}
    assert complete("run", "--model", "=", directory=tmp_path) == {"model.gguf", "more/"}
    assert complete("tokens", "--format", "=", "t") == {"tiktoken", "tekken"}
    assert complete("tokens", "m", directory=tmp_path) == {"model.gguf", "model.txt", "more"}
    assert complete("run", "--seed", "") == set()
    assert complete("nonsense", "") == set()
