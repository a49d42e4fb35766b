# SPDX-License-Identifier: MIT
"""What is known of the ``generate`` of transformers: how it is told to end, how many sequences it
makes, and by which ids they end. Of any other function, as much as its arguments say."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Iterable, Sequence
from typing import Any, Callable

# How many tokens transformers' generate makes by default, at most up to
# max_position_embeddings together with the prompt: _prepare_generated_length in its
# generation/utils.py.
_DEFAULT_NEW_TOKENS = 20

# The arguments that may be the prompt, and the number of its dimensions in a batch.
_PROMPTS = (("input_ids", 2), ("inputs", 2), ("inputs_embeds", 3))


def check_generate(generate: Any) -> None:
    """Refuse what cannot stream. A model takes any argument, also ``streamer``, and ignores it.

    :raises TypeError: says what was found.
    """
    kind = type(generate)
    is_model = hasattr(kind, "generate") and hasattr(kind, "forward")
    if is_model or not callable(generate):
        hint = ""
        if is_model:
            hint = ": pass its method generate"
        elif isinstance(generate, Iterable):
            hint = ": burble.iterate streams what can be iterated"
        raise TypeError(
            f"generate: expected a function that is called with streamer=, found "
            f"{kind.__name__}{hint}"
        )
    if inspect.isgeneratorfunction(generate):
        raise TypeError(
            f"generate: expected a function that is called with streamer=, found the generator "
            f"{name_of(generate)}: burble.iterate streams what a generator yields"
        )


def with_criteria(
    generate: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], criteria: Any
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of ``generate`` with one more of its ``stopping_criteria``; None where it takes
    none."""
    try:
        signature = inspect.signature(generate)
        parameter = signature.parameters["stopping_criteria"]
        bound = signature.bind_partial(*args, **kwargs)
    except (KeyError, TypeError, ValueError):
        return None
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return None
    given = bound.arguments.get("stopping_criteria", parameter.default)
    if given is parameter.empty or given is None:
        given = ()
    bound.arguments["stopping_criteria"] = [*given, criteria]
    return bound.args, bound.kwargs


class Criterion:
    """Tells transformers' ``generate`` which of its rows have ended: one of its stopping criteria.

    :param done: says so, for each row.
    """

    def __init__(self, done: Callable[[], Sequence[bool]]) -> None:
        self._done: Callable[[], Sequence[bool]] | None = done
        self._said: Sequence[bool] = ()
        self._tensor: Any = None

    def close(self) -> None:
        """Let go of the stream: frames of a ``generate`` that raised may still have this."""
        self._done = None

    def __call__(self, input_ids: Any, scores: Any = None, **kwargs: Any) -> Any:
        done = self._said if self._done is None else self._done()
        if self._tensor is None or done != self._said:  # it rarely changes from token to token
            import torch

            self._said = list(done)
            self._tensor = torch.tensor(self._said, dtype=torch.bool, device=input_ids.device)
        return self._tensor


