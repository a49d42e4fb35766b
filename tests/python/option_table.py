# SPDX-License-Identifier: MIT
"""Which option works on which path: a cell of the table in docs/python/options.md is what a check
of the option on the path has found. An option that is accepted and has no effect fails its check.

`BURBLE_WRITE_OPTIONS=1` writes the cells that were tried to the page.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import SOON, until
from shipped import ids, tokenizer

import burble

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python" / "options.md"
BEGIN, END_OF_TABLE = "<!-- options: begin -->\n", "<!-- options: end -->\n"

SPECIAL = "<|endoftext|>"
END: int = tokenizer().token_to_id(SPECIAL)
TEXT = "To be, or not to be: that is the question"
PROMPT = "Hamlet: "

# Cells.
WORKS, REFUSED, NOTHING = "works", "refused", "–"


class Source:
    """What a path puts: tokens one by one; before one of them it waits until it may go on."""

    def __init__(self, tokens: list[int], prompt: list[int], stall: int | None) -> None:
        self.tokens = tokens
        self.prompt = prompt
        self.go_on = threading.Event()
        self._stall = stall

    def __iter__(self) -> Iterator[int]:
        for i, token in enumerate(self.tokens):
            if i == self._stall:
                assert self.go_on.wait(SOON)
            yield token

    def texts(self) -> Iterator[str]:
        for token in self:
            yield tokenizer().decode([token], skip_special_tokens=False)


class Way(NamedTuple):
    """A path: how it begins, and what it takes."""

    name: str
    begin: Callable[..., Any]
    takes_ids: bool = True
    is_engine: bool = False


class Begun:
    """A stream that is under way, and what has to be ended after it."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, *exception: object) -> None:
        self._exits.close()

    def __call__(
        self,
        tokens: list[int] | None = None,
        *,
        prompt: str = "",
        stall: int | None = None,
        **options: Any,
    ) -> Any:
        source = Source(
            ids(TEXT) if tokens is None else tokens, ids(prompt) if prompt else [], stall
        )
        self._exits.callback(source.go_on.set)
        return self._way.begin(source, self._exits, options)

    @property
    def way(self) -> Way:
        return self._way


# ---- paths ---------------------------------------------------------------------------------------


def _put(source: Source, put: Callable[[Any], object], rows: int = 1) -> None:
    if source.prompt:
        put([source.prompt] * rows)
    for token in source:
        put([token] * rows)


def _tokenizer(options: dict[str, Any]) -> Any:
    return options.pop("tokenizer", tokenizer())


def _cancels(stream: Any, exits: contextlib.ExitStack) -> Any:
    exits.callback(stream.cancel)
    return stream


