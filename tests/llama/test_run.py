# SPDX-License-Identifier: MIT
"""`burble run` with the shipped model: texts, forms of output, and all the ways to end."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(120)

# A shell without job control ignores Ctrl-C for what it starts in the background, commands as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models" / "shakespeare.gguf")
RUN = ("run", "-m", MODEL, "--threads", "1")

# More text than is generated before a test has done what it does, and than a pipe takes.
LONG = "\n".join(["ROMEO:"] * 4000)


@functools.cache
def command() -> str:
    """The command, built with llama.cpp: what BURBLE_COMMAND names, or any in build."""
    given = os.environ.get("BURBLE_COMMAND")
    paths = [Path(given)] if given else sorted(ROOT.glob("build/*/tools/burble"))
    for path in paths:
        done = subprocess.run([path, "--version"], stdout=subprocess.PIPE, env=environment())
        if b"llama.cpp" in done.stdout:
            return str(path)
    pytest.skip("no burble command with llama.cpp: build one with -Dllama=enabled")


def environment(**more: str) -> dict[str, str]:
    """Without a sanitizer that is meant for Python."""
    kept = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return {**kept, **more}


def burble(*args: str, data: bytes = b"", **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
    if "stdin" not in kwargs:
        kwargs["input"] = data
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("env", environment())
    return subprocess.run([command(), *args], stderr=subprocess.PIPE, timeout=100, **kwargs)


def succeed(*args: str, data: bytes = b"", **kwargs: Any) -> str:
    result = burble(*RUN, *args, data=data, **kwargs)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode()


def fail(*args: str, data: bytes = b"", code: int = 1) -> str:
    result = burble(*args, data=data)
    assert (result.returncode, result.stdout) == (code, b"")
    return result.stderr.decode()


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@functools.cache
def romeo(tokens: int) -> str:
    """The model's own greedy continuation, by transformers, in the weights' own precision."""
    transformers = pytest.importorskip("transformers")
    directory = ROOT / "models" / "shakespeare"
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    ids = tokenizer("ROMEO:", return_tensors="pt")
    made = model.generate(**ids, max_new_tokens=tokens, do_sample=False)
    text: str = tokenizer.decode(made[0, ids["input_ids"].shape[1] :])
    return text


# ---- text ----------------------------------------------------------------------------------------


def test_text_equals_that_of_model() -> None:
    want = romeo(40)
    assert len(want) > 50
    assert succeed("-p", "ROMEO:", "-n", "40") == want
    assert succeed("--prompt=ROMEO:", "--max-tokens=40", "--greedy") == want
    assert succeed("-p", "ROMEO:", "-n", "40", "--temperature", "0") == want


@pytest.mark.parametrize("args", [(), ("-p", "-")])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_prompt_is_read_from_standard_input(args: tuple[str, ...], end: bytes) -> None:
    text = succeed("-p", "ROMEO:", "-n", "8")
    assert succeed(*args, "-n", "8", data=b"ROMEO:" + end) == text


def test_prompt_loses_one_final_newline() -> None:
    prompt = "ROMEO:\n"
    assert succeed("-n", "8", data=b"ROMEO:\n\n") == succeed("-p", prompt, "-n", "8")


def test_stop_string_ends_text_before_it() -> None:
    text = succeed("-p", "ROMEO:", "-n", "40")
    middle = len(text) // 2
    stop = text[middle : middle + 4]
    want = text[: text.index(stop)]
    assert succeed("-p", "ROMEO:", "-n", "40", "--stop", stop) == want
    assert succeed("-p", "ROMEO:", "-n", "40", "-s", "@nowhere@", "-s", stop) == want
    end = records(succeed("-p", "ROMEO:", "-n", "40", "--json", "--stop", stop))[-1]
    assert end["reason"] == "stop"


def test_sampling_with_seed_is_repeatable() -> None:
    args = ("-p", "ROMEO:", "-n", "40", "--temperature", "1.2", "--top-k", "50", "--top-p", "0.95")
    texts = {seed: succeed(*args, "--min-p=0.01", f"--seed={seed}") for seed in (1, 2, 3)}
    assert len(set(texts.values())) > 1
    assert succeed(*args, "--min-p=0.01", "--seed=1") == texts[1]


def test_penalties_change_greedy_text() -> None:
    args = ("-p", "ROMEO:", "-n", "40")
    plain = succeed(*args)
    for option in (
        "--repeat-penalty=1.5",
        "--presence-penalty=3",
        "--frequency-penalty=2",
        "--dry-multiplier=5",
    ):
        assert succeed(*args, option) != plain
        assert succeed(*args, option) == succeed(*args, option)
    assert succeed(*args, "--repeat-penalty=1", "--presence-penalty=-0") == plain
    assert succeed(*args, "--repeat-penalty=1.5", "--repeat-last-n=0") == plain
    dry = ("--dry-base=1", "--dry-allowed-length=1000", "--dry-last-n=9")
    assert succeed(*args, "--dry-multiplier=5", *dry) == plain


def test_typical_and_mirostat_change_sampled_text() -> None:
    args = ("-p", "ROMEO:", "-n", "40", "--seed=3", "--temperature=1.5")
    plain = succeed(*args)
    mirostat = succeed(*args, "--mirostat=2", "--mirostat-tau=2", "--mirostat-eta=0.2")
    assert len({plain, mirostat, succeed(*args, "--typical-p=0.2")}) == 3
    said = "--mirostat needs a --temperature above 0"
    assert said in fail(*RUN, "--mirostat=1", "--temperature=0", code=2)
    said = "--dry-base: expected a number from 1 to 100, found 0.5"
    assert said in fail(*RUN, "--dry-base=0.5", code=2)


def test_grammar_file_bounds_text(tmp_path: Path) -> None:
    grammar = tmp_path / "answer.gbnf"
    grammar.write_text('root ::= ("yes" | "no") "."')
    assert succeed("-p", "ROMEO:", "--grammar-file", str(grammar)) in ("yes.", "no.")
    assert succeed("-p", "ROMEO:", "-n", "5", "--json-object").startswith("{")


def test_sampling_with_one_option_is_enough() -> None:
    args = ("-p", "ROMEO:", "-n", "40")
    texts = {succeed(*args, f"--seed={seed}") for seed in range(4)}
    assert len(texts) > 1
    assert succeed(*args, "--seed=1") == succeed(*args, "--seed=1", "--temperature=1")
    assert succeed(*args, "--top-k=1") == succeed(*args)


def test_chat_becomes_prompt_of_template() -> None:
    prompt = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
    prompt += "<|im_start|>assistant\n"
    text = succeed("-p", prompt, "-n", "20")
    assert text
    chat = ("-p", "Who?", "-n", "20", "--system", "Be brief.", "--template", "chatml")
    assert succeed(*chat) == text
    assert fail(*RUN, "-p", "Who?", "--chat") == "burble run: the model has no chat template\n"


def test_context_has_length_asked_for() -> None:
    end = records(succeed("-p", "ROMEO:", "--context", "20", "--json"))[-1]
    assert end["reason"] == "length"
    assert end["prompt_tokens"] + end["tokens"] in (20, 21)
    assert "context: expected" in fail(*RUN, "-p", "a", "--context", "100000")


def test_options_of_size_leave_text_equal() -> None:
    text = succeed("-p", "ROMEO:", "-n", "20")
    for options in (
        ("--flash", "off", "--batch", "2"),
        ("--flash", "on", "--cache-k", "f32", "--cache-v", "f32", "--unified"),
        ("--prompt-threads", "2"),
    ):
        assert succeed("-p", "ROMEO:", "-n", "20", *options) == text


def test_option_of_size_out_of_range_is_refused() -> None:
    prompt = (*RUN, "-p", "a")
    assert "--flash: expected auto, on or off, found 'never'" in fail(
        *prompt, "--flash", "never", code=2
    )
    assert "--cache-v: expected a type that --help names, found 'f8'" in fail(
        *prompt, "--cache-v", "f8", code=2
    )
    assert "cache_k: expected f16, f32 or bf16" in fail(*prompt, "--cache-k", "q8_0")


# ---- JSON and figures ----------------------------------------------------------------------------


def test_json_has_pieces_of_text_and_end() -> None:
    *pieces, end = records(succeed("-p", "ROMEO:", "-n", "40", "--json"))
    assert "".join(piece["text"] for piece in pieces) == succeed("-p", "ROMEO:", "-n", "40")
    assert len(pieces) > 20
    assert sum(piece["tokens"] for piece in pieces) == end["tokens"] == 40
    assert end["reason"] == "length"
    assert end["prompt_tokens"] > 1
    assert 0 < end["first_text_s"] <= end["seconds"]
    assert end["tokens_per_s"] > 0
    assert all(set(piece) == {"text", "tokens"} for piece in pieces)


def test_logprobs_line_up_with_text() -> None:
    arguments = ("-p", "ROMEO:", "-n", "40")
    *pieces, end = records(succeed(*arguments, "--json", "--logprobs=3"))
    assert "".join(piece["text"] for piece in pieces) == succeed(*arguments)
    assert sum(piece["tokens"] for piece in pieces) == end["tokens"] == 40
    tokens = [token for piece in pieces for token in piece["logprobs"]]
    assert len(tokens) == 40
    said = b"".join(bytes(token["bytes"]) for token in tokens)
    assert said.decode() == succeed(*arguments)
    for token in tokens:
        tops = token["top_logprobs"]
        assert len(tops) == 3
        # The most likely token is always chosen.
        assert [tops[0][name] for name in ("id", "token", "logprob")] == [
            token[name] for name in ("id", "token", "logprob")
        ]
        assert 0 >= tops[0]["logprob"] >= tops[1]["logprob"] >= tops[2]["logprob"]
        assert token["token"] == bytes(token["bytes"]).decode(errors="replace")


def test_logprobs_of_stop_string_and_end_of_text_are_left_out() -> None:
    arguments = ("-p", "ROMEO:", "-n", "40")
    text = succeed(*arguments)
    stop = text[len(text) // 2 :][:4]
    cut = text[: text.index(stop)]
    *pieces, end = records(succeed(*arguments, "-s", stop, "--json", "--logprobs=0"))
    plain = records(succeed(*arguments, "-s", stop, "--json"))[-1]
    assert "".join(piece["text"] for piece in pieces) == cut
    assert (end["reason"], end["tokens"]) == ("stop", plain["tokens"])
    tokens = [token for piece in pieces for token in piece["logprobs"]]
    said = b"".join(bytes(token["bytes"]) for token in tokens).decode()
    assert cut.startswith(said) or said.startswith(cut)
    assert all(token["top_logprobs"] == [] for token in tokens)


def test_logprobs_of_prompts_have_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text("\n".join(["ROMEO:", "JULIET:", "The king"]))
    found = records(succeed("--prompts", str(path), "-n", "10", "--json", "--logprobs=1"))
    for number in (1, 2, 3):
        pieces = [record for record in found if record["prompt"] == number]
        assert sum(len(piece.get("logprobs", [])) for piece in pieces) == 10


def test_logprobs_without_json_are_refused() -> None:
    for arguments, message in (
        (("--logprobs=3",), b"--logprobs needs --json"),
        (("--json", "--logprobs=21"), b"--logprobs: expected a number from 0 to 20, found '21'"),
    ):
        result = burble(*RUN, "-p", "a", *arguments)
        assert result.returncode == 2
        assert message in result.stderr


def test_rate_counts_generated_tokens_and_is_null_for_one(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text("\n".join(["ROMEO:", "JULIET:", "The king"] * 5))
    for n in (1, 2, 3):
        output = succeed("--prompts", str(path), "-n", str(n), "--parallel", "4", "--json")
        ends = [record for record in records(output) if "reason" in record]
        assert len(ends) == 15
        for end in ends:
            assert end["tokens"] == n
            if n == 1:
                assert end["tokens_per_s"] is None
            else:  # not before the beginning, that is
                assert end["tokens_per_s"] > (n - 1) / end["seconds"]
        # Between two tokens there is a step of the engine, which takes a tenth of a millisecond.
        rates = sorted(end["tokens_per_s"] for end in ends if n > 1)
        assert all(rate < 100_000 for rate in rates)


def test_figures_of_several_prompts_cover_all_the_time(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text("ROMEO:\nJULIET:\n")
    result = burble(*RUN, "--prompts", str(path), "-n", "1", "--stats", "--quiet")
    figures = rb"prompts: 2, prompt tokens: \d+, tokens: 2, first text after ([\d.]+) s, "
    found = re.fullmatch(figures + rb"([\d.]+) tokens/s in all\n", result.stderr)
    assert found is not None
    assert 0 < float(found[2]) <= 2.1 / float(found[1])


def test_json_message_cut_anywhere_is_utf_8() -> None:
    for template in ("é" * 100, "a" + "é" * 100):
        result = burble(*RUN, "-p", "a", "--json", "--template", template)
        assert result.returncode == 1
        assert "chat template" in records(result.stdout.decode())[-1]["error"]


def test_figures_go_to_standard_error() -> None:
    result = burble(*RUN, "-p", "ROMEO:", "-n", "40", "--stats", "--quiet")
    assert result.returncode == 0
    counts = rb"prompt tokens: \d+, tokens: 40 \(length\), "
    assert re.fullmatch(
        counts + rb"first text after [\d.]+ s, then [\d.]+ tokens/s\n", result.stderr
    )
    assert result.stdout.decode() == succeed("-p", "ROMEO:", "-n", "40")


# ---- many prompts --------------------------------------------------------------------------------

PROMPTS = ["ROMEO:", "JULIET:", "Naïve 中文 😀", "The king", "Enter"]


def texts_by_prompt(output: str) -> dict[int, str]:
    texts: dict[int, str] = {}
    for record in records(output):
        texts[record["prompt"]] = texts.get(record["prompt"], "") + record.get("text", "")
    return texts


@pytest.mark.parametrize("parallel", ["1", "3", "8"])
def test_many_prompts_each_have_their_text(tmp_path: Path, parallel: str) -> None:
    """Apart from each other; which text that is does not depend on how many are computed at once,
    as long as no two tokens are as good as equal: these are short."""
    path = tmp_path / "prompts"
    path.write_bytes("\r\n\n".join(PROMPTS).encode() + b"\n \t\n")
    alone = [succeed("-p", prompt, "-n", "10") for prompt in PROMPTS]
    args = ("--prompts", str(path), "--parallel", parallel, "-n", "10")
    assert texts_by_prompt(succeed(*args, "--json")) == dict(enumerate(alone, 1))

    headed = [
        f"==> {i}: {prompt} <==\n{text}" + ("" if text.endswith("\n") else "\n")
        for i, (prompt, text) in enumerate(zip(PROMPTS, alone), 1)
    ]
    assert succeed(*args) == "\n".join(headed)
    assert succeed("--prompts", "-", *args[2:], data=path.read_bytes()) == "\n".join(headed)


def test_pieces_of_many_prompts_come_as_they_are_made() -> None:
    lines = records(succeed("--prompts=-", "-n", "40", "--json", data=b"ROMEO:\nJULIET:"))
    owners = [line["prompt"] for line in lines]
    assert owners != sorted(owners)
    assert sum("reason" in line for line in lines) == 2


def test_prompt_that_fails_does_not_disturb_others() -> None:
    data = b"ROMEO:\n\n" + b"too long " * 2000 + b"\nJULIET:\n"
    result = burble(*RUN, "--prompts=-", "-n", "10", "--json", data=data)
    assert result.returncode == 1
    assert re.fullmatch(rb"burble run: prompt 2, line 3: .*\n", result.stderr)
    lines = records(result.stdout.decode())
    ends = {line["prompt"]: line for line in lines if "reason" in line}
    assert {i: end["reason"] for i, end in ends.items()} == {1: "length", 2: "error", 3: "length"}
    assert "expected" in ends[2]["error"]
    text = burble(*RUN, "--prompts=-", "-n", "10", data=data)
    assert text.returncode == 1
    assert re.findall(rb"^==> (\d):", text.stdout, re.MULTILINE) == [b"1", b"2", b"3"]


# ---- what is wrong -------------------------------------------------------------------------------


def test_invalid_model_is_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.gguf")
    assert fail("run", "-m", missing, "-p", "a") == (
        f"burble run: {missing}: No such file or directory\n"
    )
    half = tmp_path / "half.gguf"
    for content in (b"", b"GGUF", Path(MODEL).read_bytes()[:100_000], b"no model at all"):
        half.write_bytes(content)
        said = fail("run", "-m", str(half), "-p", "a")
        assert said.startswith(f"burble run: {half}: ")
        assert said.count("\n") == 1


def test_missing_prompt_is_error() -> None:
    for args, data in ((("-p", ""), b""), ((), b""), ((), b"\n")):
        assert "found an empty one" in fail(*RUN, *args, data=data)
    assert "expected a prompt, found only blank lines" in fail(*RUN, "--prompts=-", data=b"\n \n")
    assert fail(*RUN, "--prompts=/nowhere") == ("burble run: /nowhere: No such file or directory\n")


def test_prompt_that_is_too_long_is_error() -> None:
    assert "context" in fail(*RUN, "-p", "word " * 5000)


def test_prompt_that_is_not_utf_8_is_error() -> None:
    assert fail(*RUN, data=b"caf\xe9 au lait") == (
        "burble run: standard input: expected UTF-8, found the byte 0xe9 at byte 4\n"
    )
    assert "standard input:2: expected UTF-8, found the byte 0xff at byte 1" in fail(
        *RUN, "--prompts=-", data=b"good\n\xff\n"
    )
    result = burble(*RUN, "-p", os.fsdecode(b"\xc3"))
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"--prompt: expected UTF-8" in result.stderr


def test_chat_message_may_have_nul() -> None:
    chat = ("--template", "chatml", "-n", "1", "--json")
    whole, part = (
        records(burble(*RUN, *chat, data=data).stdout.decode())[-1]["prompt_tokens"]
        for data in (b"hello\0 secret", b"hello")
    )
    assert whole > part > 5
    assert succeed("-n", "4", data=b"hello\0 secret") != succeed("-n", "4", data=b"hello")


def test_refused_prompt_counts_no_tokens() -> None:
    result = burble(*RUN, "--prompts=-", "-n", "5", "--json", "--stats", data=b"too long " * 2000)
    assert result.returncode == 1
    (end,) = records(result.stdout.decode())
    assert (end["reason"], end["prompt_tokens"], end["tokens"]) == ("error", 0, 0)
    assert b"prompts: 1, prompt tokens: 0, tokens: 0" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("-p", "a"), "expected a model"),
        (("-m", MODEL, "word"), "expected only options, found 'word'"),
        (("-m", MODEL, "-p", "a", "--prompts", "b"), "expected --prompt or --prompts"),
        (("-m", MODEL, "--parallel", "2"), "--parallel needs --prompts"),
        (("-m", MODEL, "--parallel", "257"), "--parallel: expected a number from 1 to 256"),
        (("-m", MODEL, "-n", "0"), "--max-tokens: expected a number from 1"),
        (("-m", MODEL, "-n", "-1"), "--max-tokens: expected a number from 1"),
        (("-m", MODEL, "--seed", "12x"), "--seed: expected a number from 0"),
        (("-m", MODEL, "--top-p", "1.5"), "--top-p: expected a number above 0, at most 1"),
        (("-m", MODEL, "--top-p", "0"), "--top-p: expected a number above 0, at most 1, found '0'"),
        (("-m", MODEL, "--min-p", "-0.1"), "--min-p: expected a number from 0 to 1"),
        (("-m", MODEL, "--temperature", "nan"), "--temperature: expected a number from 0 to 100"),
        (("-m", MODEL, "--temperature", "100.1"), "--temperature: expected a number from 0 to 100"),
        (("-m", MODEL, "--system", "\udcff"), "--system: expected UTF-8, found the byte 0xff"),
        (("-m", MODEL, "--template", "a\udcc3"), "--template: expected UTF-8, found the byte 0xc3"),
        (("-m", MODEL, "--greedy", "--seed", "1"), "--greedy: expected no other option"),
        (("-m", MODEL, "--stop", ""), "--stop: "),
        (("-m", MODEL, "--repeat-penalty", "0"), "--repeat-penalty: expected a number above 0"),
        (
            ("-m", MODEL, "--presence-penalty", "x"),
            "--presence-penalty: expected a number from -100 to 100, found 'x'",
        ),
        (
            ("-m", MODEL, "--json-object", "--grammar-file", "/dev/null"),
            "expected --grammar-file or --json-object, found both",
        ),
        (("-m", MODEL, "--nonsense"), "unrecognized option"),
    ],
)
def test_wrong_command_line_is_error(args: tuple[str, ...], message: str) -> None:
    said = fail("run", *args, code=2)
    assert said.startswith("burble run: ")
    assert message in said
    assert said.endswith("Try 'burble run --help'.\n")


def test_help_and_manual_page_name_every_option() -> None:
    text = burble("run", "--help").stdout.decode()
    assert max(map(len, text.splitlines())) <= 80
    page = (ROOT / "tools" / "burble.1").read_text().replace("\\-", "-")
    options = set(re.findall(r"--[a-z][a-z-]+", text))
    assert len(options) > 20
    for option in options:
        assert option in page


# ---- ends ----------------------------------------------------------------------------------------


def start(*args: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    kwargs.setdefault("stdin", subprocess.PIPE)
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen([command(), *RUN, *args], bufsize=0, env=environment(), **kwargs)


def feed(process: subprocess.Popen[bytes], data: str = LONG) -> None:
    """All of its input, which it reads before anything else."""
    assert process.stdin is not None
    process.stdin.write(data.encode())
    process.stdin.close()


@pytest.fixture
def generating() -> Iterator[subprocess.Popen[bytes]]:
    """One that has much left to generate, and has begun."""
    with start("--prompts=-", "--json") as process:
        feed(process)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"{"
        yield process
        process.kill()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_run_and_prints_figures(
    generating: subprocess.Popen[bytes], signum: signal.Signals
) -> None:
    assert generating.stdout is not None
    assert generating.stderr is not None
    generating.send_signal(signum)
    written = b"{" + generating.stdout.read()
    assert generating.wait() == 128 + signum
    said = generating.stderr.read().decode()
    assert re.fullmatch(
        rf"burble run: cancelled by {signum.name} after \d+ tokens for \d+ of 4000 prompts\n", said
    )
    assert written.endswith(b"\n")
    ends = [line for line in records(written.decode()) if "reason" in line]
    assert "cancelled" in {end["reason"] for end in ends}


def test_signal_while_nobody_reads_ends_run(generating: subprocess.Popen[bytes]) -> None:
    """Its pipe is full, and stays so."""
    with open(f"/proc/{generating.pid}/fd/1", "wb", buffering=0) as pipe:
        while select.select([], [pipe], [], 0)[1]:
            time.sleep(0.001)
    generating.send_signal(signal.SIGTERM)
    assert generating.wait() == 128 + signal.SIGTERM


def test_signal_while_prompt_is_read_ends_run() -> None:
    with start() as process:
        assert process.stdin is not None
        assert process.stderr is not None
        wait_for_handler(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == (b"burble run: cancelled by SIGINT before the text began\n")


def caught(pid: int, signum: signal.Signals) -> bool:
    """Whether it has a handler for the signal."""
    found = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1], 16) >> (signum - 1) & 1 == 1


def wait_for_handler(pid: int) -> None:
    """Until it catches SIGINT and SIGTERM."""
    while not (caught(pid, signal.SIGINT) and caught(pid, signal.SIGTERM)):
        time.sleep(0.001)


def wait_for_sleep(pid: int) -> None:
    """Until it waits for something."""
    while not re.search(r"State:\s*S", Path(f"/proc/{pid}/status").read_text()):
        time.sleep(0.001)


@pytest.mark.parametrize("option", ["--prompts", "-m"])
def test_signal_while_pipe_without_writer_is_opened_ends_run(tmp_path: Path, option: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start(option, str(fifo), *(("-p", "a") if option == "-m" else ())) as process:
        assert process.stderr is not None
        wait_for_handler(process.pid)
        wait_for_sleep(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b"burble run: cancelled by SIGINT before the text began\n"


def test_prompts_are_read_from_named_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start("--prompts", str(fifo), "-n", "4", "--json") as process:
        with fifo.open("wb") as writer:
            writer.write(b"ROMEO:\n")
            writer.flush()
            time.sleep(0.05)  # waits for nothing: they are to come in two pieces, mostly
            writer.write(b"JULIET:\n")
        assert process.stdout is not None
        assert set(texts_by_prompt(process.stdout.read().decode())) == {1, 2}
        assert process.wait() == 0


def test_second_signal_kills_run() -> None:
    """Here it hangs in saying what the first one did, to a pipe that is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 4096)
    os.set_blocking(writing, True)
    with start(stderr=writing) as process:
        wait_for_handler(process.pid)
        process.send_signal(signal.SIGINT)
        while caught(process.pid, signal.SIGINT):
            time.sleep(0.001)
        wait_for_sleep(process.pid)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT
    os.close(reading)
    os.close(writing)


