# SPDX-License-Identifier: MIT
"""`burble serve`: its options, its configuration file, its log, signals, keys and systemd."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import LONG, MODEL, ROOT, Serving, command, environment, events, long_answer, refused

pytestmark = pytest.mark.timeout(180)

SHORT = {"model": "shakespeare", "prompt": "ROMEO:", "max_tokens": 8, "ignore_eos": True}


def help_text() -> str:
    done = subprocess.run([command(), "serve", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def options() -> dict[str, str]:
    """The long options of the help, and what it calls their values."""
    found = re.findall(r"^  (?:-\w, )?--([a-z][a-z-]+)(?:=(\S+))?", help_text(), re.MULTILINE)
    return {**dict(reversed(found))}


# ---- options -------------------------------------------------------------------------------------


def test_help_and_manual_page_name_every_option() -> None:
    text = help_text()
    assert max(map(len, text.splitlines())) <= 80
    assert len(options()) > 40
    page = (ROOT / "tools" / "burble.1").read_text().replace("\\-", "-")
    page = page[page.index("OPTIONS OF BURBLE SERVE") : page.index("OPTIONS OF BURBLE TOKENS")]
    guide = "".join((ROOT / "docs" / name).read_text() for name in ("serve.md", "relay.md"))
    for option in options():
        assert re.search(rf"--{option}\b(?!-)", page), option
        if option not in ("help", "version", "quiet"):
            assert re.search(rf"--{option}\b(?!-)", guide), option


def test_defaults_of_bounds_in_guide_equal_those_of_help() -> None:
    entries = re.split(r"^  (?=-)", help_text(), flags=re.MULTILINE)[1:]
    said = {
        found[1]: default[1]
        for entry in entries
        if (found := re.match(r"(?:-\w, )?--([a-z-]+)", entry))
        and (default := re.search(r"default:\s+(\d+\w*)", entry))
    }
    guide = (ROOT / "docs" / "serve.md").read_text()
    rows = re.findall(r"^\| (`--[^|]*) \|[^|]*\| (\d[^|]*) \|", guide, re.MULTILINE)
    told = {
        name: default.split()[0].rstrip(":")
        for names, defaults in rows
        for name, default in zip(re.findall(r"--([a-z-]+)", names), defaults.split(", "))
    }
    assert len(told) > 20
    assert told == {name: said.get(name, "0") for name in told}


def test_bound_of_server_has_an_option() -> None:
    header = (ROOT / "include" / "burble" / "serve.h").read_text()
    struct = header[header.index("typedef struct burble_server_options") :]
    struct = struct[: struct.index("} burble_server_options;")]
    struct = re.sub(r"/\*.*?\*/", "", struct, flags=re.DOTALL)
    members = set(re.findall(r"\buint(?:16|32|64)_t\s+(\w+);", struct))
    members.remove("expected_models")  # the number of -m
    assert {name.replace("_", "-") for name in members} <= set(options())


@pytest.mark.parametrize(
    "option", ["slots", "max-body", "socket-buffer", "stall-timeout", "grace", "port", "retain"]
)
def test_wrong_value_is_refused_with_its_range(option: str) -> None:
    for value in ("", "x", "-1", "1X", "1e9", "99999999999999999999"):
        said = refused("-m", MODEL, f"--{option}", value)
        assert re.match(
            rf"burble serve: --{option}: expected a (number|size|time) from \S+ to \S+", said
        )
        assert said.endswith(f"found '{value}'\nTry 'burble serve --help'.\n")


def test_default_of_help_is_in_range() -> None:
    """With all well, only the model is missing."""
    parts = re.split(r"^  (?=-)", help_text(), flags=re.MULTILINE)[1:]
    tried = 0
    for part in parts:
        option = re.search(r"--([a-z-]+)=", part)
        default = re.search(r"default:\s+(\d[\w.]*)", part)
        if option is not None and default is not None:
            said = refused("-m", "/nowhere.gguf", f"--{option[1]}={default[1].rstrip('.')}", code=1)
            assert said == "burble serve: /nowhere.gguf: No such file or directory\n"
            tried += 1
    assert tried > 25


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "expected a model (--model), found none"),
        (("-m", MODEL, "more"), "expected only options, found 'more'"),
        (("-m", MODEL, "-m", f"shakespeare={MODEL}"), "another model with the name 'shakespeare'"),
        (("-m", "name="), "expected FILE or NAME=FILE, found 'name='"),
        (("-m", f"={MODEL}"), "expected FILE or NAME=FILE"),
        (("-m", "n" * 256 + "=" + MODEL), "expected a name of at most 255 bytes of UTF-8"),
        (("-m", MODEL, "--cors=example.com"), "--cors: expected * or an origin without a path"),
        (("-m", MODEL, "--cors=http://a/b"), "--cors: expected * or an origin without a path"),
        (
            ("-m", MODEL, "--allowed-hosts=a:80"),
            "--allowed-hosts: expected *, or a name or address",
        ),
        (("-m", MODEL, "--allowed-hosts="), "--allowed-hosts: expected *, or a name or address"),
        (("-m", MODEL, "--flash=maybe"), "--flash: expected auto, on or off, found 'maybe'"),
        (("-m", MODEL, "--cache-v=int"), "--cache-v: expected a type that --help names"),
        (("-m", MODEL, "--log-format=xml"), "--log-format: expected text or json, found 'xml'"),
        (("-m", MODEL, "--host="), "--host: expected a value, found an empty one"),
        (("-m", MODEL, "--nonsense"), "unrecognized option '--nonsense'"),
        (("-m", MODEL, "--config=a", "--config=b"), "expected one --config, found two"),
        (tuple(f"-m{i}=x" for i in range(65)), "expected at most 64 models"),
    ],
)
def test_wrong_command_line_is_refused(args: tuple[str, ...], message: str) -> None:
    said = refused(*args)
    assert said.startswith("burble serve: ")
    assert message in said
    assert said.endswith("Try 'burble serve --help'.\n")


@pytest.mark.parametrize(
    ("args", "ours"),
    [
        (("--ctx-size", "2048"), "--context, for each slot"),
        (("-c", "2048"), "--context, for each slot"),
        (("--parallel=4",), "--slots"),
        (("-ngl", "99"), "--gpu-layers"),
        (("more", "--alias", "name"), "--model NAME=FILE"),
        (("--api-key", "secret"), "--api-key-file"),
        (("--api-key=secret",), "--api-key-file"),
    ],
)
def test_option_of_llama_server_is_answered_by_its_name_here(
    args: tuple[str, ...], ours: str
) -> None:
    said = refused("-m", MODEL, *args)
    assert f" is here: {ours}" in said
    assert "secret" not in said  # it is no file's name


# ---- the configuration file ----------------------------------------------------------------------

CONFIG = f"""\
# What a server needs.
model = one={MODEL}   # the shipped one
  model two={MODEL}
