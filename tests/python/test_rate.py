# SPDX-License-Identifier: MIT
"""How fast a stream was: said only where there are two times to tell it by."""

from __future__ import annotations

from typing import Any

import burble

BYTES = [bytes([i]) for i in range(128)]


def test_tokens_put_together_have_no_rate() -> None:
    writer, stream = burble.channel(BYTES)
    writer.put([65] * 1000)
    assert stream.stats.tokens == 1000
    assert stream.stats.tokens_per_second is None


def test_tokens_put_with_first_one_do_not_count() -> None:
    writer, stream = burble.channel(BYTES)
    assert stream.stats.tokens_per_second is None
    writer.put([65] * 1_000_000)
    writer.put(65)
    rate = stream.stats.tokens_per_second
    assert rate is not None
    tokens, _, first, last, *_ = stream._stats.stats  # type: ignore[union-attr]
    assert tokens == 1_000_001
    assert rate == 1 / (last - first)


def test_batch_rows_of_one_token_have_no_rate() -> None:
    def generate(streamer: Any) -> None:
        streamer.put([65, 66])

    with burble.stream(generate, tokenizer=BYTES, batch=2) as batch:
        list(batch)
    assert [stats.tokens_per_second for stats in batch.stats] == [None, None]


def test_one_item_has_no_rate() -> None:
    with burble.iterate([1]) as stream:
        list(stream)
    assert stream.stats.tokens_per_second is None