class Call:
    """A call of ``generate``, before it is made.

    :raises TypeError: for arguments that ``generate`` does not take.
    """

    def __init__(
        self, generate: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        check_generate(generate)
        while type(generate) is functools.partial:
            args = (*generate.args, *args)
            kwargs = {**generate.keywords, **kwargs}
            generate = generate.func
        if "streamer" in kwargs:
            raise TypeError("streamer: expected none, because burble passes its own")
        if inspect.iscoroutinefunction(generate) or inspect.isasyncgenfunction(generate):
            raise TypeError("generate: expected a blocking function, found an asynchronous one")
        self.generate = generate
        self.args = args
        self.kwargs = dict(kwargs)
        self._given = dict(kwargs)
        try:
            self._signature = inspect.signature(generate)
        except (TypeError, ValueError):  # it has none that Python can see: anything may go
            self._signature = inspect.signature(lambda *args, **kwargs: None)
        try:
            bound = self._signature.bind_partial(*args, streamer=None, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        self._given.update(bound.arguments)
        if args:
            self._given.setdefault("inputs", args[0])
        owner = getattr(generate, "__self__", None)
        # (A class may answer to any name.)
        self._configs = [
            config
            for config in (
                self._given.get("generation_config"),
                None if inspect.ismodule(owner) else getattr(owner, "generation_config", None),
            )
            if config is not None
        ]

    @property
    def name(self) -> str:
        return name_of(self.generate)

    def takes(self, name: str) -> bool:
        """Whether ``generate`` can be given ``name=``."""
        return self.names(name) or any(
            p.kind is p.VAR_KEYWORD for p in self._signature.parameters.values()
        )

    def names(self, name: str) -> bool:
        """Whether it has a parameter of that name."""
        parameter = self._signature.parameters.get(name)
        return parameter is not None and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )

    def option(self, name: str) -> Any:
        """What ``generate`` takes for ``name``: its argument, or what its configuration says."""
        if name in self._given:
            return self._given[name]  # also None: that turns it off
        found = (getattr(config, name, None) for config in self._configs)
        return next((value for value in found if value is not None), None)

    def prepare(self, tokenizer: Any, eos_token_id: Any) -> None:
        """Pass on what is a parameter of burble's and of ``generate``'s, too.

        :raises TypeError: where something is still missing.
        :raises ValueError: for a beam search.
        """
        needs_tokenizer = (
            self.names("tokenizer")
            or self.option("stop_strings")
            or self.option("token_healing")
            or "assistant_tokenizer" in self._given
        )
        for name, value, wanted in (
            ("tokenizer", tokenizer, needs_tokenizer),
            ("eos_token_id", eos_token_id, eos_token_id is not None),
        ):
            if wanted and name not in self._given and self.takes(name):
                self.kwargs[name] = self._given[name] = value
        if eos_token_id is not None:  # what is generated ends with these, told or not
            check_ids("eos_token_id", eos_token_id)
            self._given.setdefault("eos_token_id", eos_token_id)
        self.refuse_beams()
        try:
            self._signature.bind(*self.args, streamer=None, **self.kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None

    def tell(self, criterion: Criterion) -> bool:
        """Pass ``criterion`` to a ``generate`` like that of transformers; whether it is one."""
        told = with_criteria(self.generate, self.args, self.kwargs, criterion)
        if told is not None:
            self.args, self.kwargs = told
        elif self._configs and self.takes("stopping_criteria"):  # a model in another's clothes
            given = self._given.get("stopping_criteria") or ()
            self.kwargs["stopping_criteria"] = [*given, criterion]
        else:
            return False
        return True

    def refuse_beams(self) -> None:
        """:raises ValueError: for a beam search."""
        beams = self.option("num_beams")
        if self.is_like_transformers and isinstance(beams, int) and beams > 1:
            raise ValueError(
                f"num_beams: expected 1, found {beams}: beam search cannot be streamed, because it "
                "chooses its text at the end; pass num_beams=1"
            )

    def bind(self, streamer: Any) -> Callable[[], Any]:
        """The call, with its streamer."""
        return functools.partial(self.generate, *self.args, streamer=streamer, **self.kwargs)

    # ---- what it will make -------------------------------------------------------------------

    def rows(self) -> int:
        """How many sequences, as far as the shape of the prompt says."""
        each = self.option("num_return_sequences")
        each = each if isinstance(each, int) else 1
        for name, dimensions in _PROMPTS:
            shape = getattr(self._given.get(name), "shape", None)
            if shape is not None and len(shape) == dimensions:
                each *= int(shape[0])
                break
        return max(1, each)

    def padding(self, rows: int) -> list[int] | None:
        """How many pads each row's prompt begins with; None where no attention mask says so."""
        mask: Any = self._given.get("attention_mask")
        if len(getattr(mask, "shape", ())) != 2 or rows % len(mask):
            return None
        each = rows // len(mask)  # generate repeats each row num_return_sequences times
        pads = [row.index(1) if 1 in row else len(row) for row in mask.tolist()]
        return [n for n in pads for _ in range(each)]

    def prompt_tokens(self, rows: int) -> list[int | None]:
        """How many tokens each row's prompt has, without what pads it; None: it is not known."""
        for value in self.prompts():
            shape: Sequence[int] = getattr(value, "shape", ())
            if len(shape) == 2 and "float" not in str(getattr(value, "dtype", "")):
                pads = (rows > 1 and self.padding(rows)) or [0] * rows
                return [int(shape[1]) - n for n in pads]
        return [None] * rows

    def eos_ids(self, tokenizer: Any) -> list[int]:
        """The ids with which a sequence ends; empty where nothing says so."""
        found = self.option("eos_token_id")
        if found is None and not self._configs and "eos_token_id" not in self._given:
            found = getattr(tokenizer, "eos_token_id", None)
        return ids_of(found)

    def pad_id(self, tokenizer: Any) -> int | None:
        """What a sequence that has ended goes on with."""
        for value in (self.option("pad_token_id"), getattr(tokenizer, "pad_token_id", None)):
            ids = ids_of(value)
            if ids:
                return ids[0]
        return next(iter(ids_of(self.option("eos_token_id"))), None)

    def ending(self) -> Ending:
        """When it ends by itself, as far as its arguments and configuration say."""
        max_time = self.option("max_time")
        new, length = _count(self.option("max_new_tokens")), _count(self.option("max_length"))
        if new is None and length is None and self._configs:
            return Ending(_DEFAULT_NEW_TOKENS, self._positions(), max_time)
        if new is not None:
            return Ending(new, None, max_time)
        embeds = getattr(self._given.get("inputs_embeds"), "shape", None)
        if (
            length is not None
            and embeds is not None
            and self._given.get("input_ids") is None
            and getattr(self._model_config(), "is_encoder_decoder", False) is not True
        ):
            length -= int(embeds[-2])  # which the limit counts, and the result does not have
        return Ending(None, length, max_time)

    def _model_config(self) -> Any:
        return getattr(getattr(self.generate, "__self__", None), "config", None)

    def _positions(self) -> int | None:
        """The default limit on the length of prompt and text together."""
        return _count(getattr(self._model_config(), "max_position_embeddings", None))

    # ---- what it puts ------------------------------------------------------------------------

    @property
    def is_like_transformers(self) -> bool:
        """Whether it is transformers' ``generate`` or has its protocol, by which it ends with the
        end of sequence by itself, and puts its prompt first."""
        return bool(self._configs) or self.names("stopping_criteria")

    def prompts(self) -> list[Any]:
        """What it was given that may be the ids of its prompt."""
        given = (self._given.get(name) for name in ("input_ids", "inputs"))
        return [value for value in given if value is not None]


class Prompts:
    """Tells whether the ids that are put first, in the shape ``[rows, n]``, are the prompt.

    They are where somebody asked for ``skip_prompt``; where they come from transformers'
    ``generate``, which begins with them; and where they are those that the function was given.
    Others that begin in this shape are tokens, of a loop that keeps the dimension of a batch.
    """

    def __init__(self, skip_prompt: bool | None, call: Call | None) -> None:
        self._always = bool(skip_prompt) or (call is not None and call.is_like_transformers)
        self._given = [] if call is None or self._always else call.prompts()

    def has(self, value: Any) -> bool:
        if self._always or _is_in_transformers():
            return True
        rows = _rows_of(value)
        return bool(rows) and any(rows == _rows_of(given) for given in self._given)


def _is_in_transformers() -> bool:
    """Whether a function of transformers is on the stack."""
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("transformers."):
            return True
        frame = frame.f_back
    return False


def _rows_of(value: Any) -> list[list[int]]:
    """Token ids in two dimensions, as lists; empty for any other value."""
    if len(getattr(value, "shape", (0, 0))) != 2:
        return []
    rows = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(rows, (list, tuple)) and all(isinstance(row, (list, tuple)) for row in rows):
        return [list(row) for row in rows]
    return []


def name_of(function: Any) -> str:
    """What to call it in messages: a method by the class of its object."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", None)
    if name is not None and owner is not None and not inspect.ismodule(owner):
        return f"{(owner if isinstance(owner, type) else type(owner)).__name__}.{name}"
    return name or type(function).__name__


class Ending:
    """How a sequence of ``generate`` can end by itself, other than with its end of sequence."""

    def __init__(
        self,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        max_time: Any = None,
    ) -> None:
        self._max_new_tokens = max_new_tokens
        self._max_length = max_length  # with the prompt
        self._max_time = max_time if isinstance(max_time, (int, float)) else None
        self._began = time.time()

    def timed(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """``call``, noting when it begins where that matters."""
        if self._max_time is None:
            return call

        def begin() -> Any:
            self._began = time.time()  # by the clock of transformers' MaxTimeCriteria
            return call()

        return begin

    def reason(self, tokens: int, result: Any) -> str:
        """``"length"`` or ``"time"`` where that can be known, else ``"end"``.

        :param tokens: how many tokens there were, without the prompt.
        :param result: what ``generate`` returned.
        """
        sequences = getattr(result, "sequences", result)
        shape: Sequence[int] = getattr(sequences, "shape", ())
        length = int(shape[1]) if len(shape) == 2 else 0
        if (self._max_new_tokens is not None and tokens >= self._max_new_tokens) or (
            self._max_length is not None and length >= self._max_length
        ):
            return "length"
        if self._max_time is not None and time.time() - self._began > self._max_time:
            return "time"
        return "end"


def check_ids(name: str, value: Any) -> None:
    """Refuse a given value that is not token ids.

    :raises TypeError, ValueError: say what was found.
    """
    values = value.tolist() if hasattr(value, "tolist") else value
    for one in values if isinstance(values, (list, tuple, set, frozenset)) else [values]:
        if not isinstance(one, int) or isinstance(one, bool):
            raise TypeError(f"{name}: expected token ids, found {value!r}")
        if one < 0:
            raise ValueError(f"{name}: expected token ids of at least 0 ([]: none), found {one}")


def ids_of(value: Any) -> list[int]:
    """Ids given as an int, a list or a tensor."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [i for i in value if isinstance(i, int)]
    return []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
