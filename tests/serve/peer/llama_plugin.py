# SPDX-License-Identifier: MIT
"""A plugin for llama_tests.py: no server of each model is started before the tests, for no model is
downloaded; and a server that has started has loaded its model, which llama-server's /health says,
and burble's /ready."""

from __future__ import annotations

import importlib
import time
import urllib.error
import urllib.request
from typing import Any


def pytest_sessionstart() -> None:
    """Replace what the tests' conftest.py and utils.py do."""
    utils = importlib.import_module("utils")
    utils.ServerPreset.load_all = lambda: None
    start = utils.ServerProcess.start

    def start_and_load(server: Any, *args: Any, **options: Any) -> None:
        start(server, *args, **options)
        while status(server.make_url("/ready")) == 503:
            time.sleep(0.01)

    utils.ServerProcess.start = start_and_load
    ask = utils.ServerProcess.make_request

    def ask_and_tell(server: Any, *args: Any, **options: Any) -> Any:
        response = ask(server, *args, **options)
        if response.status_code >= 400:
            print(f"refused: {response.body}")  # llama_tests.py looks for the reason
        return response

    utils.ServerProcess.make_request = ask_and_tell


def status(url: str) -> int:
    """The status of a GET request."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