port=0
host "127.0.0.1" # in quotes
slots\t2
no-page
log-prompts = no
log-format = json
idle-timeout = 1.5m
max-body 64K
"""


def test_configuration_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "burble.conf"
    path.write_text(CONFIG)
    with Serving(f"--config={path}", model=(), port=()) as serving:
        _status, models = serving.ask("/v1/models")
        assert {model["id"] for model in models["data"]} == {"one", "two"}
        assert serving.ask("/")[0] == 404
        assert "2 slots of 512 tokens" in json.loads(serving.lines[1])["message"]


def test_allowed_hosts_of_configuration_file_and_command_line(tmp_path: Path) -> None:
    path = tmp_path / "burble.conf"
    path.write_text("allowed-hosts = a.example\nallowed-hosts [::2]\n")
    with Serving(f"--config={path}") as serving:
        for host, status in (("a.example", 200), ("[::2]", 200), ("localhost", 421)):
            assert serving.begin("/health", Host=host).status == status
    with Serving(f"--config={path}", "--allowed-hosts=b.example") as serving:
        for host, status in (("b.example", 200), ("a.example", 421)):
            assert serving.begin("/health", Host=host).status == status


def test_command_line_counts_more_than_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "burble.conf"
    path.write_text(CONFIG + "no-page = no\ncors = https://one.example\ncors https://two.example")
    mine = ("--slots=3", "-m", f"mine={MODEL}", "--cors=https://mine.example")
    with Serving(*mine, f"--config={path}", model=(), port=()) as serving:
        assert [model["id"] for model in serving.ask("/v1/models")[1]["data"]] == ["mine"]
        assert "3 slots of 512 tokens" in serving.text
        assert serving.ask("/")[0] == 200
        for origin, allowed in (("mine", True), ("one", False)):
            response = serving.begin("/v1/models", Origin=f"https://{origin}.example")
            assert ("Access-Control-Allow-Origin" in response.headers) == allowed
            response.read()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense 1", "expected an option that 'burble serve --help' names, found 'nonsense'"),
        ("config = other", "expected an option that 'burble serve --help' names, found 'config'"),
        ("--port 1", "expected an option that 'burble serve --help' names, found '--port'"),
        ("= 1", "expected the name of an option, found none"),
        ("port", "port: expected a value, found nothing"),
        ("port = # 1", "port: expected a number from 0 to 65535, found ''"),
        ("port = 1 2", "port: expected a number from 0 to 65535, found '1 2'"),
        ('host = "127.0.0.1', 'expected a " at the end of the value, found none'),
        ('host = "127.0.0.1" x', "expected nothing after the value in quotes, found more"),
        ("unified = 2", "unified: expected yes or no, or nothing, found '2'"),
        ("grace = 3 days", "grace: expected a time from 0 to 24h, such as 500ms or 30s"),
    ],
)
def test_wrong_line_of_configuration_file_is_refused(
    line: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "burble.conf"
    path.write_text(f"# first\n\n{line}\nport = 0\n")
    said = refused("-m", MODEL, "--config", str(path))
    assert said.startswith(f"burble serve: {path}:3: ")
    assert message in said


def test_wrong_configuration_file_is_refused(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refused(f"--config={nowhere}", code=1) == (
        f"burble serve: {nowhere}: No such file or directory\n"
    )
    path = tmp_path / "burble.conf"
    path.write_bytes(b"port = 0\n\0")
    assert "expected text, found a NUL byte" in refused(f"--config={path}", code=1)
    path.write_bytes(b"#" * (1 << 20) + b"#")
    assert "expected at most 1048576 bytes, found more" in refused(f"--config={path}", code=1)
    assert "Is a directory" in refused(f"--config={tmp_path}", code=1)


# ---- what cannot start ---------------------------------------------------------------------------


def test_port_of_another_program_is_refused_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused("-m", MODEL, f"--port={port}", code=1)
    assert f"cannot listen on 127.0.0.1, port {port}: another program has this port" in said
    assert "--port" in said.partition("; ")[2]


def test_address_of_another_machine_is_refused() -> None:
    said = refused("-m", MODEL, "--host=192.0.2.1", "--port=0", code=1)
    assert said == (
        "burble serve: cannot listen on 192.0.2.1: this machine does not have this address\n"
    )


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    assert refused("-m", str(path), code=1) == f"burble serve: {path}: No such file or directory\n"
    assert refused("-m", "owner/model", code=1) == (
        "burble serve: owner/model: expected the path of a GGUF file: No such file or directory\n"
    )
    assert refused("-m", str(tmp_path), code=1) == (
        f"burble serve: {tmp_path}: expected a GGUF file, found a directory "
        "(python -m burble serve takes a model of transformers)\n"
    )
    path.write_text("{}")
    said = refused("-m", MODEL, "-m", str(path), code=1)
    assert said == f"burble serve: {path}: expected a GGUF file, found another one\n"
    path.write_bytes(Path(MODEL).read_bytes()[:100_000])
    said = refused("-m", str(path), "--port=0", code=1)
    assert re.search(rf"error: model: .*{path}", said)


def test_engine_that_does_not_fit_is_refused() -> None:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    said = refused("-m", MODEL, "--port=0", "--slots=256", "--cache-k=f32", "--cache-v=f32",
                   "--batch=65536", code=1, preexec_fn=bound)  # fmt: skip
    assert re.search(r"error: shakespeare: .*(memory|available)", said)


# ---- the start -----------------------------------------------------------------------------------


def test_server_says_what_it_serves_and_how_to_ask() -> None:
    with Serving("--slots=4") as serving:
        serving.wait("curl")
        serving.wait("'$")
        url = f"http://127.0.0.1:{serving.port}"
        assert re.search(rf"page +{url}/$", serving.text, re.MULTILINE)
        assert re.search(rf"API +{url}/v1\b", serving.text)
        assert re.search(r"models +shakespeare: 4 slots of 512 tokens", serving.text)
        line = re.search(r"^  (curl .*\\\n.*)$", serving.text, re.MULTILINE)
        assert line is not None
        done = subprocess.run(["sh", "-c", line[1]], capture_output=True, text=True, timeout=LONG)
        *chunks, end = re.findall(r"^data: (.*)\n\n", done.stdout, re.MULTILINE)
        assert end == "[DONE]"
        # (How long the text is, its last token decides.)
        choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
        assert choices[-1]["finish_reason"] in ("stop", "length")
        assert all("text" in choice for choice in choices)


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shipped model with a chat template, which it was not trained for."""
    pytest.importorskip("gguf")
    path = tmp_path_factory.mktemp("model") / "chat.gguf"
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
        "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    )
    program = (sys.executable, "-m", "gguf.scripts.gguf_new_metadata")
    subprocess.run(
        [*program, "--chat-template", template, MODEL, path], check=True, capture_output=True
    )
    return str(path)


