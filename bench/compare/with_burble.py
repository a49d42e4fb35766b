# SPDX-License-Identifier: MIT
"""burble's column: ``burble.stream``, which is the streamer, the thread and the clean-up in one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

from bridges import EACH, FIRST, WHOLE, Bridge

import burble


class Burble(Bridge):
    """burble.stream, as an asynchronous context manager."""

    own_timeouts = frozenset((FIRST, EACH, WHOLE))

    async def __aenter__(self) -> Self:
        if not hasattr(burble, "stream"):
            raise ImportError("burble.stream is not there yet")
        self.streams = burble.stream(
            self.generation.model.generate,
            **self.generation.arguments,
            tokenizer=self.generation.tokenizer,
            **self._settings(),
        )
        self.stream = await self.streams.__aenter__()
        self.has_reader = False
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.streams.__aexit__(*exception)

    def read(self) -> AsyncIterator[Any]:
        if self.has_reader:
            return self.stream.reader(start=0).__aiter__()
        self.has_reader = True
        return self.stream.__aiter__()

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.lag is not None:
            settings.update(max_lag=self.lag, lag_unit="tokens")
        if self.stop is not None:
            settings.update(stop=[self.stop])
        if self.replay:
            settings.update(keep="all")
        names = {
            FIRST: "first_token_timeout",
            EACH: "token_timeout",
            WHOLE: "total_timeout",
        }
        settings.update({names[kind]: seconds for kind, seconds in self.timeouts.items()})
        return settings
