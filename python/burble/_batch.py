# SPDX-License-Identifier: MIT
"""Several sequences of one generation, each with a separate stream."""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import Any

from . import _core
from ._collect import collect_after_cancellation
from ._generate import Criterion, Ending, Prompts, check_ids, ids_of
from ._job import ExternalSinks, Job
from ._options import Options, OptionSet, TextOptions, count
from ._stats import Stats
from ._stream import Handle, Stream
from ._text import Chunk, Text, closed, fail, stats_of, warn_unused
from ._tokenizers import MAX_ID
from ._typing import Unpack
from .detokenizer import Stop


class _Row:
    """One sequence, while it is written."""

    def __init__(self, log: _core.Log, writer: _core.Writer) -> None:
        self.log = log
        self.writer = writer
        self.pads = 0  # held back: what comes now may be what follows the end of a sequence

    @property
    def open(self) -> bool:
        return self.log.state == "open"


def _token_ids(row: int, values: Sequence[Any]) -> Sequence[int]:
    """The token ids of a row, as ints: all are checked before any row takes one."""
    ids: list[int] = []
    for value in values:
        try:
            token = operator.index(value)
        except TypeError:
            raise TypeError(
                f"row {row}: a token id must be an int, found {type(value).__name__}"
            ) from None
        if not 0 <= token <= MAX_ID:
            raise ValueError(f"row {row}: a token id must be from 0 to {MAX_ID}, found {token}")
        ids.append(token)
    return ids


class Rows:
    """Where ``generate`` puts the tokens of several sequences: its ``streamer``.

    A row ends with its end of sequence or stop string, while others go on. The last one's end is
    not published before ``generate`` has returned, so that the result is there when it is read.

    :param name: of the function, for messages.
    :param eos: the ids with which a row ends.
    :param pad: what ``generate`` puts for a row that has ended: never shown.
    :param padding: how many pads each prompt begins with; None: those that ``pad`` says.
    """

    def __init__(
        self,
        name: str,
        logs: Sequence[_core.Log],
        writers: Sequence[_core.Writer],
        ending: Ending,
        prompts: Prompts,
        eos: Sequence[int],
        pad: int | None,
        padding: list[int] | None,
    ) -> None:
        self._name = name
        self._rows = [_Row(log, writer) for log, writer in zip(logs, writers)]
        self._done = [False] * len(self._rows)
        self._ending = ending
        self._prompts = prompts
        self._pad = pad
        self._filler = None if pad in eos else pad  # what may come after the end of a row
        self._padding = padding
        self._begun = False
        self._used = False
        # Whether generate ends by itself when all rows have, or is told by the criterion that they
        # have; else an exception ends it.
        self.told = False
        self.criterion = Criterion(lambda: self._done)

    # ---- what generate calls -----------------------------------------------------------------

    def put(self, value: Any) -> None:
        """Take the next token of each row, or, of shape ``[rows, n]``, the prompts."""
        self._used = True
        rows, flat = self._read(value)
        begins, self._begun = not self._begun, True
        if begins and not flat and self._prompts.has(value):
            self._put_prompts(rows)
            return
        if all(self._done):
            self._end_generation()
            return
        for i, ids in enumerate(rows):
            try:
                for token in ids:
                    if self._done[i]:
                        break
                    self._put(i, token)
            except (_core.Cancelled, _core.Timeout):
                self._done[i] = True  # no reader is left

    def put_text(self, text: str) -> None:
        """:raises TypeError: always: it would be the text of no row."""
        raise TypeError("batch: expected put() with token ids of each row, found put_text()")

    def note_writer(self) -> None:
        """Tell the logs their writing thread, even before the first token: its exit fails them."""
        for row in self._rows:
            with contextlib.suppress(_core.Error):
                row.log.append("", 0)

    def end(self) -> None:
        """Do nothing yet: the rows end when ``generate`` returns."""
        self._used = True

    @property
    def should_stop(self) -> bool:
        """Whether all rows are done, or no reader is left."""
        self._used = True
        return all(self._done) or self.over

    def _read(self, value: Any) -> tuple[Sequence[Sequence[int]], bool]:
        """The ids of each row; and whether they came as one id per row."""
        values = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(values, (list, tuple)):
            values = [values]
        n = len(self._rows)
        nested = [isinstance(row, (list, tuple)) for row in values]
        flat = not any(nested)
        if not flat and not all(nested):
            i = nested.index(not nested[0])
            raise TypeError(
                f"a batch of {n}: expected token ids of shape [{n}] or [{n}, n], found "
                f"{type(values[0]).__name__} in row 0 and {type(values[i]).__name__} in row {i}"
            )
        rows = values if not flat else [values] if n == 1 else [(token,) for token in values]
        if len(rows) != n:
            raise ValueError(
                f"a batch of {n}: expected token ids of shape [{n}] or [{n}, n], found {len(rows)} "
                "row(s); batch= is the number of sequences, including num_return_sequences"
            )
        # All of them before the first one is taken: what is refused leaves every row as it was.
        return [_token_ids(i, row) for i, row in enumerate(rows)], flat

    def _put_prompts(self, prompts: Sequence[Sequence[int]]) -> None:
        length = len(prompts[0])
        for i, (row, ids) in enumerate(zip(self._rows, prompts)):
            if self._padding is not None and self._padding[i] <= length:
                pads = self._padding[i]
            else:
                pads = next((n for n, t in enumerate(ids) if t != self._pad), length)
            try:
                row.writer.has_prompt = True
                row.writer.put([list(ids[pads:])])
            except (_core.Cancelled, _core.Timeout):
                self._done[i] = True

    def _put(self, i: int, token: int) -> None:
        row = self._rows[i]
        if token == self._filler:
            row.pads += 1
            return
        if row.pads:
            row.writer.put([self._pad] * row.pads)
            row.pads = 0
        row.writer.put(token)
        if row.writer.stopped:
            self._done[i] = True
            if any(other.open for other in self._rows if other is not row):
                row.writer.end()

    def _end_generation(self) -> None:
        """All rows are done: end the function, if it goes on."""
        if self.over:
            raise _core.Cancelled("every sequence was cancelled, or has ended")
        if not self.told:
            raise _core.Stopped("every sequence has ended")

    # ---- what becomes of it ------------------------------------------------------------------

    @property
    def over(self) -> bool:
        return not any(row.open for row in self._rows)

    def begin(self) -> None:
        for row in self._rows:
            row.log.generate_here()

    def cancel(self) -> None:
        for row in self._rows:
            row.log.cancel()

    def finish(self, result: Any) -> None:
        if not self._used and not self.over:
            warn_unused(self._name)
        for row in self._rows:
            if row.open:
                row.writer.flush()  # the last text may hold a stop string
                tokens = row.writer.stats[0]
                row.writer.end(row.writer.reason or self._ending.reason(tokens, result))

    def fail(self, exception: BaseException) -> None:
        for row in self._rows:
            fail(row.log, row.writer, exception)

    def close(self) -> None:
        self._rows = []
        self.put = closed  # type: ignore[method-assign,assignment]
        self.criterion.close()


