# SPDX-License-Identifier: MIT
"""From a generation's ids to a log of text."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

from . import _core
from ._generate import Criterion, Ending, Prompts
from ._options import one_of
from ._stats import Source, of_writer
from ._tokenizers import decoding_of, enders_of
from ._window import Window
from .detokenizer import Stop, stop_strings

Chunk = Literal["word", "token"]


class Text:
    """The options of decoding: checked once, with a writer for each sequence.

    :param skip_prompt: None: as True.
    :raises TypeError, ValueError: for options that make no sense.
    """

    def __init__(
        self,
        tokenizer: Any,
        skip_prompt: bool | None,
        skip_special_tokens: bool,
        decode_kwargs: dict[str, Any] | None,
        chunk: Chunk,
        stop: Stop,
        include_stop: bool,
    ) -> None:
        one_of("chunk", chunk, ("word", "token"))
        self._source, self._skip = decoding_of(
            tokenizer, {"skip_special_tokens": skip_special_tokens, **(decode_kwargs or {})}
        )
        self.stop = stop_strings(stop)
        self._include_stop = bool(include_stop)
        self._chunk = chunk
        self._skip_prompt = skip_prompt is None or bool(skip_prompt)

    def writers(self, logs: Sequence[_core.Log], eos: Iterable[int] = ()) -> list[_core.Writer]:
        """One for each log.

        :param eos: the ids with which a sequence ends.
        """
        enders = enders_of(self._source, self._skip, self.stop, eos)
        return [self._writer(log, enders) for log in logs]

    def _writer(self, log: _core.Log, enders: tuple[tuple[int, int], ...]) -> _core.Writer:
        source = self._source.copy() if isinstance(self._source, Window) else self._source
        detokenizer = _core.Detokenizer(
            source, self._skip, self.stop, self._include_stop, enders=enders
        )
        return _core.Writer(log, detokenizer, self._chunk, self._skip_prompt)


def text_writer(log: _core.Log, chunk: Chunk, stop: Stop, include_stop: bool) -> _core.Writer:
    """A writer for text alone."""
    strings = stop_strings(stop)
    detokenizer = None
    if strings:
        detokenizer = _core.Detokenizer(None, False, strings, include_stop)
    return _core.Writer(log, detokenizer, chunk)


class TextSink:
    """Where ``generate`` puts the tokens of one sequence: its ``streamer``.

    For loops of one's own: ``put_text`` takes text instead of ids; ``should_stop`` says whether the
    text has ended, by a stop string or an end of sequence, or no reader is left.
    """

    def __init__(
        self,
        name: str,
        log: _core.Log,
        writer: _core.Writer,
        ending: Ending,
        prompts: Prompts,
    ) -> None:
        self._name = name
        self._log: _core.Log | None = log
        self._writer: Any = writer
        self._ending = ending
        self._prompts = prompts
        self._used = False
        self.criterion = Criterion(lambda: (writer.stopped,))
        self.put_text = writer.put_text

    def put(self, value: Any, /) -> None:
        """Take the first token ids, which may be the prompt: what comes then goes to the writer
        itself.

        :raises ValueError: for a batch.
        """
        shape: Sequence[int] = getattr(value, "shape", ())
        if len(shape) == 2 and shape[0] > 1:
            raise ValueError(
                f"expected token ids of one sequence, found those of {int(shape[0])}: "
                f"burble.stream(..., batch={int(shape[0])}) streams a batch"
            )
        writer = self._writer
        writer.has_prompt = self._prompts.has(value)
        self.put = writer.put  # type: ignore[method-assign]
        writer.put(value)

    def end(self) -> None:
        """Not the end, which is when ``generate`` returns: another sequence may follow."""
        self._writer.flush()
        self.__dict__.pop("put", None)  # it may begin with a prompt

    @property
    def should_stop(self) -> bool:
        self._used = True
        return self.over or self._writer.stopped

    @property
    def over(self) -> bool:
        log = self._log
        return log is None or log.state != "open"

    def begin(self) -> None:
        log = self._log
        if log is not None:
            log.generate_here()

    def cancel(self) -> None:
        log = self._log
        if log is not None:
            log.cancel()

    def finish(self, result: Any) -> None:
        writer = self._writer
        if not (self._used or writer.used):
            warn_unused(self._name)
        writer.flush()  # the last text may hold a stop string
        writer.end(writer.reason or self._ending.reason(writer.stats[0], result))

    def fail(self, exception: BaseException) -> None:
        log, writer = self._log, self._writer
        if writer is not None:
            fail(log, writer, exception)

    def close(self) -> None:
        self._log = None
        self.put = self.put_text = closed  # type: ignore[method-assign]
        self.end = _already_ended  # type: ignore[method-assign]
        self.criterion.close()
        self._writer = None


def warn_unused(name: str) -> None:
    """Warn that ``generate`` has returned without using its streamer."""
    warnings.warn(
        f"{name} has returned without using its streamer, so the stream has no text: make sure "
        "that it passes streamer= on, or calls put() or end()",
        RuntimeWarning,
        stacklevel=2,
    )


def fail(log: _core.Log | None, writer: _core.Writer, exception: BaseException) -> None:
    """Write the rest of the text, then fail the log with the exception, even if writing fails."""
    try:
        with contextlib.suppress(Exception):  # the one that there is already says more
            writer.fail(exception)
    finally:
        if log is not None:
            log.fail(exception)


def stats_of(writer: _core.Writer, prompt_tokens: int | None = None) -> Source:
    """Where the statistics of what it writes come from.

    :param prompt_tokens: how many tokens the prompt has, if that is known.
    """
    if prompt_tokens is not None:
        return partial(of_writer, writer, prompt_tokens=prompt_tokens)
    return writer  # no object more, since every channel would have one


def closed(value: Any, /) -> None:
    raise _core.Error("the generation of this streamer has ended")


def _already_ended() -> None:
    """end() after the end."""
