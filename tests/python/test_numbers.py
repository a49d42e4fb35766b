# SPDX-License-Identifier: MIT
"""Each option that is a number: a value that is no such number is refused by name, in a line."""

from __future__ import annotations

import math
from typing import Any, Callable

import pytest

import burble
from burble import _core
from burble._server import ServerOptions

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]

HUGE = 10**400  # no float is as large
WRONG: dict[str, Any] = {
    "huge": HUGE,
    "-huge": -HUGE,
    "more digits than str() writes": 10**5000,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
}


CALLS: dict[str, tuple[Callable[..., object], tuple[str, ...]]] = {
    "channel": (
        burble.channel,
        ("keep", "max_lag", "interval", "first_token_timeout", "token_timeout", "total_timeout"),
    ),
    "iterate": (lambda **given: burble.iterate([], **given), ("keep", "interval", "join_timeout")),
    "reader": (
        lambda **given: burble.channel()[1].reader(**given),
        ("start", "max_lag", "interval"),
    ),
    "Pool": (burble.Pool, ("workers", "idle_timeout")),
    "sse": (lambda **given: burble.sse(burble.channel()[1], **given), ("keep_alive",)),
}
if hasattr(_core, "Server"):
    CALLS["Server"] = (
        lambda **given: burble.Server(print, **given),
        ("port", "workers", "max_answers", "context", *ServerOptions.__annotations__),
    )
    CALLS["Server.drain"] = (lambda **given: burble.Server(print).drain(**given), ("grace",))
    CALLS["serve"] = (lambda **given: burble.serve(print, port=0, **given), ("grace",))


@pytest.mark.parametrize("value", list(WRONG))
@pytest.mark.parametrize(
    ("call", "option"), [(call, one) for call, (_, options) in CALLS.items() for one in options]
)
def test_number_that_is_none_is_refused_by_name(call: str, option: str, value: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{option}: expected") as raised:
        CALLS[call][0](**{option: WRONG[value]})
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "wait", [HUGE, -HUGE, math.nan, -math.inf], ids=["huge", "-huge", "nan", "-inf"]
)
def test_wait_for_what_is_no_time_is_refused(wait: float) -> None:
    if not hasattr(_core, "Server"):
        pytest.skip("this burble has no server")
    server = burble.Server(print)
    with pytest.raises(ValueError, match=r"^timeout: expected"):
        server.wait(wait)
    server.close()


def test_a_thousand_years_are_for_ever() -> None:
    """No clock overflows."""
    years = 1000.0 * 365 * 86400
    writer, stream = burble.channel(total_timeout=years, token_timeout=1e300)
    writer.put_text("a")
    writer.end()
    assert list(stream) == ["a"]
    pool = burble.Pool(1, idle_timeout=1e300)
    with pool.iterate(["b"], join_timeout=1e300) as items:
        assert list(items) == ["b"]
    pool.shutdown()
    if hasattr(_core, "Server"):
        with burble.Server(print, port=0, idle_timeout=years) as server:
            server.drain(years)
            assert server.wait(1e300)
