#!/usr/bin/env python3
"""Train the small Shakespeare model that ships with burble.

The model exists so that the examples and tests have something real to stream: a
GPT-2 of under three million parameters, with a byte-level BPE tokenizer of its own,
trained on tinyshakespeare in less than half an hour on two processor cores.  The
result is an ordinary Hugging Face directory::

    .venv/bin/python models/train.py --minutes 17

The text is tiny (about 350,000 tokens) and the run goes over it dozens of times, so
most of the choices here are about overfitting: dropout in the network, *BPE dropout* in
the tokenizer (each pass sees the same words cut into different pieces), a held-out part
of the text, and keeping the weights that did best on it.

The others are about speed.  Products are computed in bfloat16, attention weights have no
dropout (on a processor it would rule out the fast kernel), and most of the run uses short
windows; the last part, the *finish*, uses windows as long as the model's context, and
text tokenized without dropout, as it will be when the model is used.

The seed fixes the initial weights and the order of the text.  Two runs still differ a
little: the learning rate follows the clock, and the tokenizer's own dropout has no seed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

ROOT = Path(__file__).resolve().parent.parent
END_OF_TEXT = "<|endoftext|>"
END_ID = 0
SPEECHES_PER_PASSAGE = 30
SIZE_LIMIT_BYTES = 12_000_000


@dataclass(frozen=True)
class Score:
    """How well the model predicts the held-out text."""

    nats_per_token: float
    bits_per_byte: float


@dataclass(frozen=True)
class Result:
    """The best weights of a training run, their score, and the step they are from."""

    weights: dict[str, torch.Tensor]
    score: Score
    step: int


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train the small Shakespeare model that ships with burble.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--corpus",
        type=Path,
        default=ROOT.parent / "shared" / "corpus" / "tinyshakespeare.txt",
        help="text file to train on, speeches separated by blank lines",
    )
    add(
        "--output",
        type=Path,
        default=ROOT / "models" / "shakespeare",
        help="directory to write; one that exists is replaced when training is over",
    )
    add("--minutes", type=float, default=17.0, help="time budget for the training loop")
    add("--threads", type=int, default=2, help="processor threads to use")
    add("--seed", type=int, default=1623, help="seed of the weights and of the text's order")
    add("--vocabulary", type=int, default=2048, help="number of tokens, all included")
    add("--positions", type=int, default=512, help="longest context, in tokens")
    add("--window", type=int, default=256, help="tokens in a training sequence until the finish")
    add("--width", type=int, default=192, help="size of the hidden state")
    add("--layers", type=int, default=5, help="number of transformer blocks")
    add("--heads", type=int, default=4, help="attention heads in each block")
    add("--dropout", type=float, default=0.2, help="dropout inside the network")
    add("--bpe-dropout", type=float, default=0.1, help="chance to skip a merge when tokenizing")
    add("--finish", type=float, default=0.35, help="part of the run that is the finish")
    add("--batch", type=int, default=2048, help="tokens in a step")
    add("--rate", type=float, default=2e-3, help="highest learning rate")
    add("--weight-decay", type=float, default=0.1, help="decay of the weight matrices")
    add("--warm-up", type=float, default=0.03, help="part of the run in which the rate rises")
    add("--held-out", type=float, default=0.1, help="part of the text, at its end, to validate on")
    add("--validate-every", type=float, default=45.0, help="seconds between validations")
    add("--float32", action="store_true", help="compute in float32 rather than bfloat16")
    return parser.parse_args(arguments)


# ---------------------------------------------------------------------------- the text


def split_corpus(text: str, held_out: float) -> tuple[str, str]:
    """Cut the text in two at a blank line: what to train on, and what to validate on."""
    cut = text.index("\n\n", int(len(text) * (1.0 - held_out))) + 2
    return text[:cut], text[cut:]


def split_speeches(text: str) -> list[str]:
    """Cut the text after each blank line, so that the pieces joined give the text back."""
    return [speech for speech in re.split(r"(?<=\n\n)", text) if speech]


def train_tokenizer(text: str, vocabulary: int) -> Tokenizer:
    """Learn a byte-level BPE: every byte has a token, so any text at all can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(split_speeches(text), trainer)
    if tokenizer.token_to_id(END_OF_TEXT) != END_ID:
        raise RuntimeError(f"{END_OF_TEXT} is not token {END_ID}")
    return tokenizer


