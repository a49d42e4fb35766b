# SPDX-License-Identifier: MIT
"""Shared by the tests of the log: readers that wait in threads, and logs that failed."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import read_to_error

from burble._core import Log, Reader


def is_waited_at(reader: Reader) -> bool:
    try:
        assert reader.take() is None
    except RuntimeError:
        return True
    return False


class Waiting:
    """A thread that reads on."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.values: list[Any] = []
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.values, self.error = read_to_error("threads", self.reader)


class Broken(Exception):
    pass


def break_down() -> None:
    raise Broken("it broke")


def failed_log(readers: int = 1) -> tuple[Log, list[Reader]]:
    log = Log()
    found = [log.reader() for _ in range(readers)]
    log.append("a")
    with pytest.raises(Broken) as caught:
        break_down()
    assert log.fail(caught.value)
    return log, found
