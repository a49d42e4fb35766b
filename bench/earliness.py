# SPDX-License-Identifier: MIT
"""How much text is held back after each id, by kind of decoder.

For each family of tests/python/test_exactness.py: the characters that a detokenizer has not handed
out yet although the ids so far say them, in the mean over the ids of that test's sample text (or of
the file that is named). Beside burble stand the tokenizers library's ``DecodeStream``, and vLLM's
rule of prefix and read offsets. "wrong" is what hands out text that decode does not say, or gives
up. Who may be early and wrong may be earlier than burble, which is never wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# In the place of this folder, a module of which is called as one that a package has.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests" / "python")

from conftest import SAMPLE_TEXT, SHARED, SHARED_FAMILIES  # noqa: E402
from test_exactness import FAMILIES, PANICS, earliness  # noqa: E402


def number(value: float | None) -> str:
    return "wrong" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="?", type=Path, help="a file in UTF-8")
    parser.add_argument("--characters", type=int, default=2000, help="how much of it (2000)")
    args = parser.parse_args()
    text = args.text.read_text(encoding="utf-8") if args.text else SAMPLE_TEXT
    names = [name for name in FAMILIES if name != PANICS]
    if SHARED.is_dir():
        names += SHARED_FAMILIES
    print(f"{'characters held back (mean)':32} {'burble':>8} {'DecodeStream':>13} {'vLLM':>8}")
    for name in names:
        found = earliness(name, text[: args.characters])
        theirs = f"{number(found.decode_stream):>13} {number(found.offsets):>8}"
        print(f"{name:32} {number(found.burble):>8} {theirs}")


if __name__ == "__main__":
    main()
