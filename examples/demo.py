#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Conversations with a language model, several at once, in a program that does other work, too.

    python examples/demo.py
    python examples/demo.py --model HuggingFaceTB/SmolLM2-135M-Instruct --prompt "Why is it dark?"

Each conversation's model.generate blocks a separate thread; its text comes to the event loop
through burble, token by token, while the loop keeps a clock going and paints the screen. In the end
the program says how fast all that was, and what burble had to do with it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import statistics
import sys
import textwrap
import time
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import burble

SHAKESPEARE = Path(__file__).resolve().parent.parent / "models" / "shakespeare"
PROMPTS = ("ROMEO:", "JULIET:", "KING RICHARD III:", "First Citizen:", "PROSPERO:", "LADY ANNE:")

TICK = 0.02  # seconds
PAINT = 0.04


# ---- what this is about --------------------------------------------------------------------------


class Conversation:
    """A prompt, and what has come of it so far."""

    def __init__(self, prompt: str, inputs: Any) -> None:
        self.prompt = prompt
        self.inputs = inputs
        self.text = ""
        self.puts: list[float] = []
        self.began = self.first_text = self.ended = 0.0

    async def run(self, model: Any, tokenizer: Any, **options: Any) -> None:
        self.began = time.perf_counter()
        streamer = MeasuredStreamer(
            self.puts, tokenizer, skip_prompt=True, chunk="token", skip_special_tokens=True
        )
        task = asyncio.create_task(streamer.run(model.generate, **self.inputs, **options))
        async for new_text in streamer:
            self.first_text = self.first_text or time.perf_counter()
            self.text += new_text
        await task
        self.ended = time.perf_counter()