def test_model_with_chat_template_chats(chat_model: str, keys: Path) -> None:
    args = ("--log-prompts", f"--api-key-file={keys}")
    with Serving(*args, model=("-m", chat_model)) as serving:
        serving.wait("'$")
        line = re.search(r"^  (curl .*\\\n.*\\\n.*)$", serving.text, re.MULTILINE)
        assert line is not None
        assert "/v1/chat/completions" in line[1]
        done = subprocess.run(
            ["sh", "-c", line[1]],
            capture_output=True,
            text=True,
            timeout=LONG,
            env=environment(KEY="sk-second"),
        )
        assert '"object":"chat.completion.chunk"' in done.stdout
        assert done.stdout.endswith("data: [DONE]\n\n")
        serving.stop()
        said = serving.wait(r"messages (\[.*\]) request_id=")
        assert json.loads(said[1]) == [{"role": "user", "content": "Hello"}]


def test_progress_is_shown_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [command(), "serve", "-m", MODEL, "--port=0"],
        stdin=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(),
    ) as process:
        os.close(theirs)
        try:
            seen = b""
            while b"curl" not in seen:
                seen += os.read(ours, 65536)
            assert re.search(rb"\rloading shakespeare: \d+ %", seen)
            assert b"\r\x1b[K" in seen
            process.send_signal(signal.SIGINT)
            while b"stopped" not in seen:
                seen += os.read(ours, 65536)
            assert process.wait(LONG) == 0
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.parametrize("form", ["text", "json"])
def test_quiet_server_says_nothing(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [command(), "serve", "-m", MODEL, f"--port={port}", "-q", f"--log-format={form}"],
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=LONG)[1] == b""
        finally:
            process.kill()