class _RowStream(Stream[str]):
    """One row. It can be cancelled alone while the others go on, so cancelling it does not wait."""

    def cancel(self) -> None:
        """End only this row: iterating the row, or the batch, ends for it without an error. Any
        thread may call it. Idempotent."""
        self._log.cancel()
        self._reader.close()

    def _join(self, stacklevel: int) -> None:
        pass

    async def _join_async(self) -> None:
        pass


class BatchStream(Handle):
    """The texts of a batch while they are generated; made by :func:`burble.stream`.

    ::

        async with burble.stream(model.generate, **inputs, tokenizer=tokenizer, batch=4) as batch:
            async for i, text in batch:
                texts[i] += text

    Iterating gives pairs of a row and its text, as they come. ``batch[i]`` is the :class:`Stream`
    of a row, to be read separately. Read either the batch or its rows: each row has one consumer. A
    row ends with its own end of sequence or stop string; ``batch[i].cancel()`` ends only that row.
    If the reader of one row is behind by ``max_lag``, all rows wait: cancel the rows that you do
    not read.

    Errors come after the text of all rows. Otherwise as :class:`Stream`.
    """

    def __init__(
        self,
        job: Job,
        logs: Sequence[_core.Log],
        writers: Sequence[_core.Writer],
        options: Options,
        prompt_tokens: Sequence[int | None] = (),
    ) -> None:
        super().__init__(job, options)
        counts = prompt_tokens or [None] * len(logs)
        self._rows = tuple(
            _RowStream(job, log, options, stats_of(writer, prompt))
            for log, writer, prompt in zip(logs, writers, counts)
        )
        self._merged: _core.Merged | None = None

    def _all(self) -> _core.Merged:
        if self._merged is None:
            self._merged = _core.Merged([row._own() for row in self._rows])
        return self._merged

    def __aiter__(self) -> AsyncIterator[tuple[int, str]]:
        collect_after_cancellation()
        return self._all()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return self._all()

    def __anext__(self) -> Awaitable[tuple[int, str]]:
        return self._all().__anext__()

    def __next__(self) -> tuple[int, str]:
        return next(self._all())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Stream[str]:
        try:
            return self._rows[row]
        except IndexError:
            raise IndexError(f"row {row}: the batch has {len(self)} rows") from None

    @property
    def rows(self) -> tuple[Stream[str], ...]:
        """The streams of all rows."""
        return self._rows

    async def wait(self) -> Any:
        """Wait until the generation has returned. Return what it returned, or raise what it raised.
        As with :meth:`Stream.wait`, rows that are not iterated then no longer make it wait."""
        self._pass_over()
        for row in self._rows:
            with contextlib.suppress(_core.Cancelled):
                await row.wait()
        return self.result

    def join(self, timeout: float | None = None) -> Any:
        """As :meth:`wait`, for threads; :exc:`Timeout` after ``timeout`` seconds."""
        self._pass_over()
        end = None if timeout is None else time.monotonic() + timeout
        for row in self._rows:
            left = None if end is None else max(0.0, end - time.monotonic())
            with contextlib.suppress(_core.Cancelled):
                row.join(left)
        return self.result

    def _pass_over(self) -> None:
        """All rows before one is waited for: any one holds up all."""
        for row in self._rows:
            row._pass_over()

    @property
    def error(self) -> BaseException | None:
        """The exception of the first row that failed; else None."""
        return next((row.error for row in self._rows if row.error is not None), None)

    @property
    def id(self) -> str:
        """The id of the batch in its server-sent events: 128 bits, as text."""
        return f"{int(self._rows[0].id, 16) ^ 1:032x}"  # that of the first row names its own events

    @property
    def result(self) -> Any:
        """What the generation returned, for all rows; as :attr:`Stream.result`."""
        failed = (row for row in self._rows if row.state == "failed")
        return next(failed, self._rows[0]).result

    @property
    def stats(self) -> tuple[Stats, ...]:
        """The statistics of each row."""
        return tuple(row.stats for row in self._rows)

    @property
    def finish_reason(self) -> tuple[str | None, ...]:
        """The reason of each row."""
        return tuple(row.finish_reason for row in self._rows)

    def __repr__(self) -> str:
        states = ", ".join(row.state for row in self._rows)
        return f"<burble.BatchStream of {self._job.name}: {states}>"


