# SPDX-License-Identifier: MIT
"""Makes a header of a later version: in each struct with reserved room, its first word is a member.

later.py HEADER RESULT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOM = re.compile(r"^( +)(uint(?:32|64)_t) reserved\[(\d+)\];", re.MULTILINE)

if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    later = ROOM.sub(lambda m: f"{m[1]}{m[2]} later, reserved[{int(m[3]) - 1}];", text)
    Path(sys.argv[2]).write_text(later, encoding="utf-8")
