# SPDX-License-Identifier: MIT
"""Where the tokenizers and the model lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHAKESPEARE = ROOT / "models" / "shakespeare"
_SHARED = ROOT.parent / "shared" / "tokenizers"


def default_tokenizer() -> Path:
    """Return a tokenizer as large models have it, where one is at hand; else the shipped one."""
    return next((p for p in (_SHARED / "gpt2", _SHARED / "llama3") if p.is_dir()), SHAKESPEARE)


def load_tokenizer(path: Path) -> Any:
    """Load a tokenizer from a folder; nothing is downloaded."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, local_files_only=True)


def load_model() -> Any:
    """Load the shipped model."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(SHAKESPEARE, local_files_only=True).eval()
