# SPDX-License-Identifier: MIT
"""burble.stream: timeouts."""

from __future__ import annotations

import threading

import pytest
from generating import TEXT, Steps, say, stream
from helpers import KINDS, SOON, at_some_pace, read, run, until
from shipped import ids, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("name", "n", "error"),
    [
        ("first_token_timeout", 0, burble.FirstTokenTimeout),
        ("token_timeout", 3, burble.TokenTimeout),
        ("total_timeout", 3, burble.TotalTimeout),
    ],
)
def test_timeout_comes_after_text_and_ends_generation(
    kind: str, name: str, n: int, error: type[burble.Timeout]
) -> None:
    def attempt(timeout: float) -> None:
        steps = Steps()
        handle = stream(steps, **{name: timeout})
        steps.go(n)
        found: list[str] = []
        with pytest.raises(error):
            read(kind, handle, found)
        assert issubclass(error, TimeoutError)
        assert isinstance(handle.error, error)
        with pytest.raises(error):
            _ = handle.result
        steps.go()
        assert steps.ended.wait(SOON)
        assert steps.put == n
        assert "".join(found) == tokenizer().decode(ids(TEXT)[:n])

    at_some_pace(attempt)


def test_timeout_counts_time_in_queue_of_pool() -> None:
    gate = threading.Event()
    with burble.Pool(1) as pool:
        pool.submit(gate.wait)
        handle = stream(say, TEXT, first_token_timeout=0.05, pool=pool)
        with pytest.raises(burble.FirstTokenTimeout):
            next(handle)
        gate.set()
        assert handle._job.wait(SOON)
    assert handle._log.position == 0


def test_timeout_does_not_count_wait_for_readers() -> None:
    def attempt(timeout: float) -> None:
        handle = stream(say, TEXT * 20, max_lag=100, token_timeout=timeout)
        until(lambda: handle.stats.blocked > 1.5 * timeout or handle.state != "open")
        assert "".join(handle) == TEXT * 20

    at_some_pace(attempt)


@pytest.mark.parametrize("loop", KINDS)
def test_timeout_reaches_wait_and_join(loop: str) -> None:
    steps = Steps()
    handle = stream(steps, total_timeout=0.05)

    async def main() -> None:
        with pytest.raises(burble.TotalTimeout):
            await handle.wait()

    run(loop, main)
    with pytest.raises(burble.TotalTimeout):
        handle.join()
    steps.go()
    assert steps.ended.wait(SOON)
