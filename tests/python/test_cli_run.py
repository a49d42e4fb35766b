# SPDX-License-Identifier: MIT
"""`burble run` and `burble serve` where llama.cpp is missing, and the completions. (With llama.cpp:
tests/llama, tests/serve.)"""

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


def test_serve_without_its_libraries_says_how_to_get_them() -> None:
    if "llama.cpp" in outcome("--version")[1]:
        pytest.skip("this burble has llama.cpp")
    code, out, err = outcome("serve", "-m", "model.gguf")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"burble serve: .*llama\.cpp.*-Dllama=enabled -Dserve=enabled\n", err)
    for args in (("serve", "--help"), ("help", "serve"), ("serve", "-h")):
        code, out, err = outcome(*args)
        assert (code, err) == (0, "")
        assert "meson setup -Dllama=enabled -Dserve=enabled" in out
    assert outcome("serve", "--version") == outcome("--version")


@pytest.mark.parametrize(
    ("verb", "args"), [("work", ("--redis", "redis://h", "-m", "m")), ("relay", ("status", "r"))]
)
def test_relay_without_its_libraries_says_how_to_get_them(verb: str, args: tuple[str, ...]) -> None:
    if "meson setup" not in outcome(verb, "--help")[1]:
        pytest.skip("this burble has hiredis")
    code, out, err = outcome(verb, *args)
    assert (code, out) == (1, "")
    assert re.fullmatch(rf"burble {verb}: .*hiredis.*-Drelay=enabled\n", err)
    for words in ((verb, "--help"), ("help", verb), (verb, "-h")):
        code, out, err = outcome(*words)
        assert (code, err) == (0, "")
        assert "-Drelay=enabled build" in out
    assert outcome(verb, "--version") == outcome("--version")


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


def help_in_sources(verb: str) -> str:
    """A verb's help as its source has it: the command lacks it without llama.cpp."""
    sources = {"relay": "relay.c", "run": "run_options.c", "tokens": "tokens.c"}
    if verb in sources:
        source = (ROOT / "tools" / sources[verb]).read_text()
        return source.partition('"usage: ')[2].partition(";\n\n")[0]
    # In parts, some of which both verbs have.
    source = (ROOT / "tools" / "serve_help.c").read_text()
    parts = dict(re.findall(r"^static const char (\w+)\[\] = //\n(.*?);\n", source, re.S | re.M))
    (names,) = re.findall(rf"const {verb}\[\] = {{(.*?)}};", source, re.S)
    return "\n".join(parts[name.strip()] for name in names.split(","))


def options_of(verb: str) -> set[str]:
    """The long options in a verb's help."""
    # The first of the columns is what there is; the other ones speak of it.
    return set(re.findall(r'^ *"  (?:-\w, )?(--[a-z][a-z-]+)', help_in_sources(verb), re.MULTILINE))


VERBS = ["relay", "run", "serve", "tokens", "work"]


@pytest.mark.parametrize("verb", VERBS)
def test_manual_page_names_every_option_of_verb(verb: str) -> None:
    page = (ROOT / "tools" / "burble.1").read_text().replace("\\-", "-")
    for option in options_of(verb):
        assert option in page, option


@pytest.mark.parametrize("verb", VERBS)
def test_bash_completes_every_option(verb: str) -> None:
    options = options_of(verb) | ({"--greedy"} if verb == "run" else set())
    assert len(options) > (5 if verb != "relay" else 3)
    assert complete(verb, "--") == options
    assert complete(verb, "--vers") == {"--version"}


@pytest.mark.parametrize("verb", VERBS)
def test_zsh_knows_every_option(verb: str) -> None:
    text = ZSH.read_text()
    for option in options_of(verb):
        assert option in text, option
    zsh = shutil.which("zsh")
    if zsh is not None:
        subprocess.run([zsh, "-n", ZSH], check=True, timeout=30)


@pytest.mark.parametrize("verb", VERBS)
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
    assert complete("") == {*VERBS, "help", "--help", "--version"}
    assert complete("ru") == {"run"}
    assert complete("help", "") == set(VERBS)
    assert complete("relay", "s") == {"status"}
    for words in (("-m", "mo"), ("--model", "mo"), ("--model", "=", "mo")):
        assert complete("run", *words, directory=tmp_path) == {"model.gguf", "more/"}
        assert complete("serve", *words, directory=tmp_path) == {"model.gguf", "more/"}
    assert complete("run", "--model", "=", directory=tmp_path) == {"model.gguf", "more/"}
    assert complete("tokens", "--format", "=", "t") == {"tiktoken", "tekken"}
    assert complete("tokens", "m", directory=tmp_path) == {"model.gguf", "model.txt", "more"}
    assert complete("serve", "--log-format", "=", "j") == {"json"}
    assert complete("serve", "--grace", "") == set()
    assert complete("work", "--redis", "") == set()
    assert complete("run", "--seed", "") == set()
    assert complete("nonsense", "") == set()