class MeasuredStreamer(burble.AsyncTextIteratorStreamer):
    """Notes what each put() costs: all that burble adds to the generating thread's work.

    In the thread's own CPU time: the clock on the wall would also count other threads' turns.
    """

    def __init__(self, puts: list[float], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.puts = puts

    def put(self, value: Any, /) -> None:
        is_prompt = self.next_tokens_are_prompt
        began = time.thread_time()
        super().put(value)
        if not is_prompt:
            self.puts.append(time.thread_time() - began)


class Clock:
    """The program's other work: it wants its turn every 20 ms, and notes when it got it."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.largest = 0.0

    async def run(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            self.gaps.append(time.perf_counter() - before)
            self.largest = max(self.largest, self.gaps[-1])


async def paint(screen: Lines) -> None:
    while True:
        screen.paint()
        await asyncio.sleep(PAINT)


async def converse(screen: Lines, model: Any, tokenizer: Any, **options: Any) -> None:
    """Run all conversations, the clock and the painter side by side."""
    others = [asyncio.create_task(screen.clock.run()), asyncio.create_task(paint(screen))]
    try:
        await asyncio.gather(*(c.run(model, tokenizer, **options) for c in screen.conversations))
    finally:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        screen.paint(last=True)


# ---- the model -----------------------------------------------------------------------------------


def load(name: str, threads: int) -> tuple[Any, Any]:
    """Return the model and its tokenizer; let the libraries tell of a download, at most.

    :param threads: how many threads will generate at once.
    """
    if os.path.isdir(name) and not os.path.exists(os.path.join(name, "config.json")):
        raise ValueError("this folder holds no model: it has no config.json")
    if os.path.isfile(name):
        raise ValueError("expected a folder or a name on the Hugging Face hub, found a file")
    if name.startswith((".", "/", "~")) and not os.path.isdir(name):
        raise ValueError("there is no such folder")

    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    if os.path.isdir(name) or not sys.stderr.isatty():
        logging.disable_progress_bar()

    # So that the generating threads do not fight over the cores.
    torch.set_num_threads(max(1, torch.get_num_threads() // threads))
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def encode(model: Any, tokenizer: Any, prompt: str) -> tuple[Any, int]:
    """Return generate's inputs, and how many tokens the model's context has left after them."""
    if tokenizer.chat_template:
        said = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            said, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
    else:
        inputs = tokenizer(prompt, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    room = (context or sys.maxsize) - length
    if length == 0:
        raise ValueError("the prompt is empty")
    if room < 1:
        raise ValueError(f"the prompt has {length} tokens, and the model's context only {context}")
    return inputs.to(model.device), room


# ---- the screen ----------------------------------------------------------------------------------


class Lines:
    """Where there is no terminal: each line when it is complete, with its conversation's number."""

    def __init__(self, conversations: Sequence[Conversation], clock: Clock) -> None:
        self.conversations = conversations
        self.clock = clock
        self.shown = [0] * len(conversations)

    def __enter__(self) -> Lines:
        for number, conversation in enumerate(self.conversations, 1):
            print(f"{number}: {one_line(conversation.prompt)}")
        return self

    def __exit__(self, *_: object) -> None:
        print()

    def paint(self, last: bool = False) -> None:
        for i, conversation in enumerate(self.conversations):
            text = conversation.text
            end = len(text) if last else text.rfind("\n") + 1
            if end > self.shown[i]:
                for line in text[self.shown[i] : end].removesuffix("\n").split("\n"):
                    print(f"{i + 1}| {printable(line)}".rstrip())
                self.shown[i] = end
        sys.stdout.flush()


class Columns(Lines):
    """The conversations side by side under a clock, painted again and again in the same place."""

    COLOURS = (36, 35, 33, 32, 34, 31)
    SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    NARROWEST = 24
    BELOW = 8  # lines that are left for the figures

    def __enter__(self) -> Columns:
        self.size = os.terminal_size((0, 0))
        print("\x1b[?25l\x1b[?7l", end="")  # no cursor; what is too long is cut
        return self

    def __exit__(self, *_: object) -> None:
        print("\x1b[?25h\x1b[?7h\n")

    def paint(self, last: bool = False) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        height = max(4, size.lines - self.BELOW)
        columns = self.conversations[: max(1, size.columns // self.NARROWEST)]
        pitch = size.columns // len(columns)
        width = max(2, pitch - 3)

        if size == self.size:
            out = f"\x1b[{height - 1}A"  # up to where the last picture began
        else:
            out = "\x1b[H\x1b[2J" if any(self.size) else ""
            self.size = size
            self.shown = [0] * len(columns)
            self.lines = [[""] for _ in columns]
        for i, conversation in enumerate(columns):
            new, self.shown[i] = conversation.text[self.shown[i] :], len(conversation.text)
            self.lines[i][-1:] = wrap(self.lines[i][-1] + printable(new), width)

        out += "\r\x1b[2K" + self.header(size.columns)
        for row in zip(*(self.column(i, width, height - 1) for i in range(len(columns)))):
            out += "\n\r\x1b[2K" + "".join(f"\x1b[{i * pitch + 1}G{s}" for i, s in enumerate(row))
        print(out, end="", flush=True)

    def header(self, width: int) -> str:
        ticks, largest = len(self.clock.gaps), self.clock.largest * 1e3
        spinner = self.SPINNER[ticks // 4 % len(self.SPINNER)]
        now = datetime.now().isoformat(" ", "milliseconds")[11:21]  # to the tenth of a second
        told = f"the event loop has ticked {ticks} times, at most {largest:.0f} ms apart"
        if len(self.lines) < len(self.conversations):
            told += f"; {len(self.conversations) - len(self.lines)} more conversations"
        return styled(1, f"{spinner} {now}") + styled(2, f"  {told}"[: max(0, width - 12)])

    def column(self, i: int, width: int, height: int) -> Iterator[str]:
        """A conversation in ``height`` lines: its title, the end of its text, its count."""
        conversation, colour = self.conversations[i], self.COLOURS[i % len(self.COLOURS)]
        yield styled(colour, "┌ ") + styled(1, wrap(one_line(conversation.prompt), width)[0])
        text = self.lines[i][-(height - 2) :]
        for line in text + [""] * (height - 2 - len(text)):
            yield styled(colour, "│ ") + line
        yield styled(colour, f"└ {len(conversation.puts)} tokens{' ✓' * bool(conversation.ended)}")


def styled(code: int, text: str) -> str:
    return text if os.environ.get("NO_COLOR") else f"\x1b[{code}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Replace what a terminal would obey rather than show."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", " ", text)


def one_line(text: str) -> str:
    return " ".join(printable(text).split())


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)


def wrap(text: str, width: int) -> list[str]:
    """Cut text into lines of ``width`` cells; only spaces may stick out at their ends."""
    lines = []
    for paragraph in text.split("\n"):
        line, used = "", 0
        for word in re.findall(r"[^ ]+ *| +", paragraph):
            if line and used + cells(word.rstrip()) > width:
                lines.append(line)
                line, used = "", 0
            for c in word:  # where a language has no spaces, a word may be longer than a line
                if c != " " and used + cells(c) > width:
                    lines.append(line)
                    line, used = "", 0
                line += c
                used += cells(c)
        lines.append(line)
    return lines


# ---- the figures ---------------------------------------------------------------------------------


def report(conversations: Sequence[Conversation], clock: Clock) -> Iterator[str]:
    began = min(c.began for c in conversations)
    elapsed = max(c.ended for c in conversations) - began
    waits = sorted(1e3 * ((c.first_text or c.ended) - c.began) for c in conversations)
    puts = [1e6 * put for c in conversations for put in c.puts]
    share = sum(puts) / 1e6 / sum(c.ended - c.began for c in conversations)
    gaps = [1e3 * gap for gap in clock.gaps]

    many = len(conversations) > 1
    yield (
        f"{f'{len(conversations)} conversations at once' if many else 'One conversation'}: "
        f"{len(puts)} tokens in {elapsed:.2f} s, {len(puts) / elapsed:.1f} tokens/s"
    )
    yield f"  first text      after {waits[0]:.0f}{f' to {waits[-1]:.0f}' if many else ''} ms"
    if gaps:
        yield (
            f"  the event loop  ticked every {statistics.median(gaps):.1f} ms (asked for: "
            f"{TICK * 1e3:.0f}); largest gap {max(gaps):.1f} ms"
        )
    if puts:
        yield (
            f"  burble          {statistics.median(puts):.1f} µs of CPU a token in put(), from the "
            "tensor to waking the loop"
        )
        yield (
            f"                  (median; mean {statistics.mean(puts):.1f}), {share:.2%} of the "
            "time that the tokens took"
        )


# ---- the command line ----------------------------------------------------------------------------


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    def count(text: str) -> int:
        if int(text) < 1:
            raise ValueError
        return int(text)

    parser = argparse.ArgumentParser(
        description="Stream a language model's text into an asyncio program."
    )
    add = parser.add_argument
    # `make demo` gives these two by the environment: any character may be in them.
    model = os.environ.get("BURBLE_MODEL") or str(SHAKESPEARE)
    prompt = os.environ.get("BURBLE_PROMPT") or None
    add("--model", default=model, help="a folder, or a name on the Hugging Face hub")
    add("--prompt", default=prompt, help="what all conversations begin with (default: its own)")
    add("--conversations", type=count, default=3, help="how many at once (default: 3)")
    add("--max-new-tokens", type=count, default=400, help="for each of them (default: 400)")
    add("--temperature", type=float, help="0: the likeliest token each time (default: the model's)")
    add("--seed", type=int, help="with one conversation: makes it say the same each time")
    asked = parser.parse_args(args)
    if asked.temperature is not None and not 0 <= asked.temperature < float("inf"):
        parser.error("argument --temperature: must be a number from 0 on")
    return asked


def run(asked: argparse.Namespace) -> int:
    # An import that an exception interrupts may swallow it, or tell of it in many lines.
    before = signal.signal(signal.SIGINT, stop)
    try:
        print(f"loading {asked.model} …", flush=True)
        model, tokenizer = load(os.path.expanduser(asked.model), asked.conversations)
    except Exception as error:
        return fail(f"{asked.model}: {error}")
    finally:
        signal.signal(signal.SIGINT, before)

    prompts = PROMPTS if asked.prompt is None else [asked.prompt]
    options = {"max_new_tokens": asked.max_new_tokens, "do_sample": asked.temperature != 0}
    if asked.temperature:
        options["temperature"] = asked.temperature
    if asked.seed is not None:
        import torch

        torch.manual_seed(asked.seed)

    try:
        conversations = []
        for i in range(asked.conversations):
            inputs, room = encode(model, tokenizer, prompts[i % len(prompts)])
            options["max_new_tokens"] = min(options["max_new_tokens"], room)
            conversations.append(Conversation(prompts[i % len(prompts)], inputs))

        clock = Clock()
        is_terminal = sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
        with (Columns if is_terminal else Lines)(conversations, clock) as screen:
            asyncio.run(converse(screen, model, tokenizer, **options))
    except BrokenPipeError:
        raise
    except Exception as error:
        return fail(str(error))
    print(*report(conversations, clock), sep="\n", flush=True)
    return 0


def stop(*_: object) -> None:
    os.write(2, b"stopped\n")
    os._exit(130)


def fail(message: str) -> int:
    print(f"demo: {textwrap.shorten(message, 200)}", file=sys.stderr)
    return 1


def main(args: Sequence[str] | None = None) -> int:
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        return run(parse(args))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in `demo.py | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
