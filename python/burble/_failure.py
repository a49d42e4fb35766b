# SPDX-License-Identifier: MIT
"""What an exception of a generation must not keep."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import sys
from types import CodeType
from typing import Any

# A frame of a generator or coroutine may be one that only waits to go on. Before Python 3.13,
# clearing it would end it.
_SUSPENDABLE = (
    0
    if sys.version_info >= (3, 13)
    else inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
)

# Works for any exception, even if its class hides the attributes of these names.
_TRACEBACK, _CAUSE, _CONTEXT = (
    vars(BaseException)[name].__get__ for name in ("__traceback__", "__cause__", "__context__")
)

_Group: Any = getattr(builtins, "BaseExceptionGroup", ())  # from Python 3.11 on


def clear_frames(exception: BaseException, ended: CodeType | None = None) -> None:
    """Let go of the local variables of the calls that ``exception`` has ended.

    The stream keeps the exception, for its other readers. The exception keeps its traceback, and in
    it the frame of the reader that has got it, which refers to the stream. So, until the collector
    finds that cycle, the tensors of a ``generate`` that ran out of memory would keep that memory.

    Files, lines and names in the traceback stay. A call that is not over stays as it is.

    :param ended: the code of a generator that is known to be over.
    """
    seen: set[int] = set()
    errors: list[BaseException | None] = [exception]
    while errors:
        error = errors.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        trace = _TRACEBACK(error)
        while trace is not None:
            frame = trace.tb_frame
            if frame.f_code is ended or not frame.f_code.co_flags & _SUSPENDABLE:
                with contextlib.suppress(RuntimeError):  # it runs, or waits to go on
                    frame.clear()
            trace = trace.tb_next
        errors += [_CAUSE(error), _CONTEXT(error)]
        if isinstance(error, _Group):
            errors.extend(error.exceptions)