def function(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
    def generate(*, streamer: Any) -> None:
        _put(source, streamer.put)

    return _cancels(burble.stream(generate, tokenizer=_tokenizer(options), **options), exits)


def function_of_text(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
    def generate(*, streamer: Any) -> None:
        for text in source.texts():
            streamer.put_text(text)

    return _cancels(burble.stream(generate, tokenizer=_tokenizer(options), **options), exits)


def row(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
    def generate(*, streamer: Any) -> None:
        _put(source, streamer.put, 2)

    options = {"batch": 2, **options}
    batch: Any = burble.stream(generate, tokenizer=_tokenizer(options), **options)
    _cancels(batch, exits)
    batch[1].cancel()  # nobody reads it
    return batch[0]


def transformers(model: Any, rows: int) -> Callable[..., Any]:
    def begin(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
        import torch

        tokens = iter(source)

        def choose(input_ids: Any, scores: Any) -> Any:
            chosen = torch.full_like(scores, float("-inf"))
            chosen[:, next(tokens)] = 0
            return chosen

        prompt = torch.tensor([source.prompt or ids("O")] * rows)
        stream = burble.stream(
            model.generate,
            prompt,
            tokenizer=_tokenizer(options),
            max_new_tokens=len(source.tokens),
            do_sample=False,
            logits_processor=[choose],
            **options,
        )
        _cancels(stream, exits)
        if rows == 1:
            return stream
        stream[1].cancel()  # type: ignore[index]
        return stream[0]  # type: ignore[index]

    return begin


def iterate(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
    return _cancels(burble.iterate(source.texts(), **options), exits)


def _in_thread(target: Callable[[], object], exits: contextlib.ExitStack) -> None:
    def run() -> None:
        with contextlib.suppress(burble.Error, ValueError):  # its stream says the same
            target()

    thread = threading.Thread(target=run)
    thread.start()
    exits.callback(thread.join, SOON)


def _channel(given: Any, text: bool) -> Callable[..., Any]:
    def begin(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
        found = options.pop("tokenizer", given)
        writer, stream = burble.channel(found, **options)

        def write() -> None:
            with writer:
                if text:
                    for part in source.texts():
                        writer.put_text(part)
                else:
                    _put(source, writer.put)

        _in_thread(write, exits)
        exits.callback(source.go_on.set)
        return _cancels(stream, exits)

    return begin


def batch_streamer(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
    streamer = burble.BatchStreamer(_tokenizer(options), options.pop("batch", 2), **options)

    def write() -> None:
        _put(source, streamer.put, 2)
        streamer.end()

    streamer[1].cancel()
    _in_thread(write, exits)
    exits.callback(source.go_on.set)
    exits.callback(streamer.cancel)
    return streamer[0]


def drop_in(given: Any) -> Callable[..., Any]:
    def begin(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
        made = options.pop("tokenizer", given)
        streamer = burble.TextIteratorStreamer(made, timeout=SOON, **options)

        def write() -> None:
            _put(source, streamer.put)
            streamer.end()

        _in_thread(write, exits)
        exits.callback(source.go_on.set)
        exits.callback(streamer.cancel)
        return streamer

    return begin


def pooled(kind: str) -> Callable[..., Any]:
    def begin(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
        pool = exits.enter_context(burble.Pool(workers=1))
        exits.callback(source.go_on.set)
        if kind == "iterate":
            return _cancels(pool.iterate(source.texts(), **options), exits)

        def generate(*, streamer: Any) -> None:
            _put(source, streamer.put)

        return _cancels(pool.stream(generate, tokenizer=_tokenizer(options), **options), exits)

    return begin


def engine(made: Any) -> Callable[..., Any]:
    def begin(source: Source, exits: contextlib.ExitStack, options: dict[str, Any]) -> Any:
        options.setdefault("max_new_tokens", 40)
        return _cancels(made.generate("ROMEO:", **options), exits)

    return begin


# ---- checks: each fails where the option has no effect -------------------------------------------


class Upper:
    """A tokenizer whose decode has an option, and no others."""

    def decode(
        self, tokens: list[int], skip_special_tokens: bool = True, upper: bool = False
    ) -> str:
        text = str(tokenizer().decode(tokens, skip_special_tokens=skip_special_tokens))
        return text.upper() if upper else text


def text_of(stream: Any) -> str:
    return "".join(stream)


def skip_prompt(begin: Begun) -> None:
    assert text_of(begin(prompt=PROMPT, skip_prompt=True)) == TEXT
    assert text_of(begin(prompt=PROMPT, skip_prompt=False)) == PROMPT + TEXT


def skip_special_tokens(begin: Begun) -> None:
    if begin.way.is_engine:
        begin(skip_special_tokens=False).cancel()  # tests/llama tries what it does
        return
    tokens = [*ids("To be"), END]
    assert text_of(begin(tokens, skip_special_tokens=False)) == "To be" + SPECIAL
    assert text_of(begin(tokens, skip_special_tokens=True)) == "To be"


def decode_kwargs(begin: Begun) -> None:
    if begin.way.takes_ids and not begin.way.is_engine:
        found = text_of(begin(tokenizer=Upper(), decode_kwargs={"upper": True}))
    else:
        found = text_of(begin(decode_kwargs={"upper": True}))
    assert found == TEXT.upper()


def chunk(begin: Begun) -> None:
    words, pieces = list(begin(chunk="word")), list(begin(chunk="token"))
    assert "".join(words) == "".join(pieces)
    assert len(words) < len(pieces)
    assert all(word.endswith((" ", "\n")) for word in words[:-1])


def some_stop(begin: Begun) -> tuple[str, str]:
    """A part of the text, and what comes before it."""
    text = text_of(begin())
    stop = text[9:13]
    return stop, text[: text.index(stop)]


def stop(begin: Begun) -> None:
    string, before = some_stop(begin)
    stream = begin(stop=["never", string])
    assert text_of(stream) == before
    assert stream.finish_reason == "stop"
    assert stream.stopped == (1, string, len(before), len(before) + len(string))


def stop_of_a_special_token(begin: Begun) -> None:
    stream = begin([*ids("To be"), END], stop=SPECIAL, skip_special_tokens=True)
    assert text_of(stream) == "To be"
    assert stream.finish_reason == "stop"
    assert stream.stopped == (0, SPECIAL, 5, 5 + len(SPECIAL))


def include_stop(begin: Begun) -> None:
    string, before = some_stop(begin)
    assert text_of(begin(stop=string, include_stop=True)) == before + string


def batch(begin: Begun) -> None:
    if "row" in begin.way.name or begin.way.name == "`BatchStreamer`":
        assert text_of(begin(batch=2)) == TEXT  # its rows are two
        another = begin(batch=3)
        with pytest.raises((ValueError, burble.ProducerDied)):  # it puts two
            text_of(another)
        return
    assert dict.fromkeys(i for i, _ in begin(batch=1)) == {0: None}


def eos_token_id(begin: Begun) -> None:
    tokens = ids(TEXT)
    stream = begin(eos_token_id=[tokens[4]])
    assert text_of(stream) == tokenizer().decode(tokens[:5])
    if hasattr(stream, "stats"):
        assert stream.finish_reason == "eos"
        assert stream.stats.tokens == 5


def keep(begin: Begun) -> None:
    stream = begin(keep="all")
    text = text_of(stream)
    assert text
    assert text_of(stream.reader(0)) == text
    gone = begin(ids(TEXT) * 20)  # more than a log's first block holds
    text_of(gone)
    with pytest.raises(burble.Gone):
        gone.reader(0)


def lag(begin: Begun, **options: Any) -> int:
    """At which position its writer waits for its reader."""
    stream = begin(**options)
    until(lambda: stream.stats.blocked > 0)
    return int(stream._log.position)


def max_lag(begin: Begun) -> None:
    assert lag(begin, max_lag=2) <= 3


def lag_unit(begin: Begun) -> None:
    far = lag(begin, max_lag=6, lag_unit="tokens")
    assert lag(begin, max_lag=6, lag_unit="bytes") < far


def coalesce(begin: Begun) -> None:
    stream = begin(coalesce=True)
    until(lambda: stream.state == "ended")
    assert len(list(stream)) == 1


def interval(begin: Begun) -> None:
    of_items: dict[str, Any] = {"coalesce": True} if "iterate" in begin.way.name else {}
    stream = begin(interval=3600.0, **of_items)
    assert len(list(stream)) <= 2


def times_out(begin: Begun, stall: int, error: type[Exception], **options: Any) -> None:
    if begin.way.is_engine:  # which nothing makes stand still
        options = dict.fromkeys(options, 1e-9)
    stream = begin(stall=stall, **options)
    with pytest.raises(error):
        text_of(stream)


def first_token_timeout(begin: Begun) -> None:
    times_out(begin, 0, burble.FirstTokenTimeout, first_token_timeout=0.05)


def token_timeout(begin: Begun) -> None:
    times_out(begin, 2, burble.TokenTimeout, token_timeout=0.05)


def total_timeout(begin: Begun) -> None:
    times_out(begin, 0, burble.TotalTimeout, total_timeout=0.05)


def join_timeout(begin: Begun) -> None:
    stream = begin(stall=1, join_timeout=0.01)
    next(iter(stream))
    if "row" in begin.way.name:
        with pytest.raises(burble.Timeout):  # a row does not wait for the others
            stream.join(0.01)
        return
    with pytest.warns(RuntimeWarning, match=r"still running 0.01 s after"):
        stream.close()


def pool(begin: Begun) -> None:
    with burble.Pool(workers=1) as mine:
        stream = begin(stall=1, pool=mine)
        next(iter(stream))
        assert mine.running == 1
        stream.cancel()
        begin.__exit__()


# Those that speak of ids, and so of nothing where there are none.
OF_IDS = frozenset({"skip_prompt", "skip_special_tokens", "decode_kwargs", "eos_token_id"})

OPTIONS: dict[str, Callable[[Begun], None]] = {
    "skip_prompt": skip_prompt,
    "skip_special_tokens": skip_special_tokens,
    "decode_kwargs": decode_kwargs,
    "chunk": chunk,
    "stop": stop,
    "stop, a special token": stop_of_a_special_token,
    "include_stop": include_stop,
    "eos_token_id": eos_token_id,
    "batch": batch,
    "keep": keep,
    "max_lag": max_lag,
    "lag_unit": lag_unit,
    "coalesce": coalesce,
    "interval": interval,
    "first_token_timeout": first_token_timeout,
    "token_timeout": token_timeout,
    "total_timeout": total_timeout,
    "join_timeout": join_timeout,
    "pool": pool,
}


def outcome(option: str, way: Way) -> str:
    """What has become of it: WORKS, REFUSED by name, or NOTHING, where it speaks of ids and there
    are none. AssertionError: it was ignored."""
    name = option.partition(",")[0]
    if option == "stop, a special token" and (not way.takes_ids or way.is_engine):
        return NOTHING
    if name in OF_IDS and way.name == "`stream`, text":
        return NOTHING
    try:
        with Begun(way) as begin:
            OPTIONS[option](begin)
    except (TypeError, ValueError) as error:
        if name not in str(error):
            raise AssertionError(f"refused, but not by name: {error}") from error
        return REFUSED
    return WORKS


# ---- the page ------------------------------------------------------------------------------------

# All paths, in the order of the columns; those of an engine are tried where there is llama.cpp.
COLUMNS = (
    "`stream`, transformers",
    "its rows",
    "`stream`, ids",
    "`stream`, text",
    "its rows of ids",
    "`Pool.stream`",
    "`iterate`",
    "`Pool.iterate`",
    "`channel`, ids",
    "`channel`, text",
    "`BatchStreamer`",
    "drop-in streamers",
    "`Engine.generate`",
)


def read_page() -> dict[str, dict[str, str]]:
    """The cells of each option, by path."""
    table = PAGE.read_text().partition(BEGIN)[2].partition(END_OF_TABLE)[0]
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    return {line[0].replace("`", ""): dict(zip(lines[0][1:], line[1:])) for line in lines[2:]}


def write_cell(option: str, way: str, cell: str) -> None:
    page = read_page()
    page.setdefault(option, {})[way] = cell
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in OPTIONS:
        cells = page.get(name, {})
        first = f"`{name}`" if "," not in name else name
        lines.append(f"| {first} | " + " | ".join(cells.get(c, "") for c in COLUMNS) + " |")
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END_OF_TABLE)[2]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END_OF_TABLE + after)


def check_cell(option: str, way: Way) -> None:
    found = outcome(option, way)
    if os.environ.get("BURBLE_WRITE_OPTIONS"):
        write_cell(option, way.name, found)
    assert read_page().get(option, {}).get(way.name) == found, f"{PAGE.name}: {option}, {way.name}"