def test_ignored_signal_stays_ignored() -> None:
    process = start(
        "--prompts=-", "--json", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    with process:
        feed(process)
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait() == 143


def test_signal_with_quiet_prints_nothing() -> None:
    with start("--quiet") as process:
        assert process.stderr is not None
        wait_for_handler(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b""


@pytest.mark.parametrize("ignored", [False, True])
def test_broken_pipe_ends_run_quietly(ignored: bool) -> None:
    # subprocess gives its children the default action for SIGPIPE unless it is told not to.
    handler = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        process = start("--prompts=-", "--json", restore_signals=not ignored)
    finally:
        signal.signal(signal.SIGPIPE, handler)
    with process:
        feed(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait() == (1 if ignored else -signal.SIGPIPE)
        assert process.stderr.read() == b""


def two_ends(kind: str) -> tuple[Any, Any]:
    if kind == "socket":
        return socket.socketpair()
    reading, writing = os.pipe()
    return open(reading, "rb", buffering=0), open(writing, "wb", buffering=0)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_broken_pipe_without_text_is_noticed(kind: str) -> None:
    """All text is held back, by a stop string that could still come."""
    held = succeed("-p", "ROMEO:", "-n", "400")
    ours, theirs = two_ends(kind)
    handler = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        process = start(
            *("--stats", "--stop", held + "@", "-n", "400"), restore_signals=False, stdout=theirs
        )
    finally:
        signal.signal(signal.SIGPIPE, handler)
    theirs.close()
    with process:
        assert process.stderr is not None
        ours.close()
        feed(process, "ROMEO:")
        assert process.wait() == 1
        assert b"(cancelled)" in process.stderr.read()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_full_disk_ends_run() -> None:
    with open("/dev/full", "wb") as full:
        result = burble(*RUN, "--prompts=-", data=LONG.encode(), stdout=full)
    assert result.returncode == 1
    assert result.stderr == b"burble run: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("closed", "message"),
    [
        (">&-", b"burble run: standard output: Bad file descriptor\n"),
        ("<&-", b"burble run: standard input: Bad file descriptor\n"),
    ],
)
def test_closed_descriptor_is_error(closed: str, message: bytes) -> None:
    result = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "-", command(), *RUN],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (1, message)


def test_closed_standard_error_does_no_harm() -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "-", command(), *RUN, "-p", "ROMEO:", "-n", "8", "--stats"],
        stdout=subprocess.PIPE,
        env=environment(),
        timeout=60,
    )
    assert result.returncode == 0
    assert result.stdout.decode() == succeed("-p", "ROMEO:", "-n", "8")


