# SPDX-License-Identifier: MIT
"""The files in packaging/: nginx and Caddy in front of `burble serve`, its unit and its container.

nginx and Caddy are used where they are installed (`make proxies`).
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import LONG, ROOT, Serving, command, environment, long_answer

pytestmark = pytest.mark.timeout(180)

PACKAGING = ROOT / "packaging"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
CADDY = shutil.which("caddy")


def needs(program: object, name: str) -> Any:
    return pytest.mark.skipif(not program, reason=f"needs {name}: make proxies")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def proxy(*words: object, port: int, log: Path, **env: str) -> Iterator[None]:
    """A proxy that speaks TLS on a port, until the end of the `with`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in words], stdout=out, stderr=out, env=environment(**env)
        )
    try:
        while process.poll() is None:
            with (
                contextlib.suppress(OSError),  # also until it has its certificate
                socket.create_connection(("127.0.0.1", port)) as connection,
                context.wrap_socket(connection, server_hostname="example.com"),
            ):
                break
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(LONG)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nginx(serving: Serving, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=example.com", "-keyout", tmp_path / "key.pem"),
            *("-out", tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    block = replaced(
        (PACKAGING / "nginx.conf").read_text(),
        ("server 127.0.0.1:8080;", f"server 127.0.0.1:{serving.port};"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/certs/example.com.pem", str(tmp_path / "cert.pem")),
        ("/etc/ssl/private/example.com.key", str(tmp_path / "key.pem")),
    )
    (tmp_path / "burble.conf").write_text(block)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {tmp_path}/pid;\nerror_log stderr;\n"
        "events {}\n"
        f"http {{\naccess_log off;\n{temporary}include {tmp_path}/burble.conf;\n}}\n"
    )
    words = (NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf")
    with proxy(*words, port=port, log=tmp_path / "log"):
        yield port


@contextlib.contextmanager
def caddy(serving: Serving, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    text = replaced(
        (PACKAGING / "Caddyfile").read_text(),
        ("example.com {", f"https://example.com:{port} {{\n\tbind 127.0.0.1\n\ttls internal\n"),
        ("reverse_proxy 127.0.0.1:8080", f"reverse_proxy 127.0.0.1:{serving.port}"),
    )
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
    (tmp_path / "Caddyfile").write_text(options + text)
    words = (CADDY, "run", "--adapter", "caddyfile", "--config", tmp_path / "Caddyfile")
    home = str(tmp_path / "home")
    with proxy(*words, port=port, log=tmp_path / "log", HOME=home, XDG_DATA_HOME=home):
        yield port


@pytest.fixture(
    params=[
        pytest.param(nginx, marks=needs(NGINX, "nginx"), id="nginx"),
        pytest.param(caddy, marks=needs(CADDY, "Caddy"), id="caddy"),
    ]
)
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Serving, int]]:
    """A server, and the port of the proxy in front of it."""
    with Serving("--slots=1") as serving, request.param(serving, tmp_path) as port:
        yield serving, port


def curl(port: int, path: str, *args: str) -> list[str]:
    return [
        *(
            "curl",
            "--silent",
            "--show-error",
            "--insecure",
            "--noproxy",
            "*",
            "--max-time",
            str(int(LONG)),
        ),
        *("--resolve", f"example.com:{port}:127.0.0.1", *args, f"https://example.com:{port}{path}"),
    ]


def output(*args: Any) -> str:
    return subprocess.run(curl(*args), capture_output=True, text=True, check=True).stdout


def body(**members: Any) -> tuple[str, ...]:

    return ("--json", json.dumps({**long_answer(), "n": 1, **members}))


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@needs_curl
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_proxy_passes_answers_on(proxied: tuple[Serving, int], version: str) -> None:
    _, port = proxied
    show = ("-w", "%{http_version} %{http_code}\n")
    assert output(port, "/ready", version, "-o", "/dev/null", *show) == (
        "2 200\n" if version == "--http2" else "1.1 200\n"
    )
    text = output(port, "/v1/completions", version, *body(max_tokens=20))
    assert text.count("data: ") > 10
    assert text.endswith("data: [DONE]\n\n")
    assert output(port, "/metrics", version, "-o", "/dev/null", *show).split()[1] == "200"


@needs_curl
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_proxy_passes_pieces_on_as_they_come(proxied: tuple[Serving, int], version: str) -> None:
    """A piece is here while the answer is far from its end; a client that leaves ends it."""
    serving, port = proxied
    words = curl(port, "/v1/completions", version, "-N", *body(n=64))
    with subprocess.Popen(words, stdout=subprocess.PIPE) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline().startswith(b"data: ")
            assert "POST /v1/completions" not in serving.text  # it is not over
        finally:
            client.kill()
    serving.wait(r"POST /v1/completions (disconnected|cancelled)")


@needs_curl
def test_proxy_bounds_bodies(proxied: tuple[Serving, int], tmp_path: Path) -> None:
    """The status arrives. (Over HTTP/1.1 it need not: Caddy closes before it has read the body.)"""
    _, port = proxied
    path = tmp_path / "large"
    path.write_bytes(b" " * (9 << 20))
    show = ("--http2", "-o", "/dev/null", "-w", "%{http_code}")
    words = curl(port, "/v1/completions", "--json", f"@{path}", *show)
    # Not `check`: Caddy may cut what follows the status.
    client = subprocess.run(words, capture_output=True, text=True, check=False)
    assert client.stdout == "413", client.stderr


@needs_curl
@pytest.mark.skipif(not NGINX, reason="needs nginx: make proxies")
def test_request_id_joins_the_logs(tmp_path: Path) -> None:
    with Serving() as serving, nginx(serving, tmp_path) as port:
        output(port, "/v1/models", "-H", "X-Request-Id: mine-7")
        output(port, "/v1/models")
        serving.stop()
        ids = re.findall(r"GET /v1/models .*request_id=(\S+)", serving.text)
        assert ids[0] == "mine-7"
        assert re.fullmatch(r"[0-9a-f]{32}", ids[1])


# ---- systemd -------------------------------------------------------------------------------------

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with the command that was built."""
    for name in ("burble.service", "burble.socket"):
        text = (PACKAGING / name).read_text().replace("/usr/local/bin/burble", command())
        (tmp_path / name).write_text(text)
    return [tmp_path / "burble.service", tmp_path / "burble.socket"]


@needs_systemd
def test_units_are_what_systemd_expects(units: list[Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_service_is_hardened(units: list[Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", units[0]],
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for burble.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) < 2  # of 10


def test_unit_gives_answers_the_time_of_grace(units: list[Path]) -> None:
    stop = re.search(r"^TimeoutStopSec=(\d+)$", units[0].read_text(), re.MULTILINE)
    grace = re.search(
        r"--grace=TIME.*?default:\s*(\d+)s",
        subprocess.run([command(), "serve", "--help"], capture_output=True, text=True).stdout,
        re.DOTALL,
    )
    assert stop is not None
    assert grace is not None
    assert int(stop[1]) > int(grace[1])


def test_configuration_file_is_taken(tmp_path: Path) -> None:
    """But for its model, which is somebody's own."""
    done = subprocess.run(
        [command(), "serve", "--config", PACKAGING / "burble.conf"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.stderr == "burble serve: /srv/burble/model.gguf: No such file or directory\n"


# ---- the container -------------------------------------------------------------------------------


def test_container_takes_what_is_there() -> None:
    text = (PACKAGING / "Containerfile").read_text()
    rules = (ROOT / "requirements" / "setup.mk").read_text()
    assert "make built-llama-release" in text
    assert re.search(r"^built-%:", rules, re.MULTILINE)
    entry = re.search(r'^ENTRYPOINT \["burble", "serve", "(--[a-z]+)=', text, re.MULTILINE)
    assert entry is not None
    done = subprocess.run([command(), "serve", "--help"], capture_output=True, text=True)
    assert entry[1] in done.stdout


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs Debian's package manager")
def test_container_has_the_libraries_of_the_command() -> None:
    text = (PACKAGING / "Containerfile").read_text().rpartition("\nFROM ")[2]
    listed = re.search(r"--no-install-recommends ([^&]*) &&", text)
    assert listed is not None
    linked = subprocess.run(["ldd", command()], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"=> (/(?:usr/)?lib/\S+)", linked):
        owner = ""
        for name in (path, f"/usr{path}", path.removeprefix("/usr")):
            found = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True)
            owner = owner or found.stdout.partition(":")[0]
        # Those of the base image, and those that its libraries bring.
        assert owner in (*listed[1].split(), "libc6", "libgcc-s1"), (path, owner)
