# SPDX-License-Identifier: MIT
"""A build without the libraries of the relay."""

from __future__ import annotations

import importlib

import pytest

from burble import _core

pytestmark = pytest.mark.skipif(
    hasattr(_core, "Relay"), reason="this burble was built with a relay"
)


def test_relay_without_its_libraries_says_how_to_get_it() -> None:
    with pytest.raises(ImportError, match=r"pip install .*-Drelay=enabled") as caught:
        importlib.import_module("burble.relay")
    assert caught.value.name == "burble.relay"