@contextlib.contextmanager
def slow_model(tmp_path: Path) -> Iterator[tuple[str, threading.Event]]:
    """A file whose loading waits for the event, and then fails: a pipe."""
    path = tmp_path / "slow.gguf"
    os.mkfifo(path)
    over = threading.Event()
    done = threading.Event()

    def feed() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b"GGUF")
            over.wait(LONG)
            while not done.is_set():  # it is opened more than once
                with contextlib.suppress(BrokenPipeError):
                    pipe.write(bytes(4096))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield str(path), over
    finally:
        done.set()
        over.set()
        feeder.join()


def test_server_listens_while_its_model_is_being_loaded(tmp_path: Path) -> None:
    with slow_model(tmp_path) as (slow, over):
        with Serving(model=("-m", slow, "-m", MODEL), ready=False) as serving:
            assert serving.ask("/health")[0] == 200
            assert serving.ask("/ready")[0] == 503
            assert serving.ask("/v1/completions", SHORT)[0] in (404, 503)
            over.set()
            assert serving.end() == 1
            assert "error: slow: " in serving.text


def test_model_answers_while_the_next_is_being_loaded(tmp_path: Path) -> None:
    with slow_model(tmp_path) as (slow, _):
        with Serving(model=("-m", MODEL, "-m", slow), ready=False) as serving:
            serving.wait("loaded shakespeare in")
            assert serving.ask("/ready")[0] == 503
            assert serving.ask("/v1/completions", SHORT)[0] == 200


