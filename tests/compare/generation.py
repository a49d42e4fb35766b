# SPDX-License-Identifier: MIT
"""A generation of the shipped model, observed without the streamer's knowledge.

A logits processor counts the tokens, and can fail or be slow in the middle of ``generate``. A
wrapper around ``model.generate`` notes how it ended.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import transformers

MODEL = Path(__file__).resolve().parents[2] / "models" / "shakespeare"
# A generation that has made no token for this many seconds is waiting for something.
STILL = 2.0


class Generation:
    """The model, its tokenizer, and one greedy generation of exactly ``tokens`` tokens.

    :param fail_at: the number, from 1, of the token at which to raise ``self.raised``.
    :param pace: extra seconds for each token.
    :param stalls: extra seconds for single tokens, by their number.
    """

    def __init__(
        self,
        prompts: Sequence[str] = ("ROMEO:",),
        tokens: int = 60,
        *,
        fail_at: int | None = None,
        pace: float = 0.0,
        stalls: Mapping[int, float] | None = None,
    ) -> None:
        torch.set_num_threads(1)  # the consumer has a core to itself
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
        self.tokenizer.padding_side = "left"
        self.model = transformers.AutoModelForCausalLM.from_pretrained(MODEL).eval()
        self.model.generate = MethodType(self._watched(type(self.model).generate), self.model)
        self.inputs = dict(self.tokenizer(list(prompts), return_tensors="pt", padding=True))
        self.options = {"do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens}
        self.watch = {"logits_processor": [self._before_token]}

        self.tokens = tokens
        self.made = 0  # tokens so far, in each sequence
        self.ids = self.inputs["input_ids"]
        self.raised = RuntimeError("out of memory")
        self.error: BaseException | None = None  # that ended generate
        self.began = threading.Event()
        self.ended = threading.Event()
        self._fail_at = fail_at
        self._pace = pace
        self._stalls = dict(stalls or {})

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for ``model.generate``, without a streamer."""
        return {**self.inputs, **self.options, **self.watch}

    def new_ids(self, row: int = 0) -> list[int]:
        """Return the ids generated so far."""
        return self.ids[row, self.inputs["input_ids"].shape[1] :].tolist()

    def text(self, row: int = 0) -> str:
        """Return the text generated so far, decoded in one call."""
        return self.decode(self.new_ids(row))

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    async def settled(self) -> bool:
        """Wait until the generation has ended, and return True, or stands still: False."""
        made, since = self.made, time.monotonic()
        while not self.ended.is_set() and time.monotonic() - since < STILL:
            await asyncio.sleep(0.02)
            if self.made != made:
                made, since = self.made, time.monotonic()
        return self.ended.is_set()

    def _before_token(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.ids = ids
        number = self.made + 1
        time.sleep(self._pace + self._stalls.get(number, 0.0))
        if number == self._fail_at:
            raise self.raised
        self.made = number
        return scores

    def _watched(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(generate)
        def watched(model: Any, *args: Any, **kwargs: Any) -> Any:
            self.began.set()
            try:
                self.ids = generate(model, *args, **kwargs)
                return self.ids
            except BaseException as error:
                self.error = error
                raise
            finally:
                self.ended.set()

        return watched
