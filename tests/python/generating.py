# SPDX-License-Identifier: MIT
"""Shared by the tests of burble.stream: functions that generate, and a stream of one."""

from __future__ import annotations

import threading
from typing import Any, Callable

from helpers import SOON
from shipped import ids, tokenizer

import burble

TEXT = "To be, or not to be: that is the question"


def say(text: str, *, streamer: Any) -> str:
    """As little as a generate can be."""
    for token in ids(text):
        streamer.put([token])
    return f"said {text}"


def stream(generate: Callable[..., Any], *args: Any, **options: Any) -> burble.Stream[str]:
    options.setdefault("tokenizer", tokenizer())
    return burble.stream(generate, *args, **options)


class Steps:
    """A generate that goes on when it is told, and says where it is."""

    def __init__(self, text: str = TEXT) -> None:
        self.ids = ids(text)
        self.step = threading.Semaphore(0)
        self.put = 0
        self.ended = threading.Event()

    def go(self, n: int = 1) -> None:
        for _ in range(n):
            self.step.release()

    def __call__(self, *, streamer: Any) -> str:
        try:
            for token in self.ids:
                assert self.step.acquire(timeout=SOON)
                streamer.put([token])
                self.put += 1
            return "all"
        finally:
            self.ended.set()
