# SPDX-License-Identifier: MIT
"""``Unpack`` for every Python: typing has it from 3.11 on, and type checkers for older ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    from typing import Unpack as Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack
else:

    class Unpack:
        """Enough for typing.get_type_hints."""

        def __class_getitem__(cls, kind: Any) -> Any:
            return Any