def group_passages(speeches: list[str], rng: random.Random) -> list[str]:
    """Join neighbouring speeches into passages of random length, in random order.

    The corpus is one text without an end.  Passages give the model beginnings and ends to
    learn, so that the end-of-text token means something; the order of speeches inside a
    passage, which is what makes a dialogue, is kept.
    """
    passages = []
    first = 0
    while first < len(speeches):
        count = rng.randint(SPEECHES_PER_PASSAGE // 2, SPEECHES_PER_PASSAGE * 3 // 2)
        passages.append("".join(speeches[first : first + count]))
        first += count
    rng.shuffle(passages)
    return passages


def encode_passages(tokenizer: Tokenizer, passages: list[str]) -> torch.Tensor:
    """Turn passages into one row of tokens, each passage led by the end-of-text token."""
    ids: list[int] = []
    for encoding in tokenizer.encode_batch(passages):
        ids.append(END_ID)
        ids.extend(encoding.ids)
    return torch.tensor(ids, dtype=torch.long)


class TextStream:
    """Endless training batches, made anew from the text on each pass over it."""

    def __init__(self, text: str, tokenizer: Tokenizer, seed: int) -> None:
        """Remember the text, and a tokenizer whose dropout may be changed freely."""
        self.speeches = split_speeches(text)
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.rng = random.Random(seed)
        self.passes = 0

    def encode_pass(self, bpe_dropout: float) -> torch.Tensor:
        """Tokenize the whole text once, in a new order and with new cuts."""
        self.tokenizer.model.dropout = bpe_dropout or None
        self.passes += 1
        return encode_passages(self.tokenizer, group_passages(self.speeches, self.rng))

    def batches(self, rows: int, length: int, bpe_dropout: float) -> Iterator[torch.Tensor]:
        """Yield `rows` rows of `length` + 1 tokens: inputs, and the same moved by one."""
        gathered: list[torch.Tensor] = []
        while True:
            ids = self.encode_pass(bpe_dropout)
            starts = list(range(self.rng.randrange(length), len(ids) - length, length))
            self.rng.shuffle(starts)
            for start in starts:
                gathered.append(ids[start : start + length + 1])
                if len(gathered) == rows:
                    yield torch.stack(gathered)
                    gathered = []


# --------------------------------------------------------------------------- the model


def build_model(options: argparse.Namespace) -> GPT2LMHeadModel:
    """Make an untrained GPT-2 of the size asked for, input and output embeddings tied.

    The activation is GPT-2's own; under this name it is one operation instead of eight.
    """
    config = GPT2Config(
        vocab_size=options.vocabulary,
        n_positions=options.positions,
        n_embd=options.width,
        n_layer=options.layers,
        n_head=options.heads,
        resid_pdrop=options.dropout,
        embd_pdrop=options.dropout,
        attn_pdrop=0.0,
        activation_function="gelu_pytorch_tanh",
        bos_token_id=END_ID,
        eos_token_id=END_ID,
    )
    return GPT2LMHeadModel(config)


def build_optimizer(model: torch.nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW that decays the matrices and leaves biases and norms alone."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def rate_factor(progress: float, warm_up: float) -> float:
    """Learning rate as a part of the highest one: a linear rise, then a cosine fall to 1 %."""
    if progress < warm_up:
        return max(progress / warm_up, 0.01)
    through = min((progress - warm_up) / (1.0 - warm_up), 1.0)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * through))


def precision(float32: bool) -> contextlib.AbstractContextManager[Any]:
    """Context in which to run the network; the weights themselves are always float32."""
    context: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if not float32:
        context = torch.autocast("cpu", dtype=torch.bfloat16)
    return context


