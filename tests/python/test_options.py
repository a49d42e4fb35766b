# SPDX-License-Identifier: MIT
"""Every option on every path works as documented or is refused by name: docs/python/options.md."""

from __future__ import annotations

from typing import Any

import option_table
import pytest
from option_table import OPTIONS, Way
from shipped import tokenizer

pytestmark = pytest.mark.timeout(120)

WAYS = {
    way.name: way
    for way in (
        Way("`stream`, ids", option_table.function),
        Way("`stream`, text", option_table.function_of_text, takes_ids=False),
        Way("its rows of ids", option_table.row),
        Way("`Pool.stream`", option_table.pooled("stream")),
        Way("`iterate`", option_table.iterate, takes_ids=False),
        Way("`Pool.iterate`", option_table.pooled("iterate"), takes_ids=False),
        Way("`channel`, ids", option_table._channel(tokenizer(), text=False)),
        Way("`channel`, text", option_table._channel(None, text=True), takes_ids=False),
        Way("`BatchStreamer`", option_table.batch_streamer),
    )
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("way", WAYS)
def test_option_works_or_is_refused(option: str, way: str) -> None:
    option_table.check_cell(option, WAYS[way])


@pytest.mark.parametrize("option", OPTIONS)
def test_option_of_drop_in_streamers_works_or_is_refused(option: str, shakespeare: Any) -> None:
    option_table.check_cell(option, Way("drop-in streamers", option_table.drop_in(shakespeare)))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(("way", "rows"), [("`stream`, transformers", 1), ("its rows", 2)])
def test_option_with_transformers_works_or_is_refused(
    option: str, way: str, rows: int, shakespeare_model: Any
) -> None:
    option_table.check_cell(option, Way(way, option_table.transformers(shakespeare_model, rows)))


def test_table_has_every_option_and_path() -> None:
    page = option_table.read_page()
    assert tuple(page) == tuple(OPTIONS)
    for option, cells in page.items():
        assert tuple(cells) == option_table.COLUMNS, option
        assert set(cells.values()) <= {"works", "refused", "–"}, option
