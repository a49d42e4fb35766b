# SPDX-License-Identifier: MIT
"""The options that all streams share: spelled, with their defaults, and checked here.

A function takes them as ``**given: Unpack[TextOptions]``, by which type checkers know them; its
:class:`OptionSet` shows them one by one in its signature, and so in help(). (The overloads of
:func:`burble.stream` have to spell them again: there, any other keyword is for ``generate``.)
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Literal, NamedTuple, TypedDict, TypeVar, Union

from . import _core

F = TypeVar("F", bound=Callable[..., Any])

Keep = Union[int, Literal["all"], None]
LagUnit = Literal["characters", "tokens", "bytes"]
OnLag = Literal["block", "drop_reader"]
Start = Union[int, Literal["oldest", "tail"]]

# What the core counts with.
MOST = 2**63 - 1
UINT32_MAX = 2**32 - 1
HUNDRED_YEARS = 100.0 * 365 * 86400  # seconds: what waits longer waits for ever, for all clocks

# As Log.reader has them.
_STARTS = {"oldest": -1, "tail": -2}


class Options(NamedTuple):
    """Made by :func:`options`; equal options are the same object."""

    keep: int
    max_lag: int  # 0: none
    lag_unit: LagUnit
    coalesce: bool
    interval: float | None
    first_token_timeout: float | None
    token_timeout: float | None
    total_timeout: float | None
    join_timeout: float

    def new_log(self, objects: bool = False, *, of_job: bool = True) -> _core.Log:
        """A log whose deadlines count from now on.

        :param of_job: a job ends it, however many threads write to it; else the exit of the thread
            that has written to it fails it.
        """
        log = _core.Log(
            keep=self.keep, lag_unit=self.lag_unit, objects=objects, watch_producer=not of_job
        )
        log.deadlines(self.first_token_timeout, self.token_timeout, self.total_timeout)
        return log

    def new_reader(self, log: _core.Log) -> _core.Reader:
        """A stream's own reader, from the beginning on."""
        return self.new_reader_at(0, log)

    def new_reader_at(self, position: int, log: _core.Log) -> _core.Reader:
        """A stream's own reader, from this position on."""
        reader = log.reader(position, self.max_lag, "block")
        reader.coalesce = self.coalesce
        reader.set_interval(self.interval)
        return reader


_shared = functools.lru_cache(maxsize=64)(Options)


class _GivenOptions(TypedDict, total=False):
    keep: Keep
    max_lag: int | None
    coalesce: bool
    interval: float | None
    first_token_timeout: float | None
    token_timeout: float | None
    total_timeout: float | None


class TextOptions(_GivenOptions, total=False):
    """The options of a stream of text that other code writes."""

    lag_unit: LagUnit


class ItemOptions(_GivenOptions, total=False):
    """What a stream of items takes, which a thread of a pool iterates."""

    join_timeout: float


# What each is if it is not given, unless a function says otherwise; its signature shows that.
_DEFAULTS: dict[str, Any] = {
    "keep": None,
    "max_lag": 1_048_576,
    "lag_unit": "characters",
    "coalesce": False,
    "interval": None,
    "first_token_timeout": None,
    "token_timeout": None,
    "total_timeout": None,
    "join_timeout": 10.0,
}
NAMES = frozenset(_DEFAULTS)
_KINDS = {**TextOptions.__annotations__, **ItemOptions.__annotations__}


