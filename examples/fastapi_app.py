# SPDX-License-Identifier: MIT
"""A web server that streams a language model's text.

    python examples/fastapi_app.py          # or: uvicorn examples.fastapi_app:app
    curl --no-buffer 'http://127.0.0.1:8000/generate?prompt=ROMEO:'

Press Ctrl-C in curl: the generation stops at its next token. MODEL=… chooses another model.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import StreamingResponse
from transformers import AutoModelForCausalLM, AutoTokenizer

import burble

MODEL = os.environ.get("MODEL") or Path(__file__).resolve().parent.parent / "models" / "shakespeare"

app = FastAPI()
tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL)


async def text_of(**inputs: Any) -> AsyncIterator[str]:
    # Leaving the block, as when the client has gone, stops the generation.
    async with burble.stream(model.generate, **inputs, tokenizer=tokenizer) as stream:
        async for new_text in stream:
            yield new_text


@app.get("/generate")
async def generate(
    prompt: Annotated[str, Query(min_length=1)],
    max_new_tokens: Annotated[int, Query(ge=1)] = 200,
    do_sample: bool = True,
) -> StreamingResponse:
    inputs = tokenizer(prompt, return_tensors="pt")
    if inputs["input_ids"].shape[1] + max_new_tokens > model.config.max_position_embeddings:
        raise HTTPException(422, "prompt and answer together are too long for this model")
    answer = text_of(**inputs, max_new_tokens=max_new_tokens, do_sample=do_sample)
    return StreamingResponse(answer, media_type="text/plain")


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
