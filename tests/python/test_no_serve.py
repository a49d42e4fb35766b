# SPDX-License-Identifier: MIT
"""A build without the libraries of the server."""

from __future__ import annotations

import pytest

import burble
from burble import _core

pytestmark = pytest.mark.skipif(
    hasattr(_core, "Server"), reason="this burble was built with a server"
)


def test_server_without_its_libraries_says_how_to_get_it() -> None:
    with pytest.raises(ImportError, match=r"pip install .*-Dserve=enabled"):
        burble.Server(lambda request: "x")
    with pytest.raises(ImportError, match="built without the libraries of its server"):
        burble.serve(lambda request: "x")