def test_models_are_called_by_file_or_name(tmp_path: Path) -> None:
    other = tmp_path / "a=b.GGUF"
    other.symlink_to(MODEL)
    with Serving(model=("-m", f"Läuse/1={MODEL}", "-m", str(other))) as serving:
        listed = serving.ask("/v1/models")[1]["data"]
        assert {model["id"] for model in listed} == {"a=b", "Läuse/1"}
        for model in listed:
            status, answer = serving.ask("/v1/completions", {**SHORT, "model": model["id"]})
            assert (status, answer["model"]) == (200, model["id"])
        assert serving.ask("/v1/completions", {**SHORT, "model": "shakespeare"})[0] == 404


def test_server_of_all_networks_without_keys_is_warned_of() -> None:
    with Serving("--host=0.0.0.0") as serving:
        assert "warning: no --api-key-file: all who can reach 0.0.0.0" in serving.text
    with Serving() as serving:
        assert "warning" not in serving.text


# ---- keys ----------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# people\n  sk-first  \n\nsk-second\n")
    path.chmod(0o600)
    return path


def status_of(serving: Serving, key: str | None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    status: int = serving.ask("/v1/models", **headers)[0]
    return status


def test_keys_are_asked_for(keys: Path) -> None:
    with Serving(f"--api-key-file={keys}", "--host=0.0.0.0") as serving:
        assert [status_of(serving, key) for key in ("sk-first", "sk-second")] == [200, 200]
        for key in (None, "", "sk-third", "sk-firs", "# people"):
            assert status_of(serving, key) == 401, key
        assert serving.ask("/health")[0] == 200
        assert "warning" not in serving.text
        assert "Authorization: Bearer $KEY" in serving.wait("Authorization")[0] or serving.text
    assert "sk-" not in serving.text


def test_hangup_reads_keys_again(keys: Path) -> None:
    with Serving(f"--api-key-file={keys}") as serving:
        keys.write_text("sk-third\n")
        serving.signal(signal.SIGHUP)
        serving.wait("SIGHUP: read 1 API keys from")
        assert [status_of(serving, key) for key in ("sk-first", "sk-third")] == [401, 200]
        for text, message in (("", "expected a key a line, found none"), ("a\nb c", ":2: ")):
            keys.write_text(text)
            serving.signal(signal.SIGHUP)
            serving.wait("error: SIGHUP: the API keys stay as they were: .*" + message)
            assert status_of(serving, "sk-third") == 200
        keys.unlink()
        serving.signal(signal.SIGHUP)
        serving.wait("No such file or directory")
        assert status_of(serving, "sk-third") == 200
        serving.stop()


def test_hangup_under_nohup_reads_keys_again(keys: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup; programs inherit it
    try:
        serving = Serving(f"--api-key-file={keys}")
    finally:
        signal.signal(signal.SIGHUP, before)
    with serving:
        keys.write_text("sk-third\n")
        serving.signal(signal.SIGHUP)
        serving.wait("SIGHUP: read 1 API keys from")
        assert status_of(serving, "sk-third") == 200


def test_hangup_without_keys_does_nothing() -> None:
    with Serving() as serving:
        serving.signal(signal.SIGHUP)
        serving.wait("SIGHUP: there is no file of API keys")
        assert serving.ask("/ready")[0] == 200


def test_keys_that_all_can_read_are_warned_of(keys: Path) -> None:
    keys.chmod(0o644)
    with Serving(f"--api-key-file={keys}") as serving:
        assert f"warning: {keys}: every user of this machine can read the keys" in serving.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected a key a line, found none"),
        (b"# none\n\n", "expected a key a line, found none"),
        (b"good\nsk secret\n", ":2: expected a key of visible ASCII characters, found another"),
        ("good\nsk-sécret".encode(), ":2: expected a key of visible ASCII characters"),
        (b"sk\0secret", "expected text, found a NUL byte"),
        (b"k" * ((1 << 20) + 1), "expected at most 1048576 bytes, found more"),
    ],
)
def test_wrong_keys_are_refused_without_being_shown(keys: Path, text: bytes, message: str) -> None:
    keys.write_bytes(text)
    said = refused("-m", MODEL, f"--api-key-file={keys}", "--port=0", code=1)
    assert said.startswith(f"burble serve: {keys}:")
    assert message in said
    assert "secret" not in said
    assert "sécret" not in said