def next_token_loss(
    model: GPT2LMHeadModel, rows: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """Cross-entropy in nats of each row's tokens after the first, given those before."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return functional.cross_entropy(
        logits.float().flatten(0, 1), rows[:, 1:].flatten(), reduction=reduction
    )


def validate(model: GPT2LMHeadModel, ids: torch.Tensor, text_bytes: int, length: int) -> Score:
    """Score the held-out tokens, in windows side by side, each token predicted once.

    The row starts with an end-of-text token, so that the text's first token counts too.  A
    window's first tokens have little context, which makes the figure a little pessimistic.
    """
    model.train(False)
    windows = [ids[start : start + length + 1] for start in range(0, len(ids) - 1, length)]
    whole = [window for window in windows if len(window) == length + 1]
    batches = [torch.stack(whole[first : first + 8]) for first in range(0, len(whole), 8)]
    batches += [rest.unsqueeze(0) for rest in windows[len(whole) :]]
    with torch.inference_mode():
        nats = sum(float(next_token_loss(model, rows, "sum")) for rows in batches)
    model.train()
    return Score(nats / (len(ids) - 1), nats / math.log(2.0) / text_bytes)


def copy_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copy the weights, to come back to them later."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def report(step: int, loss: float, score: Score, passes: int, speed: float, left: float) -> None:
    """Print one line of progress."""
    print(
        f"step {step:5d}  pass {passes:3d}  train {loss:.3f}  "
        f"validation {score.nats_per_token:.4f} ({score.bits_per_byte:.4f} bits/byte)  "
        f"{speed:6.0f} tokens/s  {max(left, 0.0) / 60:4.1f} min left",
        flush=True,
    )


def take_step(
    model: GPT2LMHeadModel, optimizer: torch.optim.Optimizer, rows: torch.Tensor, float32: bool
) -> float:
    """Move the weights once; return the loss before the move."""
    with precision(float32):
        loss: Any = next_token_loss(model, rows)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.item())


def train(
    model: GPT2LMHeadModel,
    stream: TextStream,
    held_out: tuple[torch.Tensor, int],
    options: argparse.Namespace,
) -> Result:
    """Train until the time is over; return the weights that predicted the held-out text best."""
    optimizer = build_optimizer(model, options.rate, options.weight_decay)
    budget = options.minutes * 60.0
    length = options.window
    batches = stream.batches(options.batch // length, length, options.bpe_dropout)
    best = Result({}, Score(math.inf, math.inf), 0)
    losses: list[float] = []
    step, tokens = 0, 0
    started = time.monotonic()
    next_validation = options.validate_every
    model.train()
    while True:
        elapsed = time.monotonic() - started
        progress = elapsed / budget
        finishing = progress >= 1.0 - options.finish
        if losses and (elapsed >= next_validation or progress >= 1.0):
            score = validate(model, *held_out, options.positions if finishing else length)
            loss, losses = sum(losses) / len(losses), []
            report(step, loss, score, stream.passes, tokens / elapsed, budget - elapsed)
            if score.nats_per_token < best.score.nats_per_token:
                best = Result(copy_weights(model), score, step)
            next_validation = time.monotonic() - started + options.validate_every
        if progress >= 1.0:
            return best
        if finishing and length != options.positions:
            length = options.positions
            batches = stream.batches(options.batch // length, length, 0.0)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate_factor(progress, options.warm_up)
        rows = next(batches)
        losses.append(take_step(model, optimizer, rows, options.float32))
        step += 1
        tokens += options.batch


# --------------------------------------------------------------------------- the result


def save_tokenizer(tokenizer: Tokenizer, positions: int, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json as AutoTokenizer wants them."""
    tokenizer_class: Any = PreTrainedTokenizerFast
    wrapped = tokenizer_class(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(directory)
    # The class's name differs between major versions of transformers; all know this one.
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def save_model(model: GPT2LMHeadModel, directory: Path) -> None:
    """Write the weights, the configuration and how to sample from the model.

    The padding token is named where generation looks for it, and not in config.json: there
    it would make transformers warn about each prompt that starts with the end-of-text token.
    """
    config_class: Any = GenerationConfig
    model.generation_config = config_class(
        do_sample=True,
        temperature=0.8,
        top_k=50,
        top_p=0.95,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
    )
    model.save_pretrained(directory)
    for path in directory.iterdir():
        path.chmod(0o644)


def replace_directory(new: Path, old: Path) -> None:
    """Put a finished directory in the place of another; nobody sees a half-written one."""
    aside = new.with_name(new.name + "-old")
    if old.exists():
        os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside, ignore_errors=True)


def save(model: GPT2LMHeadModel, tokenizer: Tokenizer, output: Path) -> None:
    """Write the whole directory aside, check its size, and then move it into place."""
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        work.chmod(0o755)
        save_model(model, work)
        save_tokenizer(tokenizer, int(model.config.n_positions), work)
        size = sum(path.stat().st_size for path in work.iterdir())
        if size > SIZE_LIMIT_BYTES:
            raise RuntimeError(f"the model takes {size} bytes, more than {SIZE_LIMIT_BYTES}")
        replace_directory(work, output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"saved to {output} ({size / 1e6:.1f} MB)")


def sample(model: GPT2LMHeadModel, tokenizer: Tokenizer, prompt: str, count: int) -> str:
    """Let the model go on from a prompt, with the settings that are saved with it."""
    model.train(False)
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    generator: Any = model
    with torch.inference_mode():
        output = generator.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count)
    return str(tokenizer.decode(output[0].tolist()))


def main() -> int:
    """Train, save, and show what came out."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    try:
        text = options.corpus.read_text(encoding="utf-8")
    except OSError as error:
        print(f"cannot read the corpus: {error} (see --corpus)", file=sys.stderr)
        return 1
    train_text, held_out_text = split_corpus(text, options.held_out)
    tokenizer = train_tokenizer(train_text, options.vocabulary)
    held_out_ids = encode_passages(tokenizer, [held_out_text])
    held_out_bytes = len(held_out_text.encode("utf-8"))
    model = build_model(options)
    print(
        f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size():,} tokens, "
        f"{len(train_text):,} characters to train on, {len(held_out_text):,} held out as "
        f"{len(held_out_ids) - 1:,} tokens"
    )
    stream = TextStream(train_text, tokenizer, options.seed)
    result = train(model, stream, (held_out_ids, held_out_bytes), options)
    model.load_state_dict(result.weights)
    save(model, tokenizer, options.output)
    print(
        f"best validation loss {result.score.nats_per_token:.4f} nats per token, "
        f"{result.score.bits_per_byte:.4f} bits per byte, at step {result.step}"
    )
    print("\n" + sample(model, tokenizer, "ROMEO:", 200))
    return 0


if __name__ == "__main__":
    sys.exit(main())
