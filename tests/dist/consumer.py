# SPDX-License-Identifier: MIT
"""A program that uses burble where nothing else is installed; its types are checked, too."""

import asyncio
import threading

import burble

VOCABULARY = [b"on", b"ce", b" upon", b" a", b" time"]


def work(writer: burble.ChannelWriter) -> None:
    with writer:
        for token in range(len(VOCABULARY)):
            writer.put(token)


async def main() -> str:
    writer, stream = burble.channel(VOCABULARY)
    thread = threading.Thread(target=work, args=(writer,))
    thread.start()
    pieces: list[str] = [text async for text in stream]
    thread.join()
    return "".join(pieces)


print(f"{burble.__version__}: {asyncio.run(main())}")