_BATCH_STREAMER = OptionSet(TextOptions.__annotations__, join_timeout=0.0)


class BatchStreamer(BatchStream):
    """A :class:`BatchStream` for a ``generate`` in a thread of your own.

    ::

        streamer = burble.BatchStreamer(tokenizer, 4)
        inputs.update(streamer=streamer, stopping_criteria=[streamer.stopping_criteria])
        threading.Thread(target=model.generate, kwargs=inputs).start()
        for i, text in streamer:
            texts[i] += text

    For one generation. Without ``stopping_criteria``, a generation whose rows have all ended at
    stop strings goes on to its own end, and its tokens are ignored.

    :param batch: the number of rows, including ``num_return_sequences``.
    :param eos_token_id: the ids that end a row; default: those of the tokenizer.
    :param pad_token_id: the id that ``generate`` puts for a row that has ended; default: the
        tokenizer's.

    The other parameters are those of :func:`burble.stream`.
    """

    @_BATCH_STREAMER.shown_in
    def __init__(
        self,
        tokenizer: Any,
        batch: int,
        *,
        skip_prompt: bool | None = None,
        skip_special_tokens: bool = True,
        decode_kwargs: dict[str, Any] | None = None,
        chunk: Chunk = "token",
        stop: Stop = (),
        include_stop: bool = False,
        eos_token_id: int | Sequence[int] | None = None,
        pad_token_id: int | None = None,
        **given: Unpack[TextOptions],
    ) -> None:
        count("batch", batch, 1)
        text = Text(
            tokenizer, skip_prompt, skip_special_tokens, decode_kwargs, chunk, stop, include_stop
        )
        flow = _BATCH_STREAMER.check(given)
        for name, ids in (("eos_token_id", eos_token_id), ("pad_token_id", pad_token_id)):
            if ids is not None:
                check_ids(name, ids)
        if eos_token_id is None:
            eos_token_id = getattr(tokenizer, "eos_token_id", None)
        if pad_token_id is None:
            pad_token_id = getattr(tokenizer, "pad_token_id", None)
        eos = ids_of(eos_token_id)
        logs = [flow.new_log(of_job=False) for _ in range(batch)]
        writers = text.writers(logs, eos)
        self._sink = Rows(
            "generate",
            logs,
            writers,
            Ending(),
            Prompts(skip_prompt, None),
            eos,
            eos[0] if pad_token_id is None and eos else pad_token_id,
            None,
        )
        self._sink.told = True
        self.stopping_criteria = self._sink.criterion
        super().__init__(Job("generate", None, ExternalSinks(logs)), logs, writers, flow)

    def put(self, value: Any) -> None:
        """Take the next token of each row; ``generate`` calls it. Raises :exc:`Cancelled` after
        ``cancel``. One thread at a time."""
        try:
            self._sink.put(value)
        except (TypeError, ValueError):
            self._sink.note_writer()
            raise

    def end(self) -> None:
        """End the rows that are still open; ``generate`` calls it."""
        self._sink.finish(None)
        self._job.settle(None)
