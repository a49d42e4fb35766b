# SPDX-License-Identifier: MIT
"""``python -m burble serve MODEL``: serves a model of transformers by OpenAI's API."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m burble")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve a model of transformers by OpenAI's API",
        description="Serve a model of transformers by OpenAI's API, until Ctrl-C or SIGTERM.",
    )
    serve.add_argument("model", metavar="MODEL", help="a folder, or a name on Hugging Face")
    serve.add_argument("--name", help="what clients call it (default: the last part of MODEL)")
    serve.add_argument(
        "--host", default="127.0.0.1", help="the address on which it listens (default: %(default)s)"
    )
    serve.add_argument(
        "--port", type=int, default=8080, help="0: any free one (default: %(default)s)"
    )
    serve.add_argument("--api-key-file", metavar="FILE", help="API keys, one a line")
    serve.add_argument(
        "--workers",
        type=int,
        default=1,
        help="how many generations run at once; others wait (default: %(default)s)",
    )
    serve.add_argument(
        "--queue",
        type=int,
        default=256,
        help="how many answers run or wait; more are refused (default: %(default)s)",
    )
    serve.add_argument(
        "--device", default="cpu", help="where the model is: cpu, cuda, mps (default: %(default)s)"
    )
    serve.add_argument(
        "--dtype", default="auto", help="of its weights: bfloat16, float32 … (default: %(default)s)"
    )
    serve.add_argument("--chat-template", metavar="FILE", help="in place of the model's own")
    serve.add_argument(
        "--grace", type=float, default=30.0, help="seconds of draining (default: %(default)s)"
    )
    serve.add_argument("--no-page", action="store_true", help="without the page at /")
    serve.add_argument("--access-log", action="store_true", help="a line for each request")
    serve.set_defaults(function=_serve)
    options = parser.parse_args(arguments)
    status: int = options.function(options)
    return status


def _serve(options: argparse.Namespace) -> int:
    # Of burble alone: other libraries say themselves what they have to say.
    lines = logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("burble")
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    if Path(options.model).is_file():
        print(
            f"burble serve: {options.model}: expected a folder or a name on Hugging Face, found a "
            "file (the command `burble serve -m FILE` serves a GGUF file)",
            file=sys.stderr,
        )
        return 1
    try:
        import transformers
    except ImportError as error:
        print(f"burble serve: needs transformers and torch: {error}", file=sys.stderr)
        return 1
    import burble

    from ._serve_transformers import TransformersModel, is_only_local

    try:
        local = is_only_local(options.model)
    except OSError as error:
        print(f"burble serve: {error}", file=sys.stderr)
        return 1
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            options.model, local_files_only=local
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(
            options.model, local_files_only=local, dtype=options.dtype
        )
        if options.chat_template is not None:
            tokenizer.chat_template = Path(options.chat_template).read_text(encoding="utf-8")
        model = model.to(options.device)
    except (OSError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        # The last three: torch has no such dtype, no such device, or was built without it.
        print(f"burble serve: {options.model}: {error}", file=sys.stderr)
        return 1
    try:
        handler = TransformersModel(model, tokenizer, workers=options.workers)
        burble.serve(
            handler,
            model=options.name or Path(options.model).name,
            host=options.host,
            port=options.port,
            api_key_file=options.api_key_file,
            max_answers=options.queue,
            parameters=handler.parameters,
            chat=handler.chat,
            context=handler.context,
            page=not options.no_page,
            access_log=options.access_log,
            grace=options.grace,
        )
    except (OSError, ValueError, ImportError) as error:
        print(f"burble serve: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
