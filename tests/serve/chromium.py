# SPDX-License-Identifier: MIT
"""Chromium without a window, driven by the DevTools protocol: keys, clicks, reloads."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

# What bounds a wait: a browser starts slowly on a busy machine.
LONG = 90.0

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-proxy-server", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"),
    "--disable-background-timer-throttling",
)
# Chromium reads commands from descriptor 3 and writes to descriptor 4.
START = 'exec "$@" 3<&"$COMMANDS" 4>&"$REPLIES"'
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}


class Chromium:
    """A browser, with a profile of its own."""

    def __init__(self, profile: Path) -> None:
        self._last = 0
        self._buffer = b""
        self._replies: dict[int, dict[str, Any]] = {}
        self.faults: list[str] = []  # exceptions of pages, and what their policy has refused
        commands, self._out = os.pipe()
        self._in, replies = os.pipe()
        assert PROGRAM is not None
        with profile.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", START, "bash", PROGRAM, *OPTIONS, f"--user-data-dir={profile}"],
                pass_fds=(commands, replies),
                env={**os.environ, "COMMANDS": str(commands), "REPLIES": str(replies)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(commands)
        os.close(replies)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._process.poll() is None:
                self.call("Browser.close", wait=10.0)
                self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def call(
        self, method: str, session: str | None = None, wait: float = LONG, **params: Any
    ) -> dict[str, Any]:
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        end = time.monotonic() + wait
        while number not in self._replies:
            self._read(end, method)
        reply = self._replies.pop(number)
        assert "error" not in reply, (method, reply["error"])
        result: dict[str, Any] = reply["result"]
        return result

    def _read(self, end: float, method: str) -> None:
        ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"no reply to {method}"
        data = os.read(self._in, 1 << 20)
        assert data, "Chromium has ended"
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._replies[message["id"]] = message
            elif message["method"] == "Runtime.exceptionThrown":
                self.faults.append(json.dumps(message["params"]["exceptionDetails"]))
            elif message["method"] == "Log.entryAdded":
                entry = message["params"]["entry"]
                if entry["source"] in ("security", "javascript", "violation"):
                    self.faults.append(entry["text"])

    def page(self, url: str, like: Page | None = None) -> Page:
        """A tab that shares its storage with no other one, or with one that is given."""
        context = like.context if like else self.call("Target.createBrowserContext")
        target = self.call("Target.createTarget", url="about:blank", **context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target, context)
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.size(1200, 800)
        page.call("Page.navigate", url=url)
        return page


class Page:
    """A tab."""

    def __init__(
        self, browser: Chromium, session: str, target: str, context: dict[str, Any]
    ) -> None:
        self.browser = browser
        self.context = context
        self._session = session
        self._target = target

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, self._session, **params)

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2,
            mobile=mobile,
        )

    def media(self, **features: str) -> None:
        """prefers_color_scheme="dark" and so on."""
        given = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.call("Emulation.setEmulatedMedia", features=given)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, wait: float = LONG) -> Any:
        """Wait until an expression is true, also across reloads. Returns its value."""
        end = time.monotonic() + wait
        look = (
            "new Promise(done => { const end = performance.now() + 1000; const look = () => {"
            f" let found; try {{ found = ({expression}) }} catch {{ }}"
            " if (found || performance.now() > end) done(found ? [found] : null);"
            " else setTimeout(look, 10) };"
            " look() })"
        )
        while True:
            try:
                found = self.evaluate(look)
            except AssertionError as error:  # the page is being replaced
                if "ontext" not in str(error) and "navigat" not in str(error):
                    raise
                found = None
            if found:
                return found[0]
            assert time.monotonic() < end, (expression, self.text("body"), self.browser.faults)

    def text(self, selector: str) -> str:
        found = self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return str(found)

    def click(self, selector: str) -> None:
        """With the mouse, in its middle."""
        quoted = json.dumps(selector)
        self.until(f"document.querySelector({quoted})?.getClientRects().length")
        x, y = self.evaluate(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(document.querySelector({quoted}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, shift: bool = False) -> None:
        code, text = KEYS[key]
        shared = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def reload(self) -> None:
        self.evaluate("globalThis.beforeReload = true")
        self.call("Page.reload")
        self.until("!globalThis.beforeReload && document.readyState === 'complete'")

    def screenshot(self, path: Path) -> None:
        found = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))