class OptionSet:
    """Which options a function takes, and with which defaults.

    :param names: these; the others are as ``defaults`` says.
    """

    def __init__(self, names: Iterable[str] = NAMES, **defaults: Any) -> None:
        self._defaults = {**_DEFAULTS, **defaults}
        self._names = frozenset(names)
        self._function = ""

    def shown_in(self, function: F) -> F:
        """The function takes them as its last parameter, ``**given``, or among other keywords: as
        ``**kwargs``."""
        signature = inspect.signature(function)
        *others, last = signature.parameters.values()
        shown = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_annotation(name)
            )
            for name, default in self._defaults.items()
            if name in self._names
        ]
        kept = [last] if last.name == "kwargs" else []
        self._function = function.__qualname__
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*others, *shown, *kept]
        )
        return function

    def take(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Those that are among other keywords, which are left."""
        return {name: kwargs.pop(name) for name in self._names if name in kwargs}

    def check(self, given: Mapping[str, Any]) -> Options:
        """Raises TypeError or ValueError for what makes no sense."""
        for name in given:
            if name not in self._names:
                raise TypeError(f"{self._function}() got an unexpected keyword argument {name!r}")
        return _checked(**{**self._defaults, **given})


def _annotation(name: str) -> Any:
    annotation = _KINDS[name]
    return getattr(annotation, "__forward_arg__", annotation)


def _checked(
    keep: Keep,
    max_lag: int | None,
    lag_unit: LagUnit,
    coalesce: bool,
    interval: float | None,
    first_token_timeout: float | None,
    token_timeout: float | None,
    total_timeout: float | None,
    join_timeout: float,
) -> Options:
    one_of("lag_unit", lag_unit, ("characters", "tokens", "bytes"))
    return _shared(
        _keep(keep),
        limit(max_lag),
        lag_unit,
        bool(coalesce),
        optional_seconds("interval", interval),
        optional_seconds("first_token_timeout", first_token_timeout),
        optional_seconds("token_timeout", token_timeout),
        optional_seconds("total_timeout", total_timeout),
        seconds("join_timeout", join_timeout, 0.0),
    )


def optional_seconds(name: str, value: float | None) -> float | None:
    """Seconds, more than 0; or None."""
    return None if value is None else seconds(name, value)


def limit(max_lag: int | None, other: str = " or None") -> int:
    """How far a reader may be behind, as the core has it."""
    if max_lag is None:
        return 0
    return count("max_lag", max_lag, 1, other)


def start_position(start: Start) -> int:
    """The position at which a reader begins, as the core has it."""
    if isinstance(start, str):
        one_of("start", start, ("oldest", "tail"), "a position, ")
        return _STARTS[start]
    return count("start", start, 0, ", 'oldest' or 'tail'")


def count(name: str, value: Any, least: int, other: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an int{other}, found {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}{other}, found {shown(value)}")
    if value > MOST:
        raise ValueError(f"{name}: expected at most {MOST}{other}, found {shown(value)}")
    return value


def uint32(name: str, value: Any, least: int, most: int = UINT32_MAX) -> int:
    """A count for which the core has 32 bits."""
    if count(name, value, least) > most:
        raise ValueError(f"{name}: expected at most {most}, found {shown(value)}")
    return int(value)


def one_of(name: str, value: Any, allowed: tuple[str, ...], other: str = "") -> None:
    if value not in allowed:
        names = ", ".join(map(repr, allowed[:-1])) + f" or {allowed[-1]!r}"
        raise ValueError(f"{name}: expected {other}{names}, found {value!r}")


def _keep(keep: Keep) -> int:
    if keep is None:
        return 0
    if isinstance(keep, str):
        if keep != "all":
            raise ValueError(f"keep: expected None, a number or 'all', found {keep!r}")
        return -1
    return count("keep", keep, 0, ", 'all' or None")


def seconds(name: str, value: Any, least: float | None = None) -> float:
    """Seconds from ``least`` on; None: more than 0. More than a hundred years are a hundred
    years."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name}: expected seconds, found {value!r}")
    if not _is_finite(value) or (value <= 0 if least is None else value < least):
        bound = "more than 0" if least is None else "0 or more"
        raise ValueError(f"{name}: expected seconds, {bound}, found {shown(value)}")
    return min(float(value), HUNDRED_YEARS)


def real(name: str, value: Any) -> Any:
    """A number for which the core has a float, and whose type and range it checks."""
    if isinstance(value, int) and not _is_finite(value):
        raise ValueError(f"{name}: expected a number, found {shown(value)}")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that is larger than all floats
        return False


def shown(value: Any) -> str:
    """A number as messages show it, which are not to have thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"
    return repr(value)