# ---- the log -------------------------------------------------------------------------------------


def logged(lines: list[str], path: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, lines) if line.get("path") == path]


def test_json_log_has_a_line_for_each_request() -> None:
    with Serving("--log-format=json") as serving:
        assert serving.ask("/v1/completions", SHORT, X_Request_Id="mine-1")[0] == 200
        assert serving.ask("/v1/completions", {**SHORT, "model": "none"})[0] == 404
        assert serving.ask("/health")[0] == 200
        answer = serving.ask("/v1/completions", SHORT)[1]
        lines = serving.stop()
    done, missing, again = logged(lines, "/v1/completions")
    assert done["request_id"] == "mine-1"
    assert (done["status"], done["method"], done["result"]) == (200, "POST", "ok")
    assert (done["model"], done["client"]) == ("shakespeare", "127.0.0.1")
    assert (done["prompt_tokens"], done["tokens"]) == (2, 8)
    assert done["queue_s"] + done["prompt_s"] + done["answer_s"] <= done["total_s"]
    assert done["answer_s"] > 0
    assert (missing["status"], missing.get("model")) == (404, None)
    assert again["answer"] == answer["id"]
    assert again["request_id"] not in ("", "mine-1")
    assert logged(lines, "/health")[0]["status"] == 200
    for line in map(json.loads, lines):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in ("info", "warning")


def test_text_log_has_a_line_for_each_request() -> None:
    with Serving() as serving:
        serving.ask("/v1/completions", SHORT, X_Request_Id="mine-1")
        serving.stop()
        assert re.search(
            r"^\S+Z 200 POST /v1/completions ok client=127\.0\.0\.1 request_id=mine-1 "
            r"model=shakespeare answer=cmpl-\w+ prompt_tokens=2 reused_tokens=0 tokens=8 "
            r"queue_s=\S+ prompt_s=\S+ answer_s=\S+ total_s=\S+ sent=\d+$",
            serving.text,
            re.MULTILINE,
        )


@pytest.mark.parametrize("form", ["text", "json"])
def test_clients_write_no_lines_of_the_log(form: str) -> None:
    wrong = '/a\x7f"b%0a2026 200 GET /\xe9\xff'
    with Serving(f"--log-format={form}") as serving:
        with socket.create_connection(("127.0.0.1", serving.port), LONG) as client:
            request = f"GET {wrong} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            client.sendall(request.encode("latin-1"))
            while client.recv(65536):
                pass
        lines = serving.stop()
        for line in lines[lines.index(serving.wait("ready").string) :]:
            assert line.isprintable(), line
            assert "\x7f" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_prompt_is_logged_only_if_asked_for(form: str) -> None:
    secret = {**SHORT, "prompt": 'JULIET: a "secret"'}
    with Serving(f"--log-format={form}") as serving:
        assert serving.ask("/v1/completions", secret)[0] == 200
        serving.ask("/v1/completions", {**secret, "max_tokens": "x"})
        serving.ask("/v1/completions", {"prompt": ["secret"], "secret": 1})
        serving.stop()
        assert "JULIET" not in serving.text
        assert "secret" not in serving.text
    with Serving(f"--log-format={form}", "--log-prompts") as serving:
        assert serving.ask("/v1/completions", secret, X_Request_Id="mine")[0] == 200
        serving.ask("/v1/completions", {**SHORT, "prompt": [1, 2, 3]})
        serving.stop()
        (text,) = (line for line in serving.lines if "JULIET" in line)
        assert r"JULIET: a \"secret\"" in text
        assert "mine" in text
        assert "[1,2,3]" in serving.text