# ---- terminals -----------------------------------------------------------------------------------


def on_a_terminal(
    *args: str, typed: bytes | None = None, until: bytes = b"", code: int = 0, **env: str
) -> bytes:
    """What a person sees: both outputs on one terminal; and the input, where something is typed,
    once the person has seen ``until``."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [command(), *RUN, *args],
        stdin=subprocess.DEVNULL if typed is None else theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**{"TERM": "xterm", "NO_COLOR": "", **env}),
        start_new_session=True,
        preexec_fn=_control,
    )
    os.close(theirs)
    seen = b""
    with process:
        if typed is not None and not until:
            os.write(ours, typed)
            typed = None
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            seen += piece
            if typed is not None and until in seen:
                os.write(ours, typed)
                typed = None
        process.kill()  # where it says nothing and waits
    os.close(ours)
    assert process.returncode == code
    return seen


def _control() -> None:
    """Make the terminal the one whose Ctrl-C is a signal."""
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)


def test_terminal_shows_progress_colours_and_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text("ROMEO:")
    args = ("--prompts", str(path), "-n", "5", "--stats")
    seen = on_a_terminal(*args)
    assert b"\rloading the model: 100 %" in seen
    assert b"\033[1m==> 1: ROMEO: <==\033[0m" in seen
    assert b"\033[2mprompts: 1" in seen
    for plain in (on_a_terminal(*args, NO_COLOR="1"), on_a_terminal(*args, TERM="dumb")):
        assert b"\033" not in plain
        assert b"==> 1: ROMEO: <==" in plain
    assert b"loading" not in on_a_terminal(*args, "--quiet")
    text = succeed("-p", "ROMEO:", "-n", "5")
    assert not text.endswith("\n")
    alone = on_a_terminal("-p", "ROMEO:", "-n", "5", "--quiet")
    assert alone.decode().replace("\r\n", "\n") == text + "\n"


ASKED = (
    b"burble run: reading the %b from the terminal; to end %b, press Ctrl-D on an empty line\r\n"
)


def test_prompt_on_terminal_is_prompted_for(tmp_path: Path) -> None:
    asked = ASKED % (b"prompt", b"it")
    text = succeed("-p", "ROMEO:", "-n", "5").encode()
    for args in ((), ("-p", "-")):
        seen = on_a_terminal(*args, "-n", "5", typed=b"ROMEO:\n\x04", until=asked)
        assert seen.startswith(asked + b"ROMEO:\r\n")
        assert seen.endswith(b"\r" + text.replace(b"\n", b"\r\n") + b"\r\n")
    asked = ASKED % (b"prompts", b"them")
    seen = on_a_terminal("--prompts", "-", "-n", "5", typed=b"ROMEO:\n\x04", until=asked)
    assert seen.startswith(asked + b"ROMEO:\r\n")
    # Where nothing is read from there, or nothing is to be said.
    assert b"reading" not in on_a_terminal("-p", "ROMEO:", "-n", "5", typed=b"")
    assert b"reading" not in on_a_terminal("-q", "-n", "5", typed=b"ROMEO:\n\x04")


@pytest.mark.parametrize("quiet", [False, True])
def test_ctrl_c_within_line_ends_run(quiet: bool, tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text(LONG)
    options = ("--quiet",) if quiet else ()
    args = ("--prompts", str(path), "-n", "50", *options)
    for _ in range(5):  # sometimes, the line has just ended
        seen = on_a_terminal(*args, typed=b"\x03", until=b"tell thee", code=130)
        shown = seen.replace(b"\r\n", b"\n").replace(b"^C", b"")
        assert shown.endswith(b"\n")
        assert (b"\nburble run: cancelled by SIGINT after " in shown) != quiet
