# SPDX-License-Identifier: MIT
"""A model of transformers behind a server: the handler of ``python -m burble serve``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any

from ._pool import Pool
from ._request import Request, RequestError
from ._start import stream

# What generate can do, by the names of requests.
_SAMPLING = {
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
}
_PARAMETERS = ("max_tokens", "temperature", "stop", "repeat_penalty", "n", *_SAMPLING)


# How long Hugging Face may take to say that it has a model, in seconds.
_HUB_TIMEOUT = 10.0


def is_only_local(name: str) -> bool:
    """Whether ``from_pretrained`` should not ask Hugging Face for this model: it cannot be reached,
    and the model is in the cache. (transformers itself would try again for a minute.)

    :raises OSError: if the model can be nowhere.
    """
    if os.path.isdir(name):
        return True
    expected = f"{name}: expected a folder or a name on Hugging Face, found"
    if name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1:
        raise OSError(f"{expected} a folder that does not exist")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=_HUB_TIMEOUT)
    except HFValidationError as error:
        raise OSError(f"{expected} neither: {error}") from error
    except HfHubHTTPError:
        return False  # it answers: transformers says what is wrong
    except Exception as error:  # of whatever library the connection is
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return True
        raise OSError(
            f"{expected} neither a folder nor a model in the cache of Hugging Face, which cannot "
            f"be reached: {error}"
        ) from error
    return False


class TransformersModel:
    """Answers requests with ``model.generate``.

    :param workers: how many generations run at once; further ones wait. With one, requests may have
        a ``seed``.
    """

    def __init__(self, model: Any, tokenizer: Any, *, workers: int = 1) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._pool = Pool(workers)
        self._seeds = workers == 1
        config = model.config
        if hasattr(config, "get_text_config"):
            config = config.get_text_config()
        found = getattr(config, "max_position_embeddings", None)
        self.context: int | None = found if isinstance(found, int) and found > 0 else None
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        self._specials = {*tokenizer.all_special_tokens, *(str(t) for t in added if t.special)}
        self.parameters = (*_PARAMETERS, "seed") if self._seeds else _PARAMETERS

    def __call__(self, request: Request) -> Any:
        ids = self._ids(request)
        request.prompt_tokens = len(ids)
        import torch

        input_ids = torch.tensor([ids], device=self._model.device)
        options = self._options(request, len(ids))
        model = self._model
        if "seed" in request.parameters:
            model = _Seeded(model, request.parameters["seed"])
        return stream(
            model.generate,
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            tokenizer=self._tokenizer,
            stop=request.parameters.get("stop", ()),
            batch=request.n if request.n > 1 else None,
            pool=self._pool,
            **options,
        )

    def _options(self, request: Request, prompt: int) -> dict[str, Any]:
        given = request.parameters
        most = given.get("max_tokens")
        if self.context is not None:
            if prompt >= self.context:
                raise RequestError(
                    f"expected less than {self.context} tokens, the model's context, found "
                    f"{prompt}",
                    param="messages" if request.chat else "prompt",
                )
            left = self.context - prompt
            most = left if most is None else min(most, left)
        options: dict[str, Any] = {} if most is None else {"max_new_tokens": most}
        for name, option in _SAMPLING.items():
            if name in given:
                options.update({option: given[name], "do_sample": True})
        if given.get("top_k") == 0:
            options["top_k"] = None  # which is how generate says all
        temperature = given.get("temperature")
        if temperature == 0:
            options = {
                "do_sample": False,
                **dict.fromkeys(("temperature", *_SAMPLING.values())),
                **{name: value for name, value in options.items() if name == "max_new_tokens"},
            }
        elif temperature is not None:
            options.update(temperature=temperature, do_sample=True)
        if "repeat_penalty" in given:
            options["repetition_penalty"] = given["repeat_penalty"]
        if request.n > 1:
            sampled = options.get("do_sample", self._model.generation_config.do_sample)
            if not sampled:
                raise RequestError(
                    "expected 1, because without a temperature all answers are the same", param="n"
                )
            options["num_return_sequences"] = request.n
        if self._model.generation_config.pad_token_id is None:
            ends = self._model.generation_config.eos_token_id
            options["pad_token_id"] = ends[0] if isinstance(ends, (list, tuple)) else ends
        return options

    # ---- prompts -----------------------------------------------------------------------------

    def _ids(self, request: Request) -> Sequence[int]:
        if not request.chat:
            ids = request.ids
            if ids is None:
                ids = self._tokenizer(request.prompt)["input_ids"]
            else:
                most = len(self._tokenizer)
                if any(token >= most for token in ids):
                    raise RequestError(
                        f"expected token ids below {most}, found {max(ids)}", param="prompt"
                    )
            if not ids:
                raise RequestError("expected at least one token", param="prompt")
            return ids
        try:
            return self._chat(request.messages)
        except RequestError:
            raise
        except Exception as error:
            if type(error).__module__.startswith("jinja2"):  # a template refuses some orders
                raise RequestError(str(error), param="messages") from error
            raise

    def _chat(self, messages: list[dict[str, str]]) -> Sequence[int]:
        """The ids of a conversation. What somebody has written in a message never becomes a special
        token: it is tokenized apart, if it has the text of one."""
        unsafe = []
        for i, message in enumerate(messages):
            if any(text in message["content"] for text in self._specials):
                unsafe.append(i)
            if any(text in message["role"] for text in self._specials):
                raise RequestError("expected a role without a special token", param="messages")
        contents: dict[str, str] = {}
        safe = [dict(message) for message in messages]
        for i in unsafe:
            mark = f"x{secrets.token_hex(16)}x"
            contents[mark] = safe[i]["content"]
            safe[i]["content"] = mark
        text: str = self._tokenizer.apply_chat_template(
            safe, add_generation_prompt=True, tokenize=False
        )
        ids: list[int] = []
        for mark, content in contents.items():
            before, found, text = text.partition(mark)
            if not found:
                raise RequestError(
                    "the model's chat template takes no text of special tokens in this message",
                    param="messages",
                )
            ids += self._tokenize(before)
            ids += self._tokenize(content, split_special_tokens=True)
        ids += self._tokenize(text)
        return ids

    def _tokenize(self, text: str, **options: Any) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False, **options)["input_ids"]
        return found


class _Seeded:
    """A model whose generation begins with a seed. (torch has one generator for all: so only one
    generation runs at a time.)"""

    def __init__(self, model: Any, seed: int) -> None:
        self._model = model
        self._seed = seed
        self.generation_config = model.generation_config

    def generate(self, stopping_criteria: Any = None, streamer: Any = None, **options: Any) -> Any:
        import torch

        if self._seed >= 0:
            torch.manual_seed(self._seed)
        return self._model.generate(
            stopping_criteria=stopping_criteria, streamer=streamer, **options
        )