def test_log_that_nobody_reads_does_not_stop_the_server() -> None:
    requests = 4000
    ours, theirs = os.pipe()
    with subprocess.Popen(
        [command(), "serve", "-m", MODEL, "--port=0", "--log-format=json"],
        stderr=theirs,
        env=environment(),
    ) as process:
        os.close(theirs)
        try:
            head = b""
            while b"ready" not in head:
                head += os.read(ours, 4096)
            found = re.search(rb"listening on http://127.0.0.1:(\d+)", head)
            assert found is not None
            with socket.create_connection(("127.0.0.1", int(found[1])), LONG) as client:
                answers = client.makefile("rb")
                for _ in range(requests):
                    client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert answers.readline().startswith(b"HTTP/1.1 200")
                    length = 0
                    while (line := answers.readline()) != b"\r\n":
                        name, _, value = line.partition(b":")
                        length = int(value) if name.lower() == b"content-length" else length
                    answers.read(length)
            process.send_signal(signal.SIGTERM)
            rest = b""
            while data := os.read(ours, 65536):
                rest += data
            assert process.wait(LONG) == 0
        finally:
            process.kill()
            os.close(ours)
    text = (head.rpartition(b"\n")[2] + rest).decode()
    written = len(logged([line for line in text.splitlines() if line], "/health"))
    lost = sum(int(n) for n in re.findall(r'"lost (\d+) lines', text))
    messages = sum(word not in text for word in ("draining", "stopped"))
    assert lost > 0
    assert written + lost == requests + messages


# ---- the end -------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(serving: Serving, n: int, texts: int) -> Iterator[list[Any]]:
    """Streams that have begun or wait for a slot: each of so many texts of 500 tokens."""
    responses: list[Any] = []
    threads = []
    begun = threading.Semaphore(0)

    def ask(i: int) -> None:
        response = serving.begin(
            "/v1/completions", long_answer(n=texts, seed=i), Burble_Resumable="true"
        )
        begun.release()
        responses.append((response.status, list(events(response))))

    for i in range(n):
        threads.append(threading.Thread(target=ask, args=(i,)))
        threads[-1].start()
    for _ in range(n):
        assert begun.acquire(timeout=LONG)
    yield responses
    for thread in threads:
        thread.join(LONG)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_answers_end(number: signal.Signals) -> None:
    with Serving("--slots=2", "--drain-delay=0", "--grace=10m") as serving:
        with answering(serving, 8, texts=4) as responses:
            serving.signal(number)
            serving.wait(rf"{number.name}: draining; [1-8] answers may go on for 10m")
        assert serving.end() == 0
        assert [(status, got[-1]) for status, got in responses] == [(200, "[DONE]")] * 8
        serving.wait("stopped$")


def test_server_that_drains_is_not_ready_and_serves_during_its_delay() -> None:
    with Serving("--slots=1", "--drain-delay=1h", "--grace=2h") as serving:
        serving.signal(signal.SIGTERM)
        serving.wait("draining")
        assert serving.ask("/ready")[0] == 503
        assert serving.ask("/health")[0] == 200
        assert serving.ask("/v1/completions", SHORT)[0] == 200
        assert serving.end(signal.SIGTERM) == 143


def test_server_that_drains_refuses_after_its_delay() -> None:
    with Serving("--slots=1", "--drain-delay=100ms", "--grace=10m") as serving:
        with answering(serving, 2, texts=2) as responses:
            serving.signal(signal.SIGTERM)
            while True:  # until the delay is over
                try:
                    status, _body = serving.ask("/v1/completions", {**SHORT, "priority": 1})
                except OSError:
                    break
                assert status in (200, 503)
        assert serving.end() == 0
        assert [got[-1] for _, got in responses] == ["[DONE]"] * 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_ends_answers(number: signal.Signals, status: int) -> None:
    with Serving("--slots=1") as serving:
        with answering(serving, 8, texts=64) as responses:
            serving.signal(number)
            serving.wait("draining")
            serving.signal(number)
            serving.wait(rf"warning: {number.name}: ending \d+ answers")
        assert serving.end() == status
        assert any("[DONE]" not in got for _, got in responses)


