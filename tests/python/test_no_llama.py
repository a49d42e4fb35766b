# SPDX-License-Identifier: MIT
"""An ordinary build, which has no llama.cpp."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from burble import _core

pytestmark = pytest.mark.skipif(
    hasattr(_core, "LlamaEngine"), reason="this burble was built with llama.cpp"
)


def test_engine_without_llama_cpp_says_how_to_get_it() -> None:
    with pytest.raises(ImportError, match=r"pip install .*-Dllama=enabled") as caught:
        importlib.import_module("burble.llama")
    assert caught.value.name == "burble.llama"


def test_extension_needs_no_llama_cpp() -> None:
    assert _core.__file__ is not None
    assert b"libllama" not in Path(_core.__file__).read_bytes()
