# SPDX-License-Identifier: MIT
"""The `burble` command: a filter as a Unix system expects one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command import burble, command, environment, in_binary, in_text, start, succeed
from shipped import ids, tokenizer
from tokenizers import Tokenizer

pytestmark = [pytest.mark.no_asan, pytest.mark.timeout(60)]

ROOT = Path(__file__).parents[2]
VOCAB = str(ROOT / "models" / "shakespeare" / "tokenizer.json")
TEXT = "To be, or not to be: naïve 中文 😀.\n\nROMEO:\nSleep."


# ---- from ids to text ----------------------------------------------------------------------------


@pytest.mark.parametrize("space", [" ", "\n", "\t\r\n\v\f  "])
def test_decimal_ids_are_decoded(space: str) -> None:
    numbers = space.join(map(str, ids(TEXT)))
    for data in (numbers, space + numbers + space, numbers + "\n"):
        assert succeed("tokens", VOCAB, data=data) == TEXT


def test_binary_ids_are_decoded() -> None:
    for option in ("--binary", "-b"):
        assert succeed("tokens", option, VOCAB, data=in_binary(ids(TEXT))) == TEXT
    assert succeed("tokens", VOCAB, "--binary", data=in_binary(ids(TEXT))) == TEXT


def test_large_input_is_decoded_whole() -> None:
    many = ids(TEXT) * 8000
    want = tokenizer().decode(many)
    assert succeed("tokens", VOCAB, data=in_text(many)) == want
    assert succeed("tokens", "-b", VOCAB, data=in_binary(many)) == want


def test_empty_input_gives_no_text() -> None:
    for data in ("", " \n "):
        assert succeed("tokens", VOCAB, data=data) == ""
    assert succeed("tokens", "-b", VOCAB) == ""


def test_incomplete_character_at_end_becomes_replacement() -> None:
    half = tokenizer().encode("中").ids[:1]
    assert succeed("tokens", VOCAB, data=in_text(half)) == "\N{REPLACEMENT CHARACTER}"


def test_id_beyond_vocabulary_gives_no_text() -> None:
    numbers = [2147483647, *ids(TEXT), 999999]
    assert succeed("tokens", VOCAB, data=in_text(numbers)) == TEXT


def test_skip_special_leaves_out_special_tokens() -> None:
    added = tokenizer().get_added_tokens_decoder()
    special = [i for i, token in added.items() if token.special]
    if not special:
        pytest.skip("the tokenizer has no special tokens")
    data = in_text([special[0], *ids(TEXT), special[0]])
    mark = added[special[0]].content
    assert succeed("tokens", VOCAB, data=data) == mark + TEXT + mark
    for option in ("--skip-special", "-k"):
        assert succeed("tokens", option, VOCAB, data=data) == TEXT


def test_clean_up_removes_spaces() -> None:
    transformers = pytest.importorskip("transformers")
    text = "It 's true , is n't it ? Yes ! We 've seen ' it ' ."
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer())
    numbers = tokenizer().encode(text).ids
    want = fast.clean_up_tokenization(fast.decode(numbers, clean_up_tokenization_spaces=False))
    assert want != text
    for option in ("--clean-up", "-c"):
        assert succeed("tokens", option, VOCAB, data=in_text(numbers)) == want
    assert succeed("tokens", VOCAB, data=in_text(numbers)) == text


def test_format_option_selects_loader() -> None:
    for args in (("--format", "hf"), ("--format=auto",), ("-fhf",)):
        assert succeed("tokens", *args, VOCAB, data=in_text(ids(TEXT))) == TEXT


def test_format_option_that_does_not_match_file_is_error() -> None:
    for name in ("gguf", "tiktoken", "sentencepiece", "tekken"):
        result = burble("tokens", f"--format={name}", VOCAB, data=in_text(ids(TEXT)))
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.startswith(f"burble tokens: {VOCAB}: ".encode())


# ---- streaming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
def test_text_is_written_before_input_ends(binary: bool) -> None:
    with start("tokens", *(["-b"] if binary else []), VOCAB) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for n in range(1, len(ids(TEXT)) + 1):
            number = ids(TEXT)[n - 1 : n]
            process.stdin.write(in_binary(number) if binary else in_text(number) + b"\n")
            want = tokenizer().decode(ids(TEXT)[:n]).encode()
            before = tokenizer().decode(ids(TEXT)[: n - 1]).encode()
            if not want.endswith("\N{REPLACEMENT CHARACTER}".encode()):
                before = before.removesuffix("\N{REPLACEMENT CHARACTER}".encode())
                assert os.read(process.stdout.fileno(), 100) == want.removeprefix(before)
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0


def test_ids_read_one_byte_at_a_time_are_decoded() -> None:
    for option, data in (([], in_text(ids(TEXT)[:12])), (["-b"], in_binary(ids(TEXT)[:12]))):
        with start("tokens", *option, VOCAB) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for byte in data:
                process.stdin.write(bytes([byte]))
            process.stdin.close()
            assert process.stdout.read().decode() == tokenizer().decode(ids(TEXT)[:12])


def test_signals_and_non_blocking_input_lose_nothing() -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(read_end, fcntl.F_SETFL, os.O_NONBLOCK)
    process = subprocess.Popen(
        [command(), "tokens", VOCAB], stdin=read_end, stdout=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    os.close(read_end)
    try:
        for number in ids(TEXT)[:5]:
            os.write(write_end, b"%d " % number)
            for _ in range(3):
                process.send_signal(signal.SIGSTOP)
                process.send_signal(signal.SIGCONT)
    finally:
        os.close(write_end)
    assert process.stdout.read().decode() == tokenizer().decode(ids(TEXT)[:5])
    process.stdout.close()
    assert process.wait() == 0


# ---- stop strings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--stop", "\n\n"], TEXT.split("\n\n")[0]),
        (["--stop", "\n\n", "--include-stop"], TEXT.split("\n\n")[0] + "\n\n"),
        (["-s", "ROMEO:", "-s", "文 😀"], TEXT.split("文")[0]),
        (["-s", "not to", "-s", " to", "-i"], "To be, or not to"),
        (["--stop=nothing of it"], TEXT),
        (["--stop=Sleep. And"], TEXT),
        (["--include-stop"], TEXT),
    ],
)
def test_stop_string_ends_text(options: list[str], text: str) -> None:
    for data, binary in ((in_text(ids(TEXT)), []), (in_binary(ids(TEXT)), ["-b"])):
        assert succeed("tokens", *options, *binary, VOCAB, data=data) == text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["-k"], "To be"),
        (["-k", "-i"], "To be<|endoftext|>"),
        ([], "To be"),
        (["-i"], "To be<|endoftext|>"),
        (["-k", "--stop", "be"], "To "),
    ],
)
@pytest.mark.parametrize("binary", [[], ["-b"]])
def test_stop_string_of_special_token_ends_text_at_that_token(
    options: list[str], text: str, binary: list[str]
) -> None:
    end = tokenizer().token_to_id("<|endoftext|>")
    tokens = [*tokenizer().encode("To be").ids, end, *tokenizer().encode(", or").ids, end]
    data = in_binary(tokens) if binary else in_text(tokens)
    found = succeed("tokens", *binary, "--stop", "<|endoftext|>", *options, VOCAB, data=data)
    assert found == text


def test_input_after_stop_string_is_not_read() -> None:
    with start("tokens", "--stop", "not", VOCAB) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(in_text(ids(TEXT)) + b"\nnonsense")
        assert process.stdout.read() == b"To be, or "
        assert process.wait() == 0  # although its input is still open


def test_stop_string_before_bad_id_exits_with_success() -> None:
    assert (
        succeed("tokens", "--stop", "not", VOCAB, data=in_text(ids(TEXT)) + b" x") == "To be, or "
    )


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"398 12 x3 4", 'found "x3" in line 1, column 8'),
        (b"398\n12\n  -1\n", 'found "-1" in line 3, column 3'),
        (b"398 12 2147483648", 'found "2147483648" in line 1, column 8'),
        (b"398 12 +4", 'found "+4" in line 1, column 8'),
        (b"398 12 4,", 'found "4," in line 1, column 8'),
        (b"398\t12\t" + b"9" * 100, 'found "' + "9" * 32 + '"... in line 1, column 8'),
        (b'398 12 "\xff\x00" ', r'found "\x22\xFF\x00\x22" in line 1, column 8 (binary'),
    ],
)
def test_invalid_id_is_error_with_position(data: bytes, where: str) -> None:
    result = burble("tokens", VOCAB, data=data)
    assert result.returncode == 1
    assert result.stdout.decode() == tokenizer().decode([398, 12])  # all that came before
    message = result.stderr.decode()
    start = "burble tokens: standard input: expected a token id (0 to 2147483647), " + where
    assert message.startswith(start)
    assert message.count("\n") == 1


def test_text_before_error_is_written_with_held_back_rest() -> None:
    half = Tokenizer.from_file(VOCAB).encode("中").ids[:1]
    data = in_text(ids(TEXT) + half) + b" oops"
    result = burble("tokens", "--stop", TEXT[-3:] + "x", "--stop", "\ufffdx", VOCAB, data=data)
    assert (result.returncode, result.stdout.decode()) == (1, TEXT + "\ufffd")
    assert b'found "oops"' in result.stderr


def test_binary_id_out_of_range_is_error_with_position() -> None:
    result = burble("tokens", "-b", VOCAB, data=in_binary([398, 12, -5, 4]))
    assert (result.returncode, result.stdout.decode()) == (1, tokenizer().decode([398, 12]))
    assert b"standard input: expected a token id" in result.stderr
    assert result.stderr.endswith(b", found 4294967291 (-5, if it is signed) at byte 8\n")
    result = burble("tokens", "-b", VOCAB, data=b"\x00\x00\x00\x80")
    assert result.stderr.endswith(b", found 2147483648 (-2147483648, if it is signed) at byte 0\n")


def test_truncated_binary_input_is_error() -> None:
    for cut in (1, 2, 3):
        result = burble("tokens", "-b", VOCAB, data=in_binary([398, 12])[:-cut])
        assert (result.returncode, result.stdout.decode()) == (1, tokenizer().decode([398]))
        found = f"found the end after {4 - cut} of them at byte 4\n".encode()
        assert result.stderr.endswith(found)


def test_unreadable_vocabulary_is_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    result = burble("tokens", str(missing))
    assert result.returncode == 1
    want = f"burble tokens: {missing}: No such file or directory\n".encode()
    assert result.stderr == want
    for name, content in (("empty", b""), ("half.json", Path(VOCAB).read_bytes()[:1000])):
        path = tmp_path / name
        path.write_bytes(content)
        result = burble("tokens", str(path), data=in_text(ids(TEXT)))
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.startswith(f"burble tokens: {path}: ".encode())
    result = burble("tokens", "--format", "gguf", VOCAB)
    assert result.returncode == 1
    assert result.stderr.startswith(f"burble tokens: {VOCAB}: ".encode())


def test_unreadable_input_is_error(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        result = burble("tokens", VOCAB, stdin=folder)
    finally:
        os.close(folder)
    assert result.returncode == 1
    assert result.stderr == b"burble tokens: standard input: Is a directory\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "args", [("tokens", VOCAB), ("tokens", "--help"), ("--help",), ("--version",)]
)
def test_full_disk_is_error(args: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        result = burble(*args, data=in_text(ids(TEXT)), stdout=full)
    assert result.returncode == 1
    assert re.fullmatch(
        rb"burble( tokens)?: standard output: No space left on device\n", result.stderr
    )


def test_closed_output_is_reported_once() -> None:
    result = burble("tokens", VOCAB, data=in_text(ids(TEXT)), preexec_fn=lambda: os.close(1))
    assert result.returncode == 1
    assert result.stderr == b"burble tokens: standard output: Bad file descriptor\n"


@pytest.mark.parametrize("ignored", [False, True])
def test_broken_pipe_ends_command_quietly(ignored: bool) -> None:
    # subprocess gives its children the default action for SIGPIPE unless it is told not to.
    handler = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        process = start("tokens", VOCAB, restore_signals=not ignored)
    finally:
        signal.signal(signal.SIGPIPE, handler)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(in_text(ids(TEXT)))
            process.stdin.close()
        assert process.wait() == (1 if ignored else -signal.SIGPIPE)
        assert process.stderr.read() == b""


# ---- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "burble: expected a verb, found nothing"),
        (["nonsense"], "burble: unknown verb 'nonsense'"),
        (["help", "nonsense"], "burble: unknown verb 'nonsense'"),
        (["--nonsense"], "burble: expected a verb, found the option '--nonsense'"),
        (["tokens"], "burble tokens: expected a VOCAB, found nothing"),
        (["tokens", "a", "b"], "burble tokens: expected one VOCAB, found 'a' and 'b'"),
        (["tokens", "--nonsense", "a"], "burble tokens: "),
        (["tokens", "a", "--stop"], "burble tokens: "),
        (["tokens", "--stop", "", "a"], "burble tokens: --stop: stop string 1 of 1: expected some"),
        (["tokens", "--format=x", "a"], "burble tokens: --format: expected auto, hf, gguf, "),
    ],
)
def test_wrong_command_line_is_error(args: list[str], message: str) -> None:
    result = burble(*args)
    assert (result.returncode, result.stdout) == (2, b"")
    first, second = result.stderr.decode().splitlines()
    assert first.startswith(message)
    verb = " tokens" if message.startswith("burble tokens") else ""
    assert second == f"Try 'burble{verb} --help'."


def test_stop_string_that_is_not_utf8_is_refused() -> None:
    result = subprocess.run(
        [command().encode(), b"tokens", b"--stop", b"\xe4\xb8", VOCAB.encode()],
        capture_output=True,
        env=environment(),
        timeout=30,
        input=b"",
    )
    assert result.returncode == 2
    assert b"--stop: stop string 1 of 1: expected UTF-8" in result.stderr


def test_vocabulary_named_with_leading_dash_is_read(tmp_path: Path) -> None:
    (tmp_path / "-v").write_bytes(Path(VOCAB).read_bytes())
    assert succeed("tokens", "--", "-v", data=in_text(ids(TEXT)), cwd=tmp_path) == TEXT


def test_help_names_every_option() -> None:
    text = succeed("tokens", "--help")
    for option in ("binary", "format", "skip-special", "clean-up", "stop", "include-stop", "help"):
        assert f"--{option}" in text
    assert max(map(len, text.splitlines())) <= 80
    assert succeed("help", "tokens") == succeed("tokens", "-h") == text
    assert "tokens VOCAB" in succeed("--help")
    assert succeed("help") == succeed("-h") == succeed("--help")


def test_version_equals_that_of_library() -> None:
    header = (ROOT / "include" / "burble" / "version.h").read_text()
    version = ".".join(re.findall(r"#define BURBLE_VERSION_[A-Z]+ (\d+)\n", header))
    for args in (("--version",), ("-V",), ("tokens", "--version"), ("tokens", "-V")):
        assert succeed(*args) == f"burble {version}\n"


def test_manual_page_names_every_option() -> None:
    page = (ROOT / "tools" / "burble.1").read_text().replace("\\-", "-")
    for option in re.findall(r"--[a-z][a-z-]*", succeed("tokens", "--help")):
        assert option in page


# ---- a person at a terminal ----------------------------------------------------------------------


def at_a_terminal(
    *args: str, typed: bytes | None = None, until: bytes = b"", **kwargs: Any
) -> tuple[int, bytes]:
    """The exit code, and what a person sees, with all three descriptors on one terminal, but for
    those in ``kwargs``; ``typed`` once ``until`` is seen."""
    ours, theirs = pty.openpty()
    for name in ("stdin", "stdout", "stderr"):
        kwargs.setdefault(name, theirs)
    process = subprocess.Popen([command(), *args], env=environment(), **kwargs)
    os.close(theirs)
    seen = b""
    with process:
        while select.select([ours], [], [], 20)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if typed is not None and until in seen.replace(b"\r\n", b"\n"):
                os.write(ours, typed)
                typed = None
        process.kill()  # where it says nothing and waits
    os.close(ours)
    return process.returncode, seen.replace(b"\r\n", b"\n")


def piped(data: bytes) -> int:
    """The end of a pipe that these can be read from."""
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read


READING = (
    b"burble tokens: reading token ids from the terminal; "
    b"to end them, press Ctrl-D on an empty line\n"
)


def test_ids_on_terminal_are_prompted_for() -> None:
    ids_of_romeo = " ".join(map(str, tokenizer().encode("ROMEO:").ids)).encode()
    code, seen = at_a_terminal("tokens", VOCAB, typed=ids_of_romeo + b"\n\x04", until=READING)
    assert code == 0
    assert seen == READING + ids_of_romeo + b"\nROMEO:\n"


def test_ids_on_pipe_are_not_prompted_for() -> None:
    assert burble("tokens", VOCAB, data="26").stderr == b""


@pytest.mark.parametrize("stop", [(), ("--stop", ":"), ("--stop", ":", "--include-stop")])
def test_text_on_terminal_ends_with_newline(stop: tuple[str, ...]) -> None:
    for text in ("ROMEO: Sleep", "ROMEO", "ROMEO\n"):
        data = " ".join(map(str, tokenizer().encode(text).ids)).encode()
        code, seen = at_a_terminal("tokens", VOCAB, *stop, stdin=piped(data))
        alone = burble("tokens", VOCAB, *stop, data=data).stdout
        assert code == 0
        assert seen == alone + (b"" if alone.endswith(b"\n") else b"\n")


def test_empty_text_on_terminal_adds_no_newline() -> None:
    assert at_a_terminal("tokens", VOCAB, stdin=piped(b"")) == (0, b"")


def test_error_on_terminal_begins_new_line() -> None:
    data = " ".join(map(str, tokenizer().encode("ROMEO").ids)).encode() + b" x"
    code, seen = at_a_terminal("tokens", VOCAB, stdin=piped(data))
    assert code == 1
    assert seen.startswith(b"ROMEO\nburble tokens: standard input: ")
