# SPDX-License-Identifier: MIT
"""What a batch refuses to take, it takes no part of."""

from __future__ import annotations

from typing import Any

import pytest

import burble

BYTES = [bytes([i]) for i in range(128)]

SHAPE = r"a batch of 2: expected token ids of shape \[2\] or \[2, n\], found "

REFUSED: list[tuple[Any, type[Exception], str]] = [
    ([[65], 66], TypeError, SHAPE + "list in row 0 and int in row 1"),
    ([66, [65]], TypeError, SHAPE + "int in row 0 and list in row 1"),
    ([[[65]], [[66]]], TypeError, "row 0: a token id must be an int, found list"),
    ([[65], ["a"]], TypeError, "row 1: a token id must be an int, found str"),
    ([65, None], TypeError, "row 1: a token id must be an int, found NoneType"),
    ([65, 66.0], TypeError, "row 1: a token id must be an int, found float"),
    ([65, -1], ValueError, "row 1: a token id must be from 0 to 2147483647, found -1"),
    (
        [65, 2**40],
        ValueError,
        "row 1: a token id must be from 0 to 2147483647, found 1099511627776",
    ),
    ([65, 66, 67], ValueError, SHAPE + r"3 row\(s\)"),
    (65, ValueError, SHAPE + r"1 row\(s\)"),
    ([], ValueError, SHAPE + r"0 row\(s\)"),
    ("ab", ValueError, SHAPE + r"1 row\(s\)"),
]


@pytest.mark.parametrize(("value", "error", "message"), REFUSED, ids=repr)
def test_batch_put_refused_leaves_every_row_unchanged(
    value: Any, error: type[Exception], message: str
) -> None:
    streamer = burble.BatchStreamer(BYTES, 2, eos_token_id=1, pad_token_id=0, skip_prompt=True)
    with pytest.raises(error, match=message):
        streamer.put(value)
    streamer.put([[70], [71]])  # still the first: the prompts
    with pytest.raises(error, match=message):
        streamer.put(value)
    streamer.put([72, 73])
    streamer.end()
    assert list(streamer) == [(0, "H"), (1, "I")]


@pytest.mark.parametrize(("value", "error", "message"), REFUSED, ids=repr)
def test_batch_put_refused_fails_stream_after_earlier_text(
    value: Any, error: type[Exception], message: str
) -> None:
    def generate(streamer: Any) -> None:
        streamer.put([72, 73])
        streamer.put(value)

    batch = burble.stream(generate, tokenizer=BYTES, batch=2)
    assert [next(batch), next(batch)] == [(0, "H"), (1, "I")]
    with pytest.raises(error, match=message):
        next(batch)