def test_grace_bounds_the_drain() -> None:
    with Serving("--slots=1", "--grace=100ms", "--drain-delay=0") as serving:
        with answering(serving, 8, texts=64) as responses:
            serving.signal(signal.SIGTERM)
            assert serving.end() == 0
        cut = [got for _, got in responses if "[DONE]" not in got]
        assert cut


def test_signal_before_the_server_is_ready_ends_it(tmp_path: Path) -> None:
    with slow_model(tmp_path) as (slow, over):
        with Serving(model=("-m", slow), ready=False) as serving:
            serving.signal(signal.SIGTERM)
            over.set()
            assert serving.end() == 143
            serving.wait("SIGTERM before the server was ready")


# ---- systemd -------------------------------------------------------------------------------------


class Systemd:
    """The end of the socket that systemd has."""

    def __init__(self, address: str) -> None:
        self.heard: list[str] = []
        self._more = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Systemd:
        self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        while message := self._socket.recv(65536):
            with self._more:
                self.heard.append(message.decode())
                self._more.notify_all()

    def wait(self, state: str, times: int = 1) -> None:
        """Until as many messages with this line have come."""

        def look() -> bool:
            return sum(state in message.split("\n") for message in self.heard) >= times

        with self._more:
            assert self._more.wait_for(look, LONG), self.heard


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_what_happens(abstract: bool, keys: Path, tmp_path: Path) -> None:
    address = f"@burble-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with (
        Systemd(address) as systemd,
        Serving(f"--api-key-file={keys}", env={"NOTIFY_SOCKET": address}) as serving,
    ):
        systemd.wait("READY=1")
        assert systemd.heard[0].startswith("STATUS=loading shakespeare: ")
        assert f"STATUS=http://{serving.address}" in systemd.heard[-1]
        serving.signal(signal.SIGHUP)
        systemd.wait("READY=1", 2)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", systemd.heard[-2])
        serving.signal(signal.SIGTERM)
        systemd.wait("STOPPING=1")
        assert serving.end() == 0


def test_watchdog_is_fed(tmp_path: Path) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
    with Systemd(env["NOTIFY_SOCKET"]) as systemd:
        with Serving(env=env):
            systemd.wait("WATCHDOG=1", 5)
        systemd.heard.clear()
        with Serving(env={**env, "WATCHDOG_PID": "1"}) as serving:
            serving.stop()
        systemd.wait("STOPPING=1")
        assert "WATCHDOG=1" not in systemd.heard


# A shell does what systemd does: descriptor 3, and whose it is.
ACTIVATE = 'exec 3<&"$FD"; LISTEN_PID=$$ exec "$@"'


def activated(listener: socket.socket, *args: str, fds: int = 1, **kwargs: Any) -> Serving:
    return Serving(
        *args,
        port=(),
        prefix=("bash", "-c", ACTIVATE, "bash"),
        env={"FD": str(listener.fileno()), "LISTEN_FDS": str(fds)},
        pass_fds=(listener.fileno(),),
        **kwargs,
    )


def test_passed_socket_is_listened_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A connection that was made before the server was started.
        early = socket.create_connection(listener.getsockname(), LONG)
        early.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with early, activated(listener) as serving:
            assert serving.port == listener.getsockname()[1]
            assert early.recv(65536).startswith(b"HTTP/1.1 200")
            assert serving.ask("/v1/completions", SHORT)[0] == 200


def test_other_descriptor_than_a_listening_socket_is_refused() -> None:
    with (
        socket.socket() as deaf,
        socket.socket(socket.AF_UNIX) as local,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        local.bind(f"\0burble-test-{os.getpid()}")
        local.listen()
        for passed, fds, message in (
            (deaf, 1, "expected a listening TCP socket as descriptor 3, found another one"),
            (local, 1, "expected a listening TCP socket as descriptor 3, found another one"),
            (listener, 2, "expected one socket, found 2"),
        ):
            done = subprocess.run(
                ["bash", "-c", ACTIVATE, "bash", command(), "serve", "-m", MODEL],
                env=environment(FD=str(passed.fileno()), LISTEN_FDS=str(fds)),
                pass_fds=(passed.fileno(),),
                capture_output=True,
                text=True,
                timeout=LONG,
            )
            assert (done.returncode, done.stderr) == (1, f"burble serve: LISTEN_FDS: {message}\n")
